// Who sent a request, decided from its target and headers before any byte of its body is read.
//
// The identity that is returned is the one whose signature over this very request was verified, wherever
// it stood; a request that claims more than one, or one we cannot check, is refused, never treated as
// anonymous. The markers of streamed bodies bypass nothing: they only say how the body is covered.

import type { Credentials, CredentialsSource, Identity } from '../../iam/identity.ts';
import { anonymous } from '../../iam/identity.ts';
import {
  type CanonicalParameter,
  type HeaderFields,
  decodeQueryText,
  parseCanonicalQuery,
  splitSignedTarget,
} from '../../sigv4/canonical.ts';
import { AuthError } from '../../sigv4/errors.ts';
import {
  type SignatureClaim,
  algorithm,
  isPresigned,
  parseAuthorization,
  parsePresigned,
} from '../../sigv4/parse.ts';
import { type SigningContext, type SigningKeyCache, formatScope } from '../../sigv4/signing-key.ts';
import { formatAmzDate, parseAmzDate, parseHttpDate } from '../../sigv4/time.ts';
import {
  isHeaderInV2Query,
  isPresignedV2,
  parsePresignedV2,
  verifyPresignedV2,
} from '../../sigv4/v2.ts';
import { verifySignature } from '../../sigv4/verify.ts';
import { isEmptyChecksum } from '../body/body-checksum.ts';
import { type Payload, parsePayload } from './payload.ts';

/** The parts of a request that a signature covers, as `node:http` gives them. */
export type AuthRequest = {
  readonly method: string;
  /** `IncomingMessage.url`: the raw request target. */
  readonly rawTarget: string;
  readonly headers: HeaderFields;
  /** `IncomingMessage.rawHeaders`; needed only to tell repeated headers from commas. */
  readonly rawHeaders?: readonly string[];
};

export type AuthDeps = {
  readonly credentials: CredentialsSource;
  /** One per process. */
  readonly signingKeys: SigningKeyCache;
  /** The server's region; empty accepts any. */
  readonly region: string;
  /** Milliseconds since 1970. */
  now(): number;
};

export type AuthOptions = {
  /** True for ListBuckets, GetBucketLocation and the admin API, which take every region, the empty one too. */
  readonly acceptsAnyRegion?: boolean;
  /** The LocationConstraint of the addressed bucket. Called only when the scope names another region. */
  findBucketRegion?(): Promise<string | undefined>;
  /** The bucket, when the Host header names it and not the path. */
  readonly hostBucket?: string;
};

export type Authentication = {
  readonly identity: Identity;
  readonly method: 'anonymous' | 'header' | 'presigned' | 'form';
  readonly payload: Payload;
  /**
   * The headers that count: those of the request and, for presigned requests, the `x-amz-*` query
   * parameters that stand for headers (lower-case names, decoded).
   */
  readonly headers: Readonly<Record<string, string | undefined>>;
  /** Names in `headers` that came from the query. */
  readonly hoisted: ReadonlySet<string>;
};

/** What a malformed claim is called, by the place where it stood. */
type MalformedCode = 'AuthorizationHeaderMalformed' | 'AuthorizationQueryParametersError';

const skewMsMax = 15 * 60 * 1000;
const nothing: ReadonlySet<string> = new Set();

/**
 * Authenticates a request. Anonymous requests pass, with the identity `anonymous`. Throws `AuthError`;
 * errors of `deps` and `options` pass through.
 */
export async function authenticate(
  request: AuthRequest,
  deps: AuthDeps,
  options: AuthOptions = {},
): Promise<Authentication> {
  refuseRepeated(request.rawHeaders);
  const authorization = request.headers['authorization'];
  const { path, query } = splitSignedTarget(request.rawTarget);
  const parameters = parseCanonicalQuery(query);
  const hasPresignedQuery = query.includes('X-Amz-') && isPresigned(parameters);
  const hasV2Query = query.includes('AWSAccessKeyId') && isPresignedV2(parameters);
  if (typeof authorization === 'string' && authorization !== '') {
    if (hasPresignedQuery || hasV2Query) throw twoMechanisms();
    refuseOtherMechanisms(authorization);
    return verifyHeader({ request, deps, options, path, parameters }, authorization);
  }
  if (hasV2Query) {
    if (hasPresignedQuery) throw twoMechanisms();
    return verifyV2Query({ request, deps, options, path, parameters });
  }
  if (hasPresignedQuery) return verifyPresigned({ request, deps, options, path, parameters });
  return {
    identity: anonymous,
    method: 'anonymous',
    payload: parsePayload(headerOf(request.headers, 'x-amz-content-sha256') ?? 'UNSIGNED-PAYLOAD'),
    headers: plainHeaders(request.headers),
    hoisted: nothing,
  };
}

