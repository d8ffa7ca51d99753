// Reading an opened object: from a range of its plaintext to the stored bytes that hold it, through its parts,
// decrypted and authenticated. What can fail early fails in `read`: the KMS, absent or damaged bytes, the
// first package. Keys are wiped when the last byte is out or the reader is closed.

import {
  deriveDataKey,
  layersOf,
  openData,
  openDataStream,
  sealedDataSize,
  sliceOf,
} from '../sse/object-data.ts';
import type { BlobReader, BlobReadOptions } from './blob-store.ts';
import { layersOfEnvelope } from './encryption/envelopes.ts';
import { inlineEntry } from './keys.ts';
import { assertNoClientKey, openClientOek, openOek } from './encryption/object-encryption.ts';
import { type ObjectRecord, type StoredBytes, toObjectInfo } from './records.ts';
import { unsealChecksums } from './encryption/sealed-checksum.ts';
import { type StoreContext, guarded, toStoreError } from './store-context.ts';
import {
  type ByteRange,
  type ClientKey,
  type ObjectBody,
  type OpenedObject,
  StoreError,
} from './types.ts';

type Target = { readonly bucket: string; readonly key: string };

/** One stream of the object that the range touches. */
type Segment = {
  readonly stored: StoredBytes;
  readonly sizeBytes: number;
  /** Bytes of this stream's plaintext. */
  readonly range: ByteRange;
  readonly partNumber: number | undefined;
  readonly nonce: Uint8Array | undefined;
};

/** The object's own key, empty when it is not encrypted. */
type ObjectKey = Buffer;

/** The object as found; `inlineBytes` when they were fetched with it, `clientKey` once it is unlocked. */
export function createOpenedObject(
  context: StoreContext,
  target: Target & { readonly isVersioned: boolean },
  record: ObjectRecord,
  inlineBytes: Uint8Array | undefined,
  clientKey?: ClientKey,
): OpenedObject {
  const info = toObjectInfo(target.bucket, target.key, record);
  const opened: OpenedObject = {
    info,
    isVersioned: target.isVersioned,
    unlock: (given) => {
      if (record.envelope?.kind !== 'sse-c') {
        assertNoClientKey(given);
        return opened;
      }
      const shown = unlockRecord(target, record, given);
      return createOpenedObject(context, target, shown, inlineBytes, given);
    },
    read: (range = { start: 0, end: record.sizeBytes }, options = {}) =>
      guarded(async () => {
        const { start, end } = range;
        if (!(start >= 0 && start <= end && end <= record.sizeBytes)) {
          throw new StoreError('InvalidArgument', 'The range is not within the object.');
        }
        const segments = segmentsOf(record, range);
        const { envelope } = record;
        const oek = envelope
          ? await openOek(context, target, { envelope, clientKey })
          : Buffer.alloc(0);
        return await readRange(context, { segments, inlineBytes, oek, options });
      }),
  };
  return opened;
}

/** The record of an SSE-C object as only its key shows it. Throws `InvalidRequest`, `ObjectCorrupt`. */
export function unlockRecord(
  target: Target,
  record: ObjectRecord,
  clientKey: ClientKey | undefined,
): ObjectRecord {
  if (record.envelope?.kind !== 'sse-c') return record;
  try {
    const oek = openClientOek(target, record.envelope, clientKey);
    try {
      return unsealChecksums(oek, record);
    } finally {
      oek.fill(0);
    }
  } catch (error) {
    throw toStoreError(error);
  }
}

async function readRange(
  context: StoreContext,
  source: {
    readonly segments: readonly Segment[];
    readonly inlineBytes: Uint8Array | undefined;
    readonly oek: ObjectKey;
    readonly options: BlobReadOptions;
  },
): Promise<ObjectBody> {
  const { segments, inlineBytes, oek, options } = source;
  const [only] = segments;
  if (segments.length > 1 || only?.stored.place.kind === 'blob') {
    return await startReader(readSegments(context, segments, { oek, options }));
  }
  try {
    return only ? await readInline(context, only, { oek, fetched: inlineBytes }) : Buffer.alloc(0);
  } finally {
    oek.fill(0);
  }
}

function segmentsOf(record: ObjectRecord, range: ByteRange): Segment[] {
  const layers = record.envelope && layersOfEnvelope(record.envelope);
  const segments: Segment[] = [];
  let before = 0;
  for (const stream of streamsOf(record)) {
    const { sizeBytes, storedBytes } = stream;
    if (storedBytes !== (layers ? sealedDataSize(sizeBytes, layers) : sizeBytes)) {
      throw corrupt('the sizes of the record do not agree');
    }
    const start = Math.max(range.start - before, 0);
    const end = Math.min(range.end - before, sizeBytes);
    if (start < end) {
      const { number: partNumber, nonce } = stream;
      segments.push({ stored: stream, sizeBytes, range: { start, end }, partNumber, nonce });
    }
    before += sizeBytes;
  }
  if (before !== record.sizeBytes) throw corrupt('the sizes of the record do not agree');
  return segments;
}

