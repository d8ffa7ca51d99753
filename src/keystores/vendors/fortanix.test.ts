import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failsWith, testKeyStore } from '../../../test/contract/key-store.ts';
import { type OpenedSecrets, testSecretStore } from '../../../test/contract/secret-store.ts';
import {
  type FortanixDouble,
  startFortanixDouble,
} from '../../../test/support/doubles/fortanix.ts';
import { faultsOf } from '../../../test/support/doubles/json-double.ts';
import { silentLog } from '../../base/log.ts';
import { type FortanixSettings, openFortanixSecrets } from './fortanix.ts';
import { openGenerations } from '../generations.ts';
import type { SecretStore } from '../secret-store.ts';

const apiKey = Buffer.from('0b3d0e3c-app:secret-of-the-test').toString('base64');

type Opened = { readonly double: FortanixDouble; readonly store: SecretStore };

async function withStore(work: (opened: Opened) => Promise<void>): Promise<void> {
  const double = await startFortanixDouble(apiKey);
  try {
    const store = await open(double);
    try {
      await work({ double, store });
    } finally {
      await store.close();
    }
  } finally {
    await double.close();
  }
}

function open(double: FortanixDouble, changes: FortanixSettings = {}): Promise<SecretStore> {
  const settings = { endpoint: double.origin, credentials: { key: apiKey }, ...changes };
  return openFortanixSecrets(settings, { log: silentLog, retryDelayMs: () => 1 });
}

async function openContract(): Promise<OpenedSecrets> {
  const double = await startFortanixDouble(apiKey);
  const openAgain = (): Promise<SecretStore> => open(double);
  return {
    store: await openAgain(),
    openAgain,
    credentials: [apiKey],
    faults: faultsOf(double),
    close: () => double.close(),
  };
}

testSecretStore('Fortanix SDKMS', openContract, { throttleStatus: undefined });

