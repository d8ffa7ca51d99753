// The HTTP client of the adapters that speak to a product directly. It keeps what they all need in one
// place: TLS files that are read again when they change, limits on time and size, retries that repeat only
// what is safe to repeat, redirects that never carry a credential elsewhere, and errors that name the
// product, the host and the path, and never a query, a header, a body or the credentials of a URL.

import type { Stats } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { getCACertificates } from 'node:tls';
import type { Dispatcher } from 'undici';
import { KeyStoreError } from '../keys/key-store.ts';

/** Paths of PEM files; `ca` may also be a directory of them. Empty texts count as absent. */
export type HttpTlsFiles = {
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
};

export type HttpHeaders = Readonly<Record<string, string>>;

export type HttpSettings = {
  /** Names the product in errors, for example `vault`. */
  readonly product: string;
  /** Base URLs of equal nodes, `http(s)://host[:port][/path]`, at least one. The next one is tried when one does not answer, or with a status of 500 or more. */
  readonly endpoints: readonly string[];
  readonly tls?: HttpTlsFiles | undefined;
  /**
   * Headers that prove who asks, asked for before every attempt. After a 401 it is asked once more with
   * `wasRefused`, and the call is repeated once.
   */
  readonly authorization?: (state: { readonly wasRefused: boolean }) => Promise<HttpHeaders>;
  /** Largest answer; 2 MiB by default. A call may ask for more, at most 32 MiB. */
  readonly answerBytesMax?: number;
  /** For one call with all its attempts; 20,000 by default. */
  readonly deadlineMs?: number;
  /** Whether idle connections are kept for the next call; true by default. */
  readonly isKeptAlive?: boolean;
  /** Milliseconds before attempt 2 and 3; 200 to 1,000 at random by default. */
  readonly retryDelayMs?: () => number;
  /** How often the TLS files are looked at; 10,000 by default. */
  readonly tlsCheckMs?: number;
};

export type HttpCall = {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'LIST' | 'HEAD';
  /** With a leading slash, encoded, with its query if any; appended to the base URL. */
  readonly path: string;
  readonly headers?: HttpHeaders;
  /** The body: `json` is serialised (with its content type unless `headers` names one), `text` sent as it is. */
  readonly json?: unknown;
  readonly text?: string;
  /** Set when doing it twice is as good as once: allows up to two more attempts. GET and HEAD always are. */
  readonly isRepeatable?: boolean;
  /** Leaves out `authorization`, for a login. */
  readonly isAnonymous?: boolean;
  readonly answerBytesMax?: number;
  readonly deadlineMs?: number;
  /** Index of the endpoint to ask, and no other; without it, the one that answered last, then the next. */
  readonly node?: number;
};

export type HttpAnswer = {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: HttpHeaders;
  readonly text: string;
  /** The body as JSON. Throws `KeyStoreError` `failed` when it is not. */
  json(): unknown;
};

/** `call` resolves with any status; it throws `KeyStoreError` `unreachable` without an answer, `failed` for one that cannot be used. */
export interface HttpClient {
  call(call: HttpCall): Promise<HttpAnswer>;
  close(): Promise<void>;
}

const answerBytesDefault = 2 * 1024 * 1024;
const answerBytesLimit = 32 * 1024 * 1024;
const attemptsMax = 3;
const redirectsMax = 3;
const connectTimeoutMs = 10_000;
const deadlineDefaultMs = 20_000;
const tlsCheckDefaultMs = 10_000;

/**
 * Reads the TLS files and makes a client; opens no connection yet. Throws `KeyStoreError` `failed` for a
 * bad URL or an unreadable file.
 */
export async function openHttpClient(settings: HttpSettings): Promise<HttpClient> {
  const bases = settings.endpoints.map((endpoint) => parseBase(settings.product, endpoint));
  if (bases.length === 0) throw failed(settings.product, 'no endpoint is given');
  const client = new UndiciClient(settings, bases);
  await client.open();
  return client;
}

function parseBase(product: string, endpoint: string): URL {
  const url = URL.parse(endpoint);
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw failed(product, 'the endpoint is not a URL that begins with https:// or http://');
  }
  if (url.username !== '' || url.password !== '') {
    throw failed(product, 'the endpoint must not contain a user name or password');
  }
  if (url.search !== '' || url.hash !== '') {
    throw failed(product, `the endpoint must not contain ? or #`);
  }
  return url;
}

type Attempt = { readonly call: HttpCall; readonly deadline: number; readonly signal: AbortSignal };

