import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { kmipTargets } from '../../../test/fuzz/kmip-target.ts';
import { decodeTtlv, encodeTtlv, type Ttlv, TtlvError, ttlvSize } from './ttlv.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/[ |]/g, ''), 'hex');

/** The examples of the KMIP specification, "TTLV Encoding", one per type. */
const examples: readonly { readonly item: Ttlv; readonly bytes: string }[] = [
  {
    item: { tag: 0x420020, type: 'integer', value: 8 },
    bytes: '42 00 20 | 02 | 00 00 00 04 | 00 00 00 08 00 00 00 00',
  },
  {
    item: { tag: 0x420020, type: 'long-integer', value: 123_456_789_000_000_000n },
    bytes: '42 00 20 | 03 | 00 00 00 08 | 01 B6 9B 4B A5 74 92 00',
  },
  {
    item: { tag: 0x420020, type: 'big-integer', value: 1_234_567_890_000_000_000_000_000_000n },
    bytes: '42 00 20 | 04 | 00 00 00 10 | 00 00 00 00 03 FD 35 EB 6B C2 DF 46 18 08 00 00',
  },
  {
    item: { tag: 0x420020, type: 'enumeration', value: 255 },
    bytes: '42 00 20 | 05 | 00 00 00 04 | 00 00 00 FF 00 00 00 00',
  },
  {
    item: { tag: 0x420020, type: 'boolean', value: true },
    bytes: '42 00 20 | 06 | 00 00 00 08 | 00 00 00 00 00 00 00 01',
  },
  {
    item: { tag: 0x420020, type: 'text-string', value: 'Hello World' },
    bytes: '42 00 20 | 07 | 00 00 00 0B | 48 65 6C 6C 6F 20 57 6F 72 6C 64 00 00 00 00 00',
  },
  {
    item: { tag: 0x420020, type: 'byte-string', value: Buffer.from([1, 2, 3]) },
    bytes: '42 00 20 | 08 | 00 00 00 03 | 01 02 03 00 00 00 00 00',
  },
  {
    item: {
      tag: 0x420020,
      type: 'date-time',
      value: BigInt(Date.UTC(2008, 2, 14, 11, 56, 40) / 1000),
    },
    bytes: '42 00 20 | 09 | 00 00 00 08 | 00 00 00 00 47 DA 67 F8',
  },
  {
    item: { tag: 0x420020, type: 'interval', value: 10 * 24 * 60 * 60 },
    bytes: '42 00 20 | 0A | 00 00 00 04 | 00 0D 2F 00 00 00 00 00',
  },
  {
    item: {
      tag: 0x420020,
      type: 'structure',
      value: [
        { tag: 0x420004, type: 'enumeration', value: 254 },
        { tag: 0x420005, type: 'integer', value: 255 },
      ],
    },
    bytes:
      '42 00 20 | 01 | 00 00 00 20 | 42 00 04 | 05 | 00 00 00 04 | 00 00 00 FE 00 00 00 00 | 42 00 05 | 02 | 00 00 00 04 | 00 00 00 FF 00 00 00 00',
  },
];

/** The item with byte strings as plain buffers, so that views compare. */
function plain(item: Ttlv): unknown {
  if (item.type === 'structure') return { ...item, value: item.value.map(plain) };
  if (item.type === 'byte-string')
    return { ...item, value: Buffer.from(item.value).toString('hex') };
  return { ...item };
}

function failsAs(code: string): (error: unknown) => boolean {
  return (error) => error instanceof TtlvError && error.code === code;
}

const tags = fc.integer({ min: 0x420001, max: 0x42ffff });
const signed64 = fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n });
const unsigned32 = fc.integer({ min: 0, max: 0xffff_ffff });
const { item: items } = fc.letrec<{ item: Ttlv }>((tie) => ({
  item: fc.oneof(
    { depthSize: 'small' },
    fc.record({ tag: tags, type: fc.constant('integer' as const), value: fc.integer() }),
    fc.record({
      tag: tags,
      type: fc.constantFrom('enumeration' as const, 'interval' as const),
      value: unsigned32,
    }),
    fc.record({
      tag: tags,
      type: fc.constantFrom(
        'long-integer' as const,
        'date-time' as const,
        'date-time-extended' as const,
      ),
      value: signed64,
    }),
    fc.record({ tag: tags, type: fc.constant('big-integer' as const), value: fc.bigInt() }),
    fc.record({ tag: tags, type: fc.constant('boolean' as const), value: fc.boolean() }),
    fc.record({
      tag: tags,
      type: fc.constant('text-string' as const),
      value: fc.string({ unit: 'grapheme' }),
    }),
    fc.record({ tag: tags, type: fc.constant('byte-string' as const), value: fc.uint8Array() }),
    fc.record({
      tag: tags,
      type: fc.constant('structure' as const),
      value: fc.array(tie('item'), { maxLength: 6 }),
    }),
  ),
}));

