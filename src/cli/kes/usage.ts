// The help texts, made from the table of commands.

import type { KesCommand } from './command.ts';
import type { FlagSpec } from './flags.ts';

/** The help of one command. */
export function commandUsage(command: KesCommand): string {
  const flags = command.flags.filter((flag) => flag.help !== undefined);
  const usage = `${command.words}${flags.length > 0 ? ' [options]' : ''} ${command.argsHelp}`;
  const rows = flags.map((flag): Row => [flagNames(flag), flag.help ?? '']);
  return page(usage, [{ title: 'Options', rows: [...rows, helpRow] }], command.help);
}

/** The help of a group (`key`), or with `''` of the program. */
export function groupUsage(commands: readonly KesCommand[], group: string): string {
  const prefix = group === '' ? '' : `${group} `;
  const members = commands.filter((command) => command.words.startsWith(prefix));
  const rows = members.map((command): Row => {
    const args = command.argsHelp === '' ? '' : ` ${command.argsHelp}`;
    return [command.words.slice(prefix.length) + args, command.help];
  });
  const server: readonly Row[] = [['server [options]', 'Run the key service']];
  const version: readonly Row[] = [['-v, --version', 'Print the version']];
  const isProgram = group === '';
  return page(`${prefix}COMMAND [options]`, [
    { title: 'Commands', rows: [...(isProgram ? server : []), ...rows] },
    { title: 'Options', rows: [...(isProgram ? version : []), helpRow] },
  ]);
}

type Row = readonly [left: string, right: string];
type Section = { readonly title: string; readonly rows: readonly Row[] };

const helpRow: Row = ['-h, --help', 'Print this help'];

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
