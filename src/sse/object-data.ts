// The bytes of an object under its own key: which key seals which bytes, how large they become, and which
// stored bytes a range of the plaintext needs. A single-part object is one DARE stream under the OEK; part
// n of a multipart object is one stream under its part key. Every stream gets a fresh random nonce. A part that is uploaded
// twice has two streams under one key; whoever keeps the nonce of the one that counts can tell them apart.

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
import { derivePartKey } from './object-key.ts';
import { SseError } from './sse-error.ts';

/** The header of a DARE package ends with its nonce, whose first bit is the final flag. */
const headerBytes = 16;
const nonceBytes = 12;
const nonceMask = 0x7f;

/** Plaintext bytes `start` to `end`, end exclusive, of one stream. */
export type DataRange = { readonly start: number; readonly end: number };

/** How to read a range of one stream. */
export type DataSlice = {
  /** Stored bytes to read, end exclusive. */
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
  return partNumber === undefined ? Buffer.from(oek) : derivePartKey(oek, partNumber);
}

/** Stored size of `plainBytes` bytes. */
export function sealedDataSize(plainBytes: number): number {
  return sealedSize(plainBytes);
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
  return sealDare(key, plaintext, { nonce });
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
  return sealDareStream(key, source, { nonce: createDataNonce(), ...options });
}

/** The plaintext of a whole stream, of this nonce when one is given. Throws `SseError` `object-tampered`. */
export function openData(key: Uint8Array, stored: Uint8Array, nonce?: Uint8Array): Buffer {
  try {
    if (nonce && stored.length > 0) assertNonce(stored, nonce);
    return openDare(key, stored, { minVersion: 2 });
  } catch (error) {
    throw asTampered(error);
  }
}

/** Which stored bytes hold the range of a stream of `plainBytes` bytes. */
export function sliceOf(plainBytes: number, range: DataRange): DataSlice {
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
export async function* openDataStream(
  key: Uint8Array,
  source: AsyncIterable<Uint8Array>,
  slice: DataSlice & {
    readonly lengthBytes: number;
    readonly nonce?: Uint8Array;
    /** The source reuses a chunk's memory once the next is asked for. */
    readonly isSourceTransient?: boolean;
    /** The consumer is done with each chunk when it asks for the next. */
    readonly freesChunks?: boolean;
  },
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
