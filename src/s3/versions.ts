// Version ids in requests and answers. Where there never was versioning no answer tells one.

import type { ObjectInfo, VersionRef } from '../store/types.ts';
import { queryOf, type ReplyHeaders, type S3Call } from './call.ts';
import { invalidArgument } from './errors.ts';

/** The `versionId` parameter, checked, ready to be spread into a store call. */
export function targetVersion(call: S3Call): { readonly versionId?: string } {
  const versionId = queryOf(call, 'versionId');
  if (versionId === undefined) return {};
  return { versionId: checkVersionId(versionId) };
}

/** The version of the object that a request is about. */
export function versionRefOf(call: S3Call): VersionRef {
  const { bucket, key } = call.target;
  return { bucket, key, ...targetVersion(call) };
}

/** Throws `InvalidArgument` for an id that cannot be one. */
export function checkVersionId(versionId: string): string {
  if (versionId === '') {
    throw invalidArgument('versionId', versionId, 'Version id cannot be the empty string');
  }
  if (versionId.length > 1024 || !/^[A-Za-z0-9._~+/=-]+$/.test(versionId)) {
    throw invalidArgument('versionId', versionId, 'Invalid version id specified');
  }
  return versionId;
}

/** `x-amz-version-id` of a read: every version has one where there is, or was, versioning. */
export function addVersionOfRead(
  headers: ReplyHeaders,
  object: { readonly info: ObjectInfo; readonly isVersioned: boolean },
): void {
  if (object.isVersioned) headers.push('x-amz-version-id', object.info.versionId);
}

/** `x-amz-version-id` of a write: only a version with an id of its own is told. */
export function addVersionOfWrite(headers: ReplyHeaders, info: ObjectInfo): void {
  if (info.versionId !== 'null') headers.push('x-amz-version-id', info.versionId);
}
