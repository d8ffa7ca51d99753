// A master key as text in a key store (docs/formats/key-store.md): base64 of a protobuf message, or the
// legacy JSON form, which is read and never written anew. An enabled key is byte for byte what the
// reference writes. A disabled key carries one field more, which other readers skip.

import { createSecretKey } from 'node:crypto';
import { KeyError } from './key-error.ts';
import {
  findCipher,
  type KeyTime,
  type MasterKey,
  masterKeyBytes,
  parseKeyTime,
  zeroKeyTime,
} from './master-key.ts';
import { bytesField, type ProtoField, readFields, varintField } from './protobuf.ts';

const field = { secretKey: 1, hmacKey: 2, createdAt: 3, createdBy: 4, state: 15 } as const;
const cipherNumbers = { AES256: 1n, ChaCha20: 2n } as const;
const sha256Number = 1n;
const disabledState = 1n;
const disabledJsonMember = '"state":"disabled",';
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
  if (masterKey.isDisabled) parts.push(varintField(field.state, disabledState));
  return Buffer.concat(parts).toString('base64');
}

function keyMessage(secret: MasterKey['secret'], type: bigint): Buffer {
  return Buffer.concat([bytesField(1, secret.export()), varintField(2, type)]);
}

function timeMessage(time: KeyTime): Buffer {
  return Buffer.concat([varintField(1, time.seconds), varintField(2, BigInt(time.nanos))]);
}

/** Reads a stored key of either form. Throws `KeyError` `corrupt`; the text never appears in it. */
export function parseStoredKey(text: string): MasterKey {
  const json = parseJson(text);
  return json === undefined ? parseMessage(decodeBase64(text)) : parseLegacy(json);
}

/**
 * The same stored key, disabled or enabled: nothing else in it changes, and enabling a disabled key gives
 * back the very text it had before. Throws `corrupt` when the text is no stored key.
 */
export function withDisabled(text: string, isDisabled: boolean): string {
  if (parseStoredKey(text).isDisabled === isDisabled) return text;
  if (parseJson(text) !== undefined) return withDisabledJson(text, isDisabled);
  const message = decodeBase64(text);
  if (isDisabled) {
    return Buffer.concat([message, varintField(field.state, disabledState)]).toString('base64');
  }
  const kept = fieldsOf(message).filter((entry) => entry.number !== field.state);
  return Buffer.concat(kept.map((entry) => message.subarray(entry.start, entry.end))).toString(
    'base64',
  );
}

function withDisabledJson(text: string, isDisabled: boolean): string {
  const brace = text.indexOf('{') + 1;
  if (isDisabled) return `${text.slice(0, brace)}${disabledJsonMember}${text.slice(brace)}`;
  if (text.startsWith(disabledJsonMember, brace)) {
    return text.slice(0, brace) + text.slice(brace + disabledJsonMember.length);
  }
  const members = Object.entries(JSON.parse(text) as object);
  return JSON.stringify(Object.fromEntries(members.filter(([name]) => name !== 'state')));
}

function corrupt(what: string): KeyError {
  return new KeyError('corrupt', `the stored key is damaged: ${what}`);
}

function parseJson(text: string): unknown {
  // No base64 of a key is valid JSON: it would have to be a number.
  if (!/^\s*[{["]/.test(text)) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
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
  const secretKey = parseKeyMessage(lastField(fields, field.secretKey)?.bytes);
  if (secretKey === undefined) throw corrupt('it has no key');
  const hmacKey = parseKeyMessage(lastField(fields, field.hmacKey)?.bytes);
  if (hmacKey !== undefined && hmacKey.type !== sha256Number) throw corrupt('unknown HMAC hash');
  const cipher = secretKey.type === 1n ? 'AES256' : secretKey.type === 2n ? 'ChaCha20' : undefined;
  if (cipher === undefined) throw corrupt('unknown key type');
  const createdBy = lastField(fields, field.createdBy)?.bytes?.toString('utf8') ?? '';
  return {
    cipher,
    isCipherAssumed: false,
    secret: createSecretKey(secretKey.bytes),
    ...(hmacKey === undefined ? {} : { hmacSecret: createSecretKey(hmacKey.bytes) }),
    createdAt: parseTimeMessage(lastField(fields, field.createdAt)?.bytes),
    createdBy,
    isDisabled: (lastField(fields, field.state)?.varint ?? 0n) !== 0n,
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

function parseLegacy(json: unknown): MasterKey {
  if (typeof json !== 'object' || json === null) throw corrupt('it is JSON but no object');
  const member = (name: string): string => {
    const value = (json as Record<string, unknown>)[name] ?? '';
    if (typeof value !== 'string') throw corrupt(`member ${name} is no text`);
    return value;
  };
  const bytes = member('bytes');
  if (!base64Shape.test(bytes)) throw corrupt('its bytes are not base64');
  const secret = Buffer.from(bytes, 'base64');
  if (secret.length !== masterKeyBytes) throw corrupt('a key of the wrong length');
  const algorithm = member('algorithm');
  const cipher = algorithm === '' ? 'AES256' : findCipher(algorithm);
  if (cipher === undefined) throw corrupt('unknown algorithm');
  const createdAt = member('created_at');
  const time = createdAt === '' ? zeroKeyTime : parseKeyTime(createdAt);
  if (time === undefined) throw corrupt('invalid time');
  return {
    cipher,
    isCipherAssumed: algorithm === '',
    secret: createSecretKey(secret),
    createdAt: time,
    createdBy: member('created_by'),
    isDisabled: member('state') === 'disabled',
  };
}
