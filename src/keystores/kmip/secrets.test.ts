import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import { failsWith, testKeyStore } from '../../../test/contract/key-store.ts';
import { testSecretStore } from '../../../test/contract/secret-store.ts';
import {
  type KmipDouble,
  type KmipDoubleOptions,
  startKmipDouble,
} from '../../../test/support/doubles/kmip.ts';
import { silentLog } from '../../base/log.ts';
import type { KeyStoreErrorCode } from '../../keys/key-store.ts';
import { openGenerations } from '../generations.ts';
import { type KmipStoreDeps, type KmipStoreSettings, openKmipSecrets } from './secrets.ts';
import { parseKmipEndpoint } from './connection.ts';
import type { SecretStore } from '../secret-store.ts';

const active = 2;
const deactivated = 3;
const destroyed = 5;

function open(
  double: KmipDouble,
  settings: KmipStoreSettings = {},
  deps: Partial<KmipStoreDeps> = {},
): Promise<SecretStore> {
  return openKmipSecrets(
    { endpoint: double.endpoint, tls: double.tls, ...settings },
    { log: silentLog, retryDelayMs: () => 1, ...deps },
  );
}

async function withDouble(
  options: KmipDoubleOptions,
  work: (double: KmipDouble) => Promise<void>,
): Promise<void> {
  const double = await startKmipDouble(options);
  try {
    await work(double);
  } finally {
    await double.close();
  }
}

type Given = KmipDoubleOptions & {
  readonly settings?: KmipStoreSettings;
  readonly deps?: Partial<KmipStoreDeps>;
};

/** A double and a store on it. */
async function withStore(
  { settings, deps, ...options }: Given,
  work: (given: { readonly double: KmipDouble; readonly store: SecretStore }) => Promise<void>,
): Promise<void> {
  await withDouble(options, async (double) => {
    const store = await open(double, settings, deps);
    try {
      await work({ double, store });
    } finally {
      await store.close();
    }
  });
}

/** As `failsWith`, and the text says why. */
function failsSaying(code: KeyStoreErrorCode, text: RegExp): (error: unknown) => boolean {
  return (error) => {
    failsWith(code)(error);
    assert.match(String(error), text);
    return true;
  };
}

/** All states of a name that are not destroyed. */
function statesOf(double: KmipDouble, name: string): number[] {
  return [...double.objects.values()]
    .filter(({ names, state }) => names.includes(name) && state < destroyed)
    .map(({ state }) => state);
}

describe('KMIP versions', () => {
  for (const version of ['1.2', '1.3', '1.4', '2.0', '2.1']) {
    test(`KMIP ${version} is spoken when it is set`, () =>
      withStore({ settings: { version } }, async ({ double, store }) => {
        await store.create('a', '{"bytes":"AAAA"}');
        assert.equal(await store.get('a'), '{"bytes":"AAAA"}');
        assert.deepEqual(await store.list(), ['a']);
        await store.delete('a');
        await assert.rejects(store.get('a'), failsWith('not-found'));
        assert.equal(double.objects.size, 0);
        assert.ok(double.calls.every((call) => call.endsWith(` ${version}`)));
      }));

    test(`KMIP ${version} is found when the server has nothing else`, () =>
      withStore({ versions: [version] }, async ({ double, store }) => {
        await store.create('a', '1');
        assert.equal(double.calls.at(-1), `Activate ${version}`);
      }));
  }

  test('the newest version that both have is taken', () =>
    withStore({ versions: ['3.0', '1.3', '2.0', '1.4'] }, async ({ double, store }) => {
      assert.equal((await store.status()).state, 'available');
      assert.equal(double.calls.at(-1), 'DiscoverVersions 2.0');
    }));

  test('a server without a common version is refused', () =>
    withDouble({ versions: ['1.1'] }, async (double) => {
      await assert.rejects(open(double), failsSaying('failed', /speaks none of KMIP 1\.2/));
      await assert.rejects(
        open(double, { version: '1.4' }),
        failsSaying('failed', /InvalidMessage/),
      );
    }));
});

