// Versions of objects: what writes, deletions and suspensions leave, and what stays of old records.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareStored } from '../../../test/crash/orphans.ts';
import {
  bytesOf,
  get,
  openTestStore,
  plainAttributes,
  put,
  type TestStore,
} from '../../../test/support/test-store.ts';
import { currentEntry } from '../keys.ts';
import type { Kv, KvCommit } from '../kv.ts';
import { openObjectStore } from '../object-store.ts';
import { decodeBucket, decodeObject, encodeObject } from '../records.ts';
import { silentLog } from '../../base/log.ts';
import { StoreError, type Versioning } from '../types.ts';

function withStore(title: string, run: (opened: TestStore) => Promise<void>): void {
  for (const engine of ['memory', 'durable'] as const) {
    void test(`${title} (${engine})`, async () => {
      const opened = await openTestStore({ engine, settings: { garbageGraceMs: 0 } });
      try {
        await run(opened);
        await opened.store.sweep();
        opened.clock.aheadMs += 7 * 3_600_000;
        await opened.store.sweep();
        assert.deepEqual(await compareStored(opened.kv, opened.blobs), []);
      } finally {
        await opened.close();
      }
    });
  }
}

const hasCode =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof StoreError && error.code === code;

async function setVersioning({ store }: TestStore, versioning: Versioning): Promise<void> {
  await store.updateBucketSettings('bucket', (settings) => ({ ...settings, versioning }));
}

/** `key:id` of every version, `!` before markers, `*` behind the latest. Ids by their first characters of `names`. */
async function versionsOf(
  { store }: TestStore,
  limit = 1000,
  names: ReadonlyMap<string, string> = new Map(),
): Promise<string[]> {
  const found: string[] = [];
  let marker: { key: string; versionMarker: string } | undefined = { key: '', versionMarker: '' };
  while (marker) {
    const { key: keyMarker, versionMarker } = marker;
    const query = { bucket: 'bucket', prefix: '', delimiter: '', limit };
    const page = await store.listVersions({ ...query, keyMarker, versionMarker });
    assert.ok(page.versions.length <= limit);
    for (const { info, isLatest, isMarker } of page.versions) {
      const id = names.get(info.versionId) ?? info.versionId;
      found.push(`${isMarker ? '!' : ''}${info.key}:${id}${isLatest ? '*' : ''}`);
    }
    marker = page.next;
  }
  return found;
}

const bytes = (text: string): Buffer => Buffer.from(text);

async function read({ store }: TestStore, key: string, versionId?: string): Promise<string> {
  const ref = { bucket: 'bucket', key, ...(versionId === undefined ? {} : { versionId }) };
  const opened = await store.openObject({ ...ref, willRead: true });
  return (await bytesOf(await opened.read())).toString();
}

withStore(
  'an enabled bucket keeps every version, and deleting one brings the next back',
  async (at) => {
    const { store } = at;
    await put(store, 'a', bytes('null'));
    await setVersioning(at, 'Enabled');
    const one = await put(store, 'a', bytes('one'), { encryption: { kind: 'sse-s3' } });
    const two = await put(store, 'a', bytes('two'));
    const names = new Map([
      [one.versionId, 'one'],
      [two.versionId, 'two'],
    ]);
    assert.deepEqual(await versionsOf(at, 1, names), ['a:two*', 'a:one', 'a:null']);
    assert.equal(await read(at, 'a', 'null'), 'null');
    assert.equal(await read(at, 'a', one.versionId), 'one');
    assert.equal(await read(at, 'a'), 'two');
    const ref = { bucket: 'bucket', key: 'a' };
    const removed = await store.deleteObject({ ...ref, versionId: two.versionId });
    assert.deepEqual(removed, { versionId: two.versionId, isMarker: false });
    assert.equal(await read(at, 'a'), 'one');
    assert.deepEqual(await versionsOf(at, 2, names), ['a:one*', 'a:null']);
    await store.deleteObject({ ...ref, versionId: 'null' });
    await assert.rejects(read(at, 'a', 'null'), hasCode('NoSuchVersion'));
    assert.deepEqual(await versionsOf(at, 2, names), ['a:one*']);
    const usage = await store.keyUsage('test-key');
    assert.deepEqual(usage, { objects: 1, bytes: 3 });
    await store.deleteObject({ ...ref, versionId: one.versionId });
    assert.deepEqual(await versionsOf(at), []);
    assert.deepEqual(await store.keyUsage('test-key'), { objects: 0, bytes: 0 });
    await store.deleteBucket('bucket');
  },
);

