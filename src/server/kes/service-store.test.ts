import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { callHttp2, createKesFixture, kesErrorBody } from '../../../test/support/kes-server.ts';
import { KeyStoreError } from '../../keys/key-store.ts';
import { parseStoredKey } from '../../keys/stored-key.ts';
import { openFileKeyStore } from '../../keystores/files/key-store.ts';
import { MemoryKeyStore } from '../../keystores/memory.ts';
import { kesErrors } from '../../wire/kes.ts';

const kes = await createKesFixture();
const { admin, start, open } = kes;
after(() => kes.closeAll());

void describe('disabling keys', () => {
  void test('holds until the key is enabled, across a restart', async () => {
    const path = await mkdtemp(join(tmpdir(), 'coffer-kes-'));
    try {
      const keyStore = { type: 'fs', path } as const;
      let server = await start({ keyStore });
      let session = open(server, admin);
      const call = (method: string, target: string, body?: string) =>
        callHttp2(session, { method, path: target, ...(body === undefined ? {} : { body }) });
      const stored = async () => parseStoredKey(await readFile(join(path, 'app-key'), 'utf8'));
      const before = await stored();
      const generated = await call('PUT', '/v1/key/generate/app-key');
      assert.equal((await call('PUT', '/v1/key/disable/app-key')).status, 200);
      for (let round = 0; round < 2; round += 1) {
        for (const operation of ['generate', 'encrypt', 'decrypt', 'hmac']) {
          const answer = await call('PUT', `/v1/key/${operation}/app-key`, generated.body);
          assert.equal(answer.status, 403);
          assert.equal(answer.body, kesErrorBody(kesErrors.keyDisabled.message));
        }
        assert.match((await call('GET', '/v1/key/describe/app-key')).body, /"state":"disabled"/);
        assert.deepEqual(JSON.parse((await call('GET', '/v1/key/list/')).body), {
          names: ['app-key'],
          disabled: ['app-key'],
        });
        session.close();
        await server.close();
        server = await start({ keyStore });
        session = open(server, admin);
      }
      assert.equal((await call('PUT', '/v1/key/enable/app-key')).status, 200);
      assert.equal((await call('PUT', '/v1/key/decrypt/app-key', generated.body)).status, 200);
      assert.deepEqual(await stored(), { ...before, revision: 2 });
      session.close();
      await server.close();
    } finally {
      await rm(path, { recursive: true });
    }
  });

  void test('a key file that another program removes is refused within a second', async () => {
    const path = await mkdtemp(join(tmpdir(), 'coffer-kes-'));
    const server = await start({ keyStore: { type: 'fs', path } });
    const session = open(server, admin);
    try {
      const generate = { method: 'PUT', path: '/v1/key/generate/app-key' };
      assert.equal((await callHttp2(session, generate)).status, 200);
      await rm(join(path, 'app-key'));
      await sleep(1_000);
      assert.equal((await callHttp2(session, generate)).status, 404);
    } finally {
      session.close();
      await server.close();
      await rm(path, { recursive: true });
    }
  });

  void test('of many creators over the network exactly one wins', async () => {
    const path = await mkdtemp(join(tmpdir(), 'coffer-kes-'));
    const servers = await Promise.all(
      [1, 2].map(async () => start({ keys: [] }, { keyStore: await openFileKeyStore(path) })),
    );
    const sessions = servers.map((server) => open(server, admin));
    try {
      const answers = await Promise.all(
        sessions.flatMap((session) =>
          Array.from({ length: 10 }, () =>
            callHttp2(session, { method: 'PUT', path: '/v1/key/create/x' }),
          ),
        ),
      );
      assert.equal(answers.filter(({ status }) => status === 200).length, 1);
      assert.equal(answers.filter(({ status }) => status === 400).length, 19);
      assert.deepEqual(await readdir(path), ['x']);
    } finally {
      for (const session of sessions) session.close();
      await Promise.all(servers.map((server) => server.close()));
      await rm(path, { recursive: true });
    }
  });
});

void describe('trouble with the key store', () => {
  void test('is a 502 or 504 with the documented text, and shows in status', async () => {
    const keyStore = new MemoryKeyStore();
    const server = await start({ keys: [] }, { keyStore });
    const session = open(server, admin);
    const fail = async () => {
      throw new KeyStoreError('unreachable', 'the disk is gone');
    };
    Object.assign(keyStore, { get: fail, create: fail, list: fail, delete: fail });
    keyStore.status = async () => ({ state: 'unreachable', reason: 'the disk is gone' });
    const bodyOf = async (method: string, path: string) => {
      const answer = await callHttp2(session, { method, path });
      return `${answer.status} ${answer.body}`;
    };
    const expectations: [string, string, number, string][] = [
      ['PUT', '/v1/key/create/x', 502, 'failed to create key'],
      ['GET', '/v1/key/describe/x', 502, 'failed to read key'],
      ['PUT', '/v1/key/generate/x', 502, 'failed to read key'],
      ['GET', '/v1/key/list/', 502, 'failed to list keys'],
      ['DELETE', '/v1/key/delete/x', 502, 'failed to delete key'],
      ['GET', '/v1/ready', 504, 'key store is not reachable'],
    ];
    for (const [method, path, status, message] of expectations) {
      assert.equal(await bodyOf(method, path), `${status} ${kesErrorBody(message)}`);
    }
    const status = await callHttp2(session, { method: 'GET', path: '/v1/status' });
    assert.match(status.body, /"keystore_unreachable":true,"keystore_unavailable":true/);
    keyStore.status = async () => ({ state: 'unavailable', reason: 'broken' });
    assert.equal(
      await bodyOf('GET', '/v1/ready'),
      `502 ${kesErrorBody('key store is unavailable')}`,
    );
    session.close();
    await server.close();
  });
});
