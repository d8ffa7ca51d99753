import { randomBytes } from 'node:crypto';
import { silentLog } from '../../src/base/log.ts';
import { parseStaticKey } from '../../src/kms/config.ts';
import { openKesKms } from '../../src/kms/kes-kms.ts';
import { openKms } from '../../src/kms/open-kms.ts';
import { KesClient } from '../../src/wire/kes-client.ts';
import { startFakeKes } from '../support/fake-kes.ts';
import { startTestKesServer } from '../support/kes-server.ts';
import type { KmsHarness } from './kms.ts';
import { testKms } from './kms.ts';

testKms('static key', async () => {
  const secret = randomBytes(32).toString('base64');
  const kms = await openKms(parseStaticKey(`my-key:${secret}`), { log: silentLog });
  return { kms, secrets: [secret], close: async () => {} };
});

for (const usesBatches of [true, false]) {
  testKms(`key service ${usesBatches ? 'with' : 'without'} batches`, () => openServer(usesBatches));
}

testKms('older key service over HTTP/1.1', openFake);

async function openServer(usesBatches: boolean): Promise<KmsHarness> {
  const server = await startTestKesServer();
  const endpoints = [server.origin];
  const admin = new KesClient({ endpoints, tls: await server.tlsOf(server.admin) });
  await admin.createKey('my-key');
  const tls = await server.tlsOf(server.store);
  const client = new KesClient({ endpoints, tls, usesBatches, deps: { sleep: async () => {} } });
  const kms = openKesKms(client, { keyName: 'my-key' });
  if (usesBatches) {
    await kms.describeKey('my-key');
    while (!client.isBatching()) await new Promise((resolve) => setTimeout(resolve, 2));
  }
  const stop = once(() => server.close());
  return {
    kms,
    secrets: [String(tls.key), String(tls.key).split('\n')[1] ?? ''],
    keys: keysOf(admin),
    stopService: stop,
    async close() {
      admin.close();
      await stop();
    },
  };
}

async function openFake(): Promise<KmsHarness> {
  const fake = await startFakeKes({ allowHttp2: false });
  fake.takesBatches = false;
  fake.addKey('my-key');
  const clientOptions = { endpoints: [fake.origin], tls: fake.tls };
  const admin = new KesClient(clientOptions);
  const client = new KesClient({
    ...clientOptions,
    usesBatches: true,
    deps: { sleep: async () => {} },
  });
  return {
    kms: openKesKms(client, { keyName: 'my-key' }),
    secrets: [String(fake.tls.key)],
    keys: keysOf(admin),
    stopService: () => fake.close(),
    async close() {
      admin.close();
      await fake.close();
    },
  };
}

function keysOf(admin: KesClient): NonNullable<KmsHarness['keys']> {
  return {
    disable: (name) => admin.disableKey(name),
    enable: (name) => admin.enableKey(name),
    delete: (name) => admin.deleteKey(name),
  };
}

function once(work: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined;
  return () => (done ??= work());
}
