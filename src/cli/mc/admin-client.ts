// The admin API of one server: JSON over a signature with an empty region and the real hash of the body,
// and the anonymous health calls. Only faults that may pass are repeated; 500 is final here.

import { openAdminPayload, sealAdminPayload } from '../../aead/admin-payload.ts';
import { emptySha256 } from '../../sigv4/canonical.ts';
import { signRequest } from '../../sigv4/sign.ts';
import type { Alias } from './config.ts';
import { McError } from './error.ts';
import type { Http, HttpResponse } from './http.ts';
import { isAdminRetried, withRetries } from './retry.ts';
import { readBounded, readServerError } from './server-error.ts';

export type AdminClientDeps = {
  readonly http: Http;
  readonly alias: Alias;
  readonly signal: AbortSignal;
  now(): number;
};

export type HealthAnswer = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly elapsedMs: number;
};

/** Parameters by name; a list stands for one parameter several times. */
export type AdminQuery = Readonly<Record<string, string | readonly string[]>>;

/** What goes with a call, as bytes or as JSON sealed under the secret key, and how the answer comes. */
export type AdminPayload = {
  readonly bytes?: Uint8Array;
  readonly sealed?: unknown;
  readonly isAnswerSealed?: boolean;
};

const answerBytesMax = 64 * 1024 * 1024;

/** A client of one alias's admin API. */
export class AdminClient {
  readonly alias: Alias;
  readonly origin: string;
  readonly #deps: AdminClientDeps;

  constructor(deps: AdminClientDeps) {
    this.#deps = deps;
    this.alias = deps.alias;
    this.origin = deps.alias.url.replace(/\/$/, '');
  }

  /**
   * Sends one admin call and returns the parsed JSON, or undefined for an empty body. `path` is absolute.
   * Throws `server` for any status but 200 and 204, and `transport` for an answer that is not JSON.
   */
  async call(
    method: string,
    path: string,
    query: AdminQuery = {},
    payload: AdminPayload = {},
  ): Promise<unknown> {
    const text = Object.entries(query)
      .sort(([left], [right]) => (left < right ? -1 : 1))
      .flatMap(([name, value]) =>
        typeof value === 'string' ? [[name, value]] : value.map((each) => [name, each]),
      )
      .map(
        ([name = '', value = '']) => `${name}=${encodeURIComponent(value).replaceAll('*', '%2A')}`,
      )
      .join('&');
    const target = text === '' ? path : `${path}?${text}`;
    const rules = { signal: this.#deps.signal, isRetried: isAdminRetried };
    const sent = await this.#bodyOf(payload);
    const response = await withRetries(rules, () => this.#attempt(method, target, sent));
    const received = await readBounded(response.body, answerBytesMax);
    if (received.length === 0) return undefined;
    const body = payload.isAnswerSealed === true ? await this.#open(received) : received;
    try {
      return JSON.parse(Buffer.from(body).toString('utf8')) as unknown;
    } catch (cause) {
      throw new McError('transport', 'the server sent an answer that is not JSON', { cause });
    }
  }

  /** An anonymous health call; any status is an answer. Throws `transport`. */
  async health(path: string, timeoutMs: number): Promise<HealthAnswer> {
    const started = performance.now();
    const response = await this.#deps.http.send({
      method: 'GET',
      origin: this.origin,
      target: path,
      headers: { host: new URL(this.origin).host, 'x-amz-content-sha256': emptySha256 },
      timeoutMs,
    });
    await readBounded(response.body, answerBytesMax);
    return {
      status: response.status,
      headers: response.headers,
      elapsedMs: performance.now() - started,
    };
  }

  async #bodyOf({ bytes, sealed }: AdminPayload): Promise<Uint8Array | undefined> {
    if (sealed === undefined) return bytes;
    const plaintext = Buffer.from(JSON.stringify(sealed));
    try {
      return await sealAdminPayload(this.alias.secretKey, plaintext);
    } finally {
      plaintext.fill(0);
    }
  }

  async #open(bytes: Uint8Array): Promise<Uint8Array> {
    try {
      return await openAdminPayload(this.alias.secretKey, bytes);
    } catch (cause) {
      throw new McError(
        'transport',
        'the answer of the server does not open with this secret key',
        {
          cause,
        },
      );
    }
  }

  async #attempt(
    method: string,
    target: string,
    body: Uint8Array | undefined,
  ): Promise<HttpResponse> {
    const { accessKey, secretKey, sessionToken } = this.alias;
    const { headers } = signRequest({
      method,
      target,
      headers: {
        host: new URL(this.origin).host,
        'accept-encoding': 'identity',
        ...(body !== undefined && method === 'POST'
          ? { 'content-type': 'application/octet-stream' }
          : {}),
      },
      credentials: {
        accessKey,
        secretKey,
        ...(sessionToken === undefined ? {} : { sessionToken }),
      },
      region: '',
      timeMs: this.#deps.now(),
      payload: body === undefined ? { kind: 'empty' } : { kind: 'bytes', bytes: body },
    });
    const response = await this.#deps.http.send({
      method,
      origin: this.origin,
      target,
      headers:
        method === 'GET' ? headers : { ...headers, 'content-length': String(body?.length ?? 0) },
      ...(body === undefined ? {} : { body }),
    });
    if (response.status === 200 || response.status === 204) return response;
    throw await readServerError(response, { isAdmin: true });
  }
}
