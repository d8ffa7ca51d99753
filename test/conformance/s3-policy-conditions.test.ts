// The conditions of bucket policies over HTTP, and the permissions that one request may need at once.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { freshBucket, type Harness, startHarness, testUser } from './s3-harness.ts';
import {
  setPolicy as putPolicy,
  type Statement,
  withPolicy as makeWithPolicy,
} from './s3-policies.ts';

const algorithm = 's3:x-amz-server-side-encryption';
const keyIdKey = `${algorithm}-aws-kms-key-id`;
const customerKey = `${algorithm}-customer-algorithm`;

const local = testUser('local', {
  Statement: [
    {
      Effect: 'Allow',
      Action: 's3:CreateBucket',
      Resource: 'arn:aws:s3:::*',
      Condition: { StringEquals: { 's3:LocationConstraint': 'eu-west-1' } },
    },
  ],
});
const everything = testUser('everything', {
  Statement: [{ Effect: 'Allow', Action: 's3:*', Resource: 'arn:aws:s3:::*' }],
});

void describe('conditions of bucket policies', () => {
  let at: Harness;
  before(async () => {
    at = await startHarness({ users: [local, everything] });
  });
  after(() => at.close());

  const withPolicy = (...statements: readonly Statement[]) => makeWithPolicy(at, ...statements);
  const setPolicy = (name: string, ...statements: readonly Statement[]) =>
    putPolicy(at, name, ...statements);

  void test('policies that enforce encryption bind the owner too', async () => {
    const aes = { 'x-amz-server-side-encryption': 'AES256' };
    const kms = (id: string) => ({
      'x-amz-server-side-encryption': 'aws:kms',
      'x-amz-server-side-encryption-aws-kms-key-id': id,
    });
    const wrong = { 'x-amz-server-side-encryption': 'AES192' };
    const cases: readonly (readonly [
      Readonly<Record<string, Readonly<Record<string, string>>>>,
      readonly (readonly [Readonly<Record<string, string>>, boolean])[],
    ])[] = [
      [
        { Null: { [algorithm]: 'true' } },
        [
          [{}, false],
          [aes, true],
        ],
      ],
      [
        { StringNotEquals: { [algorithm]: 'AES256' } },
        [
          [{}, false],
          [aes, true],
          [wrong, false],
          [kms('test-key'), false],
        ],
      ],
      [
        { StringNotEquals: { [algorithm]: 'aws:kms' } },
        [
          [{}, false],
          [aes, false],
          [kms('test-key'), true],
        ],
      ],
      [
        // What `IfExists` says of an absent key holds for a Deny too.
        { StringNotEqualsIfExists: { [keyIdKey]: 'test-key' } },
        [
          [{}, false],
          [kms('other'), false],
          [kms('test-key'), true],
          [kms('arn:aws:kms:test-key'), true],
        ],
      ],
      [
        { StringNotEquals: { [keyIdKey]: 'arn:aws:kms:test-key' } },
        [
          [{}, false],
          [kms('other'), false],
          [kms('test-key'), true],
        ],
      ],
      [{ Null: { [customerKey]: 'true' } }, [[{}, false]]],
      [{ Bool: { 'aws:SecureTransport': 'false' } }, [[{}, false]]],
    ];
    for (const [condition, requests] of cases) {
      const name = await withPolicy({
        Effect: 'Deny',
        Action: 's3:PutObject',
        Condition: condition,
        Resource: 'BUCKET/*',
      });
      for (const [headers, isAllowed] of requests) {
        const what = JSON.stringify([condition, headers]);
        const put = await at.outcome('PUT', `/${name}/k`, { headers, body: 'x' });
        assert.equal(put, isAllowed ? '200' : '403 AccessDenied', what);
        const copy = { ...headers, 'x-amz-copy-source': `/${name}/there` };
        const copied = await at.outcome('PUT', `/${name}/copy`, { headers: copy });
        assert.equal(copied, isAllowed ? '200' : '403 AccessDenied', what);
      }
    }
  });

  void test('the parts of an upload are judged by what was fixed when it began', async () => {
    const name = await withPolicy({
      Effect: 'Deny',
      Action: 's3:PutObject',
      Resource: 'BUCKET/*',
      Condition: { StringNotEquals: { [algorithm]: 'AES256' } },
    });
    assert.equal(await at.outcome('POST', `/${name}/m?uploads`), '403 AccessDenied');
    const headers = { 'x-amz-server-side-encryption': 'AES256' };
    const begun = await at.send('POST', `/${name}/m?uploads`, { headers });
    assert.equal(begun.status, 200);
    const id = /<UploadId>([^<]*)</.exec(begun.body.toString())?.[1] ?? '';
    const part = await at.send('PUT', `/${name}/m?uploadId=${id}&partNumber=1`, { body: 'x' });
    assert.equal(part.status, 200);
    const body = `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${String(part.headers['etag'])}</ETag></Part></CompleteMultipartUpload>`;
    assert.equal(await at.outcome('POST', `/${name}/m?uploadId=${id}`, { body }), '200');
    assert.equal(await at.outcome('POST', `/${name}/m?uploadId=${id}`, { body }), '200');
    // One that began without the header, before the policy was there.
    await at.send('DELETE', `/${name}?policy`);
    const plain = await at.send('POST', `/${name}/p?uploads`);
    const plainId = /<UploadId>([^<]*)</.exec(plain.body.toString())?.[1] ?? '';
    await setPolicy(name, {
      Effect: 'Deny',
      Action: 's3:PutObject',
      Resource: 'BUCKET/*',
      Condition: { Null: { [algorithm]: 'true' } },
    });
    // Headers of a part change nothing of the upload, and so nothing of the decision.
    const target = `/${name}/p?uploadId=${plainId}&partNumber=1`;
    assert.equal(await at.outcome('PUT', target, { headers, body: 'x' }), '403 AccessDenied');
    const late = await at.outcome('PUT', `/${name}/p?uploadId=${plainId}&partNumber=1`, {
      body: 'x',
    });
    assert.equal(late, '403 AccessDenied');
  });

  void test('conditions see the address, referer, agent, prefix, delimiter and page size', async () => {
    const list = { Action: 's3:ListBucket', Resource: 'BUCKET' };
    const cases: readonly (readonly [object, string, Readonly<Record<string, string>>, boolean])[] =
      [
        [{ IpAddress: { 'aws:SourceIp': '127.0.0.0/8' } }, '', {}, true],
        [{ IpAddress: { 'aws:SourceIp': '10.0.0.0/8' } }, '', {}, false],
        [{ NotIpAddress: { 'aws:SourceIp': ['10.0.0.0/8', '2001:db8::/32'] } }, '', {}, true],
        [
          { StringLike: { 'aws:Referer': 'http://www.example.com/*' } },
          '',
          { referer: 'http://www.example.com/x' },
          true,
        ],
        [
          { StringLike: { 'aws:Referer': 'http://www.example.com/*' } },
          '',
          { referer: 'http://example.com' },
          false,
        ],
        [{ StringLike: { 'aws:Referer': 'http://www.example.com/*' } }, '', {}, false],
        [{ StringEquals: { 'aws:UserAgent': 'a/1' } }, '', { 'user-agent': 'a/1' }, true],
        [{ StringEquals: { 's3:prefix': 'a/' } }, '?prefix=a/', {}, true],
        [{ StringEquals: { 's3:prefix': 'a/' } }, '?prefix=a%2Fb', {}, false],
        [{ StringEquals: { 's3:prefix': 'a/' } }, '', {}, false],
        [{ StringEquals: { 's3:prefix': '' } }, '?prefix=', {}, true],
        [{ StringEquals: { 's3:delimiter': '/' } }, '?list-type=2&delimiter=/', {}, true],
        [{ NumericLessThanEquals: { 's3:max-keys': '10' } }, '?max-keys=10', {}, true],
        [{ NumericLessThanEquals: { 's3:max-keys': '10' } }, '?max-keys=11', {}, false],
        [{ NumericLessThanEquals: { 's3:max-keys': '10' } }, '', {}, false],
        [{ DateGreaterThan: { 'aws:CurrentTime': '2020-01-01T00:00:00Z' } }, '', {}, true],
        [{ DateLessThan: { 'aws:CurrentTime': '2020-01-01T00:00:00Z' } }, '', {}, false],
        [{ Bool: { 'aws:SecureTransport': 'true' } }, '', { 'x-forwarded-proto': 'https' }, false],
      ];
    const name = freshBucket();
    await at.send('PUT', `/${name}`);
    const anyone = at.as('anonymous');
    for (const [condition, query, headers, isAllowed] of cases) {
      await setPolicy(name, { ...list, Condition: condition });
      assert.equal(
        await anyone.outcome('GET', `/${name}${query}`, { headers }),
        isAllowed ? '200' : '403 AccessDenied',
        JSON.stringify([condition, query, headers]),
      );
    }
  });

  void test('conditions on tags see the tags of the object and of the request', async () => {
    const name = await withPolicy({
      Action: ['s3:GetObject', 's3:GetObjectTagging'],
      Resource: 'BUCKET/*',
      Condition: { StringEquals: { 's3:ExistingObjectTag/security': 'public' } },
    });
    const anyone = at.as('anonymous');
    for (const [key, tagging, isAllowed] of [
      ['a', 'security=public', true],
      ['b', 'security=private', false],
      ['c', 'Security=public', false],
      ['d', '', false],
      ['e', 'x=1&security=public', true],
    ] as const) {
      const headers: Record<string, string> = tagging === '' ? {} : { 'x-amz-tagging': tagging };
      await at.send('PUT', `/${name}/${key}`, { headers, body: 'x' });
      const expected = isAllowed ? '200' : '403 AccessDenied';
      assert.equal(await anyone.outcome('GET', `/${name}/${key}`), expected, tagging);
      assert.equal(await anyone.outcome('GET', `/${name}/${key}?tagging`), expected, tagging);
    }
    await setPolicy(name, {
      Action: ['s3:PutObject', 's3:PutObjectTagging'],
      Resource: 'BUCKET/*',
      Condition: {
        StringEquals: { 's3:RequestObjectTag/team': 'a' },
        'ForAllValues:StringEquals': { 's3:RequestObjectTagKeys': ['team', 'stage'] },
      },
    });
    for (const [tagging, isAllowed] of [
      ['team=a', true],
      ['team=a&stage=x', true],
      ['team=a&other=x', false],
      ['team=b', false],
    ] as const) {
      const outcome = await anyone.outcome('PUT', `/${name}/t`, {
        headers: { 'x-amz-tagging': tagging },
        body: 'x',
      });
      assert.equal(outcome, isAllowed ? '200' : '403 AccessDenied', tagging);
    }
    assert.equal(await anyone.outcome('PUT', `/${name}/t`, { body: 'x' }), '403 AccessDenied');
  });

  void test('tags, access lists and bypasses of a write need permissions of their own', async () => {
    const name = await withPolicy({ Action: 's3:PutObject', Resource: 'BUCKET/*' });
    const anyone = at.as('anonymous');
    const put = (headers: Record<string, string>) =>
      anyone.outcome('PUT', `/${name}/w`, { headers, body: 'x' });
    assert.equal(await put({}), '200');
    assert.equal(await put({ 'x-amz-tagging': 'a=b' }), '403 AccessDenied');
    assert.equal(await put({ 'x-amz-acl': 'public-read' }), '403 AccessDenied');
    assert.equal(await put({ 'x-amz-object-lock-legal-hold': 'ON' }), '403 AccessDenied');
    await setPolicy(name, {
      Action: ['s3:PutObject', 's3:PutObjectTagging', 's3:PutObjectAcl'],
      Resource: 'BUCKET/*',
      Condition: { StringEqualsIfExists: { 's3:x-amz-acl': 'private' } },
    });
    assert.equal(await put({ 'x-amz-tagging': 'a=b' }), '200');
    assert.equal(await put({ 'x-amz-acl': 'private' }), '200');
    assert.equal(await put({ 'x-amz-acl': 'public-read' }), '403 AccessDenied');
    await setPolicy(name, { Action: 's3:DeleteObject*', Resource: 'BUCKET/*' });
    const bypass = { 'x-amz-bypass-governance-retention': 'true' };
    const deletion = { headers: bypass };
    assert.equal(await anyone.outcome('DELETE', `/${name}/w`, deletion), '403 AccessDenied');
    assert.equal(await anyone.outcome('DELETE', `/${name}/w`), '204');
  });

  void test('a copy needs its source, and the condition on the source sees it decoded', async () => {
    const source = await withPolicy({ Action: 's3:GetObject', Resource: 'BUCKET/public/*' });
    const name = await withPolicy({
      Action: 's3:PutObject',
      Resource: 'BUCKET/*',
      Condition: { StringLike: { 's3:x-amz-copy-source': `${source}/public/*` } },
    });
    await at.send('PUT', `/${source}/public/a%20b`, { body: 'x' });
    await at.send('PUT', `/${source}/private/a`, { body: 'x' });
    const anyone = at.as('anonymous');
    const copy = (from: string) =>
      anyone.outcome('PUT', `/${name}/c`, { headers: { 'x-amz-copy-source': from } });
    assert.equal(await copy(`/${source}/public/a%20b`), '200');
    assert.equal(await copy(`${source}/%70ublic/a%20b`), '200');
    assert.equal(await copy(`/${source}/private/a`), '403 AccessDenied');
    assert.equal(await copy(`/${source}/public/absent`), '403 AccessDenied');
    assert.equal(await copy(`/${freshBucket()}/public/a`), '403 AccessDenied');
    assert.equal(await anyone.outcome('PUT', `/${name}/c`, { body: 'x' }), '403 AccessDenied');
    await setPolicy(name, { Action: 's3:PutObject', Resource: 'BUCKET/*' });
    assert.equal(await copy(`/${source}/private/a`), '403 AccessDenied');
    assert.equal(await copy(`/${freshBucket()}/public/a`), '404 NoSuchBucket');
    // Root may read the source, unless that bucket's policy denies it.
    await setPolicy(source, {
      Effect: 'Deny',
      Action: 's3:GetObject',
      Resource: 'BUCKET/private/*',
    });
    const headers = { 'x-amz-copy-source': `/${source}/private/a` };
    assert.equal(await at.outcome('PUT', `/${name}/c`, { headers }), '403 AccessDenied');
  });

  void test('conditions see what only the body of a request says', async () => {
    const name = await withPolicy({
      Effect: 'Deny',
      Action: 's3:PutObjectTagging',
      Resource: 'BUCKET/*',
      Condition: { StringEquals: { 's3:RequestObjectTag/level': 'secret' } },
    });
    const tags = (value: string) =>
      `<Tagging><TagSet><Tag><Key>level</Key><Value>${value}</Value></Tag></TagSet></Tagging>`;
    const put = (body: string) => {
      const md5 = createHash('md5').update(body).digest('base64');
      return at.outcome('PUT', `/${name}/there?tagging`, { headers: { 'content-md5': md5 }, body });
    };
    assert.equal(await put(tags('secret')), '403 AccessDenied');
    assert.equal(await put(tags('open')), '200');
    assert.equal(await put('<Nope/>'), '400 MalformedXML');
    const tagging = (await at.send('GET', `/${name}/there?tagging`)).body.toString();
    assert.match(tagging, /<Value>open<\/Value>/);

    const locked = freshBucket();
    const withLock = { headers: { 'x-amz-bucket-object-lock-enabled': 'true' } };
    assert.equal(await at.outcome('PUT', `/${locked}`, withLock), '200');
    await at.send('PUT', `/${locked}/k`, { body: 'x' });
    await setPolicy(locked, {
      Effect: 'Deny',
      Action: 's3:PutObjectRetention',
      Resource: 'BUCKET/*',
      Condition: {
        NumericGreaterThan: { 's3:object-lock-remaining-retention-days': '10' },
      },
    });
    const retain = (days: number) => {
      const until = new Date(Date.now() + days * 86_400_000).toISOString();
      const body = `<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>${until}</RetainUntilDate></Retention>`;
      const md5 = createHash('md5').update(body).digest('base64');
      return at.outcome('PUT', `/${locked}/k?retention`, { headers: { 'content-md5': md5 }, body });
    };
    assert.equal(await retain(20), '403 AccessDenied');
    assert.equal(await retain(5), '200');

    const location = (place: string) =>
      `<CreateBucketConfiguration><LocationConstraint>${place}</LocationConstraint></CreateBucketConfiguration>`;
    const settler = at.as(local);
    assert.equal(
      await settler.outcome('PUT', `/${freshBucket()}`, { body: location('eu-west-1') }),
      '200',
    );
    assert.equal(
      await settler.outcome('PUT', `/${freshBucket()}`, { body: location('us-west-2') }),
      '403 AccessDenied',
    );
    assert.equal(await settler.outcome('PUT', `/${freshBucket()}`), '403 AccessDenied');
  });

  void test('a version named in a body is judged as one named in the request', async () => {
    const name = freshBucket();
    await at.send('PUT', `/${name}`);
    const body = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>';
    assert.equal(await at.outcome('PUT', `/${name}?versioning`, { body }), '200');
    const made: string[] = [];
    for (const text of ['1', '2', '3']) {
      const answer = await at.send('PUT', `/${name}/k`, { body: text });
      made.push(String(answer.headers['x-amz-version-id']));
    }
    const [first = '', second = ''] = made;
    await setPolicy(
      name,
      {
        Effect: 'Deny',
        Action: 's3:DeleteObjectVersion',
        Resource: 'BUCKET/*',
        Condition: { StringEquals: { 's3:VersionId': first } },
      },
      {
        Effect: 'Deny',
        Principal: { AWS: 'everything' },
        Action: 's3:DeleteObjectVersion',
        Resource: 'BUCKET/*',
      },
      { Action: 's3:GetObject', Resource: 'BUCKET/*' },
    );
    assert.equal(await at.outcome('DELETE', `/${name}/k?versionId=${first}`), '403 AccessDenied');
    const entry = (id: string) => `<Object><Key>k</Key><VersionId>${id}</VersionId></Object>`;
    const list = `<Delete>${entry(first)}${entry(second)}</Delete>`;
    const headers = { 'content-md5': createHash('md5').update(list).digest('base64') };
    const asUser = await at.as(everything).send('POST', `/${name}?delete`, { headers, body: list });
    assert.equal(asUser.body.toString().match(/<Code>AccessDenied/g)?.length, 2);
    const asRoot = await at.send('POST', `/${name}?delete`, { headers, body: list });
    assert.equal(asRoot.body.toString().match(/<Code>AccessDenied/g)?.length, 1);
    assert.equal(await at.outcome('HEAD', `/${name}/k?versionId=${first}`), '200');
    assert.equal(await at.outcome('HEAD', `/${name}/k?versionId=${second}`), '404 NoSuchVersion');
    // Reading a version is a permission of its own; so is a copy of one.
    const anyone = at.as('anonymous');
    assert.equal(await anyone.outcome('GET', `/${name}/k`), '200');
    assert.equal(await anyone.outcome('GET', `/${name}/k?versionId=${first}`), '403 AccessDenied');
  });

  void test('an access list is judged the same as a header and as a document', async () => {
    const name = await withPolicy({
      Effect: 'Deny',
      Action: ['s3:PutObjectAcl', 's3:PutBucketAcl'],
      Condition: { StringLike: { 's3:x-amz-acl': 'public-*' } },
    });
    for (const target of [`/${name}`, `/${name}/there`]) {
      const document = (await at.send('GET', `${target}?acl`)).body.toString();
      const group = (uri: string, permission: string) =>
        document.replace(
          '<AccessControlList>',
          `<AccessControlList><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="Group"><URI>http://acs.amazonaws.com/groups/global/${uri}</URI></Grantee><Permission>${permission}</Permission></Grant>`,
        );
      const put = (body: string, headers: Record<string, string> = {}) =>
        at.outcome('PUT', `${target}?acl`, { headers, body });
      assert.equal(await put('', { 'x-amz-acl': 'public-read' }), '403 AccessDenied');
      assert.equal(await put(group('AllUsers', 'READ')), '403 AccessDenied');
      assert.equal(await put(group('AllUsers', 'WRITE')), '403 AccessDenied');
      assert.equal(await put(group('AuthenticatedUsers', 'READ')), '200');
      assert.equal(await put(document), '200');
      assert.equal(await put('', { 'x-amz-acl': 'private' }), '200');
      assert.equal(await put('<Nope/>'), '400 MalformedACLError');
    }
  });
});
