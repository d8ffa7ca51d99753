// The command-line clients as a table: how each makes a bucket, uploads, downloads, lists, copies and removes with
// an encryption mode. One function call may be one start of the program or, for awscli, one of many in one process.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { projectRoot } from '../support/programs.ts';
import { clientPaths, interopDir, type Ran, runClient } from './clients.ts';
import type { Mode } from './s3-plan.ts';
import type { S3Store } from './s3-store.ts';

export type Tool = {
  /** Modes it can ask for over TLS; over HTTP the same without client keys. */
  readonly modes: readonly Mode['kind'][];
  makeBucket(bucket: string): Promise<void>;
  /** A local folder to `bucket/prefix/`. */
  upload(dir: string, at: { bucket: string; prefix: string; mode: Mode }): Promise<void>;
  download(dir: string, at: { bucket: string; prefix: string; mode: Mode }): Promise<void>;
  /** Within the store, to another prefix and mode. */
  copy(
    from: { bucket: string; prefix: string; mode: Mode },
    to: { bucket: string; prefix: string; mode: Mode },
  ): Promise<void>;
  /** How many objects the client counts below a prefix. */
  count(bucket: string, prefix: string): Promise<number>;
  /** A URL that reads one object without credentials. */
  presign?(bucket: string, key: string): Promise<string>;
  /** Removes the bucket with all that is in it. */
  removeBucket(bucket: string): Promise<void>;
  /** Whether it takes every ETag for an MD5 unless it is told the mode. */
  readonly trustsEtags?: boolean;
  close?(): void;
};

/** Runs a program and fails with all it printed unless it succeeds. */
export async function succeed(
  command: readonly string[],
  options: Parameters<typeof runClient>[1] = {},
): Promise<Ran> {
  const ran = await runClient(command, { limitMs: 500_000, ...options });
  assert.equal(
    ran.exitCode,
    0,
    `${command.join(' ')}\n${ran.stdout.slice(-2000)}\n${ran.stderr.slice(-3000)}`,
  );
  return ran;
}

type LineProgram = { ask(question: unknown): Promise<string>; close(): void };

