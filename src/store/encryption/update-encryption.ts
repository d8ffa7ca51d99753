// Changing how an object that is there is encrypted. Between SSE-S3 and SSE-KMS, and from one master key to another,
// only the envelope changes: the object's key is sealed anew, no byte is written. A plain object is written again under
// a new key, part by part, beside the old bytes, and takes their place in one commit. What clients see of the
// version besides, its ETag and times included, stays as it is.

import { isDeepStrictEqual } from 'node:util';
import type { ObjectEnvelope } from '../../sse/envelope.ts';
import { deriveDataKey } from '../../sse/object-data.ts';
import { type BodyResult, discardBody, takeBody } from '../body.ts';
import { loadBucketForWrite } from '../buckets.ts';
import { assertUnclaimed, checksOfStored, type ObjectPlace, putsOfStored } from '../current.ts';
import { encodeName, partsEntry } from '../keys.ts';
import { assertDeletable } from '../versions/lock-rules.ts';
import { openOek, type ResealRequest, resealKey, startKey } from './object-encryption.ts';
import { putBytesMax } from '../objects.ts';
import { createOpenedObject } from '../reading.ts';
import { encodeParts, type ObjectRecord, type PartRecord, toObjectInfo } from '../records.ts';
import type { StoreContext } from '../store-context.ts';
import { type ObjectInfo, StoreError, type UpdateEncryptionInput } from '../types.ts';
import { loadVersion, updateVersion } from '../versions/versions.ts';

const attemptsMax = 5;

/** Thrown out of a commit when the version is not the one that was read. */
class ChangedMeanwhileError extends Error {}

export async function updateEncryption(
  context: StoreContext,
  input: UpdateEncryptionInput,
): Promise<ObjectInfo> {
  const { bucket: name, key, versionId, encryption: wanted } = input;
  const place = { bucket: await loadBucketForWrite(context, name), key, name: encodeName(key) };
  for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
    const record = await loadVersion(context, place, versionId);
    const { envelope } = record;
    assertUnlocked(context, record);
    try {
      const updated = envelope
        ? await reseal(context, place, { record, envelope, wanted })
        : await sealPlain(context, place, { record, wanted });
      return toObjectInfo(name, key, updated);
    } catch (error) {
      if (!(error instanceof ChangedMeanwhileError)) throw error;
    }
  }
  throw new StoreError(
    'ConditionalRequestConflict',
    'The object is being written by too many requests at the same time. Please try again.',
  );
}

/** Under another master key a protected version could be lost with that key. Throws `ObjectLocked`. */
function assertUnlocked(context: StoreContext, record: ObjectRecord): void {
  assertDeletable(record, { nowMs: context.now(), bypassesGovernance: false });
}

async function reseal(
  context: StoreContext,
  place: ObjectPlace,
  how: {
    readonly record: ObjectRecord;
    readonly envelope: ObjectEnvelope;
    readonly wanted: ResealRequest;
  },
): Promise<ObjectRecord> {
  const { record, envelope, wanted } = how;
  if (envelope.kind === 'sse-c' || envelope.kind === 'dsse-kms') {
    throw new StoreError(
      'InvalidRequest',
      "The UpdateObjectEncryption operation doesn't support source objects with the encryption type DSSE-KMS or SSE-C.",
    );
  }
  const at = { bucket: place.bucket.name, key: place.key };
  const oek = await openOek(context, at, { envelope, clientKey: undefined });
  try {
    // The client's context stays with the object: it is what reads are asked to be bound to.
    const { context: bound } = envelope.kind === 'sse-kms' ? envelope : {};
    const rebound = wanted.kind === 'sse-kms' && bound ? { ...wanted, context: bound } : wanted;
    const fresh = await resealKey(context, at, { wanted: rebound, oek });
    return await updateVersion(context, place, record.versionId, (current) => {
      if (!isDeepStrictEqual(current.envelope, envelope)) throw new ChangedMeanwhileError();
      assertUnlocked(context, current);
      return { record: { ...current, envelope: fresh } };
    });
  } finally {
    oek.fill(0);
  }
}

