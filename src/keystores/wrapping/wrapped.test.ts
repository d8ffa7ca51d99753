import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { failsWith, testKeyStore } from '../../../test/contract/key-store.ts';
import { MemoryWrappingKey, testWrappingKey } from '../../../test/contract/wrapping-key.ts';
import { type GemaltoDouble, startGemaltoDouble } from '../../../test/support/doubles/gemalto.ts';
import { silentLog } from '../../base/log.ts';
import { type KeyStore, type KeyStoreChange, KeyStoreError } from '../../keys/key-store.ts';
import { openFileKeyStore } from '../files/key-store.ts';
import { openGemaltoSecrets } from '../vendors/gemalto.ts';
import { openGenerations } from '../generations.ts';
import { MemoryKeyStore } from '../memory.ts';
import { openWrapped } from './wrapped.ts';

testWrappingKey('memory', async () => ({ key: new MemoryWrappingKey(), close: async () => {} }));

testKeyStore(
  'wrapped memory',
  async () => {
    const inner = new MemoryKeyStore();
    const key = new MemoryWrappingKey();
    return {
      store: openWrapped(inner, key),
      openAgain: async () => openWrapped(inner, key),
      close: async () => {},
    };
  },
  { valueBytesMax: 780_000 },
);

testKeyStore(
  'wrapped files',
  async () => {
    const directory = await mkdtemp(join(tmpdir(), 'coffer-wrapped-'));
    const key = new MemoryWrappingKey();
    return {
      store: openWrapped(await openFileKeyStore(directory), key),
      openAgain: async () => openWrapped(await openFileKeyStore(directory), key),
      close: () => rm(directory, { recursive: true, force: true }),
    };
  },
  { valueBytesMax: 780_000, listCount: 40 },
);

const account = { token: 'refresh-token', domain: '' };

/** As the service stacks them: a product, the generations that let keys change there, the wrapping key. */
async function openStack(double: GemaltoDouble, key: MemoryWrappingKey): Promise<KeyStore> {
  const settings = { endpoint: double.origin, credentials: account };
  const secrets = await openGemaltoSecrets(settings, { log: silentLog });
  return openWrapped(openGenerations(secrets, { settleMs: 20 }), key);
}

testKeyStore(
  'wrapped generations',
  async () => {
    const double = await startGemaltoDouble(account);
    const key = new MemoryWrappingKey();
    return {
      store: await openStack(double, key),
      openAgain: () => openStack(double, key),
      close: () => double.close(),
    };
  },
  { valueBytesMax: 500_000, listCount: 40 },
);

test('erasing once more succeeds on generations too, and leaves no earlier text', async () => {
  const double = await startGemaltoDouble(account);
  const store = await openStack(double, new MemoryWrappingKey());
  try {
    await store.create('a', 'first');
    await store.replace('a', { expected: 'first', value: 'second' });
    const erase = { expected: 'second', value: 'tombstone', isErasing: true };
    for (let round = 0; round < 3; round += 1) await store.replace('a', erase);
    await store.replace('a', { ...erase, expected: 'tombstone' });
    assert.deepEqual([...double.secrets.keys()], ['a--destroyed-']);
    assert.equal(await store.get('a'), 'tombstone');
  } finally {
    await store.close();
    await double.close();
  }
});

type Opened = {
  readonly inner: MemoryKeyStore;
  readonly key: MemoryWrappingKey;
  readonly store: KeyStore;
  readonly clock: { nowMs: number };
};

async function withStore(work: (opened: Opened) => Promise<void>): Promise<void> {
  const inner = new MemoryKeyStore();
  const key = new MemoryWrappingKey();
  const clock = { nowMs: 5_000 };
  const store = openWrapped(inner, key, { now: () => clock.nowMs });
  try {
    await work({ inner, key, store, clock });
  } finally {
    await store.close();
  }
}

test('the stored text has the documented form and shows nothing of the value', () =>
  withStore(async ({ inner, store }) => {
    await store.create('my-key', 'a-secret-value');
    const stored = await inner.get('my-key');
    const [mark, version, id = '', wrapped = '', body = '', ...rest] = stored.split(':');
    assert.deepEqual([mark, version, rest], ['coffer-wrapped', 'v1', []]);
    assert.equal(Buffer.from(id, 'base64url').toString(), 'memory:test');
    assert.equal(Buffer.from(wrapped, 'base64').length, 60);
    assert.equal(Buffer.from(body, 'base64').length, 12 + 'a-secret-value'.length + 16);
    assert.match(stored, /^[\x21-\x7e]+$/);
    assert.ok(!stored.includes('secret'));
  }));

