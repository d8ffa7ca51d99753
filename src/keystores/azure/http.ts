// How the Azure SDK sends its requests here: over connections of ours, with their limits and proxies, and
// without headers that describe the machine. A connection that fails is told to the SDK in the form it knows
// as worth another attempt, except for a DELETE: that is sent once, because a repeated one could delete what
// was created in between. Every answer also tells the time at the vault.

import type { SecretClientOptions } from '@azure/keyvault-secrets';
import type { Dispatcher } from 'undici';
import { type CloudLimits, describeNetworkError, retryDelay, userAgent } from '../cloud-calls.ts';

type HttpClient = NonNullable<SecretClientOptions['httpClient']>;
type Request = Parameters<HttpClient['sendRequest']>[0];
type Response = Awaited<ReturnType<HttpClient['sendRequest']>>;
type Headers = Response['headers'];

/** Called with the `Date` header of every answer. */
export type DateObserver = (date: string) => void;

/** An HTTP client for the SDK. The caller destroys the connections. */
export function azureHttpClient(options: {
  readonly connections: Dispatcher;
  readonly limits: CloudLimits;
  readonly observe?: DateObserver;
}): HttpClient {
  const { connections, limits, observe } = options;
  const transport = {
    connections,
    observe,
    agent: userAgent(),
    retryDelayMs: () => retryDelay(limits),
  };
  return { sendRequest: (request) => send(request, transport) };
}

type Transport = {
  readonly connections: Dispatcher;
  readonly agent: string;
  readonly observe: DateObserver | undefined;
  readonly retryDelayMs: () => number;
};

async function send(request: Request, transport: Transport): Promise<Response> {
  const url = new URL(request.url);
  const controller = new AbortController();
  const abort = (): void => controller.abort();
  request.abortSignal?.addEventListener('abort', abort);
  if (request.abortSignal?.aborted) abort();
  const timer = request.timeout > 0 ? setTimeout(abort, request.timeout) : undefined;
  try {
    const answer = await transport.connections.request({
      origin: url.origin,
      path: `${url.pathname}${url.search}`,
      method: request.method as Dispatcher.HttpMethod, // the SDK uses no others
      headers: headersOf(request, transport.agent),
      body: (request.body ?? null) as string | Uint8Array | null, // never a stream in these APIs
      signal: controller.signal,
    });
    const headers = new AnswerHeaders(answer.headers);
    // The SDK repeats what was throttled only when it is told when.
    if (answer.statusCode === 429 && !headers.has('retry-after')) {
      headers.set('retry-after-ms', transport.retryDelayMs());
    }
    const date = headers.get('date');
    if (date !== undefined && answer.statusCode < 500) transport.observe?.(date);
    const bodyAsText = readableBody(answer.statusCode, await answer.body.text());
    if (request.method === 'DELETE' && (answer.statusCode >= 500 || answer.statusCode === 429)) {
      throw new UnsureDeletion(`HTTP ${answer.statusCode}`);
    }
    return { request, status: answer.statusCode, headers, bodyAsText };
  } catch (error) {
    if (error instanceof UnreadableAnswer || error instanceof UnsureDeletion) throw error;
    const isAborted = request.abortSignal?.aborted === true;
    if (request.method === 'DELETE' && !isAborted) {
      throw new UnsureDeletion(describeNetworkError(error));
    }
    throw toSdkError(error, isAborted);
  } finally {
    clearTimeout(timer);
    request.abortSignal?.removeEventListener('abort', abort);
  }
}

/**
 * A DELETE that was not answered, or with 429, or 500 and more: it may have been carried out or not. The SDK
 * repeats nothing that ends in it.
 */
export class UnsureDeletion extends Error {}

/** An answer of 200 that is not JSON; its text is not repeated, as it may be a key's. */
class UnreadableAnswer extends Error {}

/** The code of an answer that is no error of the vault's own. */
export function bareCode(status: number): string {
  return `HTTP ${status}`;
}

/**
 * The body as the SDK can read it: an error names its inner code, which is the one that tells, and its status
 * if nothing else. Of a 404 it is the outer one: `SecretNotFound` alone says that there is none.
 */
function readableBody(status: number, text: string): string {
  const body = parseBody(text);
  if (status < 300) {
    if (body === undefined && text !== '') throw new UnreadableAnswer('its answer is not JSON');
    return text;
  }
  const { error } = (body ?? {}) as {
    error?: { code?: unknown; message?: unknown; innererror?: { code?: unknown } } | string | null;
  };
  // As the token endpoints word it.
  if (typeof error === 'string') return text;
  const inner = status === 404 ? undefined : error?.innererror?.code;
  const code = [inner, error?.code].find((each) => typeof each === 'string' && each !== '');
  const message = typeof error?.message === 'string' ? error.message : '';
  return JSON.stringify({ ...body, error: { code: code ?? bareCode(status), message } });
}

function parseBody(text: string): object | undefined {
  try {
    const body: unknown = JSON.parse(text);
    return typeof body === 'object' && body !== null ? body : undefined;
  } catch {
    return undefined;
  }
}

function headersOf(request: Request, agent: string): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of request.headers) {
    if (!/^(x-ms-useragent|user-agent|content-length|accept-encoding)$/i.test(name)) {
      headers[name.toLowerCase()] = value;
    }
  }
  return { ...headers, 'user-agent': agent };
}

/** `RestError` with a system error's code is what the SDK's retries look for. */
function toSdkError(error: unknown, isAborted: boolean): Error {
  if (isAborted) return Object.assign(new Error('aborted'), { name: 'AbortError' });
  const reason = describeNetworkError(error);
  return Object.assign(new Error(reason), { name: 'RestError', code: 'ECONNRESET' });
}

/** The headers of an answer as the SDK wants to see them. */
class AnswerHeaders implements Headers {
  readonly #values = new Map<string, string>();

  constructor(headers: Dispatcher.ResponseData['headers']) {
    for (const [name, value] of Object.entries(headers)) {
      if (value !== undefined) this.set(name, String(value));
    }
  }

  get(name: string): string | undefined {
    return this.#values.get(name.toLowerCase());
  }

  has(name: string): boolean {
    return this.#values.has(name.toLowerCase());
  }

  set(name: string, value: string | number | boolean): void {
    this.#values.set(name.toLowerCase(), String(value));
  }

  delete(name: string): void {
    this.#values.delete(name.toLowerCase());
  }

  toJSON(): Record<string, string> {
    return Object.fromEntries(this.#values);
  }

  [Symbol.iterator](): Iterator<[string, string]> {
    return this.#values.entries();
  }
}
