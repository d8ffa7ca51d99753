// Restarts under load: with 64 kept connections at work, neither a restart by an administrator nor one by signal,
// nor the one that turns encryption on, fails a single request.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import path from 'node:path';
import { describe, test } from 'node:test';
import { signRequest } from '../../src/sigv4/sign.ts';
import { type KeyServicePair, kmsEnvironment, startKeyService } from '../support/coffer-pair.ts';
import type { S3TestAnswer } from '../support/s3-test-client.ts';
import {
  accessKey,
  Cleanup,
  callAdmin,
  eventually,
  expectStatus,
  secretKey,
  type Store,
  sse,
  startStore,
  untilReady,
} from './harness.ts';

const kib = 1024;
const restartTarget = '/minio/admin/v3/service?action=restart&type=2';

type Load = {
  readonly failures: string[];
  count(): number;
  /** Ends the load and returns what each object holds now. */
  stop(): Promise<Map<string, string>>;
};

/** 64 clients, each with its own names, that check every answer. */
function startLoad(store: Store, headers: Readonly<Record<string, string>>): Load {
  const failures: string[] = [];
  const digests = new Map<string, string>();
  let requests = 0;
  let isOver = false;
  const send = async (call: Parameters<Store['client']['send']>[0]): Promise<S3TestAnswer> => {
    try {
      const answer = await store.client.send(call);
      requests += 1;
      if (answer.status !== 200) {
        failures.push(`${call.method} ${call.target}: ${answer.status} ${answer.body.toString()}`);
      }
      return answer;
    } catch (error) {
      failures.push(`${call.method} ${call.target}: ${String(error)}`);
      throw error;
    }
  };
  const client = async (index: number): Promise<void> => {
    for (let turn = 0; !isOver; turn += 1) {
      const target = `/bucket/load-${index}-${turn % 4}`;
      const body = randomBytes(turn % 9 === 0 ? 400 * kib : 2 * kib);
      const digest = createHash('md5').update(body).digest('hex');
      await send({ method: 'PUT', target, headers: { 'x-amz-meta-turn': String(turn), ...headers }, body });
      digests.set(target, digest);
      const head = await send({ method: 'HEAD', target });
      if (head.headers['x-amz-meta-turn'] !== String(turn)) failures.push(`HEAD ${target}: stale`);
      const got = await send({ method: 'GET', target });
      if (!got.body.equals(body)) failures.push(`GET ${target}: other bytes`);
      if (index % 8 === 0) await send({ method: 'GET', target: `/bucket?prefix=load-${index}-` });
      // Some connections rest for a while, also around the moment of a restart.
      if (index % 3 === 0) await new Promise((resolve) => setTimeout(resolve, 15 * index));
    }
  };
  const done = Promise.allSettled(Array.from({ length: 64 }, (_, index) => client(index)));
  return {
    failures,
    count: () => requests,
    stop: async () => {
      isOver = true;
      await done;
      return digests;
    },
  };
}

async function untilWorked(load: Load): Promise<void> {
  const before = load.count();
  await eventually('the load goes on', () => load.failures.length > 0 || load.count() > before + 300);
}

/** Asks for a restart in one way or another, and waits until it has happened. */
async function restart(store: Store, how: 'admin' | 'signal', generation: number): Promise<void> {
  if (how === 'signal') store.program.kill('SIGHUP');
  else {
    const answer = await callAdmin(store.port, 'POST', restartTarget);
    assert.equal(answer.status, 200, answer.text);
  }
  await eventually(`restart ${generation}`, () => {
    return store.log().includes(`restarted generation=${generation}`);
  });
}

async function assertHolds(store: Store, digests: ReadonlyMap<string, string>): Promise<void> {
  for (const [target, digest] of digests) {
    const got = await expectStatus(store.client, { method: 'GET', target }, 200);
    assert.equal(createHash('md5').update(got.body).digest('hex'), digest, target);
  }
}

/** A PUT whose body comes in pieces until `finish` is called. */
function startSlowPut(store: Store, target: string, body: Buffer): { finish(): Promise<number> } {
  const { headers } = signRequest({
    method: 'PUT',
    target,
    headers: { host: `127.0.0.1:${store.port}`, 'content-length': String(body.length) },
    credentials: { accessKey, secretKey },
    region: 'us-east-1',
    timeMs: Date.now(),
    payload: { kind: 'unsigned' },
  });
  let sent = 0;
  const put = request({ host: '127.0.0.1', port: store.port, method: 'PUT', path: target, headers });
  const status = new Promise<number>((resolve, reject) => {
    put.on('error', reject);
    put.on('response', (response) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode ?? 0));
    });
  });
  status.catch(() => undefined);
  put.write(body.subarray(0, (sent = 100 * kib)));
  return {
    finish: () => {
      put.end(body.subarray(sent));
      return status;
    },
  };
}

const filesBelow = (dir: string): string[] =>
  readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name));

