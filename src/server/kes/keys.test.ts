import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { callHttp2, createKesFixture, kesErrorBody } from '../../../test/support/kes-server.ts';
import { type Log, silentLog } from '../../base/log.ts';
import type { KesConfig } from '../../kes/config/config.ts';
import { KeyStoreError } from '../../keys/key-store.ts';
import { MemoryKeyStore } from '../../keystores/memory.ts';
import { kesErrors } from '../../wire/kes.ts';
import type { KesServer, KesServerDeps } from './service.ts';

const kes = await createKesFixture();
const { admin, app, stranger } = kes;

type Caller = (method: string, path: string, body?: unknown) => Promise<CallAnswer>;
type CallAnswer = { readonly status: number; readonly text: string; readonly json: () => KesJson };
type KesJson = Readonly<Record<string, unknown>>;

async function withServer(
  work: (tools: {
    server: KesServer;
    call: Caller;
    callAs: (who: typeof app) => Caller;
  }) => unknown,
  config: Partial<KesConfig> = {},
  deps: Partial<KesServerDeps> = {},
): Promise<void> {
  const server = await kes.start(config, deps);
  const sessions: { close(): void }[] = [];
  const callAs = (who: typeof app): Caller => {
    const session = kes.open(server, who);
    sessions.push(session);
    return async (method, path, body) => {
      const sent = body === undefined ? {} : { body: JSON.stringify(body) };
      const { status, body: text } = await callHttp2(session, { method, path, ...sent });
      return { status, text, json: () => JSON.parse(text) as KesJson };
    };
  };
  try {
    await work({ server, call: callAs(admin), callAs });
  } finally {
    for (const session of sessions) session.close();
    await server.close();
  }
}

async function withDirectory(work: (path: string) => Promise<void>): Promise<void> {
  const path = await mkdtemp(join(tmpdir(), 'coffer-kes-'));
  try {
    await work(path);
  } finally {
    await rm(path, { recursive: true });
  }
}

void describe('the life of a key over the protocol', () => {
  void test('a key is rotated, its ciphertexts rewrapped, and its versions described', async () => {
    await withServer(async ({ call }) => {
      const context = Buffer.from('{"a":"b"}').toString('base64');
      const { plaintext, ciphertext } = (
        await call('PUT', '/v1/key/generate/app-key', { context })
      ).json();
      assert.equal((await call('PUT', '/v1/key/rotate/app-key')).text, '{"version":2}\n');
      const rewrapped = await call('PUT', '/v1/key/rewrap/app-key', { ciphertext, context });
      assert.equal(rewrapped.json()['version'], 2);
      for (const sealed of [ciphertext, rewrapped.json()['ciphertext']]) {
        const opened = await call('PUT', '/v1/key/decrypt/app-key', {
          ciphertext: sealed,
          context,
        });
        assert.deepEqual(opened.json(), { plaintext });
      }
      assert.ok(!rewrapped.text.includes(String(plaintext)));
      const wrong = await call('PUT', '/v1/key/rewrap/app-key', { ciphertext });
      assert.equal(wrong.text, kesErrorBody(kesErrors.decrypt.message));
      const { version, versions, fingerprint } = (
        await call('GET', '/v1/key/describe/app-key')
      ).json();
      assert.equal(version, 2);
      assert.ok(Array.isArray(versions));
      assert.partialDeepStrictEqual(versions, [
        { version: 1, fingerprint, created_by: admin.identity },
        { version: 2, created_by: admin.identity },
      ]);
    });
  });

  void test('a key is scheduled, the schedule called off, and destroyed for good', async () => {
    await withServer(async ({ call }) => {
      const destroyed = await call('PUT', '/v1/key/destroy/app-key', { after: 3600 });
      const { state, destroy_at: destroyAt } = destroyed.json();
      assert.equal(state, 'scheduled');
      const leftMs = Date.parse(String(destroyAt)) - Date.now();
      assert.ok(leftMs > 3_500_000 && leftMs <= 3_600_000);
      const refused = async (error: { status: number; message: string }) => {
        for (const operation of ['generate', 'encrypt', 'decrypt', 'hmac', 'rotate', 'rewrap']) {
          const answer = await call('PUT', `/v1/key/${operation}/app-key`, {});
          assert.equal(answer.status, error.status);
          assert.equal(answer.text, kesErrorBody(error.message));
        }
      };
      await refused(kesErrors.keyScheduled);
      assert.equal((await call('GET', '/v1/key/describe/app-key')).json()['destroy_at'], destroyAt);
      assert.deepEqual((await call('GET', '/v1/key/list/')).json(), {
        names: ['app-key'],
        scheduled: ['app-key'],
      });
      assert.equal((await call('PUT', '/v1/key/cancel/app-key')).status, 200);
      await refused(kesErrors.keyDisabled);
      const now = await call('PUT', '/v1/key/destroy/app-key', { after: 0 });
      assert.equal(now.json()['state'], 'destroyed');
      await refused(kesErrors.keyDestroyed);
      const info = (await call('GET', '/v1/key/describe/app-key')).json();
      assert.deepEqual([info['state'], info['algorithm']], ['destroyed', undefined]);
      assert.deepEqual((await call('GET', '/v1/key/list/')).json(), {
        names: ['app-key'],
        destroyed: ['app-key'],
      });
      const taken = kesErrorBody(kesErrors.nameDestroyed.message);
      assert.equal((await call('PUT', '/v1/key/create/app-key')).text, taken);
      const key = Buffer.alloc(32).toString('base64');
      const imported = await call('PUT', '/v1/key/import/app-key', { key, cipher: 'AES256' });
      assert.equal(imported.text, taken);
      const removed = await call('DELETE', '/v1/key/delete/app-key');
      assert.equal(removed.text, kesErrorBody(kesErrors.keyDestroyed.message));
    });
  });

  void test('a destruction waits a week unless told otherwise, and refuses odd times', async () => {
    await withServer(async ({ call }) => {
      for (const after of [-1, 'x', 1e12, {}]) {
        assert.equal((await call('PUT', '/v1/key/destroy/app-key', { after })).status, 400);
      }
      const { destroy_at: at } = (await call('PUT', '/v1/key/destroy/app-key')).json();
      const leftMs = Date.parse(String(at)) - Date.now();
      assert.ok(leftMs > 604_700_000 && leftMs <= 604_800_000);
    });
  });

  void test('a service whose configured key is destroyed starts all the same', async () => {
    const keyStore = new MemoryKeyStore();
    await withServer(
      ({ call }) => call('PUT', '/v1/key/destroy/app-key', { after: 0 }),
      {},
      {
        keyStore,
      },
    );
    const lines: string[] = [];
    const log: Log = { ...silentLog, error: (text) => lines.push(text) };
    await withServer(
      async ({ call }) => {
        assert.equal((await call('GET', '/v1/key/describe/app-key')).status, 200);
      },
      {},
      { keyStore, log },
    );
    assert.match(lines.join(), /app-key of the configuration is destroyed/);
  });
});

