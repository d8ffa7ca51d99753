// The key service goes away, comes back, loses a key, gets another: what needs no key is served all the time,
// what needs one gives an error that says what is wrong, and everything recovers by itself.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type KeyServicePair, kmsEnvironment, startKeyService } from '../support/coffer-pair.ts';
import type { S3TestAnswer } from '../support/s3-test-client.ts';
import {
  Cleanup,
  codeOf,
  eventually,
  expectStatus,
  get,
  isReady,
  type Store,
  sse,
  startStore,
  untilEnded,
  untilReady,
} from './harness.ts';

/** Beside its record, and in a file. */
const sizes = [3_000, 700_000];
const plaintexts = new Map(sizes.map((size) => [size, randomBytes(size)]));

async function writeObjects(store: Store): Promise<void> {
  await expectStatus(store.client, { method: 'PUT', target: '/bucket' }, 200);
  for (const [size, body] of plaintexts) {
    const plain = { method: 'PUT', target: `/bucket/plain-${size}`, body };
    await expectStatus(store.client, plain, 200);
    await expectStatus(
      store.client,
      { ...plain, target: `/bucket/sealed-${size}`, headers: sse },
      200,
    );
  }
}

async function assertReadable(store: Store, kind: 'plain' | 'sealed'): Promise<void> {
  for (const [size, body] of plaintexts) {
    const target = `/bucket/${kind}-${size}`;
    const answer = await expectStatus(store.client, { method: 'GET', target }, 200);
    assert.ok(answer.body.equals(body), target);
  }
}

/** HEAD and LIST of encrypted objects, and everything about plain ones. */
async function assertServesWithoutKey(store: Store): Promise<void> {
  const { client } = store;
  for (const [size, body] of plaintexts) {
    const target = `/bucket/sealed-${size}`;
    const head = await expectStatus(client, { method: 'HEAD', target }, 200);
    assert.equal(head.headers['content-length'], String(size));
    assert.equal(head.headers['x-amz-server-side-encryption'], 'AES256');
    const put = { method: 'PUT', target: `/bucket/plain-${size}`, body };
    await expectStatus(client, put, 200);
  }
  for (const target of ['/bucket?list-type=2', '/bucket', '/']) {
    const list = await expectStatus(client, { method: 'GET', target }, 200);
    if (target !== '/') assert.match(list.body.toString(), /<Key>sealed-700000<\/Key>/);
  }
  await assertReadable(store, 'plain');
}

/** Every operation that needs the key, with its answer. */
async function callsThatNeedKey(store: Store): Promise<[string, S3TestAnswer][]> {
  const calls = [...plaintexts].flatMap(([size, body]) => {
    const object = `/bucket/sealed-${size}`;
    return [
      { method: 'GET', target: object },
      { method: 'GET', target: object, headers: { range: 'bytes=10-20' } },
      { method: 'PUT', target: `/bucket/new-${size}`, headers: sse, body },
      { method: 'PUT', target: '/bucket/copy', headers: { 'x-amz-copy-source': object } },
      { method: 'POST', target: '/bucket/parts?uploads=', headers: sse },
    ];
  });
  const answers = await Promise.all(
    calls.map(async (call): Promise<[string, S3TestAnswer]> => {
      return [`${call.method} ${call.target}`, await store.client.send(call)];
    }),
  );
  for (const target of ['/bucket/new-3000', '/bucket/new-700000', '/bucket/copy']) {
    await expectStatus(store.client, { method: 'HEAD', target }, 404);
  }
  return answers;
}

async function assertUnavailable(store: Store): Promise<void> {
  for (const [call, answer] of await callsThatNeedKey(store)) {
    assert.equal(answer.status, 503, `${call}: ${answer.body.toString()}`);
    assert.ok(Number(answer.headers['retry-after']) > 0, call);
    assert.equal(codeOf(answer), 'ServiceUnavailable', call);
  }
}

async function assertRefused(store: Store, status: number, code: string): Promise<void> {
  for (const [call, answer] of await callsThatNeedKey(store)) {
    const text = answer.body.toString();
    assert.equal(answer.status, status, `${call}: ${text}`);
    assert.equal(codeOf(answer), code, call);
    assert.match(text, /my-minio-sse-s3-key/, call);
  }
}