withStore('a marker hides an object until it is deleted itself', async (at) => {
  const { store } = at;
  await setVersioning(at, 'Enabled');
  const one = await put(store, 'a', bytes('one'));
  const marker = await store.deleteObject({ bucket: 'bucket', key: 'a' });
  assert.equal(marker.isMarker, true);
  const { versionId = '' } = marker;
  await assert.rejects(read(at, 'a'), (error: StoreError) => {
    assert.equal(error.code, 'NoSuchKey');
    assert.equal(error.marker?.versionId, versionId);
    return true;
  });
  await assert.rejects(read(at, 'a', versionId), (error: StoreError) => {
    assert.equal(error.code, 'DeleteMarker');
    assert.equal(error.marker?.versionId, versionId);
    return true;
  });
  const query = { bucket: 'bucket', prefix: '', delimiter: '', after: '', limit: 10 };
  assert.deepEqual((await store.listObjects(query)).objects, []);
  const conditional = { ifNoneMatch: '*' };
  const names = new Map([
    [one.versionId, 'one'],
    [versionId, 'gone'],
  ]);
  assert.deepEqual(await versionsOf(at, 1, names), ['!a:gone*', 'a:one']);
  await assert.rejects(store.deleteBucket('bucket'), hasCode('BucketNotEmpty'));
  await assert.rejects(
    put(store, 'a', bytes('x'), { conditions: { ifMatch: '*' } }),
    hasCode('NoSuchKey'),
  );
  await store.deleteObject({ bucket: 'bucket', key: 'a', versionId });
  assert.equal(await read(at, 'a'), 'one');
  await assert.rejects(put(store, 'a', bytes('x'), { conditions: conditional }), StoreError);
  // A marker alone keeps the bucket too.
  await store.deleteObject({ bucket: 'bucket', key: 'a', versionId: one.versionId });
  const lone = await store.deleteObject({ bucket: 'bucket', key: 'never' });
  assert.equal(lone.isMarker, true);
  await assert.rejects(store.deleteBucket('bucket'), hasCode('BucketNotEmpty'));
  const removed = { bucket: 'bucket', key: 'never', versionId: lone.versionId ?? '' };
  assert.deepEqual(await store.deleteObject(removed), lone);
  await store.deleteBucket('bucket');
});

withStore(
  'a suspended bucket has one version null, which writes and deletions replace',
  async (at) => {
    const { store } = at;
    await setVersioning(at, 'Enabled');
    const one = await put(store, 'a', bytes('one'));
    await setVersioning(at, 'Suspended');
    assert.equal((await put(store, 'a', Buffer.alloc(200_000))).versionId, 'null');
    assert.equal((await put(store, 'a', bytes('second'))).versionId, 'null');
    await setVersioning(at, 'Enabled');
    const two = await put(store, 'a', bytes('two'));
    const names = new Map([
      [one.versionId, 'one'],
      [two.versionId, 'two'],
    ]);
    assert.deepEqual(await versionsOf(at, 1, names), ['a:two*', 'a:null', 'a:one']);
    assert.equal(await read(at, 'a', 'null'), 'second');
    await setVersioning(at, 'Suspended');
    // The null version is in the past: it goes from there, and the new one is the newest.
    await put(store, 'a', bytes('third'));
    assert.deepEqual(await versionsOf(at, 1, names), ['a:null*', 'a:two', 'a:one']);
    assert.deepEqual(await store.deleteObject({ bucket: 'bucket', key: 'a' }), {
      versionId: 'null',
      isMarker: true,
    });
    assert.deepEqual(await versionsOf(at, 2, names), ['!a:null*', 'a:two', 'a:one']);
    await assert.rejects(read(at, 'a', 'null'), hasCode('DeleteMarker'));
    await store.deleteObject({ bucket: 'bucket', key: 'a', versionId: 'null' });
    assert.equal(await read(at, 'a'), 'two');
    assert.deepEqual(await versionsOf(at, 2, names), ['a:two*', 'a:one']);
  },
);

withStore('tags belong to one version and change nothing else of it', async (at) => {
  const { store } = at;
  await setVersioning(at, 'Enabled');
  const one = await put(store, 'a', bytes('one'), { encryption: { kind: 'sse-s3' } });
  await put(store, 'a', bytes('two'));
  const ref = { bucket: 'bucket', key: 'a', versionId: one.versionId };
  const tagged = await store.putTagging(ref, 'x=1');
  assert.deepEqual(tagged, { ...one, attributes: { ...one.attributes, tagging: 'x=1' } });
  assert.deepEqual((await store.openObject(ref)).info, tagged);
  const current = { bucket: 'bucket', key: 'a' };
  assert.equal((await store.openObject(current)).info.attributes.tagging, '');
  await store.putTagging(current, 'y=2');
  assert.equal((await store.openObject(current)).info.attributes.tagging, 'y=2');
  assert.equal(await read(at, 'a', one.versionId), 'one');
  const marker = await store.deleteObject(current);
  await assert.rejects(store.putTagging(current, ''), hasCode('NoSuchKey'));
  const ofMarker = { ...current, versionId: marker.versionId ?? '' };
  await assert.rejects(store.putTagging(ofMarker, ''), hasCode('DeleteMarker'));
});

