// `coffer kes server`: flags, configuration file or development mode, signals, and the two logs on stdout
// and stderr. The service itself is in kes-service.ts.

import { readFile } from 'node:fs/promises';
import { Command, CommanderError } from 'commander';
import type { CliIo } from '../../cli/io.ts';
import {
  defaultAddress,
  defaultCache,
  type KesConfig,
  type KesConfigFile,
  type KesConfigWarning,
  parseKesConfigFile,
  readAddress,
} from '../../kes/config/config.ts';
import { KesConfigError } from '../../kes/config/yaml.ts';
import { LineHub } from '../../kes/handlers/logs.ts';
import { KesMetrics } from '../../kes/metrics.ts';
import type { KesTlsMaterial } from '../../kes/transport/tls.ts';
import { createClientCertificate, formatApiKey, generateApiKey } from '../../wire/kes-identity.ts';
import { formatBanner, interfaceAddresses } from './banner.ts';
import { createAuditLog, createKesLog, LineWriter } from './log.ts';
import { type KesServer, startKesServer } from './service.ts';

export { type KesServer, type KesServerDeps, startKesServer } from './service.ts';

type Flags = {
  readonly config?: string;
  readonly addr?: string;
  readonly dev?: boolean;
  readonly key?: string;
  readonly cert?: string;
  readonly auth?: string;
};

/** What to run: a configuration with, in development mode, its own certificate and API key. */
type Plan = {
  readonly config: KesConfig;
  readonly warnings: readonly KesConfigWarning[];
  readonly tls?: KesTlsMaterial;
  readonly apiKey?: string;
};

/** Runs `kes server` until the signal of `io`; gives the exit code. Errors are printed, never thrown. */
export async function runKesServer(argv: readonly string[], io: CliIo): Promise<number> {
  try {
    const flags = parseFlags(argv, io);
    if (typeof flags === 'number') return flags;
    for (const flag of ['key', 'cert', 'auth'] as const) {
      if (flags[flag] === undefined) continue;
      io.stderr.write(`Warning: '--${flag}' has no effect: use the configuration file\n`);
    }
    await serveUntilStopped(flags, io);
    return 0;
  } catch (error) {
    io.stderr.write(`Error: ${(error as Error).message}\n`);
    return 1;
  }
}

function parseFlags(argv: readonly string[], io: CliIo): Flags | number {
  const command = new Command('kes server')
    .description('Start a key service.')
    .option('--addr <IP:PORT>', 'address to listen on (default 0.0.0.0:7373)')
    .option('--config <FILE>', 'configuration file')
    .option('--dev', 'development mode: keys in memory, a fresh API key')
    .option('--key <FILE>', 'no effect, see tls.key in the configuration file')
    .option('--cert <FILE>', 'no effect, see tls.cert in the configuration file')
    .option('--auth <on|off>', 'no effect, see tls.auth in the configuration file')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.stderr.write(text),
      writeErr: (text) => io.stderr.write(text.replace(/^error: /, 'Error: ')),
    })
    .allowExcessArguments(false);
  try {
    command.parse([...argv], { from: 'user' });
    return command.opts<Flags>();
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.code === 'commander.helpDisplayed' ? 2 : 1;
  }
}

async function makePlan(flags: Flags, io: CliIo): Promise<Plan> {
  if (flags.dev === true) {
    if (flags.config !== undefined) {
      throw new Error("'--config' flag is not supported in development mode");
    }
    return await devPlan(readAddress(flags.addr ?? defaultAddress));
  }
  return await readConfig(flags, io);
}

/** Rejects with an error that names the file and, where there is one, the line. */
async function readConfig(flags: Flags, io: CliIo): Promise<KesConfigFile> {
  const file = flags.config ?? '';
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const reason = code === 'ENOENT' ? 'no such file or directory' : (error as Error).message;
    throw new Error(`open ${file}: ${reason}`, { cause: error });
  }
  let read: KesConfigFile;
  try {
    read = parseKesConfigFile(text, io.env);
  } catch (error) {
    if (!(error instanceof KesConfigError)) throw error;
    throw new Error(`${placeOf(file, error.line)}: ${error.message}`, { cause: error });
  }
  if (flags.addr === undefined) return read;
  return { ...read, config: { ...read.config, address: readAddress(flags.addr) } };
}