class UndiciClient implements HttpClient {
  readonly #settings: HttpSettings;
  readonly #bases: readonly URL[];
  /** The node that answered last. */
  #current = 0;
  #dispatcher: Dispatcher | undefined;
  #tlsState = '';
  #tlsCheckedAt = 0;
  #reload: Promise<void> | undefined;
  #isClosed = false;

  constructor(settings: HttpSettings, bases: readonly URL[]) {
    this.#settings = settings;
    this.#bases = bases;
  }

  async open(): Promise<void> {
    this.#tlsState = await this.#describeTlsFiles();
    this.#tlsCheckedAt = performance.now();
    this.#dispatcher = await makeDispatcher(this.#settings, this.#bases);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#dispatcher?.destroy();
  }

  async call(call: HttpCall): Promise<HttpAnswer> {
    const deadlineMs = call.deadlineMs ?? this.#settings.deadlineMs ?? deadlineDefaultMs;
    const attempt: Attempt = {
      call,
      deadline: performance.now() + deadlineMs,
      signal: AbortSignal.timeout(deadlineMs),
    };
    const isRepeatable = call.isRepeatable ?? (call.method === 'GET' || call.method === 'HEAD');
    for (let count = 1; ; count += 1) {
      const isLast = !isRepeatable || count === attemptsMax;
      try {
        const answer = await this.#authorized(attempt);
        if (answer.status >= 500) this.#moveOn(call);
        if (isLast || answer.status < 500 || !(await this.#pause(attempt))) return answer;
      } catch (error) {
        const isTransient = error instanceof KeyStoreError && error.code === 'unreachable';
        if (!isTransient) throw error;
        this.#moveOn(call);
        if (isLast || this.#isClosed || !(await this.#pause(attempt))) throw error;
      }
    }
  }

  #moveOn(call: HttpCall): void {
    if (call.node === undefined) this.#current = (this.#current + 1) % this.#bases.length;
  }

  /** Waits before the next attempt; false when there is no time left for one. */
  async #pause(attempt: Attempt): Promise<boolean> {
    const delayMs = this.#settings.retryDelayMs?.() ?? 200 + Math.random() * 800;
    if (performance.now() + delayMs >= attempt.deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, delayMs));
    return !this.#isClosed;
  }