test('a value moved to another name, or changed anywhere, does not open', () =>
  withStore(async ({ inner, store }) => {
    await store.create('a', 'value-of-a');
    const stored = await inner.get('a');
    await inner.create('b', stored);
    await assert.rejects(store.get('b'), failsWith('failed'));
    const places = [3, 16, 20, stored.length - 50, stored.length - 5];
    for (const at of places) {
      const other = stored[at] === 'A' ? 'B' : 'A';
      const changed = `${stored.slice(0, at)}${other}${stored.slice(at + 1)}`;
      await inner.create(`c${at}`, changed);
      await assert.rejects(store.get(`c${at}`), failsWith('failed'));
    }
    const [, , , wrapped] = stored.split(':');
    for (const short of ['', 'AAAA', 'A'.repeat(36)]) {
      await inner.replace('b', {
        expected: await inner.get('b'),
        value: `coffer-wrapped:v1:bWVtb3J5OnRlc3Q:${wrapped}:${short}`,
      });
      await assert.rejects(store.get('b'), failsWith('failed'));
    }
  }));

test('a value under another wrapped data key does not open', () =>
  withStore(async ({ inner, store }) => {
    await store.create('a', 'first');
    const first = (await inner.get('a')).split(':');
    await store.replace('a', { expected: 'first', value: 'second' });
    const second = (await inner.get('a')).split(':');
    const mixed = [...second.slice(0, 3), first[3], second[4]].join(':');
    await inner.replace('a', { expected: second.join(':'), value: mixed });
    await assert.rejects(store.get('a'), failsWith('failed'));
  }));

test('what is not wrapped is refused with how to move it', () =>
  withStore(async ({ inner, store }) => {
    await inner.create('old', '{"bytes":"AAAA"}');
    await assert.rejects(store.get('old'), /key old is not wrapped.*`kes migrate`/);
    await assert.rejects(
      store.replace('old', { expected: '{"bytes":"AAAA"}', value: '2' }),
      failsWith('failed'),
    );
    await inner.create('new', 'coffer-wrapped:v2:AAAA');
    await assert.rejects(store.get('new'), /was wrapped by a newer release/);
  }));

test('a repeated read asks the wrapping key once a minute, also after a change', () =>
  withStore(async ({ inner, key, clock }) => {
    const other = openWrapped(inner, key, { now: () => clock.nowMs });
    await other.create('a', '1');
    assert.equal(await other.get('a'), '1');
    assert.equal(key.unwraps, 0);
    const store = openWrapped(inner, key, { now: () => clock.nowMs });
    await Promise.all(Array.from({ length: 20 }, () => store.get('a')));
    assert.equal(key.unwraps, 1);
    clock.nowMs += 59_999;
    await store.get('a');
    assert.equal(key.unwraps, 1);
    clock.nowMs += 1;
    await store.get('a');
    assert.equal(key.unwraps, 2);
    await other.replace('a', { expected: '1', value: '2' });
    assert.equal(await store.get('a'), '2');
  }));

test('a wrapping key that is disabled stops reads within a minute, and writes at once', () =>
  withStore(async ({ key, store, clock }) => {
    await store.create('a', '1');
    key.problem = new KeyStoreError('failed', 'the key is disabled');
    assert.equal(await store.get('a'), '1');
    await assert.rejects(store.create('b', '1'), failsWith('failed'));
    clock.nowMs += 60_000;
    await assert.rejects(store.get('a'), failsWith('failed'));
    key.problem = new KeyStoreError('unreachable', 'no answer');
    await assert.rejects(store.get('a'), failsWith('unreachable'));
    key.problem = undefined;
    assert.equal(await store.get('a'), '1');
  }));

test('a failed unwrap is not remembered, and a deleted key is', () =>
  withStore(async ({ key, store, inner, clock }) => {
    await store.create('a', '1');
    clock.nowMs += 60_000;
    key.problem = new KeyStoreError('unreachable', 'no answer');
    await assert.rejects(store.get('a'), failsWith('unreachable'));
    key.problem = undefined;
    assert.equal(await store.get('a'), '1');
    await inner.delete('a');
    await assert.rejects(store.get('a'), failsWith('not-found'));
  }));

