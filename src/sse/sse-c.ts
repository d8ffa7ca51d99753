// SSE-C: the client brings the external key with every request, and it is never stored. Objects of
// old releases may have been sealed by the legacy algorithm, which is bound to no place; it is read
// here and nowhere else, and never written.

import { createObjectKey, type ObjectPlace, openObjectKey, type SseCEnvelope } from './envelope.ts';
import { deriveLegacyKek, ivSizeBytes, legacySealAlgorithm, openLegacyOek } from './object-key.ts';
import { SseError } from './sse-error.ts';

export type { SseCEnvelope } from './envelope.ts';

/**
 * A new object key and its envelope under the client's key of 32 bytes, which stays the caller's.
 */
export function createSseCKey(
  clientKey: Uint8Array,
  place: ObjectPlace,
): { oek: Buffer; envelope: SseCEnvelope } {
  const { oek, sealed } = createObjectKey(clientKey, 'SSE-C', place);
  return { oek, envelope: sealed };
}

/**
 * The object key of an envelope. Throws `SseError` `key-mismatch` for any other client key, object
 * or envelope.
 */
export function openSseCKey(
  clientKey: Uint8Array,
  place: ObjectPlace,
  envelope: SseCEnvelope,
): Buffer {
  if (envelope.sealAlgorithm !== legacySealAlgorithm) {
    return openObjectKey(envelope, clientKey, { domain: 'SSE-C', place });
  }
  if (envelope.iv.length !== ivSizeBytes) throw new SseError('invalid-iv');
  const kek = deriveLegacyKek(clientKey, envelope.iv);
  try {
    return openLegacyOek(kek, envelope.sealedOek);
  } finally {
    kek.fill(0);
  }
}
