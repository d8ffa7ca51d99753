// Several nodes of one Vault: which one gets a call, and what is said when some or all are sealed.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failsWith } from '../../../test/contract/key-store.ts';
import { startVaultDouble, type VaultDouble } from '../../../test/support/doubles/vault.ts';
import { silentLog } from '../../base/log.ts';
import { KeyStoreError } from '../../keys/key-store.ts';
import type { SecretStore } from '../secret-store.ts';
import { openVaultSecrets } from './secrets.ts';

type Cluster = {
  readonly one: VaultDouble;
  readonly two: VaultDouble;
  readonly store: SecretStore;
  /** Runs the next health check, as if its time had come. */
  readonly ping: () => Promise<void>;
};

/** Two nodes that hold the same. */
async function withCluster(
  work: (cluster: Cluster) => Promise<void>,
  deadlineMs?: number,
): Promise<void> {
  const one = await startVaultDouble();
  const two = await startVaultDouble();
  Object.assign(two, { mounts: one.mounts, tokens: one.tokens, transitKeys: one.transitKeys });
  const timers = new Set<() => void>();
  const after = (_: number, run: () => void) => {
    timers.add(run);
    return () => timers.delete(run);
  };
  const store = await openVaultSecrets(
    {
      endpoint: `${one.origin},${two.origin}`,
      engine: 'secret',
      version: 'v2',
      approle: { id: 'role-id-of-the-test', secret: 'secret-id-of-the-test' },
    },
    {
      log: silentLog,
      retryDelayMs: () => 1,
      clock: { now: () => 0, after },
      ...(deadlineMs === undefined ? {} : { deadlineMs }),
    },
  );
  const healthChecks = () => two.requests.filter((line) => line.includes('/sys/health')).length;
  const ping = async () => {
    const before = timers.size;
    const latest = [...timers].at(-1);
    assert.ok(latest);
    timers.delete(latest);
    const seen = healthChecks();
    latest();
    // It is over when it has armed the next one.
    while (timers.size < before || healthChecks() === seen) {
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  };
  one.requests.length = 0;
  two.requests.length = 0;
  try {
    await work({ one, two, store, ping });
  } finally {
    await store.close();
    await one.close();
    await two.close();
  }
}

test('while one node is sealed, everything goes on with the other', async () => {
  await withCluster(async ({ one, two, store }) => {
    one.isSealed = true;
    await store.create('a', '1');
    assert.equal(await store.get('a'), '1');
    await assert.rejects(store.create('a', '2'), failsWith('exists'));
    assert.deepEqual(await store.list(), ['a']);
    await store.delete('a');
    assert.equal((await store.status()).state, 'available');
    assert.equal(one.requests.filter((line) => !line.includes('/sys/health')).length, 1);
    assert.ok(two.requests.length > 5);
  });
});

test('Vault is called sealed only when every node is', async () => {
  await withCluster(async ({ one, two, store, ping }) => {
    await store.create('a', '1');
    one.isSealed = true;
    await two.down();
    for (const call of [() => store.get('a'), () => store.create('b', '1')]) {
      await assert.rejects(call(), (error) => {
        assert.doesNotMatch(String(error), /sealed/);
        return failsWith('unreachable')(error);
      });
    }
    const status = await store.status();
    assert.ok(status.state === 'unreachable' && !status.reason.includes('sealed'));
    await two.up();
    two.isSealed = true;
    await assert.rejects(store.get('a'), /key store is sealed/);
    const before = one.requests.length + two.requests.length;
    await assert.rejects(store.get('a'), /key store is sealed/);
    await assert.rejects(store.delete('a'), /key store is sealed/);
    assert.equal(one.requests.length + two.requests.length, before);
    assert.deepEqual(await store.status(), {
      state: 'unreachable',
      reason: 'vault: key store is sealed',
    });
    two.isSealed = false;
    await ping();
    assert.equal(await store.get('a'), '1');
  });
});

test('a node that was unsealed is used again', async () => {
  await withCluster(async ({ one, two, store, ping }) => {
    one.isSealed = true;
    await store.create('a', '1');
    one.isSealed = false;
    while (one.requests.filter((line) => line.includes('/sys/health')).length < 1) await ping();
    await two.down();
    assert.equal(await store.get('a'), '1');
  });
});

test('a node that is out of order is passed by, also by calls that are not repeated', async () => {
  await withCluster(async ({ one, two, store }) => {
    await store.create('a', '1');
    one.failNext(100, 500);
    const before = one.requests.length;
    assert.equal(await store.get('a'), '1');
    assert.equal(one.requests.length, before + 1);
    two.failNext(1, 500, { match: /^DELETE/ });
    await assert.rejects(store.delete('a'), failsWith('unreachable'));
    assert.equal(await store.get('a'), '1');
    await store.delete('a');
    assert.equal(two.requests.filter((line) => line.startsWith('DELETE')).length, 2);
    assert.ok(!one.requests.some((line) => line.startsWith('DELETE')));
  });
});

for (const status of [412, 429, 472, 473]) {
  test(`a node that answers ${status} has done nothing: the next one is asked, with a write too`, async () => {
    await withCluster(async ({ one, two, store }) => {
      one.failNext(100, status);
      await store.create('a', '1');
      await store.delete('a');
      assert.deepEqual(
        one.requests.map((line) => line.split(' ')[0]),
        ['PUT'],
      );
      one.failNext(100, status);
      two.failNext(2, status);
      await store.create('b', '1');
      two.failNext(100, status);
      await assert.rejects(store.get('b'), new RegExp(`status ${status}`));
    });
  });
}

test('a node whose answers cannot be used, as it redirects elsewhere, is passed by', async () => {
  await withCluster(async ({ one, two, store }) => {
    await store.create('a', '1');
    const answer = { headers: { location: 'http://127.0.0.1:9/' } };
    one.failNext(100, 307, { answer });
    assert.equal(await store.get('a'), '1');
    await store.create('b', '1');
    await two.down();
    await assert.rejects(store.get('a'), KeyStoreError);
    await two.up();
    await store.get('a');
    two.failNext(100, 307, { answer });
    await assert.rejects(store.get('a'), /redirects elsewhere/);
  });
});

test('a node that hangs leaves time for the other', async () => {
  await withCluster(async ({ one, store }) => {
    await store.create('a', '1');
    one.hangNext(100);
    assert.equal(await store.get('a'), '1');
  }, 1_000);
});