/** Everything that one verification works on. */
type Verification = {
  readonly request: AuthRequest;
  readonly deps: AuthDeps;
  readonly options: AuthOptions;
  readonly path: string;
  readonly parameters: readonly CanonicalParameter[];
};

async function verifyHeader(
  verification: Verification,
  authorization: string,
): Promise<Authentication> {
  const { request, deps } = verification;
  const claim = parseAuthorization(authorization);
  const { timestamp, timeMs } = requestTime(request.headers);
  checkScopeDate(claim, timestamp, 'AuthorizationHeaderMalformed');
  if (Math.abs(deps.now() - timeMs) > skewMsMax) throw tooSkewed(timestamp, deps.now());
  const payloadHash = headerOf(request.headers, 'x-amz-content-sha256');
  if (payloadHash === undefined) {
    throw new AuthError(
      'InvalidRequest',
      'Missing required header for this request: x-amz-content-sha256',
    );
  }
  checkSignedHeaders(request.headers, claim.signedHeaders, neverRefused);
  const credentials = await findCredentials(deps, claim);
  if (headerOf(request.headers, 'x-amz-security-token') !== undefined) throw invalidToken();
  const context = verifyClaim(verification, { claim, credentials, timestamp, payloadHash });
  await checkRegion(verification, claim.scope.region, 'AuthorizationHeaderMalformed');
  return {
    identity: credentials.identity,
    method: 'header',
    payload: parsePayload(payloadHash, { context, seedSignature: claim.signature }),
    headers: plainHeaders(request.headers),
    hoisted: nothing,
  };
}

async function verifyPresigned(verification: Verification): Promise<Authentication> {
  const { request, deps, parameters } = verification;
  const claim = parsePresigned(parameters);
  checkScopeDate(claim, claim.timestamp, 'AuthorizationQueryParametersError');
  checkPeriod(claim, deps.now());
  checkSignedHeaders(request.headers, claim.signedHeaders, toleratedOnPresigned);
  const credentials = await findCredentials(deps, claim);
  const { headers, hoisted } = mergeHoisted(request.headers, parameters);
  if (headers['x-amz-security-token'] !== undefined) throw invalidToken();
  const isHashSigned =
    hoisted.has('x-amz-content-sha256') || claim.signedHeaders.includes('x-amz-content-sha256');
  const payloadHash = headers['x-amz-content-sha256'] ?? 'UNSIGNED-PAYLOAD';
  verifyClaim(verification, {
    claim,
    credentials,
    timestamp: claim.timestamp,
    payloadHash: isHashSigned ? payloadHash : 'UNSIGNED-PAYLOAD',
  });
  await checkRegion(verification, claim.scope.region, 'AuthorizationQueryParametersError');
  return {
    identity: credentials.identity,
    method: 'presigned',
    payload: parsePayload(payloadHash),
    headers,
    hoisted,
  };
}

/** A target presigned by Signature V2, as boto3 makes them by default. */
async function verifyV2Query(verification: Verification): Promise<Authentication> {
  const { request, deps, options, parameters } = verification;
  const claim = parsePresignedV2(parameters);
  if (deps.now() > claim.expiresMs) throw hasExpired(claim.expiresMs, deps.now());
  // V2 signs every x-amz-* header, and none of another kind that means anything here.
  const uncovered = Object.keys(request.headers).filter((name) => name.startsWith('x-minio-'));
  if (uncovered.length > 0) throw notSigned(uncovered);
  const credentials = await findCredentials(deps, claim);
  const { headers, hoisted } = mergeHoisted(request.headers, parameters, isHeaderInV2Query);
  if (headers['x-amz-security-token'] !== undefined) throw invalidToken();
  const { hostBucket } = options;
  const path = hostBucket === undefined ? verification.path : `/${hostBucket}${verification.path}`;
  const parts = { method: request.method, path, parameters, headers };
  verifyPresignedV2(parts, claim, credentials.secretKey);
  return {
    identity: credentials.identity,
    method: 'presigned',
    payload: parsePayload(headers['x-amz-content-sha256'] ?? 'UNSIGNED-PAYLOAD'),
    headers,
    hoisted,
  };
}

function verifyClaim(
  verification: Verification,
  input: {
    readonly claim: SignatureClaim;
    readonly credentials: Credentials;
    readonly timestamp: string;
    readonly payloadHash: string;
  },
): SigningContext {
  const { request, deps, path, parameters } = verification;
  const { claim, credentials, timestamp, payloadHash } = input;
  const context: SigningContext = {
    signingKey: deps.signingKeys.get(claim.accessKey, credentials.secretKey, claim.scope),
    timestamp,
    scope: formatScope(claim.scope),
  };
  verifySignature(
    {
      method: request.method,
      path,
      parameters,
      headers: request.headers,
      rawHeaders: request.rawHeaders,
      signedHeaders: claim.signedHeaders,
      payloadHash,
    },
    context,
    claim.signature,
  );
  return context;
}

