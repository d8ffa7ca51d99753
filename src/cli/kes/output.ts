// Printing. A terminal is standard output or standard error being one: it gets words and colours, a script
// gets the documented bare forms.

import type { CliIo } from '../io.ts';
import { KesCommandError } from './command-error.ts';

export type Output = {
  readonly isTerminal: boolean;
  write(text: string): void;
  line(text: string): void;
  /** JSON and a line end; indented on a terminal if asked for. */
  json(value: unknown, options?: { readonly isIndented?: boolean }): void;
  /** For headings. */
  bold(text: string): string;
  /** For labels. */
  faint(text: string): string;
  /** For what is in order, and for what is not. */
  good(text: string): string;
  bad(text: string): string;
};

/** Throws `KesCommandError` for a colour choice that is none. */
export function createOutput(io: CliIo, color = 'auto'): Output {
  if (!['auto', 'never', 'always'].includes(color)) {
    throw new KesCommandError('usage', `invalid color option '${color}'`);
  }
  const isTerminal = io.stdout.isTTY === true || io.stderr.isTTY === true;
  const isAutomatic = color === 'auto' && io.stdout.isTTY === true && !io.env['NO_COLOR'];
  const hasColor = color === 'always' || isAutomatic;
  const style = (code: number) => (text: string) =>
    hasColor ? `\x1b[${code}m${text}\x1b[0m` : text;
  const write = (text: string) => void io.stdout.write(text);
  return {
    isTerminal,
    write,
    line: (text) => write(`${text}\n`),
    json(value, options) {
      const indent = options?.isIndented && isTerminal ? 2 : undefined;
      write(`${JSON.stringify(value, undefined, indent)}\n`);
    },
    bold: style(1),
    faint: style(2),
    good: style(32),
    bad: style(31),
  };
}

/** `Name        value` rows, labels padded to 11. Rows without a value are left out. */
export function printRows(
  output: Output,
  rows: readonly (readonly [label: string, value: string | undefined])[],
): void {
  for (const [label, value] of rows) {
    if (value !== undefined && value !== '')
      output.line(`${output.faint(label.padEnd(11))} ${value}`);
  }
}

/** A time as `2026-01-31 23:59:59` in local time; undefined for the zero time and for no time. */
export function formatTime(text: unknown): string | undefined {
  if (typeof text !== 'string') return undefined;
  const date = new Date(text);
  if (Number.isNaN(date.getTime()) || date.getTime() <= Date.UTC(1, 0, 1)) return undefined;
  const two = (value: number) => String(value).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** The text in a frame, for secrets and identities on a terminal. */
export function boxed(text: string): string {
  const rule = '─'.repeat(text.length + 2);
  return `┌${rule}┐\n│ ${text} │\n└${rule}┘\n`;
}
