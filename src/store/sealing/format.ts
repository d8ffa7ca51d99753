// The entry that says what a data directory is: the version of its format, the deployment's id, whether its
// values are sealed, and the backend key in sealed form. It is the one entry that is never sealed itself, as it
// is needed to open all others; with a backend key it carries a MAC, so that nobody can turn a sealed directory
// back into one that accepts plain values.

import { createHmac, timingSafeEqual } from 'node:crypto';
import { tables } from '../keys.ts';
import type { KvEntry } from '../kv.ts';

/** `sealing`: the backend key exists, and some values may still be plain. */
export type SealState = 'plain' | 'sealing' | 'sealed';

export type SealedBackendKey = {
  readonly keyName: string;
  readonly ciphertext: Uint8Array;
};

export type Format = {
  readonly deploymentId: string;
  readonly state: SealState;
  /** Absent exactly when the state is `plain`. */
  readonly backendKey?: SealedBackendKey;
};

export type BackendErrorCode = 'kms-required' | 'wrong-key' | 'newer-format' | 'corrupt';

/** Why a data directory does not open; trying again does not help. The text says what to do. */
export class BackendError extends Error {
  readonly code: BackendErrorCode;
  constructor(code: BackendErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'BackendError';
    this.code = code;
  }
}

const formatVersion = 1;

export const formatEntryKey = Buffer.from(`${tables.system}format`, 'latin1');

/** The entry's value: JSON, readable for whoever looks at a directory. */
export function encodeFormat(format: Format, backendKey: Uint8Array | undefined): Buffer {
  const fields = fieldsOf(format);
  const mac = backendKey && macOf(fields, backendKey).toString('base64');
  return Buffer.from(JSON.stringify({ ...fields, ...(mac ? { mac } : {}) }));
}

/** Throws `BackendError`: `newer-format`, `corrupt`. The MAC is checked by `assertFormatMac`. */
export function decodeFormat(entry: KvEntry): Format {
  const fields = parse(entry.value);
  if (typeof fields['version'] === 'number' && fields['version'] > formatVersion) {
    throw new BackendError(
      'newer-format',
      `The data directory was written by a newer release (format ${fields['version']}). Start that release.`,
    );
  }
  const { deploymentId, state, keyName, ciphertext } = fields;
  const isState = state === 'plain' || state === 'sealing' || state === 'sealed';
  if (fields['version'] !== formatVersion || typeof deploymentId !== 'string' || !isState) {
    throw damaged();
  }
  if (state === 'plain') return { deploymentId, state };
  if (typeof keyName !== 'string' || typeof ciphertext !== 'string') throw damaged();
  const backendKey = { keyName, ciphertext: Buffer.from(ciphertext, 'base64') };
  return { deploymentId, state, backendKey };
}

/** Throws `BackendError` `corrupt` when the entry was not written by a holder of the backend key. */
export function assertFormatMac(entry: KvEntry, backendKey: Uint8Array): void {
  const { mac, ...fields } = parse(entry.value);
  const given = Buffer.from(typeof mac === 'string' ? mac : '', 'base64');
  const expected = macOf(fields, backendKey);
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) throw damaged();
}

function fieldsOf(format: Format): Record<string, unknown> {
  const { deploymentId, state, backendKey } = format;
  const key = backendKey && {
    keyName: backendKey.keyName,
    ciphertext: Buffer.from(backendKey.ciphertext).toString('base64'),
  };
  return { version: formatVersion, deploymentId, state, ...key };
}

/** Over the JSON text without the MAC; the order of the fields is part of it. */
function macOf(fields: Record<string, unknown>, backendKey: Uint8Array): Buffer {
  return createHmac('sha256', backendKey)
    .update('coffer format')
    .update(JSON.stringify(fields))
    .digest();
}

function parse(value: Uint8Array): Record<string, unknown> {
  try {
    const fields: unknown = JSON.parse(Buffer.from(value).toString());
    if (typeof fields === 'object' && fields !== null) return fields as Record<string, unknown>;
  } catch {
    // Falls through to the one error for everything unreadable.
  }
  throw damaged();
}

function damaged(): BackendError {
  return new BackendError(
    'corrupt',
    'The format entry of the data directory is damaged or was modified. Restore the directory from a backup.',
  );
}
