// The help texts, made from the table of commands.

import type { KesTableRow } from './command.ts';
import type { FlagSpec } from './flags.ts';

/** The help of one command; `rows` are those of the table, for what is below it. */
export function commandUsage(command: KesTableRow, rows: readonly KesTableRow[] = []): string {
  const flags = command.flags.filter((flag) => flag.help !== undefined);
  const usage = `${command.words}${flags.length > 0 ? ' [options]' : ''} ${command.argsHelp}`;
  const options = flags.map((flag): Row => [flagNames(flag), flag.help ?? '']);
  const below = rowsBelow(rows, `${command.words} `);
  return page(
    usage,
    [
      ...(below.length > 0 ? [{ title: 'Commands', rows: below }] : []),
      { title: 'Options', rows: [...options, helpRow] },
    ],
    command.help,
  );
}

/** The help of a group (`key`), or with `''` of the program. */
export function groupUsage(rows: readonly KesTableRow[], group: string): string {
  const isProgram = group === '';
  const prefix = isProgram ? '' : `${group} `;
  return page(`${prefix}COMMAND [options]`, [
    { title: 'Commands', rows: rowsBelow(rows, prefix) },
    { title: 'Options', rows: [...(isProgram ? programRows : []), helpRow] },
  ]);
}

function rowsBelow(rows: readonly KesTableRow[], prefix: string): Row[] {
  const members = rows.filter((command) => command.words.startsWith(prefix));
  return members.map((command): Row => {
    const args = command.argsHelp === '' ? '' : ` ${command.argsHelp}`;
    return [command.words.slice(prefix.length) + args, command.help];
  });
}

type Row = readonly [left: string, right: string];
type Section = { readonly title: string; readonly rows: readonly Row[] };

const helpRow: Row = ['-h, --help', 'Print this help'];
const programRows: readonly Row[] = [
  ['-v, --version', 'Print the version'],
  ['    --auto-completion', 'Install completion for the shell'],
];

function page(usage: string, sections: readonly Section[], about?: string): string {
  const width = Math.max(...sections.flatMap(({ rows }) => rows.map(([left]) => left.length)));
  const lines = ['Usage:', `    kes ${usage}`.trimEnd(), ''];
  if (about !== undefined) lines.push(`${about}.`, '');
  for (const { title, rows } of sections) {
    lines.push(
      `${title}:`,
      ...rows.map(([left, right]) => `    ${left.padEnd(width)}  ${right}`),
      '',
    );
  }
  return `${lines.join('\n')}\n`;
}

function flagNames(flag: FlagSpec): string {
  const short = flag.short === undefined ? '    ' : `-${flag.short}, `;
  return `${short}--${flag.name}${flag.value === undefined ? '' : ` ${flag.value}`}`;
}
