// The HTTP server inside a worker. It never listens: connections arrive from the supervisor and are
// adopted. It knows which connections have a request under way, so that a drain can answer what is
// there, say `Connection: close` on it, and close the rest only when no client can be using them.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';

import { configureS3Server } from '../s3/handler.ts';
import type { TlsFiles } from './tls.ts';

export type RequestHandler = (req: IncomingMessage, res: ServerResponse) => void;

/** How idle connections end while draining: `late` only after the grace, `soon` at once. */
export type DrainStyle = 'late' | 'soon';

const headerBytesMax = 32 * 1024;
/** After a drain's grace, how long requests under way may still take. */
const underWayMaxMs = 3_600_000;

export class Connections {
  readonly #server: ReturnType<typeof createServer>;
  readonly #sockets = new Map<Socket, Set<ServerResponse>>();
  /** TLS connections that are not set up yet, by the client's address and port. */
  readonly #handshaking = new Map<string, Socket>();
  readonly #closedBytes = { received: 0, sent: 0 };
  readonly #quietWatchers = new Set<() => void>();
  #handler: RequestHandler;
  #drain: DrainStyle | undefined;
  #isGraceOver = false;

  constructor(handler: RequestHandler, tls: TlsFiles | undefined) {
    this.#handler = handler;
    const options = { maxHeaderSize: headerBytesMax, noDelay: true };
    this.#server = tls
      ? createTlsServer({ ...options, ...tls, minVersion: 'TLSv1.2', ALPNProtocols: ['http/1.1'] })
      : createServer(options);
    configureS3Server(this.#server, (req, res) => this.#serve(req, res));
    this.#server.on('connection', (socket: Socket) => {
      if (tls) this.#handshake(socket);
      else this.#track(socket);
    });
    this.#server.on('secureConnection', (socket: TLSSocket) => {
      this.#handshaking.delete(peerOf(socket));
      this.#track(socket);
    });
    this.#server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) =>
      refuse(error, socket),
    );
    // The server never listens, but its time limits start with this event.
    this.#server.emit('listening');
  }

  /** Takes a connection over. */
  adopt(socket: Socket): void {
    socket.on('error', () => socket.destroy());
    this.#server.emit('connection', socket);
  }

  /** Changes who answers the requests that arrive from now on. */
  setHandler(handler: RequestHandler): void {
    this.#handler = handler;
  }

  /** All that moved on connections of clients since the start, in bytes. */
  get bytes(): { readonly received: number; readonly sent: number } {
    let { received, sent } = this.#closedBytes;
    for (const socket of this.#sockets.keys()) {
      received += socket.bytesRead;
      sent += socket.bytesWritten;
    }
    return { received, sent };
  }

  /** Resolves when none of the requests that are under way now is left. */
  async quiet(): Promise<void> {
    const pending = [...this.#sockets.values()].flatMap((responses) => [...responses]);
    await Promise.all(
      pending.map((res) => new Promise<void>((resolve) => res.once('close', resolve))),
    );
  }

  /** Says `Connection: close` on everything from now on; resolves when no connection is left. */
  async drain(style: DrainStyle, graceMs: number): Promise<void> {
    this.#drain = style;
    for (const [socket, responses] of this.#sockets) {
      if (responses.size === 0 && style === 'soon') socket.end();
      for (const res of responses) sayClose(res);
    }
    if (style === 'soon') for (const socket of this.#handshaking.values()) socket.destroy();
    const timers = [
      setTimeout(() => {
        this.#isGraceOver = true;
        this.#closeIdle();
      }, graceMs),
      setTimeout(
        () => {
          for (const socket of this.#sockets.keys()) socket.destroy();
          for (const socket of this.#handshaking.values()) socket.destroy();
        },
        style === 'soon' ? graceMs : graceMs + underWayMaxMs,
      ),
    ];
    await this.#empty();
    for (const timer of timers) clearTimeout(timer);
    this.#server.close();
  }

  #serve(req: IncomingMessage, res: ServerResponse): void {
    const responses = this.#sockets.get(req.socket);
    responses?.add(res);
    res.on('close', () => {
      responses?.delete(res);
      if (this.#drain && responses?.size === 0 && (this.#isGraceOver || this.#drain === 'soon')) {
        req.socket.end();
      }
    });
    if (this.#drain) sayClose(res);
    this.#handler(req, res);
  }

  #handshake(socket: Socket): void {
    const peer = peerOf(socket);
    this.#handshaking.set(peer, socket);
    socket.once('close', () => {
      this.#handshaking.delete(peer);
      this.#notify();
    });
  }

  #track(socket: Socket): void {
    this.#sockets.set(socket, new Set());
    socket.once('close', () => {
      this.#sockets.delete(socket);
      this.#closedBytes.received += socket.bytesRead;
      this.#closedBytes.sent += socket.bytesWritten;
      this.#notify();
    });
  }

  #closeIdle(): void {
    for (const [socket, responses] of this.#sockets) {
      if (responses.size === 0) socket.end();
    }
  }

  async #empty(): Promise<void> {
    while (this.#sockets.size > 0 || this.#handshaking.size > 0) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#quietWatchers.add(resolve);
      await promise;
      this.#quietWatchers.delete(resolve);
    }
  }

  #notify(): void {
    if (this.#sockets.size > 0 || this.#handshaking.size > 0) return;
    for (const resolve of this.#quietWatchers) resolve();
  }
}

function peerOf(socket: Socket): string {
  return `${socket.remoteAddress}:${socket.remotePort}`;
}

function sayClose(res: ServerResponse): void {
  res.shouldKeepAlive = false;
}

/** Answers what is not HTTP, where an answer is possible. */
function refuse(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable || socket.bytesWritten > 0) {
    socket.destroy();
    return;
  }
  const status =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? '431 Request Header Fields Too Large'
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? '408 Request Timeout'
        : '400 Bad Request';
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}
