// A master key as text in a key store (docs/formats/key-store.md): base64 of a protobuf message, or the
// legacy JSON form, which is changed in place and never written anew. What was never changed and has no id
// is byte for byte what the reference writes; everything of our own lies in fields (or members) that other
// readers skip, so they go on reading the first version. A destroyed key is a tombstone: JSON without key
// bytes, which the reference refuses.

import { createSecretKey } from 'node:crypto';
import { KeyError } from './key-error.ts';
import {
  fingerprintOf,
  type KeyCipher,
  type KeyState,
  type KeyTime,
  type KeyVersion,
  keyRevisionMax,
  keyVersionsMax,
  type MasterKey,
  masterKeyBytes,
  zeroKeyTime,
} from './master-key.ts';
import { bytesField, type ProtoField, readFields, varintField } from './protobuf.ts';
import { changeLegacy, parseJsonValue, parseLegacy } from './stored-key-json.ts';
import { findTombstone, formatTombstone, type Tombstone } from './tombstone.ts';

/** What a key store can hold under a name, told apart by `state`. */
export type StoredKey = MasterKey | Tombstone;

/** One change of a stored key. The caller checks that the key's state allows it. */
export type KeyChange =
  | { readonly kind: 'enable' | 'disable' }
  | { readonly kind: 'schedule'; readonly destroyAt: KeyTime; readonly scheduledAt?: KeyTime }
  | { readonly kind: 'rotate'; readonly version: KeyVersion };

/** What of a key can change; the rest of its text stays as it is. */
export type KeyExtras = Pick<
  MasterKey,
  'state' | 'destroyAt' | 'scheduledAt' | 'later' | 'revision'
>;

const field = {
  secretKey: 1,
  hmacKey: 2,
  createdAt: 3,
  createdBy: 4,
  state: 15,
  id: 16,
  version: 17,
  destroyAt: 18,
  revision: 19,
  scheduledAt: 20,
} as const;
const knownFields: ReadonlySet<number> = new Set(Object.values(field));
const changeable: ReadonlySet<number> = new Set([
  field.state,
  field.version,
  field.destroyAt,
  field.revision,
  field.scheduledAt,
]);
const versionField = { secretKey: 1, createdAt: 2, createdBy: 3, number: 4 } as const;
const cipherNumbers = { AES256: 1n, ChaCha20: 2n } as const;
const stateNumbers = { enabled: 0n, disabled: 1n, scheduled: 2n } as const;
const sha256Number = 1n;
const keyIdBytes = 16;
const base64Shape = /^(?:[0-9A-Za-z+/]{4})*(?:[0-9A-Za-z+/]{2}==|[0-9A-Za-z+/]{3}=)?$/;

/** The text of a key that is stored anew: always the current form. */
export function formatStoredKey(masterKey: MasterKey): string {
  const parts = [
    bytesField(field.secretKey, keyMessage(masterKey.secret, cipherNumbers[masterKey.cipher])),
  ];
  if (masterKey.hmacSecret !== undefined) {
    parts.push(bytesField(field.hmacKey, keyMessage(masterKey.hmacSecret, sha256Number)));
  }
  parts.push(bytesField(field.createdAt, timeMessage(masterKey.createdAt)));
  if (masterKey.createdBy !== '') {
    parts.push(bytesField(field.createdBy, Buffer.from(masterKey.createdBy)));
  }
  if (masterKey.id !== undefined)
    parts.push(bytesField(field.id, Buffer.from(masterKey.id, 'hex')));
  return joinText([...parts, ...extraFields(masterKey)]);
}

/** Joins the parts to base64 text and wipes them. */
function joinText(parts: readonly Buffer[]): string {
  const message = Buffer.concat(parts);
  try {
    return message.toString('base64');
  } finally {
    for (const part of [...parts, message]) part.fill(0);
  }
}

function extraFields(extras: KeyExtras): Buffer[] {
  const { state, destroyAt, scheduledAt, later, revision } = extras;
  return [
    varintField(field.state, stateNumbers[state]),
    ...later.map((version) => bytesField(field.version, versionMessage(version))),
    ...(destroyAt === undefined ? [] : [bytesField(field.destroyAt, timeMessage(destroyAt))]),
    varintField(field.revision, BigInt(revision)),
    ...(scheduledAt === undefined ? [] : [bytesField(field.scheduledAt, timeMessage(scheduledAt))]),
  ];
}

function versionMessage(version: KeyVersion): Buffer {
  const key = keyMessage(version.secret, cipherNumbers[version.cipher]);
  const message = Buffer.concat([
    bytesField(versionField.secretKey, key),
    bytesField(versionField.createdAt, timeMessage(version.createdAt)),
    ...(version.createdBy === ''
      ? []
      : [bytesField(versionField.createdBy, Buffer.from(version.createdBy))]),
    varintField(versionField.number, BigInt(version.version)),
  ]);
  key.fill(0);
  return message;
}

