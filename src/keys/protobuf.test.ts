import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { bytesField, readFields, varintField } from './protobuf.ts';

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');

test('reads fields of every wire type with where they lie', () => {
  // 1: varint 150, 2: fixed64, 3: "a", 4: fixed32
  const message = hex('089601 110000000000000000 1a0161 2500000000');
  assert.deepEqual(
    readFields(message).map(({ number, start, end }) => [number, start, end]),
    [
      [1, 0, 3],
      [2, 3, 12],
      [3, 12, 15],
      [4, 15, 20],
    ],
  );
});

test('refuses malformed messages with its own error', () => {
  const bad = [
    '08', // no value
    '0a05', // shorter than it says
    '11000000', // half a fixed64
    '250000', // half a fixed32
    '0b', // a group
    '00', // field number 0
    '08ffffffffffffffffffffff', // a varint without end
    '0affffffffffffffffff01', // a length beyond every message
  ];
  for (const text of bad) assert.throws(() => readFields(hex(text)), RangeError, text);
});

test('reads what it writes', () => {
  const value = fc.oneof(fc.bigInt({ min: 1n, max: 2n ** 64n - 1n }), fc.uint8Array());
  const entry = fc.tuple(fc.integer({ min: 1, max: 1000 }), value);
  fc.assert(
    fc.property(fc.array(entry), (entries) => {
      const message = Buffer.concat(
        entries.map(([number, value]) =>
          typeof value === 'bigint' ? varintField(number, value) : bytesField(number, value),
        ),
      );
      const seen = readFields(message).map(({ number, varint, bytes }) => [
        number,
        varint ?? Uint8Array.from(bytes ?? []),
      ]);
      assert.deepEqual(seen, entries);
    }),
  );
});

test('leaves out a varint of 0 and writes a negative one in ten bytes', () => {
  assert.equal(varintField(1, 0n).length, 0);
  assert.equal(varintField(1, -1n).toString('hex'), '08ffffffffffffffffff01');
});
