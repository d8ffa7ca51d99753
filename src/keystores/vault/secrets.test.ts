// Vault through its contract, and what is special about it: versions, transit, tokens, namespaces, seals.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { failsWith, testKeyStore } from '../../../test/contract/key-store.ts';
import { type OpenedSecrets, testSecretStore } from '../../../test/contract/secret-store.ts';
import { startVaultDouble, type VaultDouble } from '../../../test/support/doubles/vault.ts';
import type { Log } from '../../base/log.ts';
import { silentLog } from '../../base/log.ts';
import { KeyStoreError } from '../../keys/key-store.ts';
import { openGenerations } from '../generations.ts';
import type { SecretStore } from '../secret-store.ts';
import { openVaultSecrets, type VaultDeps, type VaultSettings } from './secrets.ts';

const approle = { id: 'role-id-of-the-test', secret: 'secret-id-of-the-test' };
const kv1: VaultSettings = { engine: 'kv', approle };
const kv2: VaultSettings = { engine: 'secret', version: 'v2', prefix: 'coffer/keys', approle };
const withTransit: VaultSettings = { ...kv2, transit: { key: 'coffer' } };

function open(double: VaultDouble, settings: VaultSettings, deps: Partial<VaultDeps> = {}) {
  return openVaultSecrets(
    { endpoint: double.origin, ...settings },
    { log: silentLog, retryDelayMs: () => 1, ...deps },
  );
}

async function openSecrets(settings: VaultSettings): Promise<OpenedSecrets> {
  const double = await startVaultDouble();
  const store = await open(double, settings);
  return {
    store,
    openAgain: () => open(double, settings),
    credentials: [approle.id, approle.secret, ...double.tokens.keys()],
    faults: double,
    close: () => double.close(),
  };
}

async function openKeys(settings: VaultSettings) {
  const { store, openAgain, close } = await openSecrets(settings);
  const generations = (secrets: SecretStore) => openGenerations(secrets, { settleMs: 10 });
  return {
    store: generations(store),
    openAgain: async () => generations(await openAgain()),
    close,
  };
}

for (const [name, settings] of [
  ['Vault KV 1', kv1],
  ['Vault KV 2', kv2],
  ['Vault KV 2 with transit', withTransit],
] as const) {
  testSecretStore(name, () => openSecrets(settings), {
    listCount: name === 'Vault KV 1' ? 60 : 250,
  });
  testKeyStore(name, () => openKeys(settings), { listCount: name === 'Vault KV 2' ? 1030 : 20 });
}

type Timer = { readonly atMs: number; readonly run: () => void };

/** A clock that moves when told, and lets what a timer began come to rest before the next one runs. */
class TestClock {
  #nowMs = 1_000;
  readonly #timers = new Set<Timer>();
  readonly #requests: readonly string[];

  constructor(double: VaultDouble) {
    this.#requests = double.requests;
  }

  now(): number {
    return this.#nowMs;
  }

  after(delayMs: number, run: () => void): () => void {
    const timer = { atMs: this.#nowMs + delayMs, run };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  skip(ms: number): void {
    this.#nowMs += ms;
  }

  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    for (;;) {
      const [next] = [...this.#timers].toSorted((a, b) => a.atMs - b.atMs);
      if (!next || next.atMs > endMs) break;
      this.#timers.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.run();
      await this.#rest();
    }
    this.#nowMs = endMs;
  }

  async #rest(): Promise<void> {
    for (let quiet = 0, seen = -1; quiet < 3; quiet += 1) {
      const state = this.#requests.length * 1_000 + this.#timers.size;
      if (state !== seen) quiet = 0;
      seen = state;
      await new Promise((resolve) => setTimeout(resolve, 4));
    }
  }
}

async function withDouble(work: (double: VaultDouble) => Promise<void>): Promise<void> {
  const double = await startVaultDouble();
  try {
    await work(double);
  } finally {
    await double.close();
  }
}

