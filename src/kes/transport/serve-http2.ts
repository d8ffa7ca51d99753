// One request over HTTP/2, through the core stream interface: the compatibility one is slow and gives up
// under load.

import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
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

/** Serves a stream that has just begun. */
export async function serveHttp2(
  serving: Serving,
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
): Promise<void> {
  const { connection } = serving;
  stream.on('error', () => stream.close());
  if (connection.isRetired) {
    // The client may safely send it again, on a new connection.
    stream.close(constants.NGHTTP2_REFUSED_STREAM);
    return;
  }
  const exchange = connection.begin(() => stream.close(constants.NGHTTP2_CANCEL));
  stream.once('close', () => exchange.close(serving.nowMs()));
  const hasBody = !stream.endAfterHeaders;
  const request: KesRequest = {
    method: headers[':method'] ?? '',
    target: headers[':path'] ?? '',
    peer: connection.peer,
    bodyBytes: hasBody ? announcedBytes(headers['content-length']) : 0,
    headers: (name) => valuesOf(headers[name]),
    readBody: (maxBytes) => exchange.readBody(stream, hasBody ? maxBytes : 0),
    dropAfter: (ms) => exchange.dropAfter(ms),
  };
  const reply = await serving.handle(request);
  if (stream.destroyed || stream.closed) return;
  if (hasBody && !stream.readableEnded) discardRest(stream, serving.discardMs);
  write(stream, { exchange, reply: request.method === 'HEAD' ? { ...reply, body: '' } : reply });
}

/** What the sender still has of its body is not wanted: a moment after our answer the stream is over. */
function discardRest(stream: ServerHttp2Stream, discardMs: number): void {
  stream.resume();
  stream.once('finish', () => {
    setTimeout(() => stream.close(), discardMs).unref();
  });
}

function write(
  stream: ServerHttp2Stream,
  given: { readonly exchange: Exchange; readonly reply: KesReply },
): void {
  const { exchange, reply } = given;
  const { body } = reply;
  const head: Record<string, string | number> = { ':status': reply.status, ...reply.headers };
  if (reply.contentType !== undefined) head['content-type'] = reply.contentType;
  if (reply.stream !== undefined) {
    stream.respond(head);
    const end = () => {
      stream.end();
    };
    exchange.endStream = end;
    exchange.stopStream = reply.stream((line) => writeBounded(stream, line), end);
    return;
  }
  head['content-length'] = body === undefined ? 0 : Buffer.byteLength(body);
  if (body === undefined || body.length === 0) stream.respond(head, { endStream: true });
  else {
    stream.respond(head);
    stream.end(body);
  }
}
