// The ground of every double of a remote product: an HTTP or HTTPS server on a free loopback port that
// reads bodies, finds the route, writes the answer, keeps a log of requests, and can be told to misbehave.
// What a product answers is up to the double; what a network does to it is here.

import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { createClientCertificate, generateApiKey } from '../../../src/wire/kes-identity.ts';

export type DoubleRequest = {
  readonly method: string;
  /** As sent, without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** What the route's `:name` and `*rest` stand for, decoded. */
  readonly params: Readonly<Record<string, string>>;
  /** SHA-256 fingerprint of the client's certificate, `AB:CD:…`. */
  readonly clientCertificate?: string;
  /** The body as JSON; undefined when it is not. */
  json(): unknown;
};

/** An object is sent as JSON. */
export type DoubleAnswer = {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array | object;
};

export type DoubleHandler = (request: DoubleRequest) => DoubleAnswer | Promise<DoubleAnswer>;

/** `pattern`: segments, `:name` for one, `*rest` at the end for any number of them. */
export type DoubleRoute = {
  readonly method: string;
  readonly pattern: string;
  readonly handle: DoubleHandler;
};

export type DoubleServer = {
  /** `http://127.0.0.1:PORT` or `https://…`. */
  readonly origin: string;
  /** The certificate to trust, as text and as a file; empty without TLS. */
  readonly certificate: string;
  readonly caFile: string;
  /** `METHOD path?query` of every request that arrived, in order. */
  readonly requests: string[];
  /** The next `count` requests (of those that `match`, tested on `METHOD path?query`) get this status, or body. */
  failNext(count: number, status: number, options?: FaultOptions): void;
  /** The next requests get status 200 and no sense. */
  garbageNext(count: number, options?: FaultOptions): void;
  /** The next requests lose their connection before anything is done. */
  dropNext(count: number, options?: FaultOptions): void;
  /** The next requests are carried out, but their answer is lost. */
  loseAnswerNext(count: number, options?: FaultOptions): void;
  /** The next requests never get an answer. */
  hangNext(count: number, options?: FaultOptions): void;
  /** Milliseconds before each answer from now on. */
  slow(ms: number): void;
  /** Refuses connections and ends those there are, as a stopped server does. */
  down(): Promise<void>;
  /** Listens again, on the same port. */
  up(): Promise<void>;
  close(): Promise<void>;
};

export type FaultOptions = {
  readonly match?: RegExp;
  readonly answer?: Omit<DoubleAnswer, 'status'>;
};

type FaultKind = 'status' | 'garbage' | 'drop' | 'lose' | 'hang';
type Fault = FaultOptions & { left: number; readonly kind: FaultKind; readonly status: number };

/** `not found`: what an unknown path or a wrong method gets; plain 404 and 405 by default. */
export type DoubleOptions = {
  readonly isTls?: boolean;
  /** Ask for a client certificate; which ones are good is up to the handler. */
  readonly asksCertificate?: boolean;
  readonly notFound?: DoubleHandler;
};

/** A handler that dispatches to the first route that fits. */
export function routed(routes: readonly DoubleRoute[], notFound?: DoubleHandler): DoubleHandler {
  return (request) => {
    let isPathKnown = false;
    for (const route of routes) {
      const params = matchPattern(route.pattern, request.path);
      if (params === undefined) continue;
      isPathKnown = true;
      if (route.method === request.method) return route.handle({ ...request, params });
    }
    return notFound?.(request) ?? { status: isPathKnown ? 405 : 404 };
  };
}

function matchPattern(pattern: string, path: string): Record<string, string> | undefined {
  const wanted = pattern.split('/');
  const given = path.split('/');
  const params: Record<string, string> = {};
  for (const [index, segment] of wanted.entries()) {
    if (segment.startsWith('*')) {
      params[segment.slice(1)] = given.slice(index).map(decodeURIComponent).join('/');
      return params;
    }
    const value = given[index];
    if (value === undefined) return undefined;
    if (segment.startsWith(':')) params[segment.slice(1)] = decodeURIComponent(value);
    else if (segment !== value) return undefined;
  }
  return wanted.length === given.length ? params : undefined;
}

