// The checksums that S3 clients send with a body: the three CRCs, computed here, and the two hashes of
// `node:crypto`. A digest is the big-endian bytes whose base64 stands in `x-amz-checksum-…`. CRCs of
// consecutive pieces can be combined into the CRC of the whole, so that an object made of parts has a
// whole-object checksum without being read again.
//
// CRC32 is zlib's. CRC32C (Castagnoli) and CRC64NVME have no native form in Node and run over tables,
// eight bytes a step ("slicing by 8"). All three are reflected, start from all ones, end inverted.

import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';

/** Algorithms of the S3 checksum headers, spelled as in `x-amz-checksum-algorithm`. */
export type ChecksumAlgorithm = 'CRC32' | 'CRC32C' | 'CRC64NVME' | 'SHA1' | 'SHA256';

/** The algorithms whose values can be combined, see `combineCrc`. */
export type CrcAlgorithm = 'CRC32' | 'CRC32C' | 'CRC64NVME';

/** All algorithms, in the order in which they are documented. */
export const checksumAlgorithms: readonly ChecksumAlgorithm[] = [
  'CRC32',
  'CRC32C',
  'CRC64NVME',
  'SHA1',
  'SHA256',
];

/** Length of a digest in bytes. */
export const checksumBytes: Readonly<Record<ChecksumAlgorithm, number>> = {
  CRC32: 4,
  CRC32C: 4,
  CRC64NVME: 8,
  SHA1: 20,
  SHA256: 32,
};

/** A running checksum. `digest` may be called once, after the last `update`. */
export interface ChecksumState {
  /** Takes in the next bytes; does not keep them. */
  update(bytes: Uint8Array): void;
  /** The digest, big-endian. */
  digest(): Buffer;
}

/** Starts a checksum. Never throws. */
export function createChecksum(algorithm: ChecksumAlgorithm): ChecksumState {
  switch (algorithm) {
    case 'CRC32':
      return new Crc32State(crc32);
    case 'CRC32C':
      return new Crc32State(crc32c);
    case 'CRC64NVME':
      return new Crc64State();
    case 'SHA1':
      return new HashState('sha1');
    case 'SHA256':
      return new HashState('sha256');
  }
}

/** The checksum of bytes that are all there. */
export function checksumOf(algorithm: ChecksumAlgorithm, bytes: Uint8Array): Buffer {
  const state = createChecksum(algorithm);
  state.update(bytes);
  return state.digest();
}

/** True for an algorithm whose part values combine to a whole-object value. */
export function isCrc(algorithm: ChecksumAlgorithm): algorithm is CrcAlgorithm {
  return algorithm === 'CRC32' || algorithm === 'CRC32C' || algorithm === 'CRC64NVME';
}

class Crc32State implements ChecksumState {
  readonly #step: (bytes: Uint8Array, value: number) => number;
  #value = 0;

  constructor(step: (bytes: Uint8Array, value: number) => number) {
    this.#step = step;
  }

  update(bytes: Uint8Array): void {
    this.#value = this.#step(bytes, this.#value);
  }

  digest(): Buffer {
    const digest = Buffer.allocUnsafe(4);
    digest.writeUInt32BE(this.#value);
    return digest;
  }
}

class HashState implements ChecksumState {
  readonly #hash: ReturnType<typeof createHash>;

  constructor(name: 'sha1' | 'sha256') {
    this.#hash = createHash(name);
  }

  update(bytes: Uint8Array): void {
    this.#hash.update(bytes);
  }

  digest(): Buffer {
    return this.#hash.digest();
  }
}

class Crc64State implements ChecksumState {
  readonly #value = new Int32Array(2);

