// Bucket keys between a store and a key service: few calls, a line in the audit log for every object, and an end within
// a second or two when the master key is disabled.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type CofferPair, startCofferPair } from '../support/coffer-pair.ts';
import { type S3TestClient, s3TestClient } from '../support/s3-test-client.ts';
import { bucketKeyHeaders } from '../support/sse-headers.ts';
import { Cleanup, get } from './harness.ts';

await describe('bucket keys', async () => {
  const cleanup = new Cleanup();
  const state: { pair?: CofferPair; client?: S3TestClient } = {};
  const of = (): { pair: CofferPair; client: S3TestClient } => {
    assert.ok(state.pair && state.client);
    return { pair: state.pair, client: state.client };
  };
  let auditFile = '';
  const count = 40;
  const body = randomBytes(10_000);

  before(async () => {
    const dir = cleanup.directory('bucket-keys');
    auditFile = path.join(dir, 'audit.log');
    const pair = await startCofferPair(dir, {
      env: { MINIO_PROMETHEUS_AUTH_TYPE: 'public', COFFER_WORKERS: '1' },
      kesConfig: [`audit:\n  file: ${auditFile}\n  mode: strict`],
    });
    cleanup.add(() => pair.stop());
    state.pair = pair;
    state.client = s3TestClient(pair);
    cleanup.add(() => state.client?.close());
    await of().client.send({ method: 'PUT', target: '/bucket' });
  });
  after(() => cleanup.run());

  const callsOf = async (operation: string): Promise<number> => {
    const page = await get(of().pair.port, '/minio/v2/metrics/cluster');
    const pattern = new RegExp(
      `^coffer_kms_requests_total\\{operation="${operation}",[^}]*\\} (\\d+)`,
      'gm',
    );
    return [...page.text.matchAll(pattern)].reduce((sum, [, found]) => sum + Number(found), 0);
  };
  const audited = (): string[] =>
    readFileSync(auditFile, 'utf8')
      .split('\n')
      .filter((line) => line.includes('"key-use"'));
  const until = async (what: string, isSo: () => boolean | Promise<boolean>): Promise<void> => {
    for (let waited = 0; waited < 100; waited += 1) {
      if (await isSo()) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.fail(`never: ${what}`);
  };

  await test('serve many objects with one call, and each use is in the audit log', async () => {
    const { client } = of();
    const before = { generate: await callsOf('generate'), decrypt: await callsOf('decrypt') };
    for (let index = 0; index < count; index += 1) {
      const target = `/bucket/object-${index}-`;
      const put = await client.send({ method: 'PUT', target, headers: bucketKeyHeaders(), body });
      assert.equal(put.status, 200, put.body.toString());
      assert.ok((await client.send({ method: 'GET', target })).body.equals(body));
    }
    assert.equal((await callsOf('generate')) - before.generate, 1);
    assert.equal((await callsOf('decrypt')) - before.decrypt, 0);
    await until('a line for every write and read', () => {
      const log = audited();
      return Array.from({ length: count }, (_, index) => `bucket/object-${index}-`).every(
        (object) => log.filter((line) => line.includes(object)).length === 2,
      );
    });
    assert.ok((await callsOf('use')) < count, 'notes share requests');
  });

  await test('end soon after their master key is disabled', async () => {
    const { client, pair } = of();
    await pair.kes('key', 'disable', pair.keyName, '-k');
    await until('a read is refused', async () => {
      const { status, body: text } = await client.send({
        method: 'GET',
        target: '/bucket/object-1-',
      });
      return status === 400 && text.includes('KMS.DisabledException');
    });
    await pair.kes('key', 'enable', pair.keyName, '-k');
    const again = await client.send({ method: 'GET', target: '/bucket/object-1-' });
    assert.ok(again.body.equals(body));
  });
});
