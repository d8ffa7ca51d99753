// What happens between the reads of an operation and its commit: another one, put there by the test.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesOf, openTestStore, put, type TestStore } from '../../../test/support/test-store.ts';
import { silentLog } from '../../base/log.ts';
import { tables } from '../keys.ts';
import type { Kv } from '../kv.ts';
import { type OpenedObjectStore, openObjectStore } from '../object-store.ts';
import { StoreError } from '../types.ts';

type Moment = { readonly call: 'get' | 'list' | 'commit'; readonly table?: keyof typeof tables };

/** A second view of the store in which `intrude` runs once, just before the first call of the kind named. */
async function intruded(
  at: TestStore,
  moment: Moment,
  intrude: () => Promise<unknown>,
): Promise<OpenedObjectStore> {
  let isDone = false;
  const meet = async (call: Moment['call'], entryKey: Uint8Array | undefined): Promise<void> => {
    if (isDone || call !== moment.call) return;
    if (moment.table && entryKey?.[0] !== tables[moment.table].charCodeAt(0)) return;
    isDone = true;
    await intrude();
  };
  const { kv } = at;
  const hooked: Kv = {
    get: async (entryKey) => (await meet('get', entryKey), kv.get(entryKey)),
    getMany: (entryKeys) => kv.getMany(entryKeys),
    list: async (range) => (await meet('list', range.start), kv.list(range)),
    commit: async (commit) => (await meet('commit', undefined), kv.commit(commit)),
    close: () => kv.close(),
  };
  return openObjectStore({
    kv: hooked,
    blobs: at.blobs,
    kms: at.kms,
    log: silentLog,
    settings: { isAutoEncrypting: false },
    now: () => Date.now() + at.clock.aheadMs,
  });
}

const ref = { bucket: 'bucket', key: 'a' };
const listing = { bucket: 'bucket', prefix: '', delimiter: '', keyMarker: '', versionMarker: '' };

/** A bucket with three versions of `a`: their ids, oldest first. */
async function withThree(
  title: string,
  run: (at: TestStore, ids: readonly [string, string, string]) => Promise<void>,
): Promise<void> {
  await test(title, async () => {
    const at = await openTestStore();
    try {
      const { store } = at;
      await store.updateBucketSettings('bucket', (settings) => ({
        ...settings,
        versioning: 'Enabled',
      }));
      const ids: string[] = [];
      for (const body of ['one', 'two', 'three']) {
        ids.push((await put(store, 'a', Buffer.from(body))).versionId);
      }
      const [one = '', two = '', three = ''] = ids;
      await run(at, [one, two, three]);
    } finally {
      await at.close();
    }
  });
}

async function idsOf({ store }: { readonly store: OpenedObjectStore }): Promise<string[]> {
  const page = await store.listVersions({ ...listing, limit: 1000 });
  return page.versions.map(({ info, isLatest }) => `${info.versionId}${isLatest ? '*' : ''}`);
}

void withThree(
  'a version deleted while it is brought back stays deleted',
  async (at, [one, two, three]) => {
    const remove = () => at.store.deleteObject({ ...ref, versionId: two });
    const store = await intruded(at, { call: 'commit' }, remove);
    await store.deleteObject({ ...ref, versionId: three });
    assert.deepEqual(await idsOf(at), [`${one}*`]);
  },
);

void withThree(
  'tags set while a version is brought back are kept',
  async (at, [one, two, three]) => {
    const tag = () => at.store.putTagging({ ...ref, versionId: two }, 't=1');
    const store = await intruded(at, { call: 'commit' }, tag);
    await store.deleteObject({ ...ref, versionId: three });
    assert.deepEqual(await idsOf(at), [`${two}*`, one]);
    assert.equal((await at.store.openObject(ref)).info.attributes.tagging, 't=1');
  },
);

void withThree(
  'a version that becomes the newest while it is looked for is found',
  async (at, ids) => {
    const [one, two, three] = ids;
    const promote = () => at.store.deleteObject({ ...ref, versionId: three });
    const moment = { call: 'get', table: 'version' } as const;
    const store = await intruded(at, moment, promote);
    const opened = await store.openObject({ ...ref, versionId: two, willRead: true });
    assert.equal((await bytesOf(await opened.read())).toString(), 'two');
    const deleting = await intruded(at, moment, () =>
      at.store.deleteObject({ ...ref, versionId: two }),
    );
    await deleting.deleteObject({ ...ref, versionId: one });
    assert.deepEqual(await idsOf(at), []);
  },
);

void withThree('a listing misses no version that is brought back meanwhile', async (at, ids) => {
  const [one, two, three] = ids;
  const promote = () => at.store.deleteObject({ ...ref, versionId: three });
  const store = await intruded(at, { call: 'list', table: 'version' }, promote);
  assert.deepEqual(await idsOf({ store }), [`${two}*`, one]);
});

void withThree('a listing shows no version twice that moves meanwhile', async (at, ids) => {
  const [one, two, three] = ids;
  const write = () => put(at.store, 'a', Buffer.from('four'));
  const store = await intruded(at, { call: 'list', table: 'version' }, write);
  const found = await idsOf({ store });
  assert.deepEqual(found.slice(-3), [three, two, one]);
  assert.equal(found.length, 4);
});

void withThree('a write that met a suspension replaces the version null', async (at, ids) => {
  const suspend = async () => {
    await at.store.updateBucketSettings('bucket', (settings) => ({
      ...settings,
      versioning: 'Suspended',
    }));
    await put(at.store, 'a', Buffer.from('null'));
  };
  const store = await intruded(at, { call: 'commit' }, suspend);
  assert.equal((await put(store, 'a', Buffer.from('late'))).versionId, 'null');
  const [one, two, three] = ids;
  assert.deepEqual(await idsOf(at), ['null*', three, two, one]);
});

void withThree('a version held while its deletion is under way stays', async (at, ids) => {
  await at.store.updateBucketSettings('bucket', (settings) => ({ ...settings, objectLock: {} }));
  for (const versionId of ids) {
    const hold = () => at.store.putLegalHold({ ...ref, versionId }, true);
    const store = await intruded(at, { call: 'commit' }, hold);
    await assert.rejects(
      store.deleteObject({ ...ref, versionId, bypassesGovernance: true }),
      (error) => error instanceof StoreError && error.code === 'ObjectLocked',
    );
  }
  assert.equal((await idsOf(at)).length, 3);
});

void test('a page goes no further than the table that was read least', async () => {
  const at = await openTestStore();
  try {
    const { store } = at;
    await store.updateBucketSettings('bucket', (settings) => ({
      ...settings,
      versioning: 'Enabled',
    }));
    for (let count = 0; count < 150; count += 1) await put(store, 'a', Buffer.from('x'));
    for (let count = 100; count < 250; count += 1) await put(store, `b${count}`, Buffer.from('x'));
    const all = await store.listVersions({ ...listing, limit: 1000 });
    assert.equal(all.versions.length, 300);
    // With a delimiter less is read at a time.
    const folded = await store.listVersions({ ...listing, delimiter: '/', limit: 1000 });
    assert.deepEqual(folded, all);
  } finally {
    await at.close();
  }
});