describe('TTLV', () => {
  for (const { item, bytes } of examples) {
    test(`the ${item.type} of the specification is written and read`, () => {
      assert.equal(encodeTtlv(item).toString('hex'), hex(bytes).toString('hex'));
      assert.deepEqual(plain(decodeTtlv(hex(bytes))), plain(item));
      assert.equal(ttlvSize(hex(bytes)), hex(bytes).length);
    });
  }

  test('negative numbers are two’s complement', () => {
    const integer = encodeTtlv({ tag: 0x420020, type: 'integer', value: -1 });
    assert.equal(integer.toString('hex'), '4200200200000004ffffffff00000000');
    const big = encodeTtlv({ tag: 0x420020, type: 'big-integer', value: -1n });
    assert.equal(big.toString('hex'), '4200200400000008ffffffffffffffff');
    assert.equal(decodeTtlv(big).value, -1n);
  });

  test('any item comes back as it was', () => {
    fc.assert(
      fc.property(items, (item) => {
        assert.deepEqual(plain(decodeTtlv(encodeTtlv(item), { depthMax: 64 })), plain(item));
      }),
      { numRuns: 300 },
    );
  });

  test('an item cut short, or with bytes after it, is refused', () => {
    for (const { bytes } of examples) {
      const whole = hex(bytes);
      for (let length = 0; length < whole.length; length += 1) {
        assert.throws(() => decodeTtlv(whole.subarray(0, length)), failsAs('malformed'));
      }
      assert.throws(
        () => decodeTtlv(Buffer.concat([whole, Buffer.alloc(8)])),
        failsAs('malformed'),
      );
    }
  });

  const refused: Readonly<Record<string, string>> = {
    'padding that is not zero': '42 00 20 | 02 | 00 00 00 04 | 00 00 00 08 00 00 00 01',
    'text with padding that is not zero': '42 00 20 | 07 | 00 00 00 01 | 41 00 00 00 00 00 00 20',
    'an integer of eight bytes': '42 00 20 | 02 | 00 00 00 08 | 00 00 00 00 00 00 00 08',
    'an enumeration without bytes': '42 00 20 | 05 | 00 00 00 00',
    'a boolean that is 2': '42 00 20 | 06 | 00 00 00 08 | 00 00 00 00 00 00 00 02',
    'a big integer without bytes': '42 00 20 | 04 | 00 00 00 00',
    'a big integer of five bytes': '42 00 20 | 04 | 00 00 00 05 | 01 02 03 04 05 00 00 00',
    'a tag of nobody': '41 00 20 | 02 | 00 00 00 04 | 00 00 00 08 00 00 00 00',
    'an unknown type': '42 00 20 | 0C | 00 00 00 04 | 00 00 00 08 00 00 00 00',
    'type zero': '42 00 20 | 00 | 00 00 00 04 | 00 00 00 08 00 00 00 00',
    'text that is not UTF-8': '42 00 20 | 07 | 00 00 00 01 | FF 00 00 00 00 00 00 00',
    'a length beyond the end': '42 00 20 | 08 | FF FF FF FF | 00 00 00 00 00 00 00 00',
    'a structure of nine bytes':
      '42 00 20 | 01 | 00 00 00 09 | 42 00 20 05 00 00 00 04 00 00 00 00 00 00 00 00',
    'a child longer than its parent':
      '42 00 20 | 01 | 00 00 00 10 | 42 00 04 | 08 | 00 00 00 10 | 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00',
  };
  for (const [what, bytes] of Object.entries(refused)) {
    test(`refuses ${what}`, () => {
      assert.throws(() => decodeTtlv(hex(bytes)), failsAs('malformed'));
    });
  }

  test('size, depth and number of items are bounded', () => {
    let nested: Ttlv = { tag: 0x420020, type: 'structure', value: [] };
    for (let depth = 0; depth < 20; depth += 1) {
      nested = { tag: 0x420020, type: 'structure', value: [nested] };
    }
    assert.throws(() => decodeTtlv(encodeTtlv(nested)), failsAs('too-large'));
    const many = encodeTtlv({
      tag: 0x420020,
      type: 'structure',
      value: Array.from({ length: 11 }, () => ({ tag: 0x420020, type: 'structure', value: [] })),
    });
    assert.throws(() => decodeTtlv(many, { itemsMax: 11 }), failsAs('too-large'));
    assert.equal(decodeTtlv(many, { itemsMax: 12 }).type, 'structure');
    assert.throws(() => decodeTtlv(Buffer.alloc(33), { bytesMax: 32 }), failsAs('too-large'));
    assert.throws(() => ttlvSize(hex('42 00 20 | 08 | FF FF FF FF')), failsAs('too-large'));
    assert.throws(() => ttlvSize(Buffer.alloc(7)), failsAs('malformed'));
  });

  test('a value its type cannot hold is not encoded', () => {
    const wrong: readonly Ttlv[] = [
      { tag: 0x420020, type: 'integer', value: 2 ** 31 },
      { tag: 0x420020, type: 'integer', value: 0.5 },
      { tag: 0x420020, type: 'enumeration', value: -1 },
      { tag: 0x420020, type: 'date-time', value: 1n << 63n },
      { tag: 0x20, type: 'boolean', value: true },
    ];
    for (const item of wrong) assert.throws(() => encodeTtlv(item), failsAs('unencodable'));
  });

  test('mutated messages are refused or read exactly', () => {
    for (const target of kmipTargets()) {
      for (const sample of target.samples) {
        void target.run(sample, false);
        for (let at = 0; at < sample.length; at += 1) {
          for (const change of [1, 0x80, 0xff]) {
            const mutated = Buffer.from(sample);
            mutated[at] = (mutated[at] ?? 0) ^ change;
            void target.run(mutated, true);
          }
        }
      }
    }
  });
});