/** With a store, and a clock that moves when told. */
async function withStore(
  settings: VaultSettings,
  work: (opened: {
    readonly double: VaultDouble;
    readonly store: SecretStore;
    readonly clock: TestClock;
  }) => Promise<void>,
  prepare: (double: VaultDouble) => void = () => {},
): Promise<void> {
  await withDouble(async (double) => {
    const clock = new TestClock(double);
    double.now = () => clock.now();
    prepare(double);
    const store = await open(double, { status: { ping: '1000h' }, ...settings }, { clock });
    try {
      await work({ double, store, clock });
    } finally {
      await store.close();
    }
  });
}

const logins = (double: VaultDouble) =>
  double.requests.filter((line) => line.endsWith('/login')).length;
const renewals = (double: VaultDouble) =>
  double.requests.filter((line) => line.endsWith('/renew-self')).length;

test('entries lie where the reference service puts them', async () => {
  await withStore(kv2, async ({ double, store }) => {
    await store.create('my-key', 'value');
    assert.deepEqual(double.mounts.get('secret')?.entries.get('coffer/keys/my-key')?.[0]?.data, {
      'my-key': 'value',
    });
    await store.get('my-key');
    await store.list();
    await store.delete('my-key');
    assert.deepEqual(double.requests.slice(2), [
      'PUT /v1/secret/data/coffer/keys/my-key',
      'GET /v1/secret/data/coffer/keys/my-key?version=1',
      'GET /v1/secret/metadata/coffer/keys?list=true',
      'DELETE /v1/secret/metadata/coffer/keys/my-key',
    ]);
  });
  await withStore(kv1, async ({ double, store }) => {
    await store.create('my-key', 'value');
    assert.deepEqual(double.mounts.get('kv')?.entries.get('my-key')?.[0]?.data, {
      'my-key': 'value',
    });
    assert.deepEqual([...(double.mounts.get('kv')?.entries.keys() ?? [])], ['my-key']);
  });
});

test('a version that somebody writes later changes nothing', async () => {
  await withStore(kv2, async ({ double, store }) => {
    await store.create('a', '1');
    const versions = double.mounts.get('secret')?.entries.get('coffer/keys/a');
    versions?.push({ data: { a: '2' }, created: '', deletionTime: '', isDestroyed: false });
    assert.equal(await store.get('a'), '1');
    await assert.rejects(store.create('a', '3'), failsWith('exists'));
    await store.delete('a');
    await assert.rejects(store.get('a'), failsWith('not-found'));
  });
});

