// A key service of this program on a free loopback port, keys in memory, with an admin and a second
// identity that may do what a store needs.

import { silentLog } from '../../src/base/log.ts';
import { silentAudit } from '../../src/kes/audit.ts';
import { defaultCache, type KesConfig } from '../../src/kes/config.ts';
import type { KeyStore } from '../../src/keys/key-store.ts';
import { startKesServer } from '../../src/server/kes-server.ts';
import type { KesApiKey } from '../../src/wire/kes-identity.ts';
import { createClientCertificate, generateApiKey } from '../../src/wire/kes-identity.ts';
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
  const server = await createClientCertificate(generateApiKey(), {
    ipAddresses: ['127.0.0.1'],
    isServer: true,
  });
  const config: KesConfig = {
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
    policies: [
      { name: 'store', allow: storeRoutes, deny: options.deny ?? [], identities: [store.identity] },
    ],
    cache: defaultCache,
    api: new Map(),
    log: { error: 0, audit: 0 },
    keys: [],
    keyStore: { type: 'memory' },
  };
  const running = await startKesServer(config, {
    log: silentLog,
    audit: silentAudit,
    tls: { ...server, roots: [] },
    ...(options.keyStore && { keyStore: options.keyStore }),
  });
  return {
    origin: `https://127.0.0.1:${running.address.port}`,
    serverCert: server.cert,
    admin,
    store,
    tlsOf: async (apiKey) => ({ ...(await createClientCertificate(apiKey)), ca: [server.cert] }),
    close: () => running.close(),
  };
}
