// The SDKs under test as a table: how each is driven, what it shows of an answer, what it cannot do by itself.

import assert from 'node:assert/strict';
import path from 'node:path';
import { projectRoot } from '../support/programs.ts';
import { clientPaths, interopDir } from './clients.ts';
import { awsSdkDriver } from './s3-drivers/aws-sdk.ts';
import { minioJsDriver } from './s3-drivers/minio-js.ts';
import { type ClientTraits, ObjectModel } from './s3-model.ts';
import { type Driver, type Mode, programDriver } from './s3-plan.ts';
import type { TrialStage } from './s3-stages.ts';
import type { S3Store } from './s3-store.ts';

export type SdkClient = {
  /** For names of buckets. */
  readonly short: string;
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
  /** Signatures it can presign with, when not only the current one. */
  readonly signatures?: readonly (2 | 4)[];
  /** False when it has no calls for them. */
  readonly hasVersions?: boolean;
};

const python = (venv: string, file: string): Driver =>
  programDriver([
    path.join(interopDir, venv, 'bin/python'),
    path.join(projectRoot, 'test/interop/s3-drivers', file),
  ]);

export const sdkClients: readonly SdkClient[] = [
  {
    short: 'aws-js',
    traits: {
      name: 'AWS SDK for JavaScript',
      showsEncryptionOfWrites: true,
      showsEncryptionOfReads: true,
    },
    driver: awsSdkDriver,
    checksums: true,
  },
  {
    short: 'boto3',
    signatures: [2, 4],
    traits: { name: 'boto3', showsEncryptionOfWrites: true, showsEncryptionOfReads: true },
    driver: python('venv', 'boto3_driver.py'),
    checksums: true,
  },
  {
    short: 'boto3-old',
    signatures: [2, 4],
    traits: { name: 'boto3 1.26', showsEncryptionOfWrites: true, showsEncryptionOfReads: true },
    driver: python('boto3-1.26', 'boto3_driver.py'),
  },
  {
    short: 'minio-js',
    hasVersions: false,
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
    short: 'minio-go',
    traits: { name: 'minio-go', showsEncryptionOfWrites: false, showsEncryptionOfReads: true },
    driver: programDriver([clientPaths.minioGo]),
    checksums: true,
  },
  {
    short: 'minio-py',
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

/** Runs stages with a driver and compares every result. */
export async function carryOut(
  store: Pick<S3Store, 'at' | 'data'>,
  client: Pick<SdkClient, 'driver' | 'traits'>,
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