testKeyStore(
  'Fortanix SDKMS',
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

test('the start checks the service and the key, and leaves no session behind', () =>
  withStore(async ({ double }) => {
    assert.deepEqual(double.requests, [
      'GET /sys/v1/health',
      'POST /sys/v1/session/auth',
      'POST /sys/v1/session/terminate',
    ]);
    assert.equal(double.sessions.size, 0);
  }));

test('the value is stored in base64', () =>
  withStore(async ({ double, store }) => {
    await store.create('my-key', '{"a":1}');
    assert.equal(double.objects.get('my-key')?.value, 'eyJhIjoxfQ==');
    assert.equal(await store.get('my-key'), '{"a":1}');
  }));

test('a wrong API key is refused at the start without being shown', async () => {
  const double = await startFortanixDouble(apiKey);
  try {
    await assert.rejects(open(double, { credentials: { key: 'd3Jvbmc=' } }), (error) => {
      failsWith('failed')(error);
      assert.match(String(error), /401 Invalid credentials \(check credentials\.key/);
      assert.doesNotMatch(String(error), /d3Jvbmc=/);
      return true;
    });
    await assert.rejects(
      open(double, { credentials: { key: 'with\r\nheader' } }),
      failsWith('failed'),
    );
  } finally {
    await double.close();
  }
});

test('keys are created in the group that is configured', async () => {
  const double = await startFortanixDouble(apiKey);
  try {
    const right = await open(double, { group_id: double.groupId });
    await right.create('a', '1');
    await right.close();
    const wrong = await open(double, { group_id: 'another' });
    await assert.rejects(wrong.create('b', '1'), failsWith('failed'));
    await wrong.close();
  } finally {
    await double.close();
  }
});

test('a disabled object is not read, and says what to do', () =>
  withStore(async ({ double, store }) => {
    await store.create('a', '1');
    const object = double.objects.get('a');
    assert.ok(object);
    object.enabled = false;
    await assert.rejects(store.get('a'), /is disabled there: enable it/);
    await store.delete('a');
    assert.equal(double.objects.size, 0);
  }));

test('a listing of many pages is whole and ends, whether or not a page repeats its start', () =>
  withStore(async ({ double, store }) => {
    const names = Array.from({ length: 250 }, (_, index) => `k${String(index).padStart(3, '0')}`);
    for (const name of names) double.objects.set(name, { kid: '0', value: '', enabled: true });
    for (const repeatsStart of [false, true]) {
      double.repeatsStart = repeatsStart;
      assert.deepEqual(await store.list(), names);
    }
    const page = names.slice(0, 100).map((name) => ({ name }));
    double.fault = () => ({ status: 200, json: page });
    await assert.rejects(store.list(), /leads in a circle/);
  }));

test('a listing is whole when the service answers with shorter pages than were asked for', () =>
  withStore(async ({ double, store }) => {
    const names = Array.from({ length: 25 }, (_, index) => `k${String(index).padStart(3, '0')}`);
    double.fault = ({ query }) => {
      const rest = names.filter((name) => name > (query.get('start') ?? ''));
      return { status: 200, json: rest.slice(0, 10).map((name) => ({ name })) };
    };
    assert.deepEqual(await store.list(), names);
  }));

test('objects without a name are left out, and never hide those that have one', () =>
  withStore(async ({ double, store }) => {
    const list = (unnamed: number): Promise<string[]> => {
      const names = [...Array<undefined>(unnamed), 'a', 'b'];
      double.fault = ({ query }) => {
        const start = query.get('start');
        const rest = names.filter((name) => start === null || (name ?? '') > start);
        return { status: 200, json: rest.slice(0, 100).map((name) => ({ name })) };
      };
      return store.list();
    };
    assert.deepEqual(await list(3), ['a', 'b']);
    assert.deepEqual(await list(99), ['a', 'b']);
    for (const unnamed of [100, 101, 250]) {
      await assert.rejects(list(unnamed), /100 or more objects without a name/);
    }
  }));

test('a deletion is sent once, and what became of it is looked at by the caller', () =>
  withStore(async ({ double, store }) => {
    for (const fault of [{ status: 503, text: 'busy' }, { status: 429 }, 'drop'] as const) {
      for (const when of ['fault', 'faultAfter'] as const) {
        await store.create('a', '1');
        double[when] = ({ method }) => (method === 'DELETE' ? fault : undefined);
        const before = double.requests.length;
        await assert.rejects(store.delete('a'), failsWith('unreachable'));
        const sent = double.requests.slice(before).filter((line) => line.startsWith('DELETE'));
        assert.equal(sent.length, 1);
        double[when] = () => undefined;
        await store.delete('a');
      }
    }
  }));

test("an answer that is not the product's own is not shown", () =>
  withStore(async ({ double, store }) => {
    double.fault = ({ headers }) => ({ status: 400, text: `you sent ${headers.authorization}` });
    await assert.rejects(store.get('a'), /cannot read a: 400 *$/);
  }));

test('only the exact texts mean taken and missing', () =>
  withStore(async ({ double, store }) => {
    double.fault = () => ({ status: 409, json: { message: 'sobject is locked' } });
    await assert.rejects(store.create('a', '1'), failsWith('failed'));
    double.fault = () => ({ status: 404, json: { message: 'no such route' } });
    await assert.rejects(store.get('a'), failsWith('failed'));
    await assert.rejects(store.delete('a'), failsWith('failed'));
    double.fault = () => ({ status: 404, text: 'sobject does not exist' });
    await assert.rejects(store.get('a'), failsWith('not-found'));
  }));

test('an error of the server is tried again, and a lost answer does not turn into a taken name', () =>
  withStore(async ({ double, store }) => {
    let failures = 1;
    double.fault = () => (failures-- > 0 ? { status: 503, text: 'busy' } : undefined);
    await store.create('a', '1');
    failures = 1;
    assert.equal(await store.get('a'), '1');
    double.fault = () => undefined;
    double.faultAfter = () => (failures-- > 0 ? { status: 500, text: 'lost' } : undefined);
    failures = 1;
    await store.create('b', '2');
    failures = 1;
    await assert.rejects(store.create('b', '3'), failsWith('exists'));
  }));

test('no answer is unreachable, garbage is an error, deleting nothing succeeds', () =>
  withStore(async ({ double, store }) => {
    await store.delete('nothing');
    for (const answer of [
      { status: 200, text: '{' },
      { status: 200, json: [] },
      { status: 200, json: { enabled: true, value: '!' } },
    ]) {
      double.fault = () => answer;
      await assert.rejects(store.get('a'), failsWith('failed'));
    }
    double.fault = () => ({ status: 200, json: { names: [] } });
    await assert.rejects(store.list(), failsWith('failed'));
    double.fault = () => 'drop';
    await assert.rejects(store.get('a'), failsWith('unreachable'));
    assert.equal((await store.status()).state, 'unreachable');
  }));
