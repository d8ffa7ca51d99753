// Several endpoints of one key service, seen as one: which to ask, when to set one aside, when to try
// again. An endpoint on this host is always asked first, otherwise calls go round from a random start. One
// that fails (no answer, or 5xx other than 501) is set aside for 30 s and then probed by one call. Rule
// kept here: a request that may have had an effect is not sent twice unless the caller says it may be.

import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import type { SecureContext } from 'node:tls';
import { KesClientError, kesAbortedError, kesTimeoutError } from './kes-error.ts';
import type { KesResponse } from './kes-answers.ts';
import type { KesRequest, KesTls, KesTransport } from './kes-transport.ts';
import type { KesStreamAnswer, KesStreamRequest } from './kes-stream.ts';
import { connectKes, createKesTlsContext } from './kes-transport.ts';

const asideMs = 30_000;
const lookupMs = 2_000;

/** Whether an endpoint takes several key calls in one request; `unknown` until it was asked. */
export type KesBatching = 'unknown' | 'asking' | 'yes' | 'no';

/** One endpoint and its connection, made when needed. */
export class KesEndpoint {
  readonly url: URL;
  /** Milliseconds of `now()`; not asked before then while others answer. */
  asideUntil = Number.NEGATIVE_INFINITY;
  isLocal: boolean;
  /** Reset with each new connection. */
  batching: KesBatching = 'unknown';
  #transport: KesTransport | undefined;
  #connecting: Promise<KesTransport> | undefined;

  constructor(url: URL) {
    this.url = url;
    this.isLocal = isLoopback(hostOf(url));
  }

  /** Sends one request, connecting first if need be. Throws `KesClientError`. */
  async send(request: KesRequest, tls: KesTlsState): Promise<KesResponse> {
    const usable = this.#usable();
    if (usable) return usable.send(request);
    const { transport, timeoutMs } = await this.#connected(tls, request);
    return transport.send({ ...request, timeoutMs });
  }

  /** As `send`, for an answer that goes on. */
  async open(request: KesStreamRequest, tls: KesTlsState): Promise<KesStreamAnswer> {
    const { transport, timeoutMs } = await this.#connected(tls, request);
    return transport.open({ ...request, timeoutMs });
  }

  /** The next request makes a new connection; running ones finish. */
  retire(): void {
    this.#transport?.retire();
    this.#transport = undefined;
    this.#connecting = undefined;
  }

  destroy(): void {
    const connecting = this.#connecting;
    this.#transport?.destroy();
    this.#transport = undefined;
    this.#connecting = undefined;
    connecting?.then(
      (transport) => transport.destroy(),
      () => {},
    );
  }

  /** A connection, and what is left of the time for using it. */
  async #connected(
    tls: KesTlsState,
    limits: Limits,
  ): Promise<{ readonly transport: KesTransport; readonly timeoutMs: number }> {
    const usable = this.#usable();
    if (usable) return { transport: usable, timeoutMs: limits.timeoutMs };
    const start = performance.now();
    const transport = await within(this.#connect(tls), limits);
    const timeoutMs = Math.max(1, limits.timeoutMs - (performance.now() - start));
    return { transport, timeoutMs };
  }

  #usable(): KesTransport | undefined {
    return this.#transport?.isUsable() ? this.#transport : undefined;
  }

  /** Concurrent calls share one attempt. */
  #connect(tls: KesTlsState): Promise<KesTransport> {
    if (this.#connecting) return this.#connecting;
    const connecting = connectKes(this.url, tls).then(
      (transport) => {
        if (this.#connecting !== connecting) {
          // Retired meanwhile: it serves the calls that wait for it, and nobody else.
          setImmediate(() => transport.retire());
          return transport;
        }
        this.#connecting = undefined;
        this.#transport = transport;
        this.batching = 'unknown';
        return transport;
      },
      (error: unknown) => {
        if (this.#connecting === connecting) this.#connecting = undefined;
        throw error;
      },
    );
    this.#connecting = connecting;
    return connecting;
  }
}

type Limits = Pick<KesRequest, 'timeoutMs' | 'signal'>;

