// The two logs of the key service as `key=value` text: errors to one stream, audit to another. Lines are
// gathered for a moment and written together, so that auditing every request costs little.

import type { Writable } from 'node:stream';
import type { Log, LogFields } from '../../base/log.ts';
import {
  type AuditEvent,
  type AuditLog,
  createTimeFormatter,
  formatAuditJson,
  formatAuditLine,
  formatLine,
} from '../../kes/audit/audit.ts';
import type { LineHub } from '../../kes/handlers/logs.ts';
import type { KesMetrics } from '../../kes/metrics.ts';

const flushBytes = 32_768;

/** Gathers lines until the current work of the process is done. */
export class LineWriter {
  readonly #out: Pick<Writable, 'write'>;
  #waiting = '';

  constructor(out: Pick<Writable, 'write'>) {
    this.#out = out;
  }

  write(line: string): void {
    if (this.#waiting === '') setImmediate(() => this.flush());
    this.#waiting += line;
    if (this.#waiting.length > flushBytes) this.flush();
  }

  flush(): void {
    if (this.#waiting === '') return;
    this.#out.write(this.#waiting);
    this.#waiting = '';
  }
}

/** Where log lines go besides the stream. */
export type LogDeps = {
  readonly writer: LineWriter;
  readonly hub: LineHub;
  readonly metrics: KesMetrics;
  readonly nowMs: () => number;
};

/** Levels below this number are dropped; asked for each line, so that a reload can change it. */
type Level = () => number;

/** The error log. */
export function createKesLog(level: Level, deps: LogDeps): Log {
  const log =
    (number: number) =>
    (message: string, fields: LogFields = {}) => {
      if (number < level()) return;
      const texts = Object.entries(fields).map(([name, value]): [string, string] => [
        name,
        String(value),
      ]);
      const line = formatLine(
        new Date(deps.nowMs()).toISOString(),
        { level: number, message },
        texts,
      );
      deps.writer.write(line);
      if (!deps.hub.isHeard) return;
      deps.hub.publish(`${JSON.stringify({ message: line.trimEnd() })}\n`);
      deps.metrics.countEvent('error');
    };
  return { debug: log(-4), info: log(0), warn: log(4), error: log(8) };
}

/** The audit log; its events are of level INFO. */
export function createAuditLog(level: Level, deps: LogDeps): AuditLog {
  const formatTime = createTimeFormatter();
  return {
    record(event: AuditEvent): void {
      if (level() > 0) return;
      deps.writer.write(formatAuditLine(event, formatTime(event.timeMs)));
      if (!deps.hub.isHeard) return;
      deps.hub.publish(formatAuditJson(event));
      deps.metrics.countEvent('audit');
    },
  };
}
