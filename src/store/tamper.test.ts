// Whoever can write to the disk cannot make an encrypted object give out a byte that was not put into it:
// every changed, cut, moved or repeated stored byte is refused, on real files and entries.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  get,
  openTestStore,
  plainAttributes,
  put,
  type TestStore,
} from '../../test/support/test-store.ts';
import type { Kv } from './kv.ts';
import { type CompletedPart, type ObjectInfo, StoreError } from './types.ts';

const isCorrupt = (error: unknown): boolean =>
  error instanceof StoreError && error.code === 'ObjectCorrupt';

const packageBytes = 65_568;
let opened: TestStore;

before(async () => {
  opened = await openTestStore({ engine: 'durable' });
});
after(() => opened.close());

type Entry = { readonly entryKey: Uint8Array; readonly value: Buffer };

async function entriesOf(kv: Kv, table: string): Promise<Entry[]> {
  const start = Buffer.from(table);
  const end = Buffer.from([(start[0] ?? 0) + 1]);
  const entries = await kv.list({ start, end, limit: 1000 });
  return entries.map(({ entryKey, value }) => ({ entryKey, value: Buffer.from(value) }));
}

async function blobFiles(): Promise<string[]> {
  const root = join(opened.dir ?? '', 'blobs');
  const found = await readdir(root, { recursive: true, withFileTypes: true });
  return found.filter((file) => file.isFile()).map((file) => join(file.parentPath, file.name));
}

/** What appears on the disk while `run` runs: the files and the inline entries of one write. */
async function madeBy(run: () => Promise<unknown>): Promise<{ files: string[]; inline: Entry[] }> {
  const filesBefore = new Set(await blobFiles());
  const inlineBefore = new Set((await entriesOf(opened.kv, 'i')).map(idOf));
  await run();
  return {
    // Ids begin with the time.
    files: (await blobFiles())
      .filter((file) => !filesBefore.has(file))
      .sort((a, b) => (a.slice(-32) < b.slice(-32) ? -1 : 1)),
    inline: (await entriesOf(opened.kv, 'i')).filter((entry) => !inlineBefore.has(idOf(entry))),
  };
}

const idOf = (entry: Entry): string => Buffer.from(entry.entryKey).toString('hex');

function flipped(bytes: Buffer, index: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[index] = (copy[index] ?? 0) ^ (1 << (index % 8));
  return copy;
}

async function only(files: readonly string[]): Promise<{ file: string; bytes: Buffer }> {
  assert.equal(files.length, 1);
  const file = files[0] ?? '';
  return { file, bytes: await readFile(file) };
}

async function multipart(key: string, bodies: readonly Buffer[]): Promise<ObjectInfo> {
  const { store } = opened;
  const target = { bucket: 'bucket', key };
  const { uploadId } = await store.createUpload({
    ...target,
    attributes: plainAttributes,
    encryption: { kind: 'sse-s3' },
    owner: 'owner',
  });
  const parts: CompletedPart[] = [];
  for (const [index, body] of bodies.entries()) {
    const number = index + 1;
    const input = { ...target, uploadId, partNumber: number, body, sizeBytes: body.length };
    parts.push({ number, etag: (await store.putPart(input)).etag });
  }
  return store.completeUpload({ ...target, uploadId, parts });
}

void test('every flipped byte of a small object is refused, below and above the sealing', async () => {
  const { store, rawKv, kv } = opened;
  const body = randomBytes(300);
  const made = await madeBy(() => put(store, 'small', body, { encryption: { kind: 'sse-s3' } }));
  const [inline] = made.inline;
  assert.ok(inline);
  for (const engine of [rawKv, kv]) {
    const original = Buffer.from((await engine.get(inline.entryKey))?.value ?? '');
    const damaged = [...original.keys()].map((index) => flipped(original, index));
    for (let length = 0; length < original.length; length += 7) {
      damaged.push(original.subarray(0, length));
    }
    damaged.push(Buffer.concat([original, original]));
    for (const value of damaged) {
      await engine.commit({ puts: [{ entryKey: inline.entryKey, value }] });
      await assert.rejects(get(store, 'small'), isCorrupt);
    }
    await engine.commit({ puts: [{ entryKey: inline.entryKey, value: original }] });
    assert.ok(body.equals(await get(store, 'small')));
  }
});

void test('every flipped byte of a record is refused, and the record of another name too', async () => {
  const { store, rawKv } = opened;
  await put(store, 'record-a', randomBytes(10), { encryption: { kind: 'sse-s3' } });
  await put(store, 'record-b', randomBytes(10), { encryption: { kind: 'sse-s3' } });
  const records = (await entriesOf(rawKv, 'c')).filter((entry) =>
    Buffer.from(entry.entryKey).includes('record-'),
  );
  const [a, b] = records;
  assert.ok(a && b);
  const damaged = [...a.value.keys()].map((index) => flipped(a.value, index));
  damaged.push(b.value, Buffer.alloc(0), a.value.subarray(0, -1));
  for (const value of damaged) {
    await rawKv.commit({ puts: [{ entryKey: a.entryKey, value }] });
    await assert.rejects(store.openObject({ bucket: 'bucket', key: 'record-a' }), isCorrupt);
  }
  await rawKv.commit({ puts: [{ entryKey: a.entryKey, value: a.value }] });
  await get(store, 'record-a');
});

