// SSE-KMS: as SSE-S3, but the client names the master key and may add a context of its own. The
// context is stored without the entry that binds the data key to the object; that entry is added
// for every KMS call, unless the client's context already has one under the bucket's name.

import type { BucketKeys } from './bucket-keys.ts';
import { sseKmsContext } from './context.ts';
import {
  createObjectKey,
  type ObjectPlace,
  openObjectKey,
  requireSealAlgorithm,
  type SseKmsEnvelope,
  withDataKey,
} from './envelope.ts';
import type { Kms, KmsContext } from './kms.ts';

export type { SseKmsEnvelope } from './envelope.ts';

/**
 * What a request or a bucket default asks for. No key name, or an empty one, means the store's
 * default master key.
 */
export type SseKmsRequest = {
  readonly keyName?: string;
  /** As the client wrote it, to be given back. */
  readonly keyId?: string;
  readonly context?: KmsContext;
  /** The object's key, when it is to stay as it is. */
  readonly keeping?: Uint8Array;
};

const arnPrefix = 'arn:aws:kms:';
const fullArn = /^arn:aws(?:-[a-z]+)*:kms:[^:]*:[^:]*:(?:key|alias)\/(.*)$/s;
const aliasPrefix = 'alias/';
/** The key that AWS makes by itself: here, the default master key. */
const managedAlias = 'aws/s3';

/**
 * The master key's name in a key id as clients write it: the name, `alias/NAME`, either behind
 * `arn:aws:kms:`, or an ARN with region and account. Empty for `alias/aws/s3`, the default key.
 */
export function keyNameOf(keyId: string): string {
  const inArn = fullArn.exec(keyId)?.[1];
  const short = keyId.startsWith(arnPrefix) ? keyId.slice(arnPrefix.length) : keyId;
  const name = inArn ?? (short.startsWith(aliasPrefix) ? short.slice(aliasPrefix.length) : short);
  return name === managedAlias ? '' : name;
}

/** The key id as clients see it. */
export function keyIdOf(keyName: string): string {
  return arnPrefix + keyName;
}

/**
 * A new object key and its envelope. One generate call. Throws `KmsError`, or `SseError`
 * `invalid-data-key`.
 */
export async function createSseKmsKey(
  kms: Kms,
  place: ObjectPlace,
  request: SseKmsRequest = {},
): Promise<{ oek: Buffer; envelope: SseKmsEnvelope }> {
  const { context = {} } = request;
  const wanted = request.keyName || kms.defaultKeyName;
  const dataKey = await kms.generateKey(wanted, sseKmsContext(place, context));
  const { oek, sealed } = withDataKey(dataKey.plaintext, (externalKey) =>
    createObjectKey(externalKey, 'SSE-KMS', place, request.keeping),
  );
  const { keyName, ciphertext: sealedDataKey } = dataKey;
  return { oek, envelope: { ...sealed, keyName, sealedDataKey, ...storedOf(request) } };
}

function storedOf({
  keyId,
  context = {},
}: SseKmsRequest): Pick<SseKmsEnvelope, 'keyId' | 'context'> {
  return { ...(keyId ? { keyId } : {}), ...(Object.keys(context).length > 0 ? { context } : {}) };
}

/**
 * The same under a bucket key: no call of its own while the process has one. Throws `KmsError`, or `SseError`
 * `invalid-data-key`.
 */
export async function createBucketKeyedKey(
  keys: BucketKeys,
  place: ObjectPlace,
  request: SseKmsRequest & { readonly keyName: string },
): Promise<{ oek: Buffer; envelope: SseKmsEnvelope }> {
  const { keyName, sealedDataKey, plaintext } = await keys.forWrite(place, request);
  const { oek, sealed } = withDataKey(plaintext, (externalKey) =>
    createObjectKey(externalKey, 'SSE-KMS-BUCKET-KEY', place, request.keeping),
  );
  const stored = storedOf(request);
  return { oek, envelope: { ...sealed, keyName, sealedDataKey, ...stored, hasBucketKey: true } };
}

/** The object key of an envelope with a bucket key. Throws as `openSseKmsKey`. */
export async function openBucketKeyedKey(
  keys: BucketKeys,
  place: ObjectPlace,
  envelope: SseKmsEnvelope,
): Promise<Buffer> {
  requireSealAlgorithm(envelope);
  const { plaintext } = await keys.forRead(place, envelope);
  return withDataKey(plaintext, (externalKey) =>
    openObjectKey(envelope, externalKey, { domain: 'SSE-KMS-BUCKET-KEY', place }),
  );
}

/**
 * The object key of an envelope. One decrypt call, under the master key that the envelope names.
 * Throws `KmsError`, or `SseError` `key-mismatch` when the envelope is another object's or was
 * changed.
 */
export async function openSseKmsKey(
  kms: Kms,
  place: ObjectPlace,
  envelope: SseKmsEnvelope,
): Promise<Buffer> {
  requireSealAlgorithm(envelope);
  const context = sseKmsContext(place, envelope.context);
  const plaintext = await kms.decrypt(envelope.keyName, envelope.sealedDataKey, context);
  return withDataKey(plaintext, (externalKey) =>
    openObjectKey(envelope, externalKey, { domain: 'SSE-KMS', place }),
  );
}
