// TTLV, the encoding of KMIP messages (KMIP 1.2 to 2.1, "TTLV Encoding"): every item is
//
//     tag (3 bytes) | type (1) | length (4) | value (length bytes) | zeros up to a multiple of 8
//
// big endian, lengths without the padding. Rules kept here: the decoder never looks outside the bytes it was
// given, takes exactly one item, checks lengths, padding and every value that has only some valid encodings,
// and bounds size, depth and number of items, whatever the input claims.

/** One item. `big-integer`, `long-integer` and the dates are signed; `date-time` counts seconds since 1970, `date-time-extended` microseconds. */
export type Ttlv =
  | { readonly tag: number; readonly type: 'structure'; readonly value: readonly Ttlv[] }
  | { readonly tag: number; readonly type: NumberType; readonly value: number }
  | { readonly tag: number; readonly type: BigType; readonly value: bigint }
  | { readonly tag: number; readonly type: 'boolean'; readonly value: boolean }
  | { readonly tag: number; readonly type: 'text-string'; readonly value: string }
  | { readonly tag: number; readonly type: 'byte-string'; readonly value: Uint8Array };

type NumberType = 'integer' | 'enumeration' | 'interval';
type BigType = 'long-integer' | 'big-integer' | 'date-time' | 'date-time-extended';

export type TtlvType = Ttlv['type'];

/** `malformed`: not TTLV. `too-large`: above a limit. `unencodable`: a value its type cannot hold. */
export type TtlvErrorCode = 'malformed' | 'too-large' | 'unencodable';

/** The texts hold tags and lengths, never values. */
export class TtlvError extends Error {
  readonly code: TtlvErrorCode;
  constructor(code: TtlvErrorCode, message: string) {
    super(message);
    this.name = 'TtlvError';
    this.code = code;
  }
}

/** Limits of a decoding; what is not given has the default. */
export type TtlvLimits = {
  /** 2 MiB by default. */
  readonly bytesMax?: number;
  /** Structures in structures; 16 by default. */
  readonly depthMax?: number;
  /** Items in all; 131,072 by default. */
  readonly itemsMax?: number;
};

export const ttlvHeaderBytes = 8;
const defaultLimits = { bytesMax: 2 * 1024 * 1024, depthMax: 16, itemsMax: 131_072 };

const typeCodes: Readonly<Record<TtlvType, number>> = {
  structure: 0x01,
  integer: 0x02,
  'long-integer': 0x03,
  'big-integer': 0x04,
  enumeration: 0x05,
  boolean: 0x06,
  'text-string': 0x07,
  'byte-string': 0x08,
  'date-time': 0x09,
  interval: 0x0a,
  'date-time-extended': 0x0b,
};

/** The one length of the types that have only one. */
const fixedLengths: Readonly<Partial<Record<TtlvType, number>>> = {
  integer: 4,
  'long-integer': 8,
  enumeration: 4,
  boolean: 8,
  'date-time': 8,
  interval: 4,
  'date-time-extended': 8,
};

const typesByCode: ReadonlyMap<number, TtlvType> = new Map(
  // Object.entries forgets that the keys are the types.
  Object.entries(typeCodes).map(([type, code]) => [code, type as TtlvType]),
);

const padded = (length: number): number => (length + 7) & ~7;

const malformed = (message: string): TtlvError => new TtlvError('malformed', message);

/** How many bytes the item has whose first eight are given, all in all. Throws `TtlvError`. */
export function ttlvSize(header: Uint8Array, bytesMax = defaultLimits.bytesMax): number {
  if (header.length < ttlvHeaderBytes) throw malformed('the item has no whole header');
  const view = viewOf(header);
  checkTag(view.getUint32(0) >>> 8);
  if (!typesByCode.has(view.getUint8(3))) throw malformed('the item has an unknown type');
  const length = view.getUint32(4);
  if (length > bytesMax - ttlvHeaderBytes - 7) {
    throw new TtlvError('too-large', `the item has ${length} bytes, more than allowed`);
  }
  return ttlvHeaderBytes + padded(length);
}

