// `kes log`: follows one of the two logs of the key service, an event a line, until the server or the
// caller ends it. What a server sends is shown, never interpreted as terminal control.

import type { KesDocument } from '../../wire/kes-answers.ts';
import type { KesCall, KesCommand } from './command.ts';
import { explained, insecureFlag, jsonFlag, withClient } from './command.ts';
import { KesCommandError } from './command-error.ts';
import { formatTime, type Output } from './output.ts';
import { formatNanoseconds } from './quantities.ts';

/** `kes log`. */
export const logCommands: readonly KesCommand[] = [
  {
    words: 'log',
    argsHelp: '',
    help: 'Follow the log of the server',
    flags: [
      { name: 'audit', kind: 'switch', help: 'The audit log: who did what (default)' },
      { name: 'error', kind: 'switch', help: 'The error log' },
      jsonFlag,
      insecureFlag,
    ],
    required: [],
    run: followLog,
  },
];

async function followLog(call: KesCall): Promise<void> {
  const { switches } = call.flags;
  if (switches.has('audit') && switches.has('error')) {
    throw new KesCommandError('usage', '--audit and --error cannot be used at the same time');
  }
  const log = switches.has('error') ? 'error' : 'audit';
  const { signal } = call.io;
  await withClient(call, async (client) => {
    try {
      const opening = client.openLog(log, { signal });
      const events = await explained(`failed to connect to ${log} log`, opening);
      await explained(`failed to follow ${log} log`, printAll(call, log, events));
    } catch (error) {
      if (!signal.aborted) throw error; // interrupted: the exit code says so
    }
  });
}

async function printAll(
  call: KesCall,
  log: 'audit' | 'error',
  events: AsyncIterable<KesDocument>,
): Promise<void> {
  const { output } = call;
  const isJson = call.flags.switches.has('json');
  if (log === 'audit' && !isJson) output.line(output.bold(headingOf(output.isTerminal)));
  for await (const event of events) {
    if (log === 'error') {
      const message = textOf(event['message']);
      if (isJson) output.json({ message });
      else output.line(printable(message));
      continue;
    }
    const audit = readAuditEvent(event);
    if (isJson) output.json(documentOf(audit));
    else output.line(rowOf(output, audit));
  }
}

type AuditEvent = {
  readonly time: string;
  readonly ip: string;
  readonly path: string;
  readonly identity: string;
  readonly code: number;
  readonly nanoseconds: number;
};

function readAuditEvent(event: KesDocument): AuditEvent {
  const [request, response] = [objectOf(event['request']), objectOf(event['response'])];
  return {
    time: textOf(event['time']),
    ip: textOf(request['ip']),
    path: textOf(request['path']),
    identity: textOf(request['identity']),
    code: Number(response['code'] ?? 0),
    nanoseconds: Number(response['time'] ?? 0),
  };
}

/** The event again, members in the documented order and empty ones left out. */
function documentOf({ time, ip, path, identity, code, nanoseconds }: AuditEvent): object {
  const request = { ...(ip !== '' && { ip }), path, ...(identity !== '' && { identity }) };
  return { time, request, response: { code, time: nanoseconds } };
}

/** On a terminal the start of an identity must do; a script gets all of it. */
const identityChars = { terminal: 12, script: 64 } as const;

function headingOf(isTerminal: boolean): string {
  const width = isTerminal ? identityChars.terminal : identityChars.script;
  return columns(['Time', 'Status', 'Identity', 'IP', 'API', 'Latency'], width);
}

function rowOf(output: Output, event: AuditEvent): string {
  const width = output.isTerminal ? identityChars.terminal : identityChars.script;
  const identity = printable(event.identity).slice(0, width) || '-';
  const row = columns(
    [
      clockTime(event.time),
      String(event.code),
      identity,
      printable(event.ip) || '-',
      printable(event.path) || '-',
      formatNanoseconds(event.nanoseconds),
    ],
    width,
  );
  return event.code < 400 ? output.good(row) : output.bad(row);
}

function columns(cells: readonly string[], identityWidth: number): string {
  const widths = [8, 6, identityWidth, 15, 36];
  return cells
    .map((cell, index) => cell.padEnd(widths[index] ?? 0))
    .join('  ')
    .trimEnd();
}

/** `HH:MM:SS`, local time. */
function clockTime(text: string): string {
  return formatTime(text)?.slice(-8) ?? '--:--:--';
}

/** A log may hold what a stranger sent: no control character of it reaches the terminal. */
function printable(text: string): string {
  return text.trimEnd().replaceAll(/\p{C}/gu, '\u{fffd}');
}

function objectOf(value: unknown): KesDocument {
  return typeof value === 'object' && value !== null ? (value as KesDocument) : {};
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
