// What the doubles of products with a JSON API share: a server on a free loopback port that records its
// requests and can be told to misbehave. What a product refuses is in the double of that product.

import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';

export type DoubleRequest = {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
};

/** `json` is sent with its content type, `text` as plain text, neither as an empty body. */
export type DoubleAnswer = {
  readonly status: number;
  readonly json?: unknown;
  readonly text?: string;
  readonly headers?: Readonly<Record<string, string>>;
};

/** Instead of the answer: another one, the end of the connection, or silence until the double closes. */
export type DoubleFault = DoubleAnswer | 'drop' | 'hang';

export type JsonDouble = {
  readonly origin: string;
  /** `METHOD path` of every request, in order. */
  readonly requests: string[];
  /** Asked before each request; undefined lets it through. */
  fault: (request: DoubleRequest) => DoubleFault | undefined;
  /** Asked after each request was carried out: what is answered instead, as when the answer is lost. */
  faultAfter: (request: DoubleRequest) => DoubleFault | undefined;
  /** Stops listening and ends all connections; `up` listens again on the same port. */
  down(): Promise<void>;
  up(): Promise<void>;
  close(): Promise<void>;
};

export type DoubleTls = { readonly key: string; readonly cert: string };

/** Listens on a free loopback port, with TLS if a certificate is given. */
export async function startJsonDouble(
  answer: (request: DoubleRequest) => DoubleAnswer | Promise<DoubleAnswer>,
  tls?: DoubleTls,
): Promise<JsonDouble> {
  const handle = (incoming: IncomingMessage, response: ServerResponse): void => {
    void respond(incoming, response);
  };
  const server: Server = tls ? createTlsServer(tls, handle) : createServer(handle);
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  const double: JsonDouble = {
    origin: `${tls ? 'https' : 'http'}://127.0.0.1:${port}`,
    requests: [],
    fault: () => undefined,
    faultAfter: () => undefined,
    down: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
    up: () =>
      new Promise<void>((resolve) => {
        server.listen(port, '127.0.0.1', resolve);
      }),
    close: () => double.down(),
  };
  const respond = async (incoming: IncomingMessage, response: ServerResponse): Promise<void> => {
    const request = await readRequest(incoming);
    double.requests.push(`${request.method} ${request.path}`);
    const early = double.fault(request);
    const given = early ?? (await answer(request));
    send(response, early ? given : (double.faultAfter(request) ?? given));
  };
  return double;
}

async function readRequest(incoming: IncomingMessage): Promise<DoubleRequest> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  const url = new URL(incoming.url ?? '/', 'http://double');
  return {
    method: incoming.method ?? '',
    path: url.pathname,
    query: url.searchParams,
    headers: incoming.headers,
    body: Buffer.concat(chunks).toString('utf8'),
  };
}

function send(response: ServerResponse, answer: DoubleFault): void {
  if (answer === 'hang') return;
  if (answer === 'drop') {
    response.socket?.destroy();
    return;
  }
  const { status, json, text, headers } = answer;
  const type = json === undefined ? 'text/plain; charset=utf-8' : 'application/json';
  response.writeHead(status, {
    ...(json === undefined && text === undefined ? {} : { 'content-type': type }),
    ...headers,
  });
  response.end(json === undefined ? text : JSON.stringify(json));
}

/** The members of a JSON object; undefined when the text is none. */
export function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
    return isObject ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** The faults that the contract of secret stores asks for. */
export function faultsOf(double: JsonDouble): {
  failNext(count: number, status: number): void;
  garbageNext(count: number): void;
  loseAnswerNext(count: number): void;
  down(): Promise<void>;
  up(): Promise<void>;
} {
  const times = (count: number, fault: DoubleFault) => {
    let left = count;
    return (): DoubleFault | undefined => {
      left -= 1;
      return left >= 0 ? fault : undefined;
    };
  };
  return {
    failNext: (count, status) => {
      double.fault = times(count, { status, text: 'told to fail' });
    },
    garbageNext: (count) => {
      double.fault = times(count, { status: 200, text: '<html>nonsense' });
    },
    loseAnswerNext: (count) => {
      double.faultAfter = times(count, 'drop');
    },
    down: () => double.down(),
    up: () => double.up(),
  };
}
