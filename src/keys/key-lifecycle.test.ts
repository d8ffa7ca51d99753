import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { silentLog } from '../base/log.ts';
import { openGenerations } from '../keystores/generations.ts';
import { MemoryKeyStore } from '../keystores/memory.ts';
import { MemorySecrets } from '../../test/support/memory-secrets.ts';
import { CachedKeyStore, lookEveryMs } from './cached-key-store.ts';
import { believedAfterMs } from './calm-clock.ts';
import { sealWith, versionOf } from './ciphertext.ts';
import { KeyService } from './key-service.ts';
import { type KeyStore, KeyStoreError } from './key-store.ts';
import { parseStored, parseStoredKey } from './stored-key.ts';

const none = Buffer.alloc(0);
const context = Buffer.from('{"bucket":"bucket/object"}');
const weekMs = 7 * 24 * 3_600_000;

/** One node on a store. `clock.now` is the monotonic clock, `clock.day` the time of day. */
function openNode(store: KeyStore) {
  const clock = { now: 0, day: 1_000_000 };
  const rules = { anyMs: 0, unusedMs: 0, offlineMs: 0 };
  const cache = new CachedKeyStore({ store, rules, now: () => clock.now });
  const changes: string[] = [];
  const errors: string[] = [];
  const service = new KeyService({
    store: cache,
    nowMs: () => clock.day,
    now: () => clock.now,
    onChange: (name) => changes.push(name),
    log: { ...silentLog, error: (text) => errors.push(text) },
  });
  const pass = (ms: number) => {
    clock.now += ms;
    clock.day += ms;
  };
  return { clock, pass, cache, service, changes, errors };
}

async function setUp(store: KeyStore = new MemoryKeyStore()) {
  const node = openNode(store);
  await node.service.create('k', 'me');
  return { ...node, store };
}

/** Every use of a key. */
function uses(service: KeyService, ciphertext: Buffer): (() => Promise<unknown>)[] {
  return [
    () => service.generate('k', none),
    () => service.encrypt('k', none, none),
    () => service.decrypt('k', ciphertext, none),
    () => service.rewrap('k', ciphertext, none),
    () => service.hmac('k', none),
    () => service.rotate('k', 'me'),
  ];
}

test('a rotated key seals under its newest version and opens everything older', async () => {
  const { service, changes } = await setUp();
  const sealed = [await service.generate('k', context)];
  const sum = await service.hmac('k', context);
  for (const version of [2, 3]) {
    assert.equal(await service.rotate('k', 'rotator'), version);
    const next = await service.generate('k', context);
    assert.equal(versionOf(next.ciphertext), version);
    sealed.push(next);
  }
  for (const { plaintext, ciphertext } of sealed) {
    assert.deepEqual(await service.decrypt('k', ciphertext, context), plaintext);
  }
  assert.deepEqual(await service.hmac('k', context), sum);
  const info = await service.describe('k');
  assert.equal(info.version, 3);
  assert.deepEqual(
    info.versions.map(({ version, createdBy }) => [version, createdBy]),
    [
      [1, 'me'],
      [2, 'rotator'],
      [3, 'rotator'],
    ],
  );
  assert.equal(new Set(info.versions.map(({ fingerprint }) => fingerprint)).size, 3);
  assert.equal(info.fingerprint, info.versions[0]?.fingerprint);
  assert.deepEqual(changes, ['k', 'k', 'k']);
});

test('rewrap brings ciphertexts of every version and form under the newest version', async () => {
  const { service, store } = await setUp();
  const first = await service.generate('k', context);
  await service.rotate('k', 'me');
  const wrapped = await service.rewrap('k', first.ciphertext, context);
  assert.deepEqual([wrapped.version, versionOf(wrapped.ciphertext)], [2, 2]);
  assert.deepEqual(await service.decrypt('k', wrapped.ciphertext, context), first.plaintext);
  const again = await service.rewrap('k', wrapped.ciphertext, context);
  assert.notDeepEqual(again.ciphertext, wrapped.ciphertext);
  const raw = sealWith(
    { ...parseStoredKey(await store.get('k')), later: [] },
    Buffer.from('text'),
    none,
  );
  const old = JSON.stringify({
    aead: 'AES-256-GCM-HMAC-SHA-256',
    iv: raw.subarray(-28, -12).toString('base64'),
    nonce: raw.subarray(-12).toString('base64'),
    bytes: raw.subarray(0, -28).toString('base64'),
  });
  const renewed = await service.rewrap('k', Buffer.from(old), none);
  assert.equal((await service.decrypt('k', renewed.ciphertext, none)).toString(), 'text');
  await assert.rejects(service.rewrap('k', first.ciphertext, none), { code: 'not-authentic' });
});

