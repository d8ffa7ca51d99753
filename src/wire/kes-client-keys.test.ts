import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { test } from 'node:test';
import type { FakeKes } from '../../test/support/fake-kes.ts';
import { startFakeKes } from '../../test/support/fake-kes.ts';
import { kesErrors } from './kes.ts';
import { KesClient } from './kes-client.ts';
import type { KesClientErrorCode } from './kes-error.ts';

/** A client of a fake that gives every request the same answer. */
async function clientWith(
  t: TestContext,
  answer: { readonly status: number; readonly body: object },
): Promise<{ readonly fake: FakeKes; readonly client: KesClient }> {
  const fake = await startFakeKes();
  fake.fault = () => answer;
  const client = new KesClient({
    endpoints: [fake.origin],
    tls: fake.tls,
    deps: { random: () => 0, sleep: async () => {} },
  });
  t.after(async () => {
    client.close();
    await fake.close();
  });
  return { fake, client };
}

void test('what becomes of a key is asked for on its own routes', async (t) => {
  const { fake, client } = await clientWith(t, {
    status: 200,
    body: {
      version: 2,
      ciphertext: 'AAEC',
      hmac: 'AwQF',
      state: 'scheduled',
      destroy_at: '2026-01-02T03:04:05Z',
    },
  });
  assert.equal(await client.rotateKey('k'), 2);
  assert.deepEqual(await client.rewrap('k', { ciphertext: Buffer.from('x') }), {
    ciphertext: Buffer.of(0, 1, 2),
    version: 2,
  });
  assert.deepEqual(await client.destroyKey('k', 60), {
    state: 'scheduled',
    destroy_at: '2026-01-02T03:04:05Z',
  });
  await client.cancelKey('k');
  await client.acceptKey('k');
  await client.peerChanged('k');
  await client.ready();
  assert.deepEqual(await client.hmac('k', Buffer.from('x')), Buffer.of(3, 4, 5));
  assert.deepEqual(fake.requests, [
    'PUT /v1/key/rotate/k',
    'PUT /v1/key/rewrap/k',
    'PUT /v1/key/destroy/k',
    'PUT /v1/key/cancel/k',
    'PUT /v1/key/accept/k',
    'PUT /v1/peer/changed/k',
    'GET /v1/ready',
    'PUT /v1/key/hmac/k',
  ]);
});

void test('answers without what they are for are not believed', async (t) => {
  const { client } = await clientWith(t, { status: 200, body: { state: 'enabled', version: '2' } });
  const nonsense = { code: 'protocol' };
  await assert.rejects(client.rotateKey('k'), nonsense);
  await assert.rejects(client.rewrap('k', { ciphertext: Buffer.alloc(1) }), nonsense);
  await assert.rejects(client.destroyKey('k', undefined), nonsense);
  await assert.rejects(client.hmac('k', Buffer.alloc(1)), nonsense);
});

void test('everything known about a key is handed on, and nothing that is not', async (t) => {
  const version = { version: 1, fingerprint: 'f1', created_at: '2026-01-01T00:00:00Z' };
  const known = {
    name: 'k',
    algorithm: 'AES256',
    created_at: '2026-01-01T00:00:00Z',
    created_by: 'me',
    state: 'scheduled',
    id: 'i',
    fingerprint: 'f1',
    version: 2,
    versions: [version, { ...version, version: 2, fingerprint: 'f2', created_by: 'me' }],
    destroy_at: '2026-01-08T00:00:00Z',
  };
  const { client } = await clientWith(t, { status: 200, body: { ...known, other: 1 } });
  assert.deepEqual(await client.describeKey('k'), known);
});

void test('names in each state are collected from all pages', async (t) => {
  const { fake, client } = await clientWith(t, { status: 200, body: {} });
  fake.fault = (_, path) => ({
    status: 200,
    body: path.endsWith('/c')
      ? { names: ['c', 'd'], destroyed: ['d'], disabled: ['c'] }
      : { names: ['a', 'b'], scheduled: ['a'], disabled: ['b'], continue_at: 'c' },
  });
  assert.deepEqual(await client.listKeys(''), {
    names: ['a', 'b', 'c', 'd'],
    disabled: new Set(['b', 'c']),
    scheduled: new Set(['a']),
    destroyed: new Set(['d']),
  });
});

void test('every state of a key that refuses a call has its own code', async (t) => {
  const { fake, client } = await clientWith(t, { status: 200, body: {} });
  const codes: [keyof typeof kesErrors, KesClientErrorCode][] = [
    ['keyDisabled', 'key-disabled'],
    ['keyScheduled', 'key-scheduled'],
    ['keyDestroyed', 'key-destroyed'],
    ['keyReplaced', 'key-replaced'],
    ['nameDestroyed', 'name-destroyed'],
  ];
  for (const [name, code] of codes) {
    fake.fault = () => kesErrors[name];
    await assert.rejects(client.generateKey('k', Buffer.alloc(0)), { code });
  }
});

void test('what must not happen twice is not sent twice', async (t) => {
  const { fake, client } = await clientWith(t, { status: 200, body: {} });
  fake.fault = () => 'drop';
  for (const call of [
    () => client.rotateKey('k'),
    () => client.destroyKey('k', 0),
    () => client.cancelKey('k'),
  ]) {
    fake.requests.length = 0;
    await assert.rejects(call(), { code: 'connection' });
    assert.equal(fake.requests.length, 1);
  }
  fake.requests.length = 0;
  await assert.rejects(client.peerChanged('k'), { code: 'connection' });
  assert.equal(fake.requests.length, 3);
});

void test('the time of day may be set during a call', async (t) => {
  const fake = await startFakeKes();
  t.after(() => fake.close());
  fake.addKey('k');
  let failures = 0;
  fake.fault = () => (failures++ < 1 ? { status: 503, message: 'busy' } : undefined);
  const client = new KesClient({
    endpoints: [fake.origin],
    tls: fake.tls,
    deps: {
      random: () => 0,
      sleep: async () => {
        t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 3_600_000 });
      },
    },
  });
  t.after(() => client.close());
  assert.equal((await client.describeKey('k')).name, 'k');
  assert.equal(failures, 2);
});
