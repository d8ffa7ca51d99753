// The restart that turns encryption on: it fails no request of the clients at work, and afterwards nothing of what
// was stored before is left in clear in the metadata.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { type KeyServicePair, kmsEnvironment, startKeyService } from '../support/coffer-pair.ts';
import { Cleanup, expectStatus, sse, startStore, untilReady } from './harness.ts';
import { assertHolds, restart, startLoad, untilWorked } from './restart-load.ts';

const secrets = ['confidential-user-metadata', 'confidential-content-of-a-small-object'] as const;

const filesBelow = (dir: string): string[] =>
  readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name));

/** Every file in which one of the texts stands. */
function findInClear(dir: string): string[] {
  return filesBelow(dir).flatMap((file) => {
    const bytes = readFileSync(file);
    return secrets.filter((text) => bytes.includes(text)).map((text) => `${text} in ${file}`);
  });
}

await describe('sealing by restart', async () => {
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
    const early = new Map<string, string>();
    for (let index = 0; index < 40; index += 1) {
      const target = `/bucket/early-${index}`;
      const body = Buffer.from(`${secrets[1]} ${index} `.repeat(1 + (index % 5) * 40));
      const headers = { 'x-amz-meta-note': `${secrets[0]}-${index}` };
      await expectStatus(store.client, { method: 'PUT', target, headers, body }, 200);
      early.set(target, createHash('md5').update(body).digest('hex'));
    }
    const load = startLoad(store);
    await untilWorked(load);
    const lines = Object.entries(kmsEnvironment(service)).map(
      ([name, value]) => `export ${name}="${value}"\n`,
    );
    writeFileSync(envFile, lines.join(''));
    await restart(store, 'admin', 2);
    await untilWorked(load);
    const sealed = {
      method: 'PUT',
      target: '/bucket/sealed',
      headers: sse,
      body: randomBytes(9_000),
    };
    await expectStatus(store.client, sealed, 200);
    await restart(store, 'signal', 3);
    await untilWorked(load);
    const digests = await load.stop();
    assert.deepEqual(load.failures, []);
    await assertHolds(store, new Map([...early, ...digests]));
    const head = await store.client.send({ method: 'HEAD', target: '/bucket/early-7' });
    assert.equal(head.headers['x-amz-meta-note'], 'confidential-user-metadata-7');

    await store.program.stop();
    assert.deepEqual(findInClear(store.dataDir), []);
  });

  await test('sealing a quiet directory leaves nothing in clear either, not even in unused pages', async (t) => {
    const cleanup = new Cleanup();
    t.after(() => cleanup.run());
    const dir = cleanup.directory('seal-quiet');
    const plain = await startStore({ dir }, cleanup);
    await untilReady(plain);
    await expectStatus(plain.client, { method: 'PUT', target: '/bucket' }, 200);
    for (let index = 0; index < 200; index += 1) {
      const body = Buffer.from(`${secrets[1]} `.repeat(10 + (index % 7) * 200));
      const headers = { 'x-amz-meta-note': secrets[0] };
      const put = { method: 'PUT', target: `/bucket/object-${index}`, headers, body };
      await expectStatus(plain.client, put, 200);
    }
    await plain.program.stop();
    assert.equal(findInClear(plain.dataDir).length, secrets.length);
    const staticKey = `my-key:${randomBytes(32).toString('base64')}`;
    const sealed = await startStore({ dir, env: { MINIO_KMS_SECRET_KEY: staticKey } }, cleanup);
    await untilReady(sealed);
    await expectStatus(sealed.client, { method: 'GET', target: '/bucket/object-0' }, 200);
    await sealed.program.stop();
    assert.deepEqual(findInClear(plain.dataDir), []);
  });
});
