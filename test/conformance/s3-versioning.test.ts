// Versions as clients see them: states of a bucket, ids and markers in headers and listings, reads and deletions of
// one version, copies of old versions, tags of each, and what is refused.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  CopyObjectCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetBucketVersioningCommand,
  GetObjectAttributesCommand,
  GetObjectCommand,
  GetObjectTaggingCommand,
  HeadObjectCommand,
  ListObjectVersionsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3';
import { freshBucket, type Harness, startHarness, textsOf, xmlOf } from './s3-harness.ts';

const idText = /^[0-9a-f]{32}$/;

describe('versioning', () => {
  let at: Harness;
  before(async () => {
    at = await startHarness();
  });
  after(() => at.close());

  async function setVersioning(Bucket: string, Status: 'Enabled' | 'Suspended'): Promise<void> {
    await at.sdk.send(
      new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status } }),
    );
  }

  async function makeBucket(status?: 'Enabled' | 'Suspended'): Promise<string> {
    const Bucket = freshBucket();
    await at.send('PUT', `/${Bucket}`);
    if (status !== undefined) await setVersioning(Bucket, status);
    return Bucket;
  }

  async function putText(Bucket: string, Key: string, Body: string): Promise<string> {
    const answer = await at.sdk.send(new PutObjectCommand({ Bucket, Key, Body }));
    return answer.VersionId ?? 'null';
  }

  async function getText(Bucket: string, Key: string, VersionId?: string): Promise<string> {
    const answer = await at.sdk.send(new GetObjectCommand({ Bucket, Key, VersionId }));
    return (await answer.Body?.transformToString()) ?? '';
  }

  void test('goes on, can be suspended, and is never unset', async () => {
    const Bucket = await makeBucket();
    const get = () => at.sdk.send(new GetBucketVersioningCommand({ Bucket }));
    assert.equal((await get()).Status, undefined);
    await setVersioning(Bucket, 'Enabled');
    assert.equal((await get()).Status, 'Enabled');
    await setVersioning(Bucket, 'Suspended');
    assert.equal((await get()).Status, 'Suspended');
    const body = (inner: string) => ({
      body: `<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${inner}</VersioningConfiguration>`,
    });
    // biome-ignore format: one case to a line
    const cases: readonly (readonly [string, string])[] = [
      ['', '400 MalformedXML'],
      ['<Status>Off</Status>', '400 MalformedXML'],
      ['<Status>enabled</Status>', '400 MalformedXML'],
      ['<Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>', '501 NotImplemented'],
      ['<Status>Enabled</Status><ExcludeFolders>true</ExcludeFolders>', '501 NotImplemented'],
      ['<Status>Suspended</Status><MfaDelete>Disabled</MfaDelete>', '200'],
    ];
    for (const [inner, expected] of cases) {
      assert.equal(await at.outcome('PUT', `/${Bucket}?versioning`, body(inner)), expected, inner);
    }
    assert.equal(
      await at.outcome('PUT', `/${freshBucket()}?versioning`, body('<Status>Enabled</Status>')),
      '404 NoSuchBucket',
    );
  });

  void test('tells version ids only where there are versions', async () => {
    const Bucket = await makeBucket();
    const plain = await at.send('PUT', `/${Bucket}/a`, { body: 'old' });
    assert.equal(plain.headers['x-amz-version-id'], undefined);
    for (const method of ['GET', 'HEAD', 'DELETE']) {
      const answer = await at.send(method, `/${Bucket}/${method === 'DELETE' ? 'x' : 'a'}`);
      assert.equal(answer.headers['x-amz-version-id'], undefined, method);
      assert.equal(answer.headers['x-amz-delete-marker'], undefined, method);
    }
    await setVersioning(Bucket, 'Enabled');
    assert.equal((await at.send('HEAD', `/${Bucket}/a`)).headers['x-amz-version-id'], 'null');
    const one = await putText(Bucket, 'a', 'one');
    assert.match(one, idText);
    const seen = await at.send('GET', `/${Bucket}/a`);
    assert.equal(seen.headers['x-amz-version-id'], one);
    assert.equal(await getText(Bucket, 'a', 'null'), 'old');
    await setVersioning(Bucket, 'Suspended');
    const suspended = await at.send('PUT', `/${Bucket}/a`, { body: 'new null' });
    assert.equal(suspended.headers['x-amz-version-id'], undefined);
    assert.equal((await at.send('GET', `/${Bucket}/a`)).headers['x-amz-version-id'], 'null');
    assert.equal(await getText(Bucket, 'a', one), 'one');
    const attributes = await at.sdk.send(
      new GetObjectAttributesCommand({
        Bucket,
        Key: 'a',
        VersionId: one,
        ObjectAttributes: ['ObjectSize'],
      }),
    );
    assert.equal(attributes.ObjectSize, 3);
    assert.equal(attributes.VersionId, one);
    const unchanged = { headers: { 'if-none-match': String(seen.headers['etag']) } };
    const notModified = await at.send('GET', `/${Bucket}/a?versionId=${one}`, unchanged);
    assert.equal(notModified.status, 304);
    assert.equal(notModified.headers['x-amz-version-id'], one);
  });

  void test('answers for markers and for ids that are none', async () => {
    const Bucket = await makeBucket('Enabled');
    const one = await putText(Bucket, 'a', 'one');
    const deleted = await at.send('DELETE', `/${Bucket}/a`);
    assert.equal(deleted.status, 204);
    assert.equal(deleted.headers['x-amz-delete-marker'], 'true');
    const marker = String(deleted.headers['x-amz-version-id']);
    for (const method of ['GET', 'HEAD']) {
      const hidden = await at.send(method, `/${Bucket}/a`);
      assert.equal(hidden.status, 404);
      assert.equal(hidden.headers['x-amz-delete-marker'], 'true');
      assert.equal(hidden.headers['x-amz-version-id'], marker);
      const asked = await at.send(method, `/${Bucket}/a?versionId=${marker}`);
      assert.equal(asked.status, 405);
      assert.equal(asked.headers['allow'], 'DELETE');
      assert.equal(asked.headers['x-amz-delete-marker'], 'true');
      assert.ok(Date.parse(String(asked.headers['last-modified'])) > 0);
    }
    assert.equal(await at.outcome('GET', `/${Bucket}/a`), '404 NoSuchKey');
    const never = await at.send('HEAD', `/${Bucket}/never`);
    assert.equal(never.headers['x-amz-delete-marker'], 'false');
    // biome-ignore format: one case to a line
    const cases: readonly (readonly [string, string, string])[] = [
      ['GET', `a?versionId=${marker}`, '405 MethodNotAllowed'],
      ['GET', `a?tagging&versionId=${marker}`, '405 MethodNotAllowed'],
      ['GET', `a?versionId=${'0'.repeat(32)}`, '404 NoSuchVersion'],
      ['GET', 'a?versionId=null', '404 NoSuchVersion'],
      ['GET', 'a?versionId=', '400 InvalidArgument'],
      ['GET', 'a?versionId=a%20b', '400 InvalidArgument'],
      ['GET', 'a?versionId=8f1d8a4e-1b2c-4d3e-9f00-0123456789ab', '404 NoSuchVersion'],
      ['GET', `never?versionId=${one}`, '404 NoSuchVersion'],
      ['DELETE', 'a?versionId=a%20b', '400 InvalidArgument'],
      ['DELETE', `a?versionId=${'0'.repeat(32)}`, '204'],
    ];
    for (const [method, target, expected] of cases) {
      assert.equal(await at.outcome(method, `/${Bucket}/${target}`), expected, target);
    }
    const unmarked = await at.send('DELETE', `/${Bucket}/a?versionId=${marker}`);
    assert.equal(unmarked.headers['x-amz-delete-marker'], 'true');
    assert.equal(unmarked.headers['x-amz-version-id'], marker);
    assert.equal(await getText(Bucket, 'a'), 'one');
    const gone = await at.send('DELETE', `/${Bucket}/a?versionId=${one}`);
    assert.equal(gone.headers['x-amz-delete-marker'], undefined);
    assert.equal(gone.headers['x-amz-version-id'], one);
    assert.equal(await at.outcome('DELETE', `/${Bucket}`), '204');
  });

  void test('lists versions and markers in one order, whatever the pages', async () => {
    const Bucket = await makeBucket();
    await putText(Bucket, 'a', 'null');
    await setVersioning(Bucket, 'Enabled');
    const expected: string[] = [];
    const a1 = await putText(Bucket, 'a', 'one');
    const a2 = await at.sdk.send(new DeleteObjectCommand({ Bucket, Key: 'a' }));
    expected.push(`D a ${a2.VersionId} true`, `V a ${a1} false`, 'V a null false');
    expected.push(`V a+ ${await putText(Bucket, 'a+', 'x')} true`);
    const first = await putText(Bucket, 'b/c d', '1');
    expected.push(`V b/c d ${await putText(Bucket, 'b/c d', '2')} true`, `V b/c d ${first} false`);
    const whole = await at.send('GET', `/${Bucket}?versions`);
    const kinds = xmlOf(whole).children.filter(({ name }) => /^(Version|DeleteMarker)$/.test(name));
    const seen = kinds.map((item) =>
      [
        item.name[0],
        ...['Key', 'VersionId', 'IsLatest'].flatMap((name) => textsOf(item, name)),
      ].join(' '),
    );
    assert.deepEqual(seen, expected);
    assert.deepEqual(
      kinds.map((item) => textsOf(item, 'ETag').length),
      [0, 1, 1, 1, 1, 1],
    );
    for (const MaxKeys of [1, 2, 4]) {
      const found: string[] = [];
      let KeyMarker: string | undefined;
      let VersionIdMarker: string | undefined;
      for (let isTruncated = true; isTruncated; ) {
        const page = await at.sdk.send(
          new ListObjectVersionsCommand({ Bucket, MaxKeys, KeyMarker, VersionIdMarker }),
        );
        const versions = [...(page.Versions ?? []), ...(page.DeleteMarkers ?? [])];
        assert.ok(versions.length <= MaxKeys);
        found.push(...versions.map(({ Key, VersionId }) => `${Key} ${VersionId}`));
        isTruncated = page.IsTruncated ?? false;
        KeyMarker = page.NextKeyMarker;
        VersionIdMarker = page.NextVersionIdMarker;
      }
      const all = expected.map((text) => text.slice(2).replace(/ (true|false)$/, ''));
      assert.deepEqual(found.sort(), all.sort());
    }
    const folded = await at.sdk.send(new ListObjectVersionsCommand({ Bucket, Delimiter: '/' }));
    assert.deepEqual(folded.CommonPrefixes, [{ Prefix: 'b/' }]);
    assert.equal(
      await at.outcome('GET', `/${Bucket}?versions&key-marker=a&version-id-marker=%20`),
      '400 InvalidArgument',
    );
    const behind = await at.send('GET', `/${Bucket}?versions&key-marker=a&version-id-marker=null`);
    assert.deepEqual(textsOf(xmlOf(behind), 'Key'), ['a+', 'b/c d', 'b/c d']);
  });

  void test('deletes many, with versions, markers and conditions', async () => {
    const Bucket = await makeBucket('Enabled');
    const one = await putText(Bucket, 'a', 'one');
    const made = await at.sdk.send(
      new DeleteObjectsCommand({
        Bucket,
        Delete: { Objects: [{ Key: 'a' }, { Key: 'b', ETag: '"x"' }, { Key: 'c' }] },
      }),
    );
    const [a, b] = made.Deleted ?? [];
    assert.equal(a?.DeleteMarker, true);
    assert.match(a?.DeleteMarkerVersionId ?? '', idText);
    assert.equal(a?.VersionId, undefined);
    assert.deepEqual(b, { Key: 'b' });
    const VersionId = a?.DeleteMarkerVersionId;
    const Objects = [
      { Key: 'a', VersionId },
      { Key: 'a', VersionId: one, Size: 9 },
    ];
    const removed = await at.sdk.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
    assert.deepEqual(removed.Deleted, [
      { Key: 'a', VersionId, DeleteMarker: true, DeleteMarkerVersionId: VersionId },
    ]);
    assert.deepEqual(
      removed.Errors?.map((error) => [error.Key, error.VersionId, error.Code]),
      [['a', one, 'PreconditionFailed']],
    );
    assert.equal(await getText(Bucket, 'a'), 'one');
    const head = await at.sdk.send(new HeadObjectCommand({ Bucket, Key: 'a' }));
    const wrong = new Date((head.LastModified?.getTime() ?? 0) - 5000).toUTCString();
    const conditions = (headers: Record<string, string>) =>
      at.outcome('DELETE', `/${Bucket}/a?versionId=${one}`, { headers });
    assert.equal(
      await conditions({ 'x-amz-if-match-last-modified-time': wrong }),
      '412 PreconditionFailed',
    );
    assert.equal(
      await conditions({ 'x-amz-if-match-last-modified-time': 'then' }),
      '400 InvalidArgument',
    );
    assert.equal(await conditions({ 'x-amz-if-match-size': '-1' }), '400 InvalidArgument');
    assert.equal(await conditions({ 'x-amz-if-match-size': '4' }), '412 PreconditionFailed');
    assert.equal(await conditions({ 'if-match': '"x"' }), '412 PreconditionFailed');
    assert.equal(
      await conditions({
        'if-match': head.ETag ?? '',
        'x-amz-if-match-size': '3',
        'x-amz-if-match-last-modified-time': head.LastModified?.toUTCString() ?? '',
      }),
      '204',
    );
  });

  void test('copies old versions, and a version onto its own name', async () => {
    const Bucket = await makeBucket('Enabled');
    const one = await putText(Bucket, 'a', 'one');
    const two = await putText(Bucket, 'a', 'two');
    const copied = await at.sdk.send(
      new CopyObjectCommand({ Bucket, Key: 'b', CopySource: `${Bucket}/a?versionId=${one}` }),
    );
    assert.equal(copied.CopySourceVersionId, one);
    assert.match(copied.VersionId ?? '', idText);
    assert.equal(await getText(Bucket, 'b'), 'one');
    const restored = await at.sdk.send(
      new CopyObjectCommand({ Bucket, Key: 'a', CopySource: `${Bucket}/a?versionId=${one}` }),
    );
    assert.equal(await getText(Bucket, 'a'), 'one');
    assert.equal(await getText(Bucket, 'a', two), 'two');
    const relabelled = await at.sdk.send(
      new CopyObjectCommand({
        Bucket,
        Key: 'a',
        CopySource: `${Bucket}/a`,
        MetadataDirective: 'REPLACE',
        Metadata: { new: 'yes' },
      }),
    );
    assert.notEqual(relabelled.VersionId, restored.VersionId);
    const before = await at.sdk.send(
      new HeadObjectCommand({ Bucket, Key: 'a', VersionId: restored.VersionId }),
    );
    assert.deepEqual(before.Metadata, {});
    const marker = await at.sdk.send(new DeleteObjectCommand({ Bucket, Key: 'gone' }));
    for (const [source, expected] of [
      [`gone?versionId=${marker.VersionId}`, '400 InvalidRequest'],
      ['gone', '404 NoSuchKey'],
      [`a?versionId=${'0'.repeat(32)}`, '404 NoSuchVersion'],
    ] as const) {
      const headers = { 'x-amz-copy-source': `/${Bucket}/${source}` };
      assert.equal(await at.outcome('PUT', `/${Bucket}/x`, { headers }), expected, source);
    }
    const onto = { headers: { 'x-amz-copy-source': `/${Bucket}/a` } };
    assert.equal(await at.outcome('PUT', `/${Bucket}/a`, onto), '400 InvalidRequest');
    const created = await at.send('POST', `/${Bucket}/m?uploads`);
    const [UploadId = ''] = textsOf(xmlOf(created), 'UploadId');
    const part = await at.sdk.send(
      new UploadPartCopyCommand({
        Bucket,
        Key: 'm',
        UploadId,
        PartNumber: 1,
        CopySource: `${Bucket}/a?versionId=${two}`,
      }),
    );
    assert.equal(part.CopySourceVersionId, two);
    const completed = await at.send('POST', `/${Bucket}/m?uploadId=${UploadId}`, {
      body: `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${part.CopyPartResult?.ETag}</ETag></Part></CompleteMultipartUpload>`,
    });
    assert.match(String(completed.headers['x-amz-version-id']), idText);
    assert.equal(await getText(Bucket, 'm'), 'two');
  });

  void test('tags each version by itself', async () => {
    const Bucket = await makeBucket('Enabled');
    const one = await putText(Bucket, 'a', 'one');
    await putText(Bucket, 'a', 'two');
    const TagSet = [
      { Key: 'z', Value: 'a+b = c/d' },
      { Key: 'a', Value: '' },
    ];
    const ref = { Bucket, Key: 'a', VersionId: one };
    const put = await at.sdk.send(new PutObjectTaggingCommand({ ...ref, Tagging: { TagSet } }));
    assert.equal(put.VersionId, one);
    const got = await at.sdk.send(new GetObjectTaggingCommand(ref));
    assert.deepEqual(got.TagSet, TagSet.toReversed());
    const current = await at.sdk.send(new GetObjectTaggingCommand({ Bucket, Key: 'a' }));
    assert.deepEqual(current.TagSet, []);
    const head = await at.send('HEAD', `/${Bucket}/a?versionId=${one}`);
    assert.equal(head.headers['x-amz-tagging-count'], '2');
    const document = (tags: readonly (readonly [string, string])[]) => ({
      body: `<Tagging><TagSet>${tags.map(([key, value]) => `<Tag><Key>${key}</Key><Value>${value}</Value></Tag>`).join('')}</TagSet></Tagging>`,
    });
    const many = Array.from({ length: 11 }, (_, index) => [`k${index}`, ''] as const);
    // biome-ignore format: one case to a line
    const cases: readonly (readonly [{ readonly body: string }, string])[] = [
      [document(many), '400 InvalidTag'],
      [document(many.slice(1)), '200'],
      [document([['x'.repeat(129), '']]), '400 InvalidTag'],
      [document([['x', 'y'.repeat(257)]]), '400 InvalidTag'],
      [document([['x', '1'], ['x', '2']]), '400 InvalidTag'],
      [document([['', '2']]), '400 InvalidTag'],
      [{ body: '<Tagging/>' }, '400 MalformedXML'],
      [{ body: '<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>' }, '400 MalformedXML'],
    ];
    for (const [body, expected] of cases) {
      assert.equal(await at.outcome('PUT', `/${Bucket}/a?tagging`, body), expected, body.body);
    }
    assert.equal(await at.outcome('DELETE', `/${Bucket}/a?tagging`), '204');
    assert.equal((await at.send('HEAD', `/${Bucket}/a`)).headers['x-amz-tagging-count'], undefined);
    assert.equal(await at.outcome('PUT', `/${Bucket}/x?tagging`, document([])), '404 NoSuchKey');
    const id = '0'.repeat(32);
    assert.equal(
      await at.outcome('DELETE', `/${Bucket}/a?tagging&versionId=${id}`),
      '404 NoSuchVersion',
    );
  });

  void test('a bucket is deleted by force with all its versions', async () => {
    const Bucket = await makeBucket('Enabled');
    for (const key of ['a', 'd', 'd/1', 'd/1', 'd0']) await putText(Bucket, key, 'x');
    await at.send('DELETE', `/${Bucket}/a`);
    const force = { headers: { 'x-minio-force-delete': 'true' } };
    assert.equal(await at.outcome('DELETE', `/${Bucket}/d`, force), '204');
    const left = await at.send('GET', `/${Bucket}?versions`);
    assert.deepEqual(textsOf(xmlOf(left), 'Key'), ['a', 'a', 'd0']);
    assert.equal(await at.outcome('DELETE', `/${Bucket}`), '409 BucketNotEmpty');
    assert.equal(await at.outcome('DELETE', `/${Bucket}`, force), '204');
  });
});