  async #authorized(attempt: Attempt): Promise<HttpAnswer> {
    const { authorization } = this.#settings;
    if (authorization === undefined || attempt.call.isAnonymous) {
      return this.#followed(attempt, {});
    }
    const answer = await this.#followed(attempt, await authorization({ wasRefused: false }));
    if (answer.status !== 401) return answer;
    return this.#followed(attempt, await authorization({ wasRefused: true }));
  }

  /** Sends the call; follows a redirect that keeps method and body, to a configured node only. */
  async #followed(attempt: Attempt, headers: HttpHeaders): Promise<HttpAnswer> {
    let url = this.#urlOf(attempt.call);
    for (let hops = 0; ; hops += 1) {
      const answer = await this.#send(attempt, url, headers);
      if (answer.status < 300 || answer.status > 399) return answer;
      const location = URL.parse(answer.headers['location'] ?? '', url);
      const isKnown = this.#bases.some((base) => base.origin === location?.origin);
      if (location === null || !isKnown || ![307, 308].includes(answer.status)) {
        throw this.#failed(attempt.call, url, 'it redirects elsewhere, which is not followed');
      }
      if (hops === redirectsMax) throw this.#failed(attempt.call, url, 'it redirects in circles');
      url = location;
    }
  }

  #urlOf(call: HttpCall): URL {
    const base = this.#bases[call.node ?? this.#current];
    if (base === undefined) throw failed(this.#settings.product, 'no endpoint is given');
    return new URL(`${base.origin}${base.pathname.replace(/\/+$/, '')}${call.path}`);
  }

  async #send(attempt: Attempt, url: URL, authorization: HttpHeaders): Promise<HttpAnswer> {
    const { call, signal } = attempt;
    const dispatcher = await this.#freshDispatcher();
    const body = call.text ?? (call.json === undefined ? undefined : JSON.stringify(call.json));
    const headers: Record<string, string> = { accept: 'application/json' };
    if (call.json !== undefined) headers['content-type'] = 'application/json';
    Object.assign(headers, lowerCased(call.headers), lowerCased(authorization));
    try {
      const answer = await dispatcher.request({
        origin: url.origin,
        path: `${url.pathname}${url.search}`,
        method: call.method as Dispatcher.HttpMethod, // LIST is no method undici names, but it sends any
        headers,
        body: body ?? null,
        signal,
        reset: this.#settings.isKeptAlive === false,
      });
      const text = await this.#readBody(attempt, url, answer.body);
      return {
        status: answer.statusCode,
        headers: flatten(answer.headers),
        text,
        json: () => this.#parse(call, url, text),
      };
    } catch (error) {
      if (error instanceof KeyStoreError) throw error;
      throw this.#unreachable(attempt, url, error);
    }
  }

  async #readBody(attempt: Attempt, url: URL, body: AsyncIterable<Buffer>): Promise<string> {
    const wanted = attempt.call.answerBytesMax ?? this.#settings.answerBytesMax;
    const bytesMax = Math.min(wanted ?? answerBytesDefault, answerBytesLimit);
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of body) {
      bytes += chunk.length;
      if (bytes > bytesMax) {
        throw this.#failed(attempt.call, url, `its answer is larger than ${bytesMax} bytes`);
      }
      chunks.push(chunk);
    }
    return Buffer.concat(chunks).toString('utf8');
  }

  #parse(call: HttpCall, url: URL, text: string): unknown {
    try {
      return JSON.parse(text) as unknown;
    } catch {
      // Not passed on as the cause: the parser's message quotes the text.
      throw this.#failed(call, url, 'its answer is not JSON');
    }
  }

  #failed(call: HttpCall, url: URL, what: string): KeyStoreError {
    return failed(this.#settings.product, `${call.method} ${url.origin}${url.pathname}: ${what}`);
  }

  #unreachable(attempt: Attempt, url: URL, cause: unknown): KeyStoreError {
    const { product } = this.#settings;
    const why = attempt.signal.aborted ? 'no answer in time' : describeCause(cause);
    const where = `${attempt.call.method} ${url.origin}${url.pathname}`;
    return new KeyStoreError('unreachable', `${product}: ${where}: ${why}`, { cause });
  }

  /** The dispatcher, made anew when a TLS file has changed, so that renewed certificates need no restart. */
  async #freshDispatcher(): Promise<Dispatcher> {
    const checkMs = this.#settings.tlsCheckMs ?? tlsCheckDefaultMs;
    if (performance.now() - this.#tlsCheckedAt >= checkMs) {
      this.#reload ??= this.#reloadTls().finally(() => {
        this.#reload = undefined;
      });
      await this.#reload;
    }
    if (this.#dispatcher === undefined || this.#isClosed) {
      throw failed(this.#settings.product, 'the connection is closed');
    }
    return this.#dispatcher;
  }

  /** Keeps the old files' content while the new cannot be used: a file may be half written. */
  async #reloadTls(): Promise<void> {
    const state = await this.#describeTlsFiles();
    this.#tlsCheckedAt = performance.now();
    if (state === this.#tlsState) return;
    try {
      const fresh = await makeDispatcher(this.#settings, this.#bases);
      const old = this.#dispatcher;
      this.#dispatcher = fresh;
      this.#tlsState = state;
      void old?.close().catch(() => undefined);
    } catch (error) {
      if (!(error instanceof KeyStoreError)) throw error;
    }
  }

  async #describeTlsFiles(): Promise<string> {
    const files = Object.values(this.#settings.tls ?? {}).filter((file) => file);
    const parts = await Promise.all(files.map(async (file = '') => describeFile(file)));
    return parts.join('\n');
  }
}

/** Differs when the file, or one in the directory, is another: a directory shows nothing of what is written in place. */
async function describeFile(file: string): Promise<string> {
  try {
    const stats = await stat(file);
    const entries = stats.isDirectory() ? (await readdir(file)).toSorted() : [];
    const inside = await Promise.all(
      entries.map(async (entry) => describe(path.join(file, entry))),
    );
    return [describeStats(file, stats), ...inside].join('\n');
  } catch {
    return `${file} missing`;
  }
}

async function describe(file: string): Promise<string> {
  try {
    return describeStats(file, await stat(file));
  } catch {
    return `${file} missing`;
  }
}

function describeStats(file: string, { mtimeMs, ctimeMs, size, ino }: Stats): string {
  return `${file} ${mtimeMs} ${ctimeMs} ${size} ${ino}`;
}