/**
 * Decodes exactly one item that fills `bytes`. Byte strings of the result are views of `bytes`. Throws
 * `TtlvError` `malformed` or `too-large`.
 */
export function decodeTtlv(bytes: Uint8Array, limits: TtlvLimits = {}): Ttlv {
  const reader = new Reader(bytes, { ...defaultLimits, ...limits });
  const item = reader.item(0, bytes.length, 0);
  if (item.end !== bytes.length) throw malformed('bytes follow the item');
  return item.value;
}

/** Encodes an item. Throws `TtlvError` `unencodable`. The caller owns the buffer. */
export function encodeTtlv(item: Ttlv): Buffer {
  const bytes = Buffer.alloc(encodedSize(item));
  writeItem(bytes, item, 0);
  return bytes;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function checkTag(tag: number): void {
  const first = tag >>> 16;
  if (first !== 0x42 && first !== 0x54) throw malformed(`${tag.toString(16)} is no tag`);
}

class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #limits: Required<TtlvLimits>;
  readonly #text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  #items = 0;

  constructor(bytes: Uint8Array, limits: Required<TtlvLimits>) {
    if (bytes.length > limits.bytesMax) {
      throw new TtlvError('too-large', `the item has ${bytes.length} bytes, more than allowed`);
    }
    this.#bytes = bytes;
    this.#view = viewOf(bytes);
    this.#limits = limits;
  }

  /** The item at `start`, which must end by `limit`. */
  item(
    start: number,
    limit: number,
    depth: number,
  ): { readonly value: Ttlv; readonly end: number } {
    this.#items += 1;
    if (this.#items > this.#limits.itemsMax) throw new TtlvError('too-large', 'too many items');
    if (limit - start < ttlvHeaderBytes) throw malformed('an item is cut short');
    const tag = this.#view.getUint32(start) >>> 8;
    checkTag(tag);
    const type = typesByCode.get(this.#view.getUint8(start + 3));
    if (type === undefined) throw malformed(`item ${tag.toString(16)} has an unknown type`);
    const length = this.#view.getUint32(start + 4);
    const from = start + ttlvHeaderBytes;
    if (length > limit - from || padded(length) > limit - from) {
      throw malformed(`item ${tag.toString(16)} is longer than what holds it`);
    }
    const end = from + padded(length);
    this.#checkPadding(from + length, end);
    checkLength(tag, type, length);
    return { value: this.#value({ tag, type }, { from, length, depth }), end };
  }

  #checkPadding(from: number, end: number): void {
    for (let at = from; at < end; at += 1) {
      if (this.#bytes[at] !== 0) throw malformed('the padding is not zero');
    }
  }

  #value(
    { tag, type }: { readonly tag: number; readonly type: TtlvType },
    place: { readonly from: number; readonly length: number; readonly depth: number },
  ): Ttlv {
    const { from, length } = place;
    const view = this.#view;
    switch (type) {
      case 'structure':
        return { tag, type, value: this.#children(from, from + length, place.depth + 1) };
      case 'integer':
        return { tag, type, value: view.getInt32(from) };
      case 'enumeration':
      case 'interval':
        return { tag, type, value: view.getUint32(from) };
      case 'long-integer':
      case 'date-time':
      case 'date-time-extended':
        return { tag, type, value: view.getBigInt64(from) };
      case 'big-integer':
        return { tag, type, value: this.#bigInteger(from, length) };
      case 'boolean':
        return { tag, type, value: this.#boolean(from) };
      case 'text-string':
        return { tag, type, value: this.#string(tag, from, length) };
      case 'byte-string':
        return { tag, type, value: this.#bytes.subarray(from, from + length) };
    }
  }

  #children(from: number, end: number, depth: number): readonly Ttlv[] {
    if (depth > this.#limits.depthMax) throw new TtlvError('too-large', 'too many levels');
    const items: Ttlv[] = [];
    for (let at = from; at < end; ) {
      const item = this.item(at, end, depth);
      items.push(item.value);
      at = item.end;
    }
    return items;
  }

  #bigInteger(from: number, length: number): bigint {
    const digits = Buffer.from(this.#bytes.subarray(from, from + length)).toString('hex');
    return BigInt.asIntN(length * 8, BigInt(`0x${digits}`));
  }

  #boolean(from: number): boolean {
    const value = this.#view.getBigUint64(from);
    if (value > 1n) throw malformed('a boolean is neither 0 nor 1');
    return value === 1n;
  }

  #string(tag: number, from: number, length: number): string {
    try {
      return this.#text.decode(this.#bytes.subarray(from, from + length));
    } catch {
      throw malformed(`text ${tag.toString(16)} is not UTF-8`);
    }
  }
}

function checkLength(tag: number, type: TtlvType, length: number): void {
  const wrong = (): TtlvError =>
    malformed(`item ${tag.toString(16)} has a wrong length: ${length}`);
  const fixed = fixedLengths[type];
  if (fixed !== undefined && length !== fixed) throw wrong();
  // 4,096 bits are the largest number anything in the standard has; a longer one would cost time to convert.
  if (type === 'big-integer' && (length === 0 || length % 8 !== 0 || length > 4096)) throw wrong();
  if (type === 'structure' && length % 8 !== 0) throw wrong();
}

function contentSize(item: Ttlv): number {
  switch (item.type) {
    case 'structure':
      return item.value.reduce((sum, child) => sum + encodedSize(child), 0);
    case 'text-string':
      return Buffer.byteLength(item.value);
    case 'byte-string':
      return item.value.length;
    case 'big-integer':
      return bigIntegerSize(item.value);
    default:
      return fixedLengths[item.type] ?? 0;
  }
}

function encodedSize(item: Ttlv): number {
  return ttlvHeaderBytes + padded(contentSize(item));
}

/** The smallest multiple of eight bytes that holds the number and its sign. */
function bigIntegerSize(value: bigint): number {
  let size = 8;
  while (BigInt.asIntN(size * 8, value) !== value) size += 8;
  if (size > 4096) throw new TtlvError('unencodable', 'the number is too large');
  return size;
}

function writeItem(bytes: Buffer, item: Ttlv, at: number): number {
  if (!Number.isInteger(item.tag) || (item.tag >>> 16 !== 0x42 && item.tag >>> 16 !== 0x54)) {
    throw new TtlvError('unencodable', `${item.tag} is no tag`);
  }
  const length = contentSize(item);
  bytes.writeUIntBE(item.tag, at, 3);
  bytes[at + 3] = typeCodes[item.type];
  bytes.writeUInt32BE(length, at + 4);
  writeValue(bytes, item, at + ttlvHeaderBytes);
  return at + ttlvHeaderBytes + padded(length);
}

function writeValue(bytes: Buffer, item: Ttlv, at: number): void {
  switch (item.type) {
    case 'structure':
      item.value.reduce((position, child) => writeItem(bytes, child, position), at);
      return;
    case 'integer':
      writeNumber(item, () => bytes.writeInt32BE(item.value, at));
      return;
    case 'enumeration':
    case 'interval':
      writeNumber(item, () => bytes.writeUInt32BE(item.value, at));
      return;
    case 'long-integer':
    case 'date-time':
    case 'date-time-extended':
      writeNumber(item, () => bytes.writeBigInt64BE(item.value, at));
      return;
    case 'big-integer':
      writeBigInteger(bytes, item.value, at);
      return;
    case 'boolean':
      bytes[at + 7] = item.value ? 1 : 0;
      return;
    case 'text-string':
      bytes.write(item.value, at, 'utf8');
      return;
    case 'byte-string':
      bytes.set(item.value, at);
  }
}

/** Node's writers refuse what does not fit. */
function writeNumber(item: Ttlv, write: () => void): void {
  try {
    if (typeof item.value === 'number' && !Number.isInteger(item.value)) throw new RangeError();
    write();
  } catch {
    throw new TtlvError('unencodable', `item ${item.tag.toString(16)} does not fit its type`);
  }
}

function writeBigInteger(bytes: Buffer, value: bigint, at: number): void {
  const size = bigIntegerSize(value);
  const digits = BigInt.asUintN(size * 8, value)
    .toString(16)
    .padStart(size * 2, '0');
  bytes.write(digits, at, 'hex');
}
