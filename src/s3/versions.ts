// Version ids of a request. Buckets here have no versioning yet: the one version of an object is `null`.

import { queryOf, type S3Call } from './call.ts';
import { invalidArgument } from './errors.ts';

/** The `versionId` parameter, checked, ready to be spread into a store call. */
export function targetVersion(call: S3Call): { readonly versionId?: string } {
  const versionId = queryOf(call, 'versionId');
  if (versionId === undefined) return {};
  return { versionId: checkVersionId(versionId) };
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