test('a version that another node has just made opens at once, at the cost of one read', async () => {
  const { service, store } = await setUp();
  const other = openNode(store);
  await other.service.generate('k', none);
  await service.rotate('k', 'me');
  const { plaintext, ciphertext } = await service.generate('k', none);
  assert.deepEqual(await other.service.decrypt('k', ciphertext, none), plaintext);
  const bogus = Buffer.concat([Buffer.from('cf6b760100000063', 'hex'), randomBytes(76)]);
  await assert.rejects(other.service.decrypt('k', bogus, none), { code: 'not-authentic' });
});

test('a disabled, scheduled or destroyed key refuses every use by its own name', async () => {
  const { service, store } = await setUp();
  const { ciphertext } = await service.generate('k', none);
  const refuse = async (code: string) => {
    for (const each of [service, openNode(store).service]) {
      for (const use of uses(each, ciphertext)) await assert.rejects(use(), { code });
      assert.equal((await each.describe('k')).state, code);
      const { names, ...listed } = await each.list({ prefix: '' });
      const lists = { disabled: [], scheduled: [], destroyed: [], [code]: ['k'] };
      assert.deepEqual([names, listed], [['k'], lists]);
    }
  };
  await service.disable('k');
  await refuse('disabled');
  const scheduled = await service.scheduleDestruction('k', { afterMs: weekMs, by: 'me' });
  assert.equal(scheduled.state, 'scheduled');
  await refuse('scheduled');
  for (const change of [service.disable('k'), service.enable('k')]) {
    await assert.rejects(change, { code: 'scheduled' });
  }
  await service.scheduleDestruction('k', { afterMs: 0, by: 'destroyer' });
  await refuse('destroyed');
  const destroyed = { code: 'destroyed' };
  await assert.rejects(service.disable('k'), destroyed);
  await assert.rejects(service.enable('k'), destroyed);
  await assert.rejects(service.delete('k'), destroyed);
  await assert.rejects(service.cancelDestruction('k'), destroyed);
  await assert.rejects(service.scheduleDestruction('k', { afterMs: 5, by: '' }), destroyed);
});

test('a destruction that is called off leaves the key disabled, and enabling gives it back', async () => {
  const { service } = await setUp();
  const { plaintext, ciphertext } = await service.generate('k', none);
  await service.cancelDestruction('k');
  assert.equal((await service.describe('k')).state, 'enabled');
  await service.scheduleDestruction('k', { afterMs: weekMs, by: 'me' });
  await service.cancelDestruction('k');
  await service.cancelDestruction('k');
  assert.equal((await service.describe('k')).state, 'disabled');
  assert.equal((await service.describe('k')).destroyAt, undefined);
  await service.enable('k');
  assert.deepEqual(await service.decrypt('k', ciphertext, none), plaintext);
});

test('a destroyed key leaves a tombstone that keeps its name', async () => {
  const { service, store } = await setUp();
  const { id, fingerprint } = await service.describe('k');
  await service.rotate('k', 'me');
  const done = await service.scheduleDestruction('k', { afterMs: 0, by: 'destroyer' });
  assert.deepEqual(done, { state: 'destroyed', destroyAt: { seconds: 1_000n, nanos: 0 } });
  const tombstone = parseStored(await store.get('k'));
  assert.ok(tombstone.state === 'destroyed');
  assert.deepEqual(
    [tombstone.id, tombstone.fingerprint, tombstone.createdBy, tombstone.destroyedBy],
    [id, fingerprint, 'me', 'destroyer'],
  );
  const taken = { code: 'name-destroyed' };
  await assert.rejects(service.create('k', 'me'), taken);
  const imported = { cipher: 'AES256', bytes: randomBytes(32), createdBy: '' };
  await assert.rejects(service.import('k', imported), taken);
  assert.deepEqual(await service.scheduleDestruction('k', { afterMs: 0, by: 'again' }), done);
  assert.equal((await service.describe('k')).version, undefined);
});

