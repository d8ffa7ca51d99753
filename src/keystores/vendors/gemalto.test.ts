import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failsWith, testKeyStore } from '../../../test/contract/key-store.ts';
import { type OpenedSecrets, testSecretStore } from '../../../test/contract/secret-store.ts';
import { type GemaltoDouble, startGemaltoDouble } from '../../../test/support/doubles/gemalto.ts';
import { ManualClock } from '../../../test/support/doubles/manual-clock.ts';
import { faultsOf } from '../../../test/support/doubles/json-double.ts';
import { silentLog } from '../../base/log.ts';
import { openGemaltoSecrets } from './gemalto.ts';
import { openGenerations } from '../generations.ts';
import type { SecretStore } from '../secret-store.ts';

const credentials = { token: 'refresh-token-of-the-test', domain: 'root' };

type Opened = {
  readonly double: GemaltoDouble;
  readonly clock: ManualClock;
  readonly store: SecretStore;
};

async function withStore(work: (opened: Opened) => Promise<void>): Promise<void> {
  const double = await startGemaltoDouble(credentials);
  const clock = new ManualClock();
  double.now = () => clock.now();
  try {
    const store = await open(double, clock);
    try {
      await work({ double, clock, store });
    } finally {
      await store.close();
    }
  } finally {
    await double.close();
  }
}

function open(double: GemaltoDouble, clock: ManualClock, token = credentials.token) {
  const settings = { endpoint: double.origin, credentials: { ...credentials, token } };
  return openGemaltoSecrets(settings, { log: silentLog, clock, retryDelayMs: () => 1 });
}

async function openContract(): Promise<OpenedSecrets> {
  const double = await startGemaltoDouble(credentials);
  const openAgain = (): Promise<SecretStore> => open(double, new ManualClock());
  return {
    store: await openAgain(),
    openAgain,
    credentials: [credentials.token],
    faults: faultsOf(double),
    close: () => double.close(),
  };
}

testSecretStore('CipherTrust Manager', openContract, { throttleStatus: undefined });

testKeyStore(
  'CipherTrust Manager',
  async () => {
    const { store, openAgain, close } = await openContract();
    return {
      store: openGenerations(store, { settleMs: 20 }),
      openAgain: async () => openGenerations(await openAgain(), { settleMs: 20 }),
      close,
    };
  },
  { valueBytesMax: 500_000, listCount: 40 },
);

test('the value is stored as it is, as data of type seed', () =>
  withStore(async ({ double, store }) => {
    await store.create('my-key', '{"a":1}');
    assert.equal(double.secrets.get('my-key'), '{"a":1}');
    assert.equal(await store.get('my-key'), '{"a":1}');
    assert.ok(double.requests.includes('POST /api/v1/vault/secrets/my-key/export'));
  }));

test('a wrong refresh token is refused at the start without being shown', async () => {
  const double = await startGemaltoDouble(credentials);
  try {
    await assert.rejects(open(double, new ManualClock(), 'wrong-token-of-the-test'), (error) => {
      failsWith('failed')(error);
      assert.match(String(error), /401 .*Invalid credentials.*check credentials\.token/);
      assert.doesNotMatch(String(error), /wrong-token-of-the-test/);
      return true;
    });
  } finally {
    await double.close();
  }
});

test('the token is renewed at half its life and every five seconds after a failure', () =>
  withStore(async ({ double, clock, store }) => {
    await clock.advance(149_000);
    assert.equal(double.logins, 1);
    double.fault = ({ path }) =>
      path.endsWith('/tokens') ? { status: 400, text: 'not now' } : undefined;
    await clock.advance(1_000);
    await clock.advance(5_000);
    assert.equal(double.logins, 1);
    double.fault = () => undefined;
    await clock.advance(5_000);
    assert.equal(double.logins, 2);
    await store.create('a', '1');
    await clock.advance(150_000);
    assert.equal(double.logins, 3);
  }));

test('a token that expired or was revoked is replaced before the call fails', () =>
  withStore(async ({ double, clock, store }) => {
    await store.create('a', '1');
    await clock.advance(2_000);
    double.revokeTokens();
    assert.equal(await store.get('a'), '1');
    assert.equal(double.logins, 2);
    clock.skip(400_000);
    assert.equal(await store.get('a'), '1');
    assert.equal(double.logins, 3);
  }));

