// The little of the protobuf wire format that stored keys need: varints, length-delimited fields, and a
// reader that also knows where each field lies, so that a field can be taken out without touching the
// others. Input is hostile: every length is checked, and anything malformed throws `RangeError`.

/** One field as it lies in a message: `start` and `end` bound its tag and value. */
export type ProtoField = {
  readonly number: number;
  readonly start: number;
  readonly end: number;
  /** Wire type 0; the low 64 bits. */
  readonly varint?: bigint;
  /** Wire type 2. */
  readonly bytes?: Buffer;
};

/** Reads every field of a message, in order. Throws `RangeError` on anything malformed. */
export function readFields(message: Buffer): ProtoField[] {
  const fields: ProtoField[] = [];
  let offset = 0;
  while (offset < message.length) {
    const start = offset;
    const tag = readVarint(message, offset);
    const number = Number(tag.value >> 3n);
    if (number < 1 || number > 0x1fffffff) throw new RangeError('invalid field number');
    const field = readValue(message, { number, start, wireType: Number(tag.value & 7n) }, tag.next);
    fields.push(field);
    offset = field.end;
  }
  return fields;
}

function readValue(
  message: Buffer,
  tag: { number: number; start: number; wireType: number },
  offset: number,
): ProtoField {
  const { number, start } = tag;
  switch (tag.wireType) {
    case 0: {
      const { value, next } = readVarint(message, offset);
      return { number, start, end: next, varint: value };
    }
    case 1:
      return { number, start, end: checkedEnd(message, offset + 8) };
    case 2: {
      const { value, next } = readVarint(message, offset);
      if (value > BigInt(message.length)) throw new RangeError('field is longer than its message');
      const end = checkedEnd(message, next + Number(value));
      return { number, start, end, bytes: message.subarray(next, end) };
    }
    case 5:
      return { number, start, end: checkedEnd(message, offset + 4) };
    default:
      throw new RangeError('unknown wire type');
  }
}

function checkedEnd(message: Buffer, end: number): number {
  if (end > message.length) throw new RangeError('field is longer than its message');
  return end;
}

function readVarint(message: Buffer, offset: number): { value: bigint; next: number } {
  let value = 0n;
  for (let index = 0; index < 10; index += 1) {
    const byte = message[offset + index];
    if (byte === undefined) throw new RangeError('truncated varint');
    value |= BigInt(byte & 0x7f) << BigInt(7 * index);
    if (byte < 0x80) return { value: BigInt.asUintN(64, value), next: offset + index + 1 };
  }
  throw new RangeError('varint is too long');
}

/** A varint field; left out when the value is 0, as proto3 does. Negative values take ten bytes. */
export function varintField(number: number, value: bigint): Buffer {
  if (value === 0n) return Buffer.alloc(0);
  return Buffer.concat([encodeVarint(BigInt(number << 3)), encodeVarint(value)]);
}

/** A length-delimited field, always written. */
export function bytesField(number: number, value: Uint8Array): Buffer {
  const tag = encodeVarint(BigInt((number << 3) | 2));
  return Buffer.concat([tag, encodeVarint(BigInt(value.length)), value]);
}

function encodeVarint(value: bigint): Buffer {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  while (rest > 0x7fn) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}
