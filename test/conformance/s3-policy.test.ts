// Bucket policies over HTTP: kept and given back, refused when malformed, and in force for everybody, root
// included. Conditions, the order of checks, and what callers learn about objects they may not see.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import {
  DeleteBucketPolicyCommand,
  DeletePublicAccessBlockCommand,
  GetBucketPolicyCommand,
  GetBucketPolicyStatusCommand,
  GetPublicAccessBlockCommand,
  PutBucketPolicyCommand,
  PutPublicAccessBlockCommand,
} from '@aws-sdk/client-s3';
import { codeOf, freshBucket, type Harness, startHarness, testUser } from './s3-harness.ts';
import {
  setPolicy as putPolicy,
  type Statement,
  withPolicy as makeWithPolicy,
} from './s3-policies.ts';

const version = '2012-10-17';
const algorithm = 's3:x-amz-server-side-encryption';

const reader = testUser('reader', {
  Statement: [{ Effect: 'Allow', Action: 's3:GetObject', Resource: 'arn:aws:s3:::*' }],
});
const lister = testUser('lister', {
  Statement: [{ Effect: 'Allow', Action: ['s3:GetObject', 's3:ListBucket'], Resource: '*' }],
});
const nobody = testUser('nobody');
const home = testUser('homer', {
  Statement: [
    { Effect: 'Allow', Action: 's3:*Object', Resource: 'arn:aws:s3:::*/home/${aws:username}/*' },
    {
      Effect: 'Allow',
      Action: 's3:ListBucket',
      Resource: 'arn:aws:s3:::*',
      Condition: { StringLike: { 's3:prefix': 'home/${aws:username}/*' } },
    },
  ],
});
const everything = testUser('everything', {
  Statement: [{ Effect: 'Allow', Action: 's3:*', Resource: 'arn:aws:s3:::*' }],
});

