// The one shape of logging in the code: an interface small enough to fake in a test. `server` and `cli`
// build it on pino. Fields are data, never secrets: no keys, tokens, signatures or bodies.

export type LogFields = Readonly<Record<string, unknown>>;

export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

/** Drops everything: for tests and for tools that have no log. */
export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} };
