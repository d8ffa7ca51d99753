// Object lock, as rules without a store: what may be deleted, how a protection may change, what a write gets. They
// are asked within the commit, about the very record that the commit checks. Nothing here takes protection
// away because of a clock that went back: whatever compares two dates compares the stored ones, and periods are
// counted from the order of the version, which never goes back.

import type { ObjectRecord } from '../records.ts';
import {
  type BucketObjectLock,
  type BucketSettings,
  type ObjectLock,
  type Retention,
  StoreError,
} from '../types.ts';

const dayMs = 86_400_000;

/** Throws `InvalidRequest` where versions cannot be locked. */
export function assertHasLock(settings: BucketSettings): void {
  if (settings.objectLock !== undefined) return;
  throw new StoreError('InvalidRequest', 'Bucket is missing Object Lock Configuration');
}

/** Checks the protection that a write asks for. Throws `InvalidRequest`, `InvalidArgument`. */
export function assertLockable(
  settings: BucketSettings,
  lock: ObjectLock | undefined,
  nowMs: number,
): void {
  if (lock === undefined) return;
  assertHasLock(settings);
  assertFuture(lock.retention, nowMs);
}

function assertFuture(retention: Retention | undefined, nowMs: number): void {
  if (retention === undefined || retention.untilMs > nowMs) return;
  throw new StoreError('InvalidArgument', 'The retain until date must be in the future!', {
    details: { ArgumentName: 'x-amz-object-lock-retain-until-date' },
  });
}

/** The protection of a new version: its own, and the bucket's default where it has no retention. */
export function lockOfNew(
  settings: BucketSettings,
  lock: ObjectLock | undefined,
  writtenMs: number,
): ObjectLock | undefined {
  const byDefault = settings.objectLock?.defaultRetention;
  if (byDefault === undefined || lock?.retention !== undefined) return lock;
  return { ...lock, retention: { mode: byDefault.mode, untilMs: endOf(byDefault, writtenMs) } };
}

function endOf(period: NonNullable<BucketObjectLock['defaultRetention']>, fromMs: number): number {
  const { days = 0, years = 0 } = period;
  const end = new Date(fromMs + days * dayMs);
  end.setUTCFullYear(end.getUTCFullYear() + years);
  return end.getTime();
}

/** How a protected version is met. */
export type LockContext = {
  readonly nowMs: number;
  /** The caller may pass over GOVERNANCE, and asks to. */
  readonly bypassesGovernance: boolean;
};

/** Throws `ObjectLocked` for a version that must stay. */
export function assertDeletable(record: ObjectRecord, how: LockContext): void {
  const { lock } = record;
  if (lock === undefined) return;
  const { retention, legalHold } = lock;
  if (legalHold === true) throw locked();
  if (!isInForce(retention, how.nowMs)) return;
  if (retention.mode === 'COMPLIANCE' || !how.bypassesGovernance) throw locked();
}

/**
 * The protection with another retention, or with none. COMPLIANCE is only ever extended; GOVERNANCE is
 * shortened, removed or made COMPLIANCE by those only who may pass over it. Throws `ObjectLocked`,
 * `InvalidArgument`.
 */
export function withRetention(
  lock: ObjectLock | undefined,
  wanted: Retention | undefined,
  how: LockContext,
): ObjectLock {
  const { retention, ...rest } = lock ?? {};
  assertFuture(wanted, how.nowMs);
  if (isInForce(retention, how.nowMs) && !mayReplace(retention, wanted, how)) throw locked();
  return wanted === undefined ? rest : { ...rest, retention: wanted };
}

function mayReplace(before: Retention, after: Retention | undefined, how: LockContext): boolean {
  if (before.mode === 'GOVERNANCE' && how.bypassesGovernance) return true;
  return after !== undefined && after.mode === before.mode && after.untilMs >= before.untilMs;
}

function isInForce(retention: Retention | undefined, nowMs: number): retention is Retention {
  return retention !== undefined && retention.untilMs > nowMs;
}

function locked(): StoreError {
  return new StoreError('ObjectLocked', 'Access Denied because object protected by object lock.');
}
