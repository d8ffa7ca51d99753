// One TLS connection (HTTP/2) or pool of them (HTTP/1.1) to one endpoint of the key service. The server
// chooses by ALPN: HTTP/2 carries all concurrent calls over one session, HTTP/1.1 is for servers behind
// an old proxy. HTTPS only, TLS 1.2 or newer. Rule kept here: every call ends, by its answer, its time
// limit or its signal, and no answer larger than the limit is kept.

import * as http2 from 'node:http2';
import * as https from 'node:https';
import { isIP } from 'node:net';
import * as tls from 'node:tls';
import type { KesResponse } from './kes-answers.ts';
import {
  KesClientError,
  kesAbortedError,
  kesConnectionError,
  kesTimeoutError,
} from './kes-error.ts';
import type { KesStreamAnswer, KesStreamRequest } from './kes-stream.ts';
import { openHttp1Stream, openHttp2Stream } from './kes-stream.ts';

/** What TLS needs: the client certificate and whom to trust. */
export type KesTls = {
  /** PEM, client certificate chain and key. Without them the client is anonymous. */
  readonly cert?: string;
  readonly key?: string;
  /** PEM certificates trusted in addition to the system's. */
  readonly ca?: readonly string[];
  /** Skips the check of the server's certificate. */
  readonly isInsecure?: boolean;
};

export type KesRequest = {
  readonly method: string;
  /** Path with query, percent-encoded. */
  readonly path: string;
  readonly body?: Buffer;
  readonly responseBytesMax: number;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
};

/** A connection that is up. `send` throws `KesClientError` only. */
export interface KesTransport {
  send(request: KesRequest): Promise<KesResponse>;
  /** A request whose answer goes on until one side ends it. Throws `KesClientError` only. */
  open(request: KesStreamRequest): Promise<KesStreamAnswer>;
  /** False once a new request needs a new transport. */
  isUsable(): boolean;
  /** Lets running calls finish, then closes. Idempotent. */
  retire(): void;
  /** Ends running calls with an error. Idempotent. */
  destroy(): void;
}

const connectMs = 5_000;
const pingEveryMs = 15_000;
const pingAnswerMs = 5_000;

/** The TLS context shared by all connections with the same certificate. Throws on a key that does not fit. */
export function createKesTlsContext(options: KesTls): tls.SecureContext {
  return tls.createSecureContext({
    minVersion: 'TLSv1.2',
    ...(options.cert === undefined ? {} : { cert: options.cert }),
    ...(options.key === undefined ? {} : { key: options.key }),
    ...(options.isInsecure ? {} : { ca: [...systemRoots(), ...(options.ca ?? [])] }),
  });
}

/** The system's roots; the built-in ones only where the system has none. */
function systemRoots(): readonly string[] {
  const system = tls.getCACertificates('system');
  const roots = system.length > 0 ? system : tls.getCACertificates('bundled');
  return [...roots, ...tls.getCACertificates('extra')];
}

/** Connects, within 5 s. Throws `KesClientError` with `wasSent: false`. */
export async function connectKes(
  endpoint: URL,
  options: { readonly context: tls.SecureContext; readonly isInsecure: boolean },
): Promise<KesTransport> {
  const host = endpoint.hostname.replace(/^\[|\]$/g, '');
  const target: tls.ConnectionOptions = {
    host,
    port: endpoint.port === '' ? 443 : Number(endpoint.port),
    ...(isIP(host) ? {} : { servername: host }),
    secureContext: options.context,
    rejectUnauthorized: !options.isInsecure,
  };
  const socket = await openSocket({ ...target, ALPNProtocols: ['h2', 'http/1.1'] });
  if (socket.alpnProtocol === 'h2') return openHttp2(endpoint, socket);
  socket.destroy();
  return openHttp1(endpoint, target);
}

