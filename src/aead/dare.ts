// DARE streams (docs/formats/dare.md): authenticated encryption of data of any size in packages of
// 64 KiB, so that it can be written without knowing its size and read from the middle. We write
// version 2.0 and read 2.0 and 1.0. One key seals one stream. An open never yields a byte that was
// not authenticated at its own place; a changed, dropped, repeated, reordered or cut stream ends in
// a `DareError`. One thing a stream cannot tell: no bytes at all are a valid empty stream, so
// whoever stores streams keeps their sizes too.

import assert from 'node:assert/strict';
import { randomFillSync } from 'node:crypto';
import { freeBytes } from '../base/bytes.ts';
import { ByteQueue } from './byte-queue.ts';
import { type AeadCipher, type AeadKey, keyBytes, nonceBytes } from './cipher.ts';
import {
  DareError,
  overheadBytes,
  packageBytesMax,
  payloadBytesMax,
  sealedSize,
} from './dare-format.ts';
import { PackageOpener, type SealState, sealPackage } from './dare-package.ts';

export {
  DareError,
  type DareErrorCode,
  mapSealedRange,
  plainSize,
  type SealedRange,
  sealedSize,
} from './dare-format.ts';

/** Packages that a streamed seal puts into one output buffer. */
const batchPackages = 8;

export type SealOptions = {
  /** AES-256-GCM unless told otherwise. */
  readonly cipher?: AeadCipher;
  /** The 12 random bytes of the stream, for known answers in tests. Random unless given. */
  readonly nonce?: Uint8Array;
  /** Nobody else uses the chunks of the source: their memory is freed once sealed. Default false. */
  readonly ownsChunks?: boolean;
};

export type OpenOptions = {
  /** 2 refuses version 1.0 streams. Default 1. */
  readonly minVersion?: 1 | 2;
  /** The number of the first package in the input. Default 0. */
  readonly sequence?: number;
};

export type OpenStreamOptions = OpenOptions & {
  /** The input may end before the final package: a range that stops early. Default false. */
  readonly isPartial?: boolean;
  /** The source reuses a chunk's memory once the next is asked for. Default false. */
  readonly isSourceTransient?: boolean;
  /** The consumer is done with each chunk when it asks for the next: its memory is freed then. Default false. */
  readonly freesChunks?: boolean;
};

/** The whole plaintext as one stream. The key has 32 bytes and is used for no other stream. */
export function sealDare(key: AeadKey, plaintext: Uint8Array, options: SealOptions = {}): Buffer {
  const state = startSeal(key, options);
  const bytes = Buffer.allocUnsafe(sealedSize(plaintext.length));
  let offset = 0;
  for (let sequence = 0; offset < bytes.length; sequence += 1) {
    const start = sequence * payloadBytesMax;
    const isFinal = plaintext.length - start <= payloadBytesMax;
    const piece = plaintext.subarray(start, start + payloadBytesMax);
    const payload = { pieces: [piece], sizeBytes: piece.length };
    offset = sealPackage(state, { sequence, isFinal }, payload, { bytes, offset });
  }
  return bytes;
}

/** The plaintext of a whole stream. Throws `DareError`. */
export function openDare(key: AeadKey, sealed: Uint8Array, options: OpenOptions = {}): Buffer {
  const opener = startOpen(key, options);
  const pieces: Buffer[] = [];
  for (let offset = 0; offset < sealed.length; ) {
    const size = nextSize(opener, sealed.length - offset, (index) => sealed[offset + index]);
    pieces.push(opener.open(sealed.subarray(offset, offset + size)));
    offset += size;
  }
  if (!opener.mayEnd) throw new DareError('unexpected-end');
  return pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces);
}

/** The size of the package at the front of input that ends after `remaining` bytes. */
function nextSize(
  opener: PackageOpener,
  remaining: number,
  peek: (index: number) => number | undefined,
): number {
  if (!opener.isSelfSized(peek(0))) return Math.min(remaining, packageBytesMax);
  if (remaining <= overheadBytes) return remaining;
  const payloadBytes = 1 + (peek(2) as number) + 256 * (peek(3) as number); // there are 33 bytes
  return Math.min(overheadBytes + payloadBytes, remaining);
}

