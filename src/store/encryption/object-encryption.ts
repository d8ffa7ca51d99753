// The key of one object, whatever the kind of its encryption: made for a write, opened for a read. The KMS is
// asked once, beside whatever else is going on; a client's key is used at once and not kept. Opened keys are
// wiped by whoever got them.

import { createDsseKmsKey, type DsseKmsRequest, openDsseKmsKey } from '../../sse/dsse-kms.ts';
import { createSseCKey, openSseCKey } from '../../sse/sse-c.ts';
import type { ObjectPlace, ObjectEnvelope } from '../../sse/envelope.ts';
import type { Kms, KmsContext } from '../../sse/kms.ts';
import { SseError } from '../../sse/sse-error.ts';
import {
  createBucketKeyedKey,
  createSseKmsKey,
  keyNameOf,
  openBucketKeyedKey,
  openSseKmsKey,
} from '../../sse/sse-kms.ts';
import { createSseS3Key, openSseS3Key } from '../../sse/sse-s3.ts';
import type { LoadedBucket } from '../buckets.ts';
import { type SettledRequest, settleRequest } from './encryption-default.ts';
import type { StoreContext } from '../store-context.ts';
import { type ClientKey, type EncryptionRequest, StoreError } from '../types.ts';

/** An object's key on its way, beside whatever else is going on. */
export type StartedKey = {
  readonly oek: Promise<Buffer>;
  readonly envelope: Promise<ObjectEnvelope>;
  readonly kind: ObjectEnvelope['kind'];
  /** Wipes the key, also when it has yet to arrive. */
  wipe(): void;
};

/**
 * Decides whether to encrypt, and starts to make a key if so. A client's key is not used any more once this
 * returned. Throws `KmsNotConfigured`.
 */
export function startKey(
  context: StoreContext,
  place: { readonly bucket: LoadedBucket; readonly key: string },
  request: EncryptionRequest,
): StartedKey | undefined {
  const { settings } = place.bucket.record;
  const { isAutoEncrypting } = context.settings;
  const wanted = settleRequest(request, { settings, key: place.key, isAutoEncrypting });
  if (wanted === undefined) return undefined;
  if (wanted.kind === 'sse-c') assertTakesClientKeys(place.bucket);
  const made = makeKey(context, { bucket: place.bucket.name, key: place.key }, wanted);
  const oek = made.then((key) => key.oek);
  const envelope = made.then((key) => key.envelope);
  // Whoever needs them sees the failure; nobody may be waiting yet, or ever.
  oek.catch(() => undefined);
  envelope.catch(() => undefined);
  const wipe = (): void => {
    oek.then((key) => key.fill(0)).catch(() => undefined);
  };
  return { oek, envelope, kind: wanted.kind, wipe };
}

/** Throws `EncryptionBlocked` in a bucket that takes no new objects under keys of clients. */
export function assertTakesClientKeys(bucket: LoadedBucket): void {
  if (bucket.record.settings.blocksSseC !== true) return;
  throw new StoreError(
    'EncryptionBlocked',
    'The bucket blocks server side encryption with customer provided keys (SSE-C).',
  );
}

type MadeKey = { readonly oek: Buffer; readonly envelope: ObjectEnvelope };

function makeKey(context: StoreContext, at: ObjectPlace, wanted: SettledRequest): Promise<MadeKey> {
  if (wanted.kind === 'sse-c') {
    const { oek, envelope } = createSseCKey(wanted.clientKey, at);
    return Promise.resolve({ oek, envelope: { kind: 'sse-c', ...envelope } });
  }
  const kms = kmsForWrite(context);
  if (wanted.kind === 'sse-s3') return makeSseS3Key(kms, at);
  if (wanted.kind === 'sse-kms') return makeSseKmsKey(context, kms, { at, wanted });
  const request = { ...requestOf(kms, wanted), outerKeyName: context.settings.dsseKeyName };
  return makeDsseKey(kms, at, request);
}

/** What an object's key can be sealed under without writing its bytes again. */
export type ResealRequest = SettledRequest & { readonly kind: 'sse-s3' | 'sse-kms' };

/** The key of an object in a new envelope. It stays the caller's. One KMS call. Throws `KmsError`. */
export async function resealKey(
  context: StoreContext,
  at: ObjectPlace,
  how: { readonly wanted: ResealRequest; readonly oek: Uint8Array },
): Promise<ObjectEnvelope> {
  const { wanted, oek: keeping } = how;
  const kms = kmsForWrite(context);
  const { oek, envelope } =
    wanted.kind === 'sse-s3'
      ? await makeSseS3Key(kms, at, keeping)
      : await makeSseKmsKey(context, kms, { at, wanted, keeping });
  oek.fill(0);
  return envelope;
}

