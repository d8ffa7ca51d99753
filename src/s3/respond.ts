// Writes replies and errors to the connection: headers in one call, backpressure for streams, and what to
// do with a request body that nobody read. A stream that fails after bytes were sent cuts the connection:
// a short object never ends as a well-formed response.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { xmlElement } from '../base/xml.ts';
import type { BlobReader } from '../store/blob-store.ts';
import type { Reply } from './call.ts';
import type { S3Error } from './errors.ts';
import type { S3Target } from './target.ts';

/** One request and its response, with what the common headers need. */
export type Exchange = {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly requestId: string;
  readonly hostId: string;
  readonly serverName: string;
  /** The client waits for `100 Continue` and has not got it. */
  isAwaitingContinue: boolean;
  /** For browsers, on every answer whatever its status. */
  corsHeaders: readonly string[];
};

/** What is read and dropped of a body that is refused, so that the client gets to read the answer. */
const drainBytesMax = 64 * 1024 * 1024;
/** Up to here the connection is kept for the next request. */
const keepAliveBytesMax = 4 * 1024 * 1024;
const drainMsMax = 20_000;

/** Sends a reply to its end. Rejects when the client is gone or the source of the body fails. */
export async function sendReply(exchange: Exchange, reply: Reply): Promise<void> {
  const { response } = exchange;
  const { body, sizeBytes } = reply;
  if (body === undefined || typeof body === 'string') {
    const headers = commonHeaders(exchange, reply.headers);
    const bytes = body === undefined ? undefined : Buffer.from(body, 'utf8');
    if (bytes !== undefined) headers.push('content-type', reply.contentType ?? 'application/xml');
    if (reply.status !== 204 && reply.status !== 304) {
      headers.push('content-length', String(bytes?.length ?? sizeBytes ?? 0));
    }
    await endWith(exchange, reply.status, headers, bytes);
    return;
  }
  const headers = commonHeaders(exchange, reply.headers);
  headers.push('content-length', String(sizeBytes ?? 0));
  if (body instanceof Uint8Array) {
    if (body.length !== sizeBytes) throw new Error('object body of another size than announced');
    response.writeHead(reply.status, headers);
    response.end(body);
    return;
  }
  await sendStream(response, body, { status: reply.status, headers, sizeBytes: sizeBytes ?? 0 });
}