/** A call gives up waiting for a connection that others may still get. */
function within<T>(work: Promise<T>, limits: Limits): Promise<T> {
  const { timeoutMs, signal } = limits;
  return new Promise((resolve, reject) => {
    const late = () => reject(kesTimeoutError({ wasSent: false }));
    const timer = setTimeout(late, timeoutMs);
    const onAbort = () => signal && reject(kesAbortedError(signal));
    if (signal?.aborted) onAbort();
    signal?.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    });
  });
}

/** The TLS context in use. */
export type KesTlsState = { readonly context: SecureContext; readonly isInsecure: boolean };

/** Clock, chance and sleep, handed in by tests. */
export type KesRetryDeps = {
  /** Milliseconds of a clock that is never set, from any start. */
  now(): number;
  random(): number;
  sleep(ms: number, signal: AbortSignal | undefined): Promise<void>;
};

export type KesAttemptOptions = {
  /** All attempts and pauses together end within this. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** False: sent again only when the server cannot have acted on it. */
  readonly isRepeatable: boolean;
};

/** What one attempt at one endpoint gets to know. */
export type KesAttempt<Answer> = (endpoint: KesEndpoint, timeoutMs: number) => Promise<Answer>;

/** What of an answer decides whether it settles the call. */
type Answered = { readonly status: number };

/** The endpoints of one client. Owns their connections; `close` ends them. */
export class KesEndpoints {
  readonly all: readonly KesEndpoint[];
  #tls: KesTlsState;
  readonly #deps: KesRetryDeps;
  readonly #retriesMax: number;
  #next: number;
  #located: Promise<void> | undefined;
  #isClosed = false;

  constructor(
    urls: readonly URL[],
    options: { readonly tls: KesTls; readonly retriesMax: number; readonly deps: KesRetryDeps },
  ) {
    this.all = urls.map((url) => new KesEndpoint(url));
    this.#tls = tlsState(options.tls);
    this.#deps = options.deps;
    this.#retriesMax = options.retriesMax;
    this.#next = Math.floor(options.deps.random() * urls.length);
  }

  /** New connections use this from now on; running calls finish on the old ones. */
  setTls(tls: KesTls): void {
    this.#tls = tlsState(tls);
    for (const endpoint of this.all) endpoint.retire();
  }

  close(): void {
    this.#isClosed = true;
    for (const endpoint of this.all) endpoint.destroy();
  }

