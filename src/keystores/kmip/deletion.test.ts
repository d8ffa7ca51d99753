// Deletions that are cut off after each of their steps, in whatever order others come by.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { failsWith } from '../../../test/contract/key-store.ts';
import {
  type KmipDouble,
  type KmipDoubleOptions,
  startKmipDouble,
} from '../../../test/support/doubles/kmip.ts';
import { silentLog } from '../../base/log.ts';
import { type KeyStore, KeyStoreError } from '../../keys/key-store.ts';
import { openGenerations } from '../generations.ts';
import type { SecretStore } from '../secret-store.ts';
import { type KmipStoreDeps, openKmipSecrets } from './secrets.ts';

const active = 2;
const deactivated = 3;
const destroyed = 5;

async function withDouble<T>(
  options: KmipDoubleOptions,
  work: (given: {
    readonly double: KmipDouble;
    readonly open: (deps?: Partial<KmipStoreDeps>) => Promise<SecretStore>;
  }) => Promise<T>,
): Promise<T> {
  const double = await startKmipDouble(options);
  const stores: SecretStore[] = [];
  try {
    return await work({
      double,
      open: async (deps) => {
        const store = await openKmipSecrets(
          { endpoint: double.endpoint, tls: double.tls },
          { log: silentLog, retryDelayMs: () => 1, ...deps },
        );
        stores.push(store);
        return store;
      },
    });
  } finally {
    for (const store of stores) await store.close();
    await double.close();
  }
}

/** What is left, without what only a trace is left of. */
function left(double: KmipDouble): string[] {
  return [...double.objects.values()]
    .filter(({ state }) => state < destroyed)
    .map(({ names, state }) => `${names[0]} ${state}`);
}

/** Does `work` as a node that reaches the server `calls` times and then dies. True when that was enough. */
async function cutOff(
  double: KmipDouble,
  calls: number,
  work: () => Promise<void>,
): Promise<boolean> {
  let done = 0;
  double.before = async () => {
    done += 1;
    if (done > calls) throw new Error('cut off');
  };
  try {
    await work();
    return done <= calls;
  } catch (error) {
    failsWith('unreachable')(error);
    return false;
  } finally {
    double.before = undefined;
  }
}

/** The value, or undefined when there is none; any other error fails the test. */
async function read(store: SecretStore): Promise<string | undefined> {
  try {
    return await store.get('a');
  } catch (error) {
    failsWith('not-found')(error);
    return undefined;
  }
}

const kinds: Readonly<Record<string, KmipDoubleOptions>> = {
  'that lets names repeat': {},
  'that keeps names unique': { isUnique: true },
  'that keeps destroyed objects': { keepsDestroyed: true },
  'of KMIP 1.2': { versions: ['1.2'] },
};

/** What comes by after the crash; each leaves the store as if the deletion had finished or not begun. */
const followers: Readonly<Record<string, (store: SecretStore, is: boolean) => Promise<void>>> = {
  'a creation': async (store, isThere) => {
    if (isThere) {
      await assert.rejects(store.create('a', '2'), failsWith('exists'));
      assert.equal(await read(store), '1');
    } else {
      await store.create('a', '2');
      assert.equal(await read(store), '2');
    }
    assert.deepEqual(await store.list(), ['a']);
  },
  'another deletion': async (store) => {
    await store.delete('a');
    assert.equal(await read(store), undefined);
    assert.deepEqual(await store.list(), []);
  },
  'a list': async (store, isThere) => {
    assert.deepEqual(await store.list(), isThere ? ['a'] : []);
    assert.equal(await read(store), isThere ? '1' : undefined);
  },
};