test('a login that fails is seen in the status once the token has expired', () =>
  withStore(async ({ double, clock, store }) => {
    double.fault = ({ path }) =>
      path.endsWith('/tokens') ? { status: 401, text: 'no' } : undefined;
    await clock.advance(150_000);
    assert.equal((await store.status()).state, 'available');
    await clock.advance(150_000);
    assert.equal((await store.status()).state, 'unavailable');
    await assert.rejects(store.get('a'), failsWith('failed'));
  }));

test('a listing of two pages is whole', () =>
  withStore(async ({ double, store }) => {
    const names = Array.from({ length: 250 }, (_, index) => `k${index}`);
    for (const name of names) double.secrets.set(name, 'x');
    assert.deepEqual(await store.list(), names);
  }));

test('a listing that shifts while it is read is read again', () =>
  withStore(async ({ double, store }) => {
    for (let index = 0; index < 250; index += 1) double.secrets.set(`k${index}`, 'x');
    double.faultAfter = ({ query }) => {
      if (query.get('skip') === '0') double.secrets.delete('k0');
      return undefined;
    };
    const names = await store.list();
    assert.equal(names.length, 249);
    assert.ok(names.includes('k200'));
  }));

test('a listing that shifts without a change in number is read again', () =>
  withStore(async ({ double, store }) => {
    for (let index = 0; index < 450; index += 1) double.secrets.set(`k${index}`, 'x');
    let changes = 1;
    double.faultAfter = ({ query }) => {
      if (query.get('skip') === '0' && changes-- > 0) {
        double.secrets.delete('k0');
        double.secrets.set('new', 'x');
      }
      return undefined;
    };
    const names = await store.list();
    assert.deepEqual(names.toSorted(), [...double.secrets.keys()].toSorted());
  }));

test('a page that is not the one asked for is refused', () =>
  withStore(async ({ double, store }) => {
    double.fault = () => ({ status: 200, json: { skip: 7, total: 9, resources: [] } });
    await assert.rejects(store.list(), failsWith('failed'));
    double.fault = () => ({ status: 200, json: { skip: 0, total: 9, resources: [] } });
    await assert.rejects(store.list(), failsWith('failed'));
    double.fault = () => ({ status: 200, text: '<html>' });
    await assert.rejects(store.list(), failsWith('failed'));
  }));

test('an error of the server is tried again, and a lost answer does not turn into a taken name', () =>
  withStore(async ({ double, store }) => {
    let failures = 1;
    const once = () => (failures-- > 0 ? ({ status: 503, text: 'busy' } as const) : undefined);
    double.fault = once;
    await store.create('a', '1');
    failures = 1;
    assert.equal(await store.get('a'), '1');
    double.fault = () => undefined;
    double.faultAfter = () => (failures-- > 0 ? 'drop' : undefined);
    failures = 1;
    await store.create('b', '2');
    assert.equal(await store.get('b'), '2');
    failures = 1;
    await assert.rejects(store.create('b', '3'), failsWith('exists'));
    assert.equal(await store.get('b'), '2');
  }));

test('a deletion is sent once, and what became of it is looked at by the caller', () =>
  withStore(async ({ double, store }) => {
    for (const fault of [{ status: 503, text: 'busy' }, { status: 429 }, 'drop'] as const) {
      for (const when of ['fault', 'faultAfter'] as const) {
        await store.create('a', '1');
        double[when] = ({ method }) => (method === 'DELETE' ? fault : undefined);
        const before = double.requests.length;
        await assert.rejects(store.delete('a'), failsWith('unreachable'));
        assert.equal(double.requests.length, before + 1);
        double[when] = () => undefined;
        await store.delete('a');
      }
    }
  }));

test('what the server echoes does not carry a value into the error', () =>
  withStore(async ({ double, store }) => {
    double.fault = ({ body }) => ({ status: 422, json: { code: 5, codeDesc: `bad: ${body}` } });
    await assert.rejects(store.create('a', 'a-secret-value'), (error) => {
      assert.doesNotMatch(String(error), /a-secret-value/);
      return true;
    });
  }));

test('no answer is unreachable, deleting nothing succeeds', () =>
  withStore(async ({ double, store }) => {
    await store.delete('nothing');
    double.fault = () => 'drop';
    await assert.rejects(store.get('a'), failsWith('unreachable'));
    assert.equal((await store.status()).state, 'unreachable');
  }));

test('garbage in place of a secret is an error', () =>
  withStore(async ({ double, store }) => {
    for (const answer of [
      { status: 200, text: 'garbage' },
      { status: 200, json: null },
      { status: 200, json: { material: 7 } },
    ]) {
      double.fault = () => answer;
      await assert.rejects(store.get('a'), failsWith('failed'));
    }
  }));
