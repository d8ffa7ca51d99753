// What encrypt and generate hand out and decrypt takes back (docs/formats/key-store.md, "Ciphertexts").
//
//   cf 6b 76 01 || version (4, big-endian)                            only from version 2 on
//   AEAD(key', nonce, plaintext, context) || iv[16] || nonce[12]      the tag ends the AEAD output
//   AES256:    key' = HMAC-SHA-256(key, iv),  AES-256-GCM
//   ChaCha20:  key' = HChaCha20(key, iv),     ChaCha20-Poly1305
//
// Two older forms are opened and never written: a MessagePack array (first byte 0x95) and a JSON object
// (first byte 0x7b). Bytes that only look like them, or only seem to name a version, are taken as the
// current form of version 1. Whatever is wrong with a ciphertext, the error is the same.

import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  type KeyObject,
  randomFillSync,
} from 'node:crypto';
import { KeyError } from './key-error.ts';
import { findCipher, type KeyCipher, type KeyVersion, type MasterKey } from './master-key.ts';

const ivBytes = 16;
const nonceBytes = 12;
const tagBytes = 16;

/** Begins a ciphertext of a later version: neither 0x95 nor 0x7b, so no older form begins like it. */
const versionMagic = Buffer.from('cf6b7601', 'hex');
const headerBytes = versionMagic.length + 4;

/** What a ciphertext of the first version is longer than its plaintext. */
export const ciphertextOverheadBytes = tagBytes + ivBytes + nonceBytes;
/** What one of a later version is longer. */
export const versionedOverheadBytes = headerBytes + ciphertextOverheadBytes;

type Secret = Pick<KeyVersion, 'cipher' | 'secret'>;

/**
 * The version that a ciphertext names: 1 when it names none. Only opening it proves that the name is true; a
 * random ciphertext of version 1 seems to name another once in 2^32.
 */
export function versionOf(ciphertext: Uint8Array): number {
  return namedVersion(bufferOf(ciphertext)) ?? 1;
}

/** Encrypts under the newest version with a fresh iv and nonce. An absent context is an empty one. */
export function sealWith(masterKey: MasterKey, plaintext: Uint8Array, context: Uint8Array): Buffer {
  const newest = masterKey.later.at(-1);
  const start = newest === undefined ? 0 : headerBytes;
  const out = Buffer.allocUnsafe(start + plaintext.length + ciphertextOverheadBytes);
  if (newest !== undefined) {
    out.set(versionMagic);
    out.writeUInt32BE(newest.version, versionMagic.length);
  }
  sealInto(out.subarray(start), newest ?? masterKey, { plaintext, context });
  return out;
}

function sealInto(
  out: Buffer,
  key: Secret,
  { plaintext, context }: { readonly plaintext: Uint8Array; readonly context: Uint8Array },
): void {
  const sealedBytes = plaintext.length + tagBytes;
  randomFillSync(out, sealedBytes);
  const iv = out.subarray(sealedBytes, sealedBytes + ivBytes);
  const nonce = out.subarray(sealedBytes + ivBytes);
  const derived = deriveKey(key.cipher, key.secret, iv);
  try {
    const cipher = createSealer(key.cipher, derived, nonce);
    cipher.setAAD(context, { plaintextLength: plaintext.length });
    out.set(cipher.update(plaintext), 0);
    cipher.final();
    out.set(cipher.getAuthTag(), plaintext.length);
  } finally {
    derived.fill(0);
  }
}