/** The credentials of an access key. Throws `InvalidAccessKeyId`. */
export async function findCredentials(
  deps: AuthDeps,
  claim: { readonly accessKey: string },
): Promise<Credentials> {
  const found = deps.credentials.find(claim.accessKey);
  const credentials = found instanceof Promise ? await found : found;
  if (credentials === undefined) {
    throw new AuthError(
      'InvalidAccessKeyId',
      'The access key ID you provided does not exist in our records.',
      { details: { AWSAccessKeyId: claim.accessKey } },
    );
  }
  return credentials;
}

/**
 * A region other than the server's is good where the bucket was made with it, and us-east-1 always.
 * Checked after the signature, so that only a known caller learns a bucket's region.
 */
async function checkRegion(
  { deps, options }: Verification,
  region: string,
  code: MalformedCode,
): Promise<void> {
  if (options.acceptsAnyRegion === true || deps.region === '' || region === deps.region) return;
  if (region === 'us-east-1' || region === 'US') return;
  const bucketRegion = await options.findBucketRegion?.();
  if (bucketRegion !== undefined && bucketRegion !== '' && region === bucketRegion) return;
  const expected = bucketRegion === undefined || bucketRegion === '' ? deps.region : bucketRegion;
  const what =
    code === 'AuthorizationHeaderMalformed'
      ? 'The authorization header is malformed'
      : 'Error parsing the X-Amz-Credential parameter';
  throw new AuthError(code, `${what}; the region '${region}' is wrong; expecting '${expected}'`, {
    details: { Region: expected },
  });
}

function requestTime(headers: HeaderFields): { timestamp: string; timeMs: number } {
  const amzDate = headerOf(headers, 'x-amz-date');
  if (amzDate !== undefined) {
    const timeMs = parseAmzDate(amzDate);
    if (timeMs !== undefined) return { timestamp: amzDate, timeMs };
  }
  const date = headerOf(headers, 'date');
  for (const text of [amzDate, date]) {
    const timeMs = text === undefined ? undefined : (parseHttpDate(text) ?? parseAmzDate(text));
    if (timeMs !== undefined) return { timestamp: formatAmzDate(timeMs), timeMs };
  }
  throw new AuthError(
    'AccessDenied',
    'AWS authentication requires a valid Date or x-amz-date header',
  );
}

function checkScopeDate(claim: SignatureClaim, timestamp: string, code: MalformedCode): void {
  if (timestamp.startsWith(claim.scope.date)) return;
  throw new AuthError(
    code,
    `The date of the credential scope is '${claim.scope.date}', which is not the date of the request.`,
  );
}

function checkPeriod(
  claim: { readonly timeMs: number; readonly expiresSeconds: number },
  nowMs: number,
): void {
  if (claim.timeMs - nowMs > skewMsMax) {
    throw new AuthError('AccessDenied', 'Request is not valid yet');
  }
  const endMs = claim.timeMs + claim.expiresSeconds * 1000;
  if (nowMs > endMs) throw hasExpired(endMs, nowMs, claim.expiresSeconds);
}

function hasExpired(endMs: number, nowMs: number, expiresSeconds?: number): AuthError {
  return new AuthError('AccessDenied', 'Request has expired', {
    details: {
      ...(expiresSeconds === undefined ? {} : { 'X-Amz-Expires': String(expiresSeconds) }),
      Expires: new Date(endMs).toISOString(),
      ServerTime: new Date(nowMs).toISOString(),
    },
  });
}

/** Added on the way by proxies and browsers, without a meaning here. */
const neverRefused: ReadonlySet<string> = new Set(['x-amz-cf-id', 'x-amz-user-agent']);

/**
 * Headers that SDKs send beside a presigned target without having signed them. They can only add checks
 * on the body or say how it is framed.
 */
const toleratedOnPresigned: ReadonlySet<string> = new Set([
  ...neverRefused,
  'x-amz-checksum-crc32',
  'x-amz-checksum-crc32c',
  'x-amz-checksum-crc64nvme',
  'x-amz-checksum-mode',
  'x-amz-checksum-sha1',
  'x-amz-checksum-sha256',
  'x-amz-content-sha256',
  'x-amz-date',
  'x-amz-decoded-content-length',
  'x-amz-sdk-checksum-algorithm',
  'x-amz-trailer',
]);

/** What may change the meaning of a request. */
const alwaysSigned = /^x-(?:amz|minio)-/;

/** The host and every `x-amz-*` and `x-minio-*` header must be under the signature. */
function checkSignedHeaders(
  headers: HeaderFields,
  signedHeaders: readonly string[],
  tolerated: ReadonlySet<string>,
): void {
  const missing: string[] = [];
  if (!signedHeaders.includes('host')) missing.push('host');
  for (const name in headers) {
    if (!alwaysSigned.test(name) || signedHeaders.includes(name)) continue;
    if (!tolerated.has(name)) missing.push(name);
  }
  if (missing.length > 0) throw notSigned(missing);
}

