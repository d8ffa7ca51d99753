// What one commit of an object is made of: the current version as it was read, and what goes with a record that
// comes or goes: inline bytes, blob marks, lists of parts, index entries, and work for the sweep.

import type { LoadedBucket } from './buckets.ts';
import { defaultOf } from './encryption/encryption-default.ts';
import { masterKeysOf } from './encryption/envelopes.ts';
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
  encodeSize,
  type ObjectRecord,
  type PartRecord,
  type StoredBytes,
} from './records.ts';
import type { StoreContext } from './store-context.ts';
import { StoreError } from './types.ts';

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

/** The writes, deletions and checks that one commit gathers. */
export type Commit = {
  readonly puts: KvPut[];
  readonly deletes: Uint8Array[];
  readonly checks: KvCheck[];
};

/**
 * Adds to a commit what follows when one record takes another's place, or none does: index entries, the list of
 * parts, stored bytes. Where the records themselves are is the caller's.
 */
export function exchange(
  context: StoreContext,
  place: ObjectPlace,
  records: { readonly before: ObjectRecord | undefined; readonly after: ObjectRecord | undefined },
  commit: Commit,
): void {
  const { before, after } = records;
  describeIndex(place, before, after, commit);
  if (!before) return;
  const { partsId } = before;
  if (partsId !== undefined && partsId !== after?.partsId) commit.deletes.push(partsEntry(partsId));
  const kept = new Set(placesOf(after).map((id) => id.id));
  const dropped = storedOf(before).filter(
    ({ place: at }) => at.kind !== 'none' && !kept.has(at.id),
  );
  const { garbageGraceMs } = context.settings;
  const graceMs = before.parts ? Math.max(garbageGraceMs, partsGraceMs) : garbageGraceMs;
  dropStored(context, { stored: dropped, graceMs }, commit);
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