async function makeSseS3Key(kms: Kms, at: ObjectPlace, keeping?: Uint8Array): Promise<MadeKey> {
  const { oek, envelope } = await createSseS3Key(kms, at, keeping);
  return { oek, envelope: { kind: 'sse-s3', ...envelope } };
}

async function makeSseKmsKey(
  context: StoreContext,
  kms: Kms,
  how: {
    readonly at: ObjectPlace;
    readonly wanted: SettledRequest & { readonly kind: 'sse-kms' };
    readonly keeping?: Uint8Array;
  },
): Promise<MadeKey> {
  const { at, wanted, keeping } = how;
  const { bucketKeys } = context;
  const request = { ...requestOf(kms, wanted), ...(keeping ? { keeping } : {}) };
  const { oek, envelope } =
    bucketKeys && wanted.hasBucketKey === true
      ? await createBucketKeyedKey(bucketKeys, at, request)
      : await createSseKmsKey(kms, at, request);
  return { oek, envelope: { kind: 'sse-kms', ...envelope } };
}

async function makeDsseKey(kms: Kms, at: ObjectPlace, request: DsseKmsRequest): Promise<MadeKey> {
  const { oek, envelope } = await createDsseKmsKey(kms, at, request);
  return { oek, envelope: { kind: 'dsse-kms', ...envelope } };
}

function requestOf(
  kms: Kms,
  { keyId, context }: { readonly keyId?: string; readonly context?: KmsContext },
): { readonly keyName: string; readonly keyId?: string; readonly context?: KmsContext } {
  return {
    keyName: keyNameOf(keyId ?? '') || kms.defaultKeyName,
    ...(keyId === undefined ? {} : { keyId }),
    ...(context === undefined ? {} : { context }),
  };
}

function kmsForWrite(context: StoreContext): Kms {
  if (context.kms) return context.kms;
  throw new StoreError(
    'KmsNotConfigured',
    'Server side encryption specified but KMS is not configured. Set MINIO_KMS_KES_ENDPOINT or MINIO_KMS_SECRET_KEY.',
  );
}

/**
 * The key of a stored object: one KMS call, or none with SSE-C, where the client's key is used before this
 * returns. Throws `KmsError`, `KmsNotConfigured`, and what `openClientOek` throws.
 */
export async function openOek(
  context: StoreContext,
  at: ObjectPlace,
  how: { readonly envelope: ObjectEnvelope; readonly clientKey: ClientKey | undefined },
): Promise<Buffer> {
  const { envelope, clientKey } = how;
  if (envelope.kind === 'sse-c') return openClientOek(at, envelope, clientKey);
  if (!context.kms) {
    throw new StoreError('KmsNotConfigured', 'The object is encrypted but KMS is not configured.');
  }
  if (envelope.kind === 'sse-s3') return openSseS3Key(context.kms, at, envelope);
  if (envelope.kind === 'dsse-kms') return openDsseKmsKey(context.kms, at, envelope);
  return envelope.hasBucketKey && context.bucketKeys
    ? openBucketKeyedKey(context.bucketKeys, at, envelope)
    : openSseKmsKey(context.kms, at, envelope);
}

/** The key of an SSE-C object. Throws `InvalidRequest` when the client's key is missing or another one. */
export function openClientOek(
  at: ObjectPlace,
  envelope: ObjectEnvelope & { readonly kind: 'sse-c' },
  clientKey: ClientKey | undefined,
): Buffer {
  if (clientKey === undefined) throw clientKeyMissing();
  try {
    return openSseCKey(clientKey, at, envelope);
  } catch (error) {
    if (!(error instanceof SseError && error.code === 'key-mismatch')) throw error;
    throw new StoreError(
      'InvalidRequest',
      'The provided encryption parameters did not match the ones used originally.',
      { cause: error },
    );
  }
}

/** Refuses a client's key where none belongs. Throws `InvalidRequest`. */
export function assertNoClientKey(clientKey: ClientKey | undefined): void {
  if (clientKey === undefined) return;
  throw new StoreError(
    'InvalidRequest',
    'The encryption parameters are not applicable to this object.',
  );
}

function clientKeyMissing(): StoreError {
  return new StoreError(
    'InvalidRequest',
    'The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.',
  );
}

/** Throws `KmsError` when the key service makes no data key under that master key, and `KmsNotConfigured`. */
export async function assertKeyUsable(context: StoreContext, masterKeyName: string): Promise<void> {
  const { plaintext } = await kmsForWrite(context).generateKey(masterKeyName, {});
  plaintext.fill(0);
}
