// Buckets: created once, listed by name, deleted only when empty, also when objects arrive meanwhile.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openTestStore, put, type TestStore } from '../../test/support/test-store.ts';
import { bucketEntry } from './keys.ts';
import { decodeBucket, encodeBucket } from './records.ts';
import { StoreError } from './types.ts';

const hasCode =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof StoreError && error.code === code;

function withStore(title: string, run: (opened: TestStore) => Promise<void>): void {
  void test(title, async () => {
    const opened = await openTestStore();
    try {
      await run(opened);
    } finally {
      await opened.close();
    }
  });
}

withStore('a bucket is created once and keeps what was said', async ({ store }) => {
  const input = { name: 'photos', owner: 'anna', location: 'eu-west-1' };
  const made = await store.createBucket(input);
  assert.deepEqual(await store.getBucket('photos'), made);
  assert.equal(made.owner, 'anna');
  assert.equal(made.location, 'eu-west-1');
  assert.deepEqual(made.settings, {});
  await assert.rejects(store.createBucket(input), hasCode('BucketAlreadyExists'));
  await assert.rejects(store.getBucket('other'), hasCode('NoSuchBucket'));
});

withStore('buckets are listed by name, in pages, by prefix', async ({ store }) => {
  for (const name of ['b2', 'a1', 'b10', 'c']) {
    await store.createBucket({ name, owner: 'o', location: '' });
  }
  const names = async (prefix: string, after: string, limit: number) => {
    const page = await store.listBuckets({ prefix, after, limit });
    return [page.buckets.map(({ name }) => name).join(), page.isTruncated];
  };
  assert.deepEqual(await names('', '', 10), ['a1,b10,b2,bucket,c', false]);
  assert.deepEqual(await names('b', '', 10), ['b10,b2,bucket', false]);
  assert.deepEqual(await names('', 'b10', 2), ['b2,bucket', true]);
  assert.deepEqual(await names('b', 'bucket', 2), ['', false]);
  assert.deepEqual(await names('b', 'a', 1), ['b10', true]);
});

withStore('a page of buckets may be as large as S3 allows', async ({ store }) => {
  for (let first = 0; first < 10_000; first += 1000) {
    const names = Array.from({ length: 1000 }, (_, n) => `c${first + n}`);
    await Promise.all(names.map((name) => store.createBucket({ name, owner: 'o', location: '' })));
  }
  const page = await store.listBuckets({ prefix: '', after: '', limit: 10_000 });
  assert.equal(page.buckets.length, 10_000);
  assert.ok(page.isTruncated);
  const rest = await store.listBuckets({ prefix: 'c', after: '', limit: 10_000 });
  assert.equal(rest.buckets.length, 10_000);
  assert.equal(rest.isTruncated, false);
});

withStore('a bucket that holds objects is not deleted', async ({ store }) => {
  await put(store, 'key', Buffer.from('x'));
  await assert.rejects(store.deleteBucket('bucket'), hasCode('BucketNotEmpty'));
  await put(store, 'key', Buffer.from('y'));
  await store.deleteObject({ bucket: 'bucket', key: 'key' });
  await store.deleteBucket('bucket');
  await assert.rejects(store.deleteBucket('bucket'), hasCode('NoSuchBucket'));
  await assert.rejects(put(store, 'key', Buffer.from('y')), hasCode('NoSuchBucket'));
});

withStore('a bucket made again does not show what the old one held', async ({ store, clock }) => {
  const { uploadId } = await store.createUpload({
    bucket: 'bucket',
    key: 'key',
    attributes: { headers: {}, userMetadata: {}, tagging: '', storageClass: 'STANDARD' },
    encryption: { kind: 'default' },
    owner: 'o',
  });
  await store.deleteBucket('bucket');
  await store.createBucket({ name: 'bucket', owner: 'o', location: '' });
  const ref = { bucket: 'bucket', key: 'key', uploadId };
  await assert.rejects(store.getUpload(ref), hasCode('NoSuchUpload'));
  clock.aheadMs = 1000;
  assert.equal((await store.sweep()).garbage, 1);
});

withStore('no acknowledged object is lost to a deletion of its bucket', async ({ store }) => {
  for (let round = 0; round < 60; round += 1) {
    const name = `race-${round}`;
    await store.createBucket({ name, owner: 'o', location: '' });
    const [written, deleted] = await Promise.allSettled([
      put(store, 'key', Buffer.from('x'), { bucket: name }),
      store.deleteBucket(name),
    ]);
    assert.notEqual(written.status, deleted.status);
    if (written.status === 'fulfilled') await store.openObject({ bucket: name, key: 'key' });
  }
});

withStore('a deletion that died is taken back', async ({ store, kv, clock }) => {
  const entryKey = bucketEntry('bucket');
  const entry = await kv.get(entryKey);
  assert.ok(entry);
  const marked = { ...decodeBucket(entry.value), deletingSinceMs: Date.now() };
  await kv.commit({ puts: [{ entryKey, value: encodeBucket(marked) }] });
  clock.aheadMs = 11_000;
  await put(store, 'key', Buffer.from('x'));
});

withStore('a deletion whose mark was taken back looks again', async ({ store, kv, clock }) => {
  const commit = kv.commit.bind(kv);
  const list = kv.list.bind(kv);
  kv.commit = async (change) => {
    const outcome = await commit(change);
    kv.commit = commit;
    // The deletion stalls behind its mark, long enough to be taken for dead.
    clock.aheadMs += 11_000;
    await store.updateBucketSettings('bucket', (settings) => settings);
    let lists = 0;
    kv.list = async (range) => {
      const found = await list(range);
      lists += 1;
      if (lists === 2) {
        kv.list = list;
        await put(store, 'key', Buffer.from('x'));
      }
      return found;
    };
    return outcome;
  };
  await assert.rejects(store.deleteBucket('bucket'), hasCode('BucketNotEmpty'));
  await store.openObject({ bucket: 'bucket', key: 'key' });
});

withStore('settings are changed one after the other, losing none', async ({ store }) => {
  const changes = Array.from({ length: 10 }, (_, index) =>
    store.updateBucketSettings('bucket', (settings) => ({ ...settings, [`s${index}`]: index })),
  );
  await Promise.all(changes);
  const { settings } = await store.getBucket('bucket');
  assert.equal(Object.keys(settings).length, 10);
});

withStore(
  'a bucket that was given before is not looked up again, and is checked anyway',
  async ({ store, kv }) => {
    const given = await store.getBucket('bucket');
    assert.equal(await store.getBucket('bucket'), given, 'the same while it does not change');
    await put(store, 'k', Buffer.from('x'));
    let looked = 0;
    const get = kv.get.bind(kv);
    kv.get = (entryKey) => {
      if (Buffer.from(entryKey).equals(bucketEntry('bucket'))) looked += 1;
      return get(entryKey);
    };
    await store.openObject({ bucket: 'bucket', key: 'k', given });
    assert.equal(looked, 0);
    await store.openObject({ bucket: 'bucket', key: 'k' });
    assert.equal(looked, 1);
    // What changed since is found by the commit.
    await store.updateBucketSettings('bucket', (settings) => ({ ...settings, acl: 'public-read' }));
    assert.notEqual(await store.getBucket('bucket'), given);
    looked = 0;
    await put(store, 'k', Buffer.from('y'), { given });
    assert.equal(looked, 1);
    // That of another bucket is of no use.
    const other = await store.createBucket({ name: 'other', owner: 'o', location: '' });
    await assert.rejects(
      store.openObject({ bucket: 'none', key: 'k', given: other }),
      hasCode('NoSuchBucket'),
    );
  },
);
