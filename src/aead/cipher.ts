// The two AEADs of the encrypted formats, as `node:crypto` offers them, behind one small face. Both
// have 12-byte nonces and 16-byte tags. Plaintext comes back from an open only after its tag was
// verified.

import {
  type CipherGCM,
  type CipherGCMTypes,
  createCipheriv,
  createDecipheriv,
  type DecipherGCM,
  type KeyObject,
} from 'node:crypto';
import { freeBytes } from '../base/bytes.ts';

/** A secret key: its bytes, or a `KeyObject` holding them. */
export type AeadKey = Uint8Array | KeyObject;

export type AeadCipher = 'aes-256-gcm' | 'chacha20-poly1305';

export const tagBytes = 16;
export const nonceBytes = 12;

/** Everything one AEAD call depends on, besides the text itself. */
export type AeadCall = {
  readonly cipher: AeadCipher;
  readonly key: AeadKey;
  readonly nonce: Uint8Array;
  readonly associatedData: Uint8Array;
};

/** The size of the key in bytes. */
export function keyBytes(key: AeadKey): number {
  return key instanceof Uint8Array ? key.length : (key.symmetricKeySize ?? 0);
}

/**
 * Encrypts the pieces, in order, to `target` at `offset`, tag appended. Returns the offset behind
 * the tag.
 */
export function sealInto(
  call: AeadCall,
  pieces: readonly Uint8Array[],
  target: { readonly bytes: Buffer; readonly offset: number },
): number {
  const cipher = startSeal(call);
  let offset = target.offset;
  for (const piece of pieces) {
    const sealed = cipher.update(piece);
    target.bytes.set(sealed, offset);
    offset += sealed.length;
    freeBytes(sealed);
  }
  cipher.final();
  target.bytes.set(cipher.getAuthTag(), offset);
  return offset + tagBytes;
}

/** The plaintext of ciphertext and tag, or undefined when the tag does not fit. */
export function openSealed(call: AeadCall, sealed: Uint8Array): Buffer | undefined {
  if (sealed.length < tagBytes) return undefined;
  const tagStart = sealed.length - tagBytes;
  const decipher = startOpen(call);
  decipher.setAuthTag(sealed.subarray(tagStart));
  const opened = decipher.update(sealed.subarray(0, tagStart));
  try {
    decipher.final();
  } catch {
    opened.fill(0);
    return undefined;
  }
  return opened;
}

// Node's types know GCM by its own names; ChaCha20-Poly1305 behaves the same, given the tag size.
const tagOptions = { authTagLength: tagBytes } as const;

function startSeal(call: AeadCall): CipherGCM {
  const cipher = createCipheriv(call.cipher as CipherGCMTypes, call.key, call.nonce, tagOptions);
  cipher.setAAD(call.associatedData);
  return cipher;
}

function startOpen(call: AeadCall): DecipherGCM {
  const name = call.cipher as CipherGCMTypes;
  const decipher = createDecipheriv(name, call.key, call.nonce, tagOptions);
  decipher.setAAD(call.associatedData);
  return decipher;
}
