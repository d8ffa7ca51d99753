import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { callHttp2, createKesFixture } from '../../../test/support/kes-server.ts';
import { type Log, silentLog } from '../../base/log.ts';
import type { KesConfig } from '../../kes/config/config.ts';
import type { KesServer } from './service.ts';

const kes = await createKesFixture();

type Node = {
  readonly server: KesServer;
  readonly call: (method: string, path: string, body?: string) => Promise<number>;
};

/** A directory of keys and a file of known ones, and services over them, one after another. */
async function withNodes(
  work: (tools: {
    readonly keysPath: string;
    readonly errors: string[];
    readonly config: KesConfig;
    readonly run: (use: (node: Node) => Promise<void>) => Promise<void>;
  }) => Promise<void>,
): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'coffer-kes-'));
  const keysPath = join(dir, 'keys');
  const changes = {
    keyStore: { type: 'fs', path: keysPath },
    keys: ['app-key'],
    knownKeysFile: join(dir, 'known-keys'),
  } as const;
  const errors: string[] = [];
  const log: Log = { ...silentLog, error: (text) => errors.push(text) };
  const run = async (use: (node: Node) => Promise<void>) => {
    const server = await kes.start(changes, { log });
    const session = kes.open(server, kes.admin);
    try {
      const call = async (method: string, path: string, body?: string) =>
        (await callHttp2(session, { method, path, ...(body === undefined ? {} : { body }) }))
          .status;
      await use({ server, call });
    } finally {
      session.close();
      await server.close();
    }
  };
  try {
    await work({ keysPath, errors, config: { ...kes.config, ...changes }, run });
  } finally {
    await rm(dir, { recursive: true });
  }
}

test('a key of the configuration that the store lost is not made anew until it is given up', async () => {
  await withNodes(async ({ keysPath, errors, config, run }) => {
    await run(async ({ call }) => {
      assert.equal(await call('PUT', '/v1/key/generate/app-key'), 200);
    });
    await rm(join(keysPath, 'app-key'));
    await run(async ({ server, call }) => {
      assert.match(errors.join(), /app-key of the configuration is not made anew: .*lost it/);
      assert.deepEqual(await readdir(keysPath), []);
      assert.equal(await call('PUT', '/v1/key/generate/app-key'), 404);
      await server.reload(config);
      assert.equal(errors.length, 2);
      assert.deepEqual(await readdir(keysPath), []);
      assert.equal(await call('PUT', '/v1/key/accept/app-key'), 200);
      await server.reload(config);
      assert.equal(await call('PUT', '/v1/key/generate/app-key'), 200);
      assert.equal(errors.length, 2);
    });
  });
});

test('a key of the configuration that was destroyed stays destroyed, also when its rest is lost', async () => {
  await withNodes(async ({ keysPath, errors, run }) => {
    await run(async ({ call }) => {
      const body = JSON.stringify({ after: 0 });
      assert.equal(await call('PUT', '/v1/key/destroy/app-key', body), 200);
    });
    for (const lose of [false, true]) {
      if (lose) await rm(join(keysPath, 'app-key'));
      errors.length = 0;
      await run(async ({ call }) => {
        assert.match(errors.join(), /app-key of the configuration is destroyed/);
        assert.notEqual(await call('PUT', '/v1/key/generate/app-key'), 200);
      });
    }
    assert.deepEqual(await readdir(keysPath), []);
  });
});
