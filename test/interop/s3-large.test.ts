// One object of several gigabytes, up in parts and down again, sealed with a key of the key service and with a key of
// the client, over TLS. The long form only: `COFFER_INTEROP_LARGE_GIB=3 npm run interop -- s3-large`.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createReadStream, mkdirSync, rmSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { awsSdkDriver } from './s3-drivers/aws-sdk.ts';
import { shownFor } from './s3-model.ts';
import type { Mode } from './s3-plan.ts';
import { masterKeys, newCustomerKey, startS3Store } from './s3-store.ts';
import { awscli, awscliPythons, rclone, type Tool } from './s3-tools.ts';

const mib = 1024 * 1024;
const sizeGib = Number(process.env['COFFER_INTEROP_LARGE_GIB'] ?? '0');
const size = sizeGib * 1024 * mib + 1;
const customerKey = newCustomerKey();

async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file, { highWaterMark: mib })) hash.update(chunk);
  return hash.digest('hex');
}

/** Random blocks, each with its number in front, so that no two places are alike. */
async function writeLarge(file: string, block: Buffer): Promise<void> {
  const handle = await open(file, 'w');
  for (let at = 0; at < size; at += block.length) {
    block.writeDoubleBE(at, 0);
    await handle.write(block, 0, Math.min(block.length, size - at));
  }
  await handle.close();
}

const skip = sizeGib > 0 ? false : 'long form: set COFFER_INTEROP_LARGE_GIB to a number of GiB';

await test('one large object', { skip }, async () => {
  const store = await startS3Store('tls', 4 * mib);
  const runs: readonly (readonly [string, Tool, Mode])[] = [
    ['awscli', awscli(store, awscliPythons['awscli 1']), { kind: 'kms', keyId: masterKeys[0] }],
    ['rclone', rclone(store), { kind: 'c', key: customerKey }],
  ];
  try {
    const from = path.join(store.dir, 'large');
    mkdirSync(from);
    await writeLarge(path.join(from, 'large.bin'), store.data);
    const expected = await digestOf(path.join(from, 'large.bin'));
    for (const [bucket, tool, mode] of runs) {
      const at = { bucket, prefix: 'p', mode };
      const to = path.join(store.dir, 'down');
      mkdirSync(to);
      await tool.makeBucket(bucket);
      await tool.upload(from, at);
      await tool.download(to, at);
      assert.equal(statSync(path.join(to, 'large.bin')).size, size);
      assert.equal(await digestOf(path.join(to, 'large.bin')), expected, bucket);
      const steps = [[{ op: 'head', bucket, key: 'p/large.bin', mode }]] as const;
      const [[head] = []] = await awsSdkDriver({ ...store.at, stages: steps });
      assert.equal(head?.size, size);
      assert.deepEqual(head?.sse, shownFor(mode));
      rmSync(to, { recursive: true });
      await tool.removeBucket(bucket);
    }
    await store.assertHidden({ customerKey, secretKey: store.pair.secretKey });
  } finally {
    for (const [, tool] of runs) tool.close?.();
    await store.stop();
  }
});
