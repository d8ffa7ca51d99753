import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failsWith, testKeyStore } from '../../../test/contract/key-store.ts';
import { testWrappingKey } from '../../../test/contract/wrapping-key.ts';
import { connectionsTo } from '../../../test/support/doubles/cloud-hosts.ts';
import {
  type AzureKeyDouble,
  startAzureKeyDouble,
} from '../../../test/support/doubles/azure-key.ts';
import { MemoryKeyStore } from '../memory.ts';
import { openWrapped } from './wrapped.ts';
import { type AzureKeySettings, openAzureKey } from './azure-key.ts';
import type { WrappingKey } from './wrapping-key.ts';

const context = Buffer.from('coffer-wrapped:v1:my-key');

const vault = 'https://coffer-test.vault.azure.net';

/** Opens with the real host names, which lead to the double. */
async function open(double: AzureKeyDouble, changes: AzureKeySettings = {}): Promise<WrappingKey> {
  const settings = { endpoint: vault, key: 'coffer', credentials: double.credentials, ...changes };
  const connections = connectionsTo({
    'coffer-test.vault.azure.net': double.origin,
    'login.microsoftonline.com': double.origin,
  });
  try {
    const key = await openAzureKey(settings, { connections, limits: { retryDelayMs: 1 } });
    return Object.assign(key, { close: () => connections.destroy() });
  } catch (error) {
    await connections.destroy();
    throw error;
  }
}

testWrappingKey('Azure Key Vault', async () => {
  const double = await startAzureKeyDouble();
  double.addVersion('coffer');
  return { key: await open(double), close: () => double.close() };
});

testKeyStore(
  'memory wrapped by Azure Key Vault',
  async () => {
    const double = await startAzureKeyDouble();
    double.addVersion('coffer');
    const inner = new MemoryKeyStore();
    return {
      store: openWrapped(inner, await open(double)),
      openAgain: async () => openWrapped(inner, await open(double)),
      close: () => double.close(),
    };
  },
  { valueBytesMax: 780_000, listCount: 40 },
);

async function withDouble(work: (double: AzureKeyDouble) => Promise<void>): Promise<void> {
  const double = await startAzureKeyDouble();
  double.addVersion('coffer');
  try {
    await work(double);
  } finally {
    await double.close();
  }
}

test('an older version unwraps what it wrapped, until it is disabled', () =>
  withDouble(async (double) => {
    const before = await open(double);
    const wrapped = await before.wrap(Buffer.from('data key'), context);
    double.addVersion('coffer');
    const after = await open(double);
    assert.notEqual(after.id, before.id);
    assert.equal((await after.unwrap(wrapped, context, before.id)).toString(), 'data key');
    await assert.rejects(after.unwrap(wrapped, context, after.id), failsWith('failed'));
    const [first] = double.keys.get('coffer') ?? [];
    assert.ok(first);
    first.isEnabled = false;
    await assert.rejects(after.unwrap(wrapped, context, before.id), /disabled key.*enable the key/);
    await after.check();
  }));

test('a version can be named', () =>
  withDouble(async (double) => {
    const [first] = double.keys.get('coffer') ?? [];
    double.addVersion('coffer');
    const key = await open(double, { key: `coffer/${first?.version}` });
    assert.equal(key.id, `azure-key:${vault}/keys/coffer/${first?.version}`);
  }));

test('a stored id never leads to another vault', () =>
  withDouble(async (double) => {
    const key = await open(double);
    const wrapped = await key.wrap(Buffer.from('data key'), context);
    const version = key.id.split('/').at(-1);
    const before = double.requests.length;
    for (const id of [
      `azure-key:https://vault.example/keys/coffer/${version}`,
      `azure-key:${vault}.example/keys/coffer/${version}`,
      `azure-key:${vault}/keys/../secrets/${version}`,
      `azure-key:${vault}/keys/coffer/`,
    ]) {
      await assert.rejects(key.unwrap(wrapped, context, id), failsWith('failed'));
    }
    assert.equal(double.requests.length, before);
  }));

test('a wrong secret, an unknown key and a bad name are refused without showing the secret', () =>
  withDouble(async (double) => {
    for (const changes of [
      { credentials: { ...double.credentials, client_secret: 'wrong-secret' } },
      { key: 'none' },
      { key: 'a/b' },
      { key: '' },
    ]) {
      await assert.rejects(open(double, changes), (error) => {
        failsWith('failed')(error);
        assert.doesNotMatch(String(error), /wrong-secret/);
        return true;
      });
    }
  }));

test('an error of the service is tried again, a dropped connection is unreachable', () =>
  withDouble(async (double) => {
    const key = await open(double);
    let failures = 1;
    double.fault = () => (failures-- > 0 ? { status: 503, json: {} } : undefined);
    await key.check();
    double.fault = () => ({ status: 429, json: { error: { code: 'Throttled', message: '' } } });
    await assert.rejects(key.check(), /Throttled.*limits how often/);
    double.fault = () => 'drop';
    await assert.rejects(key.check(), failsWith('unreachable'));
    double.fault = () => ({ status: 200, text: 'garbage' });
    await assert.rejects(key.check(), failsWith('failed'));
  }));
