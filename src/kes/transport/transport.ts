// One TLS listener for HTTP/2 and HTTP/1.1, and the limits of its connections; both versions end in the
// same `KesHandle`. The client's identity is worked out once per connection. Rule kept here: a client that
// is slow, silent, malformed or gone costs a bounded amount of memory for a bounded time.

import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  createSecureServer,
  type Http2SecureServer,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import type { SecureContextOptions, TLSSocket } from 'node:tls';
import type { Log } from '../../base/log.ts';
import { BodyBudget, Connection, type TransportLimits } from './connection.ts';
import type { KesHandle } from '../exchange.ts';
import { type Peer, plainIp, readPeer } from '../identity.ts';
import { serveHttp1 } from './serve-http1.ts';
import { serveHttp2 } from './serve-http2.ts';

export type TransportDeps = {
  readonly handle: KesHandle;
  readonly log: Log;
  /** Looks at a finished handshake; a text is the reason to hang up. Asked for each connection. */
  readonly refuse: (socket: TLSSocket) => string | undefined;
  readonly limits: TransportLimits;
};

export type KesTransport = {
  /** Begins to listen; rejects when the address cannot be had. */
  listen(host: string, port: number): Promise<AddressInfo>;
  /** New connections use the new certificate; others go on. */
  setSecureContext(tls: SecureContextOptions): void;
  /** Ends every connection there is: after the requests in progress, log streams at once. */
  renew(): void;
  /** Stops listening, waits up to `graceMs` for requests, then closes every connection. */
  close(graceMs: number): Promise<void>;
};

const headerBytesMax = 64 * 1024;
const keepAliveMs = 30_000;

export function createTransport(tls: SecureContextOptions, deps: TransportDeps): KesTransport {
  const { limits } = deps;
  const server = createSecureServer({
    ...tls,
    minVersion: 'TLSv1.2',
    allowHTTP1: true,
    requestCert: true,
    rejectUnauthorized: false,
    handshakeTimeout: limits.headerTimeoutMs,
    maxSessionMemory: 64,
    settings: { maxConcurrentStreams: limits.streamsMax, maxHeaderListSize: headerBytesMax },
  });
  const connections = new Connections(deps);
  setHttp1Limits(server, limits);
  logTrouble(server, deps.log, connections);
  server.on('secureConnection', (socket: TLSSocket) => connections.admit(socket));
  server.on('session', (session: ServerHttp2Session) => connections.addSession(session));
  const serving = { handle: deps.handle, discardMs: limits.discardMs, nowMs };
  server.on('request', (req: IncomingMessage, res: ServerResponse) => {
    // Every connection of a server made by `createSecureServer` is over a TLS socket.
    const connection = connections.ofSocket(req.socket as TLSSocket);
    void serveHttp1({ ...serving, connection }, req, res);
  });
  // Registering for requests made the server wrap streams for the compatibility interface as well.
  server.removeAllListeners('stream');
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    const connection = connections.ofSession(stream.session);
    if (connection === undefined) stream.close();
    else void serveHttp2({ ...serving, connection }, stream, headers);
  });
  return {
    listen: (host, port) => listen(server, { host, port }),
    setSecureContext: (options) => server.setSecureContext({ ...options, minVersion: 'TLSv1.2' }),
    renew: () => connections.retireAll(),
    close: (graceMs) => close(server, connections, graceMs),
  };
}

function nowMs(): number {
  return performance.now();
}

/** The limits exist at run time on a server that speaks HTTP/1.1 too; the types know only half of them. */
function setHttp1Limits(server: Http2SecureServer, limits: TransportLimits): void {
  Object.assign(server, {
    headersTimeout: limits.headerTimeoutMs,
    requestTimeout: 0,
    keepAliveTimeout: limits.idleTimeoutMs,
    connectionsCheckingInterval: limits.checkMs,
  });
}