test('what was deleted softly is neither there nor free, and the error says what to do', async () => {
  await withStore(kv2, async ({ double, store }) => {
    for (const [change, command] of [
      [
        { deletionTime: '2026-01-02T03:04:05Z' },
        /vault kv undelete -versions=1 -mount=secret coffer/,
      ],
      [{ isDestroyed: true }, /was destroyed .*'vault kv metadata delete -mount=secret coffer/],
    ] as const) {
      await store.create('a', '1');
      const version = double.mounts.get('secret')?.entries.get('coffer/keys/a')?.[0];
      assert.ok(version);
      Object.assign(version, change);
      for (const call of [() => store.get('a'), () => store.create('a', '2')]) {
        await assert.rejects(call(), (error) => {
          assert.match(String(error), command);
          return failsWith('failed')(error);
        });
      }
      await store.delete('a');
    }
  });
});

test('works where the engine requires check-and-set', async () => {
  await withStore(kv2, async ({ double, store }) => {
    const mount = double.mounts.get('secret');
    assert.ok(mount);
    mount.isCasRequired = true;
    await store.create('a', '1');
    await assert.rejects(store.create('a', '2'), failsWith('exists'));
  });
});

test('folders below the prefix and an empty list are no keys', async () => {
  await withStore({ ...kv2, prefix: '' }, async ({ double, store }) => {
    assert.deepEqual(await store.list(), []);
    await store.create('a', '1');
    double.mounts.get('secret')?.entries.set('folder/b', []);
    assert.deepEqual(await store.list(), ['a']);
  });
});

test('the version of the engine has to be the configured one', async () => {
  await withDouble(async (double) => {
    await assert.rejects(open(double, { ...kv1, version: 'v2' }), /set version: v1/);
    await assert.rejects(open(double, { ...kv2, version: 'v1' }), /set version: v2/);
    await assert.rejects(open(double, { ...kv1, version: 'v3' }), /write v1 or v2/);
    await assert.rejects(open(double, { ...kv1, engine: 'transit' }), /no KV engine/);
  });
});

test('an engine that is not there is an error, not an empty store', async () => {
  await withStore({ ...kv2, engine: 'none' }, async ({ store }) => {
    await assert.rejects(store.get('a'), failsWith('failed'));
    await assert.rejects(store.list(), failsWith('failed'));
    await assert.rejects(store.create('a', '1'), failsWith('failed'));
  });
});

test('with transit, Vault holds ciphertexts, and every version of its key opens them', async () => {
  await withStore(withTransit, async ({ double, store }) => {
    await store.create('a', 'value of a');
    double.rotateTransit('coffer');
    await store.create('b', 'value of b');
    double.rotateTransit('coffer');
    const stored = [...(double.mounts.get('secret')?.entries.values() ?? [])].map((versions) =>
      JSON.stringify(versions[0]?.data),
    );
    assert.match(stored[0] ?? '', /vault:v1:/);
    assert.match(stored[1] ?? '', /vault:v2:/);
    assert.equal(await store.get('a'), 'value of a');
    assert.equal(await store.get('b'), 'value of b');
    const key = double.transitKeys.get('coffer');
    assert.ok(key);
    key.minDecryptionVersion = 2;
    await assert.rejects(store.get('a'), /disallowed by policy \(too old\)/);
    assert.equal(await store.get('b'), 'value of b');
    double.transitKeys.delete('coffer');
    await assert.rejects(store.get('b'), failsWith('failed'));
    await assert.rejects(store.create('c', '1'), failsWith('failed'));
  });
});

test('values from before transit are read, encrypted ones without transit are an error', async () => {
  await withDouble(async (double) => {
    const plain = await open(double, kv2);
    const wrapped = await open(double, withTransit);
    await plain.create('a', '1');
    assert.equal(await wrapped.get('a'), '1');
    await wrapped.create('b', '2');
    await assert.rejects(plain.get('b'), /configure vault\.transit/);
    await plain.close();
    await wrapped.close();
  });
});

test('a login that fails stops the start, and shows no credential', async () => {
  await withDouble(async (double) => {
    for (const wrong of [
      { ...approle, id: 'wrong-id' },
      { ...approle, secret: 'wrong-secret' },
      { ...approle, engine: 'other' },
    ]) {
      await assert.rejects(open(double, { ...kv2, approle: wrong }), (error) => {
        assert.match(String(error), /vault: approle login: status 40[03]/);
        assert.doesNotMatch(String(error), /wrong-id|wrong-secret/);
        return failsWith('failed')(error);
      });
    }
    await double.down();
    await assert.rejects(open(double, kv2), failsWith('unreachable'));
  });
});

test('the Kubernetes token is read from its file at every login', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'coffer-vault-'));
  const file = join(folder, 'token');
  const kubernetes = { role: 'coffer', jwt: file };
  try {
    await writeFile(file, 'jwt-of-the-test\n');
    const settings = { engine: 'secret', version: 'v2', kubernetes };
    await withStore(settings, async ({ double, store }) => {
      await store.create('a', '1');
      double.kubernetes.jwt = 'rotated';
      await writeFile(file, 'rotated\n');
      double.tokens.clear();
      assert.equal(await store.get('a'), '1');
      assert.equal(logins(double), 2);
    });
    await withDouble(async (double) => {
      const literal = { ...kubernetes, jwt: 'jwt-of-the-test' };
      await (await open(double, { ...settings, kubernetes: literal })).close();
      await rm(file);
      await assert.rejects(open(double, settings), /cannot read kubernetes\.jwt/);
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test('the namespace goes with every call but health checks, and a login may have its own', async () => {
  await withDouble(async (double) => {
    double.namespace = 'team/a';
    await assert.rejects(open(double, { ...kv2, namespace: 'team/a' }), failsWith('failed'));
    const root = { ...approle, namespace: '/' };
    const store = await open(double, { ...kv2, namespace: 'team/a', approle: root });
    await store.create('a', '1');
    assert.equal((await store.status()).state, 'available');
    await store.close();
    const outside = await open(double, kv2);
    await assert.rejects(outside.get('a'), failsWith('failed'));
    await outside.close();
    double.approle.namespace = 'team/a';
    const inside = await open(double, { ...kv2, namespace: 'team/a/' });
    assert.equal(await inside.get('a'), '1');
    await inside.close();
  });
});

test('a token is renewed at 80 % of its life, again and again', async () => {
  await withStore(kv2, async ({ double, store, clock }) => {
    await clock.advance(2_879_000);
    assert.equal(renewals(double), 0);
    await clock.advance(2_000);
    assert.equal(renewals(double), 1);
    await clock.advance(3_600_000 * 3);
    assert.equal(logins(double), 1);
    await store.create('a', '1');
  });
});

test('a token that cannot be renewed is replaced by a login, a little before it ends', async () => {
  const prepare = (double: VaultDouble) => {
    double.token = { ttlSeconds: 100, isRenewable: false };
  };
  await withStore(
    kv2,
    async ({ double, store, clock }) => {
      await clock.advance(80_500);
      assert.equal(logins(double), 2);
      assert.equal(renewals(double), 0);
      const [, second = ''] = double.tokens.keys();
      double.tokens.delete(second);
      await store.create('a', '1'); // still with the first
      const known = {
        namespace: '',
        expiresAt: clock.now() + 100_000,
        ttlSeconds: 100,
        isRenewable: false,
      };
      double.tokens.set(second, known);
      await clock.advance(10_500);
      double.tokens.delete([...double.tokens.keys()].find((name) => name !== second) ?? '');
      assert.equal(await store.get('a'), '1');
      assert.equal(logins(double), 2);
      await clock.advance(1_000_000);
      assert.equal(await store.get('a'), '1');
    },
    prepare,
  );
});

test('a renewal that is refused or fails three times leads to a login, a failed login to another', async () => {
  await withStore(kv2, async ({ double, store, clock }) => {
    double.failNext(3, 500, { match: /renew-self/ });
    await clock.advance(2_881_000);
    assert.equal(renewals(double), 3);
    assert.equal(logins(double), 2);
    await clock.advance(60_000); // the new token is in use
    double.failNext(1, 400, { match: /renew-self/ });
    double.failNext(6, 500, { match: /login/ });
    await clock.advance(2_881_000);
    assert.equal(renewals(double), 4);
    assert.ok(logins(double) >= 9, String(logins(double)));
    await store.create('a', '1');
  });
});

test('a token with a short life is replaced all the time, one without an end never', async () => {
  await withStore(
    kv2,
    async ({ double, store, clock }) => {
      await clock.advance(30_000);
      assert.ok(logins(double) >= 9 && logins(double) <= 13, String(logins(double)));
      await store.create('a', '1');
    },
    (double) => {
      double.token = { ttlSeconds: 10, isRenewable: true };
    },
  );
  await withStore(
    kv2,
    async ({ double, clock }) => {
      await clock.advance(1e9);
      assert.equal(logins(double) + renewals(double), 1);
    },
    (double) => {
      double.token = { ttlSeconds: 0, isRenewable: false };
    },
  );
});

test('a token that Vault no longer knows is replaced at once, one that lacks a right is kept', async () => {
  await withStore(kv2, async ({ double, store, clock }) => {
    await store.create('a', '1');
    double.tokens.clear();
    const values = await Promise.all(Array.from({ length: 8 }, () => store.get('a')));
    assert.deepEqual(new Set(values), new Set(['1']));
    assert.equal(logins(double), 2);
    clock.skip(60_000);
    double.policy = /^(read|list) /;
    await assert.rejects(store.create('b', '1'), /status 403 .*check the policy/);
    assert.equal(await store.get('a'), '1');
    assert.equal(logins(double), 2);
  });
});

test('the documented policy is enough', async () => {
  const data = '(create|read|update) secret/data/coffer/keys/[^/]+';
  const metadata =
    '(read|delete) secret/metadata/coffer/keys/[^/]+|list secret/metadata/coffer/keys';
  const transit = 'update transit/(encrypt|decrypt)/coffer';
  await withStore(
    withTransit,
    async ({ store }) => {
      const keys = openGenerations(store, { settleMs: 1 });
      await keys.create('a', '1');
      await keys.replace('a', { expected: '1', value: '2' });
      assert.deepEqual((await keys.list({ prefix: '' })).names, ['a']);
      await keys.delete('a');
    },
    (double) => {
      double.policy = new RegExp(`^(${data}|${metadata}|${transit})$`);
    },
  );
});

test('a sealed Vault is unreachable: known at once, and again usable when it is unsealed', async () => {
  await withStore({ ...kv2, status: {} }, async ({ double, store, clock }) => {
    await store.create('a', '1');
    double.isSealed = true;
    await assert.rejects(store.get('a'), /vault: key store is sealed/);
    const before = double.requests.length;
    await assert.rejects(store.get('a'), failsWith('unreachable'));
    await assert.rejects(store.create('b', '1'), failsWith('unreachable'));
    await assert.rejects(store.delete('a'), failsWith('unreachable'));
    await assert.rejects(store.list(), failsWith('unreachable'));
    assert.equal(double.requests.length, before);
    assert.deepEqual(await store.status(), {
      state: 'unreachable',
      reason: 'vault: key store is sealed',
    });
    double.isSealed = false;
    await clock.advance(11_000);
    assert.equal(await store.get('a'), '1');
  });
});

test('the seal is looked at as often as configured, and the token waits for it', async () => {
  await withStore({ ...kv2, status: { ping: '30s' } }, async ({ double, store, clock }) => {
    const checks = () => double.requests.filter((line) => line.includes('/sys/health')).length;
    await clock.advance(29_000);
    assert.equal(checks(), 0);
    double.isSealed = true;
    await clock.advance(1_500);
    assert.equal(checks(), 1);
    await assert.rejects(store.get('a'), failsWith('unreachable'));
    clock.skip(2_900_000);
    await clock.advance(2_000);
    assert.equal(renewals(double), 0);
    double.isSealed = false;
    await clock.advance(3_000);
    assert.equal(renewals(double), 1);
    await assert.rejects(store.get('a'), failsWith('not-found'));
  });
  await withDouble(async (double) => {
    const bad = { ...kv2, status: { ping: 'soon' } };
    await assert.rejects(open(double, bad), /write a duration such as 10s/);
  });
});

test('standby nodes answer as available, uninitialised ones do not', async () => {
  await withStore(kv2, async ({ double, store }) => {
    for (const role of ['standby', 'performance-standby', 'dr-secondary', 'active'] as const) {
      double.role = role;
      assert.equal((await store.status()).state, 'available');
    }
    double.isInitialized = false;
    assert.deepEqual(await store.status(), {
      state: 'unreachable',
      reason: 'vault: not initialized',
    });
  });
});

test('an answer that asks to come later is asked again, others are not', async () => {
  await withStore(kv2, async ({ double, store }) => {
    double.failNext(2, 412);
    await store.create('a', '1');
    double.failNext(2, 429);
    assert.equal(await store.get('a'), '1');
    double.failNext(1, 400, { answer: { body: { errors: ['no'] } } });
    await assert.rejects(store.get('a'), /status 400 \(no\)/);
    double.failNext(1, 404, { answer: { body: '<html>no route</html>' } });
    await assert.rejects(store.get('a'), failsWith('failed'));
  });
});

test('a slow Vault is waited for within the limit, then it is unreachable', async () => {
  await withDouble(async (double) => {
    const store = await open(double, kv2, { deadlineMs: 300 });
    double.slow(50);
    await store.create('a', '1');
    double.slow(2_000);
    await assert.rejects(store.get('a'), failsWith('unreachable'));
    assert.equal((await store.status()).state, 'unreachable');
    await store.close();
  });
});

test('with a certificate, over TLS, and on the next node when one is down', async () => {
  const double = await startVaultDouble({ isTls: true });
  const dead = await startVaultDouble();
  await dead.down();
  try {
    await assert.rejects(open(double, kv2), /name its CA in tls\.ca/);
    const endpoint = `${dead.origin}, ${double.origin}`;
    const store = await open(double, { ...kv2, endpoint, tls: { ca: double.caFile } });
    await store.create('a', '1');
    assert.equal(await store.get('a'), '1');
    await store.close();
  } finally {
    await double.close();
    await dead.close();
  }
});

test('tokens and credentials are in no log', async () => {
  const lines: string[] = [];
  const note = (message: string, fields?: object) => {
    lines.push(`${message} ${JSON.stringify(fields)}`);
  };
  const log: Log = { debug: note, info: note, warn: note, error: note };
  await withDouble(async (double) => {
    const clock = new TestClock(double);
    double.now = () => clock.now();
    const store = await open(double, { ...kv2, status: { ping: '1000h' } }, { clock, log });
    const secrets = [approle.id, approle.secret, ...double.tokens.keys()];
    double.approle.secret = 'changed';
    double.failNext(3, 500, { match: /renew-self/ });
    await clock.advance(2_890_000);
    double.tokens.clear();
    await assert.rejects(store.get('a'), KeyStoreError);
    await store.close();
    assert.ok(lines.length >= 4, String(lines.length));
    for (const secret of secrets) assert.ok(!lines.join('\n').includes(secret));
  });
});

for (const settings of [kv1, kv2, withTransit]) {
  const name = `${settings.version ?? 'v1'}${settings.transit ? ' with transit' : ''}`;
  test(`${name}: whatever happens to Vault, no key is lost or forked`, async () => {
    await withDouble(async (double) => {
      const stores = [await open(double, settings), await open(double, settings)];
      const keys = stores.map((store) => openGenerations(store, { settleMs: 5 }));
      const faults = [
        () => double.failNext(1, 503),
        () => double.failNext(2, 500),
        () => double.loseAnswerNext(1),
        () => double.loseAnswerNext(3),
        () => double.dropNext(2),
        () => double.garbageNext(1),
        () => double.failNext(4, 429),
        () => double.tokens.clear(),
        () => double.loseAnswerNext(1, { match: /PUT .*-1-/ }),
        () => double.garbageNext(1, { match: /PUT/ }),
      ];
      for (const [index, fault] of faults.entries()) {
        const key = `k${index}`;
        const values = ['0', '1'].map((node) => `${key} of ${node}`);
        fault();
        const created = await Promise.allSettled(
          keys.map((each, node) => each.create(key, values[node] ?? '')),
        );
        await settle(double);
        const winners = created.filter(({ status }) => status === 'fulfilled');
        assert.ok(winners.length <= 1, `${key} has two creators`);
        const [held, heldToo] = await Promise.all(
          keys.map((each) => each.get(key).catch(failsWith('not-found'))),
        );
        assert.equal(held, heldToo);
        for (const [node, outcome] of created.entries()) {
          if (outcome.status === 'fulfilled') assert.equal(held, values[node]);
        }
        if (typeof held !== 'string') continue;
        fault();
        const change = { expected: held, value: `${key} changed` };
        const changed = await Promise.allSettled(
          keys.slice(0, 1).map((each) => each.replace(key, change)),
        );
        await settle(double);
        const now = await keys[1]?.get(key);
        assert.ok(now === held || now === change.value);
        if (changed[0]?.status === 'fulfilled') assert.equal(now, change.value);
        assert.equal(await keys[0]?.get(key), now);
      }
      for (const each of keys) await each.close();
    });
  });
}

/** Uses up what is left of a fault. */
async function settle(double: VaultDouble): Promise<void> {
  for (let calls = 0; calls < 12; calls += 1) {
    await fetch(`${double.origin}/v1/sys/health`).catch(() => {});
  }
}
