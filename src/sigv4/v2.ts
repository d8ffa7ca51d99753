// Signature V2 of presigned targets, which boto3 still makes unless it is told otherwise. Read only: nothing here
// signs. It covers less than V4: method, resource with its sub-resources, `x-amz-*` headers and three others,
// but neither the host nor other query parameters. So a target may hold nothing but what it covers.

import { createHmac } from 'node:crypto';
import { type CanonicalParameter, decodeQueryText } from './canonical.ts';
import { AuthError } from './errors.ts';
import { isSameSignature } from './signing-key.ts';

/** The claim of a target presigned by V2. */
export type V2Claim = {
  readonly accessKey: string;
  readonly signature: string;
  /** As it stands in the target: seconds since 1970. */
  readonly expires: string;
  readonly expiresMs: number;
};

export type V2Parts = {
  readonly method: string;
  /** The path as received, with the bucket in front when the host names it. */
  readonly path: string;
  readonly parameters: readonly CanonicalParameter[];
  /** Headers that count, with the `x-amz-*`, `content-type` and `content-md5` parameters among them. */
  readonly headers: Readonly<Record<string, string | undefined>>;
};

/** Query parameters that the signature covers as parts of the resource. */
const subresources: ReadonlySet<string> = new Set([
  'accelerate',
  'acl',
  'analytics',
  'cors',
  'delete',
  'inventory',
  'lifecycle',
  'location',
  'logging',
  'metrics',
  'notification',
  'object-lock',
  'partNumber',
  'policy',
  'replication',
  'requestPayment',
  'response-cache-control',
  'response-content-disposition',
  'response-content-encoding',
  'response-content-language',
  'response-content-type',
  'response-expires',
  'restore',
  'select',
  'select-type',
  'storageClass',
  'tagging',
  'torrent',
  'uploadId',
  'uploads',
  'versionId',
  'versioning',
  'versions',
  'website',
]);

/** The claim itself, and what can only change how an answer is written. */
const uncovered: ReadonlySet<string> = new Set([
  'AWSAccessKeyId',
  'Expires',
  'Signature',
  'encoding-type',
]);

/** True when the query has the access key parameter of a V2 presigned target. */
export function isPresignedV2(parameters: readonly CanonicalParameter[]): boolean {
  return parameters.some((parameter) => parameter.name === 'AWSAccessKeyId');
}

/** True for a parameter that stands for the header of its name. */
export function isHeaderInV2Query(name: string): boolean {
  return /^(?:x-amz-.*|content-type|content-md5)$/i.test(name);
}

/** Parses the parameters of a presigned target. Throws `AuthError` for missing ones, and for ones V2 does not cover. */
export function parsePresignedV2(parameters: readonly CanonicalParameter[]): V2Claim {
  for (const { name } of parameters) {
    if (uncovered.has(name) || subresources.has(name) || isHeaderInV2Query(name)) continue;
    throw new AuthError(
      'AccessDenied',
      `The signature of this URL does not cover the query parameter ${decodeQueryText(name)}; sign with AWS4-HMAC-SHA256.`,
    );
  }
  const expires = getOne(parameters, 'Expires');
  if (!/^\d{1,12}$/.test(expires)) {
    throw new AuthError('AccessDenied', 'Invalid date (should be seconds since epoch)');
  }
  return {
    accessKey: getOne(parameters, 'AWSAccessKeyId'),
    signature: getOne(parameters, 'Signature'),
    expires,
    expiresMs: Number(expires) * 1000,
  };
}

/** Throws `SignatureDoesNotMatch` unless the claim's signature is that of the request under the secret key. */
export function verifyPresignedV2(parts: V2Parts, claim: V2Claim, secretKey: string): void {
  for (const path of pathsOf(parts.path)) {
    const expected = createHmac('sha1', secretKey)
      .update(stringToSign({ ...parts, path }, claim.expires), 'latin1')
      .digest('base64');
    if (isSameSignature(claim.signature, expected)) return;
  }
  throw new AuthError(
    'SignatureDoesNotMatch',
    'The request signature we calculated does not match the signature you provided. Check your key and signing method.',
  );
}

/** A bucket is signed with a slash at its end by some clients, whatever they send. */
function pathsOf(path: string): readonly string[] {
  return path.includes('/', 1) ? [path] : [path, `${path}/`];
}

function stringToSign(parts: V2Parts, expires: string): string {
  const { method, headers } = parts;
  const amzNames = Object.keys(headers).filter((name) => name.startsWith('x-amz-'));
  const amzLines = amzNames.sort().map((name) => `${name}:${(headers[name] ?? '').trim()}\n`);
  const first = [method, headers['content-md5'] ?? '', headers['content-type'] ?? '', expires];
  return `${first.join('\n')}\n${amzLines.join('')}${resource(parts)}`;
}

function resource(parts: V2Parts): string {
  const covered = parts.parameters
    .filter(({ name }) => subresources.has(name))
    .map(({ name, value }) => {
      const text = decodeQueryText(value);
      return text === '' ? name : `${name}=${text}`;
    })
    .sort();
  return covered.length === 0 ? parts.path : `${parts.path}?${covered.join('&')}`;
}

function getOne(parameters: readonly CanonicalParameter[], name: string): string {
  const found = parameters.filter((parameter) => parameter.name === name);
  const [only] = found;
  if (found.length === 1 && only !== undefined && only.value !== '') {
    return decodeQueryText(only.value);
  }
  throw new AuthError(
    'AccessDenied',
    'Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters',
  );
}
