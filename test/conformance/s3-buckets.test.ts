// Buckets, listings and the settings of buckets.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  CreateBucketCommand,
  DeleteBucketCommand,
  GetBucketAclCommand,
  GetBucketLocationCommand,
  HeadBucketCommand,
  ListBucketsCommand,
  ListObjectsCommand,
  type ListObjectsCommandOutput,
  ListObjectsV2Command,
  type ListObjectsV2CommandOutput,
  ListObjectVersionsCommand,
} from '@aws-sdk/client-s3';
import { freshBucket, type Harness, startHarness, textsOf, xmlOf } from './s3-harness.ts';

void describe('buckets', () => {
  let at: Harness;
  before(async () => {
    at = await startHarness();
  });
  after(() => at.close());

  void test('a bucket is made, found, listed and deleted', async () => {
    const Bucket = freshBucket();
    assert.equal(await at.outcome('GET', `/${Bucket}?location`), '404 NoSuchBucket');
    assert.equal(await at.outcome('HEAD', `/${Bucket}`), '404 NoSuchBucket');
    const made = await at.sdk.send(new CreateBucketCommand({ Bucket }));
    assert.equal(made.Location, `/${Bucket}`);
    const head = await at.sdk.send(new HeadBucketCommand({ Bucket }));
    assert.equal(head.BucketRegion, 'us-east-1');
    const location = await at.sdk.send(new GetBucketLocationCommand({ Bucket }));
    assert.equal(location.LocationConstraint, undefined);
    assert.ok(await at.minio.bucketExists(Bucket));
    const list = await at.sdk.send(new ListBucketsCommand({}));
    assert.ok(list.Buckets?.some(({ Name }) => Name === Bucket));
    assert.ok((await at.minio.listBuckets()).some(({ name }) => name === Bucket));
    await at.send('PUT', `/${Bucket}/k`, { body: 'x' });
    assert.equal(await at.outcome('DELETE', `/${Bucket}`), '409 BucketNotEmpty');
    await at.send('DELETE', `/${Bucket}/k`);
    await at.sdk.send(new DeleteBucketCommand({ Bucket }));
    assert.equal(await at.outcome('DELETE', `/${Bucket}`), '404 NoSuchBucket');
  });

  void test('making a bucket again is fine without a location and a conflict with one', async () => {
    const bucket = freshBucket();
    const body =
      '<CreateBucketConfiguration><LocationConstraint>eu-central-1</LocationConstraint></CreateBucketConfiguration>';
    assert.equal(await at.outcome('PUT', `/${bucket}`, { body }), '200');
    assert.equal(await at.outcome('PUT', `/${bucket}`), '200');
    assert.equal(await at.outcome('PUT', `/${bucket}`, { body }), '409 BucketAlreadyOwnedByYou');
    const location = xmlOf(await at.send('GET', `/${bucket}?location`));
    assert.equal(location.text, 'eu-central-1');
    assert.equal(
      await at.outcome('PUT', `/${freshBucket()}`, { body: '<Nope/>' }),
      '400 MalformedXML',
    );
  });

  void test('names outside the rules are refused', async () => {
    for (const name of [
      'a',
      'aa',
      '_abc',
      'foo_bar',
      'foo-',
      'foo..bar',
      'foo.-bar',
      'foo-.bar',
      '192.168.5.123',
      'Abc',
      'xn--abc',
      'abc-s3alias',
      'minio',
      'x'.repeat(64),
    ]) {
      assert.equal(await at.outcome('PUT', `/${name}`), '400 InvalidBucketName', name);
    }
    for (const name of ['x'.repeat(63), '0abc', 'a.b-c']) {
      assert.equal(await at.outcome('PUT', `/${name}`), '200', name);
    }
  });

  void test('protection that a bucket would not have is refused when it is made', async () => {
    const acl = { headers: { 'x-amz-grant-read': 'id="x"' } };
    assert.equal(await at.outcome('PUT', `/${freshBucket()}`, acl), '501 NotImplemented');
  });

  void test('buckets are listed in pages', async () => {
    const prefix = `page-${Date.now()}-`;
    for (const n of [1, 2, 3]) await at.send('PUT', `/${prefix}${n}`);
    const first = xmlOf(await at.send('GET', `/?prefix=${prefix}&max-buckets=2`));
    assert.deepEqual(textsOf(first, 'Name'), [`${prefix}1`, `${prefix}2`]);
    const [token = ''] = textsOf(first, 'ContinuationToken');
    const second = xmlOf(
      await at.send('GET', `/?prefix=${prefix}&max-buckets=2&continuation-token=${token}`),
    );
    assert.deepEqual(textsOf(second, 'Name'), [`${prefix}3`]);
    assert.deepEqual(textsOf(second, 'ContinuationToken'), []);
    assert.equal(await at.outcome('GET', '/?max-buckets=10000'), '200');
    for (const bad of ['0', '-1', '10001', 'x']) {
      assert.equal(await at.outcome('GET', `/?max-buckets=${bad}`), '400 InvalidArgument');
    }
  });

  void test('what is not set is answered as S3 answers it', async () => {
    const bucket = freshBucket();
    await at.send('PUT', `/${bucket}`);
    await at.send('PUT', `/${bucket}/k`, { body: 'x' });
    // biome-ignore format: one case to a line
    const cases: readonly (readonly [string, string])[] = [
      [`/${bucket}?versioning`, '200'],
      [`/${bucket}?policy`, '404 NoSuchBucketPolicy'],
      [`/${bucket}?policyStatus`, '200'],
      [`/${bucket}?tagging`, '404 NoSuchTagSet'],
      [`/${bucket}?lifecycle=&withUpdatedAt=true`, '404 NoSuchLifecycleConfiguration'],
      [`/${bucket}?cors`, '404 NoSuchCORSConfiguration'],
      [`/${bucket}?object-lock`, '404 ObjectLockConfigurationNotFoundError'],
      [`/${bucket}?replication`, '404 ReplicationConfigurationNotFoundError'],
      [`/${bucket}?notification`, '200'],
      [`/${bucket}?logging`, '200'],
      [`/${bucket}?accelerate`, '200'],
      [`/${bucket}?requestPayment`, '200'],
      [`/${bucket}?website`, '404 NoSuchWebsiteConfiguration'],
      [`/${bucket}?publicAccessBlock`, '404 NoSuchPublicAccessBlockConfiguration'],
      [`/${bucket}?ownershipControls`, '404 OwnershipControlsNotFoundError'],
      [`/${bucket}?encryption`, '404 ServerSideEncryptionConfigurationNotFoundError'],
      [`/${bucket}?acl`, '200'],
      [`/${bucket}?inventory`, '501 NotImplemented'],
      [`/${bucket}/k?acl`, '200'],
      [`/${bucket}/k?tagging`, '200'],
      [`/${bucket}/k?retention`, '400 InvalidRequest'],
      [`/${bucket}/k?legal-hold`, '400 InvalidRequest'],
      [`/${bucket}/k?torrent`, '501 NotImplemented'],
      [`/${bucket}/absent?tagging`, '404 NoSuchKey'],
      [`/${freshBucket()}?policy`, '404 NoSuchBucket'],
    ];
    for (const [target, expected] of cases) {
      assert.equal(await at.outcome('GET', target), expected, target);
    }
    for (const setting of ['policy', 'tagging', 'cors', 'lifecycle', 'website', 'replication']) {
      assert.equal(await at.outcome('DELETE', `/${bucket}?${setting}`), '204', setting);
    }
  });

  void test('an ACL gives its owner everything, and may be set to just that', async () => {
    const Bucket = freshBucket();
    await at.send('PUT', `/${Bucket}`);
    const acl = await at.sdk.send(new GetBucketAclCommand({ Bucket }));
    assert.equal(acl.Grants?.length, 1);
    assert.equal(acl.Grants?.[0]?.Permission, 'FULL_CONTROL');
    assert.equal(acl.Grants?.[0]?.Grantee?.ID, acl.Owner?.ID);
    const put = (headers: Record<string, string>, body = '') =>
      at.outcome('PUT', `/${Bucket}?acl`, { headers, body });
    assert.equal(await put({ 'x-amz-acl': 'private' }), '200');
    const document = (await at.send('GET', `/${Bucket}?acl`)).body.toString();
    assert.equal(await put({}, document), '200');
    assert.equal(await put({}, document.replace('FULL_CONTROL', 'READ')), '501 NotImplemented');
    assert.equal(await put({}, '<Nope/>'), '400 MalformedACLError');
  });

  void test('the encryption default is set, shown, applied and taken away', async () => {
    const bucket = freshBucket();
    await at.send('PUT', `/${bucket}`);
    const rule = (inner: string) =>
      `<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>${inner}</ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>`;
    const put = (body: string) => at.outcome('PUT', `/${bucket}?encryption`, { body });
    const aes = '<SSEAlgorithm>AES256</SSEAlgorithm>';
    assert.equal(await at.outcome('DELETE', `/${bucket}?encryption`), '204');
    assert.equal(await put(rule(aes)), '200');
    assert.equal(
      await put(rule(aes).replace('<Rule>', '<Rule><BucketKeyEnabled>false</BucketKeyEnabled>')),
      '200',
    );
    const shown = xmlOf(await at.send('GET', `/${bucket}?encryption`));
    assert.deepEqual(textsOf(shown, 'SSEAlgorithm'), ['AES256']);
    const written = await at.send('PUT', `/${bucket}/k`, { body: 'x' });
    assert.equal(written.headers['x-amz-server-side-encryption'], 'AES256');
    // biome-ignore format: one case to a line
    const refused: readonly (readonly [string, string])[] = [
      [rule('<SSEAlgorithm>aes256</SSEAlgorithm>'), '400 MalformedXML'],
      [rule(''), '400 MalformedXML'],
      [rule(`${aes}<KMSMasterKeyID>k</KMSMasterKeyID>`), '400 InvalidArgument'],
      [rule('<SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID> k</KMSMasterKeyID>'), '400 MalformedXML'],
      [rule('<SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>absent</KMSMasterKeyID>'), '400 KMS.NotFoundException'],
      ['<ServerSideEncryptionConfiguration/>', '400 MalformedXML'],
      [rule(aes).replace('</Rule>', `</Rule><Rule><ApplyServerSideEncryptionByDefault>${aes}</ApplyServerSideEncryptionByDefault></Rule>`), '400 MalformedXML'],
      ['<Other/>', '400 MalformedXML'],
      ['', '400 MalformedXML'],
    ];
    for (const [body, expected] of refused) assert.equal(await put(body), expected, body);
    assert.equal(await at.outcome('DELETE', `/${bucket}?encryption`), '204');
    assert.equal(
      await at.outcome('GET', `/${bucket}?encryption`),
      '404 ServerSideEncryptionConfigurationNotFoundError',
    );
    const plain = await at.send('PUT', `/${bucket}/k2`, { body: 'x' });
    assert.equal(plain.headers['x-amz-server-side-encryption'], undefined);
  });

  void test('without a key service nothing pretends to be encrypted', async () => {
    const bare = await startHarness({ withoutKms: true });
    try {
      await bare.send('PUT', '/bucket');
      const sse = { headers: { 'x-amz-server-side-encryption': 'AES256' }, body: 'x' };
      assert.equal(await bare.outcome('PUT', '/bucket/k', sse), '501 NotImplemented');
      const body =
        '<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>';
      const answer = await bare.send('PUT', '/bucket?encryption', { body });
      assert.equal(answer.status, 501);
      assert.match(
        answer.body.toString(),
        /Server side encryption specified but KMS is not configured/,
      );
    } finally {
      await bare.close();
    }
  });
});

