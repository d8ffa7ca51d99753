// Looks at a stopped data directory from the inside: after a sweep with no grace, every stored blob and every
// inline value is named by exactly one record, every record's bytes are there, and the index of the master keys
// names exactly the encrypted objects.

import path from 'node:path';
import { silentLog } from '../../src/base/log.ts';
import { openFileBlobStore } from '../../src/blob/files.ts';
import { openLmdbKv } from '../../src/kv/lmdb.ts';
import type { Kms } from '../../src/sse/kms.ts';
import { openBackend } from '../../src/store/sealing/backend.ts';
import type { BlobStore } from '../../src/store/blob-store.ts';
import { masterKeysOf } from '../../src/store/encryption/envelopes.ts';
import { openObjectStore } from '../../src/store/object-store.ts';
import { rangeOf } from '../../src/store/keys.ts';
import type { Kv } from '../../src/store/kv.ts';
import {
  decodeObject,
  decodePart,
  decodeParts,
  type StoredBytes,
} from '../../src/store/records.ts';
import { listAll } from '../../src/store/usage.ts';

type Named = {
  readonly inline: Set<string>;
  readonly blobs: Set<string>;
  readonly parts: Set<string>;
  /** How often an object needs a master key. */
  protected: number;
};

function note(named: Named, bytes: StoredBytes): void {
  if (bytes.place.kind === 'none') return;
  (bytes.place.kind === 'inline' ? named.inline : named.blobs).add(bytes.place.id);
}

async function readNamed(kv: Kv): Promise<Named> {
  const named: Named = {
    inline: new Set(),
    blobs: new Set(),
    parts: new Set(),
    protected: 0,
  };
  for (const table of ['current', 'marker', 'version'] as const) {
    for await (const entry of listAll({ kv }, rangeOf(table))) {
      const record = decodeObject(entry.value);
      if (record.envelope !== undefined) named.protected += masterKeysOf(record.envelope).length;
      if (record.data !== undefined) note(named, record.data);
      if (record.partsId !== undefined) named.parts.add(record.partsId);
    }
  }
  for await (const entry of listAll({ kv }, rangeOf('parts'))) {
    for (const part of decodeParts(entry.value)) note(named, part);
  }
  for await (const entry of listAll({ kv }, rangeOf('part'))) note(named, decodePart(entry.value));
  return named;
}

async function idsOf(kv: Kv, table: 'inline' | 'blob' | 'parts'): Promise<Set<string>> {
  const ids = new Set<string>();
  for await (const entry of listAll({ kv }, rangeOf(table))) {
    const id = Buffer.from(entry.entryKey.subarray(1)).toString('hex');
    // The entry without an id says when the metadata began.
    if (id !== '') ids.add(id);
  }
  return ids;
}

async function blobFiles(blobs: BlobStore): Promise<Set<string>> {
  const ids = new Set<string>();
  for await (const blob of blobs.list()) ids.add(blob.id);
  return ids;
}

function difference(what: string, a: ReadonlySet<string>, b: ReadonlySet<string>): string[] {
  return [...a].filter((id) => !b.has(id)).map((id) => `${what}: ${id}`);
}

/** Compares what records name with what is stored, once all garbage is gone. Returns every difference. */
export async function compareStored(kv: Kv, blobs: BlobStore): Promise<string[]> {
  const named = await readNamed(kv);
  const [inline, parts, blobEntries, files] = [
    await idsOf(kv, 'inline'),
    await idsOf(kv, 'parts'),
    await idsOf(kv, 'blob'),
    await blobFiles(blobs),
  ];
  let indexed = 0;
  for await (const entry of listAll({ kv }, rangeOf('protects')))
    indexed += entry.entryKey.length > 0 ? 1 : 0;
  return [
    ...difference('inline value that no record names', inline, named.inline),
    ...difference('inline value missing', named.inline, inline),
    ...difference('list of parts that no record names', parts, named.parts),
    ...difference('list of parts missing', named.parts, parts),
    ...difference('blob file that no record names', files, named.blobs),
    ...difference('blob file missing', named.blobs, files),
    ...difference('blob entry without a file', blobEntries, files),
    ...difference('blob file without an entry', files, blobEntries),
    ...(indexed === named.protected
      ? []
      : [`the index has ${indexed} entries, the objects need ${named.protected}`]),
  ];
}

/** Sweeps a stopped data directory and returns everything that is left over or missing. */
export async function findLeftovers(dataDir: string, kms: Kms | undefined): Promise<string[]> {
  const engine = openLmdbKv(path.join(dataDir, 'meta'));
  const blobs = await openFileBlobStore(path.join(dataDir, 'blobs'));
  let aheadMs = 86_400_000;
  try {
    const { kv } = await openBackend({ kv: engine, kms, log: silentLog });
    const store = await openObjectStore({
      kv,
      blobs,
      kms,
      log: silentLog,
      settings: { isAutoEncrypting: false, garbageGraceMs: 0, orphanGraceMs: 0 },
      // Everything is due: the real time plus a day.
      now: () => Date.now() + aheadMs,
    });
    await store.sweep({ withOrphans: true });
    // Ids of removed orphans stay taken for a day.
    aheadMs += 3 * 86_400_000;
    await store.sweep({ withOrphans: true });
    await store.close();
    return await compareStored(kv, blobs);
  } finally {
    await blobs.close();
    await engine.close();
  }
}
