// The sub-resources of buckets and objects that cannot be set yet, answered the way S3 answers when
// nothing is set. Clients read them to find out; a refusal would stop them.

import { emptyReply, type Reply, type S3Call, type S3Handler, xmlReply } from '../call.ts';
import { S3Error, type S3ErrorCode } from '../errors.ts';

/** A sub-resource of a bucket that is answered with an error code while it is not set. */
export function unsetBucketResource(code: S3ErrorCode): S3Handler {
  return async (call) => {
    await call.store.getBucket(call.target.bucket);
    throw new S3Error(code, undefined, { details: { BucketName: call.target.bucket } });
  };
}

/** A sub-resource of a bucket that is answered with a fixed document. */
export function fixedBucketResource(root: string, inner: string): S3Handler {
  return async (call) => {
    await call.store.getBucket(call.target.bucket);
    return xmlReply(root, inner);
  };
}

/** Deleting the setting that is not there: nothing to do. */
export async function deleteUnsetBucketResource(call: S3Call): Promise<Reply> {
  await call.store.getBucket(call.target.bucket);
  return emptyReply(204);
}
