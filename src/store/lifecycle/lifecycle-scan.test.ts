// The lifecycle scan over a real store, with a clock set by hand: what goes, what stays, and what happens when an
// object changes between the moment it was listed and the moment it would go.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { plainAttributes, put } from '../../../test/support/test-store.ts';
import { silentLog, type Log, type LogFields } from '../../base/log.ts';
import { openMemoryBlobStore } from '../../blob/memory.ts';
import { openMemoryKv } from '../../kv/memory.ts';
import type { Kms } from '../../sse/kms.ts';
import { lifecycleDayMs as dayMs } from './lifecycle.ts';
import { type LifecycleReport, type LifecycleScanDeps, scanLifecycle } from './lifecycle-scan.ts';
import { type OpenedObjectStore, openObjectStore } from '../object-store.ts';
import { type LifecycleRule, StoreError, type Versioning } from '../types.ts';

type World = {
  readonly store: OpenedObjectStore;
  readonly clock: { ms: number };
  /** The scan sees this store, which may do something in between. */
  scan(change?: Partial<LifecycleScanDeps>): Promise<LifecycleReport>;
};

const none: LifecycleReport = { object: 0, version: 0, marker: 0, upload: 0, failures: 0 };
const monday = Date.UTC(2026, 5, 1, 9);

/** A KMS that is down: the scan must not need it. */
const deadKms = new Proxy({} as Kms, {
  get: (_target, name) => {
    if (name === 'defaultKeyName') return 'key';
    throw new Error('the key service is down');
  },
});

async function world(kms?: Kms): Promise<World> {
  const clock = { ms: monday };
  const now = (): number => clock.ms;
  const store = await openObjectStore({
    kv: openMemoryKv(),
    blobs: openMemoryBlobStore(now),
    kms,
    log: silentLog,
    settings: { isAutoEncrypting: false },
    now,
  });
  await store.createBucket({ name: 'bucket', owner: 'owner', location: '' });
  return {
    store,
    clock,
    scan: (change) =>
      scanLifecycle({ store, log: silentLog, now, dayMs, rest: async () => {}, ...change }),
  };
}

const rule = (change: Partial<LifecycleRule>): LifecycleRule => ({
  id: 'rule',
  isEnabled: true,
  filter: { prefix: '', tags: [] },
  filterForm: 'filter',
  ...change,
});
const expiring = (days: number): Partial<LifecycleRule> => ({
  expiration: { kind: 'days', days },
});
const prefixed = (prefix: string): Pick<LifecycleRule, 'filter'> => ({
  filter: { prefix, tags: [] },
});

async function setRules({ store }: World, ...lifecycle: readonly LifecycleRule[]): Promise<void> {
  await store.updateBucketSettings('bucket', (settings) => ({ ...settings, lifecycle }));
}

async function dropRules({ store }: World): Promise<void> {
  await store.updateBucketSettings('bucket', (settings) => {
    const { lifecycle: _, ...rest } = settings;
    return rest;
  });
}

async function setVersioning({ store }: World, versioning: Versioning): Promise<void> {
  await store.updateBucketSettings('bucket', (settings) => ({ ...settings, versioning }));
}

/** `name`, `name!` for a marker, `~` before what is not the newest. */
async function listed({ store }: World): Promise<string[]> {
  const query = { bucket: 'bucket', prefix: '', delimiter: '', keyMarker: '', versionMarker: '' };
  const { versions } = await store.listVersions({ ...query, limit: 1000 });
  return versions.map(
    ({ info, isLatest, isMarker }) => `${isLatest ? '' : '~'}${info.key}${isMarker ? '!' : ''}`,
  );
}

const bytes = (count: number): Buffer => Buffer.alloc(count, 'x');
const tagged = (tagging: string): { attributes: typeof plainAttributes } => ({
  attributes: { ...plainAttributes, tagging },
});