describe('KMIP settings', () => {
  test('an unknown version, a bad endpoint and missing files are refused', () =>
    withDouble({}, async (double) => {
      const bad: readonly (readonly [KmipStoreSettings, RegExp])[] = [
        [{ version: '1.1' }, /version must be one of 1\.2, 1\.3, 1\.4, 2\.0, 2\.1/],
        [{ endpoint: '' }, /not HOST or HOST:PORT/],
        [{ tls: { ...double.tls, key: '/nowhere/client.key' } }, /nowhere.client\.key: ENOENT/],
        [{ tls: { ...double.tls, ca: '/nowhere' } }, /nowhere: ENOENT/],
        [{ tls: { ...double.tls, key: double.strangerTls.key } }, /tls\.key, tls\.cert/],
      ];
      for (const [settings, text] of bad) {
        await assert.rejects(open(double, settings), failsSaying('failed', text));
      }
    }));

  test('an endpoint is a host, perhaps a port', () => {
    assert.deepEqual(parseKmipEndpoint('kms.example.com'), { host: 'kms.example.com', port: 5696 });
    assert.deepEqual(parseKmipEndpoint('10.0.0.1:443'), { host: '10.0.0.1', port: 443 });
    assert.deepEqual(parseKmipEndpoint('kmip://[::1]:7000'), { host: '::1', port: 7000 });
    assert.deepEqual(parseKmipEndpoint('[fe80::1]'), { host: 'fe80::1', port: 5696 });
    for (const bad of ['', 'a b', 'https://a', 'a:0', 'a:65536', '::1', 'a:b', 'user@a:1:2']) {
      assert.throws(() => parseKmipEndpoint(bad), failsWith('failed'));
    }
  });

  test('a client certificate the server does not know is refused', () =>
    withDouble({}, async (double) => {
      await assert.rejects(
        open(double, { tls: double.strangerTls }),
        (error: unknown) => error instanceof Error && /kmip:/.test(error.message),
      );
      assert.equal(double.calls.length, 0);
    }));

  test('a server whose certificate is not trusted is sent nothing', () =>
    withDouble({}, async (double) => {
      await assert.rejects(
        open(double, { tls: { ...double.tls, ca: double.strangerTls.cert } }),
        failsSaying('failed', /not trusted .*check tls\.ca/),
      );
      assert.equal(double.calls.length, 0);
    }));

  test('tls.ca may be a directory', () =>
    withDouble({}, async (double) => {
      const dir = mkdtempSync(path.join(tmpdir(), 'kmip-ca-'));
      // As a secret is mounted in Kubernetes.
      mkdirSync(path.join(dir, '..2026'));
      copyFileSync(double.tls.ca, path.join(dir, '..2026/a.pem'));
      symlinkSync('..2026', path.join(dir, '..data'));
      symlinkSync('..data/a.pem', path.join(dir, 'a.pem'));
      const store = await open(double, { tls: { ...double.tls, ca: dir } });
      await store.close();
      rmSync(dir, { recursive: true });
    }));

  test('the TLS files are read for every new connection', () =>
    withDouble({}, async (double) => {
      const dir = mkdtempSync(path.join(tmpdir(), 'kmip-tls-'));
      const files = { key: path.join(dir, 'key'), cert: path.join(dir, 'cert'), ca: double.tls.ca };
      copyFileSync(double.tls.key, files.key);
      copyFileSync(double.tls.cert, files.cert);
      const store = await open(double, { tls: files });
      copyFileSync(double.strangerTls.key, files.key);
      copyFileSync(double.strangerTls.cert, files.cert);
      assert.equal((await store.status()).state, 'available', 'the old connection goes on');
      await double.down();
      await double.up();
      assert.notEqual((await store.status()).state, 'available', 'the new files are of a stranger');
      copyFileSync(double.tls.key, files.key);
      copyFileSync(double.tls.cert, files.cert);
      assert.equal((await store.status()).state, 'available');
      await store.close();
      rmSync(dir, { recursive: true });
    }));

  test('credentials are sent, and wrong ones are refused without being shown', () => {
    const credentials = { username: 'coffer', password: 'pass-of-the-test' };
    return withDouble({ credentials }, async (double) => {
      const store = await open(double, { credentials });
      await store.close();
      const wrong = { username: 'coffer', password: 'wrong-of-the-test' };
      await assert.rejects(open(double, { credentials: wrong }), (error: unknown) => {
        failsSaying('failed', /AuthenticationNotSuccessful.*check tls\.cert/)(error);
        assert.doesNotMatch(String(error), /of-the-test/);
        return true;
      });
      double.fault('refuse', { text: 'pass-of-the-test is odd', operation: 'Locate', count: 3 });
      const again = await open(double, { credentials });
      await assert.rejects(again.get('a'), (error: unknown) => {
        failsSaying('failed', /GeneralFailure$/)(error);
        return true;
      });
      await again.close();
    });
  });
});

