// The additional checksums of an object as one compact record, sealed under a key of the object
// when it is encrypted (docs/formats/object-encryption.md): uvarint(type) || raw, then the number
// of parts and their raw checksums where the type says so.

import { type ChecksumAlgorithm, checksumAlgorithms, checksumBytes } from '../base/checksums.ts';
import { DareError, openDare, sealDare } from '../aead/dare.ts';
import { deriveChecksumKey } from './object-key.ts';
import { SseError } from './sse-error.ts';

/** One checksum of a record. */
export type ChecksumEntry = {
  readonly algorithm: ChecksumAlgorithm;
  /** Raw digest, big-endian. */
  readonly value: Uint8Array;
  /** Over the whole object, also when it has parts. */
  readonly isFullObject: boolean;
  /** It came behind the body. */
  readonly isTrailing: boolean;
  /**
   * Only of multipart objects; `values` has the parts' raw checksums, or is empty when they were
   * not kept.
   */
  readonly parts?: { readonly count: number; readonly values: readonly Uint8Array[] };
};

const trailingBit = 1;
const multipartBit = 64;
const partValuesBit = 128;
const fullObjectBit = 512;
const algorithmBits: Readonly<Record<ChecksumAlgorithm, number>> = {
  SHA256: 2,
  SHA1: 4,
  CRC32: 8,
  CRC32C: 16,
  CRC64NVME: 256,
};
const partsMax = 10_000;

/** The record of these checksums. */
export function encodeChecksums(entries: readonly ChecksumEntry[]): Buffer {
  return Buffer.concat(
    entries.flatMap((entry) => {
      const { parts } = entry;
      const hasValues = parts !== undefined && parts.values.length > 0;
      const type =
        algorithmBits[entry.algorithm] |
        (entry.isTrailing ? trailingBit : 0) |
        (entry.isFullObject ? fullObjectBit : 0) |
        (parts === undefined ? 0 : multipartBit) |
        (hasValues ? partValuesBit : 0);
      if (parts === undefined) return [encodeVarint(type), entry.value];
      return [encodeVarint(type), entry.value, encodeVarint(parts.count), ...parts.values];
    }),
  );
}

/** The checksums of a record. Throws `SseError` `invalid-checksum-record`. */
export function decodeChecksums(record: Uint8Array): ChecksumEntry[] {
  const reader = new RecordReader(record);
  const entries: ChecksumEntry[] = [];
  while (reader.hasMore) entries.push(decodeEntry(reader));
  return entries;
}

function decodeEntry(reader: RecordReader): ChecksumEntry {
  const type = reader.varint();
  const options = trailingBit | multipartBit | partValuesBit | fullObjectBit;
  const algorithm = checksumAlgorithms.find((name) => algorithmBits[name] === (type & ~options));
  if (algorithm === undefined) throw new SseError('invalid-checksum-record');
  const sizeBytes = checksumBytes[algorithm];
  const entry = {
    algorithm,
    value: reader.take(sizeBytes),
    isFullObject: (type & fullObjectBit) !== 0,
    isTrailing: (type & trailingBit) !== 0,
  };
  if ((type & multipartBit) === 0) return entry;
  const count = reader.varint();
  if (count > partsMax) throw new SseError('invalid-checksum-record');
  if ((type & partValuesBit) === 0) return { ...entry, parts: { count, values: [] } };
  const values = Array.from({ length: count }, () => reader.take(sizeBytes));
  return { ...entry, parts: { count, values } };
}

/** The record as stored with an encrypted object. */
export function sealChecksums(oek: Uint8Array, record: Uint8Array): Buffer {
  const key = deriveChecksumKey(oek);
  const sealed = sealDare(key, record);
  key.fill(0);
  return sealed;
}

/** The stored record opened. Throws `SseError` `not-authentic`. */
export function openChecksums(oek: Uint8Array, sealed: Uint8Array): Buffer {
  const key = deriveChecksumKey(oek);
  try {
    return openDare(key, sealed);
  } catch (error) {
    throw error instanceof DareError ? new SseError('not-authentic') : error;
  } finally {
    key.fill(0);
  }
}

/** Seven bits a byte, lowest first; the top bit says that more follow. */
function encodeVarint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 0x7f; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  return Buffer.from([...bytes, rest]);
}

class RecordReader {
  readonly #bytes: Buffer;
  #offset = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  get hasMore(): boolean {
    return this.#offset < this.#bytes.length;
  }

  take(sizeBytes: number): Buffer {
    const end = this.#offset + sizeBytes;
    if (end > this.#bytes.length) throw new SseError('invalid-checksum-record');
    const taken = Buffer.from(this.#bytes.subarray(this.#offset, end));
    this.#offset = end;
    return taken;
  }

  /** Up to 28 bits: no type and no number of parts is larger. */
  varint(): number {
    let value = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.take(1).readUInt8();
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw new SseError('invalid-checksum-record');
  }
}