  /** One request to one endpoint, with no second try. */
  async sendTo(endpoint: KesEndpoint, request: KesRequest): Promise<KesResponse> {
    if (this.#isClosed) throw closed();
    return endpoint.send(request, this.#tls);
  }

  /** As `sendTo`, for an answer that goes on. */
  async openTo(endpoint: KesEndpoint, request: KesStreamRequest): Promise<KesStreamAnswer> {
    if (this.#isClosed) throw closed();
    return endpoint.open(request, this.#tls);
  }

  /** The endpoint that the next call would be sent to first. Does not count as a call. */
  peek(): KesEndpoint | undefined {
    return this.#order(false)[0];
  }

  /**
   * Runs the attempt until an endpoint gives an answer that settles the call: up to two more rounds,
   * 200 to 1000 ms apart, after network errors and 503. Resolves with the last answer, or throws the last
   * `KesClientError`.
   */
  async attempt<Answer extends Answered>(
    attempt: KesAttempt<Answer>,
    options: KesAttemptOptions,
  ): Promise<Answer> {
    const deadline = this.#deps.now() + options.timeoutMs;
    if (this.all.length > 1) await (this.#located ??= locate(this.all));
    for (let round = 0; ; round += 1) {
      const outcome = await this.#round(attempt, { ...options, deadline, isFirst: round === 0 });
      if (outcome.isFinal) return settled(outcome);
      const pauseMs = 200 + this.#deps.random() * 800;
      const isOver = round >= this.#retriesMax || this.#deps.now() + pauseMs >= deadline;
      if (isOver || !isWorthRepeating(outcome)) return settled(outcome);
      await this.#deps.sleep(pauseMs, options.signal);
    }
  }

  async #round<Answer extends Answered>(
    attempt: KesAttempt<Answer>,
    options: KesAttemptOptions & { readonly deadline: number; readonly isFirst: boolean },
  ): Promise<Outcome<Answer>> {
    let outcome: Outcome<Answer> = { isFinal: false, error: kesTimeoutError({ wasSent: false }) };
    for (const endpoint of options.isFirst ? this.#order(true) : this.all) {
      if (options.signal?.aborted) throw kesAbortedError(options.signal);
      const leftMs = options.deadline - this.#deps.now();
      if (leftMs <= 0) return { ...outcome, isFinal: true };
      const shareMs = this.all.length > 1 ? Math.min(leftMs, options.timeoutMs / 3) : leftMs;
      outcome = await tryOnce(attempt, { endpoint, timeoutMs: shareMs });
      if (outcome.isFinal) {
        endpoint.asideUntil = Number.NEGATIVE_INFINITY;
        return outcome;
      }
      endpoint.asideUntil = this.#deps.now() + asideMs;
      if (!options.isRepeatable && outcome.error?.wasSent) return { ...outcome, isFinal: true };
    }
    return outcome;
  }

  /** Endpoints to ask, in order: never empty. A set-aside one whose time is over is probed by one call. */
  #order(isCall: boolean): readonly KesEndpoint[] {
    if (this.all.length === 1) return this.all;
    const now = this.#deps.now();
    const start = this.#next % this.all.length;
    if (isCall) this.#next = start + 1;
    const rotated = [...this.all.slice(start), ...this.all.slice(0, start)];
    const sorted = [...rotated.filter((e) => e.isLocal), ...rotated.filter((e) => !e.isLocal)];
    const ready = sorted.filter((endpoint) => endpoint.asideUntil <= now);
    const first = ready[0];
    if (isCall && first && Number.isFinite(first.asideUntil)) first.asideUntil = now + asideMs;
    return ready.length > 0 ? ready : sorted;
  }
}

type Outcome<Answer> = {
  readonly isFinal: boolean;
  readonly response?: Answer;
  readonly error?: KesClientError;
};

async function tryOnce<Answer extends Answered>(
  attempt: KesAttempt<Answer>,
  options: { readonly endpoint: KesEndpoint; readonly timeoutMs: number },
): Promise<Outcome<Answer>> {
  try {
    const response = await attempt(options.endpoint, options.timeoutMs);
    const isFailure = response.status >= 500 && response.status !== 501;
    return { isFinal: !isFailure, response };
  } catch (error) {
    if (!(error instanceof KesClientError)) throw error;
    return { isFinal: error.code === 'aborted' || error.code === 'protocol', error };
  }
}

function isWorthRepeating(outcome: Outcome<Answered>): boolean {
  return outcome.response ? outcome.response.status === 503 : outcome.error?.code !== 'untrusted';
}

function settled<Answer>(outcome: Outcome<Answer>): Answer {
  if (outcome.response) return outcome.response;
  throw outcome.error ?? kesTimeoutError({ wasSent: false });
}

function closed(): KesClientError {
  const text = 'kes: connection error: the client is closed';
  return new KesClientError('connection', text, { wasSent: false });
}

function tlsState(tls: KesTls): KesTlsState {
  return { context: createKesTlsContext(tls), isInsecure: tls.isInsecure ?? false };
}

function hostOf(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, '');
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host);
}

/** Finds the endpoints whose address is one of this host's. A name that does not resolve in time is remote. */
async function locate(endpoints: readonly KesEndpoint[]): Promise<void> {
  const own = new Set(
    Object.values(networkInterfaces())
      .flatMap((list) => list ?? [])
      .map((a) => a.address),
  );
  await Promise.all(
    endpoints.map(async (endpoint) => {
      const host = hostOf(endpoint.url);
      if (endpoint.isLocal || isIP(host)) {
        endpoint.isLocal ||= own.has(host);
        return;
      }
      const addresses = await lookupWithin(host);
      endpoint.isLocal = addresses.some((address) => own.has(address) || isLoopback(address));
    }),
  );
}

async function lookupWithin(host: string): Promise<string[]> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<string[]>((resolve) => {
    timer = setTimeout(() => resolve([]), lookupMs);
  });
  const found = lookup(host, { all: true }).then(
    (list) => list.map((entry) => entry.address),
    () => [],
  );
  try {
    return await Promise.race([found, late]);
  } finally {
    clearTimeout(timer);
  }
}
