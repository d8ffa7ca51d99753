// Multipart uploads, as a story. Create makes the upload's entry, with its object key sealed in it (one KMS
// call). Every part is stored like an object of its own, under the part's key, and commits its entry against
// the upload's, so no part can slip into an upload that is over. Complete reads the parts, checks everything
// the client said about them, and in one commit makes the object, which takes the parts' stored bytes over
// without copying, and removes the upload. It depends on every part it read: a part replaced meanwhile makes
// it look again. Abort removes the upload first and the parts after it.

import type { ObjectEnvelope } from '../../sse/envelope.ts';
import { deriveDataKey } from '../../sse/object-data.ts';
import { type BodyResult, discardBody, takeBody } from '../body.ts';
import { type LoadedBucket, loadBucket, loadBucketForWrite } from '../buckets.ts';
import { partChecksum } from './complete-checks.ts';
import {
  assertStillPlain,
  assertUnclaimed,
  checksOfStored,
  dropStored,
  putsOfStored,
} from '../current.ts';
import { assertUploadDue } from '../lifecycle/due.ts';
import { encryptionOf, hasSecretEtag } from '../encryption/envelopes.ts';
import {
  encodeName,
  garbageEntry,
  isId,
  partEntry,
  partsRange,
  type UploadPlace,
  uploadEntry,
} from '../keys.ts';
import type { KvCheck, KvPut } from '../kv.ts';
import { assertLockable } from '../versions/lock-rules.ts';
import {
  assertNoClientKey,
  assertTakesClientKeys,
  openClientOek,
  openOek,
  startKey,
} from '../encryption/object-encryption.ts';
import { putBytesMax, wholeSeconds } from '../objects.ts';
import {
  decodePart,
  decodeUpload,
  encodeGarbage,
  encodePart,
  encodeUpload,
  type PartRecord,
  toPartInfo,
  type UploadRecord,
} from '../records.ts';
import { sealChecksum } from '../encryption/sealed-checksum.ts';
import type { StoreContext } from '../store-context.ts';
import {
  type ByRules,
  type ClientKey,
  type CreateUploadInput,
  type ListPartsPage,
  type ListPartsQuery,
  type PartInfo,
  type PutPartInput,
  StoreError,
  type UploadInfo,
  type UploadRef,
} from '../types.ts';
import { dropUploadParts } from './upload-parts.ts';

const partNumberMax = 10_000;
const attemptsMax = 50;

export type LoadedUpload = {
  readonly bucket: LoadedBucket;
  readonly place: UploadPlace;
  readonly record: UploadRecord;
  /** Makes a commit depend on the upload being there. */
  readonly check: KvCheck;
};

export async function createUpload(
  context: StoreContext,
  input: CreateUploadInput,
): Promise<UploadInfo> {
  const name = encodeName(input.key);
  const bucket = await loadBucketForWrite(context, input.bucket);
  assertLockable(bucket.record.settings, input.lock, context.now());
  const key = startKey(context, { bucket, key: input.key }, input.encryption);
  try {
    const envelope = await key?.envelope;
    const nowMs = context.now();
    const place = { bucketId: bucket.record.id, name, uploadId: context.createId() };
    const record: UploadRecord = {
      initiatedMs: wholeSeconds(nowMs),
      owner: input.owner,
      attributes: input.attributes,
      ...(input.lock ? { lock: input.lock } : {}),
      ...(envelope ? { envelope } : {}),
      ...(input.checksum ? { checksum: input.checksum } : {}),
    };
    await commitUpload(context, bucket, place, record);
    return toUploadInfo(input.bucket, input.key, place.uploadId, record);
  } finally {
    key?.wipe();
  }
}

async function commitUpload(
  context: StoreContext,
  bucket: LoadedBucket,
  place: UploadPlace,
  record: UploadRecord,
): Promise<void> {
  const puts = [{ entryKey: uploadEntry(place), value: encodeUpload(record) }];
  let { check } = bucket;
  for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
    if ((await context.kv.commit({ checks: [check], puts })) === 'committed') return;
    const loaded = await loadBucketForWrite(context, bucket.name);
    if (!loaded.record.id.equals(bucket.record.id)) {
      throw new StoreError('NoSuchBucket', 'The specified bucket does not exist');
    }
    if (!record.envelope) assertStillPlain(bucket, loaded, Buffer.from(place.name).toString());
    check = loaded.check;
  }
  throw tooBusy();
}

