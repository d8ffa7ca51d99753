// Help texts, made from the table of commands.

import type { FlagSpec } from './args.ts';
import type { CommandSpec } from './command-spec.ts';
import { globalFlags } from './flags.ts';

/** Help of a command that holds others, or of the program. */
export function groupHelp(names: readonly string[], commands: readonly CommandSpec[]): string {
  const visible = commands.filter((command) => command.isHidden !== true);
  const labels = visible.map((command) => [command.name, ...(command.aliases ?? [])].join(', '));
  const width = Math.max(...labels.map((label) => label.length)) + 2;
  return [
    'USAGE:',
    `  ${names.join(' ')} [FLAGS] COMMAND [COMMAND FLAGS | -h] [ARGUMENTS...]`,
    '',
    'COMMANDS:',
    ...visible.map(
      (command, index) => `  ${(labels[index] ?? '').padEnd(width)}${command.summary}`,
    ),
    '',
    'FLAGS:',
    ...flagLines(globalFlags),
    '',
  ].join('\n');
}

/** Help of a command that runs. */
export function commandHelp(
  names: readonly string[],
  command: Extract<CommandSpec, { usage: string }>,
): string {
  return [
    'NAME:',
    `  ${names.join(' ')} - ${command.summary}`,
    '',
    'USAGE:',
    `  ${names.join(' ')} [FLAGS] ${command.usage}`,
    '',
    'FLAGS:',
    ...flagLines([...command.flags, ...globalFlags]),
    '',
  ].join('\n');
}

/** One line per flag, aligned. */
export function flagLines(flags: readonly FlagSpec[]): string[] {
  const visible = flags.filter((flag) => flag.isHidden !== true);
  const labels = visible.map((flag) => {
    const value = flag.kind === 'boolean' ? '' : ' value';
    const names = [flag.name, ...(flag.aliases ?? [])];
    return names.map((name) => `${name.length === 1 ? '-' : '--'}${name}${value}`).join(', ');
  });
  const width = Math.max(...labels.map((label) => label.length)) + 2;
  return visible.map((flag, index) => {
    const env = flag.env === undefined ? '' : ` [$${flag.env}]`;
    return `  ${(labels[index] ?? '').padEnd(width)}${flag.help}${env}`;
  });
}
