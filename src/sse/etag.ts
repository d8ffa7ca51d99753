// ETags of encrypted objects (docs/formats/object-encryption.md). The plain ETag of an object or
// part, 16 bytes, may be the MD5 of the plaintext and so is sealed under a key of the object;
// clients see the opened one (SSE-S3) or the tag of the sealed one (SSE-KMS, SSE-C), which needs no
// key. ETags of multipart objects are made from what clients saw of the parts, and are never
// sealed.

import { createHash } from 'node:crypto';
import { DareError, openDare, sealDare } from '../aead/dare.ts';
import { deriveEtagKey } from './object-key.ts';
import { SseError } from './sse-error.ts';

const plainEtagBytes = 16;
const dash = 0x2d;
const hexPairs = /^(?:[0-9a-fA-F]{2})*$/;
const multipartText = /^([0-9a-fA-F]{32})-([0-9]{1,10})$/;
const partsMax = 2 ** 31 - 1;

/** The stored form of a plain ETag, lower-case hex. Empty stays empty. */
export function sealEtag(oek: Uint8Array, etag: Uint8Array): string {
  if (etag.length === 0) return '';
  const key = deriveEtagKey(oek);
  const sealed = sealDare(key, etag);
  key.fill(0);
  return sealed.toString('hex');
}

/**
 * What a client sees of the stored ETag of an SSE-S3 object or part: the opened one, or the text
 * itself when it is not sealed. Throws `SseError` `object-tampered`.
 */
export function openEtag(oek: Uint8Array, stored: string): string {
  const bytes = parseStored(stored);
  if (!isSealedEtag(bytes)) return stored;
  const key = deriveEtagKey(oek);
  try {
    return openDare(key, bytes).toString('hex');
  } catch (error) {
    throw error instanceof DareError ? new SseError('object-tampered') : error;
  } finally {
    key.fill(0);
  }
}

/**
 * What a client sees of the stored ETag of an SSE-KMS or SSE-C object or part: the last 32 digits
 * of a sealed one, any other as it is. Needs no key. Throws `SseError` `object-tampered`.
 */
export function clientEtag(stored: string): string {
  return isSealedEtag(parseStored(stored)) ? stored.slice(-2 * plainEtagBytes) : stored;
}

function parseStored(stored: string): Buffer {
  try {
    return parseEtag(stored);
  } catch {
    throw new SseError('object-tampered');
  }
}

/** True for a sealed ETag: longer than a plain one, and not that of a multipart object. */
export function isSealedEtag(etag: Uint8Array): boolean {
  return etag.length > plainEtagBytes && !isMultipartEtag(etag);
}

function isMultipartEtag(etag: Uint8Array): boolean {
  if (etag.length < plainEtagBytes + 2 || etag[plainEtagBytes] !== dash) return false;
  return etag.subarray(plainEtagBytes + 1).every((byte) => byte >= 0x30 && byte <= 0x39);
}

/**
 * The bytes of an ETag, with or without quotes. That of a multipart object is 16 bytes and then its
 * `-N` as text. Throws `SseError` `invalid-etag`.
 */
export function parseEtag(text: string): Buffer {
  const bare =
    text.length > 1 && text.startsWith('"') && text.endsWith('"') ? text.slice(1, -1) : text;
  if (!bare.includes('-')) {
    if (!hexPairs.test(bare)) throw new SseError('invalid-etag');
    return Buffer.from(bare, 'hex');
  }
  const match = multipartText.exec(bare);
  if (match === null || Number(match[2]) > partsMax) throw new SseError('invalid-etag');
  return Buffer.concat([Buffer.from(bare.slice(0, 32), 'hex'), Buffer.from(bare.slice(32))]);
}

/** The text of an ETag, no quotes: the reverse of `parseEtag`. */
export function formatEtag(etag: Uint8Array): string {
  const bytes = Buffer.from(etag);
  if (!isMultipartEtag(etag)) return bytes.toString('hex');
  return bytes.toString('hex', 0, plainEtagBytes) + bytes.toString('latin1', plainEtagBytes);
}

/**
 * The ETag of a multipart object from the client-visible ETags of its parts. Parts whose ETag is
 * sealed or multipart do not count.
 */
export function multipartEtag(parts: readonly Uint8Array[]): string {
  const counted = parts.filter((part) => part.length === plainEtagBytes);
  const hash = createHash('md5');
  for (const part of counted) hash.update(part);
  return `${hash.digest('hex')}-${counted.length}`;
}
