// The header that tells when lifecycle rules let an object go. It speaks of the current version and of real days,
// however short the days are that a test gives the rules. Where a bucket has no rules it costs nothing.

import { findExpiration, lifecycleDayMs, subjectOf } from '../store/lifecycle/lifecycle.ts';
import type { ObjectInfo } from '../store/types.ts';
import type { ReplyHeaders, S3Call } from './call.ts';

/** Appends `x-amz-expiration` when a rule applies to what was written or read. */
export function addExpiration(headers: ReplyHeaders, call: S3Call, info: ObjectInfo): void {
  const rules = call.bucket?.settings.lifecycle;
  if (rules === undefined) return;
  const { key, modifiedMs } = info;
  const times = { modifiedMs, dayMs: lifecycleDayMs };
  const expiration = findExpiration(rules, subjectOf(key, info), times);
  if (expiration === undefined) return;
  const date = new Date(expiration.dateMs).toUTCString();
  const ruleId = encodeURIComponent(expiration.ruleId);
  headers.push('x-amz-expiration', `expiry-date="${date}", rule-id="${ruleId}"`);
}
