// What a request needs to be allowed: one permission, or several where it does several things at once.
// Operations that decide key by key need none here and ask for each key themselves.

import type { S3Headers } from '../headers.ts';
import { actionOfVersion } from '../../iam/version-actions.ts';
import type { CopySource } from '../copy-source.ts';
import type { S3Operation } from '../operation.ts';
import type { Permission } from './permission.ts';
import { findQuery, type S3Target } from '../target.ts';

/** Operations that make an object, and take its access list, tags and protection as headers. */
const writes: ReadonlySet<string> = new Set([
  'PutObject',
  'PostObject',
  'CopyObject',
  'CreateMultipartUpload',
]);

/** Those whose permission is asked for each key or bucket, when these are known. */
const decidesByItself: ReadonlySet<string> = new Set(['DeleteObjects', 'ListBuckets']);

const bypass = 'x-amz-bypass-governance-retention';

/** Everything that the operation needs, but for what a copy reads. */
export function permissionsOf(
  operation: S3Operation,
  request: { readonly target: S3Target; readonly headers: S3Headers },
): Permission[] {
  const { bucket, key, query } = request.target;
  const { headers } = request;
  if (decidesByItself.has(operation.name)) return [];
  const versionId = operation.scope === 'object' ? findQuery(query, 'versionId') : undefined;
  const of = { bucket, key, versionId };
  if (headers['x-minio-force-delete'] === 'true' && operation.method === 'DELETE') {
    if (operation.name === 'DeleteObject' || operation.name === 'DeleteBucket') {
      return [{ action: 's3:ForceDeleteBucket', bucket, key: '' }];
    }
  }
  const needed: Permission[] = [{ ...of, action: actionOfVersion(operation.action, versionId) }];
  if (operation.name === 'GetObjectAttributes') {
    needed.push({ ...of, action: actionOfVersion('s3:GetObject', versionId) });
  }
  if (operation.name === 'CreateBucket') {
    needed.push(...extrasOfBucket(headers).map((action) => ({ action, bucket, key: '' })));
  }
  if (writes.has(operation.name)) {
    const extras = extrasOfWrite(headers);
    needed.push(...extras.map((action) => ({ ...of, action, isPartOfWrite: true })));
  }
  const canBypass = operation.name === 'DeleteObject' || operation.name === 'PutObjectRetention';
  if (canBypass && headers[bypass]?.toLowerCase() === 'true') {
    needed.push({ ...of, action: 's3:BypassGovernanceRetention' });
  }
  return needed;
}

/** What reading the source of a copy needs. */
export function permissionOfSource(source: CopySource): Permission {
  return { ...source, action: actionOfVersion('s3:GetObject', source.versionId) };
}

/** What one entry of a DeleteObjects needs. */
export function permissionsOfDeletion(
  target: {
    readonly bucket: string;
    readonly key: string;
    readonly versionId?: string | undefined;
  },
  headers: S3Headers,
): Permission[] {
  const needed = [{ ...target, action: actionOfVersion('s3:DeleteObject', target.versionId) }];
  if (headers[bypass]?.toLowerCase() === 'true') {
    needed.push({ ...target, action: 's3:BypassGovernanceRetention' });
  }
  return needed;
}

function extrasOfWrite(headers: S3Headers): string[] {
  const actions: string[] = [];
  if (namesAcl(headers)) actions.push('s3:PutObjectAcl');
  if ((headers['x-amz-tagging'] ?? '') !== '') actions.push('s3:PutObjectTagging');
  if (headers['x-amz-object-lock-mode'] !== undefined) actions.push('s3:PutObjectRetention');
  if (headers['x-amz-object-lock-legal-hold'] !== undefined) actions.push('s3:PutObjectLegalHold');
  return actions;
}

function extrasOfBucket(headers: S3Headers): string[] {
  const actions: string[] = [];
  const acl = headers['x-amz-acl'];
  if (namesAcl(headers) && acl !== 'private') actions.push('s3:PutBucketAcl');
  if (headers['x-amz-bucket-object-lock-enabled']?.toLowerCase() === 'true') {
    actions.push('s3:PutBucketObjectLockConfiguration', 's3:PutBucketVersioning');
  }
  return actions;
}

function namesAcl(headers: S3Headers): boolean {
  if (headers['x-amz-acl'] !== undefined) return true;
  for (const name in headers) if (name.startsWith('x-amz-grant-')) return true;
  return false;
}
