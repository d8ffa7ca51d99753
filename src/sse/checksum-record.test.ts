// Checksum records: their bytes, their limits, and how they are sealed.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { checksumAlgorithms, checksumBytes } from '../base/checksums.ts';
import { hex } from '../../test/support/vectors.ts';
import {
  type ChecksumEntry,
  decodeChecksums,
  encodeChecksums,
  openChecksums,
  sealChecksums,
} from './checksum-record.ts';
import { SseError, type SseErrorCode } from './sse-error.ts';

function codeOf(code: SseErrorCode) {
  return (error: unknown) => error instanceof SseError && error.code === code;
}

function toPlain(entries: readonly ChecksumEntry[]): unknown {
  return JSON.parse(JSON.stringify(entries));
}

const entry = fc.constantFrom(...checksumAlgorithms).chain((algorithm) => {
  const sizeBytes = checksumBytes[algorithm];
  const value = fc.uint8Array({ minLength: sizeBytes, maxLength: sizeBytes }).map(Buffer.from);
  const valued = fc
    .array(value, { minLength: 1, maxLength: 5 })
    .map((values) => ({ count: values.length, values }));
  const bare = fc.nat(10_000).map((count) => ({ count, values: [] }));
  const base = { algorithm: fc.constant(algorithm), value, isFullObject: fc.boolean() };
  const flags = { ...base, isTrailing: fc.boolean() };
  return fc.oneof(fc.record(flags), fc.record({ ...flags, parts: fc.oneof(valued, bare) }));
});

void describe('a checksum record', () => {
  void it('has the bytes of the format', () => {
    const value = hex('ec65009d');
    const crc32 = { algorithm: 'CRC32', value, isFullObject: false, isTrailing: true } as const;
    assert.equal(encodeChecksums([crc32]).toString('hex'), '09ec65009d');
    const parts = { count: 2, values: [hex('00000001'), hex('00000002')] };
    const composite = { ...crc32, isTrailing: false, parts };
    const bytes = 'c801ec65009d020000000100000002';
    assert.equal(encodeChecksums([composite]).toString('hex'), bytes);
    const full = {
      ...crc32,
      isTrailing: false,
      isFullObject: true,
      parts: { count: 300, values: [] },
    };
    assert.equal(encodeChecksums([full]).toString('hex'), 'c804ec65009dac02');
  });

  void it('decodes to what was encoded', () => {
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 3 }), (entries) => {
        assert.deepEqual(toPlain(decodeChecksums(encodeChecksums(entries))), toPlain(entries));
      }),
    );
  });

  void it('that is cut, too long or unknown is refused with its own error', () => {
    for (const record of [
      '09ec6500', // a byte short
      '08', // no value
      '0cec65009d', // two algorithms
      '01', // none
      '8000000000', // a type that stands for none
      'ffffffffff01', // a type without end
      'c0', // half a number
      'c801ec65009d02000000010000', // half a part
      '48ec65009d914e', // 10001 parts
      '28ec65009d', // an unknown bit
    ]) {
      const decode = () => decodeChecksums(hex(record));
      assert.throws(decode, codeOf('invalid-checksum-record'), record);
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        try {
          decodeChecksums(bytes);
        } catch (error) {
          assert(codeOf('invalid-checksum-record')(error));
        }
      }),
    );
  });

  void it('is sealed under a key of the object', () => {
    const oek = randomBytes(32);
    const record = hex('09ec65009d');
    const sealed = sealChecksums(oek, record);
    assert(openChecksums(oek, sealed).equals(record));
    assert.throws(() => openChecksums(randomBytes(32), sealed), codeOf('not-authentic'));
    assert.throws(() => openChecksums(oek, sealed.subarray(1)), codeOf('not-authentic'));
  });
});
