// Clients that misbehave: they send half of a request, read slowly or not at all, and go away. Plain sockets, with
// requests signed as any other.

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type SigningPayload, signRequest } from '../../src/sigv4/sign.ts';
import { accessKey, secretKey } from './harness.ts';

export type RawRequest = {
  readonly port: number;
  readonly method: string;
  readonly target: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly payload?: SigningPayload;
  readonly credentials?: { readonly accessKey: string; readonly secretKey: string };
};

/** The head of a signed request, with the empty line. */
export function signedHead(options: RawRequest): string {
  const { headers } = signRequest({
    method: options.method,
    target: options.target,
    headers: { host: `127.0.0.1:${options.port}`, ...options.headers },
    credentials: options.credentials ?? { accessKey, secretKey },
    region: 'us-east-1',
    timeMs: Date.now(),
    payload: options.payload ?? { kind: 'empty' },
  });
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  return `${options.method} ${options.target} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`;
}

/** A connection on which errors are expected. */
export async function openSocket(port: number): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port });
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

/** Writes without caring whether the other side still listens; resolves when there is room for more. */
export async function writeTo(socket: Socket, bytes: Uint8Array | string): Promise<void> {
  if (socket.destroyed || socket.write(bytes)) return;
  await Promise.race([once(socket, 'drain'), once(socket, 'close')]);
}

/** Reads a little, again and again, until the socket is closed. */
export function readSlowly(socket: Socket, options: { bytes: number; everyMs: number }): void {
  socket.pause();
  const timer = setInterval(() => {
    socket.read(options.bytes);
  }, options.everyMs);
  socket.on('close', () => clearInterval(timer));
}

/** Everything until the other side closes. */
export async function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  if (!socket.destroyed) await once(socket, 'close');
  return Buffer.concat(chunks);
}
