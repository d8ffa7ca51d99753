import assert from 'node:assert/strict';
import { appendFileSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';

import { signRequest } from '../sigv4/sign.ts';
import {
  callServer,
  findTestPort,
  makeTestDirectory,
  startTestServer,
  testPassword,
  type TestServer,
  testUser,
} from './test-support.ts';

const staticKey = `my-key:${Buffer.alloc(32, 7).toString('base64')}`;

/** Clients that write and read over their own kept connections until told to stop. */
function startLoad(port: number, clients: number) {
  const over = new AbortController();
  let requests = 0;
  const client = async (index: number): Promise<void> => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    for (let turn = 0; !over.signal.aborted; turn += 1) {
      const target = `/bucket/object-${index}-${turn % 5}`;
      const body = Buffer.alloc(turn % 7 === 0 ? 300_000 : 2_000, `${index}.${turn} `);
      const put = await callServer({ port, method: 'PUT', target, body, agent });
      assert.equal(put.status, 200, put.body.toString());
      const got = await callServer({ port, target, agent });
      assert.equal(got.status, 200, got.body.toString());
      assert.ok(got.body.equals(body));
      requests += 2;
      // Some connections are idle for a while, also around the moment of a restart.
      if (index % 2 === 0) await new Promise((resolve) => setTimeout(resolve, 40 * index));
    }
    agent.destroy();
  };
  const done = Promise.all(Array.from({ length: clients }, (_, index) => client(index)));
  done.catch(() => {});
  return {
    count: () => requests,
    stop: async () => {
      over.abort();
      await done;
    },
  };
}

async function restartByAdmin(port: number, server: TestServer, generation: number): Promise<void> {
  const answer = await callServer({
    port,
    method: 'POST',
    target: '/minio/admin/v3/service?action=restart&dry-run=false&type=2',
    region: '',
  });
  assert.equal(answer.status, 200);
  assert.equal(JSON.parse(answer.body.toString()).action, 'restart');
  await server.printed(new RegExp(`restarted generation=${generation}`));
}

void test('restarts replace the workers without an error for clients at work', async () => {
  using directory = makeTestDirectory();
  const port = await findTestPort();
  const env = { COFFER_WORKERS: '2' };
  await using server = startTestServer({ directory: directory.path, port, env });
  await server.printed(/serves/);
  await callServer({ port, method: 'PUT', target: '/bucket' });
  const load = startLoad(port, 6);
  await restartByAdmin(port, server, 2);
  const before = load.count();
  server.child.kill('SIGHUP');
  await server.printed(/restarted generation=3/);
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.ok(load.count() > before);
  await load.stop();
  assert.equal(await server.end('SIGTERM'), 0);
});

void test('a restart that turns encryption on seals the directory without an error for clients', async () => {
  using directory = makeTestDirectory();
  const port = await findTestPort();
  const envFile = join(directory.path, 'store.env');
  writeFileSync(envFile, '');
  await using server = startTestServer({
    directory: join(directory.path, 'data'),
    port,
    envFile,
    env: { COFFER_WORKERS: '2' },
  });
  await server.printed(/serves/);
  await callServer({ port, method: 'PUT', target: '/bucket' });
  const load = startLoad(port, 6);
  appendFileSync(envFile, `export MINIO_KMS_SECRET_KEY=${staticKey}\n`);
  const target = '/minio/admin/v3/service?action=restart&type=2';
  assert.equal((await callServer({ port, method: 'POST', target, region: '' })).status, 200);
  // The answer says that the new settings hold: what comes next waits for them rather than fail.
  const statusTarget = '/minio/kms/v1/key/status?key-id=';
  const status = await callServer({ port, target: statusTarget, region: '' });
  await server.printed(/restarted generation=2/);
  assert.deepEqual(JSON.parse(status.body.toString()), { 'key-id': 'my-key' });
  await restartByAdmin(port, server, 3);
  await load.stop();
  assert.equal(await server.end('SIGTERM'), 0);

  // Sealed for good: without the key the directory does not open, and the error names the variables.
  await using unconfigured = startTestServer({ directory: join(directory.path, 'data'), port });
  assert.equal(await unconfigured.exited, 1);
  assert.match(unconfigured.output(), /MINIO_KMS_/);
});

void test('a restart with wrong settings is refused and the workers go on', async () => {
  using directory = makeTestDirectory();
  const port = await findTestPort();
  const envFile = join(directory.path, 'store.env');
  writeFileSync(envFile, '');
  await using server = startTestServer({ directory: join(directory.path, 'data'), port, envFile });
  await server.printed(/serves/);
  writeFileSync(envFile, 'export MINIO_KMS_SECRET_KEY=no-colon\n');
  server.child.kill('SIGHUP');
  await server.printed(/restart refused.*kms: invalid secret key format/);
  assert.equal((await callServer({ port, target: '/' })).status, 200);
  assert.ok(!server.output().includes('no-colon'));
  // A key service that cannot be reached: the old workers stay, too.
  writeFileSync(
    envFile,
    [
      `MINIO_KMS_KES_ENDPOINT=https://127.0.0.1:${await findTestPort()}`,
      'MINIO_KMS_KES_KEY_NAME=my-key',
      'MINIO_KMS_KES_API_KEY=kes:v1:AD9E7FSYWrMD+VjhI6q545cYT9YOyFxZb7UnjEepYDRc',
      'COFFER_RESTART_TIMEOUT_SECONDS=60',
    ].join('\n'),
  );
  const target = '/minio/admin/v3/service?action=restart&type=2';
  const refused = await callServer({ port, method: 'POST', target, region: '' });
  assert.equal(refused.status, 409);
  assert.match(refused.body.toString(), /goes on as before.*cannot be reached/);
  assert.match(server.output(), /restart refused.*cannot be reached/);
  assert.equal((await callServer({ port, target: '/' })).status, 200);
});