function placeOf(file: string, line: number | undefined): string {
  return line === undefined ? file : `${file}:${line}`;
}

/** Keys in memory, an admin with a fresh API key, a self-signed certificate for this machine. */
async function devPlan(address: string): Promise<Plan> {
  const apiKey = generateApiKey();
  const server = await createClientCertificate(generateApiKey(), {
    commonName: 'localhost',
    ipAddresses: interfaceAddresses(),
    isServer: true,
  });
  const config: KesConfig = {
    address,
    admin: apiKey.identity,
    tls: {
      key: '',
      cert: '',
      password: '',
      auth: 'off',
      ca: '',
      proxy: { identities: [], certHeader: '' },
    },
    policies: [],
    cache: defaultCache,
    api: new Map(),
    log: { error: 0, audit: 0 },
    keys: [],
    keyStore: { type: 'memory' },
  };
  const tls = { ...server, roots: [] };
  return { config, warnings: [], tls, apiKey: formatApiKey(apiKey) };
}

async function serveUntilStopped(flags: Flags, io: CliIo): Promise<void> {
  const plan = await makePlan(flags, io);
  let levels = plan.config.log;
  const metrics = new KesMetrics({ nowMs: Date.now });
  const hubs = { error: new LineHub(), audit: new LineHub() };
  const writers = { error: new LineWriter(io.stderr), audit: new LineWriter(io.stdout) };
  const logDeps = (kind: 'error' | 'audit') => ({
    writer: writers[kind],
    hub: hubs[kind],
    metrics,
    nowMs: Date.now,
  });
  const log = createKesLog(() => levels.error, logDeps('error'));
  const warn = (warnings: readonly KesConfigWarning[]) => {
    for (const { line, message } of warnings) {
      log.warn(`${placeOf(flags.config ?? '', line)}: ${message}`);
    }
  };
  warn(plan.warnings);
  const server = await startKesServer(plan.config, {
    log,
    audit: createAuditLog(() => levels.audit, logDeps('audit')),
    metrics,
    hubs,
    ...(plan.tls === undefined ? {} : { tls: plan.tls }),
  });
  const banner = (config: KesConfig) => {
    const { address, port } = server.address;
    const shown = plan.apiKey === undefined ? {} : { apiKey: plan.apiKey };
    writers.audit.flush();
    io.stdout.write(formatBanner(config, { host: address, port, ...shown }));
  };
  banner(plan.config);
  const onHangup = () => {
    void reload(server, { flags, io }).then((read) => {
      if (read === undefined) return;
      levels = read.config.log;
      warn(read.warnings);
      banner(read.config);
      io.stdout.write('=> Reloading configuration after SIGHUP signal completed.\n');
    });
  };
  if (flags.dev !== true) process.on('SIGHUP', onHangup);
  await stopped(io.signal);
  process.off('SIGHUP', onHangup);
  writers.audit.flush();
  io.stdout.write('\n=> Stopping server... Goodbye.\n');
  await server.close();
  for (const writer of Object.values(writers)) writer.flush();
}

/** Loads the configuration again; undefined, with the reason printed, when it is no good. */
async function reload(
  server: KesServer,
  from: { readonly flags: Flags; readonly io: CliIo },
): Promise<KesConfigFile | undefined> {
  const { stderr } = from.io;
  stderr.write('SIGHUP signal received. Reloading configuration...\n');
  let read: KesConfigFile;
  try {
    read = await readConfig(from.flags, from.io);
  } catch (error) {
    stderr.write(`Failed to reload server config: ${(error as Error).message}\n`);
    return undefined;
  }
  try {
    await server.reload(read.config);
    return read;
  } catch (error) {
    stderr.write(`Failed to update server configuration: ${(error as Error).message}\n`);
    return undefined;
  }
}

function stopped(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
