// Conditions of writes on the current version of their target (RFC 9110 as S3 applies it). They are evaluated
// on the very state that the commit then checks, so that of many concurrent writers exactly one wins.

import type { ObjectRecord } from './records.ts';
import { StoreError, type WriteConditions } from './types.ts';

/** Throws `NoSuchKey` or `PreconditionFailed` when the conditions do not hold for what is there. */
export function assertConditions(
  key: string,
  current: ObjectRecord | undefined,
  conditions: WriteConditions | undefined,
): void {
  const { ifMatch, ifNoneMatch } = conditions ?? {};
  if (ifMatch !== undefined) {
    if (!current) throw noSuchKey(key);
    if (ifMatch !== '*' && ifMatch !== current.etag) throw preconditionFailed('If-Match');
  }
  if (ifNoneMatch !== undefined && current) {
    if (ifNoneMatch === '*' || ifNoneMatch === current.etag) {
      throw preconditionFailed('If-None-Match');
    }
  }
}

export function preconditionFailed(condition: string): StoreError {
  return new StoreError(
    'PreconditionFailed',
    'At least one of the pre-conditions you specified did not hold',
    { details: { Condition: condition } },
  );
}

export function noSuchKey(key: string): StoreError {
  return new StoreError('NoSuchKey', 'The specified key does not exist.', {
    details: { Key: key },
  });
}
