// The constants, sizes and error of the DARE package format (docs/formats/dare.md). A sealed stream
// is a row of packages, each 16 bytes of header, 1 to 65536 bytes of ciphertext and a 16-byte tag,
// so every size and every range of the plaintext maps to the stream by arithmetic alone. That
// arithmetic stays exact: safe integers, no bit operators.

/** Plaintext bytes in a full package. */
export const payloadBytesMax = 65_536;
export const headerBytes = 16;
/** Header and tag. */
export const overheadBytes = 32;
export const packageBytesMax = payloadBytesMax + overheadBytes;

/** A stream has at most 2^32 packages. */
export const sequenceMax = 0xffff_ffff;
const plainBytesMax = 2 ** 48;
const sealedBytesMax = 2 ** 48 + 2 ** 37;

export type DareErrorCode =
  /** Bytes follow the final package. */
  | 'unexpected-data'
  | 'invalid-payload-size'
  | 'unsupported-version'
  | 'unsupported-cipher'
  | 'nonce-mismatch'
  /** DARE 1.0 only: the number in the header is not the expected one. */
  | 'sequence-mismatch'
  | 'not-authentic'
  /** The stream ends before its final package. */
  | 'unexpected-end'
  /** No stream has this size. */
  | 'invalid-size'
  /** The range is not inside the parts. */
  | 'invalid-range';

const messages: Readonly<Record<DareErrorCode, string>> = {
  'unexpected-data': 'The encrypted stream goes on after its final package.',
  'invalid-payload-size': 'A package of the encrypted stream has an impossible size.',
  'unsupported-version': 'The encrypted stream has an unknown format version.',
  'unsupported-cipher': 'The encrypted stream names an unknown or a second cipher.',
  'nonce-mismatch': 'A package belongs to another encrypted stream.',
  'sequence-mismatch': 'A package of the encrypted stream is out of order.',
  'not-authentic': 'The encrypted stream was modified, or the key is not its own.',
  'unexpected-end': 'The encrypted stream ends too early.',
  'invalid-size': 'No encrypted stream has this size.',
  'invalid-range': 'The range lies outside the object.',
};

/** Why a stream was refused. Nothing of the failing package was released. */
export class DareError extends Error {
  readonly code: DareErrorCode;
  constructor(code: DareErrorCode, options?: ErrorOptions) {
    super(messages[code], options);
    this.name = 'DareError';
    this.code = code;
  }
}

/** The size of the stream that holds so many plaintext bytes. Throws `invalid-size` beyond 2^48. */
export function sealedSize(plainBytes: number): number {
  if (!isSize(plainBytes, plainBytesMax)) throw new DareError('invalid-size');
  const rest = plainBytes % payloadBytesMax;
  const full = (plainBytes - rest) / payloadBytesMax;
  return full * packageBytesMax + (rest === 0 ? 0 : rest + overheadBytes);
}

/** The plaintext size of a stream of this size. Throws `invalid-size` when no stream has it. */
export function plainSize(sealedBytes: number): number {
  if (!isSize(sealedBytes, sealedBytesMax)) throw new DareError('invalid-size');
  const rest = sealedBytes % packageBytesMax;
  if (rest > 0 && rest <= overheadBytes) throw new DareError('invalid-size');
  const full = (sealedBytes - rest) / packageBytesMax;
  return full * payloadBytesMax + (rest === 0 ? 0 : rest - overheadBytes);
}

function isSize(value: number, max: number): boolean {
  return Number.isSafeInteger(value) && value >= 0 && value <= max;
}

/**
 * Where the bytes of a plaintext range are in the stored bytes of an object, and how to read on
 * from there.
 */
export type SealedRange = {
  /** Stored bytes to read, end exclusive, counted over all parts laid end to end. */
  readonly sealedStart: number;
  readonly sealedEnd: number;
  /** Plaintext bytes to drop from the front of what is opened. */
  readonly skipBytes: number;
  /** Indexes (not part numbers) of the parts that hold the first and the last byte. */
  readonly firstPart: number;
  readonly lastPart: number;
  /**
   * The sequence number of the first package, in the first part; every further part starts at 0.
   */
  readonly sequence: number;
};

/**
 * Maps the plaintext bytes `start` to `end` (exclusive) of an object whose parts have these
 * plaintext sizes. A single-part object has one part. Each part is a stream of its own. An empty
 * range maps to no bytes. Throws `invalid-range` when it is not inside the object.
 */
export function mapSealedRange(
  partPlainSizes: readonly number[],
  range: { readonly start: number; readonly end: number },
): SealedRange {
  const { start, end } = range;
  if (!isSize(start, plainBytesMax) || !isSize(end, Number.MAX_SAFE_INTEGER) || end < start) {
    throw new DareError('invalid-range');
  }
  if (start === end) {
    return { sealedStart: 0, sealedEnd: 0, skipBytes: 0, firstPart: 0, lastPart: 0, sequence: 0 };
  }
  const first = locate(partPlainSizes, start);
  const last = locate(partPlainSizes, end - 1);
  return {
    sealedStart: first.sealedBefore + first.sequence * packageBytesMax,
    sealedEnd: Math.min(
      last.sealedBefore + (last.sequence + 1) * packageBytesMax,
      last.sealedBefore + last.sealedPart,
    ),
    skipBytes: first.offset % payloadBytesMax,
    firstPart: first.part,
    lastPart: last.part,
    sequence: first.sequence,
  };
}

type Location = {
  readonly part: number;
  /** Plaintext bytes before it in its part. */
  readonly offset: number;
  readonly sequence: number;
  readonly sealedBefore: number;
  readonly sealedPart: number;
};

function locate(partPlainSizes: readonly number[], position: number): Location {
  let plainBefore = 0;
  let sealedBefore = 0;
  for (const [part, plainPart] of partPlainSizes.entries()) {
    const sealedPart = sealedSize(plainPart);
    const offset = position - plainBefore;
    if (offset < plainPart) {
      const sequence = Math.floor(offset / payloadBytesMax);
      return { part, offset, sequence, sealedBefore, sealedPart };
    }
    plainBefore += plainPart;
    sealedBefore += sealedPart;
  }
  throw new DareError('invalid-range');
}
