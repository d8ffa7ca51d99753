// The access lists of buckets and objects: get and put.

import { type CannedAcl, findCannedAcl, isPublicAcl } from '../../iam/acl.ts';
import type { BucketInfo, BucketSettings } from '../../store/types.ts';
import {
  aclOfHeaders,
  type AclOwners,
  aclXml,
  parseAcl,
  recordedAcl,
  recordedBucketAcl,
} from '../access/acl-documents.ts';
import { emptyReply, type Reply, type S3Call, xmlReply } from '../call.ts';
import { S3Error } from '../errors.ts';
import { ownerOfRecord } from '../listing.ts';
import { targetVersion } from '../versions.ts';

const documentBytesMax = 1024 * 1024;

/** GET ?acl of a bucket. */
export async function getBucketAcl(call: S3Call): Promise<Reply> {
  const { owner, settings } = await call.store.getBucket(call.target.bucket);
  const acl = findCannedAcl(settings.acl ?? 'private') ?? 'private';
  return xmlReply('AccessControlPolicy', aclXml(acl, { owner: await ownerOfRecord(call, owner) }));
}

/** GET ?acl of an object, or of one version. */
export async function getObjectAcl(call: S3Call): Promise<Reply> {
  const { bucket, key } = call.target;
  const { info } = await call.store.openObject({ bucket, key, ...targetVersion(call) });
  const acl = findCannedAcl(info.attributes.acl ?? 'private') ?? 'private';
  const owners = await objectOwners(call, info.owner, await call.store.getBucket(bucket));
  return xmlReply('AccessControlPolicy', aclXml(acl, owners));
}

/** PUT ?acl of a bucket. */
export async function putBucketAcl(call: S3Call): Promise<Reply> {
  const { bucket } = call.target;
  const { owner } = await call.store.getBucket(bucket);
  const acl = await readAcl(call, { owner: await ownerOfRecord(call, owner) });
  await call.store.updateBucketSettings(bucket, (settings) => {
    refusePublic(settings, acl);
    return withAcl(settings, recordedBucketAcl(acl));
  });
  return emptyReply(200);
}

/** PUT ?acl of an object, or of one version. Nothing else of it changes. */
export async function putObjectAcl(call: S3Call): Promise<Reply> {
  const { bucket, key } = call.target;
  const version = targetVersion(call);
  const { info } = await call.store.openObject({ bucket, key, ...version });
  const found = await call.store.getBucket(bucket);
  const acl = await readAcl(call, await objectOwners(call, info.owner, found));
  refusePublic(found.settings, acl);
  await call.store.putAcl({ bucket, key, ...version }, recordedAcl(acl));
  return emptyReply(200);
}

/** The header, or a body that says the same as one. */
async function readAcl(call: S3Call, owners: AclOwners): Promise<CannedAcl> {
  const named = aclOfHeaders(call.headers);
  const document = await call.readDocument({ maxBytes: documentBytesMax });
  if (named !== undefined) {
    if (document.length > 0) {
      throw new S3Error('UnexpectedContent', 'This request does not support content');
    }
    return named;
  }
  if (document.length === 0) {
    throw new S3Error('InvalidRequest', 'Your request was missing a required header');
  }
  return parseAcl(document, owners, documentBytesMax);
}

function refusePublic({ publicAccessBlock }: BucketSettings, acl: CannedAcl): void {
  if (isPublicAcl(acl) && publicAccessBlock?.blockPublicAcls === true) {
    throw new S3Error('AccessDenied');
  }
}

function withAcl(settings: BucketSettings, acl: string | undefined): BucketSettings {
  const { acl: _, ...rest } = settings;
  return acl === undefined ? rest : { ...rest, acl };
}

async function objectOwners(
  call: S3Call,
  objectOwner: string,
  bucket: BucketInfo,
): Promise<AclOwners> {
  return {
    owner: await ownerOfRecord(call, objectOwner),
    bucketOwner: await ownerOfRecord(call, bucket.owner),
  };
}
