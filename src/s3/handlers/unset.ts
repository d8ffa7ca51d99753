// The sub-resources of buckets and objects that cannot be set yet, answered the way S3 answers when
// nothing is set. Clients read them to find out; a refusal would stop them.

import { emptyReply, type Reply, type S3Call, type S3Handler, xmlReply } from '../call.ts';
import { S3Error, type S3ErrorCode } from '../errors.ts';
import { ownerXml } from '../listing.ts';
import { refuseUnservedAcl } from '../attributes.ts';
import { findChild, findChildText, listChildren, parseXml } from '../../base/xml.ts';
import { parseTagging, tagSetXml } from '../tags.ts';
import { targetVersion } from '../versions.ts';

const documentBytesMax = 1024 * 1024;

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

/** A sub-resource of an object that is answered with an error code while it is not set. */
export function unsetObjectResource(code: S3ErrorCode, message?: string): S3Handler {
  return async (call) => {
    const { bucket, key } = call.target;
    await call.store.openObject({ bucket, key, ...targetVersion(call) });
    throw new S3Error(code, message);
  };
}

/** GET ?acl of a bucket: its owner may do everything, nobody else anything. */
export async function getBucketAcl(call: S3Call): Promise<Reply> {
  await call.store.getBucket(call.target.bucket);
  return aclReply(call);
}

/** GET ?acl of an object. */
export async function getObjectAcl(call: S3Call): Promise<Reply> {
  const { bucket, key } = call.target;
  await call.store.openObject({ bucket, key, ...targetVersion(call) });
  return aclReply(call);
}

/** PUT ?acl: accepted when it says what is the case anyway, refused otherwise. */
export async function putAcl(call: S3Call): Promise<Reply> {
  const { bucket, key } = call.target;
  if (key === '') await call.store.getBucket(bucket);
  else await call.store.openObject({ bucket, key, ...targetVersion(call) });
  refuseUnservedAcl(call.headers);
  const document = await call.readDocument({ maxBytes: documentBytesMax });
  if (call.headers['x-amz-acl'] !== undefined) return emptyReply(200);
  if (document.length === 0) {
    throw new S3Error('InvalidRequest', 'Your request was missing a required header');
  }
  if (!isOwnerOnly(call, document)) {
    throw new S3Error('NotImplemented', 'Only the ACL that gives the owner full control is served');
  }
  return emptyReply(200);
}

/** GET ?tagging of an object. */
export async function getObjectTagging(call: S3Call): Promise<Reply> {
  const { bucket, key } = call.target;
  const { info } = await call.store.openObject({ bucket, key, ...targetVersion(call) });
  return xmlReply('Tagging', tagSetXml(parseTagging(info.attributes.tagging)));
}

function aclReply(call: S3Call): Reply {
  const { owner } = call.environment;
  const grantee = ownerXml('Owner', owner).replace('<Owner>', '').replace('</Owner>', '');
  return xmlReply(
    'AccessControlPolicy',
    `${ownerXml('Owner', owner)}<AccessControlList><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser">${grantee}</Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList>`,
  );
}

function isOwnerOnly(call: S3Call, document: Uint8Array): boolean {
  const root = parseXml(document, { maxBytes: documentBytesMax });
  const list = findChild(root, 'AccessControlList');
  if (root.name !== 'AccessControlPolicy' || list === undefined) {
    throw new S3Error('MalformedACLError');
  }
  const { id } = call.environment.owner;
  return listChildren(list, 'Grant').every((grant) => {
    const grantee = findChild(grant, 'Grantee');
    return (
      findChildText(grant, 'Permission') === 'FULL_CONTROL' &&
      grantee !== undefined &&
      findChildText(grantee, 'ID') === id
    );
  });
}