void describe('bucket policies', () => {
  let at: Harness;
  let bucket: string;
  before(async () => {
    at = await startHarness({ users: [reader, lister, nobody, home, everything] });
    bucket = freshBucket();
    await at.send('PUT', `/${bucket}`);
  });
  after(() => at.close());

  const withPolicy = (...statements: readonly Statement[]) => makeWithPolicy(at, ...statements);
  const setPolicy = (name: string, ...statements: readonly Statement[]) =>
    putPolicy(at, name, ...statements);

  void test('a policy is given back byte for byte, replaced and deleted', async () => {
    const name = freshBucket();
    await at.send('PUT', `/${name}`);
    assert.equal(await at.outcome('GET', `/${name}?policy`), '404 NoSuchBucketPolicy');
    const body = `\n{ "Statement" :[{"Sid":"ä", "Effect":"Allow","Principal":{"AWS":["*"]},\n"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::${name}/*"]}],"Version":"${version}" } `;
    assert.equal(await at.outcome('PUT', `/${name}?policy`, { body }), '204');
    const got = await at.send('GET', `/${name}?policy`);
    assert.equal(got.status, 200);
    assert.equal(got.body.toString(), body);
    assert.match(String(got.headers['content-type']), /json/);
    assert.equal(await at.outcome('DELETE', `/${name}?policy`), '204');
    assert.equal(await at.outcome('DELETE', `/${name}?policy`), '204');
    assert.equal(await at.outcome('GET', `/${name}?policy`), '404 NoSuchBucketPolicy');
    assert.equal(await at.outcome('GET', `/${freshBucket()}?policy`), '404 NoSuchBucket');
  });

  void test('a malformed policy is refused and the one before stays', async () => {
    const name = await withPolicy({ Action: 's3:GetObject', Resource: 'BUCKET/*' });
    const before = (await at.send('GET', `/${name}?policy`)).body.toString();
    const arn = `arn:aws:s3:::${name}`;
    const base = { Effect: 'Allow', Principal: '*', Action: 's3:GetObject', Resource: `${arn}/*` };
    const cases: readonly (readonly [object, RegExp])[] = [
      [{ ...base, Effect: 'allow' }, /Invalid effect: allow/],
      [{ ...base, Action: 's3:GetObjet' }, /invalid action/],
      [{ ...base, Action: 'admin:ServerInfo' }, /invalid action/],
      [{ ...base, Resource: 'arn:aws:s3:::another/*' }, /invalid resource/],
      [{ ...base, Resource: '*' }, /invalid resource/],
      [{ ...base, Resource: arn }, /does not apply to any resource/],
      [{ ...base, Principal: { AWS: 'arn:aws:s3:::x' } }, /Invalid principal/],
      [{ ...base, Principal: undefined }, /Missing required field Principal/],
      [{ ...base, Principal: undefined, NotPrincipal: '*' }, /Allow with NotPrincipal/],
      [{ ...base, Condition: { StringEqual: { 'aws:Referer': 'x' } } }, /Invalid Condition type/],
      [{ ...base, Condition: { StringEquals: { 's3:prefixx': 'x' } } }, /invalid condition key/],
      [{ ...base, Condition: { IpAddress: { 'aws:SourceIp': '10.0.0.0/33' } } }, /Invalid IP/],
    ];
    for (const [statement, message] of cases) {
      const body = JSON.stringify({ Version: version, Statement: [statement] });
      const answer = await at.send('PUT', `/${name}?policy`, { body });
      assert.equal(`${answer.status} ${codeOf(answer)}`, '400 MalformedPolicy', body);
      assert.match(answer.body.toString(), message, body);
    }
    for (const body of [
      '',
      'x',
      '[]',
      '{}',
      Buffer.from([0xff]),
      `{"a":"${'x'.repeat(21_000)}"}`,
    ]) {
      assert.equal(await at.outcome('PUT', `/${name}?policy`, { body }), '400 MalformedPolicy');
    }
    assert.equal((await at.send('GET', `/${name}?policy`)).body.toString(), before);
  });

  void test('an anonymous caller may do what the policy allows and nothing else', async () => {
    const name = await withPolicy({ Action: 's3:GetObject', Resource: 'BUCKET/the*' });
    await at.send('PUT', `/${name}/other`, { body: 'y' });
    const anyone = at.as('anonymous');
    const got = await anyone.send('GET', `/${name}/there`);
    assert.equal(got.body.toString(), 'x');
    assert.equal(await anyone.outcome('HEAD', `/${name}/there`), '200');
    assert.equal(await anyone.outcome('GET', `/${name}/other`), '403 AccessDenied');
    assert.equal(await anyone.outcome('PUT', `/${name}/there`, { body: 'z' }), '403 AccessDenied');
    assert.equal(await anyone.outcome('DELETE', `/${name}/there`), '403 AccessDenied');
    assert.equal(await anyone.outcome('GET', `/${name}`), '403 AccessDenied');
    assert.equal(await anyone.outcome('GET', `/${name}?policy`), '403 AccessDenied');
    assert.equal(
      await anyone.outcome('PUT', `/${name}?policy`, { body: '{}' }),
      '403 AccessDenied',
    );
    assert.equal(await anyone.outcome('GET', '/'), '403 AccessDenied');
    assert.equal(await anyone.outcome('PUT', `/${freshBucket()}`), '403 AccessDenied');
    const overridden = `/${name}/there?response-content-type=a%2Fb`;
    assert.equal(await anyone.outcome('GET', overridden), '400 InvalidRequest');
    await at.send('DELETE', `/${name}?policy`);
    assert.equal(await anyone.outcome('GET', `/${name}/there`), '403 AccessDenied');
    await at.send('DELETE', `/${name}/there`);
    await at.send('DELETE', `/${name}/other`);
    await at.send('DELETE', `/${name}`);
    assert.equal(await anyone.outcome('GET', `/${name}/there`), '404 NoSuchBucket');
  });

  void test('an explicit Deny binds root, but never locks it out of the policy', async () => {
    const name = await withPolicy({ Effect: 'Deny', Action: 's3:*' });
    for (const [method, target] of [
      ['GET', 'there'],
      ['PUT', 'there'],
      ['DELETE', 'there'],
      ['GET', ''],
      ['HEAD', ''],
      ['GET', '?versioning'],
      ['GET', '?policyStatus'],
      ['DELETE', ''],
    ] as const) {
      const at2 =
        target === '' || target.startsWith('?') ? `/${name}${target}` : `/${name}/${target}`;
      assert.equal(await at.outcome(method, at2), '403 AccessDenied', `${method} ${at2}`);
    }
    assert.equal(await at.outcome('GET', `/${name}?policy`), '200');
    await setPolicy(name, { Effect: 'Deny', Action: 's3:PutBucketPolicy', Resource: 'BUCKET' });
    assert.equal(await at.outcome('GET', `/${name}/there`), '200');
    assert.equal(await at.outcome('DELETE', `/${name}?policy`), '204');
    // Users have no such way out.
    await setPolicy(name, { Effect: 'Deny', Action: 's3:*Policy', Resource: 'BUCKET' });
    assert.equal(await at.as(everything).outcome('DELETE', `/${name}?policy`), '403 AccessDenied');
    assert.equal(await at.as(everything).outcome('GET', `/${name}/there`), '200');
  });

  void test('a deletion of many keys is decided key by key', async () => {
    const name = await withPolicy({ Action: 's3:DeleteObject', Resource: 'BUCKET/mine/*' });
    for (const key of ['mine/1', 'mine/2', 'theirs']) {
      await at.send('PUT', `/${name}/${key}`, { body: 'x' });
    }
    const body = `<Delete>${['mine/1', 'theirs', 'mine/2'].map((key) => `<Object><Key>${key}</Key></Object>`).join('')}</Delete>`;
    const md5 = createHash('md5').update(body).digest('base64');
    const answer = await at.as('anonymous').send('POST', `/${name}?delete`, {
      headers: { 'content-md5': md5 },
      body,
    });
    assert.equal(answer.status, 200);
    const text = answer.body.toString();
    assert.equal(text.match(/<Deleted>/g)?.length, 2);
    assert.match(text, /<Error><Key>theirs<\/Key><Code>AccessDenied<\/Code>/);
    assert.equal(await at.outcome('HEAD', `/${name}/theirs`), '200');
    assert.equal(await at.outcome('HEAD', `/${name}/mine/1`), '404 NoSuchKey');
  });

  void test('a recursive deletion spares what the policy protects', async () => {
    const name = await withPolicy({
      Effect: 'Deny',
      Action: 's3:DeleteObject',
      Resource: 'BUCKET/kept/*',
    });
    for (const key of ['kept/a', 'gone/a', 'gone/b']) {
      await at.send('PUT', `/${name}/${key}`, { body: 'x' });
    }
    const force = { headers: { 'x-minio-force-delete': 'true' } };
    assert.equal(await at.outcome('DELETE', `/${name}/gone`, force), '204');
    assert.equal(await at.outcome('DELETE', `/${name}/kept`, force), '403 AccessDenied');
    assert.equal(await at.outcome('DELETE', `/${name}`, force), '403 AccessDenied');
    assert.equal(await at.outcome('HEAD', `/${name}/kept/a`), '200');
    assert.equal(await at.outcome('HEAD', `/${name}/gone/a`), '404 NoSuchKey');
    const cautious = at.as(reader);
    assert.equal(await cautious.outcome('DELETE', `/${name}/kept`, force), '403 AccessDenied');
  });

  void test('what is not there is told only to those who may list', async () => {
    const name = await withPolicy({ Action: 's3:GetObject', Resource: 'BUCKET/*' });
    const anyone = at.as('anonymous');
    const absent = `/${name}/a/absent`;
    assert.equal(await anyone.outcome('GET', absent), '403 AccessDenied');
    assert.equal(await anyone.outcome('HEAD', absent), '403 AccessDenied');
    assert.equal(await at.outcome('GET', absent), '404 NoSuchKey');
    assert.equal(await at.as(reader).outcome('GET', absent), '403 AccessDenied');
    assert.equal(await at.as(lister).outcome('GET', absent), '404 NoSuchKey');
    await setPolicy(
      name,
      { Action: 's3:GetObject', Resource: 'BUCKET/*' },
      {
        Action: 's3:ListBucket',
        Resource: 'BUCKET',
        Condition: { StringLike: { 's3:prefix': 'a/*' } },
      },
    );
    assert.equal(await anyone.outcome('HEAD', absent), '404 NoSuchKey');
    assert.equal(await anyone.outcome('HEAD', `/${name}/b/absent`), '403 AccessDenied');
    await setPolicy(name, { Effect: 'Deny', Action: 's3:ListBucket', Resource: 'BUCKET' });
    assert.equal(await at.outcome('GET', absent), '403 AccessDenied');
    assert.equal(await at.outcome('GET', `/${name}/there`), '200');
  });

  void test('checks come in order: bucket, expected owner, permission, headers', async () => {
    const name = await withPolicy({
      Effect: 'Deny',
      Action: 's3:PutObject',
      Resource: 'BUCKET/*',
      Condition: { StringNotEquals: { [algorithm]: 'AES256' } },
    });
    const bad = { 'x-amz-server-side-encryption': 'AES192' };
    const outcome = (bucketName: string, headers: Record<string, string>) =>
      at.outcome('PUT', `/${bucketName}/k`, { headers, body: 'x' });
    const owner = { 'x-amz-expected-bucket-owner': '123456789012' };
    assert.equal(await outcome(freshBucket(), { ...owner, ...bad }), '404 NoSuchBucket');
    assert.equal(await outcome(name, bad), '403 AccessDenied');
    assert.equal(await outcome(bucket, bad), '400 InvalidArgument');
    assert.equal(await outcome(bucket, { ...owner, ...bad }), '403 AccessDenied');
    const id = /<ID>([0-9a-f]{64})</.exec((await at.send('GET', '/')).body.toString())?.[1] ?? '';
    assert.equal(await outcome(bucket, { 'x-amz-expected-bucket-owner': id }), '200');
    for (const caller of ['anonymous', nobody] as const) {
      const gone = await at.as(caller).outcome('GET', `/${freshBucket()}/k`);
      assert.equal(gone, '404 NoSuchBucket');
      assert.equal(await at.as(caller).outcome('GET', `/${bucket}/k`), '403 AccessDenied');
      assert.equal(
        await at.as(caller).outcome('PUT', `/${bucket}/k`, { headers: bad }),
        '403 AccessDenied',
      );
    }
  });

  void test('policies of users allow, with variables, and deny', async () => {
    await at.send('PUT', `/${bucket}/home/homer/a`, { body: 'x' });
    await at.send('PUT', `/${bucket}/home/marge/a`, { body: 'x' });
    const homer = at.as(home);
    assert.equal(await homer.outcome('GET', `/${bucket}/home/homer/a`), '200');
    assert.equal(await homer.outcome('PUT', `/${bucket}/home/homer/b`, { body: 'x' }), '200');
    assert.equal(await homer.outcome('GET', `/${bucket}/home/marge/a`), '403 AccessDenied');
    assert.equal(await homer.outcome('GET', `/${bucket}?prefix=home/homer/`), '200');
    assert.equal(await homer.outcome('GET', `/${bucket}?prefix=home/`), '403 AccessDenied');
    assert.equal(await homer.outcome('GET', `/${bucket}`), '403 AccessDenied');
    const name = await withPolicy(
      {
        Effect: 'Deny',
        Principal: { AWS: 'everything' },
        Action: 's3:DeleteObject',
        Resource: 'BUCKET/*',
      },
      {
        Principal: { AWS: ['arn:aws:iam:::user/nobody'] },
        Action: 's3:GetObject',
        Resource: 'BUCKET/*',
      },
    );
    assert.equal(await at.as(everything).outcome('DELETE', `/${name}/there`), '403 AccessDenied');
    assert.equal(await at.as(everything).outcome('GET', `/${name}/there`), '200');
    assert.equal(await at.as(nobody).outcome('GET', `/${name}/there`), '200');
    assert.equal(await at.as('anonymous').outcome('GET', `/${name}/there`), '403 AccessDenied');
    assert.equal(await at.as(everything).outcome('GET', '/'), '200');
    assert.equal(await at.as(reader).outcome('GET', '/'), '403 AccessDenied');
  });

  void test('the policy status says whether the bucket is open to everybody', async () => {
    const name = freshBucket();
    await at.send('PUT', `/${name}`);
    const isPublic = async () =>
      /<IsPublic>(.*)<\/IsPublic>/.exec(
        (await at.send('GET', `/${name}?policyStatus`)).body.toString(),
      )?.[1];
    assert.equal(await isPublic(), 'false');
    const list = { Action: 's3:ListBucket', Resource: 'BUCKET' };
    const cases: readonly (readonly [Statement, string])[] = [
      [list, 'true'],
      [{ ...list, Principal: { AWS: 'nobody' } }, 'false'],
      [{ ...list, Effect: 'Deny' }, 'false'],
      [{ ...list, Condition: { IpAddress: { 'aws:SourceIp': '10.0.0.0/32' } } }, 'false'],
      [{ ...list, Condition: { IpAddress: { 'aws:SourceIp': '0.0.0.0/0' } } }, 'true'],
      [{ ...list, Condition: { NotIpAddress: { 'aws:SourceIp': '10.0.0.0/32' } } }, 'true'],
      [{ ...list, Condition: { StringEquals: { 'aws:Referer': 'x' } } }, 'true'],
      [{ ...list, Condition: { StringEquals: { 'aws:username': 'x' } } }, 'false'],
      [{ ...list, Condition: { StringLike: { 'aws:username': 'x*' } } }, 'true'],
    ];
    for (const [statement, expected] of cases) {
      await setPolicy(name, statement);
      assert.equal(await isPublic(), expected, JSON.stringify(statement));
    }
    await at.send('DELETE', `/${name}?policy`);
    for (const [acl, expected] of [
      ['public-read', 'true'],
      ['authenticated-read', 'true'],
      ['private', 'false'],
    ] as const) {
      await at.send('PUT', `/${name}?acl`, { headers: { 'x-amz-acl': acl } });
      assert.equal(await isPublic(), expected, acl);
    }
  });

  void test('official clients set, read and delete policies and the public access block', async () => {
    const Bucket = await withPolicy({ Action: 's3:GetObject', Resource: 'BUCKET/*' });
    const policy = (await at.send('GET', `/${Bucket}?policy`)).body.toString();
    await at.sdk.send(new DeleteBucketPolicyCommand({ Bucket }));
    await at.sdk.send(new PutBucketPolicyCommand({ Bucket, Policy: policy }));
    assert.equal((await at.sdk.send(new GetBucketPolicyCommand({ Bucket }))).Policy, policy);
    assert.equal(await at.minio.getBucketPolicy(Bucket), policy);
    await at.minio.setBucketPolicy(Bucket, policy);
    const status = await at.sdk.send(new GetBucketPolicyStatusCommand({ Bucket }));
    assert.equal(status.PolicyStatus?.IsPublic, true);
    const PublicAccessBlockConfiguration = {
      BlockPublicAcls: true,
      IgnorePublicAcls: false,
      BlockPublicPolicy: true,
      RestrictPublicBuckets: false,
    };
    await at.sdk.send(new PutPublicAccessBlockCommand({ Bucket, PublicAccessBlockConfiguration }));
    const block = await at.sdk.send(new GetPublicAccessBlockCommand({ Bucket }));
    assert.deepEqual(block.PublicAccessBlockConfiguration, PublicAccessBlockConfiguration);
    await assert.rejects(
      at.sdk.send(new PutBucketPolicyCommand({ Bucket, Policy: policy })),
      /AccessDenied/,
    );
    await at.sdk.send(new DeletePublicAccessBlockCommand({ Bucket }));
  });
});
