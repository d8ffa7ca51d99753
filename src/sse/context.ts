// The associated data of a KMS call: a context of names and values, written as the one canonical
// JSON text that every implementation computes alike (docs/formats/object-encryption.md). A single
// different byte makes data keys unreadable, so this writes the text by hand: names sorted by their
// UTF-8 bytes, no white space, and exactly the escapes of the table below.

import { posix } from 'node:path';
import type { KmsContext } from './kms.ts';

/**
 * The canonical JSON bytes; `{}` for no entries, never empty. A lone surrogate becomes `\ufffd`.
 */
export function encodeContext(context: KmsContext): Buffer {
  const entries = Object.entries(context).map(([name, value]) => ({
    order: Buffer.from(name),
    text: `${quote(name)}:${quote(value)}`,
  }));
  if (entries.length > 1) entries.sort((a, b) => Buffer.compare(a.order, b.order));
  return Buffer.from(`{${entries.map((entry) => entry.text).join(',')}}`);
}

/**
 * The same from names and values that may not be UTF-8: each bad byte becomes the six characters
 * `\ufffd`.
 */
export function encodeContextBytes(
  context: readonly (readonly [name: Uint8Array, value: Uint8Array])[],
): Buffer {
  const entries = context.toSorted(([a], [b]) => Buffer.compare(a, b));
  const texts = entries.map(([name, value]) => `${quoteBytes(name)}:${quoteBytes(value)}`);
  return Buffer.from(`{${texts.join(',')}}`);
}

/** An element that is empty, `.` or `..`: only such names change when they are cleaned. */
const uncleanElement = /(?:^|\/)\.{0,2}(?:\/|$)/;

/** `bucket/key`, lexically cleaned: no empty, `.` or `..` elements and no trailing slash. */
export function objectPath(bucket: string, key: string): string {
  if (!uncleanElement.test(key)) return `${bucket}/${key}`;
  const path = posix.join(bucket, key);
  return path.endsWith('/') && path.length > 1 ? path.slice(0, -1) : path;
}

/** What the data key of an object is bound to: `{bucket: objectPath(bucket, key)}`. */
export function objectContext(bucket: string, key: string): KmsContext {
  return { [bucket]: objectPath(bucket, key) };
}

/** What the data key of an SSE-KMS object is bound to. */
export function sseKmsContext(
  place: { readonly bucket: string; readonly key: string },
  context: KmsContext = {},
): KmsContext {
  if (Object.hasOwn(context, place.bucket)) return context;
  return { ...context, ...objectContext(place.bucket, place.key) };
}

const mustEscape = /["\\<>&\u2028\u2029\u0000-\u001f]|\p{Surrogate}/gu;

function quote(text: string): string {
  return `"${text.replace(mustEscape, escapeCharacter)}"`;
}

function escapeCharacter(character: string): string {
  switch (character) {
    case '"':
    case '\\':
      return `\\${character}`;
    case '\n':
      return '\\n';
    case '\r':
      return '\\r';
    case '\t':
      return '\\t';
    default:
      return `\\u${escapedUnit(character).toString(16).padStart(4, '0')}`;
  }
}

function escapedUnit(character: string): number {
  const unit = character.charCodeAt(0);
  return unit >= 0xd800 && unit <= 0xdfff ? 0xfffd : unit;
}

function quoteBytes(bytes: Uint8Array): string {
  let text = '';
  let good = 0;
  let at = 0;
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const flush = () => {
    text += quote(buffer.toString('utf8', good, at)).slice(1, -1);
  };
  while (at < bytes.length) {
    const size = characterSize(bytes, at);
    if (size > 0) {
      at += size;
      continue;
    }
    flush();
    text += '\\ufffd';
    at += 1;
    good = at;
  }
  flush();
  return `"${text}"`;
}

/**
 * The size of the UTF-8 character at this place, 0 when there is none (RFC 3629: no surrogates,
 * shortest form).
 */
function characterSize(bytes: Uint8Array, at: number): number {
  const first = bytes[at] as number; // the caller stays inside
  if (first < 0x80) return 1;
  const size =
    first >= 0xc2 && first <= 0xdf ? 2 : first >> 4 === 0xe ? 3 : first >> 3 === 0x1e ? 4 : 0;
  if (size === 0 || first > 0xf4) return 0;
  for (let index = 1; index < size; index += 1) {
    if (((bytes[at + index] ?? 0) & 0xc0) !== 0x80) return 0;
  }
  const second = bytes[at + 1] as number; // it passed the loop
  if (first === 0xe0 && second < 0xa0) return 0;
  if (first === 0xed && second > 0x9f) return 0;
  if (first === 0xf0 && second < 0x90) return 0;
  if (first === 0xf4 && second > 0x8f) return 0;
  return size;
}