describe('KMIP creation', () => {
  const kinds: Readonly<Record<string, KmipDoubleOptions>> = {
    'that lets names repeat': {},
    'that keeps names unique': { isUnique: true },
    'that keeps destroyed objects': { keepsDestroyed: true },
    'that takes one call at a time': { hasNoBatches: true },
    'of KMIP 1.2': { versions: ['1.2'] },
  };
  for (const [kind, options] of Object.entries(kinds)) {
    test(`on a server ${kind}, one of many creators wins and its value stays`, () =>
      withDouble(options, async (double) => {
        const stores = await Promise.all([1, 2, 3].map(async () => open(double)));
        for (const name of ['a', 'b', 'c', 'd']) {
          const values = Array.from({ length: 12 }, (_, index) => `${name}${index}`);
          const outcomes = await Promise.allSettled(
            values.map(async (value, index) => stores[index % 3]?.create(name, value)),
          );
          const winners = values.filter((_, index) => outcomes[index]?.status === 'fulfilled');
          assert.equal(winners.length, 1);
          for (const outcome of outcomes) {
            if (outcome.status === 'rejected') failsWith('exists')(outcome.reason);
          }
          for (const store of stores) assert.equal(await store.get(name), winners[0]);
          assert.deepEqual(statesOf(double, name), [active]);
        }
        await Promise.all(stores.map(async (store) => store.close()));
      }));
  }

  test('however slow and impatient creators are, at most one wins and no reader sees another', () =>
    withDouble({}, async (double) => {
      let seed = 1;
      const random = (): number => {
        seed = (seed * 16_807) % 2_147_483_647;
        return seed / 2_147_483_647;
      };
      double.before = async () => {
        await new Promise((resolve) => setTimeout(resolve, random() * 4));
      };
      const deps = { claimMs: 3 };
      const stores = await Promise.all([1, 2, 3, 4].map(async () => open(double, {}, deps)));
      for (let round = 0; round < 12; round += 1) {
        const name = `n${round}`;
        const read = new Set<string>();
        const over = new AbortController();
        const reader = (async () => {
          while (!over.signal.aborted) {
            const value = await stores[0]?.get(name).catch(() => undefined);
            if (value !== undefined) read.add(value);
          }
        })();
        const outcomes = await Promise.allSettled(
          stores.map(async (store, index) => store.create(name, `v${index}`)),
        );
        over.abort();
        await reader;
        const winners = outcomes.flatMap(({ status }, index) =>
          status === 'fulfilled' ? [`v${index}`] : [],
        );
        assert.equal(winners.length, 1);
        read.add((await stores[1]?.get(name)) ?? '');
        assert.deepEqual([...read], winners);
        assert.deepEqual(statesOf(double, name), [active]);
      }
      await Promise.all(stores.map(async (store) => store.close()));
    }));

  test('a claim is no key: it is neither read nor listed nor deleted', () =>
    withStore({}, async ({ double, store }) => {
      double.add({ name: 'a', value: 'claimed' });
      await assert.rejects(store.get('a'), failsWith('not-found'));
      assert.deepEqual(await store.list(), []);
      await store.delete('a');
      assert.equal(double.objects.size, 1);
    }));

  test('the claim of a dead creator is removed after a while', () =>
    withStore({ deps: { claimMs: 20 } }, async ({ double, store }) => {
      const dead = double.add({ name: 'a', value: 'claimed' });
      await store.create('a', 'second');
      assert.equal(await store.get('a'), 'second');
      assert.equal(double.objects.has(dead), false);
      assert.equal(double.objects.size, 1, 'the probe is gone too');
      assert.deepEqual(await store.list(), ['a']);
    }));

  test('on a server that destroys active objects a claim in the way is left to the operator', () =>
    withStore({ destroysActive: true, deps: { claimMs: 20 } }, async ({ double, store }) => {
      const dead = double.add({ name: 'a', value: 'claimed' });
      await assert.rejects(
        store.create('a', 'second'),
        failsSaying('failed', new RegExp(`${dead} .*remove it by hand`)),
      );
      assert.ok(double.objects.has(dead));
      await store.create('b', 'free');
    }));

  test('a creator overtaken while it slept does not become a second winner', () =>
    withDouble({}, async (double) => {
      const slow = await open(double, {}, { claimMs: 20 });
      const fast = await open(double, {}, { claimMs: 20 });
      let wake = (): void => undefined;
      const sleep = new Promise<void>((resolve) => {
        wake = resolve;
      });
      double.before = async (operation) => {
        if (operation !== 'Activate') return;
        double.before = undefined;
        await sleep;
      };
      const slowly = slow.create('a', 'slow');
      while (double.before !== undefined) await new Promise((resolve) => setImmediate(resolve));
      await fast.create('a', 'fast');
      wake();
      await assert.rejects(slowly, failsWith('exists'));
      assert.equal(await slow.get('a'), 'fast');
      assert.deepEqual(statesOf(double, 'a'), [active]);
      await slow.close();
      await fast.close();
    }));

  test('a lost answer to the activation is looked up', () =>
    withStore({}, async ({ double, store }) => {
      double.fault('lose', { operation: 'Activate' });
      await store.create('a', '1');
      assert.equal(await store.get('a'), '1');
    }));

  test('a lost answer to the registration leaves nothing in the way', () =>
    withStore({ deps: { claimMs: 20 } }, async ({ double, store }) => {
      double.fault('lose', { operation: 'Register' });
      await assert.rejects(store.create('a', '1'), failsWith('unreachable'));
      await assert.rejects(store.get('a'), failsWith('not-found'));
      await store.create('a', '2');
      assert.equal(await store.get('a'), '2');
    }));

  test('a refused registration shows neither the value nor what the server says about it', () =>
    withStore({}, async ({ double, store }) => {
      double.fault('refuse', {
        operation: 'Register',
        reason: 'PermissionDenied',
        text: 'secret1',
      });
      await assert.rejects(store.create('a', 'secret1'), (error: unknown) => {
        failsSaying(
          'failed',
          /Register was refused: PermissionDenied: grant the client Register,/,
        )(error);
        assert.doesNotMatch(String(error), /secret1/);
        return true;
      });
    }));

  test('a name that another program has on a server with unique names is an error', () =>
    withStore({ isUnique: true }, async ({ double, store }) => {
      double.add({ name: 'a', value: 'theirs', state: active, group: 'others' });
      await assert.rejects(store.create('a', '1'), failsSaying('failed', /NonUniqueNameAttribute/));
      await assert.rejects(store.get('a'), failsWith('not-found'));
    }));
});