await describe('the key service is not what it was', async () => {
  const cleanup = new Cleanup();
  const state: { service?: KeyServicePair; store?: Store; dir: string } = { dir: '' };
  const of = (): { service: KeyServicePair; store: Store } => {
    assert.ok(state.service && state.store);
    return { service: state.service, store: state.store };
  };

  before(async () => {
    state.dir = cleanup.directory('kms-outage');
    const service = await startKeyService(path.join(state.dir, 'kes'));
    cleanup.add(() => service.keyService.stop());
    state.service = service;
    await service.keyService.stop();
    state.store = await startStore({ dir: state.dir, env: kmsEnvironment(service) }, cleanup);
  });
  after(() => cleanup.run());

  await test('down at the start: alive, not ready, 503, and ready when it comes', async () => {
    const { service, store } = of();
    await eventually('the store is alive', async () => {
      return (await get(store.port, '/minio/health/live')).status === 200;
    });
    assert.equal((await get(store.port, '/minio/health/ready')).status, 503);
    for (const target of ['/', '/bucket', '/bucket/key']) {
      const answer = await store.client.send({ method: 'GET', target });
      assert.equal(answer.status, 503);
      assert.ok(Number(answer.headers['retry-after']) > 0);
      assert.equal(codeOf(answer), 'ServiceUnavailable');
    }
    assert.match(store.log(), /MINIO_KMS_KES_ENDPOINT/);
    await service.startAgain();
    await untilReady(store);
    await writeObjects(store);
    await assertReadable(store, 'sealed');
  });

  await test('down later: plain objects, HEAD and LIST go on, keys answer 503, then it recovers', async () => {
    const { service, store } = of();
    await service.keyService.stop();
    await assertServesWithoutKey(store);
    await assertUnavailable(store);
    assert.equal((await get(store.port, '/minio/health/live')).status, 200);
    await service.startAgain();
    await eventually('encrypted objects are readable', async () => {
      const target = '/bucket/sealed-3000';
      return (await store.client.send({ method: 'GET', target })).status === 200;
    });
    await assertReadable(store, 'sealed');
    await eventually('ready', () => isReady(store.port));
  });

  await test('a disabled key is named; enabling it is all that is needed', async () => {
    const { service, store } = of();
    await service.kes('key', 'disable', service.keyName, '-k');
    await assertRefused(store, 400, 'KMS.DisabledException');
    await assertServesWithoutKey(store);
    await service.kes('key', 'enable', service.keyName, '-k');
    await assertReadable(store, 'sealed');
  });

  await test('a key file that is removed is missed within two seconds, and found again', async () => {
    const { service, store } = of();
    const file = path.join(service.dir, 'keys', service.keyName);
    const content = readFileSync(file);
    rmSync(file);
    const target = '/bucket/sealed-700000';
    await eventually(
      'the key is gone',
      async () => (await store.client.send({ method: 'GET', target })).status === 400,
      6_000,
    );
    await assertRefused(store, 400, 'KMS.NotFoundException');
    await assertServesWithoutKey(store);
    writeFileSync(file, content, { mode: 0o600 });
    await eventually('encrypted objects are readable', async () => {
      return (await store.client.send({ method: 'GET', target })).status === 200;
    });
    await assertReadable(store, 'sealed');
  });

  await test('a sealed directory does not open without its key service, and says what to set', async () => {
    const { store } = of();
    await store.program.stop();
    const bare = await startStore({ dir: state.dir }, cleanup);
    const code = await untilEnded(bare);
    assert.ok(code !== 0 && code !== null, `exit code ${code}`);
    assert.match(bare.log(), /MINIO_KMS_KES_ENDPOINT/);
  });

  await test('an identity that the key service does not know is told so', async () => {
    const { service } = of();
    const stranger = /kes:v1:\S+/.exec(await service.kes('identity', 'new'))?.[0];
    assert.ok(stranger);
    const env = { ...kmsEnvironment(service), MINIO_KMS_KES_API_KEY: stranger };
    const store = await startStore({ dir: state.dir, env }, cleanup);
    await eventually('the reason is printed', () => /MINIO_KMS_KES_API_KEY/.test(store.log()));
    assert.equal((await get(store.port, '/minio/health/live')).status, 200);
    assert.equal(await isReady(store.port), false);
    assert.ok(!store.log().includes(stranger));
    await store.program.stop();
  });

  await test('an API key beside a key file is refused in the words of the documents', async () => {
    const { service } = of();
    const env = { ...kmsEnvironment(service), MINIO_KMS_KES_KEY_FILE: '/nowhere.key' };
    const store = await startStore({ dir: state.dir, env }, cleanup);
    assert.equal(await untilEnded(store), 1);
    assert.match(
      store.log(),
      /kms: invalid configuration for MinIO KES: 'MINIO_KMS_KES_API_KEY' and client certificate is present/,
    );
  });

  await test('a deleted key is named, and what needs no key is still served', async () => {
    const { service } = of();
    state.store = await startStore({ dir: state.dir, env: kmsEnvironment(service) }, cleanup);
    const { store } = of();
    await untilReady(store);
    await assertReadable(store, 'sealed');
    await service.kes('key', 'rm', service.keyName, '-k');
    await assertRefused(store, 400, 'KMS.NotFoundException');
    await assertServesWithoutKey(store);
  });

  await test('another key under the same name opens nothing and replaces nothing', async () => {
    const { service, store } = of();
    await service.kes('key', 'create', service.keyName, '-k');
    for (const size of sizes) {
      const target = `/bucket/sealed-${size}`;
      const answer = await store.client.send({ method: 'GET', target });
      assert.equal(answer.status, 400, answer.body.toString());
      assert.equal(codeOf(answer), 'kms:InvalidCiphertextException');
      assert.match(answer.body.toString(), /my-minio-sse-s3-key/);
    }
    await assertServesWithoutKey(store);
    await store.program.stop();
    const again = await startStore({ dir: state.dir, env: kmsEnvironment(service) }, cleanup);
    const code = await untilEnded(again);
    assert.ok(code !== 0 && code !== null, `exit code ${code}`);
    assert.match(again.log(), /my-minio-sse-s3-key/);
    assert.match(again.log(), /key service/);
  });
});