async function sealPlain(
  context: StoreContext,
  place: ObjectPlace,
  how: { readonly record: ObjectRecord; readonly wanted: ResealRequest },
): Promise<ObjectRecord> {
  const { record, wanted } = how;
  const key = startKey(context, place, wanted);
  if (!key) throw new Error('a key was asked for and not made');
  const written: BodyResult[] = [];
  try {
    const oek = await key.oek;
    for (const stream of streamsOf(record)) {
      written.push(await sealStream(context, place, { record, stream, oek }));
    }
    const envelope = await key.envelope;
    return await commitSealed(context, place, { record, envelope, written });
  } catch (error) {
    for (const body of written) await discardBody(context, body);
    throw error;
  } finally {
    key.wipe();
  }
}

/** One stream of the object: all of it, or a part. */
type Stream = { readonly start: number; readonly end: number; readonly number?: number };

function streamsOf(record: ObjectRecord): Stream[] {
  if (!record.parts) return [{ start: 0, end: record.sizeBytes }];
  let start = 0;
  return record.parts.map(({ number, sizeBytes }) => {
    const stream = { start, end: start + sizeBytes, number };
    start += sizeBytes;
    return stream;
  });
}

async function sealStream(
  context: StoreContext,
  place: ObjectPlace,
  of: { readonly record: ObjectRecord; readonly stream: Stream; readonly oek: Uint8Array },
): Promise<BodyResult> {
  const { start, end, number } = of.stream;
  const at = { bucket: place.bucket.name, key: place.key };
  const opened = createOpenedObject(context, { ...at, isVersioned: false }, of.record, undefined);
  const body = await opened.read({ start, end });
  const dataKey = deriveDataKey(of.oek, number);
  try {
    return await takeBody(
      context,
      { body, sizeBytes: end - start },
      // The ETag stays; nothing is to be computed.
      { dataKey: Promise.resolve(dataKey), sizeBytesMax: putBytesMax, hasSecretEtag: true },
    );
  } finally {
    dataKey.fill(0);
    if (!(body instanceof Uint8Array)) await body.close();
  }
}

async function commitSealed(
  context: StoreContext,
  place: ObjectPlace,
  made: {
    readonly record: ObjectRecord;
    readonly envelope: ObjectEnvelope;
    readonly written: readonly BodyResult[];
  },
): Promise<ObjectRecord> {
  const { record, envelope, written } = made;
  const parts = record.parts?.map((part, index) => sealedPart(part, written[index]));
  const [whole] = written;
  const partsId = context.createId();
  for (const body of written) await assertUnclaimed(context, body);
  const puts = written.flatMap((body) => putsOfStored(body, body.inlineBytes));
  if (parts) puts.push({ entryKey: partsEntry(partsId), value: encodeParts(parts) });
  const checks = written.flatMap(checksOfStored);
  return updateVersion(context, place, record.versionId, (current) => {
    const isSame =
      !current.envelope &&
      current.partsId === record.partsId &&
      isDeepStrictEqual(current.data, record.data);
    if (!isSame) throw new ChangedMeanwhileError();
    assertUnlocked(context, current);
    const stored = parts ? { parts, partsId } : whole && { data: placeOf(whole) };
    return { record: { ...current, envelope, ...stored }, puts, checks };
  });
}

function sealedPart(part: PartRecord, body: BodyResult | undefined): PartRecord {
  if (!body) throw new Error('a part was not sealed');
  const { nonce } = body;
  return { ...part, ...placeOf(body), ...(nonce ? { nonce } : {}) };
}

function placeOf({ place, storedBytes }: BodyResult): Pick<PartRecord, 'place' | 'storedBytes'> {
  return { place, storedBytes };
}
