// Blobs as files keep the contract of every blob store, and are private to their owner.

import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { testBlobStore } from '../../test/contract/blob-store.ts';
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
