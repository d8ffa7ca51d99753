// The signing key: four HMACs from the secret key over date, region and service, good for one day. The
// strings to sign of requests, chunks and trailers, and their signatures, are made here too, for both
// ends of the wire.

import { type KeyObject, createHmac, createSecretKey, timingSafeEqual } from 'node:crypto';

import { emptySha256, sha256Hex } from './canonical.ts';

/** What a signature is limited to: `date/region/service/aws4_request`. */
export type CredentialScope = {
  /** `YYYYMMDD`. */
  readonly date: string;
  /** May be empty: the admin API signs so. */
  readonly region: string;
  readonly service: string;
};

/** The scope as it stands in a string to sign. */
export function formatScope(scope: CredentialScope): string {
  return `${scope.date}/${scope.region}/${scope.service}/aws4_request`;
}

/** Derives the key of one day, region and service. */
export function deriveSigningKey(secretKey: string, scope: CredentialScope): KeyObject {
  const date = createHmac('sha256', `AWS4${secretKey}`).update(scope.date).digest();
  const region = createHmac('sha256', date).update(scope.region).digest();
  const service = createHmac('sha256', region).update(scope.service).digest();
  const bytes = createHmac('sha256', service).update('aws4_request').digest();
  const signingKey = createSecretKey(bytes);
  for (const secret of [date, region, service, bytes]) secret.fill(0);
  return signingKey;
}

type CachedKey = { readonly secretKey: string; readonly signingKey: KeyObject };

/**
 * Remembers the signing keys used last, at most `entriesMax`. A changed secret key is noticed, because the
 * entry remembers which secret it came from.
 */
export class SigningKeyCache {
  readonly #entries = new Map<string, CachedKey>();
  readonly #entriesMax: number;

  constructor(entriesMax = 256) {
    this.#entriesMax = entriesMax;
  }

  get(accessKey: string, secretKey: string, scope: CredentialScope): KeyObject {
    const id = `${scope.date}/${scope.region}/${scope.service}/${accessKey}`;
    const cached = this.#entries.get(id);
    if (cached !== undefined && cached.secretKey === secretKey) return cached.signingKey;
    const signingKey = deriveSigningKey(secretKey, scope);
    if (this.#entries.size >= this.#entriesMax) {
      for (const oldest of this.#entries.keys()) {
        this.#entries.delete(oldest);
        break;
      }
    }
    this.#entries.set(id, { secretKey, signingKey });
    return signingKey;
  }
}

/** What all signatures of one request have in common. `timestamp` is `20060102T150405Z`. */
export type SigningContext = {
  readonly signingKey: KeyObject;
  readonly timestamp: string;
  readonly scope: string;
};

/** The signature of a request, hex. */
export function requestSignature(context: SigningContext, canonicalRequest: string): string {
  return sign(
    context,
    `AWS4-HMAC-SHA256\n${context.timestamp}\n${context.scope}\n${sha256Hex(canonicalRequest)}`,
  );
}

/** The signature of one chunk, hex. The first chunk follows the request's own signature. */
export function chunkSignature(
  context: SigningContext,
  previousSignature: string,
  dataSha256: string,
): string {
  return sign(
    context,
    `AWS4-HMAC-SHA256-PAYLOAD\n${context.timestamp}\n${context.scope}\n${previousSignature}\n${emptySha256}\n${dataSha256}`,
  );
}

/** The signature of the trailer, hex. `trailerLines` is `name:value` LF for each, in the order sent. */
export function trailerSignature(
  context: SigningContext,
  previousSignature: string,
  trailerLines: string,
): string {
  return sign(
    context,
    `AWS4-HMAC-SHA256-TRAILER\n${context.timestamp}\n${context.scope}\n${previousSignature}\n${sha256Hex(trailerLines)}`,
  );
}

/** Compares a signature that was sent with the right one, in constant time. */
export function isSameSignature(sent: string, expected: string): boolean {
  const sentBytes = Buffer.from(sent);
  const expectedBytes = Buffer.from(expected);
  return sentBytes.length === expectedBytes.length && timingSafeEqual(sentBytes, expectedBytes);
}

function sign(context: SigningContext, stringToSign: string): string {
  return createHmac('sha256', context.signingKey).update(stringToSign).digest('hex');
}
