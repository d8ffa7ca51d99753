import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failsWith, testKeyStore } from '../../../test/contract/key-store.ts';
import { type OpenedSecrets, testSecretStore } from '../../../test/contract/secret-store.ts';
import { type EntrustDouble, startEntrustDouble } from '../../../test/support/doubles/entrust.ts';
import { ManualClock } from '../../../test/support/doubles/manual-clock.ts';
import { faultsOf } from '../../../test/support/doubles/json-double.ts';
import { silentLog } from '../../base/log.ts';
import { openEntrustSecrets } from './entrust.ts';
import { openGenerations } from '../generations.ts';
import type { SecretStore } from '../secret-store.ts';

const account = {
  vaultId: 'e30497a1-bff1-4e10-a0c2-2b8f8ba0a6a6',
  boxId: 'coffer',
  username: 'coffer',
  password: 'password-of-the-test',
};

type Opened = {
  readonly double: EntrustDouble;
  readonly clock: ManualClock;
  readonly store: SecretStore;
};

async function withStore(work: (opened: Opened) => Promise<void>): Promise<void> {
  const double = await startEntrustDouble(account);
  const clock = new ManualClock();
  double.now = () => clock.now();
  try {
    const store = await open(double, clock, {});
    try {
      await work({ double, clock, store });
    } finally {
      await store.close();
    }
  } finally {
    await double.close();
  }
}

function open(
  double: EntrustDouble,
  clock: ManualClock,
  changes: Partial<typeof account>,
): Promise<SecretStore> {
  const { vaultId, boxId, username, password } = { ...account, ...changes };
  const settings = {
    endpoint: double.origin,
    vault_id: vaultId,
    box_id: boxId,
    credentials: { username, password },
  };
  const wallClock = () => clock.now();
  return openEntrustSecrets(settings, { log: silentLog, clock, wallClock, retryDelayMs: () => 1 });
}

async function openContract(): Promise<OpenedSecrets> {
  const double = await startEntrustDouble(account);
  const openAgain = (): Promise<SecretStore> => open(double, new ManualClock(), {});
  return {
    store: await openAgain(),
    openAgain,
    credentials: [account.password],
    faults: faultsOf(double),
    close: () => double.close(),
  };
}

testSecretStore('Entrust KeyControl', openContract, { throttleStatus: undefined });

