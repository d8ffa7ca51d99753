// Private key files of clients and servers: any PEM key that the TLS library takes, plain or protected by
// a password (RFC 1423, as the documented commands write it, or PKCS#8). Rule kept here: an error says
// what to do and never holds key bytes or the password.

import type { KeyObject } from 'node:crypto';
import { createCipheriv, createHash, createPrivateKey, randomBytes } from 'node:crypto';
import { KesIdentityError } from './kes-identity.ts';

/** True when the file cannot be read without a password. */
export function isEncryptedKey(pem: string): boolean {
  return (
    /^Proc-Type:\s*4,\s*ENCRYPTED\s*$/m.test(pem) || pem.includes('BEGIN ENCRYPTED PRIVATE KEY')
  );
}

/**
 * The first private key of a PEM file; certificates before or after it are skipped, and a password that is
 * not needed is ignored. Throws `KesIdentityError`: `password-required`, `wrong-password`,
 * `invalid-private-key`.
 */
export function openPrivateKey(pem: string, password?: string): KeyObject {
  const block = /-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----[\s\S]*?-----END \1-----/.exec(pem)?.[0];
  if (block === undefined) {
    throw new KesIdentityError('invalid-private-key', 'https: no private key in PEM file');
  }
  const isEncrypted = isEncryptedKey(block);
  if (isEncrypted && !password) {
    throw new KesIdentityError(
      'password-required',
      'https: private key is encrypted: password required',
    );
  }
  try {
    return createPrivateKey(isEncrypted ? { key: block, passphrase: password ?? '' } : block);
  } catch {
    // Without the cause: the library's text may describe the key.
    throw isEncrypted
      ? new KesIdentityError('wrong-password', 'https: private key: incorrect password')
      : new KesIdentityError('invalid-private-key', 'https: invalid private key');
  }
}

/**
 * A PKCS#8 private key as a PEM file under a password, RFC 1423 with AES-256-CBC. The form derives its
 * key with one round of MD5: it keeps a casual reader out, not an attacker with the file.
 */
export function sealPrivateKey(privateKey: KeyObject, password: string): string {
  const iv = randomBytes(16);
  const salt = iv.subarray(0, 8);
  const secret = Buffer.from(password, 'utf8');
  const first = md5(secret, salt);
  const cipherKey = Buffer.concat([first, md5(first, secret, salt)]);
  const cipher = createCipheriv('aes-256-cbc', cipherKey, iv);
  const der = privateKey.export({ type: 'pkcs8', format: 'der' });
  const sealed = Buffer.concat([cipher.update(der), cipher.final()]);
  for (const bytes of [secret, first, cipherKey, der]) bytes.fill(0);
  const lines = sealed.toString('base64').match(/.{1,64}/g) ?? [];
  return [
    '-----BEGIN PRIVATE KEY-----',
    'Proc-Type: 4,ENCRYPTED',
    `DEK-Info: AES-256-CBC,${iv.toString('hex').toUpperCase()}`,
    '',
    ...lines,
    '-----END PRIVATE KEY-----',
    '',
  ].join('\n');
}

function md5(...parts: readonly Uint8Array[]): Buffer {
  const hash = createHash('md5');
  for (const part of parts) hash.update(part);
  return hash.digest();
}
