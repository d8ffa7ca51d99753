// The bytes of an object under its own key: which key seals which bytes, how large they become, and which
// stored bytes a range of the plaintext needs. A single-part object is one DARE stream under the OEK; part
// n of a multipart object is one stream under its part key. Every stream gets a fresh random nonce. A part that is uploaded
// twice has two streams under one key; whoever keeps the nonce of the one that counts can tell them apart.
// A key of 64 bytes is two, inner and outer (DSSE-KMS): one stream within the other. Nonces given and checked are
// the outer stream's, which authenticates the inner one as a whole.

import { randomBytes } from 'node:crypto';
import {
  DareError,
  mapSealedRange,
  openDare,
  openDareStream,
  sealDare,
  sealDareStream,
  sealedSize,
} from '../aead/dare.ts';
import { derivePartKey, keySizeBytes } from './object-key.ts';
import { SseError } from './sse-error.ts';

/** The header of a DARE package ends with its nonce, whose first bit is the final flag. */
const headerBytes = 16;
const nonceBytes = 12;
const nonceMask = 0x7f;

/** Plaintext bytes `start` to `end`, end exclusive, of one stream. */
export type DataRange = { readonly start: number; readonly end: number };

/** How to read a range of one stream. */
export type DataSlice = LayerSlice & {
  /** Of the stream within, when there are two layers. */
  readonly inner?: LayerSlice & { readonly lengthBytes: number };
};

type LayerSlice = {
  /** Bytes of the sealed stream to read, end exclusive. */
  readonly storedStart: number;
  readonly storedEnd: number;
  /** Number of the first package that is read. */
  readonly sequence: number;
  /** Plaintext bytes to drop from the front of what is opened. */
  readonly skipBytes: number;
  /** True when the stream's last package is not read. */
  readonly isPartial: boolean;
};

/** The key of one stream: the OEK itself, or that of a part. The caller wipes it. */
export function deriveDataKey(oek: Uint8Array, partNumber: number | undefined): Buffer {
  if (partNumber === undefined) return Buffer.from(oek);
  if (!hasTwoLayers(oek)) return derivePartKey(oek, partNumber);
  const [inner, outer] = splitKey(oek).map((key) => derivePartKey(key, partNumber));
  const joined = Buffer.concat([inner ?? Buffer.alloc(0), outer ?? Buffer.alloc(0)]);
  inner?.fill(0);
  outer?.fill(0);
  return joined;
}

/** How often bytes are sealed. */
export type DataLayers = 1 | 2;

/** How often a key seals. */
export function layersOf(key: Uint8Array): DataLayers {
  return hasTwoLayers(key) ? 2 : 1;
}

function hasTwoLayers(key: Uint8Array): boolean {
  return key.length === 2 * keySizeBytes;
}

function splitKey(key: Uint8Array): readonly [inner: Uint8Array, outer: Uint8Array] {
  return [key.subarray(0, keySizeBytes), key.subarray(keySizeBytes)];
}

/** Stored size of `plainBytes` bytes. */
export function sealedDataSize(plainBytes: number, layers: DataLayers = 1): number {
  return layers === 1 ? sealedSize(plainBytes) : sealedSize(sealedSize(plainBytes));
}

/** A new stream's nonce, as its packages carry it apart from the final flag. */
export function createDataNonce(): Buffer {
  const nonce = randomBytes(nonceBytes);
  nonce[0] = (nonce[0] ?? 0) & nonceMask;
  return nonce;
}

/** The stored bytes of a small stream. The nonce is used for nothing else. */
export function sealData(
  key: Uint8Array,
  plaintext: Uint8Array,
  nonce: Uint8Array = createDataNonce(),
): Buffer {
  if (!hasTwoLayers(key)) return sealDare(key, plaintext, { nonce });
  const [inner, outer] = splitKey(key);
  return sealDare(outer, sealDare(inner, plaintext, { nonce: createDataNonce() }), { nonce });
}

/**
 * The stored bytes of a stream of any size. With `ownsChunks` the memory of the source's chunks is freed once
 * they are sealed. Errors of the source pass through.
 */
export function sealDataStream(
  key: Uint8Array,
  source: AsyncIterable<Uint8Array>,
  options: { readonly nonce?: Uint8Array; readonly ownsChunks?: boolean } = {},
): AsyncGenerator<Uint8Array> {
  if (!hasTwoLayers(key)) {
    return sealDareStream(key, source, { nonce: createDataNonce(), ...options });
  }
  const { nonce = createDataNonce(), ...more } = options;
  const [inner, outer] = splitKey(key);
  const within = sealDareStream(inner, source, { ...more, nonce: createDataNonce() });
  // What comes out of the inner cipher is used by nobody else.
  return sealDareStream(outer, within, { nonce, ownsChunks: true });
}

