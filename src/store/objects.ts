// Putting, opening, deleting and re-labelling single objects. A PUT makes its bytes durable first (in a blob,
// or within the commit itself when they are few) and becomes visible in one commit; whatever fails before
// leaves nothing.

import { isDeepStrictEqual } from 'node:util';
import type { ObjectEnvelope } from '../sse/envelope.ts';
import { type BodyResult, discardBody, takeBody } from './body.ts';
import { loadBucketForWrite, loadGivenBucket } from './buckets.ts';
import { assertConditions, preconditionFailed } from './conditions.ts';
import {
  assertUnclaimed,
  checksOfStored,
  loadCurrent,
  type ObjectPlace,
  putsOfStored,
} from './current.ts';
import { hasSecretEtag } from './encryption/envelopes.ts';
import { encodeName, inlineEntry } from './keys.ts';
import { assertLockable } from './versions/lock-rules.ts';
import { versioningOf } from './versions/names.ts';
import { type StartedKey, startKey } from './encryption/object-encryption.ts';
import { type ObjectRecord, toObjectInfo } from './records.ts';
import { createOpenedObject } from './reading.ts';
import { sealChecksum } from './encryption/sealed-checksum.ts';
import type { StoreContext } from './store-context.ts';
import {
  type BucketInfo,
  type Checksum,
  type DeleteObjectInput,
  type DeleteOutcome,
  type ObjectAttributes,
  type ObjectInfo,
  type OpenedObject,
  type PutObjectInput,
  StoreError,
  type VersionRef,
} from './types.ts';
import { nullVersionId } from './versions/version-ids.ts';
import {
  type Change,
  commitCurrent,
  deleteVersioned,
  loadVersion,
  updateVersion,
} from './versions/versions.ts';

/** Largest object of a single PUT, and largest part. */
export const putBytesMax = 5 * 1024 ** 3;

const openAttemptsMax = 20;

export async function putObject(context: StoreContext, input: PutObjectInput): Promise<ObjectInfo> {
  const name = encodeName(input.key);
  const bucket = await loadBucketForWrite(context, input.bucket, input.given);
  const place = { bucket, key: input.key, name };
  assertLockable(bucket.record.settings, input.lock, context.now());
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
    readonly envelope: ObjectEnvelope | undefined;
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
    ...(input.lock ? { lock: input.lock } : {}),
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
  const written = await commitCurrent(context, place, plan, input.conditions);
  const info = toObjectInfo(input.bucket, input.key, written ?? record);
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
    readonly given?: BucketInfo | undefined;
    readonly willRead?: boolean;
  },
): Promise<OpenedObject> {
  const name = encodeName(target.key);
  const bucket = await loadGivenBucket(context, target);
  const place = { bucket, key: target.key, name };
  const isVersioned = versioningOf(bucket) !== undefined;
  for (let attempt = 0; attempt < openAttemptsMax; attempt += 1) {
    const record = await loadVersion(context, place, target.versionId);
    const at = record.data?.place;
    if (target.willRead !== true || at?.kind !== 'inline') {
      return createOpenedObject(context, { ...target, isVersioned }, record, undefined);
    }
    const inline = await context.kv.get(inlineEntry(at.id));
    if (inline) {
      return createOpenedObject(context, { ...target, isVersioned }, record, inline.value);
    }
    // Overwritten between the two reads: look again. A record that stays without its bytes is damage.
  }
  throw new StoreError('ObjectCorrupt', 'The bytes of the object are missing.');
}

export async function deleteObject(
  context: StoreContext,
  input: DeleteObjectInput,
): Promise<DeleteOutcome> {
  const name = encodeName(input.key);
  const bucket = await loadBucketForWrite(context, input.bucket);
  return deleteVersioned(context, { bucket, key: input.key, name }, input);
}

export async function putTagging(
  context: StoreContext,
  ref: VersionRef,
  tagging: string,
): Promise<ObjectInfo> {
  return relabelVersion(context, ref, (attributes) => ({ ...attributes, tagging }));
}

/** Changes attributes of one version that are not of its bytes: its time stays. */
async function relabelVersion(
  context: StoreContext,
  ref: VersionRef,
  change: (attributes: ObjectAttributes) => ObjectAttributes,
): Promise<ObjectInfo> {
  const name = encodeName(ref.key);
  const bucket = await loadBucketForWrite(context, ref.bucket);
  const place = { bucket, key: ref.key, name };
  const record = await updateVersion(context, place, ref.versionId, (before) => ({
    record: { ...before, attributes: change(before.attributes) },
  }));
  return toObjectInfo(ref.bucket, ref.key, record);
}

export async function replaceAttributes(
  context: StoreContext,
  input: { readonly expected: ObjectInfo; readonly attributes: ObjectAttributes },
): Promise<ObjectInfo> {
  const { expected, attributes } = input;
  const { key } = expected;
  const name = encodeName(key);
  const bucket = await loadBucketForWrite(context, expected.bucket);
  const place = { bucket, key, name };
  const record = await updateVersion(context, place, undefined, (current, now) => {
    // Everything that is shown of it: times are whole seconds, so ETag and time alone may be those of two writes.
    const isExpected = isDeepStrictEqual(toObjectInfo(bucket.name, key, current), expected);
    if (!isExpected || versioningOf(now) !== undefined) throw preconditionFailed('If-Match');
    return { record: { ...current, attributes, modifiedMs: wholeSeconds(context.now()) } };
  });
  return toObjectInfo(bucket.name, key, record);
}

export async function putAcl(
  context: StoreContext,
  ref: VersionRef,
  acl: string | undefined,
): Promise<ObjectInfo> {
  return relabelVersion(context, ref, (attributes) => {
    const { acl: _, ...rest } = attributes;
    return acl === undefined ? rest : { ...rest, acl };
  });
}

/** Times of objects are whole seconds, as their headers are. */
export function wholeSeconds(timeMs: number): number {
  return Math.floor(timeMs / 1000) * 1000;
}
