// Buffers are reused and given back early for speed. Here clients read, write, copy and take ranges of objects of
// all sizes at once, while others break off in the middle of both: not one byte may end up in the wrong place.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { seededRandom } from '../support/seeded-random.ts';
import { Cleanup, expectStatus, sse, startStore, untilReady } from './harness.ts';
import { openSocket, signedHead, writeTo } from './raw-client.ts';

const kib = 1024;
const mib = 1024 * kib;
const env = {
  MINIO_KMS_SECRET_KEY: `aborts-key:${randomBytes(32).toString('base64')}`,
  COFFER_WORKERS: '1',
};
const sizes = [0, 1, 16 * kib, 64 * kib, 64 * kib + 1, 200 * kib, 1.5 * mib, 5 * mib + 77];
const runMs = 6_000;

await test('bytes stay where they belong while clients break off reads and writes', async (t) => {
  const cleanup = new Cleanup();
  t.after(() => cleanup.run());
  const seed = Math.floor(Math.random() * 2 ** 31);
  t.diagnostic(`seed ${seed}`);
  const random = seededRandom(seed);
  const below = (count: number): number => Math.floor(random() * count);
  const store = await startStore(
    { dir: cleanup.directory('aborts'), env, connections: 64 },
    cleanup,
  );
  await untilReady(store);
  const { client, port } = store;
  await expectStatus(client, { method: 'PUT', target: '/bucket' }, 200);
  const deadline = Date.now() + runMs;
  let checked = 0;
  let broken = 0;

  const check = async (target: string, body: Buffer): Promise<void> => {
    const whole = await expectStatus(client, { method: 'GET', target }, 200);
    assert.ok(whole.body.equals(body), `${target}: other bytes`);
    checked += 1;
    if (body.length < 2) return;
    const start = below(body.length - 1);
    const end = start + below(Math.min(body.length - start, 300 * kib));
    const headers = { range: `bytes=${start}-${end}` };
    const part = await expectStatus(client, { method: 'GET', target, headers }, 206);
    assert.ok(part.body.equals(body.subarray(start, end + 1)), `${target} ${headers.range}`);
  };
  const work = async (index: number): Promise<void> => {
    while (Date.now() < deadline) {
      const target = `/bucket/object-${index}`;
      const body = randomBytes(sizes[below(sizes.length)] ?? 0);
      const headers = random() < 0.7 ? sse : {};
      await expectStatus(client, { method: 'PUT', target, headers, body }, 200);
      await check(target, body);
      const copied = {
        method: 'PUT',
        target: `${target}-copy`,
        headers: { 'x-amz-copy-source': target, ...(random() < 0.5 ? sse : {}) },
      };
      await expectStatus(client, copied, 200);
      await check(copied.target, body);
    }
  };
  /** Starts a download or an upload and goes away somewhere in the middle. */
  const breakOff = async (index: number): Promise<void> => {
    while (Date.now() < deadline) {
      const socket = await openSocket(port);
      if (random() < 0.5) {
        const target = `/bucket/object-${below(12)}`;
        await writeTo(socket, signedHead({ port, method: 'GET', target }));
        let left = below(2 * mib);
        const enough = new Promise<void>((resolve) => {
          socket.on('data', (chunk: Buffer) => {
            left -= chunk.length;
            if (left <= 0) resolve();
          });
          socket.on('close', resolve);
          setTimeout(resolve, 20 + below(200));
        });
        await enough;
      } else {
        const head = signedHead({
          port,
          method: 'PUT',
          target: `/bucket/never-${index}`,
          headers: { ...(random() < 0.7 ? sse : {}), 'content-length': String(8 * mib) },
          payload: { kind: 'unsigned' },
        });
        await writeTo(socket, head);
        await writeTo(socket, randomBytes(below(3 * mib)));
        await new Promise((resolve) => setTimeout(resolve, below(50)));
      }
      if (random() < 0.5) socket.resetAndDestroy();
      else socket.destroy();
      broken += 1;
    }
  };
  await Promise.all([
    ...Array.from({ length: 12 }, (_, index) => work(index)),
    ...Array.from({ length: 8 }, (_, index) => breakOff(index)),
  ]);
  t.diagnostic(`${checked} objects checked, ${broken} connections broken off`);
  assert.ok(checked > 0 && broken > 0);
  const list = await expectStatus(client, { method: 'GET', target: '/bucket?prefix=never' }, 200);
  assert.ok(!list.body.toString().includes('<Key>'), list.body.toString());
  assert.ok(!store.log().includes('ended unexpectedly'), store.log());
});
