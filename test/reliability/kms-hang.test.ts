// A key service that takes connections and answers nothing (stopped with SIGSTOP): whoever needs a key waits for
// a limited time and gets a 503, everybody else notices nothing, and the end of it is the end of it.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { test } from 'node:test';
import { kmsEnvironment, startKeyService } from '../support/coffer-pair.ts';
import {
  Cleanup,
  codeOf,
  eventually,
  expectStatus,
  get,
  kill,
  sse,
  startStore,
  untilReady,
} from './harness.ts';

await test('a key service that hangs delays only what needs a key, and within a limit', async (t) => {
  const cleanup = new Cleanup();
  t.after(() => cleanup.run());
  const dir = cleanup.directory('kms-hang');
  const service = await startKeyService(path.join(dir, 'kes'));
  cleanup.add(() => service.keyService.stop());
  const env = kmsEnvironment(service);
  const store = await startStore({ dir, env, connections: 200 }, cleanup);
  await untilReady(store);
  const { client } = store;
  const body = randomBytes(5_000);
  await expectStatus(client, { method: 'PUT', target: '/bucket' }, 200);
  await expectStatus(client, { method: 'PUT', target: '/bucket/plain', body }, 200);
  const sealed = { method: 'PUT', target: '/bucket/sealed', headers: sse, body };
  await expectStatus(client, sealed, 200);

  kill(service.keyService.pid, 'SIGSTOP');
  const waiting = Array.from({ length: 100 }, (_, index) => {
    const call =
      index % 2 === 0
        ? { method: 'GET', target: '/bucket/sealed' }
        : { ...sealed, target: '/bucket/new' };
    return client.send(call);
  });
  try {
    for (let turn = 0; turn < 20; turn += 1) {
      await expectStatus(client, { method: 'HEAD', target: '/bucket/sealed' }, 200);
      await expectStatus(client, { method: 'GET', target: '/bucket?list-type=2' }, 200);
      await expectStatus(client, { method: 'PUT', target: '/bucket/plain', body }, 200);
      const plain = await expectStatus(client, { method: 'GET', target: '/bucket/plain' }, 200);
      assert.ok(plain.body.equals(body));
      assert.equal((await get(store.port, '/minio/health/live')).status, 200);
    }
    for (const answer of await Promise.all(waiting)) {
      assert.equal(answer.status, 503);
      assert.equal(codeOf(answer), 'ServiceUnavailable');
      assert.ok(Number(answer.headers['retry-after']) > 0);
    }
  } finally {
    kill(service.keyService.pid, 'SIGCONT');
  }
  await expectStatus(client, { method: 'HEAD', target: '/bucket/new' }, 404);
  await eventually('encrypted objects are readable', async () => {
    return (await client.send({ method: 'GET', target: '/bucket/sealed' })).status === 200;
  });
  await expectStatus(client, sealed, 200);
});
