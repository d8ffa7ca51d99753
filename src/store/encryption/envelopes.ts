// What the envelope of an object tells without being opened: how the object is protected, by which master keys,
// and what clients may see.

import type { ObjectEnvelope } from '../../sse/envelope.ts';
import type { DataLayers } from '../../sse/object-data.ts';
import type { ObjectEncryption } from '../types.ts';

/** What clients are shown of an envelope. */
export function encryptionOf(envelope: ObjectEnvelope): ObjectEncryption {
  switch (envelope.kind) {
    case 'sse-s3':
      return { kind: envelope.kind, keyName: envelope.keyName };
    case 'sse-kms': {
      const { kind, keyName, keyId = keyName, context, hasBucketKey } = envelope;
      return {
        kind,
        keyName,
        keyId,
        ...(context === undefined ? {} : { context }),
        ...(hasBucketKey === undefined ? {} : { hasBucketKey }),
      };
    }
    case 'dsse-kms': {
      const { kind, inner, context } = envelope;
      const { keyName } = inner;
      const { keyId = keyName } = envelope;
      return { kind, keyName, keyId, ...(context === undefined ? {} : { context }) };
    }
    case 'sse-c':
      return { kind: envelope.kind };
  }
}

/** The master keys without which the object cannot be read. */
export function masterKeysOf(envelope: ObjectEnvelope): readonly string[] {
  if (envelope.kind === 'sse-c') return [];
  if (envelope.kind !== 'dsse-kms') return [envelope.keyName];
  return [...new Set([envelope.inner.keyName, envelope.outer.keyName])];
}

/** How often the bytes are sealed. */
export function layersOfEnvelope(envelope: ObjectEnvelope): DataLayers {
  return envelope.kind === 'dsse-kms' ? 2 : 1;
}

/** True where a client must not see the MD5 of the plaintext as ETag. */
export function hasSecretEtag(kind: ObjectEnvelope['kind'] | undefined): boolean {
  return kind !== undefined && kind !== 'sse-s3';
}