describe('KMIP objects', () => {
  test('of two active objects of one name every reader takes the oldest, and both are deleted', () =>
    withStore({}, async ({ double, store }) => {
      double.add({ name: 'a', value: 'newer', state: active, createdAt: 2n });
      double.add({ name: 'a', value: 'older', state: active, createdAt: 1n });
      double.add({ name: 'a', value: 'newest', state: active, createdAt: 3n });
      assert.equal(await store.get('a'), 'older');
      assert.deepEqual(await store.list(), ['a']);
      await store.delete('a');
      assert.equal(double.objects.size, 0);
    }));

  test('an object taken out of use is neither read nor replaced, until it is deleted', () =>
    withStore({}, async ({ double, store }) => {
      double.add({ name: 'a', value: 'old', state: deactivated });
      await assert.rejects(
        store.get('a'),
        failsSaying('failed', /is deactivated: it was taken out of use/),
      );
      await assert.rejects(store.create('a', 'new'), failsSaying('failed', /is deactivated/));
      await store.delete('a');
      await store.create('a', 'new');
      assert.equal(await store.get('a'), 'new');
    }));

  test('a deletion that stopped half-way is finished by the next one', () =>
    withStore({ keepsDestroyed: true }, async ({ double, store }) => {
      await store.create('a', '1');
      double.fault('refuse', { operation: 'Destroy', reason: 'PermissionDenied' });
      await assert.rejects(store.delete('a'), failsSaying('failed', /Destroy was refused/));
      assert.deepEqual(statesOf(double, 'a'), [deactivated]);
      await store.delete('a');
      assert.deepEqual(statesOf(double, 'a'), []);
      await store.delete('a');
      assert.ok([...double.objects.values()].every(({ value }) => value === undefined));
    }));

  test('two deletions at once both succeed', () =>
    withDouble({}, async (double) => {
      const [one, other] = [await open(double), await open(double)];
      for (let round = 0; round < 10; round += 1) {
        await one.create('a', '1');
        await Promise.all([one.delete('a'), other.delete('a')]);
        await assert.rejects(other.get('a'), failsWith('not-found'));
      }
      await one.close();
      await other.close();
    }));

  test('objects of others are not ours', () =>
    withStore({}, async ({ double, store }) => {
      double.add({ name: 'a', value: 'theirs', state: active, group: 'others' });
      double.add({ name: 'not a name', value: 'odd', state: active });
      await store.create('a', 'ours');
      assert.equal(await store.get('a'), 'ours');
      assert.deepEqual(await store.list(), ['a']);
      await store.delete('a');
      assert.equal(double.objects.size, 2);
    }));

  test('a list longer than the server’s answers is read in pages', () =>
    withStore({ pageMax: 7 }, async ({ double, store }) => {
      const names = Array.from({ length: 50 }, (_, index) => `k${index}`);
      for (const name of names) double.add({ name, value: 'x', state: active });
      assert.deepEqual((await store.list()).toSorted(), names.toSorted());
    }));

  test('a list that shrinks while it is read is read again', () =>
    withStore({ pageMax: 7 }, async ({ double, store }) => {
      const ids = Array.from({ length: 20 }, (_, index) =>
        double.add({ name: `k${index}`, value: 'x', state: active }),
      );
      let pages = 0;
      double.before = async (operation) => {
        if (operation !== 'Locate') return;
        pages += 1;
        if (pages === 3) double.objects.delete(ids[0] ?? '');
      };
      assert.equal((await store.list()).length, 19);
      assert.ok(pages > 4);
    }));

  test('KMIP 1.2 has no pages, so a list cut short is an error', () =>
    withStore({ pageMax: 3, settings: { version: '1.2' } }, async ({ double, store }) => {
      for (const name of ['a', 'b', 'c', 'd']) double.add({ name, value: 'x', state: active });
      await assert.rejects(store.list(), failsSaying('failed', /set version to 1\.4/));
    }));
});

