// What is kept of a user and of a named policy, and where: table `iam` of the `Kv`, JSON values
// (docs/formats/metadata.md). A value that cannot be read is an error, never a user without limits, and
// its text never quotes what is stored.

import { IamError } from '../iam-error.ts';
import type { Owner } from '../identity.ts';

export type AccountStatus = 'enabled' | 'disabled';

/** A user. Times are milliseconds since 1970. */
export type Account = {
  readonly accessKey: string;
  readonly secretKey: string;
  readonly status: AccountStatus;
  /** Names of policies, sorted. */
  readonly policies: readonly string[];
  readonly createdMs: number;
  readonly updatedMs: number;
} & Owner;

/** A policy with a name. `text` is its document, JSON in the form of `formatPolicy`. */
export type NamedPolicy = {
  readonly name: string;
  readonly text: string;
  /** Undefined for the built-in ones. */
  readonly times: { readonly createdMs: number; readonly updatedMs: number } | undefined;
};

/** Longest names, in bytes. */
export const accessKeyBytesMax = 128;
export const secretKeyBytesMax = 128;
export const policyNameBytesMax = 128;

/** Changes with every change of a user or policy, so one read of it tells whether anything changed. */
export const generationKey: Uint8Array = Buffer.from('astate/generation');
/** What the generation holds: only its version in the `Kv` counts. */
export const generationValue: Uint8Array = Buffer.from('{"version":1}');

export function userKey(accessKey: string): Buffer {
  return Buffer.from(`auser/${accessKey}`);
}

export function policyKey(name: string): Buffer {
  return Buffer.from(`apolicy/${name}`);
}

/** Finds the user with an owner id, and makes sure that there is only one. */
export function ownerKey(ownerId: string): Buffer {
  return Buffer.from(`aowner/${ownerId}`);
}

/** The range of all users or policies. `0` is the byte after `/`. */
export function rangeOfKind(kind: 'user' | 'policy'): { start: Buffer; end: Buffer } {
  return { start: Buffer.from(`a${kind}/`), end: Buffer.from(`a${kind}0`) };
}

/** The name in the key of a user or policy. */
export function nameOfKey(entryKey: Uint8Array): string {
  const text = Buffer.from(entryKey).toString('utf8');
  return text.slice(text.indexOf('/') + 1);
}

export function encodeAccount(account: Account): Buffer {
  const { secretKey, status, policies, ownerId, displayName, createdMs, updatedMs } = account;
  return encode({ secretKey, status, policies, ownerId, displayName, createdMs, updatedMs });
}

/** Throws `IamError` (`corrupt`). */
export function decodeAccount(accessKey: string, value: Uint8Array): Account {
  const record = decode(value);
  const { secretKey, status, policies, ownerId, displayName } = record;
  const isGood =
    isText(secretKey) &&
    (status === 'enabled' || status === 'disabled') &&
    Array.isArray(policies) &&
    policies.every(isText) &&
    isText(ownerId) &&
    isText(displayName);
  if (!isGood) throw corrupt();
  return { accessKey, secretKey, status, policies, ownerId, displayName, ...timesOf(record) };
}

export function encodePolicy(text: string, times: NonNullable<NamedPolicy['times']>): Buffer {
  return encode({ text, ...times });
}

/** Throws `IamError` (`corrupt`). */
export function decodePolicy(name: string, value: Uint8Array): NamedPolicy {
  const record = decode(value);
  if (!isText(record['text'])) throw corrupt();
  return { name, text: record['text'], times: timesOf(record) };
}

export function encodeOwner(accessKey: string): Buffer {
  return encode({ accessKey });
}

/** The access key of the user. Throws `IamError` (`corrupt`). */
export function decodeOwner(value: Uint8Array): string {
  const { accessKey } = decode(value);
  if (!isText(accessKey)) throw corrupt();
  return accessKey;
}

type Fields = Readonly<Record<string, unknown>>;

function encode(fields: Fields): Buffer {
  return Buffer.from(JSON.stringify({ version: 1, ...fields }));
}

function decode(value: Uint8Array): Fields {
  let record: unknown;
  try {
    record = JSON.parse(Buffer.from(value).toString('utf8'));
  } catch {
    // The parser's own message would quote what is stored.
    throw corrupt();
  }
  if (typeof record !== 'object' || record === null) throw corrupt();
  const fields = record as Fields;
  if (fields['version'] !== 1) throw corrupt();
  return fields;
}

function timesOf({ createdMs, updatedMs }: Fields): { createdMs: number; updatedMs: number } {
  if (typeof createdMs !== 'number' || typeof updatedMs !== 'number') throw corrupt();
  return { createdMs, updatedMs };
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

function corrupt(): IamError {
  return new IamError(
    'corrupt',
    'A stored user or policy cannot be read: it is damaged, or of a newer release.',
  );
}
