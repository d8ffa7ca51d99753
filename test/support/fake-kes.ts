// A key service of one file for tests of its clients: keys in memory, the answers of the protocol, and
// switches for everything that can go wrong on the way. It checks no policy; whether client and service
// agree is tested against the real one.

import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import { createSecureServer } from 'node:http2';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { openWith, sealWith } from '../../src/keys/ciphertext.ts';
import type { MasterKey } from '../../src/keys/master-key.ts';
import { createMasterKey, keyTimeOf } from '../../src/keys/master-key.ts';
import type { KesBatchCall } from '../../src/wire/kes.ts';
import { kesErrors, kesRoutes } from '../../src/wire/kes.ts';
import {
  certificateIdentity,
  createClientCertificate,
  generateApiKey,
} from '../../src/wire/kes-identity.ts';
import type { KesTls } from '../../src/wire/kes-transport.ts';

/** What the fake does instead of answering: an answer given here, closing the stream, or nothing. */
export type FakeFault =
  | { readonly status: number; readonly message: string }
  | { readonly status: number; readonly body: object }
  | 'drop'
  | 'hang';

type FakeKey = { masterKey: MasterKey; isDisabled: boolean };

export type FakeKes = {
  readonly origin: string;
  /** For a client: a fresh certificate, and trust in this server. */
  readonly tls: KesTls;
  readonly clientIdentity: string;
  readonly serverCert: string;
  /** `METHOD path` of every request, in order. */
  readonly requests: string[];
  /** Calls inside each batch received. */
  readonly batchSizes: number[];
  readonly keys: Map<string, FakeKey>;
  /** Identities seen on connections. */
  readonly identities: Set<string>;
  readonly protocolsSeen: Set<string>;
  /** Asked for each request; undefined answers it properly. */
  fault: (method: string, path: string) => FakeFault | undefined;
  takesBatches: boolean;
  /** Calls of a batch on this key fail with 502, as when the key store is down. */
  brokenKey: string | undefined;
  /** Milliseconds before each answer. */
  delayMs: number;
  addKey(name: string): void;
  /** Ends all connections, as a restart does. */
  dropConnections(): void;
  close(): Promise<void>;
};

/** Listens on a free loopback port. */
export async function startFakeKes(
  options: { readonly allowHttp2?: boolean; readonly port?: number } = {},
): Promise<FakeKes> {
  const server = await createClientCertificate(generateApiKey(), {
    ipAddresses: ['127.0.0.1'],
    isServer: true,
  });
  const clientKey = generateApiKey();
  const fake: Omit<FakeKes, 'origin'> = {
    tls: { ...(await createClientCertificate(clientKey)), ca: [server.cert] },
    clientIdentity: clientKey.identity,
    serverCert: server.cert,
    requests: [],
    batchSizes: [],
    keys: new Map(),
    identities: new Set(),
    protocolsSeen: new Set(),
    fault: () => undefined,
    takesBatches: true,
    brokenKey: undefined,
    delayMs: 0,
    addKey(name) {
      const masterKey = createMasterKey({ createdAt: keyTimeOf(Date.now()), createdBy: '' });
      fake.keys.set(name, { masterKey, isDisabled: false });
    },
    dropConnections() {
      for (const socket of sockets) socket.destroy();
    },
    async close() {
      const closed = new Promise<void>((resolve) => listener.close(() => resolve()));
      fake.dropConnections();
      await closed;
    },
  };
  const sockets = new Set<TLSSocket>();
  const tls = { ...server, requestCert: true, rejectUnauthorized: false };
  const handler = (request: Request, response: Response) => void serve(fake, request, response);
  const listener =
    options.allowHttp2 === false
      ? createServer(tls, handler)
      : createSecureServer({ ...tls, allowHTTP1: true }, handler);
  listener.on('secureConnection', (socket: TLSSocket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    fake.protocolsSeen.add(String(socket.alpnProtocol));
    const peer = socket.getPeerX509Certificate();
    if (peer) fake.identities.add(certificateIdentity(peer.raw));
  });
  listener.on('sessionError', () => {});
  await new Promise<void>((resolve) => listener.listen(options.port ?? 0, '127.0.0.1', resolve));
  const { port } = listener.address() as AddressInfo; // it listens on a port
  return Object.assign(fake, { origin: `https://127.0.0.1:${port}` });
}

type Request = IncomingMessage | Http2ServerRequest;
type Response = ServerResponse | Http2ServerResponse;
type Answer = { readonly status: number; readonly body?: object };

