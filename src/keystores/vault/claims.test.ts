// Creating on KV version 1: claims of the living and the dead, and writes that may still arrive.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failsWith } from '../../../test/contract/key-store.ts';
import { startVaultDouble, type VaultDouble } from '../../../test/support/doubles/vault.ts';
import { silentLog } from '../../base/log.ts';
import { KeyStoreError } from '../../keys/key-store.ts';
import { openHttpClient } from '../http.ts';
import { ClaimedCreates, type ClaimDeps, isClaim } from './claims.ts';
import { VaultClient } from './client.ts';
import { VaultKv1 } from './kv.ts';
import { openVaultSecrets, type VaultDeps, type VaultSettings } from './secrets.ts';

const kv1: VaultSettings = {
  engine: 'kv',
  approle: { id: 'role-id-of-the-test', secret: 'secret-id-of-the-test' },
};

function open(double: VaultDouble, deps: Partial<VaultDeps> = {}) {
  return openVaultSecrets(
    { endpoint: double.origin, ...kv1 },
    { log: silentLog, retryDelayMs: () => 1, sleep: async () => {}, ...deps },
  );
}

async function withDouble(
  work: (double: VaultDouble, entries: Map<string, unknown>) => Promise<void>,
): Promise<void> {
  const double = await startVaultDouble();
  try {
    const entries = double.mounts.get('kv')?.entries;
    assert.ok(entries);
    await work(double, entries);
  } finally {
    await double.close();
  }
}

/** The entries of claims. */
function claimsIn(entries: ReadonlyMap<string, unknown>): string[] {
  return [...entries.keys()].filter(isClaim);
}

test('a claim of a dead creator keeps others out until this node has seen it for a minute', async () => {
  await withDouble(async (double, entries) => {
    let nowMs = 1_000;
    const clock = { now: () => nowMs, after: () => () => {} };
    const claimedAt = Date.parse('2026-01-02T03:04:05Z');
    // The clock of this node is an hour ahead.
    const wallClock = () => claimedAt + 3_600_000;
    const store = await open(double, { clock, wallClock });
    const claim = `a--claim-${claimedAt.toString(16)}-00ff00ff-`;
    entries.set(claim, [{ data: { x: 'y' }, created: '', deletionTime: '', isDestroyed: false }]);
    await assert.rejects(store.create('a', '1'), /another node is creating a;/);
    nowMs += 59_999;
    await assert.rejects(store.create('a', '1'), /another node is creating a;/);
    assert.deepEqual(claimsIn(entries), [claim]);
    assert.deepEqual(await store.list(), []);
    await store.create('b', '1');
    nowMs += 1;
    await store.create('a', '1');
    assert.deepEqual([...entries.keys()].toSorted(), ['a', 'b']);
    await store.close();
  });
});

test('a write that failed leaves its claim, because it may still arrive', async () => {
  await withDouble(async (double, entries) => {
    const store = await open(double);
    double.dropNext(10, { match: /PUT \/v1\/kv\/a$/ });
    await assert.rejects(store.create('a', '1'), failsWith('unreachable'));
    assert.equal(claimsIn(entries).length, 1);
    assert.equal(entries.size, 1);
    await store.close();
    const other = await open(double);
    await assert.rejects(other.create('a', '2'));
    await other.close();
  });
});

test('after an attempt whose fate is unknown the claim stays, though the next attempt succeeded', async () => {
  for (const [fault, isLeft] of [
    [(double: VaultDouble) => double.dropNext(1, { match: /PUT \/v1\/kv\/a$/ }), true],
    [(double: VaultDouble) => double.loseAnswerNext(1, { match: /PUT \/v1\/kv\/a$/ }), true],
    [(double: VaultDouble) => double.failNext(1, 504, { match: /PUT \/v1\/kv\/a$/ }), true],
    [(double: VaultDouble) => double.failNext(1, 503, { match: /PUT \/v1\/kv\/a$/ }), false],
    [(double: VaultDouble) => double.failNext(2, 500, { match: /PUT \/v1\/kv\/a$/ }), false],
  ] as const) {
    await withDouble(async (double, entries) => {
      const store = await open(double);
      fault(double);
      await store.create('a', '1');
      assert.equal(await store.get('a'), '1');
      await assert.rejects(store.create('a', '2'), failsWith('exists'));
      assert.deepEqual(await store.list(), ['a']);
      assert.equal(claimsIn(entries).length, isLeft ? 1 : 0);
      await store.close();
    });
  }
});

test('a claim that cannot be removed does not make a creation fail', async () => {
  await withDouble(async (double) => {
    const store = await open(double);
    double.failNext(1, 500, { match: /DELETE \/v1\/kv\/a--claim/ });
    await store.create('a', '1');
    double.failNext(1, 500, { match: /DELETE \/v1\/kv\/b--claim/ });
    await store.create('b', '1');
    assert.deepEqual((await store.list()).toSorted(), ['a', 'b']);
    await store.close();
  });
});

/** What becomes of the call at which a node loses its connection, and whether it gets it back. */
type Cut = {
  readonly at: number;
  readonly fate: 'not done' | 'done' | 'done later';
  readonly isBack: boolean;
};

/** Does it, and nobody hears what came of it. */
function unheard(work: () => unknown): void {
  try {
    work();
  } catch {
    // Nothing was there.
  }
}

