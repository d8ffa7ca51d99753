// Writing, finding, changing and deleting versions. With versioning enabled a write moves the head to the past and
// takes its place; suspended, it is the version `null` and replaces the one before, wherever that is. Deleting
// the head for good brings the next newest version back, in the same commit. Which of these happens is
// decided by the bucket as it is at the commit, however long ago the request began.

import type { LoadedBucket } from '../buckets.ts';
import {
  assertConditions,
  assertDeleteConditions,
  hasDeleteConditions,
  isDeleteMarker,
  noSuchKey,
  noSuchVersion,
} from '../conditions.ts';
import {
  assertStillPlain,
  type Commit,
  exchange,
  loadCurrent,
  type ObjectPlace,
} from '../current.ts';
import { assertCurrentDue, checksOfDue } from '../lifecycle/due.ts';
import { markerEntry, versionsRange } from '../keys.ts';
import { assertDeletable, assertLockable, lockOfNew } from './lock-rules.ts';
import type { KvCheck, KvPut } from '../kv.ts';
import {
  again,
  changeName,
  type FoundVersion,
  findHead,
  findVersion,
  headOf,
  loadName,
  type NameNow,
  orderOf,
  pastEntry,
  setHead,
  versioningOf,
} from './names.ts';
import { decodeObject, encodeObject, type ObjectRecord } from '../records.ts';
import type { StoreContext } from '../store-context.ts';
import {
  type DeleteObjectInput,
  type DeleteOutcome,
  type MarkerMet,
  StoreError,
  type WriteConditions,
} from '../types.ts';
import { createVersionId, nextOrder, nullVersionId } from './version-ids.ts';

const readAttemptsMax = 200;

/** A version to write, and what else belongs into the same commit. */
export type Change = {
  /** Its version id is settled in the commit. */
  readonly record: ObjectRecord;
  /** Given the record as it will be. */
  readonly puts?: readonly KvPut[] | ((record: ObjectRecord) => readonly KvPut[]);
  readonly deletes?: readonly Uint8Array[];
  readonly checks?: readonly KvCheck[];
};

/**
 * Makes a new current version. `plan` is asked again after every lost race, with what is current then; undefined
 * means that nothing is to be done. Returns what was written. Throws `NoSuchBucket` when the bucket went
 * meanwhile, `NoSuchKey` or `PreconditionFailed` by the conditions, and whatever `plan` throws.
 */
export async function commitCurrent(
  context: StoreContext,
  place: ObjectPlace,
  plan: (current: ObjectRecord | undefined) => Change | undefined | Promise<Change | undefined>,
  conditions?: WriteConditions,
): Promise<ObjectRecord | undefined> {
  let written: ObjectRecord | undefined;
  await changeName(context, place, async (now) => {
    written = undefined;
    assertConditions(place.key, now.current, conditions);
    const change = await plan(now.current);
    if (!change) return undefined;
    assertLockable(now.bucket.record.settings, change.record.lock, 0);
    if (!change.record.envelope) assertStillPlain(place.bucket, now.bucket, place.key);
    const planned = await planWrite(context, place, now, change.record);
    if (planned === again) return again;
    const { record, commit } = planned;
    const { puts = [], deletes = [], checks = [] } = change;
    commit.puts.push(...(typeof puts === 'function' ? puts(record) : puts));
    commit.deletes.push(...deletes);
    commit.checks.push(...checks);
    written = record;
    return commit;
  });
  return written;
}

type Planned = { readonly record: ObjectRecord; readonly commit: Commit };

async function planWrite(
  context: StoreContext,
  place: ObjectPlace,
  now: NameNow,
  draft: ObjectRecord,
): Promise<Planned | typeof again> {
  const versioning = versioningOf(now.bucket);
  const commit: Commit = { puts: [], deletes: [], checks: [] };
  if (versioning === undefined) {
    assertReplaceable(context, now.current);
    setHead(place, now, draft, commit);
    exchange(context, place, { before: now.current, after: draft }, commit);
    return { record: draft, commit };
  }
  const head = headOf(now);
  const order = nextOrder(context.now(), head && orderOf(head));
  const isNull = versioning === 'Suspended';
  const replaced = isNull ? await findVersion(context, place, now, nullVersionId) : undefined;
  if (replaced === again) return again;
  assertReplaceable(context, replaced?.record);
  const isHeadReplaced = replaced !== undefined && replaced.check === undefined;
  if (head && !isHeadReplaced) moveToPast(place, head, commit);
  if (replaced?.check) takeAway(replaced.check, commit);
  const { settings } = now.bucket.record;
  const isMarker = draft.version?.isMarker === true;
  const lock = isMarker ? undefined : lockOfNew(settings, draft.lock, Math.ceil(order / 1000));
  const record: ObjectRecord = {
    ...draft,
    ...(lock === undefined ? {} : { lock }),
    versionId: isNull ? nullVersionId : createVersionId(order),
    version: { ...draft.version, order, ...(isNull ? {} : nullOrderBelow(head)) },
  };
  setHead(place, now, record, commit);
  exchange(context, place, { before: replaced?.record, after: record }, commit);
  return { record, commit };
}

