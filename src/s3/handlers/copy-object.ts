// CopyObject. A copy reads the source through its own key and writes the destination under a new one;
// only a copy of an object onto itself that changes attributes, and not how it is encrypted, leaves the bytes
// and their key as they are.

import { timingSafeEqual } from 'node:crypto';
import {
  defaultOf,
  isSameEncryption,
  settleRequest,
} from '../../store/encryption/encryption-default.ts';
import type {
  BodyChecksum,
  BucketInfo,
  ChecksumAlgorithm,
  EncryptionRequest,
  ObjectAttributes,
  ObjectInfo,
  ObjectLock,
  ObjectStore,
  OpenedObject,
} from '../../store/types.ts';
import { StoreError } from '../../store/types.ts';
import {
  aclOf,
  attributesOf,
  refuseUnservedWriteHeaders,
  storageClassOf,
  taggingOf,
} from '../attributes.ts';
import { type Reply, type ReplyHeaders, type S3Call, xmlReply } from '../call.ts';
import type { S3Headers } from '../headers.ts';
import { parseChecksumAlgorithm } from '../checksum-headers.ts';
import { writeConditions } from '../conditions.ts';
import {
  addCopySourceVersion,
  type CopySource,
  checkCopySize,
  openCopySource,
  parseCopySource,
  withBody,
} from '../copy-source.ts';
import { addEncryptionHeaders, encryptionOfWrite } from '../encryption.ts';
import { invalidArgument, S3Error } from '../errors.ts';
import { addExpiration } from '../expiration.ts';
import { lockOfWrite } from '../object-lock.ts';
import { copyResultXml } from '../results.ts';
import { addVersionOfWrite } from '../versions.ts';

/** How often a copy onto itself begins anew because the object was written meanwhile. */
const relabelAttemptsMax = 50;

/** PUT of an object with `x-amz-copy-source`. */
export async function copyObject(call: S3Call): Promise<Reply> {
  const { headers, target, store } = call;
  const source = parseCopySource(headers['x-amz-copy-source'] ?? '');
  const plan = planCopy(call, source);
  for (let attempt = 0; attempt < relabelAttemptsMax; attempt += 1) {
    const bucket = await store.getBucket(target.bucket);
    const { object, found } = await openCopySource(call, source);
    const { info } = object;
    const attributes = mergeAttributes(headers, info, plan);
    // Naming a version is a change where there are versions: it becomes the current one.
    const isOntoItself =
      plan.isOntoItself && (source.versionId === undefined || !object.isVersioned);
    if (isOntoItself) refuseCopyWithoutChange(headers, info, plan, bucket);
    if (!isOntoItself || !staysInPlace(call, info, plan, bucket)) {
      return copyReply(call, await copyBytes(call, plan, object, attributes), object);
    }
    const relabelled = await relabel(store, found, attributes);
    if (relabelled === undefined) continue;
    const { checksum } = info;
    const shown = { ...relabelled, ...(checksum === undefined ? {} : { checksum }) };
    return copyReply(call, shown, object);
  }
  throw new S3Error('ConditionalRequestConflict');
}

async function copyBytes(
  call: S3Call,
  plan: CopyPlan,
  object: OpenedObject,
  attributes: ObjectAttributes,
): Promise<ObjectInfo> {
  const { target, store } = call;
  const { info } = object;
  checkCopySize(info.sizeBytes);
  const conditions = writeConditions(call.headers);
  const checksum = checksumOfCopy(info, plan.checksumAlgorithm);
  return withBody(await object.read(), (body) =>
    store.putObject({
      bucket: target.bucket,
      key: target.key,
      body,
      sizeBytes: info.sizeBytes,
      attributes,
      encryption: plan.encryption,
      owner: call.owner,
      ...(plan.lock === undefined ? {} : { lock: plan.lock }),
      ...(checksum === undefined ? {} : { checksum }),
      ...(conditions === undefined ? {} : { conditions }),
    }),
  );
}

/** Gives the object new attributes; undefined when it was written meanwhile and must be looked at again. */
async function relabel(
  store: ObjectStore,
  expected: ObjectInfo,
  attributes: ObjectAttributes,
): Promise<ObjectInfo | undefined> {
  try {
    return await store.replaceAttributes({ expected, attributes });
  } catch (error) {
    if (error instanceof StoreError && error.code === 'PreconditionFailed') return undefined;
    throw error;
  }
}

type CopyPlan = {
  readonly isOntoItself: boolean;
  readonly replacesMetadata: boolean;
  readonly replacesTags: boolean;
  readonly encryption: EncryptionRequest;
  readonly checksumAlgorithm: ChecksumAlgorithm | undefined;
  readonly lock?: ObjectLock;
};

