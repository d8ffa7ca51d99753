// The process that dies: runs one fixed sequence of operations on a real data directory, and kills itself at the
// n-th durable step, counted over everything it asks of its two engines. Prints each operation before and after.
//   node step-child.ts DIR STEP

import { createHash, createSecretKey } from 'node:crypto';
import path from 'node:path';
import { silentLog } from '../../src/base/log.ts';
import { openFileBlobStore } from '../../src/blob/files.ts';
import { openStaticKms } from '../../src/kms/static-key.ts';
import { openLmdbKv } from '../../src/kv/lmdb.ts';
import type { Kms } from '../../src/sse/kms.ts';
import { openBackend } from '../../src/store/sealing/backend.ts';
import type { BlobStore } from '../../src/store/blob-store.ts';
import type { Kv } from '../../src/store/kv.ts';
import { openObjectStore, type OpenedObjectStore } from '../../src/store/object-store.ts';
import type { ObjectAttributes, PartInfo, Versioning } from '../../src/store/types.ts';

export const stepBucket = 'steps';
const mib = 1024 * 1024;

/** The KMS of the suite: a fixed key, so that every process opens what the others sealed. */
export function stepKms(): Kms {
  return openStaticKms({ keyName: 'step-key', key: createSecretKey(Buffer.alloc(32, 9)) });
}

/** The bytes an operation writes: known to the child and to whoever checks it. */
export function stepBytes(label: string, sizeBytes: number): Buffer {
  return Buffer.alloc(sizeBytes, createHash('sha512').update(label).digest());
}

/** One operation: what it does to which object, for the child and for the check. */
export type StepOperation = {
  readonly name: string;
  readonly key: string;
  /** What the object is afterwards; undefined: gone. */
  readonly after: { readonly label: string; readonly sizeBytes: number } | undefined;
  /** The labels of all its versions afterwards, the newest first, `!` for a marker; undefined: not looked at. */
  readonly versions?: readonly string[];
  readonly run: (store: OpenedObjectStore) => Promise<unknown>;
};

/** Version ids as the store made them, by label. */
const ids = new Map<string, string>();

function attributes(label: string): ObjectAttributes {
  return { headers: {}, userMetadata: { label }, tagging: '', storageClass: 'STANDARD' };
}

function put(
  key: string,
  of: { label: string; sizeBytes: number; isEncrypted: boolean },
): StepOperation {
  const bytes = stepBytes(of.label, of.sizeBytes);
  return {
    name: `put ${of.label}`,
    key,
    after: of,
    run: async (store) => {
      const info = await store.putObject({
        bucket: stepBucket,
        key,
        body: (async function* body() {
          for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
        })(),
        sizeBytes: of.sizeBytes,
        attributes: attributes(of.label),
        encryption: { kind: of.isEncrypted ? 'sse-s3' : 'default' },
        owner: 'steps',
      });
      ids.set(of.label, info.versionId);
    },
  };
}

