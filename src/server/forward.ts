// Passes a request on to the successors of this worker, bytes unchanged. A worker that was replaced may
// still hold connections of clients; what they ask next is answered under the new settings by the new
// workers, which the supervisor hands the forwarded connection to as soon as they are ready.

import { type ClientRequest, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { request as requestTls } from 'node:https';

import { clientAddressHeader, clientAddressOf, sealClientAddress } from './client-address.ts';
import type { RequestHandler } from './connections.ts';

export type ForwardTarget = {
  readonly host: string;
  readonly port: number;
  readonly isTls: boolean;
  /** Seals the address of the client for the successors. */
  readonly forwardKey: string;
};

/** Answers every request through a new connection to `target`, the address of this very server. */
export function createForwarder(target: ForwardTarget): RequestHandler {
  return (req, res) => {
    const headers = keepHeaders(req.rawHeaders);
    const address = clientAddressOf(target.forwardKey, req);
    if (address !== undefined) {
      headers.push(clientAddressHeader, sealClientAddress(target.forwardKey, address));
    }
    const hasBody =
      req.headers['content-length'] !== undefined || req.headers['transfer-encoding'] !== undefined;
    const options = {
      host: target.host,
      port: target.port,
      method: req.method,
      path: req.url,
      // A list is final: the client would add `Transfer-Encoding` to one that says nothing of a body.
      headers: hasBody ? headers : {},
      agent: false as const,
      setHost: false,
    };
    // The peer is our own listening socket on our own address: its certificate proves nothing more.
    const upstream = target.isTls
      ? requestTls({ ...options, rejectUnauthorized: false })
      : request(options);
    if (!hasBody) setHeadersWithoutBody(upstream, headers);
    upstream.on('continue', () => res.writeContinue());
    upstream.on('response', (answer) => passAnswer(answer, res));
    upstream.on('error', () => {
      if (res.headersSent) res.destroy();
      else {
        res.writeHead(503, { 'retry-after': '5', 'content-length': '0' });
        res.end();
      }
    });
    res.on('close', () => upstream.destroy());
    // A client that expects `100 Continue` sends nothing that would carry the header along.
    upstream.flushHeaders();
    req.pipe(upstream);
  };
}

/** A request without a length arrives without one: whether it needs one is for the successors to say. */
function setHeadersWithoutBody(upstream: ClientRequest, headers: readonly string[]): void {
  upstream.useChunkedEncodingByDefault = false;
  for (let index = 0; index + 1 < headers.length; index += 2) {
    upstream.appendHeader(headers[index] ?? '', headers[index + 1] ?? '');
  }
}

function passAnswer(answer: IncomingMessage, res: ServerResponse): void {
  const headers = keepHeaders(answer.rawHeaders);
  res.writeHead(answer.statusCode ?? 502, headers);
  answer.on('error', () => res.destroy());
  answer.on('aborted', () => res.destroy());
  answer.pipe(res);
}

/** All headers in order, but those of the connection itself. */
function keepHeaders(raw: readonly string[]): string[] {
  const kept: string[] = [];
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] ?? '';
    if (/^(connection|keep-alive|x-coffer-client-address)$/i.test(name)) continue;
    kept.push(name, raw[index + 1] ?? '');
  }
  kept.push('Connection', 'close');
  return kept;
}
