// Where everything is in the `Kv` (docs/formats/metadata.md): the first byte of an entry key is its table.
// Names are raw UTF-8 and so sort as S3 wants them. Object names hold no NUL, which therefore ends a name
// and sorts below every longer one.

import { randomBytes, randomFillSync } from 'node:crypto';
import type { KvRange } from './kv.ts';
import { StoreError } from './types.ts';

/** The first byte of every entry key. `iam` belongs to `src/iam`, `system` is never sealed. */
export const tables = {
  system: 's',
  iam: 'a',
  bucket: 'b',
  current: 'c',
  marker: 'm',
  version: 'v',
  upload: 'u',
  part: 'p',
  parts: 'n',
  completed: 'd',
  inline: 'i',
  blob: 'o',
  protects: 'k',
  garbage: 'g',
} as const;

export type Table = keyof typeof tables;

export const bucketIdBytes = 8;
export const objectNameBytesMax = 1024;

const nul = Buffer.alloc(1);

/** A new bucket id, never reused, so that nothing of a deleted bucket shows in a new one of its name. */
export function createBucketId(): Buffer {
  return randomBytes(bucketIdBytes);
}

/** A new id of a blob, an upload or a list of parts. */
export type IdSource = () => string;

/**
 * Ids are 32 hex digits: the time in milliseconds, so that neighbours in time are neighbours in the `Kv`, then
 * 80 random bits. The randomness is drawn in large pieces, which is much faster.
 */
export function createIdSource(now: () => number): IdSource {
  const idRandomBytes = 10;
  const pool = Buffer.alloc(200 * idRandomBytes);
  let position = pool.length;
  return () => {
    if (position === pool.length) {
      randomFillSync(pool);
      position = 0;
    }
    const random = pool.toString('hex', position, position + idRandomBytes);
    position += idRandomBytes;
    return Math.floor(now()).toString(16).padStart(12, '0') + random;
  };
}

/** True for what an `IdSource` makes. */
export function isId(text: string): boolean {
  return /^[0-9a-f]{32}$/.test(text);
}

/** The bytes of an object's name. Throws `InvalidArgument` for what cannot be a name. */
export function encodeName(name: string): Buffer {
  if (name.length === 0 || name.includes('\0') || !name.isWellFormed()) {
    throw new StoreError(
      'InvalidArgument',
      'Object key must not be empty or contain a NUL character.',
    );
  }
  const bytes = Buffer.from(name);
  if (bytes.length > objectNameBytesMax) {
    throw new StoreError('InvalidArgument', 'Object key is longer than 1,024 bytes.');
  }
  return bytes;
}

function entry(table: Table, ...parts: readonly Uint8Array[]): Buffer {
  return Buffer.concat([Buffer.from(tables[table], 'latin1'), ...parts]);
}

export const bucketEntry = (name: string): Buffer => entry('bucket', Buffer.from(name));

/** The name of the bucket that an entry of `bucket` holds. */
export function bucketOfEntry(entry: { readonly entryKey: Uint8Array }): string {
  return Buffer.from(entry.entryKey).toString('utf8', 1);
}

/** The id of the bucket that an entry of `current`, `marker` or `version` belongs to. */
export function bucketIdOfObject(entry: { readonly entryKey: Uint8Array }): Buffer {
  return Buffer.from(entry.entryKey.subarray(1, 1 + bucketIdBytes));
}

export const currentEntry = (bucketId: Uint8Array, name: Uint8Array): Buffer =>
  entry('current', bucketId, name);
/** Where a delete marker is that is the newest version of its name. */
export const markerEntry = (bucketId: Uint8Array, name: Uint8Array): Buffer =>
  entry('marker', bucketId, name);

/** Where a version is that is not the newest of its name. `tail` by `versionTail`. */
export const versionEntry = (bucketId: Uint8Array, name: Uint8Array, tail: Uint8Array): Buffer =>
  entry('version', bucketId, name, nul, tail);

