// `coffer server DIR`: reads flags and settings, takes the directory, runs the supervisor until a signal
// or an administrator ends it.

import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

import { Command, CommanderError, Option } from 'commander';

import type { CliIo } from '../cli/io.ts';
import { parseKmsConfig } from '../kms/config.ts';
import { DirectoryLockError, lockDirectory } from './directory-lock.ts';
import { readEnvironment } from './env-file.ts';
import { createLog } from './log.ts';
import { findUnknownSettings, parseSettings, SettingsError } from './settings.ts';
import { formatSettingsHelp } from './settings-page.ts';
import { type LoadedSettings, Supervisor, SupervisorError } from './supervisor.ts';
import { readTlsFiles } from './tls.ts';
import { readVersion } from './version.ts';

type ServerFlags = {
  readonly address?: string;
  readonly certsDir: string;
  readonly envFile?: string;
  readonly json: boolean;
  readonly quiet: boolean;
};

/** Runs the store; resolves with the exit code when it has ended. */
export async function runServer(argv: readonly string[], io: CliIo): Promise<number> {
  const parsed = parseArguments(argv, io);
  if (typeof parsed === 'number') return parsed;
  try {
    return await serve(parsed.directory, parsed.flags, io);
  } catch (error) {
    if (isForOperator(error)) {
      io.stderr.write(`coffer: ${error.message}\n`);
      return 1;
    }
    throw error;
  }
}

async function serve(directory: string, flags: ServerFlags, io: CliIo): Promise<number> {
  const load = (): LoadedSettings => loadSettings(flags, io);
  const loaded = load();
  const log = createLog({ level: loaded.settings.logLevel, isJson: flags.json });
  for (const name of findUnknownSettings(loaded.settings.env)) {
    log.warn(`${name} is not a setting of this program and is ignored: see 'coffer server --help'`);
  }
  const { host, port } = parseAddress(
    flags.address ?? (loaded.settings.env['MINIO_ADDRESS'] || ':9000'),
  );
  using _lock = lockDirectory(directory);
  const supervisor = new Supervisor(
    {
      directory,
      certsDirectory: flags.certsDir,
      host,
      port,
      isJsonLog: flags.json,
      isQuiet: flags.quiet,
    },
    {
      log,
      mainFile: join(import.meta.dirname, 'main.ts'),
      loadSettings: async () => load(),
      announce: (credentials) => io.stdout.write(formatCredentials(credentials)),
    },
  );
  const stop = (): void => void supervisor.stop();
  const restart = (): void => void supervisor.restart();
  io.signal.addEventListener('abort', stop);
  process.on('SIGHUP', restart);
  try {
    const started = await supervisor.start(loaded);
    if (!flags.quiet) {
      const url = `${started.scheme}://${started.host}:${started.port}`;
      const wait = started.isReady ? '' : ', once its key service can be used (see the log)';
      io.stdout.write(`Coffer ${readVersion()} serves ${directory} at ${url}${wait}\n`);
    }
    if (io.signal.aborted) stop();
    await supervisor.stopped;
    return 0;
  } finally {
    io.signal.removeEventListener('abort', stop);
    process.off('SIGHUP', restart);
  }
}

/** Environment and file as they are now. Throws for settings that contradict one another. */
function loadSettings(flags: ServerFlags, io: CliIo): LoadedSettings {
  const settings = parseSettings(readEnvironment(io.env, flags.envFile));
  const kms = parseKmsConfig(settings.env);
  if (settings.isAutoEncryption && !kms) {
    throw new SettingsError(
      'invalid-setting',
      'MINIO_KMS_AUTO_ENCRYPTION requires a valid KMS configuration: set MINIO_KMS_KES_… or MINIO_KMS_SECRET_KEY',
    );
  }
  readTlsFiles(flags.certsDir);
  return { settings, hasKms: kms !== undefined };
}

/** `HOST:PORT`, `:PORT` or `[V6]:PORT`. Throws `SettingsError`. */
export function parseAddress(text: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (!match || port > 65_535) {
    throw new SettingsError(
      'invalid-setting',
      `'${text}' is not an address: use HOST:PORT, for example 127.0.0.1:9000 or :9000`,
    );
  }
  return { host: match[1] ?? match[2] ?? '', port };
}

function parseArguments(
  argv: readonly string[],
  io: CliIo,
): { directory: string; flags: ServerFlags } | number {
  const command = new Command('coffer server')
    .description('run the object store on a directory')
    .argument('<DIR>', 'the data directory; created when it does not exist')
    .addOption(new Option('--address <HOST:PORT>', 'address to listen on (default ":9000")'))
    .option(
      '--certs-dir <DIR>',
      'certificates: public.crt and private.key turn HTTPS on, CAs/ holds trusted CAs',
      join(homedir(), '.coffer', 'certs'),
    )
    .option('--env-file <FILE>', 'file of settings, read again at every restart')
    .option('--json', 'log as JSON lines', false)
    .option('--quiet', 'print no banner', false)
    .addHelpText('after', () => `\nSettings (environment or --env-file):\n${formatSettingsHelp()}`)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
    });
  try {
    command.parse([...argv], { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    throw error;
  }
  return { directory: resolve(command.args[0] ?? '.'), flags: command.opts<ServerFlags>() };
}

function formatCredentials(made: {
  readonly accessKey: string;
  readonly secretKey: string;
}): string {
  return [
    '',
    'Root credentials were made for this directory. They are shown only now; keep them:',
    `  MINIO_ROOT_USER=${made.accessKey}`,
    `  MINIO_ROOT_PASSWORD=${made.secretKey}`,
    '',
    '',
  ].join('\n');
}

/** Errors whose message is written for whoever started the program. */
function isForOperator(error: unknown): error is Error {
  return (
    error instanceof SettingsError ||
    error instanceof SupervisorError ||
    error instanceof DirectoryLockError ||
    (error instanceof Error && error.name === 'KmsConfigError')
  );
}