/**
 * Where there is object lock, versioning is enabled and stays so, and nothing is replaced. Should it be otherwise,
 * nothing protected goes.
 */
function assertReplaceable(context: StoreContext, replaced: ObjectRecord | undefined): void {
  if (replaced?.lock === undefined) return;
  assertDeletable(replaced, { nowMs: context.now(), bypassesGovernance: false });
}

function moveToPast(place: ObjectPlace, head: ObjectRecord, commit: Commit): void {
  const { nullOrder: _, ...version } = head.version ?? { order: 0 };
  const value = encodeObject({ ...head, version });
  commit.puts.push({ entryKey: pastEntry(place, head), value });
}

function takeAway(check: KvCheck, commit: Commit): void {
  commit.checks.push(check);
  commit.deletes.push(check.entryKey);
}

/** Where the version `null` is once `head` is not the newest any more. */
function nullOrderBelow(head: ObjectRecord | undefined): { readonly nullOrder?: number } {
  if (head?.versionId === nullVersionId) return { nullOrder: orderOf(head) };
  const nullOrder = head?.version?.nullOrder;
  return nullOrder === undefined ? {} : { nullOrder };
}

/** Deletes an object or one of its versions: see `DeleteObjectInput`. */
export async function deleteVersioned(
  context: StoreContext,
  place: ObjectPlace,
  input: DeleteObjectInput,
): Promise<DeleteOutcome> {
  let outcome: DeleteOutcome = { isMarker: false };
  await changeName(context, place, async (now) => {
    outcome = { isMarker: false };
    const { byRules } = input;
    if (byRules && input.versionId === undefined) assertCurrentDue(context, place, now, byRules);
    if (versioningOf(now.bucket) === undefined) return planRemoval(context, place, now, input);
    const { versionId } = input;
    if (versionId === undefined) {
      // A condition on what is not there is no reason to hide it once more.
      if (!now.current && hasDeleteConditions(input)) return undefined;
      if (now.current) assertDeleteConditions(now.current, input);
      const planned = await planWrite(context, place, now, markerDraft(context, input));
      if (planned === again) return again;
      outcome = { versionId: planned.record.versionId, isMarker: true };
      return planned.commit;
    }
    const found = await findVersion(context, place, now, versionId);
    if (found === again) return again;
    outcome = { versionId, isMarker: found?.record.version?.isMarker === true };
    const checks = byRules && (await checksOfDue(context, place, now, { found, ...byRules }));
    if (!found) return undefined;
    const bypassesGovernance = input.bypassesGovernance === true;
    assertDeletable(found.record, { nowMs: context.now(), bypassesGovernance });
    assertDeleteConditions(found.record, input);
    const commit = await planVersionRemoval(context, place, now, found);
    commit.checks.push(...(checks ?? []));
    return commit;
  });
  return outcome;
}

/** Where there never was versioning: the object goes. */
async function planRemoval(
  context: StoreContext,
  place: ObjectPlace,
  now: NameNow,
  input: DeleteObjectInput,
): Promise<Commit | undefined> {
  const { current } = now;
  if (!current || (input.versionId !== undefined && input.versionId !== nullVersionId)) {
    return undefined;
  }
  assertReplaceable(context, current);
  assertDeleteConditions(current, input);
  const commit: Commit = { puts: [], deletes: [], checks: [] };
  setHead(place, now, undefined, commit);
  exchange(context, place, { before: current, after: undefined }, commit);
  return commit;
}