test('a key is destroyed when its time has come, and never usable after', async () => {
  const { service, pass, cache, store } = await setUp();
  await service.create('other', 'me');
  await service.scheduleDestruction('k', { afterMs: weekMs, by: 'me' });
  pass(weekMs - 1);
  await service.destroyDue();
  assert.equal((await service.describe('k')).state, 'scheduled');
  pass(1);
  await assert.rejects(service.generate('k', none));
  await assert.rejects(service.cancelDestruction('k'), { code: 'destroyed' });
  await service.destroyDue();
  assert.equal(parseStored(await store.get('k')).state, 'destroyed');
  cache.clear();
  assert.equal((await service.describe('k')).state, 'destroyed');
  assert.equal((await service.describe('other')).state, 'enabled');
});

test('merely using a due key has it destroyed', async () => {
  const { service, pass, store } = await setUp();
  await service.scheduleDestruction('k', { afterMs: 1, by: 'me' });
  pass(believedAfterMs);
  await assert.rejects(service.decrypt('k', none, none));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(parseStored(await store.get('k')).state, 'destroyed');
});

test('a destruction that fails is logged and tried again, and the key stays refused', async () => {
  const { service, pass, store, errors } = await setUp();
  await service.scheduleDestruction('k', { afterMs: 1_000, by: 'me' });
  pass(believedAfterMs);
  const { replace } = store;
  store.replace = () => Promise.reject(new KeyStoreError('unreachable', 'gone'));
  await Promise.all([service.destroyDue(), service.destroyDue()]);
  assert.equal(errors.length, 1);
  const soon = service.scheduleDestruction('k', { afterMs: 1_000, by: 'me' });
  await assert.rejects(soon, { code: 'destroyed' });
  await assert.rejects(service.generate('k', none), { code: 'scheduled' });
  store.replace = replace;
  await service.destroyDue();
  assert.equal(parseStored(await store.get('k')).state, 'destroyed');
});

test('a store that cannot be asked what took a name says that the key exists', async () => {
  const { service, store } = await setUp();
  store.get = () => Promise.reject(new KeyStoreError('unreachable', 'gone'));
  await assert.rejects(service.create('k', 'me'), { code: 'exists' });
  store.create = () => Promise.reject(new KeyStoreError('failed', 'broken'));
  await assert.rejects(service.create('k', 'me'), { code: 'store-failed' });
});

test('a failed change is answered as failed, and the key is as the store has it', async () => {
  const { service, store } = await setUp();
  const { replace } = store;
  store.replace = async (name, change) => {
    await replace.call(store, name, change);
    throw new KeyStoreError('unreachable', 'the answer was lost');
  };
  await assert.rejects(service.disable('k'), { code: 'store-unreachable' });
  await assert.rejects(service.generate('k', none), { code: 'disabled' });
});

test('a destruction put off meanwhile is not carried out', async () => {
  const { service, clock, store } = await setUp();
  const other = openNode(store);
  await service.scheduleDestruction('k', { afterMs: 1_000, by: 'me' });
  await other.service.destroyDue();
  await service.scheduleDestruction('k', { afterMs: weekMs, by: 'me' });
  other.clock.day = clock.day + 2_000;
  await other.service.destroyDue();
  assert.equal(parseStored(await store.get('k')).state, 'scheduled');
});

test('a clock that jumps ahead destroys nothing, and one that goes back brings nothing back', async () => {
  const { service, clock, pass, store } = await setUp();
  await service.scheduleDestruction('k', { afterMs: weekMs, by: 'me' });
  clock.day += 10 * weekMs;
  for (let minutes = 0; minutes < 50; minutes += 1) {
    await service.destroyDue();
    await assert.rejects(service.generate('k', none), { code: 'scheduled' });
    pass(60_000);
  }
  clock.day -= 10 * weekMs;
  await service.cancelDestruction('k');
  await service.scheduleDestruction('k', { afterMs: weekMs, by: 'me' });
  clock.day -= 10 * weekMs;
  await assert.rejects(service.generate('k', none), { code: 'scheduled' });
  assert.equal(parseStored(await store.get('k')).state, 'scheduled');
});

test('an erasing that a crash interrupted is seen to its end', async () => {
  const store = new MemoryKeyStore();
  const { service } = await setUp(store);
  await service.scheduleDestruction('k', { afterMs: 0, by: 'me' });
  const erased: string[] = [];
  const { replace } = store;
  store.replace = async (name, change) => {
    if ('isErasing' in change && change.isErasing === true) erased.push(name);
    await replace.call(store, name, change);
  };
  const restarted = openNode(store).service;
  await restarted.destroyDue();
  await restarted.destroyDue();
  assert.deepEqual(erased, ['k']);
});

