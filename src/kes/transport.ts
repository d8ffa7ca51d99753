// One TLS listener for HTTP/2 and HTTP/1.1. HTTP/2 goes through the core stream interface (the
// compatibility one is slow and gives up under load); both end in the same `KesHandle`. The client's
// identity is worked out once per connection.

import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  createSecureServer,
  type Http2SecureServer,
  type Http2Session,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import type { SecureContextOptions, TLSSocket } from 'node:tls';
import type { Log } from '../base/log.ts';
import { KesHttpError } from './errors.ts';
import type { KesHandle, KesReply, KesRequest } from './exchange.ts';
import { type Peer, plainIp, readPeer } from './identity.ts';

export type TransportDeps = {
  readonly handle: KesHandle;
  readonly log: Log;
  /** Looks at a finished handshake; a text is the reason to hang up. Asked for each connection. */
  readonly refuse: (socket: TLSSocket) => string | undefined;
};

export type KesTransport = {
  /** Begins to listen; rejects when the address cannot be had. */
  listen(host: string, port: number): Promise<AddressInfo>;
  /** New connections use the new certificate; others go on. */
  setSecureContext(tls: SecureContextOptions): void;
  /** Stops listening, waits up to `graceMs` for requests, then closes every connection. */
  close(graceMs: number): Promise<void>;
};

const headerTimeoutMs = 5_000;
const idleTimeoutMs = 90_000;
const streamsMax = 1_000;
const discardMs = 1_000;
/** A body that nobody reads is taken off the connection up to this size; a larger one ends it. */
const discardBytesMax = 1_048_576;
const headerBytesMax = 64 * 1024;

export function createTransport(tls: SecureContextOptions, deps: TransportDeps): KesTransport {
  const server = createSecureServer({
    ...tls,
    minVersion: 'TLSv1.2',
    allowHTTP1: true,
    requestCert: true,
    rejectUnauthorized: false,
    handshakeTimeout: headerTimeoutMs,
    maxSessionMemory: 64,
    settings: { maxConcurrentStreams: streamsMax, maxHeaderListSize: headerBytesMax },
  });
  const serving = createServing(deps);
  const sockets = new Set<Socket>();
  const sessions = new Set<Http2Session>();
  setHttp1Limits(server);
  logTrouble(server, deps.log, sockets);
  server.on('secureConnection', (socket: TLSSocket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    const reason = deps.refuse(socket);
    if (reason === undefined) return;
    deps.log.info(`TLS handshake refused: ${reason}`, {
      'req.ip': plainIp(socket.remoteAddress ?? ''),
    });
    socket.destroy();
  });
  server.on('session', (session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
  });
  server.on('request', (req: IncomingMessage, res: ServerResponse) => {
    void serveHttp1(serving, req, res);
  });
  // Registering for requests made the server wrap streams for the compatibility interface as well.
  server.removeAllListeners('stream');
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    void serveHttp2(serving, stream, headers);
  });
  return {
    listen: (host, port) => listen(server, { host, port }),
    setSecureContext: (options) => server.setSecureContext({ ...options, minVersion: 'TLSv1.2' }),
    close: (graceMs) => close(server, { sockets, sessions, graceMs }),
  };
}

/** The limits exist at run time on a server that speaks HTTP/1.1 too; the types know only half of them. */
function setHttp1Limits(server: Http2SecureServer): void {
  Object.assign(server, {
    headersTimeout: headerTimeoutMs,
    requestTimeout: 0,
    keepAliveTimeout: idleTimeoutMs,
    connectionsCheckingInterval: 1_000,
  });
  server.setTimeout(idleTimeoutMs);
}

