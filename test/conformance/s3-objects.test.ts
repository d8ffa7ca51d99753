// Objects through official clients and hand-signed requests: bytes, ranges, conditions, metadata,
// deletion, copies, encryption headers.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import {
  CopyObjectCommand,
  CreateBucketCommand,
  DeleteObjectsCommand,
  GetObjectAttributesCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
} from '@aws-sdk/client-s3';
import { freshBucket, type Harness, startHarness, textsOf, xmlOf } from './s3-harness.ts';

const md5 = (bytes: Uint8Array) => createHash('md5').update(bytes).digest('hex');

void describe('objects', () => {
  let at: Harness;
  let bucket: string;
  before(async () => {
    at = await startHarness();
    bucket = freshBucket();
    await at.sdk.send(new CreateBucketCommand({ Bucket: bucket }));
  });
  after(() => at.close());

  for (const size of [0, 1, 4096, 65_536, 131_072, 131_073, 1_000_000, 5_300_000]) {
    void test(`an object of ${size} bytes comes back through both SDKs, plain and encrypted`, async () => {
      const bytes = randomBytes(size);
      for (const ServerSideEncryption of [undefined, 'AES256'] as const) {
        const Key = `size/${size}/${ServerSideEncryption ?? 'plain'}`;
        const put = await at.sdk.send(
          new PutObjectCommand({ Bucket: bucket, Key, Body: bytes, ServerSideEncryption }),
        );
        assert.equal(put.ETag, `"${md5(bytes)}"`);
        assert.equal(put.ServerSideEncryption, ServerSideEncryption);
        const got = await at.sdk.send(new GetObjectCommand({ Bucket: bucket, Key }));
        assert.deepEqual(Buffer.from((await got.Body?.transformToByteArray()) ?? []), bytes);
        assert.equal(got.ServerSideEncryption, ServerSideEncryption);
        assert.equal(got.ContentLength, size);
        const stream = await at.minio.getObject(bucket, Key);
        assert.deepEqual(Buffer.concat(await stream.toArray()), bytes);
        const head = await at.sdk.send(new HeadObjectCommand({ Bucket: bucket, Key }));
        assert.equal(head.ContentLength, size);
        assert.equal(head.ETag, put.ETag);
      }
    });
  }

  void test('a stream of unknown checksum is stored through the trailer form', async () => {
    const bytes = randomBytes(300_000);
    const Body = Readable.from([bytes.subarray(0, 100_000), bytes.subarray(100_000)]);
    const put = await at.sdk.send(
      new PutObjectCommand({ Bucket: bucket, Key: 'stream', Body, ContentLength: bytes.length }),
    );
    assert.equal(put.ETag, `"${md5(bytes)}"`);
    const head = await at.send('HEAD', `/${bucket}/stream`, {
      headers: { 'x-amz-checksum-mode': 'ENABLED' },
    });
    assert.ok(head.headers['x-amz-checksum-crc32']);
    assert.equal(head.headers['content-encoding'], undefined);
    await at.minio.putObject(bucket, 'minio-stream', Readable.from([bytes]), bytes.length);
    const got = await at.send('GET', `/${bucket}/minio-stream`);
    assert.deepEqual(got.body, bytes);
  });

  void test('names are opaque: slashes, dots, blanks, plus, percent and all of Unicode', async () => {
    const names = [
      'a//b',
      '/lead',
      './x',
      '../up',
      'dir/',
      'dir',
      'sp ace+plus',
      'a%.txt',
      'a%25.txt',
      '?&=#',
      'é\u0301😀',
      '"<>&\'',
      'tab\tnew\nline',
      '\\back',
    ];
    for (const Key of names) {
      await at.sdk.send(new PutObjectCommand({ Bucket: bucket, Key, Body: Key }));
    }
    for (const Key of names) {
      const got = await at.sdk.send(new GetObjectCommand({ Bucket: bucket, Key }));
      assert.equal(await got.Body?.transformToString(), Key);
      const head = await at.minio.statObject(bucket, Key);
      assert.equal(head.size, Buffer.byteLength(Key));
    }
  });

  // Header, status, first and last byte (or error) of a GET of ten bytes.
  // biome-ignore format: one case to a line
  const ranges: readonly (readonly [string, string])[] = [
    ['bytes=0-0', '206 0 bytes 0-0/10'],
    ['bytes=2-5', '206 2345 bytes 2-5/10'],
    ['bytes=007-8', '206 78 bytes 7-8/10'],
    ['bytes=5-', '206 56789 bytes 5-9/10'],
    ['bytes=5-999', '206 56789 bytes 5-9/10'],
    ['bytes=-3', '206 789 bytes 7-9/10'],
    ['bytes=-99', '206 0123456789 bytes 0-9/10'],
    ['bytes=10-', '416 InvalidRange bytes */10'],
    ['bytes=10-20', '416 InvalidRange bytes */10'],
    ['bytes=-0', '416 InvalidRange bytes */10'],
    ['bytes=5-2', '200 0123456789 '],
    ['bytes=0-1,3-4', '200 0123456789 '],
    ['bytes= 0-1', '200 0123456789 '],
    ['bytes=-', '200 0123456789 '],
    ['items=0-1', '200 0123456789 '],
  ];
  for (const [header, expected] of ranges) {
    void test(`Range: ${header} gives ${expected}`, async () => {
      await at.send('PUT', `/${bucket}/ten`, { body: '0123456789' });
      const got = await at.send('GET', `/${bucket}/ten`, { headers: { range: header } });
      const text = got.status === 416 ? 'InvalidRange' : got.body.toString();
      assert.equal(`${got.status} ${text} ${String(got.headers['content-range'] ?? '')}`, expected);
      const head = await at.send('HEAD', `/${bucket}/ten`, { headers: { range: header } });
      assert.equal(head.status, got.status);
      if (got.status !== 416) assert.equal(head.headers['content-length'], String(got.body.length));
    });
  }

  void test('ranges of large objects are exact across cipher packages, plain and encrypted', async () => {
    const bytes = randomBytes(1_300_001);
    for (const [key, headers] of [
      ['r-plain', {}],
      ['r-sse', { 'x-amz-server-side-encryption': 'AES256' }],
    ] as const) {
      await at.send('PUT', `/${bucket}/${key}`, { body: bytes, headers });
      for (const [start, end] of [
        [0, 1],
        [65_535, 65_537],
        [1, 1_300_000],
        [131_072, 196_608],
        [1_300_000, 1_300_001],
      ] as const) {
        const got = await at.send('GET', `/${bucket}/${key}`, {
          headers: { range: `bytes=${start}-${end - 1}` },
        });
        assert.equal(got.status, 206);
        assert.deepEqual(got.body, bytes.subarray(start, end));
      }
    }
  });

  void test('every range of an empty object is out of range', async () => {
    await at.send('PUT', `/${bucket}/empty`, { body: '' });
    const range = { headers: { range: 'bytes=0-0' } };
    assert.equal(await at.outcome('GET', `/${bucket}/empty`, range), '416 InvalidRange');
  });

  void test('conditional reads follow the order of precedence', async () => {
    await at.send('PUT', `/${bucket}/cond`, { body: 'x' });
    const head = await at.send('HEAD', `/${bucket}/cond`);
    const etag = String(head.headers['etag']);
    const past = new Date(Date.now() - 86_400_000).toUTCString();
    const future = new Date(Date.now() + 86_400_000).toUTCString();
    // biome-ignore format: one case to a line
    const cases: readonly (readonly [Record<string, string>, string])[] = [
      [{ 'if-match': etag }, '200'],
      [{ 'if-match': etag.replaceAll('"', '') }, '200'],
      [{ 'if-match': '*' }, '200'],
      [{ 'if-match': `"nope", ${etag}` }, '200'],
      [{ 'if-match': '"nope"' }, '412 PreconditionFailed'],
      [{ 'if-match': etag, 'if-unmodified-since': past }, '200'],
      [{ 'if-unmodified-since': past }, '412 PreconditionFailed'],
      [{ 'if-unmodified-since': future }, '200'],
      [{ 'if-none-match': etag }, '304'],
      [{ 'if-none-match': '*' }, '304'],
      [{ 'if-none-match': '"nope"' }, '200'],
      [{ 'if-none-match': '"nope"', 'if-modified-since': future }, '200'],
      [{ 'if-modified-since': past }, '200'],
      [{ 'if-modified-since': future }, '304'],
      [{ 'if-modified-since': 'junk' }, '200'],
      [{ 'if-match': etag, 'if-none-match': etag }, '304'],
    ];
    for (const [headers, expected] of cases) {
      for (const method of ['GET', 'HEAD']) {
        const outcome = await at.outcome(method, `/${bucket}/cond`, { headers });
        assert.equal(outcome, expected, `${method} ${JSON.stringify(headers)}`);
      }
    }
  });

  void test('conditional writes are decided on the current object', async () => {
    const target = `/${bucket}/cw`;
    const put = (headers: Record<string, string>) =>
      at.outcome('PUT', target, { headers, body: 'x' });
    assert.equal(await put({ 'if-match': '*' }), '404 NoSuchKey');
    assert.equal(await put({ 'if-none-match': '*' }), '200');
    assert.equal(await put({ 'if-none-match': '*' }), '412 PreconditionFailed');
    assert.equal(await put({ 'if-match': '"nope"' }), '412 PreconditionFailed');
    assert.equal(await put({ 'if-match': `"${md5(Buffer.from('x'))}"` }), '200');
    assert.equal(
      await put({ 'if-none-match': `"${md5(Buffer.from('x'))}"` }),
      '412 PreconditionFailed',
    );
    assert.equal(await put({ 'if-none-match': '"other"' }), '200');
  });

  void test('of many writers with If-None-Match only one wins', async () => {
    const outcomes = await Promise.all(
      Array.from({ length: 12 }, () =>
        at.outcome('PUT', `/${bucket}/race`, { headers: { 'if-none-match': '*' }, body: 'x' }),
      ),
    );
    assert.equal(outcomes.filter((outcome) => outcome === '200').length, 1, outcomes.join());
    assert.ok(
      outcomes.every((outcome) =>
        ['200', '412 PreconditionFailed', '409 ConditionalRequestConflict'].includes(outcome),
      ),
    );
  });

  void test('content headers, metadata and tags come back; bytes outside ASCII are kept', async () => {
    await at.sdk.send(
      new PutObjectCommand({
        Bucket: bucket,
        Key: 'meta',
        Body: 'x',
        CacheControl: 'no-cache',
        ContentDisposition: 'attachment; filename="a.txt"',
        ContentEncoding: 'gzip',
        ContentLanguage: 'de',
        ContentType: '',
        Expires: new Date('2030-01-01T00:00:00Z'),
        Metadata: { Mixed: 'Case', empty: '' },
        Tagging: 'b=2&a=1&c',
      }),
    );
    const head = await at.send('HEAD', `/${bucket}/meta`);
    assert.equal(head.headers['cache-control'], 'no-cache');
    assert.equal(head.headers['content-disposition'], 'attachment; filename="a.txt"');
    assert.equal(head.headers['content-encoding'], 'gzip');
    assert.equal(head.headers['content-language'], 'de');
    assert.equal(head.headers['expires'], 'Tue, 01 Jan 2030 00:00:00 GMT');
    assert.equal(head.headers['x-amz-meta-mixed'], 'Case');
    assert.equal(head.headers['x-amz-meta-empty'], '');
    assert.equal(head.headers['x-amz-tagging-count'], '3');
    const tags = xmlOf(await at.send('GET', `/${bucket}/meta?tagging`));
    assert.deepEqual(textsOf(tags, 'Key'), ['a', 'b', 'c']);
    assert.deepEqual(textsOf(tags, 'Value'), ['1', '2', '']);
    const bytes = Buffer.from('naïve ☃', 'utf8').toString('latin1');
    await at.send('PUT', `/${bucket}/utf8`, { headers: { 'x-amz-meta-x': bytes }, body: '' });
    const back = await at.send('HEAD', `/${bucket}/utf8`);
    assert.equal(back.headers['x-amz-meta-x'], bytes);
    const override = await at.send(
      'GET',
      `/${bucket}/meta?response-content-type=a%2Fb&response-cache-control=x`,
    );
    assert.equal(override.headers['content-type'], 'a/b');
    assert.equal(override.headers['cache-control'], 'x');
  });

  void test('headers that ask for what would not happen are refused', async () => {
    // biome-ignore format: one case to a line
    const cases: readonly (readonly [Record<string, string>, string])[] = [
      [{ 'x-amz-acl': 'private' }, '200'],
      [{ 'x-amz-acl': 'bucket-owner-full-control' }, '200'],
      [{ 'x-amz-acl': 'aws-exec-read' }, '501 NotImplemented'],
      [{ 'x-amz-acl': 'mine' }, '400 InvalidArgument'],
      [{ 'x-amz-grant-read': 'id="x"' }, '501 NotImplemented'],
      [{ 'x-amz-object-lock-mode': 'GOVERNANCE' }, '400 InvalidArgument'],
      [{ 'x-amz-object-lock-legal-hold': 'ON' }, '400 InvalidRequest'],
      [{ 'x-amz-write-offset-bytes': '0' }, '501 NotImplemented'],
      [{ 'x-amz-storage-class': 'NOPE' }, '400 InvalidStorageClass'],
      [{ 'x-amz-storage-class': 'REDUCED_REDUNDANCY' }, '200'],
      [{ 'x-amz-meta-big': 'x'.repeat(2100) }, '400 MetadataTooLarge'],
      [{ 'x-minio-internal-server-side-encryption-iv': 'x' }, '400 UnsupportedMetadata'],
      [{ 'x-amz-meta-x-amz-unencrypted-content-md5': 'x' }, '400 UnsupportedMetadata'],
      [{ 'x-amz-tagging': 'a=1&a=2' }, '400 InvalidTag'],
      [{ 'x-amz-tagging': 'a=%zz' }, '400 InvalidArgument'],
      [{ 'x-amz-tagging': Array.from({ length: 11 }, (_, n) => `k${n}=v`).join('&') }, '400 InvalidTag'],
      [{ 'content-md5': 'bad' }, '400 InvalidDigest'],
      [{ 'content-md5': '1B2M2Y8AsgTpgAmY7PhCfg==' }, '400 BadDigest'],
      [{ 'x-amz-checksum-crc32': 'AAAAAA==' }, '400 BadDigest'],
      [{ 'x-amz-expected-bucket-owner': '123456789012' }, '403 AccessDenied'],
    ];
    for (const [headers, expected] of cases) {
      const outcome = await at.outcome('PUT', `/${bucket}/refused`, { headers, body: 'x' });
      assert.equal(outcome, expected, JSON.stringify(headers));
    }
  });

  void test('encryption headers are honoured or refused, never ignored', async () => {
    const key = Buffer.alloc(32, 7);
    const customer = {
      'x-amz-server-side-encryption-customer-algorithm': 'AES256',
      'x-amz-server-side-encryption-customer-key': key.toString('base64'),
      'x-amz-server-side-encryption-customer-key-md5': createHash('md5')
        .update(key)
        .digest('base64'),
    };
    const copySource = Object.fromEntries(
      Object.entries(customer).map(([name, value]) => [
        name.replace('x-amz-', 'x-amz-copy-source-'),
        value,
      ]),
    );
    const sse = (value: string) => ({ 'x-amz-server-side-encryption': value });
    const keyId = { 'x-amz-server-side-encryption-aws-kms-key-id': 'k' };
    const context = { 'x-amz-server-side-encryption-context': 'e30=' };
    await at.send('PUT', `/${bucket}/plain`, { body: 'x' });
    // biome-ignore format: one case to a line
    const cases: readonly (readonly [string, string, Record<string, string>, string])[] = [
      ['PUT', 'e', sse('AES256'), '200'],
      ['PUT', 'e', sse('aes256'), '400 InvalidArgument'],
      ['PUT', 'e', sse(''), '400 InvalidArgument'],
      ['PUT', 'e', sse('AES192'), '400 InvalidArgument'],
      ['PUT', 'e', sse('aws:kms'), '200'],
      ['PUT', 'e', { ...sse('aws:kms'), ...keyId }, '400 KMS.NotFoundException'],
      ['PUT', 'e', sse('aws:kms:dsse'), '200'],
      ['PUT', 'e', keyId, '400 InvalidArgument'],
      ['PUT', 'e', context, '400 InvalidArgument'],
      ['PUT', 'e', { ...sse('AES256'), ...keyId }, '400 InvalidArgument'],
      ['PUT', 'e', { ...sse('AES256'), ...context }, '400 InvalidArgument'],
      ['PUT', 'e', { ...sse('AES256'), ...customer }, '400 InvalidArgument'],
      ['PUT', 'e', { ...sse('aws:kms'), ...customer }, '400 InvalidArgument'],
      ['PUT', 'e', customer, '200'],
      ['PUT', 'e', { 'x-amz-server-side-encryption-customer-key-md5': '' }, '400 InvalidArgument'],
      ['PUT', 'e', copySource, '400 InvalidArgument'],
      ['POST', 'e?uploads', sse('AES256'), '200'],
      ['POST', 'e?uploads', sse('aws:kms'), '200'],
      ['POST', 'e?uploads', customer, '200'],
      ['PUT', 'e?partNumber=1&uploadId=x', customer, '404 NoSuchUpload'],
      ['POST', 'e?uploadId=x', customer, '400 MalformedXML'],
      ['GET', 'plain', sse('AES256'), '400 InvalidArgument'],
      ['HEAD', 'plain', sse('AES256'), '400 InvalidArgument'],
      ['HEAD', 'e', keyId, '400 InvalidArgument'],
      ['GET', 'plain', customer, '400 InvalidRequest'],
      ['HEAD', 'plain', customer, '400 InvalidRequest'],
      ['GET', 'plain?attributes', { ...customer, 'x-amz-object-attributes': 'ETag' }, '400 InvalidRequest'],
      ['PUT', 'c', { ...customer, 'x-amz-copy-source': `${bucket}/plain` }, '200'],
      ['PUT', 'c', { ...copySource, 'x-amz-copy-source': `${bucket}/plain` }, '400 InvalidRequest'],
      ['PUT', 'c', { ...sse('aws:kms'), 'x-amz-copy-source': `${bucket}/plain` }, '200'],
      ['PUT', 'c', { ...sse('AES256'), 'x-amz-copy-source': `${bucket}/plain` }, '200'],
      ['DELETE', 'c', customer, '204'],
    ];
    for (const [method, name, headers, expected] of cases) {
      const body =
        method === 'PUT' && headers['x-amz-copy-source'] === undefined ? { body: 'x' } : {};
      const outcome = await at.outcome(method, `/${bucket}/${name}`, { headers, ...body });
      assert.equal(outcome, expected, `${method} ${name} ${Object.keys(headers).join()}`);
    }
  });

  void test('DELETE answers 204 for what is there and what is not, and 404 without the bucket', async () => {
    await at.send('PUT', `/${bucket}/del`, { body: 'x' });
    assert.equal(await at.outcome('DELETE', `/${bucket}/del`), '204');
    assert.equal(await at.outcome('DELETE', `/${bucket}/del`), '204');
    assert.equal(await at.outcome('GET', `/${bucket}/del`), '404 NoSuchKey');
    assert.equal(await at.outcome('HEAD', `/${bucket}/del`), '404 NoSuchKey');
    assert.equal(await at.outcome('DELETE', `/${freshBucket()}/del`), '404 NoSuchBucket');
    assert.equal(await at.outcome('GET', `/${bucket}/del?versionId=`), '400 InvalidArgument');
    await at.send('PUT', `/${bucket}/del`, { body: 'x' });
    assert.equal(await at.outcome('GET', `/${bucket}/del?versionId=null`), '200');
    assert.equal(await at.outcome('GET', `/${bucket}/del?versionId=other`), '404 NoSuchVersion');
    assert.equal(await at.outcome('DELETE', `/${bucket}/del?versionId=null`), '204');
    assert.equal(await at.outcome('GET', `/${bucket}/del`), '404 NoSuchKey');
  });

  void test('DeleteObjects deletes many, quietly if told, and refuses what it cannot trust', async () => {
    const keys = ['d/1', 'd/ 2 ', 'd/<3>', 'd/absent'];
    for (const Key of keys.slice(0, 3)) {
      await at.sdk.send(new PutObjectCommand({ Bucket: bucket, Key, Body: 'x' }));
    }
    const Objects = keys.map((Key) => ({ Key }));
    const result = await at.sdk.send(
      new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects } }),
    );
    assert.deepEqual(
      result.Deleted?.map(({ Key }) => Key),
      keys,
    );
    const quiet = await at.sdk.send(
      new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects, Quiet: true } }),
    );
    assert.equal(quiet.Deleted, undefined);
    await at.minio.removeObjects(bucket, keys);
    const body = '<Delete><Object><Key>x</Key></Object></Delete>';
    assert.equal(await at.outcome('POST', `/${bucket}?delete`, { body }), '400 InvalidRequest');
    for (const name of ['algorithm', 'mode', 'type']) {
      const headers = { [`x-amz-checksum-${name}`]: name === 'type' ? 'FULL_OBJECT' : 'CRC32' };
      const answer = await at.outcome('POST', `/${bucket}?delete`, { body, headers });
      assert.equal(answer, '400 InvalidRequest', name);
    }
    const withMd5 = (text: string) => ({
      body: text,
      headers: { 'content-md5': createHash('md5').update(text).digest('base64') },
    });
    assert.equal(await at.outcome('POST', `/${bucket}?delete`, withMd5(body)), '200');
    for (const bad of [
      '',
      '<Delete/>',
      '<Other><Object><Key>x</Key></Object></Other>',
      '<Delete>',
      `<Delete>${'<Object><Key>x</Key></Object>'.repeat(1001)}</Delete>`,
    ]) {
      assert.equal(await at.outcome('POST', `/${bucket}?delete`, withMd5(bad)), '400 MalformedXML');
    }
    const wrong = { body, headers: { 'content-md5': '1B2M2Y8AsgTpgAmY7PhCfg==' } };
    assert.equal(await at.outcome('POST', `/${bucket}?delete`, wrong), '400 BadDigest');
  });

  void test('GetObjectAttributes gives what was asked for', async () => {
    await at.sdk.send(
      new PutObjectCommand({
        Bucket: bucket,
        Key: 'attr',
        Body: 'abcdefg',
        ChecksumAlgorithm: 'CRC32C',
      }),
    );
    const attributes = await at.sdk.send(
      new GetObjectAttributesCommand({
        Bucket: bucket,
        Key: 'attr',
        ObjectAttributes: ['ETag', 'Checksum', 'ObjectParts', 'StorageClass', 'ObjectSize'],
      }),
    );
    assert.equal(attributes.ETag, md5(Buffer.from('abcdefg')));
    assert.equal(attributes.Checksum?.ChecksumCRC32C, '5if0QQ==');
    assert.equal(attributes.ObjectSize, 7);
    assert.equal(attributes.ObjectParts, undefined);
    assert.equal(await at.outcome('GET', `/${bucket}/attr?attributes`), '400 InvalidRequest');
    const headers = { 'x-amz-object-attributes': 'Nope' };
    assert.equal(
      await at.outcome('GET', `/${bucket}/attr?attributes`, { headers }),
      '400 InvalidArgument',
    );
  });

  void test('a copy goes in every direction between plain and encrypted', async () => {
    const bytes = randomBytes(200_000);
    for (const from of [undefined, 'AES256'] as const) {
      for (const to of [undefined, 'AES256'] as const) {
        const source = `copy/${from}-${to}`;
        await at.sdk.send(
          new PutObjectCommand({
            Bucket: bucket,
            Key: source,
            Body: bytes,
            ServerSideEncryption: from,
            Metadata: { m: '1' },
            ContentType: 'text/x',
          }),
        );
        const copied = await at.sdk.send(
          new CopyObjectCommand({
            Bucket: bucket,
            Key: `${source}-copy`,
            CopySource: `${bucket}/${source}`,
            ServerSideEncryption: to,
          }),
        );
        assert.equal(copied.ServerSideEncryption, to);
        assert.equal(copied.CopyObjectResult?.ETag, `"${md5(bytes)}"`);
        const got = await at.sdk.send(
          new GetObjectCommand({ Bucket: bucket, Key: `${source}-copy` }),
        );
        assert.deepEqual(Buffer.from((await got.Body?.transformToByteArray()) ?? []), bytes);
        assert.equal(got.ServerSideEncryption, to);
        assert.deepEqual(got.Metadata, { m: '1' });
        assert.equal(got.ContentType, 'text/x');
      }
    }
  });

  void test('a copy onto itself needs a change, and keeps the bytes', async () => {
    const target = `/${bucket}/self`;
    const source = { 'x-amz-copy-source': `${bucket}/self` };
    const replace = { ...source, 'x-amz-metadata-directive': 'REPLACE', 'x-amz-meta-new': '1' };
    for (const sse of [{}, { 'x-amz-server-side-encryption': 'AES256' }]) {
      await at.send('PUT', target, { body: 'abc', headers: { ...sse, 'x-amz-meta-old': '1' } });
      assert.equal(await at.outcome('PUT', target, { headers: source }), '400 InvalidRequest');
      assert.equal(await at.outcome('PUT', target, { headers: { ...replace, ...sse } }), '200');
      const got = await at.send('GET', target);
      assert.equal(got.body.toString(), 'abc');
      assert.equal(got.headers['x-amz-meta-old'], undefined);
      assert.equal(got.headers['x-amz-meta-new'], '1');
      assert.equal(got.headers['x-amz-server-side-encryption'], Object.values(sse)[0]);
    }
    const encrypt = { ...source, 'x-amz-server-side-encryption': 'AES256' };
    assert.equal(await at.outcome('PUT', target, { headers: encrypt }), '200');
    const storageClass = { ...source, 'x-amz-storage-class': 'REDUCED_REDUNDANCY' };
    assert.equal(await at.outcome('PUT', target, { headers: storageClass }), '200');
  });

  void test('a copy onto itself never brings back what a write meanwhile replaced', async () => {
    let meanwhile: (() => Promise<unknown>) | undefined;
    const racing = await startHarness({
      wrap: (store) => ({
        ...store,
        openObject: async (target) => {
          const object = await store.openObject(target);
          const run = meanwhile;
          meanwhile = undefined;
          await run?.();
          return object;
        },
      }),
    });
    try {
      await racing.send('PUT', '/bucket');
      const source = { 'x-amz-copy-source': 'bucket/k' };
      const redirect = { ...source, 'x-amz-website-redirect-location': '/there' };
      for (const bytes of ['new', 'old']) {
        const before = { body: 'old', headers: { 'x-amz-meta-write': 'old' } };
        await racing.send('PUT', '/bucket/k', before);
        const during = { body: bytes, headers: { 'x-amz-meta-write': 'new' } };
        meanwhile = () => racing.send('PUT', '/bucket/k', during);
        assert.equal(await racing.outcome('PUT', '/bucket/k', { headers: redirect }), '200');
        const got = await racing.send('GET', '/bucket/k');
        assert.equal(got.body.toString(), bytes);
        assert.equal(got.headers['x-amz-meta-write'], 'new');
        assert.equal(got.headers['x-amz-website-redirect-location'], '/there');
      }
      meanwhile = () => racing.send('DELETE', '/bucket/k');
      assert.equal(
        await racing.outcome('PUT', '/bucket/k', { headers: redirect }),
        '404 NoSuchKey',
      );
    } finally {
      await racing.close();
    }
  });

  void test('copy sources are decoded once, and their conditions answer 412', async () => {
    await at.sdk.send(new PutObjectCommand({ Bucket: bucket, Key: 'a%.txt', Body: 'one' }));
    await at.sdk.send(new PutObjectCommand({ Bucket: bucket, Key: 'a%25.txt', Body: 'two' }));
    const copy = (source: string, headers: Record<string, string> = {}) =>
      at.outcome('PUT', `/${bucket}/copied`, {
        headers: { 'x-amz-copy-source': source, ...headers },
      });
    const text = async () => (await at.send('GET', `/${bucket}/copied`)).body.toString();
    assert.equal(await copy(`${bucket}/a%25.txt`), '200');
    assert.equal(await text(), 'one');
    assert.equal(await copy(`/${bucket}/a%2525.txt`), '200');
    assert.equal(await text(), 'two');
    assert.equal(await copy(`/${bucket}/a%2525.txt?versionId=null`), '200');
    assert.equal(await copy(`${bucket}/absent`), '404 NoSuchKey');
    assert.equal(await copy(`${freshBucket()}/absent`), '404 NoSuchBucket');
    for (const bad of ['', '/', bucket, `${bucket}/`, `${bucket}/%zz`]) {
      assert.equal(await copy(bad), '400 InvalidArgument', bad);
    }
    const source = `${bucket}/a%25.txt`;
    assert.equal(
      await copy(source, { 'x-amz-copy-source-if-match': '"nope"' }),
      '412 PreconditionFailed',
    );
    assert.equal(
      await copy(source, { 'x-amz-copy-source-if-none-match': '*' }),
      '412 PreconditionFailed',
    );
    assert.equal(
      await copy(source, { 'x-amz-metadata-directive': 'MAYBE' }),
      '400 InvalidArgument',
    );
    assert.equal(
      await at.outcome('GET', `/${bucket}/copied`, { headers: { 'x-amz-copy-source': source } }),
      '400 InvalidArgument',
    );
  });

  void test('the key service is asked once for a PUT and a GET, never for HEAD, LIST and 304', async () => {
    const headers = { 'x-amz-server-side-encryption': 'AES256' };
    const count = async (action: () => Promise<unknown>) => {
      const before = at.kms.calls.length;
      await action();
      return at.kms.calls.length - before;
    };
    assert.equal(await count(() => at.send('PUT', `/${bucket}/count`, { headers, body: 'x' })), 1);
    assert.equal(await count(() => at.send('GET', `/${bucket}/count`)), 1);
    assert.equal(await count(() => at.send('HEAD', `/${bucket}/count`)), 0);
    assert.equal(await count(() => at.send('GET', `/${bucket}?prefix=count`)), 0);
    assert.equal(
      await count(() => at.send('GET', `/${bucket}/count`, { headers: { 'if-none-match': '*' } })),
      0,
    );
    const copy = { ...headers, 'x-amz-copy-source': `${bucket}/count` };
    assert.equal(await count(() => at.send('PUT', `/${bucket}/count2`, { headers: copy })), 2);
  });
});
