// Reads the two forms in which a request carries a signature: the `Authorization` header and the
// `X-Amz-…` parameters of a presigned target. Syntax only: nothing here is trusted yet.

import type { CanonicalParameter } from './canonical.ts';
import { decodeQueryText } from './canonical.ts';
import { AuthError } from './errors.ts';
import type { CredentialScope } from './signing-key.ts';
import { parseAmzDate } from './time.ts';

/** What a request claims about its signature. */
export type SignatureClaim = {
  readonly accessKey: string;
  readonly scope: CredentialScope;
  /** Lower-case names in the order in which they were signed. */
  readonly signedHeaders: readonly string[];
  readonly signature: string;
};

/** The claim of a presigned target, with its period. */
export type PresignedClaim = SignatureClaim & {
  /** `20060102T150405Z`. */
  readonly timestamp: string;
  readonly timeMs: number;
  readonly expiresSeconds: number;
};

/** The algorithm word of the `Authorization` header and of `X-Amz-Algorithm`. */
export const algorithm = 'AWS4-HMAC-SHA256';

/** Longest period of a presigned target: seven days. */
export const expiresSecondsMax = 604_800;

const signedHeadersMax = 100;

/**
 * Parses `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`. The three fields may come in any
 * order, with or without blanks round the commas. Throws `AuthorizationHeaderMalformed`.
 */
export function parseAuthorization(header: string): SignatureClaim {
  let credential: string | undefined;
  let signedHeaders: string | undefined;
  let signature: string | undefined;
  const fields = header.slice(algorithm.length).split(',');
  if (fields.length !== 3) throw malformedHeader('it must have exactly three fields');
  for (const field of fields) {
    const text = field.trim();
    if (text.startsWith('Credential=')) credential = text.slice(11);
    else if (text.startsWith('SignedHeaders=')) signedHeaders = text.slice(14);
    else if (text.startsWith('Signature=')) signature = text.slice(10);
  }
  if (credential === undefined || credential === '') {
    throw malformedHeader('the Credential field is missing');
  }
  if (signedHeaders === undefined || signedHeaders === '') {
    throw malformedHeader('the SignedHeaders field is missing');
  }
  if (signature === undefined || signature === '') {
    throw malformedHeader('the Signature field is missing');
  }
  return {
    ...parseCredential(credential, malformedHeader),
    ...parseNames(signedHeaders, malformedHeader),
    signature,
  };
}

/** True when the query has a parameter of a Signature V4 presigned target. */
export function isPresigned(parameters: readonly CanonicalParameter[]): boolean {
  return parameters.some(
    ({ name }) =>
      name === 'X-Amz-Algorithm' || name === 'X-Amz-Credential' || name === 'X-Amz-Signature',
  );
}

/** Parses the parameters of a presigned target. Throws `AuthorizationQueryParametersError`. */
export function parsePresigned(parameters: readonly CanonicalParameter[]): PresignedClaim {
  if (getOne(parameters, 'X-Amz-Algorithm') !== algorithm) {
    throw malformedQuery(`X-Amz-Algorithm must be ${algorithm}`);
  }
  const credential = parseCredential(getOne(parameters, 'X-Amz-Credential'), malformedQuery);
  const timestamp = getOne(parameters, 'X-Amz-Date');
  const timeMs = parseAmzDate(timestamp);
  if (timeMs === undefined) {
    throw malformedQuery("X-Amz-Date must be in the ISO8601 long form 'yyyyMMddTHHmmssZ'");
  }
  const names = parseNames(getOne(parameters, 'X-Amz-SignedHeaders'), malformedQuery);
  return {
    ...credential,
    ...names,
    signature: getOne(parameters, 'X-Amz-Signature'),
    timestamp,
    timeMs,
    expiresSeconds: parseExpires(getOne(parameters, 'X-Amz-Expires')),
  };
}

type ErrorMaker = (reason: string) => AuthError;

function malformedHeader(reason: string): AuthError {
  return new AuthError(
    'AuthorizationHeaderMalformed',
    `The authorization header is malformed: ${reason}.`,
  );
}

function malformedQuery(reason: string): AuthError {
  return new AuthError('AuthorizationQueryParametersError', `${reason}.`);
}

/**
 * Parses `ACCESS-KEY/date/region/service/aws4_request`; the access key may hold slashes. Throws what `error`
 * makes of the reason.
 */
export function parseCredential(
  text: string,
  error: ErrorMaker,
): { readonly accessKey: string; readonly scope: CredentialScope } {
  const segments = text.split('/');
  const [terminal, service, region, date] = [
    segments.pop(),
    segments.pop(),
    segments.pop(),
    segments.pop(),
  ];
  if (date === undefined || region === undefined || segments.length === 0) {
    throw error('the credential must be ACCESS-KEY/yyyyMMdd/REGION/s3/aws4_request');
  }
  const accessKey = segments.length === 1 ? (segments[0] ?? '') : segments.join('/');
  if (accessKey === '') throw error('the credential has no access key');
  if (!/^\d{8}$/.test(date)) throw error('the date of the credential must be yyyyMMdd');
  if (service !== 's3') throw error("the service of the credential must be 's3'");
  if (terminal !== 'aws4_request') throw error("the credential must end in 'aws4_request'");
  return { accessKey, scope: { date, region, service } };
}

function parseNames(
  text: string,
  error: ErrorMaker,
): { readonly signedHeaders: readonly string[] } {
  const signedHeaders = text.split(';');
  if (signedHeaders.length > signedHeadersMax) throw error('too many signed headers');
  if (signedHeaders.includes('') || text !== text.toLowerCase()) {
    throw error('SignedHeaders must be lower-case names joined by semicolons');
  }
  return { signedHeaders };
}

function parseExpires(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw malformedQuery('X-Amz-Expires should be a number');
  const expiresSeconds = Number(text);
  if (expiresSeconds < 1) throw malformedQuery('X-Amz-Expires must be at least 1 second');
  if (expiresSeconds > expiresSecondsMax) {
    throw malformedQuery(
      `X-Amz-Expires must be less than a week in seconds; that is, the given X-Amz-Expires must be at most ${expiresSecondsMax} seconds`,
    );
  }
  return expiresSeconds;
}

function getOne(parameters: readonly CanonicalParameter[], name: string): string {
  let value: string | undefined;
  for (const parameter of parameters) {
    if (parameter.name !== name) continue;
    if (value !== undefined) throw malformedQuery(`The query parameter ${name} must be given once`);
    value = decodeQueryText(parameter.value);
  }
  if (value === undefined) {
    throw malformedQuery(
      'Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters',
    );
  }
  return value;
}
