// The sentence with which a command reports an error. A fatal failure ends the command; the other kind is
// about one item, and the command goes on and exits 1 at the end.

import type { McError } from './error.ts';

/** Thrown by a command to end it with exit code 1; also printed, not thrown, for one failed item. */
export class Failure extends Error {
  readonly reason: McError | undefined;
  readonly isFatal: boolean;
  constructor(message: string, reason?: McError, options: { isFatal?: boolean } = {}) {
    super(message);
    this.name = 'Failure';
    this.reason = reason;
    this.isFatal = options.isFatal ?? true;
  }
}

/** The line after `mc: <ERROR> `. */
export function formatFailure(failure: Failure): string {
  const cause = failure.reason?.message ?? '';
  if (cause === '') return `${failure.message} `;
  if (!failure.isFatal || failure.message === '') return `${failure.message} ${cause}`.trimStart();
  const separator = failure.message.endsWith('.') ? ' ' : /^\p{Lu}/u.test(cause) ? '. ' : ': ';
  return `${failure.message}${separator}${cause.replace(/\.$/, '')}.`;
}
