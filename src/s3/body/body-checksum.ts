// What the headers of a request say about the digest of its body: `Content-MD5`, one `x-amz-checksum-…`
// header, or one trailer announced by `x-amz-trailer`. Nothing that asks for a check is ever passed over:
// what cannot be checked is refused.

import {
  type ChecksumAlgorithm,
  checksumAlgorithms,
  checksumBytes,
  checksumOf,
} from '../../base/checksums.ts';
import { AuthError } from '../../sigv4/errors.ts';

/** Headers that count, see `Authentication.headers`. */
type Headers = Readonly<Record<string, string | undefined>>;

/** A checksum announced for the body; without `expected` it comes as the trailer `trailerName`. */
export type AnnouncedChecksum = {
  readonly algorithm: ChecksumAlgorithm;
  /** Base64. */
  readonly expected?: string;
  readonly trailerName: string;
};

export type ChecksumContext = {
  /** Names of headers that came from a presigned query. */
  readonly hoisted: ReadonlySet<string>;
  readonly sizeBytes: number | undefined;
  /** Names announced by `x-amz-trailer`, lower case. */
  readonly trailerNames: readonly string[];
};

const prefix = 'x-amz-checksum-';

/** `x-amz-checksum-…` headers that are not values. */
const notValues: ReadonlySet<string> = new Set([
  'x-amz-checksum-algorithm',
  'x-amz-checksum-mode',
  'x-amz-checksum-type',
]);

const algorithmsByHeader: ReadonlyMap<string, ChecksumAlgorithm> = new Map(
  checksumAlgorithms.map((algorithm) => [`${prefix}${algorithm.toLowerCase()}`, algorithm]),
);

/**
 * The checksum announced for the body, if any. Throws `AuthError`: `InvalidRequest` for two checksums,
 * unknown algorithms and an `x-amz-sdk-checksum-algorithm` that does not fit, `BadDigest` for a value that
 * is not base64 of the right length.
 */
export function parseBodyChecksum(
  headers: Headers,
  context: ChecksumContext,
): AnnouncedChecksum | undefined {
  let found: AnnouncedChecksum | undefined;
  for (const name in headers) {
    if (!name.startsWith(prefix) || notValues.has(name)) continue;
    const expected = headers[name] ?? '';
    if (isPresignedNothing(name, expected, context)) continue;
    if (found !== undefined) throw twoChecksums();
    const algorithm = algorithmOf(name);
    if (!isDigest(algorithm, expected)) {
      throw new AuthError('BadDigest', `Value for ${name} header is invalid.`);
    }
    found = { algorithm, expected, trailerName: name };
  }
  for (const trailerName of context.trailerNames) {
    if (found !== undefined) throw twoChecksums();
    found = { algorithm: algorithmOf(trailerName), trailerName };
  }
  checkSdkAlgorithm(headers, context.hoisted, found);
  return found;
}

/** The names that `x-amz-trailer` announces, lower case; only checksums may come as trailers. */
export function parseTrailerNames(headers: Headers): readonly string[] {
  const text = headers['x-amz-trailer'];
  if (text === undefined) return [];
  const names = text
    .split(',')
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== '');
  if (names.length > 1) throw twoChecksums();
  for (const name of names) {
    if (name.startsWith(prefix)) continue;
    throw new AuthError(
      'InvalidRequest',
      'The value specified in the x-amz-trailer header is not supported; only x-amz-checksum-… is.',
    );
  }
  return names;
}

/** The 16 bytes of `Content-MD5`. Throws `InvalidDigest` for anything else that stands there. */
export function parseContentMd5(headers: Headers): Buffer | undefined {
  const text = headers['content-md5'];
  if (text === undefined) return undefined;
  if (!/^[A-Za-z0-9+/]{22}==$/.test(text)) {
    throw new AuthError('InvalidDigest', 'The Content-MD5 you specified is not valid.');
  }
  return Buffer.from(text, 'base64');
}

/** True for a checksum header whose value is the digest of no bytes at all. */
export function isEmptyChecksum(name: string, value: string): boolean {
  const algorithm = algorithmsByHeader.get(name);
  if (algorithm === undefined) return false;
  return checksumOf(algorithm, Buffer.alloc(0)).toString('base64') === value;
}

/** True for base64 of a digest of that algorithm. */
export function isDigest(algorithm: ChecksumAlgorithm, text: string): boolean {
  const sizeBytes = checksumBytes[algorithm];
  if (text.length !== Math.ceil(sizeBytes / 3) * 4) return false;
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text)) return false;
  return Buffer.from(text, 'base64').length === sizeBytes;
}

/** Some SDKs presign the checksum of an empty body before they know the body; it says nothing then. */
function isPresignedNothing(name: string, value: string, context: ChecksumContext): boolean {
  return context.hoisted.has(name) && context.sizeBytes !== 0 && isEmptyChecksum(name, value);
}

function algorithmOf(headerName: string): ChecksumAlgorithm {
  const algorithm = algorithmsByHeader.get(headerName);
  if (algorithm !== undefined) return algorithm;
  throw new AuthError(
    'InvalidRequest',
    `The checksum ${headerName} is not supported; use one of ${checksumAlgorithms.join(', ')}.`,
  );
}

function checkSdkAlgorithm(
  headers: Headers,
  hoisted: ReadonlySet<string>,
  found: AnnouncedChecksum | undefined,
): void {
  const name = 'x-amz-sdk-checksum-algorithm';
  const text = headers[name];
  // In a presigned query it tells what the presigning SDK was set to, not what the sender does.
  if (text === undefined || hoisted.has(name)) return;
  if (found === undefined) {
    throw new AuthError(
      'InvalidRequest',
      `${name} specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.`,
    );
  }
  if (text.toUpperCase() !== found.algorithm) {
    throw new AuthError(
      'InvalidRequest',
      `Value for ${name} header does not match ${found.trailerName}.`,
    );
  }
}

function twoChecksums(): AuthError {
  return new AuthError(
    'InvalidRequest',
    'Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.',
  );
}
