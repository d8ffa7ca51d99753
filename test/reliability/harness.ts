// What the reliability suites share: a store started as an operator starts it, without waiting for it to be
// ready, and the few calls that look at it from outside. Everything a suite starts is stopped by its `Cleanup`.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { signRequest } from '../../src/sigv4/sign.ts';
import { cofferBin } from '../support/coffer-pair.ts';
import { freePort, memoryOf, type Program, startProgram } from '../support/programs.ts';
import {
  type S3TestAnswer,
  type S3TestClient,
  type S3TestRequest,
  s3TestClient,
} from '../support/s3-test-client.ts';

export const accessKey = 'coffer-root';
export const secretKey = 'coffer-root-secret';
export const sse = { 'x-amz-server-side-encryption': 'AES256' } as const;

/** Runs what was registered, last first, and lets nothing stop the rest. */
export class Cleanup {
  readonly #steps: (() => Promise<void> | void)[] = [];

  add(step: () => Promise<void> | void): void {
    this.#steps.push(step);
  }

  async run(): Promise<void> {
    for (const step of this.#steps.splice(0).toReversed()) {
      try {
        await step();
      } catch (error) {
        console.error('cleanup:', error);
      }
    }
  }

  /** A directory that goes with the rest. */
  directory(name: string): string {
    const dir = mkdtempSync(path.join(tmpdir(), `coffer-${name}-`));
    this.add(() => rmSync(dir, { recursive: true, force: true }));
    return dir;
  }
}

export type Store = {
  readonly port: number;
  readonly dataDir: string;
  readonly program: Program;
  readonly client: S3TestClient;
  /** Everything it has printed so far. */
  log(): string;
  /** Ends it, workers and all, without a chance to tidy up. */
  killAll(): Promise<void>;
};

export type StoreOptions = {
  /** The data directory is `<dir>/data`. */
  readonly dir: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly port?: number;
  readonly envFile?: string;
  /** Put before the command: `['sh', '-c', 'ulimit -n 64; exec "$@"', 'sh']`. */
  readonly prefix?: readonly string[];
  readonly connections?: number;
};

let started = 0;

/** Starts a store; it may or may not get ready. */
export async function startStore(options: StoreOptions, cleanup: Cleanup): Promise<Store> {
  const port = options.port ?? (await freePort());
  const dataDir = path.join(options.dir, 'data');
  const flags = options.envFile === undefined ? [] : ['--env-file', options.envFile];
  const server = [cofferBin, 'server', dataDir, '--address', `127.0.0.1:${port}`, ...flags];
  const program = await startProgram({
    name: `store-${(started += 1)}`,
    command: [...(options.prefix ?? []), ...server],
    dir: options.dir,
    env: {
      MINIO_ROOT_USER: accessKey,
      MINIO_ROOT_PASSWORD: secretKey,
      COFFER_WORKERS: '2',
      // The machine may be busy with something else.
      COFFER_RESTART_TIMEOUT_SECONDS: '120',
      ...options.env,
    },
  });
  const client = s3TestClient({
    port,
    accessKey,
    secretKey,
    connections: options.connections ?? 32,
  });
  cleanup.add(async () => {
    client.close();
    await program.stop(5_000);
  });
  return {
    port,
    dataDir,
    program,
    client,
    log: () => readFileSync(program.logFile, 'utf8'),
    killAll: async () => {
      for (const { pid } of memoryOf(program.pid).toReversed()) kill(pid, 'SIGKILL');
      await program.ended;
    },
  };
}

export function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended already.
  }
}

/** Sends something and requires this status; the error names what came instead. */
export async function expectStatus(
  client: S3TestClient,
  asked: S3TestRequest,
  status: number,
): Promise<S3TestAnswer> {
  const answer = await client.send(asked);
  if (answer.status !== status) {
    const text = answer.body.subarray(0, 500).toString();
    throw new Error(`${asked.method} ${asked.target}: ${answer.status}, not ${status}: ${text}`);
  }
  return answer;
}

/** The code of an S3 error answer; of its headers when it has no body. */
export function codeOf(answer: S3TestAnswer): string {
  const inBody = /<Code>([^<]*)<\/Code>/.exec(answer.body.toString())?.[1];
  return inBody ?? String(answer.headers['x-minio-error-code'] ?? '');
}

export type ProbeAnswer = { readonly status: number; readonly text: string };

/** An unsigned GET on a connection of its own. */
export function get(port: number, target: string): Promise<ProbeAnswer> {
  return new Promise((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port, path: target, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('error', reject);
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
    });
    sent.on('error', reject);
    sent.end();
  });
}

export async function isReady(port: number): Promise<boolean> {
  return (await get(port, '/minio/health/ready')).status === 200;
}

/** A signed call of the admin API. */
export function callAdmin(port: number, method: string, target: string): Promise<ProbeAnswer> {
  const { headers } = signRequest({
    method,
    target,
    headers: { host: `127.0.0.1:${port}` },
    credentials: { accessKey, secretKey },
    region: '',
    timeMs: Date.now(),
    payload: { kind: 'empty' },
  });
  return new Promise((resolve, reject) => {
    const agent = new Agent();
    const options = { host: '127.0.0.1', port, method, path: target, agent };
    const sent = request({ ...options, headers: { ...headers, 'content-length': 0 } }, (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (chunk: string) => {
        text += chunk;
      });
      answer.on('error', reject);
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, text }));
    });
    sent.on('error', reject);
    sent.end();
  });
}

/** Polls until it holds; throws with what it was waiting for. */
export async function eventually(
  what: string,
  holds: () => Promise<boolean> | boolean,
  limitMs = 90_000,
): Promise<void> {
  const deadline = Date.now() + limitMs;
  let last: unknown;
  while (Date.now() < deadline) {
    try {
      if (await holds()) return;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`not within ${limitMs} ms: ${what}`, { cause: last });
}

/** Waits until a store serves; throws with its log when it ends instead. */
export async function untilReady(store: Store): Promise<void> {
  let hasEnded = false;
  void store.program.ended.then(() => {
    hasEnded = true;
  });
  await eventually('the store is ready', async () => {
    if (hasEnded) return true;
    return await isReady(store.port).catch(() => false);
  });
  if (hasEnded) throw new Error(`the store ended:\n${store.log()}`);
}

/** Resolves with the exit code of a store that is expected to give up. */
export async function untilEnded(store: Store, limitMs = 90_000): Promise<number | null> {
  let code: number | null | undefined;
  void store.program.ended.then((found) => {
    code = found;
  });
  await eventually('the store ended', () => code !== undefined, limitMs);
  return code ?? null;
}