testKeyStore(
  'Entrust KeyControl',
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

test('the value is stored in base64, and only the login names a content type', () =>
  withStore(async ({ double, store }) => {
    const types: (string | undefined)[] = [];
    double.fault = ({ headers }) => void types.push(headers['content-type']);
    await store.create('my-key', '{"a":1}');
    assert.equal(double.secrets.get('my-key')?.data, 'eyJhIjoxfQ==');
    assert.equal(await store.get('my-key'), '{"a":1}');
    assert.deepEqual(types, [undefined, undefined]);
  }));

test('a wrong password, vault or box is refused at the start without being shown', async () => {
  const double = await startEntrustDouble(account);
  try {
    for (const changes of [
      { password: 'wrong-one' },
      { username: 'x' },
      { vaultId: 'x' },
      { boxId: 'x' },
    ]) {
      await assert.rejects(open(double, new ManualClock(), changes), (error) => {
        failsWith('failed')(error);
        assert.doesNotMatch(String(error), /wrong-one|password-of-the-test/);
        return true;
      });
    }
  } finally {
    await double.close();
  }
});

test('the login is renewed at half its life; when that fails, the user logs in again', () =>
  withStore(async ({ double, clock }) => {
    await clock.advance(1_800_000);
    assert.deepEqual([double.logins, double.renewals], [1, 1]);
    double.fault = ({ path }) =>
      path.endsWith('/Renew/') ? { status: 500, json: { error: 'no' } } : undefined;
    await clock.advance(1_800_000);
    assert.deepEqual([double.logins, double.renewals], [2, 1]);
  }));

test('a renewal that fails with its login is tried again', () =>
  withStore(async ({ double, clock, store }) => {
    double.fault = ({ path }) =>
      /Renew|Login/.test(path) ? { status: 400, json: { error: 'no' } } : undefined;
    await clock.advance(1_800_000);
    await clock.advance(5_000);
    assert.deepEqual([double.logins, double.renewals], [1, 0]);
    double.fault = () => undefined;
    await clock.advance(5_000);
    assert.deepEqual([double.logins, double.renewals], [1, 1]);
    await store.create('a', '1');
  }));

test('a token that expired or was revoked is replaced before the call fails', () =>
  withStore(async ({ double, clock, store }) => {
    await store.create('a', '1');
    await clock.advance(2_000);
    double.revokeTokens();
    assert.equal(await store.get('a'), '1');
    clock.skip(4_000_000);
    assert.equal(await store.get('a'), '1');
    assert.equal(double.logins, 3);
  }));

test('a login that does not say when it ends is renewed after two and a half minutes', () =>
  withStore(async ({ double, clock }) => {
    double.tokenSeconds = -10;
    await clock.advance(1_800_000);
    assert.equal(double.renewals, 1);
    double.fault = () => ({ status: 200, json: { access_token: 'another' } });
    const before = double.requests.length;
    await clock.advance(149_000);
    assert.equal(double.requests.length, before);
    await clock.advance(1_000);
    assert.equal(double.requests.length, before + 1);
  }));

test('a listing of two pages is whole, without empty names and expired secrets', () =>
  withStore(async ({ double, store }) => {
    const names = Array.from({ length: 300 }, (_, index) => `k${String(index).padStart(3, '0')}`);
    for (const name of names) double.secrets.set(name, { data: '', isExpired: name === 'k007' });
    assert.deepEqual(
      await store.list(),
      names.filter((name) => name !== 'k007'),
    );
  }));

test('a listing whose next page is not named as a text is not taken for its end', () =>
  withStore(async ({ double, store }) => {
    for (const token of [7, {}, true]) {
      double.fault = () => ({ status: 200, json: { secrets: [{ name: 'a' }], next_token: token } });
      await assert.rejects(store.list(), failsWith('failed'));
    }
    for (const token of [undefined, null, '']) {
      double.fault = () => ({ status: 200, json: { secrets: [{ name: 'a' }], next_token: token } });
      assert.deepEqual(await store.list(), ['a']);
    }
  }));

test('a listing that leads in a circle ends in an error', () =>
  withStore(async ({ double, store }) => {
    double.fault = () => ({ status: 200, json: { secrets: [], next_token: 'same' } });
    await assert.rejects(store.list(), failsWith('failed'));
  }));

test('only the exact texts as JSON mean taken and missing', () =>
  withStore(async ({ double, store }) => {
    double.fault = () => ({ status: 409, text: '{"error":"Secret already exists"}' });
    await assert.rejects(store.create('a', '1'), failsWith('failed'));
    double.fault = () => ({ status: 404, json: { error: 'Box not found' } });
    await assert.rejects(store.get('a'), failsWith('failed'));
    await assert.rejects(store.delete('a'), failsWith('failed'));
    double.fault = () => ({ status: 404, json: { error: 'Secret not found' } });
    await assert.rejects(store.get('a'), failsWith('not-found'));
    await store.delete('a');
  }));

test('an error of the server is tried again, and a lost answer does not turn into a taken name', () =>
  withStore(async ({ double, store }) => {
    let failures = 1;
    double.fault = () => (failures-- > 0 ? { status: 502, text: 'busy' } : undefined);
    await store.create('a', '1');
    failures = 1;
    assert.equal(await store.get('a'), '1');
    double.fault = () => undefined;
    double.faultAfter = () => (failures-- > 0 ? 'drop' : undefined);
    failures = 1;
    await store.create('b', '2');
    failures = 1;
    await assert.rejects(store.create('b', '3'), failsWith('exists'));
  }));

test('a deletion is sent once, and what became of it is looked at by the caller', () =>
  withStore(async ({ double, store }) => {
    const lost = ({ path }: { readonly path: string }) => path.endsWith('/DeleteSecret/');
    for (const fault of [{ status: 503, text: 'busy' }, { status: 429 }, 'drop'] as const) {
      for (const when of ['fault', 'faultAfter'] as const) {
        await store.create('a', '1');
        double[when] = (request) => (lost(request) ? fault : undefined);
        const before = double.requests.length;
        await assert.rejects(store.delete('a'), failsWith('unreachable'));
        assert.equal(double.requests.length, before + 1);
        double[when] = () => undefined;
        await store.delete('a');
      }
    }
  }));

test('a page in place of an answer is no deletion, and not shown', () =>
  withStore(async ({ double, store }) => {
    await store.create('a', '1');
    double.fault = () => ({ status: 200, text: '<html>welcome' });
    await assert.rejects(store.delete('a'), failsWith('failed'));
    double.fault = ({ headers }) => ({
      status: 400,
      text: `you sent ${String(headers['x-vault-auth'])}`,
    });
    await assert.rejects(store.get('a'), /cannot read a: 400 *$/);
  }));

test('the status is that of the box', () =>
  withStore(async ({ double, store }) => {
    assert.equal((await store.status()).state, 'available');
    double.fault = () => ({ status: 503, text: 'starting' });
    assert.equal((await store.status()).state, 'unavailable');
    double.fault = () => 'drop';
    assert.equal((await store.status()).state, 'unreachable');
  }));

test('garbage is an error', () =>
  withStore(async ({ double, store }) => {
    for (const answer of [
      { status: 200, text: '{' },
      { status: 200, json: [] },
      { status: 200, json: { secret_data: '!' } },
    ]) {
      double.fault = () => answer;
      await assert.rejects(store.get('a'), failsWith('failed'));
      await assert.rejects(store.list(), failsWith('failed'));
    }
  }));
