// Completing an upload: see `multipart.ts` for the story. A call that succeeded is remembered for a day, so that
// a client that missed the answer may ask again.

import {
  assertPartOrder,
  type CompletedObject,
  completeFrom,
  selectParts,
} from './complete-checks.ts';
import { completedEntry, garbageEntry, partsEntry, partsRange } from '../keys.ts';
import type { KvCheck } from '../kv.ts';
import { findUpload, type LoadedUpload, noSuchUpload, openUploadOek } from './multipart.ts';
import { assertNoClientKey } from '../encryption/object-encryption.ts';
import { wholeSeconds } from '../objects.ts';
import { unlockRecord } from '../reading.ts';
import {
  decodeObject,
  decodePart,
  encodeGarbage,
  encodeObject,
  encodeParts,
  type ObjectRecord,
  type PartRecord,
  toObjectInfo,
  type UploadRecord,
} from '../records.ts';
import { sealChecksum, unsealPart } from '../encryption/sealed-checksum.ts';
import type { StoreContext } from '../store-context.ts';
import type { CompleteUploadInput, ObjectInfo } from '../types.ts';
import { dropUploadParts } from './upload-parts.ts';
import { listAll } from '../usage.ts';
import { nullVersionId } from '../versions/version-ids.ts';
import { type Change, commitCurrent } from '../versions/versions.ts';

const rememberedMs = 86_400_000;

type LoadedPart = { readonly part: PartRecord; readonly check: KvCheck };

export async function completeUpload(
  context: StoreContext,
  input: CompleteUploadInput,
): Promise<ObjectInfo> {
  const { bucket, place, check } = await findUpload(context, input);
  if (!check) return answerAgain(context, input);
  assertPartOrder(input.parts);
  const target = { bucket, key: input.key, name: place.name };
  const plan = async (): Promise<Change | undefined> => {
    const upload = await findUpload(context, input);
    // Another call was faster: its outcome is ours.
    if (!upload.record || !upload.check) return undefined;
    return planCompletion(context, input, upload as LoadedUpload);
  };
  const made = await commitCurrent(context, target, plan, input.conditions);
  if (!made) return answerAgain(context, input);
  // Parts that were uploaded but not listed; whatever fails here is done by the sweep.
  await dropUploadParts(context, place).catch((error: unknown) => {
    context.log.warn('unused parts of an upload are left to the sweep', { error });
  });
  return shownOf(input, made);
}

/** What the caller sees of the object: all of it, when they brought the key. */
function shownOf(input: CompleteUploadInput, record: ObjectRecord): ObjectInfo {
  const { bucket, key, clientKey } = input;
  const shown = clientKey === undefined ? record : unlockRecord({ bucket, key }, record, clientKey);
  return toObjectInfo(bucket, key, shown);
}

/** The outcome of an earlier call. Throws `NoSuchUpload` when there was none. */
async function answerAgain(context: StoreContext, input: CompleteUploadInput): Promise<ObjectInfo> {
  const { place } = await findUpload(context, input);
  const entry = await context.kv.get(completedEntry(place));
  if (!entry) throw noSuchUpload(input);
  return shownOf(input, decodeObject(entry.value));
}

async function planCompletion(
  context: StoreContext,
  input: CompleteUploadInput,
  upload: LoadedUpload,
): Promise<Change> {
  const stored = await loadParts(context, upload);
  const byNumber = new Map([...stored].map(([number, { part }]) => [number, part]));
  const parts = selectParts(input, byNumber);
  const completed = completeWithKey(upload.record, input, parts);
  const { attributes, owner, envelope, lock } = upload.record;
  const nowMs = context.now();
  const record: ObjectRecord = {
    versionId: nullVersionId,
    etag: completed.etag,
    sizeBytes: completed.sizeBytes,
    modifiedMs: wholeSeconds(nowMs),
    attributes,
    owner,
    ...(lock ? { lock } : {}),
    ...(envelope ? { envelope } : {}),
    ...completed.checksums,
    parts,
    partsId: context.createId(),
  };
  return { record, ...describe(context, upload, { record, stored }) };
}

type Completed = Omit<CompletedObject, 'checksum'> & {
  readonly checksums: Pick<ObjectRecord, 'checksum' | 'sealedChecksum'>;
};

/**
 * What follows from the parts. The checksums of an SSE-C upload are sealed, so they are checked and combined
 * with the client's key. Throws `InvalidRequest` when that key is needed and missing, or is another one.
 */
function completeWithKey(
  upload: UploadRecord,
  input: CompleteUploadInput,
  parts: readonly PartRecord[],
): Completed {
  const { envelope } = upload;
  const { clientKey } = input;
  if (envelope?.kind !== 'sse-c') assertNoClientKey(clientKey);
  const hasChecksums = upload.checksum !== undefined || parts.some((part) => part.sealedChecksum);
  if (envelope?.kind !== 'sse-c' || (clientKey === undefined && !hasChecksums)) {
    const { checksum, ...completed } = completeFrom(upload, input, parts);
    return { ...completed, checksums: checksum ? { checksum } : {} };
  }
  const oek = openUploadOek(input, envelope, clientKey);
  try {
    const opened = parts.map((part) => unsealPart(oek, part));
    const { checksum, ...completed } = completeFrom(upload, input, opened);
    return {
      ...completed,
      checksums: checksum ? { sealedChecksum: sealChecksum(oek, checksum) } : {},
    };
  } finally {
    oek.fill(0);
  }
}

/** The parts' entries go, their bytes stay with the object; what is left over is the sweep's. */
function describe(
  context: StoreContext,
  upload: LoadedUpload,
  made: {
    readonly record: ObjectRecord;
    readonly stored: ReadonlyMap<number, LoadedPart>;
  },
): Omit<Change, 'record'> {
  const { place } = upload;
  const checks = [upload.check];
  const { parts = [], partsId = '' } = made.record;
  for (const { number } of parts) {
    const loaded = made.stored.get(number);
    if (loaded) checks.push(loaded.check);
  }
  const nowMs = context.now();
  const entryKey = completedEntry(place);
  const forget = encodeGarbage({ kind: 'entries', entryKeys: [entryKey] });
  const leftOver = encodeGarbage({ kind: 'upload', ...place });
  return {
    checks,
    deletes: checks.map((check) => check.entryKey),
    puts: (record) => [
      { entryKey: partsEntry(partsId), value: encodeParts(parts) },
      { entryKey, value: encodeObject(record) },
      { entryKey: garbageEntry(nowMs + rememberedMs), value: forget },
      { entryKey: garbageEntry(nowMs), value: leftOver },
    ],
  };
}

async function loadParts(
  context: StoreContext,
  upload: LoadedUpload,
): Promise<Map<number, LoadedPart>> {
  const parts = new Map<number, LoadedPart>();
  for await (const { entryKey, value, version } of listAll(context, partsRange(upload.place))) {
    const part = decodePart(value);
    parts.set(part.number, { part, check: { entryKey, version } });
  }
  return parts;
}
