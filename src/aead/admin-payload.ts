// Bodies of the admin API that carry secrets (docs/formats/encrypted-config.md): sealed under a key
// derived from the secret key of the credential that signed the request. Three kinds exist, told
// apart by one byte; we write the first and read all. One derivation takes 64 MiB and a tenth of a
// second on a thread of its own: authenticate the request, limit the body and how many run at once,
// first.

import { argon2, pbkdf2, randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import {
  ChunkedStreamError,
  chunkedNonceBytes,
  openChunked,
  sealChunked,
} from './chunked-stream.ts';
import type { AeadCipher } from './cipher.ts';

const saltBytes = 32;
const headerBytes = saltBytes + 1 + chunkedNonceBytes;

/** The algorithm byte at offset 32. */
export type AdminPayloadKind = 0 | 1 | 2;

type Derivation = 'argon2id' | 'pbkdf2';

const kinds: readonly { readonly derivation: Derivation; readonly cipher: AeadCipher }[] = [
  { derivation: 'argon2id', cipher: 'aes-256-gcm' },
  { derivation: 'argon2id', cipher: 'chacha20-poly1305' },
  { derivation: 'pbkdf2', cipher: 'aes-256-gcm' },
];

/**
 * `not-a-payload`: too short or of an unknown kind. `not-authentic`: modified, or another password.
 */
export type AdminPayloadErrorCode = 'not-a-payload' | 'not-authentic' | 'empty-password';

const messages: Readonly<Record<AdminPayloadErrorCode, string>> = {
  'not-a-payload': 'The body is not an encrypted admin payload.',
  'not-authentic': 'The admin payload was modified, or the secret key is not its own.',
  'empty-password': 'An admin payload needs a secret key that is not empty.',
};

/** Towards a client all codes look alike. */
export class AdminPayloadError extends Error {
  readonly code: AdminPayloadErrorCode;
  constructor(code: AdminPayloadErrorCode) {
    super(messages[code]);
    this.name = 'AdminPayloadError';
    this.code = code;
  }
}

export type AdminPayloadOptions = {
  /** 0 unless told otherwise. */
  readonly kind?: AdminPayloadKind;
  /** 32 and 8 bytes, for known answers in tests. Random unless given. */
  readonly salt?: Uint8Array;
  readonly nonce?: Uint8Array;
};

/** True when the bytes have the shape of an encrypted payload; says nothing about the password. */
export function isAdminPayload(bytes: Uint8Array): boolean {
  return bytes.length > saltBytes && kinds[bytes[saltBytes] as number] !== undefined;
}

/**
 * The plaintext sealed under the password, which is a secret access key. Throws `AdminPayloadError`
 * `empty-password`.
 */
export async function sealAdminPayload(
  password: string,
  plaintext: Uint8Array,
  options: AdminPayloadOptions = {},
): Promise<Buffer> {
  if (password === '') throw new AdminPayloadError('empty-password');
  const {
    kind = 0,
    salt = randomBytes(saltBytes),
    nonce = randomBytes(chunkedNonceBytes),
  } = options;
  const key = await deriveAdminPayloadKey(password, salt, kind);
  const stream = sealChunked({ cipher: cipherOf(kind), key, nonce }, plaintext);
  key.fill(0);
  return Buffer.concat([salt, Buffer.of(kind), nonce, stream]);
}

/** The plaintext of a payload of any kind. Throws `AdminPayloadError`. */
export async function openAdminPayload(password: string, payload: Uint8Array): Promise<Buffer> {
  if (password === '') throw new AdminPayloadError('empty-password');
  return openPasswordSealed(password, payload);
}

/** The same, but the password may be empty: for configuration of old releases. */
export async function openPasswordSealed(password: string, payload: Uint8Array): Promise<Buffer> {
  if (!isAdminPayload(payload) || payload.length < headerBytes) {
    throw new AdminPayloadError('not-a-payload');
  }
  const kind = payload[saltBytes] as AdminPayloadKind; // isAdminPayload looked
  const key = await deriveAdminPayloadKey(password, payload.subarray(0, saltBytes), kind);
  const nonce = payload.subarray(saltBytes + 1, headerBytes);
  try {
    return openChunked({ cipher: cipherOf(kind), key, nonce }, payload.subarray(headerBytes));
  } catch (error) {
    throw error instanceof ChunkedStreamError ? new AdminPayloadError('not-authentic') : error;
  } finally {
    key.fill(0);
  }
}

function cipherOf(kind: AdminPayloadKind): AeadCipher {
  return (kinds[kind] as (typeof kinds)[number]).cipher; // the type has no other values
}

/** The 32-byte key of a payload. The caller wipes it. */
export async function deriveAdminPayloadKey(
  password: string,
  salt: Uint8Array,
  kind: AdminPayloadKind,
): Promise<Buffer> {
  if (kind === 2) return promisify(pbkdf2)(password, salt, 8192, 32, 'sha256');
  return promisify(argon2)('argon2id', {
    message: password,
    nonce: salt,
    parallelism: 4,
    tagLength: 32,
    memory: 65_536,
    passes: 1,
  });
}
