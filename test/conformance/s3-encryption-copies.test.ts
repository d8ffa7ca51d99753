// Copies between every two kinds of encryption: each size, whole and as parts, with and without new attributes,
// to another name and onto itself. Checks bytes, ETags, headers, keys of the key service, and that nothing
// stored holds plaintext or a client's key.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import {
  bucketKeyHeaders,
  copySourceHeaders,
  customerHeaders,
  dsseHeaders,
  kmsHeaders,
  shownEncryption,
  sseS3Headers,
} from '../support/sse-headers.ts';
import {
  freshBucket,
  type Harness,
  masterKeyName,
  otherKeyName,
  startHarness,
  textsOf,
  xmlOf,
} from './s3-harness.ts';

const sse = 'x-amz-server-side-encryption';
const mib = 1024 * 1024;
const kib64 = 65_536;
const md5Of = (bytes: Uint8Array) => createHash('md5').update(bytes).digest('hex');
const keys = [randomBytes(32), randomBytes(32)] as const;
/** Stands in every plaintext, so that it can be searched for. */
const marker: Buffer = Buffer.from(`marker-${randomBytes(16).toString('hex')}`);

type Mode = 'plain' | 'sse-s3' | 'sse-kms' | 'bucket-key' | 'dsse-kms' | 'sse-c';
const modes: readonly Mode[] = ['plain', 'sse-s3', 'sse-kms', 'bucket-key', 'dsse-kms', 'sse-c'];

const kmsWriters = {
  'sse-kms': kmsHeaders,
  'bucket-key': bucketKeyHeaders,
  'dsse-kms': dsseHeaders,
} as const;

/** How a mode is asked for, read back, read as a source, and shown. `turn` tells two keys apart. */
function headersOf(mode: Mode, turn: 0 | 1) {
  const key = keys[turn];
  const keyId = turn === 0 ? otherKeyName : masterKeyName;
  const context = { turn: String(turn) };
  switch (mode) {
    case 'plain':
      return { write: {}, read: {}, source: {}, shown: {} };
    case 'sse-s3':
      return { write: sseS3Headers, read: {}, source: {}, shown: { method: 'AES256' } };
    case 'sse-kms':
    case 'bucket-key':
    case 'dsse-kms': {
      const encoded = Buffer.from(JSON.stringify(context)).toString('base64');
      const shown = {
        method: mode === 'dsse-kms' ? 'aws:kms:dsse' : 'aws:kms',
        'aws-kms-key-id': keyId,
        context: encoded,
        ...(mode === 'bucket-key' ? { 'bucket-key-enabled': 'true' } : {}),
      };
      return { write: kmsWriters[mode](keyId, context), read: {}, source: {}, shown };
    }
    case 'sse-c': {
      const read = customerHeaders(key);
      const shown = {
        'customer-algorithm': 'AES256',
        'customer-key-md5': read[`${sse}-customer-key-md5`],
      };
      return { write: read, read, source: copySourceHeaders(key), shown };
    }
  }
}

function bodyOf(size: number): Buffer {
  const body = randomBytes(size);
  if (size > marker.length) marker.copy(body, Math.floor(size / 2));
  return body;
}

