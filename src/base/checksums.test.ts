// Known answers and properties of the checksums, against a bit-by-bit definition.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import {
  type CrcAlgorithm,
  checksumAlgorithms,
  checksumBytes,
  checksumOf,
  combineCrc,
  createChecksum,
  isCrc,
} from './checksums.ts';

const crcs: readonly CrcAlgorithm[] = ['CRC32', 'CRC32C', 'CRC64NVME'];

/** The definition of a reflected CRC, bit by bit: the oracle of the table code. */
function slowCrc(algorithm: CrcAlgorithm, bytes: Uint8Array): Buffer {
  const [polynomial, width] = {
    CRC32: [0xedb88320n, 32n] as const,
    CRC32C: [0x82f63b78n, 32n] as const,
    CRC64NVME: [0x9a6c9329ac4bc9b5n, 64n] as const,
  }[algorithm];
  const ones = (1n << width) - 1n;
  let value = ones;
  for (const byte of bytes) {
    value ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) value = (value >> 1n) ^ (value & 1n ? polynomial : 0n);
  }
  return Buffer.from((value ^ ones).toString(16).padStart(Number(width) / 4, '0'), 'hex');
}

void test('digests are those of the published vectors', () => {
  const vectors = [
    ['CRC32', 'abcdefg', 'MSpqpg=='],
    ['CRC32C', 'abcdefg', '5if0QQ=='],
    ['CRC64NVME', 'abcdefg', 'SmzZ/LTp1CA='],
    ['CRC64NVME', 'hello world', 'jSnVw/bqjr4='],
    ['CRC32C', 'hello world', 'yZRlqg=='],
    ['CRC32', '', 'AAAAAA=='],
    ['CRC32C', '', 'AAAAAA=='],
    ['CRC64NVME', '', 'AAAAAAAAAAA='],
    ['SHA1', '', '2jmj7l5rSw0yVb/vlWAYkK/YBwk='],
    ['SHA256', '', '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='],
  ] as const;
  for (const [algorithm, text, expected] of vectors) {
    assert.equal(checksumOf(algorithm, Buffer.from(text)).toString('base64'), expected);
  }
  // The check values of the CRC catalogues.
  assert.equal(checksumOf('CRC32', Buffer.from('123456789')).toString('hex'), 'cbf43926');
  assert.equal(checksumOf('CRC32C', Buffer.from('123456789')).toString('hex'), 'e3069283');
  assert.equal(
    checksumOf('CRC64NVME', Buffer.from('123456789')).toString('hex'),
    'ae8b14860a799888',
  );
});

void test('the CRCs agree with their definition, at every length and alignment', () => {
  const bytes = Buffer.alloc(80).map((_, index) => (index * 151 + 7) & 255);
  for (const algorithm of crcs) {
    for (let start = 0; start < 9; start++) {
      for (let end = start; end < 60; end += 1 + (start % 3)) {
        const part = bytes.subarray(start, end);
        assert.deepEqual(checksumOf(algorithm, part), slowCrc(algorithm, part));
      }
    }
  }
});

void test('updates in pieces give the digest of the whole', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 70 }), { maxLength: 8 }), (pieces) => {
      const whole = Buffer.concat(pieces);
      for (const algorithm of checksumAlgorithms) {
        const state = createChecksum(algorithm);
        for (const piece of pieces) state.update(piece);
        const digest = state.digest();
        assert.equal(digest.length, checksumBytes[algorithm]);
        assert.deepEqual(digest, checksumOf(algorithm, whole));
      }
    }),
    { numRuns: 100 },
  );
});

void test('CRCs of parts combine to the CRC of the whole', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 }), (parts) => {
      for (const algorithm of crcs) {
        const combined = combineCrc(
          algorithm,
          parts.map((part) => ({ digest: checksumOf(algorithm, part), sizeBytes: part.length })),
        );
        assert.deepEqual(combined, checksumOf(algorithm, Buffer.concat(parts)));
      }
    }),
    { numRuns: 100 },
  );
});

void test('combination works for lengths beyond 32 bits', () => {
  // Appending 2^33 zero bytes in one step or in two halves is the same.
  for (const algorithm of crcs) {
    const head = { digest: checksumOf(algorithm, Buffer.from('head')), sizeBytes: 4 };
    const half = combineCrc(
      algorithm,
      Array.from({ length: 4 }, () => ({ digest: Buffer.alloc(8), sizeBytes: 2 ** 30 })),
    );
    const zeros = Buffer.alloc(checksumBytes[algorithm]);
    assert.deepEqual(half, zeros);
    const once = combineCrc(algorithm, [head, { digest: zeros, sizeBytes: 2 ** 33 }]);
    const twice = combineCrc(algorithm, [
      head,
      { digest: zeros, sizeBytes: 2 ** 32 },
      { digest: zeros, sizeBytes: 2 ** 32 },
    ]);
    assert.deepEqual(once, twice);
    assert.notDeepEqual(once, head.digest);
  }
});

void test('only the CRCs can be combined', () => {
  assert.deepEqual(checksumAlgorithms.filter(isCrc), crcs);
});
