// The contract of `KeyStore` as tests: every engine passes this suite. `open` gives a fresh, empty store;
// an engine that several programs can share also gives `openAgain`, a second store on the same keys.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type KeyStore, KeyStoreError, type KeyStoreErrorCode } from '../../src/keys/key-store.ts';

export type OpenedStore = {
  readonly store: KeyStore;
  readonly openAgain?: () => Promise<KeyStore>;
  readonly close: () => Promise<void>;
};

/** The error check of `assert.rejects` for a code. */
export function failsWith(code: KeyStoreErrorCode): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof KeyStoreError, String(error));
    assert.equal(error.code, code);
    return true;
  };
}

export type KeyStoreLimits = {
  /** Largest value to try; 1 MiB by default. */
  readonly valueBytesMax?: number;
  /** Names to create for several pages, more than 1,024; fewer skip that test, where a product is too slow for it. */
  readonly listCount?: number;
};

/** Runs the suite against one engine. */
export function testKeyStore(
  engine: string,
  open: () => Promise<OpenedStore>,
  limits: KeyStoreLimits = {},
): void {
  const withStore = (work: (opened: OpenedStore) => Promise<void>) => async () => {
    const opened = await open();
    try {
      await work(opened);
    } finally {
      await opened.store.close();
      await opened.close();
    }
  };

  describe(`${engine} key store`, () => {
    test(
      'gives back the exact text',
      withStore(async ({ store }) => {
        const long = 'x'.repeat(limits.valueBytesMax ?? 1_048_576);
        for (const [name, value] of [
          ['a', 'value'],
          ['0_-Z', '{"bytes":"AAAA"}'],
          ['long', long],
          ['n'.repeat(80), ' padded \n'],
        ] as const) {
          await store.create(name, value);
          assert.equal(await store.get(name), value);
        }
      }),
    );

    test(
      'create refuses a name that is taken and keeps the first value',
      withStore(async ({ store }) => {
        await store.create('a', 'first');
        await assert.rejects(store.create('a', 'second'), failsWith('exists'));
        assert.equal(await store.get('a'), 'first');
      }),
    );

    test(
      'get, delete and replace of an unknown name say so',
      withStore(async ({ store }) => {
        await assert.rejects(store.get('a'), failsWith('not-found'));
        await assert.rejects(store.delete('a'), failsWith('not-found'));
        await assert.rejects(
          store.replace('a', { expected: '1', value: '2' }),
          failsWith('not-found'),
        );
        assert.deepEqual(await store.list({ prefix: '' }), { names: [], hasMore: false });
      }),
    );

    test(
      'a deleted name is free again',
      withStore(async ({ store }) => {
        await store.create('a', '1');
        await store.delete('a');
        await assert.rejects(store.get('a'), failsWith('not-found'));
        await store.create('a', '2');
        assert.equal(await store.get('a'), '2');
      }),
    );

    test(
      'replace changes only what is still as expected',
      withStore(async ({ store }) => {
        await store.create('a', '1');
        await store.replace('a', { expected: '1', value: '2' });
        assert.equal(await store.get('a'), '2');
        await assert.rejects(
          store.replace('a', { expected: '1', value: '3' }),
          failsWith('conflict'),
        );
        assert.equal(await store.get('a'), '2');
      }),
    );

    test(
      'delete with an expected value deletes only that',
      withStore(async ({ store, openAgain }) => {
        const other = (await openAgain?.()) ?? store;
        await store.create('a', '1');
        await store.replace('a', { expected: '1', value: '2' });
        await assert.rejects(other.delete('a', '1'), failsWith('conflict'));
        assert.equal(await store.get('a'), '2');
        await store.replace('a', { expected: '2', value: 'gone', isErasing: true });
        await assert.rejects(other.delete('a', '2'), failsWith('conflict'));
        assert.equal(await store.get('a'), 'gone');
        await assert.rejects(store.delete('b', '1'), failsWith('not-found'));
        await store.create('b', '1');
        await other.delete('b', '1');
        await assert.rejects(store.get('b'), failsWith('not-found'));
      }),
    );

    test(
      'of many concurrent creators exactly one wins, and its value stays',
      withStore(async ({ store, openAgain }) => {
        const stores = [store, (await openAgain?.()) ?? store];
        for (const name of ['a', 'b', 'c']) {
          const values = Array.from({ length: 40 }, (_, index) => `${name}${index}`);
          const outcomes = await Promise.allSettled(
            values.map((value, index) => (stores[index % 2] ?? store).create(name, value)),
          );
          const winners = values.filter((_, index) => outcomes[index]?.status === 'fulfilled');
          assert.equal(winners.length, 1);
          assert.equal(await store.get(name), winners[0]);
        }
      }),
    );

    test(
      'of many concurrent replacers of one value exactly one wins',
      withStore(async ({ store, openAgain }) => {
        const stores = [store, (await openAgain?.()) ?? store];
        await store.create('a', 'old');
        const outcomes = await Promise.allSettled(
          Array.from({ length: 12 }, (_, index) =>
            (stores[index % 2] ?? store).replace('a', { expected: 'old', value: `new${index}` }),
          ),
        );
        const winner = outcomes.findIndex(({ status }) => status === 'fulfilled');
        assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1);
        assert.equal(await store.get('a'), `new${winner}`);
      }),
    );

    test(
      'a replace never brings a deleted key back',
      withStore(async ({ store, openAgain }) => {
        const other = (await openAgain?.()) ?? store;
        for (let round = 0; round < 12; round += 1) {
          await store.create('a', 'old');
          const [, deleted] = await Promise.allSettled([
            store.replace('a', { expected: 'old', value: 'new' }),
            other.delete('a'),
          ]);
          assert.equal(deleted.status, 'fulfilled');
          await assert.rejects(store.get('a'), failsWith('not-found'));
        }
      }),
    );

    testChanges(withStore);

    test(
      'lists sorted by bytes, by prefix, and from where a page ended',
      withStore(async ({ store }) => {
        for (const name of ['my-key', 'my-key2', '0-key', '1-key', 'Z', '_a']) {
          await store.create(name, 'x');
        }
        const namesOf = async (query: { prefix: string; after?: string }) =>
          (await store.list(query)).names;
        assert.deepEqual(await namesOf({ prefix: '' }), [
          '0-key',
          '1-key',
          'Z',
          '_a',
          'my-key',
          'my-key2',
        ]);
        assert.deepEqual(await namesOf({ prefix: 'my' }), ['my-key', 'my-key2']);
        assert.deepEqual(await namesOf({ prefix: 'my', after: 'my-key' }), ['my-key2']);
        assert.deepEqual(await namesOf({ prefix: '', after: '_a' }), ['my-key', 'my-key2']);
        assert.deepEqual(await namesOf({ prefix: 'none' }), []);
      }),
    );

    const { listCount = 1030 } = limits;
    test(
      'pages hold at most 1,024 names and lead through all of them',
      { skip: listCount <= 1024 && 'this product is too slow for so many names' },
      withStore(async ({ store }) => {
        const names = Array.from(
          { length: listCount },
          (_, index) => `k${String(index).padStart(5, '0')}`,
        );
        for (let start = 0; start < names.length; start += 64) {
          await Promise.all(names.slice(start, start + 64).map((name) => store.create(name, 'x')));
        }
        const seen: string[] = [];
        for (let after: string | undefined; ; ) {
          const page = await store.list({ prefix: 'k', ...(after === undefined ? {} : { after }) });
          assert.ok(page.names.length <= 1024);
          seen.push(...page.names);
          if (!page.hasMore) break;
          after = page.names.at(-1);
        }
        assert.deepEqual(seen, names);
      }),
    );

    test(
      'is available and says how fast',
      withStore(async ({ store }) => {
        const status = await store.status();
        assert.equal(status.state, 'available');
        assert.ok(status.state === 'available' && status.latencyMs >= 1);
      }),
    );
  });
}

