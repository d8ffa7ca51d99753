// Known answers for the framing of chunked streams, and every way to spoil one.

import assert from 'node:assert/strict';
import { createCipheriv, createSecretKey, randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { hex, readVectors } from '../../test/support/vectors.ts';
import type { AeadCipher } from './cipher.ts';
import {
  type ChunkedStreamCall,
  ChunkedStreamError,
  chunkedSize,
  openChunked,
  sealChunked,
} from './chunked-stream.ts';

type Framing = {
  Algorithm: string;
  BufSize: number;
  Key: string;
  Nonce: string;
  AssociatedData: string;
  Plaintext: string;
  Ciphertext: string;
};

const { stream_framing: framing } = readVectors('sse-config-blob.json') as {
  stream_framing: Framing[];
};

const key = randomBytes(32);
const nonce = randomBytes(8);
const call: ChunkedStreamCall = { cipher: 'aes-256-gcm', key, nonce };
const chunk = 16_384;

/**
 * HChaCha20, through the key stream of ChaCha20: the block's words 0-3 and 12-15 without the
 * initial state added.
 */
function hchacha20(secret: Buffer, input: Buffer): Buffer {
  const block = createCipheriv('chacha20', secret, input).update(Buffer.alloc(64));
  const out = Buffer.alloc(32);
  const constants = Buffer.from('expand 32-byte k');
  for (let word = 0; word < 4; word += 1) {
    const at = 4 * word;
    out.writeUInt32LE((block.readUInt32LE(at) - constants.readUInt32LE(at)) >>> 0, at);
    const tail = block.readUInt32LE(48 + at) - input.readUInt32LE(at);
    out.writeUInt32LE(tail >>> 0, 16 + at);
  }
  return out;
}

/**
 * XChaCha20-Poly1305 with nonce `n` is ChaCha20-Poly1305 under a derived key with the last 8 bytes
 * of `n`.
 */
function asChaCha(vector: Framing): ChunkedStreamCall {
  const wide = hex(vector.Nonce);
  return {
    cipher: 'chacha20-poly1305',
    key: hchacha20(hex(vector.Key), wide.subarray(0, 16)),
    nonce: Buffer.concat([Buffer.alloc(4), wide.subarray(16)]),
    associatedData: hex(vector.AssociatedData),
    chunkBytes: vector.BufSize,
  };
}

function asGcm128(vector: Framing): ChunkedStreamCall {
  return {
    cipher: 'aes-128-gcm' as AeadCipher, // not one of ours, but the framing is the same
    key: hex(vector.Key),
    nonce: hex(vector.Nonce),
    associatedData: hex(vector.AssociatedData),
    chunkBytes: vector.BufSize,
  };
}

void describe('a chunked stream', () => {
  void it('is byte for byte that of another implementation', () => {
    assert.equal(framing.length, 28);
    for (const vector of framing) {
      const of = vector.Algorithm === 'AES-128-GCM' ? asGcm128(vector) : asChaCha(vector);
      const sealed = sealChunked(of, hex(vector.Plaintext));
      assert.equal(sealed.toString('hex'), vector.Ciphertext);
      assert.equal(openChunked(of, sealed).toString('hex'), vector.Plaintext);
    }
  });

  void it('opens to what was sealed, and has the stated size', () => {
    for (const size of [0, 1, chunk - 1, chunk, chunk + 1, 3 * chunk, 40_000]) {
      const plaintext = randomBytes(size);
      for (const cipher of ['aes-256-gcm', 'chacha20-poly1305'] as const) {
        const sealed = sealChunked({ ...call, cipher }, plaintext);
        assert.equal(sealed.length, chunkedSize(size));
        assert(openChunked({ ...call, cipher }, sealed).equals(plaintext));
      }
    }
    const withKeyObject = { ...call, key: createSecretKey(key) };
    assert.equal(openChunked(withKeyObject, sealChunked(call, nonce)).compare(nonce), 0);
  });

  void it('gives nothing when a byte is changed, cut or added, or chunks are moved', () => {
    const plaintext = randomBytes(2 * chunk + 5);
    const sealed = sealChunked(call, plaintext);
    const refused = (bytes: Uint8Array) =>
      assert.throws(() => openChunked(call, bytes), ChunkedStreamError);
    fc.assert(
      fc.property(fc.nat(sealed.length - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
        const changed = Buffer.from(sealed);
        changed[at] = (changed[at] as number) ^ mask;
        refused(changed);
        refused(sealed.subarray(0, at));
      }),
      { numRuns: 50 },
    );
    const cut = chunk + 16;
    const [a, b, c] = [
      sealed.subarray(0, cut),
      sealed.subarray(cut, 2 * cut),
      sealed.subarray(2 * cut),
    ];
    for (const order of [
      [a, b],
      [b, c],
      [a, c],
      [b, a, c],
      [a, a, b, c],
      [a, b, c, c],
      [a, b, c, b],
    ]) {
      refused(Buffer.concat(order as Buffer[]));
    }
    refused(Buffer.concat([sealed, Buffer.alloc(1)]));
    refused(Buffer.alloc(0));
  });

  void it('does not open under another key, nonce, cipher or associated data', () => {
    const sealed = sealChunked(call, Buffer.from('secret'));
    for (const other of [
      { ...call, key: randomBytes(32) },
      { ...call, nonce: randomBytes(8) },
      { ...call, cipher: 'chacha20-poly1305' as const },
      { ...call, associatedData: Buffer.from('a') },
    ]) {
      assert.throws(() => openChunked(other, sealed), ChunkedStreamError);
    }
  });

  void it('needs an 8-byte nonce', () => {
    const wrong = { ...call, nonce: randomBytes(12) };
    assert.throws(() => sealChunked(wrong, nonce), assert.AssertionError);
  });
});
