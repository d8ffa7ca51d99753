// Configuration and IAM records sealed under a data key of the KMS
// (docs/formats/encrypted-config.md), byte for byte as the records of an existing deployment.
// Reading also takes what older releases wrote: plain text, another context, and records sealed
// under the root credentials. A KMS that does not answer is an error, never a sign that a record is
// not encrypted.

import { isUtf8 } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import { AdminPayloadError, isAdminPayload, openPasswordSealed } from '../aead/admin-payload.ts';
import {
  ChunkedStreamError,
  chunkedNonceBytes,
  openChunked,
  sealChunked,
} from '../aead/chunked-stream.ts';
import type { AeadCipher } from '../aead/cipher.ts';
import { withDataKey } from './envelope.ts';
import { type Kms, type KmsContext, KmsError } from './kms.ts';
import { SseError } from './sse-error.ts';
import { decodeBase64, decodeBase64Sized } from './strict-base64.ts';

const version = 0x01;
const headerBytes = 5;
const metadataBytesMax = 1_048_576;
const systemBucket = '.minio.sys';

const algorithmNames: Readonly<Record<AeadCipher, string>> = {
  'aes-256-gcm': 'AES-256-GCM',
  'chacha20-poly1305': 'ChaCha20-Poly1305',
};

export type SealConfigOptions = {
  /** AES-256-GCM unless told otherwise. */
  readonly cipher?: AeadCipher;
  /** 8 bytes, for known answers in tests. Random unless given. */
  readonly nonce?: Uint8Array;
};

/**
 * A record sealed for its name below the system bucket, such as
 * `config/iam/users/alice/identity.json`. One generate call under the default master key. Throws
 * `KmsError`, or `SseError` `invalid-data-key`.
 */
export async function sealConfig(
  kms: Kms,
  record: { readonly name: string; readonly plaintext: Uint8Array },
  options: SealConfigOptions = {},
): Promise<Buffer> {
  const { cipher = 'aes-256-gcm', nonce = randomBytes(chunkedNonceBytes) } = options;
  const dataKey = await kms.generateKey(kms.defaultKeyName, configContext(record.name));
  const stream = withDataKey(dataKey.plaintext, (key) =>
    sealChunked({ cipher, key, nonce }, record.plaintext),
  );
  const metadata = Buffer.from(
    JSON.stringify({
      keyid: dataKey.keyName,
      kmskey: Buffer.from(dataKey.ciphertext).toString('base64'),
      algorithm: algorithmNames[cipher],
      nonce: Buffer.from(nonce).toString('base64'),
    }),
  );
  const header = Buffer.alloc(headerBytes);
  header.writeUInt8(version);
  header.writeUInt32LE(metadata.length, 1);
  return Buffer.concat([header, metadata, stream]);
}

export type OpenConfigOptions = {
  /** Of the root account, for records that old releases sealed under them. */
  readonly rootCredentials?: { readonly accessKey: string; readonly secretKey: string };
};

/**
 * The plaintext of a record of any form. At most two decrypt calls, under the master key that the
 * record names. Throws `KmsError` as the KMS gave it, or `SseError`: `kms-not-configured` when it
 * needs a KMS and there is none, `invalid-config`, `not-authentic`.
 */
export async function openConfig(
  kms: Kms | undefined,
  record: { readonly name: string; readonly bytes: Uint8Array },
  options: OpenConfigOptions = {},
): Promise<Buffer> {
  const bytes = Buffer.from(record.bytes.buffer, record.bytes.byteOffset, record.bytes.length);
  if (isUtf8(bytes)) return Buffer.from(bytes);
  const sealed = parseSealedConfig(bytes);
  if (sealed === undefined) return openUnderCredentials(bytes, options);
  if (kms === undefined) throw new SseError('kms-not-configured');
  const plaintext = await decryptConfigKey(kms, record.name, sealed);
  return withDataKey(plaintext, (key) => openStream(key, sealed));
}

/** What a record's data key is bound to. */
function configContext(name: string): KmsContext {
  return { [systemBucket]: `${systemBucket}/${name}` };
}

type SealedConfig = {
  readonly keyName: string;
  readonly sealedDataKey: Buffer;
  readonly cipher: AeadCipher;
  readonly nonce: Buffer;
  readonly stream: Buffer;
};

/**
 * Undefined when the bytes do not have the form at all. Throws `SseError` `invalid-config` for the
 * form with impossible content.
 */
function parseSealedConfig(bytes: Buffer): SealedConfig | undefined {
  if (bytes.length < headerBytes || bytes[0] !== version) return undefined;
  const metadataEnd = headerBytes + bytes.readUInt32LE(1);
  if (metadataEnd - headerBytes > metadataBytesMax || metadataEnd > bytes.length) return undefined;
  const metadata = parseObject(bytes.subarray(headerBytes, metadataEnd));
  if (metadata === undefined) return undefined;
  const text = (name: string) => (typeof metadata[name] === 'string' ? metadata[name] : '');
  const ciphers = Object.keys(algorithmNames) as AeadCipher[]; // the record's keys are its type's
  const cipher = ciphers.find((candidate) => algorithmNames[candidate] === text('algorithm'));
  const sealedDataKey = decodeBase64(text('kmskey'));
  const nonce = decodeBase64Sized(text('nonce'), chunkedNonceBytes);
  if (cipher === undefined || sealedDataKey === undefined || nonce === undefined) {
    throw new SseError('invalid-config');
  }
  const stream = bytes.subarray(metadataEnd);
  return { keyName: text('keyid'), sealedDataKey, cipher, nonce, stream };
}

function parseObject(json: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(json.toString());
    if (typeof value !== 'object' || value === null) return undefined;
    return value as Record<string, unknown>; // any object's members are unknown
  } catch {
    return undefined;
  }
}

/** Older releases bound the data key to the bare name. */
async function decryptConfigKey(kms: Kms, name: string, sealed: SealedConfig): Promise<Uint8Array> {
  try {
    return await kms.decrypt(sealed.keyName, sealed.sealedDataKey, configContext(name));
  } catch (error) {
    if (!(error instanceof KmsError) || error.code !== 'invalid-ciphertext') throw error;
    return kms.decrypt(sealed.keyName, sealed.sealedDataKey, { [systemBucket]: name });
  }
}

async function openUnderCredentials(bytes: Buffer, options: OpenConfigOptions): Promise<Buffer> {
  const { rootCredentials } = options;
  if (rootCredentials === undefined || !isAdminPayload(bytes)) throw new SseError('invalid-config');
  const { accessKey, secretKey } = rootCredentials;
  try {
    return await openPasswordSealed(`${accessKey}:${secretKey}`, bytes);
  } catch (error) {
    throw error instanceof AdminPayloadError ? new SseError('not-authentic') : error;
  }
}

function openStream(key: Uint8Array, { cipher, nonce, stream }: SealedConfig): Buffer {
  try {
    return openChunked({ cipher, key, nonce }, stream);
  } catch (error) {
    throw error instanceof ChunkedStreamError ? new SseError('not-authentic') : error;
  }
}
