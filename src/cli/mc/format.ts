// Numbers, dates and tables as text. Sizes have three forms, all in powers of 1024: `12 B`/`2.9 KiB`
// (`formatSize`), the same without the blank in listings, and two decimals in transfer summaries.

import { McError } from './error.ts';

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];

/** `0 B`, `12 B`, `2.9 KiB`, `20 MiB`: one decimal below ten. */
export function formatSize(bytes: number): string {
  if (bytes < 10) return `${bytes} B`;
  const exponent = Math.min(Math.floor(Math.log2(bytes) / 10), units.length - 1);
  const value = Math.floor((bytes / 1024 ** exponent) * 10 + 0.5) / 10;
  return `${value < 10 && exponent > 0 ? value.toFixed(1) : value.toFixed(0)} ${units[exponent]}`;
}

/** `formatSize` without the blank. */
export function formatSizeShort(bytes: number): string {
  return formatSize(bytes).replace(' ', '');
}

/** `12 B`, `20.00 MiB`. */
export function formatAmount(bytes: number): string {
  const rounded = Math.trunc(bytes);
  if (rounded < 1024) return `${rounded} B`;
  const exponent = Math.min(Math.floor(Math.log2(rounded) / 10), 4);
  return `${(rounded / 1024 ** exponent).toFixed(2)} ${units[exponent]}`;
}

/** `00m07s`, with hours and days in front when there are any. */
export function formatClock(milliseconds: number): string {
  const seconds = Math.floor(milliseconds / 1000);
  const two = (value: number) => String(value).padStart(2, '0');
  const days = Math.floor(seconds / 86400);
  const hours = Math.floor((seconds % 86400) / 3600);
  const rest = `${two(Math.floor((seconds % 3600) / 60))}m${two(seconds % 60)}s`;
  if (days > 0) return `${days}d${two(hours)}h${rest}`;
  return hours > 0 ? `${two(hours)}h${rest}` : rest;
}

/** `2026-01-31 09:45:20 UTC`, in the local time zone. */
export function formatDate(timeMs: number): string {
  const date = new Date(timeMs);
  const two = (value: number) => String(value).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return `${day} ${time} ${zoneName(date)}`;
}

function zoneName(date: Date): string {
  const parts = new Intl.DateTimeFormat('en-US', { timeZoneName: 'short' }).formatToParts(date);
  return parts.find((part) => part.type === 'timeZoneName')?.value ?? 'UTC';
}

/** RFC 3339 in UTC without trailing zeros in the fraction: `…:20Z`, `…:20.83Z`. */
export function formatTimestamp(timeMs: number): string {
  return new Date(timeMs).toISOString().replace(/\.?0*Z$/, 'Z');
}

/** `1 object`, `2 objects`. */
export function plural(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? '' : 's'}`;
}

/** A duration such as `7d10h31s`, in milliseconds. Throws `argument` for anything else. */
export function parseDuration(text: string): number {
  const unitMs: Readonly<Record<string, number>> = {
    ns: 1e-6,
    us: 1e-3,
    ms: 1,
    s: 1000,
    m: 60_000,
    h: 3_600_000,
    d: 86_400_000,
    w: 604_800_000,
    y: 31_536_000_000,
  };
  let total = 0;
  const pattern = /(\d+(?:\.\d+)?)(ns|us|ms|s|m|h|d|w|y)/gy;
  let consumed = 0;
  for (const match of text.matchAll(pattern)) {
    total += Number(match[1]) * (unitMs[match[2] ?? ''] ?? 0);
    consumed += match[0].length;
  }
  if (text === '' || consumed !== text.length) {
    throw new McError('argument', `invalid duration \`${text}\`, use for example 7d10h31s`);
  }
  return total;
}

/** A size such as `16MiB`, `1MB`, `512`, in bytes. Throws `argument` for anything else. */
export function parseSize(text: string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([kmgtpe]?)(i?)b?\s*$/i.exec(text);
  if (match === null)
    throw new McError('argument', `invalid size \`${text}\`, use for example 16MiB`);
  const power = ['', 'k', 'm', 'g', 't', 'p', 'e'].indexOf((match[2] ?? '').toLowerCase());
  const base = (match[3] ?? '') === '' ? 1000 : 1024;
  return Math.floor(Number(match[1]) * base ** power);
}

/** A box drawn around rows of equal length, every column as wide as its widest cell. */
export function boxTable(rows: readonly (readonly string[])[]): string {
  const widths = columnWidths(rows);
  const rule = (left: string, middle: string, right: string) =>
    left + widths.map((width) => '─'.repeat(width + 2)).join(middle) + right;
  const lines = rows.map(
    (row) => `│ ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' │ ')} │`,
  );
  return [rule('┌', '┬', '┐'), ...lines, rule('└', '┴', '┘')].join('\n');
}

/** A box with a title, a row of headings (the first) and rules below both; some columns stand to the right. */
export function ruledTable(
  title: string,
  rows: readonly (readonly string[])[],
  rightColumns: readonly number[],
): string {
  const widths = columnWidths(rows);
  const rule = (left: string, middle: string, right: string) =>
    left + widths.map((width) => '─'.repeat(width + 2)).join(middle) + right;
  const lines = rows.map((row, index) => {
    const cells = row.map((cell, column) => {
      const padding = ' '.repeat((widths[column] ?? 0) - Array.from(cell).length);
      const isRight = index > 0 && rightColumns.includes(column);
      return isRight ? padding + cell : cell + padding;
    });
    return `│ ${cells.join(' │ ')} │`;
  });
  const inner = widths.reduce((sum, width) => sum + width + 3, -3);
  return [
    rule('┌', '─', '┐'),
    `│ ${title.padEnd(inner)} │`,
    rule('├', '┬', '┤'),
    lines[0] ?? '',
    rule('├', '┼', '┤'),
    ...lines.slice(1),
    rule('└', '┴', '┘'),
  ].join('\n');
}

function columnWidths(rows: readonly (readonly string[])[]): number[] {
  const count = rows[0]?.length ?? 0;
  return Array.from({ length: count }, (_, column) =>
    Math.max(...rows.map((row) => Array.from(row[column] ?? '').length)),
  );
}

/** Names with commas between them, in lines of at most `widthMax` characters where names are not longer. */
export function wrapList(names: readonly string[], widthMax = 76): string[] {
  const lines: string[] = [];
  for (const name of names) {
    const last = lines.at(-1);
    const longer = `${last}, ${name}`;
    if (last === undefined || longer.length > widthMax) lines.push(name);
    else lines[lines.length - 1] = longer;
  }
  return lines;
}
