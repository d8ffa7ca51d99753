// What happens when the storage gives out: a full disk, a read-only one, no more file descriptors, a directory that
// is taken, a server that was killed. The error is clear, nothing that was stored is harmed, nothing is half there,
// and the service goes on when the cause is gone.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import type { Socket } from 'node:net';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import { silentLog } from '../../src/base/log.ts';
import { parseKmsConfig } from '../../src/kms/config.ts';
import { openKms } from '../../src/kms/open-kms.ts';
import { findLeftovers } from '../crash/orphans.ts';
import type { S3TestAnswer } from '../support/s3-test-client.ts';
import {
  Cleanup,
  codeOf,
  eventually,
  expectStatus,
  get,
  type Store,
  sse,
  startStore,
  untilEnded,
  untilReady,
} from './harness.ts';
import { openSocket } from './raw-client.ts';

const kib = 1024;
const mib = 1024 * kib;
const env = { MINIO_KMS_SECRET_KEY: `storage-key:${randomBytes(32).toString('base64')}` };

/** Why this machine cannot have a small file system, or undefined when it can. */
function findMountObstacle(): string | undefined {
  if (process.platform !== 'linux') return 'only Linux has the mounts this needs';
  if (process.getuid?.() !== 0) return 'mounting a small file system needs root';
  const cleanup = new Cleanup();
  const dir = cleanup.directory('mount-probe');
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', dir]);
  if (mounted.status === 0) spawnSync('umount', [dir]);
  void cleanup.run();
  return mounted.status === 0 ? undefined : `mount is refused here: ${String(mounted.stderr)}`;
}

function mount(...args: string[]): void {
  const run = spawnSync('mount', args, { encoding: 'utf8' });
  assert.equal(run.status, 0, `mount ${args.join(' ')}: ${run.stderr}`);
}

/** A file system of that size at `<dir>/data`, gone with the rest. */
function mountSmall(dir: string, sizeMib: number, cleanup: Cleanup): string {
  const place = path.join(dir, 'data');
  mkdirSync(place);
  mount('-t', 'tmpfs', '-o', `size=${sizeMib}m`, 'tmpfs', place);
  cleanup.add(() => {
    spawnSync('umount', ['-l', place]);
  });
  return place;
}

/** Objects of all kinds, and how to see that they are still what they were. */
class Objects {
  readonly #store: Store;
  readonly #digests = new Map<string, string>();

  constructor(store: Store) {
    this.#store = store;
  }

  async put(
    name: string,
    size: number,
    headers: Readonly<Record<string, string>>,
  ): Promise<S3TestAnswer> {
    const body = randomBytes(size);
    const target = `/bucket/${name}`;
    const answer = await this.#store.client.send({ method: 'PUT', target, headers, body });
    if (answer.status === 200) {
      this.#digests.set(target, createHash('md5').update(body).digest('hex'));
    }
    return answer;
  }

  async putAll(prefix: string): Promise<void> {
    for (const [kind, headers] of Object.entries({ plain: {}, sealed: sse })) {
      for (const size of [0, 3 * kib, 700 * kib]) {
        const answer = await this.put(`${prefix}-${kind}-${size}`, size, headers);
        assert.equal(answer.status, 200, answer.body.toString());
      }
    }
  }

