// Put, Get and DeleteBucketTagging.

import type { BucketSettings } from '../../store/types.ts';
import { emptyReply, type Reply, type S3Call, xmlReply } from '../call.ts';
import { S3Error } from '../errors.ts';
import { bucketTagsMax, parseTaggingDocument, tagSetXml } from '../tags.ts';

const documentBytesMax = 1024 * 1024;

/** GET ?tagging of a bucket. 404 until tags were set. */
export async function getBucketTagging(call: S3Call): Promise<Reply> {
  const { settings } = await call.store.getBucket(call.target.bucket);
  if (settings.tagging === undefined) {
    throw new S3Error('NoSuchTagSet', undefined, { details: { BucketName: call.target.bucket } });
  }
  return xmlReply('Tagging', tagSetXml(settings.tagging));
}

/** PUT ?tagging of a bucket. Replaces all tags. */
export async function putBucketTagging(call: S3Call): Promise<Reply> {
  const { bucket } = call.target;
  await call.store.getBucket(bucket);
  const document = await call.readDocument({ maxBytes: documentBytesMax, isDigestRequired: true });
  const tagging = parseTaggingDocument(document, {
    maxBytes: documentBytesMax,
    tagsMax: bucketTagsMax,
  });
  await call.store.updateBucketSettings(bucket, (settings) => ({ ...settings, tagging }));
  return emptyReply(200);
}

/** DELETE ?tagging of a bucket, also when there is nothing to delete. */
export async function deleteBucketTagging(call: S3Call): Promise<Reply> {
  await call.store.updateBucketSettings(call.target.bucket, withoutTagging);
  return emptyReply(204);
}

function withoutTagging(settings: BucketSettings): BucketSettings {
  const { tagging: _, ...rest } = settings;
  return rest;
}