describe('KMIP connections', () => {
  test('at most four are open, and they are kept', () =>
    withStore({}, async ({ double, store }) => {
      await store.create('a', '1');
      await Promise.all(Array.from({ length: 60 }, async () => store.get('a')));
      assert.equal(double.connections, 4);
    }));

  test('a restart of the server is not noticed', () =>
    withStore({}, async ({ double, store }) => {
      await store.create('a', '1');
      await double.down();
      await double.up();
      assert.equal(await store.get('a'), '1');
      await store.create('b', '2');
    }));

  test('a server that is down is unreachable', () =>
    withStore({}, async ({ double, store }) => {
      await double.down();
      await assert.rejects(store.get('a'), failsWith('unreachable'));
      await assert.rejects(store.list(), failsWith('unreachable'));
      assert.equal((await store.status()).state, 'unreachable');
      await assert.rejects(open(double), failsWith('unreachable'));
      await double.up();
      assert.equal((await store.status()).state, 'available');
    }));

  test('a server that does not answer is unreachable at the deadline, and the next call works', () =>
    withStore({ deps: { deadlineMs: 100, connectionsMax: 1 } }, async ({ double, store }) => {
      await store.create('a', '1');
      double.fault('hang');
      const [first, second] = await Promise.allSettled([store.get('a'), store.get('a')]);
      assert.ok(first.status === 'rejected');
      failsWith('unreachable')(first.reason);
      assert.ok(second.status === 'rejected' || second.value === '1');
      assert.equal(await store.get('a'), '1');
    }));

  test('an answer that makes no sense fails the call', () =>
    withStore({}, async ({ double, store }) => {
      double.fault('garbage');
      await assert.rejects(store.get('a'), failsSaying('failed', /not what should stand there/));
      await store.create('a', '1');
    }));

  test('a lost answer to something repeatable on a kept connection is asked for again', () =>
    withStore({ deps: { connectionsMax: 1 } }, async ({ double, store }) => {
      await store.create('a', '1');
      double.fault('drop', { operation: 'Get' });
      assert.equal(await store.get('a'), '1');
      double.fault('drop', { operation: 'Get', count: 2 });
      await assert.rejects(store.get('a'), failsWith('unreachable'));
    }));

  test('a server that is out of order is unavailable', () =>
    withStore({}, async ({ double, store }) => {
      double.fault('refuse', { reason: 'OperationNotSupported' });
      const status = await store.status();
      assert.equal(status.state, 'unavailable');
    }));

  test('a server that does not speak TLS is an error', async () => {
    const plain = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
    });
    await new Promise<void>((resolve) => {
      plain.listen(0, '127.0.0.1', resolve);
    });
    const address = plain.address();
    assert.ok(typeof address === 'object' && address !== null);
    await assert.rejects(
      openKmipSecrets({ endpoint: `127.0.0.1:${address.port}` }, { log: silentLog }),
      failsSaying('failed', /TLS failed/),
    );
    plain.close();
  });

  test('after close nothing is answered', () =>
    withDouble({}, async (double) => {
      const store = await open(double);
      await store.close();
      await store.close();
      await assert.rejects(store.get('a'), failsWith('unreachable'));
    }));
});

const credentials = { username: 'coffer', password: 'the-password-of-the-contract' };

for (const options of [{}, { versions: ['1.2'], isUnique: true }] satisfies KmipDoubleOptions[]) {
  const kind = JSON.stringify(options);
  testSecretStore(`KMIP ${kind}`, async () => {
    const double = await startKmipDouble({ ...options, credentials });
    return {
      store: await open(double, { credentials }),
      openAgain: async () => open(double, { credentials }),
      credentials: [credentials.password],
      faults: {
        failNext: (count, status) => {
          const reason = status === 429 ? 'ServerLimitExceeded' : 'GeneralFailure';
          double.fault('refuse', { count, reason, text: credentials.password });
        },
        garbageNext: (count) => {
          double.fault('garbage', { count });
        },
        loseAnswerNext: (count) => {
          double.fault('lose', { count });
        },
        down: async () => double.down(),
        up: async () => double.up(),
      },
      close: async () => double.close(),
    };
  });

  testKeyStore(`KMIP ${kind}`, async () => {
    const double = await startKmipDouble(options);
    const openKeys = async () => openGenerations(await open(double), { settleMs: 20 });
    return { store: await openKeys(), openAgain: openKeys, close: async () => double.close() };
  });
}