/** The versions of one name that are not its newest, newest first. */
export function versionsRange(bucketId: Uint8Array, name: Uint8Array): Omit<KvRange, 'limit'> {
  return rangeOf('version', bucketId, name, nul);
}

export const inlineEntry = (id: string): Buffer => entry('inline', Buffer.from(id, 'hex'));
export const partsEntry = (id: string): Buffer => entry('parts', Buffer.from(id, 'hex'));
export const blobEntry = (id: string): Buffer => entry('blob', Buffer.from(id, 'hex'));

/** When this metadata first served objects: no blob made before can be an orphan of its own. */
export const birthEntry = (): Buffer => entry('blob');

/** The time in an id, in milliseconds. */
export function timeOfId(id: string): number {
  return Number.parseInt(id.slice(0, 12), 16);
}

/** The place of an upload, and the prefix of everything that belongs to it in another table. */
export type UploadPlace = {
  readonly bucketId: Uint8Array;
  readonly name: Uint8Array;
  readonly uploadId: string;
};

export const uploadEntry = (place: UploadPlace): Buffer => ofUpload('upload', place);
export const completedEntry = (place: UploadPlace): Buffer => ofUpload('completed', place);

export function partEntry(place: UploadPlace, partNumber: number): Buffer {
  const number = Buffer.alloc(2);
  number.writeUInt16BE(partNumber);
  return Buffer.concat([ofUpload('part', place), number]);
}

function ofUpload(table: Table, place: UploadPlace): Buffer {
  return entry(table, place.bucketId, place.name, nul, Buffer.from(place.uploadId, 'latin1'));
}

/** The index entry that says: this master key protects this object version. */
export function protectsEntry(of: {
  readonly keyName: string;
  readonly bucketId: Uint8Array;
  readonly name: Uint8Array;
  readonly versionId: string;
}): Buffer {
  const { bucketId, name } = of;
  const version = Buffer.from(of.versionId, 'latin1');
  return entry('protects', Buffer.from(of.keyName), nul, bucketId, name, nul, version);
}

/** Work for the sweep, in the order in which it falls due. */
export function garbageEntry(dueMs: number): Buffer {
  const time = Buffer.alloc(8);
  time.writeBigUInt64BE(BigInt(Math.max(0, Math.floor(dueMs))));
  return entry('garbage', time, randomBytes(8));
}

/** Everything in a table, or everything whose entry key starts with these bytes after the table. */
export function rangeOf(table: Table, ...prefix: readonly Uint8Array[]): Omit<KvRange, 'limit'> {
  const start = entry(table, ...prefix);
  return { start, end: afterPrefix(start) };
}

/** The index entries of one master key. */
export function protectsRange(keyName: string): Omit<KvRange, 'limit'> {
  return rangeOf('protects', Buffer.from(keyName), nul);
}

/** The parts of one upload. */
export function partsRange(place: UploadPlace): Omit<KvRange, 'limit'> {
  const start = ofUpload('part', place);
  return { start, end: afterPrefix(start) };
}

/** Garbage that is due at this time. */
export function dueGarbageRange(nowMs: number): Omit<KvRange, 'limit'> {
  const end = garbageEntry(nowMs + 1).subarray(0, 9);
  return { start: entry('garbage'), end };
}

/** The first entry key after `entryKey`. */
export function afterEntry(entryKey: Uint8Array): Buffer {
  return Buffer.concat([entryKey, nul]);
}

/** The first byte string above everything that starts with `prefix`. */
export function afterPrefix(prefix: Uint8Array): Buffer {
  let length = prefix.length;
  while (length > 0 && prefix[length - 1] === 0xff) length -= 1;
  const end = Buffer.from(prefix.subarray(0, length));
  // Tables are ASCII letters, so at least the first byte is below 0xff.
  end[length - 1] = (end[length - 1] as number) + 1;
  return end;
}
