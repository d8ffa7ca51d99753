// Restarts under load: with 64 kept connections at work, neither a restart by an administrator nor one by signal
// fails a single request, and one with wrong settings changes nothing.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { request } from 'node:http';
import path from 'node:path';
import { describe, test } from 'node:test';
import { signRequest } from '../../src/sigv4/sign.ts';
import { kmsEnvironment, startKeyService } from '../support/coffer-pair.ts';
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
import { assertHolds, restart, restartTarget, startLoad, untilWorked } from './restart-load.ts';

const kib = 1024;

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
  const put = request({
    host: '127.0.0.1',
    port: store.port,
    method: 'PUT',
    path: target,
    headers,
  });
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

await describe('restarts under load', async () => {
  await test('two restarts by the administrator and one by signal fail no request', async (t) => {
    const cleanup = new Cleanup();
    t.after(() => cleanup.run());
    const dir = cleanup.directory('restart');
    const service = await startKeyService(path.join(dir, 'kes'));
    cleanup.add(() => service.keyService.stop());
    const store = await startStore({ dir, env: kmsEnvironment(service), connections: 64 }, cleanup);
    await untilReady(store);
    await expectStatus(store.client, { method: 'PUT', target: '/bucket' }, 200);
    const load = startLoad(store, { headers: sse });
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
    const load = startLoad(store, { clients: 16 });
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
      assert.equal(answer.status, 409, answer.text);
      assert.match(answer.text, /XCofferRestartRefused/);
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