void describe('listings', () => {
  let at: Harness;
  before(async () => {
    at = await startHarness();
  });
  after(() => at.close());

  async function bucketWith(keys: readonly string[]): Promise<string> {
    const bucket = freshBucket();
    await at.send('PUT', `/${bucket}`);
    await Promise.all(
      keys.map((key) => at.send('PUT', `/${bucket}/${encodeURIComponent(key)}`, { body: 'x' })),
    );
    return bucket;
  }

  // keys, query, keys listed, prefixes listed
  // biome-ignore format: one case to a line
  const cases: readonly (readonly [readonly string[], string, readonly string[], readonly string[]])[] = [
    [['foo+1/bar', 'foo/bar/xyzzy', 'quux ab/thud', 'asdf+b'], 'delimiter=/', ['asdf+b'], ['foo+1/', 'foo/', 'quux ab/']],
    [['asdf', 'boo/bar', 'boo/baz/xyzzy', 'cquux/thud', 'cquux/bla'], 'delimiter=/', ['asdf'], ['boo/', 'cquux/']],
    [['asdf', 'boo/bar', 'boo/baz/xyzzy'], 'delimiter=/&prefix=boo/', ['boo/bar'], ['boo/baz/']],
    [['asdf/'], 'delimiter=/&prefix=asdf/', ['asdf/'], []],
    [['b/a', 'b/b', 'c'], 'delimiter=a', ['b/b', 'c'], ['b/a']],
    [['b%a', 'c%d', 'e'], 'delimiter=%25', ['e'], ['b%', 'c%']],
    [['x--y', 'x--z', 'w'], 'delimiter=--', ['w'], ['x--']],
    [['a', 'b', 'c'], 'marker=b', ['c'], []],
    [['a', 'b', 'c'], 'marker=bb', ['c'], []],
    [['a/1', 'a/2', 'b/1'], 'delimiter=/&marker=a/', [], ['b/']],
    [['a', 'b'], 'prefix=z', [], []],
    [['\u{1F600}', '\uFF21'], '', ['\uFF21', '\u{1F600}'], []],
    [['a', 'B', 'é', 'z'], '', ['B', 'a', 'z', 'é'], []],
  ];
  for (const [keys, query, expected, prefixes] of cases) {
    void test(`${keys.join(' ')} with ${query} lists ${[...expected, ...prefixes].join(' ')}`, async () => {
      const bucket = await bucketWith(keys);
      for (const variant of [
        query,
        `${query.replace('marker', 'start-after')}&list-type=2`,
        `${query.replace('marker', 'key-marker')}&versions`,
      ]) {
        for (const encoding of ['', '&encoding-type=url']) {
          const page = xmlOf(await at.send('GET', `/${bucket}?${variant}${encoding}`));
          const decode = encoding === '' ? (text: string) => text : decodeURIComponent;
          assert.deepEqual(textsOf(page, 'Key').map(decode), expected);
          const found = page.children.filter(({ name }) => name === 'CommonPrefixes');
          assert.deepEqual(found.flatMap((item) => textsOf(item, 'Prefix')).map(decode), prefixes);
          assert.deepEqual(textsOf(page, 'IsTruncated'), ['false']);
        }
      }
    });
  }

  void test('pages follow one another without gaps, in all three listings', async () => {
    const keys = ['a', 'b/1', 'b/2', 'c', 'd/1', 'e'];
    const Bucket = await bucketWith(keys);
    const expected = ['a', 'b/', 'c', 'd/', 'e'];
    for (const MaxKeys of [1, 2, 3]) {
      const v1: string[] = [];
      for (let Marker: string | undefined = ''; Marker !== undefined; ) {
        const page: ListObjectsCommandOutput = await at.sdk.send(
          new ListObjectsCommand({ Bucket, MaxKeys, Delimiter: '/', Marker }),
        );
        v1.push(...namesOf(page));
        Marker = page.IsTruncated === true ? page.NextMarker : undefined;
      }
      assert.deepEqual(v1.sort(), expected);
      const v2: string[] = [];
      let token: string | undefined;
      do {
        const page: ListObjectsV2CommandOutput = await at.sdk.send(
          new ListObjectsV2Command({ Bucket, MaxKeys, Delimiter: '/', ContinuationToken: token }),
        );
        assert.equal(page.KeyCount, namesOf(page).length);
        v2.push(...namesOf(page));
        token = page.NextContinuationToken;
      } while (token !== undefined);
      assert.deepEqual(v2.sort(), expected);
      const versions: string[] = [];
      let marker: { KeyMarker?: string; VersionIdMarker?: string } = {};
      for (;;) {
        const page = await at.sdk.send(
          new ListObjectVersionsCommand({ Bucket, MaxKeys, ...marker }),
        );
        versions.push(...(page.Versions ?? []).map(({ Key }) => Key ?? ''));
        assert.ok(
          (page.Versions ?? []).every(
            ({ VersionId, IsLatest }) => VersionId === 'null' && IsLatest === true,
          ),
        );
        if (page.IsTruncated !== true) break;
        marker = {
          KeyMarker: page.NextKeyMarker ?? '',
          VersionIdMarker: page.NextVersionIdMarker ?? '',
        };
      }
      assert.deepEqual(versions, keys);
    }
    const all: string[] = [];
    for await (const item of at.minio.listObjectsV2(Bucket, '', true))
      all.push(String((item as { name?: string }).name));
    assert.deepEqual(all, keys);
  });

  void test('limits are numbers: 0 is empty, more than 1,000 is 1,000, anything else an error', async () => {
    const bucket = await bucketWith(['a', 'b']);
    const none = xmlOf(await at.send('GET', `/${bucket}?max-keys=0`));
    assert.deepEqual([textsOf(none, 'IsTruncated'), textsOf(none, 'Key')], [['false'], []]);
    const many = xmlOf(await at.send('GET', `/${bucket}?max-keys=5000`));
    assert.deepEqual(textsOf(many, 'MaxKeys'), ['1000']);
    for (const bad of ['-1', 'x', '1.5']) {
      for (const list of ['', 'versions&', 'list-type=2&']) {
        assert.equal(
          await at.outcome('GET', `/${bucket}?${list}max-keys=${bad}`),
          '400 InvalidArgument',
        );
      }
    }
    assert.equal(await at.outcome('GET', `/${bucket}?list-type=3`), '400 InvalidArgument');
    assert.equal(await at.outcome('GET', `/${bucket}?encoding-type=x`), '400 InvalidArgument');
    assert.equal(
      await at.outcome('GET', `/${bucket}?versions&version-id-marker=x`),
      '400 InvalidArgument',
    );
    assert.equal(
      await at.outcome('GET', `/${bucket}?list-type=2&continuation-token=%21`),
      '400 InvalidArgument',
    );
    assert.equal(await at.outcome('GET', `/${bucket}?list-type=2&continuation-token=`), '200');
    assert.equal(
      await at.outcome('GET', `/${freshBucket()}?list-type=2&max-keys=0`),
      '404 NoSuchBucket',
    );
  });

  void test('entries show what HEAD shows', async () => {
    const bucket = freshBucket();
    await at.send('PUT', `/${bucket}`);
    await at.send('PUT', `/${bucket}/k`, {
      body: 'abc',
      headers: {
        'x-amz-server-side-encryption': 'AES256',
        'x-amz-checksum-sha256': 'ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=',
      },
    });
    const head = await at.send('HEAD', `/${bucket}/k`);
    const page = xmlOf(await at.send('GET', `/${bucket}?list-type=2&fetch-owner=true`));
    assert.deepEqual(textsOf(page, 'ETag'), [head.headers['etag']]);
    assert.deepEqual(textsOf(page, 'Size'), ['3']);
    assert.deepEqual(textsOf(page, 'ChecksumAlgorithm'), ['SHA256']);
    assert.equal(textsOf(page, 'DisplayName').length, 1);
    const [time = ''] = textsOf(page, 'LastModified');
    assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z$/);
    assert.equal(Date.parse(time), Date.parse(String(head.headers['last-modified'])));
  });

  void test('metadata and tags are listed for those who ask', async () => {
    const bucket = freshBucket();
    await at.send('PUT', `/${bucket}`);
    const value = Buffer.from('ü', 'utf8').toString('latin1');
    const headers = {
      'x-amz-meta-foo-bar': value,
      'x-amz-tagging': 'a=1',
      'content-type': 'text/x',
    };
    await at.send('PUT', `/${bucket}/k`, { body: 'x', headers });
    const page = xmlOf(await at.send('GET', `/${bucket}?list-type=2&metadata=true`));
    assert.deepEqual(textsOf(page, 'X-Amz-Meta-Foo-Bar'), ['ü']);
    assert.deepEqual(textsOf(page, 'content-type'), ['text/x']);
    assert.deepEqual(textsOf(page, 'UserTags'), ['a=1']);
  });

  void test('control characters in names survive a listing', async () => {
    const name = 'ctl\u0001\u007f\r\n<&>"';
    const bucket = await bucketWith([name]);
    const plain = (await at.send('GET', `/${bucket}`)).body.toString();
    assert.ok(plain.includes('ctl&#x1;&#x7F;&#xD;&#xA;&lt;&amp;&gt;'));
    const url = xmlOf(await at.send('GET', `/${bucket}?encoding-type=url`));
    assert.equal(decodeURIComponent(textsOf(url, 'Key')[0] ?? ''), name);
  });
});

function namesOf(page: {
  Contents?: { Key?: string | undefined }[] | undefined;
  CommonPrefixes?: { Prefix?: string | undefined }[] | undefined;
}): string[] {
  return [
    ...(page.Contents ?? []).map(({ Key }) => Key ?? ''),
    ...(page.CommonPrefixes ?? []).map(({ Prefix }) => Prefix ?? ''),
  ];
}
