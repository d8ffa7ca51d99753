// The keys of one object (docs/formats/object-encryption.md): from an external key (a data key of
// the KMS, or the client's own) comes a key-encryption key bound to the object's place, which seals
// the object's own key (OEK); from the OEK come the keys of its parts, its ETag, its checksums and
// its compression index. A sealed OEK opens only at its own bucket and name, under its own kind of
// encryption; every failure is the one code `key-mismatch`. Returned keys belong to the caller, who
// wipes them.

import assert from 'node:assert/strict';
import { createHash, createHmac, randomBytes } from 'node:crypto';
import { DareError, openDare, sealDare } from '../aead/dare.ts';
import { SseError } from './sse-error.ts';

/** The kind of encryption, as it enters the derivation of the key-encryption key. */
export type SseDomain =
  | 'SSE-S3'
  | 'SSE-KMS'
  | 'SSE-KMS-BUCKET-KEY'
  | 'DSSE-KMS-INNER'
  | 'DSSE-KMS-OUTER'
  | 'SSE-C';

export const sealAlgorithm = 'DAREv2-HMAC-SHA256';
/** Of old releases; read for SSE-C, never written. */
export const legacySealAlgorithm = 'DARE-SHA256';

export const keySizeBytes = 32;
export const ivSizeBytes = 32;
export const sealedOekBytes = 64;

/** A new object encryption key, 32 bytes. The external key guards against a weak random source. */
export function generateOek(externalKey: Uint8Array): Buffer {
  const random = randomBytes(32);
  const oek = deriveOek(externalKey, random);
  random.fill(0);
  return oek;
}

/** The deterministic step of `generateOek`. */
export function deriveOek(externalKey: Uint8Array, random: Uint8Array): Buffer {
  assert(externalKey.length === keySizeBytes, 'an external key has 32 bytes');
  return createHmac('sha256', externalKey)
    .update('object-encryption-key generation')
    .update(random)
    .digest();
}

/** The key-encryption key of the object at `path` (`objectPath`). The IV has 32 bytes. */
export function deriveKek(from: {
  readonly externalKey: Uint8Array;
  readonly iv: Uint8Array;
  readonly domain: SseDomain;
  readonly path: string;
}): Buffer {
  assert(from.externalKey.length === keySizeBytes, 'an external key has 32 bytes');
  assert(from.iv.length === ivSizeBytes, 'an IV has 32 bytes');
  return createHmac('sha256', from.externalKey)
    .update(from.iv)
    .update(from.domain + sealAlgorithm + from.path)
    .digest();
}

/**
 * The key-encryption key of the legacy seal algorithm: bound to no place. Read only, SSE-C only.
 */
export function deriveLegacyKek(externalKey: Uint8Array, iv: Uint8Array): Buffer {
  return createHash('sha256').update(externalKey).update(iv).digest();
}

/** The sealed object encryption key, 64 bytes. */
export function sealOek(kek: Uint8Array, oek: Uint8Array): Buffer {
  assert(oek.length === keySizeBytes, 'an object encryption key has 32 bytes');
  return sealDare(kek, oek);
}

/** The object encryption key. Throws `SseError` `key-mismatch`, whatever was wrong. */
export function openOek(kek: Uint8Array, sealedOek: Uint8Array): Buffer {
  return openKey(kek, sealedOek, 2);
}

/** The same for the legacy seal algorithm, whose sealed keys may be DARE 1.0. */
export function openLegacyOek(kek: Uint8Array, sealedOek: Uint8Array): Buffer {
  return openKey(kek, sealedOek, 1);
}

function openKey(kek: Uint8Array, sealedOek: Uint8Array, minVersion: 1 | 2): Buffer {
  if (sealedOek.length !== sealedOekBytes) throw new SseError('key-mismatch');
  try {
    return openDare(kek, sealedOek, { minVersion });
  } catch (error) {
    throw error instanceof DareError ? new SseError('key-mismatch') : error;
  }
}

/** The key of one part's stream. The number is the client's, 1 to 10000, not an index. */
export function derivePartKey(oek: Uint8Array, partNumber: number): Buffer {
  const number = Buffer.alloc(4);
  number.writeUInt32LE(partNumber);
  return createHmac('sha256', oek).update(number).digest();
}

/** The key that seals the ETag. Always from the OEK itself, for parts too. */
export function deriveEtagKey(oek: Uint8Array): Buffer {
  return createHmac('sha256', oek).update('SSE-etag').digest();
}

/** The key that seals the checksum record. */
export function deriveChecksumKey(oek: Uint8Array): Buffer {
  return createHmac('sha256', oek).update('object-checksum').digest();
}

/** The key that seals the compression index. */
export function deriveCompressionIndexKey(oek: Uint8Array): Buffer {
  return createHmac('sha256', oek).update('compression-index').digest();
}
