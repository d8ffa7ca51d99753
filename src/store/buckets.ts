// Buckets. A bucket's entry is part of the checks of every commit that writes into it, so nothing can be
// written into a bucket that is gone. Deleting first marks the bucket, which makes every write in flight
// fail its check and wait; then looks for objects; then deletes, or takes the mark back.

import { setTimeout as delay } from 'node:timers/promises';
import {
  afterEntry,
  bucketEntry,
  bucketOfEntry,
  createBucketId,
  garbageEntry,
  rangeOf,
} from './keys.ts';
import type { KvCheck } from './kv.ts';
import {
  type BucketRecord,
  decodeBucket,
  encodeBucket,
  encodeGarbage,
  toBucketInfo,
} from './records.ts';
import type { KnownBucket, StoreContext } from './store-context.ts';
import { type BucketInfo, type BucketSettings, StoreError } from './types.ts';

export type LoadedBucket = {
  readonly name: string;
  readonly record: BucketRecord;
  /** Makes a commit depend on the bucket as it was read. */
  readonly check: KvCheck;
};

/** A mark older than this was left by a process that died; whoever meets it takes it back. */
const deletionMaxMs = 10_000;
const attemptsMax = 50;
const knownBucketsMax = 1000;

/** Throws `NoSuchBucket`. */
export async function loadBucket(context: StoreContext, name: string): Promise<LoadedBucket> {
  return findKnown(context, name);
}

/** Throws `NoSuchBucket`. */
export async function getBucket(context: StoreContext, name: string): Promise<BucketInfo> {
  return (await findKnown(context, name)).info;
}

/** The bucket that `getBucket` gave out for the same request, or a fresh look at it. Throws `NoSuchBucket`. */
export async function loadGivenBucket(
  context: StoreContext,
  target: { readonly bucket: string; readonly given?: BucketInfo | undefined },
): Promise<LoadedBucket> {
  const { bucket, given } = target;
  const loaded = given && context.knownBuckets.byInfo.get(given);
  return loaded?.name === bucket ? loaded : loadBucket(context, bucket);
}

async function findKnown(context: StoreContext, name: string): Promise<KnownBucket> {
  const { byName, byInfo } = context.knownBuckets;
  const entryKey = bucketEntry(name);
  const entry = name === '' ? undefined : await context.kv.get(entryKey);
  if (!entry) throw noSuchBucket(name);
  const known = byName.get(name);
  if (known?.check.version === entry.version) return known;
  const record = decodeBucket(entry.value);
  const check = { entryKey, version: entry.version };
  const found = { name, record, check, info: toBucketInfo(name, record) };
  if (byName.size >= knownBucketsMax) byName.clear();
  byName.set(name, found);
  byInfo.set(found.info, found);
  return found;
}

/**
 * The bucket, once no deletion of it is under way. `given` is what `getBucket` gave out for the same request.
 * Throws `NoSuchBucket`.
 */
export async function loadBucketForWrite(
  context: StoreContext,
  name: string,
  given?: BucketInfo,
): Promise<LoadedBucket> {
  for (let attempt = 0; ; attempt += 1) {
    const bucket = await (attempt === 0
      ? loadGivenBucket(context, { bucket: name, given })
      : loadBucket(context, name));
    const since = bucket.record.deletingSinceMs;
    if (since === undefined) return bucket;
    if (Math.abs(context.now() - since) > deletionMaxMs) await unmark(context, bucket);
    else await delay(20);
  }
}

export async function createBucket(
  context: StoreContext,
  input: {
    readonly name: string;
    readonly owner: string;
    readonly location: string;
    readonly settings?: BucketSettings;
  },
): Promise<BucketInfo> {
  const { name, owner, location } = input;
  const blocked = context.settings.blocksSseC ? { blocksSseC: true } : {};
  const settings = { ...blocked, ...input.settings };
  const createdMs = context.now();
  const record = { id: createBucketId(), createdMs, owner, location, settings };
  const entryKey = bucketEntry(name);
  const outcome = await context.kv.commit({
    checks: [{ entryKey, version: 'absent' }],
    puts: [{ entryKey, value: encodeBucket(record) }],
  });
  if (outcome === 'conflict') {
    throw new StoreError('BucketAlreadyExists', 'The requested bucket name is not available.', {
      details: { BucketName: name },
    });
  }
  return toBucketInfo(name, record);
}

