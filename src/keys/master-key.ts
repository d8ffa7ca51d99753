// A master key as the key service holds it while it works: the cipher, the secret bytes as opaque key
// objects, and what is known about its making. A key begins with one version and may get later ones: new
// ciphertexts are sealed under the newest, older ones open under theirs. HMACs are always made with the HMAC
// key of the first version, so that rotation never changes them.

import { createHmac, createSecretKey, type KeyObject, randomBytes } from 'node:crypto';
import { KeyError } from './key-error.ts';

export type KeyCipher = 'AES256' | 'ChaCha20';

/** A moment with the precision stored keys have. `seconds` since 1970, may be negative. */
export type KeyTime = { readonly seconds: bigint; readonly nanos: number };

/** What keys without metadata show: 0001-01-01T00:00:00Z. */
export const zeroKeyTime: KeyTime = { seconds: -62_135_596_800n, nanos: 0 };

/** What may be done with a key: all; nothing for now; nothing, and its secrets are erased at a known time. */
export type KeyState = 'enabled' | 'disabled' | 'scheduled';

/** A version after the first; `version` counts from 2 without gaps. */
export type KeyVersion = {
  readonly version: number;
  readonly cipher: KeyCipher;
  readonly secret: KeyObject;
  readonly createdAt: KeyTime;
  readonly createdBy: string;
};

/** Cipher, secret, making: of the first version. */
export type MasterKey = {
  readonly cipher: KeyCipher;
  /** Stored without naming a cipher: older ciphertexts that name one decide for themselves. */
  readonly isCipherAssumed: boolean;
  readonly secret: KeyObject;
  /** Absent for keys from before HMAC keys existed. */
  readonly hmacSecret?: KeyObject;
  readonly createdAt: KeyTime;
  /** Identity of the creator; may be empty. */
  readonly createdBy: string;
  readonly state: KeyState;
  /** When the secrets are erased; present exactly while `scheduled`. */
  readonly destroyAt?: KeyTime;
  /** When that was decided, by the clock of the node that did; absent in texts of earlier releases. */
  readonly scheduledAt?: KeyTime;
  /** 32 hex digits, random; absent for keys from before ids. */
  readonly id?: string;
  /** Versions 2 and up, oldest first. */
  readonly later: readonly KeyVersion[];
  /** Grows by one with every change of the stored key. */
  readonly revision: number;
};

export const masterKeyBytes = 32;
/** Most versions of one key: with this many, its text still fits into the smallest secret of any store. */
export const keyVersionsMax = 100;
/** Stored keys with a higher revision are damaged. */
export const keyRevisionMax = 0xffff_ffff;
const keyIdBytes = 16;
const fingerprintBytes = 16;

/** Makes a key from random bytes, or around the given 32. New HMAC bytes in both cases. */
export function createMasterKey(options: {
  readonly createdAt: KeyTime;
  readonly createdBy: string;
  readonly cipher?: KeyCipher;
  readonly bytes?: Uint8Array;
}): MasterKey {
  const cipher = options.cipher ?? 'AES256';
  const { bytes } = options;
  if (bytes !== undefined && bytes.length !== masterKeyBytes) {
    throw new KeyError('invalid-key-size', `a key for ${cipher} has ${masterKeyBytes} bytes`);
  }
  return {
    cipher,
    isCipherAssumed: false,
    secret: bytes === undefined ? randomSecret() : createSecretKey(bytes),
    hmacSecret: randomSecret(),
    createdAt: options.createdAt,
    createdBy: options.createdBy,
    state: 'enabled',
    id: randomBytes(keyIdBytes).toString('hex'),
    later: [],
    revision: 0,
  };
}

/** The version that a rotation of `masterKey` adds: new random bytes, the same cipher. */
export function createKeyVersion(
  masterKey: MasterKey,
  made: { readonly createdAt: KeyTime; readonly createdBy: string },
): KeyVersion {
  const version = newestVersion(masterKey) + 1;
  return { version, cipher: masterKey.cipher, secret: randomSecret(), ...made };
}

/** The number of the version that new ciphertexts are sealed under. */
export function newestVersion(masterKey: MasterKey): number {
  return masterKey.later.length + 1;
}

/** All versions, oldest first. */
export function versionsOf(masterKey: MasterKey): KeyVersion[] {
  const { cipher, secret, createdAt, createdBy, later } = masterKey;
  return [{ version: 1, cipher, secret, createdAt, createdBy }, ...later];
}

/** 32 hex digits that tell secrets apart and tell nothing about them. */
export function fingerprintOf(secret: KeyObject): string {
  const sum = createHmac('sha256', secret).update('coffer key fingerprint').digest();
  return sum.toString('hex', 0, fingerprintBytes);
}

function randomSecret(): KeyObject {
  const bytes = randomBytes(masterKeyBytes);
  try {
    return createSecretKey(bytes);
  } finally {
    bytes.fill(0);
  }
}

const cipherNames: ReadonlyMap<string, KeyCipher> = new Map([
  ['AES256', 'AES256'],
  ['AES256-GCM_SHA256', 'AES256'],
  ['ChaCha20', 'ChaCha20'],
  ['XCHACHA20-POLY1305', 'ChaCha20'],
]);

/** The cipher of a name, current or legacy; undefined when there is none of that name. */
export function findCipher(name: string): KeyCipher | undefined {
  return cipherNames.get(name);
}

/** The moment `ms` after 1970. */
export function keyTimeOf(ms: number): KeyTime {
  const whole = Math.floor(ms / 1000);
  return { seconds: BigInt(whole), nanos: Math.floor((ms - whole * 1000) * 1_000_000) };
}

/** The moment as milliseconds after 1970, rounded down. */
export function keyTimeMs(time: KeyTime): number {
  return Number(time.seconds) * 1000 + Math.floor(time.nanos / 1_000_000);
}

/** RFC 3339 in UTC, with as many decimals as needed. */
export function formatKeyTime(time: KeyTime): string {
  const date = new Date(Number(time.seconds) * 1000);
  if (Number.isNaN(date.getTime())) return '0001-01-01T00:00:00Z';
  const text = date.toISOString().slice(0, -5);
  if (time.nanos === 0) return `${text}Z`;
  return `${text}.${String(time.nanos).padStart(9, '0').replace(/0+$/, '')}Z`;
}

/** Parses RFC 3339; undefined when it is not. */
export function parseKeyTime(text: string): KeyTime | undefined {
  const match = /^(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)$/.exec(
    text,
  );
  if (match === null) return undefined;
  const ms = Date.parse(`${match[1]}${match[3]}`.toUpperCase());
  if (Number.isNaN(ms)) return undefined;
  return { seconds: BigInt(ms) / 1000n, nanos: Number((match[2] ?? '').padEnd(9, '0')) };
}