void describe('the key a name has', () => {
  void test('is remembered over a restart, and another is refused until it is accepted', async () => {
    await withDirectory(async (path) => {
      const keyStore = { type: 'fs', path: join(path, 'keys') } as const;
      const knownKeysFile = join(path, 'known-keys');
      const config = { keyStore, knownKeysFile };
      await withServer(({ call }) => call('PUT', '/v1/key/generate/app-key'), config);
      const file = join(keyStore.path, 'app-key');
      const original = await readFile(file, 'latin1');
      const other = Buffer.alloc(32, 1).toString('base64');
      await writeFile(file, JSON.stringify({ bytes: other }));
      const lines: string[] = [];
      const log: Log = {
        ...silentLog,
        error: (text) => lines.push(text),
      };
      await withServer(
        async ({ call }) => {
          for (const operation of ['generate', 'describe', 'disable', 'delete', 'destroy']) {
            const method = { describe: 'GET', delete: 'DELETE' }[operation] ?? 'PUT';
            const answer = await call(method, `/v1/key/${operation}/app-key`);
            assert.equal(answer.status, 409);
            assert.equal(answer.text, kesErrorBody(kesErrors.keyReplaced.message));
          }
          assert.equal((await call('PUT', '/v1/key/create/app-key')).status, 400);
          assert.equal((await call('PUT', '/v1/key/accept/app-key')).status, 200);
          assert.equal((await call('PUT', '/v1/key/generate/app-key')).status, 200);
        },
        config,
        { log },
      );
      assert.equal(lines.length, 1, lines.join());
      assert.match(lines[0] ?? '', /fingerprint [0-9a-f]{32}.*fingerprint [0-9a-f]{32}/);
      assert.ok(!lines.join().includes(other));
      await writeFile(file, original);
      await withServer(async ({ call }) => {
        assert.equal((await call('PUT', '/v1/key/generate/app-key')).status, 409);
      }, config);
    });
  });

  void test('stays known through a reload', async () => {
    const keyStore = new MemoryKeyStore();
    await withServer(
      async ({ server, call }) => {
        await call('PUT', '/v1/key/generate/app-key');
        const value = await keyStore.get('app-key');
        const other = JSON.stringify({ bytes: Buffer.alloc(32, 1).toString('base64') });
        await keyStore.replace('app-key', { expected: value, value: other });
        await server.reload(kes.config);
        assert.equal((await call('PUT', '/v1/key/generate/app-key')).status, 409);
      },
      {},
      { keyStore },
    );
  });

  void test('a damaged file of known keys keeps the service from starting', async () => {
    await withDirectory(async (path) => {
      const knownKeysFile = join(path, 'known-keys');
      await writeFile(knownKeysFile, 'damaged\n');
      await assert.rejects(kes.start({ knownKeysFile }), { code: 'damaged' });
    });
  });
});

