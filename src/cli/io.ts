// What a command sees of the outside: streams, environment and terminal, handed in so that tests can
// run a whole command in the same process and read what it printed.

import type { Readable, Writable } from 'node:stream';

export type CliIo = {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: Readable;
  readonly stdout: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  readonly stderr: Writable & { readonly isTTY?: boolean };
  /** Aborted on SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
};
