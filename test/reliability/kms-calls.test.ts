// What an operation costs in calls of the key service, counted by the store's own metrics: the promise is 1 for
// PUT and GET, 0 for HEAD and LIST, 1 for a multipart upload and at most 1 for each part, at most 2 for a copy.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { type CofferPair, startCofferPair } from '../support/coffer-pair.ts';
import { type S3TestClient, type S3TestRequest, s3TestClient } from '../support/s3-test-client.ts';
import { Cleanup, expectStatus, get, sse } from './harness.ts';

const mib = 1024 * 1024;

/** Calls that reached for the key service since the start, whatever their outcome, in all workers. */
async function countCalls(port: number): Promise<{ data: number; all: Record<string, number> }> {
  const page = await get(port, '/minio/v2/metrics/cluster');
  assert.equal(page.status, 200);
  const all: Record<string, number> = {};
  const pattern = /^coffer_kms_requests_total\{([^}]*)\} (\d+)/gm;
  for (const [, labels = '', count = ''] of page.text.matchAll(pattern)) {
    const operation = /operation="([^"]*)"/.exec(labels)?.[1] ?? '';
    all[operation] = (all[operation] ?? 0) + Number(count);
  }
  // Looking at the metrics itself asks for the status of the key service.
  const { status: _, ...rest } = all;
  return { data: Object.values(rest).reduce((sum, count) => sum + count, 0), all };
}

