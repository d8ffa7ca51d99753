// One request over HTTP/1.1.

import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  announcedBytes,
  type Connection,
  type Exchange,
  valuesOf,
  writeBounded,
} from './connection.ts';
import type { KesHandle, KesReply, KesRequest } from '../exchange.ts';

type Serving = {
  readonly handle: KesHandle;
  readonly connection: Connection;
  readonly discardMs: number;
  readonly nowMs: () => number;
};

/** A body that nobody reads is taken off the connection up to this size; a larger one ends it. */
const discardBytesMax = 1_048_576;

/** Serves a request whose header is there. */
export async function serveHttp1(
  serving: Serving,
  req: IncomingMessage,
  res: ServerResponse,
): Promise<void> {
  const { connection } = serving;
  const { socket } = req;
  const exchange = connection.begin(() => socket.destroy());
  res.once('close', () => {
    exchange.close(serving.nowMs());
    if (connection.isRetired) socket.destroySoon();
  });
  const length = req.headers['content-length'];
  const isChunked = req.headers['transfer-encoding'] !== undefined;
  const hasBody = isChunked || (length !== undefined && length !== '0');
  let isWhole = !hasBody;
  const request: KesRequest = {
    method: req.method ?? '',
    target: originForm(req.url ?? ''),
    peer: connection.peer,
    bodyBytes: hasBody ? announcedBytes(isChunked ? undefined : length) : 0,
    headers: (name) => valuesOf(req.headersDistinct[name]),
    readBody: async (maxBytes) => {
      const body = await exchange.readBody(req, hasBody ? maxBytes : 0);
      isWhole = req.complete;
      return body;
    },
    dropAfter: (ms) => exchange.dropAfter(ms),
  };
  const reply = await serving.handle(request);
  if (res.destroyed) return;
  if (!isWhole) discardRest(serving, { req, res, sizeBytes: request.bodyBytes });
  if (connection.isRetired) res.setHeader('connection', 'close');
  write(res, { exchange, reply });
}

/** What the sender still has of its body is not wanted, and may not keep the connection busy. */
function discardRest(
  serving: Serving,
  given: {
    readonly req: IncomingMessage;
    readonly res: ServerResponse;
    readonly sizeBytes: number;
  },
): void {
  const { req, res, sizeBytes } = given;
  if (sizeBytes < 0 || sizeBytes > discardBytesMax) res.setHeader('connection', 'close');
  res.once('finish', () => {
    const timer = setTimeout(() => {
      if (!req.complete) req.socket.destroy();
    }, serving.discardMs);
    timer.unref();
  });
}

function originForm(url: string): string {
  return url.startsWith('/') ? url : url.replace(/^https?:\/\/[^/]*/i, '');
}

function write(
  res: ServerResponse,
  given: { readonly exchange: Exchange; readonly reply: KesReply },
): void {
  const { exchange, reply } = given;
  const head: Record<string, string | number> = { ...reply.headers };
  if (reply.contentType !== undefined) head['content-type'] = reply.contentType;
  if (reply.stream !== undefined) {
    res.writeHead(reply.status, head);
    res.flushHeaders();
    const end = () => {
      res.end();
    };
    exchange.endStream = end;
    exchange.stopStream = reply.stream((line) => writeBounded(res, line), end);
    return;
  }
  head['content-length'] = reply.body === undefined ? 0 : Buffer.byteLength(reply.body);
  res.writeHead(reply.status, head);
  res.end(reply.body ?? '');
}