describe('KMIP deletions that are cut off', () => {
  for (const [kind, options] of Object.entries(kinds)) {
    for (const [follower, follow] of Object.entries(followers)) {
      test(`on a server ${kind}: ${follower} finds the key there or gone, never stuck`, async () => {
        const states = new Set<string>();
        for (let calls = 0; ; calls += 1) {
          const isOver = await withDouble(options, async ({ double, open }) => {
            const dead = await open();
            await dead.create('a', '1');
            const isWhole = await cutOff(double, calls, async () => dead.delete('a'));
            states.add(left(double).toSorted().join());
            const other = await open();
            const value = await read(other);
            assert.ok(value === undefined || (value === '1' && !isWhole));
            await follow(other, value !== undefined);
            // Deleted once more and listed, nothing is left, neither the key nor what deletions need.
            await other.delete('a');
            await other.list();
            assert.deepEqual(left(double), []);
            return isWhole;
          });
          if (isOver) break;
          assert.ok(calls < 30);
        }
        const seen = [...states].map((each) => each.replaceAll(/\.deleted\.\S+/g, 'mark'));
        assert.deepEqual(seen, ['a 2', 'mark 1,a 2', 'mark 1,a 3', 'mark 1', '']);
      });
    }
  }

  test('the answers to its steps may get lost', async () => {
    for (const operation of ['Register', 'Revoke', 'Destroy'] as const) {
      await withDouble({}, async ({ double, open }) => {
        const store = await open();
        await store.create('a', '1');
        double.fault('lose', { operation });
        await store.delete('a').catch(failsWith('unreachable'));
        assert.equal(await read(store), operation === 'Register' ? '1' : undefined);
        await store.delete('a');
        await store.create('a', '2');
        assert.equal(await read(store), '2');
        assert.deepEqual(await store.list(), ['a']);
        assert.deepEqual(left(double), ['a 2']);
      });
    }
  });
});

describe('KMIP marks of deletions', () => {
  test('without a mark, what somebody else took out of use is an error, whatever other marks there are', () =>
    withDouble({}, async ({ double, open }) => {
      const store = await open();
      const id = double.add({ name: 'a', value: '1', state: deactivated, createdAt: 8n });
      double.add({ name: '.deleted.8.other', value: 'x' });
      double.add({ name: `.deleted.7.${id}`, value: 'x' });
      double.add({ name: `.deleted.8.${id}`, value: 'x', group: 'others' });
      double.add({ name: `.deleted.8.${id}`, value: 'x', state: destroyed });
      for (const call of [() => store.get('a'), () => store.create('a', '2')]) {
        await assert.rejects(call(), failsWith('failed'));
      }
      assert.deepEqual(await store.list(), ['a']);
      assert.ok(double.objects.has(id));
    }));

  test('the mark of an object that is gone is removed, and hides no later object', () =>
    withDouble({}, async ({ double, open }) => {
      const store = await open();
      double.add({ name: '.deleted.7.gone', value: 'x' });
      await store.create('a', '1');
      assert.deepEqual(await store.list(), ['a']);
      assert.deepEqual(left(double), ['a 2']);
      assert.equal(await store.get('a'), '1');
    }));

  test('the mark of an active object means nothing, and goes after a while', () =>
    withDouble({}, async ({ double, open }) => {
      const store = await open({ markMs: 20 });
      const id = double.add({ name: 'a', value: '1', state: active, createdAt: 7n });
      double.add({ name: `.deleted.7.${id}`, value: 'x' });
      assert.equal(await store.get('a'), '1');
      assert.deepEqual(await store.list(), ['a']);
      assert.equal(left(double).length, 2, 'its deletion may be on the way');
      await new Promise((resolve) => setTimeout(resolve, 30));
      assert.deepEqual(await store.list(), ['a']);
      assert.deepEqual(left(double), ['a 2']);
      assert.equal(await store.get('a'), '1');
    }));

  test('a deletion that the server refuses leaves no mark', () =>
    withDouble({}, async ({ double, open }) => {
      const store = await open();
      await store.create('a', '1');
      double.fault('refuse', { operation: 'Revoke', reason: 'PermissionDenied' });
      await assert.rejects(store.delete('a'), failsWith('failed'));
      assert.deepEqual(left(double), ['a 2']);
    }));

  test('a deletion that cannot be marked does not begin', () =>
    withDouble({}, async ({ double, open }) => {
      const store = await open();
      await store.create('a', '1');
      double.fault('refuse', { operation: 'Register', reason: 'PermissionDenied' });
      await assert.rejects(store.delete('a'), failsWith('failed'));
      assert.equal(await store.get('a'), '1');
    }));

  test('a list does not fail because a deletion cannot be finished', () =>
    withDouble({}, async ({ double, open }) => {
      const store = await open();
      const id = double.add({ name: 'a', value: '1', state: deactivated, createdAt: 7n });
      double.add({ name: `.deleted.7.${id}`, value: 'x' });
      double.fault('refuse', { operation: 'Destroy', reason: 'PermissionDenied' });
      assert.deepEqual(await store.list(), []);
      assert.equal(left(double).length, 2);
      assert.deepEqual(await store.list(), []);
      assert.deepEqual(left(double), []);
    }));
});