await describe('restarts under load', async () => {
  await test('two restarts by the administrator and one by signal fail no request', async (t) => {
    const cleanup = new Cleanup();
    t.after(() => cleanup.run());
    const dir = cleanup.directory('restart');
    const service = await startKeyService(path.join(dir, 'kes'));
    cleanup.add(() => service.keyService.stop());
    const store = await startStore(
      { dir, env: kmsEnvironment(service), connections: 64 },
      cleanup,
    );
    await untilReady(store);
    await expectStatus(store.client, { method: 'PUT', target: '/bucket' }, 200);
    const load = startLoad(store, sse);
    const slowBody = randomBytes(300 * kib);
    const slowPut = startSlowPut(store, '/bucket/slow', slowBody);
    await untilWorked(load);
    for (const [index, how] of (['admin', 'admin', 'signal'] as const).entries()) {
      await restart(store, how, index + 2);
      await untilWorked(load);
    }
    assert.equal(await slowPut.finish(), 200);
    const digests = await load.stop();
    assert.deepEqual(load.failures, []);
    digests.set('/bucket/slow', createHash('md5').update(slowBody).digest('hex'));
    await assertHolds(store, digests);
  });

  await test('the restart that turns encryption on fails no request and leaves nothing in clear', async (t) => {
    const cleanup = new Cleanup();
    t.after(() => cleanup.run());
    const dir = cleanup.directory('restart-seal');
    const service: KeyServicePair = await startKeyService(path.join(dir, 'kes'));
    cleanup.add(() => service.keyService.stop());
    const envFile = path.join(dir, 'store.env');
    writeFileSync(envFile, '# nothing yet\n');
    const store = await startStore({ dir, envFile, connections: 64 }, cleanup);
    await untilReady(store);
    await expectStatus(store.client, { method: 'PUT', target: '/bucket' }, 200);
    const secrets = ['confidential-user-metadata', 'confidential-content-of-a-small-object'];
    const early = new Map<string, string>();
    for (let index = 0; index < 40; index += 1) {
      const target = `/bucket/early-${index}`;
      const body = Buffer.from(`${secrets[1]} ${index} `.repeat(1 + (index % 5) * 40));
      const headers = { 'x-amz-meta-note': `${secrets[0]}-${index}` };
      await expectStatus(store.client, { method: 'PUT', target, headers, body }, 200);
      early.set(target, createHash('md5').update(body).digest('hex'));
    }
    const load = startLoad(store, {});
    await untilWorked(load);
    const lines = Object.entries(kmsEnvironment(service)).map(
      ([name, value]) => `export ${name}="${value}"\n`,
    );
    writeFileSync(envFile, lines.join(''));
    await restart(store, 'admin', 2);
    await untilWorked(load);
    const sealed = { method: 'PUT', target: '/bucket/sealed', headers: sse, body: randomBytes(9_000) };
    await expectStatus(store.client, sealed, 200);
    await restart(store, 'signal', 3);
    await untilWorked(load);
    const digests = await load.stop();
    assert.deepEqual(load.failures, []);
    await assertHolds(store, new Map([...early, ...digests]));
    const head = await store.client.send({ method: 'HEAD', target: '/bucket/early-7' });
    assert.equal(head.headers['x-amz-meta-note'], 'confidential-user-metadata-7');

    await store.program.stop();
    const found = filesBelow(store.dataDir).flatMap((file) => {
      const bytes = readFileSync(file);
      return secrets.filter((text) => bytes.includes(text)).map((text) => `${text} in ${file}`);
    });
    assert.deepEqual(found, []);
  });

  await test('a restart with a broken environment file changes nothing', async (t) => {
    const cleanup = new Cleanup();
    t.after(() => cleanup.run());
    const dir = cleanup.directory('restart-broken');
    const envFile = path.join(dir, 'store.env');
    writeFileSync(envFile, 'MINIO_REGION=eu-central-1\n');
    const store = await startStore({ dir, envFile, connections: 64 }, cleanup);
    await untilReady(store);
    writeFileSync(envFile, '');
    await restart(store, 'signal', 2);
    await expectStatus(store.client, { method: 'PUT', target: '/bucket' }, 200);
    const load = startLoad(store, {});
    await untilWorked(load);
    const broken = [
      'MINIO_KMS_KES_ENDPOINT=https://127.0.0.1:1\n',
      'COFFER_WORKERS=many\n',
      'MINIO_ROOT_PASSWORD=short\n',
      'this is not a setting\n',
    ];
    for (const [index, text] of broken.entries()) {
      writeFileSync(envFile, text);
      const answer = await callAdmin(store.port, 'POST', restartTarget);
      assert.equal(answer.status, 200);
      await eventually(`'${text.trim()}' is refused`, () => {
        return store.log().split('restart refused').length > index + 1;
      });
      await untilWorked(load);
    }
    await load.stop();
    assert.deepEqual(load.failures, []);
    assert.ok(!store.log().includes('=short'));
    writeFileSync(envFile, '');
    await restart(store, 'admin', 3);
  });
});