withStore('the order of versions does not depend on the clock', async (at) => {
  const { store, clock } = at;
  await setVersioning(at, 'Enabled');
  const ids: string[] = [];
  for (const aheadMs of [0, 10_000_000, -90_000_000, -90_000_000, 5]) {
    clock.aheadMs = aheadMs;
    ids.unshift((await put(store, 'a', bytes(String(aheadMs)))).versionId);
  }
  const listed = ids.map((id, index) => `a:${id}${index === 0 ? '*' : ''}`);
  assert.deepEqual(await versionsOf(at, 2), listed);
});

withStore('what began before versioning is committed by the state at its end', async (at) => {
  const { store } = at;
  await put(store, 'a', bytes('old'));
  let resume = (): void => undefined;
  const waiting = new Promise<void>((resolve) => {
    resume = resolve;
  });
  const slow = put(
    store,
    'a',
    (async function* body() {
      yield bytes('slow');
      await waiting;
    })(),
  );
  await setVersioning(at, 'Enabled');
  resume();
  const { versionId } = await slow;
  assert.match(versionId, /^[0-9a-f]{32}$/);
  assert.deepEqual(await versionsOf(at), [`a:${versionId}*`, 'a:null']);
  assert.equal(await read(at, 'a', 'null'), 'old');
});

withStore('a completed upload is a version, and says so again', async (at) => {
  const { store } = at;
  await setVersioning(at, 'Enabled');
  const old = await put(store, 'a', bytes('old'));
  const upload = await store.createUpload({
    bucket: 'bucket',
    key: 'a',
    attributes: plainAttributes,
    encryption: { kind: 'sse-s3' },
    owner: 'o',
  });
  const ref = { bucket: 'bucket', key: 'a', uploadId: upload.uploadId };
  const part = await store.putPart({ ...ref, partNumber: 1, body: bytes('part'), sizeBytes: 4 });
  const input = { ...ref, parts: [{ number: 1, etag: part.etag }] };
  const info = await store.completeUpload(input);
  assert.equal((await store.completeUpload(input)).versionId, info.versionId);
  assert.deepEqual(await versionsOf(at), [`a:${info.versionId}*`, `a:${old.versionId}`]);
  await put(store, 'a', bytes('new'));
  assert.equal(await read(at, 'a', info.versionId), 'part');
  const opened = await store.openObject({ ...ref, versionId: info.versionId });
  assert.equal(opened.info.parts?.length, 1);
});

withStore('conditions of a deletion are about what is deleted', async (at) => {
  const { store } = at;
  const { etag, modifiedMs } = await put(store, 'a', bytes('one'));
  const ref = { bucket: 'bucket', key: 'a' };
  for (const wrong of [{ ifMatch: 'x' }, { ifModifiedMs: modifiedMs + 1000 }, { ifSizeBytes: 4 }]) {
    await assert.rejects(store.deleteObject({ ...ref, ...wrong }), hasCode('PreconditionFailed'));
  }
  await setVersioning(at, 'Enabled');
  const two = await put(store, 'a', bytes('two2'));
  const wrong = { ...ref, ifMatch: etag };
  await assert.rejects(store.deleteObject(wrong), hasCode('PreconditionFailed'));
  await store.deleteObject({ ...ref, versionId: 'null', ifMatch: etag, ifSizeBytes: 3 });
  await store.deleteObject({ ...ref, ifMatch: two.etag, ifModifiedMs: two.modifiedMs });
  // Hidden already: nothing to be compared, nothing to do.
  assert.deepEqual(await store.deleteObject({ ...ref, ifSizeBytes: 1 }), { isMarker: false });
});

withStore('prefixes and delimiters fold versions too', async (at) => {
  const { store } = at;
  await setVersioning(at, 'Enabled');
  for (const key of ['a', 'b/1', 'b/1', 'b/2', 'c', 'c/', 'd/x']) await put(store, key, bytes(key));
  await store.deleteObject({ bucket: 'bucket', key: 'b/3' });
  const query = { bucket: 'bucket', prefix: '', delimiter: '/', keyMarker: '', versionMarker: '' };
  const seen: string[] = [];
  let marker: { key: string; versionMarker: string } | undefined = { key: '', versionMarker: '' };
  while (marker) {
    const { key: keyMarker, versionMarker } = marker;
    const page = await store.listVersions({ ...query, keyMarker, versionMarker, limit: 1 });
    seen.push(...page.versions.map(({ info }) => info.key), ...page.commonPrefixes);
    marker = page.next;
  }
  assert.deepEqual(seen, ['a', 'b/', 'c', 'c/', 'd/']);
  const inside = await store.listVersions({ ...query, prefix: 'b/', limit: 10 });
  assert.deepEqual(
    inside.versions.map(({ info }) => info.key),
    ['b/1', 'b/1', 'b/2', 'b/3'],
  );
  assert.deepEqual(
    inside.versions.map(({ isLatest }) => isLatest),
    [true, false, true, true],
  );
});

