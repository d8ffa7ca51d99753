import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { test } from 'node:test';
import { Registry } from 'prom-client';
import { silentLog } from '../base/log.ts';
import { startFakeKes } from '../../test/support/fake-kes.ts';
import { createClientCertificate, formatApiKey, generateApiKey } from '../wire/kes-identity.ts';
import { sealPrivateKey } from '../wire/kes-private-key.ts';
import { parseKmsConfig } from './config.ts';
import { countKmsCalls, createKmsCalls } from './metered-kms.ts';
import type { OpenKmsDeps } from './open-kms.ts';
import { openKms } from './open-kms.ts';

const deps = { log: silentLog };

function tempDir(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'coffer-kms-'));
  t.after(() => rmSync(dir, { recursive: true }));
  return dir;
}

async function openFrom(
  t: TestContext,
  env: Record<string, string>,
  more: Partial<OpenKmsDeps> = {},
) {
  const config = parseKmsConfig(env);
  assert.ok(config);
  const kms = await openKms(config, { ...deps, ...more });
  t.after(() => kms.close());
  return kms;
}

void test('an API key and a CA file reach the key service', async (t) => {
  const fake = await startFakeKes();
  t.after(() => fake.close());
  fake.addKey('my-key');
  const dir = tempDir(t);
  writeFileSync(join(dir, 'ca.crt'), fake.serverCert);
  const apiKey = generateApiKey();
  const env = {
    MINIO_KMS_KES_ENDPOINT: fake.origin,
    MINIO_KMS_KES_KEY_NAME: 'my-key',
    MINIO_KMS_KES_API_KEY: formatApiKey(apiKey),
  };
  const kms = await openFrom(t, { ...env, MINIO_KMS_KES_CAPATH: join(dir, 'ca.crt') });
  await kms.generateKey('my-key', {});
  assert.deepEqual([...fake.identities], [apiKey.identity]);
  mkdirSync(join(dir, 'sub'));
  writeFileSync(join(dir, 'README'), 'not a certificate');
  const fromDir = await openFrom(t, env, { caPath: dir });
  await fromDir.generateKey('my-key', {});
  const untrusting = await openFrom(t, env);
  await assert.rejects(untrusting.describeKey('my-key'), {
    code: 'unreachable',
    message: /not trusted: MINIO_KMS_KES_CAPATH/,
  });
});

void test('certificate and key files are read again on demand', async (t) => {
  const fake = await startFakeKes();
  t.after(() => fake.close());
  fake.addKey('my-key');
  const dir = tempDir(t);
  const file = (name: string) => join(dir, name);
  const [first, second] = [generateApiKey(), generateApiKey()];
  const write = async (apiKey: typeof first) => {
    writeFileSync(file('client.crt'), (await createClientCertificate(apiKey)).cert);
    writeFileSync(file('client.key'), sealPrivateKey(apiKey.privateKey, 'pass'));
  };
  await write(first);
  writeFileSync(file('ca.crt'), fake.serverCert);
  const kms = await openFrom(t, {
    MINIO_KMS_KES_ENDPOINT: fake.origin,
    MINIO_KMS_KES_KEY_NAME: 'my-key',
    MINIO_KMS_KES_CERT_FILE: file('client.crt'),
    MINIO_KMS_KES_KEY_FILE: file('client.key'),
    MINIO_KMS_KES_KEY_PASSWORD: 'pass',
    MINIO_KMS_KES_CAPATH: file('ca.crt'),
  });
  await kms.generateKey('my-key', {});
  await write(second);
  await kms.reload();
  await kms.generateKey('my-key', {});
  assert.deepEqual([...fake.identities], [first.identity, second.identity]);
  writeFileSync(file('client.key'), 'broken');
  await assert.rejects(kms.reload(), { name: 'KmsConfigError' });
  await kms.generateKey('my-key', {});
});

