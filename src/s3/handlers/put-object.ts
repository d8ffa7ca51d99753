// PutObject and DeleteObject.

import type { ObjectInfo } from '../../store/types.ts';
import { attributesOf, refuseUnservedWriteHeaders } from '../attributes.ts';
import { emptyReply, queryOf, type Reply, type ReplyHeaders, type S3Call } from '../call.ts';
import { deleteConditions, hasDeleteConditions, writeConditions } from '../conditions.ts';
import { addEncryptionHeaders, encryptionOfWrite } from '../encryption.ts';
import { invalidArgument } from '../errors.ts';
import { addExpiration } from '../expiration.ts';
import { addChecksumHeaders } from '../object-headers.ts';
import { bypassesGovernance, lockOfWrite } from '../object-lock.ts';
import { addVersionOfWrite, targetVersion } from '../versions.ts';
import { deletePrefix, deletingStore } from './delete-objects.ts';

/** PUT of an object. Answers only when the object is durable. */
export async function putObject(call: S3Call): Promise<Reply> {
  const { headers, target, store } = call;
  if (queryOf(call, 'partNumber') !== undefined) {
    throw invalidArgument(
      'partNumber',
      queryOf(call, 'partNumber') ?? '',
      'This operation does not accept partNumber without uploadId',
    );
  }
  refuseUnservedWriteHeaders(headers);
  const attributes = attributesOf(headers);
  const lock = lockOfWrite(headers);
  const encryption = encryptionOfWrite(call);
  const conditions = writeConditions(headers);
  const body = await call.openBody();
  const info = await store.putObject({
    ...body,
    bucket: target.bucket,
    key: target.key,
    attributes,
    encryption,
    owner: call.owner,
    given: call.bucket,
    ...lock,
    ...(conditions === undefined ? {} : { conditions }),
  });
  return emptyReply(200, writtenHeaders(call, info));
}

/** The headers that answer a write of a whole object. */
export function writtenHeaders(call: S3Call, info: ObjectInfo): ReplyHeaders {
  const headers: ReplyHeaders = ['etag', `"${info.etag}"`];
  addVersionOfWrite(headers, info);
  addChecksumHeaders(headers, info.checksum);
  addEncryptionHeaders(headers, info.encryption, { call, hasContext: true });
  addExpiration(headers, call, info);
  return headers;
}

/**
 * DELETE of an object, absent ones too, or of one version. With `x-minio-force-delete`, of all below the name,
 * every version of it.
 */
export async function deleteObject(call: S3Call): Promise<Reply> {
  const { bucket, key } = call.target;
  if (call.headers['x-minio-force-delete'] === 'true') {
    refuseNarrowing(call);
    await deletePrefix(deletingStore(call), bucket, key);
    return emptyReply(204);
  }
  const { versionId, isMarker } = await call.store.deleteObject({
    bucket,
    key,
    owner: call.owner,
    ...targetVersion(call),
    ...deleteConditions(call.headers),
    bypassesGovernance: bypassesGovernance(call.headers),
  });
  const headers: ReplyHeaders = [];
  if (isMarker) headers.push('x-amz-delete-marker', 'true');
  if (versionId !== undefined) headers.push('x-amz-version-id', versionId);
  return emptyReply(204, headers);
}

/** What names one version cannot go with the deletion of all below a prefix. */
function refuseNarrowing(call: S3Call): void {
  const isConditional = hasDeleteConditions(call.headers);
  const versionId = queryOf(call, 'versionId');
  if (!isConditional && versionId === undefined) return;
  throw invalidArgument(
    'x-minio-force-delete',
    'true',
    'x-minio-force-delete deletes everything below the name; it cannot be combined with conditions or versionId.',
  );
}
