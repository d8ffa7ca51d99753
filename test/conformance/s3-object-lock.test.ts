// Object lock as clients see it: buckets with and without it, protection in headers, defaults, retention and legal
// hold of versions, and which deletions are refused.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import {
  CopyObjectCommand,
  CreateBucketCommand,
  DeleteObjectsCommand,
  GetObjectLegalHoldCommand,
  GetObjectLockConfigurationCommand,
  GetObjectRetentionCommand,
  HeadObjectCommand,
  PutObjectCommand,
  PutObjectLegalHoldCommand,
  PutObjectLockConfigurationCommand,
  PutObjectRetentionCommand,
} from '@aws-sdk/client-s3';
import { freshBucket, type Harness, startHarness, testUser, textsOf, xmlOf } from './s3-harness.ts';

const dayMs = 86_400_000;

const allow = (...actions: readonly string[]) => ({
  Statement: [{ Effect: 'Allow', Action: actions, Resource: ['arn:aws:s3:::*'] }],
});
/** May do all but pass over GOVERNANCE. */
const worker = testUser('worker', allow('s3:*'), {
  Statement: [
    { Effect: 'Deny', Action: ['s3:BypassGovernanceRetention'], Resource: ['arn:aws:s3:::*'] },
  ],
});
/** May delete objects, but no versions of them. */
const hider = testUser('hider', allow('s3:DeleteObject'));

/** A time some days ahead, whole seconds as all clients send them. */
function inDays(days: number): Date {
  return new Date(Math.floor(Date.now() / 1000) * 1000 + days * dayMs);
}

