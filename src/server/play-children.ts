// Starts and ends the programs of the sandbox. Each is this very program with another command, as a
// child process whose output goes to a file in the folder; none outlives the sandbox.

import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { type ClientRequest, get, type IncomingMessage } from 'node:http';
import { get as getTls } from 'node:https';
import { join } from 'node:path';

import type { PlayFolder } from './play-folder.ts';

const readyTimeoutMs = 30_000;
const pollMs = 100;
const stopTimeoutMs = 40_000;

export type PlayErrorCode = 'not-ready' | 'ended' | 'step' | 'usage';

/** The sandbox cannot go on; the message says why. */
export class PlayError extends Error {
  readonly code: PlayErrorCode;
  constructor(code: PlayErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'PlayError';
    this.code = code;
  }
}

/** How a command of the sandbox ended. */
export type CommandResult = { readonly exitCode: number; readonly output: string };

/** Sends one request that a service answers with 200 when it is ready. */
type Probe = (done: (res: IncomingMessage) => void) => ClientRequest;

export class PlayChildren implements AsyncDisposable {
  readonly #folder: PlayFolder;
  readonly #children: { readonly name: string; readonly child: ChildProcess; log: string }[] = [];
  readonly #ended = Promise.withResolvers<string>();

  constructor(folder: PlayFolder) {
    this.#folder = folder;
  }

  /** Resolves with the name of the first service that ends by itself. */
  get ended(): Promise<string> {
    return this.#ended.promise;
  }

  /** Starts the key service and waits until it answers. Throws `PlayError`. */
  async startKes(): Promise<void> {
    const { kesConfig, addresses, kesLog, kesCertificate, rootKey, rootCert } = this.#folder;
    const args = ['kes', 'server', '--config', kesConfig, '--addr', addresses.kes];
    const options = {
      ca: readFileSync(kesCertificate),
      key: readFileSync(rootKey),
      cert: readFileSync(rootCert),
      agent: false as const,
    };
    this.#start('key service', args, kesLog);
    await this.#untilReady('key service', kesLog, (done) =>
      getTls(`https://${addresses.kes}/version`, options, done),
    );
  }

  /** Starts the store and waits until it answers. Throws `PlayError`. */
  async startStore(): Promise<void> {
    const { storeData, addresses, storeEnv, storeCerts, storeLog } = this.#folder;
    const args = ['server', storeData, '--address', addresses.store];
    this.#start('store', [...args, '--env-file', storeEnv, '--certs-dir', storeCerts], storeLog);
    await this.#untilReady('store', storeLog, (done) =>
      get(`http://${addresses.store}/minio/health/live`, done),
    );
  }

  /** Runs `kes …` or `mc …` against the sandbox, with `input` on its standard input. */
  async run(args: readonly string[], input = ''): Promise<CommandResult> {
    const { addresses, rootKey, rootCert, mcConfig } = this.#folder;
    const env = {
      ...cleanEnvironment(),
      KES_SERVER: `https://${addresses.kes}`,
      KES_CLIENT_KEY: rootKey,
      KES_CLIENT_CERT: rootCert,
      MC_CONFIG_DIR: mcConfig,
    };
    const child = spawn(process.execPath, commandLine(args), { env, stdio: 'pipe' });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8');
      stream.on('data', (text: string) => {
        output += text;
      });
    }
    child.stdin.on('error', () => {});
    child.stdin.end(input);
    const exitCode = await new Promise<number>((resolve) =>
      child.once('close', (code) => resolve(code ?? 1)),
    );
    return { exitCode, output };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#children.map(({ child }) => stop(child)));
  }

  #start(name: string, args: readonly string[], log: string): void {
    const file = openSync(log, 'a', 0o600);
    const child = spawn(process.execPath, commandLine(args), {
      env: cleanEnvironment(),
      stdio: ['ignore', file, file],
      // A group of its own: Ctrl-C reaches the sandbox, which then ends its children in order.
      detached: true,
    });
    closeSync(file);
    child.once('exit', () => this.#ended.resolve(name));
    this.#children.push({ name, child, log });
  }

  async #untilReady(name: string, log: string, request: Probe): Promise<void> {
    const child = this.#children.find((each) => each.name === name)?.child;
    const endMs = performance.now() + readyTimeoutMs;
    while (performance.now() < endMs) {
      if (child?.exitCode !== null) {
        throw new PlayError('ended', `the ${name} ended at once:\n${lastLines(log)}`);
      }
      if (await isAnswered(request)) return;
      await new Promise((resolve) => setTimeout(resolve, pollMs));
    }
    throw new PlayError('not-ready', `the ${name} does not answer: see ${log}`);
  }
}

function isAnswered(request: Probe): Promise<boolean> {
  return new Promise((resolve) => {
    request((res) => {
      res.resume();
      resolve(res.statusCode === 200);
    }).on('error', () => resolve(false));
  });
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), stopTimeoutMs);
  await ended;
  clearTimeout(timer);
}

function commandLine(args: readonly string[]): string[] {
  const main = join(import.meta.dirname, 'main.ts');
  return ['--disable-warning=ExperimentalWarning', main, ...args];
}

/** The environment without settings meant for other servers and services. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(MINIO|KES|MC|COFFER)_/.test(name) && name !== 'NODE_OPTIONS',
  );
  return Object.fromEntries(kept);
}

function lastLines(log: string): string {
  return readFileSync(log, 'utf8').trimEnd().split('\n').slice(-5).join('\n');
}
