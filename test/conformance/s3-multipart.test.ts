// Multipart uploads through official clients and by hand.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  GetObjectAttributesCommand,
  ListMultipartUploadsCommand,
  ListPartsCommand,
  UploadPartCommand,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3';
import { codeOf, freshBucket, type Harness, startHarness, textsOf, xmlOf } from './s3-harness.ts';

const mib = 1024 * 1024;
const md5 = (bytes: Uint8Array) => createHash('md5').update(bytes).digest();

void describe('multipart uploads', () => {
  let at: Harness;
  let bucket: string;
  before(async () => {
    at = await startHarness();
    bucket = freshBucket();
    await at.send('PUT', `/${bucket}`);
  });
  after(() => at.close());

  async function create(key: string, headers: Record<string, string> = {}): Promise<string> {
    const answer = await at.send('POST', `/${bucket}/${key}?uploads`, { headers });
    return textsOf(xmlOf(answer), 'UploadId')[0] ?? '';
  }

  async function put(
    key: string,
    uploadId: string,
    number: number,
    body: Uint8Array,
  ): Promise<string> {
    const answer = await at.send(
      'PUT',
      `/${bucket}/${key}?partNumber=${number}&uploadId=${uploadId}`,
      { body },
    );
    assert.equal(answer.status, 200, answer.body.toString());
    return String(answer.headers['etag']);
  }

  const completion = (parts: readonly (readonly [number, string])[]) =>
    `<CompleteMultipartUpload>${parts.map(([number, etag]) => `<Part><PartNumber>${number}</PartNumber><ETag>${etag.replaceAll('"', '&#34;')}</ETag></Part>`).join('')}</CompleteMultipartUpload>`;

  void test('AES256 on a part or a completion is refused where the upload is not encrypted', async () => {
    const headers = { 'x-amz-server-side-encryption': 'AES256' };
    const plain = await create('sse-late');
    const part = `/${bucket}/sse-late?partNumber=1&uploadId=${plain}`;
    const refusal = '400 InvalidRequest';
    assert.equal(await at.outcome('PUT', part, { headers, body: 'x' }), refusal);
    await at.send('PUT', `/${bucket}/sse-source`, { body: 'source' });
    const copy = { 'x-amz-copy-source': `/${bucket}/sse-source` };
    assert.equal(await at.outcome('PUT', part, { headers: { ...headers, ...copy } }), refusal);
    const body = completion([[1, await put('sse-late', plain, 1, Buffer.from('x'))]]);
    const target = `/${bucket}/sse-late?uploadId=${plain}`;
    assert.equal(await at.outcome('POST', target, { headers, body }), refusal);
    assert.equal(await at.outcome('POST', target, { body }), '200');

    const sealed = await create('sse-early', headers);
    const sealedPart = `/${bucket}/sse-early?partNumber=1&uploadId=${sealed}`;
    assert.equal(await at.outcome('PUT', sealedPart, { headers: { ...headers, ...copy } }), '200');
    const written = await at.send('PUT', sealedPart, { headers, body: 'x' });
    assert.equal(written.status, 200);
    const sealedBody = completion([[1, String(written.headers['etag'])]]);
    const sealedTarget = `/${bucket}/sse-early?uploadId=${sealed}`;
    for (let turn = 0; turn < 2; turn += 1) {
      const answer = await at.send('POST', sealedTarget, { headers, body: sealedBody });
      assert.equal(answer.status, 200, answer.body.toString());
      assert.equal(answer.headers['x-amz-server-side-encryption'], 'AES256');
    }
  });

  void test('an abort with a condition that would not be checked is refused', async () => {
    const target = `/${bucket}/abort?uploadId=${await create('abort')}`;
    const headers = { 'x-amz-if-match-initiated-time': 'Mon, 01 Jan 2024 00:00:00 GMT' };
    assert.equal(await at.outcome('DELETE', target, { headers }), '501 NotImplemented');
    assert.equal(await at.outcome('DELETE', target), '204');
  });

  for (const sse of [undefined, 'AES256'] as const) {
    const kind = sse ?? 'plain';
    void test(`an upload of odd parts is put together, read whole, by range and by part (${kind})`, async () => {
      const Key = `mp-${kind}`;
      const parts = [randomBytes(5 * mib + 1), randomBytes(5 * mib), randomBytes(7)];
      const created = await at.sdk.send(
        new CreateMultipartUploadCommand({
          Bucket: bucket,
          Key,
          ServerSideEncryption: sse,
          Metadata: { m: '1' },
          ContentType: 'text/y',
          ChecksumAlgorithm: 'CRC32',
        }),
      );
      assert.equal(created.ServerSideEncryption, sse);
      const UploadId = created.UploadId ?? '';
      const done: { PartNumber: number; ETag: string; ChecksumCRC32: string }[] = [];
      for (const [index, Body] of parts.entries()) {
        const PartNumber = index + 1;
        const part = await at.sdk.send(
          new UploadPartCommand({ Bucket: bucket, Key, UploadId, PartNumber, Body }),
        );
        assert.equal(part.ETag, `"${md5(Body).toString('hex')}"`);
        assert.equal(part.ServerSideEncryption, sse);
        done.push({ PartNumber, ETag: part.ETag ?? '', ChecksumCRC32: part.ChecksumCRC32 ?? '' });
      }
      assert.equal(await at.outcome('GET', `/${bucket}/${Key}?partNumber=1`), '404 NoSuchKey');
      const listed = await at.sdk.send(
        new ListPartsCommand({ Bucket: bucket, Key, UploadId, MaxParts: 2 }),
      );
      assert.deepEqual(
        listed.Parts?.map(({ Size }) => Size),
        [5 * mib + 1, 5 * mib],
      );
      assert.equal(listed.IsTruncated, true);
      const rest = await at.sdk.send(
        new ListPartsCommand({
          Bucket: bucket,
          Key,
          UploadId,
          PartNumberMarker: listed.NextPartNumberMarker,
        }),
      );
      assert.deepEqual(
        rest.Parts?.map(({ PartNumber }) => PartNumber),
        [3],
      );
      const complete = () =>
        at.sdk.send(
          new CompleteMultipartUploadCommand({
            Bucket: bucket,
            Key,
            UploadId,
            MultipartUpload: { Parts: done },
          }),
        );
      const completed = await complete();
      const etag = `"${md5(Buffer.concat(parts.map(md5))).toString('hex')}-3"`;
      assert.equal(completed.ETag, etag);
      assert.equal(completed.ServerSideEncryption, sse);
      assert.equal(completed.Location, `http://${at.host}/${bucket}/${Key}`);
      assert.match(completed.ChecksumCRC32 ?? '', /-3$/);
      assert.equal((await complete()).ETag, etag);
      const whole = Buffer.concat(parts);
      const got = await at.sdk.send(
        new GetObjectCommand({ Bucket: bucket, Key, ChecksumMode: 'ENABLED' }),
      );
      assert.ok(whole.equals((await got.Body?.transformToByteArray()) ?? Buffer.alloc(0)));
      assert.equal(got.ETag, etag);
      assert.equal(got.ChecksumType, 'COMPOSITE');
      assert.deepEqual([got.Metadata, got.ContentType], [{ m: '1' }, 'text/y']);
      for (const [start, end] of [
        [0, 10],
        [5 * mib - 3, 5 * mib + 9],
        [10 * mib, 10 * mib + 8],
        [4_000_000, 10_000_000],
      ] as const) {
        const range = await at.send('GET', `/${bucket}/${Key}`, {
          headers: { range: `bytes=${start}-${end - 1}` },
        });
        assert.ok(whole.subarray(start, end).equals(range.body), `${start}-${end}`);
      }
      for (const [index, part] of parts.entries()) {
        const one = await at.send('GET', `/${bucket}/${Key}?partNumber=${index + 1}`, {
          headers: { 'x-amz-checksum-mode': 'ENABLED' },
        });
        assert.equal(one.status, 206);
        assert.ok(part.equals(one.body));
        assert.equal(one.headers['x-amz-mp-parts-count'], '3');
        assert.equal(one.headers['x-amz-checksum-crc32'], done[index]?.ChecksumCRC32);
      }
      assert.equal(await at.outcome('GET', `/${bucket}/${Key}?partNumber=4`), '400 InvalidPart');
      assert.equal(
        await at.outcome('GET', `/${bucket}/${Key}?partNumber=0`),
        '400 InvalidArgument',
      );
      const both = { headers: { range: 'bytes=0-1' } };
      assert.equal(
        await at.outcome('GET', `/${bucket}/${Key}?partNumber=1`, both),
        '400 InvalidRequest',
      );
      const attributes = await at.sdk.send(
        new GetObjectAttributesCommand({
          Bucket: bucket,
          Key,
          ObjectAttributes: ['ObjectParts', 'Checksum'],
        }),
      );
      assert.equal(`${attributes.Checksum?.ChecksumCRC32}-3`, completed.ChecksumCRC32);
      assert.equal(attributes.ObjectParts?.TotalPartsCount, 3);
      assert.deepEqual(
        attributes.ObjectParts?.Parts?.map(({ Size }) => Size),
        parts.map(({ length }) => length),
      );
    });
  }

  void test('what is wrong with a completion is named, and leaves the upload as it was', async () => {
    const id = await create('bad');
    const small = await put('bad', id, 1, Buffer.from('a'));
    const last = await put('bad', id, 2, Buffer.from('b'));
    const complete = (body: string, headers: Record<string, string> = {}) =>
      at.outcome('POST', `/${bucket}/bad?uploadId=${id}`, { body, headers });
    assert.equal(await complete(''), '400 MalformedXML');
    assert.equal(await complete('<CompleteMultipartUpload/>'), '400 MalformedXML');
    assert.equal(await complete('<CompleteMultipartUpload>'), '400 MalformedXML');
    assert.equal(
      await complete(
        completion([
          [2, last],
          [1, small],
        ]),
      ),
      '400 InvalidPartOrder',
    );
    assert.equal(
      await complete(
        completion([
          [1, small],
          [1, small],
        ]),
      ),
      '400 InvalidPartOrder',
    );
    assert.equal(await complete(completion([[0, small]])), '400 InvalidArgument');
    assert.equal(await complete(completion([[3, small]])), '400 InvalidPart');
    assert.equal(
      await complete(completion([[1, '"00000000000000000000000000000000"']])),
      '400 InvalidPart',
    );
    assert.equal(
      await complete(
        completion([
          [1, small],
          [2, last],
        ]),
      ),
      '400 EntityTooSmall',
    );
    assert.equal(
      await complete(completion([[2, last]]), { 'x-amz-mp-object-size': '9' }),
      '400 InvalidRequest',
    );
    assert.equal(await complete(completion([[2, last]]), { 'if-match': '*' }), '404 NoSuchKey');
    assert.equal(
      await at.outcome('POST', `/${bucket}/bad?uploadId=nope`, { body: completion([[1, small]]) }),
      '404 NoSuchUpload',
    );
    assert.equal(await complete(completion([[2, last.replaceAll('"', '')]])), '200');
    assert.equal((await at.send('GET', `/${bucket}/bad`)).body.toString(), 'b');
  });

  void test('parts need an upload and a number from 1 to 10,000', async () => {
    const id = await create('part');
    const put1 = (query: string) => at.outcome('PUT', `/${bucket}/part?${query}`, { body: 'x' });
    for (const number of ['0', '-1', '10001', 'x', '']) {
      assert.equal(
        await put1(`partNumber=${number}&uploadId=${id}`),
        '400 InvalidArgument',
        number,
      );
    }
    assert.equal(await put1(`uploadId=${id}`), '400 InvalidArgument');
    assert.equal(await put1('partNumber=1'), '400 InvalidArgument');
    assert.equal(await put1('partNumber=1&uploadId=nope'), '404 NoSuchUpload');
    assert.equal(await put1(`partNumber=10000&uploadId=${id}`), '200');
  });

  void test('an aborted upload is gone, with its parts', async () => {
    const before = await blobCount();
    const id = await create('gone');
    await put('gone', id, 1, randomBytes(5 * mib));
    assert.equal(await at.outcome('DELETE', `/${bucket}/gone?uploadId=${id}`), '204');
    assert.equal(await at.outcome('DELETE', `/${bucket}/gone?uploadId=${id}`), '404 NoSuchUpload');
    assert.equal(await at.outcome('GET', `/${bucket}/gone?uploadId=${id}`), '404 NoSuchUpload');
    assert.ok((await blobCount()) <= before + 1);
  });

  async function blobCount(): Promise<number> {
    let count = 0;
    for await (const _ of at.blobs.list()) count += 1;
    return count;
  }

  void test('parts are copied from objects, whole and by range, in every direction of encryption', async () => {
    const source = randomBytes(5 * mib + 77);
    for (const from of [undefined, 'AES256'] as const) {
      const sse = from === undefined ? {} : { 'x-amz-server-side-encryption': from };
      await at.send('PUT', `/${bucket}/src-${from}`, { body: source, headers: sse });
      for (const to of [undefined, 'AES256'] as const) {
        const Key = `pc-${from}-${to}`;
        const { UploadId } = await at.sdk.send(
          new CreateMultipartUploadCommand({ Bucket: bucket, Key, ServerSideEncryption: to }),
        );
        const copy = (PartNumber: number, CopySourceRange?: string) =>
          at.sdk.send(
            new UploadPartCopyCommand({
              Bucket: bucket,
              Key,
              UploadId,
              PartNumber,
              CopySource: `${bucket}/src-${from}`,
              CopySourceRange,
            }),
          );
        const one = await copy(1);
        const two = await copy(2, 'bytes=100-1099');
        assert.equal(one.ServerSideEncryption, to);
        const Parts = [one, two].map((part, index) => ({
          PartNumber: index + 1,
          ETag: part.CopyPartResult?.ETag,
        }));
        await at.sdk.send(
          new CompleteMultipartUploadCommand({
            Bucket: bucket,
            Key,
            UploadId,
            MultipartUpload: { Parts },
          }),
        );
        const got = await at.send('GET', `/${bucket}/${Key}`);
        assert.ok(Buffer.concat([source, source.subarray(100, 1100)]).equals(got.body));
      }
    }
    const id = await create('ranges');
    const copyRange = (range: string) =>
      at.outcome('PUT', `/${bucket}/ranges?partNumber=1&uploadId=${id}`, {
        headers: {
          'x-amz-copy-source': `${bucket}/src-undefined`,
          'x-amz-copy-source-range': range,
        },
      });
    for (const bad of [
      '0-2',
      'bytes=0',
      'bytes=hello-world',
      'bytes=0-bar',
      'bytes=2-1',
      'bytes=0-2,3-5',
      'bytes=-5',
    ]) {
      assert.equal(await copyRange(bad), '400 InvalidArgument', bad);
    }
    assert.equal(await copyRange('bytes=0-99999999'), '416 InvalidRange');
  });

  void test('open uploads are listed in order, by prefix and in pages, and block no bucket', async () => {
    const Bucket = freshBucket();
    await at.send('PUT', `/${Bucket}`);
    for (const key of ['a/1', 'a/2', 'b', 'b']) {
      await at.send('POST', `/${Bucket}/${key}?uploads`);
    }
    const all = await at.sdk.send(new ListMultipartUploadsCommand({ Bucket }));
    assert.deepEqual(
      all.Uploads?.map(({ Key }) => Key),
      ['a/1', 'a/2', 'b', 'b'],
    );
    assert.ok(all.Uploads?.every(({ Owner, Initiator }) => Owner?.ID === Initiator?.ID));
    const folded = await at.sdk.send(new ListMultipartUploadsCommand({ Bucket, Delimiter: '/' }));
    assert.deepEqual(
      folded.CommonPrefixes?.map(({ Prefix }) => Prefix),
      ['a/'],
    );
    const seen: string[] = [];
    let marker: { KeyMarker?: string; UploadIdMarker?: string } = {};
    for (;;) {
      const page = await at.sdk.send(
        new ListMultipartUploadsCommand({ Bucket, MaxUploads: 1, ...marker }),
      );
      seen.push(...(page.Uploads ?? []).map(({ UploadId }) => UploadId ?? ''));
      if (page.IsTruncated !== true) break;
      marker = {
        KeyMarker: page.NextKeyMarker ?? '',
        UploadIdMarker: page.NextUploadIdMarker ?? '',
      };
    }
    assert.deepEqual(
      seen,
      all.Uploads?.map(({ UploadId }) => UploadId),
    );
    const listed = xmlOf(await at.send('GET', `/${Bucket}`));
    assert.deepEqual(textsOf(listed, 'Key'), []);
    assert.equal(await at.outcome('DELETE', `/${Bucket}`), '204');
  });

  void test('declared checksums must be possible, and completions must agree with them', async () => {
    const declare = (headers: Record<string, string>) =>
      at.outcome('POST', `/${bucket}/ck?uploads`, { headers });
    assert.equal(await declare({ 'x-amz-checksum-algorithm': 'MD4' }), '400 InvalidRequest');
    assert.equal(await declare({ 'x-amz-checksum-type': 'COMPOSITE' }), '400 InvalidRequest');
    assert.equal(
      await declare({ 'x-amz-checksum-algorithm': 'SHA256', 'x-amz-checksum-type': 'FULL_OBJECT' }),
      '400 InvalidRequest',
    );
    assert.equal(
      await declare({
        'x-amz-checksum-algorithm': 'CRC64NVME',
        'x-amz-checksum-type': 'COMPOSITE',
      }),
      '400 InvalidRequest',
    );
    const id = await create('ck', { 'x-amz-checksum-algorithm': 'CRC64NVME' });
    const etag = await put('ck', id, 1, Buffer.from('hello world'));
    const complete = (headers: Record<string, string>) =>
      at.send('POST', `/${bucket}/ck?uploadId=${id}`, { headers, body: completion([[1, etag]]) });
    assert.equal(
      codeOf(await complete({ 'x-amz-checksum-crc64nvme': 'AAAAAAAAAAA=' })),
      'BadDigest',
    );
    assert.equal(codeOf(await complete({ 'x-amz-checksum-type': 'COMPOSITE' })), 'InvalidRequest');
    assert.equal(
      codeOf(
        await complete({
          'x-amz-checksum-crc32': 'AAAAAA==',
          'x-amz-checksum-crc64nvme': 'jSnVw/bqjr4=',
        }),
      ),
      'InvalidRequest',
    );
    const done = await complete({
      'x-amz-checksum-crc64nvme': 'jSnVw/bqjr4=',
      'x-amz-checksum-type': 'FULL_OBJECT',
    });
    assert.deepEqual(textsOf(xmlOf(done), 'ChecksumCRC64NVME'), ['jSnVw/bqjr4=']);
  });

  void test('the minio client uploads in parts by itself', async () => {
    const bytes = randomBytes(12 * mib);
    at.minio.partSize = 5 * mib;
    const { Readable } = await import('node:stream');
    await at.minio.putObject(bucket, 'auto', Readable.from([bytes]));
    const got = await at.send('GET', `/${bucket}/auto`);
    assert.ok(bytes.equals(got.body));
  });
});