/** One engine for several nodes. `written` are the values that `a` was given, in order. */
function sharedEngine() {
  const entries = new Map<string, string>();
  const written: string[] = [];
  const late: (() => void)[] = [];
  let nowMs = 0;
  const put = (name: string, value: string): void => {
    entries.set(name, value);
    if (name === 'a') written.push(value);
  };
  const node = (cut?: Cut) => {
    let calls = 0;
    const via = async <T>(work: () => T): Promise<T> => {
      calls += 1;
      if (cut === undefined || calls < cut.at || (cut.isBack && calls > cut.at)) return work();
      if (calls === cut.at && cut.fate === 'done') unheard(work);
      if (calls === cut.at && cut.fate === 'done later') late.push(() => unheard(work));
      throw new KeyStoreError('unreachable', 'cut off');
    };
    const kv: ClaimDeps['kv'] = {
      create: (name, value) => via(() => put(name, value)),
      write: (name, value) => via(() => put(name, value)).then(() => true),
      get: (name) =>
        via(() => {
          const value = entries.get(name);
          if (value === undefined) throw new KeyStoreError('not-found', `${name} does not exist`);
          return value;
        }),
      delete: (name) => via(() => void entries.delete(name)),
      list: () => via(() => [...entries.keys()]),
    };
    return new ClaimedCreates({ kv, now: () => nowMs, wallClock: () => 0, sleep: async () => {} });
  };
  return {
    entries,
    written,
    node,
    /** What was under way arrives. */
    arrive: () => {
      for (const work of late.splice(0)) work();
    },
    wait: (ms: number) => {
      nowMs += ms;
    },
  };
}

for (const fate of ['not done', 'done', 'done later'] as const) {
  for (const isBack of [false, true]) {
    const what = `${fate}, ${isBack ? 'back at once' : 'never back'}`;
    test(`wherever a creator is cut off, the name has one value for ever: ${what}`, async () => {
      for (let at = 1; at <= 8; at += 1) {
        const engine = sharedEngine();
        const isCreated = await engine
          .node({ at, fate, isBack })
          .create('a', '1')
          .then(
            () => true,
            (error: unknown) => !failsWith('unreachable')(error),
          );
        const others = [engine.node(), engine.node()];
        const create = (node: ClaimedCreates) =>
          node.create('a', '2').catch((error: unknown) => {
            assert.ok(error instanceof KeyStoreError && ['exists', 'failed'].includes(error.code));
          });
        for (const other of others) await create(other);
        engine.arrive();
        for (const other of others) await create(other);
        engine.wait(60_000);
        await Promise.all(others.map(create));
        for (const other of others) await create(other);
        assert.equal(new Set(engine.written).size, 1, `cut off at ${at}`);
        if (isCreated) assert.equal(engine.entries.get('a'), '1');
        const keys = [...engine.entries.keys()].filter((name) => !isClaim(name));
        assert.deepEqual(keys, ['a']);
      }
    });
  }
}

/** An engine in memory whose list takes `listMs` of the clock; `writes` are the milliseconds each was given. */
function slowEngine(listMs: readonly number[], { isLagging = false } = {}) {
  let nowMs = 0;
  const entries = new Map<string, string>();
  const left = [...listMs];
  const writes: number[] = [];
  const kv: ClaimDeps['kv'] = {
    create: async (name, value) => void entries.set(name, value),
    write: async (name, value, { withinMs }) => {
      writes.push(withinMs);
      entries.set(name, value);
      return true;
    },
    get: async (name) => {
      const value = entries.get(name);
      if (value === undefined) throw new KeyStoreError('not-found', `${name} does not exist`);
      return value;
    },
    delete: async (name) => void entries.delete(name),
    list: async () => {
      nowMs += left.shift() ?? 0;
      return isLagging ? [] : [...entries.keys()];
    },
  };
  const creates = new ClaimedCreates({
    kv,
    now: () => nowMs,
    wallClock: () => 0,
    sleep: async () => {},
  });
  return { creates, entries, writes };
}

test('the write ends half a minute after its claim at the latest, or is not begun', async () => {
  const slow = slowEngine([10_000]);
  await slow.creates.create('a', '1');
  assert.deepEqual(slow.writes, [20_000]);
  const slower = slowEngine([26_000, 90_000, 1_000]);
  await slower.creates.create('a', '1');
  assert.deepEqual(slower.writes, [29_000]);
  assert.deepEqual([...slower.entries], [['a', '1']]);
  const tooSlow = slowEngine(Array.from({ length: 20 }, () => 26_000));
  await assert.rejects(tooSlow.creates.create('a', '1'), failsWith('failed'));
  assert.deepEqual(tooSlow.writes, []);
  assert.deepEqual([...tooSlow.entries], []);
});

test('who does not see its own claim does not write', async () => {
  const { creates, entries, writes } = slowEngine([], { isLagging: true });
  await assert.rejects(creates.create('a', '1'), /does not list what was just written/);
  assert.deepEqual(writes, []);
  assert.deepEqual([...entries], []);
});

test('a write that is not answered is not tried again when its time is over', async () => {
  await withDouble(async (double) => {
    const http = await openHttpClient({ product: 'vault', endpoints: [double.origin] });
    const clock = { now: () => 0, after: () => () => {} };
    const client = new VaultClient({ http, nodes: 1, clock, namespace: '', pingMs: 1 });
    const kv = new VaultKv1(client, { engine: 'kv', prefix: '' });
    double.hangNext(10);
    await assert.rejects(kv.write('a', '1', { withinMs: 100 }), failsWith('unreachable'));
    assert.deepEqual(double.requests, ['PUT /v1/kv/a']);
    await client.close();
  });
});