async function* oneChunk(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

function multipart(key: string, label: string): StepOperation {
  const sizeBytes = 5 * mib + 1000;
  const bytes = stepBytes(label, sizeBytes);
  return {
    name: `multipart ${label}`,
    key,
    after: { label, sizeBytes },
    run: async (store) => {
      const upload = await store.createUpload({
        bucket: stepBucket,
        key,
        attributes: attributes(label),
        encryption: { kind: 'sse-s3' },
        owner: 'steps',
      });
      const ref = { bucket: stepBucket, key, uploadId: upload.uploadId };
      const parts: PartInfo[] = [];
      for (const [index, part] of [bytes.subarray(0, 5 * mib), bytes.subarray(5 * mib)].entries()) {
        parts.push(
          await store.putPart({
            ...ref,
            partNumber: index + 1,
            body: oneChunk(part),
            sizeBytes: part.length,
          }),
        );
      }
      const info = await store.completeUpload({
        ...ref,
        parts: parts.map((part) => ({ number: part.number, etag: part.etag })),
      });
      ids.set(label, info.versionId);
    },
  };
}

const remove = (key: string): StepOperation => ({
  name: `delete ${key}`,
  key,
  after: undefined,
  run: async (store) => {
    const { versionId } = await store.deleteObject({ bucket: stepBucket, key });
    if (versionId !== undefined) ids.set(`!${key}`, versionId);
  },
});

type After = Required<Pick<StepOperation, 'after' | 'versions'>>;

/** Deletes one version for good. */
const removeVersion = (key: string, label: string, after: After): StepOperation => ({
  name: `delete version ${label}`,
  key,
  ...after,
  run: (store) =>
    store.deleteObject({ bucket: stepBucket, key, versionId: ids.get(label) ?? 'unknown' }),
});

const setVersioning = (key: string, versioning: Versioning, after: After): StepOperation => ({
  name: `versioning ${versioning}`,
  key,
  ...after,
  run: (store) =>
    store.updateBucketSettings(stepBucket, (settings) => ({ ...settings, versioning })),
});

const tag = (key: string, after: After): StepOperation => ({
  name: `tag ${key}`,
  key,
  ...after,
  run: (store) => store.putTagging({ bucket: stepBucket, key }, 'a=1'),
});

const e1 = { label: 'e1', sizeBytes: 100 };
const e2 = { label: 'e2', sizeBytes: 2 * mib };
const e3 = { label: 'e3', sizeBytes: 5 * mib + 1000 };
const e4 = { label: 'e4', sizeBytes: mib };

/** One object through everything that versions can go through. */
const versionedOperations: readonly StepOperation[] = [
  { ...put('e', { ...e1, isEncrypted: true }), versions: ['e1'] },
  setVersioning('e', 'Enabled', { after: e1, versions: ['e1'] }),
  { ...put('e', { ...e2, isEncrypted: true }), versions: ['e2', 'e1'] },
  { ...multipart('e', 'e3'), versions: ['e3', 'e2', 'e1'] },
  { ...remove('e'), versions: ['!', 'e3', 'e2', 'e1'] },
  removeVersion('e', '!e', { after: e3, versions: ['e3', 'e2', 'e1'] }),
  removeVersion('e', 'e3', { after: e2, versions: ['e2', 'e1'] }),
  setVersioning('e', 'Suspended', { after: e2, versions: ['e2', 'e1'] }),
  { ...put('e', { ...e4, isEncrypted: false }), versions: ['e4', 'e2'] },
  tag('e', { after: e4, versions: ['e4', 'e2'] }),
  { ...remove('e'), versions: ['!', 'e2'] },
  removeVersion('e', '!e', { after: e2, versions: ['e2'] }),
];

/** Small and large, plain and encrypted, replaced by each other, made of parts, deleted. */
export const stepOperations: readonly StepOperation[] = [
  put('a', { label: 'a1', sizeBytes: 100, isEncrypted: true }),
  put('b', { label: 'b1', sizeBytes: 2 * mib, isEncrypted: true }),
  put('a', { label: 'a2', sizeBytes: 3 * mib, isEncrypted: false }),
  put('b', { label: 'b2', sizeBytes: 10, isEncrypted: false }),
  multipart('c', 'c1'),
  put('c', { label: 'c2', sizeBytes: 0, isEncrypted: true }),
  multipart('a', 'a3'),
  remove('a'),
  put('d', { label: 'd1', sizeBytes: mib, isEncrypted: true }),
  remove('d'),
  ...versionedOperations,
];

/** Counts durable steps and ends the process at the chosen one, before or after it. */
function deathAt(step: number): <Result>(action: () => Promise<Result>) => Promise<Result> {
  let at = 0;
  const point = (): void => {
    if (at++ === step) process.kill(process.pid, 'SIGKILL');
  };
  return async (action) => {
    point();
    const result = await action();
    point();
    return result;
  };
}

async function main(dir: string, step: number): Promise<void> {
  const durable = deathAt(step);
  const engine = openLmdbKv(path.join(dir, 'meta'));
  const files = await openFileBlobStore(path.join(dir, 'blobs'));
  const kv: Kv = {
    get: (entryKey) => engine.get(entryKey),
    getMany: (entryKeys) => engine.getMany(entryKeys),
    list: (range) => engine.list(range),
    commit: (commit) => durable(() => engine.commit(commit)),
    close: () => engine.close(),
  };
  const blobs: BlobStore = {
    write: (id, source) => durable(() => files.write(id, source)),
    read: (id, range) => files.read(id, range),
    remove: (id) => durable(() => files.remove(id)),
    list: () => files.list(),
    close: () => files.close(),
  };
  const kms = stepKms();
  const backend = await openBackend({ kv, kms, log: silentLog });
  const store = await openObjectStore({
    kv: backend.kv,
    blobs,
    kms,
    log: silentLog,
    settings: { isAutoEncrypting: false, garbageGraceMs: 0, orphanGraceMs: 0 },
  });
  await store.createBucket({ name: stepBucket, owner: 'steps', location: '' });
  for (const [index, operation] of stepOperations.entries()) {
    process.stdout.write(`begin ${index}\n`);
    await operation.run(store);
    process.stdout.write(`acknowledged ${index}\n`);
    await store.sweep({ withOrphans: true });
  }
  await store.close();
  await kv.close();
}

if (process.argv[1] === import.meta.filename) {
  await main(process.argv[2] ?? '', Number(process.argv[3]));
}
