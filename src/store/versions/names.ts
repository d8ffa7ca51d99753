// All versions of one name as one thing. Its newest version, the head, is in `current` (an object) or in `marker`
// (a delete marker), the others are in `version`. Every change of a name is a commit checked against its bucket
// and both head entries, so all changes of one name follow one another, by compare-and-swap. In a bucket that
// never had versioning there is only `current`, and only that is read and checked.

import { setTimeout as delay } from 'node:timers/promises';
import { type LoadedBucket, loadBucketForWrite } from '../buckets.ts';
import { type Commit, loadCurrent, type ObjectPlace } from '../current.ts';
import { currentEntry, markerEntry, partsEntry, versionEntry } from '../keys.ts';
import type { KvCheck, KvEntry } from '../kv.ts';
import { decodeObject, decodeParts, encodeObject, type ObjectRecord } from '../records.ts';
import type { StoreContext } from '../store-context.ts';
import { StoreError, type Versioning } from '../types.ts';
import { isVersionId, nullVersionId, versionTail } from './version-ids.ts';

const attemptsMax = 200;

/** A name as it was read. */
export type NameNow = {
  readonly bucket: LoadedBucket;
  /** With its parts where there never was versioning; else they are read when they are needed. */
  readonly current: ObjectRecord | undefined;
  readonly marker: ObjectRecord | undefined;
  /** Make a commit depend on both. */
  readonly checks: readonly KvCheck[];
};

/** One version of a name, with its parts. `check` unless it is the head. */
export type FoundVersion = { readonly record: ObjectRecord; readonly check: KvCheck | undefined };

export function versioningOf(bucket: LoadedBucket): Versioning | undefined {
  return bucket.record.settings.versioning;
}

/** The newest version, be it an object or a marker. */
export function headOf(now: NameNow): ObjectRecord | undefined {
  return now.current ?? now.marker;
}

export async function loadName(
  context: StoreContext,
  place: ObjectPlace,
  bucket: LoadedBucket,
): Promise<NameNow> {
  if (versioningOf(bucket) === undefined) {
    const { record, check } = await loadCurrent(context, place);
    return { bucket, current: record, marker: undefined, checks: [check] };
  }
  const [current, marker] = await readHeads(context, place);
  return {
    bucket,
    current: current && decodeObject(current.value),
    marker: marker && decodeObject(marker.value),
    checks: headChecks(place, current, marker),
  };
}

/** Asks again: what was read has changed meanwhile. */
export const again = Symbol('again');

/**
 * Changes a name in one commit. `plan` is asked again after every lost race, with what is there then; undefined
 * means that nothing is to be done. Throws `NoSuchBucket` when the bucket went meanwhile, and whatever `plan`
 * throws.
 */
export async function changeName(
  context: StoreContext,
  place: ObjectPlace,
  plan: (now: NameNow) => Promise<Commit | undefined | typeof again>,
): Promise<void> {
  let { bucket } = place;
  for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
    if (attempt > 0) {
      await delay(Math.random() * Math.min(attempt, 10));
      bucket = await reloadBucket(context, bucket);
    }
    const now = await loadName(context, place, bucket);
    const commit = await plan(now);
    if (!commit) return;
    if (commit === again) continue;
    const checks = [bucket.check, ...now.checks, ...commit.checks];
    if ((await context.kv.commit({ ...commit, checks })) === 'committed') return;
  }
  throw new StoreError(
    'ConditionalRequestConflict',
    'The object is being written by too many requests at the same time. Please try again.',
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

/** The version of this id; `again` when it may have changed its place since `now` was read. */
export async function findVersion(
  context: StoreContext,
  place: ObjectPlace,
  now: NameNow,
  versionId: string,
): Promise<FoundVersion | undefined | typeof again> {
  const head = headOf(now);
  if (head?.versionId === versionId) return findHead(context, head);
  const tail = tailOf(versionId, head);
  if (!tail) return undefined;
  const entryKey = versionEntry(place.bucket.record.id, place.name, tail);
  const entry = await context.kv.get(entryKey);
  const found = entry && decodeObject(entry.value);
  if (!entry || found?.versionId !== versionId) {
    return (await isUnchanged(context, place, now)) ? undefined : again;
  }
  const record = await withParts(context, found);
  return record ? { record, check: { entryKey, version: entry.version } } : again;
}

/** The head with its parts; `again` when they went away since it was read. */
export async function findHead(
  context: StoreContext,
  head: ObjectRecord,
): Promise<FoundVersion | typeof again> {
  const record = head.parts ? head : await withParts(context, head);
  return record ? { record, check: undefined } : again;
}

/** Where a version that is not the head would be; undefined when there can be none of this id. */
function tailOf(versionId: string, head: ObjectRecord | undefined): Buffer | undefined {
  if (versionId === nullVersionId) {
    const order = head?.version?.nullOrder;
    return order === undefined ? undefined : versionTail(versionId, order);
  }
  return isVersionId(versionId) ? versionTail(versionId, 0) : undefined;
}

/** Puts the head where it belongs: `head` is the newest version from now on, or there is none left. */
export function setHead(
  place: ObjectPlace,
  now: NameNow,
  head: ObjectRecord | undefined,
  commit: Commit,
): void {
  const { id } = place.bucket.record;
  const inCurrent = currentEntry(id, place.name);
  const inMarker = markerEntry(id, place.name);
  const isMarker = head?.version?.isMarker === true;
  if (head) {
    commit.puts.push({ entryKey: isMarker ? inMarker : inCurrent, value: encodeObject(head) });
  }
  if (now.current && (!head || isMarker)) commit.deletes.push(inCurrent);
  if (now.marker && (!head || !isMarker)) commit.deletes.push(inMarker);
}

/** Where a version is kept that is not the head. */
export function pastEntry(place: ObjectPlace, record: ObjectRecord): Buffer {
  const tail = versionTail(record.versionId, orderOf(record));
  return versionEntry(place.bucket.record.id, place.name, tail);
}

/** What was written before its bucket had versioning is older than anything after. */
export function orderOf(record: ObjectRecord): number {
  return record.version?.order ?? 0;
}

/** The record with its parts; undefined when they went away since it was read. */
async function withParts(
  context: StoreContext,
  record: ObjectRecord,
): Promise<ObjectRecord | undefined> {
  if (record.partsId === undefined) return record;
  const parts = await context.kv.get(partsEntry(record.partsId));
  return parts && { ...record, parts: decodeParts(parts.value) };
}

async function isUnchanged(
  context: StoreContext,
  place: ObjectPlace,
  now: NameNow,
): Promise<boolean> {
  const [current, marker] = await readHeads(context, place);
  const checks = headChecks(place, current, marker);
  return checks.every((check, index) => check.version === now.checks[index]?.version);
}

function readHeads(context: StoreContext, place: ObjectPlace): Promise<(KvEntry | undefined)[]> {
  const { id } = place.bucket.record;
  return context.kv.getMany([currentEntry(id, place.name), markerEntry(id, place.name)]);
}

function headChecks(
  place: ObjectPlace,
  current: KvEntry | undefined,
  marker: KvEntry | undefined,
): KvCheck[] {
  const { id } = place.bucket.record;
  return [
    { entryKey: currentEntry(id, place.name), version: current?.version ?? 'absent' },
    { entryKey: markerEntry(id, place.name), version: marker?.version ?? 'absent' },
  ];
}