/** Opens a ciphertext of any form and version. Throws `KeyError` `not-authentic`, whatever was wrong with it. */
export function openWith(
  masterKey: MasterKey,
  ciphertext: Uint8Array,
  context: Uint8Array,
): Buffer {
  const bytes = bufferOf(ciphertext);
  const later = findVersion(masterKey, namedVersion(bytes));
  const opened = later && openCurrent(later, bytes.subarray(headerBytes), context);
  const plaintext = opened ?? openFirst(masterKey, bytes, context);
  if (plaintext === undefined) {
    throw new KeyError('not-authentic', 'the ciphertext is not authentic');
  }
  return plaintext;
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** The version in the header; undefined without one. Version 1 never has a header. */
function namedVersion(bytes: Buffer): number | undefined {
  if (bytes[0] !== versionMagic[0] || bytes.length < versionedOverheadBytes) return undefined;
  if (!bytes.subarray(0, versionMagic.length).equals(versionMagic)) return undefined;
  const version = bytes.readUInt32BE(versionMagic.length);
  return version >= 2 ? version : undefined;
}

function findVersion(masterKey: MasterKey, version: number | undefined): KeyVersion | undefined {
  return version === undefined ? undefined : masterKey.later[version - 2];
}

/** Opens the forms of the first version. */
function openFirst(masterKey: MasterKey, bytes: Buffer, context: Uint8Array): Buffer | undefined {
  const older = parseOlderForm(bytes);
  const cipher = older !== undefined && masterKey.isCipherAssumed ? older.cipher : masterKey.cipher;
  return openCurrent({ cipher, secret: masterKey.secret }, older?.bytes ?? bytes, context);
}

function openCurrent(key: Secret, bytes: Buffer, context: Uint8Array): Buffer | undefined {
  const sealedBytes = bytes.length - ivBytes - nonceBytes;
  if (sealedBytes < tagBytes) return undefined;
  const iv = bytes.subarray(sealedBytes, sealedBytes + ivBytes);
  const nonce = bytes.subarray(sealedBytes + ivBytes);
  const derived = deriveKey(key.cipher, key.secret, iv);
  let plaintext: Buffer | undefined;
  try {
    const decipher = createOpener(key.cipher, derived, nonce);
    decipher.setAuthTag(bytes.subarray(sealedBytes - tagBytes, sealedBytes));
    decipher.setAAD(context, { plaintextLength: sealedBytes - tagBytes });
    plaintext = decipher.update(bytes.subarray(0, sealedBytes - tagBytes));
    decipher.final();
    return plaintext;
  } catch {
    plaintext?.fill(0);
    return undefined;
  } finally {
    derived.fill(0);
  }
}

function createSealer(cipher: KeyCipher, derived: Buffer, nonce: Buffer) {
  return cipher === 'AES256'
    ? createCipheriv('aes-256-gcm', derived, nonce)
    : createCipheriv('chacha20-poly1305', derived, nonce, { authTagLength: tagBytes });
}

function createOpener(cipher: KeyCipher, derived: Buffer, nonce: Buffer) {
  return cipher === 'AES256'
    ? createDecipheriv('aes-256-gcm', derived, nonce, { authTagLength: tagBytes })
    : createDecipheriv('chacha20-poly1305', derived, nonce, { authTagLength: tagBytes });
}

function deriveKey(cipher: KeyCipher, secret: KeyObject, iv: Buffer): Buffer {
  if (cipher === 'AES256') return createHmac('sha256', secret).update(iv).digest();
  return hchacha20(secret, iv);
}

/**
 * HChaCha20 from ChaCha20: a keystream block is the permuted state plus the initial state, and HChaCha20
 * is the first and last row of the permuted state, so subtracting what was added gives it.
 */
function hchacha20(secret: KeyObject, iv: Buffer): Buffer {
  const block = createCipheriv('chacha20', secret, iv).update(Buffer.alloc(64));
  const constants = [0x61707865, 0x3320646e, 0x79622d32, 0x6b206574];
  const out = Buffer.alloc(32);
  constants.forEach((constant, word) => {
    out.writeUInt32LE((block.readUInt32LE(4 * word) - constant) >>> 0, 4 * word);
    const added = iv.readUInt32LE(4 * word);
    out.writeUInt32LE((block.readUInt32LE(48 + 4 * word) - added) >>> 0, 16 + 4 * word);
  });
  block.fill(0);
  return out;
}

type OlderForm = { readonly cipher: KeyCipher; readonly bytes: Buffer };

function parseOlderForm(bytes: Buffer): OlderForm | undefined {
  if (bytes[0] === 0x95) return parseMessagePackForm(bytes);
  if (bytes[0] === 0x7b) return parseJsonForm(bytes);
  return undefined;
}

function rearrange(parts: {
  readonly cipher: KeyCipher | undefined;
  readonly iv: Buffer | undefined;
  readonly nonce: Buffer | undefined;
  readonly bytes: Buffer | undefined;
}): OlderForm | undefined {
  const { cipher, iv, nonce, bytes } = parts;
  if (cipher === undefined || bytes === undefined) return undefined;
  if (iv?.length !== ivBytes || nonce?.length !== nonceBytes) return undefined;
  return { cipher, bytes: Buffer.concat([bytes, iv, nonce]) };
}

const jsonCiphers: ReadonlyMap<unknown, KeyCipher> = new Map([
  ['AES-256-GCM-HMAC-SHA-256', 'AES256'],
  ['ChaCha20Poly1305', 'ChaCha20'],
]);

function parseJsonForm(text: Buffer): OlderForm | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text.toString('utf8'));
  } catch {
    return undefined;
  }
  const members = json as Record<string, unknown>;
  const bytesOf = (name: string): Buffer | undefined => {
    const value = members[name];
    return typeof value === 'string' ? Buffer.from(value, 'base64') : undefined;
  };
  return rearrange({
    cipher: jsonCiphers.get(members['aead']),
    iv: bytesOf('iv'),
    nonce: bytesOf('nonce'),
    bytes: bytesOf('bytes'),
  });
}

/** [algorithm str, key id str, iv bin, nonce bin, bytes bin], and nothing after it. */
function parseMessagePackForm(message: Buffer): OlderForm | undefined {
  const items: Buffer[] = [];
  let offset = 1;
  for (const isText of [true, true, false, false, false]) {
    const span = messagePackSpan(message, offset, isText);
    if (span === undefined || span.end > message.length) return undefined;
    items.push(message.subarray(span.start, span.end));
    offset = span.end;
  }
  if (offset !== message.length) return undefined;
  const [algorithm, , iv, nonce, bytes] = items;
  return rearrange({ cipher: findCipher(algorithm?.toString('utf8') ?? ''), iv, nonce, bytes });
}

function messagePackSpan(
  message: Buffer,
  offset: number,
  isText: boolean,
): { start: number; end: number } | undefined {
  const head = message[offset] ?? 0;
  if (isText && head >= 0xa0 && head <= 0xbf) {
    return { start: offset + 1, end: offset + 1 + (head & 0x1f) };
  }
  const sizeBytes = 2 ** (head - (isText ? 0xd9 : 0xc4));
  if (![1, 2, 4].includes(sizeBytes) || offset + 1 + sizeBytes > message.length) return undefined;
  const start = offset + 1 + sizeBytes;
  return { start, end: start + message.readUIntBE(offset + 1, sizeBytes) };
}