test('works alike on a store of immutable secrets, and says what its provider keeps', async () => {
  const secrets = Object.assign(new MemorySecrets(), { keepsDeleted: 'a copy for 30 days' });
  const store = openGenerations(secrets, { settleMs: 0 });
  const { service } = await setUp(store);
  const { plaintext, ciphertext } = await service.generate('k', none);
  await service.rotate('k', 'me');
  await service.disable('k');
  await service.enable('k');
  assert.deepEqual(await openNode(store).service.decrypt('k', ciphertext, none), plaintext);
  const { note } = await service.scheduleDestruction('k', { afterMs: 0, by: 'me' });
  assert.equal(note, 'a copy for 30 days');
  assert.equal((await service.scheduleDestruction('k', { afterMs: 0, by: 'me' })).note, note);
  const restarted = openNode(store).service;
  await restarted.destroyDue();
  assert.equal(
    (await restarted.scheduleDestruction('k', { afterMs: 0, by: '' })).state,
    'destroyed',
  );
  await assert.rejects(restarted.create('k', ''), { code: 'name-destroyed' });
  await assert.rejects(restarted.delete('k'), { code: 'destroyed' });
});

test('many changes by two nodes at once lose nothing and fork nothing', async () => {
  const store = new MemoryKeyStore();
  const { service } = await setUp(store);
  const other = openNode(store);
  const first = await service.generate('k', none);
  const outcomes = await Promise.allSettled(
    Array.from({ length: 20 }, async (_, index) => {
      const node = index % 2 === 0 ? service : other.service;
      return node.rotate('k', String(index));
    }),
  );
  const versions = outcomes.map((outcome) => (outcome.status === 'fulfilled' ? outcome.value : 0));
  assert.deepEqual(
    versions.toSorted((a, b) => a - b),
    Array.from({ length: 20 }, (_, index) => index + 2),
  );
  const key = parseStoredKey(await store.get('k'));
  assert.equal(key.revision, 20);
  versions.forEach((version, index) => {
    assert.equal(key.later[version - 2]?.createdBy, String(index));
  });
  await Promise.allSettled(
    Array.from({ length: 20 }, async (_, index) => {
      const node = index % 2 === 0 ? service : other.service;
      await (index % 4 < 2 ? node.disable('k') : node.rotate('k', ''));
    }),
  );
  const after = parseStoredKey(await store.get('k'));
  assert.equal(after.state, 'disabled');
  assert.equal(after.revision, 20 + 1 + after.later.length - 20 + 0);
  await other.service.enable('k');
  other.clock.now += 1_000;
  assert.deepEqual(await other.service.decrypt('k', first.ciphertext, none), first.plaintext);
});

test('a change whose answer was lost is not made twice', async () => {
  const store = new MemoryKeyStore();
  const { service } = await setUp(store);
  const { replace } = store;
  let losses = 0;
  store.replace = async (name, change) => {
    await replace.call(store, name, change);
    if (losses++ === 0) throw new KeyStoreError('conflict', 'our own write came twice');
  };
  assert.equal(await service.rotate('k', 'me'), 2);
  assert.equal(parseStoredKey(await store.get('k')).later.length, 1);
});

test('another key under a known name is refused until it is accepted', async () => {
  const { service, store, clock } = await setUp();
  const { ciphertext } = await service.generate('k', none);
  await store.delete('k');
  await openNode(store).service.create('k', 'somebody');
  clock.now += 1_000;
  const replaced = { code: 'replaced' };
  for (const use of uses(service, ciphertext)) await assert.rejects(use(), replaced);
  await assert.rejects(service.describe('k'), replaced);
  await assert.rejects(service.delete('k'), replaced);
  await assert.rejects(service.disable('k'), replaced);
  const { get } = store;
  store.get = () => Promise.reject(new KeyStoreError('unreachable', 'gone'));
  await assert.rejects(service.accept('k'), { code: 'store-unreachable' });
  store.get = get;
  await assert.rejects(service.generate('k', none), replaced);
  await service.accept('k');
  await service.generate('k', none);
  await service.delete('k');
  await service.create('k', 'me');
  await service.generate('k', none);
});