void test('objects go when a rule says so, and no others', async () => {
  const at = await world();
  await setRules(
    at,
    rule({ id: 'logs', ...expiring(2), ...prefixed('logs/') }),
    rule({ id: 'off', ...expiring(1), isEnabled: false }),
    rule({
      id: 'tag',
      ...expiring(1),
      filter: { prefix: '', tags: [{ key: 'tmp', value: 'a b' }], sizeGreaterThan: 10 },
    }),
  );
  for (const key of ['logs/a', 'logs/b', 'other']) await put(at.store, key, bytes(3));
  await put(at.store, 'tagged', bytes(11), tagged('x=1&tmp=a%20b'));
  await put(at.store, 'tagged-small', bytes(10), tagged('tmp=a+b'));
  at.clock.ms = Date.UTC(2026, 5, 2, 23, 59);
  assert.deepEqual(await at.scan(), none);
  at.clock.ms = Date.UTC(2026, 5, 3);
  assert.deepEqual(await at.scan(), { ...none, object: 1 });
  assert.deepEqual(await listed(at), ['logs/a', 'logs/b', 'other', 'tagged-small']);
  await put(at.store, 'logs/c', bytes(3));
  at.clock.ms = Date.UTC(2026, 5, 4);
  const seen: string[] = [];
  assert.deepEqual(await at.scan({ pageLimit: 1, count: (kind) => seen.push(kind) }), {
    ...none,
    object: 2,
  });
  assert.deepEqual(seen, ['object', 'object']);
  assert.deepEqual(await listed(at), ['logs/c', 'other', 'tagged-small']);
});

void test('with versions an expired object is hidden, and goes days after it was replaced', async () => {
  const at = await world();
  await setVersioning(at, 'Enabled');
  await setRules(at, rule({ ...expiring(1), noncurrent: { days: 3 } }));
  await put(at.store, 'a', bytes(1));
  at.clock.ms += dayMs;
  await put(at.store, 'a', bytes(2));
  at.clock.ms += 2 * dayMs;
  assert.deepEqual(await at.scan(), { ...none, object: 1 });
  assert.deepEqual(await listed(at), ['a!', '~a', '~a']);
  at.clock.ms += 2 * dayMs;
  // The first version was replaced four days ago, the second two.
  assert.deepEqual(await at.scan(), { ...none, version: 1 });
  assert.deepEqual(await listed(at), ['a!', '~a']);
  at.clock.ms += 2 * dayMs;
  // The marker hides nothing any more, and is older than the day of the rule.
  assert.deepEqual(await at.scan(), { ...none, version: 1, marker: 1 });
  assert.deepEqual(await listed(at), []);
});

void test('the newest of the older versions are kept when the rule says so', async () => {
  for (const pageLimit of [1, 2, 3, 500]) {
    const at = await world();
    await setVersioning(at, 'Enabled');
    await setRules(at, rule({ noncurrent: { days: 1, newerVersions: 2 } }));
    for (let size = 1; size <= 6; size += 1) await put(at.store, 'a', bytes(size));
    await put(at.store, 'b', bytes(1));
    assert.deepEqual(await at.scan({ pageLimit }), none);
    at.clock.ms += 3 * dayMs;
    assert.deepEqual(await at.scan({ pageLimit }), { ...none, version: 3 }, `${pageLimit}`);
    assert.deepEqual(await listed(at), ['a', '~a', '~a', 'b']);
    assert.deepEqual(await at.scan({ pageLimit }), none);
  }
});

void test('a marker goes only when it hides nothing', async () => {
  for (const pageLimit of [1, 500]) {
    const at = await world();
    await setVersioning(at, 'Enabled');
    await setRules(at, rule({ expiration: { kind: 'lone-marker' } }));
    await put(at.store, 'hiding', bytes(1));
    for (const key of ['alone', 'hiding']) await at.store.deleteObject({ bucket: 'bucket', key });
    assert.deepEqual(await at.scan({ pageLimit }), { ...none, marker: 1 });
    assert.deepEqual(await listed(at), ['hiding!', '~hiding']);
  }
});

void test('uploads that nobody completed are aborted', async () => {
  const at = await world();
  const upload = (key: string) =>
    at.store.createUpload({
      bucket: 'bucket',
      key,
      attributes: plainAttributes,
      encryption: { kind: 'default' },
      owner: 'owner',
    });
  await setRules(at, rule({ abortUploadDays: 2, ...prefixed('u/') }));
  const old = await upload('u/old');
  const ref = { bucket: 'bucket', key: 'u/old', uploadId: old.uploadId };
  await at.store.putPart({ ...ref, partNumber: 1, body: bytes(9), sizeBytes: 9 });
  await upload('other');
  at.clock.ms += 2 * dayMs;
  await upload('u/new');
  at.clock.ms += dayMs;
  assert.deepEqual(await at.scan({ pageLimit: 1 }), { ...none, upload: 1 });
  const query = { bucket: 'bucket', prefix: '', delimiter: '', keyMarker: '', uploadIdMarker: '' };
  const { uploads } = await at.store.listUploads({ ...query, limit: 10 });
  assert.deepEqual(
    uploads.map(({ key }) => key),
    ['other', 'u/new'],
  );
});

