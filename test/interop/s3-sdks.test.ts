// The S3 SDKs against one store over HTTP and one over TLS: every encryption mode a client can ask for, with and
// without a default of the bucket, at the sizes where something changes, with hard names and long listings.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { carryOut, sdkClients } from './s3-clients.ts';
import type { Mode } from './s3-plan.ts';
import {
  allSizes,
  checksumStages,
  copyStages,
  dataBytes,
  fewSizes,
  hardNames,
  manyListStages,
  manyStages,
  type ModeNames,
  modeStages,
  nameStages,
  refusalStages,
} from './s3-stages.ts';
import {
  masterKeys,
  newCustomerKey,
  type S3Store,
  startS3Store,
  type Transport,
  transports,
} from './s3-store.ts';

const customerKey = newCustomerKey();
const otherKey = newCustomerKey();
const manyKeys = Array.from(
  { length: 1005 },
  (_, at) => `group-${at % 12}/item ${String(at).padStart(4, '0')}`,
);

const modes: readonly Mode[] = [
  { kind: 'none' },
  { kind: 's3' },
  { kind: 'kms', keyId: masterKeys[0] },
  { kind: 'kms', keyId: masterKeys[1], context: { department: 'accounts', purpose: 'interop' } },
  { kind: 'c', key: customerKey },
];

await describe('S3 SDKs', async () => {
  const stores = new Map<Transport, S3Store>();
  before(async () => {
    const start = async (transport: Transport): Promise<void> =>
      void stores.set(transport, await startS3Store(transport, dataBytes));
    await Promise.all(transports.map(start));
  });
  after(async () => {
    for (const store of stores.values()) await store.stop();
  });
  const storeOf = (transport: Transport): S3Store => {
    const store = stores.get(transport);
    assert.ok(store);
    return store;
  };

  for (const transport of transports) {
    for (const client of sdkClients) {
      await test(`${client.traits.name} over ${transport}`, async () => {
        const store = storeOf(transport);
        const isTls = transport === 'tls';
        const names: ModeNames = {
          prefix: client.short,
          modes: modes.filter(
            ({ kind }) => isTls || (kind !== 'c' && client.onlyTls?.includes(kind) !== true),
          ),
          hasHeadWithKey: client.hasHeadWithKey ?? true,
          hasPartsWithKey: client.hasPartsWithKey ?? true,
          cannotCopyName: client.cannotCopyName,
        };
        const keys = hardNames.filter((key) => client.cannotName?.test(key) !== true);
        await carryOut(store, client, [
          ...modeStages(names, { kind: 'none' }, allSizes),
          ...modeStages(names, { kind: 's3' }, fewSizes),
          ...modeStages(names, { kind: 'kms', keyId: masterKeys[1] }, fewSizes),
          ...copyStages(names, otherKey),
          ...refusalStages(names, { own: customerKey, other: otherKey, isTls }),
          ...nameStages(names, keys),
          ...(client.checksums === true ? checksumStages(names) : []),
          ...manyStages(`${names.prefix}-many`, manyKeys),
          ...manyListStages(`${names.prefix}-many`),
        ]);
      });
    }
    await test(`no key of a client is in a log, a metric or a file (${transport})`, async () => {
      const store = storeOf(transport);
      await store.assertHidden({ customerKey, otherKey, secretKey: store.pair.secretKey });
    });
  }
});
