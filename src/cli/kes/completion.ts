// Completion of `kes` command lines, the way of the reference: the shell runs the program with the line so
// far in COMP_LINE, and it answers with one word a line. `--auto-completion` writes the line that tells the
// shell so. Rules kept here: a shell's file is only ever added to, and once.

import { appendFile, mkdir, readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { CliIo } from '../io.ts';
import type { KesTableRow } from './command.ts';
import { KesCommandError } from './command-error.ts';
import type { FlagSpec } from './flags.ts';

const programFlags = ['--auto-completion', '--help', '--version'];

/** The words that may follow or complete the line, which ends at the cursor; sorted. */
export function completions(rows: readonly KesTableRow[], line: string): string[] {
  const words = line.trimStart().split(/\s+/).slice(1);
  const current = words.at(-1) ?? '';
  const before = words.slice(0, -1);
  return candidates(rows, before, current)
    .filter((word) => word.startsWith(current))
    .toSorted();
}

function candidates(
  rows: readonly KesTableRow[],
  before: readonly string[],
  current: string,
): string[] {
  const path = before.filter((word) => !word.startsWith('-'));
  const row = longestMatch(rows, path);
  const last = row?.flags.find((flag) => namesOf(flag).includes(before.at(-1) ?? ''));
  if (last && last.kind !== 'switch') return last.value?.includes('|') ? last.value.split('|') : [];
  if (current.startsWith('-')) {
    if (path.length === 0) return programFlags;
    return [...(row?.flags ?? []).flatMap(namesOf), '-h', '--help'];
  }
  return [...new Set(rows.flatMap((each) => nextWord(each, path)))];
}

/** The next word of a command whose first words are the path. */
function nextWord(row: KesTableRow, path: readonly string[]): string[] {
  const words = row.words.split(' ');
  const isBelow = words.length > path.length && path.every((word, index) => words[index] === word);
  return isBelow ? [words[path.length] ?? ''] : [];
}

function longestMatch(
  rows: readonly KesTableRow[],
  path: readonly string[],
): KesTableRow | undefined {
  return rows
    .filter(({ words }) => words.split(' ').every((word, index) => word === path[index]))
    .toSorted((a, b) => b.words.length - a.words.length)[0];
}

function namesOf(flag: FlagSpec): string[] {
  if (flag.help === undefined) return [];
  return [`--${flag.name}`, ...(flag.short === undefined ? [] : [`-${flag.short}`])];
}

type Shell = {
  /** From the home folder. */
  readonly file: string;
  readonly lines: (program: string) => string;
};

const shells: Readonly<Record<string, Shell>> = {
  bash: { file: '.bashrc', lines: (program) => `complete -o default -C ${program} kes\n` },
  zsh: {
    file: '.zshrc',
    lines: (program) =>
      'autoload -U +X compinit && compinit\n' +
      'autoload -U +X bashcompinit && bashcompinit\n' +
      `complete -o default -C ${program} kes\n`,
  },
  fish: {
    file: join('.config', 'fish', 'completions', 'kes.fish'),
    lines: (program) =>
      'function __kes_complete\n' +
      `    set -lx COMP_LINE (commandline -cp)\n    ${program}\nend\n` +
      "complete -c kes -f -a '(__kes_complete)'\n",
  },
};

/**
 * Adds completion to the file of the user's shell, unless it is there, and says what it did. Throws
 * `KesCommandError` for a shell it does not know and a file that cannot be written.
 */
export async function installCompletion(io: CliIo, program: string): Promise<void> {
  const name = basename(io.env['SHELL'] ?? '');
  const shell = shells[name];
  const home = io.env['HOME'] ?? '';
  if (!shell || home === '') {
    const known = Object.keys(shells).join(', ');
    throw new KesCommandError(
      'failed',
      `cannot install completion: SHELL and HOME must name one of ${known} and the home folder`,
    );
  }
  const file = join(home, shell.file);
  const lines = shell.lines(quoted(program));
  try {
    const text = await readFile(file, 'utf8').catch(whenMissing);
    if (text.includes(lines)) {
      io.stdout.write(`Completion for ${name} is already in ${file}\n`);
      return;
    }
    await mkdir(dirname(file), { recursive: true });
    await appendFile(file, text === '' || text.endsWith('\n') ? lines : `\n${lines}`);
  } catch (error) {
    const reason = error instanceof Error ? error.message : 'unknown error';
    throw new KesCommandError('failed', `cannot install completion: ${reason}`, { cause: error });
  }
  io.stdout.write(`Added to ${file}:\n\n${lines.replaceAll(/^/gm, '   ').trimEnd()}\n\n`);
  io.stdout.write(`It takes effect in the next shell. Remove these lines to undo it.\n`);
}

function whenMissing(error: NodeJS.ErrnoException): string {
  if (error.code === 'ENOENT') return '';
  throw error;
}

/** As one word of a shell. */
function quoted(path: string): string {
  return /^[\w/.@%+-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
}
