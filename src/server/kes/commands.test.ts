import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { runCli } from '../../../test/support/kes-cli.ts';
import type { KesTableRow } from '../../cli/kes/command.ts';
import type { FlagSpec } from '../../cli/kes/flags.ts';
import { kesCommands } from '../../cli/kes/main.ts';
import { kesEnvOrder } from '../../cli/kes/environment.ts';
import { kesServerCommands } from './commands.ts';

const all: readonly KesTableRow[] = [...kesServerCommands, ...kesCommands];
const page = readFileSync(new URL('../../../docs/kes.md', import.meta.url), 'utf8');

/** Flags that the page describes once for all commands. */
const common = new Set(['insecure', 'color']);

function flagsText(flags: readonly FlagSpec[]): string {
  return flags
    .filter((flag) => flag.help !== undefined && !common.has(flag.name))
    .map(({ short, name, value }) => {
      const names = short === undefined ? `--${name}` : `-${short} --${name}`;
      return `\`${value === undefined ? names : `${names} ${value}`}\``;
    })
    .join(' ');
}

void test('the documented commands are the commands, with their arguments and flags', () => {
  const section = page.split('\n## Commands\n')[1]?.split('\n## ')[0] ?? '';
  const rows = section
    .replaceAll('\\|', '\u0001')
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) => line.split('|').map((cell) => cell.trim().replaceAll('\u0001', '|')));
  const documented = rows.map(([, command = '', flags = '']) => `${command} ${flags}`);
  const expected = all.map(
    (row) => `\`${`${row.words} ${row.argsHelp}`.trim()}\` ${flagsText(row.flags)}`,
  );
  assert.deepEqual(documented.toSorted(), expected.toSorted());
});

void test('the documented variables are the variables, in their order', () => {
  const settings = readFileSync(
    new URL('../../../docs/settings-kes-cli.md', import.meta.url),
    'utf8',
  );
  for (const names of Object.values(kesEnvOrder)) {
    const text = names.map((name) => `\`${name}\``).join(', ');
    assert.ok(settings.includes(`| ${text} |`), text);
  }
});

void test('no command is there twice, and no flag twice in one command', () => {
  const words = all.map((row) => row.words);
  assert.deepEqual(words, [...new Set(words)]);
  for (const row of all) {
    const names = row.flags.flatMap(({ name, short }) => [name, ...(short ? [short] : [])]);
    assert.deepEqual(names, [...new Set(names)], row.words);
  }
});

void test('every command that reads its own arguments knows the flags of the table', async () => {
  for (const row of all) {
    if (!('runRaw' in row)) continue;
    const { stderr } = await runCli([...row.words.split(' '), '--help']);
    for (const { name } of row.flags) {
      assert.ok(stderr.includes(`--${name}`), `${row.words} --${name}`);
    }
  }
});

void test('every command prints its help on stderr and ends with 2, `ls` with 1', async () => {
  for (const { words } of all) {
    for (const flag of ['--help', '-h']) {
      const { code, stdout, stderr } = await runCli([...words.split(' '), flag]);
      assert.deepEqual([words, code, stdout], [words, words === 'ls' ? 1 : 2, '']);
      assert.match(stderr, /^Usage:/);
    }
  }
});
