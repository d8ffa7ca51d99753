// Object stores for tests: on the engines in memory or on the durable ones in a temporary directory, sealed or
// plain, with a test KMS and a clock that the test sets.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLog } from '../../src/base/log.ts';
import { openFileBlobStore } from '../../src/blob/files.ts';
import { openMemoryBlobStore } from '../../src/blob/memory.ts';
import { openLmdbKv } from '../../src/kv/lmdb.ts';
import { openMemoryKv } from '../../src/kv/memory.ts';
import { openBackend } from '../../src/store/sealing/backend.ts';
import type { BlobStore } from '../../src/store/blob-store.ts';
import type { Kv } from '../../src/store/kv.ts';
import { type OpenedObjectStore, openObjectStore } from '../../src/store/object-store.ts';
import type { StoreSettings } from '../../src/store/store-context.ts';
import type {
  EncryptionRequest,
  ObjectAttributes,
  ObjectBody,
  ObjectInfo,
  PutObjectInput,
} from '../../src/store/types.ts';
import { openTestKms, type TestKms } from './test-kms.ts';

export type TestStore = {
  readonly store: OpenedObjectStore;
  readonly kms: TestKms;
  /** The engine below the sealing. */
  readonly rawKv: Kv;
  readonly kv: Kv;
  readonly blobs: BlobStore;
  /** Where the durable engines are. */
  readonly dir: string | undefined;
  /** Added to the real time. */
  readonly clock: { aheadMs: number };
  close(): Promise<void>;
};

export type TestStoreOptions = {
  readonly engine?: 'memory' | 'durable';
  readonly isSealed?: boolean;
  readonly hasKms?: boolean;
  readonly settings?: Partial<StoreSettings>;
};

export const plainAttributes: ObjectAttributes = {
  headers: {},
  userMetadata: {},
  tagging: '',
  storageClass: 'STANDARD',
};

/** Opens a fresh store with one bucket, `bucket`. */
export async function openTestStore(options: TestStoreOptions = {}): Promise<TestStore> {
  const isDurable = options.engine === 'durable';
  const dir = isDurable ? await mkdtemp(join(tmpdir(), 'coffer-store-')) : undefined;
  const rawKv = dir === undefined ? openMemoryKv() : openLmdbKv(join(dir, 'meta'));
  const clock = { aheadMs: 0 };
  const now = (): number => Date.now() + clock.aheadMs;
  const blobs =
    dir === undefined ? openMemoryBlobStore(now) : await openFileBlobStore(join(dir, 'blobs'));
  const kms = openTestKms();
  const backendKms = options.isSealed === false ? undefined : kms;
  const backend = await openBackend({ kv: rawKv, kms: backendKms, log: silentLog });
  kms.calls.generate = 0;
  kms.calls.decrypt = 0;
  const store = await openObjectStore({
    kv: backend.kv,
    blobs,
    kms: options.hasKms === false ? undefined : kms,
    log: silentLog,
    settings: { isAutoEncrypting: false, ...options.settings },
    now,
  });
  await store.createBucket({ name: 'bucket', owner: 'owner', location: '' });
  return {
    store,
    kms,
    rawKv,
    kv: backend.kv,
    blobs,
    dir,
    clock,
    async close() {
      await store.close();
      await blobs.close();
      await backend.kv.close();
      if (dir !== undefined) await rm(dir, { recursive: true, force: true });
    },
  };
}

/** Puts an object into `bucket`. */
export function put(
  store: OpenedObjectStore,
  key: string,
  body: PutObjectInput['body'],
  more: Partial<PutObjectInput> & { readonly encryption?: EncryptionRequest } = {},
): Promise<ObjectInfo> {
  return store.putObject({
    bucket: 'bucket',
    key,
    body,
    sizeBytes: body instanceof Uint8Array ? body.length : undefined,
    attributes: plainAttributes,
    encryption: { kind: 'default' },
    owner: 'owner',
    ...more,
  });
}

/** The bytes of an object in `bucket`. */
export async function get(
  store: OpenedObjectStore,
  key: string,
  range?: { readonly start: number; readonly end: number },
): Promise<Buffer> {
  const opened = await store.openObject({ bucket: 'bucket', key, willRead: true });
  return bytesOf(await opened.read(range));
}

export async function bytesOf(body: ObjectBody): Promise<Buffer> {
  if (body instanceof Uint8Array) return Buffer.from(body);
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

/** A body in chunks, as from a socket. */
export async function* chunked(bytes: Buffer, chunkBytes = 50_000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
}

/** Every entry of an engine, as hex of key and value. */
export async function dumpKv(kv: Kv): Promise<Map<string, string>> {
  const range = { start: Buffer.from([0]), end: Buffer.from([0xff]), limit: 10_000 };
  const entries = await kv.list(range);
  return new Map(
    entries.map(({ entryKey, value }) => [
      Buffer.from(entryKey).toString('latin1'),
      Buffer.from(value).toString('hex'),
    ]),
  );
}

export async function blobIds(blobs: BlobStore): Promise<string[]> {
  const ids: string[] = [];
  for await (const { id } of blobs.list()) ids.push(id);
  return ids;
}
