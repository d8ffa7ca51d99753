// UpdateObjectEncryption through AWS's own SDK and by hand: what changes, what stays, what is refused.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { UpdateObjectEncryptionCommand } from '@aws-sdk/client-s3';
import {
  bucketKeyHeaders,
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

const mib = 1024 * 1024;
const toS3 = '<ObjectEncryption><SSE-S3/></ObjectEncryption>';
const toKms = (inner: string) => `<ObjectEncryption><SSE-KMS>${inner}</SSE-KMS></ObjectEncryption>`;
const toKey = (name: string) => toKms(`<KMSKeyArn>${name}</KMSKeyArn>`);

void describe('updates of the encryption of objects', () => {
  let at: Harness;
  let bucket: string;
  before(async () => {
    at = await startHarness();
    bucket = freshBucket();
    await at.send('PUT', `/${bucket}`);
  });
  after(() => at.close());

  const update = (key: string, body: string, query = '') =>
    at.send('PUT', `/${bucket}/${key}?encryption${query}`, { body });
  const blobs = () => [...at.blobs.bytes.keys()].toSorted();

  void test('an encrypted object gets another key around its own, and no byte is written', async () => {
    const forms = [
      sseS3Headers,
      kmsHeaders(otherKeyName, { a: 'b' }),
      bucketKeyHeaders(otherKeyName),
    ];
    for (const size of [0, 10, 300_000]) {
      for (const [index, form] of forms.entries()) {
        const key = `sealed-${size}-${index}`;
        const target = `/${bucket}/${key}`;
        const body = randomBytes(size);
        const headers = { ...form, 'x-amz-meta-a': 'b', 'x-amz-checksum-algorithm': 'SHA256' };
        await at.send('PUT', target, { headers, body });
        const first = await at.send('HEAD', target);
        const stored = blobs();
        const context = index === 1 ? { context: Buffer.from('{"a":"b"}').toString('base64') } : {};
        // biome-ignore format: one case to a line
        const steps: readonly (readonly [string, string, Record<string, string>])[] = [
          [toKey(otherKeyName), otherKeyName, { method: 'aws:kms', 'aws-kms-key-id': otherKeyName, ...context }],
          [toKey(`arn:aws:kms:x:1:key/${masterKeyName}`), masterKeyName, { method: 'aws:kms', 'aws-kms-key-id': `arn:aws:kms:x:1:key/${masterKeyName}`, ...context }],
          [toKms(`<KMSKeyArn>${otherKeyName}</KMSKeyArn><BucketKeyEnabled>true</BucketKeyEnabled>`), otherKeyName, { method: 'aws:kms', 'aws-kms-key-id': otherKeyName, ...context, 'bucket-key-enabled': 'true' }],
          [toS3, masterKeyName, { method: 'AES256' }],
        ];
        for (const [document, keyName, shown] of steps) {
          const usage = await at.store.keyUsage(keyName);
          const before = shownEncryption((await at.send('HEAD', target)).headers);
          const answer = await update(key, document);
          assert.equal(answer.status, 200, answer.body.toString());
          assert.deepEqual(shownEncryption(answer.headers), shown);
          const read = await at.send('GET', target);
          assert.ok(read.body.equals(body));
          assert.deepEqual(shownEncryption(read.headers), shown);
          for (const name of ['etag', 'last-modified', 'x-amz-meta-a', 'content-length']) {
            assert.equal(read.headers[name], first.headers[name], name);
          }
          const isSameKey =
            before['aws-kms-key-id']?.endsWith(keyName) === true ||
            (before['method'] === 'AES256' && keyName === masterKeyName);
          const grown = (await at.store.keyUsage(keyName)).objects - usage.objects;
          assert.equal(grown, isSameKey ? 0 : 1, `${JSON.stringify(before)} ${keyName}`);
        }
        assert.deepEqual(blobs(), stored);
      }
    }
  });

  void test('a plain object is written again, in one piece or in parts, and looks as before', async () => {
    for (const document of [toS3, toKey(otherKeyName)]) {
      for (const size of [0, 10, 300_000]) {
        const key = `plain-${size}`;
        const body = randomBytes(size);
        const put = await at.send('PUT', `/${bucket}/${key}`, { body });
        const first = await at.send('HEAD', `/${bucket}/${key}`);
        assert.equal((await update(key, document)).status, 200);
        const read = await at.send('GET', `/${bucket}/${key}`);
        assert.ok(read.body.equals(body));
        assert.equal(read.headers['etag'], put.headers['etag']);
        assert.equal(read.headers['last-modified'], first.headers['last-modified']);
        assert.notEqual(shownEncryption(read.headers)['method'], undefined);
      }
      const parts = [randomBytes(5 * mib + 1), randomBytes(5 * mib), randomBytes(3)];
      const created = await at.send('POST', `/${bucket}/parts?uploads`);
      const [uploadId] = textsOf(xmlOf(created), 'UploadId');
      const etags: string[] = [];
      for (const [index, body] of parts.entries()) {
        const target = `/${bucket}/parts?partNumber=${index * 2 + 1}&uploadId=${uploadId}`;
        etags.push(String((await at.send('PUT', target, { body })).headers['etag']));
      }
      const listed = etags.map(
        (etag, index) =>
          `<Part><PartNumber>${index * 2 + 1}</PartNumber><ETag>${etag.replaceAll('"', '')}</ETag></Part>`,
      );
      const done = await at.send('POST', `/${bucket}/parts?uploadId=${uploadId}`, {
        body: `<CompleteMultipartUpload>${listed.join('')}</CompleteMultipartUpload>`,
      });
      assert.equal(done.status, 200);
      const first = await at.send('HEAD', `/${bucket}/parts`);
      assert.equal((await update('parts', document)).status, 200);
      const read = await at.send('GET', `/${bucket}/parts`);
      assert.ok(read.body.equals(Buffer.concat(parts)));
      assert.equal(read.headers['etag'], first.headers['etag']);
      const second = await at.send('GET', `/${bucket}/parts?partNumber=2`);
      assert.ok(second.body.equals(parts[1] ?? Buffer.alloc(0)));
      // And once more, now around the key it has.
      assert.equal((await update('parts', toKey(masterKeyName))).status, 200);
      assert.ok((await at.send('GET', `/${bucket}/parts`)).body.equals(Buffer.concat(parts)));
    }
  });

  void test('the SDK asks for it as AWS has it', async () => {
    await at.send('PUT', `/${bucket}/sdk`, { headers: sseS3Headers, body: 'x' });
    const arn = `arn:aws:kms:us-east-1:123456789012:key/${otherKeyName}`;
    await at.sdk.send(
      new UpdateObjectEncryptionCommand({
        Bucket: bucket,
        Key: 'sdk',
        ObjectEncryption: { SSEKMS: { KMSKeyArn: arn, BucketKeyEnabled: true } },
      }),
    );
    const shown = shownEncryption((await at.send('HEAD', `/${bucket}/sdk`)).headers);
    assert.deepEqual(shown, {
      method: 'aws:kms',
      'aws-kms-key-id': arn,
      'bucket-key-enabled': 'true',
    });
    assert.equal((await at.send('GET', `/${bucket}/sdk`)).body.toString(), 'x');
  });

  void test('one version changes, the others stay', async () => {
    const name = freshBucket();
    await at.send('PUT', `/${name}`);
    const versioning =
      '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>';
    assert.equal(await at.outcome('PUT', `/${name}?versioning`, { body: versioning }), '200');
    const ids: string[] = [];
    for (const body of ['one', 'two', 'three']) {
      const put = await at.send('PUT', `/${name}/k`, { headers: sseS3Headers, body });
      ids.push(String(put.headers['x-amz-version-id']));
    }
    const target = `/${name}/k?encryption&versionId=${ids[1]}`;
    assert.equal(await at.outcome('PUT', target, { body: toKey(otherKeyName) }), '200');
    for (const [index, body] of ['one', 'two', 'three'].entries()) {
      const read = await at.send('GET', `/${name}/k?versionId=${ids[index]}`);
      assert.equal(read.body.toString(), body);
      const expected = index === 1 ? 'aws:kms' : 'AES256';
      assert.equal(shownEncryption(read.headers)['method'], expected);
    }
    await at.send('DELETE', `/${name}/k`);
    assert.equal(await at.outcome('PUT', `/${name}/k?encryption`, { body: toS3 }), '404 NoSuchKey');
  });

  void test('a locked version keeps its encryption until the lock is off', async () => {
    const name = freshBucket();
    const headers = { 'x-amz-bucket-object-lock-enabled': 'true' };
    await at.send('PUT', `/${name}`, { headers });
    for (const form of [{}, sseS3Headers]) {
      const hold = { ...form, 'x-amz-object-lock-legal-hold': 'ON' };
      const put = await at.send('PUT', `/${name}/k`, { headers: hold, body: 'x' });
      assert.equal(put.status, 200, put.body.toString());
      const target = `/${name}/k?encryption`;
      const body = toKey(otherKeyName);
      assert.equal(await at.outcome('PUT', target, { body }), '403 AccessDenied');
      const off = '<LegalHold><Status>OFF</Status></LegalHold>';
      assert.equal(await at.outcome('PUT', `/${name}/k?legal-hold`, { body: off }), '200');
      assert.equal(await at.outcome('PUT', target, { body }), '200');
      assert.equal((await at.send('GET', `/${name}/k`)).body.toString(), 'x');
    }
  });

  void test('what cannot be changed is refused and left as it is', async () => {
    const key = randomBytes(32);
    await at.send('PUT', `/${bucket}/c`, { headers: customerHeaders(key), body: 'x' });
    await at.send('PUT', `/${bucket}/d`, { headers: dsseHeaders(), body: 'x' });
    await at.send('PUT', `/${bucket}/s`, { headers: sseS3Headers, body: 'x' });
    // biome-ignore format: one case to a line
    const cases: readonly (readonly [string, string, string])[] = [
      ['c', toS3, '400 InvalidRequest'],
      ['d', toKey(masterKeyName), '400 InvalidRequest'],
      ['absent', toS3, '404 NoSuchKey'],
      ['s', toKey('absent'), '400 KMS.NotFoundException'],
      ['s', toKey(''), '400 InvalidRequest'],
      ['s', toKey(` ${masterKeyName}`), '400 InvalidRequest'],
      ['s', toKms(''), '400 InvalidRequest'],
      ['s', toKms(`<KMSKeyArn>${masterKeyName}</KMSKeyArn><BucketKeyEnabled>x</BucketKeyEnabled>`), '400 InvalidRequest'],
      ['s', '<ObjectEncryption/>', '400 InvalidRequest'],
      ['s', '<ObjectEncryption><SSE-S3/><SSE-KMS/></ObjectEncryption>', '400 InvalidRequest'],
      ['s', '<Other/>', '400 MalformedXML'],
      ['s', '', '400 MalformedXML'],
    ];
    for (const [name, body, expected] of cases) {
      assert.equal(
        await at.outcome('PUT', `/${bucket}/${name}?encryption`, { body }),
        expected,
        body,
      );
    }
    const withHeader = { headers: sseS3Headers, body: toS3 };
    const outcome = await at.outcome('PUT', `/${bucket}/s?encryption`, withHeader);
    assert.equal(outcome, '400 InvalidArgument');
    assert.equal((await at.send('GET', `/${bucket}/s`)).body.toString(), 'x');
    const bare = await startHarness({ withoutKms: true });
    try {
      await bare.send('PUT', '/bucket');
      await bare.send('PUT', '/bucket/k', { body: 'x' });
      const refused = await bare.outcome('PUT', '/bucket/k?encryption', { body: toS3 });
      assert.equal(refused, '501 NotImplemented');
    } finally {
      await bare.close();
    }
  });

  void test('updates, overwrites and copies at the same time lose nothing', async () => {
    const target = `/${bucket}/race`;
    const bodies = Array.from({ length: 8 }, () => randomBytes(200_000));
    const digests = new Set(bodies.map((body) => digestOf(body)));
    await at.send('PUT', target, { body: bodies[0] ?? '' });
    const work = bodies.flatMap((body, index) => [
      at.send('PUT', target, { headers: index % 2 === 0 ? {} : sseS3Headers, body }),
      update('race', index % 2 === 0 ? toKey(otherKeyName) : toS3),
      at.send('GET', target),
    ]);
    for (const answer of await Promise.all(work)) {
      assert.ok([200, 409, 503].includes(answer.status), answer.body.toString().slice(0, 200));
      if (answer.body.length === 200_000) assert.ok(digests.has(digestOf(answer.body)));
    }
    const read = await at.send('GET', target);
    assert.ok(digests.has(digestOf(read.body)));
  });
});

function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