/** The upload, or undefined when it is over or never was. Throws `NoSuchBucket`. */
export async function findUpload(
  context: StoreContext,
  ref: UploadRef,
): Promise<{ readonly bucket: LoadedBucket; readonly place: UploadPlace } & Partial<LoadedUpload>> {
  const name = encodeName(ref.key);
  const bucket = await loadBucket(context, ref.bucket);
  if (!isId(ref.uploadId)) throw noSuchUpload(ref);
  const place = { bucketId: bucket.record.id, name, uploadId: ref.uploadId };
  const entryKey = uploadEntry(place);
  const entry = await context.kv.get(entryKey);
  if (!entry) return { bucket, place };
  const check = { entryKey, version: entry.version };
  return { bucket, place, record: decodeUpload(entry.value), check };
}

/** Throws `NoSuchBucket`, `NoSuchUpload`. */
export async function loadUpload(context: StoreContext, ref: UploadRef): Promise<LoadedUpload> {
  const { bucket, place, record, check } = await findUpload(context, ref);
  if (!record || !check) throw noSuchUpload(ref);
  return { bucket, place, record, check };
}

export async function getUpload(context: StoreContext, ref: UploadRef): Promise<UploadInfo> {
  const { record } = await loadUpload(context, ref);
  return toUploadInfo(ref.bucket, ref.key, ref.uploadId, record);
}

export async function putPart(context: StoreContext, input: PutPartInput): Promise<PartInfo> {
  const { partNumber } = input;
  if (!Number.isInteger(partNumber) || partNumber < 1 || partNumber > partNumberMax) {
    throw new StoreError(
      'InvalidArgument',
      'Part number must be an integer between 1 and 10000, inclusive',
      { details: { ArgumentName: 'partNumber', ArgumentValue: String(partNumber) } },
    );
  }
  const upload = await loadUpload(context, input);
  if (upload.record.envelope?.kind === 'sse-c') assertTakesClientKeys(upload.bucket);
  const checksum = partChecksum(upload.record, input.checksum);
  const dataKey = startPartKey(context, input, upload.record);
  try {
    const { checksum: _, ...plain } = input;
    const body = { ...plain, ...(checksum ? { checksum } : {}) };
    const taken = await takeBody(context, body, {
      dataKey,
      sizeBytesMax: putBytesMax,
      hasSecretEtag: hasSecretEtag(upload.record.envelope?.kind),
    });
    try {
      const sealedChecksum =
        upload.record.envelope?.kind === 'sse-c' && dataKey && taken.checksum
          ? sealChecksum(await dataKey, taken.checksum)
          : undefined;
      return await commitPart(context, input, upload, { ...taken, sealedChecksum });
    } catch (error) {
      await discardBody(context, taken);
      throw error;
    }
  } finally {
    dataKey?.then((key) => key.fill(0)).catch(() => undefined);
  }
}

/**
 * The part's key, beside the body: one KMS call when the upload is encrypted, none with SSE-C, where the
 * client's key is used before this returns. Throws `InvalidRequest` when that key is not the upload's.
 */
function startPartKey(
  context: StoreContext,
  ref: PutPartInput,
  record: UploadRecord,
): Promise<Buffer> | undefined {
  const { envelope } = record;
  const { clientKey } = ref;
  if (envelope?.kind !== 'sse-c') assertNoClientKey(clientKey);
  if (!envelope) return undefined;
  const place = { bucket: ref.bucket, key: ref.key };
  const opening =
    envelope.kind === 'sse-c'
      ? Promise.resolve(openUploadOek(place, envelope, clientKey))
      : openOek(context, place, { envelope, clientKey });
  const started = opening.then((oek) => {
    const key = deriveDataKey(oek, ref.partNumber);
    oek.fill(0);
    return key;
  });
  started.catch(() => undefined);
  return started;
}

/** The key of an SSE-C upload. Throws `InvalidRequest` when the client's key is missing or another one. */
export function openUploadOek(
  place: { readonly bucket: string; readonly key: string },
  envelope: ObjectEnvelope & { readonly kind: 'sse-c' },
  clientKey: ClientKey | undefined,
): Buffer {
  if (clientKey) return openClientOek(place, envelope, clientKey);
  throw new StoreError(
    'InvalidRequest',
    'The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters.',
  );
}

