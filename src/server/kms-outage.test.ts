import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { PlayChildren } from './play-children.ts';
import { makeFolder, planFolder, playKeyName } from './play-folder.ts';
import {
  callServer,
  callUntil,
  findTestPort,
  makeTestDirectory,
  startTestServer,
} from './test-support.ts';

async function makeKeyService(directory: string) {
  const folder = planFolder(directory, {
    store: '127.0.0.1:1',
    kes: `127.0.0.1:${await findTestPort()}`,
  });
  await makeFolder(folder);
  const env = {
    MINIO_KMS_KES_ENDPOINT: `https://${folder.addresses.kes}`,
    MINIO_KMS_KES_KEY_NAME: playKeyName,
    MINIO_KMS_KES_KEY_FILE: folder.rootKey,
    MINIO_KMS_KES_CERT_FILE: folder.rootCert,
    MINIO_KMS_KES_CAPATH: folder.kesCertificate,
  };
  return { env, folder };
}

void test('a key service that is down at the start is waited for, and found when it comes', async () => {
  using directory = makeTestDirectory();
  const { env, folder } = await makeKeyService(directory.path);
  const port = await findTestPort();
  await using server = startTestServer({ directory: join(directory.path, 'data'), port, env });
  await server.printed(/serves/);
  assert.match(
    server.output(),
    new RegExp(`key service at ${env.MINIO_KMS_KES_ENDPOINT} cannot be`),
  );

  const probe = (path: string) =>
    callServer({ port, target: `/minio/health/${path}`, isSigned: false });
  assert.equal((await probe('live')).status, 200);
  assert.equal((await probe('ready')).status, 503);
  assert.equal((await probe('cluster')).status, 503);
  const refused = await callServer({ port, target: '/bucket/key' });
  assert.equal(refused.status, 503);
  assert.ok(Number(refused.headers['retry-after']) > 0);
  assert.match(refused.body.toString(), /<Code>ServiceUnavailable<\/Code>/);
  const info = await callServer({ port, target: '/minio/admin/v3/info', region: '' });
  assert.equal(JSON.parse(info.body.toString()).mode, 'initializing');

  {
    await using kes = new PlayChildren(folder);
    await kes.startKes();
    await callUntil(
      { port, target: '/minio/health/ready', isSigned: false },
      (answer) => answer.status === 200,
    );
    assert.equal((await callServer({ port, method: 'PUT', target: '/bucket' })).status, 200);
    const body = Buffer.from('hello');
    const put = await callServer({ port, method: 'PUT', target: '/bucket/plain', body });
    assert.equal(put.status, 200);
    const headers = { 'x-amz-server-side-encryption': 'AES256' };
    const sealed = { port, method: 'PUT', target: '/bucket/sealed', body, headers };
    assert.equal((await callServer(sealed)).status, 200);
    const usage = await callServer({ port, target: '/minio/kms/v1/key/usage', region: '' });
    assert.deepEqual(JSON.parse(usage.body.toString()), {
      keyId: playKeyName,
      state: 'enabled',
      objects: 1,
      bytes: 5,
    });
  }

  // Down later: what needs no key is served, the rest answers 503, readiness tells it.
  assert.equal((await callServer({ port, target: '/bucket/plain' })).body.toString(), 'hello');
  assert.equal((await callServer({ port, method: 'HEAD', target: '/bucket/sealed' })).status, 200);
  assert.equal((await callServer({ port, target: '/bucket?list-type=2' })).status, 200);
  assert.equal((await callServer({ port, target: '/bucket/sealed' })).status, 503);
  await callUntil(
    { port, target: '/minio/health/ready', isSigned: false },
    (answer) => answer.status === 503,
  );
  assert.equal((await probe('live')).status, 200);
  assert.equal(await server.end('SIGTERM'), 0);
});

void test('a restart mends a wrong address of the key service', async () => {
  using directory = makeTestDirectory();
  const { env, folder } = await makeKeyService(directory.path);
  await using kes = new PlayChildren(folder);
  await kes.startKes();
  const port = await findTestPort();
  const envFile = join(directory.path, 'store-under-test.env');
  const write = (endpoint: string): void => {
    const values = { ...env, MINIO_KMS_KES_ENDPOINT: endpoint };
    const lines = Object.entries(values).map(([name, value]) => `export ${name}="${value}"`);
    writeFileSync(envFile, lines.join('\n'));
  };
  write('https://127.0.0.1:1');
  await using server = startTestServer({ directory: join(directory.path, 'data'), port, envFile });
  await server.printed(/serves/);
  assert.equal((await callServer({ port, target: '/' })).status, 503);
  write(env.MINIO_KMS_KES_ENDPOINT);
  const target = '/minio/admin/v3/service?action=restart&type=2';
  const restart = await callServer({ port, method: 'POST', target, region: '' });
  assert.equal(restart.status, 200);
  await server.printed(/restarted generation=2/);
  assert.equal((await callServer({ port, target: '/' })).status, 200);
});

void test('settings that contradict one another end the start with the documented text', async () => {
  using directory = makeTestDirectory();
  const port = await findTestPort();
  const cases = [
    [{ MINIO_KMS_KES_ENDPOINT: 'https://127.0.0.1:1' }, /missing 'MINIO_KMS_KES_KEY_NAME'/],
    [{ MINIO_KMS_AUTO_ENCRYPTION: 'on' }, /MINIO_KMS_AUTO_ENCRYPTION requires a valid KMS/],
    [
      {
        MINIO_KMS_KES_ENDPOINT: 'https://127.0.0.1:1',
        MINIO_KMS_KES_KEY_NAME: 'k',
        MINIO_KMS_KES_API_KEY: 'kes:v1:AD9E7FSYWrMD+VjhI6q545cYT9YOyFxZb7UnjEepYDRc',
        MINIO_KMS_KES_KEY_FILE: 'x',
      },
      /'MINIO_KMS_KES_API_KEY' and client certificate is present/,
    ],
  ] as const;
  for (const [env, text] of cases) {
    await using server = startTestServer({ directory: join(directory.path, 'data'), port, env });
    assert.equal(await server.exited, 1);
    assert.match(server.output(), text);
  }
});

void test('a second server on the same directory is refused and the first goes on', async () => {
  using directory = makeTestDirectory();
  const port = await findTestPort();
  await using first = startTestServer({ directory: directory.path, port });
  await first.printed(/serves/);
  await using second = startTestServer({ directory: directory.path, port: await findTestPort() });
  assert.equal(await second.exited, 1);
  assert.match(second.output(), /in use by another server \(process \d+\)/);
  assert.equal((await callServer({ port, target: '/' })).status, 200);
  // Killed at once, it leaves nothing that would hold the next one up.
  first.child.kill('SIGKILL');
  await first.exited;
  await using third = startTestServer({ directory: directory.path, port });
  await third.printed(/serves/);
});

void test('root credentials are made on the first start, shown once, and work afterwards', async () => {
  using directory = makeTestDirectory();
  const port = await findTestPort();
  const start = () => startTestServer({ directory: directory.path, port, hasCredentials: false });
  let password: string | undefined;
  {
    await using first = start();
    await first.printed(/serves/);
    password = /MINIO_ROOT_PASSWORD=(\S+)/.exec(first.output())?.[1];
    assert.ok(password);
    assert.equal(await first.end('SIGTERM'), 0);
  }
  await using second = start();
  await second.printed(/serves/);
  assert.ok(!second.output().includes(password));
  assert.ok(!second.output().includes('MINIO_ROOT_PASSWORD'));
});
