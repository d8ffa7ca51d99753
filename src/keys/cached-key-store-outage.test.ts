import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CachedKeyStore, type CacheRules, lookEveryMs, staleAfterMs } from './cached-key-store.ts';
import { type KeyStore, KeyStoreError } from './key-store.ts';
import { createMasterKey, keyTimeOf } from './master-key.ts';
import { changeStoredKey, formatStoredKey } from './stored-key.ts';

const usualRules = { anyMs: 300_000, unusedMs: 30_000, offlineMs: 0 };
const unreachable = { code: 'unreachable' };

function newValue(): string {
  return formatStoredKey(createMasterKey({ createdAt: keyTimeOf(0), createdBy: '' }));
}

/** A cache over a store of one map whose reads the test answers one by one, with clocks it moves. */
function setUp(rules: CacheRules = usualRules) {
  const values = new Map([['a', newValue()]]);
  const clock = { now: 1_000 };
  const reads: (() => void)[] = [];
  const timers = new Set<{ readonly at: number; readonly call: () => void }>();
  const fake = { trouble: undefined as KeyStoreError | undefined, isHeld: false, gets: 0 };
  const transitions: boolean[] = [];
  const store: KeyStore = {
    create: async (name, value) => void values.set(name, value),
    get: async (name) => {
      fake.gets += 1;
      const value = values.get(name);
      const { trouble } = fake;
      if (fake.isHeld) await new Promise<void>((resolve) => reads.push(resolve));
      if (trouble !== undefined) throw trouble;
      if (value === undefined) throw new KeyStoreError('not-found', 'no such key');
      return value;
    },
    replace: async (name, change) => void values.set(name, change.value),
    delete: async (name) => void values.delete(name),
    list: async () => ({ names: [...values.keys()], hasMore: false }),
    status: async () => ({ state: 'available', latencyMs: 1 }),
    close: async () => {},
  };
  const replaced: string[] = [];
  const cacheOf = () =>
    new CachedKeyStore({
      store,
      onReplaced: (error) => replaced.push(error.code),
      rules,
      now: () => clock.now,
      onOffline: (isOffline) => transitions.push(isOffline),
      after: (ms, call) => {
        const timer = { at: clock.now + ms, call };
        timers.add(timer);
        return () => timers.delete(timer);
      },
    });
  const cache = cacheOf();
  const pass = (ms: number) => {
    clock.now += ms;
    for (const timer of timers) {
      if (timer.at > clock.now) continue;
      timers.delete(timer);
      timer.call();
    }
  };
  /** Answers the reads that wait, after so long. */
  const answer = async (afterMs: number) => {
    pass(afterMs);
    for (const release of reads.splice(0)) release();
    await new Promise((resolve) => setImmediate(resolve));
  };
  const load = async (name = 'a') => cache.load(name);
  return { values, fake, clock, cache, cacheOf, transitions, replaced, pass, answer, load, timers };
}

function disable(values: Map<string, string>): void {
  values.set('a', changeStoredKey(values.get('a') ?? '', { kind: 'disable' }));
}

test('an answer that took a second is asked for once more and then not used', async () => {
  const { fake, answer, load, transitions } = setUp();
  fake.isHeld = true;
  const refused = assert.rejects(load(), { ...unreachable, message: /too slowly/ });
  await answer(staleAfterMs);
  await answer(staleAfterMs);
  await refused;
  assert.equal(fake.gets, 2);
  const served = load();
  await answer(staleAfterMs);
  await answer(staleAfterMs - 1);
  assert.equal((await served).key.state, 'enabled');
  assert.deepEqual(transitions, [true, false]);
});

test('a key disabled elsewhere is refused within a second, however the answers fall', async () => {
  const { fake, values, clock, answer, load } = setUp();
  await load();
  clock.now += 500;
  fake.isHeld = true;
  const slow = load();
  disable(values);
  const disabledAt = clock.now;
  await answer(staleAfterMs - 1);
  await slow;
  fake.isHeld = false;
  clock.now = disabledAt + staleAfterMs;
  assert.equal((await load()).key.state, 'disabled');
});

test('revalidation may be put off by the rules, for exactly that long', async () => {
  const { clock, values, load } = setUp({ ...usualRules, revalidateMs: 60_000 });
  await load();
  disable(values);
  clock.now += 59_999;
  assert.equal((await load()).key.state, 'enabled');
  clock.now += 1;
  assert.equal((await load()).key.state, 'disabled');
});