void describe('other nodes of the same key store', () => {
  const peers = { endpoints: [], identities: [stranger.identity], apiKey: '', ca: '' };

  void test('may say that a key changed, and nothing else', async () => {
    const keyStore = new MemoryKeyStore();
    await withServer(
      async ({ callAs }) => {
        const peer = callAs(stranger);
        assert.equal((await peer('PUT', '/v1/peer/changed/app-key')).status, 200);
        assert.equal((await peer('PUT', '/v1/peer/changed/unknown')).status, 200);
        assert.equal((await peer('PUT', '/v1/peer/changed/-')).status, 400);
        for (const path of ['/v1/key/generate/app-key', '/v1/key/disable/app-key']) {
          assert.equal((await peer('PUT', path)).status, 403);
        }
        assert.equal((await callAs(app)('PUT', '/v1/peer/changed/app-key')).status, 403);
        assert.equal((await callAs(admin)('PUT', '/v1/peer/changed/app-key')).status, 200);
      },
      { peers },
      { keyStore },
    );
  });

  void test('make a change take effect at once by saying so', async () => {
    const keyStore = new MemoryKeyStore();
    const cache = { ...kes.config.cache, revalidateMs: 1_000 };
    await withServer(
      async ({ call, callAs }) => {
        await withServer(
          async (other) => {
            assert.equal((await call('PUT', '/v1/key/generate/app-key')).status, 200);
            assert.equal((await other.call('PUT', '/v1/key/disable/app-key')).status, 200);
            await callAs(stranger)('PUT', '/v1/peer/changed/app-key');
            assert.equal((await call('PUT', '/v1/key/generate/app-key')).status, 403);
          },
          {},
          { keyStore },
        );
      },
      { peers, cache },
      { keyStore },
    );
  });
});

void describe('a key store that does not answer', () => {
  void test('is logged once when it stops and once when it answers, and until when keys are used', async () => {
    const keyStore = new MemoryKeyStore();
    const { get } = keyStore;
    const lines: string[] = [];
    const log: Log = {
      ...silentLog,
      warn: (text) => lines.push(text),
      info: (text) => lines.push(text),
    };
    const cache = { ...kes.config.cache, offlineMs: 60_000, revalidateMs: 1 };
    await withServer(
      async ({ call }) => {
        const generate = async () => (await call('PUT', '/v1/key/generate/app-key')).status;
        assert.equal(await generate(), 200);
        keyStore.get = () => Promise.reject(new KeyStoreError('unreachable', 'gone'));
        for (let round = 0; round < 5; round += 1) assert.equal(await generate(), 200);
        const until = (await call('GET', '/v1/status')).json()['offline_until'];
        assert.ok(Date.parse(String(until)) > Date.now());
        keyStore.status = async () => ({ state: 'unreachable', reason: 'gone' });
        const ready = (await call('GET', '/v1/ready')).text;
        assert.match(ready, /not reachable: cached keys are used until/);
        keyStore.get = get;
        for (let round = 0; round < 5; round += 1) assert.equal(await generate(), 200);
      },
      { cache },
      { keyStore, log },
    );
    const told = lines.filter((line) => line.startsWith('the key store'));
    assert.equal(told.length, 2, told.join());
    assert.match(told[0] ?? '', /cached keys are used until \d{4}-/);
  });

  void test('keys usable offline stay so over a reload, unless the key store changes', async () => {
    const keyStore = new MemoryKeyStore();
    const cache = { ...kes.config.cache, offlineMs: 60_000, revalidateMs: 1 };
    await withServer(
      async ({ server, call }) => {
        const generate = async () => (await call('PUT', '/v1/key/generate/app-key')).status;
        assert.equal(await generate(), 200);
        keyStore.get = () => Promise.reject(new KeyStoreError('unreachable', 'gone'));
        await server.reload({ ...kes.config, cache });
        assert.equal(await generate(), 200);
        await server.reload({ ...kes.config, cache, keys: [] });
        assert.equal(await generate(), 200);
        await server.reload({ ...kes.config, keys: [] });
        assert.equal(await generate(), 502);
      },
      { cache },
      { keyStore },
    );
    await withDirectory(async (path) => {
      await withServer(
        async ({ server, call }) => {
          const generate = async () => (await call('PUT', '/v1/key/generate/app-key')).status;
          assert.equal(await generate(), 200);
          const other = { type: 'fs', path: join(path, 'other') } as const;
          await server.reload({ ...kes.config, cache, keys: [], keyStore: other });
          assert.equal(await generate(), 404);
        },
        { cache, keyStore: { type: 'fs', path: join(path, 'keys') } },
      );
    });
  });
});
