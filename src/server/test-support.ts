// For tests only: a real server as a child process on a free port, and a small signed client that never
// repeats a request, so that a test sees every error a client could see.

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { type Agent, type IncomingHttpHeaders, request } from 'node:http';
import { request as requestTls } from 'node:https';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { signRequest } from '../sigv4/sign.ts';

export const testUser = 'test-root-user';
export const testPassword = 'test-root-password';

/** One worker, unless `env` says otherwise. */
export type TestServerOptions = {
  readonly directory: string;
  readonly port: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly envFile?: string;
  readonly hasCredentials?: boolean;
  readonly certsDirectory?: string;
  readonly arguments?: readonly string[];
};

/** A server process and what it has printed. Killed when disposed, if it still runs. */
export type TestServer = AsyncDisposable & {
  readonly child: ChildProcess;
  output(): string;
  /** Resolves when the output matches. Rejects when the process ends first. */
  printed(pattern: RegExp): Promise<void>;
  /** Sends the signal and resolves with the exit code. */
  end(signal: NodeJS.Signals): Promise<number | null>;
  readonly exited: Promise<number | null>;
};

/** Starts `coffer server`; does not wait for anything. */
export function startTestServer(options: TestServerOptions): TestServer {
  const main = join(import.meta.dirname, 'main.ts');
  const args = ['server', options.directory, '--address', `127.0.0.1:${options.port}`];
  const certsDirectory = options.certsDirectory ?? join(options.directory, 'no-certs');
  args.push('--certs-dir', certsDirectory, ...(options.arguments ?? []));
  if (options.envFile !== undefined) args.push('--env-file', options.envFile);
  const credentials = { MINIO_ROOT_USER: testUser, MINIO_ROOT_PASSWORD: testPassword };
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', main, ...args], {
    env: {
      PATH: process.env['PATH'],
      HOME: options.directory,
      COFFER_WORKERS: '1',
      ...(options.hasCredentials === false ? {} : credentials),
      ...options.env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8');
    stream.on('data', (text: string) => {
      output += text;
      child.emit('output');
    });
  }
  const exited = new Promise<number | null>((resolve) => child.once('close', resolve));
  return {
    child,
    exited,
    output: () => output,
    printed: (pattern) => untilPrinted(child, pattern, () => output),
    end: (signal) => {
      child.kill(signal);
      return exited;
    },
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
      await exited;
    },
  };
}

async function untilPrinted(child: ChildProcess, pattern: RegExp, output: () => string) {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const look = (): void => {
    if (pattern.test(output())) resolve();
  };
  child.on('output', look);
  child.once('close', () => {
    look();
    reject(new Error(`ended before ${pattern} was printed:\n${output()}`));
  });
  look();
  await promise;
  child.off('output', look);
}

/** A port that is free now. */
export async function findTestPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (typeof address !== 'object' || address === null) throw new Error('no port');
  return address.port;
}

/** A directory that disappears with the scope. */
export function makeTestDirectory(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), 'coffer-server-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

export type TestAnswer = {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
};

export type TestCall = {
  readonly port: number;
  readonly method?: string;
  readonly target: string;
  readonly body?: Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
  /** Unsigned when false. */
  readonly isSigned?: boolean;
  readonly region?: string;
  readonly accessKey?: string;
  readonly secretKey?: string;
  readonly agent?: Agent;
  /** Certificate to trust: the call is HTTPS then. */
  readonly ca?: string;
  /** Waits for `100 Continue` before the body is sent. */
  readonly expectsContinue?: boolean;
};

/** Sends one request, once. Rejects for anything that is not a whole HTTP answer. */
export function callServer(call: TestCall): Promise<TestAnswer> {
  const method = call.method ?? 'GET';
  const bytes = call.body ?? new Uint8Array(0);
  const plain = {
    host: `127.0.0.1:${call.port}`,
    ...call.headers,
    ...(call.expectsContinue ? { expect: '100-continue' } : {}),
    ...(bytes.length > 0 ? { 'content-length': String(bytes.length) } : {}),
  };
  const credentials = {
    accessKey: call.accessKey ?? testUser,
    secretKey: call.secretKey ?? testPassword,
  };
  const headers =
    call.isSigned === false
      ? plain
      : signRequest({
          method,
          target: call.target,
          headers: plain,
          credentials,
          region: call.region ?? 'us-east-1',
          timeMs: Date.now(),
          payload: bytes.length > 0 ? { kind: 'bytes', bytes } : { kind: 'empty' },
        }).headers;
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port: call.port, method, path: call.target, headers };
    const start = call.ca === undefined ? request : requestTls;
    const secure = call.ca === undefined ? {} : { ca: call.ca };
    const req = start({ ...options, ...secure, agent: call.agent ?? false }, (res) => {
      const chunks: Buffer[] = [];
      res.on('data', (chunk: Buffer) => chunks.push(chunk));
      res.on('error', reject);
      res.on('end', () =>
        resolve({
          status: res.statusCode ?? 0,
          headers: res.headers,
          body: Buffer.concat(chunks),
        }),
      );
    });
    req.on('error', reject);
    if (call.expectsContinue) req.on('continue', () => req.end(bytes));
    else req.end(bytes);
  });
}

/** Calls until `isGood` holds; for states that are reached eventually. */
export async function callUntil(
  call: TestCall,
  isGood: (answer: TestAnswer) => boolean,
): Promise<TestAnswer> {
  for (;;) {
    const answer = await callServer(call);
    if (isGood(answer)) return answer;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