function keyMessage(secret: MasterKey['secret'], type: bigint): Buffer {
  const bytes = secret.export();
  const message = Buffer.concat([bytesField(1, bytes), varintField(2, type)]);
  bytes.fill(0);
  return message;
}

function timeMessage(time: KeyTime): Buffer {
  return Buffer.concat([varintField(1, time.seconds), varintField(2, BigInt(time.nanos))]);
}

/** Reads what a key store holds. Throws `KeyError` `corrupt`; the text never appears in it. */
export function parseStored(text: string): StoredKey {
  const json = parseJsonValue(text);
  if (json !== undefined) return findTombstone(json) ?? parseLegacy(json);
  const message = decodeBase64(text);
  try {
    return parseMessage(message);
  } finally {
    message.fill(0);
  }
}

/** Reads a stored key of either form. Throws `KeyError` `corrupt`, or `destroyed` for a tombstone. */
export function parseStoredKey(text: string): MasterKey {
  const stored = parseStored(text);
  if (stored.state === 'destroyed') throw new KeyError('destroyed', 'the key is destroyed');
  return stored;
}

/**
 * The same stored key after a change, its revision one higher; nothing else in it changes, fields of others
 * included. A change to the state it already has gives back the very text. Throws `corrupt` when the text
 * is no stored key, `destroyed`, and `too-many-versions`.
 */
export function changeStoredKey(text: string, change: KeyChange): string {
  const masterKey = parseStoredKey(text);
  const extras = extrasAfter(masterKey, change);
  if (extras === undefined) return text;
  if (parseJsonValue(text) !== undefined) return changeLegacy(text, extras);
  const message = decodeBase64(text);
  const kept = fieldsOf(message).filter((entry) => !changeable.has(entry.number));
  const parts = kept.map((entry) => message.subarray(entry.start, entry.end));
  try {
    return joinText([...parts, ...extraFields(extras)]);
  } finally {
    message.fill(0);
  }
}

function extrasAfter(masterKey: MasterKey, change: KeyChange): KeyExtras | undefined {
  const { state, destroyAt, scheduledAt, later } = masterKey;
  const revision = masterKey.revision + 1;
  if (revision > keyRevisionMax) throw corrupt('its revision cannot grow');
  switch (change.kind) {
    case 'enable':
      return state === 'enabled' ? undefined : { state: 'enabled', later, revision };
    case 'disable':
      return state === 'disabled' ? undefined : { state: 'disabled', later, revision };
    case 'schedule':
      return {
        state: 'scheduled',
        destroyAt: change.destroyAt,
        ...(change.scheduledAt === undefined ? {} : { scheduledAt: change.scheduledAt }),
        later,
        revision,
      };
    case 'rotate': {
      if (later.length + 2 > keyVersionsMax) {
        throw new KeyError('too-many-versions', `a key has at most ${keyVersionsMax} versions`);
      }
      const kept = {
        ...(destroyAt === undefined ? {} : { destroyAt }),
        ...(scheduledAt === undefined ? {} : { scheduledAt }),
      };
      return { state, ...kept, later: [...later, change.version], revision };
    }
    default:
      return change satisfies never;
  }
}

/** The tombstone text that takes the place of a key. Throws `corrupt`, `destroyed`. */
export function buryStoredKey(
  text: string,
  by: { readonly destroyedAt: KeyTime; readonly destroyedBy: string },
): string {
  const { secret, id, createdAt, createdBy, revision } = parseStoredKey(text);
  const known = { fingerprint: fingerprintOf(secret), ...(id === undefined ? {} : { id }) };
  return formatTombstone({
    state: 'destroyed',
    ...known,
    createdAt,
    createdBy,
    ...by,
    revision: revision + 1,
  });
}

function corrupt(what: string): KeyError {
  return new KeyError('corrupt', `the stored key is damaged: ${what}`);
}

function decodeBase64(text: string): Buffer {
  if (text === '' || !base64Shape.test(text)) throw corrupt('it is neither JSON nor base64');
  return Buffer.from(text, 'base64');
}

function fieldsOf(message: Buffer): ProtoField[] {
  try {
    return readFields(message);
  } catch {
    throw corrupt('its fields cannot be read');
  }
}

/** The last occurrence wins, as in every protobuf reader. */
function lastField(fields: readonly ProtoField[], number: number): ProtoField | undefined {
  return fields.findLast((entry) => entry.number === number);
}

