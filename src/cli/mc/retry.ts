// When and how often a request is tried again: up to ten tries, with a random wait between 200 ms and 1 s.
// Only faults that may pass are repeated; a definite refusal is reported at once.

import { setTimeout as sleep } from 'node:timers/promises';

import { McError } from './error.ts';

const triesMax = 10;
const waitMinMs = 200;
const waitMaxMs = 1000;

const retriedCodes: ReadonlySet<string> = new Set([
  'RequestError',
  'RequestTimeout',
  'Throttling',
  'ThrottlingException',
  'RequestLimitExceeded',
  'RequestThrottled',
  'InternalError',
  'ExpiredToken',
  'ExpiredTokenException',
  'SlowDown',
]);
const retriedStatuses: ReadonlySet<number> = new Set([408, 429, 499, 500, 502, 503, 504, 520]);

export type RetryRules = {
  readonly signal: AbortSignal;
  isRetried(error: McError): boolean;
};

/** Whether an S3 request is worth another try. */
export function isS3Retried(error: McError): boolean {
  if (error.code === 'transport') return !isLasting(error);
  if (error.serverCode !== undefined && retriedCodes.has(error.serverCode)) return true;
  return error.status !== undefined && retriedStatuses.has(error.status);
}

/** Whether an admin request is: a plain 500 is final there, and so is a refused connection. */
export function isAdminRetried(error: McError): boolean {
  const code = error.serverCode;
  if (code !== undefined && code !== 'InternalError' && retriedCodes.has(code)) return true;
  return error.status !== undefined && [408, 429, 502, 503].includes(error.status);
}

/** Runs `attempt` until it succeeds, fails for good, or ten tries are used up; throws the last error. */
export async function withRetries<T>(rules: RetryRules, attempt: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof McError) || tries >= triesMax || !rules.isRetried(error)) throw error;
    }
    const ceiling = Math.min(waitMaxMs, waitMinMs * 2 ** tries);
    const wait = waitMinMs + Math.random() * (ceiling - waitMinMs);
    try {
      await sleep(wait, undefined, { signal: rules.signal });
    } catch (cause) {
      throw new McError('cancelled', 'interrupted', { cause });
    }
  }
}

/** Refused connections, unknown hosts and TLS faults do not pass by themselves. */
function isLasting(error: McError): boolean {
  const causes: unknown[] =
    error.cause instanceof AggregateError ? (error.cause.errors as unknown[]) : [error.cause];
  return causes.some((cause) => {
    const code = (cause as NodeJS.ErrnoException | undefined)?.code ?? '';
    return /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|ERR_SSL_|ERR_TLS_|EPROTO|CERT_|UNABLE_TO|DEPTH_ZERO|SELF_SIGNED|ERR_INVALID)/.test(
      code,
    );
  });
}
