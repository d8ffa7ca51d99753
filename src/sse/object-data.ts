// The bytes of an object under its own key: which key seals which bytes, how large they become, and which
// stored bytes a range of the plaintext needs. A single-part object is one DARE stream under the OEK; part
// n of a multipart object is one stream under its part key. Every stream gets a fresh random nonce.

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

/** The stored bytes of a small stream. */
export function sealData(key: Uint8Array, plaintext: Uint8Array): Buffer {
  return sealDare(key, plaintext);
}

/** The stored bytes of a stream of any size. Errors of the source pass through. */
export function sealDataStream(
  key: Uint8Array,
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  return sealDareStream(key, source);
}

/** The plaintext of a whole stream. Throws `SseError` `object-tampered`. */
export function openData(key: Uint8Array, stored: Uint8Array): Buffer {
  try {
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
 * The plaintext of a slice, `lengthBytes` bytes, from its stored bytes. Yields only authenticated bytes.
 * Throws `SseError` `object-tampered`; errors of the source pass through.
 */
export async function* openDataStream(
  key: Uint8Array,
  source: AsyncIterable<Uint8Array>,
  slice: DataSlice & { readonly lengthBytes: number },
): AsyncGenerator<Uint8Array, void, undefined> {
  let skipBytes = slice.skipBytes;
  let leftBytes = slice.lengthBytes;
  try {
    const { sequence, isPartial } = slice;
    for await (const chunk of openDareStream(key, source, { sequence, isPartial, minVersion: 2 })) {
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

function asTampered(error: unknown): unknown {
  return error instanceof DareError ? new SseError('object-tampered', { cause: error }) : error;
}