void test('flipped, cut, repeated and reordered packages of a file are refused', async () => {
  const { store } = opened;
  const body = randomBytes(65_536 * 4 + 1000);
  const made = await madeBy(() => put(store, 'large', body, { encryption: { kind: 'sse-s3' } }));
  const { file, bytes } = await only(made.files);
  const packageAt = (index: number): Buffer =>
    bytes.subarray(index * packageBytes, (index + 1) * packageBytes);
  const all = [0, 1, 2, 3, 4].map(packageAt);
  const damaged = new Map<string, Buffer>();
  for (const at of [0, 1, 2, 3, 4, 10, 15, 16, 65_552, 65_567, packageBytes, bytes.length - 1]) {
    damaged.set(`byte ${at}`, flipped(bytes, at));
  }
  for (let index = 0; index < 40; index += 1) {
    const at = Math.floor(Math.random() * bytes.length);
    damaged.set(`byte ${at}`, flipped(bytes, at));
  }
  const order = (...indexes: number[]): Buffer =>
    Buffer.concat(indexes.map((index) => all[index] ?? Buffer.alloc(0)));
  damaged.set('first two exchanged', order(1, 0, 2, 3, 4));
  damaged.set('repeated', order(0, 0, 2, 3, 4));
  damaged.set('last earlier', order(0, 1, 2, 4, 3));
  damaged.set('cut by a package', order(0, 1, 2, 3));
  damaged.set('cut by a byte', bytes.subarray(0, -1));
  damaged.set('empty', Buffer.alloc(0));
  for (const [what, content] of damaged) {
    await writeFile(file, content);
    await assert.rejects(get(store, 'large'), isCorrupt, what);
  }
  await writeFile(file, bytes);
  assert.ok(body.equals(await get(store, 'large')));
});

void test('a range is refused when its own packages were changed, and served when others were', async () => {
  const { store } = opened;
  const body = randomBytes(65_536 * 3);
  const made = await madeBy(() => put(store, 'ranged', body, { encryption: { kind: 'sse-s3' } }));
  const { file, bytes } = await only(made.files);
  await writeFile(file, flipped(bytes, packageBytes + 100));
  const first = { start: 0, end: 65_536 };
  assert.ok(body.subarray(0, 65_536).equals(await get(store, 'ranged', first)));
  await assert.rejects(get(store, 'ranged', { start: 65_535, end: 65_537 }), isCorrupt);
  await assert.rejects(get(store, 'ranged', { start: 70_000, end: 70_001 }), isCorrupt);
  await writeFile(
    file,
    Buffer.concat([bytes.subarray(packageBytes), bytes.subarray(packageBytes)]),
  );
  await assert.rejects(get(store, 'ranged', { start: 10, end: 20 }), isCorrupt);
});

void test('bytes of another object are refused, also of the same name, size and key', async () => {
  const { store } = opened;
  const body = randomBytes(200_000);
  const made: string[] = [];
  for (const key of ['one', 'two', 'one']) {
    const { files } = await madeBy(() => put(store, key, body, { encryption: { kind: 'sse-s3' } }));
    made.push(...files);
  }
  const [before, other, current] = await Promise.all(made.map((file) => readFile(file)));
  assert.ok(before && other && current);
  for (const stranger of [before, other]) {
    await writeFile(made[2] ?? '', stranger);
    await assert.rejects(get(store, 'one'), isCorrupt);
  }
  await writeFile(made[2] ?? '', current);
  assert.ok(body.equals(await get(store, 'one')));
});

void test('parts cannot take the place of each other, nor of their own earlier upload', async () => {
  const { store } = opened;
  const bodies = [randomBytes(5 * 1024 * 1024), randomBytes(5 * 1024 * 1024)];
  const made = await madeBy(() => multipart('parts', bodies));
  const [first, second] = made.files;
  assert.ok(first && second);
  const [one, two] = await Promise.all([readFile(first), readFile(second)]);
  await writeFile(first, two);
  await writeFile(second, one);
  await assert.rejects(get(store, 'parts'), isCorrupt);
  await writeFile(first, one);
  await writeFile(second, one);
  await assert.rejects(get(store, 'parts'), isCorrupt);
  await assert.rejects(get(store, 'parts', { start: 6_000_000, end: 6_000_010 }), isCorrupt);
  await writeFile(second, two);
  assert.ok(Buffer.concat(bodies).equals(await get(store, 'parts')));
});

void test('an earlier upload of a part does not open in the place of the later one', async () => {
  const { store } = opened;
  const target = { bucket: 'bucket', key: 'again' };
  const { uploadId } = await store.createUpload({
    ...target,
    attributes: plainAttributes,
    encryption: { kind: 'sse-s3' },
    owner: 'owner',
  });
  const putPart = (body: Buffer) =>
    store.putPart({ ...target, uploadId, partNumber: 1, body, sizeBytes: body.length });
  const earlier = await madeBy(() => putPart(randomBytes(200_000)));
  const body = randomBytes(200_000);
  let etag = '';
  const later = await madeBy(async () => {
    etag = (await putPart(body)).etag;
  });
  await store.completeUpload({ ...target, uploadId, parts: [{ number: 1, etag }] });
  assert.ok(body.equals(await get(store, 'again')));
  await writeFile(later.files[0] ?? '', (await only(earlier.files)).bytes);
  await assert.rejects(get(store, 'again'), isCorrupt);
  await assert.rejects(get(store, 'again', { start: 150_000, end: 150_001 }), isCorrupt);
});

void test('missing bytes are reported as damage', async () => {
  const { store, kv } = opened;
  const large = await madeBy(() => put(store, 'gone', randomBytes(200_000)));
  await opened.blobs.remove((large.files[0] ?? '').slice(-32));
  await assert.rejects(get(store, 'gone'), isCorrupt);
  const small = await madeBy(() => put(store, 'gone', randomBytes(10)));
  await kv.commit({ deletes: small.inline.map((entry) => entry.entryKey) });
  await assert.rejects(get(store, 'gone'), isCorrupt);
});
