// The one commit point of objects: replacing the current version of a name, whatever made the new one.
// A commit writes the record, its inline bytes and its index entries, and takes the replaced version's away,
// all or nothing, checked against the bucket and the version it replaces.

import { setTimeout as delay } from 'node:timers/promises';
import { type LoadedBucket, loadBucketForWrite } from './buckets.ts';
import { assertConditions } from './conditions.ts';
import { defaultOf } from './encryption-default.ts';
import { masterKeysOf } from './envelopes.ts';
import {
  blobEntry,
  currentEntry,
  garbageEntry,
  inlineEntry,
  partsEntry,
  protectsEntry,
} from './keys.ts';
import type { KvCheck, KvPut } from './kv.ts';
import {
  decodeObject,
  decodeParts,
  encodeGarbage,
  encodeMark,
  encodeObject,
  encodeSize,
  type ObjectRecord,
  type PartRecord,
  type StoredBytes,
} from './records.ts';
import type { StoreContext } from './store-context.ts';
import { StoreError, type WriteConditions } from './types.ts';

const attemptsMax = 200;
/** A reader opens part after part: those of a large object may be asked for long after it was replaced. */
const partsGraceMs = 6 * 3_600_000;

/** A name in a bucket. */
export type ObjectPlace = {
  readonly bucket: LoadedBucket;
  readonly key: string;
  /** The bytes of `key`. */
  readonly name: Uint8Array;
};

export type CurrentVersion = { readonly record: ObjectRecord | undefined; readonly check: KvCheck };

/** What to write in place of the current version, and what else belongs into the same commit. */
export type Change = {
  /** Undefined removes the object. */
  readonly record: ObjectRecord | undefined;
  readonly puts?: readonly KvPut[];
  readonly deletes?: readonly Uint8Array[];
  readonly checks?: readonly KvCheck[];
};

/** The current version, and the check that makes a commit depend on it. */
export async function loadCurrent(
  context: StoreContext,
  place: ObjectPlace,
): Promise<CurrentVersion> {
  const entryKey = currentEntry(place.bucket.record.id, place.name);
  for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
    const entry = await context.kv.get(entryKey);
    if (!entry) return { record: undefined, check: { entryKey, version: 'absent' } };
    const check = { entryKey, version: entry.version };
    const record = decodeObject(entry.value);
    if (record.partsId === undefined) return { record, check };
    const parts = await context.kv.get(partsEntry(record.partsId));
    if (parts) return { record: { ...record, parts: decodeParts(parts.value) }, check };
    // Overwritten between the two reads: look again. A record that stays without its parts is damage.
  }
  throw new StoreError('ObjectCorrupt', 'The parts of the object are missing.');
}

/**
 * Replaces the current version. `plan` is asked again after every lost race, with what is there then;
 * undefined means that nothing is to be done. Throws `NoSuchBucket` when the bucket went meanwhile,
 * `NoSuchKey` or `PreconditionFailed` by the conditions, and whatever `plan` throws.
 */
export async function commitCurrent(
  context: StoreContext,
  place: ObjectPlace,
  plan: (current: ObjectRecord | undefined) => Change | undefined | Promise<Change | undefined>,
  conditions?: WriteConditions,
): Promise<void> {
  let { bucket } = place;
  for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
    if (attempt > 0) {
      await delay(Math.random() * Math.min(attempt, 10));
      bucket = await reloadBucket(context, bucket);
    }
    const current = await loadCurrent(context, place);
    assertConditions(place.key, current.record, conditions);
    const change = await plan(current.record);
    if (!change) return;
    if (change.record && !change.record.envelope) assertStillPlain(place.bucket, bucket, place.key);
    const commit = describe(context, place, current, change);
    const checks = [bucket.check, current.check, ...(change.checks ?? [])];
    if ((await context.kv.commit({ ...commit, checks })) === 'committed') return;
  }
  throw new StoreError(
    'ConditionalRequestConflict',
    'The object is being written by too many requests at the same time. Please try again.',
  );
}

/**
 * What was received in clear must not appear after the bucket's default encryption was turned on. Throws
 * `StorageUnavailable`: the client tries again, and then it is encrypted.
 */
export function assertStillPlain(atStart: LoadedBucket, now: LoadedBucket, key: string): void {
  const wasEncrypting = defaultOf(atStart.record.settings, key) !== undefined;
  if (wasEncrypting || defaultOf(now.record.settings, key) === undefined) return;
  throw new StoreError(
    'StorageUnavailable',
    'the encryption of the bucket was turned on while the object was being received',
  );
}

async function reloadBucket(context: StoreContext, bucket: LoadedBucket): Promise<LoadedBucket> {
  const loaded = await loadBucketForWrite(context, bucket.name);
  if (!loaded.record.id.equals(bucket.record.id)) {
    throw new StoreError('NoSuchBucket', 'The specified bucket does not exist', {
      details: { BucketName: bucket.name },
    });
  }
  return loaded;
}

