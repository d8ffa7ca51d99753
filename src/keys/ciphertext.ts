// What encrypt and generate hand out and decrypt takes back (docs/formats/key-store.md, "Ciphertexts").
//
//   AEAD(key', nonce, plaintext, context) || iv[16] || nonce[12]      the tag ends the AEAD output
//   AES256:    key' = HMAC-SHA-256(key, iv),  AES-256-GCM
//   ChaCha20:  key' = HChaCha20(key, iv),     ChaCha20-Poly1305
//
// Two older forms are opened and never written: a MessagePack array (first byte 0x95) and a JSON object
// (first byte 0x7b). Bytes that only look like them are taken as the current form. Whatever is wrong with
// a ciphertext, the error is the same.

import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  type KeyObject,
  randomFillSync,
} from 'node:crypto';
import { KeyError } from './key-error.ts';
import { findCipher, type KeyCipher, type MasterKey } from './master-key.ts';

const ivBytes = 16;
const nonceBytes = 12;
const tagBytes = 16;

/** What a ciphertext is longer than its plaintext. */
export const ciphertextOverheadBytes = tagBytes + ivBytes + nonceBytes;

/** Encrypts under the master key with a fresh iv and nonce. An absent context is an empty one. */
export function sealWith(masterKey: MasterKey, plaintext: Uint8Array, context: Uint8Array): Buffer {
  const out = Buffer.allocUnsafe(plaintext.length + ciphertextOverheadBytes);
  const sealedBytes = plaintext.length + tagBytes;
  randomFillSync(out, sealedBytes);
  const iv = out.subarray(sealedBytes, sealedBytes + ivBytes);
  const nonce = out.subarray(sealedBytes + ivBytes);
  const cipher = createSealer(
    masterKey.cipher,
    deriveKey(masterKey.cipher, masterKey.secret, iv),
    nonce,
  );
  cipher.setAAD(context, { plaintextLength: plaintext.length });
  out.set(cipher.update(plaintext), 0);
  cipher.final();
  out.set(cipher.getAuthTag(), plaintext.length);
  return out;
}

/** Opens a ciphertext of any form. Throws `KeyError` `not-authentic`, whatever was wrong with it. */
export function openWith(
  masterKey: MasterKey,
  ciphertext: Uint8Array,
  context: Uint8Array,
): Buffer {
  const bytes = Buffer.from(ciphertext.buffer, ciphertext.byteOffset, ciphertext.length);
  const older = parseOlderForm(bytes);
  const cipher = older !== undefined && masterKey.isCipherAssumed ? older.cipher : masterKey.cipher;
  return openCurrent({ cipher, secret: masterKey.secret }, older?.bytes ?? bytes, context);
}

function openCurrent(
  key: { readonly cipher: KeyCipher; readonly secret: KeyObject },
  bytes: Buffer,
  context: Uint8Array,
): Buffer {
  const sealedBytes = bytes.length - ivBytes - nonceBytes;
  if (sealedBytes < tagBytes) throw notAuthentic();
  const iv = bytes.subarray(sealedBytes, sealedBytes + ivBytes);
  const nonce = bytes.subarray(sealedBytes + ivBytes);
  const decipher = createOpener(key.cipher, deriveKey(key.cipher, key.secret, iv), nonce);
  decipher.setAuthTag(bytes.subarray(sealedBytes - tagBytes, sealedBytes));
  decipher.setAAD(context, { plaintextLength: sealedBytes - tagBytes });
  const plaintext = decipher.update(bytes.subarray(0, sealedBytes - tagBytes));
  try {
    decipher.final();
  } catch {
    plaintext.fill(0);
    throw notAuthentic();
  }
  return plaintext;
}

function notAuthentic(): KeyError {
  return new KeyError('not-authentic', 'the ciphertext is not authentic');
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
