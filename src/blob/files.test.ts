// Blobs as files keep the contract of every blob store, and are private to their owner.

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, rm, stat, unlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { testBlobStore } from '../../test/contract/blob-store.ts';
import { BlobError } from '../store/blob-store.ts';
import { openFileBlobStore } from './files.ts';

let root = '';
let count = 0;

before(async () => {
  root = await mkdtemp(join(tmpdir(), 'coffer-blobs-'));
});
after(() => rm(root, { recursive: true, force: true }));

testBlobStore('files', async () => {
  count += 1;
  return openFileBlobStore(join(root, `blobs-${count}`));
});

void test('files and directories are readable by their owner alone', async () => {
  const dir = join(root, 'modes');
  const store = await openFileBlobStore(dir);
  async function* source(): AsyncGenerator<Uint8Array> {
    yield Buffer.from('bytes');
  }
  await store.write('abc', source());
  assert.deepEqual(await readdir(dir), ['bc']);
  assert.equal((await stat(join(dir, 'bc'))).mode & 0o777, 0o700);
  assert.equal((await stat(join(dir, 'bc', 'abc'))).mode & 0o777, 0o600);
});

void test('opening removes what a process left that died while it opened', async () => {
  const dir = join(root, 'probes');
  await mkdir(dir);
  await writeFile(join(dir, '.direct-1'), '');
  await writeFile(join(dir, 'foreign'), '');
  await openFileBlobStore(dir);
  assert.deepEqual(await readdir(dir), ['foreign']);
});

void test('a blob whose file was taken away while it was written fails', async () => {
  const dir = join(root, 'taken');
  const store = await openFileBlobStore(dir);
  async function* source(): AsyncGenerator<Uint8Array> {
    yield Buffer.alloc(2_000_000);
    await unlink(join(dir, 'bc', 'abc'));
    yield Buffer.from('end');
  }
  await assert.rejects(store.write('abc', source()), BlobError);
});

void test('a blob is as old as its last byte, whatever time the others took', async () => {
  const dir = join(root, 'slow');
  const store = await openFileBlobStore(dir);
  const long = new Date(1_000_000_000_000);
  async function* source(): AsyncGenerator<Uint8Array> {
    yield Buffer.alloc(100);
    await utimes(join(dir, 'bc', 'abc'), long, long);
  }
  await store.write('abc', source());
  const { mtimeMs } = await stat(join(dir, 'bc', 'abc'));
  assert.ok(mtimeMs > Date.now() - 3_600_000);
});

void test('writes that cannot create their file do not use up the buffers of the others', async () => {
  const dir = join(root, 'buffers');
  const store = await openFileBlobStore(dir);
  async function* source(): AsyncGenerator<Uint8Array> {
    yield Buffer.from('bytes');
  }
  await store.write('abc', source());
  // More than there are pairs.
  for (let count = 0; count < 100; count += 1) {
    await assert.rejects(store.write('abc', source()), BlobError);
  }
  assert.equal(await store.write('other', source()), 5);
});
