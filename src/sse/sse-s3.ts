// SSE-S3: each object has its own data key from the KMS, always under the store's default master
// key and bound to bucket and name. One generate call to create, one decrypt call to open; the
// plain data key is wiped before either returns.

import { objectContext } from './context.ts';
import {
  createObjectKey,
  type ObjectPlace,
  openObjectKey,
  requireSealAlgorithm,
  type SseS3Envelope,
  withDataKey,
} from './envelope.ts';
import type { Kms } from './kms.ts';

export type { SseS3Envelope } from './envelope.ts';

/**
 * A new object key and its envelope, or the one to keep in a new envelope. One generate call. Throws `KmsError`, or `SseError`
 * `invalid-data-key`.
 */
export async function createSseS3Key(
  kms: Kms,
  place: ObjectPlace,
  keeping?: Uint8Array,
): Promise<{ oek: Buffer; envelope: SseS3Envelope }> {
  const context = objectContext(place.bucket, place.key);
  const { plaintext, ciphertext, keyName } = await kms.generateKey(kms.defaultKeyName, context);
  const { oek, sealed } = withDataKey(plaintext, (externalKey) =>
    createObjectKey(externalKey, 'SSE-S3', place, keeping),
  );
  return { oek, envelope: { ...sealed, keyName, sealedDataKey: ciphertext } };
}

/**
 * The object key of an envelope. One decrypt call, under the master key that the envelope names.
 * Throws `KmsError`, or `SseError` `key-mismatch` when the envelope is another object's or was
 * changed.
 */
export async function openSseS3Key(
  kms: Kms,
  place: ObjectPlace,
  envelope: SseS3Envelope,
): Promise<Buffer> {
  requireSealAlgorithm(envelope);
  const context = objectContext(place.bucket, place.key);
  const plaintext = await kms.decrypt(envelope.keyName, envelope.sealedDataKey, context);
  return withDataKey(plaintext, (externalKey) =>
    openObjectKey(envelope, externalKey, { domain: 'SSE-S3', place }),
  );
}
