import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { failsWith, testKeyStore } from '../../../test/contract/key-store.ts';
import { testWrappingKey } from '../../../test/contract/wrapping-key.ts';
import { connectionsTo } from '../../../test/support/doubles/cloud-hosts.ts';
import { type GcpKmsDouble, startGcpKmsDouble } from '../../../test/support/doubles/gcp-kms.ts';
import { MemoryKeyStore } from '../memory.ts';
import { openWrapped } from './wrapped.ts';
import { type GcpKmsSettings, openGcpKms } from './gcp-kms.ts';
import type { WrappingKey } from './wrapping-key.ts';

const keyName = 'projects/p-1/locations/europe-west3/keyRings/coffer/cryptoKeys/wrap';
const context = Buffer.from('coffer-wrapped:v1:my-key');

/** Opens with the real host names, which lead to the double. */
async function open(double: GcpKmsDouble, changes: GcpKmsSettings = {}): Promise<WrappingKey> {
  const settings = { key: keyName, credentials: double.credentials, ...changes };
  const connections = connectionsTo({
    'cloudkms.googleapis.com': double.origin,
    'oauth2.googleapis.com': double.origin,
  });
  try {
    const key = await openGcpKms(settings, { connections, limits: { retryDelayMs: 1 } });
    return Object.assign(key, { close: () => connections.destroy() });
  } catch (error) {
    await connections.destroy();
    throw error;
  }
}

testWrappingKey('Google Cloud KMS', async () => {
  const double = await startGcpKmsDouble();
  double.addVersion(keyName);
  return { key: await open(double), close: () => double.close() };
});

testKeyStore(
  'memory wrapped by Google Cloud KMS',
  async () => {
    const double = await startGcpKmsDouble();
    double.addVersion(keyName);
    const inner = new MemoryKeyStore();
    return {
      store: openWrapped(inner, await open(double)),
      openAgain: async () => openWrapped(inner, await open(double)),
      close: () => double.close(),
    };
  },
  { valueBytesMax: 780_000, listCount: 40 },
);

async function withDouble(work: (double: GcpKmsDouble) => Promise<void>): Promise<void> {
  const double = await startGcpKmsDouble();
  double.addVersion(keyName);
  try {
    await work(double);
  } finally {
    await double.close();
  }
}

test('an older version unwraps what it wrapped, until it is disabled', () =>
  withDouble(async (double) => {
    const key = await open(double);
    const wrapped = await key.wrap(Buffer.from('data key'), context);
    double.addVersion(keyName);
    await key.check();
    assert.equal((await key.unwrap(wrapped, context, key.id)).toString(), 'data key');
    const [first] = double.keys.get(keyName) ?? [];
    assert.ok(first);
    first.isEnabled = false;
    await assert.rejects(key.unwrap(wrapped, context, key.id), /FAILED_PRECONDITION.*enable/);
    await key.check();
    await key.close();
  }));

test('a stored key is unwrapped by any key of the configured project, and no other', () =>
  withDouble(async (double) => {
    const before = await open(double);
    const wrapped = await before.wrap(Buffer.from('data key'), context);
    const next = keyName.replace('/wrap', '/next');
    double.addVersion(next);
    const after = await open(double, { key: next });
    assert.equal((await after.unwrap(wrapped, context, before.id)).toString(), 'data key');
    const sent = double.requests.length;
    const other = before.id.replace('projects/p-1/', 'projects/p-12/');
    await assert.rejects(after.unwrap(wrapped, context, other), /not in the project.*kes migrate/);
    assert.equal(double.requests.length, sent);
    await before.close();
    await after.close();
  }));

test('a disabled newest version stops wrapping', () =>
  withDouble(async (double) => {
    const key = await open(double);
    const newest = double.keys.get(keyName)?.at(-1);
    assert.ok(newest);
    newest.isEnabled = false;
    await assert.rejects(key.check(), failsWith('failed'));
    await assert.rejects(open(double), failsWith('failed'));
    await key.close();
  }));

test('a value damaged on the way is noticed in both directions', () =>
  withDouble(async (double) => {
    const key = await open(double);
    const wrapped = await key.wrap(Buffer.from('data key'), context);
    for (const change of [
      { verifiedPlaintextCrc32c: false },
      { verifiedAdditionalAuthenticatedDataCrc32c: undefined },
      { ciphertext: Buffer.from('another').toString('base64') },
      { ciphertextCrc32c: undefined },
      { ciphertext: '' },
    ]) {
      double.damage = (answer) => ({ ...answer, ...change });
      await assert.rejects(key.wrap(Buffer.from('data key'), context), failsWith('failed'));
    }
    for (const change of [{ plaintext: 'AAAA' }, { plaintextCrc32c: '1' }, { plaintext: '' }]) {
      double.damage = (answer) => ({ ...answer, ...change });
      await assert.rejects(key.unwrap(wrapped, context, key.id), failsWith('failed'));
    }
    await key.close();
  }));

test('another account, another private key and an unknown key are refused', () =>
  withDouble(async (double) => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
    for (const changes of [
      { credentials: { ...double.credentials, client_email: 'other@p-1.iam.gserviceaccount.com' } },
      { credentials: { ...double.credentials, private_key: pem } },
      { key: keyName.replace('wrap', 'none') },
      { key: `${keyName}/cryptoKeyVersions/1` },
      { key: 'wrap' },
    ]) {
      await assert.rejects(open(double, changes), failsWith('failed'));
    }
  }));

test('an error of the service is tried again, a dropped connection is unreachable', () =>
  withDouble(async (double) => {
    const key = await open(double);
    let failures = 1;
    const busy = { error: { code: 503, message: 'busy', status: 'UNAVAILABLE' } };
    double.fault = () => (failures-- > 0 ? { status: 503, json: busy } : undefined);
    await key.check();
    double.fault = () => 'drop';
    await assert.rejects(key.check(), failsWith('unreachable'));
    double.fault = () => ({ status: 200, text: 'garbage' });
    await assert.rejects(key.check(), failsWith('failed'));
    await key.close();
  }));