function notSigned(names: readonly string[]): AuthError {
  return new AuthError(
    'AccessDenied',
    'There were headers present in the request which were not signed',
    { details: { HeadersNotSigned: names.join(', ') } },
  );
}

/** `node:http` keeps the first of these and drops the others; whoever forwarded the request may have looked at those. */
function refuseRepeated(rawHeaders: readonly string[] = []): void {
  let hosts = 0;
  let authorizations = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const { length } = rawHeaders[at] as string; // `at` is below the length
    if (length !== 4 && length !== 13) continue;
    const name = (rawHeaders[at] as string).toLowerCase();
    if (name === 'host') hosts += 1;
    if (name === 'authorization') authorizations += 1;
  }
  if (authorizations > 1) throw twoMechanisms();
  if (hosts > 1) throw new AuthError('InvalidRequest', 'The Host header must be given once.');
}

/** Query parameters that belong to the signature itself. */
const signatureParameters: ReadonlySet<string> = new Set([
  'x-amz-algorithm',
  'x-amz-credential',
  'x-amz-date',
  'x-amz-expires',
  'x-amz-signature',
  'x-amz-signedheaders',
]);

const notInHeaders = /[\0-\x08\x0a-\x1f\x7f]/;

function isHeaderInV4Query(name: string): boolean {
  return name.startsWith('x-amz-') && !signatureParameters.has(name);
}

/**
 * Adds the parameters that stand for headers to the headers. They were signed, so a header that contradicts one is refused:
 * it could undo what the signer asked for. Excepted are the checksum of nothing, which some SDKs presign
 * before they know the body, and the name of an algorithm.
 */
function mergeHoisted(
  requestHeaders: HeaderFields,
  parameters: readonly CanonicalParameter[],
  isHeader: (name: string) => boolean = isHeaderInV4Query,
): { headers: Record<string, string | undefined>; hoisted: ReadonlySet<string> } {
  const headers = { ...plainHeaders(requestHeaders) };
  const hoisted = new Set<string>();
  for (const parameter of parameters) {
    const name = parameter.name.toLowerCase();
    if (!isHeader(name)) continue;
    const value = decodeQueryText(parameter.value);
    // V2 signs decoded values line by line: a line break could hide the header that was signed after this one.
    if (notInHeaders.test(value)) {
      throw new AuthError('InvalidArgument', `${name} holds characters that no header can hold.`);
    }
    const sent = headers[name];
    if (sent === undefined) {
      headers[name] = value;
      hoisted.add(name);
    } else if (
      sent !== value &&
      name !== 'x-amz-sdk-checksum-algorithm' &&
      !(isEmptyChecksum(name, value) && !hoisted.has(name))
    ) {
      throw new AuthError(
        'InvalidRequest',
        `${name} is given twice, in the query and as a header, with different values.`,
      );
    }
  }
  return { headers, hoisted };
}

function refuseOtherMechanisms(authorization: string): void {
  if (authorization.startsWith(`${algorithm} `)) return;
  if (/^AWS [^:]+:.+$/.test(authorization)) throw signatureV2();
  if (authorization.startsWith('AWS4-ECDSA-')) {
    throw new AuthError(
      'NotImplemented',
      'Signature V4A (ECDSA) is not supported; sign with AWS4-HMAC-SHA256.',
    );
  }
  throw new AuthError('InvalidArgument', `Unsupported Authorization Type; use ${algorithm}.`);
}

function signatureV2(): AuthError {
  return new AuthError(
    'InvalidRequest',
    'The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.',
  );
}

function twoMechanisms(): AuthError {
  return new AuthError(
    'InvalidArgument',
    'Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified',
  );
}

function invalidToken(): AuthError {
  return new AuthError('InvalidTokenId', 'The security token included in the request is invalid');
}

function tooSkewed(timestamp: string, nowMs: number): AuthError {
  return new AuthError(
    'RequestTimeTooSkewed',
    "The difference between the request time and the server's time is too large.",
    {
      details: {
        RequestTime: timestamp,
        ServerTime: new Date(nowMs).toISOString(),
        MaxAllowedSkewMilliseconds: String(skewMsMax),
      },
    },
  );
}

function headerOf(headers: HeaderFields, name: string): string | undefined {
  const value = headers[name];
  return typeof value === 'string' ? value : undefined;
}

/** `node:http` gives an array for `set-cookie` only, which means nothing in a request. */
function plainHeaders(headers: HeaderFields): Readonly<Record<string, string | undefined>> {
  return headers as Readonly<Record<string, string | undefined>>;
}