function logTrouble(server: Http2SecureServer, log: Log, connections: Connections): void {
  const report = (what: string, error: Error & { reason?: string }, ip: string) => {
    // OpenSSL's own text has addresses and line breaks in it.
    log.info(`${what}: ${error.reason ?? error.message}`, ip === '' ? {} : { 'req.ip': ip });
  };
  server.on('sessionError', (error: Error) => report('HTTP/2 error', error, ''));
  server.on('clientError', (error: Error, socket: Socket) => {
    const isSecured = connections.isSecured(socket);
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
  connections: Connections,
  graceMs: number,
): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  connections.retireAll();
  const force = setTimeout(() => connections.destroyAll(), graceMs);
  await closed;
  clearTimeout(force);
  connections.close();
}

/** All connections after their handshake, and the clock that ends the idle and the retired ones. */
class Connections {
  readonly #deps: TransportDeps;
  readonly #budget: BodyBudget;
  readonly #sockets = new Map<TLSSocket, Connection | undefined>();
  readonly #sessions = new Map<ServerHttp2Session, Connection>();
  readonly #timer: NodeJS.Timeout;

  constructor(deps: TransportDeps) {
    this.#deps = deps;
    this.#budget = new BodyBudget(deps.limits.bodyBytesMax);
    this.#timer = setInterval(() => this.#check(), deps.limits.checkMs).unref();
  }

  isSecured(socket: Socket): boolean {
    return this.#sockets.has(socket as TLSSocket);
  }

  /** A handshake is finished. */
  admit(socket: TLSSocket): void {
    this.#sockets.set(socket, undefined);
    socket.once('close', () => this.#sockets.delete(socket));
    // A peer that vanished without a word is noticed even while a log stream keeps it open.
    socket.setKeepAlive(true, keepAliveMs);
    const reason = this.#deps.refuse(socket);
    if (reason === undefined) return;
    const ip = plainIp(socket.remoteAddress ?? '');
    this.#deps.log.info(`TLS handshake refused: ${reason}`, { 'req.ip': ip });
    socket.destroy();
  }

  addSession(session: ServerHttp2Session): void {
    // The session's socket is a stand-in that answers what `readPeer` asks.
    const connection = this.#connectionOf(session.socket as TLSSocket);
    this.#sessions.set(session, connection);
    session.once('remoteSettings', () => {
      connection.isGreeted = true;
    });
    session.once('close', () => this.#sessions.delete(session));
  }

  ofSession(session: object | undefined): Connection | undefined {
    return this.#sessions.get(session as ServerHttp2Session);
  }

  ofSocket(socket: TLSSocket): Connection {
    const known = this.#sockets.get(socket);
    if (known !== undefined) return known;
    const connection = this.#connectionOf(socket);
    this.#sockets.set(socket, connection);
    return connection;
  }

  #connectionOf(socket: TLSSocket): Connection {
    const budget = new BodyBudget(this.#deps.limits.connectionBodyBytesMax, this.#budget);
    return new Connection(this.#peerOf(socket), { budget, nowMs: nowMs() });
  }

  #peerOf(socket: TLSSocket): Peer {
    // A refused peer that gets a request in before it is hung up on has no identity.
    const problem = this.#deps.refuse(socket);
    if (problem === undefined) return readPeer(socket);
    return { problem, ip: plainIp(socket.remoteAddress ?? '') };
  }

  retireAll(): void {
    const now = nowMs();
    for (const [session, connection] of this.#sessions) {
      connection.retire(now);
      session.close();
    }
    for (const [socket, connection] of this.#sockets) {
      if (socket.alpnProtocol === 'h2') continue;
      if (connection === undefined || connection.exchanges.size === 0) socket.destroySoon();
      connection?.retire(now);
    }
  }

  destroyAll(): void {
    for (const session of this.#sessions.keys()) session.destroy();
    for (const socket of this.#sockets.keys()) socket.destroy();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #check(): void {
    const now = nowMs();
    const { headerTimeoutMs, renewMs } = this.#deps.limits;
    for (const [session, connection] of this.#sessions) {
      const isSilent = !connection.isGreeted && now - connection.openedAtMs > headerTimeoutMs;
      if (isSilent || isOverdue(connection, now, renewMs)) session.destroy();
      else if (connection.exchanges.size === 0) this.#closeIdle(session, connection, now);
    }
    for (const [socket, connection] of this.#sockets) {
      if (connection !== undefined && isOverdue(connection, now, renewMs)) socket.destroy();
    }
  }

  #closeIdle(session: ServerHttp2Session, connection: Connection, now: number): void {
    if (now - connection.idleSinceMs <= this.#deps.limits.idleTimeoutMs) return;
    // Once politely; whoever does not listen is cut off at the next look.
    if (connection.isRetired) session.destroy();
    connection.retire(now);
    session.close();
  }
}

function isOverdue(connection: Connection, now: number, renewMs: number): boolean {
  return connection.retiredAtMs !== undefined && now - connection.retiredAtMs > renewMs;
}