  update(bytes: Uint8Array): void {
    crc64nvme(bytes, this.#value);
  }

  digest(): Buffer {
    const digest = Buffer.allocUnsafe(8);
    digest.writeInt32BE(this.#value[1] as number, 0);
    digest.writeInt32BE(this.#value[0] as number, 4);
    return digest;
  }
}

/** Reflected polynomials. CRC64NVME as low and high word. */
const castagnoli = 0x82f63b78;
const ieee = 0xedb88320;
const nvmeLow = 0xac4bc9b5 | 0;
const nvmeHigh = 0x9a6c9329 | 0;

/**
 * Table `k` (of 8) holds at `256 * k + b` the remainder of byte `b` followed by `k` zero bytes. Built at
 * first use: 2,048 steps.
 */
function buildTables32(polynomial: number): Int32Array {
  const tables = new Int32Array(8 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? polynomial : 0);
    tables[byte] = value;
  }
  for (let index = 256; index < tables.length; index++) {
    const previous = tables[index - 256] as number;
    tables[index] = (previous >>> 8) ^ (tables[previous & 255] as number);
  }
  return tables;
}

let castagnoliTables: Int32Array | undefined;

// The casts in the loops below hold: every index is masked to the table's size, or below `bytes.length`.
function crc32c(bytes: Uint8Array, start: number): number {
  castagnoliTables ??= buildTables32(castagnoli);
  const tables = castagnoliTables;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const wholeEnd = bytes.length - (bytes.length % 8);
  let value = ~start;
  let at = 0;
  for (; at < wholeEnd; at += 8) {
    const low = value ^ view.getInt32(at, true);
    const high = view.getInt32(at + 4, true);
    value =
      (tables[1792 + (low & 255)] as number) ^
      (tables[1536 + ((low >>> 8) & 255)] as number) ^
      (tables[1280 + ((low >>> 16) & 255)] as number) ^
      (tables[1024 + (low >>> 24)] as number) ^
      (tables[768 + (high & 255)] as number) ^
      (tables[512 + ((high >>> 8) & 255)] as number) ^
      (tables[256 + ((high >>> 16) & 255)] as number) ^
      (tables[high >>> 24] as number);
  }
  for (; at < bytes.length; at++) {
    value = (value >>> 8) ^ (tables[(value ^ (bytes[at] as number)) & 255] as number);
  }
  return ~value >>> 0;
}

/** As `buildTables32`; the low words of all eight tables, then the high words. */
function buildTables64(): Int32Array {
  const tables = new Int32Array(16 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let low = byte;
    let high = 0;
    for (let bit = 0; bit < 8; bit++) {
      const isOdd = low & 1;
      low = (low >>> 1) | (high << 31);
      high >>>= 1;
      if (isOdd) {
        low ^= nvmeLow;
        high ^= nvmeHigh;
      }
    }
    tables[byte] = low;
    tables[2048 + byte] = high;
  }
  for (let index = 256; index < 2048; index++) {
    const low = tables[index - 256] as number;
    const high = tables[2048 + index - 256] as number;
    tables[index] = ((low >>> 8) | (high << 24)) ^ (tables[low & 255] as number);
    tables[2048 + index] = (high >>> 8) ^ (tables[2048 + (low & 255)] as number);
  }
  return tables;
}

let nvmeTables: Int32Array | undefined;

/** Advances `state` (finished value: low word, high word) over the bytes. */
function crc64nvme(bytes: Uint8Array, state: Int32Array): void {
  nvmeTables ??= buildTables64();
  const tables = nvmeTables;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const wholeEnd = bytes.length - (bytes.length % 8);
  let low = ~(state[0] as number);
  let high = ~(state[1] as number);
  let at = 0;
  for (; at < wholeEnd; at += 8) {
    const a = low ^ view.getInt32(at, true);
    const b = high ^ view.getInt32(at + 4, true);
    const i0 = 1792 + (a & 255);
    const i1 = 1536 + ((a >>> 8) & 255);
    const i2 = 1280 + ((a >>> 16) & 255);
    const i3 = 1024 + (a >>> 24);
    const i4 = 768 + (b & 255);
    const i5 = 512 + ((b >>> 8) & 255);
    const i6 = 256 + ((b >>> 16) & 255);
    const i7 = b >>> 24;
    low =
      (tables[i0] as number) ^
      (tables[i1] as number) ^
      (tables[i2] as number) ^
      (tables[i3] as number) ^
      (tables[i4] as number) ^
      (tables[i5] as number) ^
      (tables[i6] as number) ^
      (tables[i7] as number);
    high =
      (tables[2048 + i0] as number) ^
      (tables[2048 + i1] as number) ^
      (tables[2048 + i2] as number) ^
      (tables[2048 + i3] as number) ^
      (tables[2048 + i4] as number) ^
      (tables[2048 + i5] as number) ^
      (tables[2048 + i6] as number) ^
      (tables[2048 + i7] as number);
  }
  for (; at < bytes.length; at++) {
    const index = (low ^ (bytes[at] as number)) & 255;
    low = ((low >>> 8) | (high << 24)) ^ (tables[index] as number);
    high = (high >>> 8) ^ (tables[2048 + index] as number);
  }
  state[0] = ~low;
  state[1] = ~high;
}

/** The CRC of one piece of a whole, big-endian as `digest` gives it, and the length of that piece. */
export type CrcPart = { readonly digest: Uint8Array; readonly sizeBytes: number };

/**
 * The CRC of the concatenation of all parts, from their CRCs and lengths alone. No parts give the CRC of
 * nothing. A part costs some microseconds, whatever its length (up to 2^53 - 1 bytes).
 */
export function combineCrc(algorithm: CrcAlgorithm, parts: readonly CrcPart[]): Buffer {
  return algorithm === 'CRC64NVME'
    ? combine64(parts)
    : combine32(algorithm === 'CRC32' ? ieee : castagnoli, parts);
}

// Appending n bytes multiplies a CRC by x^(8n) modulo the polynomial; the inversions cancel out. In the
// reflected form the coefficient of x^0 is the highest bit. `powers[k]` is x^(8 * 2^k).

function combine32(polynomial: number, parts: readonly CrcPart[]): Buffer {
  const powers = [0x00800000];
  const shifts = new Map<number, number>();
  let value = 0;
  for (const part of parts) {
    let shift = shifts.get(part.sizeBytes);
    if (shift === undefined) {
      shift = power32(polynomial, powers, part.sizeBytes);
      shifts.set(part.sizeBytes, shift);
    }
    value = multiply32(polynomial, shift, value) ^ readInt32(part.digest, 0);
  }
  const digest = Buffer.allocUnsafe(4);
  digest.writeInt32BE(value | 0);
  return digest;
}

function power32(polynomial: number, powers: number[], sizeBytes: number): number {
  let result = 0x80000000 | 0;
  let rest = sizeBytes;
  for (let bit = 0; rest > 0; bit++) {
    let power = powers[bit];
    if (power === undefined) {
      const half = powers[bit - 1] as number; // filled in order, from bit 0
      power = multiply32(polynomial, half, half);
      powers.push(power);
    }
    if (rest % 2 === 1) result = multiply32(polynomial, result, power);
    rest = Math.floor(rest / 2);
  }
  return result;
}

function multiply32(polynomial: number, left: number, right: number): number {
  let product = 0;
  let shifted = right;
  for (let mask = 31; mask >= 0; mask--) {
    if ((left >>> mask) & 1) product ^= shifted;
    shifted = (shifted >>> 1) ^ (shifted & 1 ? polynomial : 0);
  }
  return product;
}

/** A polynomial of degree below 64, reflected. */
type Word64 = { readonly low: number; readonly high: number };

function combine64(parts: readonly CrcPart[]): Buffer {
  const powers: Word64[] = [{ high: 0x00800000, low: 0 }];
  const shifts = new Map<number, Word64>();
  let value: Word64 = { high: 0, low: 0 };
  for (const part of parts) {
    let shift = shifts.get(part.sizeBytes);
    if (shift === undefined) {
      shift = power64(powers, part.sizeBytes);
      shifts.set(part.sizeBytes, shift);
    }
    const moved = multiply64(shift, value);
    value = {
      high: moved.high ^ readInt32(part.digest, 0),
      low: moved.low ^ readInt32(part.digest, 4),
    };
  }
  const digest = Buffer.allocUnsafe(8);
  digest.writeInt32BE(value.high | 0, 0);
  digest.writeInt32BE(value.low | 0, 4);
  return digest;
}

function power64(powers: Word64[], sizeBytes: number): Word64 {
  let result: Word64 = { high: 0x80000000 | 0, low: 0 };
  let rest = sizeBytes;
  for (let bit = 0; rest > 0; bit++) {
    let power = powers[bit];
    if (power === undefined) {
      const half = powers[bit - 1] as Word64; // filled in order, from bit 0
      power = multiply64(half, half);
      powers.push(power);
    }
    if (rest % 2 === 1) result = multiply64(result, power);
    rest = Math.floor(rest / 2);
  }
  return result;
}

function multiply64(left: Word64, right: Word64): Word64 {
  let productLow = 0;
  let productHigh = 0;
  let low = right.low;
  let high = right.high;
  for (let mask = 63; mask >= 0; mask--) {
    const bit = mask > 31 ? (left.high >>> (mask - 32)) & 1 : (left.low >>> mask) & 1;
    if (bit) {
      productLow ^= low;
      productHigh ^= high;
    }
    const isOdd = low & 1;
    low = (low >>> 1) | (high << 31);
    high >>>= 1;
    if (isOdd) {
      low ^= nvmeLow;
      high ^= nvmeHigh;
    }
  }
  return { low: productLow, high: productHigh };
}

function readInt32(bytes: Uint8Array, at: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getInt32(at);
}
