// Runs a whole `kes` command in the same process, against a key service of this program, and gives what it
// printed.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import type { TestContext } from 'node:test';
import { after, before } from 'node:test';
import { silentLog } from '../../src/base/log.ts';
import { formatAuditJson } from '../../src/kes/audit/audit.ts';
import { LineHub } from '../../src/kes/handlers/logs.ts';
import { runKesProgram } from '../../src/server/kes/commands.ts';
import { startKesServer } from '../../src/server/kes/service.ts';
import { formatApiKey, generateApiKey, type KesApiKey } from '../../src/wire/kes-identity.ts';
import { createTestServerFiles, testKesConfig } from './kes-server.ts';

/** What a command printed, and its exit code. */
export type CliResult = {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
};

export type CliOptions = {
  /** Besides the one that leads to the server of the test. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly stdin?: string;
  /** Whether standard input, output and error are terminals. */
  readonly isTerminal?: boolean;
  readonly signal?: AbortSignal;
  /** Called with everything printed so far. */
  readonly onStdout?: (text: string) => void;
};

/** Runs one command line without the leading `kes`. */
export async function runCli(
  argv: readonly string[],
  options: CliOptions = {},
): Promise<CliResult> {
  const chunks: { stdout: string; stderr: string } = { stdout: '', stderr: '' };
  const isTTY = options.isTerminal ?? false;
  const sink = (name: 'stdout' | 'stderr') => {
    const stream = new Writable({
      write(chunk: Buffer, _, done) {
        chunks[name] += chunk.toString('utf8');
        if (name === 'stdout') options.onStdout?.(chunks.stdout);
        done();
      },
    });
    return Object.assign(stream, { isTTY });
  };
  const stdin = Readable.from([Buffer.from(options.stdin ?? '')], { objectMode: false });
  const code = await runKesProgram(argv, {
    env: { ...options.env },
    stdin: Object.assign(stdin, { isTTY }),
    stdout: sink('stdout'),
    stderr: sink('stderr'),
    signal: options.signal ?? new AbortController().signal,
  });
  return { code, ...chunks };
}

/** The server that commands talk to. */
export type CliServer = {
  readonly origin: string;
  readonly serverCert: string;
  readonly admin: KesApiKey;
  /** Of the policy `store`. */
  readonly store: KesApiKey;
  /** What is published here goes to those who follow the logs; audit events go there by themselves. */
  readonly hubs: { readonly error: LineHub; readonly audit: LineHub };
  close(): Promise<void>;
};

/** Commands of one test file, run as the admin of a server that lives as long as the file. */
export type TestCli = {
  readonly server: CliServer;
  readonly run: (argv: readonly string[], options?: CliOptions) => Promise<CliResult>;
  /** Asserts success without a word on stderr; what was printed. */
  readonly out: (argv: readonly string[], options?: CliOptions) => Promise<string>;
  /** Asserts the one error line and nothing else. */
  readonly fails: (argv: readonly string[], stderr: string, options?: CliOptions) => Promise<void>;
};

async function startCliServer(): Promise<CliServer> {
  const [admin, store] = [generateApiKey(), generateApiKey()];
  const files = await createTestServerFiles();
  const hubs = { error: new LineHub(), audit: new LineHub() };
  const allow = ['/v1/key/create/*', '/v1/key/generate/*', '/v1/key/decrypt/*', '/v1/api'];
  const running = await startKesServer(
    {
      ...testKesConfig(admin),
      policies: [{ name: 'store', allow, deny: [], identities: [store.identity] }],
    },
    {
      log: silentLog,
      audit: { record: (event) => hubs.audit.publish(formatAuditJson(event)) },
      hubs,
      tls: { ...files, roots: [] },
    },
  );
  const origin = `https://127.0.0.1:${running.address.port}`;
  const close = () => running.close();
  return { origin, serverCert: files.cert, admin, store, hubs, close };
}

/** Starts the server before the tests of the file and stops it after them. */
export function useTestCli(): TestCli {
  let server: CliServer;
  let env: Record<string, string>;
  let trustDir: string;
  before(async () => {
    server = await startCliServer();
    trustDir = mkdtempSync(join(tmpdir(), 'coffer-kes-'));
    writeFileSync(join(trustDir, 'ca.crt'), server.serverCert);
    env = {
      KES_SERVER: server.origin,
      KES_API_KEY: formatApiKey(server.admin),
      SSL_CERT_FILE: join(trustDir, 'ca.crt'),
    };
  });
  after(async () => {
    await server.close();
    rmSync(trustDir, { recursive: true });
  });
  const cli: TestCli = {
    get server() {
      return server;
    },
    run: (argv, options = {}) => runCli(argv, { ...options, env: { ...env, ...options.env } }),
    async out(argv, options) {
      const result = await cli.run(argv, options);
      assert.deepEqual([result.code, result.stderr], [0, ''], argv.join(' '));
      return result.stdout;
    },
    async fails(argv, stderr, options) {
      const expected = { code: 1, stdout: '', stderr: `Error: ${stderr}\n` };
      assert.deepEqual(await cli.run(argv, options), expected);
    },
  };
  return cli;
}

/**
 * Makes a configuration in the folder with `kes init`, runs `kes server` on a free port with it while the
 * work is done, and stops it. The work gets the environment of its admin.
 */
export async function withInitialServer(
  folder: string,
  work: (env: Readonly<Record<string, string>>) => Promise<void>,
): Promise<void> {
  const made = await runCli(['init', folder, '--addr', '127.0.0.1:0']);
  assert.deepEqual([made.code, made.stderr], [0, '']);
  const controller = new AbortController();
  const { promise: banner, resolve } = Promise.withResolvers<string>();
  const serving = runCli(['server', '--config', join(folder, 'config.yml')], {
    signal: controller.signal,
    onStdout: (text) => {
      if (text.includes('up and running')) resolve(text);
    },
  });
  const text = await Promise.race([banner, serving.then((result) => result.stderr)]);
  try {
    await work({
      KES_SERVER: /https:\/\/(127\.0\.0\.1:\d+)/.exec(text)?.[1] ?? text,
      KES_API_KEY: /^ {3}(kes:v1:\S+)$/m.exec(made.stdout)?.[1] ?? '',
      SSL_CERT_FILE: join(folder, 'server.crt'),
    });
  } finally {
    controller.abort();
  }
  assert.equal((await serving).code, 0);
}

/** A folder that goes with the test. */
export function tempFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'coffer-kes-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}