/** `secured` are the connections that finished their handshake. */
function logTrouble(server: Http2SecureServer, log: Log, secured: ReadonlySet<Socket>): void {
  const report = (what: string, error: Error & { reason?: string }, ip: string) => {
    // OpenSSL's own text has addresses and line breaks in it.
    log.info(`${what}: ${error.reason ?? error.message}`, ip === '' ? {} : { 'req.ip': ip });
  };
  server.on('sessionError', (error: Error) => report('HTTP/2 error', error, ''));
  server.on('clientError', (error: Error, socket: Socket) => {
    const isSecured = secured.has(socket);
    const ip = plainIp(socket.remoteAddress ?? '');
    report(isSecured ? 'HTTP error' : 'TLS handshake error', error, ip);
    if (isSecured && socket.writable) {
      socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n');
    }
    socket.destroySoon();
  });
}

async function listen(
  server: Http2SecureServer,
  at: { readonly host: string; readonly port: number },
): Promise<AddressInfo> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(at, () => {
      server.off('error', reject);
      resolve();
    });
  });
  // A listening TCP server has an address object.
  return server.address() as AddressInfo;
}

async function close(
  server: Http2SecureServer,
  open: { sockets: Set<Socket>; sessions: Set<Http2Session>; graceMs: number },
): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  for (const session of open.sessions) session.close();
  const force = setTimeout(() => {
    for (const session of open.sessions) session.destroy();
    for (const socket of open.sockets) socket.destroy();
  }, open.graceMs);
  await closed;
  clearTimeout(force);
}

// ---- HTTP/2 ---------------------------------------------------------------------------------------

async function serveHttp2(
  serving: Serving,
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
): Promise<void> {
  stream.on('error', () => stream.close());
  const hasBody = !stream.endAfterHeaders;
  const length = headers['content-length'];
  const request: KesRequest = {
    method: headers[':method'] ?? '',
    target: headers[':path'] ?? '',
    peer: serving.peerOf(stream.session, () => stream.session?.socket),
    bodyBytes: hasBody ? announcedBytes(length) : 0,
    headers: (name) => valuesOf(headers[name]),
    readBody: (maxBytes) => (hasBody ? readBody(stream, maxBytes) : Promise.resolve(noBytes)),
    drop: () => stream.close(8),
  };
  const reply = await serving.handle(request);
  if (stream.destroyed || stream.closed) return;
  if (hasBody && !stream.readableEnded) discardRest(stream);
  writeHttp2(stream, request.method === 'HEAD' ? { ...reply, body: '' } : reply);
}

/** What the sender still has of its body is not wanted: a moment after our answer the stream is over. */
function discardRest(stream: ServerHttp2Stream): void {
  stream.resume();
  stream.once('finish', () => {
    setTimeout(() => stream.close(), discardMs).unref();
  });
}

function writeHttp2(stream: ServerHttp2Stream, reply: KesReply): void {
  const body = reply.body;
  const head: Record<string, string | number> = { ':status': reply.status, ...reply.headers };
  if (reply.contentType !== undefined) head['content-type'] = reply.contentType;
  if (reply.stream !== undefined) {
    stream.respond(head);
    const { session } = stream;
    session?.setTimeout(0);
    const stop = reply.stream((line) => writeBounded(stream, line));
    stream.once('close', () => {
      stop();
      session?.setTimeout(idleTimeoutMs);
    });
    return;
  }
  head['content-length'] = body === undefined ? 0 : Buffer.byteLength(body);
  if (body === undefined || body.length === 0) stream.respond(head, { endStream: true });
  else {
    stream.respond(head);
    stream.end(body);
  }
}

// ---- HTTP/1.1 -------------------------------------------------------------------------------------

