import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type KeyStore, KeyStoreError } from '../../keys/key-store.ts';
import { MemoryKeyStore } from '../../keystores/memory.ts';
import {
  type Migration,
  MigrationError,
  type MigrationErrorCode,
  type MigrationMode,
  migrateKeys,
  newMigrationState,
} from './migration.ts';

async function storeOf(keys: Readonly<Record<string, string>>): Promise<MemoryKeyStore> {
  const store = new MemoryKeyStore();
  for (const [name, value] of Object.entries(keys)) await store.create(name, value);
  return store;
}

async function contentOf(store: KeyStore): Promise<Record<string, string>> {
  const { names } = await store.list({ prefix: '' });
  return Object.fromEntries(await Promise.all(names.map(async (n) => [n, await store.get(n)])));
}

function migration(from: KeyStore, to: KeyStore, mode: MigrationMode = 'create'): Migration {
  const { signal } = new AbortController();
  return { from, to, mode, matches: () => true, signal, state: newMigrationState() };
}

/** The store with some of its calls replaced. */
function altered(store: KeyStore, calls: Partial<KeyStore>): KeyStore {
  return {
    create: (name, value) => store.create(name, value),
    get: (name) => store.get(name),
    replace: (name, change) => store.replace(name, change),
    delete: (name) => store.delete(name),
    list: (query) => store.list(query),
    status: () => store.status(),
    close: () => store.close(),
    ...calls,
  };
}

function isError(code: MigrationErrorCode, keyName?: string) {
  return (error: unknown) =>
    error instanceof MigrationError && error.code === code && error.keyName === keyName;
}

const abc = { a: 'value-a', b: 'value-b', c: 'value-c' };

void test('every key of every page arrives as it is', async () => {
  const keys = Object.fromEntries(Array.from({ length: 2500 }, (_, n) => [`key-${n}`, `v${n}`]));
  const [from, to] = [await storeOf(keys), new MemoryKeyStore()];
  const run = migration(from, to);
  await migrateKeys(run);
  assert.equal(run.state.migrated, 2500);
  const first = await to.list({ prefix: '' });
  assert.ok(first.hasMore);
  for (const [name, value] of Object.entries(keys)) assert.equal(await to.get(name), value);
});

void test('only names that match are copied', async () => {
  const [from, to] = [await storeOf(abc), new MemoryKeyStore()];
  const run = { ...migration(from, to), matches: (name: string) => name !== 'b' };
  await migrateKeys(run);
  assert.deepEqual(await contentOf(to), { a: 'value-a', c: 'value-c' });
  assert.deepEqual(run.state, { total: 2, migrated: 2, skipped: 0, differing: [], vanished: 0 });
});

void test('a name that the target has is an error, and what it has stays', async () => {
  const [from, to] = [await storeOf(abc), await storeOf({ b: 'other' })];
  await assert.rejects(migrateKeys(migration(from, to)), isError('exists', 'b'));
  assert.equal(await to.get('b'), 'other');
});

void test('merging keeps what is there, and says which are other keys', async () => {
  const [from, to] = [await storeOf(abc), await storeOf({ a: 'value-a', b: 'other' })];
  const run = migration(from, to, 'merge');
  await migrateKeys(run);
  assert.deepEqual(await contentOf(to), { ...abc, b: 'other' });
  assert.deepEqual(run.state, {
    total: 3,
    migrated: 1,
    skipped: 2,
    differing: ['b'],
    vanished: 0,
  });
});

void test('forcing replaces other keys and leaves equal ones alone', async () => {
  const deleted: string[] = [];
  const [from, target] = [await storeOf(abc), await storeOf({ a: 'value-a', b: 'other' })];
  const to = altered(target, {
    async delete(name) {
      deleted.push(name);
      await target.delete(name);
    },
  });
  const run = migration(from, to, 'force');
  await migrateKeys(run);
  assert.deepEqual(await contentOf(target), abc);
  assert.deepEqual(deleted, ['b']);
  assert.equal(run.state.migrated, 3);
});

void test('a target that reads back another value is found, and nobody is told the value', async () => {
  const [from, target] = [await storeOf(abc), new MemoryKeyStore()];
  const to = altered(target, {
    get: async (name) => (name === 'b' ? 'damaged' : target.get(name)),
  });
  await assert.rejects(migrateKeys(migration(from, to)), (error: unknown) => {
    assert.ok(isError('mismatch', 'b')(error) && error instanceof Error);
    return !/damaged|value-b/.test(error.message);
  });
});

