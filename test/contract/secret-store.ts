// The contract of `SecretStore` as tests: what every adapter of a remote product has to do, against its double.
// `open` starts a fresh, empty double with a store on it; `failures` says how the double misbehaves.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { KeyStoreError } from '../../src/keys/key-store.ts';
import type { SecretStore } from '../../src/keystores/secret-store.ts';
import { failsWith } from './key-store.ts';

export type OpenedSecrets = {
  readonly store: SecretStore;
  /** Another node on the same product. */
  readonly openAgain: () => Promise<SecretStore>;
  /** Credentials and other secrets that no error may show. */
  readonly credentials: readonly string[];
  readonly faults: SecretFaults;
  readonly close: () => Promise<void>;
};

/** How the test makes the product misbehave; `DoubleServer` has most of these by the same names. */
export type SecretFaults = {
  /** The next `count` calls of the store are answered with this status. */
  readonly failNext: (count: number, status: number) => void;
  /** The next `count` calls are answered with nonsense. */
  readonly garbageNext: (count: number) => void;
  /** The next `count` calls are carried out, but their answer is lost. */
  readonly loseAnswerNext: (count: number) => void;
  /** Stops and starts the product, keeping what it holds. */
  readonly down: () => Promise<void>;
  readonly up: () => Promise<void>;
};

export type SecretStoreLimits = {
  /** Largest value to try; 1 MiB by default. */
  readonly valueBytesMax?: number;
  /** How many names to list: more than two pages of the product; 250 by default. */
  readonly listCount?: number;
  /** The status of throttling that is survived once; 429 by default, undefined when the product has none. */
  readonly throttleStatus?: number | undefined;
};

/** Runs the suite against one adapter. */
export function testSecretStore(
  engine: string,
  open: () => Promise<OpenedSecrets>,
  limits: SecretStoreLimits = {},
): void {
  const withStore = (work: (opened: OpenedSecrets) => Promise<void>) => async () => {
    const opened = await open();
    try {
      await work(opened);
    } finally {
      await opened.store.close();
      await opened.close();
    }
  };
  describe(`${engine} secret store`, () => {
    testValues(withStore, limits);
    testRaces(withStore);
    testFaults(withStore, limits);
  });
}

type WithStore = (work: (opened: OpenedSecrets) => Promise<void>) => () => Promise<void>;