function startSeal(key: AeadKey, options: SealOptions): SealState {
  assert(keyBytes(key) === 32, 'a stream key has 32 bytes');
  const nonce = Buffer.from(options.nonce ?? randomFillSync(Buffer.allocUnsafe(nonceBytes)));
  assert(nonce.length === nonceBytes, 'a stream nonce has 12 bytes');
  nonce[0] = (nonce[0] as number) & 0x7f;
  return { key, cipher: options.cipher ?? 'aes-256-gcm', nonce };
}

function startOpen(key: AeadKey, options: OpenOptions): PackageOpener {
  assert(keyBytes(key) === 32, 'a stream key has 32 bytes');
  const { sequence = 0, minVersion = 1 } = options;
  assert(Number.isSafeInteger(sequence) && sequence >= 0, 'a sequence number is a whole number');
  return new PackageOpener(key, { sequence, minVersion });
}

/**
 * The same stream from chunks of any size, in buffers of up to eight packages; holds about as much
 * in memory. The source must not change a chunk after it gave it out. Its errors pass through.
 */
export async function* sealDareStream(
  key: AeadKey,
  source: AsyncIterable<Uint8Array>,
  options: SealOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const state = startSeal(key, options);
  const queue = new ByteQueue(options);
  let sequence = 0;
  for await (const chunk of source) {
    queue.push(chunk);
    // A full package may only be sealed as not final when at least one more byte is there.
    while (queue.length > batchPackages * payloadBytesMax) {
      yield sealBatch(state, queue, { sequence, packages: batchPackages, isEnd: false });
      sequence += batchPackages;
    }
  }
  if (queue.length === 0) return;
  yield sealBatch(state, queue, {
    sequence,
    packages: Math.ceil(queue.length / payloadBytesMax),
    isEnd: true,
  });
}

function sealBatch(
  state: SealState,
  queue: ByteQueue,
  batch: { readonly sequence: number; readonly packages: number; readonly isEnd: boolean },
): Buffer {
  const plainBytes = Math.min(queue.length, batch.packages * payloadBytesMax);
  const bytes = Buffer.allocUnsafeSlow(sealedSize(plainBytes));
  let offset = 0;
  for (let index = 0; index < batch.packages; index += 1) {
    const sizeBytes = Math.min(queue.length, payloadBytesMax);
    const payload = { pieces: queue.takePieces(sizeBytes), sizeBytes };
    const isFinal = batch.isEnd && index === batch.packages - 1;
    const place = { sequence: batch.sequence + index, isFinal };
    offset = sealPackage(state, place, payload, { bytes, offset });
  }
  queue.freeSpent();
  return bytes;
}

/**
 * The plaintext of a stream given in chunks of any size, a package at a time. Yields only
 * authenticated bytes; throws `DareError` at the first package that is not right, and passes errors
 * of the source through.
 */
export async function* openDareStream(
  key: AeadKey,
  source: AsyncIterable<Uint8Array>,
  options: OpenStreamOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const opener = startOpen(key, options);
  const queue = new ByteQueue();
  const scratch = Buffer.allocUnsafeSlow(packageBytesMax);
  const openNext = () => {
    const size = nextSize(opener, queue.length, (index) => queue.peek(index));
    return opener.open(queue.take(size, scratch));
  };
  for await (const chunk of source) {
    queue.push(chunk);
    // Only the last package may be shorter (2.0); one that says its own size (1.0) is never longer.
    while (queue.length >= packageBytesMax) {
      const plaintext = openNext();
      yield plaintext;
      if (options.freesChunks === true) freeBytes(plaintext);
    }
    if (options.isSourceTransient === true) queue.detach();
  }
  while (queue.length > 0) yield openNext();
  if (!opener.mayEnd && options.isPartial !== true) throw new DareError('unexpected-end');
}
