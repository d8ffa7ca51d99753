import { randomBytes } from 'node:crypto';
import { silentLog } from '../../src/base/log.ts';
import { parseStaticKey } from '../../src/kms/config.ts';
import { openKesKms } from '../../src/kms/kes-kms.ts';
import { openKms } from '../../src/kms/open-kms.ts';
import { KesClient } from '../../src/wire/kes-client.ts';
import { startFakeKes } from '../support/fake-kes.ts';
import type { KmsHarness } from './kms.ts';
import { testKms } from './kms.ts';

testKms('static key', async () => {
  const secret = randomBytes(32).toString('base64');
  const kms = await openKms(parseStaticKey(`my-key:${secret}`), { log: silentLog });
  return { kms, secrets: [secret], close: async () => {} };
});

for (const takesBatches of [false, true]) {
  testKms(`key service ${takesBatches ? 'that takes batches' : 'without batches'}`, () =>
    openFake({ takesBatches }),
  );
}

testKms('key service over HTTP/1.1', () => openFake({ takesBatches: false, allowHttp2: false }));

async function openFake(options: {
  readonly takesBatches: boolean;
  readonly allowHttp2?: boolean;
}): Promise<KmsHarness> {
  const fake = await startFakeKes({ allowHttp2: options.allowHttp2 ?? true });
  fake.takesBatches = options.takesBatches;
  fake.addKey('my-key');
  const clientOptions = { endpoints: [fake.origin], tls: fake.tls };
  const admin = new KesClient(clientOptions);
  const client = new KesClient({
    ...clientOptions,
    usesBatches: true,
    deps: { sleep: async () => {} },
  });
  const kms = openKesKms(client, { keyName: 'my-key' });
  if (options.takesBatches) {
    await kms.status();
    await kms.describeKey('my-key');
    while (!client.isBatching()) await new Promise((resolve) => setTimeout(resolve, 2));
  }
  return {
    kms,
    secrets: [String(fake.tls.key)],
    keys: {
      disable: (name) => admin.disableKey(name),
      enable: (name) => admin.enableKey(name),
      delete: (name) => admin.deleteKey(name),
    },
    stopService: () => fake.close(),
    async close() {
      admin.close();
      await fake.close();
    },
  };
}
