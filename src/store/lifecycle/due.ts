// Deletions by lifecycle rules, decided within the commit: by the rules as the bucket has them then, on the very
// record that goes, and on its neighbours. So nothing goes because of what was read before: not an object that was
// just written or tagged anew, not a version that became the newest, and nothing once the rules are gone.

import type { LoadedBucket } from '../buckets.ts';
import { preconditionFailed } from '../conditions.ts';
import type { ObjectPlace } from '../current.ts';
import { versionsRange } from '../keys.ts';
import type { KvCheck, KvEntry } from '../kv.ts';
import {
  findExpiration,
  isBeyond,
  isLoneMarkerExpired,
  isUploadExpired,
  noncurrentLimits,
  subjectOf,
} from './lifecycle.ts';
import { type FoundVersion, headOf, type NameNow } from '../versions/names.ts';
import { decodeObject, type ObjectRecord, type UploadRecord } from '../records.ts';
import type { StoreContext } from '../store-context.ts';
import type { ByRules, LifecycleRule } from '../types.ts';

const listEntriesMax = 10_000;

/** Throws `PreconditionFailed` unless the current version has expired. */
export function assertCurrentDue(
  context: StoreContext,
  place: ObjectPlace,
  now: NameNow,
  { dayMs }: ByRules,
): void {
  const { current } = now;
  if (!current) throw notDue();
  const { modifiedMs } = current;
  const subject = subjectOf(place.key, current);
  const expiration = findExpiration(rulesOf(now.bucket), subject, { modifiedMs, dayMs });
  if (!expiration || expiration.dateMs > context.now()) throw notDue();
}

/**
 * What the removal of a version that is due depends on besides the version itself and the head of its name.
 * Throws `PreconditionFailed` unless it is an older version beyond the limits, or a marker alone under its name.
 */
export async function checksOfDue(
  context: StoreContext,
  place: ObjectPlace,
  now: NameNow,
  { found, dayMs }: ByRules & { readonly found: FoundVersion | undefined },
): Promise<readonly KvCheck[]> {
  if (!found) throw notDue();
  const { record, check } = found;
  const time = { nowMs: context.now(), dayMs };
  const rules = rulesOf(now.bucket);
  const subject = subjectOf(place.key, record);
  if (!check) {
    const { modifiedMs } = record;
    const isDue =
      record.version?.isMarker === true &&
      isLoneMarkerExpired(rules, subject, { ...time, modifiedMs }) &&
      (await isAlone(context, place));
    if (!isDue) throw notDue();
    return [];
  }
  const limits = noncurrentLimits(rules, subject, time);
  const asked = Math.max(1, ...limits.map(({ newerVersions }) => newerVersions));
  const newer = await listNewer(context, place, check.entryKey, asked);
  const [next] = newer;
  const successor: ObjectRecord | undefined = next ? decodeObject(next.value) : headOf(now);
  if (!successor) throw notDue();
  const version = { noncurrentSinceMs: successor.modifiedMs, newerVersions: newer.length };
  if (!isBeyond(limits, version)) throw notDue();
  return newer.map(({ entryKey, version: state }) => ({ entryKey, version: state }));
}

/** Throws `PreconditionFailed` unless the upload has had its time. */
export function assertUploadDue(
  context: StoreContext,
  upload: { readonly bucket: LoadedBucket; readonly key: string; readonly record: UploadRecord },
  { dayMs }: ByRules,
): void {
  const { bucket, key, record } = upload;
  const { initiatedMs } = record;
  const time = { nowMs: context.now(), dayMs };
  if (!isUploadExpired(rulesOf(bucket), { key, initiatedMs }, time)) throw notDue();
}

async function isAlone(context: StoreContext, place: ObjectPlace): Promise<boolean> {
  const range = versionsRange(place.bucket.record.id, place.name);
  return (await context.kv.list({ ...range, limit: 1 })).length === 0;
}

/** Up to so many of the older versions of the name that are newer than this one, the nearest first. */
async function listNewer(
  context: StoreContext,
  place: ObjectPlace,
  entryKey: Uint8Array,
  count: number,
): Promise<KvEntry[]> {
  const { start } = versionsRange(place.bucket.record.id, place.name);
  const found: KvEntry[] = [];
  let end = entryKey;
  while (found.length < count) {
    const limit = Math.min(count - found.length, listEntriesMax);
    const page = await context.kv.list({ start, end, limit, isReverse: true });
    found.push(...page);
    const last = page.at(-1);
    if (!last || page.length < limit) break;
    end = last.entryKey;
  }
  return found;
}

function rulesOf(bucket: LoadedBucket): readonly LifecycleRule[] {
  return bucket.record.settings.lifecycle ?? [];
}

function notDue(): Error {
  return preconditionFailed('lifecycle');
}