/** Listens on a free loopback port. */
export async function startDoubleServer(
  handler: DoubleHandler,
  options: DoubleOptions = {},
): Promise<DoubleServer> {
  const tls = options.isTls
    ? await createClientCertificate(generateApiKey(), {
        ipAddresses: ['127.0.0.1'],
        isServer: true,
      })
    : undefined;
  const faults: Fault[] = [];
  const state = { requests: [] as string[], faults, handler, slowMs: 0 };
  const sockets = new Set<Socket>();
  const serve = (request: IncomingMessage, response: ServerResponse) =>
    void answer(state, request, response);
  const makeServer = (): Server => {
    const server = tls
      ? createTlsServer(
          { ...tls, requestCert: options.asksCertificate === true, rejectUnauthorized: false },
          serve,
        )
      : createServer(serve);
    server.on('connection', (socket: Socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => sockets.delete(socket));
    });
    server.on('tlsClientError', () => {});
    return server;
  };
  let server = makeServer();
  await listen(server, 0);
  const { port } = server.address() as AddressInfo; // it listens on a port
  const folder = tls ? mkdtempSync(join(tmpdir(), 'coffer-double-')) : '';
  const caFile = tls ? join(folder, 'ca.pem') : '';
  if (tls) writeFileSync(caFile, tls.cert);
  const add =
    (kind: FaultKind) =>
    (count: number, fault: FaultOptions = {}, status = 0) => {
      faults.push({ ...fault, kind, status, left: count });
    };
  const down = async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  return {
    origin: `${tls ? 'https' : 'http'}://127.0.0.1:${port}`,
    certificate: tls?.cert ?? '',
    caFile,
    requests: state.requests,
    failNext: (count, status, fault) => add('status')(count, fault, status),
    garbageNext: add('garbage'),
    dropNext: add('drop'),
    loseAnswerNext: add('lose'),
    hangNext: add('hang'),
    slow: (ms) => {
      state.slowMs = ms;
    },
    down,
    up: async () => {
      server = makeServer();
      await listen(server, port);
    },
    close: async () => {
      if (server.listening) await down();
      if (folder !== '') rmSync(folder, { recursive: true, force: true });
    },
  };
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
}

type State = {
  readonly requests: string[];
  readonly faults: Fault[];
  readonly handler: DoubleHandler;
  slowMs: number;
};

async function answer(
  state: State,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of request) chunks.push(chunk as Buffer); // no encoding is set
  } catch {
    return; // the client went away
  }
  const line = `${request.method} ${request.url}`;
  state.requests.push(line);
  if (state.slowMs > 0) await new Promise((resolve) => setTimeout(resolve, state.slowMs));
  const fault = takeFault(state.faults, line);
  if (fault?.kind === 'hang') return;
  if (fault?.kind === 'drop') {
    request.socket.destroy();
    return;
  }
  if (fault?.kind === 'status') return send(response, { ...fault.answer, status: fault.status });
  if (fault?.kind === 'garbage')
    return send(response, { status: 200, body: '<html>{"not', ...fault.answer });
  const result = await runHandler(state.handler, parseRequest(request, Buffer.concat(chunks)));
  if (fault?.kind === 'lose') request.socket.destroy();
  else send(response, result);
}

/** A double that breaks says so in the test's output instead of hanging its client. */
async function runHandler(handler: DoubleHandler, request: DoubleRequest): Promise<DoubleAnswer> {
  try {
    return await handler(request);
  } catch (error) {
    process.stderr.write(`double failed: ${(error as Error).stack}\n`);
    return { status: 599, body: 'the double failed' };
  }
}

function takeFault(faults: Fault[], line: string): Fault | undefined {
  const index = faults.findIndex((each) => each.left > 0 && (each.match?.test(line) ?? true));
  const fault = faults[index];
  if (fault === undefined) return undefined;
  fault.left -= 1;
  if (fault.left === 0) faults.splice(index, 1);
  return fault;
}

function parseRequest(request: IncomingMessage, body: Buffer): DoubleRequest {
  const [path = '', query = ''] = (request.url ?? '').split(/\?(.*)/s);
  const headers = Object.fromEntries(
    Object.entries(request.headers).map(([name, value]) => [name, String(value)]),
  );
  return {
    method: request.method ?? '',
    path,
    query: new URLSearchParams(query),
    headers,
    body,
    params: {},
    ...certificateOf(request),
    json: () => {
      try {
        return JSON.parse(body.toString('utf8')) as unknown;
      } catch {
        return undefined;
      }
    },
  };
}

function certificateOf(request: IncomingMessage): { clientCertificate?: string } {
  const socket = request.socket as Partial<TLSSocket>; // a plain socket has no such method
  const raw = socket.getPeerX509Certificate?.()?.raw;
  return raw ? { clientCertificate: new X509Certificate(raw).fingerprint256 } : {};
}

function send(response: ServerResponse, result: DoubleAnswer): void {
  const { body } = result;
  const isData = typeof body === 'string' || body instanceof Uint8Array || body === undefined;
  const bytes = isData ? Buffer.from(body ?? '') : Buffer.from(JSON.stringify(body));
  response.writeHead(result.status, {
    ...(isData ? {} : { 'content-type': 'application/json' }),
    ...(result.status === 204 ? {} : { 'content-length': bytes.length }),
    ...result.headers,
  });
  response.end(bytes);
}
