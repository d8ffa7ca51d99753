// Who a client of the key service is. An identity is the SHA-256 of the public key inside a client
// certificate; an API key is an Ed25519 seed as text, from which a throw-away certificate is made. Rule
// kept here: the identity is taken over the raw SubjectPublicKeyInfo bytes, never a re-encoding of them,
// and a private key never appears in an error.

import type { KeyObject } from 'node:crypto';
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  X509Certificate,
} from 'node:crypto';
import { createSelfSigned, findSubjectPublicKeyInfo } from './kes-certificate.ts';

const prefix = 'kes:v1:';
const ed25519Type = 0;
const seedBytes = 32;
/** DER of a PKCS#8 Ed25519 private key up to the seed (RFC 8410). */
const pkcs8Header = Buffer.from('302e020100300506032b657004220420', 'hex');

/** An API key as the client holds it. The private key does not show in logs or JSON. */
export type KesApiKey = {
  readonly privateKey: KeyObject;
  /** Lower-case hex SHA-256 of the public key's DER SubjectPublicKeyInfo. */
  readonly identity: string;
};

/** A client certificate chain and its key, PEM, ready for TLS. */
export type KesClientCertificate = { readonly cert: string; readonly key: string };

export type KesIdentityErrorCode =
  | 'invalid-api-key'
  | 'invalid-certificate'
  | 'invalid-private-key'
  | 'password-required'
  | 'wrong-password';

/** Thrown by the parsers of this folder; the message never holds the text that was parsed. */
export class KesIdentityError extends Error {
  readonly code: KesIdentityErrorCode;
  constructor(code: KesIdentityErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'KesIdentityError';
    this.code = code;
  }
}

/**
 * Reads `kes:v1:<base64 of 0x00 and the 32-byte seed>`; the prefix may be left out. Throws
 * `KesIdentityError` (`invalid-api-key`).
 */
export function parseApiKey(text: string): KesApiKey {
  const encoded = text.startsWith(prefix) ? text.slice(prefix.length) : text;
  const bytes = Buffer.from(encoded, 'base64');
  if (bytes.toString('base64') !== encoded) {
    throw new KesIdentityError('invalid-api-key', 'kes: invalid API key: not base64 text');
  }
  if (bytes.length !== 1 + seedBytes) {
    throw new KesIdentityError('invalid-api-key', 'kes: invalid API key: invalid length');
  }
  if (bytes[0] !== ed25519Type) {
    throw new KesIdentityError('invalid-api-key', 'kes: invalid API key: unknown key type');
  }
  const apiKey = fromSeed(bytes.subarray(1));
  bytes.fill(0);
  return apiKey;
}

/** The text form, with prefix. It is a secret: print it only where the user asked for it. */
export function formatApiKey(apiKey: KesApiKey): string {
  const seed = seedOf(apiKey.privateKey);
  return prefix + Buffer.concat([Buffer.of(ed25519Type), seed]).toString('base64');
}

/** A new random API key. */
export function generateApiKey(): KesApiKey {
  return apiKeyOf(generateKeyPairSync('ed25519').privateKey);
}

/** The API key that holds the same key as an Ed25519 private key; throws `invalid-private-key` for other types. */
export function apiKeyOf(privateKey: KeyObject): KesApiKey {
  if (privateKey.type !== 'private' || privateKey.asymmetricKeyType !== 'ed25519') {
    throw new KesIdentityError('invalid-private-key', 'kes: private key is not an Ed25519 key');
  }
  return { privateKey, identity: publicKeyIdentity(privateKey) };
}

/** The API key's private key as an unencrypted PKCS#8 PEM file. */
export function apiKeyToPkcs8(apiKey: KesApiKey): string {
  return apiKey.privateKey.export({ type: 'pkcs8', format: 'pem' });
}

/** The identity of a certificate, PEM or DER. Throws `invalid-certificate`. */
export function certificateIdentity(certificate: string | Uint8Array): string {
  const spki = findSubjectPublicKeyInfo(certificateDer(certificate));
  if (!spki) throw new KesIdentityError('invalid-certificate', 'kes: invalid certificate');
  return createHash('sha256').update(spki).digest('hex');
}

/** True for the 64 lower-case hex digits that an identity consists of. */
export function isIdentity(text: string): boolean {
  return /^[0-9a-f]{64}$/.test(text);
}

/** How a client certificate is made. */
export type ClientCertificateOptions = {
  /** Common name of subject and issuer; the identity by default. */
  readonly commonName?: string;
  /** Milliseconds; 90 days by default. */
  readonly validMs?: number;
  readonly dnsNames?: readonly string[];
  readonly ipAddresses?: readonly string[];
  /** Adds the server usage, so that one file serves both ends. */
  readonly isServer?: boolean;
  /** Milliseconds since 1970; the current time by default. */
  readonly now?: number;
};

const dayMs = 24 * 3600 * 1000;

/**
 * A self-signed Ed25519 certificate for the API key, with its PKCS#8 key. Nothing is written anywhere.
 * Rejects with RangeError for an IP address that is none or a DNS name that is not ASCII.
 */
export async function createClientCertificate(
  apiKey: KesApiKey,
  options: ClientCertificateOptions = {},
): Promise<KesClientCertificate> {
  const now = options.now ?? Date.now();
  const cert = await createSelfSigned(apiKey.privateKey, {
    commonName: options.commonName ?? apiKey.identity,
    notBefore: new Date(now),
    notAfter: new Date(now + (options.validMs ?? 90 * dayMs)),
    dnsNames: options.dnsNames ?? [],
    ipAddresses: options.ipAddresses ?? [],
    isClient: true,
    isServer: options.isServer ?? false,
  });
  return { cert, key: apiKeyToPkcs8(apiKey) };
}

function fromSeed(seed: Uint8Array): KesApiKey {
  const der = Buffer.concat([pkcs8Header, seed]);
  const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  der.fill(0);
  return apiKeyOf(privateKey);
}

function seedOf(privateKey: KeyObject): Buffer {
  return privateKey.export({ type: 'pkcs8', format: 'der' }).subarray(-seedBytes);
}

function publicKeyIdentity(privateKey: KeyObject): string {
  const spki = createPublicKey(privateKey).export({ type: 'spki', format: 'der' });
  return createHash('sha256').update(spki).digest('hex');
}

function certificateDer(certificate: string | Uint8Array): Buffer {
  try {
    return new X509Certificate(certificate).raw;
  } catch (error) {
    throw new KesIdentityError('invalid-certificate', 'kes: invalid certificate', { cause: error });
  }
}