/** Everything that the headers decide, checked before the source is looked at. */
function planCopy(call: S3Call, source: CopySource): CopyPlan {
  const { headers, target } = call;
  refuseUnservedWriteHeaders(headers);
  storageClassOf(headers);
  return {
    isOntoItself: source.bucket === target.bucket && source.key === target.key,
    replacesMetadata: isReplace(headers, 'x-amz-metadata-directive'),
    replacesTags: isReplace(headers, 'x-amz-tagging-directive'),
    encryption: encryptionOfWrite(call, { isCopy: true }),
    checksumAlgorithm: parseChecksumAlgorithm(headers['x-amz-checksum-algorithm']),
    ...lockOfWrite(headers),
  };
}

function isReplace(headers: S3Headers, name: string): boolean {
  const directive = headers[name];
  if (directive === undefined || directive === 'COPY') return false;
  if (directive === 'REPLACE') return true;
  throw invalidArgument(name, directive, `Unknown directive: ${name} is COPY or REPLACE`);
}

function mergeAttributes(headers: S3Headers, info: ObjectInfo, plan: CopyPlan): ObjectAttributes {
  const redirect = headers['x-amz-website-redirect-location'];
  const tagging = plan.replacesTags ? taggingOf(headers) : info.attributes.tagging;
  if (plan.replacesMetadata) return { ...attributesOf(headers), tagging };
  const { 'x-amz-website-redirect-location': _, ...kept } = info.attributes.headers;
  return {
    headers:
      redirect === undefined ? kept : { ...kept, 'x-amz-website-redirect-location': redirect },
    userMetadata: info.attributes.userMetadata,
    tagging,
    storageClass: storageClassOf(headers),
    ...aclOf(headers),
  };
}

function refuseCopyWithoutChange(
  headers: S3Headers,
  info: ObjectInfo,
  plan: CopyPlan,
  bucket: BucketInfo,
): void {
  const storageClass = headers['x-amz-storage-class'];
  const changes =
    plan.replacesMetadata ||
    plan.encryption.kind !== 'default' ||
    defaultOf(bucket.settings, info.key) !== undefined ||
    plan.checksumAlgorithm !== undefined ||
    headers['x-amz-website-redirect-location'] !== undefined ||
    (storageClass !== undefined && storageClass !== info.attributes.storageClass);
  if (!changes) {
    throw new S3Error(
      'InvalidRequest',
      "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
    );
  }
}

/**
 * True when the bytes may stay: they are protected before as they would be after. An encrypted object that is
 * copied for nothing else gets a new key, because that is the reason to do so.
 */
function staysInPlace(call: S3Call, info: ObjectInfo, plan: CopyPlan, bucket: BucketInfo): boolean {
  const { headers } = call;
  if (headers['if-match'] !== undefined || headers['if-none-match'] !== undefined) return false;
  // With versions every copy is one of its own.
  if (bucket.settings.versioning !== undefined || plan.lock !== undefined) return false;
  if (plan.checksumAlgorithm !== undefined) return false;
  const wanted = settleRequest(plan.encryption, {
    settings: bucket.settings,
    key: info.key,
    isAutoEncrypting: call.environment.autoEncryption,
  });
  if (wanted !== undefined && !plan.replacesMetadata && !plan.replacesTags) return false;
  if (wanted?.kind === 'sse-c') {
    const isSame = info.encryption?.kind === 'sse-c' && keepsClientKey(call);
    return isSame && bucket.settings.blocksSseC !== true;
  }
  return isSameEncryption(info.encryption, wanted, call.store.defaultKeyName);
}

function keepsClientKey(call: S3Call): boolean {
  const before = call.customerKeys.ofCopySource()?.clientKey;
  const after = call.customerKeys.ofObject()?.clientKey;
  return before !== undefined && after !== undefined && timingSafeEqual(before, after);
}

/** A known checksum of the whole object is kept, and so checked once more; others are computed. */
function checksumOfCopy(
  info: ObjectInfo,
  asked: ChecksumAlgorithm | undefined,
): BodyChecksum | undefined {
  if (asked !== undefined) return { algorithm: asked };
  const { checksum } = info;
  if (checksum === undefined) return undefined;
  const { algorithm, type, value } = checksum;
  return type === 'FULL_OBJECT' ? { algorithm, expected: value } : { algorithm };
}

function copyReply(call: S3Call, info: ObjectInfo, source: OpenedObject): Reply {
  const headers: ReplyHeaders = [];
  addVersionOfWrite(headers, info);
  addCopySourceVersion(headers, source);
  addEncryptionHeaders(headers, info.encryption, { call, hasContext: true });
  addExpiration(headers, call, info);
  return xmlReply('CopyObjectResult', copyResultXml(info), headers);
}
