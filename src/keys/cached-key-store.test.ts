import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CachedKeyStore, type CacheRules, revalidateAfterMs } from './cached-key-store.ts';
import { type KeyStore, KeyStoreError } from './key-store.ts';
import { createMasterKey, keyTimeOf } from './master-key.ts';
import { changeStoredKey, formatStoredKey } from './stored-key.ts';

const offlineRules = { anyMs: 300_000, unusedMs: 30_000, offlineMs: 0 };

function newValue(): string {
  return formatStoredKey(createMasterKey({ createdAt: keyTimeOf(0), createdBy: '' }));
}

/** A store of one map that counts its reads, can hold them back, and can fail. */
function fakeStore(values: Map<string, string>) {
  const fake = {
    gets: 0,
    trouble: undefined as KeyStoreError | undefined,
    gate: undefined as Promise<void> | undefined,
    store: undefined as unknown as KeyStore,
  };
  fake.store = {
    create: async (name, value) => void values.set(name, value),
    get: async (name) => {
      fake.gets += 1;
      const value = values.get(name);
      await fake.gate;
      if (fake.trouble !== undefined) throw fake.trouble;
      if (value === undefined) throw new KeyStoreError('not-found', 'no such key');
      return value;
    },
    replace: async (name, change) => void values.set(name, change.value),
    delete: async (name) => void values.delete(name),
    list: async () => ({ names: [...values.keys()], hasMore: false }),
    status: async () => ({ state: 'available', latencyMs: 1 }),
    close: async () => {},
  };
  return fake;
}

function setUp(rules: CacheRules = offlineRules) {
  const values = new Map([['a', newValue()]]);
  const fake = fakeStore(values);
  const clock = { now: 1_000 };
  const cache = new CachedKeyStore({ store: fake.store, rules, now: () => clock.now });
  return { values, fake, clock, cache };
}

const notFound = { code: 'not-found' };

test('concurrent misses of one name share one read', async () => {
  const { fake, cache } = setUp();
  const loads = await Promise.all(Array.from({ length: 10 }, async () => cache.load('a')));
  assert.equal(fake.gets, 1);
  assert.equal(new Set(loads.map(({ key }) => key)).size, 1);
});

test('an entry is used without the store for half a second, then compared once for all callers', async () => {
  const { fake, clock, cache } = setUp();
  await cache.load('a');
  clock.now += revalidateAfterMs - 1;
  await cache.load('a');
  assert.equal(fake.gets, 1);
  clock.now += 1;
  await Promise.all([1, 2, 3].map(() => Promise.resolve(cache.load('a'))));
  assert.equal(fake.gets, 2);
  await cache.load('a');
  assert.equal(fake.gets, 2);
});

test('a key that another program removed is refused once the entry is half a second old', async () => {
  const { values, clock, cache } = setUp();
  await cache.load('a');
  values.delete('a');
  clock.now += revalidateAfterMs;
  await assert.rejects(async () => cache.load('a'), notFound);
  await assert.rejects(async () => cache.load('a'), notFound);
});

test('a key that another program disabled or replaced is seen as it now is', async () => {
  const { values, clock, cache } = setUp();
  const before = await cache.load('a');
  values.set('a', changeStoredKey(before.value, { kind: 'disable' }));
  clock.now += revalidateAfterMs;
  const after = await cache.load('a');
  assert.equal(after.key.state, 'disabled');
});

test('local changes take effect at once', async () => {
  const { cache, values } = setUp();
  const { value } = await cache.load('a');
  await cache.replace('a', { expected: value, value: changeStoredKey(value, { kind: 'disable' }) });
  assert.equal((await cache.load('a')).key.state, 'disabled');
  await cache.delete('a');
  assert.equal(values.size, 0);
  await assert.rejects(async () => cache.load('a'), notFound);
});

test('a read that began before a local change is not kept', async () => {
  const { fake, cache } = setUp();
  let open = () => {};
  fake.gate = new Promise((resolve) => {
    open = resolve;
  });
  const slow = cache.load('a');
  await cache.delete('a');
  open();
  await assert.rejects(async () => slow, notFound);
  fake.gate = undefined;
  await assert.rejects(async () => cache.load('a'), notFound);
});

test('a comparison that began before a local change does not bring the key back', async () => {
  const { fake, cache, clock } = setUp();
  await cache.load('a');
  clock.now += revalidateAfterMs;
  let open = () => {};
  fake.gate = new Promise((resolve) => {
    open = resolve;
  });
  const slow = cache.load('a');
  await cache.delete('a');
  open();
  await assert.rejects(async () => slow, notFound);
  fake.gate = undefined;
  await assert.rejects(async () => cache.load('a'), notFound);
});

test('a forgotten cache asks again', async () => {
  const { fake, cache } = setUp();
  const { value } = await cache.load('a');
  cache.clear();
  assert.equal(cache.peek('a'), undefined);
  assert.equal(await cache.get('a'), value);
  assert.equal(fake.gets, 2);
  assert.equal(await cache.getUncached('a'), value);
  await cache.close();
  assert.equal(cache.peek('a'), undefined);
});

test('misses and errors are not cached', async () => {
  const { values, fake, cache } = setUp();
  await assert.rejects(async () => cache.load('b'), notFound);
  values.set('b', newValue());
  await cache.load('b');
  values.set('c', 'no key');
  await assert.rejects(async () => cache.load('c'), { code: 'corrupt' });
  values.set('c', newValue());
  await cache.load('c');
  assert.equal(fake.gets, 4);
});

test('without an offline rule an unreachable store fails the call', async () => {
  const { fake, clock, cache } = setUp();
  await cache.load('a');
  clock.now += revalidateAfterMs;
  fake.trouble = new KeyStoreError('unreachable', 'gone');
  await assert.rejects(async () => cache.load('a'), { code: 'unreachable' });
});

test('with an offline rule keys stay usable that long, and no longer', async () => {
  const { fake, clock, cache } = setUp({ ...offlineRules, offlineMs: 60_000 });
  await cache.load('a');
  fake.trouble = new KeyStoreError('unreachable', 'gone');
  clock.now += 1_000;
  await cache.load('a');
  clock.now += 58_000;
  cache.sweep();
  await cache.load('a');
  fake.trouble = new KeyStoreError('failed', 'broken');
  clock.now += 600;
  await assert.rejects(async () => cache.recheck('a'), { code: 'failed' });
  await assert.rejects(async () => cache.load('a'), { code: 'failed' });
  fake.trouble = undefined;
  await cache.load('a');
  fake.trouble = new KeyStoreError('unreachable', 'gone');
  clock.now += 60_000;
  await assert.rejects(async () => cache.load('a'), { code: 'unreachable' });
});

test('the sweep forgets unused keys, and everything at each interval', async () => {
  const { clock, cache } = setUp({ anyMs: 10_000, unusedMs: 3_000, offlineMs: 0 });
  const isKept = () => {
    const kept = cache.peek('a') !== undefined;
    return kept;
  };
  await cache.load('a');
  clock.now += 400;
  cache.sweep();
  assert.equal(isKept(), true);
  clock.now += 3_000;
  cache.sweep();
  clock.now -= 3_000;
  assert.equal(isKept(), false);
  await cache.load('a');
  clock.now += 9_600;
  await cache.load('a');
  cache.sweep();
  assert.equal(isKept(), false);
});
