// The chunked AEAD stream of sealed configuration and of admin payloads
// (docs/formats/encrypted-config.md): chunks of 16 KiB, each with its number in the nonce and a
// last-chunk mark in its associated data. These texts are small and must be acted on only whole, so
// both directions take and give whole buffers: a change anywhere, a cut or an extension gives
// nothing.

import assert from 'node:assert/strict';
import {
  type AeadCipher,
  type AeadKey,
  nonceBytes,
  openSealed,
  sealInto,
  tagBytes,
} from './cipher.ts';

export const chunkedNonceBytes = 8;
const chunkBytes = 16_384;
const notLast = 0x00;
const last = 0x80;
const noBytes = Buffer.alloc(0);

/** Not authentic: modified, cut, extended, or sealed under another key or nonce. */
export class ChunkedStreamError extends Error {
  readonly code = 'not-authentic';
  constructor() {
    super('The sealed data was modified, or the key is not its own.');
    this.name = 'ChunkedStreamError';
  }
}

export type ChunkedStreamCall = {
  readonly cipher: AeadCipher;
  /** 32 bytes. One key and nonce seal one stream. */
  readonly key: AeadKey;
  /** 8 bytes. */
  readonly nonce: Uint8Array;
  /** Bound to every chunk. Empty in both formats that use this stream. */
  readonly associatedData?: Uint8Array;
  /** 16384 unless told otherwise, for known answers in tests. */
  readonly chunkBytes?: number;
};

/** The size of the stream that holds so many plaintext bytes. */
export function chunkedSize(plainBytes: number): number {
  return plainBytes + tagBytes * Math.max(1, Math.ceil(plainBytes / chunkBytes));
}

/** The plaintext as one stream. */
export function sealChunked(call: ChunkedStreamCall, plaintext: Uint8Array): Buffer {
  const stream = startStream(call);
  const chunks = Math.max(1, Math.ceil(plaintext.length / stream.chunkBytes));
  const bytes = Buffer.allocUnsafeSlow(plaintext.length + chunks * tagBytes);
  let offset = 0;
  for (let index = 0; index < chunks; index += 1) {
    const start = index * stream.chunkBytes;
    const piece = plaintext.subarray(start, start + stream.chunkBytes);
    offset = sealInto(stream.chunk(index + 1, index === chunks - 1), [piece], { bytes, offset });
  }
  return bytes;
}

/** The plaintext of a whole stream. Throws `ChunkedStreamError`. */
export function openChunked(call: ChunkedStreamCall, sealed: Uint8Array): Buffer {
  const stream = startStream(call);
  const sealedChunk = stream.chunkBytes + tagBytes;
  const chunks = Math.max(1, Math.ceil(sealed.length / sealedChunk));
  const opened: Buffer[] = [];
  for (let index = 0; index < chunks; index += 1) {
    const start = index * sealedChunk;
    const piece = sealed.subarray(start, start + sealedChunk);
    const plaintext = openSealed(stream.chunk(index + 1, index === chunks - 1), piece);
    if (plaintext === undefined) throw new ChunkedStreamError();
    opened.push(plaintext);
  }
  return Buffer.concat(opened);
}

function startStream(call: ChunkedStreamCall) {
  assert(call.nonce.length === chunkedNonceBytes, 'a chunked stream has an 8-byte nonce');
  const { cipher, key } = call;
  const nonceOf = (sequence: number) => {
    const nonce = Buffer.alloc(nonceBytes);
    nonce.set(call.nonce);
    nonce.writeUInt32LE(sequence, chunkedNonceBytes);
    return nonce;
  };
  // Number 0 seals nothing: its tag goes into the associated data of every chunk.
  const first = Buffer.alloc(tagBytes);
  const associatedData = call.associatedData ?? noBytes;
  sealInto({ cipher, key, nonce: nonceOf(0), associatedData }, [], { bytes: first, offset: 0 });
  return {
    chunkBytes: call.chunkBytes ?? chunkBytes,
    chunk: (sequence: number, isLast: boolean) => ({
      cipher,
      key,
      nonce: nonceOf(sequence),
      associatedData: Buffer.concat([Buffer.of(isLast ? last : notLast), first]),
    }),
  };
}