async function makeDispatcher(settings: HttpSettings, bases: readonly URL[]): Promise<Dispatcher> {
  const { Agent, EnvHttpProxyAgent } = await import('undici');
  const isTls = bases.some((base) => base.protocol === 'https:');
  const tls = isTls ? await readTls(settings) : {};
  const options = {
    connections: 64,
    pipelining: 1,
    keepAliveTimeout: 10_000,
    headersTimeout: 60_000,
    bodyTimeout: 60_000,
  };
  // Said out loud, so that NODE_TLS_REJECT_UNAUTHORIZED cannot turn it off.
  const connect = { ...tls, timeout: connectTimeoutMs, rejectUnauthorized: true };
  // Like the proxy settings of most programs, they do not apply to this machine itself.
  const isLocal = bases.every((base) => /^(localhost|127\..*|\[::1\])$/.test(base.hostname));
  if (isLocal) return new Agent({ ...options, connect });
  const proxyTls = { ...(await proxyTrust(settings)), timeout: connectTimeoutMs };
  return new EnvHttpProxyAgent({ ...options, connect, requestTls: connect, proxyTls });
}

type TlsMaterial = {
  readonly ca?: string[];
  readonly cert?: string;
  readonly key?: string;
  readonly minVersion?: 'TLSv1.2';
};

/** For a proxy reached over TLS: the named authorities and everybody's, and never the client certificate. */
async function proxyTrust({ product, tls }: HttpSettings) {
  const named = tls?.ca ? await readAuthorities(product, tls.ca) : [];
  const ca = [...named, ...getCACertificates('default'), ...getCACertificates('system')];
  return { ca, minVersion: 'TLSv1.2', rejectUnauthorized: true } as const;
}

/** Only the named authorities are trusted when there are any, otherwise Node's and the system's. */
async function readTls(settings: HttpSettings): Promise<TlsMaterial> {
  const { ca, cert, key } = settings.tls ?? {};
  const { product } = settings;
  return {
    minVersion: 'TLSv1.2',
    ca: ca
      ? await readAuthorities(product, ca)
      : [...getCACertificates('default'), ...getCACertificates('system')],
    ...(cert ? { cert: await readPem(product, cert) } : {}),
    ...(key ? { key: await readPem(product, key) } : {}),
  };
}

async function readAuthorities(product: string, location: string): Promise<string[]> {
  const pems: string[] = [];
  for (const file of await filesAt(product, location)) {
    const pem = await readPem(product, file);
    if (pem.includes('-----BEGIN CERTIFICATE-----')) pems.push(pem);
  }
  if (pems.length === 0) throw failed(product, `${location} holds no certificate in PEM form`);
  return pems;
}

async function filesAt(product: string, location: string): Promise<string[]> {
  try {
    if (!(await stat(location)).isDirectory()) return [location];
    const entries = await readdir(location);
    const files: string[] = [];
    for (const entry of entries.toSorted()) {
      const file = path.join(location, entry);
      if ((await stat(file)).isFile()) files.push(file);
    }
    return files;
  } catch (error) {
    throw failed(product, `cannot read ${location}: ${describeCause(error)}`);
  }
}

async function readPem(product: string, file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw failed(product, `cannot read ${file}: ${describeCause(error)}`);
  }
}

/** The code of a system, TLS or undici error; a message only where there is none, as it may quote input. */
function describeCause(cause: unknown): string {
  if (!(cause instanceof Error)) return 'unknown error';
  const inner = cause instanceof AggregateError ? cause.errors[0] : cause.cause;
  const { code } = cause as NodeJS.ErrnoException;
  if (code !== undefined) return explanations[code] ?? code;
  return inner instanceof Error ? describeCause(inner) : cause.name;
}

const explanations: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection lost',
  UND_ERR_SOCKET: 'connection lost',
  ENOTFOUND: 'the host name is unknown',
  EAI_AGAIN: 'the name server does not answer',
  UND_ERR_CONNECT_TIMEOUT: 'no connection in time',
  UND_ERR_HEADERS_TIMEOUT: 'no answer in time',
  UND_ERR_BODY_TIMEOUT: 'no answer in time',
  ENOENT: 'no such file',
  EACCES: 'no permission',
  DEPTH_ZERO_SELF_SIGNED_CERT:
    'its certificate is not trusted (self-signed); name its CA in tls.ca',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is not trusted; name its CA in tls.ca',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is not trusted; name its CA in tls.ca',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its certificate is not trusted; name its CA in tls.ca',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another host name',
};

function lowerCased(headers: HttpHeaders = {}): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]),
  );
}

function flatten(headers: Dispatcher.ResponseData['headers']): HttpHeaders {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [
      name,
      Array.isArray(value) ? value.join(', ') : (value ?? ''),
    ]),
  );
}

function failed(product: string, what: string): KeyStoreError {
  return new KeyStoreError('failed', `${product}: ${what}`);
}
