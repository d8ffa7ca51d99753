// What the adapters on vendor SDKs share: endpoints with and without a scheme, connections with limits that
// honour the proxies of the environment, calls that end in time whatever an SDK does, and the status probe.
//
// Errors of an SDK are never passed on as a cause: they hold requests, and requests hold keys and tokens.

import { readFileSync } from 'node:fs';
import type { Dispatcher } from 'undici';
import type { Log } from '../base/log.ts';
import { KeyStoreError, type KeyStoreStatus } from '../keys/key-store.ts';

/**
 * Milliseconds: for one attempt, for a read or a page with all its attempts, for a change with all its
 * attempts; and the shortest wait before another attempt, the longest being four times that.
 */
export type CloudLimits = {
  readonly attemptMs: number;
  readonly readMs: number;
  readonly changeMs: number;
  readonly retryDelayMs: number;
};

/** `connections`: used instead of own ones, and left open. */
export type CloudDeps = {
  readonly log: Log;
  readonly limits?: Partial<CloudLimits>;
  readonly connections?: Dispatcher;
};

/** A read that is not answered within five seconds has failed. */
export const cloudLimits: CloudLimits = {
  attemptMs: 2_000,
  readMs: 5_000,
  changeMs: 20_000,
  retryDelayMs: 200,
};

/** Bytes of one answer, its decompressed body included. */
const answerBytesMax = 8 * 1024 * 1024;

/** What can be a name in a `SecretStore`; anything else in the account is not ours. */
export function isSecretName(name: string): boolean {
  return /^[0-9A-Za-z_-]{1,127}$/.test(name);
}

/** The URL of an endpoint; https when it has no scheme. Throws `KeyStoreError` `failed`. */
export function parseEndpoint(product: string, endpoint: string): URL {
  const text = /^[a-z][a-z0-9+.-]*:\/\//i.test(endpoint) ? endpoint : `https://${endpoint}`;
  const url = URL.parse(text);
  const isUsable =
    url !== null &&
    /^https?:$/.test(url.protocol) &&
    url.username === '' &&
    url.password === '' &&
    url.search === '' &&
    url.hash === '';
  if (isUsable) return url;
  throw new KeyStoreError(
    'failed',
    `${product}: the endpoint must be a host name or a URL that begins with https://, without user, ? or #`,
  );
}

/** Connections of one store. Proxies of the environment apply, except to this machine. */
export async function openConnections(
  url: URL,
  limits: CloudLimits,
  given?: Dispatcher,
): Promise<{ readonly connections: Dispatcher; close(): Promise<void> }> {
  if (given) return { connections: given, close: async () => {} };
  const { Agent, EnvHttpProxyAgent } = await import('undici');
  const options = {
    connections: 64,
    pipelining: 1,
    keepAliveTimeout: 10_000,
    headersTimeout: limits.attemptMs,
    bodyTimeout: limits.attemptMs,
    maxResponseSize: answerBytesMax,
  };
  // Said out loud, so that NODE_TLS_REJECT_UNAUTHORIZED cannot turn it off.
  const connect = { timeout: limits.attemptMs, rejectUnauthorized: true };
  const isLocal = /^(localhost|127\..*|\[::1\])$/.test(url.hostname);
  const connections = isLocal
    ? new Agent({ ...options, connect })
    : new EnvHttpProxyAgent({ ...options, connect, requestTls: connect, proxyTls: connect });
  return { connections, close: () => connections.destroy() };
}

/**
 * Runs `work` and gives up on it after `limitMs` with `unreachable`, aborting its signal. `what` names
 * product and action.
 */
export async function withinMs<T>(
  limitMs: number,
  what: string,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      reject(new KeyStoreError('unreachable', `${what}: no answer within ${limitMs} ms`));
      controller.abort();
    }, limitMs);
  });
  try {
    return await Promise.race([work(controller.signal), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Any HTTP answer to an unauthenticated GET counts as available, as in the reference. */
export async function probeEndpoint(
  url: URL,
  connections: Dispatcher,
  limits: CloudLimits,
): Promise<KeyStoreStatus> {
  const start = performance.now();
  try {
    const { body } = await connections.request({
      origin: url.origin,
      path: url.pathname,
      method: 'GET',
      headers: { 'user-agent': userAgent() },
      signal: AbortSignal.timeout(limits.attemptMs),
    });
    await body.dump();
  } catch (error) {
    return { state: 'unreachable', reason: `${url.origin}: ${describeNetworkError(error)}` };
  }
  return { state: 'available', latencyMs: Math.max(1, Math.round(performance.now() - start)) };
}

/** Code of a system, TLS or undici error, found through its causes; undefined for anything else. */
export function networkErrorCode(error: unknown): string | undefined {
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 6; depth += 1) {
    const { code } = at as NodeJS.ErrnoException;
    if (
      typeof code === 'string' &&
      /^(E[A-Z]+|UND_ERR_\w+|ERR_TLS\w+|CERT_\w+|.*CERT.*)$/.test(code)
    ) {
      return code;
    }
    if (at.name === 'TimeoutError') return 'ETIMEDOUT';
    at = at instanceof AggregateError ? at.errors[0] : at.cause;
  }
  return undefined;
}

/** In words, without what the error quotes. */
export function describeNetworkError(error: unknown): string {
  const code = networkErrorCode(error);
  if (code === undefined) return error instanceof Error ? error.name : 'unknown error';
  return explanations[code] ?? code;
}

const explanations: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection lost',
  UND_ERR_SOCKET: 'connection lost',
  ENOTFOUND: 'the host name is unknown',
  EAI_AGAIN: 'the name server does not answer',
  ETIMEDOUT: 'no answer in time',
  UND_ERR_CONNECT_TIMEOUT: 'no connection in time',
  UND_ERR_HEADERS_TIMEOUT: 'no answer in time',
  UND_ERR_BODY_TIMEOUT: 'no answer in time',
};

/** `coffer/<version>`: says nothing about the machine. */
export function userAgent(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return `coffer/${(JSON.parse(text) as { version: string }).version}`;
}

/** Milliseconds before another attempt: 200 to 800 at random by default. */
export function retryDelay(limits: CloudLimits): number {
  return limits.retryDelayMs * (1 + Math.random() * 3);
}

/** Resolves after `ms`, or at once when aborted. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done);
  });
}

/** Refuses a value that the product cannot hold, before it is sent. Throws `failed`. */
export function checkValueSize(product: string, value: string, bytesMax: number): void {
  if (value.length <= bytesMax) return;
  throw new KeyStoreError(
    'failed',
    `${product} holds at most ${bytesMax} bytes in one secret, and this key has ${value.length}`,
  );
}
