// What a write keeps with an object (content headers, user metadata, tags, storage class), read from the
// request headers, and the refusal of every header whose promise could not be kept.
// Header values are kept as the characters Node gives them, one per byte, so that bytes outside ASCII come
// back unchanged.

import type { ObjectAttributes } from '../store/types.ts';
import type { S3Headers } from './headers.ts';
import { aclOfHeaders, recordedAcl } from './access/acl-documents.ts';
import { S3Error } from './errors.ts';
import { parseTagging } from './tags.ts';

const storedHeaders = [
  'cache-control',
  'content-disposition',
  'content-encoding',
  'content-language',
  'expires',
  'x-amz-website-redirect-location',
] as const;

/** What may be sent as a header again. Only query parameters that stand for headers can be anything else. */
const headerName = /^[!#$%&'*+.^_`|~0-9a-z-]+$/;
const headerValue = /^[\t\x20-\x7e\x80-\xff]*$/;

const metadataPrefix = 'x-amz-meta-';
const metadataBytesMax = 2048;
const defaultContentType = 'binary/octet-stream';

/** Attributes of a PutObject, CreateMultipartUpload or CopyObject with REPLACE. Throws `S3Error`. */
export function attributesOf(headers: S3Headers): ObjectAttributes {
  return {
    headers: contentHeadersOf(headers),
    userMetadata: userMetadataOf(headers),
    tagging: taggingOf(headers),
    storageClass: storageClassOf(headers),
    ...aclOf(headers),
  };
}

/** The content headers of a request, with the default type and without `aws-chunked`. */
export function contentHeadersOf(headers: S3Headers): Record<string, string> {
  const kept: Record<string, string> = {
    'content-type': headers['content-type'] ?? defaultContentType,
  };
  for (const name of storedHeaders) {
    const value = headers[name];
    if (value === undefined) continue;
    if (!headerValue.test(value)) throw badHeader(name);
    const text = name === 'content-encoding' ? withoutAwsChunked(value) : value;
    if (text !== '') kept[name] = text;
  }
  return kept;
}

/** User metadata without its prefix. Throws `MetadataTooLarge` and, for reserved names, `UnsupportedMetadata`. */
export function userMetadataOf(headers: S3Headers): Record<string, string> {
  // Not an assignment to an object, which would lose the name `__proto__`.
  const metadata: [string, string][] = [];
  let bytes = 0;
  for (const header in headers) {
    if (!header.startsWith(metadataPrefix)) continue;
    const name = header.slice(metadataPrefix.length);
    const value = headers[header] ?? '';
    if (!headerName.test(name) || !headerValue.test(value)) throw badHeader(header);
    bytes += name.length + value.length;
    if (bytes > metadataBytesMax) throw new S3Error('MetadataTooLarge');
    metadata.push([name, value]);
  }
  return Object.fromEntries(metadata);
}

/** The `x-amz-tagging` header, checked. */
export function taggingOf(headers: S3Headers): string {
  const tagging = headers['x-amz-tagging'] ?? '';
  if (tagging !== '') parseTagging(tagging);
  return tagging;
}

/** The storage class asked for. Throws `InvalidStorageClass` for one this store does not have. */
export function storageClassOf(headers: S3Headers): string {
  const storageClass = headers['x-amz-storage-class'] ?? 'STANDARD';
  if (storageClass !== 'STANDARD' && storageClass !== 'REDUCED_REDUNDANCY') {
    throw new S3Error('InvalidStorageClass');
  }
  return storageClass;
}

/** The canned access list asked for, ready to be spread into attributes. */
export function aclOf(headers: S3Headers): { readonly acl?: string } {
  const acl = recordedAcl(aclOfHeaders(headers));
  return acl === undefined ? {} : { acl };
}

const unservedWriteHeaders = ['x-amz-write-offset-bytes', 'x-minio-extract'] as const;

/** Throws for headers of a write that ask for something which would not happen. */
export function refuseUnservedWriteHeaders(headers: S3Headers): void {
  for (const name of unservedWriteHeaders) {
    if (headers[name] !== undefined) throw headerNotServed(name);
  }
}

/** Throws for conditions of an abort that would not be checked. */
export function refuseUnservedAbortHeaders(headers: S3Headers): void {
  const name = 'x-amz-if-match-initiated-time';
  if (headers[name] !== undefined) throw headerNotServed(name);
}

/** Throws for header names that are reserved for servers of this kind. */
export function refuseReservedHeaders(headers: S3Headers): void {
  for (const name in headers) {
    if (name.charCodeAt(0) !== 0x78) continue;
    if (
      name.startsWith('x-minio-internal-') ||
      name.startsWith('x-amz-meta-x-minio-internal-') ||
      name.startsWith('x-amz-meta-x-amz-unencrypted-content-')
    ) {
      throw new S3Error('UnsupportedMetadata');
    }
  }
}

function badHeader(name: string): S3Error {
  return new S3Error('InvalidArgument', 'The name or value cannot be sent as a header', {
    details: { ArgumentName: name },
  });
}

function headerNotServed(name: string): S3Error {
  return new S3Error(
    'NotImplemented',
    `The header ${name} asks for something this server does not do`,
    {
      details: { Header: name },
    },
  );
}

function withoutAwsChunked(value: string): string {
  if (!value.toLowerCase().includes('aws-chunked')) return value;
  const kept = value.split(',').filter((token) => token.trim().toLowerCase() !== 'aws-chunked');
  return kept.join(',').trim();
}