function testValues(withStore: WithStore, limits: SecretStoreLimits): void {
  const { valueBytesMax = 1_048_576, listCount = 250 } = limits;

  test(
    'gives back the exact text, under any name',
    withStore(async ({ store }) => {
      const printable = String.fromCharCode(...Array.from({ length: 95 }, (_, i) => 32 + i));
      for (const [name, value] of [
        ['a', 'value'],
        ['0_-Z', '{"bytes":"AAAA=="}'],
        ['a--0123456789ab-12-', printable],
        ['n'.repeat(127), ' padded\t\n'],
        ['large', 'x'.repeat(valueBytesMax)],
      ] as const) {
        await store.create(name, value);
        assert.equal(await store.get(name), value);
      }
    }),
  );

  test(
    'names differ by case and by every character',
    withStore(async ({ store }) => {
      const names = ['key', 'Key', 'KEY', 'key-', 'key_', 'key--destroyed-', '_key', '0', 'k'];
      for (const name of names) await store.create(name, `of ${name}`);
      for (const name of names) assert.equal(await store.get(name), `of ${name}`);
      assert.deepEqual((await store.list()).toSorted(), names.toSorted());
    }),
  );

  test(
    'create refuses a name that is taken and keeps the first value',
    withStore(async ({ store }) => {
      await store.create('a', 'first');
      await assert.rejects(store.create('a', 'second'), failsWith('exists'));
      await assert.rejects(store.create('a', 'first'), failsWith('exists'));
      assert.equal(await store.get('a'), 'first');
    }),
  );

  test(
    'get of an unknown name says so, delete of one resolves',
    withStore(async ({ store }) => {
      await assert.rejects(store.get('a'), failsWith('not-found'));
      await store.delete('a');
      assert.deepEqual(await store.list(), []);
    }),
  );

  test(
    'a deleted name is free again, as often as wanted',
    withStore(async ({ store }) => {
      for (const value of ['1', '2', '3']) {
        await store.create('a', value);
        assert.equal(await store.get('a'), value);
        await store.delete('a');
        await assert.rejects(store.get('a'), failsWith('not-found'));
        assert.deepEqual(await store.list(), []);
      }
    }),
  );

  test(
    'lists every name once, over many pages',
    withStore(async ({ store }) => {
      const names = Array.from({ length: listCount }, (_, index) => `k${index}`);
      for (let start = 0; start < names.length; start += 32) {
        await Promise.all(names.slice(start, start + 32).map((name) => store.create(name, 'x')));
      }
      assert.deepEqual((await store.list()).toSorted(), names.toSorted());
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
}

function testRaces(withStore: WithStore): void {
  test(
    'of 40 creators on two nodes exactly one wins, and its value stays',
    withStore(async ({ store, openAgain }) => {
      const other = await openAgain();
      const values = Array.from({ length: 40 }, (_, index) => `value${index}`);
      const outcomes = await Promise.allSettled(
        values.map((value, index) => (index % 2 === 0 ? store : other).create('a', value)),
      );
      const winners = values.filter((_, index) => outcomes[index]?.status === 'fulfilled');
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected') failsWith('exists')(outcome.reason);
      }
      assert.equal(winners.length, 1);
      assert.equal(await other.get('a'), winners[0]);
      await other.close();
    }),
  );

  test(
    'one node reads at once what another created or deleted',
    withStore(async ({ store, openAgain }) => {
      const other = await openAgain();
      await store.create('a', '1');
      assert.equal(await other.get('a'), '1');
      await other.delete('a');
      await assert.rejects(store.get('a'), failsWith('not-found'));
      await other.create('a', '2');
      assert.equal(await store.get('a'), '2');
      await other.close();
    }),
  );
}

function testFaults(withStore: WithStore, limits: SecretStoreLimits): void {
  const throttleStatus = 'throttleStatus' in limits ? limits.throttleStatus : 429;

  test(
    'goes on after a restart of the product',
    withStore(async ({ store, faults }) => {
      await store.create('a', '1');
      await faults.down();
      await assert.rejects(store.get('a'), failsWith('unreachable'));
      await assert.rejects(store.create('b', '2'), failsWith('unreachable'));
      await assert.rejects(store.delete('a'), failsWith('unreachable'));
      await assert.rejects(store.list(), failsWith('unreachable'));
      assert.notEqual((await store.status()).state, 'available');
      await faults.up();
      assert.equal(await store.get('a'), '1');
      await store.create('b', '2');
      assert.deepEqual((await store.list()).toSorted(), ['a', 'b']);
      assert.equal((await store.status()).state, 'available');
    }),
  );

  for (const status of [503, throttleStatus].filter((each) => each !== undefined)) {
    test(
      `survives one answer ${status} in every call`,
      withStore(async ({ store, faults }) => {
        faults.failNext(1, status);
        await store.create('a', '1');
        faults.failNext(1, status);
        assert.equal(await store.get('a'), '1');
        faults.failNext(1, status);
        assert.deepEqual(await store.list(), ['a']);
        faults.failNext(1, status);
        // A delete may leave it to its caller to look again and repeat it.
        await store.delete('a').catch(failsWith('unreachable'));
        await store.delete('a');
        assert.deepEqual(await store.list(), []);
      }),
    );
  }

  test(
    'an error of a proxy never says that a key does not exist, nor that it does',
    withStore(async ({ store, faults }) => {
      await store.create('a', '1');
      for (const status of [404, 409]) {
        for (const call of [() => store.get('a'), () => store.create('b', '1')]) {
          faults.failNext(10, status);
          await assert.rejects(call(), (error) => {
            assert.ok(error instanceof KeyStoreError, String(error));
            assert.ok(['failed', 'unreachable'].includes(error.code), error.code);
            return true;
          });
          await drain(store, faults);
        }
      }
      assert.equal(await store.get('a'), '1');
    }),
  );

  test(
    'a create whose answer was lost is not reported as a name that is taken',
    withStore(async ({ store, faults }) => {
      faults.loseAnswerNext(1);
      await store.create('a', '1').catch(failsWith('unreachable'));
      const value = await store.get('a').catch(failsWith('not-found'));
      assert.ok(value === '1' || value === true, String(value));
      await store.create('b', '1');
      faults.loseAnswerNext(1);
      await assert.rejects(store.create('b', '2'), (error) => {
        assert.ok(error instanceof KeyStoreError);
        assert.ok(['exists', 'unreachable'].includes(error.code), error.code);
        return true;
      });
      assert.equal(await store.get('b'), '1');
    }),
  );

  test(
    'nonsense is an error, never a value or an absence',
    withStore(async ({ store, faults }) => {
      await store.create('a', '1');
      for (const call of [() => store.get('a'), () => store.list(), () => store.get('none')]) {
        faults.garbageNext(10);
        await assert.rejects(call(), failsWith('failed'));
        await drain(store, faults);
      }
      assert.equal(await store.get('a'), '1');
    }),
  );

  test(
    'an error of the product is an error, and shows neither credential nor value',
    withStore(async ({ store, faults, credentials }) => {
      const value = 'the-secret-value-of-the-key';
      for (const act of ['failed', 'garbage', 'lost', 'down'] as const) {
        for (const call of [
          () => store.create('a', value),
          () => store.get('a'),
          () => store.delete('a'),
          () => store.list(),
          () => store.status(),
        ]) {
          if (act === 'failed') faults.failNext(10, 500);
          if (act === 'garbage') faults.garbageNext(10);
          if (act === 'lost') faults.loseAnswerNext(10);
          if (act === 'down') await faults.down();
          checkSilent(await outcomeOf(call), [...credentials, value]);
          if (act === 'down') await faults.up();
          else await drain(store, faults);
        }
      }
    }),
  );
}

/** Uses up what is left of the faults set before. */
async function drain(store: SecretStore, _faults: SecretFaults): Promise<void> {
  for (let calls = 0; calls < 12; calls += 1) {
    const outcome = await outcomeOf(() => store.get('drain'));
    if (outcome instanceof KeyStoreError && outcome.code === 'not-found') return;
  }
  assert.fail('the faults do not end');
}

async function outcomeOf(call: () => Promise<unknown>): Promise<unknown> {
  try {
    return await call();
  } catch (error) {
    assert.ok(error instanceof KeyStoreError, String(error));
    return error;
  }
}

/** Checks the texts of an error and of what caused it. */
function checkSilent(outcome: unknown, secrets: readonly string[]): void {
  if (typeof outcome === 'string') return; // the value itself
  let text = JSON.stringify(outcome) ?? '';
  for (let error = outcome; error instanceof Error; error = error.cause) {
    text += ` ${error.message} ${JSON.stringify(error)}`;
  }
  for (const secret of secrets) assert.ok(!text.includes(secret), `${text} shows ${secret}`);
}