function describe(
  context: StoreContext,
  place: ObjectPlace,
  current: CurrentVersion,
  change: Change,
): { puts: KvPut[]; deletes: Uint8Array[] } {
  const puts = [...(change.puts ?? [])];
  const deletes = [...(change.deletes ?? [])];
  const { record } = change;
  const { entryKey } = current.check;
  if (record) puts.push({ entryKey, value: encodeObject(record) });
  else if (current.record) deletes.push(entryKey);
  describeIndex(place, current.record, record, { puts, deletes });
  const partsId = current.record?.partsId;
  if (partsId !== undefined && partsId !== record?.partsId) deletes.push(partsEntry(partsId));
  if (current.record) {
    const kept = new Set(placesOf(record).map((id) => id.id));
    const dropped = storedOf(current.record).filter(
      ({ place: at }) => at.kind !== 'none' && !kept.has(at.id),
    );
    const { garbageGraceMs } = context.settings;
    const graceMs = current.record.parts ? Math.max(garbageGraceMs, partsGraceMs) : garbageGraceMs;
    dropStored(context, { stored: dropped, graceMs }, { puts, deletes });
  }
  return { puts, deletes };
}

/** The index of master keys follows the record. */
function describeIndex(
  place: ObjectPlace,
  before: ObjectRecord | undefined,
  after: ObjectRecord | undefined,
  commit: { puts: KvPut[]; deletes: Uint8Array[] },
): void {
  const entriesOf = (record: ObjectRecord | undefined): Buffer[] =>
    (record?.envelope ? masterKeysOf(record.envelope) : []).map((keyName) =>
      protectsEntry({
        keyName,
        bucketId: place.bucket.record.id,
        name: place.name,
        versionId: record?.versionId ?? '',
      }),
    );
  const fresh = entriesOf(after);
  for (const entryKey of fresh) {
    commit.puts.push({ entryKey, value: encodeSize(after?.sizeBytes ?? 0) });
  }
  for (const old of entriesOf(before)) {
    if (!fresh.some((entryKey) => entryKey.equals(old))) commit.deletes.push(old);
  }
}

/**
 * Adds to a commit the removal of stored bytes. Inline bytes of a lone object go at once. Blobs, and inline
 * parts, stay for a while, because a reader may be on its way to them; the sweep removes them.
 */
export function dropStored(
  context: StoreContext,
  dropped: { readonly stored: readonly (StoredBytes | PartRecord)[]; readonly graceMs: number },
  commit: { puts: KvPut[]; deletes: Uint8Array[] },
): void {
  const later: Uint8Array[] = [];
  const ids: string[] = [];
  for (const stored of dropped.stored) {
    const { place } = stored;
    if (place.kind === 'blob') {
      // Its entry stays too, so that the sweep does not take the blob for an orphan before its time.
      ids.push(place.id);
    } else if (place.kind === 'inline') {
      // The bytes of a lone object are read together with its record, those of a part later.
      if (!('number' in stored)) commit.deletes.push(inlineEntry(place.id));
      else later.push(inlineEntry(place.id));
    }
  }
  const dueMs = context.now() + dropped.graceMs;
  if (ids.length > 0) {
    const value = encodeGarbage({ kind: 'blobs', ids });
    commit.puts.push({ entryKey: garbageEntry(dueMs), value });
  }
  if (later.length > 0) {
    const value = encodeGarbage({ kind: 'entries', entryKeys: later });
    commit.puts.push({ entryKey: garbageEntry(dueMs), value });
  }
}

/** What the commit of stored bytes depends on: that the sweep did not claim their blob meanwhile. */
export function checksOfStored(stored: StoredBytes): KvCheck[] {
  const { place } = stored;
  return place.kind === 'blob' ? [{ entryKey: blobEntry(place.id), version: 'absent' }] : [];
}

/** Throws `StorageUnavailable` when the sweep claimed the blob: it is gone, and trying again is in vain. */
export async function assertUnclaimed(context: StoreContext, stored: StoredBytes): Promise<void> {
  for (const { entryKey } of checksOfStored(stored)) {
    if (!(await context.kv.get(entryKey))) continue;
    throw new StoreError(
      'StorageUnavailable',
      'The upload took so long that its bytes were cleared away. Please try again.',
    );
  }
}

/** The entries that go with stored bytes into the commit of their record. */
export function putsOfStored(stored: StoredBytes, inlineBytes: Uint8Array | undefined): KvPut[] {
  const { place } = stored;
  if (place.kind === 'inline' && inlineBytes) {
    return [{ entryKey: inlineEntry(place.id), value: inlineBytes }];
  }
  return place.kind === 'blob' ? [{ entryKey: blobEntry(place.id), value: encodeMark() }] : [];
}

/** All stored bytes of an object. */
export function storedOf(record: ObjectRecord): readonly StoredBytes[] {
  return record.parts ?? (record.data ? [record.data] : []);
}

function placesOf(record: ObjectRecord | undefined): { readonly id: string }[] {
  const ids: { readonly id: string }[] = [];
  for (const { place } of record ? storedOf(record) : [])
    if (place.kind !== 'none') ids.push(place);
  return ids;
}
