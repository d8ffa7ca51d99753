// The log of the server on pino: one line per message on stderr, JSON when asked for, else plain text.
// Fields are data and never secrets; the callers keep that rule, and a test greps for it.

import { writeSync } from 'node:fs';

import pino from 'pino';

import type { Log, LogFields } from '../base/log.ts';
import type { LogLevel } from './settings.ts';

export type LogOptions = {
  readonly level: LogLevel;
  readonly isJson: boolean;
  /** Fields of every line, for example the worker's number. */
  readonly fields?: LogFields;
  /** Where lines go; stderr unless a test asks for them. */
  readonly write?: (line: string) => void;
};

/** A log that writes one line per message, at once. */
export function createLog(options: LogOptions): Log {
  const write = options.write ?? writeStderr;
  const stream = { write: options.isJson ? write : (line: string) => write(formatText(line)) };
  const logger = pino(
    {
      level: options.level,
      base: options.fields ?? null,
      messageKey: 'message',
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    stream,
  );
  return {
    debug: (message, fields) => logger.debug(fields ?? {}, message),
    info: (message, fields) => logger.info(fields ?? {}, message),
    warn: (message, fields) => logger.warn(fields ?? {}, message),
    error: (message, fields) => logger.error(fields ?? {}, message),
  };
}

function writeStderr(line: string): void {
  try {
    writeSync(2, line);
  } catch {
    // Nobody reads the log any more (closed pipe, full disk): the server goes on without it.
  }
}

function formatText(line: string): string {
  const record: unknown = JSON.parse(line);
  if (typeof record !== 'object' || record === null) return line;
  const { time, level, message, ...rest } = record as Record<string, unknown>;
  const fields = Object.entries(rest).map(([name, value]) => ` ${name}=${formatValue(value)}`);
  return `${String(time)} ${String(level).toUpperCase().padEnd(5)} ${String(message)}${fields.join('')}\n`;
}

function formatValue(value: unknown): string {
  if (typeof value === 'string') return /[\s"=]/.test(value) ? JSON.stringify(value) : value;
  return JSON.stringify(value) ?? 'undefined';
}