/** A `Kv` that counts. */
function counting(kv: Kv): { readonly kv: Kv; readonly counts: Record<string, number> } {
  const counts: Record<string, number> = { get: 0, getMany: 0, list: 0, commit: 0, checks: 0 };
  const count = (name: string): void => {
    counts[name] = (counts[name] ?? 0) + 1;
  };
  return {
    counts,
    kv: {
      get: (entryKey) => (count('get'), kv.get(entryKey)),
      getMany: (entryKeys) => (count('getMany'), kv.getMany(entryKeys)),
      list: (range) => (count('list'), kv.list(range)),
      commit: (commit: KvCommit) => {
        count('commit');
        counts['checks'] = (counts['checks'] ?? 0) + (commit.checks?.length ?? 0);
        return kv.commit(commit);
      },
      close: () => kv.close(),
    },
  };
}

void test('a bucket without versioning costs what it always did', async () => {
  const at = await openTestStore({ isSealed: false });
  try {
    const { kv, counts } = counting(at.kv);
    const store = await openObjectStore({
      kv,
      blobs: at.blobs,
      kms: undefined,
      log: silentLog,
      settings: { isAutoEncrypting: false },
    });
    const cost = async (run: () => Promise<unknown>): Promise<string> => {
      for (const name in counts) counts[name] = 0;
      await run();
      return Object.entries(counts)
        .filter(([, value]) => value > 0)
        .map(([name, value]) => `${value} ${name}`)
        .join(', ');
    };
    const ref = { bucket: 'bucket', key: 'a' };
    const list = { bucket: 'bucket', prefix: '', delimiter: '', after: '', limit: 1000 };
    const write = '2 get, 1 commit, 2 checks';
    assert.equal(await cost(() => put(store, 'a', bytes('one'))), write);
    assert.equal(await cost(() => put(store, 'a', bytes('two'))), write);
    assert.equal(await cost(() => get(store, 'a')), '3 get');
    assert.equal(await cost(() => store.openObject(ref)), '2 get');
    assert.equal(await cost(() => store.listObjects(list)), '1 get, 1 list');
    assert.equal(await cost(() => store.deleteObject(ref)), write);
    // With versions a write checks one entry more, and a listing reads none of them.
    await setVersioning(at, 'Enabled');
    for (let count = 0; count < 50; count += 1) {
      await put(store, `x${count % 5}`, bytes('x'));
      await store.deleteObject({ bucket: 'bucket', key: `y${count % 5}` });
    }
    const versioned = '1 get, 1 getMany, 1 commit, 3 checks';
    assert.equal(await cost(() => put(store, 'x1', bytes('x'))), versioned);
    assert.equal(await cost(() => store.deleteObject({ ...ref, key: 'x1' })), versioned);
    assert.equal(await cost(() => get(store, 'x2')), '3 get');
    assert.equal(await cost(() => store.listObjects(list)), '1 get, 1 list');
    await store.close();
  } finally {
    await at.close();
  }
});

void test('a record of before has no version, and is written as it always was', async () => {
  // As every release so far wrote it: eleven elements, the last the id of the parts or nothing.
  const before = Buffer.from(
    '9b01a46e756c6cd920663937633564323939343162666231623266646162303837343930366162383203cb4279' +
      'b76daa800000a56f776e65729492ac636f6e74656e742d74797065aa746578742f706c61696e92a161a131a378' +
      '3d31a85354414e44415244c0c0930103d920303139623737623561303030303132333435363738396162636465' +
      '6630313233c0',
    'hex',
  );
  const record = decodeObject(before);
  assert.equal(record.versionId, 'null');
  assert.equal(record.version, undefined);
  assert.equal(record.lock, undefined);
  assert.equal(record.data?.storedBytes, 3);
  assert.deepEqual(encodeObject(record).toString('hex'), before.toString('hex'));
  const at = await openTestStore({ isSealed: false });
  try {
    const info = await put(at.store, 'a', bytes('one'));
    const bucket = await at.kv.get(Buffer.from('bbucket'));
    const { id } = decodeBucket(bucket?.value ?? Buffer.alloc(0));
    const stored = await at.kv.get(currentEntry(id, bytes('a')));
    // An array of eleven: nothing of versions is in it.
    assert.equal(stored?.value[0] === 0 ? stored.value[1] : stored?.value[0], 0x9b);
    assert.equal(info.versionId, 'null');
  } finally {
    await at.close();
  }
});
