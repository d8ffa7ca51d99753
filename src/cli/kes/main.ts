// `coffer kes …`, the client of the key service: everything but `kes server`. Finds the command in a table,
// reads its flags, runs it, and turns what happened into an exit code: 0 done, 1 failed, 2 usage shown.

import { readFileSync } from 'node:fs';
import { KesClientError } from '../../wire/kes-error.ts';
import type { CliIo } from '../io.ts';
import type { KesCommand } from './command.ts';
import { KesCommandError } from './command-error.ts';
import { parseFlags } from './flags.ts';
import { identityCommands } from './identity-commands.ts';
import { keyCommands } from './key-commands.ts';
import { listCommands } from './list-commands.ts';
import { createOutput } from './output.ts';
import { statusCommands } from './status-commands.ts';
import { commandUsage, groupUsage } from './usage.ts';

/** Every command there is, in the order of the help. */
export const kesCommands: readonly KesCommand[] = [
  ...listCommands,
  ...keyCommands,
  ...identityCommands,
  ...statusCommands,
];

/** Documented commands that this version does not have. */
const absent = ['policy', 'log', 'migrate', 'update', 'init', 'server'];

/** Runs one command line, without the leading `kes`. Prints to `io` only; the result is the exit code. */
export async function runKes(argv: readonly string[], io: CliIo): Promise<number> {
  try {
    return await dispatch(argv, io);
  } catch (error) {
    io.stderr.write(`Error: ${errorText(error)}\n`);
    return 1;
  }
}

async function dispatch(argv: readonly string[], io: CliIo): Promise<number> {
  const [first, second] = argv;
  if (first === '--version' || first === '-v') return printVersion(io);
  if (first === undefined || first === '-h' || first === '--help') return showGroup(io, '');
  if (absent.includes(first)) {
    throw new KesCommandError('failed', `'kes ${first}' is not available in this version`);
  }
  const nested = second === undefined ? undefined : find(`${first} ${second}`);
  const command = nested ?? find(first);
  const hasGroup = kesCommands.some((each) => each.words.startsWith(`${first} `));
  if (nested || (command && !hasGroup)) {
    return runCommand(io, { command: nested ?? command, argv: argv.slice(nested ? 2 : 1) });
  }
  if (!hasGroup) throw unknown(first, 'kes');
  if (second === '-h' || second === '--help' || (second === undefined && !command)) {
    return showGroup(io, first);
  }
  if (command) return runCommand(io, { command, argv: argv.slice(1) });
  throw second?.startsWith('-')
    ? new KesCommandError('usage', `unknown flag: ${second}. See 'kes ${first} --help'`)
    : unknown(second ?? '', `kes ${first}`);
}

async function runCommand(
  io: CliIo,
  line: { readonly command: KesCommand | undefined; readonly argv: readonly string[] },
): Promise<number> {
  const { command } = line;
  if (!command) throw unknown(line.argv[0] ?? '', 'kes');
  const name = `kes ${command.words}`;
  const flags = parseOrExplain(() => parseFlags(line.argv, command.flags), name);
  if (flags.isHelp) {
    io.stderr.write(commandUsage(command));
    return command.words === 'ls' ? 1 : 2;
  }
  checkArgs(command, flags.args);
  const output = createOutput(io, flags.texts.get('color'));
  await command.run({ io, flags, output, name });
  return io.signal.aborted ? 1 : 0;
}

function parseOrExplain<T>(parse: () => T, name: string): T {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof KesCommandError)) throw error;
    throw new KesCommandError('usage', `${error.message}. See '${name} --help'`, { cause: error });
  }
}

function checkArgs(command: KesCommand, args: readonly string[]): void {
  const see = `See 'kes ${command.words} --help'`;
  const missing = command.required.find((_, index) => (args[index] ?? '') === '');
  if (missing !== undefined) throw new KesCommandError('usage', `no ${missing} specified. ${see}`);
  if (args.length > (command.argsMax ?? command.required.length)) {
    throw new KesCommandError('usage', `too many arguments. ${see}`);
  }
}

function find(words: string): KesCommand | undefined {
  return kesCommands.find((command) => command.words === words);
}

function unknown(word: string, parent: string): KesCommandError {
  const group = parent.split(' ').at(-1) ?? 'kes';
  return new KesCommandError(
    'usage',
    `"${word}" is not a ${group} command. See '${parent} --help'`,
  );
}

function showGroup(io: CliIo, group: string): number {
  io.stderr.write(groupUsage(kesCommands, group));
  return 2;
}

function printVersion(io: CliIo): number {
  const rows = [
    ['Version', readVersion()],
    ['Runtime', `node ${process.version} ${process.platform}/${process.arch}`],
    ['License', 'Apache-2.0'],
    ['Copyright', 'The Coffer authors'],
  ] as const;
  io.stdout.write(rows.map(([label, value]) => `${label.padEnd(11)} ${value}\n`).join(''));
  return 0;
}

function readVersion(): string {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  const manifest: unknown = JSON.parse(text);
  const hasVersion = typeof manifest === 'object' && manifest !== null && 'version' in manifest;
  return hasVersion ? String(manifest.version) : '';
}

/** What went wrong and, for a server that is not trusted, what to do about it. */
function errorText(error: unknown): string {
  const text = error instanceof Error ? error.message : 'unknown error';
  const isOurs = error instanceof KesCommandError || error instanceof KesClientError;
  if (!isOurs) return `internal error: ${text}`;
  const cause = error instanceof KesClientError ? error : error.cause;
  const isUntrusted = cause instanceof KesClientError && cause.code === 'untrusted';
  return isUntrusted
    ? `${text} (trust it through SSL_CERT_FILE, or skip the check with --insecure)`
    : text;
}