void test('a write that was lost is found', async () => {
  const [from, target] = [await storeOf(abc), new MemoryKeyStore()];
  const to = altered(target, {
    create: async (name, value) => (name === 'c' ? undefined : target.create(name, value)),
  });
  await assert.rejects(migrateKeys(migration(from, to)), isError('read', 'c'));
});

void test('a key that was removed from the source meanwhile is no error', async () => {
  const [source, to] = [await storeOf(abc), new MemoryKeyStore()];
  const from = altered(source, {
    async list(query) {
      const page = await source.list(query);
      await source.delete('a');
      return page;
    },
  });
  const run = migration(from, to);
  await migrateKeys(run);
  assert.equal(run.state.vanished, 1);
  assert.deepEqual(Object.keys(await contentOf(to)), ['b', 'c']);
});

void test('what was interrupted anywhere is finished by a second run with merge', async () => {
  const keys = Object.fromEntries(Array.from({ length: 100 }, (_, n) => [`key-${n}`, `v${n}`]));
  const [from, target] = [await storeOf(keys), new MemoryKeyStore()];
  const controller = new AbortController();
  let writes = 0;
  const to = altered(target, {
    async create(name, value) {
      writes += 1;
      if (writes === 40) controller.abort();
      await target.create(name, value);
    },
  });
  const first = { ...migration(from, to), signal: controller.signal };
  await assert.rejects(migrateKeys(first), isError('interrupted'));
  const done = first.state.migrated;
  assert.ok(done >= 40 && done < 100, String(done));
  assert.equal((await target.list({ prefix: '' })).names.length, done);
  const second = migration(from, target, 'merge');
  await migrateKeys(second);
  assert.deepEqual([second.state.migrated, second.state.skipped], [100 - done, done]);
  assert.deepEqual(await contentOf(target), keys);
});

void test('errors of the stores name the key and the side', async () => {
  const [from, to] = [await storeOf({ a: 'value-a' }), new MemoryKeyStore()];
  const fail = async () => {
    throw new KeyStoreError('unreachable', 'the store is down');
  };
  for (const [run, code, text] of [
    [
      migration(altered(from, { list: fail }), to),
      'list',
      /^failed to list keys: the store is down$/,
    ],
    [
      migration(altered(from, { get: fail }), to),
      'read',
      /^key "a" cannot be read from the source: /,
    ],
    [migration(from, altered(to, { create: fail })), 'write', /^key "a" cannot be written to the /],
  ] as const) {
    await assert.rejects(migrateKeys(run), { code, message: text });
  }
});

void test('a forced key that cannot be written gives the target its old key back, or says what it has', async () => {
  const down = new KeyStoreError('unreachable', 'the store is down');
  for (const { fails, text, left } of [
    {
      fails: (value: string) => value === 'value-a',
      text: /its old key still or again/,
      left: 'old',
    },
    { fails: () => true, text: /has no key of this name now/, left: undefined },
  ]) {
    const [from, target] = [await storeOf({ a: 'value-a' }), await storeOf({ a: 'old' })];
    let isDeleted = false;
    const to = altered(target, {
      async create(name, value) {
        if (isDeleted && fails(value)) throw down;
        await target.create(name, value);
      },
      async delete(name) {
        await target.delete(name);
        isDeleted = true;
      },
    });
    const error = await migrateKeys(migration(from, to, 'force')).catch((thrown: Error) => thrown);
    assert.ok(isError('write', 'a')(error) && error instanceof Error);
    assert.match(error.message, text);
    assert.equal((await contentOf(target))['a'], left);
    await migrateKeys(migration(from, target, 'force'));
    assert.equal(await target.get('a'), 'value-a');
  }
});

void test('a forced key whose write was only not answered is migrated', async () => {
  const [from, target] = [await storeOf({ a: 'value-a' }), await storeOf({ a: 'old' })];
  const to = altered(target, {
    async create(name, value) {
      await target.create(name, value);
      throw new KeyStoreError('unreachable', 'the answer was lost');
    },
  });
  const run = migration(from, to, 'force');
  await migrateKeys(run);
  assert.deepEqual([run.state.migrated, await target.get('a')], [1, 'value-a']);
});