/** Sends an error document, or for HEAD its code in headers. */
export async function sendError(
  exchange: Exchange,
  error: S3Error,
  target: S3Target | undefined,
): Promise<void> {
  const headers = commonHeaders(exchange, []);
  for (const name in error.headers) headers.push(name, error.headers[name] ?? '');
  if (exchange.request.method === 'HEAD') {
    const text = error.message.replace(/[^\x20-\x7e]|"/g, ' ');
    headers.push('x-minio-error-code', error.code, 'x-minio-error-desc', `"${text}"`);
    if (error.code === 'NoSuchKey' && error.headers['x-amz-delete-marker'] === undefined) {
      headers.push('x-amz-delete-marker', 'false');
    }
    headers.push('content-length', '0');
    await endWith(exchange, error.status, headers, undefined);
    return;
  }
  const document = Buffer.from(errorDocument(exchange, error, target), 'utf8');
  headers.push('content-type', 'application/xml', 'content-length', String(document.length));
  if (error.code === 'RequestTimeout') {
    // The client was silent for long enough: the connection goes with the answer.
    headers.push('connection', 'close');
    exchange.response.writeHead(error.status, headers);
    exchange.response.end(document);
    return;
  }
  await endWith(exchange, error.status, headers, document);
}

function commonHeaders(exchange: Exchange, more: readonly string[]): string[] {
  const { serverName, requestId, hostId } = exchange;
  const headers = ['server', serverName, 'x-amz-request-id', requestId, 'x-amz-id-2', hostId];
  for (const item of more) headers.push(item);
  for (const item of exchange.corsHeaders) headers.push(item);
  return headers;
}

function errorDocument(exchange: Exchange, error: S3Error, target: S3Target | undefined): string {
  const { code, message, details } = error;
  let inner = xmlElement('Code', code) + xmlElement('Message', message);
  for (const name in details) inner += xmlElement(name, details[name] ?? '');
  if (target !== undefined) {
    if (target.key !== '' && details['Key'] === undefined) inner += xmlElement('Key', target.key);
    if (target.bucket !== '' && details['BucketName'] === undefined) {
      inner += xmlElement('BucketName', target.bucket);
    }
    inner += xmlElement('Resource', target.path);
  }
  inner += xmlElement('RequestId', exchange.requestId) + xmlElement('HostId', exchange.hostId);
  return `<?xml version="1.0" encoding="UTF-8"?>\n<Error>${inner}</Error>`;
}

async function endWith(
  exchange: Exchange,
  status: number,
  headers: string[],
  bytes: Uint8Array | undefined,
): Promise<void> {
  const { request, response } = exchange;
  const unread = unreadBytes(request);
  if (exchange.isAwaitingContinue && unread > 0) {
    // The body may never come, or may come after all: this connection cannot carry another request.
    headers.push('connection', 'close');
    response.writeHead(status, headers);
    response.end(bytes);
    return;
  }
  if (unread <= keepAliveBytesMax) {
    response.writeHead(status, headers);
    response.end(bytes);
    if (unread > 0) void dropRest(request);
    return;
  }
  headers.push('connection', 'close');
  response.writeHead(status, headers);
  if (bytes !== undefined && request.method !== 'HEAD') response.write(bytes);
  else response.flushHeaders();
  await drain(request);
  response.end();
}

/** How much of the body may still come; infinite when the client did not say. */
function unreadBytes(request: IncomingMessage): number {
  if (request.complete || request.readableEnded || request.destroyed) return 0;
  if (request.headers['transfer-encoding'] !== undefined) return Number.POSITIVE_INFINITY;
  return Number(request.headers['content-length'] ?? 0);
}

/** Lets the client send the rest of its body, so that the connection can go on; one that does not is cut off. */
async function dropRest(request: IncomingMessage): Promise<void> {
  await drain(request);
  if (!request.complete) request.socket.destroy();
}

/** Reads and drops the rest of a body, within limits. Never rejects. */
function drain(request: IncomingMessage): Promise<void> {
  return new Promise((resolve) => {
    let bytes = 0;
    const timer = setTimeout(finish, drainMsMax);
    function finish(): void {
      clearTimeout(timer);
      request.off('data', count).off('end', finish).off('close', finish).off('error', finish);
      resolve();
    }
    function count(chunk: Uint8Array): void {
      bytes += chunk.length;
      if (bytes > drainBytesMax) finish();
    }
    request.on('end', finish).on('close', finish).on('error', finish).on('data', count);
    request.resume();
  });
}

type StreamHead = {
  readonly status: number;
  readonly headers: string[];
  readonly sizeBytes: number;
};

/**
 * The first chunk is read before the head is written, so that a failure there still gets an error
 * response. A chunk belongs to us only until the next one is asked for, so each is flushed before that.
 */
async function sendStream(
  response: ServerResponse,
  source: BlobReader,
  head: StreamHead,
): Promise<void> {
  const writer = new ResponseWriter(response);
  try {
    let sentBytes = 0;
    for await (const chunk of source) {
      if (sentBytes === 0) response.writeHead(head.status, head.headers);
      sentBytes += chunk.length;
      if (sentBytes > head.sizeBytes) throw new Error('object body longer than announced');
      await writer.write(chunk);
    }
    if (sentBytes !== head.sizeBytes) throw new Error('object body shorter than announced');
    if (sentBytes === 0) response.writeHead(head.status, head.headers);
    response.end();
  } catch (error) {
    if (response.headersSent) response.destroy();
    throw error;
  } finally {
    writer.release();
    await source.close();
  }
}

/** Thrown when the client closed the connection: nobody is left to answer. */
export class ClientGoneError extends Error {
  constructor() {
    super('the client closed the connection');
    this.name = 'ClientGoneError';
  }
}

/** Writes chunk by chunk; a write settles when the chunk has left or the connection is closed. */
class ResponseWriter {
  readonly #response: ServerResponse;
  #resolve: (() => void) | undefined;
  #reject: ((error: Error) => void) | undefined;

  constructor(response: ServerResponse) {
    this.#response = response;
    response.on('close', this.#onClose);
  }

  write(chunk: Uint8Array): Promise<void> {
    if (this.#response.destroyed) return Promise.reject(new ClientGoneError());
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
      this.#response.write(chunk, this.#onWritten);
    });
  }

  release(): void {
    this.#response.off('close', this.#onClose);
  }

  readonly #onWritten = (error: Error | null | undefined): void => {
    if (error) this.#reject?.(new ClientGoneError());
    else this.#resolve?.();
  };

  readonly #onClose = (): void => {
    this.#reject?.(new ClientGoneError());
  };
}
