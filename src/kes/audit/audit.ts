// What the service tells about itself: one audit event for every request to a known route, refused ones
// included, and error lines. Events carry who, what and the outcome, never a body.

export type AuditEvent = {
  /** Milliseconds since 1970, when the request arrived. */
  readonly timeMs: number;
  readonly method: string;
  readonly path: string;
  /** Empty without a client certificate. */
  readonly identity: string;
  readonly ip: string;
  readonly status: number;
  readonly durationMs: number;
  /** Name of the route. */
  readonly operation?: string;
  /** Whether policy let the call run. */
  readonly isAllowed?: boolean;
  /** Why it was refused or failed, as the caller was told or with more detail. */
  readonly reason?: string;
  /** One of several things that one request did: in the file that proves itself, not in the stream. */
  readonly isPart?: boolean;
} & AuditFacts;

/** What a handler knows about a call: which key it was about, and the object that its context names. */
export type AuditFacts = {
  readonly key?: string;
  readonly keyId?: string;
  readonly version?: number;
  readonly object?: string;
};

export interface AuditLog {
  /** The caller waits for the promise before it answers; a rejection means that nothing may be answered. */
  record(event: AuditEvent): void | Promise<void>;
}

/** Keeps nothing: for tests. */
export const silentAudit: AuditLog = { record() {} };

const levelNames: Readonly<Record<string, string>> = {
  '-4': 'DEBUG',
  0: 'INFO',
  4: 'WARN',
  8: 'ERROR',
};

/** Makes RFC 3339 texts of times; remembers the last, because many events share a millisecond. */
export function createTimeFormatter(): (timeMs: number) => string {
  let lastMs = Number.NaN;
  let text = '';
  return (timeMs) => {
    if (timeMs !== lastMs) {
      text = new Date(timeMs).toISOString();
      lastMs = timeMs;
    }
    return text;
  };
}

/** One `key=value` line, with its line break. Values with spaces, quotes or controls are quoted. */
export function formatLine(
  time: string,
  entry: { readonly level: number; readonly message: string },
  fields: Iterable<readonly [string, string]>,
): string {
  const level = levelNames[entry.level] ?? String(entry.level);
  let line = `time=${time} level=${level} msg=${quote(entry.message)}`;
  for (const [name, value] of fields) line += ` ${name}=${quoteIfNeeded(value)}`;
  return `${line}\n`;
}

/** The audit event as a line, with its time as text. */
export function formatAuditLine(event: AuditEvent, time: string): string {
  return (
    `time=${time} level=INFO msg=${quote(describe(event))}` +
    ` req.method=${event.method} req.path=${quoteIfNeeded(shorten(event.path))}` +
    ` req.ip=${event.ip} req.identity=${event.identity === '' ? '<unknown>' : event.identity}` +
    ` res.code=${event.status} res.time=${event.durationMs.toFixed(3)}ms\n`
  );
}

/** The audit event as clients of the log stream read it; the time is in nanoseconds. */
export function formatAuditJson(event: AuditEvent): string {
  const { ip, identity } = event;
  const path = shorten(event.path);
  const request = {
    ...(ip === '' ? {} : { ip }),
    path,
    ...(identity === '' ? {} : { identity }),
  };
  const response = { code: event.status, time: Math.round(event.durationMs * 1e6) };
  return `${JSON.stringify({ time: new Date(event.timeMs).toISOString(), request, response })}\n`;
}

const actions: ReadonlyMap<string, string> = new Map([
  ['create', 'created'],
  ['import', 'imported'],
  ['delete', 'deleted'],
  ['disable', 'disabled'],
  ['enable', 'enabled'],
  ['rotate', 'rotated'],
  ['destroy', 'destroyed, or scheduled for it'],
  ['cancel', 'saved from destruction'],
  ['accept', 'accepted'],
]);

function describe(event: AuditEvent): string {
  if (event.status === 200 && event.path.startsWith('/v1/key/')) {
    const [verb = '', name = ''] = event.path.slice('/v1/key/'.length).split('/');
    const action = actions.get(verb);
    if (action !== undefined) return `secret key '${name}' ${action}`;
  }
  return event.status < 400 ? 'request served' : 'request refused';
}

/** Paths of valid requests are far shorter; the others must not flood the log. */
const pathLengthMax = 256;

function shorten(path: string): string {
  return path.length <= pathLengthMax ? path : `${path.slice(0, pathLengthMax)}…`;
}

function quote(text: string): string {
  return JSON.stringify(text);
}

function quoteIfNeeded(text: string): string {
  return /^[^\s"=\p{C}]+$/u.test(text) ? text : JSON.stringify(text);
}