test('a store that lost a change or came back from an old copy is noticed', async () => {
  const { service, store, clock } = await setUp();
  const copy = await store.get('k');
  await service.disable('k');
  const now = await store.get('k');
  await store.replace('k', { expected: now, value: copy });
  clock.now += 1_000;
  await assert.rejects(service.generate('k', none), { code: 'replaced' });
  await store.replace('k', { expected: copy, value: now });
  await assert.rejects(service.generate('k', none), { code: 'disabled' });
});

test('a key that was deleted and made again elsewhere is a new key to a node that was told', async () => {
  const { service, store } = await setUp();
  const other = openNode(store).service;
  await service.generate('k', none);
  await other.delete('k');
  service.changedElsewhere('k');
  await new Promise((resolve) => setImmediate(resolve));
  await other.create('k', 'other');
  service.changedElsewhere('k');
  await service.generate('k', none);
});

test('a hint of another node takes effect before the next use', async () => {
  const { service, store } = await setUp();
  await service.generate('k', none);
  await openNode(store).service.disable('k');
  await service.generate('k', none);
  service.changedElsewhere('k');
  await assert.rejects(service.generate('k', none), { code: 'disabled' });
});

test('a damaged key can be deleted', async () => {
  const { service, store } = await setUp();
  await store.create('damaged', 'no key');
  await service.delete('damaged');
  await assert.rejects(service.describe('damaged'), { code: 'not-found' });
});

test('a listing reads each key once, and ends early rather than late', async () => {
  const store = new MemoryKeyStore();
  const { service, clock } = await setUp(store);
  for (let index = 0; index < 200; index += 1) await service.create(`n${index}`, '');
  const { get } = store;
  let reads = 0;
  store.get = async (name) => {
    reads += 1;
    return get.call(store, name);
  };
  assert.equal((await service.list({ prefix: 'n' })).names.length, 200);
  assert.equal((await service.list({ prefix: 'n' })).names.length, 200);
  assert.equal(reads, 200);
  await service.disable('n7');
  assert.deepEqual((await service.list({ prefix: 'n' })).disabled, ['n7']);
  clock.now += 60_000;
  let together = 0;
  let most = 0;
  store.get = async (name) => {
    most = Math.max(most, ++together);
    await new Promise((resolve) => setImmediate(resolve));
    together -= 1;
    return get.call(store, name);
  };
  await Promise.all([1, 2, 3].map(() => service.list({ prefix: 'n' })));
  assert.equal(most, 16);
  clock.now += 60_000;
  store.get = async (name) => {
    clock.now += 100;
    return get.call(store, name);
  };
  const seen: string[] = [];
  for (let after: string | undefined; ; ) {
    const page = await service.list({ prefix: 'n', ...(after === undefined ? {} : { after }) });
    seen.push(...page.names);
    if (page.next === undefined) break;
    assert.ok(page.names.length < 100);
    after = page.next;
    clock.now += 60_000;
  }
  assert.equal(new Set(seen).size, 200);
});

test('a key scheduled while the clock was years behind is not destroyed when it is right, and can be called off', async () => {
  const { service, clock, pass, store } = await setUp();
  await service.scheduleDestruction('k', { afterMs: weekMs, by: 'me' });
  clock.day += 1_000 * weekMs;
  const minutes = async (count: number) => {
    for (let minute = 0; minute < count; minute += 1) {
      await service.destroyDue();
      pass(60_000);
    }
  };
  await minutes(120);
  assert.equal(parseStored(await store.get('k')).state, 'scheduled');
  await service.cancelDestruction('k');
  await service.scheduleDestruction('k', { afterMs: weekMs, by: 'me' });
  clock.day += 1_000 * weekMs;
  await minutes(61 + 24 * 60 + 1);
  assert.equal(parseStored(await store.get('k')).state, 'destroyed');
});

test('a ciphertext that names a version nobody made costs no read each', async () => {
  const { service, store } = await setUp();
  const { ciphertext } = await service.generate('k', none);
  const forged = Buffer.concat([Buffer.from('cf6b760100000063', 'hex'), ciphertext]);
  let gets = 0;
  const { get } = store;
  store.get = async (name) => {
    gets += 1;
    return get.call(store, name);
  };
  const calls: Promise<void>[] = [];
  for (let call = 0; call < 50; call += 1) {
    calls.push(assert.rejects(service.decrypt('k', forged, none), { code: 'not-authentic' }));
    await new Promise((resolve) => setImmediate(resolve));
  }
  // The timer of the cache keeps no process alive.
  await Promise.all([...calls, sleep(2 * lookEveryMs)]);
  assert.ok(gets <= 2, `${gets} reads`);
});