/** The plaintext of a whole stream, of this nonce when one is given. Throws `SseError` `object-tampered`. */
export function openData(key: Uint8Array, stored: Uint8Array, nonce?: Uint8Array): Buffer {
  try {
    if (nonce && stored.length > 0) assertNonce(stored, nonce);
    if (!hasTwoLayers(key)) return openDare(key, stored, { minVersion: 2 });
    const [inner, outer] = splitKey(key);
    return openDare(inner, openDare(outer, stored, { minVersion: 2 }), { minVersion: 2 });
  } catch (error) {
    throw asTampered(error);
  }
}

/** Which stored bytes hold the range of a stream of `plainBytes` bytes. */
export function sliceOf(plainBytes: number, range: DataRange, layers: DataLayers = 1): DataSlice {
  if (layers === 1) return layerSliceOf(plainBytes, range);
  const inner = layerSliceOf(plainBytes, range);
  const { storedStart: start, storedEnd: end } = inner;
  const outer = layerSliceOf(sealedSize(plainBytes), { start, end });
  return { ...outer, inner: { ...inner, lengthBytes: range.end - range.start } };
}

function layerSliceOf(plainBytes: number, range: DataRange): LayerSlice {
  const mapped = mapSealedRange([plainBytes], range);
  return {
    storedStart: mapped.sealedStart,
    storedEnd: mapped.sealedEnd,
    sequence: mapped.sequence,
    skipBytes: mapped.skipBytes,
    isPartial: mapped.sealedEnd < sealedSize(plainBytes),
  };
}

/**
 * The plaintext of a slice, `lengthBytes` bytes, from its stored bytes. Yields only authenticated bytes, of the stream with
 * this nonce when one is given. Throws `SseError` `object-tampered`; errors of the source pass through.
 */
export function openDataStream(
  key: Uint8Array,
  source: AsyncIterable<Uint8Array>,
  slice: DataSlice & OpenHow,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { inner: within, freesChunks = false, ...outerSlice } = slice;
  if (!within) return openLayerStream(key, source, slice);
  const [inner, outer] = splitKey(key);
  const lengthBytes = within.storedEnd - within.storedStart;
  const sealed = openLayerStream(outer, source, { ...outerSlice, lengthBytes });
  return openLayerStream(inner, sealed, { ...within, freesChunks });
}

type OpenHow = {
  readonly lengthBytes: number;
  readonly nonce?: Uint8Array;
  /** The source reuses a chunk's memory once the next is asked for. */
  readonly isSourceTransient?: boolean;
  /** The consumer is done with each chunk when it asks for the next. */
  readonly freesChunks?: boolean;
};

async function* openLayerStream(
  key: Uint8Array,
  source: AsyncIterable<Uint8Array>,
  slice: LayerSlice & OpenHow,
): AsyncGenerator<Uint8Array, void, undefined> {
  let skipBytes = slice.skipBytes;
  let leftBytes = slice.lengthBytes;
  try {
    const { sequence, isPartial, nonce, isSourceTransient = false, freesChunks = false } = slice;
    const checked = nonce ? withNonce(source, nonce) : source;
    for await (const chunk of openDareStream(key, checked, {
      sequence,
      isPartial,
      minVersion: 2,
      isSourceTransient,
      freesChunks,
    })) {
      const from = Math.min(skipBytes, chunk.length);
      const to = Math.min(chunk.length, from + leftBytes);
      skipBytes -= from;
      leftBytes -= to - from;
      if (to > from) yield chunk.subarray(from, to);
    }
  } catch (error) {
    throw asTampered(error);
  }
  if (leftBytes > 0) throw new SseError('object-tampered');
}

/** Passes everything on, after the first package's header was seen to carry the nonce. */
async function* withNonce(
  source: AsyncIterable<Uint8Array>,
  nonce: Uint8Array,
): AsyncGenerator<Uint8Array> {
  let head: Buffer | undefined = Buffer.alloc(0);
  for await (const chunk of source) {
    if (!head) {
      yield chunk;
      continue;
    }
    // What is kept beyond this turn is a copy: the source may reuse the chunk.
    const isEnough: boolean = head.length === 0 && chunk.length >= headerBytes;
    head = isEnough ? asBuffer(chunk) : Buffer.concat([head, chunk]);
    if (head.length < headerBytes) continue;
    assertNonce(head, nonce);
    yield head;
    head = undefined;
  }
  if (head) throw new SseError('object-tampered');
}

function assertNonce(stored: Uint8Array, nonce: Uint8Array): void {
  const found = Buffer.from(stored.subarray(headerBytes - nonceBytes, headerBytes));
  found[0] = (found[0] ?? 0) & nonceMask;
  if (!found.equals(nonce)) throw new SseError('object-tampered');
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

function asTampered(error: unknown): unknown {
  return error instanceof DareError ? new SseError('object-tampered', { cause: error }) : error;
}