function parseMessage(message: Buffer): MasterKey {
  const fields = fieldsOf(message);
  refuseOtherTypes(fields);
  const secretKey = parseKeyMessage(lastField(fields, field.secretKey)?.bytes);
  if (secretKey === undefined) throw corrupt('it has no key');
  const hmacKey = parseKeyMessage(lastField(fields, field.hmacKey)?.bytes);
  if (hmacKey !== undefined && hmacKey.type !== sha256Number) throw corrupt('unknown HMAC hash');
  const id = lastField(fields, field.id)?.bytes;
  if (id !== undefined && id.length !== keyIdBytes) throw corrupt('an id of the wrong length');
  return {
    cipher: cipherOf(secretKey.type),
    isCipherAssumed: false,
    secret: createSecretKey(secretKey.bytes),
    ...(hmacKey === undefined ? {} : { hmacSecret: createSecretKey(hmacKey.bytes) }),
    createdAt: parseTimeMessage(lastField(fields, field.createdAt)?.bytes),
    createdBy: lastField(fields, field.createdBy)?.bytes?.toString('utf8') ?? '',
    ...(id === undefined ? {} : { id: id.toString('hex') }),
    ...parseExtras(fields),
  };
}

/** A field that cannot be what its number says is damage: an absent field means something. */
function refuseOtherTypes(fields: readonly ProtoField[]): void {
  for (const entry of fields) {
    if (!knownFields.has(entry.number)) continue;
    const isNumber = entry.number === field.state || entry.number === field.revision;
    const value = isNumber ? entry.varint : entry.bytes;
    if (value === undefined) throw corrupt('a field of another type');
  }
}

function parseExtras(fields: readonly ProtoField[]): KeyExtras {
  const state = stateOf(lastField(fields, field.state)?.varint ?? 0n);
  const destroyAt = lastField(fields, field.destroyAt)?.bytes;
  const scheduledAt = lastField(fields, field.scheduledAt)?.bytes;
  if (state === 'scheduled' && destroyAt === undefined) throw corrupt('scheduled for no time');
  const revision = lastField(fields, field.revision)?.varint ?? 0n;
  if (revision > BigInt(keyRevisionMax)) throw corrupt('invalid revision');
  const later = fields.filter((entry) => entry.number === field.version).map(parseVersion);
  if (later.length >= keyVersionsMax) throw corrupt('too many versions');
  return {
    state,
    ...(state === 'scheduled' ? { destroyAt: parseTimeMessage(destroyAt) } : {}),
    ...(state === 'scheduled' && scheduledAt !== undefined
      ? { scheduledAt: parseTimeMessage(scheduledAt) }
      : {}),
    later,
    revision: Number(revision),
  };
}

function stateOf(number: bigint): KeyState {
  if (number === stateNumbers.enabled) return 'enabled';
  if (number === stateNumbers.disabled) return 'disabled';
  if (number === stateNumbers.scheduled) return 'scheduled';
  throw corrupt('unknown state');
}

function cipherOf(type: bigint): KeyCipher {
  if (type === cipherNumbers.AES256) return 'AES256';
  if (type === cipherNumbers.ChaCha20) return 'ChaCha20';
  throw corrupt('unknown key type');
}

/** Versions lie in order and without gaps, so that a lost one is noticed. */
function parseVersion(entry: ProtoField, index: number): KeyVersion {
  if (entry.bytes === undefined) throw corrupt('a version that is none');
  const fields = fieldsOf(entry.bytes);
  const key = parseKeyMessage(lastField(fields, versionField.secretKey)?.bytes);
  if (key === undefined) throw corrupt('a version without a key');
  const version = index + 2;
  if (lastField(fields, versionField.number)?.varint !== BigInt(version)) {
    throw corrupt('its versions are not in order');
  }
  return {
    version,
    cipher: cipherOf(key.type),
    secret: createSecretKey(key.bytes),
    createdAt: parseTimeMessage(lastField(fields, versionField.createdAt)?.bytes),
    createdBy: lastField(fields, versionField.createdBy)?.bytes?.toString('utf8') ?? '',
  };
}

function parseKeyMessage(message: Buffer | undefined): { bytes: Buffer; type: bigint } | undefined {
  if (message === undefined) return undefined;
  const fields = fieldsOf(message);
  const bytes = lastField(fields, 1)?.bytes;
  if (bytes?.length !== masterKeyBytes) throw corrupt('a key of the wrong length');
  return { bytes, type: lastField(fields, 2)?.varint ?? 0n };
}

function parseTimeMessage(message: Buffer | undefined): KeyTime {
  if (message === undefined) return zeroKeyTime;
  const fields = fieldsOf(message);
  const nanos = Number(lastField(fields, 2)?.varint ?? 0n);
  if (nanos >= 1_000_000_000) throw corrupt('invalid time');
  return { seconds: BigInt.asIntN(64, lastField(fields, 1)?.varint ?? 0n), nanos };
}
