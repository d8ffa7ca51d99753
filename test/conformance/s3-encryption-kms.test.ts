// DSSE-KMS and bucket keys as clients ask for them: headers, defaults of buckets, calls of the key service, uploads
// in parts, and what the index of master keys says.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { KmsError } from '../../src/sse/kms.ts';
import {
  bucketKeyHeaders,
  dsseHeaders,
  kmsHeaders,
  shownEncryption,
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
const bucketKeyHeader = 'x-amz-server-side-encryption-bucket-key-enabled';

void describe('two layers and bucket keys', () => {
  let at: Harness;
  let bucket: string;
  before(async () => {
    at = await startHarness({ dsseKeyName: otherKeyName });
  });
  after(() => at.close());
  const fresh = async () => {
    bucket = freshBucket();
    await at.send('PUT', `/${bucket}`);
    at.kms.calls.length = 0;
  };
  const calls = () => at.kms.calls.map(({ call, keyName }) => `${call} ${keyName}`);
  const setDefault = (algorithm: string, more: string) =>
    at.outcome('PUT', `/${bucket}?encryption`, {
      body: `<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>${algorithm}</SSEAlgorithm><KMSMasterKeyID>${masterKeyName}</KMSMasterKeyID></ApplyServerSideEncryptionByDefault>${more}</Rule></ServerSideEncryptionConfiguration>`,
    });

  void test('two layers use two master keys, in every operation', async () => {
    await fresh();
    const shown = { method: 'aws:kms:dsse', 'aws-kms-key-id': masterKeyName };
    const body = randomBytes(200_000);
    const before = [await at.store.keyUsage(masterKeyName), await at.store.keyUsage(otherKeyName)];
    const put = await at.send('PUT', `/${bucket}/k`, { headers: dsseHeaders(), body });
    assert.deepEqual(shownEncryption(put.headers), shown);
    assert.deepEqual(calls(), [`generate ${masterKeyName}`, `generate ${otherKeyName}`]);
    for (const [index, name] of [masterKeyName, otherKeyName].entries()) {
      const usage = await at.store.keyUsage(name);
      assert.equal(usage.objects, (before[index]?.objects ?? 0) + 1);
      assert.equal(usage.bytes, (before[index]?.bytes ?? 0) + body.length);
    }
    const range = { headers: { range: 'bytes=65530-131080' } };
    const part = await at.send('GET', `/${bucket}/k`, range);
    assert.ok(part.body.equals(body.subarray(65_530, 131_081)));
    assert.deepEqual(shownEncryption(part.headers), shown);
    assert.deepEqual(calls().slice(2), [`decrypt ${masterKeyName}`, `decrypt ${otherKeyName}`]);

    const parts = [randomBytes(5 * mib + 1), randomBytes(70_000)];
    const created = await at.send('POST', `/${bucket}/mp?uploads`, { headers: dsseHeaders() });
    assert.deepEqual(shownEncryption(created.headers), shown);
    const [uploadId] = textsOf(xmlOf(created), 'UploadId');
    const listed: string[] = [];
    for (const [index, piece] of parts.entries()) {
      const target = `/${bucket}/mp?partNumber=${index + 1}&uploadId=${uploadId}`;
      const { headers } = await at.send('PUT', target, { body: piece });
      const etag = String(headers['etag']).replaceAll('"', '');
      listed.push(`<Part><PartNumber>${index + 1}</PartNumber><ETag>${etag}</ETag></Part>`);
    }
    const done = await at.send('POST', `/${bucket}/mp?uploadId=${uploadId}`, {
      body: `<CompleteMultipartUpload>${listed.join('')}</CompleteMultipartUpload>`,
    });
    assert.deepEqual(shownEncryption(done.headers), shown);
    const whole = Buffer.concat(parts);
    assert.ok((await at.send('GET', `/${bucket}/mp`)).body.equals(whole));
    for (let round = 0; round < 20; round += 1) {
      const start = Math.floor(Math.random() * whole.length);
      const end = start + Math.floor(Math.random() * Math.min(200_000, whole.length - start));
      const headers = { range: `bytes=${start}-${end}` };
      const got = await at.send('GET', `/${bucket}/mp`, { headers });
      assert.ok(got.body.equals(whole.subarray(start, end + 1)), headers.range);
    }
  });

  void test('neither layer is readable without its master key', async () => {
    await fresh();
    await at.send('PUT', `/${bucket}/k`, { headers: dsseHeaders(), body: 'x' });
    const { decrypt } = at.kms;
    for (const disabled of [masterKeyName, otherKeyName]) {
      at.kms.decrypt = (keyName, ...rest) =>
        keyName === disabled
          ? Promise.reject(new KmsError('key-disabled', 'disabled', { keyName }))
          : decrypt.call(at.kms, keyName, ...rest);
      assert.equal(await at.outcome('GET', `/${bucket}/k`), '400 KMS.DisabledException');
    }
    at.kms.decrypt = decrypt;
    assert.equal(await at.outcome('GET', `/${bucket}/k`), '200');
  });

  void test('a bucket may have two layers by default', async () => {
    await fresh();
    assert.equal(await setDefault('aws:kms:dsse', ''), '200');
    const shown = xmlOf(await at.send('GET', `/${bucket}?encryption`));
    assert.deepEqual(textsOf(shown, 'SSEAlgorithm'), ['aws:kms:dsse']);
    const put = await at.send('PUT', `/${bucket}/k`, { body: 'x' });
    assert.equal(shownEncryption(put.headers)['method'], 'aws:kms:dsse');
    const head = await at.send('HEAD', `/${bucket}/k`);
    assert.deepEqual(shownEncryption(head.headers), shownEncryption(put.headers));
  });

  void test('a bucket key takes one call for many objects, each with a key of its own', async () => {
    await fresh();
    const headers = bucketKeyHeaders(otherKeyName);
    const shown = {
      method: 'aws:kms',
      'aws-kms-key-id': otherKeyName,
      'bucket-key-enabled': 'true',
    };
    const bodies = Array.from({ length: 20 }, (_, index) => randomBytes(index * 5000));
    for (const [index, body] of bodies.entries()) {
      const put = await at.send('PUT', `/${bucket}/k${index}`, { headers, body });
      assert.deepEqual(shownEncryption(put.headers), shown);
    }
    for (const [index, body] of bodies.entries()) {
      const got = await at.send('GET', `/${bucket}/k${index}`);
      assert.ok(got.body.equals(body));
      assert.deepEqual(shownEncryption(got.headers), shown);
    }
    assert.deepEqual(calls(), [`generate ${otherKeyName}`]);
    assert.equal(at.kms.calls[0]?.context, `{"${bucket}":"${bucket}"}`);
    const created = await at.send('POST', `/${bucket}/mp?uploads`, { headers });
    assert.deepEqual(shownEncryption(created.headers), shown);
    const [uploadId] = textsOf(xmlOf(created), 'UploadId');
    const target = `/${bucket}/mp?partNumber=1&uploadId=${uploadId}`;
    const part = await at.send('PUT', target, { body: 'part' });
    assert.deepEqual(shownEncryption(part.headers), shown);
    assert.equal(at.kms.calls.length, 1);
    assert.equal((await at.store.keyUsage(otherKeyName)).objects >= 20, true);
  });

  void test('the bucket decides where the request says nothing, and the request where it does', async () => {
    await fresh();
    assert.equal(await setDefault('aws:kms', '<BucketKeyEnabled>true</BucketKeyEnabled>'), '200');
    const shown = xmlOf(await at.send('GET', `/${bucket}?encryption`));
    assert.deepEqual(textsOf(shown, 'BucketKeyEnabled'), ['true']);
    const isUnder = async (headers: Record<string, string>) => {
      const put = await at.send('PUT', `/${bucket}/k`, { headers, body: 'x' });
      assert.equal(put.status, 200, put.body.toString());
      return shownEncryption(put.headers)['bucket-key-enabled'];
    };
    assert.equal(await isUnder({}), 'true');
    assert.equal(await isUnder(kmsHeaders(otherKeyName)), 'true');
    assert.equal(await isUnder({ ...kmsHeaders(), [bucketKeyHeader]: 'false' }), undefined);
    assert.equal(await isUnder(dsseHeaders()), undefined);
    assert.equal(await setDefault('aws:kms', ''), '200');
    assert.equal(await isUnder({}), undefined);
    assert.equal(await isUnder(bucketKeyHeaders()), 'true');
  });

  void test('who sends no signature reads no object of a master key, however public it is', async () => {
    await fresh();
    const open = { 'x-amz-acl': 'public-read' };
    await at.send('PUT', `/${bucket}?acl`, { headers: { 'x-amz-acl': 'public-read-write' } });
    const read = async (name: string) => {
      const answer = await fetch(`http://${at.host}/${bucket}/${name}`);
      return `${answer.status} ${/<Code>(.*)<\/Code>/.exec(await answer.text())?.[1] ?? ''}`;
    };
    for (const [name, headers, expected] of [
      ['plain', {}, '200 '],
      ['s3', { 'x-amz-server-side-encryption': 'AES256' }, '200 '],
      ['kms', kmsHeaders(), '403 AccessDenied'],
      ['bucket-key', bucketKeyHeaders(), '403 AccessDenied'],
      ['dsse', dsseHeaders(), '403 AccessDenied'],
    ] as const) {
      const put = await at.outcome('PUT', `/${bucket}/${name}`, {
        headers: { ...headers, ...open },
        body: 'x',
      });
      assert.equal(put, '200');
      assert.equal(await read(name), expected, name);
      const copied = await fetch(`http://${at.host}/${bucket}/copied`, {
        method: 'PUT',
        headers: { 'x-amz-copy-source': `/${bucket}/${name}` },
      });
      assert.equal(copied.status, expected.startsWith('200') ? 200 : 403, name);
    }
  });

  void test('bucket keys are refused where they mean nothing', async () => {
    await fresh();
    // biome-ignore format: one case to a line
    const cases: readonly Record<string, string>[] = [
      { [bucketKeyHeader]: 'true' },
      { ...dsseHeaders(), [bucketKeyHeader]: 'true' },
      { ...kmsHeaders(), [bucketKeyHeader]: 'maybe' },
      { 'x-amz-server-side-encryption': 'AES256', [bucketKeyHeader]: 'true' },
    ];
    for (const headers of cases) {
      const outcome = await at.outcome('PUT', `/${bucket}/k`, { headers, body: 'x' });
      assert.equal(outcome, '400 InvalidArgument', JSON.stringify(headers));
    }
  });

  void test('a copy onto itself goes in and out of bucket keys and layers', async () => {
    await fresh();
    await at.send('PUT', `/${bucket}/k`, { headers: kmsHeaders(), body: 'text' });
    const source = { 'x-amz-copy-source': `/${bucket}/k` };
    for (const headers of [bucketKeyHeaders(), dsseHeaders(), kmsHeaders()]) {
      const copied = await at.send('PUT', `/${bucket}/k`, { headers: { ...headers, ...source } });
      const read = await at.send('GET', `/${bucket}/k`);
      assert.equal(read.body.toString(), 'text');
      assert.deepEqual(shownEncryption(read.headers), shownEncryption(copied.headers));
      const expected = headers[bucketKeyHeader];
      assert.equal(shownEncryption(read.headers)['bucket-key-enabled'], expected);
    }
  });
});
