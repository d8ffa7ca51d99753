// PutObject and DeleteObject.

import type { ObjectInfo } from '../../store/types.ts';
import {
  attributesOf,
  refuseUnservedDeleteHeaders,
  refuseUnservedWriteHeaders,
} from '../attributes.ts';
import { emptyReply, queryOf, type Reply, type ReplyHeaders, type S3Call } from '../call.ts';
import { unquoteEtag, writeConditions } from '../conditions.ts';
import { addEncryptionHeaders, encryptionOfWrite } from '../encryption.ts';
import { invalidArgument } from '../errors.ts';
import { addChecksumHeaders } from '../object-headers.ts';
import { targetVersion } from '../versions.ts';
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
  const encryption = encryptionOfWrite(call);
  const conditions = writeConditions(headers);
  const body = await call.openBody();
  const info = await store.putObject({
    ...body,
    bucket: target.bucket,
    key: target.key,
    attributes,
    encryption,
    owner: call.accessKey,
    ...(conditions === undefined ? {} : { conditions }),
  });
  return emptyReply(200, writtenHeaders(call, info));
}

/** The headers that answer a write of a whole object. */
export function writtenHeaders(call: S3Call, info: ObjectInfo): ReplyHeaders {
  const headers: ReplyHeaders = ['etag', `"${info.etag}"`];
  addChecksumHeaders(headers, info.checksum);
  addEncryptionHeaders(headers, info.encryption, { call, hasContext: true });
  return headers;
}

/** DELETE of an object; absent ones are deleted too. With `x-minio-force-delete`, of all below it. */
export async function deleteObject(call: S3Call): Promise<Reply> {
  const { bucket, key } = call.target;
  refuseUnservedDeleteHeaders(call.headers);
  if (call.headers['x-minio-force-delete'] === 'true') {
    refuseNarrowing(call);
    await deletePrefix(deletingStore(call), bucket, key);
    return emptyReply(204);
  }
  const ifMatch = call.headers['if-match'];
  await call.store.deleteObject({
    bucket,
    key,
    ...targetVersion(call),
    ...(ifMatch === undefined ? {} : { ifMatch: unquoteEtag(ifMatch) }),
  });
  return emptyReply(204);
}

/** What names one version cannot go with the deletion of all below a prefix. */
function refuseNarrowing(call: S3Call): void {
  const ifMatch = call.headers['if-match'];
  const versionId = queryOf(call, 'versionId');
  if (ifMatch === undefined && versionId === undefined) return;
  throw invalidArgument(
    'x-minio-force-delete',
    'true',
    'x-minio-force-delete deletes everything below the name; it cannot be combined with If-Match or versionId.',
  );
}