type WithStore = (work: (opened: OpenedStore) => Promise<void>) => () => Promise<void>;

/** What becomes of a key that is changed again and again, as one and as another node sees it. */
function testChanges(withStore: WithStore): void {
  test(
    'change follows change, and only the last value counts',
    withStore(async ({ store }) => {
      const values = ['0', '1', '2', '3', '4', '5', '6', '7', '8'];
      await store.create('a', '0');
      for (const [index, value] of values.slice(1).entries()) {
        await store.replace('a', { expected: String(index), value });
        assert.equal(await store.get('a'), value);
      }
      for (const expected of values.slice(0, -1)) {
        const stale = { expected, value: 'stale' };
        await assert.rejects(store.replace('a', stale), failsWith('conflict'));
      }
      await store.replace('a', { expected: '8', value: '0' });
      await store.replace('a', { expected: '0', value: '1' });
      assert.equal(await store.get('a'), '1');
      assert.deepEqual((await store.list({ prefix: '' })).names, ['a']);
    }),
  );

  test(
    'another node sees every change, however it knew the key before',
    withStore(async ({ store, openAgain }) => {
      const other = (await openAgain?.()) ?? store;
      await store.create('a', '0');
      assert.equal(await other.get('a'), '0');
      await store.replace('a', { expected: '0', value: '1' });
      assert.equal(await other.get('a'), '1');
      for (const value of [2, 3, 4, 5, 6]) {
        await store.replace('a', { expected: String(value - 1), value: String(value) });
      }
      assert.equal(await other.get('a'), '6');
      await other.replace('a', { expected: '6', value: '7' });
      assert.equal(await store.get('a'), '7');
      const fresh = (await openAgain?.()) ?? store;
      assert.equal(await fresh.get('a'), '7');
      await fresh.delete('a');
      await assert.rejects(store.get('a'), failsWith('not-found'));
      await assert.rejects(other.get('a'), failsWith('not-found'));
      const late = { expected: '7', value: '8' };
      await assert.rejects(other.replace('a', late), failsWith('not-found'));
    }),
  );

  test(
    'a key that was changed and deleted leaves nothing to the next of its name',
    withStore(async ({ store, openAgain }) => {
      const other = (await openAgain?.()) ?? store;
      for (const first of ['x', 'y', 'x']) {
        await store.create('a', first);
        assert.equal(await other.get('a'), first);
        for (const value of [1, 2, 3]) {
          const expected = await store.get('a');
          await store.replace('a', { expected, value: `${first}${value}` });
        }
        await store.delete('a');
        assert.deepEqual((await other.list({ prefix: '' })).names, []);
        await assert.rejects(other.get('a'), failsWith('not-found'));
      }
      await other.create('a', 'x');
      assert.equal(await store.get('a'), 'x');
    }),
  );

  test(
    'an erased key is its last value, and its name stays taken',
    withStore(async ({ store, openAgain }) => {
      const other = (await openAgain?.()) ?? store;
      for (const [name, changes] of [
        ['fresh', 0],
        ['changed', 3],
      ] as const) {
        await store.create(name, '0');
        for (let value = 1; value <= changes; value += 1) {
          await store.replace(name, { expected: String(value - 1), value: String(value) });
        }
        const expected = String(changes);
        assert.equal(await other.get(name), expected);
        const stale = { expected: 'stale', value: 'gone', isErasing: true };
        await assert.rejects(store.replace(name, stale), failsWith('conflict'));
        await store.replace(name, { expected, value: 'gone', isErasing: true });
        assert.equal(await store.get(name), 'gone');
        assert.equal(await other.get(name), 'gone');
        await assert.rejects(other.create(name, 'new'), failsWith('exists'));
        const late = { expected, value: 'late' };
        await assert.rejects(other.replace(name, late), failsWith('conflict'));
      }
      assert.deepEqual((await other.list({ prefix: '' })).names, ['changed', 'fresh']);
    }),
  );

  test(
    'of a change and an erasing at the same time one wins',
    withStore(async ({ store, openAgain }) => {
      const other = (await openAgain?.()) ?? store;
      for (const name of ['a', 'b', 'c', 'd']) {
        await store.create(name, 'old');
        const [changed, erased] = await Promise.allSettled([
          store.replace(name, { expected: 'old', value: 'changed' }),
          other.replace(name, { expected: 'old', value: 'erased', isErasing: true }),
        ]);
        assert.notEqual(changed.status, erased.status);
        const winner = changed.status === 'fulfilled' ? 'changed' : 'erased';
        assert.equal(await store.get(name), winner);
      }
    }),
  );
}
