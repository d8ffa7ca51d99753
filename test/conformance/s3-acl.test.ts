// Canned access lists, enforced: who may do what with each of them, as header and as document, and the public
// access block that takes them away.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { GetBucketAclCommand, GetObjectAclCommand, PutObjectAclCommand } from '@aws-sdk/client-s3';
import { freshBucket, type Harness, startHarness, testUser } from './s3-harness.ts';

const stranger = testUser('stranger');
const maker = testUser('maker', {
  Statement: [{ Effect: 'Allow', Action: 's3:CreateBucket', Resource: 'arn:aws:s3:::*' }],
});

void describe('canned access lists', () => {
  let at: Harness;
  before(async () => {
    at = await startHarness({ users: [stranger, maker] });
  });
  after(() => at.close());

  async function bucketWith(acl?: string): Promise<string> {
    const name = freshBucket();
    const headers: Record<string, string> = acl === undefined ? {} : { 'x-amz-acl': acl };
    assert.equal(await at.outcome('PUT', `/${name}`, { headers }), '200');
    return name;
  }

  void test('each list of a bucket allows what it says to whom it says', async () => {
    // list, read by anyone, read by a user, write by both
    // biome-ignore format: one case to a line
    const matrix: readonly (readonly [string | undefined, boolean, boolean, boolean])[] = [
      [undefined, false, false, false],
      ['private', false, false, false],
      ['public-read', true, true, false],
      ['public-read-write', true, true, true],
      ['authenticated-read', false, true, false],
      ['bucket-owner-read', false, false, false],
      ['bucket-owner-full-control', false, false, false],
    ];
    for (const [acl, anyoneReads, userReads, writes] of matrix) {
      const name = await bucketWith(acl);
      await at.send('PUT', `/${name}/k`, { body: 'x' });
      for (const [caller, reads] of [
        ['anonymous', anyoneReads],
        [stranger, userReads],
      ] as const) {
        const other = at.as(caller);
        const expect = async (
          isAllowed: boolean,
          method: string,
          target: string,
          body?: string,
        ) => {
          const request = body === undefined ? {} : { body };
          const outcome = await other.outcome(method, `/${name}${target}`, request);
          const what = `${acl} ${method} ${target} ${JSON.stringify(caller)}`;
          assert.equal(outcome.startsWith('2'), isAllowed, `${what}: ${outcome}`);
          if (!isAllowed) assert.equal(outcome, '403 AccessDenied', what);
        };
        await expect(reads, 'GET', '');
        await expect(reads, 'GET', '?list-type=2');
        await expect(reads, 'GET', '?uploads');
        await expect(reads, 'GET', '?versions');
        await expect(reads, 'HEAD', '');
        await expect(writes, 'PUT', '/k', 'y');
        await expect(writes, 'PUT', '/new', 'y');
        await expect(writes, 'POST', '/m?uploads');
        await expect(false, 'DELETE', '/k');
        await expect(false, 'GET', '?acl');
        await expect(false, 'PUT', '?acl', '');
        await expect(false, 'GET', '?policy');
        await expect(false, 'GET', '?location');
        await expect(false, 'DELETE', '');
        // Reading a bucket is not reading what is in it.
        await at.send('PUT', `/${name}/k`, { body: 'x' });
        await expect(false, 'GET', '/k');
        await expect(false, 'GET', '/k?acl');
      }
    }
  });

  void test('each list of an object allows what it says to whom it says', async () => {
    const name = await bucketWith();
    // biome-ignore format: one case to a line
    const matrix: readonly (readonly [string, boolean, boolean])[] = [
      ['private', false, false],
      ['public-read', true, true],
      ['public-read-write', true, true],
      ['authenticated-read', false, true],
      ['bucket-owner-read', false, false],
      ['bucket-owner-full-control', false, false],
    ];
    for (const way of ['put', 'copy', 'upload', 'acl'] as const) {
      for (const [acl, anyoneReads, userReads] of matrix) {
        const key = `${way}-${acl}`;
        await makeObject(name, key, { way, acl });
        for (const [caller, reads] of [
          ['anonymous', anyoneReads],
          [stranger, userReads],
        ] as const) {
          const other = at.as(caller);
          const what = `${key} ${JSON.stringify(caller)}`;
          const expected = reads ? '200' : '403 AccessDenied';
          assert.equal(await other.outcome('GET', `/${name}/${key}`), expected, what);
          assert.equal(await other.outcome('HEAD', `/${name}/${key}`), expected, what);
          const denied = '403 AccessDenied';
          assert.equal(await other.outcome('GET', `/${name}/${key}?acl`), denied, what);
          assert.equal(await other.outcome('GET', `/${name}/${key}?tagging`), denied, what);
          assert.equal(await other.outcome('PUT', `/${name}/${key}`, { body: 'y' }), denied, what);
          assert.equal(await other.outcome('DELETE', `/${name}/${key}`), denied, what);
        }
      }
    }
  });

  async function makeObject(
    bucket: string,
    key: string,
    { way, acl }: { readonly way: 'put' | 'copy' | 'upload' | 'acl'; readonly acl: string },
  ): Promise<void> {
    const headers = { 'x-amz-acl': acl };
    const target = `/${bucket}/${key}`;
    if (way === 'put') {
      assert.equal(await at.outcome('PUT', target, { headers, body: 'x' }), '200');
    } else if (way === 'copy') {
      // The source's own list is not copied.
      const source = { 'x-amz-acl': 'public-read' };
      await at.send('PUT', `/${bucket}/source`, { headers: source, body: 'x' });
      const copy = { ...headers, 'x-amz-copy-source': `/${bucket}/source` };
      assert.equal(await at.outcome('PUT', target, { headers: copy }), '200');
    } else if (way === 'acl') {
      await at.send('PUT', target, { body: 'x' });
      assert.equal(await at.outcome('PUT', `${target}?acl`, { headers }), '200');
    } else {
      const begun = await at.send('POST', `${target}?uploads`, { headers });
      const id = /<UploadId>([^<]*)</.exec(begun.body.toString())?.[1] ?? '';
      const part = await at.send('PUT', `${target}?uploadId=${id}&partNumber=1`, { body: 'x' });
      const body = `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${String(part.headers['etag'])}</ETag></Part></CompleteMultipartUpload>`;
      assert.equal(await at.outcome('POST', `${target}?uploadId=${id}`, { body }), '200');
    }
  }

  void test('a copy without a list of its own is private, onto itself too', async () => {
    const name = await bucketWith();
    const acl = { 'x-amz-acl': 'public-read' };
    await at.send('PUT', `/${name}/a`, { headers: acl, body: 'x' });
    const source = { 'x-amz-copy-source': `/${name}/a` };
    await at.send('PUT', `/${name}/b`, { headers: source });
    assert.equal(await at.as('anonymous').outcome('GET', `/${name}/b`), '403 AccessDenied');
    const relabel = { ...source, 'x-amz-metadata-directive': 'REPLACE' };
    assert.equal(await at.outcome('PUT', `/${name}/a`, { headers: relabel }), '200');
    assert.equal(await at.as('anonymous').outcome('GET', `/${name}/a`), '403 AccessDenied');
    assert.equal(await at.outcome('PUT', `/${name}/a`, { headers: { ...relabel, ...acl } }), '200');
    assert.equal(await at.as('anonymous').outcome('GET', `/${name}/a`), '200');
  });

  void test('setting the list of an object changes nothing else of it', async () => {
    const Bucket = await bucketWith();
    const headers = {
      'x-amz-meta-a': 'b',
      'x-amz-tagging': 'c=d',
      'x-amz-server-side-encryption': 'AES256',
    };
    await at.send('PUT', `/${Bucket}/k`, { headers, body: 'x' });
    const before = await at.send('HEAD', `/${Bucket}/k`);
    await at.sdk.send(new PutObjectAclCommand({ Bucket, Key: 'k', ACL: 'public-read' }));
    const now = await at.send('HEAD', `/${Bucket}/k`);
    for (const name of [
      'etag',
      'last-modified',
      'x-amz-meta-a',
      'x-amz-tagging-count',
      'x-amz-server-side-encryption',
    ]) {
      assert.equal(now.headers[name], before.headers[name], name);
    }
    assert.equal((await at.as('anonymous').send('GET', `/${Bucket}/k`)).body.toString(), 'x');
    const acl = await at.sdk.send(new GetObjectAclCommand({ Bucket, Key: 'k' }));
    assert.deepEqual(
      acl.Grants?.map(({ Grantee, Permission }) => [
        Grantee?.Type,
        Grantee?.URI ?? Grantee?.ID,
        Permission,
      ]),
      [
        ['Group', 'http://acs.amazonaws.com/groups/global/AllUsers', 'READ'],
        ['CanonicalUser', acl.Owner?.ID, 'FULL_CONTROL'],
      ],
    );
    assert.equal(await at.outcome('GET', `/${Bucket}/absent?acl`), '404 NoSuchKey');
    assert.equal(
      await at.outcome('PUT', `/${Bucket}/absent?acl`, { headers: { 'x-amz-acl': 'private' } }),
      '404 NoSuchKey',
    );
  });

  void test('a document that equals a canned list is taken for it, any other refused', async () => {
    const Bucket = await bucketWith();
    const put = (body: string, headers: Record<string, string> = {}) =>
      at.outcome('PUT', `/${Bucket}?acl`, { headers, body });
    for (const acl of ['public-read', 'public-read-write', 'authenticated-read', 'private']) {
      assert.equal(await put('', { 'x-amz-acl': acl }), '200');
      const document = (await at.send('GET', `/${Bucket}?acl`)).body.toString();
      await put('', { 'x-amz-acl': 'private' });
      assert.equal(await put(document), '200', acl);
      assert.equal((await at.send('GET', `/${Bucket}?acl`)).body.toString(), document);
    }
    const { Owner, Grants } = await at.sdk.send(new GetBucketAclCommand({ Bucket }));
    assert.equal(Grants?.length, 1);
    const document = (await at.send('GET', `/${Bucket}?acl`)).body.toString();
    const id = Owner?.ID ?? '';
    const others: readonly (readonly [string, string])[] = [
      [document.replace('FULL_CONTROL', 'READ'), '501 NotImplemented'],
      [document.replaceAll(id, 'f'.repeat(64)), '403 AccessDenied'],
      [document.replace('FULL_CONTROL', 'EVERYTHING'), '400 MalformedACLError'],
      [document.replace(/<Grant>.*<\/Grant>/, ''), '501 NotImplemented'],
      ['<AccessControlPolicy/>', '400 MalformedACLError'],
      ['', '400 InvalidRequest'],
    ];
    for (const [body, expected] of others) assert.equal(await put(body), expected, body);
    assert.equal(await put(document, { 'x-amz-acl': 'private' }), '400 UnexpectedContent');
    assert.equal(await put('', { 'x-amz-acl': 'open' }), '400 InvalidArgument');
    assert.equal(await put('', { 'x-amz-grant-read': 'id=x' }), '501 NotImplemented');
    const two = { 'x-amz-acl': 'private', 'x-amz-grant-read': 'id=x' };
    assert.equal(await put('', two), '400 InvalidRequest');
  });

  void test('making a bucket again with another list is refused', async () => {
    const name = await bucketWith('public-read');
    const acl = (value: string) => ({ headers: { 'x-amz-acl': value } });
    assert.equal(await at.outcome('PUT', `/${name}`, acl('public-read')), '200');
    assert.equal(await at.outcome('PUT', `/${name}`), '409 BucketAlreadyExists');
    assert.equal(await at.outcome('PUT', `/${name}`, acl('private')), '409 BucketAlreadyExists');
    assert.equal(await at.as(maker).outcome('PUT', `/${name}`), '409 BucketAlreadyExists');
  });

  void test('a user owns the bucket it makes, and what it writes', async () => {
    const name = freshBucket();
    const own = at.as(maker);
    assert.equal(await own.outcome('PUT', `/${name}`), '200');
    assert.equal(await own.outcome('PUT', `/${name}/k`, { body: 'x' }), '200');
    assert.equal(await own.outcome('GET', `/${name}/k`), '200');
    assert.equal(await own.outcome('GET', `/${name}`), '200');
    assert.equal(await at.as(stranger).outcome('GET', `/${name}/k`), '403 AccessDenied');
    assert.equal(await at.outcome('GET', `/${name}/k`), '200');
    await own.send('PUT', `/${name}?acl`, { headers: { 'x-amz-acl': 'public-read-write' } });
    const guest = at.as(stranger);
    assert.equal(await guest.outcome('PUT', `/${name}/guest`, { body: 'x' }), '200');
    assert.equal(await guest.outcome('GET', `/${name}/guest`), '200');
    const acl = await guest.send('GET', `/${name}/guest?acl`);
    assert.match(acl.body.toString(), /FULL_CONTROL/);
    const open = { headers: { 'x-amz-acl': 'public-read' } };
    assert.equal(await guest.outcome('PUT', `/${name}/guest?acl`, open), '200');
    assert.equal(await at.as('anonymous').outcome('GET', `/${name}/guest`), '200');
    assert.equal(await guest.outcome('DELETE', `/${name}/guest`), '403 AccessDenied');
    assert.equal(await own.outcome('DELETE', `/${name}/guest`), '204');
  });

  void test('what is gone from a bucket that everybody may list is told to everybody', async () => {
    const name = await bucketWith('public-read');
    const headers = { 'x-amz-acl': 'public-read' };
    await at.send('PUT', `/${name}/k`, { headers, body: 'x' });
    const anyone = at.as('anonymous');
    assert.equal(await anyone.outcome('GET', `/${name}/k`), '200');
    await at.send('DELETE', `/${name}/k`);
    assert.equal(await anyone.outcome('GET', `/${name}/k`), '404 NoSuchKey');
    await at.send('DELETE', `/${name}`);
    assert.equal(await anyone.outcome('GET', `/${name}/k`), '404 NoSuchBucket');
  });

  void test('the public access block is kept, shown and taken away', async () => {
    const name = await bucketWith();
    const target = `/${name}?publicAccessBlock`;
    assert.equal(await at.outcome('GET', target), '404 NoSuchPublicAccessBlockConfiguration');
    const body =
      '<PublicAccessBlockConfiguration><IgnorePublicAcls>true</IgnorePublicAcls><BlockPublicPolicy>TRUE</BlockPublicPolicy></PublicAccessBlockConfiguration>';
    assert.equal(await at.outcome('PUT', target, { body }), '200');
    assert.match(
      (await at.send('GET', target)).body.toString(),
      /<BlockPublicAcls>false<\/BlockPublicAcls><IgnorePublicAcls>true<\/IgnorePublicAcls><BlockPublicPolicy>true<\/BlockPublicPolicy><RestrictPublicBuckets>false<\/RestrictPublicBuckets>/,
    );
    for (const bad of [
      '',
      '<Nope/>',
      body.replace('TRUE', 'yes'),
      body.replaceAll('IgnorePublicAcls', 'Other'),
    ]) {
      assert.equal(await at.outcome('PUT', target, { body: bad }), '400 MalformedXML', bad);
    }
    assert.equal(await at.outcome('DELETE', target), '204');
    assert.equal(await at.outcome('DELETE', target), '204');
    assert.equal(await at.outcome('GET', target), '404 NoSuchPublicAccessBlockConfiguration');
    assert.equal(await at.as('anonymous').outcome('PUT', target, { body }), '403 AccessDenied');
  });

  async function block(name: string, ...switches: readonly string[]): Promise<void> {
    const elements = switches.map((item) => `<${item}>true</${item}>`).join('');
    const body = `<PublicAccessBlockConfiguration>${elements}</PublicAccessBlockConfiguration>`;
    assert.equal(await at.outcome('PUT', `/${name}?publicAccessBlock`, { body }), '200');
  }

  void test('each switch of the public access block does its part', async () => {
    const name = await bucketWith('public-read');
    const open = { 'x-amz-acl': 'public-read' };
    await at.send('PUT', `/${name}/k`, { headers: open, body: 'x' });
    const anyone = at.as('anonymous');
    const openPolicy = JSON.stringify({
      Version: '2012-10-17',
      Statement: [
        {
          Effect: 'Allow',
          Principal: '*',
          Action: 's3:GetObject',
          Resource: `arn:aws:s3:::${name}/*`,
        },
      ],
    });

    await block(name, 'BlockPublicAcls');
    for (const acl of ['public-read', 'public-read-write', 'authenticated-read']) {
      const headers = { 'x-amz-acl': acl };
      assert.equal(await at.outcome('PUT', `/${name}?acl`, { headers }), '403 AccessDenied', acl);
      assert.equal(await at.outcome('PUT', `/${name}/k?acl`, { headers }), '403 AccessDenied', acl);
      assert.equal(
        await at.outcome('PUT', `/${name}/n`, { headers, body: 'x' }),
        '403 AccessDenied',
      );
      assert.equal(await at.outcome('POST', `/${name}/n?uploads`, { headers }), '403 AccessDenied');
    }
    const document = (await at.send('GET', `/${name}?acl`)).body.toString();
    assert.equal(await at.outcome('PUT', `/${name}?acl`, { body: document }), '403 AccessDenied');
    const plain = { headers: { 'x-amz-acl': 'private' }, body: 'x' };
    assert.equal(await at.outcome('PUT', `/${name}/n`, plain), '200');
    assert.equal(await anyone.outcome('GET', `/${name}/k`), '200');

    await block(name, 'IgnorePublicAcls');
    assert.equal(await anyone.outcome('GET', `/${name}/k`), '403 AccessDenied');
    assert.equal(await anyone.outcome('GET', `/${name}`), '403 AccessDenied');
    assert.equal(await anyone.outcome('GET', `/${name}/absent`), '403 AccessDenied');
    assert.equal(await at.outcome('PUT', `/${name}/k?acl`, { headers: open }), '200');

    await block(name, 'IgnorePublicAcls', 'BlockPublicPolicy');
    const put = () => at.outcome('PUT', `/${name}?policy`, { body: openPolicy });
    assert.equal(await put(), '403 AccessDenied');
    assert.equal(await at.outcome('GET', `/${name}?policy`), '404 NoSuchBucketPolicy');
    await block(name, 'IgnorePublicAcls');
    assert.equal(await put(), '204');
    assert.equal(await anyone.outcome('GET', `/${name}/k`), '200');

    await block(name, 'IgnorePublicAcls', 'RestrictPublicBuckets');
    assert.equal(await anyone.outcome('GET', `/${name}/k`), '403 AccessDenied');
    assert.equal(await at.as(stranger).outcome('GET', `/${name}/k`), '403 AccessDenied');
    assert.equal(await at.outcome('GET', `/${name}/k`), '200');
    await at.send('DELETE', `/${name}?publicAccessBlock`);
    assert.equal(await anyone.outcome('GET', `/${name}`), '200');
  });
});