void describe('copies between kinds of encryption', () => {
  let at: Harness;
  let bucket: string;
  let otherBucket: string;
  before(async () => {
    at = await startHarness();
    bucket = freshBucket();
    otherBucket = freshBucket();
    await at.send('PUT', `/${bucket}`);
    await at.send('PUT', `/${otherBucket}`);
  });
  after(() => at.close());

  async function check(
    target: string,
    mode: Mode,
    expected: { turn: 0 | 1; body: Buffer; etag: string; attributes?: string },
  ): Promise<void> {
    const { read, shown } = headersOf(mode, expected.turn);
    const got = await at.send('GET', target, { headers: read });
    assert.equal(got.status, 200, got.body.toString().slice(0, 300));
    assert.ok(got.body.equals(expected.body), target);
    assert.deepEqual(shownEncryption(got.headers), shown);
    assert.equal(got.headers['etag'], `"${expected.etag}"`);
    assert.equal(got.headers['x-amz-meta-a'], expected.attributes);
    const md5 = md5Of(expected.body);
    if (mode === 'plain' || mode === 'sse-s3') assert.equal(expected.etag, md5);
    else assert.notEqual(expected.etag, md5);
    assert.match(expected.etag, /^[0-9a-f]{32}$/);
    const { length } = expected.body;
    if (length < 2) return;
    const start = Math.floor(length / 3);
    const headers = { ...read, range: `bytes=${start}-${length - 2}` };
    const part = await at.send('GET', target, { headers });
    assert.ok(part.body.equals(expected.body.subarray(start, length - 1)), `range of ${target}`);
  }

  async function copy(
    from: string,
    to: string,
    headers: Record<string, string>,
  ): Promise<{ etag: string; shown: Record<string, string> }> {
    const answer = await at.send('PUT', to, { headers: { ...headers, 'x-amz-copy-source': from } });
    assert.equal(answer.status, 200, answer.body.toString());
    const etag = textsOf(xmlOf(answer), 'ETag')[0]?.replaceAll('"', '') ?? '';
    return { etag, shown: shownEncryption(answer.headers) };
  }

  for (const from of modes) {
    for (const to of modes) {
      void test(`${from} to ${to}: bytes, ETag, headers and attributes`, async () => {
        for (const size of [0, 1, kib64 - 1, kib64, kib64 + 1]) {
          const body = bodyOf(size);
          const source = headersOf(from, 0);
          const wanted = headersOf(to, 1);
          const name = `/${bucket}/${from}-${to}-${size}`;
          const attributes = { 'x-amz-meta-a': 'old' };
          const put = { headers: { ...source.write, ...attributes }, body };
          assert.equal(await at.outcome('PUT', name, put), '200');
          for (const replaces of [false, true]) {
            const more = replaces
              ? { 'x-amz-metadata-directive': 'REPLACE', 'x-amz-meta-a': 'new' }
              : {};
            const expected = { turn: 1, body, attributes: replaces ? 'new' : 'old' } as const;
            const headers = { ...wanted.write, ...source.source, ...more };
            for (const target of [`${name}-copy`, `/${otherBucket}/${from}-${to}-${size}`]) {
              const copied = await copy(name, target, headers);
              assert.deepEqual(copied.shown, wanted.shown);
              await check(target, to, { ...expected, etag: copied.etag });
            }
            if (to === 'plain' && !replaces) continue; // a copy onto itself that changes nothing
            const again = await at.outcome('PUT', `${name}-self`, put);
            assert.equal(again, '200');
            const self = await copy(`${name}-self`, `${name}-self`, headers);
            assert.deepEqual(self.shown, wanted.shown);
            await check(`${name}-self`, to, { ...expected, etag: self.etag });
          }
          if (to !== 'plain' && from !== 'plain') {
            for (const target of [name, `${name}-copy`, `${name}-self`]) {
              const turn = target === name ? 0 : 1;
              const { read } = headersOf(turn === 0 ? from : to, turn);
              assert.equal(await at.outcome('HEAD', target, { headers: read }), '200');
            }
          }
        }
      });

      void test(`${from} to ${to}: parts of an upload, whole and by range`, async () => {
        const body = bodyOf(5 * mib + 1);
        const source = headersOf(from, 0);
        const wanted = headersOf(to, 1);
        const name = `/${bucket}/parts-${from}-${to}`;
        const first = await at.send('POST', `${name}?uploads`, { headers: source.write });
        const read = await copyByParts({ name, uploadId: uploadIdOf(first), body, from });
        assert.ok(read.equals(body));
        const created = await at.send('POST', `${name}-copy?uploads`, { headers: wanted.write });
        assert.deepEqual(shownEncryption(created.headers), wanted.shown);
        const uploadId = uploadIdOf(created);
        const etags: string[] = [];
        for (const [index, range] of [
          `bytes=0-${5 * mib - 1}`,
          `bytes=${5 * mib}-${5 * mib}`,
        ].entries()) {
          const target = `${name}-copy?partNumber=${index + 1}&uploadId=${uploadId}`;
          const keysOfPart = to === 'sse-c' ? wanted.write : {};
          const headers = { ...source.source, ...keysOfPart, 'x-amz-copy-source-range': range };
          const { context: _, ...shown } = wanted.shown as Record<string, string>;
          const copied = await copy(name, target, headers);
          assert.deepEqual(copied.shown, shown);
          etags.push(copied.etag);
        }
        await complete(`${name}-copy`, uploadId, etags);
        const got = await at.send('GET', `${name}-copy`, { headers: wanted.read });
        assert.ok(got.body.equals(body));
        const digest = createHash('md5');
        for (const etag of etags) digest.update(etag, 'hex');
        assert.equal(got.headers['etag'], `"${digest.digest('hex')}-2"`);
        // As one object again: the ETag is that of a single part.
        const single = await copy(`${name}-copy`, `${name}-one`, {
          ...wanted.source,
          ...wanted.write,
        });
        await check(`${name}-one`, to, { turn: 1, body, etag: single.etag });
      });
    }
  }

  function uploadIdOf(answer: { body: Buffer }): string {
    return /<UploadId>([^<]*)/.exec(answer.body.toString())?.[1] ?? '';
  }

  async function complete(name: string, uploadId: string, etags: readonly string[]): Promise<void> {
    const parts = etags.map(
      (etag, index) => `<Part><PartNumber>${index + 1}</PartNumber><ETag>${etag}</ETag></Part>`,
    );
    const body = `<CompleteMultipartUpload>${parts.join('')}</CompleteMultipartUpload>`;
    const answer = await at.send('POST', `${name}?uploadId=${uploadId}`, { body });
    assert.equal(answer.status, 200, answer.body.toString());
  }

  /** Uploads a body as two parts; returns what a reader gets. */
  async function copyByParts(of: {
    name: string;
    uploadId: string;
    body: Buffer;
    from: Mode;
  }): Promise<Buffer> {
    const { read, write } = headersOf(of.from, 0);
    const headers = of.from === 'sse-c' ? write : {};
    const etags: string[] = [];
    for (const [index, body] of [
      of.body.subarray(0, 5 * mib),
      of.body.subarray(5 * mib),
    ].entries()) {
      const target = `${of.name}?partNumber=${index + 1}&uploadId=${of.uploadId}`;
      const part = await at.send('PUT', target, { headers, body });
      assert.equal(part.status, 200, part.body.toString());
      etags.push(String(part.headers['etag']).replaceAll('"', ''));
    }
    await complete(of.name, of.uploadId, etags);
    return (await at.send('GET', of.name, { headers: read })).body;
  }

  void test('a copy onto itself keeps the key when only attributes change, else makes a new one', async () => {
    const replace = { 'x-amz-metadata-directive': 'REPLACE', 'x-amz-meta-a': 'new' };
    for (const mode of modes) {
      const { write, read, source } = headersOf(mode, 0);
      const name = `/${bucket}/self-${mode}`;
      const body = bodyOf(300_000);
      await at.send('PUT', name, { headers: write, body });
      const { etag } = (await at.send('HEAD', name, { headers: read })).headers;
      const blobs = () => [...at.blobs.bytes.keys()].toSorted();
      const before = blobs();
      at.kms.calls.length = 0;
      await copy(name, name, { ...write, ...source, ...replace });
      assert.deepEqual(blobs(), before, `${mode} is not written again`);
      assert.equal(at.kms.calls.length, 0);
      const kept = await at.send('GET', name, { headers: read });
      assert.ok(kept.body.equals(body));
      assert.equal(kept.headers['etag'], etag);
      assert.equal(kept.headers['x-amz-meta-a'], 'new');
      if (mode === 'plain') continue;
      await copy(name, name, { ...write, ...source });
      assert.notDeepEqual(blobs(), before, `${mode} gets a new key`);
      assert.ok((await at.send('GET', name, { headers: read })).body.equals(body));
    }
    // Without a header and a default, the copy of an encrypted object is plain, as anywhere else.
    await copy(`/${bucket}/self-sse-s3`, `/${bucket}/self-sse-s3`, replace);
    const plain = await at.send('HEAD', `/${bucket}/self-sse-s3`);
    assert.deepEqual(shownEncryption(plain.headers), {});
  });

  void test('an old version is copied over the newest, from every kind to every kind', async () => {
    const name = freshBucket();
    await at.send('PUT', `/${name}`);
    const body = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>';
    assert.equal(await at.outcome('PUT', `/${name}?versioning`, { body }), '200');
    const old = bodyOf(70_000);
    for (const from of modes) {
      const source = headersOf(from, 0);
      const target = `/${name}/${from}`;
      const put = await at.send('PUT', target, { headers: source.write, body: old });
      const versionId = String(put.headers['x-amz-version-id']);
      const etag = String(put.headers['etag']);
      for (const to of modes) {
        await at.send('PUT', target, { body: 'newer' });
        const wanted = headersOf(to, 1);
        const headers = { ...wanted.write, ...source.source };
        const copied = await copy(`${target}?versionId=${versionId}`, target, headers);
        await check(target, to, { turn: 1, body: old, etag: copied.etag });
        const before = await at.send('GET', `${target}?versionId=${versionId}`, {
          headers: source.read,
        });
        assert.ok(before.body.equals(old));
        assert.equal(before.headers['etag'], etag);
        assert.deepEqual(shownEncryption(before.headers), source.shown);
      }
    }
  });

  void test('no stored byte is a plaintext or a client key', async () => {
    const own = await startHarness();
    try {
      await own.send('PUT', '/bucket');
      const sealed = modes.filter((mode) => mode !== 'plain');
      for (const size of [kib64 + 1, 400_000]) {
        for (const from of sealed) {
          const name = `/bucket/${from}-${size}`;
          const { write, source } = headersOf(from, 0);
          const body = bodyOf(size);
          assert.equal(await own.outcome('PUT', name, { headers: write, body }), '200');
          for (const to of sealed) {
            const headers = { ...headersOf(to, 1).write, ...source, 'x-amz-copy-source': name };
            assert.equal(await own.outcome('PUT', `${name}-${to}`, { headers }), '200');
          }
        }
      }
      await assertNothingInClear(own);
    } finally {
      await own.close();
    }
  });
});

/** Everything that is stored holds no secret. */
async function assertNothingInClear(own: Harness): Promise<void> {
  const range = { start: Buffer.from([0]), end: Buffer.from([0xff]), limit: 10_000 };
  const stored: Uint8Array[] = (await own.kv.list(range)).map(({ value }) => value);
  stored.push(...own.blobs.bytes.values());
  assert.ok(own.blobs.bytes.size > 5);
  const secrets = [marker, ...keys, ...keys.map((key) => Buffer.from(key.toString('base64')))];
  for (const bytes of stored)
    assert.ok(!secrets.some((secret) => Buffer.from(bytes).includes(secret)));
}