void test('an object written, tagged or spared after it was listed stays', async () => {
  const changes: Readonly<Record<string, (at: World) => Promise<unknown>>> = {
    written: (at) => put(at.store, 'a', bytes(1), tagged('t=1')),
    tagged: (at) => at.store.putTagging({ bucket: 'bucket', key: 'a' }, 't=2'),
    spared: (at) => setRules(at, rule({ ...expiring(1), ...prefixed('b') })),
    unruled: (at) => dropRules(at),
    deleted: (at) => at.store.deleteObject({ bucket: 'bucket', key: 'a' }),
  };
  for (const versioning of [undefined, 'Enabled', 'Suspended'] as const) {
    for (const [what, change] of Object.entries(changes)) {
      const at = await world();
      if (versioning) await setVersioning(at, versioning);
      const tags = [{ key: 't', value: '1' }];
      await setRules(at, rule({ ...expiring(1), filter: { prefix: '', tags } }));
      await put(at.store, 'a', bytes(1), tagged('t=1'));
      at.clock.ms += 3 * dayMs;
      const store = {
        ...at.store,
        deleteObject: async (input: Parameters<OpenedObjectStore['deleteObject']>[0]) => {
          await change(at);
          return at.store.deleteObject(input);
        },
      };
      assert.deepEqual(await at.scan({ store }), none, `${versioning} ${what}`);
      const [first] = await listed(at);
      const gone = versioning === undefined ? undefined : 'a!';
      assert.equal(first, what === 'deleted' ? gone : 'a', `${versioning} ${what}`);
    }
  }
});

void test('an older version that became the newest after it was listed stays', async () => {
  const at = await world();
  await setVersioning(at, 'Enabled');
  await setRules(at, rule({ noncurrent: { days: 1 } }));
  await put(at.store, 'a', bytes(1));
  const { versionId } = await put(at.store, 'a', bytes(2));
  at.clock.ms += 3 * dayMs;
  const store = {
    ...at.store,
    deleteObject: async (input: Parameters<OpenedObjectStore['deleteObject']>[0]) => {
      await at.store.deleteObject({ bucket: 'bucket', key: 'a', versionId });
      return at.store.deleteObject(input);
    },
  };
  assert.deepEqual(await at.scan({ store }), none);
  assert.deepEqual(await listed(at), ['a']);
});

void test('an older version stays when those that outnumbered it went after it was listed', async () => {
  const at = await world();
  await setVersioning(at, 'Enabled');
  await setRules(at, rule({ noncurrent: { days: 1, newerVersions: 1 } }));
  await put(at.store, 'a', bytes(1));
  const { versionId } = await put(at.store, 'a', bytes(2));
  await put(at.store, 'a', bytes(3));
  at.clock.ms += 3 * dayMs;
  const store = {
    ...at.store,
    deleteObject: async (input: Parameters<OpenedObjectStore['deleteObject']>[0]) => {
      await at.store.deleteObject({ bucket: 'bucket', key: 'a', versionId });
      return at.store.deleteObject(input);
    },
  };
  assert.deepEqual(await at.scan({ store }), none);
  assert.deepEqual(await listed(at), ['a', '~a']);
});

void test('a marker that got something to hide after it was listed stays', async () => {
  const at = await world();
  await setVersioning(at, 'Enabled');
  await setRules(at, rule({ expiration: { kind: 'lone-marker' } }));
  await at.store.deleteObject({ bucket: 'bucket', key: 'a' });
  const store = {
    ...at.store,
    deleteObject: async (input: Parameters<OpenedObjectStore['deleteObject']>[0]) => {
      await put(at.store, 'a', bytes(1));
      return at.store.deleteObject(input);
    },
  };
  assert.deepEqual(await at.scan({ store }), none);
  assert.deepEqual(await listed(at), ['a', '~a!']);
});

void test('an upload is spared by a rule that went after it was listed', async () => {
  const at = await world();
  await setRules(at, rule({ abortUploadDays: 1 }));
  const input = { bucket: 'bucket', key: 'a', attributes: plainAttributes, owner: 'owner' };
  const made = await at.store.createUpload({ ...input, encryption: { kind: 'default' } });
  at.clock.ms += 3 * dayMs;
  const store: LifecycleScanDeps['store'] = {
    ...at.store,
    abortUpload: async (ref, byRules) => {
      await setRules(at, rule(expiring(1)));
      return at.store.abortUpload(ref, byRules);
    },
  };
  assert.deepEqual(await at.scan({ store }), none);
  const { uploadId } = await at.store.getUpload(made);
  assert.equal(uploadId, made.uploadId);
});

