// Requests written byte by byte, so that nothing between a test and the server mends, orders or joins anything.

import { connect } from 'node:net';

export type RawRequest = {
  readonly method: string;
  readonly target: string;
  /** In this order, repeated ones too. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Uint8Array;
};

export type RawAnswer = {
  /** 0 when the connection was closed without an answer. */
  readonly status: number;
  readonly code: string;
  readonly head: string;
  readonly body: string;
};

/** Sends one request on a connection of its own. A Content-Length is added unless there is one, or chunks. */
export function sendRaw(port: number, request: RawRequest): Promise<RawAnswer> {
  const names = new Set(request.headers.map(([name]) => name.toLowerCase()));
  const hasLength = names.has('content-length') || names.has('transfer-encoding');
  const headers = [
    ...request.headers,
    ...(hasLength ? [] : [['content-length', String(request.body.length)] as const]),
    ['connection', 'close'] as const,
  ];
  const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  return new Promise((resolve) => {
    const received: Buffer[] = [];
    const socket = connect(port, '127.0.0.1');
    socket.on('data', (bytes: Buffer) => received.push(bytes));
    // A server that has refused may reset the connection while the body is still being sent.
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(parseAnswer(Buffer.concat(received).toString('latin1'))));
    socket.write(`${request.method} ${request.target} HTTP/1.1\r\n${lines}\r\n`, 'latin1');
    socket.write(request.body);
  });
}

function parseAnswer(text: string): RawAnswer {
  const end = text.indexOf('\r\n\r\n');
  const head = end === -1 ? text : text.slice(0, end);
  const body = end === -1 ? '' : text.slice(end + 4);
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1] ?? 0);
  const code =
    /<Code>([^<]*)<\/Code>/.exec(body)?.[1] ?? /x-minio-error-code: (.*)/i.exec(head)?.[1] ?? '';
  return { status, code, head, body };
}