void test('credential files that cannot be used are an error that names them', async (t) => {
  const dir = tempDir(t);
  const file = (name: string) => join(dir, name);
  const apiKey = generateApiKey();
  writeFileSync(file('client.crt'), (await createClientCertificate(apiKey)).cert);
  writeFileSync(file('client.key'), sealPrivateKey(apiKey.privateKey, 'pass'));
  writeFileSync(file('other.key'), (await createClientCertificate(generateApiKey())).key);
  const env = {
    MINIO_KMS_KES_ENDPOINT: 'https://127.0.0.1:1',
    MINIO_KMS_KES_KEY_NAME: 'my-key',
    MINIO_KMS_KES_CERT_FILE: file('client.crt'),
    MINIO_KMS_KES_KEY_FILE: file('client.key'),
  };
  const cases: [Record<string, string>, RegExp][] = [
    [{}, /client\.key': private key is encrypted: password required/],
    [{ MINIO_KMS_KES_KEY_PASSWORD: 'wrong' }, /client\.key'/],
    [{ MINIO_KMS_KES_KEY_FILE: file('absent') }, /MINIO_KMS_KES_KEY_FILE.*absent/],
    [{ MINIO_KMS_KES_CERT_FILE: file('absent') }, /MINIO_KMS_KES_CERT_FILE.*absent/],
    [{ MINIO_KMS_KES_KEY_FILE: file('other.key') }, /does not fit/],
    [{ MINIO_KMS_KES_KEY_PASSWORD: 'pass', MINIO_KMS_KES_CAPATH: file('absent') }, /CAPATH/],
    [
      { MINIO_KMS_KES_KEY_PASSWORD: 'pass', MINIO_KMS_KES_CAPATH: file('client.key') },
      /no certificate/,
    ],
  ];
  for (const [more, message] of cases) {
    await assert.rejects(openFrom(t, { ...env, ...more }), { name: 'KmsConfigError', message });
  }
});

void test('calls are counted by operation and outcome', async (t) => {
  const calls = createKmsCalls();
  const registry = new Registry();
  const env = { MINIO_KMS_SECRET_KEY: `my-key:${randomBytes(32).toString('base64')}` };
  const kms = await openFrom(t, env, { registry, calls });
  const again = await openFrom(t, env, { registry });
  const key = await kms.generateKey('my-key', {});
  await again.generateKey('my-key', {});
  await kms.decrypt('my-key', key.ciphertext, {});
  await assert.rejects(kms.decrypt('my-key', key.ciphertext, { a: 'b' }));
  assert.deepEqual(calls.byOperation.decrypt, { success: 1, error: 1, failure: 0 });
  assert.equal(countKmsCalls(calls, 'generate'), 1);
  assert.equal(countKmsCalls(calls), 3);
  assert.equal(calls.withinSeconds.at(-1), 3);
  const text = await registry.metrics();
  assert.match(text, /coffer_kms_requests_total\{operation="generate",outcome="success"\} 2/);
  assert.match(text, /coffer_kms_requests_total\{operation="decrypt",outcome="error"\} 1/);
  assert.match(text, /coffer_kms_request_seconds_count\{operation="decrypt"\} 2/);
  assert.ok(!text.includes('my-key'));
});

void test('a key service that is down is no error until it is called', async (t) => {
  const calls = createKmsCalls();
  const kms = await openFrom(
    t,
    {
      MINIO_KMS_KES_ENDPOINT: 'https://127.0.0.1:1',
      MINIO_KMS_KES_KEY_NAME: 'my-key',
      MINIO_KMS_KES_API_KEY: formatApiKey(generateApiKey()),
    },
    { calls },
  );
  assert.deepEqual((await kms.status()).endpoints, { 'https://127.0.0.1:1': 'offline' });
  await assert.rejects(kms.generateKey('my-key', {}), { code: 'unreachable', keyName: 'my-key' });
  assert.deepEqual(calls.byOperation.generate, { success: 0, error: 0, failure: 1 });
});
