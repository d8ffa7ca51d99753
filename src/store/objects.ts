// Putting, opening, deleting and re-labelling single objects. A PUT makes its bytes durable first (in a blob,
// or within the commit itself when they are few) and becomes visible in one commit; whatever fails before
// leaves nothing.

import { isDeepStrictEqual } from 'node:util';
import type { SseEnvelope } from '../sse/envelope.ts';
import { type BodyResult, discardBody, takeBody } from './body.ts';
import { loadBucket, loadBucketForWrite } from './buckets.ts';
import { assertConditions, noSuchKey, preconditionFailed } from './conditions.ts';
import {
  assertUnclaimed,
  type Change,
  checksOfStored,
  commitCurrent,
  loadCurrent,
  type ObjectPlace,
  putsOfStored,
} from './current.ts';
import { hasSecretEtag } from './envelopes.ts';
import { encodeName, inlineEntry } from './keys.ts';
import { type StartedKey, startKey } from './object-encryption.ts';
import { type ObjectRecord, toObjectInfo } from './records.ts';
import { createOpenedObject } from './reading.ts';
import { sealChecksum } from './sealed-checksum.ts';
import type { StoreContext } from './store-context.ts';
import {
  type Checksum,
  type DeleteObjectInput,
  type ObjectAttributes,
  type ObjectInfo,
  type OpenedObject,
  type PutObjectInput,
  StoreError,
} from './types.ts';

/** The version id of objects in a bucket that never had versioning. */
export const nullVersionId = 'null';

/** Largest object of a single PUT, and largest part. */
export const putBytesMax = 5 * 1024 ** 3;

const openAttemptsMax = 20;

export async function putObject(context: StoreContext, input: PutObjectInput): Promise<ObjectInfo> {
  const name = encodeName(input.key);
  const bucket = await loadBucketForWrite(context, input.bucket);
  const place = { bucket, key: input.key, name };
  if (input.conditions) {
    // Early, so that a body that cannot be stored need not be sent; decided in the commit.
    assertConditions(input.key, (await loadCurrent(context, place)).record, input.conditions);
  }
  const key = startKey(context, place, input.encryption);
  try {
    const body = await takeBody(context, input, {
      dataKey: key?.oek,
      sizeBytesMax: putBytesMax,
      hasSecretEtag: hasSecretEtag(key?.kind),
    });
    try {
      const checksum = await protectChecksum(key, body.checksum);
      return await commitPut(context, place, input, {
        body,
        checksum,
        envelope: await key?.envelope,
      });
    } catch (error) {
      await discardBody(context, body);
      throw error;
    }
  } finally {
    key?.wipe();
  }
}

async function commitPut(
  context: StoreContext,
  place: ObjectPlace,
  input: PutObjectInput,
  made: {
    readonly body: BodyResult;
    readonly checksum: Pick<ObjectRecord, 'checksum' | 'sealedChecksum'>;
    readonly envelope: SseEnvelope | undefined;
  },
): Promise<ObjectInfo> {
  const { body, envelope } = made;
  const record: ObjectRecord = {
    versionId: nullVersionId,
    etag: body.etag,
    sizeBytes: body.sizeBytes,
    modifiedMs: wholeSeconds(context.now()),
    attributes: input.attributes,
    owner: input.owner,
    ...(envelope ? { envelope } : {}),
    ...made.checksum,
    data: { place: body.place, storedBytes: body.storedBytes },
  };
  const puts = putsOfStored(body, body.inlineBytes);
  const checks = checksOfStored(body);
  const plan = async (): Promise<Change> => {
    await assertUnclaimed(context, body);
    return { record, puts, checks };
  };
  await commitCurrent(context, place, plan, input.conditions);
  const info = toObjectInfo(input.bucket, input.key, record);
  return body.checksum ? { ...info, checksum: body.checksum } : info;
}

/** A checksum as it is kept: in clear, or under the object's key where only the client's key may show it. */
async function protectChecksum(
  key: StartedKey | undefined,
  checksum: Checksum | undefined,
): Promise<Pick<ObjectRecord, 'checksum' | 'sealedChecksum'>> {
  if (!checksum) return {};
  if (key?.kind !== 'sse-c') return { checksum };
  return { sealedChecksum: sealChecksum(await key.oek, checksum) };
}