test('however many callers wait, the store is read once, and when it answers late too', async () => {
  const { fake, clock, pass, answer, load } = setUp();
  await load();
  clock.now += 500;
  fake.isHeld = true;
  const calls = Array.from({ length: 50 }, () => load());
  await answer(10);
  await Promise.all(calls);
  assert.equal(fake.gets, 2);
  clock.now += 500;
  const refused = Array.from({ length: 20 }, () => assert.rejects(load(), unreachable));
  pass(5_000);
  await Promise.all(refused);
  await assert.rejects(load(), unreachable);
  assert.equal(fake.gets, 3);
});

test('a read that is never answered does not keep the key from being read for ever', async () => {
  const { fake, pass, load } = setUp();
  fake.isHeld = true;
  const refused = assert.rejects(load(), unreachable);
  pass(5_000);
  await refused;
  fake.isHeld = false;
  await assert.rejects(load(), unreachable);
  pass(10_000);
  await load();
});

test('whoever asks after a local change gets no answer of a read from before', async () => {
  const { fake, cache, values, answer, load } = setUp();
  fake.isHeld = true;
  const early = load('b');
  await cache.create('b', newValue());
  const late = load('b');
  await answer(0);
  await answer(0);
  assert.equal((await late).value, values.get('b'));
  assert.equal((await early).value, values.get('b'));
});

test('a key that was forgotten while it was read is read again', async () => {
  const { fake, cache, values, answer, load } = setUp();
  fake.isHeld = true;
  const call = load();
  disable(values);
  cache.forget('a');
  await answer(0);
  await answer(0);
  assert.equal((await call).key.state, 'disabled');
});

test('without an offline rule a store that does not answer means refusal, said once', async () => {
  const { fake, clock, cache, transitions, load } = setUp();
  await load();
  fake.trouble = new KeyStoreError('unreachable', 'gone');
  clock.now += 500;
  await assert.rejects(load(), unreachable);
  await assert.rejects(load(), unreachable);
  assert.equal(cache.offlineLeftMs(), undefined);
  fake.trouble = undefined;
  await load();
  assert.deepEqual(transitions, [true, false]);
});

test('with an offline rule a store that hangs costs a second once, then keys are served at once', async () => {
  const { fake, clock, cache, transitions, pass, answer, load } = setUp({
    ...usualRules,
    offlineMs: 60_000,
  });
  await load();
  const checkedAt = clock.now;
  clock.now += 500;
  fake.isHeld = true;
  const first = load();
  pass(1_000);
  assert.equal((await first).key.state, 'enabled');
  assert.ok(!(cache.load('a') instanceof Promise));
  assert.equal(fake.gets, 2);
  assert.equal(cache.offlineLeftMs(), checkedAt + 60_000 - clock.now);
  fake.isHeld = false;
  await answer(100);
  await load();
  assert.deepEqual(transitions, [true, false]);
  assert.equal(cache.offlineLeftMs(), undefined);
});

test('while offline the store is asked again by the sweep, and a change is seen at once after', async () => {
  const { fake, values, clock, cache, transitions, load } = setUp({
    ...usualRules,
    offlineMs: 60_000,
  });
  await load();
  fake.trouble = new KeyStoreError('unreachable', 'gone');
  clock.now += 30_000;
  await load();
  disable(values);
  assert.equal((await load()).key.state, 'enabled');
  fake.trouble = undefined;
  clock.now += 1_000;
  cache.sweep();
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(transitions, [true, false]);
  assert.equal((await load()).key.state, 'disabled');
});

test('a hint of a change is heeded while offline: what cannot be checked is refused', async () => {
  const { fake, clock, cache, load } = setUp({ ...usualRules, offlineMs: 60_000 });
  await load();
  fake.trouble = new KeyStoreError('unreachable', 'gone');
  clock.now += 1_000;
  await load();
  cache.forget('a');
  await assert.rejects(load(), unreachable);
});

test('once the store answers, the sweep forgets unused keys again', async () => {
  const { fake, clock, cache, load } = setUp({ anyMs: 0, unusedMs: 3_000, offlineMs: 60_000 });
  await load();
  fake.trouble = new KeyStoreError('unreachable', 'gone');
  clock.now += 1_000;
  await load();
  cache.forget('a');
  fake.trouble = undefined;
  await load();
  clock.now += 3_000;
  cache.sweep();
  const { gets } = fake;
  clock.now -= 2_900;
  await load();
  assert.equal(fake.gets, gets + 1);
});

