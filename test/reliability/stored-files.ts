// Looks into a stopped data directory: which file or entry holds the bytes of which object. Opens the real engines
// below the sealing, so that a suite can change what an attacker with the disk could change.

import { globSync } from 'node:fs';
import path from 'node:path';
import { silentLog } from '../../src/base/log.ts';
import { openLmdbKv } from '../../src/kv/lmdb.ts';
import type { Kms } from '../../src/sse/kms.ts';
import { openBackend } from '../../src/store/sealing/backend.ts';
import { inlineEntry, partsEntry, rangeOf } from '../../src/store/keys.ts';
import type { Kv, KvEntry } from '../../src/store/kv.ts';
import {
  decodeObject,
  decodeParts,
  type ObjectRecord,
  type StoredBytes,
} from '../../src/store/records.ts';
import { listAll } from '../../src/store/usage.ts';

/** Where one object is stored. */
export type StoredObject = {
  readonly key: string;
  /** The entry of its record. */
  readonly recordKey: Buffer;
  /** The entry that lists its parts, when it has any. */
  readonly partsKey: Buffer | undefined;
  /** The entries of its bytes that are kept beside the record. */
  readonly inlineKeys: readonly Buffer[];
  /** The files of its other bytes, in the order of its parts. */
  readonly files: readonly string[];
};

const bucketIdBytes = 8;

/** Every current object of the directory, by name. One bucket is assumed. */
export async function readStoredObjects(
  dataDir: string,
  kms: Kms | undefined,
): Promise<Map<string, StoredObject>> {
  const engine = openLmdbKv(path.join(dataDir, 'meta'));
  try {
    const { kv } = await openBackend({ kv: engine, kms, log: silentLog });
    const objects = new Map<string, StoredObject>();
    for await (const entry of listAll({ kv }, rangeOf('current'))) {
      const key = Buffer.from(entry.entryKey.subarray(1 + bucketIdBytes)).toString();
      const record = decodeObject(entry.value);
      const stored = await storedOf(kv, record);
      objects.set(key, {
        key,
        recordKey: Buffer.from(entry.entryKey),
        partsKey: record.partsId === undefined ? undefined : partsEntry(record.partsId),
        inlineKeys: stored.flatMap(inlineKeyOf),
        files: stored.flatMap((bytes) => fileOf(dataDir, bytes)),
      });
    }
    return objects;
  } finally {
    await engine.close();
  }
}

async function storedOf(kv: Kv, record: ObjectRecord): Promise<readonly StoredBytes[]> {
  if (record.partsId === undefined) return record.data === undefined ? [] : [record.data];
  const entry = await kv.get(partsEntry(record.partsId));
  return entry === undefined ? [] : decodeParts(entry.value);
}

function inlineKeyOf({ place }: StoredBytes): Buffer[] {
  return place.kind === 'inline' ? [inlineEntry(place.id)] : [];
}

function fileOf(dataDir: string, { place }: StoredBytes): string[] {
  if (place.kind !== 'blob') return [];
  const found = globSync(path.join(dataDir, 'blobs', '**', place.id));
  if (found.length !== 1) throw new Error(`the blob ${place.id} is in ${found.length} files`);
  return found;
}

/** Gives the engine below the sealing to `change`, and closes it. */
export async function withEngine<T>(dataDir: string, change: (kv: Kv) => Promise<T>): Promise<T> {
  const engine = openLmdbKv(path.join(dataDir, 'meta'));
  try {
    return await change(engine);
  } finally {
    await engine.close();
  }
}

/** The raw value of an entry that must be there. */
export async function rawValue(kv: Kv, entryKey: Uint8Array): Promise<Buffer> {
  const entry: KvEntry | undefined = await kv.get(entryKey);
  if (entry === undefined) throw new Error('the entry is not there');
  return Buffer.from(entry.value);
}

/** Every entry of the engine, values copied. */
export async function allEntries(kv: Kv): Promise<{ entryKey: Buffer; value: Buffer }[]> {
  const entries: { entryKey: Buffer; value: Buffer }[] = [];
  const range = { start: Buffer.from([0]), end: Buffer.from([0xff]) };
  for await (const { entryKey, value } of listAll({ kv }, range)) {
    entries.push({ entryKey: Buffer.from(entryKey), value: Buffer.from(value) });
  }
  return entries;
}
