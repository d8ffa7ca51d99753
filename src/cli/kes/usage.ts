// The help texts, made from the table of commands.

import type { KesCommand } from './command.ts';
import type { FlagSpec } from './flags.ts';

/** The help of one command. */
export function commandUsage(command: KesCommand): string {
  const flags = command.flags.filter((flag) => flag.help !== undefined);
  const lines = [
    'Usage:',
    `    kes ${command.words}${flags.length > 0 ? ' [options]' : ''} ${command.argsHelp}`.trimEnd(),
    '',
    command.help + '.',
    '',
    'Options:',
    ...flags.map((flag) => row(flagNames(flag), flag.help ?? '')),
    row('-h, --help', 'Print this help'),
    '',
  ];
  return `${lines.join('\n')}\n`;
}

/** The help of a group (`key`), or with `''` of the program. */
export function groupUsage(commands: readonly KesCommand[], group: string): string {
  const prefix = group === '' ? '' : `${group} `;
  const members = commands.filter((command) => command.words.startsWith(prefix));
  const rows = members.map((command) => {
    const args = command.argsHelp === '' ? '' : ` ${command.argsHelp}`;
    return row(command.words.slice(prefix.length) + args, command.help);
  });
  const server = group === '' ? [row('server [options]', 'Run the key service')] : [];
  const version = group === '' ? [row('-v, --version', 'Print the version')] : [];
  const lines = [
    'Usage:',
    `    kes ${prefix}COMMAND [options]`,
    '',
    'Commands:',
    ...server,
    ...rows,
    '',
    'Options:',
    ...version,
    row('-h, --help', 'Print this help'),
    '',
  ];
  return `${lines.join('\n')}\n`;
}

function flagNames(flag: FlagSpec): string {
  const short = flag.short === undefined ? '    ' : `-${flag.short}, `;
  return `${short}--${flag.name}${flag.value === undefined ? '' : ` ${flag.value}`}`;
}

function row(left: string, right: string): string {
  return `    ${left.padEnd(36)} ${right}`;
}
