// Changing what protects one version: its retention, its legal hold. The bytes, the time and the place of the
// version among the others stay.

import { loadBucketForWrite } from '../buckets.ts';
import { encodeName } from '../keys.ts';
import { assertHasLock, type LockContext, withRetention } from './lock-rules.ts';
import { type ObjectRecord, toObjectInfo } from '../records.ts';
import type { StoreContext } from '../store-context.ts';
import type { ObjectInfo, ObjectLock, Retention, VersionRef } from '../types.ts';
import { updateVersion } from './versions.ts';

export async function putRetention(
  context: StoreContext,
  ref: VersionRef,
  retention: Retention | undefined,
  options: Pick<LockContext, 'bypassesGovernance'>,
): Promise<ObjectInfo> {
  return changeLock(context, ref, (lock) =>
    withRetention(lock, retention, { ...options, nowMs: context.now() }),
  );
}

export async function putLegalHold(
  context: StoreContext,
  ref: VersionRef,
  isHeld: boolean,
): Promise<ObjectInfo> {
  return changeLock(context, ref, (lock) => ({ ...lock, legalHold: isHeld }));
}

async function changeLock(
  context: StoreContext,
  ref: VersionRef,
  change: (lock: ObjectLock | undefined) => ObjectLock,
): Promise<ObjectInfo> {
  const name = encodeName(ref.key);
  const bucket = await loadBucketForWrite(context, ref.bucket);
  const place = { bucket, key: ref.key, name };
  const changed = await updateVersion(context, place, ref.versionId, (record, now) => {
    assertHasLock(now.record.settings);
    const { lock, ...rest } = record;
    const wanted: ObjectRecord = { ...rest, lock: change(lock) };
    return { record: wanted };
  });
  return toObjectInfo(ref.bucket, ref.key, changed);
}
