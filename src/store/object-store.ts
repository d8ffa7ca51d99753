// The object store: buckets, objects and uploads over a `Kv` and a `BlobStore`, with encryption through a `Kms`.
// It keeps no state of its own, so any number of processes may serve one data directory. This file joins the
// operations; each lives in its own file.

import { BucketKeys, bucketKeyAgeMsMax } from '../sse/bucket-keys.ts';
import type { Kms } from '../sse/kms.ts';
import type { Log } from '../base/log.ts';
import type { BlobStore } from './blob-store.ts';
import {
  createBucket,
  deleteBucket,
  listBuckets,
  getBucket,
  updateBucketSettings,
} from './buckets.ts';
import { recordBirth, startSweeping, sweep, type SweepReport } from './garbage.ts';
import { createIdSource } from './keys.ts';
import type { Kv } from './kv.ts';
import { listObjects } from './listing.ts';
import { putLegalHold, putRetention } from './versions/locks.ts';
import { completeUpload } from './multipart/complete.ts';
import { abortUpload, createUpload, getUpload, listParts, putPart } from './multipart/multipart.ts';
import { listUploads } from './multipart/upload-listing.ts';
import { assertKeyUsable } from './encryption/object-encryption.ts';
import {
  deleteObject,
  openObject,
  putAcl,
  putObject,
  putTagging,
  replaceAttributes,
} from './objects.ts';
import { guarded, type StoreContext, type StoreSettings } from './store-context.ts';
import type { ObjectStore } from './types.ts';
import { updateEncryption } from './encryption/update-encryption.ts';
import { createTotals, keyUsage } from './usage.ts';
import { listVersions } from './versions/version-listing.ts';

export type ObjectStoreDeps = {
  readonly kv: Kv;
  readonly blobs: BlobStore;
  readonly kms: Kms | undefined;
  readonly log: Log;
  readonly settings: StoreSettings;
  readonly now?: () => number;
};

export type OpenedObjectStore = ObjectStore & {
  /** One pass over garbage that is due and, when told, over orphaned blobs. */
  sweep(options?: { readonly withOrphans?: boolean }): Promise<SweepReport>;
  /** Stops the background sweep. The engines below stay open: they belong to whoever opened them. */
  close(): Promise<void>;
};

/**
 * Where a PUT with its bytes in the commit stops being faster than one with a blob: measured at 1.3 times the
 * blob's rate at 128 KiB and level at 256 KiB, with reads level at 128 KiB (docs/formats/data-directory.md).
 */
const inlineMaxBytesDefault = 128 * 1024;
const garbageGraceMsDefault = 60_000;
const orphanGraceMsDefault = 86_400_000;

export async function openObjectStore(deps: ObjectStoreDeps): Promise<OpenedObjectStore> {
  const { settings } = deps;
  const now = deps.now ?? Date.now;
  const bucketKeyMs = settings.bucketKeyMs ?? bucketKeyAgeMsMax;
  const context: StoreContext = {
    kv: deps.kv,
    blobs: deps.blobs,
    kms: deps.kms,
    bucketKeys: deps.kms && new BucketKeys(deps.kms, { maxAgeMs: bucketKeyMs, now }),
    log: deps.log,
    settings: {
      isAutoEncrypting: settings.isAutoEncrypting,
      blocksSseC: settings.blocksSseC ?? false,
      dsseKeyName: settings.dsseKeyName ?? '',
      bucketKeyMs,
      inlineMaxBytes: settings.inlineMaxBytes ?? inlineMaxBytesDefault,
      garbageGraceMs: settings.garbageGraceMs ?? garbageGraceMsDefault,
      orphanGraceMs: settings.orphanGraceMs ?? orphanGraceMsDefault,
    },
    now,
    createId: createIdSource(now),
    knownBuckets: { byName: new Map(), byInfo: new WeakMap() },
  };
  await guarded(() => recordBirth(context));
  const sweeping =
    settings.sweepIntervalMs === undefined
      ? undefined
      : startSweeping(context, settings.sweepIntervalMs);
  const totals = createTotals(context);
  return {
    createBucket: (input) => guarded(() => createBucket(context, input)),
    getBucket: (name) => guarded(() => getBucket(context, name)),
    listBuckets: (query) => guarded(() => listBuckets(context, query)),
    deleteBucket: (name) => guarded(() => deleteBucket(context, name)),
    updateBucketSettings: (name, change) =>
      guarded(() => updateBucketSettings(context, name, change)),
    putObject: (input) => guarded(() => putObject(context, input)),
    openObject: (target) => guarded(() => openObject(context, target)),
    deleteObject: (input) => guarded(() => deleteObject(context, input)),
    listObjects: (query) => guarded(() => listObjects(context, query)),
    listVersions: (query) => guarded(() => listVersions(context, query)),
    putRetention: (ref, retention, options) =>
      guarded(() => putRetention(context, ref, retention, options)),
    putLegalHold: (ref, isHeld) => guarded(() => putLegalHold(context, ref, isHeld)),
    putTagging: (ref, tagging) => guarded(() => putTagging(context, ref, tagging)),
    replaceAttributes: (input) => guarded(() => replaceAttributes(context, input)),
    putAcl: (ref, acl) => guarded(() => putAcl(context, ref, acl)),
    updateEncryption: (input) => guarded(() => updateEncryption(context, input)),
    createUpload: (input) => guarded(() => createUpload(context, input)),
    getUpload: (ref) => guarded(() => getUpload(context, ref)),
    putPart: (input) => guarded(() => putPart(context, input)),
    listParts: (query) => guarded(() => listParts(context, query)),
    listUploads: (query) => guarded(() => listUploads(context, query)),
    completeUpload: (input) => guarded(() => completeUpload(context, input)),
    abortUpload: (ref, byRules) => guarded(() => abortUpload(context, ref, byRules)),
    keyUsage: (masterKeyName) => guarded(() => keyUsage(context, masterKeyName)),
    totals: () => guarded(totals),
    assertKeyUsable: (masterKeyName) => guarded(() => assertKeyUsable(context, masterKeyName)),
    hasKms: deps.kms !== undefined,
    get defaultKeyName() {
      return deps.kms?.defaultKeyName ?? '';
    },
    sweep: (options) => guarded(() => sweep(context, options)),
    close: async () => {
      await sweeping?.stop();
      await context.bucketKeys?.close();
    },
  };
}
