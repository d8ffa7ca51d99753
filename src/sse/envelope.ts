// What is stored with an encrypted object besides its bytes, for each kind of encryption, and the
// two steps all kinds share: sealing an object key at its place, and opening it there.

import { randomBytes } from 'node:crypto';
import { objectPath } from './context.ts';
import type { KmsContext } from './kms.ts';
import {
  deriveKek,
  generateOek,
  ivSizeBytes,
  keySizeBytes,
  openOek,
  type SseDomain,
  sealAlgorithm,
  sealOek,
} from './object-key.ts';
import { SseError } from './sse-error.ts';

/** The object an object key is bound to. */
export type ObjectPlace = { readonly bucket: string; readonly key: string };

/** A sealed object key. */
export type SealedObjectKey = {
  /** `DAREv2-HMAC-SHA256`; SSE-C objects of old releases may have `DARE-SHA256`. */
  readonly sealAlgorithm: string;
  /** 32 bytes. */
  readonly iv: Uint8Array;
  /** 64 bytes. */
  readonly sealedOek: Uint8Array;
};

/** A sealed data key of the KMS. */
export type SealedDataKey = {
  /** The master key that seals it. */
  readonly keyName: string;
  /** Opaque ciphertext. */
  readonly sealedDataKey: Uint8Array;
};

/** What is stored with an SSE-S3 object: enough to open it again with the KMS, useless without. */
export type SseS3Envelope = SealedObjectKey & SealedDataKey;

/**
 * The same for SSE-KMS; `context` is the client's, without the entry that we add for the object.
 */
export type SseKmsEnvelope = SealedObjectKey &
  SealedDataKey & {
    /** The key id as the client wrote it; absent when it named none. */
    readonly keyId?: string;
    readonly context?: KmsContext;
    /** The sealed data key is that of a bucket, which serves many objects. */
    readonly hasBucketKey?: true;
  };

/** What is stored with a DSSE-KMS object: each layer has keys of its own. */
export type DsseKmsEnvelope = {
  readonly inner: SealedObjectKey & SealedDataKey;
  readonly outer: SealedObjectKey & SealedDataKey;
  readonly keyId?: string;
  readonly context?: KmsContext;
};

/** What is stored with an SSE-C object. The client's key is not in it. */
export type SseCEnvelope = SealedObjectKey;

export type SseEnvelope =
  | ({ readonly kind: 'sse-s3' } & SseS3Envelope)
  | ({ readonly kind: 'sse-kms' } & SseKmsEnvelope)
  | ({ readonly kind: 'sse-c' } & SseCEnvelope);

export type SseKind = SseEnvelope['kind'];

/** The same with what has no form as metadata entries. */
export type ObjectEnvelope = SseEnvelope | ({ readonly kind: 'dsse-kms' } & DsseKmsEnvelope);

/**
 * A new object key, sealed at its place. The external key has 32 bytes and stays the caller's. With `keeping` it is
 * that key, sealed anew: only ever for the object that has it.
 */
export function createObjectKey(
  externalKey: Uint8Array,
  domain: SseDomain,
  place: ObjectPlace,
  keeping?: Uint8Array,
): { oek: Buffer; sealed: SealedObjectKey } {
  const oek = keeping ? Buffer.from(keeping) : generateOek(externalKey);
  return { oek, sealed: sealObjectKey(oek, externalKey, { domain, place }) };
}

/** An object key sealed under an external key and a fresh IV. */
export function sealObjectKey(
  oek: Uint8Array,
  externalKey: Uint8Array,
  bind: { readonly domain: SseDomain; readonly place: ObjectPlace },
): SealedObjectKey {
  const iv = randomBytes(ivSizeBytes);
  const path = objectPath(bind.place.bucket, bind.place.key);
  const kek = deriveKek({ externalKey, iv, domain: bind.domain, path });
  const sealedOek = sealOek(kek, oek);
  kek.fill(0);
  return { sealAlgorithm, iv, sealedOek };
}

/**
 * The object key again. Throws `SseError`: `invalid-seal-algorithm`, `invalid-iv`, `key-mismatch`.
 */
export function openObjectKey(
  sealed: SealedObjectKey,
  externalKey: Uint8Array,
  bind: { readonly domain: SseDomain; readonly place: ObjectPlace },
): Buffer {
  const path = objectPath(bind.place.bucket, bind.place.key);
  requireSealAlgorithm(sealed);
  const kek = deriveKek({ externalKey, iv: sealed.iv, domain: bind.domain, path });
  try {
    return openOek(kek, sealed.sealedOek);
  } finally {
    kek.fill(0);
  }
}

/** Refuses an envelope that the current seal algorithm did not make. Throws `SseError`. */
export function requireSealAlgorithm(sealed: SealedObjectKey): void {
  if (sealed.sealAlgorithm !== sealAlgorithm) throw new SseError('invalid-seal-algorithm');
  if (sealed.iv.length !== ivSizeBytes) throw new SseError('invalid-iv');
}

/**
 * Runs `use` on a data key of the KMS and wipes it after. Throws `SseError` `invalid-data-key` when
 * it has not 32 bytes.
 */
export function withDataKey<Result>(
  plaintext: Uint8Array,
  use: (externalKey: Uint8Array) => Result,
): Result {
  try {
    if (plaintext.length !== keySizeBytes) throw new SseError('invalid-data-key');
    return use(plaintext);
  } finally {
    plaintext.fill(0);
  }
}
