// What the envelope of an object tells without being opened: how the object is protected, by which master keys,
// and what clients may see.

import type { SseEnvelope } from '../sse/envelope.ts';
import type { ObjectEncryption } from './types.ts';

/** What clients are shown of an envelope. */
export function encryptionOf(envelope: SseEnvelope): ObjectEncryption {
  switch (envelope.kind) {
    case 'sse-s3':
      return { kind: envelope.kind, keyName: envelope.keyName };
    case 'sse-kms': {
      const { kind, keyName, keyId = keyName, context } = envelope;
      return { kind, keyName, keyId, ...(context === undefined ? {} : { context }) };
    }
    case 'sse-c':
      return { kind: envelope.kind };
  }
}

/** The master keys without which the object cannot be read. */
export function masterKeysOf(envelope: SseEnvelope): readonly string[] {
  return envelope.kind === 'sse-c' ? [] : [envelope.keyName];
}

/** True where a client must not see the MD5 of the plaintext as ETag. */
export function hasSecretEtag(kind: SseEnvelope['kind'] | undefined): boolean {
  return kind !== undefined && kind !== 'sse-s3';
}