test('a replace hands on what is stored and whether it erases', () =>
  withStore(async ({ inner, key }) => {
    const changes: object[] = [];
    const spy: KeyStore = {
      create: (name, value) => inner.create(name, value),
      get: (name) => inner.get(name),
      replace: async (name, change) => {
        changes.push(change);
        await inner.replace(name, change);
      },
      delete: (name) => inner.delete(name),
      list: (query) => inner.list(query),
      status: () => inner.status(),
      close: async () => {},
      keepsDeleted: 'for a week',
    };
    const store = openWrapped(spy, key);
    assert.equal(store.keepsDeleted, 'for a week');
    await store.create('a', '1');
    const stored = await inner.get('a');
    await store.replace('a', { expected: '1', value: '2', isErasing: true });
    const [{ expected, value, isErasing }] = changes as [Record<string, unknown>];
    assert.deepEqual([expected, isErasing], [stored, true]);
    assert.equal(value, await inner.get('a'));
    await store.close();
  }));

test('erasing once more finishes what a crash interrupted', () =>
  withStore(async ({ inner, store }) => {
    await store.create('a', 'live');
    await store.replace('a', { expected: 'live', value: 'tombstone', isErasing: true });
    const stored = await inner.get('a');
    const seen: KeyStoreChange[] = [];
    const replace = inner.replace.bind(inner);
    inner.replace = async (name, change) => {
      seen.push(change);
      await replace(name, change);
    };
    await store.replace('a', { expected: 'live', value: 'tombstone', isErasing: true });
    await store.replace('a', { expected: 'tombstone', value: 'tombstone', isErasing: true });
    assert.deepEqual(seen.at(0), { expected: stored, value: stored, isErasing: true });
    assert.deepEqual(seen.at(1), seen.at(0));
    await assert.rejects(
      store.replace('a', { expected: 'live', value: 'another', isErasing: true }),
      failsWith('conflict'),
    );
  }));

test('a delete of an expected value leaves every other alone, and hands on what is stored', () =>
  withStore(async ({ inner, store }) => {
    await store.create('a', '1');
    await assert.rejects(store.delete('a', '2'), failsWith('conflict'));
    assert.equal(await store.get('a'), '1');
    const { delete: innerDelete } = inner;
    const expectations: (string | undefined)[] = [];
    inner.delete = async (name, expected) => {
      expectations.push(expected);
      await innerDelete.call(inner, name, expected);
    };
    const stored = await inner.get('a');
    await store.delete('a', '1');
    assert.deepEqual(expectations, [stored]);
    await assert.rejects(store.delete('a', '1'), failsWith('not-found'));
    await assert.rejects(store.get('a'), failsWith('not-found'));
  }));

test('what took the place of the expected value while a delete was under way is not deleted', () =>
  withStore(async ({ inner, store }) => {
    await store.create('a', '1');
    const { delete: innerDelete } = inner;
    inner.delete = async (name, expected) => {
      inner.delete = innerDelete;
      await store.replace('a', { expected: '1', value: '2' });
      await innerDelete.call(inner, name, expected);
    };
    await assert.rejects(store.delete('a', '1'), failsWith('conflict'));
    assert.equal(await store.get('a'), '2');
  }));

test('the status includes the wrapping key, asked every few seconds', () =>
  withStore(async ({ key, store, clock }) => {
    assert.equal((await store.status()).state, 'available');
    key.problem = new KeyStoreError('failed', 'the key is disabled');
    assert.equal((await store.status()).state, 'available');
    assert.equal(key.checks, 1);
    clock.nowMs += 5_000;
    const status = await store.status();
    assert.deepEqual(status, {
      state: 'unavailable',
      reason: 'wrapping key: the key is disabled',
    });
    key.problem = new KeyStoreError('unreachable', 'no answer');
    clock.nowMs += 5_000;
    assert.equal((await store.status()).state, 'unreachable');
  }));

test('closing closes both, also when one fails', async () => {
  const key = new MemoryWrappingKey();
  const inner = new MemoryKeyStore();
  inner.close = () => Promise.reject(new KeyStoreError('failed', 'no'));
  const store = openWrapped(inner, key);
  await assert.rejects(store.close(), failsWith('failed'));
  assert.ok(key.isClosed);
});

test('a value that would be too long once wrapped is refused', () =>
  withStore(async ({ store, inner }) => {
    await store.create('fits', 'x'.repeat(780_000));
    await assert.rejects(store.create('long', 'x'.repeat(790_000)), failsWith('failed'));
    await assert.rejects(inner.get('long'), failsWith('not-found'));
  }));

test('files hold only wrapped texts', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'coffer-wrapped-'));
  try {
    const store = openWrapped(await openFileKeyStore(directory), new MemoryWrappingKey());
    await store.create('a', 'a-secret-value');
    await store.replace('a', { expected: 'a-secret-value', value: 'another-secret' });
    assert.equal(await store.get('a'), 'another-secret');
    const text = await readFile(join(directory, 'a'), 'latin1');
    assert.match(text, /^coffer-wrapped:v1:/);
    assert.doesNotMatch(text, /secret/);
    await store.close();
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