void test('rules that are gone when the next page is due end the scan of their bucket', async () => {
  const at = await world();
  await setRules(at, rule(expiring(1)));
  for (const key of ['a', 'b', 'c']) await put(at.store, key, bytes(1));
  at.clock.ms += 3 * dayMs;
  let lists = 0;
  const store: LifecycleScanDeps['store'] = {
    ...at.store,
    listObjects: async (query) => {
      lists += 1;
      return at.store.listObjects(query);
    },
  };
  const rest = (): Promise<void> => dropRules(at);
  assert.deepEqual(await at.scan({ store, rest, pageLimit: 1 }), { ...none, object: 1 });
  assert.equal(lists, 1);
  assert.deepEqual(await listed(at), ['b', 'c']);
});

void test('what a prefix leaves out is not even listed', async () => {
  const at = await world();
  await setRules(
    at,
    rule({ ...expiring(1), ...prefixed('logs/') }),
    rule({ ...expiring(1), ...prefixed('logs/x') }),
    rule({ noncurrent: { days: 1 }, ...prefixed('tmp/') }),
    rule({ abortUploadDays: 1 }),
  );
  const prefixes: string[] = [];
  const store: LifecycleScanDeps['store'] = {
    ...at.store,
    listObjects: (query) => {
      prefixes.push(query.prefix);
      return at.store.listObjects(query);
    },
  };
  await at.scan({ store });
  assert.deepEqual(prefixes, ['logs/', 'tmp/']);
});

void test('one failure stops neither the bucket nor the others, and is told once', async () => {
  const at = await world();
  await at.store.createBucket({ name: 'next', owner: 'owner', location: '' });
  await at.store.createBucket({ name: 'broken', owner: 'owner', location: '' });
  const lifecycle = [rule(expiring(1))];
  for (const name of ['broken', 'bucket', 'next']) {
    await at.store.updateBucketSettings(name, (settings) => ({ ...settings, lifecycle }));
  }
  for (const key of ['a', 'b', 'c']) await put(at.store, key, bytes(1));
  await put(at.store, 'a', bytes(1), { bucket: 'next' });
  at.clock.ms += 3 * dayMs;
  const warnings: LogFields[] = [];
  const log: Log = { ...silentLog, warn: (_message, fields) => warnings.push(fields ?? {}) };
  const fail = new StoreError('StorageUnavailable', 'not now');
  const store: LifecycleScanDeps['store'] = {
    ...at.store,
    listObjects: async (query) => {
      if (query.bucket === 'broken') throw fail;
      return at.store.listObjects(query);
    },
    deleteObject: async (input) => {
      if (input.bucket === 'bucket' && input.key !== 'b') throw fail;
      return at.store.deleteObject(input);
    },
  };
  assert.deepEqual(await at.scan({ store, log }), { ...none, object: 2, failures: 3 });
  assert.deepEqual(warnings, [
    { bucket: 'broken', count: 1, error: fail },
    { bucket: 'bucket', count: 2, error: fail },
  ]);
  assert.deepEqual(await listed(at), ['a', 'c']);
});

void test('protected versions are not even asked for', async () => {
  const at = await world();
  await setVersioning(at, 'Enabled');
  await setRules(at, rule({ noncurrent: { days: 1 } }));
  for (const size of [1, 2, 3, 4]) await put(at.store, 'a', bytes(size));
  at.clock.ms += 3 * dayMs;
  const asked: number[] = [];
  const retention = { mode: 'COMPLIANCE', untilMs: at.clock.ms + 1 } as const;
  const locks = [undefined, { retention }, { legalHold: true }, undefined];
  const store: LifecycleScanDeps['store'] = {
    ...at.store,
    listVersions: async (query) => {
      const page = await at.store.listVersions(query);
      const versions = page.versions.map((version, index) => {
        const lock = locks[index];
        return lock ? { ...version, info: { ...version.info, lock } } : version;
      });
      return { ...page, versions };
    },
    deleteObject: (input) => {
      asked.push(1);
      return at.store.deleteObject(input);
    },
  };
  assert.deepEqual(await at.scan({ store }), { ...none, version: 1 });
  assert.equal(asked.length, 1);
});