describe('object lock', () => {
  let at: Harness;
  before(async () => {
    at = await startHarness({ users: [worker, hider] });
  });
  after(() => at.close());

  async function makeBucket(): Promise<string> {
    const Bucket = freshBucket();
    await at.sdk.send(new CreateBucketCommand({ Bucket, ObjectLockEnabledForBucket: true }));
    return Bucket;
  }

  async function putLocked(Bucket: string, Mode: 'GOVERNANCE' | 'COMPLIANCE', days = 5) {
    const { VersionId = '' } = await at.sdk.send(
      new PutObjectCommand({
        Bucket,
        Key: 'a',
        Body: 'x',
        ObjectLockMode: Mode,
        ObjectLockRetainUntilDate: inDays(days),
      }),
    );
    return VersionId;
  }

  void test('comes with versioning, which then cannot be suspended', async () => {
    const Bucket = await makeBucket();
    const state = await at.send('GET', `/${Bucket}?versioning`);
    assert.deepEqual(textsOf(xmlOf(state), 'Status'), ['Enabled']);
    const { ObjectLockConfiguration } = await at.sdk.send(
      new GetObjectLockConfigurationCommand({ Bucket }),
    );
    assert.deepEqual(ObjectLockConfiguration, { ObjectLockEnabled: 'Enabled' });
    const suspend = {
      body: '<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>',
    };
    assert.equal(
      await at.outcome('PUT', `/${Bucket}?versioning`, suspend),
      '409 InvalidBucketState',
    );
    const plain = freshBucket();
    await at.send('PUT', `/${plain}`);
    const lock = {
      body: '<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>',
    };
    const target = `/${plain}?object-lock`;
    assert.equal(await at.outcome('GET', target), '404 ObjectLockConfigurationNotFoundError');
    assert.equal(await at.outcome('PUT', target, lock), '409 InvalidBucketState');
    assert.equal(await at.outcome('PUT', `/${plain}?versioning`, suspend), '200');
    assert.equal(await at.outcome('PUT', target, lock), '409 InvalidBucketState');
    const enable = { body: suspend.body.replace('Suspended', 'Enabled') };
    assert.equal(await at.outcome('PUT', `/${plain}?versioning`, enable), '200');
    assert.equal(await at.outcome('PUT', target, lock), '200');
    assert.equal(
      await at.outcome('PUT', `/${plain}?versioning`, suspend),
      '409 InvalidBucketState',
    );
  });

  void test('refuses configurations that are none', async () => {
    const Bucket = await makeBucket();
    const rule = (inner: string, enabled = 'Enabled') => ({
      body: `<ObjectLockConfiguration><ObjectLockEnabled>${enabled}</ObjectLockEnabled><Rule><DefaultRetention>${inner}</DefaultRetention></Rule></ObjectLockConfiguration>`,
    });
    // biome-ignore format: one case to a line
    const cases: readonly (readonly [{ readonly body: string }, string])[] = [
      [rule('<Mode>GOVERNANCE</Mode><Days>1</Days>'), '200'],
      [rule('<Mode>COMPLIANCE</Mode><Years>1</Years>'), '200'],
      [rule('<Mode>GOVERNANCE</Mode><Days>0</Days>'), '400 InvalidRetentionPeriod'],
      [rule('<Mode>GOVERNANCE</Mode><Years>-1</Years>'), '400 InvalidRetentionPeriod'],
      [rule('<Mode>GOVERNANCE</Mode><Days>36501</Days>'), '400 InvalidRetentionPeriod'],
      [rule('<Mode>GOVERNANCE</Mode><Days>1</Days><Years>1</Years>'), '400 MalformedXML'],
      [rule('<Mode>GOVERNANCE</Mode>'), '400 MalformedXML'],
      [rule('<Mode>governance</Mode><Days>1</Days>'), '400 MalformedXML'],
      [rule('<Days>1</Days>'), '400 MalformedXML'],
      [rule('<Mode>GOVERNANCE</Mode><Days>one</Days>'), '400 MalformedXML'],
      [rule('<Mode>GOVERNANCE</Mode><Days>1</Days>', 'Disabled'), '400 MalformedXML'],
      [{ body: '<ObjectLockConfiguration/>' }, '400 MalformedXML'],
    ];
    for (const [body, expected] of cases) {
      assert.equal(await at.outcome('PUT', `/${Bucket}?object-lock`, body), expected, body.body);
    }
    const got = await at.sdk.send(new GetObjectLockConfigurationCommand({ Bucket }));
    assert.deepEqual(got.ObjectLockConfiguration?.Rule?.DefaultRetention, {
      Mode: 'COMPLIANCE',
      Years: 1,
    });
  });

  void test('protects by headers, and says so', async () => {
    const Bucket = await makeBucket();
    const until = inDays(3);
    const put = await at.sdk.send(
      new PutObjectCommand({
        Bucket,
        Key: 'a',
        Body: 'x',
        ObjectLockMode: 'GOVERNANCE',
        ObjectLockRetainUntilDate: until,
        ObjectLockLegalHoldStatus: 'ON',
      }),
    );
    const head = await at.sdk.send(new HeadObjectCommand({ Bucket, Key: 'a' }));
    assert.equal(head.ObjectLockMode, 'GOVERNANCE');
    assert.deepEqual(head.ObjectLockRetainUntilDate, until);
    assert.equal(head.ObjectLockLegalHoldStatus, 'ON');
    const ref = { Bucket, Key: 'a', VersionId: put.VersionId };
    const { Retention } = await at.sdk.send(new GetObjectRetentionCommand(ref));
    assert.deepEqual(Retention, { Mode: 'GOVERNANCE', RetainUntilDate: until });
    const { LegalHold } = await at.sdk.send(new GetObjectLegalHoldCommand(ref));
    assert.deepEqual(LegalHold, { Status: 'ON' });
    const mode = 'x-amz-object-lock-mode';
    const date = 'x-amz-object-lock-retain-until-date';
    const hold = 'x-amz-object-lock-legal-hold';
    // biome-ignore format: one case to a line
    const cases: readonly (readonly [Record<string, string>, string])[] = [
      [{ [mode]: 'GOVERNANCE' }, '400 InvalidArgument'],
      [{ [date]: until.toISOString() }, '400 InvalidArgument'],
      [{ [mode]: 'governance', [date]: until.toISOString() }, '400 InvalidArgument'],
      [{ [mode]: 'COMPLIANCE', [date]: 'tomorrow' }, '400 InvalidArgument'],
      [{ [mode]: 'COMPLIANCE', [date]: until.toUTCString() }, '400 InvalidArgument'],
      [{ [mode]: 'COMPLIANCE', [date]: inDays(-1).toISOString() }, '400 InvalidArgument'],
      [{ [hold]: 'on' }, '400 InvalidArgument'],
      [{ [hold]: 'OFF' }, '200'],
    ];
    const plain = freshBucket();
    await at.send('PUT', `/${plain}`);
    for (const [headers, expected] of cases) {
      const request = { headers, body: 'x' };
      assert.equal(await at.outcome('PUT', `/${Bucket}/h`, request), expected);
      assert.equal(await at.outcome('POST', `/${Bucket}/h?uploads`, { headers }), expected);
      const source = { ...headers, 'x-amz-copy-source': `${Bucket}/a` };
      assert.equal(await at.outcome('PUT', `/${Bucket}/c`, { headers: source }), expected);
      // Without object lock it does not matter what the time is.
      const isPast = Date.parse(headers[date] ?? '') < Date.now();
      const elsewhere = expected === '200' || isPast ? '400 InvalidRequest' : expected;
      assert.equal(await at.outcome('PUT', `/${plain}/h`, request), elsewhere);
      assert.equal(await at.outcome('POST', `/${plain}/h?uploads`, { headers }), elsewhere);
      assert.equal(await at.outcome('PUT', `/${plain}/c`, { headers: source }), elsewhere);
    }
    await at.send('PUT', `/${plain}/h`, { body: 'x' });
    const onto = { 'x-amz-copy-source': `${plain}/h`, 'x-amz-metadata-directive': 'REPLACE' };
    const headers = { ...onto, [hold]: 'ON' };
    assert.equal(await at.outcome('PUT', `/${plain}/h`, { headers }), '400 InvalidRequest');
    for (const resource of ['retention', 'legal-hold']) {
      assert.equal(await at.outcome('GET', `/${plain}/h?${resource}`), '400 InvalidRequest');
      const body = { body: '<x/>' };
      assert.equal(await at.outcome('PUT', `/${plain}/h?${resource}`, body), '400 InvalidRequest');
    }
  });

  void test('refuses to delete what is protected, and hides it all the same', async () => {
    const Bucket = await makeBucket();
    const VersionId = await putLocked(Bucket, 'GOVERNANCE');
    const strict = await putLocked(Bucket, 'COMPLIANCE');
    const bypass = { headers: { 'x-amz-bypass-governance-retention': 'true' } };
    const target = `/${Bucket}/a?versionId=${VersionId}`;
    assert.equal(await at.outcome('DELETE', target), '403 AccessDenied');
    assert.equal(await at.outcome('DELETE', `/${Bucket}/a`), '204');
    const strictTarget = `/${Bucket}/a?versionId=${strict}`;
    assert.equal(await at.outcome('DELETE', strictTarget, bypass), '403 AccessDenied');
    const Objects = [{ Key: 'a', VersionId }, { Key: 'a', VersionId: strict }, { Key: 'b' }];
    const many = await at.sdk.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
    assert.deepEqual(
      many.Errors?.map(({ Code }) => Code),
      ['AccessDenied', 'AccessDenied'],
    );
    assert.deepEqual(
      many.Deleted?.map(({ Key }) => Key),
      ['b'],
    );
    const force = { headers: { 'x-minio-force-delete': 'true' } };
    assert.equal(await at.outcome('DELETE', `/${Bucket}/a`, force), '403 AccessDenied');
    assert.equal(await at.outcome('DELETE', `/${Bucket}`, force), '403 AccessDenied');
    const bypassing = await at.sdk.send(
      new DeleteObjectsCommand({
        Bucket,
        Delete: { Objects: Objects.slice(0, 2) },
        BypassGovernanceRetention: true,
      }),
    );
    assert.deepEqual(
      bypassing.Deleted?.map((item) => item.VersionId),
      [VersionId],
    );
    assert.deepEqual(
      bypassing.Errors?.map((item) => item.VersionId),
      [strict],
    );
  });

  void test('lets only those pass over GOVERNANCE who have the permission', async () => {
    const Bucket = await makeBucket();
    const VersionId = await putLocked(Bucket, 'GOVERNANCE');
    const free = await at.sdk.send(new PutObjectCommand({ Bucket, Key: 'a', Body: 'y' }));
    const target = `/${Bucket}/a?versionId=${VersionId}`;
    const headers = { 'x-amz-bypass-governance-retention': 'true' };
    assert.equal(await at.as(worker).outcome('DELETE', target), '403 AccessDenied');
    assert.equal(await at.as(worker).outcome('DELETE', target, { headers }), '403 AccessDenied');
    const retention = target.replace('?', '?retention&');
    const shorter = `<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>${inDays(1).toISOString()}</RetainUntilDate></Retention>`;
    const request = { headers, body: shorter };
    assert.equal(await at.as(worker).outcome('PUT', retention, request), '403 AccessDenied');
    const entries = [VersionId, free.VersionId].map(
      (id) => `<Object><Key>a</Key><VersionId>${id}</VersionId></Object>`,
    );
    const body = `<Delete>${entries.join('')}</Delete>`;
    const md5 = createHash('md5').update(body).digest('base64');
    const many = await at.as(worker).send('POST', `/${Bucket}?delete`, {
      headers: { ...headers, 'content-md5': md5 },
      body,
    });
    assert.deepEqual(textsOf(xmlOf(many), 'Code'), ['AccessDenied', 'AccessDenied']);
    assert.equal(await at.as(hider).outcome('DELETE', target), '403 AccessDenied');
    assert.equal(await at.as(hider).outcome('DELETE', `/${Bucket}/a`), '204');
    assert.equal(await at.outcome('PUT', retention, request), '200');
    assert.equal(await at.outcome('DELETE', target, { headers }), '204');
  });

  void test('changes retention and legal hold of one version', async () => {
    const Bucket = await makeBucket();
    const VersionId = await putLocked(Bucket, 'GOVERNANCE');
    const ref = { Bucket, Key: 'a', VersionId };
    const retain = (days: number, Mode: 'GOVERNANCE' | 'COMPLIANCE', isBypassing = false) =>
      at.sdk
        .send(
          new PutObjectRetentionCommand({
            ...ref,
            Retention: { Mode, RetainUntilDate: inDays(days) },
            ...(isBypassing ? { BypassGovernanceRetention: true } : {}),
          }),
        )
        .then(
          () => 'done',
          (error: Error) => error.name,
        );
    assert.equal(await retain(7, 'GOVERNANCE'), 'done');
    assert.equal(await retain(6, 'GOVERNANCE'), 'AccessDenied');
    assert.equal(await retain(8, 'COMPLIANCE'), 'AccessDenied');
    assert.equal(await retain(6, 'GOVERNANCE', true), 'done');
    const empty = { body: '<Retention/>' };
    const target = `/${Bucket}/a?retention&versionId=${VersionId}`;
    assert.equal(await at.outcome('PUT', target, empty), '403 AccessDenied');
    const bypass = { 'x-amz-bypass-governance-retention': 'true' };
    assert.equal(await at.outcome('PUT', target, { ...empty, headers: bypass }), '200');
    assert.equal(await at.outcome('GET', target), '404 NoSuchObjectLockConfiguration');
    assert.equal(await retain(1, 'COMPLIANCE'), 'done');
    assert.equal(await retain(2, 'COMPLIANCE'), 'done');
    assert.equal(await retain(1, 'COMPLIANCE', true), 'AccessDenied');
    const document = (inner: string) => ({ body: `<Retention>${inner}</Retention>` });
    const until = `<RetainUntilDate>${inDays(9).toISOString()}</RetainUntilDate>`;
    // biome-ignore format: one case to a line
    const cases: readonly (readonly [{ readonly body: string }, string])[] = [
      [document('<Mode>COMPLIANCE</Mode>'), '400 MalformedXML'],
      [document(until), '400 MalformedXML'],
      [document(`<Mode>compliance</Mode>${until}`), '400 MalformedXML'],
      [document('<Mode>COMPLIANCE</Mode><RetainUntilDate>x</RetainUntilDate>'), '400 MalformedXML'],
      [document('<Mode>COMPLIANCE</Mode><RetainUntilDate>2020-01-01T00:00:00Z</RetainUntilDate>'), '400 InvalidArgument'],
      [{ body: '<Other/>' }, '400 MalformedXML'],
    ];
    for (const [body, expected] of cases) {
      assert.equal(await at.outcome('PUT', target, body), expected, body.body);
    }
    const holdTarget = target.replace('retention', 'legal-hold');
    assert.equal(await at.outcome('GET', holdTarget), '404 NoSuchObjectLockConfiguration');
    await at.sdk.send(new PutObjectLegalHoldCommand({ ...ref, LegalHold: { Status: 'ON' } }));
    const { LegalHold } = await at.sdk.send(new GetObjectLegalHoldCommand(ref));
    assert.equal(LegalHold?.Status, 'ON');
    const badHold = { body: '<LegalHold><Status>on</Status></LegalHold>' };
    assert.equal(await at.outcome('PUT', holdTarget, badHold), '400 MalformedXML');
    const marker = await at.send('DELETE', `/${Bucket}/a`);
    const markerTarget = `/${Bucket}/a?legal-hold&versionId=${String(marker.headers['x-amz-version-id'])}`;
    assert.equal(await at.outcome('GET', markerTarget), '405 MethodNotAllowed');
    assert.equal(await at.outcome('GET', `/${Bucket}/none?retention`), '404 NoSuchKey');
  });

  void test('gives the default retention to new versions, copies and uploads', async () => {
    const Bucket = await makeBucket();
    await at.sdk.send(
      new PutObjectLockConfigurationCommand({
        Bucket,
        ObjectLockConfiguration: {
          ObjectLockEnabled: 'Enabled',
          Rule: { DefaultRetention: { Mode: 'GOVERNANCE', Days: 1 } },
        },
      }),
    );
    await at.send('PUT', `/${Bucket}/a`, { body: 'x' });
    await at.sdk.send(new CopyObjectCommand({ Bucket, Key: 'b', CopySource: `${Bucket}/a` }));
    const created = await at.send('POST', `/${Bucket}/m?uploads`);
    const [id = ''] = textsOf(xmlOf(created), 'UploadId');
    const part = await at.send('PUT', `/${Bucket}/m?partNumber=1&uploadId=${id}`, { body: 'x' });
    await at.send('POST', `/${Bucket}/m?uploadId=${id}`, {
      body: `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${String(part.headers['etag'])}</ETag></Part></CompleteMultipartUpload>`,
    });
    for (const Key of ['a', 'b', 'm']) {
      const head = await at.sdk.send(new HeadObjectCommand({ Bucket, Key }));
      assert.equal(head.ObjectLockMode, 'GOVERNANCE', Key);
      const ms = head.ObjectLockRetainUntilDate?.getTime() ?? 0;
      assert.ok(ms > Date.now() && ms <= Date.now() + dayMs, Key);
    }
  });
});