describe('KMIP deletions at once', () => {
  for (const [kind, options] of Object.entries(kinds)) {
    test(`on a server ${kind}: deletions, creations and reads of one name in any order`, () =>
      withDouble(options, async ({ double, open }) => {
        let seed = 7;
        const random = (): number => {
          seed = (seed * 16_807) % 2_147_483_647;
          return seed / 2_147_483_647;
        };
        double.before = async () => {
          await new Promise((resolve) => setTimeout(resolve, random() * 2));
        };
        const [one, two, three] = [await open(), await open(), await open()];
        for (let round = 0; round < 12; round += 1) {
          await one.create('a', `v${round}`);
          const [created] = await Promise.all([
            three.create('a', `w${round}`).then(
              () => true,
              (error: unknown) => !failsWith('exists')(error),
            ),
            one.delete('a'),
            two.delete('a'),
            read(two),
          ]);
          const value = await read(three);
          assert.ok(value === undefined || (created && value === `w${round}`), String(value));
          await two.delete('a');
          assert.equal(await read(one), undefined);
          await one.list();
          assert.deepEqual(left(double), []);
        }
      }));
  }

  test('a creation during an unfinished deletion finishes it, and the deleter does no harm to the new key', () =>
    withDouble({}, async ({ double, open }) => {
      const [slow, fast] = [await open(), await open()];
      await slow.create('a', '1');
      let wake = (): void => undefined;
      const sleep = new Promise<void>((resolve) => {
        wake = resolve;
      });
      double.before = async (operation) => {
        if (operation !== 'Destroy') return;
        double.before = undefined;
        await sleep;
      };
      const slowly = slow.delete('a');
      while (double.before !== undefined) await new Promise((resolve) => setImmediate(resolve));
      await fast.create('a', '2');
      wake();
      await slowly;
      assert.equal(await slow.get('a'), '2');
      assert.deepEqual(left(double), ['a 2']);
    }));

  test('a lost answer to an activation whose key was deleted since does not bring the key back', () =>
    withDouble({}, async ({ double, open }) => {
      const [creator, other] = [await open(), await open()];
      let isDue = false;
      double.before = async (operation) => {
        if (operation === 'Activate') isDue = true;
        if (operation !== 'GetAttributes' || !isDue) return;
        isDue = false;
        await other.delete('a');
      };
      double.fault('lose', { operation: 'Activate' });
      await assert.rejects(creator.create('a', '1'), (error) => {
        assert.ok(error instanceof KeyStoreError);
        return failsWith('unreachable')(error);
      });
      double.before = undefined;
      assert.equal(await read(other), undefined);
    }));
});

describe('KMIP keys whose deletion or erasing is cut off', () => {
  const options = { settleMs: 1 };
  const change = { expected: '2', value: 'erased', isErasing: true };

  /** Cuts `work` off after every one of its calls, and lets another node go on with `check`. */
  async function cutEverywhere(
    work: (keys: KeyStore) => Promise<void>,
    check: (keys: KeyStore) => Promise<void>,
  ): Promise<void> {
    for (let calls = 0; ; calls += 1) {
      const isOver = await withDouble({}, async ({ double, open }) => {
        const dead = openGenerations(await open({ claimMs: 20 }), options);
        await dead.create('k', '1');
        await dead.replace('k', { expected: '1', value: '2' });
        const isWhole = await cutOff(double, calls, async () => work(dead));
        await check(openGenerations(await open({ claimMs: 20 }), options));
        return isWhole;
      });
      if (isOver) break;
      assert.ok(calls < 300);
    }
  }

  test('a deleted key is there or gone, and its name can be used again', () =>
    cutEverywhere(
      async (keys) => keys.delete('k'),
      async (keys) => {
        const value = await keys.get('k').catch(failsWith('not-found'));
        assert.ok(value === '2' || value === true, String(value));
        await keys.delete('k').catch(failsWith('not-found'));
        await assert.rejects(keys.get('k'), failsWith('not-found'));
        await keys.create('k', '1');
        assert.equal(await keys.get('k'), '1');
        assert.deepEqual((await keys.list({ prefix: '' })).names, ['k']);
        await keys.close();
      },
    ));

  test('an erased key is as it was or erased, and its name stays taken', () =>
    cutEverywhere(
      async (keys) => keys.replace('k', change),
      async (keys) => {
        const value = await keys.get('k');
        assert.ok(value === '2' || value === 'erased', value);
        await keys.replace('k', change);
        assert.equal(await keys.get('k'), 'erased');
        await assert.rejects(keys.create('k', '3'), failsWith('exists'));
        assert.deepEqual((await keys.list({ prefix: '' })).names, ['k']);
        await keys.close();
      },
    ));
});
