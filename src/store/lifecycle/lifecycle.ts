// Lifecycle rules: which objects, versions and uploads a bucket's configuration lets go, and when. Pure functions of
// a rule, what is known of an object, and a time; whoever removes decides again within the commit. Times are
// rounded up to the next midnight UTC, as S3 does: an object of 1 day lives at least one whole day.

import type { LifecycleFilter, LifecycleRule, ObjectAttributes, Tag } from '../types.ts';

/** The day of lifecycle rules, in milliseconds. Tests have shorter ones. */
export const lifecycleDayMs = 86_400_000;

/** A time, and how long a day is. */
export type LifecycleTime = { readonly nowMs: number; readonly dayMs: number };

/** What a filter looks at. */
export type LifecycleSubject = {
  readonly key: string;
  readonly sizeBytes: number;
  /** Read only when a rule asks for tags. */
  tags(): readonly Tag[];
};

/** What filters see of an object or a version. */
export function subjectOf(
  key: string,
  of: { readonly sizeBytes: number; readonly attributes: ObjectAttributes },
): LifecycleSubject {
  const { tagging } = of.attributes;
  return {
    key,
    sizeBytes: of.sizeBytes,
    // Checked when it was stored.
    tags: () => [...new URLSearchParams(tagging)].map(([name, value]) => ({ key: name, value })),
  };
}

/** When the current version expires, and by which rule. */
export type ObjectExpiration = { readonly dateMs: number; readonly ruleId: string };

/** Of a version that is no longer current. */
export type NoncurrentLimits = {
  /** It goes when it became noncurrent at this time or before. */
  readonly dueBeforeMs: number;
  /** So many of the newest noncurrent versions stay whatever their age. */
  readonly newerVersions: number;
};

/**
 * The earliest time at which a rule expires the current version of an object. Undefined when none does. A date
 * in a rule counts for all objects, also for those that are made after it.
 */
export function findExpiration(
  rules: readonly LifecycleRule[],
  subject: LifecycleSubject,
  times: { readonly modifiedMs: number; readonly dayMs: number },
): ObjectExpiration | undefined {
  let earliest: ObjectExpiration | undefined;
  for (const rule of rules) {
    if (!rule.isEnabled || rule.expiration === undefined) continue;
    const dateMs = expirationDate(rule.expiration, times);
    if (dateMs === undefined || (earliest !== undefined && earliest.dateMs <= dateMs)) continue;
    if (isMatch(rule.filter, subject)) earliest = { dateMs, ruleId: rule.id };
  }
  return earliest;
}

/** The limits that rules set to noncurrent versions of a name; a version goes when it exceeds any of them. */
export function noncurrentLimits(
  rules: readonly LifecycleRule[],
  subject: LifecycleSubject,
  { nowMs, dayMs }: LifecycleTime,
): readonly NoncurrentLimits[] {
  const limits: NoncurrentLimits[] = [];
  for (const { isEnabled, noncurrent, filter } of rules) {
    if (!isEnabled || noncurrent === undefined || !isMatch(filter, subject)) continue;
    limits.push({
      dueBeforeMs:
        noncurrent.days === 0 ? nowMs : Math.floor(nowMs / dayMs) * dayMs - noncurrent.days * dayMs,
      newerVersions: noncurrent.newerVersions ?? 0,
    });
  }
  return limits;
}

/** Whether the limits let a version go that has been noncurrent since a time, and has so many newer ones. */
export function isBeyond(
  limits: readonly NoncurrentLimits[],
  version: { readonly noncurrentSinceMs: number; readonly newerVersions: number },
): boolean {
  return limits.some(
    ({ dueBeforeMs, newerVersions }) =>
      version.noncurrentSinceMs <= dueBeforeMs && version.newerVersions >= newerVersions,
  );
}

/**
 * Whether a delete marker that hides nothing any more goes. By `ExpiredObjectDeleteMarker` at once, by the days of
 * an expiration when it has reached that age.
 */
export function isLoneMarkerExpired(
  rules: readonly LifecycleRule[],
  subject: LifecycleSubject,
  times: LifecycleTime & { readonly modifiedMs: number },
): boolean {
  return rules.some(({ isEnabled, expiration, filter }) => {
    if (!isEnabled || expiration === undefined || !isMatch(filter, subject)) return false;
    if (expiration.kind === 'lone-marker') return true;
    const dateMs = expirationDate(expiration, times);
    return dateMs !== undefined && dateMs <= times.nowMs;
  });
}

/** Whether an upload that was not completed goes. Only the prefix of a filter applies to uploads. */
export function isUploadExpired(
  rules: readonly LifecycleRule[],
  upload: { readonly key: string; readonly initiatedMs: number },
  { nowMs, dayMs }: LifecycleTime,
): boolean {
  return rules.some(({ isEnabled, abortUploadDays, filter }) => {
    if (!isEnabled || abortUploadDays === undefined) return false;
    return (
      upload.key.startsWith(filter.prefix) &&
      nextMidnight(upload.initiatedMs, abortUploadDays, dayMs) <= nowMs
    );
  });
}

function expirationDate(
  expiration: NonNullable<LifecycleRule['expiration']>,
  { modifiedMs, dayMs }: { readonly modifiedMs: number; readonly dayMs: number },
): number | undefined {
  switch (expiration.kind) {
    case 'days':
      return nextMidnight(modifiedMs, expiration.days, dayMs);
    case 'date':
      return expiration.dateMs;
    case 'lone-marker':
      return undefined;
  }
}

function nextMidnight(fromMs: number, days: number, dayMs: number): number {
  return Math.ceil((fromMs + days * dayMs) / dayMs) * dayMs;
}

function isMatch(filter: LifecycleFilter, subject: LifecycleSubject): boolean {
  const { sizeGreaterThan, sizeLessThan } = filter;
  if (!subject.key.startsWith(filter.prefix)) return false;
  if (sizeGreaterThan !== undefined && !(subject.sizeBytes > sizeGreaterThan)) return false;
  if (sizeLessThan !== undefined && !(subject.sizeBytes < sizeLessThan)) return false;
  if (filter.tags.length === 0) return true;
  const tags = subject.tags();
  return filter.tags.every(({ key, value }) =>
    tags.some((tag) => tag.key === key && tag.value === value),
  );
}
