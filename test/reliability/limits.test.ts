// What clients may ask for, and what they may cost: large objects and slow readers in bounded memory, clients that
// go away, and the limits and oddities of names, headers and lists.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { Agent, request } from 'node:http';
import type { Socket } from 'node:net';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { silentLog } from '../../src/base/log.ts';
import { parseKmsConfig } from '../../src/kms/config.ts';
import { openKms } from '../../src/kms/open-kms.ts';
import { signRequest } from '../../src/sigv4/sign.ts';
import { findLeftovers } from '../crash/orphans.ts';
import { startHarness } from '../conformance/s3-harness.ts';
import * as conformance from '../conformance/s3-harness.ts';
import { memoryOf } from '../support/programs.ts';
import {
  accessKey,
  Cleanup,
  codeOf,
  eventually,
  expectStatus,
  secretKey,
  type Store,
  sse,
  startStore,
  untilReady,
} from './harness.ts';
import { openSocket, readAll, readSlowly, signedHead, writeTo } from './raw-client.ts';

const mib = 1024 * 1024;
const env = {
  MINIO_KMS_SECRET_KEY: `limits-key:${randomBytes(32).toString('base64')}`,
  // One worker, so that everything meets in the same process.
  COFFER_WORKERS: '1',
};

/** The largest resident size of any process of the store while `run` runs, over what it was before. */
async function growthOf(store: Store, run: () => Promise<void>): Promise<number> {
  const sizes = (): Map<number, number> =>
    new Map(memoryOf(store.program.pid).map(({ pid, rssBytes }) => [pid, rssBytes]));
  const idle = sizes();
  let growth = 0;
  const timer = setInterval(() => {
    for (const [pid, size] of sizes()) growth = Math.max(growth, size - (idle.get(pid) ?? size));
  }, 100);
  try {
    await run();
  } finally {
    clearInterval(timer);
  }
  return growth;
}

function signed(store: Store, method: string, target: string, headers: Record<string, string>) {
  return signRequest({
    method,
    target,
    headers: { host: `127.0.0.1:${store.port}`, ...headers },
    credentials: { accessKey, secretKey },
    region: 'us-east-1',
    timeMs: Date.now(),
    payload: { kind: method === 'PUT' ? 'unsigned' : 'empty' },
  }).headers;
}

const block = randomBytes(mib);

/** Streams `count` blocks, each another one, and returns the digest of all. */
async function upload(store: Store, target: string, count: number): Promise<string> {
  const hash = createHash('md5');
  const length = String(count * block.length);
  const headers = signed(store, 'PUT', target, { ...sse, 'content-length': length });
  const options = { host: '127.0.0.1', port: store.port, method: 'PUT', path: target, headers };
  const put = request({ ...options, agent: new Agent() });
  const answered = new Promise<number>((resolve, reject) => {
    put.on('error', reject);
    put.on('response', (response) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode ?? 0));
    });
  });
  answered.catch(() => undefined);
  for (let index = 0; index < count; index += 1) {
    const bytes = Buffer.from(block);
    bytes.writeUInt32BE(index);
    hash.update(bytes);
    if (!put.write(bytes)) await new Promise((resolve) => put.once('drain', resolve));
  }
  put.end();
  assert.equal(await answered, 200);
  return hash.digest('hex');
}

async function downloadDigest(store: Store, target: string): Promise<string> {
  const headers = signed(store, 'GET', target, {});
  const options = { host: '127.0.0.1', port: store.port, path: target, headers };
  return new Promise((resolve, reject) => {
    const hash = createHash('md5');
    const get = request({ ...options, agent: new Agent() }, (response) => {
      response.on('data', (chunk: Buffer) => hash.update(chunk));
      response.on('error', reject);
      response.on('end', () => {
        if (response.statusCode === 200) resolve(hash.digest('hex'));
        else reject(new Error(`GET ${target}: ${response.statusCode}`));
      });
    });
    get.on('error', reject);
    get.end();
  });
}

