import assert from 'node:assert/strict';
import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { test } from 'node:test';

import { silentLog } from '../base/log.ts';
import { type Kms, KmsError } from '../sse/kms.ts';
import { createHealthHandler } from './health.ts';

type Answer = { status: number; headers: Record<string, unknown> };

function setUp() {
  const state = {
    isReady: true,
    isKmsUp: true,
    isKmsBroken: false,
    hasKms: false,
    calls: 0,
    nowMs: 0,
  };
  // The probes call nothing else of it.
  const kms = {
    defaultKeyName: 'key',
    generateKey: async (keyName: string, context: object) => {
      state.calls += 1;
      assert.deepEqual(context, { healthcheck: '' });
      if (state.isKmsBroken) throw new TypeError('a fault');
      if (!state.isKmsUp) throw new KmsError('unreachable', 'down', { keyName });
      return { plaintext: new Uint8Array(32), ciphertext: new Uint8Array(76), keyName };
    },
  } as unknown as Kms;
  const handler = createHealthHandler({
    log: silentLog,
    parts: () => ({ isReady: state.isReady, kms: state.hasKms ? kms : undefined }),
    now: () => state.nowMs,
  });
  const probe = (path: string, method = 'GET') =>
    new Promise<Answer | undefined>((resolve) => {
      const req = new IncomingMessage(new Socket());
      req.method = method;
      const res = new ServerResponse(req);
      res.end = () => {
        resolve({ status: res.statusCode, headers: { ...res.getHeaders() } });
        return res;
      };
      if (!handler(req, res, path)) resolve(undefined);
    });
  return { state, probe };
}

void test('liveness holds whatever the key service and the store do', async () => {
  const { state, probe } = setUp();
  state.hasKms = true;
  state.isKmsUp = false;
  assert.equal((await probe('/minio/health/live'))?.status, 200);
  state.isReady = false;
  const starting = await probe('/minio/health/live', 'HEAD');
  assert.equal(starting?.status, 200);
  assert.equal(state.calls, 0);
});

void test('readiness asks the key service, at most once in a few seconds', async () => {
  const { state, probe } = setUp();
  assert.equal((await probe('/minio/health/ready'))?.status, 200);
  state.hasKms = true;
  assert.equal((await probe('/minio/health/ready'))?.status, 200);
  state.isKmsUp = false;
  assert.equal((await probe('/minio/health/ready'))?.status, 200);
  assert.equal(state.calls, 1);
  state.nowMs = 10_000;
  assert.equal((await probe('/minio/health/ready'))?.status, 503);
  assert.equal(state.calls, 2);
  state.isKmsBroken = true;
  state.nowMs = 20_000;
  assert.equal((await probe('/minio/health/ready'))?.status, 503);
});

void test('the cluster probes follow the store and not the key service', async () => {
  const { state, probe } = setUp();
  state.hasKms = true;
  state.isKmsUp = false;
  assert.equal((await probe('/minio/health/cluster'))?.status, 200);
  assert.equal((await probe('/minio/health/cluster/read'))?.status, 200);
  state.isReady = false;
  assert.equal((await probe('/minio/health/cluster'))?.status, 503);
  assert.equal((await probe('/minio/health/cluster/read'))?.status, 503);
});

void test('other paths and methods are left to others', async () => {
  const { probe } = setUp();
  assert.equal(await probe('/minio/health/other'), undefined);
  assert.equal(await probe('/minio/health/live', 'POST'), undefined);
  assert.equal(await probe('/minio/healthy'), undefined);
});
