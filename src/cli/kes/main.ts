// `coffer kes …`, the client of the key service, and the way to its other commands. Finds one in a table,
// reads its flags, runs it, and turns what happened into an exit code: 0 done, 1 failed, 2 usage shown.

import { existsSync } from 'node:fs';
import { KesClientError, type TrustRemedy, trustRemedyOf } from '../../wire/kes-error.ts';
import type { CliIo } from '../io.ts';
import type { KesCommand, KesTableRow } from './command.ts';
import { KesCommandError } from './command-error.ts';
import { completions, installCompletion } from './completion.ts';
import { parseFlags } from './flags.ts';
import { identityCommands } from './identity-commands.ts';
import { keyCommands } from './key-commands.ts';
import { keyStateCommands } from './key-state-commands.ts';
import { listCommands } from './list-commands.ts';
import { logCommands } from './log-commands.ts';
import { metricCommands } from './metric-commands.ts';
import { createOutput } from './output.ts';
import { policyCommands } from './policy-commands.ts';
import { statusCommands } from './status-commands.ts';
import { updateCommands } from './update-command.ts';
import { commandUsage, groupUsage } from './usage.ts';
import { installFolder, readVersion } from './version-info.ts';

/** Every command of the client, in the order of the help. */
export const kesCommands: readonly KesCommand[] = [
  ...listCommands,
  ...keyCommands,
  ...keyStateCommands,
  ...policyCommands,
  ...identityCommands,
  ...logCommands,
  ...statusCommands,
  ...metricCommands,
  ...updateCommands,
];

/**
 * Runs one command line, without the leading `kes`. Prints to `io` only; the result is the exit code. The
 * rows of `more` are commands of the program itself; they come first in the help and win over the client's.
 */
export async function runKes(
  argv: readonly string[],
  io: CliIo,
  more: readonly KesTableRow[] = [],
): Promise<number> {
  try {
    return await dispatch(argv, io, joined(more));
  } catch (error) {
    io.stderr.write(`Error: ${errorText(error, io.env)}\n`);
    return 1;
  }
}

/** One table: what belongs to a group of the client stands with it, everything else before. */
function joined(more: readonly KesTableRow[]): KesTableRow[] {
  const groupOf = ({ words }: KesTableRow) => words.split(' ')[0] ?? '';
  const groups = Map.groupBy<string, KesTableRow>([...kesCommands, ...more], groupOf);
  const own = new Set(kesCommands.map(groupOf));
  const before = more.filter((row) => !own.has(groupOf(row)));
  return [...before, ...[...own].flatMap((group) => groups.get(group) ?? [])];
}

async function dispatch(
  argv: readonly string[],
  io: CliIo,
  table: readonly KesTableRow[],
): Promise<number> {
  const [first, second] = argv;
  const line = io.env['COMP_LINE'];
  if (line !== undefined) return complete(io, table, line);
  if (first === '--version' || first === '-v') return printVersion(io);
  if (first === '--auto-completion') {
    await installCompletion(io, `${installFolder()}bin/kes`);
    return 0;
  }
  if (first === undefined || first === '-h' || first === '--help') {
    io.stderr.write(groupUsage(table, ''));
    return 2;
  }
  const find = (words: string) => table.find((row) => row.words === words);
  const nested = second === undefined ? undefined : find(`${first} ${second}`);
  const row = nested ?? find(first);
  if (row) return runRow(row, argv.slice(nested ? 2 : 1), { io, table });
  if (!table.some((each) => each.words.startsWith(`${first} `))) throw unknown(first, 'kes');
  if (second === undefined || second === '-h' || second === '--help') {
    io.stderr.write(groupUsage(table, first));
    return 2;
  }
  throw second.startsWith('-')
    ? new KesCommandError('usage', `unknown flag: ${second}. See 'kes ${first} --help'`)
    : unknown(second, `kes ${first}`);
}

async function runRow(
  row: KesTableRow,
  argv: readonly string[],
  { io, table }: { readonly io: CliIo; readonly table: readonly KesTableRow[] },
): Promise<number> {
  if ('runRaw' in row) return row.runRaw(argv, io);
  const name = `kes ${row.words}`;
  const flags = parseOrExplain(() => parseFlags(argv, row.flags), name);
  if (flags.isHelp) {
    io.stderr.write(commandUsage(row, table));
    return row.words === 'ls' ? 1 : 2;
  }
  checkArgs(row, flags.args);
  const output = createOutput(io, flags.texts.get('color'));
  await row.run({ io, flags, output, name });
  return io.signal.aborted ? 1 : 0;
}

function complete(io: CliIo, table: readonly KesTableRow[], line: string): number {
  const point = Number(io.env['COMP_POINT'] ?? line.length);
  const bytes = Buffer.from(line); // the shell counts bytes
  const typed = Number.isInteger(point) ? bytes.subarray(0, point).toString('utf8') : line;
  io.stdout.write(
    completions(table, typed)
      .map((word) => `${word}\n`)
      .join(''),
  );
  return 0;
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

function unknown(word: string, parent: string): KesCommandError {
  const group = parent.split(' ').at(-1) ?? 'kes';
  return new KesCommandError(
    'usage',
    `"${word}" is not a ${group} command. See '${parent} --help'`,
  );
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

/** What went wrong and, for a server that is not trusted, what to do about it. */
function errorText(error: unknown, env: CliIo['env']): string {
  const text = error instanceof Error ? error.message : 'unknown error';
  const isOurs = error instanceof KesCommandError || error instanceof KesClientError;
  if (!isOurs) return `internal error: ${text}`;
  const cause = error instanceof KesClientError ? error : error.cause;
  if (!(cause instanceof KesClientError && cause.code === 'untrusted')) return text;
  return `${text} (${remedies[trustRemedyOf(cause)](env)}, or skip the check with --insecure)`;
}

const remedies: Readonly<Record<TrustRemedy, (env: CliIo['env']) => string>> = {
  trust: ({ SSL_CERT_FILE: file }) =>
    file !== undefined && file !== '' && !existsSync(file)
      ? `SSL_CERT_FILE names ${file}, which is not there: correct it`
      : 'trust it through SSL_CERT_FILE',
  renew: () => 'check the clocks; renew it and send the server SIGHUP',
  rename: () => 'use a name or address that is in it',
};
