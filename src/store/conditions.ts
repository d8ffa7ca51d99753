// Conditions of writes on the current version of their target (RFC 9110 as S3 applies it). They are evaluated
// on the very state that the commit then checks, so that of many concurrent writers exactly one wins.

import type { ObjectRecord } from './records.ts';
import {
  type DeleteConditions,
  type MarkerMet,
  StoreError,
  type WriteConditions,
} from './types.ts';

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

/** True when a deletion depends on what is there. */
export function hasDeleteConditions(conditions: DeleteConditions): boolean {
  const { ifMatch, ifModifiedMs, ifSizeBytes } = conditions;
  return ifMatch !== undefined || ifModifiedMs !== undefined || ifSizeBytes !== undefined;
}

/** Throws `PreconditionFailed` when what is to be deleted is not what was meant. */
export function assertDeleteConditions(record: ObjectRecord, conditions: DeleteConditions): void {
  const { ifMatch, ifModifiedMs, ifSizeBytes } = conditions;
  if (ifMatch !== undefined && ifMatch !== '*' && ifMatch !== record.etag) {
    throw preconditionFailed('If-Match');
  }
  if (ifModifiedMs !== undefined && ifModifiedMs !== record.modifiedMs) {
    throw preconditionFailed('x-amz-if-match-last-modified-time');
  }
  if (ifSizeBytes !== undefined && ifSizeBytes !== record.sizeBytes) {
    throw preconditionFailed('x-amz-if-match-size');
  }
}

/** `marker`: what hides the object, when it was deleted with versioning. */
export function noSuchKey(key: string, marker?: MarkerMet): StoreError {
  return new StoreError('NoSuchKey', 'The specified key does not exist.', {
    details: { Key: key },
    marker,
  });
}

export function noSuchVersion(key: string, versionId: string): StoreError {
  return new StoreError('NoSuchVersion', 'The specified version does not exist.', {
    details: { Key: key, VersionId: versionId },
  });
}

/** For whoever asks for a marker as if it were an object. */
export function isDeleteMarker(key: string, marker: MarkerMet): StoreError {
  return new StoreError(
    'DeleteMarker',
    'The specified method is not allowed against this resource.',
    { details: { Key: key, VersionId: marker.versionId }, marker },
  );
}
