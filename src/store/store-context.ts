// What every operation of the store works with, and how errors of the engines below become the store's own.

import type { BucketKeys } from '../sse/bucket-keys.ts';
import { SseError } from '../sse/sse-error.ts';
import type { Kms } from '../sse/kms.ts';
import type { Log } from '../base/log.ts';
import { BlobError, type BlobErrorCode, type BlobStore } from './blob-store.ts';
import type { IdSource } from './keys.ts';
import { type Kv, type KvCheck, KvError, type KvErrorCode } from './kv.ts';
import type { BucketRecord } from './records.ts';
import { type BucketInfo, StoreError, type StoreErrorCode } from './types.ts';

export type StoreSettings = {
  /** Encrypt with SSE-S3 whatever the request and the bucket say. */
  readonly isAutoEncrypting: boolean;
  /** New buckets take no keys of clients until they are told to. Default off. */
  readonly blocksSseC?: boolean;
  /** Master key of the outer layer of DSSE-KMS. Empty, the default: that of the inner layer. */
  readonly dsseKeyName?: string;
  /** How long a bucket key is used. Default, and at most, five minutes. */
  readonly bucketKeyMs?: number;
  /** Stored bytes up to this size live beside their record. Default 128 KiB. */
  readonly inlineMaxBytes?: number;
  /** How long replaced blobs stay for readers that are about to open them. Default 60 s. */
  readonly garbageGraceMs?: number;
  /** How old a blob that no record names must be before the sweep removes it. Default 1 day. */
  readonly orphanGraceMs?: number;
  /** Pause between two sweeps in the background; undefined: only when asked. */
  readonly sweepIntervalMs?: number;
};

export type StoreContext = {
  readonly kv: Kv;
  readonly blobs: BlobStore;
  readonly kms: Kms | undefined;
  /** There when `kms` is. */
  readonly bucketKeys: BucketKeys | undefined;
  readonly log: Log;
  readonly settings: Required<Omit<StoreSettings, 'sweepIntervalMs'>>;
  readonly now: () => number;
  readonly createId: IdSource;
  readonly knownBuckets: KnownBuckets;
};

/** A bucket as it was read, for the store and for those who asked. */
export type KnownBucket = {
  readonly name: string;
  readonly record: BucketRecord;
  readonly check: KvCheck;
  readonly info: BucketInfo;
};

/** Buckets as they were last read. What a version of an entry holds never changes, so none is out of date. */
export type KnownBuckets = {
  readonly byName: Map<string, KnownBucket>;
  /** Finds the bucket behind what was given out of it. */
  readonly byInfo: WeakMap<BucketInfo, KnownBucket>;
};

const codeOfKv: Readonly<Record<KvErrorCode, StoreErrorCode>> = {
  corrupt: 'ObjectCorrupt',
  full: 'StorageFull',
  'read-only': 'StorageReadOnly',
  locked: 'StorageUnavailable',
  unavailable: 'StorageUnavailable',
};

const codeOfBlob: Readonly<Record<BlobErrorCode, StoreErrorCode>> = {
  absent: 'ObjectCorrupt',
  truncated: 'ObjectCorrupt',
  full: 'StorageFull',
  'read-only': 'StorageReadOnly',
  'too-many-files': 'StorageUnavailable',
  unavailable: 'StorageUnavailable',
};

/** The store's error for what an engine threw; anything else unchanged. Details stay in `cause`. */
export function toStoreError(error: unknown): unknown {
  if (error instanceof KvError) {
    return new StoreError(codeOfKv[error.code], messageOf(codeOfKv[error.code]), { cause: error });
  }
  if (error instanceof BlobError) {
    return new StoreError(codeOfBlob[error.code], messageOf(codeOfBlob[error.code]), {
      cause: error,
    });
  }
  if (error instanceof SseError) {
    return new StoreError('ObjectCorrupt', messageOf('ObjectCorrupt'), { cause: error });
  }
  return error;
}

/** Runs an operation; errors of the engines leave it as `StoreError`. */
export async function guarded<T>(run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw toStoreError(error);
  }
}

function messageOf(code: StoreErrorCode): string {
  switch (code) {
    case 'StorageFull':
      return 'There is not enough free space on the disk of the server.';
    case 'StorageReadOnly':
      return 'The data directory of the server cannot be written.';
    case 'ObjectCorrupt':
      return 'The stored data is damaged or was modified, and is not served.';
    default:
      return 'The storage of the server is not available at the moment. Please try again.';
  }
}