/** A program that answers each line of its input with a line. */
function startLineProgram(
  command: readonly string[],
  env: Readonly<Record<string, string>>,
): LineProgram {
  const [file = '', ...args] = command;
  const child = spawn(file, args, {
    env: { PATH: process.env['PATH'], ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const answers = createInterface(child.stdout)[Symbol.asyncIterator]();
  return {
    ask: async (question) => {
      child.stdin.write(`${JSON.stringify(question)}\n`);
      const answer = await answers.next();
      if (answer.done === true) throw new Error(`${command.join(' ')} ended`);
      return answer.value;
    },
    close: () => child.stdin.end(),
  };
}

const lines = (text: string): number => text.split('\n').filter((line) => line !== '').length;

/** awscli of the given Python. */
export function awscli(store: S3Store, python: string): Tool {
  const keyFile = path.join(store.dir, 'aws-customer-key');
  const env = {
    HOME: store.dir,
    PYTHONDONTWRITEBYTECODE: '1',
    AWS_ACCESS_KEY_ID: store.at.accessKey,
    AWS_SECRET_ACCESS_KEY: store.at.secretKey,
    AWS_DEFAULT_REGION: 'us-east-1',
    AWS_EC2_METADATA_DISABLED: 'true',
    AWS_CONFIG_FILE: path.join(store.dir, 'aws-config'),
    ...(store.at.caFile !== undefined && { AWS_CA_BUNDLE: store.at.caFile }),
  };
  writeFileSync(
    env.AWS_CONFIG_FILE,
    '[default]\ns3 =\n  multipart_threshold = 5MB\n  multipart_chunksize = 5MB\n  addressing_style = path\n',
  );
  const script = path.join(projectRoot, 'test/interop/s3-drivers/aws_many.py');
  const program = startLineProgram([python, script], env);
  const aws = async (...args: string[]): Promise<string> => {
    const answer = await program.ask(['--endpoint-url', store.at.endpoint, ...args]);
    const { exitCode, stdout, stderr }: Ran = JSON.parse(answer);
    assert.equal(
      exitCode,
      0,
      `aws ${args.join(' ')}\n${stdout.slice(-1000)}\n${stderr.slice(-2000)}`,
    );
    return stdout;
  };
  const customer = (mode: Mode, option: string): string[] => {
    if (mode.kind !== 'c') return [];
    writeFileSync(keyFile, mode.key);
    return [option, 'AES256', `${option}-key`, `fileb://${keyFile}`];
  };
  const asked = (mode: Mode): string[] => {
    if (mode.kind === 's3') return ['--sse', 'AES256'];
    if (mode.kind === 'kms')
      return ['--sse', 'aws:kms', ...(mode.keyId ? ['--sse-kms-key-id', mode.keyId] : [])];
    return customer(mode, '--sse-c');
  };
  const url = (at: { bucket: string; prefix: string }): string => `s3://${at.bucket}/${at.prefix}/`;
  const quiet = ['--only-show-errors', '--recursive'];
  return {
    modes: ['none', 's3', 'kms', 'c'],
    makeBucket: async (bucket) => void (await aws('s3', 'mb', `s3://${bucket}`)),
    upload: async (dir, at) =>
      void (await aws('s3', 'cp', ...quiet, ...asked(at.mode), dir, url(at))),
    download: async (dir, at) =>
      void (await aws('s3', 'cp', ...quiet, ...customer(at.mode, '--sse-c'), url(at), dir)),
    copy: async (from, to) => {
      const source = customer(from.mode, '--sse-c-copy-source');
      await aws('s3', 'cp', ...quiet, ...asked(to.mode), ...source, url(from), url(to));
    },
    count: async (bucket, prefix) =>
      lines(await aws('s3', 'ls', '--recursive', `s3://${bucket}/${prefix}`)),
    presign: async (bucket, key) => (await aws('s3', 'presign', `s3://${bucket}/${key}`)).trim(),
    removeBucket: async (bucket) => void (await aws('s3', 'rb', '--force', `s3://${bucket}`)),
    close: program.close,
  };
}

/** awscli 1 and 2, by the Python they are installed for. */
export const awscliPythons = {
  'awscli 1': path.join(interopDir, 'venv/bin/python'),
  'awscli 2': '/usr/bin/python3',
} as const;

/** s3cmd: it knows no client keys. */
export function s3cmd(store: S3Store): Tool {
  const host = new URL(store.at.endpoint).host;
  const run = (...args: string[]): Promise<Ran> =>
    succeed(
      [
        clientPaths.s3cmd,
        ...(store.at.caFile === undefined
          ? ['--no-ssl']
          : ['--ssl', `--ca-certs=${store.at.caFile}`]),
        `--host=${host}`,
        `--host-bucket=${host}`,
        `--access_key=${store.at.accessKey}`,
        `--secret_key=${store.at.secretKey}`,
        '--no-progress',
        '--multipart-chunk-size-mb=5',
        ...args,
      ],
      { env: { HOME: store.dir, LC_ALL: 'C.UTF-8' } },
    );
  const asked = (mode: Mode): string[] => {
    if (mode.kind === 'none') return [];
    const id = mode.kind === 'kms' ? mode.keyId : undefined;
    return [
      '--server-side-encryption',
      ...(id === undefined ? [] : [`--server-side-encryption-kms-id=${id}`]),
    ];
  };
  const url = (at: { bucket: string; prefix: string }): string => `s3://${at.bucket}/${at.prefix}/`;
  return {
    modes: ['none', 's3', 'kms'],
    makeBucket: async (bucket) => void (await run('mb', `s3://${bucket}`)),
    upload: async (dir, at) =>
      void (await run('put', '--recursive', ...asked(at.mode), `${dir}/`, url(at))),
    download: async (dir, at) => void (await run('get', '--recursive', url(at), `${dir}/`)),
    copy: async (from, to) =>
      void (await run('cp', '--recursive', ...asked(to.mode), url(from), url(to))),
    count: async (bucket, prefix) =>
      lines((await run('ls', '--recursive', `s3://${bucket}/${prefix}`)).stdout),
    presign: async (bucket, key) => {
      const { stdout } = await run('signurl', `s3://${bucket}/${key}`, '+60');
      return store.transport === 'tls' ? stdout.trim().replace(/^http:/, 'https:') : stdout.trim();
    },
    removeBucket: async (bucket) => {
      await run('info', `s3://${bucket}`);
      await run('rb', '--recursive', '--force', `s3://${bucket}`);
    },
  };
}

/** rclone: the mode is a setting of the remote. */
export function rclone(store: S3Store): Tool {
  const remote = (name: string, mode: Mode): Record<string, string> => {
    const set: Record<string, string | undefined> = {
      TYPE: 's3',
      PROVIDER: 'Minio',
      ENDPOINT: store.at.endpoint,
      ACCESS_KEY_ID: store.at.accessKey,
      SECRET_ACCESS_KEY: store.at.secretKey,
      CHUNK_SIZE: '5M',
      UPLOAD_CUTOFF: '5M',
      SERVER_SIDE_ENCRYPTION: { none: undefined, s3: 'AES256', kms: 'aws:kms', c: undefined }[
        mode.kind
      ],
      SSE_KMS_KEY_ID: mode.kind === 'kms' ? mode.keyId : undefined,
      SSE_CUSTOMER_ALGORITHM: mode.kind === 'c' ? 'AES256' : undefined,
      SSE_CUSTOMER_KEY: mode.kind === 'c' ? mode.key : undefined,
    };
    const entries = Object.entries(set).flatMap(([option, value]) =>
      value === undefined ? [] : [[`RCLONE_CONFIG_${name}_${option}`, value]],
    );
    return Object.fromEntries(entries);
  };
  const none: Mode = { kind: 'none' };
  const run = (args: readonly string[], mode: Mode = none, other: Mode = none): Promise<Ran> =>
    succeed(
      [
        clientPaths.rclone,
        ...(store.at.caFile === undefined ? [] : ['--ca-cert', store.at.caFile]),
        '--retries=1',
        '--low-level-retries=1',
        ...args,
      ],
      { env: { HOME: store.dir, ...remote('C', mode), ...remote('O', other) } },
    );
  return {
    modes: ['none', 's3', 'kms', 'c'],
    makeBucket: async (bucket) => void (await run(['mkdir', `c:${bucket}`])),
    upload: async (dir, at) => {
      const target = `c:${at.bucket}/${at.prefix}`;
      await run(['copy', dir, target], at.mode);
      // Its own comparison: sizes and hashes where it may trust them, else the bytes.
      const check = at.mode.kind === 'none' || at.mode.kind === 's3' ? [] : ['--download'];
      await run(['check', ...check, dir, target], at.mode);
    },
    download: async (dir, at) =>
      void (await run(['copy', `c:${at.bucket}/${at.prefix}`, dir], at.mode)),
    copy: async (from, to) => {
      // Between two settings of one store it asks the store to copy only when both are one remote.
      const flags = from.mode.kind === 'c' ? [] : ['--server-side-across-configs'];
      const paths = [`o:${from.bucket}/${from.prefix}`, `c:${to.bucket}/${to.prefix}`];
      await run(['copy', ...flags, ...paths], to.mode, from.mode);
    },
    count: async (bucket, prefix) =>
      lines((await run(['lsf', '--recursive', '--files-only', `c:${bucket}/${prefix}`])).stdout),
    presign: async (bucket, key) =>
      (await run(['link', '--expire', '1m', `c:${bucket}/${key}`])).stdout.trim(),
    trustsEtags: true,
    removeBucket: async (bucket) => void (await run(['purge', `c:${bucket}`])),
  };
}