export async function listBuckets(
  context: StoreContext,
  query: { readonly prefix: string; readonly after: string; readonly limit: number },
): Promise<{ buckets: BucketInfo[]; isTruncated: boolean }> {
  const range = rangeOf('bucket', Buffer.from(query.prefix));
  const after = afterEntry(bucketEntry(query.after));
  const start = Buffer.compare(after, range.start) > 0 ? after : range.start;
  const entries = await context.kv.list({ ...range, start, limit: query.limit });
  const buckets = entries.map((entry) =>
    toBucketInfo(bucketOfEntry(entry), decodeBucket(entry.value)),
  );
  const last = entries.at(-1);
  if (!last || entries.length < query.limit) return { buckets, isTruncated: false };
  // Asked for apart, because a page may be as long as the longest list of the `Kv`.
  const next = await context.kv.list({ ...range, start: afterEntry(last.entryKey), limit: 1 });
  return { buckets, isTruncated: next.length > 0 };
}

export async function updateBucketSettings(
  context: StoreContext,
  name: string,
  change: (settings: BucketSettings) => BucketSettings,
): Promise<BucketInfo> {
  for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
    const { record, check } = await loadBucketForWrite(context, name);
    const changed = { ...record, settings: change(record.settings) };
    const puts = [{ entryKey: check.entryKey, value: encodeBucket(changed) }];
    if ((await context.kv.commit({ checks: [check], puts })) === 'committed') {
      return toBucketInfo(name, changed);
    }
  }
  throw new StoreError('StorageUnavailable', 'The bucket is being changed too often. Try again.');
}

/** Throws `NoSuchBucket`, `BucketNotEmpty`. */
export async function deleteBucket(context: StoreContext, name: string): Promise<void> {
  for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
    const bucket = await loadBucketForWrite(context, name);
    if (await holdsObjects(context, bucket.record)) throw notEmpty(name);
    const marked = { ...bucket.record, deletingSinceMs: context.now() };
    const puts = [{ entryKey: bucket.check.entryKey, value: encodeBucket(marked) }];
    if ((await context.kv.commit({ checks: [bucket.check], puts })) === 'conflict') continue;
    const current = await loadBucket(context, name);
    // A writer that took us for dead took the mark back: what it wrote since may not show yet.
    const isOurs = current.record.id.equals(marked.id);
    if (!isOurs || current.record.deletingSinceMs !== marked.deletingSinceMs) continue;
    if (await holdsObjects(context, current.record)) {
      await unmark(context, current);
      throw notEmpty(name);
    }
    // Uploads that are still open go with the bucket; the sweep drops their parts.
    const garbage = encodeGarbage({ kind: 'bucket', bucketId: current.record.id });
    const outcome = await context.kv.commit({
      checks: [current.check],
      puts: [{ entryKey: garbageEntry(context.now()), value: garbage }],
      deletes: [current.check.entryKey],
    });
    if (outcome === 'committed') return;
  }
  throw new StoreError('StorageUnavailable', 'The bucket is being changed too often. Try again.');
}

async function holdsObjects(context: StoreContext, record: BucketRecord): Promise<boolean> {
  for (const table of ['current', 'marker', 'version'] as const) {
    const found = await context.kv.list({ ...rangeOf(table, record.id), limit: 1 });
    if (found.length > 0) return true;
  }
  return false;
}

/** Takes a deletion mark back; when another process was faster, that is as good. */
async function unmark(context: StoreContext, bucket: LoadedBucket): Promise<void> {
  const { deletingSinceMs: _, ...record } = bucket.record;
  const puts = [{ entryKey: bucket.check.entryKey, value: encodeBucket(record) }];
  await context.kv.commit({ checks: [bucket.check], puts });
}

function noSuchBucket(name: string): StoreError {
  return new StoreError('NoSuchBucket', 'The specified bucket does not exist', {
    details: { BucketName: name },
  });
}

function notEmpty(name: string): StoreError {
  return new StoreError('BucketNotEmpty', 'The bucket you tried to delete is not empty', {
    details: { BucketName: name },
  });
}
