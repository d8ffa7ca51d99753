// One package of a DARE stream: sealing (2.0) and opening (2.0, and 1.0 for what old releases
// wrote), with every check of docs/formats/dare.md in its order. The rule: no byte of a package
// leaves before its tag was verified at its own place in its own stream.

import { timingSafeEqual } from 'node:crypto';
import { type AeadCipher, type AeadKey, nonceBytes, openSealed, sealInto } from './cipher.ts';
import {
  DareError,
  headerBytes,
  overheadBytes,
  payloadBytesMax,
  sequenceMax,
} from './dare-format.ts';

const version1 = 0x10;
const version2 = 0x20;
const finalFlag = 0x80;

/** The ciphers by their number in the header. */
const ciphers: readonly AeadCipher[] = ['aes-256-gcm', 'chacha20-poly1305'];

/**
 * What all packages of one stream share. The nonce is 12 random bytes with the top bit of the first
 * cleared.
 */
export type SealState = {
  readonly key: AeadKey;
  readonly cipher: AeadCipher;
  readonly nonce: Uint8Array;
};

/** Seals the pieces as one package at `offset` of `target`. Returns the offset behind it. */
export function sealPackage(
  state: SealState,
  place: { readonly sequence: number; readonly isFinal: boolean },
  payload: { readonly pieces: readonly Uint8Array[]; readonly sizeBytes: number },
  target: { readonly bytes: Buffer; readonly offset: number },
): number {
  if (place.sequence > sequenceMax) throw new DareError('invalid-size');
  const { bytes, offset } = target;
  bytes[offset] = version2;
  bytes[offset + 1] = ciphers.indexOf(state.cipher);
  bytes.writeUInt16LE(payload.sizeBytes - 1, offset + 2);
  bytes.set(state.nonce, offset + 4);
  if (place.isFinal) bytes[offset + 4] = (state.nonce[0] as number) | finalFlag; // 12 bytes long
  const header = bytes.subarray(offset, offset + headerBytes);
  const call = {
    cipher: state.cipher,
    key: state.key,
    nonce: packageNonce(header, place.sequence),
    associatedData: header.subarray(0, 4),
  };
  return sealInto(call, payload.pieces, { bytes, offset: offset + headerBytes });
}

/** Header bytes 4 to 16, the last four as LE32 XORed with the sequence number. */
function packageNonce(header: Uint8Array, sequence: number): Buffer {
  const nonce = Buffer.allocUnsafe(nonceBytes);
  nonce.set(header.subarray(4, headerBytes));
  nonce.writeUInt32LE((nonce.readUInt32LE(8) ^ sequence) >>> 0, 8);
  return nonce;
}

/** Opens the packages of one stream in order, from any sequence number on. */
export class PackageOpener {
  readonly #key: AeadKey;
  readonly #minVersion: 1 | 2;
  #sequence: number;
  #first: Uint8Array | undefined;
  #isFinalSeen = false;

  constructor(key: AeadKey, options: { readonly sequence: number; readonly minVersion: 1 | 2 }) {
    this.#key = key;
    this.#sequence = options.sequence;
    this.#minVersion = options.minVersion;
  }

  /**
   * True when the stream may end here: at the very start, after the final package, or anywhere in a
   * 1.0 stream.
   */
  get mayEnd(): boolean {
    return this.#first === undefined || this.#isFinalSeen || this.#first[0] === version1;
  }

  /** True when packages carry their own size (1.0) instead of filling up to the largest (2.0). */
  isSelfSized(firstByte: number | undefined): boolean {
    return firstByte === version1 && this.#minVersion === 1;
  }

  /**
   * The plaintext of the next package; `bytes` is the whole of it. Throws `DareError`, the first
   * check that fails.
   */
  open(bytes: Uint8Array): Buffer {
    const header = bytes.subarray(0, headerBytes);
    const first = this.#first ?? header;
    const isVersion1 = this.isSelfSized(header[0]);
    if (this.#isFinalSeen) throw new DareError('unexpected-data');
    if (bytes.length <= overheadBytes) throw new DareError('invalid-payload-size');
    if (header[0] !== version2 && !isVersion1) throw new DareError('unsupported-version');
    if (header[0] !== first[0]) throw new DareError('unsupported-version');
    const cipher = ciphers[header[1] as number]; // a header has 16 bytes, here and below
    if (cipher === undefined || header[1] !== first[1]) throw new DareError('unsupported-cipher');
    const payloadBytes = 1 + (header[2] as number) + 256 * (header[3] as number);
    if (payloadBytes + overheadBytes !== bytes.length) throw new DareError('invalid-payload-size');
    if (this.#sequence > sequenceMax) throw new DareError('invalid-size');
    const nonce = isVersion1
      ? this.#nonceOfVersion1(header)
      : this.#nonceOfVersion2(header, first, payloadBytes);
    const call = { cipher, key: this.#key, nonce, associatedData: header.subarray(0, 4) };
    const plaintext = openSealed(call, bytes.subarray(headerBytes));
    if (plaintext === undefined) throw new DareError('not-authentic');
    this.#first ??= Buffer.from(header); // a copy: the view would keep its whole chunk alive
    this.#sequence += 1;
    this.#isFinalSeen = !isVersion1 && isFinal(header);
    return plaintext;
  }

  #nonceOfVersion2(header: Uint8Array, first: Uint8Array, payloadBytes: number): Buffer {
    if (!isFinal(header) && payloadBytes !== payloadBytesMax) {
      throw new DareError('invalid-payload-size');
    }
    if (header !== first && !hasSameNonce(header, first)) throw new DareError('nonce-mismatch');
    return packageNonce(header, this.#sequence);
  }

  #nonceOfVersion1(header: Uint8Array): Buffer {
    const nonce = Buffer.from(header.subarray(4, headerBytes));
    if (nonce.readUInt32LE(0) !== this.#sequence) throw new DareError('sequence-mismatch');
    return nonce;
  }
}

function isFinal(header: Uint8Array): boolean {
  return ((header[4] as number) & finalFlag) !== 0;
}

function hasSameNonce(header: Uint8Array, first: Uint8Array): boolean {
  const isRestSame = timingSafeEqual(
    header.subarray(5, headerBytes),
    first.subarray(5, headerBytes),
  );
  return isRestSame && (((header[4] as number) ^ (first[4] as number)) & ~finalFlag & 0xff) === 0;
}
