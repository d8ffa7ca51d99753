// A master key as the key service holds it while it works: the cipher, the secret bytes as opaque key
// objects, and what is known about its making. The bytes leave only through `exportMasterKey`, for storing.

import { createSecretKey, type KeyObject, randomBytes } from 'node:crypto';
import { KeyError } from './key-error.ts';

export type KeyCipher = 'AES256' | 'ChaCha20';

/** A moment with the precision stored keys have. `seconds` since 1970, may be negative. */
export type KeyTime = { readonly seconds: bigint; readonly nanos: number };

/** What keys without metadata show: 0001-01-01T00:00:00Z. */
export const zeroKeyTime: KeyTime = { seconds: -62_135_596_800n, nanos: 0 };

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
  readonly isDisabled: boolean;
};

export const masterKeyBytes = 32;

/** Makes a key from random bytes, or around the given 32. New HMAC bytes in both cases. */
export function createMasterKey(options: {
  readonly createdAt: KeyTime;
  readonly createdBy: string;
  readonly cipher?: KeyCipher;
  readonly bytes?: Uint8Array;
}): MasterKey {
  const bytes = options.bytes ?? randomBytes(masterKeyBytes);
  const cipher = options.cipher ?? 'AES256';
  if (bytes.length !== masterKeyBytes) {
    throw new KeyError('invalid-key-size', `a key for ${cipher} has ${masterKeyBytes} bytes`);
  }
  return {
    cipher,
    isCipherAssumed: false,
    secret: createSecretKey(bytes),
    hmacSecret: createSecretKey(randomBytes(masterKeyBytes)),
    createdAt: options.createdAt,
    createdBy: options.createdBy,
    isDisabled: false,
  };
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
