// Answers of the key service that do not end by themselves: the log streams, one JSON object a line. Rules
// kept here: a line is at most 1 MiB, whatever the server sends; a stream that was cut is an error and not
// an end; leaving the loop early closes the stream.

import type * as http2 from 'node:http2';
import * as https from 'node:https';
import type { Readable } from 'node:stream';
import { addAbortSignal } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import type { KesDocument } from './kes-answers.ts';
import { parseObject } from './kes-answers.ts';
import {
  KesClientError,
  kesAbortedError,
  kesConnectionError,
  kesTimeoutError,
} from './kes-error.ts';

const lineCharsMax = 1_048_576;
const refusalBytesMax = 65_536;

/** `timeoutMs` is how long the answer may take to begin; how long it goes on is not limited. */
export type KesStreamRequest = {
  readonly path: string;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
};

/** A success has a stream and an empty body, a refusal the body only. */
export type KesStreamAnswer = {
  readonly status: number;
  readonly contentType: string | undefined;
  readonly body: Buffer;
  readonly stream?: Readable;
};

/** Asks over a HTTP/2 session. Throws `KesClientError` until the answer has begun. */
export function openHttp2Stream(
  session: http2.ClientHttp2Session,
  request: KesStreamRequest,
  sessionFailure: () => unknown,
): Promise<KesStreamAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<KesStreamAnswer>();
  if (request.signal?.aborted) return Promise.reject(kesAbortedError(request.signal));
  let stream: http2.ClientHttp2Stream;
  try {
    stream = session.request({ ':method': 'GET', ':path': request.path }, { endStream: true });
  } catch (error) {
    const cause = sessionFailure() ?? error;
    return Promise.reject(kesConnectionError(cause, { wasSent: false }));
  }
  watch(stream, { request, promise, reject, destroy: (error) => stream.destroy(error) });
  stream.once('response', (headers) => {
    const answer = { status: headers[':status'] ?? 0, contentType: headers['content-type'] };
    answerOf(stream, answer).then(resolve, reject);
  });
  return promise;
}

/** Asks over HTTP/1.1. Throws `KesClientError` until the answer has begun. */
export function openHttp1Stream(
  endpoint: URL,
  agent: https.Agent,
  request: KesStreamRequest,
): Promise<KesStreamAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<KesStreamAnswer>();
  if (request.signal?.aborted) return Promise.reject(kesAbortedError(request.signal));
  const call = https.request(endpoint, { agent, method: 'GET', path: request.path });
  watch(call, { request, promise, reject, destroy: (error) => call.destroy(error) });
  call.once('response', (response) => {
    const contentType = response.headers['content-type'];
    const answer = { status: response.statusCode ?? 0, contentType };
    answerOf(response, answer).then(resolve, reject);
  });
  call.end();
  return promise;
}

/** Ends the wait for an answer that does not begin, or for a refusal that does not end. */
function watch(
  call: http2.ClientHttp2Stream | ReturnType<typeof https.request>,
  wait: {
    readonly request: KesStreamRequest;
    readonly promise: Promise<KesStreamAnswer>;
    reject(error: KesClientError): void;
    destroy(error: Error): void;
  },
): void {
  const { signal, timeoutMs } = wait.request;
  const late = () => wait.destroy(kesTimeoutError({ wasSent: true }));
  const timer = setTimeout(late, timeoutMs);
  const onAbort = () => signal && wait.destroy(kesAbortedError(signal));
  signal?.addEventListener('abort', onAbort, { once: true });
  const settle = () => {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  };
  wait.promise.then(settle, settle);
  let hasBegun = false;
  call.once('response', () => {
    hasBegun = true;
  });
  call.on('error', (error: Error) => {
    wait.reject(kesConnectionError(error, { wasSent: true })); // without effect once it is settled
  });
  call.once('close', () => {
    if (!hasBegun) wait.reject(cut());
  });
}

async function answerOf(
  stream: Readable,
  answer: { readonly status: number; readonly contentType: string | undefined },
): Promise<KesStreamAnswer> {
  if (answer.status >= 200 && answer.status < 300) {
    return { ...answer, body: Buffer.alloc(0), stream };
  }
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > refusalBytesMax) break;
      chunks.push(chunk);
    }
  } catch (error) {
    throw kesConnectionError(error, { wasSent: true });
  }
  return { ...answer, body: Buffer.concat(chunks) };
}

/** The events of a log stream. Throws `KesClientError` as `kesLinesOf`, and for a line that is no object. */
export async function* parseLog(
  stream: Readable,
  signal?: AbortSignal,
): AsyncGenerator<KesDocument, void, undefined> {
  for await (const line of kesLinesOf(stream, signal)) yield parseObject(Buffer.from(line));
}

/**
 * The lines of the stream, without their ends and without empty ones, until the server ends it. Throws
 * `KesClientError`: `aborted`, `connection` when it was cut, `protocol` for a line that is too long.
 */
export async function* kesLinesOf(
  stream: Readable,
  signal?: AbortSignal,
): AsyncGenerator<string, void, undefined> {
  if (signal) addAbortSignal(signal, stream);
  const decoder = new StringDecoder('utf8');
  let rest = '';
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      const lines = (rest + decoder.write(chunk)).split('\n');
      rest = lines.pop() ?? '';
      yield* lines.filter((line) => line.trim() !== '');
      if (rest.length > lineCharsMax) throw tooLong();
    }
  } catch (error) {
    if (signal?.aborted) throw kesAbortedError(signal);
    throw error instanceof KesClientError ? error : cut(error);
  }
  if (signal?.aborted) throw kesAbortedError(signal);
  if (wasCut(stream)) throw cut();
  if (rest.trim() !== '') yield rest;
}

/** HTTP/2 reports a stream whose connection went away like one that ended, but for its code. */
function wasCut(stream: Readable): boolean {
  const isReset = 'rstCode' in stream && stream.rstCode !== 0 && stream.rstCode !== undefined;
  return isReset || ('aborted' in stream && stream.aborted === true);
}

function cut(cause?: unknown): KesClientError {
  return kesConnectionError(cause ?? new Error('the connection was closed'), { wasSent: true });
}

function tooLong(): KesClientError {
  return new KesClientError('protocol', 'kes: a line of the key service is too long');
}
