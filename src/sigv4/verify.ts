// The server's side of Signature V4: builds the canonical request from what was received and compares
// signatures in constant time. Runs for every request, so it makes one pass and no detours: nothing that
// is canonical already is encoded again.

import {
  type CanonicalParameter,
  type HeaderFields,
  canonicalPath,
  canonicalQuery,
  canonicalRequest,
  canonicalValue,
  decodeQueryText,
} from './canonical.ts';
import { AuthError } from './errors.ts';
import type { SigningContext } from './signing-key.ts';
import { isSameSignature, requestSignature } from './signing-key.ts';

/** What a signature covers. */
export type SignedParts = {
  readonly method: string;
  /** As received. */
  readonly path: string;
  readonly parameters: readonly CanonicalParameter[];
  readonly headers: HeaderFields;
  /** Alternating names and values as received; tells repeated headers from values with commas. */
  readonly rawHeaders: readonly string[] | undefined;
  readonly signedHeaders: readonly string[];
  readonly payloadHash: string;
};

/**
 * Checks the signature of a request. Throws `AccessDenied` if a signed header is absent, and
 * `SignatureDoesNotMatch`.
 */
export function verifySignature(
  parts: SignedParts,
  context: SigningContext,
  signature: string,
): void {
  let headerLines = '';
  for (const name of parts.signedHeaders) headerLines += `${name}:${signedValue(parts, name)}\n`;
  const expected = requestSignature(
    context,
    canonicalRequest({
      method: parts.method,
      path: canonicalPath(parts.path),
      query: canonicalQuery(parts.parameters, 'X-Amz-Signature'),
      headerLines,
      signedHeaders: parts.signedHeaders.join(';'),
      payloadHash: parts.payloadHash,
    }),
  );
  if (!isSameSignature(signature, expected)) {
    throw new AuthError(
      'SignatureDoesNotMatch',
      'The request signature we calculated does not match the signature you provided. Check your key and signing method.',
    );
  }
}

function signedValue(parts: SignedParts, name: string): string {
  const value = parts.headers[name];
  if (typeof value === 'string') {
    // Repeated headers are joined by a comma when signed, but by comma and blank by the HTTP parser.
    if (value.includes(', ') && parts.rawHeaders !== undefined) {
      return canonicalValue(rawValues(parts.rawHeaders, name));
    }
    return canonicalValue(value);
  }
  if (Array.isArray(value)) return canonicalValue(value as readonly string[]);
  const parameter = parts.parameters.find((candidate) => candidate.name.toLowerCase() === name);
  if (parameter !== undefined) return canonicalValue(decodeQueryText(parameter.value));
  throw new AuthError(
    'AccessDenied',
    'There were headers signed which are not present in the request',
    { details: { HeadersNotPresent: name } },
  );
}

function rawValues(rawHeaders: readonly string[], name: string): string[] {
  const values: string[] = [];
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    // Both indices are below the length.
    if ((rawHeaders[at] as string).toLowerCase() === name)
      values.push(rawHeaders[at + 1] as string);
  }
  return values;
}