test('another key under a name is reported once, until the known one is back', async () => {
  const { values, clock, replaced, load } = setUp();
  const { value } = await load();
  const refusals = async () => {
    values.set('a', newValue());
    clock.now += 500;
    await assert.rejects(load(), { code: 'replaced' });
    await assert.rejects(load(), { code: 'replaced' });
  };
  await refusals();
  assert.deepEqual(replaced, ['replaced']);
  values.set('a', value);
  await load();
  await refusals();
  assert.equal(replaced.length, 2);
  values.delete('a');
  await assert.rejects(load(), { code: 'not-found' });
  values.set('a', newValue());
  await load();
});

test('no timer is left behind', async () => {
  const { fake, clock, timers, load } = setUp();
  await load();
  clock.now += 500;
  await load();
  fake.trouble = new KeyStoreError('failed', 'broken');
  clock.now += 500;
  await assert.rejects(load(), { code: 'failed' });
  assert.equal(timers.size, 0);
});

test('a cache that takes over goes on offline for as long as the first, and no longer', async () => {
  const { fake, clock, cache, cacheOf, transitions, load } = setUp({
    ...usualRules,
    offlineMs: 60_000,
  });
  await load();
  fake.trouble = new KeyStoreError('unreachable', 'gone');
  clock.now += 30_000;
  await load();
  const next = cacheOf();
  next.takeOver(cache);
  cache.clear();
  assert.equal(next.offlineLeftMs(), 30_000);
  clock.now += 29_999;
  assert.equal((await next.load('a')).key.state, 'enabled');
  clock.now += 1;
  await assert.rejects(async () => next.load('a'), unreachable);
  fake.trouble = undefined;
  await next.load('a');
  assert.deepEqual(transitions, [true, false]);
});

test('what was forgotten is not taken over, and replaces what was taken over before', async () => {
  const { fake, cache, cacheOf, load } = setUp({ ...usualRules, offlineMs: 60_000 });
  await load();
  const next = cacheOf();
  next.takeOver(cache);
  cache.forget('a');
  next.takeOver(cache);
  fake.trouble = new KeyStoreError('unreachable', 'gone');
  await assert.rejects(async () => next.load('a'), unreachable);
});

test('one slow key is used offline alone: the others are compared, and the store counts as reachable', async () => {
  const { fake, values, clock, transitions, pass, load } = setUp({
    ...usualRules,
    offlineMs: 60_000,
  });
  values.set('b', newValue());
  await load('a');
  await load('b');
  clock.now += 500;
  fake.isHeld = true;
  const slow = load('a');
  fake.isHeld = false;
  pass(500);
  await load('b');
  pass(500);
  assert.equal((await slow).key.state, 'enabled');
  assert.deepEqual(transitions, []);
  values.delete('b');
  await assert.rejects(load('b'), { code: 'not-found' });
  const { gets } = fake;
  for (let round = 0; round < 5; round += 1) await load('a');
  assert.equal(fake.gets, gets);
});

test('looks share one read each tenth of a second, and none that began before it was asked for', async () => {
  const { fake, values, cache, pass, load } = setUp();
  await load();
  await cache.look('a');
  const { gets } = fake;
  const looks = Array.from({ length: 100 }, () => cache.look('a'));
  disable(values);
  pass(lookEveryMs - 1);
  assert.equal(fake.gets, gets);
  pass(1);
  for (const found of await Promise.all(looks)) assert.equal(found.key.state, 'disabled');
  assert.equal(fake.gets, gets + 1);
});

test('a call that still changes a key in the cache before is heeded by the next one', async () => {
  const { cache, cacheOf, values } = setUp({ ...usualRules, revalidateMs: 60_000 });
  const { value } = await cache.load('a');
  const next = cacheOf();
  cache.setNext(next);
  await next.load('a');
  cache.clear();
  assert.notEqual(next.peek('a'), undefined);
  const changed = changeStoredKey(value, { kind: 'disable' });
  await cache.replace('a', { expected: value, value: changed });
  assert.equal((await next.load('a')).key.state, 'disabled');
  assert.equal(values.get('a'), changed);
});

test('a read that hangs while the store answers others is tried again after five seconds', async () => {
  const { fake, values, pass, load } = setUp();
  values.set('b', newValue());
  fake.isHeld = true;
  const refused = assert.rejects(load('a'), unreachable);
  fake.isHeld = false;
  pass(4_999);
  await load('b');
  pass(1);
  await refused;
  assert.equal((await load('a')).key.state, 'enabled');
});

test('however slow a store is, answers that come late begin no reads without a caller', async () => {
  const { fake, pass, answer, load } = setUp();
  fake.isHeld = true;
  const refused = assert.rejects(load(), unreachable);
  pass(5_000);
  await refused;
  for (let round = 0; round < 20; round += 1) await answer(6_000);
  assert.equal(fake.gets, 2);
});
