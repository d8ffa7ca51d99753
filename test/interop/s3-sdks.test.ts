// The S3 SDKs against one store over HTTP and one over TLS: every encryption mode a client can ask for, with and
// without a default of the bucket, at the sizes where something changes, with hard names and long listings.

import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { projectRoot } from '../support/programs.ts';
import { clientPaths, interopDir } from './clients.ts';
import { awsSdkDriver } from './s3-drivers/aws-sdk.ts';
import { minioJsDriver } from './s3-drivers/minio-js.ts';
import { type ClientTraits, ObjectModel } from './s3-model.ts';
import { type Driver, type Mode, programDriver } from './s3-plan.ts';
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
  type TrialStage,
} from './s3-stages.ts';
import {
  masterKeys,
  newCustomerKey,
  type S3Store,
  startS3Store,
  type Transport,
  transports,
} from './s3-store.ts';

type Client = {
  readonly traits: ClientTraits;
  readonly driver: Driver;
  readonly hasHeadWithKey?: boolean;
  readonly hasPartsWithKey?: boolean;
  /** Names of objects that the client itself changes or refuses before it sends anything. */
  readonly cannotName?: RegExp;
  readonly cannotCopyName?: RegExp;
  /** Modes the client does not send over plain HTTP, by its own decision. */
  readonly onlyTls?: readonly Mode['kind'][];
  readonly checksums?: boolean;
};

const python = (venv: string, file: string): Driver =>
  programDriver([
    path.join(interopDir, venv, 'bin/python'),
    path.join(projectRoot, 'test/interop/s3-drivers', file),
  ]);

const clients: readonly Client[] = [
  {
    traits: {
      name: 'AWS SDK for JavaScript',
      showsEncryptionOfWrites: true,
      showsEncryptionOfReads: true,
    },
    driver: awsSdkDriver,
    checksums: true,
  },
  {
    traits: { name: 'boto3', showsEncryptionOfWrites: true, showsEncryptionOfReads: true },
    driver: python('venv', 'boto3_driver.py'),
    checksums: true,
  },
  {
    traits: { name: 'boto3 1.26', showsEncryptionOfWrites: true, showsEncryptionOfReads: true },
    driver: python('boto3-1.26', 'boto3_driver.py'),
  },
  {
    traits: {
      name: 'minio (npm)',
      showsEncryptionOfWrites: false,
      showsEncryptionOfReads: false,
      cutsPartsAnywhere: true,
    },
    driver: minioJsDriver,
    // It has no way to give the key to HEAD, nor to a part.
    hasHeadWithKey: false,
    hasPartsWithKey: false,
    cannotCopyName: /\?/,
  },
  {
    traits: { name: 'minio-go', showsEncryptionOfWrites: false, showsEncryptionOfReads: true },
    driver: programDriver([clientPaths.minioGo]),
    checksums: true,
  },
  {
    traits: {
      name: 'minio (Python)',
      showsEncryptionOfWrites: false,
      showsEncryptionOfReads: true,
    },
    driver: python('venv', 'minio_driver.py'),
    onlyTls: ['kms'],
    cannotName: /(^|\/)\.\.?(\/|$)/,
  },
];

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

/** Runs stages with a driver and compares every result. */
async function carryOut(
  store: S3Store,
  client: Pick<Client, 'driver' | 'traits'>,
  stages: readonly TrialStage[],
): Promise<ObjectModel> {
  const results = await client.driver({
    ...store.at,
    stages: stages.map((stage) => stage.map((trial) => trial.step)),
  });
  const model = new ObjectModel(client.traits, store.data);
  for (const [at, stage] of stages.entries()) {
    for (const [index, { step, refused }] of stage.entries()) {
      const result = results[at]?.[index] ?? {};
      if (refused === undefined) model.check(step, result);
      else {
        const { code = '', status = '', message = '' } = result.error ?? {};
        assert.match(
          `${code} ${status} ${message}`,
          refused,
          `${client.traits.name}: ${JSON.stringify(step)}`,
        );
      }
    }
  }
  return model;
}

await describe('S3 SDKs', async () => {
  const stores = new Map<Transport, S3Store>();
  before(async () => {
    for (const transport of transports)
      stores.set(transport, await startS3Store(transport, dataBytes));
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
    for (const client of clients) {
      await test(`${client.traits.name} over ${transport}`, async () => {
        const store = storeOf(transport);
        const isTls = transport === 'tls';
        const names: ModeNames = {
          prefix: client.traits.name
            .toLowerCase()
            .replaceAll(/[^a-z0-9]+/g, '-')
            .replace(/-$/, ''),
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
