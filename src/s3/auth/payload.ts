// How the body of a request is covered by its signature, from `x-amz-content-sha256`. The markers of streamed
// bodies bypass nothing: they only say how the body is covered.

import { AuthError } from '../../sigv4/errors.ts';
import type { SigningContext } from '../../sigv4/signing-key.ts';

/** How the body is covered, from `x-amz-content-sha256`. */
export type Payload =
  | { readonly kind: 'hashed'; readonly sha256: string }
  | { readonly kind: 'unsigned' }
  | {
      readonly kind: 'signed-chunks';
      readonly hasTrailer: boolean;
      readonly context: SigningContext;
      /** The request's own signature, which the first chunk's signature follows. */
      readonly seedSignature: string;
    }
  | { readonly kind: 'unsigned-chunks' };

/**
 * Reads `x-amz-content-sha256`. `chunks` is there when the request has a header signature for chunk signatures to follow.
 */
export function parsePayload(
  text: string,
  chunks?: { readonly context: SigningContext; readonly seedSignature: string },
): Payload {
  if (text.length === 64 && /^[0-9a-fA-F]{64}$/.test(text)) {
    return { kind: 'hashed', sha256: text.toLowerCase() };
  }
  switch (text) {
    case 'UNSIGNED-PAYLOAD':
      return { kind: 'unsigned' };
    case 'STREAMING-UNSIGNED-PAYLOAD-TRAILER':
      return { kind: 'unsigned-chunks' };
    case 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD':
    case 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER':
      if (chunks === undefined) {
        throw new AuthError(
          'InvalidRequest',
          'A body in signed chunks needs a request signed in the Authorization header.',
        );
      }
      return { kind: 'signed-chunks', hasTrailer: text.endsWith('-TRAILER'), ...chunks };
    case 'STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD':
    case 'STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER':
      throw new AuthError(
        'NotImplemented',
        'Signature V4A (ECDSA) is not supported; sign with AWS4-HMAC-SHA256.',
      );
    default:
      throw new AuthError(
        'InvalidArgument',
        'x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, or a valid sha256 value.',
      );
  }
}