void test('a worker that crashes is replaced', async () => {
  using directory = makeTestDirectory();
  const port = await findTestPort();
  await using server = startTestServer({
    directory: directory.path,
    port,
    arguments: ['--json'],
    env: { COFFER_LOG_LEVEL: 'debug', COFFER_WORKERS: '1' },
  });
  await server.printed(/serves/);
  await callServer({ port, target: '/' });
  await server.printed(/"pid":\d+/);
  const pid = Number(/"pid":(\d+)/.exec(server.output())?.[1]);
  process.kill(pid, 'SIGKILL');
  await server.printed(/a worker ended unexpectedly/);
  assert.equal((await callServer({ port, target: '/' })).status, 200);
});

void test('service stop answers first and then ends the server', async () => {
  using directory = makeTestDirectory();
  const port = await findTestPort();
  await using server = startTestServer({ directory: directory.path, port });
  await server.printed(/serves/);
  const target = '/minio/admin/v3/service?action=stop&dry-run=false&type=2';
  const answer = await callServer({ port, method: 'POST', target, region: '' });
  assert.equal(answer.status, 200);
  assert.equal(await server.exited, 0);
});

void test('freeze holds S3 requests and nothing else until unfreeze', async () => {
  using directory = makeTestDirectory();
  const port = await findTestPort();
  const env = { COFFER_WORKERS: '2' };
  await using server = startTestServer({ directory: directory.path, port, env });
  await server.printed(/serves/);
  const service = (action: string) =>
    callServer({
      port,
      method: 'POST',
      target: `/minio/admin/v3/service?action=${action}&type=2`,
      region: '',
    });
  assert.equal((await service('freeze')).status, 200);
  await server.printed(/freeze was asked for/);
  let isAnswered = false;
  // Two connections in a row go to different workers: both hold.
  const held = Promise.all([1, 2].map(() => callServer({ port, target: '/' })));
  void held.then(() => {
    isAnswered = true;
  });
  assert.equal(
    (await callServer({ port, target: '/minio/health/live', isSigned: false })).status,
    200,
  );
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.equal(isAnswered, false);
  assert.equal((await service('unfreeze')).status, 200);
  for (const answer of await held) assert.equal(answer.status, 200);
});

/** An upload whose second half is sent only when asked. */
function startSlowUpload(port: number, target: string) {
  const body = Buffer.alloc(400_000, 'slow ');
  const half = body.length / 2;
  const { headers } = signRequest({
    method: 'PUT',
    target,
    headers: { host: `127.0.0.1:${port}`, 'content-length': String(body.length) },
    credentials: { accessKey: testUser, secretKey: testPassword },
    region: 'us-east-1',
    timeMs: Date.now(),
    payload: { kind: 'unsigned' },
  });
  const req = request({ host: '127.0.0.1', port, method: 'PUT', path: target, headers });
  const status = new Promise<number>((resolve, reject) => {
    req.on('error', reject);
    req.on('response', (res) => {
      res.resume();
      resolve(res.statusCode ?? 0);
    });
  });
  req.write(body.subarray(0, half));
  return {
    body,
    finish: () => {
      req.end(body.subarray(half));
      return status;
    },
  };
}

void test('an upload under way is finished by the worker that began it, whatever the restart', async () => {
  using directory = makeTestDirectory();
  const port = await findTestPort();
  const envFile = join(directory.path, 'store.env');
  writeFileSync(envFile, '');
  await using server = startTestServer({ directory: join(directory.path, 'data'), port, envFile });
  await server.printed(/serves/);
  await callServer({ port, method: 'PUT', target: '/bucket' });
  const plain = startSlowUpload(port, '/bucket/plain');
  await new Promise((resolve) => setTimeout(resolve, 300));
  await restartByAdmin(port, server, 2);
  assert.equal(await plain.finish(), 200);

  // Sealing needs the directory alone, so the restart waits for the upload, and what comes later for both.
  const last = startSlowUpload(port, '/bucket/last');
  await new Promise((resolve) => setTimeout(resolve, 300));
  appendFileSync(envFile, `export MINIO_KMS_SECRET_KEY=${staticKey}\n`);
  const target = '/minio/admin/v3/service?action=restart&type=2';
  assert.equal((await callServer({ port, method: 'POST', target, region: '' })).status, 200);
  const waiting = callServer({ port, target: '/bucket/last' });
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.ok(!server.output().includes('restarted generation=3'));
  assert.equal(await last.finish(), 200);
  assert.ok((await waiting).body.equals(last.body));
  assert.ok((await callServer({ port, target: '/bucket/plain' })).body.equals(plain.body));
});