async function commitPart(
  context: StoreContext,
  input: PutPartInput,
  upload: LoadedUpload,
  body: BodyResult & { readonly sealedChecksum: Uint8Array | undefined },
): Promise<PartInfo> {
  const { checksum, sealedChecksum } = body;
  const part: PartRecord = {
    number: input.partNumber,
    sizeBytes: body.sizeBytes,
    etag: body.etag,
    modifiedMs: wholeSeconds(context.now()),
    ...(sealedChecksum ? { sealedChecksum } : checksum ? { checksum } : {}),
    place: body.place,
    storedBytes: body.storedBytes,
    ...(body.nonce ? { nonce: body.nonce } : {}),
  };
  const entryKey = partEntry(upload.place, input.partNumber);
  for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
    await assertUnclaimed(context, body);
    const before = await context.kv.get(entryKey);
    const puts: KvPut[] = [{ entryKey, value: encodePart(part) }];
    puts.push(...putsOfStored(body, body.inlineBytes));
    const deletes: Uint8Array[] = [];
    if (before) {
      const replaced = {
        stored: [decodePart(before.value)],
        graceMs: context.settings.garbageGraceMs,
      };
      dropStored(context, replaced, { puts, deletes });
    }
    const version = before?.version ?? ('absent' as const);
    const checks = [upload.check, { entryKey, version }, ...checksOfStored(body)];
    if ((await context.kv.commit({ checks, puts, deletes })) === 'committed') {
      return { ...toPartInfo(part), ...(checksum ? { checksum } : {}) };
    }
    await loadUpload(context, input);
  }
  throw tooBusy();
}

export async function listParts(
  context: StoreContext,
  query: ListPartsQuery,
): Promise<ListPartsPage> {
  const { place, record } = await loadUpload(context, query);
  const upload = toUploadInfo(query.bucket, query.key, query.uploadId, record);
  if (query.limit < 1 || query.afterPart >= partNumberMax) {
    return { upload, parts: [], isTruncated: false };
  }
  const start = partEntry(place, Math.max(query.afterPart, 0) + 1);
  const { end } = partsRange(place);
  const entries = await context.kv.list({ start, end, limit: query.limit + 1 });
  const parts = entries.slice(0, query.limit).map((entry) => toPartInfo(decodePart(entry.value)));
  return { upload, parts, isTruncated: entries.length > query.limit };
}

export async function abortUpload(
  context: StoreContext,
  ref: UploadRef,
  byRules?: ByRules,
): Promise<void> {
  for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
    const { place, check, bucket, record } = await loadUpload(context, ref);
    if (byRules) assertUploadDue(context, { bucket, key: ref.key, record }, byRules);
    const garbage = encodeGarbage({ kind: 'upload', ...place });
    const outcome = await context.kv.commit({
      checks: byRules ? [check, bucket.check] : [check],
      puts: [{ entryKey: garbageEntry(context.now()), value: garbage }],
      deletes: [check.entryKey],
    });
    if (outcome === 'conflict') continue;
    // Whatever fails here is done by the sweep.
    await dropUploadParts(context, place).catch((error: unknown) => {
      context.log.warn('parts of an aborted upload are left to the sweep', { error });
    });
    return;
  }
  throw tooBusy();
}

export function toUploadInfo(
  bucket: string,
  key: string,
  uploadId: string,
  record: UploadRecord,
): UploadInfo {
  const { initiatedMs, owner, attributes, envelope, checksum } = record;
  return {
    bucket,
    key,
    uploadId,
    initiatedMs,
    owner,
    attributes,
    ...(envelope ? { encryption: encryptionOf(envelope) } : {}),
    ...(checksum ? { checksum } : {}),
  };
}

export function noSuchUpload(ref: UploadRef): StoreError {
  return new StoreError(
    'NoSuchUpload',
    'The specified multipart upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.',
    { details: { UploadId: ref.uploadId } },
  );
}

function tooBusy(): StoreError {
  return new StoreError(
    'StorageUnavailable',
    'The upload is being written by too many requests at the same time. Please try again.',
  );
}