function openSocket(options: tls.ConnectionOptions): Promise<tls.TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = tls.connect(options);
    const timer = setTimeout(() => {
      socket.destroy();
      reject(kesTimeoutError({ wasSent: false }));
    }, connectMs);
    const onError = (error: Error) => {
      clearTimeout(timer);
      reject(kesConnectionError(error, { wasSent: false }));
    };
    socket.once('error', onError);
    socket.once('secureConnect', () => {
      clearTimeout(timer);
      socket.off('error', onError);
      socket.setNoDelay(true);
      resolve(socket);
    });
  });
}

// ---- HTTP/2 ---------------------------------------------------------------------------------------

function openHttp2(endpoint: URL, socket: tls.TLSSocket): KesTransport {
  const session = http2.connect(endpoint, { createConnection: () => socket });
  let isUsable = true;
  let failure: unknown;
  const leave = () => {
    isUsable = false;
    clearInterval(ping);
  };
  const ping = setInterval(() => checkAlive(session), pingEveryMs);
  ping.unref();
  session.on('error', (error) => {
    failure = error;
    leave();
  });
  session.on('goaway', leave);
  session.on('close', leave);
  return {
    send: (request) => sendHttp2(session, request, () => failure),
    open: (request) => openHttp2Stream(session, request, () => failure),
    isUsable: () => isUsable && !session.closed && !session.destroyed,
    retire() {
      leave();
      session.close();
    },
    destroy() {
      leave();
      session.destroy();
    },
  };
}

/** A peer that vanished without a word is found by a ping without an answer. */
function checkAlive(session: http2.ClientHttp2Session): void {
  if (session.destroyed) return;
  const timer = setTimeout(() => session.destroy(new Error('no answer to ping')), pingAnswerMs);
  timer.unref();
  try {
    session.ping(() => clearTimeout(timer));
  } catch {
    clearTimeout(timer); // the session closed in between; its own events say so
  }
}

function sendHttp2(
  session: http2.ClientHttp2Session,
  request: KesRequest,
  sessionFailure: () => unknown,
): Promise<KesResponse> {
  return new Promise((resolve, reject) => {
    if (request.signal?.aborted) {
      reject(kesAbortedError(request.signal));
      return;
    }
    let stream: http2.ClientHttp2Stream;
    try {
      stream = session.request(http2Headers(request), { endStream: request.body === undefined });
    } catch (error) {
      reject(kesConnectionError(sessionFailure() ?? error, { wasSent: false }));
      return;
    }
    const chunks: Buffer[] = [];
    let size = 0;
    let status = 0;
    let contentType: string | undefined;
    let failure: KesClientError | undefined;
    const fail = (error: KesClientError) => {
      failure ??= error;
      stream.close(http2.constants.NGHTTP2_CANCEL);
    };
    const onAbort = () => request.signal && fail(kesAbortedError(request.signal));
    const timer = setTimeout(() => fail(kesTimeoutError({ wasSent: true })), request.timeoutMs);
    request.signal?.addEventListener('abort', onAbort, { once: true });
    let expected: number | undefined;
    stream.on('response', (headers) => {
      status = headers[':status'] ?? 0;
      contentType = headers['content-type'];
      expected = sizeOf(headers['content-length']);
    });
    stream.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > request.responseBytesMax) fail(tooLarge());
      else chunks.push(chunk);
    });
    stream.on('error', (error) => {
      const wasSent = stream.rstCode !== http2.constants.NGHTTP2_REFUSED_STREAM;
      failure ??= kesConnectionError(sessionFailure() ?? error, { wasSent });
    });
    stream.on('close', () => {
      clearTimeout(timer);
      request.signal?.removeEventListener('abort', onAbort);
      const isWhole = stream.readableEnded && stream.rstCode === 0 && size === (expected ?? size);
      if (failure === undefined && status > 0 && isWhole) {
        resolve({ status, contentType, body: joined(chunks) });
      } else {
        reject(failure ?? dropped(sessionFailure()));
      }
    });
    if (request.body !== undefined) stream.end(request.body);
  });
}

