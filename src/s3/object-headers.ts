// The response headers that describe an object: what GET and HEAD send, and the checksum headers that
// writes send back.

import type { Checksum, ObjectInfo } from '../store/types.ts';
import type { ReplyHeaders, S3Call } from './call.ts';
import { queryOf } from './call.ts';
import { addEncryptionHeaders } from './encryption.ts';
import { addLockHeaders } from './object-lock.ts';
import { parseTagging } from './tags.ts';

const responseOverrides = [
  ['response-content-type', 'content-type'],
  ['response-content-language', 'content-language'],
  ['response-expires', 'expires'],
  ['response-cache-control', 'cache-control'],
  ['response-content-disposition', 'content-disposition'],
  ['response-content-encoding', 'content-encoding'],
] as const;

/** Whether the query asks for other response headers than those stored. */
export function hasResponseOverrides(call: S3Call): boolean {
  return (
    call.target.query.length > 0 &&
    call.target.query.some((pair) => pair.name.startsWith('response-'))
  );
}

/** All headers of a GET or HEAD but Content-Length, Content-Range and checksums. */
export function objectHeaders(call: S3Call, info: ObjectInfo): ReplyHeaders {
  const headers: ReplyHeaders = [
    'accept-ranges',
    'bytes',
    'etag',
    `"${info.etag}"`,
    'last-modified',
    httpDate(info.modifiedMs),
  ];
  addStoredHeaders(headers, call, info);
  const { userMetadata, tagging, storageClass } = info.attributes;
  for (const name in userMetadata) headers.push(`x-amz-meta-${name}`, userMetadata[name] ?? '');
  if (tagging !== '') headers.push('x-amz-tagging-count', String(parseTagging(tagging).length));
  if (storageClass !== 'STANDARD') headers.push('x-amz-storage-class', storageClass);
  addLockHeaders(headers, info.lock);
  addEncryptionHeaders(headers, info.encryption, { call, hasContext: true });
  return headers;
}

/** ETag, Last-Modified and the cache headers: all that a 304 carries. */
export function notModifiedHeaders(info: ObjectInfo): ReplyHeaders {
  const headers: ReplyHeaders = [
    'etag',
    `"${info.etag}"`,
    'last-modified',
    httpDate(info.modifiedMs),
  ];
  for (const name of ['cache-control', 'expires'] as const) {
    const value = info.attributes.headers[name];
    if (value !== undefined) headers.push(name, value);
  }
  return headers;
}

/** Appends `x-amz-checksum-…` and its type. */
export function addChecksumHeaders(headers: ReplyHeaders, checksum: Checksum | undefined): void {
  if (checksum === undefined) return;
  headers.push(`x-amz-checksum-${checksum.algorithm.toLowerCase()}`, checksum.value);
  headers.push('x-amz-checksum-type', checksum.type);
}

let lastSecond = Number.NaN;
let lastDate = '';

/** An HTTP date; whole seconds. The last one is kept, because neighbours tend to share it. */
export function httpDate(ms: number): string {
  if (ms !== lastSecond) {
    lastSecond = ms;
    lastDate = new Date(ms).toUTCString();
  }
  return lastDate;
}

function addStoredHeaders(headers: ReplyHeaders, call: S3Call, info: ObjectInfo): void {
  const stored = info.attributes.headers;
  if (!hasResponseOverrides(call)) {
    for (const name in stored) headers.push(name, stored[name] ?? '');
    return;
  }
  const merged: Record<string, string> = { ...stored };
  for (const [parameter, name] of responseOverrides) {
    const value = queryOf(call, parameter);
    if (value !== undefined) merged[name] = toHeaderText(value);
  }
  for (const name in merged) headers.push(name, merged[name] ?? '');
}

/** Query values are text; header values are bytes, one character each, without control characters. */
function toHeaderText(value: string): string {
  return Buffer.from(value.replace(/[\0-\x08\x0a-\x1f\x7f]/g, ' '), 'utf8').toString('latin1');
}
