import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FakeKes } from '../../test/support/fake-kes.ts';
import { startFakeKes } from '../../test/support/fake-kes.ts';
import { KesClient } from '../wire/kes-client.ts';
import type { KesBatcherLimits } from './kes-batcher.ts';
import { kesBatcherLimits } from './kes-batcher.ts';
import { openKesKms } from './kes-kms.ts';

async function open(limits: Partial<KesBatcherLimits> = {}, takesBatches = true) {
  const fake = await startFakeKes();
  fake.takesBatches = takesBatches;
  fake.addKey('my-key');
  const client = new KesClient({
    endpoints: [fake.origin],
    tls: fake.tls,
    usesBatches: true,
    deps: { sleep: async () => {} },
  });
  const kms = openKesKms(client, { keyName: 'my-key', limits: { ...kesBatcherLimits, ...limits } });
  await kms.describeKey('my-key');
  if (takesBatches) await until(() => client.isBatching());
  else await until(() => fake.requests.includes('GET /v1/api'));
  fake.requests.length = 0;
  const close = async () => {
    await kms.close();
    await fake.close();
  };
  return { fake, client, kms, close };
}

async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((resolve) => setTimeout(resolve, 2));
}

function batches(fake: FakeKes): number {
  return fake.requests.filter((request) => request.includes('/v1/batch/key')).length;
}

void test('a lone call goes out on its own route', async (t) => {
  const { fake, kms, close } = await open();
  t.after(close);
  for (let call = 0; call < 3; call += 1) await kms.generateKey('my-key', {});
  assert.deepEqual(fake.requests, Array(3).fill('POST /v1/key/generate/my-key'));
});

void test('calls that arrive while requests are in flight share the next one', async (t) => {
  const { fake, kms, close } = await open({ requestsMax: 2 });
  t.after(close);
  fake.delayMs = 10;
  const keys = await Promise.all(
    Array.from({ length: 300 }, (_, index) => kms.generateKey('my-key', { a: String(index) })),
  );
  assert.deepEqual(fake.batchSizes, [256, 42]);
  assert.equal(fake.requests.length, 4);
  assert.equal(new Set(keys.map((key) => Buffer.from(key.ciphertext).toString('hex'))).size, 300);
  fake.delayMs = 0;
  for (const [index, key] of keys.entries()) {
    const opened = await kms.decrypt('my-key', key.ciphertext, { a: String(index) });
    assert.deepEqual(opened, key.plaintext);
  }
});

void test('a batch stays below the size that the service takes', async (t) => {
  const { fake, kms, close } = await open({ requestsMax: 1 });
  t.after(close);
  fake.delayMs = 10;
  const context = { a: 'x'.repeat(100_000) };
  await Promise.all(Array.from({ length: 20 }, () => kms.generateKey('my-key', context)));
  assert.ok(fake.batchSizes.every((size) => size <= 6));
  const alone = fake.requests.length - batches(fake);
  assert.equal(
    fake.batchSizes.reduce((sum, size) => sum + size, alone),
    20,
  );
});

void test('each call of a batch has its own outcome', async (t) => {
  const { fake, kms, close } = await open({ requestsMax: 1 });
  t.after(close);
  fake.delayMs = 10;
  const outcomes = await Promise.allSettled([
    kms.generateKey('my-key', {}),
    kms.generateKey('my-key', {}),
    kms.generateKey('absent', {}),
    kms.decrypt('my-key', Buffer.alloc(76), {}),
  ]);
  assert.equal(batches(fake), 1);
  const codes = outcomes.map((o) =>
    o.status === 'fulfilled' ? 'ok' : (o.reason as Error & { code: string }).code,
  );
  assert.deepEqual(codes, ['ok', 'ok', 'key-not-found', 'invalid-ciphertext']);
});

void test('without the route, calls go out side by side', async (t) => {
  const { fake, kms, close } = await open({}, false);
  t.after(close);
  fake.delayMs = 10;
  await Promise.all(Array.from({ length: 20 }, () => kms.generateKey('my-key', {})));
  assert.equal(fake.requests.length, 20);
  assert.equal(batches(fake), 0);
});

void test('an endpoint that stops taking batches is served without them, with no call lost', async (t) => {
  const { fake, kms, close } = await open({ requestsMax: 1 });
  t.after(close);
  fake.delayMs = 10;
  fake.takesBatches = false;
  await Promise.all(Array.from({ length: 20 }, () => kms.generateKey('my-key', {})));
  assert.equal(batches(fake), 1);
});

void test('a full queue refuses further calls as unreachable', async (t) => {
  const { fake, kms, close } = await open({ callsMax: 10 });
  t.after(close);
  fake.delayMs = 20;
  const outcomes = await Promise.allSettled(
    Array.from({ length: 15 }, () => kms.generateKey('my-key', {})),
  );
  const refused = outcomes.filter((o) => o.status === 'rejected');
  assert.equal(refused.length, 5);
  assert.ok(refused.every((o) => (o.reason as { code: string }).code === 'unreachable'));
  await kms.generateKey('my-key', {});
});

void test('a call that waits too long is given up by itself', async (t) => {
  const { fake, kms, close } = await open({ requestsMax: 1, timeoutMs: 60 });
  t.after(close);
  fake.fault = () => 'hang';
  const outcomes = await Promise.allSettled(
    Array.from({ length: 5 }, () => kms.generateKey('my-key', {})),
  );
  assert.ok(outcomes.every((o) => o.status === 'rejected'));
  fake.fault = () => undefined;
  await kms.generateKey('my-key', {});
});

void test('a dropped batch is sent again', async (t) => {
  const { fake, kms, close } = await open({ requestsMax: 1 });
  t.after(close);
  fake.delayMs = 5;
  fake.fault = (_, path) => (path === '/v1/batch/key' && batches(fake) === 1 ? 'drop' : undefined);
  await Promise.all(Array.from({ length: 20 }, () => kms.generateKey('my-key', {})));
  assert.equal(batches(fake), 2);
});

void test('a call that the service could not serve within a batch is sent on its own route', async (t) => {
  const { fake, kms, close } = await open({ requestsMax: 1 });
  t.after(close);
  fake.addKey('other');
  fake.delayMs = 5;
  fake.brokenKey = 'other';
  await Promise.all(['my-key', 'my-key', 'other'].map((name) => kms.generateKey(name, {})));
  assert.equal(batches(fake), 1);
  assert.equal(fake.requests.at(-1), 'POST /v1/key/generate/other');
});