/** The second worker opens the backend key when it starts, a moment after the first serves: a call of its own. */
async function untilSettled(port: number): Promise<void> {
  for (let quietMs = 0, last = -1; quietMs < 2_500; quietMs += 250) {
    const { data } = await countCalls(port);
    if (data !== last) quietMs = 0;
    last = data;
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

await describe('calls of the key service', async () => {
  const cleanup = new Cleanup();
  const state: { pair?: CofferPair; client?: S3TestClient } = {};
  const send = async (asked: S3TestRequest, status = 200) => {
    assert.ok(state.client);
    return expectStatus(state.client, asked, status);
  };
  /** The calls that `run` caused. */
  const cost = async (run: () => Promise<unknown>): Promise<number> => {
    assert.ok(state.pair);
    const before = await countCalls(state.pair.port);
    await run();
    return (await countCalls(state.pair.port)).data - before.data;
  };

  before(async () => {
    const env = { MINIO_PROMETHEUS_AUTH_TYPE: 'public', COFFER_WORKERS: '2' };
    const pair = await startCofferPair(cleanup.directory('kms-calls'), { env });
    cleanup.add(() => pair.stop());
    state.pair = pair;
    state.client = s3TestClient(pair);
    cleanup.add(() => state.client?.close());
    await send({ method: 'PUT', target: '/bucket' });
    // The metric is there, and it moves.
    const first = await countCalls(pair.port);
    assert.ok(first.data > 0, JSON.stringify(first.all));
    await untilSettled(pair.port);
  });
  after(() => cleanup.run());

  for (const [name, size] of Object.entries({ empty: 0, small: 4_096, large: 3 * mib })) {
    const target = `/bucket/${name}`;
    const body = randomBytes(size);

    await test(`an encrypted ${name} object: PUT 1, GET 1, HEAD 0, range 1, 304 and 412 none`, async () => {
      const put = { method: 'PUT', target, headers: sse, body };
      assert.equal(await cost(() => send(put)), 1);
      const got = await cost(async () => {
        assert.ok((await send({ method: 'GET', target })).body.equals(body));
      });
      // An empty object has no byte that a key would open.
      assert.ok(size === 0 ? got <= 1 : got === 1, `GET: ${got}`);
      assert.equal(await cost(() => send({ method: 'HEAD', target })), 0);
      const etag = String((await send({ method: 'HEAD', target })).headers['etag']);
      const unchanged = { method: 'GET', target, headers: { 'if-none-match': etag } };
      assert.equal(await cost(() => send(unchanged, 304)), 0);
      const changed = { method: 'GET', target, headers: { 'if-match': '"other"' } };
      assert.equal(await cost(() => send(changed, 412)), 0);
      if (size === 0) return;
      const range = { method: 'GET', target, headers: { range: 'bytes=1000-2000' } };
      assert.equal(await cost(() => send(range, 206)), 1);
      const outside = { method: 'GET', target, headers: { range: 'bytes=99999999-' } };
      assert.equal(await cost(() => send(outside, 416)), 0);
    });
  }

  await test('overwriting costs 1, deleting none', async () => {
    const put = { method: 'PUT', target: '/bucket/again', headers: sse, body: randomBytes(9_000) };
    await send(put);
    assert.equal(await cost(() => send(put)), 1);
    assert.equal(await cost(() => send({ method: 'DELETE', target: '/bucket/again' }, 204)), 0);
  });

  await test('listings cost none, however many encrypted objects they show', async () => {
    for (const target of ['/', '/bucket', '/bucket?list-type=2', '/bucket?uploads=']) {
      assert.equal(await cost(() => send({ method: 'GET', target })), 0, target);
    }
  });

  await test('plain objects cost none', async () => {
    const body = randomBytes(2 * mib);
    const target = '/bucket/plain';
    const calls = await cost(async () => {
      await send({ method: 'PUT', target, body });
      await send({ method: 'GET', target });
      await send({ method: 'HEAD', target });
      const headers = { 'x-amz-copy-source': target };
      await send({ method: 'PUT', target: '/bucket/plain-copy', headers });
      await send({ method: 'DELETE', target }, 204);
    });
    assert.equal(calls, 0);
  });

  await test('a multipart upload: 1 to create, at most 1 a part, none to list or complete, 1 to read', async () => {
    const target = '/bucket/parts';
    let uploadId = '';
    const created = await cost(async () => {
      const answer = await send({ method: 'POST', target: `${target}?uploads=`, headers: sse });
      uploadId = /<UploadId>([^<]+)</.exec(answer.body.toString())?.[1] ?? '';
    });
    assert.equal(created, 1);
    const query = `uploadId=${encodeURIComponent(uploadId)}`;
    const etags: string[] = [];
    const partSizes = [5 * mib, 5 * mib, 100];
    const sent = await cost(async () => {
      for (const [index, size] of partSizes.entries()) {
        const part = `${target}?partNumber=${index + 1}&${query}`;
        const answer = await send({ method: 'PUT', target: part, body: randomBytes(size) });
        etags.push(String(answer.headers['etag']));
      }
    });
    assert.ok(sent <= partSizes.length, `${sent} for ${partSizes.length} parts`);
    assert.equal(await cost(() => send({ method: 'GET', target: `${target}?${query}` })), 0);
    const list = etags.map(
      (etag, index) => `<Part><PartNumber>${index + 1}</PartNumber><ETag>${etag}</ETag></Part>`,
    );
    const body = Buffer.from(`<CompleteMultipartUpload>${list.join('')}</CompleteMultipartUpload>`);
    const complete = { method: 'POST', target: `${target}?${query}`, body };
    assert.equal(await cost(() => send(complete)), 0);
    assert.equal(await cost(() => send({ method: 'HEAD', target })), 0);
    assert.equal(await cost(() => send({ method: 'GET', target })), 1);
    const across = {
      method: 'GET',
      target,
      headers: { range: `bytes=${5 * mib - 10}-${5 * mib + 10}` },
    };
    assert.equal(await cost(() => send(across, 206)), 1);
    const abandoned = await send({ method: 'POST', target: `${target}?uploads=`, headers: sse });
    const other = /<UploadId>([^<]+)</.exec(abandoned.body.toString())?.[1] ?? '';
    const abort = { method: 'DELETE', target: `${target}?uploadId=${encodeURIComponent(other)}` };
    assert.equal(await cost(() => send(abort, 204)), 0);
  });

  await test('copies cost at most 2, in every direction', async () => {
    await send({ method: 'PUT', target: '/bucket/source-plain', body: randomBytes(2 * mib) });
    const sealed = { method: 'PUT', target: '/bucket/source-sealed', headers: sse };
    await send({ ...sealed, body: randomBytes(2 * mib) });
    for (const [from, headers, limit] of [
      ['source-plain', {}, 0],
      ['source-plain', sse, 1],
      ['source-sealed', {}, 1],
      ['source-sealed', sse, 2],
    ] as const) {
      const copy = { 'x-amz-copy-source': `/bucket/${from}`, ...headers };
      const calls = await cost(() =>
        send({ method: 'PUT', target: '/bucket/copied', headers: copy }),
      );
      assert.ok(calls <= limit, `${from} ${JSON.stringify(headers)}: ${calls}`);
    }
    const headers = {
      'x-amz-copy-source': '/bucket/source-sealed',
      'x-amz-metadata-directive': 'REPLACE',
      'x-amz-meta-note': 'new',
      ...sse,
    };
    const onto = { method: 'PUT', target: '/bucket/source-sealed', headers };
    const calls = await cost(() => send(onto));
    assert.ok(calls <= 2, `onto itself: ${calls}`);
  });

  await test('calls at the same time are counted one by one', async () => {
    const target = '/bucket/together';
    await send({ method: 'PUT', target, headers: sse, body: randomBytes(4_096) });
    const calls = await cost(() =>
      Promise.all(Array.from({ length: 40 }, () => send({ method: 'GET', target }))),
    );
    assert.equal(calls, 40);
  });
});