async function planVersionRemoval(
  context: StoreContext,
  place: ObjectPlace,
  now: NameNow,
  found: FoundVersion,
): Promise<Commit> {
  const commit: Commit = { puts: [], deletes: [], checks: [] };
  const { record, check } = found;
  exchange(context, place, { before: record, after: undefined }, commit);
  const head = headOf(now);
  if (check) {
    takeAway(check, commit);
    if (record.versionId === nullVersionId && head?.version) {
      const { nullOrder: _, ...version } = head.version;
      setHead(place, now, { ...head, version }, commit);
    }
    return commit;
  }
  const range = versionsRange(place.bucket.record.id, place.name);
  const [next] = await context.kv.list({ ...range, limit: 1 });
  if (!next) {
    setHead(place, now, undefined, commit);
    return commit;
  }
  takeAway({ entryKey: next.entryKey, version: next.version }, commit);
  const promoted = decodeObject(next.value);
  const nullOrder = promoted.versionId === nullVersionId ? {} : nullOrderBelow(head);
  const version = { order: orderOf(promoted), ...promoted.version, ...nullOrder };
  setHead(place, now, { ...promoted, version }, commit);
  return commit;
}

function markerDraft(context: StoreContext, input: DeleteObjectInput): ObjectRecord {
  return {
    versionId: nullVersionId,
    etag: '',
    sizeBytes: 0,
    modifiedMs: Math.floor(context.now() / 1000) * 1000,
    attributes: { headers: {}, userMetadata: {}, tagging: '', storageClass: 'STANDARD' },
    owner: input.owner ?? '',
    version: { order: 0, isMarker: true },
  };
}

/**
 * Changes one version where it is: its id and its place among the others stay, the bytes it no longer names are
 * dropped. `change` is asked again after every lost race. Returns what was written. Throws `NoSuchKey`,
 * `NoSuchVersion`, `DeleteMarker`, and whatever `change` throws.
 */
export async function updateVersion(
  context: StoreContext,
  place: ObjectPlace,
  versionId: string | undefined,
  change: (record: ObjectRecord, bucket: LoadedBucket) => Change,
): Promise<ObjectRecord> {
  let written: ObjectRecord | undefined;
  await changeName(context, place, async (now) => {
    const found = await findForUse(context, place, now, versionId);
    if (found === again) return again;
    const { record, puts = [], deletes = [], checks = [] } = change(found.record, now.bucket);
    const extraPuts = typeof puts === 'function' ? puts(record) : puts;
    const commit: Commit = { puts: [...extraPuts], deletes: [...deletes], checks: [...checks] };
    if (found.check) {
      commit.checks.push(found.check);
      commit.puts.push({ entryKey: found.check.entryKey, value: encodeObject(record) });
    } else {
      setHead(place, now, record, commit);
    }
    exchange(context, place, { before: found.record, after: record }, commit);
    written = record;
    return commit;
  });
  if (!written) throw new Error('a commit was made without a record');
  return written;
}

/** The record that a reader gets. Throws `NoSuchKey`, `NoSuchVersion`, `DeleteMarker`. */
export async function loadVersion(
  context: StoreContext,
  place: ObjectPlace,
  versionId: string | undefined,
): Promise<ObjectRecord> {
  const { bucket, key } = place;
  const isVersioned = versioningOf(bucket) !== undefined;
  if (!isVersioned && versionId !== undefined && versionId !== nullVersionId) {
    throw noSuchVersion(key, versionId);
  }
  if (versionId === undefined || !isVersioned) {
    const { record } = await loadCurrent(context, place);
    if (record) return record;
    throw noSuchKey(key, isVersioned ? await loadMarker(context, place) : undefined);
  }
  for (let attempt = 0; attempt < readAttemptsMax; attempt += 1) {
    const now = await loadName(context, place, bucket);
    const found = await findForUse(context, place, now, versionId);
    if (found !== again) return found.record;
  }
  throw new StoreError('ObjectCorrupt', 'The parts of the object are missing.');
}

async function findForUse(
  context: StoreContext,
  place: ObjectPlace,
  now: NameNow,
  versionId: string | undefined,
): Promise<FoundVersion | typeof again> {
  const { key } = place;
  if (versionId === undefined || versioningOf(now.bucket) === undefined) {
    if (versionId !== undefined && versionId !== nullVersionId) throw noSuchVersion(key, versionId);
    if (now.current) return findHead(context, now.current);
    throw noSuchKey(key, now.marker && toMarkerMet(now.marker));
  }
  const found = await findVersion(context, place, now, versionId);
  if (found === again) return again;
  if (!found) throw noSuchVersion(key, versionId);
  if (found.record.version?.isMarker) throw isDeleteMarker(key, toMarkerMet(found.record));
  return found;
}

async function loadMarker(
  context: StoreContext,
  place: ObjectPlace,
): Promise<MarkerMet | undefined> {
  const entry = await context.kv.get(markerEntry(place.bucket.record.id, place.name));
  return entry && toMarkerMet(decodeObject(entry.value));
}

function toMarkerMet(record: ObjectRecord): MarkerMet {
  return { versionId: record.versionId, modifiedMs: record.modifiedMs };
}