function blobFiles(store: Store): string[] {
  return readdirSync(path.join(store.dataDir, 'blobs'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => entry.name);
}

await describe('limits', async () => {
  const cleanup = new Cleanup();
  const state: { store?: Store } = {};
  const storeOf = (): Store => {
    assert.ok(state.store);
    return state.store;
  };
  before(async () => {
    state.store = await startStore({ dir: cleanup.directory('limits'), env }, cleanup);
    await untilReady(state.store);
    await expectStatus(state.store.client, { method: 'PUT', target: '/bucket' }, 200);
  });
  after(() => cleanup.run());

  await test('large encrypted objects go in and out, four at once, in bounded memory', async (t) => {
    const store = storeOf();
    const names = [1, 2, 3, 4].map((index) => `/bucket/large-${index}`);
    // Warm: code, buffers and pools are there.
    await upload(store, '/bucket/warm', 8);
    await downloadDigest(store, '/bucket/warm');
    let digests: string[] = [];
    const whileWriting = await growthOf(store, async () => {
      digests = await Promise.all(names.map((name) => upload(store, name, 128)));
    });
    let found: string[] = [];
    const whileReading = await growthOf(store, async () => {
      found = await Promise.all(names.map((name) => downloadDigest(store, name)));
    });
    t.diagnostic(`grew by ${whileWriting / mib} MiB writing, ${whileReading / mib} MiB reading`);
    assert.deepEqual(found, digests);
    assert.ok(whileWriting < 250 * mib, `${whileWriting / mib} MiB while writing`);
    assert.ok(whileReading < 250 * mib, `${whileReading / mib} MiB while reading`);
    for (const target of names) {
      await expectStatus(store.client, { method: 'DELETE', target }, 204);
    }
  });

  await test('a hundred slow and stalled clients cost little and hinder nobody', async (t) => {
    const store = storeOf();
    await upload(store, '/bucket/slow', 24);
    const sockets: Socket[] = [];
    const growth = await growthOf(store, async () => {
      for (let index = 0; index < 100; index += 1) {
        const socket = await openSocket(store.port);
        sockets.push(socket);
        if (index % 4 === 0) {
          // An upload that sends a little and then nothing.
          const head = signedHead({
            port: store.port,
            method: 'PUT',
            target: `/bucket/stalled-${index}`,
            headers: { ...sse, 'content-length': String(50 * mib) },
            payload: { kind: 'unsigned' },
          });
          await writeTo(socket, head);
          await writeTo(socket, randomBytes(300_000));
          continue;
        }
        await writeTo(
          socket,
          signedHead({ port: store.port, method: 'GET', target: '/bucket/slow' }),
        );
        if (index % 4 === 1) socket.pause();
        else readSlowly(socket, { bytes: 2_048, everyMs: 500 });
      }
      for (let turn = 0; turn < 30; turn += 1) {
        const target = `/bucket/quick-${turn}`;
        const body = randomBytes(turn % 3 === 0 ? 2 * mib : 5_000);
        await expectStatus(store.client, { method: 'PUT', target, headers: sse, body }, 200);
        const got = await expectStatus(store.client, { method: 'GET', target }, 200);
        assert.ok(got.body.equals(body));
      }
    });
    t.diagnostic(`grew by ${growth / mib} MiB for ${sockets.length} clients`);
    for (const socket of sockets) socket.destroy();
    assert.ok(growth < 300 * mib, `${growth / mib} MiB`);
    await expectStatus(store.client, { method: 'HEAD', target: '/bucket/stalled-0' }, 404);
  });

  await test('clients that stall are cut after the limit, in both directions', async () => {
    const harness = await startHarness({ limits: { stallMs: 700 } });
    const { port } = harness;
    try {
      await harness.send('PUT', '/bucket');
      await harness.send('PUT', '/bucket/object', { body: randomBytes(24 * mib) });
      const credentials = {
        accessKey: conformance.accessKey,
        secretKey: conformance.secretKey,
      };
      const reader = await openSocket(port);
      await writeTo(
        reader,
        signedHead({ port, method: 'GET', target: '/bucket/object', credentials }),
      );
      reader.pause();
      const writer = await openSocket(port);
      const head = signedHead({
        port,
        method: 'PUT',
        target: '/bucket/half',
        headers: { 'content-length': '1000000' },
        payload: { kind: 'unsigned' },
        credentials,
      });
      await writeTo(writer, head);
      await writeTo(writer, randomBytes(1_000));
      const answer = await readAll(writer);
      assert.match(answer.toString(), /^HTTP\/1\.1 400 .*<Code>RequestTimeout<\/Code>/s);
      await eventually('the connection of the reader is gone', async () => {
        return (
          (await new Promise<number>((resolve, reject) => {
            harness.server.getConnections((error, count) =>
              error ? reject(error) : resolve(count),
            );
          })) <= 1
        );
      });
      reader.destroy();
      assert.equal(await harness.outcome('HEAD', '/bucket/half'), '404 NoSuchKey');
    } finally {
      await harness.close();
    }
  });

  await test('clients that go away in the middle of an upload leave nothing', async () => {
    const store = storeOf();
    for (const name of ['warm', 'slow']) {
      await expectStatus(store.client, { method: 'DELETE', target: `/bucket/${name}` }, 204);
    }
    const list = await store.client.send({ method: 'GET', target: '/bucket?list-type=2' });
    for (const [, key] of list.body.toString().matchAll(/<Key>([^<]*)<\/Key>/g)) {
      await expectStatus(store.client, { method: 'DELETE', target: `/bucket/${key}` }, 204);
    }
    const created = { method: 'POST', target: '/bucket/parts?uploads=', headers: sse };
    const upload = await expectStatus(store.client, created, 200);
    const uploadId = /<UploadId>([^<]+)</.exec(upload.body.toString())?.[1] ?? '';
    const length = { 'content-length': String(20 * mib) };
    for (let index = 0; index < 24; index += 1) {
      const part = `/bucket/parts?partNumber=${index + 1}&uploadId=${encodeURIComponent(uploadId)}`;
      const target = index % 3 === 2 ? part : `/bucket/gone-${index}`;
      const isChunked = index % 3 === 1;
      const head = signedHead({
        port: store.port,
        method: 'PUT',
        target,
        headers: {
          ...(index % 3 === 2 ? {} : sse),
          ...(isChunked ? { 'transfer-encoding': 'chunked' } : length),
        },
        payload: isChunked
          ? { kind: 'unsigned-chunks', sizeBytes: 20 * mib, trailer: 'x-amz-checksum-crc32' }
          : { kind: 'unsigned' },
      });
      const socket = await openSocket(store.port);
      await writeTo(socket, head);
      if (isChunked) {
        // One chunk of the body's own coding inside one of HTTP's.
        const inner = Buffer.concat([
          Buffer.from('80000\r\n'),
          randomBytes(0x80000),
          Buffer.from('\r\n'),
        ]);
        await writeTo(socket, `${inner.length.toString(16)}\r\n`);
        await writeTo(socket, inner);
        await writeTo(socket, '\r\n');
      } else await writeTo(socket, randomBytes(1 + index * 200_000));
      // Some go at once, some when their bytes have arrived.
      if (index % 2 === 0) await new Promise((resolve) => setTimeout(resolve, 30));
      if (index % 4 === 0) socket.end();
      else socket.resetAndDestroy();
    }
    const after = await store.client.send({ method: 'GET', target: '/bucket?list-type=2' });
    assert.match(after.body.toString(), /<KeyCount>0<\/KeyCount>/);
    const abort = `/bucket/parts?uploadId=${encodeURIComponent(uploadId)}`;
    await expectStatus(store.client, { method: 'DELETE', target: abort }, 204);
    await store.program.stop();
    const config = parseKmsConfig(env);
    assert.ok(config);
    const kms = await openKms(config, { log: silentLog });
    const leftovers = await findLeftovers(store.dataDir, kms);
    await kms.close();
    assert.deepEqual(leftovers, []);
    assert.deepEqual(blobFiles(store), []);
  });

  await test('names come back as they were given, or are refused with the right code', async () => {
    state.store = await startStore({ dir: cleanup.directory('limits-names'), env }, cleanup);
    const store = storeOf();
    await untilReady(store);
    await expectStatus(store.client, { method: 'PUT', target: '/bucket' }, 200);
    const names = [
      'a//b',
      '//',
      '/leading',
      '../x',
      '../../etc/passwd',
      '.',
      '..',
      './a',
      'dir/',
      'dir',
      'dir/file',
      'dir/../file',
      'emoji-🗝️-é-é',
      'sp ace+plus%25',
      'a\\b',
      '"<&>\'',
      '\u0001\u007f',
      '\u{10ffff}',
      '?query=1',
      '#hash',
      'minio/health/live',
      'x'.repeat(1024),
      'é'.repeat(512),
    ];
    const encode = (name: string): string =>
      encodeURIComponent(name)
        .replaceAll('%2F', '/')
        .replace(/[!'()*]/g, (character) => {
          return `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
        });
    for (const name of names) {
      const body = Buffer.from(`the content of ${name}`);
      const call = { method: 'PUT', target: `/bucket/${encode(name)}`, headers: sse, body };
      await expectStatus(store.client, call, 200);
    }
    for (const name of names) {
      const call = { method: 'GET', target: `/bucket/${encode(name)}` };
      const got = await expectStatus(store.client, call, 200);
      assert.equal(got.body.toString(), `the content of ${name}`);
    }
    const list = { method: 'GET', target: '/bucket?encoding-type=url&list-type=2' };
    const listed = (await expectStatus(store.client, list, 200)).body.toString();
    const keys = [...listed.matchAll(/<Key>([^<]*)<\/Key>/g)].map(([, key = '']) =>
      decodeURIComponent(key.replaceAll('+', ' ')),
    );
    const byBytes = (a: string, b: string): number =>
      Buffer.compare(Buffer.from(a), Buffer.from(b));
    assert.deepEqual(keys, names.toSorted(byBytes));
    for (const [target, status, code] of [
      [`/bucket/${'x'.repeat(1025)}`, 400, 'KeyTooLongError'],
      [`/bucket/${encode('é'.repeat(513))}`, 400, 'KeyTooLongError'],
      ['/bucket/nul%00byte', 400, 'InvalidURI'],
      ['/bucket/bad%ffutf8', 400, 'InvalidURI'],
      ['/bucket/bad%zzescape', 400, 'InvalidURI'],
      ['/No_Bucket', 400, 'InvalidBucketName'],
      ['/ab', 400, 'InvalidBucketName'],
    ] as const) {
      const answer = await store.client.send({ method: 'PUT', target, body: Buffer.from('x') });
      assert.equal(`${answer.status} ${codeOf(answer)}`, `${status} ${code}`, target.slice(0, 60));
    }
    // Nothing of a name is ever a path below the data directory or beside it.
    assert.deepEqual(
      readdirSync(path.dirname(store.dataDir)).filter((name) => /passwd|^x$/.test(name)),
      [],
    );
  });

  await test('lists, headers and metadata beyond their limits are refused, and nothing else is', async () => {
    const store = storeOf();
    const deletion = (count: number): Buffer => {
      const objects = Array.from(
        { length: count },
        (_, index) => `<Object><Key>none-${index}</Key></Object>`,
      );
      return Buffer.from(`<Delete><Quiet>true</Quiet>${objects.join('')}</Delete>`);
    };
    const remove = (body: Buffer) => {
      const headers = { 'content-md5': createHash('md5').update(body).digest('base64') };
      return store.client.send({ method: 'POST', target: '/bucket?delete=', headers, body });
    };
    assert.equal((await remove(deletion(1_000))).status, 200);
    for (const count of [0, 1_001]) {
      const answer = await remove(deletion(count));
      assert.equal(`${answer.status} ${codeOf(answer)}`, '400 MalformedXML');
    }
    const huge = Buffer.from(`<Delete>${' '.repeat(8 * mib)}</Delete>`);
    assert.ok((await remove(huge)).status >= 400);

    const put = (headers: Record<string, string>) =>
      store.client.send({ method: 'PUT', target: '/bucket/meta', headers, body: Buffer.from('x') });
    assert.equal((await put({ 'x-amz-meta-a': 'v'.repeat(2_000) })).status, 200);
    const tooLarge = await put({ 'x-amz-meta-a': 'v'.repeat(2_100) });
    assert.equal(`${tooLarge.status} ${codeOf(tooLarge)}`, '400 MetadataTooLarge');

    // Headers as a whole: an answer or an end, never a hang, and the next client is served.
    const socket = await openSocket(store.port);
    await writeTo(
      socket,
      `GET /bucket/meta HTTP/1.1\r\nhost: x\r\nx-large: ${'v'.repeat(70_000)}\r\n\r\n`,
    );
    assert.match((await readAll(socket)).toString(), /^HTTP\/1\.1 4\d\d |^$/);
    const endless = await openSocket(store.port);
    await writeTo(endless, `GET /${'x'.repeat(100_000)}`);
    assert.match((await readAll(endless)).toString(), /^HTTP\/1\.1 4\d\d |^$/);
    await expectStatus(store.client, { method: 'GET', target: '/bucket/meta' }, 200);
  });
});