async function serveHttp1(
  serving: Serving,
  req: IncomingMessage,
  res: ServerResponse,
): Promise<void> {
  const length = req.headers['content-length'];
  const isChunked = req.headers['transfer-encoding'] !== undefined;
  const hasBody = isChunked || (length !== undefined && length !== '0');
  let isWhole = !hasBody;
  const request: KesRequest = {
    method: req.method ?? '',
    target: originForm(req.url ?? ''),
    peer: serving.peerOf(req.socket, () => req.socket),
    bodyBytes: hasBody ? announcedBytes(isChunked ? undefined : length) : 0,
    headers: (name) => valuesOf(req.headersDistinct[name]),
    readBody: async (maxBytes) => {
      const body = await readBody(req, maxBytes);
      isWhole = req.complete;
      return body;
    },
    drop: () => req.socket.destroy(),
  };
  const reply = await serving.handle(request);
  if (res.destroyed) return;
  const isSmall = request.bodyBytes >= 0 && request.bodyBytes <= discardBytesMax;
  if (!isWhole && !isSmall) res.setHeader('connection', 'close');
  writeHttp1(res, reply);
}

function originForm(url: string): string {
  return url.startsWith('/') ? url : url.replace(/^https?:\/\/[^/]*/i, '');
}

function writeHttp1(res: ServerResponse, reply: KesReply): void {
  const head: Record<string, string | number> = { ...reply.headers };
  if (reply.contentType !== undefined) head['content-type'] = reply.contentType;
  if (reply.stream !== undefined) {
    res.writeHead(reply.status, head);
    res.flushHeaders();
    res.socket?.setTimeout(0);
    const stop = reply.stream((line) => writeBounded(res, line));
    res.once('close', stop);
    return;
  }
  head['content-length'] = reply.body === undefined ? 0 : Buffer.byteLength(reply.body);
  res.writeHead(reply.status, head);
  res.end(reply.body ?? '');
}

// ---- both -----------------------------------------------------------------------------------------

const noBytes = Buffer.alloc(0);

type Serving = {
  readonly handle: KesHandle;
  /** The peer of a connection, worked out at its first request. */
  readonly peerOf: (connection: object | undefined, socket: () => unknown) => Peer;
};

function createServing(deps: TransportDeps): Serving {
  const peers = new WeakMap<object, Peer>();
  const read = (socket: TLSSocket): Peer => {
    // A refused peer that gets a request in before it is hung up on has no identity.
    const problem = deps.refuse(socket);
    return problem === undefined
      ? readPeer(socket)
      : { problem, ip: plainIp(socket.remoteAddress ?? '') };
  };
  const peerOf: Serving['peerOf'] = (connection, socket) => {
    if (connection === undefined) return { problem: 'the connection is gone', ip: '' };
    let peer = peers.get(connection);
    if (peer === undefined) {
      // Every connection of a server made by `createSecureServer` is over a TLS socket.
      peer = read(socket() as TLSSocket);
      peers.set(connection, peer);
    }
    return peer;
  };
  return { handle: deps.handle, peerOf };
}

/** Lines waiting for a slow reader of a log; what comes on top is dropped. */
const streamBytesMax = 1_048_576;

function announcedBytes(length: string | undefined): number {
  return length !== undefined && /^\d{1,15}$/.test(length) ? Number(length) : -1;
}

function valuesOf(value: string | readonly string[] | undefined): readonly string[] {
  if (value === undefined) return [];
  return typeof value === 'string' ? [value] : value;
}

function writeBounded(
  out: { readonly writableLength: number; write(line: string): boolean },
  line: string,
): void {
  if (out.writableLength < streamBytesMax) out.write(line);
}

function readBody(source: IncomingMessage | ServerHttp2Stream, maxBytes: number): Promise<Buffer> {
  if (maxBytes <= 0) return Promise.resolve(noBytes);
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const onData = (chunk: Buffer) => {
      chunks.push(chunk);
      size += chunk.length;
      if (size > maxBytes) finish();
    };
    const onClose = () => reject(new KesHttpError(400, 'the request was cut off'));
    const finish = () => {
      source.off('data', onData).off('end', finish).off('close', onClose);
      const only = chunks.length === 1 ? chunks[0] : undefined;
      const whole = only ?? Buffer.concat(chunks);
      resolve(whole.length > maxBytes ? whole.subarray(0, maxBytes) : whole);
    };
    source.on('data', onData).on('end', finish).on('close', onClose);
  });
}
