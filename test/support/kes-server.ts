// Key services of this program on free loopback ports, keys in memory unless asked otherwise: one that is
// ready with an admin and a store's identity, and the parts to start any other and to call it over HTTP/2
// and HTTP/1.1.

import assert from 'node:assert/strict';
import { type ClientHttp2Session, connect } from 'node:http2';
import { Agent, request as httpsRequest } from 'node:https';
import { silentLog } from '../../src/base/log.ts';
import { silentAudit } from '../../src/kes/audit/audit.ts';
import { defaultCache, type KesConfig } from '../../src/kes/config/config.ts';
import type { KeyStore } from '../../src/keys/key-store.ts';
import {
  type KesServer,
  type KesServerDeps,
  startKesServer,
} from '../../src/server/kes/service.ts';
import {
  createClientCertificate,
  generateApiKey,
  type KesApiKey,
  type KesClientCertificate,
} from '../../src/wire/kes-identity.ts';
import type { KesTls } from '../../src/wire/kes-transport.ts';

export type TestKesServer = {
  readonly origin: string;
  readonly serverCert: string;
  readonly admin: KesApiKey;
  /** Of the policy `store`: create, generate, decrypt, describe, list, status, api. */
  readonly store: KesApiKey;
  tlsOf(apiKey: KesApiKey): Promise<KesTls>;
  close(): Promise<void>;
};

const storeRoutes = [
  '/v1/key/create/*',
  '/v1/key/generate/*',
  '/v1/key/decrypt/*',
  '/v1/key/describe/*',
  '/v1/key/list/*',
  '/v1/status',
  '/v1/api',
];

/** Starts it; the caller closes it. */
export async function startTestKesServer(
  options: { readonly keyStore?: KeyStore; readonly deny?: readonly string[] } = {},
): Promise<TestKesServer> {
  const [admin, store] = [generateApiKey(), generateApiKey()];
  const server = await createTestServerFiles();
  const running = await startKesServer(
    {
      ...testKesConfig(admin),
      policies: [
        {
          name: 'store',
          allow: storeRoutes,
          deny: options.deny ?? [],
          identities: [store.identity],
        },
      ],
    },
    {
      log: silentLog,
      audit: silentAudit,
      tls: { ...server, roots: [] },
      ...(options.keyStore && { keyStore: options.keyStore }),
    },
  );
  return {
    origin: `https://127.0.0.1:${running.address.port}`,
    serverCert: server.cert,
    admin,
    store,
    tlsOf: async (apiKey) => ({ ...(await createClientCertificate(apiKey)), ca: [server.cert] }),
    close: () => running.close(),
  };
}

/** A server certificate for this machine, and its key. */
export function createTestServerFiles(
  times: { readonly now?: number; readonly validMs?: number } = {},
): Promise<KesClientCertificate> {
  return createClientCertificate(generateApiKey(), {
    commonName: 'localhost',
    dnsNames: ['localhost'],
    ipAddresses: ['127.0.0.1'],
    isServer: true,
    ...times,
  });
}

/** A configuration with an admin and nobody else. */
export function testKesConfig(admin: KesApiKey): KesConfig {
  return {
    address: '127.0.0.1:0',
    admin: admin.identity,
    tls: {
      key: '',
      cert: '',
      password: '',
      auth: 'off',
      ca: '',
      proxy: { identities: [], certHeader: '' },
    },
    policies: [],
    cache: defaultCache,
    api: new Map(),
    log: { error: 0, audit: 0 },
    keys: [],
    keyStore: { type: 'memory' },
  };
}

export type Answer = {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
};
export type Call = {
  readonly method: string;
  readonly path: string;
  readonly body?: string | Buffer;
  readonly headers?: Readonly<Record<string, string>>;
};

