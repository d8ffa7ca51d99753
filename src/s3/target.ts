// Reads the raw request target: which bucket, which key, which query. The target is taken exactly as
// received, decoded once and never normalised: `//`, `.` and `..` are ordinary parts of a key.

import { splitTarget } from '../base/request-target.ts';
import { S3Error } from './errors.ts';

export type QueryPair = { readonly name: string; readonly value: string };

export type S3Target = {
  /** Empty for the service itself. */
  readonly bucket: string;
  /** Empty for a bucket or the service. */
  readonly key: string;
  readonly query: readonly QueryPair[];
  /** The path as received, for error bodies. */
  readonly path: string;
  /** True when the Host header names the bucket and the path does not. */
  readonly isHostStyle: boolean;
};

const keyBytesMax = 1024;
const noQuery: readonly QueryPair[] = [];

/**
 * Parses a request target. `domains` are the base domains of virtual-host style, lower case, without
 * port; `host` is the Host header. Throws `S3Error`: `InvalidURI` for bad escapes or bad UTF-8,
 * `KeyTooLongError` for a key of more than 1,024 bytes.
 */
export function parseTarget(
  rawTarget: string,
  host: string | undefined,
  domains: readonly string[],
): S3Target {
  const split = splitTarget(rawTarget);
  if (split === undefined) throw new S3Error('InvalidURI');
  const { path } = split;
  const query = parseQuery(split.query);
  const hostBucket = domains.length === 0 ? undefined : bucketOfHost(host, domains);
  if (hostBucket !== undefined) {
    return { bucket: hostBucket, key: decodeKey(path.slice(1)), query, path, isHostStyle: true };
  }
  const slash = path.indexOf('/', 1);
  const bucket = decodePart(slash === -1 ? path.slice(1) : path.slice(1, slash));
  const key = slash === -1 ? '' : decodeKey(path.slice(slash + 1));
  if (bucket === '' && key !== '') throw new S3Error('InvalidBucketName');
  return { bucket, key, query, path, isHostStyle: false };
}

/** The value of the first parameter with that name. */
export function findQuery(query: readonly QueryPair[], name: string): string | undefined {
  for (const pair of query) if (pair.name === name) return pair.value;
  return undefined;
}

/** Whether the name may be that of a bucket, by the rules of S3 (3 to 63 of a–z, 0–9, `.`, `-`). */
export function isValidBucketName(name: string): boolean {
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(name)) return false;
  if (/\.\.|\.-|-\.|^\d+\.\d+\.\d+\.\d+$/.test(name)) return false;
  if (/^(xn--|sthree-|amzn-s3-demo-)/.test(name)) return false;
  return !/(-s3alias|--ol-s3|\.mrap|--x-s3|--table-s3)$/.test(name);
}

/** Decodes percent escapes once, `+` stays. Throws `InvalidURI`. */
export function decodePart(text: string): string {
  if (plainPath.test(text)) return text;
  try {
    // Bytes above 0x7f arrive undecoded, one character each; escaping them first lets one decoder do both.
    return decodeURIComponent(text.replace(/[\x80-\xff]/g, encodeByte));
  } catch (cause) {
    throw new S3Error('InvalidURI', undefined, { cause });
  }
}

const plainPath = /^[!$&-~]*$/;

function encodeByte(character: string): string {
  return `%${character.charCodeAt(0).toString(16)}`;
}

function decodeKey(text: string): string {
  const key = decodePart(text);
  if (key.length * 3 > keyBytesMax && Buffer.byteLength(key) > keyBytesMax) {
    throw new S3Error('KeyTooLongError');
  }
  if (key.includes('\0')) {
    throw new S3Error('InvalidURI', 'Object names cannot hold the character U+0000.');
  }
  return key;
}

function parseQuery(text: string): readonly QueryPair[] {
  if (text === '') return noQuery;
  const pairs: QueryPair[] = [];
  for (const item of text.split('&')) {
    if (item === '') continue;
    const equals = item.indexOf('=');
    if (equals === -1) pairs.push({ name: decodePart(item), value: '' });
    else {
      const value = item.slice(equals + 1).replaceAll('+', ' ');
      pairs.push({ name: decodePart(item.slice(0, equals)), value: decodePart(value) });
    }
  }
  return pairs;
}

function bucketOfHost(host: string | undefined, domains: readonly string[]): string | undefined {
  if (host === undefined) return undefined;
  const name = host.toLowerCase().replace(/:\d+$/, '');
  for (const domain of domains) {
    if (!name.endsWith(`.${domain}`)) continue;
    const label = name.slice(0, -domain.length - 1);
    if (isValidBucketName(label)) return label;
  }
  return undefined;
}