  async delete(name: string): Promise<void> {
    const target = `/bucket/${name}`;
    await expectStatus(this.#store.client, { method: 'DELETE', target }, 204);
    this.#digests.delete(target);
  }

  get names(): string[] {
    return [...this.#digests.keys()].map((target) => target.slice('/bucket/'.length));
  }

  async assertIntact(store = this.#store): Promise<void> {
    for (const [target, digest] of this.#digests) {
      const got = await expectStatus(store.client, { method: 'GET', target }, 200);
      assert.equal(createHash('md5').update(got.body).digest('hex'), digest, target);
    }
    const query = { method: 'GET', target: '/bucket?list-type=2' };
    const list = (await expectStatus(store.client, query, 200)).body.toString();
    const listed = [...list.matchAll(/<Key>([^<]*)<\/Key>/g)].map(([, key]) => `/bucket/${key}`);
    assert.deepEqual(listed, [...this.#digests.keys()].toSorted());
  }
}

async function startWithBucket(dir: string, cleanup: Cleanup): Promise<Store> {
  const store = await startStore({ dir, env }, cleanup);
  await untilReady(store);
  await expectStatus(store.client, { method: 'PUT', target: '/bucket' }, 200);
  return store;
}

async function assertNothingLeft(store: Store): Promise<void> {
  await store.program.stop();
  const config = parseKmsConfig(env);
  assert.ok(config);
  const kms = await openKms(config, { log: silentLog });
  assert.deepEqual(await findLeftovers(store.dataDir, kms), []);
  await kms.close();
}

await describe('failing storage', async () => {
  const cleanup = new Cleanup();
  after(() => cleanup.run());
  const obstacle = findMountObstacle();
  if (obstacle !== undefined) console.log(`skipping what needs a small file system: ${obstacle}`);
  const small = obstacle === undefined ? {} : { skip: obstacle };

  await test(
    'a full disk refuses writes clearly, keeps what is there, and goes on when there is room',
    small,
    async () => {
      const dir = cleanup.directory('full');
      mountSmall(dir, 48, cleanup);
      const store = await startWithBucket(dir, cleanup);
      const objects = new Objects(store);
      await objects.putAll('early');

      const assertFull = (answer: S3TestAnswer): void => {
        assert.equal(answer.status, 507, answer.body.toString());
        assert.equal(codeOf(answer), 'XMinioStorageFull');
      };
      // Files until there is no room, several at once.
      const filled: S3TestAnswer[] = [];
      for (let turn = 0; turn < 20 && filled.every((answer) => answer.status === 200); turn += 1) {
        const puts = Array.from({ length: 4 }, (_, index) =>
          objects.put(`fill-${turn}-${index}`, 2 * mib, index % 2 === 0 ? sse : {}),
        );
        filled.push(...(await Promise.all(puts)));
      }
      const refused = filled.filter((answer) => answer.status !== 200);
      assert.ok(refused.length > 0, 'the disk never became full');
      for (const answer of refused) assertFull(answer);
      // Small ones, which are kept in the metadata, until that is full, too.
      let last: S3TestAnswer | undefined;
      for (let index = 0; index < 3_000 && (last?.status ?? 200) === 200; index += 1) {
        last = await objects.put(`small-${index}`, 60 * kib, sse);
      }
      assert.ok(last);
      assertFull(last);
      const created = { method: 'POST', target: '/bucket/parts?uploads=', headers: sse };
      const upload = await store.client.send(created);
      if (upload.status !== 200) assertFull(upload);
      await objects.assertIntact();
      assert.equal((await get(store.port, '/minio/health/live')).status, 200);

      // Deleting is possible on a full disk, and makes room.
      for (const name of objects.names.filter((each) => /^(fill|small)/.test(each))) {
        await objects.delete(name);
      }
      await objects.assertIntact();
      await eventually('small writes work again', async () => {
        return (await objects.put('again-small', 3 * kib, sse)).status === 200;
      });
      await store.program.stop();
      // A start sweeps what the deletions left, after a while; room comes back at the latest then.
      const config = parseKmsConfig(env);
      assert.ok(config);
      const kms = await openKms(config, { log: silentLog });
      assert.deepEqual(await findLeftovers(store.dataDir, kms), []);
      await kms.close();
      const again = await startStore({ dir, env }, cleanup);
      await untilReady(again);
      await objects.assertIntact(again);
      const more = new Objects(again);
      await more.putAll('late');
      assert.equal((await more.put('late-large', 8 * mib, sse)).status, 200);
      await again.program.stop();
    },
  );

  await test('a store starts on a full disk and serves what is there', small, async () => {
    const dir = cleanup.directory('full-start');
    const dataDir = mountSmall(dir, 40, cleanup);
    const store = await startWithBucket(dir, cleanup);
    const objects = new Objects(store);
    await objects.putAll('early');
    await store.program.stop();
    spawnSync('dd', ['if=/dev/zero', `of=${dataDir}/ballast`, 'bs=64k'], { stdio: 'ignore' });
    const again = await startStore({ dir, env }, cleanup);
    await untilReady(again);
    await objects.assertIntact(again);
    const refused = await again.client.send({
      method: 'PUT',
      target: '/bucket/no-room',
      body: randomBytes(mib),
    });
    assert.equal(codeOf(refused), 'XMinioStorageFull');
    spawnSync('rm', [`${dataDir}/ballast`]);
    await new Objects(again).putAll('late');
    await again.program.stop();
  });

  await test(
    'a directory that cannot be written is refused at the start, and unharmed',
    small,
    async () => {
      const dir = cleanup.directory('read-only');
      const dataDir = mountSmall(dir, 40, cleanup);
      const store = await startWithBucket(dir, cleanup);
      const objects = new Objects(store);
      await objects.putAll('early');
      await store.program.stop();
      mount('-o', 'remount,ro', dataDir);
      const refused = await startStore({ dir, env }, cleanup);
      const code = await untilEnded(refused);
      assert.ok(code !== 0 && code !== null, `exit code ${code}`);
      assert.match(refused.log(), /cannot use the directory .*\/data/);
      assert.match(refused.log(), /writable|read-only/i);
      mount('-o', 'remount,rw', dataDir);
      const again = await startStore({ dir, env }, cleanup);
      await untilReady(again);
      await objects.assertIntact(again);
      await again.program.stop();
    },
  );

  await test(
    'a file system that turns read-only is told to clients, and reading goes on',
    small,
    async () => {
      const dir = cleanup.directory('turns-read-only');
      const dataDir = mountSmall(dir, 40, cleanup);
      const store = await startWithBucket(dir, cleanup);
      const objects = new Objects(store);
      await objects.putAll('early');
      const blobs = path.join(dataDir, 'blobs');
      mount('--bind', blobs, blobs);
      mount('-o', 'remount,ro,bind', blobs);
      cleanup.add(() => {
        spawnSync('umount', ['-l', blobs]);
      });
      const refused = await objects.put('refused', mib, sse);
      assert.ok(refused.status >= 500, String(refused.status));
      assert.match(refused.body.toString(), /read-only/);
      await objects.assertIntact();
      spawnSync('umount', [blobs]);
      assert.equal((await objects.put('accepted', mib, sse)).status, 200);
      await objects.assertIntact();
      await assertNothingLeft(store);
    },
  );

  await test('too many open files: the store stays, and serves again when they are closed', async () => {
    const dir = cleanup.directory('few-files');
    const first = await startWithBucket(dir, cleanup);
    const objects = new Objects(first);
    await objects.putAll('early');
    await first.program.stop();
    const prefix = ['sh', '-c', 'ulimit -n 100; exec "$@"', 'sh'];
    const store = await startStore({ dir, env: { ...env, COFFER_WORKERS: '1' }, prefix }, cleanup);
    await untilReady(store);
    const pids = store.log();
    const sockets: Socket[] = [];
    for (let index = 0; index < 250; index += 1) {
      const socket = await openSocket(store.port).catch(() => undefined);
      if (socket) sockets.push(socket);
      socket?.write('GET /bucket HTTP/1.1\r\nhost: x\r\n');
    }
    // Whatever is answered now is whole, or an error that says to try again.
    for (let index = 0; index < 10; index += 1) {
      const target = '/bucket/early-sealed-716800';
      const answer = await Promise.race([
        store.client.send({ method: 'GET', target }).catch(() => undefined),
        new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), 500)),
      ]);
      if (answer && answer.status !== 200) assert.equal(answer.status, 503, answer.body.toString());
    }
    for (const socket of sockets) socket.destroy();
    store.client.close();
    await eventually('the store serves again', async () => {
      return (await get(store.port, '/minio/health/ready')).status === 200;
    });
    await objects.assertIntact(store);
    assert.equal(pids.includes('ended unexpectedly'), false);
    assert.equal(store.log().includes('ended unexpectedly'), false, store.log());
    await new Objects(store).putAll('late');
    await store.program.stop();
  });

  await test('a second server on the directory is refused, and the first goes on', async () => {
    const dir = cleanup.directory('second');
    const store = await startWithBucket(dir, cleanup);
    const objects = new Objects(store);
    await objects.putAll('early');
    const second = await startStore({ dir, env }, cleanup);
    const code = await untilEnded(second);
    assert.ok(code !== 0 && code !== null, `exit code ${code}`);
    assert.match(second.log(), /is in use by another server \(process \d+\)/);
    assert.match(second.log(), new RegExp(`process ${store.program.pid}\\b`));
    await objects.putAll('late');
    await objects.assertIntact();
    await store.program.stop();
  });

  await test('a server that was killed starts again at once, on the same port', async () => {
    const dir = cleanup.directory('killed');
    let store = await startWithBucket(dir, cleanup);
    let objects = new Objects(store);
    await objects.putAll('early');
    for (let round = 0; round < 2; round += 1) {
      // In the middle of writes.
      const writes = Array.from({ length: 6 }, (_, index) =>
        store.client
          .send({
            method: 'PUT',
            target: `/bucket/lost-${index}`,
            headers: sse,
            body: randomBytes(4 * mib),
          })
          .catch(() => undefined),
      );
      await new Promise((resolve) => setTimeout(resolve, 10 + 40 * round));
      await store.killAll();
      await Promise.all(writes);
      const again = await startStore({ dir, env, port: store.port }, cleanup);
      await untilReady(again);
      for (const index of writes.keys()) {
        const target = `/bucket/lost-${index}`;
        const answer = await again.client.send({ method: 'GET', target });
        if (answer.status === 200) assert.equal(answer.body.length, 4 * mib);
        else assert.equal(answer.status, 404);
        await expectStatus(again.client, { method: 'DELETE', target }, 204);
      }
      await objects.assertIntact(again);
      store = again;
    }
    objects = new Objects(store);
    await objects.putAll('late');
    await assertNothingLeft(store);
  });
});
