// A key service and a store, started from this checkout with the shipped commands, as an operator would:
// `kes identity new`, a configuration file, `kes key create`, the environment, `coffer server`.

import { execFile } from 'node:child_process';
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { get as getHttp } from 'node:http';
import { get as getHttps } from 'node:https';
import path from 'node:path';
import { promisify } from 'node:util';
import { freePort, type Program, projectRoot, startProgram, waitUntil } from './programs.ts';

const run = promisify(execFile);

/** The program in this checkout. */
export const cofferBin = path.join(projectRoot, 'bin/coffer');

export type KeyServicePair = {
  readonly dir: string;
  readonly endpoint: string;
  readonly apiKey: string;
  readonly caFile: string;
  readonly keyName: string;
  keyService: Program;
  /** Runs `kes …` against the service and returns what it printed on stdout. */
  kes(...args: string[]): Promise<string>;
  /** Stops the key service; `startAgain` brings it back on the same port. */
  startAgain(): Promise<void>;
};

/** A key service with a file key store below `dir`, and one key in it. */
export async function startKeyService(
  dir: string,
  keyName = 'my-minio-sse-s3-key',
  moreConfig: readonly string[] = [],
): Promise<KeyServicePair> {
  await mkdir(dir, { recursive: true });
  const identity = [
    'kes',
    'identity',
    'new',
    '--key',
    'server.key',
    '--cert',
    'server.crt',
    '--ip',
    '127.0.0.1',
    '--dns',
    'localhost',
    'localhost',
  ];
  await run(cofferBin, identity, { cwd: dir });
  const apiKey =
    (await run(cofferBin, ['kes', 'identity', 'new'], { cwd: dir })).stdout.match(
      /kes:v1:\S+/,
    )?.[0] ?? '';
  const admin = (
    await run(cofferBin, ['kes', 'identity', 'of', apiKey], { cwd: dir })
  ).stdout.trim();
  const port = await freePort();
  const endpoint = `https://127.0.0.1:${port}`;
  const config = [
    `address: 127.0.0.1:${port}`,
    `admin:\n  identity: ${admin}`,
    `tls:\n  key: ${dir}/server.key\n  cert: ${dir}/server.crt`,
    ...(moreConfig.some((part) => part.startsWith('log:')) ? [] : [quietLog]),
    `keystore:\n  fs:\n    path: ${dir}/keys`,
    ...moreConfig,
  ].join('\n');
  await writeFile(path.join(dir, 'kes.yml'), `${config}\n`);
  const kes = async (...args: string[]): Promise<string> =>
    (
      await run(cofferBin, ['kes', ...args], {
        cwd: dir,
        env: { PATH: process.env['PATH'], HOME: dir, KES_SERVER: endpoint, KES_API_KEY: apiKey },
      })
    ).stdout;
  const start = async (): Promise<Program> => {
    const program = await startProgram({
      name: 'kes',
      command: [cofferBin, 'kes', 'server', '--config', path.join(dir, 'kes.yml')],
      dir,
    });
    await waitUntil(program, async () => (await kes('status', '-k')).length > 0);
    return program;
  };
  const pair: KeyServicePair = {
    dir,
    endpoint,
    apiKey,
    caFile: path.join(dir, 'server.crt'),
    keyName,
    keyService: await start(),
    kes,
    startAgain: async () => {
      pair.keyService = await start();
    },
  };
  await kes('key', 'create', keyName, '-k');
  return pair;
}

const quietLog = 'log:\n  error: on\n  audit: off';

/** The environment that points a store at the key service, as the documented procedure sets it. */
export function kmsEnvironment(pair: KeyServicePair): Record<string, string> {
  return {
    MINIO_KMS_KES_ENDPOINT: pair.endpoint,
    MINIO_KMS_KES_API_KEY: pair.apiKey,
    MINIO_KMS_KES_CAPATH: pair.caFile,
    MINIO_KMS_KES_KEY_NAME: pair.keyName,
  };
}

export type CofferPair = KeyServicePair & {
  readonly port: number;
  readonly accessKey: string;
  readonly secretKey: string;
  readonly dataDir: string;
  server: Program;
  /** Starts the store (again) on the same port and directory, with extra environment if given. */
  startServer(env?: Readonly<Record<string, string>>): Promise<void>;
  stop(): Promise<void>;
};

/** Asks the readiness probe once. The certificate is not what is tested here. */
export function isReady(at: { readonly port: number; readonly isTls: boolean }): Promise<boolean> {
  const options = {
    host: '127.0.0.1',
    port: at.port,
    path: '/minio/health/ready',
    rejectUnauthorized: false,
  };
  return new Promise((resolve) => {
    const request = (at.isTls ? getHttps : getHttp)(options, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.on('error', () => resolve(false));
  });
}

/** A key service and a store that uses it, ready to serve. */
export async function startCofferPair(
  dir: string,
  options: {
    readonly env?: Readonly<Record<string, string>>;
    readonly hasKms?: boolean;
    /** Serve HTTPS, with the key service's certificate copied to this folder. */
    readonly certsDir?: string;
    /** More of the key service's configuration; its own `log:` replaces the quiet one. */
    readonly kesConfig?: readonly string[];
  } = {},
): Promise<CofferPair> {
  const service = await startKeyService(path.join(dir, 'kes'), undefined, options.kesConfig);
  const port = await freePort();
  const dataDir = path.join(dir, 'data');
  const accessKey = 'coffer-root';
  const secretKey = 'coffer-root-secret';
  const { certsDir } = options;
  if (certsDir !== undefined) {
    await mkdir(certsDir, { recursive: true });
    await copyFile(path.join(service.dir, 'server.crt'), path.join(certsDir, 'public.crt'));
    await copyFile(path.join(service.dir, 'server.key'), path.join(certsDir, 'private.key'));
  }
  const start = async (env: Readonly<Record<string, string>> = {}): Promise<Program> => {
    const program = await startProgram({
      name: 'store',
      command: [
        cofferBin,
        'server',
        dataDir,
        '--address',
        `127.0.0.1:${port}`,
        ...(certsDir === undefined ? [] : ['--certs-dir', certsDir]),
      ],
      dir,
      env: {
        MINIO_ROOT_USER: accessKey,
        MINIO_ROOT_PASSWORD: secretKey,
        ...(options.hasKms === false ? {} : kmsEnvironment(service)),
        ...options.env,
        ...env,
      },
    });
    await waitUntil(program, () => isReady({ port, isTls: certsDir !== undefined }));
    return program;
  };
  const pair: CofferPair = Object.assign(service, {
    port,
    accessKey,
    secretKey,
    dataDir,
    server: await start(),
    startServer: async (env?: Readonly<Record<string, string>>) => {
      pair.server = await start(env);
    },
    stop: async () => {
      await pair.server.stop();
      await pair.keyService.stop();
    },
  });
  return pair;
}
