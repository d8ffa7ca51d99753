// Get, Put and DeleteBucketPolicy and GetBucketPolicyStatus. The policy is kept and given back byte for byte;
// what cannot be parsed is never kept.

import { xmlElement } from '../../base/xml.ts';
import { findCannedAcl, isPublicAcl } from '../../iam/acl.ts';
import { IamError } from '../../iam/iam-error.ts';
import { type Policy, parsePolicy } from '../../iam/policy/policy.ts';
import { isPublicPolicy } from '../../iam/policy/public-policy.ts';
import type { BucketSettings } from '../../store/types.ts';
import { emptyReply, type Reply, type S3Call, xmlReply } from '../call.ts';
import { S3Error } from '../errors.ts';

const documentBytesMax = 1024 * 1024;

/** GET ?policy. 404 until one was set. */
export async function getBucketPolicy(call: S3Call): Promise<Reply> {
  const { bucket } = call.target;
  const { policy } = (await call.store.getBucket(bucket)).settings;
  if (policy === undefined) {
    throw new S3Error('NoSuchBucketPolicy', undefined, { details: { BucketName: bucket } });
  }
  return { status: 200, headers: [], body: policy, contentType: 'application/json' };
}

/** PUT ?policy. In force for every request that begins afterwards. */
export async function putBucketPolicy(call: S3Call): Promise<Reply> {
  const { bucket } = call.target;
  const document = await call.readDocument({ maxBytes: documentBytesMax });
  const text = decodeText(document);
  const isPublic = isPublicPolicy(parse(text, bucket));
  await call.store.updateBucketSettings(bucket, (settings) => {
    if (isPublic && settings.publicAccessBlock?.blockPublicPolicy === true) {
      throw new S3Error('AccessDenied');
    }
    return { ...settings, policy: text };
  });
  return emptyReply(204);
}

/** DELETE ?policy, also when there is none. */
export async function deleteBucketPolicy(call: S3Call): Promise<Reply> {
  await call.store.updateBucketSettings(call.target.bucket, withoutPolicy);
  return emptyReply(204);
}

/** GET ?policyStatus: whether the policy, or the access list of the bucket, opens it to everybody. */
export async function getBucketPolicyStatus(call: S3Call): Promise<Reply> {
  const { bucket } = call.target;
  const { policy, acl, publicAccessBlock } = (await call.store.getBucket(bucket)).settings;
  const byPolicy = policy !== undefined && isPublicPolicy(parse(policy, bucket));
  const byAcl =
    isPublicAcl(findCannedAcl(acl ?? 'private')) && publicAccessBlock?.ignorePublicAcls !== true;
  return xmlReply('PolicyStatus', xmlElement('IsPublic', byPolicy || byAcl));
}

function decodeText(document: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(document);
  } catch (cause) {
    throw new S3Error('MalformedPolicy', 'The policy is not valid UTF-8', { cause });
  }
}

function parse(text: string, bucket: string): Policy {
  try {
    return parsePolicy(text, 'bucket', bucket);
  } catch (error) {
    if (error instanceof IamError) {
      throw new S3Error('MalformedPolicy', error.message, { cause: error });
    }
    throw error;
  }
}

function withoutPolicy(settings: BucketSettings): BucketSettings {
  const { policy: _, ...rest } = settings;
  return rest;
}