export async function openObject(
  context: StoreContext,
  target: {
    readonly bucket: string;
    readonly key: string;
    readonly versionId?: string;
    readonly willRead?: boolean;
  },
): Promise<OpenedObject> {
  const name = encodeName(target.key);
  const bucket = await loadBucket(context, target.bucket);
  const place = { bucket, key: target.key, name };
  if (target.versionId !== undefined && target.versionId !== nullVersionId) {
    throw noSuchVersion(target.key, target.versionId);
  }
  for (let attempt = 0; attempt < openAttemptsMax; attempt += 1) {
    const { record } = await loadCurrent(context, place);
    if (!record) throw noSuchKey(target.key);
    const at = record.data?.place;
    if (target.willRead !== true || at?.kind !== 'inline') {
      return createOpenedObject(context, target, record, undefined);
    }
    const inline = await context.kv.get(inlineEntry(at.id));
    if (inline) return createOpenedObject(context, target, record, inline.value);
    // Overwritten between the two reads: look again. A record that stays without its bytes is damage.
  }
  throw new StoreError('ObjectCorrupt', 'The bytes of the object are missing.');
}

export async function deleteObject(context: StoreContext, input: DeleteObjectInput): Promise<void> {
  const name = encodeName(input.key);
  const bucket = await loadBucketForWrite(context, input.bucket);
  if (input.versionId !== undefined && input.versionId !== nullVersionId) return;
  await commitCurrent(context, { bucket, key: input.key, name }, (current) => {
    if (!current) return undefined;
    if (input.ifMatch !== undefined && input.ifMatch !== '*' && input.ifMatch !== current.etag) {
      throw preconditionFailed('If-Match');
    }
    return { record: undefined };
  });
}

export async function replaceAttributes(
  context: StoreContext,
  input: { readonly expected: ObjectInfo; readonly attributes: ObjectAttributes },
): Promise<ObjectInfo> {
  const { expected, attributes } = input;
  const { key } = expected;
  const name = encodeName(key);
  const bucket = await loadBucketForWrite(context, expected.bucket);
  let info: ObjectInfo | undefined;
  await commitCurrent(context, { bucket, key, name }, (current) => {
    if (!current) throw noSuchKey(key);
    // Everything that is shown of it: times are whole seconds, so ETag and time alone may be those of two writes.
    if (!isDeepStrictEqual(toObjectInfo(bucket.name, key, current), expected)) {
      throw preconditionFailed('If-Match');
    }
    const record = { ...current, attributes, modifiedMs: wholeSeconds(context.now()) };
    info = toObjectInfo(bucket.name, key, record);
    return { record };
  });
  if (!info) throw new Error('a commit was made without a record');
  return info;
}

export async function putAcl(
  context: StoreContext,
  ref: { readonly bucket: string; readonly key: string; readonly versionId?: string },
  acl: string | undefined,
): Promise<ObjectInfo> {
  const name = encodeName(ref.key);
  const bucket = await loadBucketForWrite(context, ref.bucket);
  if (ref.versionId !== undefined && ref.versionId !== nullVersionId) {
    throw noSuchVersion(ref.key, ref.versionId);
  }
  let info: ObjectInfo | undefined;
  await commitCurrent(context, { bucket, key: ref.key, name }, (current) => {
    if (!current) throw noSuchKey(ref.key);
    const { acl: _, ...rest } = current.attributes;
    const attributes = acl === undefined ? rest : { ...rest, acl };
    const record = { ...current, attributes };
    info = toObjectInfo(ref.bucket, ref.key, record);
    return { record };
  });
  if (!info) throw new Error('a commit was made without a record');
  return info;
}

/** Times of objects are whole seconds, as their headers are. */
export function wholeSeconds(timeMs: number): number {
  return Math.floor(timeMs / 1000) * 1000;
}

function noSuchVersion(key: string, versionId: string): StoreError {
  return new StoreError('NoSuchVersion', 'The specified version does not exist.', {
    details: { Key: key, VersionId: versionId },
  });
}
