// DSSE-KMS: two layers, each with a data key of its own from a key call of its own, under two master keys where two
// are configured. The object key is both layers' keys, one behind the other: inner, outer. `object-data.ts`
// knows by its size what to do with it.

import { sseKmsContext } from './context.ts';
import {
  createObjectKey,
  type DsseKmsEnvelope,
  type ObjectPlace,
  openObjectKey,
  requireSealAlgorithm,
  type SealedDataKey,
  type SealedObjectKey,
  withDataKey,
} from './envelope.ts';
import type { Kms, KmsContext } from './kms.ts';

export type { DsseKmsEnvelope } from './envelope.ts';

/** No key name, or an empty one, means the store's default master key; no outer one, the same as the inner. */
export type DsseKmsRequest = {
  readonly keyName?: string;
  readonly outerKeyName?: string;
  /** As the client wrote it, to be given back. */
  readonly keyId?: string;
  readonly context?: KmsContext;
};

type Layer = SealedObjectKey & SealedDataKey;
type LayerDomain = 'DSSE-KMS-INNER' | 'DSSE-KMS-OUTER';

/**
 * New object keys, 64 bytes, and their envelope. Two generate calls at once. Throws `KmsError`, or `SseError`
 * `invalid-data-key`.
 */
export async function createDsseKmsKey(
  kms: Kms,
  place: ObjectPlace,
  request: DsseKmsRequest = {},
): Promise<{ oek: Buffer; envelope: DsseKmsEnvelope }> {
  const { context = {}, keyId } = request;
  const keyName = request.keyName || kms.defaultKeyName;
  const how = { kms, place, context: sseKmsContext(place, context) };
  const [inner, outer] = await both([
    makeLayer(how, keyName, 'DSSE-KMS-INNER'),
    makeLayer(how, request.outerKeyName || keyName, 'DSSE-KMS-OUTER'),
  ]);
  return {
    oek: join(inner.oek, outer.oek),
    envelope: {
      inner: inner.layer,
      outer: outer.layer,
      ...(keyId ? { keyId } : {}),
      ...(Object.keys(context).length > 0 ? { context } : {}),
    },
  };
}

/**
 * The object keys of an envelope, 64 bytes. Two decrypt calls at once. Throws `KmsError`, or `SseError`
 * `key-mismatch` when a layer is another object's, the other layer, or was changed.
 */
export async function openDsseKmsKey(
  kms: Kms,
  place: ObjectPlace,
  envelope: DsseKmsEnvelope,
): Promise<Buffer> {
  const how = { kms, place, context: sseKmsContext(place, envelope.context) };
  const [inner, outer] = await both([
    openLayer(how, envelope.inner, 'DSSE-KMS-INNER'),
    openLayer(how, envelope.outer, 'DSSE-KMS-OUTER'),
  ]);
  return join(inner.oek, outer.oek);
}

type LayerAt = {
  readonly kms: Kms;
  readonly place: ObjectPlace;
  /** With our own entry. */
  readonly context: KmsContext;
};

async function makeLayer(
  { kms, place, context }: LayerAt,
  keyName: string,
  domain: LayerDomain,
): Promise<{ oek: Buffer; layer: Layer }> {
  const dataKey = await kms.generateKey(keyName, context);
  const { oek, sealed } = withDataKey(dataKey.plaintext, (externalKey) =>
    createObjectKey(externalKey, domain, place),
  );
  const layer = { ...sealed, keyName: dataKey.keyName, sealedDataKey: dataKey.ciphertext };
  return { oek, layer };
}

async function openLayer(
  { kms, place, context }: LayerAt,
  layer: Layer,
  domain: LayerDomain,
): Promise<{ oek: Buffer }> {
  requireSealAlgorithm(layer);
  const plaintext = await kms.decrypt(layer.keyName, layer.sealedDataKey, context);
  const oek = withDataKey(plaintext, (externalKey) =>
    openObjectKey(layer, externalKey, { domain, place }),
  );
  return { oek };
}

/** Both or none: the key of the one that came is wiped when the other fails. */
async function both<Made extends { readonly oek: Buffer }>(
  making: readonly [Promise<Made>, Promise<Made>],
): Promise<readonly [Made, Made]> {
  const [inner, outer] = await Promise.allSettled(making);
  if (inner.status === 'fulfilled' && outer.status === 'fulfilled') {
    return [inner.value, outer.value];
  }
  for (const made of [inner, outer]) if (made.status === 'fulfilled') made.value.oek.fill(0);
  throw inner.status === 'rejected' ? inner.reason : (outer as PromiseRejectedResult).reason;
}

function join(inner: Buffer, outer: Buffer): Buffer {
  const joined = Buffer.concat([inner, outer]);
  inner.fill(0);
  outer.fill(0);
  return joined;
}