/** Four identities with their certificates, and services that know them. */
export type KesFixture = {
  readonly admin: KesApiKey;
  /** Of the policy `app`. */
  readonly app: KesApiKey;
  readonly stranger: KesApiKey;
  readonly proxy: KesApiKey;
  readonly serverFiles: KesClientCertificate;
  /** Admin, the policy `app`, and the key `app-key` made at start. */
  readonly config: KesConfig;
  /** Starts a service; the caller closes it, or `closeAll` does. */
  start(config?: Partial<KesConfig>, deps?: Partial<KesServerDeps>): Promise<KesServer>;
  /** The certificate of one of the four. */
  filesOf(apiKey: KesApiKey): KesClientCertificate;
  /** An HTTP/2 connection; without an API key, without a certificate. The caller closes it. */
  open(server: KesServer, apiKey?: KesApiKey): ClientHttp2Session;
  /** One call over HTTP/1.1 and a connection of its own. */
  callHttp1(server: KesServer, apiKey: KesApiKey | undefined, call: Call): Promise<Answer>;
  /** Closes every service and connection that a failed test left behind. */
  closeAll(): Promise<void>;
};

export async function createKesFixture(): Promise<KesFixture> {
  const [admin, app] = [generateApiKey(), generateApiKey()];
  const [stranger, proxy] = [generateApiKey(), generateApiKey()];
  const serverFiles = await createTestServerFiles();
  const files = new Map<KesApiKey, KesClientCertificate>();
  for (const apiKey of [admin, app, stranger, proxy]) {
    files.set(apiKey, await createClientCertificate(apiKey));
  }
  const config: KesConfig = {
    ...testKesConfig(admin),
    policies: [
      {
        name: 'app',
        allow: [
          '/v1/key/generate/app-*',
          '/v1/key/decrypt/app-*',
          '/v1/key/list/app*',
          '/v1/status',
        ],
        deny: ['/v1/key/decrypt/app-secret*'],
        identities: [app.identity],
      },
    ],
    keys: ['app-key'],
  };
  const filesOf = (apiKey: KesApiKey): KesClientCertificate => {
    const found = files.get(apiKey);
    assert.ok(found);
    return found;
  };
  const servers: KesServer[] = [];
  const sessions: ClientHttp2Session[] = [];
  const clientOf = (apiKey?: KesApiKey) => ({
    ...(apiKey === undefined ? {} : filesOf(apiKey)),
    rejectUnauthorized: false,
  });
  return {
    admin,
    app,
    stranger,
    proxy,
    serverFiles,
    config,
    filesOf,
    start: async (own = {}, deps = {}) => {
      const usual = { log: silentLog, audit: silentAudit, tls: { ...serverFiles, roots: [] } };
      const server = await startKesServer({ ...config, ...own }, { ...usual, ...deps });
      servers.push(server);
      return server;
    },
    open: (server, apiKey) => {
      const url = `https://127.0.0.1:${server.address.port}`;
      const session = connect(url, clientOf(apiKey)).on('error', () => {});
      sessions.push(session);
      return session;
    },
    callHttp1: (server, apiKey, call) => {
      const { port } = server.address;
      return callHttp1({ ...clientOf(apiKey), host: '127.0.0.1', port }, call);
    },
    closeAll: async () => {
      for (const session of sessions) session.destroy();
      await Promise.all(servers.map((server) => server.close()));
    },
  };
}

/** One call on an open connection; rejects when there is no answer. */
export function callHttp2(session: ClientHttp2Session, call: Call): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const stream = session.request(
      { ':method': call.method, ':path': call.path, ...call.headers },
      { endStream: call.body === undefined },
    );
    let headers: Record<string, unknown> = {};
    let body = '';
    stream.setEncoding('utf8');
    stream.on('response', (received) => {
      headers = { ...received };
    });
    stream.on('data', (text: string) => {
      body += text;
    });
    stream.on('error', reject);
    stream.on('close', () => {
      const status = Number(headers[':status']);
      if (Number.isNaN(status)) reject(new Error('closed without an answer'));
      else resolve({ status, headers, body });
    });
    if (call.body !== undefined) stream.end(call.body);
  });
}

function callHttp1(
  client: { readonly host: string; readonly port: number },
  call: Call,
): Promise<Answer> {
  const agent = new Agent({ keepAlive: false });
  const { method, path, headers } = call;
  return new Promise((resolve, reject) => {
    const request = httpsRequest({ ...client, agent, method, path, headers }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => {
        body += text;
      });
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
      );
    });
    request.on('error', reject);
    request.end(call.body);
  });
}

/** The exact body of an error. */
export function kesErrorBody(message: string): string {
  return `{"message":${JSON.stringify(message)}\n}`;
}