async function serve(
  fake: Omit<FakeKes, 'origin'>,
  request: Request,
  response: Response,
): Promise<void> {
  const method = request.method ?? '';
  const path = decodeURIComponent(request.url ?? '');
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of request) chunks.push(chunk as Buffer); // no encoding is set
  } catch {
    return; // the client went away
  }
  fake.requests.push(`${method} ${path}`);
  if (fake.delayMs > 0) await new Promise((resolve) => setTimeout(resolve, fake.delayMs));
  const fault = fake.fault(method, path);
  if (fault === 'hang') return;
  if (fault === 'drop') {
    if ('stream' in response) response.stream.destroy();
    else request.socket.destroy();
    return;
  }
  const text = Buffer.concat(chunks).toString('utf8');
  const answer = fault
    ? { status: fault.status, body: 'body' in fault ? fault.body : { message: fault.message } }
    : answerTo(fake, path, text === '' ? {} : (JSON.parse(text) as object));
  const body = answer.body === undefined ? '' : `${JSON.stringify(answer.body)}\n`;
  response.statusCode = answer.status;
  if (answer.body !== undefined) response.setHeader('content-type', 'application/json');
  response.setHeader('content-length', Buffer.byteLength(body));
  // Both kinds of response take this call; their overloads have no common one.
  (response as ServerResponse).end(body);
}

function answerTo(fake: Omit<FakeKes, 'origin'>, path: string, body: object): Answer {
  const route = kesRoutes.find((each) =>
    each.prefix.endsWith('/') ? path.startsWith(each.prefix) : path === each.prefix,
  );
  const name = route ? path.slice(route.prefix.length) : '';
  switch (route?.name) {
    case 'version':
      return { status: 200, body: { version: 'fake', commit: 'fake' } };
    case 'status':
      return { status: 200, body: { version: 'fake', os: 'linux', arch: 'amd64', uptime: 1 } };
    case 'api':
      return { status: 200, body: apiList(fake) };
    case 'key-create':
      if (fake.keys.has(name)) return refusal(kesErrors.keyExists);
      fake.addKey(name);
      return { status: 200 };
    case 'key-list':
      return { status: 200, body: keyList(fake, name) };
    case 'key-batch':
      return fake.takesBatches ? batch(fake, body) : { status: 404, body: { message: 'no route' } };
    case 'key-generate':
      return keyCall(fake, { op: 'generate', name, ...body });
    case 'key-decrypt':
      return keyCall(fake, { op: 'decrypt', name, ciphertext: '', ...body });
    default:
      return keyRoute(fake, route?.name, name);
  }
}

function keyRoute(fake: Omit<FakeKes, 'origin'>, route: string | undefined, name: string): Answer {
  const key = fake.keys.get(name);
  if (!key) return refusal(kesErrors.keyNotFound);
  switch (route) {
    case 'key-describe': {
      const state = key.isDisabled ? { state: 'disabled' } : {};
      const createdAt = '2026-01-02T03:04:05Z';
      return { status: 200, body: { name, algorithm: 'AES256', created_at: createdAt, ...state } };
    }
    case 'key-delete':
      fake.keys.delete(name);
      return { status: 200 };
    case 'key-disable':
    case 'key-enable':
      key.isDisabled = route === 'key-disable';
      return { status: 200 };
    default:
      return { status: 404, body: { message: 'no route' } };
  }
}

function keyCall(fake: Omit<FakeKes, 'origin'>, call: KesBatchCall): Answer {
  const key = fake.keys.get(call.name);
  if (!key) return refusal(kesErrors.keyNotFound);
  if (key.isDisabled) return refusal(kesErrors.keyDisabled);
  const context = Buffer.from(call.context ?? '', 'base64');
  if (call.op === 'generate') {
    const plaintext = randomBytes(32);
    const ciphertext = sealWith(key.masterKey, plaintext, context).toString('base64');
    return { status: 200, body: { plaintext: plaintext.toString('base64'), ciphertext } };
  }
  try {
    const plaintext = openWith(key.masterKey, Buffer.from(call.ciphertext, 'base64'), context);
    return { status: 200, body: { plaintext: plaintext.toString('base64') } };
  } catch {
    return refusal(kesErrors.decrypt);
  }
}

function batch(fake: Omit<FakeKes, 'origin'>, body: object): Answer {
  const { calls } = body as { calls: KesBatchCall[] }; // only our client sends batches
  fake.batchSizes.push(calls.length);
  const broken = { status: 502, body: { message: 'failed to read key' } };
  const results = calls.map((call) => {
    const answer: Answer = call.name === fake.brokenKey ? broken : keyCall(fake, call);
    return { ...answer.body, status: answer.status };
  });
  return { status: 200, body: { results } };
}

function apiList(fake: Omit<FakeKes, 'origin'>): object {
  return kesRoutes
    .filter((route) => route.name !== 'key-batch' || fake.takesBatches)
    .map((route) => ({ method: route.method, path: route.prefix, max_body: 0, timeout: 15 }));
}

function keyList(fake: Omit<FakeKes, 'origin'>, pattern: string): object {
  const prefix = pattern.replace(/\*$/, '');
  const names = [...fake.keys.keys()].filter((name) => name.startsWith(prefix)).toSorted();
  const disabled = names.filter((name) => fake.keys.get(name)?.isDisabled);
  return { names, ...(disabled.length > 0 ? { disabled } : {}) };
}

function refusal(error: { readonly status: number; readonly message: string }): Answer {
  return { status: error.status, body: { message: error.message } };
}