/** A body that was cut short looks like one that ended, but for its announced size. */
function sizeOf(contentLength: string | undefined): number | undefined {
  return contentLength !== undefined && /^\d+$/.test(contentLength)
    ? Number(contentLength)
    : undefined;
}

function http2Headers(request: KesRequest): http2.OutgoingHttpHeaders {
  const headers: http2.OutgoingHttpHeaders = { ':method': request.method, ':path': request.path };
  if (request.body !== undefined) {
    headers['content-type'] = 'application/json';
    headers['content-length'] = request.body.length;
  }
  return headers;
}

// ---- HTTP/1.1 -------------------------------------------------------------------------------------

function openHttp1(endpoint: URL, target: tls.ConnectionOptions): KesTransport {
  const agent = new https.Agent({
    ...target,
    ALPNProtocols: ['http/1.1'],
    keepAlive: true,
    maxSockets: 32,
    timeout: 90_000,
  });
  let isUsable = true;
  let running = 0;
  const leave = () => {
    isUsable = false;
    if (running === 0) agent.destroy();
  };
  return {
    async send(request) {
      running += 1;
      try {
        return await sendHttp1(endpoint, agent, request);
      } finally {
        running -= 1;
        if (!isUsable && running === 0) agent.destroy();
      }
    },
    async open(request) {
      running += 1;
      const leaveStream = () => {
        running -= 1;
        if (!isUsable && running === 0) agent.destroy();
      };
      try {
        const answer = await openHttp1Stream(endpoint, agent, request);
        if (answer.stream) answer.stream.once('close', leaveStream);
        else leaveStream();
        return answer;
      } catch (error) {
        leaveStream();
        throw error;
      }
    },
    isUsable: () => isUsable,
    retire: leave,
    destroy() {
      isUsable = false;
      agent.destroy();
    },
  };
}

function sendHttp1(endpoint: URL, agent: https.Agent, request: KesRequest): Promise<KesResponse> {
  return new Promise((resolve, reject) => {
    if (request.signal?.aborted) {
      reject(kesAbortedError(request.signal));
      return;
    }
    let failure: KesClientError | undefined;
    const headers: Record<string, string | number> = {};
    if (request.body !== undefined) headers['content-type'] = 'application/json';
    if (request.body !== undefined || request.method !== 'GET') {
      headers['content-length'] = request.body?.length ?? 0;
    }
    const { method, path } = request;
    const call = https.request(endpoint, { agent, method, path, headers });
    const fail = (error: KesClientError) => {
      failure ??= error;
      call.destroy();
      reject(failure);
    };
    const onAbort = () => request.signal && fail(kesAbortedError(request.signal));
    const timer = setTimeout(() => fail(kesTimeoutError({ wasSent: true })), request.timeoutMs);
    request.signal?.addEventListener('abort', onAbort, { once: true });
    call.on('error', (error) => fail(kesConnectionError(error, { wasSent: true })));
    call.on('close', () => {
      clearTimeout(timer);
      request.signal?.removeEventListener('abort', onAbort);
      reject(failure ?? dropped(undefined)); // without effect when the answer was complete
    });
    call.on('response', (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > request.responseBytesMax) fail(tooLarge());
        else chunks.push(chunk);
      });
      response.on('error', (error) => fail(kesConnectionError(error, { wasSent: true })));
      response.on('end', () => {
        const contentType = response.headers['content-type'];
        resolve({ status: response.statusCode ?? 0, contentType, body: joined(chunks) });
      });
    });
    call.end(request.body);
  });
}

function joined(chunks: readonly Buffer[]): Buffer {
  const [first] = chunks;
  return chunks.length === 1 && first ? first : Buffer.concat(chunks);
}

function tooLarge(): KesClientError {
  return new KesClientError('protocol', 'kes: the answer of the key service is too large');
}

function dropped(cause: unknown): KesClientError {
  return kesConnectionError(cause ?? new Error('the connection was closed'), { wasSent: true });
}