void test('objects of clients with keys of their own expire while the key service is down', async () => {
  const at = await world(deadKms);
  await setRules(at, rule(expiring(1)));
  const clientKey = Buffer.alloc(32, 7);
  await put(at.store, 'c', bytes(70_000), { encryption: { kind: 'sse-c', clientKey } });
  await put(at.store, 'plain', bytes(1));
  at.clock.ms += 3 * dayMs;
  assert.deepEqual(await at.scan(), { ...none, object: 2 });
  assert.deepEqual(await listed(at), []);
});

void test('a scan that is told to stop begins nothing more', async () => {
  const at = await world();
  await setRules(at, rule(expiring(1)));
  for (let index = 0; index < 30; index += 1) await put(at.store, `k${index}`, bytes(1));
  at.clock.ms += 3 * dayMs;
  const stopping = new AbortController();
  const { signal } = stopping;
  const report = await at.scan({ signal, count: () => stopping.abort() });
  assert.equal(report.object, 8);
  assert.deepEqual(await at.scan(), { ...none, object: 22 });
});

void test('what goes does not keep the older version next to it', async () => {
  const at = await world();
  await setVersioning(at, 'Enabled');
  const after = (days: number, value: string): LifecycleRule =>
    rule({ noncurrent: { days }, filter: { prefix: '', tags: [{ key: 't', value }] } });
  await setRules(at, after(1, 'soon'), after(30, 'late'));
  await put(at.store, 'a', bytes(1), tagged('t=late'));
  await put(at.store, 'a', bytes(2), tagged('t=soon'));
  at.clock.ms += 40 * dayMs;
  await put(at.store, 'a', bytes(3));
  at.clock.ms += 3 * dayMs;
  assert.deepEqual(await at.scan(), { ...none, version: 2 });
});

void test('by rules the store lets go only what they say, whatever it is asked', async () => {
  const at = await world();
  await setVersioning(at, 'Enabled');
  await setRules(at, rule({ expiration: { kind: 'lone-marker' } }), rule({ abortUploadDays: 1 }));
  const { versionId: old } = await put(at.store, 'a', bytes(1));
  const { versionId: marker } = await at.store.deleteObject({ bucket: 'bucket', key: 'a' });
  const { versionId: current } = await put(at.store, 'b', bytes(1));
  at.clock.ms += 3 * dayMs;
  const unknown = 'f'.repeat(32);
  const cases = [
    ['a', old],
    ['a', marker],
    ['a', undefined],
    ['a', unknown],
    ['b', current],
    ['b', undefined],
    ['c', undefined],
    ['c', unknown],
  ] as const;
  for (const [key, versionId] of cases) {
    const target = { bucket: 'bucket', key, ...(versionId === undefined ? {} : { versionId }) };
    await assert.rejects(
      at.store.deleteObject({ ...target, byRules: { dayMs } }),
      (error) => error instanceof StoreError && error.code === 'PreconditionFailed',
      `${key} ${versionId}`,
    );
  }
  assert.deepEqual(await listed(at), ['a!', '~a', 'b']);
});

void test('what is protected goes when the protection is over, and not before', async () => {
  const at = await world();
  await at.store.updateBucketSettings('bucket', () => ({ versioning: 'Enabled', objectLock: {} }));
  await setRules(at, rule({ ...expiring(1), noncurrent: { days: 1 } }));
  const retention = { mode: 'COMPLIANCE', untilMs: at.clock.ms + 10 * dayMs } as const;
  await put(at.store, 'held', bytes(1), { lock: { legalHold: true } });
  await put(at.store, 'kept', bytes(1), { lock: { retention } });
  const { versionId } = await put(at.store, 'late', bytes(1));
  at.clock.ms += 3 * dayMs;
  // Hiding is always allowed.
  assert.deepEqual(await at.scan(), { ...none, object: 3 });
  at.clock.ms += 3 * dayMs;
  const late = { bucket: 'bucket', key: 'late', versionId };
  const store: LifecycleScanDeps['store'] = {
    ...at.store,
    deleteObject: async (input) => {
      await at.store.putLegalHold(late, true);
      return at.store.deleteObject(input);
    },
  };
  // Protected since it was listed.
  assert.deepEqual(await at.scan({ store }), none);
  assert.deepEqual(await listed(at), ['held!', '~held', 'kept!', '~kept', 'late!', '~late']);
  at.clock.ms += 5 * dayMs;
  assert.deepEqual(await at.scan(), { ...none, version: 1, marker: 1 });
  assert.deepEqual(await listed(at), ['held!', '~held', 'late!', '~late']);
  await at.store.putLegalHold(late, false);
  assert.deepEqual(await at.scan(), { ...none, version: 1, marker: 1 });
});
