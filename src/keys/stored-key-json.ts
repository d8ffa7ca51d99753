// The legacy JSON form of a stored key (docs/formats/key-store.md, "Stored key, legacy form"). It is read,
// never written anew. A change keeps every member there is and puts what is ours behind them: `state`,
// `versions`, `destroy_at`, `revision`. The reference reads such a text as before: the first version.

import { createSecretKey, type KeyObject } from 'node:crypto';
import { KeyError } from './key-error.ts';
import {
  findCipher,
  formatKeyTime,
  type KeyCipher,
  type KeyState,
  type KeyTime,
  type KeyVersion,
  keyRevisionMax,
  keyVersionsMax,
  type MasterKey,
  masterKeyBytes,
  parseKeyTime,
  zeroKeyTime,
} from './master-key.ts';

type Extras = Pick<MasterKey, 'state' | 'destroyAt' | 'scheduledAt' | 'later' | 'revision'>;
type Members = Readonly<Record<string, unknown>>;

const changeable: ReadonlySet<string> = new Set([
  'state',
  'versions',
  'destroy_at',
  'scheduled_at',
  'revision',
]);
const base64Shape = /^(?:[0-9A-Za-z+/]{4})*(?:[0-9A-Za-z+/]{2}==|[0-9A-Za-z+/]{3}=)?$/;

/** The value of a JSON text; undefined when it is something else, a base64 text say. */
export function parseJsonValue(text: string): unknown {
  // No base64 of a key is valid JSON: it would have to be a number.
  if (!/^\s*[{["]/.test(text)) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Reads the legacy form. Throws `KeyError` `corrupt`. */
export function parseLegacy(json: unknown): MasterKey {
  const members = membersOf(json);
  const algorithm = textOf(members, 'algorithm');
  const id = textOf(members, 'id');
  return {
    cipher: cipherOf(algorithm),
    isCipherAssumed: algorithm === '',
    secret: secretOf(members),
    createdAt: timeOf(members, 'created_at'),
    createdBy: textOf(members, 'created_by'),
    ...(/^[0-9a-f]{32}$/.test(id) ? { id } : {}),
    ...parseExtras(members),
  };
}

/** The text with other extras. `text` must be one that `parseLegacy` accepts. */
export function changeLegacy(text: string, extras: Extras): string {
  const kept = Object.entries(JSON.parse(text) as object).filter(([name]) => !changeable.has(name));
  const { state, later, destroyAt, scheduledAt, revision } = extras;
  const ours: [string, unknown][] = [['revision', revision]];
  if (state !== 'enabled') ours.push(['state', state]);
  if (destroyAt !== undefined) ours.push(['destroy_at', formatKeyTime(destroyAt)]);
  if (scheduledAt !== undefined) ours.push(['scheduled_at', formatKeyTime(scheduledAt)]);
  if (later.length > 0) ours.push(['versions', later.map(formatVersion)]);
  return JSON.stringify(Object.fromEntries([...kept, ...ours]));
}

function formatVersion(version: KeyVersion): Members {
  const bytes = version.secret.export();
  try {
    return {
      version: version.version,
      bytes: bytes.toString('base64'),
      algorithm: version.cipher,
      created_at: formatKeyTime(version.createdAt),
      created_by: version.createdBy,
    };
  } finally {
    bytes.fill(0);
  }
}

function parseExtras(members: Members): Extras {
  const state = stateOf(textOf(members, 'state'));
  const revision = members['revision'] ?? 0;
  if (typeof revision !== 'number' || !Number.isInteger(revision)) {
    throw corrupt('invalid revision');
  }
  if (revision < 0 || revision > keyRevisionMax) throw corrupt('invalid revision');
  const destroyAt = timeOf(members, 'destroy_at');
  if (state === 'scheduled' && destroyAt === zeroKeyTime) throw corrupt('scheduled for no time');
  const scheduledAt = timeOf(members, 'scheduled_at');
  const versions = members['versions'] ?? [];
  if (!Array.isArray(versions) || versions.length >= keyVersionsMax) {
    throw corrupt('its versions are no list, or too many');
  }
  return {
    state,
    ...(state === 'scheduled' ? { destroyAt } : {}),
    ...(state === 'scheduled' && scheduledAt !== zeroKeyTime ? { scheduledAt } : {}),
    later: versions.map(parseVersion),
    revision,
  };
}

function parseVersion(json: unknown, index: number): KeyVersion {
  const members = membersOf(json);
  const version = index + 2;
  if (members['version'] !== version) throw corrupt('its versions are not in order');
  return {
    version,
    cipher: cipherOf(textOf(members, 'algorithm')),
    secret: secretOf(members),
    createdAt: timeOf(members, 'created_at'),
    createdBy: textOf(members, 'created_by'),
  };
}

function stateOf(text: string): KeyState {
  if (text === '' || text === 'enabled') return 'enabled';
  if (text === 'disabled' || text === 'scheduled') return text;
  throw corrupt('unknown state');
}

function cipherOf(algorithm: string): KeyCipher {
  const cipher = algorithm === '' ? 'AES256' : findCipher(algorithm);
  if (cipher === undefined) throw corrupt('unknown algorithm');
  return cipher;
}

function secretOf(members: Members): KeyObject {
  const text = textOf(members, 'bytes');
  if (!base64Shape.test(text)) throw corrupt('its bytes are not base64');
  const bytes = Buffer.from(text, 'base64');
  try {
    if (bytes.length !== masterKeyBytes) throw corrupt('a key of the wrong length');
    return createSecretKey(bytes);
  } finally {
    bytes.fill(0);
  }
}

function timeOf(members: Members, name: string): KeyTime {
  const text = textOf(members, name);
  const time = text === '' ? zeroKeyTime : parseKeyTime(text);
  if (time === undefined) throw corrupt('invalid time');
  return time;
}

function textOf(members: Members, name: string): string {
  const value = members[name] ?? '';
  if (typeof value !== 'string') throw corrupt(`member ${name} is no text`);
  return value;
}

function membersOf(json: unknown): Members {
  if (typeof json !== 'object' || json === null) throw corrupt('it is JSON but no object');
  return json as Members;
}

function corrupt(what: string): KeyError {
  return new KeyError('corrupt', `the stored key is damaged: ${what}`);
}
