import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failsWith, testKeyStore } from '../../../test/contract/key-store.ts';
import { testWrappingKey } from '../../../test/contract/wrapping-key.ts';
import { type AwsKmsDouble, startAwsKmsDouble } from '../../../test/support/doubles/aws-kms.ts';
import { MemoryKeyStore } from '../memory.ts';
import { openWrapped } from './wrapped.ts';
import { type AwsKmsSettings, openAwsKms } from './aws-kms.ts';
import type { WrappingKey } from './wrapping-key.ts';

const context = Buffer.from('coffer-wrapped:v1:my-key');

function open(double: AwsKmsDouble, changes: AwsKmsSettings = {}): Promise<WrappingKey> {
  const { region, origin, credentials } = double;
  const settings = { key: 'alias/coffer', region, endpoint: origin, credentials, ...changes };
  return openAwsKms(settings, { limits: { retryDelayMs: 1 } });
}

testWrappingKey('AWS KMS', async () => {
  const double = await startAwsKmsDouble();
  double.addKey('alias/coffer');
  return { key: await open(double), close: () => double.close() };
});

testKeyStore(
  'memory wrapped by AWS KMS',
  async () => {
    const double = await startAwsKmsDouble();
    double.addKey('alias/coffer');
    const inner = new MemoryKeyStore();
    return {
      store: openWrapped(inner, await open(double)),
      openAgain: async () => openWrapped(inner, await open(double)),
      close: () => double.close(),
    };
  },
  { valueBytesMax: 780_000, listCount: 40 },
);

async function withDouble(work: (double: AwsKmsDouble, arn: string) => Promise<void>) {
  const double = await startAwsKmsDouble();
  try {
    await work(double, double.addKey('alias/coffer'));
  } finally {
    await double.close();
  }
}

test('the name of the stored key is bound as encryption context', () =>
  withDouble(async (double, arn) => {
    const key = await open(double);
    const store = openWrapped(new MemoryKeyStore(), key);
    await store.create('my-key', '1');
    assert.equal(double.contexts.at(-1), '[["coffer","coffer-wrapped:v1:my-key"]]');
    assert.equal(key.id, `aws-kms:${arn}`);
    await store.close();
  }));

test('what an alias meant before it moved stays readable', () =>
  withDouble(async (double) => {
    const before = await open(double);
    const wrapped = await before.wrap(Buffer.from('data key'), context);
    double.addKey('alias/coffer');
    const after = await open(double);
    assert.notEqual(after.id, before.id);
    assert.equal((await after.unwrap(wrapped, context, before.id)).toString(), 'data key');
    await assert.rejects(after.unwrap(wrapped, context, after.id), failsWith('failed'));
    await before.close();
    await after.close();
  }));

test('a stored key is unwrapped only by keys of the configured account and region', () =>
  withDouble(async (double, arn) => {
    const key = await open(double);
    const wrapped = await key.wrap(Buffer.from('data key'), context);
    const before = double.requests.length;
    for (const [from, to] of [
      ['111122223333', '444455556666'],
      ['eu-central-1', 'us-east-1'],
      ['arn:aws:', 'arn:aws-cn:'],
      [arn, 'alias/coffer'],
      [/:key\/.*/, ':alias/coffer'],
    ] as const) {
      const other = `aws-kms:${arn.replace(from, to)}`;
      await assert.rejects(key.unwrap(wrapped, context, other), /not in the account.*kes migrate/);
    }
    assert.equal(double.requests.length, before);
    await key.close();
  }));

test('a disabled or dying key is refused, with what to do', () =>
  withDouble(async (double, arn) => {
    const key = await open(double);
    const wrapped = await key.wrap(Buffer.from('data key'), context);
    const state = double.keys.get(arn);
    assert.ok(state);
    for (const [name, hint] of [
      ['Disabled', /DisabledException.*enable the key/],
      ['PendingDeletion', /KMSInvalidStateException.*pending deletion/],
    ] as const) {
      state.state = name;
      await assert.rejects(key.unwrap(wrapped, context, key.id), hint);
      await assert.rejects(key.check(), failsWith('failed'));
      await assert.rejects(open(double), hint);
    }
    await key.close();
  }));

test('throttling is waited out, within limits', () =>
  withDouble(async (double) => {
    const key = await open(double);
    double.throttled = 1;
    await key.check();
    double.throttled = 100;
    await assert.rejects(key.check(), /ThrottlingException/);
    await key.close();
  }));

test('an error of the service is tried again, a dropped connection is unreachable', () =>
  withDouble(async (double) => {
    const key = await open(double);
    let failures = 1;
    double.fault = () => (failures-- > 0 ? { status: 500, json: {} } : undefined);
    await key.check();
    double.fault = () => 'drop';
    await assert.rejects(key.check(), failsWith('unreachable'));
    double.fault = () => ({ status: 200, text: 'garbage' });
    await assert.rejects(key.check(), (error) => error instanceof Error);
    double.fault = () => ({ status: 200, json: {} });
    await assert.rejects(key.check(), failsWith('failed'));
    await key.close();
  }));

test('wrong credentials, regions and keys are refused without showing a secret', () =>
  withDouble(async (double) => {
    const wrong = { accesskey: double.credentials.accesskey, secretkey: 'wrong-secret' };
    for (const changes of [
      { credentials: wrong },
      { credentials: { accesskey: 'UNKNOWN', secretkey: 'wrong-secret' } },
      { region: 'us-east-1' },
      { key: 'alias/none' },
    ]) {
      await assert.rejects(open(double, changes), (error) => {
        failsWith('failed')(error);
        assert.doesNotMatch(String(error), /wrong-secret/);
        return true;
      });
    }
  }));