type Stream = StoredBytes & {
  readonly sizeBytes: number;
  readonly number?: number;
  readonly nonce?: Uint8Array;
};

function streamsOf(record: ObjectRecord): readonly Stream[] {
  if (record.parts) return record.parts;
  return record.data ? [{ ...record.data, sizeBytes: record.sizeBytes }] : [];
}

async function readInline(
  context: StoreContext,
  segment: Segment,
  from: { readonly oek: ObjectKey; readonly fetched: Uint8Array | undefined },
): Promise<Buffer> {
  const { stored, sizeBytes, range } = segment;
  const bytes = from.fetched ?? (await fetchInline(context, stored));
  if (bytes.length !== stored.storedBytes) throw corrupt('inline bytes of a wrong size');
  const plaintext = openInline(segment, bytes, from.oek);
  if (plaintext.length !== sizeBytes) throw corrupt('plaintext of a wrong size');
  return plaintext.subarray(range.start, range.end);
}

function openInline(segment: Segment, bytes: Uint8Array, oek: ObjectKey): Buffer {
  if (oek.length === 0) return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const dataKey = deriveDataKey(oek, segment.partNumber);
  try {
    return openData(dataKey, bytes, segment.nonce);
  } finally {
    dataKey.fill(0);
  }
}

async function fetchInline(context: StoreContext, stored: StoredBytes): Promise<Uint8Array> {
  if (stored.place.kind !== 'inline') throw corrupt('bytes at a wrong place');
  const entry = await context.kv.get(inlineEntry(stored.place.id));
  if (entry) return entry.value;
  throw new StoreError(
    'StorageUnavailable',
    'The object was overwritten while it was being opened. Please try again.',
  );
}

async function* readSegments(
  context: StoreContext,
  segments: readonly Segment[],
  how: { readonly oek: ObjectKey; readonly options: BlobReadOptions },
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    for (const segment of segments) {
      if (segment.stored.place.kind === 'inline') {
        yield await readInline(context, segment, { oek: how.oek, fetched: undefined });
      } else {
        yield* readBlob(context, segment, how);
      }
    }
  } catch (error) {
    throw toStoreError(error);
  } finally {
    how.oek.fill(0);
  }
}

async function* readBlob(
  context: StoreContext,
  segment: Segment,
  { oek, options }: { readonly oek: ObjectKey; readonly options: BlobReadOptions },
): AsyncGenerator<Uint8Array, void, undefined> {
  const { stored, sizeBytes, range, partNumber, nonce } = segment;
  if (stored.place.kind !== 'blob') throw corrupt('bytes at a wrong place');
  if (oek.length === 0) {
    const reader = await context.blobs.read(stored.place.id, range, options);
    try {
      yield* reader;
    } finally {
      await reader.close();
    }
    return;
  }
  const lengthBytes = range.end - range.start;
  const slice = {
    ...sliceOf(sizeBytes, range, layersOf(oek)),
    lengthBytes,
    ...(nonce ? { nonce } : {}),
    isSourceTransient: true,
    freesChunks: options.isTransient === true,
  };
  const stretch = { start: slice.storedStart, end: slice.storedEnd };
  const reader = await context.blobs.read(stored.place.id, stretch, { isTransient: true });
  const dataKey = deriveDataKey(oek, partNumber);
  try {
    yield* openDataStream(dataKey, reader, slice);
  } finally {
    dataKey.fill(0);
    await reader.close();
  }
}

/** Waits for the first chunk, so that the caller has not answered yet when the beginning is bad. */
async function startReader(
  source: AsyncGenerator<Uint8Array, void, undefined>,
): Promise<BlobReader> {
  const first = await source.next();
  async function* iterate(): AsyncGenerator<Uint8Array> {
    try {
      if (first.done) return;
      yield first.value;
      yield* source;
    } finally {
      await source.return();
    }
  }
  return {
    [Symbol.asyncIterator]: iterate,
    async close() {
      await source.return();
    },
  };
}

function corrupt(why: string): StoreError {
  return new StoreError(
    'ObjectCorrupt',
    'The stored data is damaged or was modified, and is not served.',
    {
      cause: new Error(why),
    },
  );
}
