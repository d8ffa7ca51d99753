// The one decision: what allows, what denies, and that a denial wins, against a naive reference too.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type CannedAcl, cannedAcls } from './acl.ts';
import { type AccessRequest, authorize, type ResourceState } from './authorize.ts';
import { anonymous, type Identity, rootIdentity } from './identity.ts';
import { parsePolicy, type Policy } from './policy/policy.ts';
import { isPublicPolicy } from './policy/public-policy.ts';

const root = rootIdentity('admin');
const bucketOwner = 'b'.repeat(64);

function user(name: string, ...policies: readonly Policy[]): Identity {
  const ownerId = name.charAt(0).repeat(64);
  return { kind: 'user', accessKey: name, ownerId, displayName: name, policies };
}

function policy(kind: 'identity' | 'bucket', ...statements: readonly object[]): Policy {
  const filled = statements.map((statement) => ({
    Effect: 'Allow',
    Resource: ['arn:aws:s3:::b', 'arn:aws:s3:::b/*'],
    ...(kind === 'bucket' ? { Principal: '*' } : {}),
    ...statement,
  }));
  const text = JSON.stringify({ Version: '2012-10-17', Statement: filled });
  return parsePolicy(text, kind, 'b');
}

function decide(
  identity: Identity,
  action: string,
  resource?: Partial<ResourceState>,
  more: Partial<AccessRequest> = {},
): string {
  const isOfBucket = /Bucket|Policy$/.test(action);
  return authorize({
    identity,
    action,
    bucket: 'b',
    ...(isOfBucket ? {} : { key: 'k' }),
    resource: { bucketOwner, grantsOwners: true, ...resource },
    ...more,
  });
}

const denyAll = policy('bucket', { Effect: 'Deny', Action: 's3:*' });
const readAll = policy('bucket', { Action: 's3:GetObject', Resource: 'arn:aws:s3:::b/*' });

void test('root may do everything but what a bucket policy denies, the policy calls always', () => {
  assert.equal(decide(root, 's3:DeleteObject'), 'allow');
  assert.equal(authorize({ identity: root, action: 'admin:ServerInfo' }), 'allow');
  for (const action of ['s3:GetObject', 's3:ListBucket', 's3:DeleteBucket', 's3:PutBucketAcl']) {
    assert.equal(decide(root, action, { bucketPolicy: denyAll }), 'deny', action);
  }
  for (const action of ['s3:GetBucketPolicy', 's3:PutBucketPolicy', 's3:DeleteBucketPolicy']) {
    assert.equal(decide(root, action, { bucketPolicy: denyAll }), 'allow', action);
    assert.equal(decide(user('boss'), action, { bucketPolicy: denyAll }), 'deny', action);
  }
  assert.equal(decide(root, 's3:DeleteObject', { bucketPolicy: readAll }), 'allow');
});

void test('nobody may do anything by default, and users what their policies say', () => {
  assert.equal(decide(anonymous, 's3:GetObject'), 'deny');
  assert.equal(decide(user('eve'), 's3:GetObject'), 'deny');
  assert.equal(authorize({ identity: anonymous, action: 's3:ListAllMyBuckets' }), 'deny');
  const reader = user('eve', policy('identity', { Action: 's3:GetObject' }));
  assert.equal(decide(reader, 's3:GetObject'), 'allow');
  assert.equal(decide(reader, 's3:PutObject'), 'deny');
  const denied = user(
    'eve',
    policy('identity', { Action: 's3:*' }, { Effect: 'Deny', Action: 's3:GetObject' }),
  );
  assert.equal(decide(denied, 's3:GetObject', { bucketPolicy: readAll }), 'deny');
  assert.equal(decide(denied, 's3:PutObject'), 'allow');
  assert.equal(decide(denied, 's3:PutObject', { bucketPolicy: denyAll }), 'deny');
});

void test('the owner of a bucket may do everything in it that nothing denies', () => {
  const owner = user('bob');
  assert.equal(decide(owner, 's3:DeleteBucket'), 'allow');
  assert.equal(decide(owner, 's3:GetObject', { object: { owner: 'x' } }), 'allow');
  assert.equal(decide(owner, 's3:GetObject', { bucketPolicy: denyAll }), 'deny');
  const bound = user('bob', policy('identity', { Effect: 'Deny', Action: 's3:Put*' }));
  assert.equal(decide(bound, 's3:PutObject'), 'deny');
  assert.equal(authorize({ identity: owner, action: 's3:CreateBucket', bucket: 'n' }), 'deny');
});

void test('a user who may do something may do it to a version, unless that is denied', () => {
  const reader = user('eve', policy('identity', { Action: 's3:GetObject' }));
  assert.equal(decide(reader, 's3:GetObjectVersion'), 'allow');
  assert.equal(decide(reader, 's3:GetObjectVersionTagging'), 'deny');
  assert.equal(decide(reader, 's3:DeleteObjectVersion'), 'deny');
  const statements = [{ Action: 's3:*' }, { Effect: 'Deny', Action: 's3:GetObjectVersion' }];
  const bound = user('eve', policy('identity', ...statements));
  assert.equal(decide(bound, 's3:GetObjectVersion'), 'deny');
  assert.equal(decide(bound, 's3:GetObject'), 'allow');
  const versions = user('eve', policy('identity', { Action: 's3:GetObjectVersion' }));
  assert.equal(decide(versions, 's3:GetObject'), 'deny');
  // Bucket policies tell the two apart.
  assert.equal(decide(anonymous, 's3:GetObjectVersion', { bucketPolicy: readAll }), 'deny');
});

void test('owning allows nothing by itself where it does not count', () => {
  const owner = user('bob');
  const resource = { grantsOwners: false, object: { owner: 'b'.repeat(64) } };
  for (const action of ['s3:DeleteBucket', 's3:GetObject', 's3:PutObject', 's3:PutObjectAcl']) {
    assert.equal(decide(owner, action, resource), 'deny', action);
  }
  assert.equal(decide(owner, 's3:GetObject', { ...resource, bucketPolicy: readAll }), 'allow');
  const reader = user('bob', policy('identity', { Action: 's3:GetObject' }));
  assert.equal(decide(reader, 's3:GetObject', resource), 'allow');
  assert.equal(decide(reader, 's3:PutObject', resource), 'deny');
});

void test('the owner of an object may read it and set its access list, not delete it', () => {
  const object = { owner: 'e'.repeat(64) };
  const eve = user('eve');
  for (const action of [
    's3:GetObject',
    's3:GetObjectAcl',
    's3:PutObjectAcl',
    's3:GetObjectVersion',
  ]) {
    assert.equal(decide(eve, action, { object }), 'allow', action);
    assert.equal(decide(user('zed'), action, { object }), 'deny', action);
  }
  for (const action of ['s3:DeleteObject', 's3:PutObject', 's3:GetObjectTagging']) {
    assert.equal(decide(eve, action, { object }), 'deny', action);
  }
  // What nobody wrote belongs to nobody.
  assert.equal(decide(anonymous, 's3:GetObject', { object: { owner: '' } }), 'deny');
});

void test('whoever may write by an access list may say what the object is to be like', () => {
  const resource = { bucketAcl: 'public-read-write' } as const;
  assert.equal(decide(anonymous, 's3:PutObject', resource), 'allow');
  assert.equal(decide(anonymous, 's3:PutObjectAcl', resource), 'deny');
  for (const action of ['s3:PutObjectAcl', 's3:PutObjectTagging']) {
    assert.equal(decide(anonymous, action, resource, { isPartOfWrite: true }), 'allow');
  }
  const retention = 's3:PutObjectRetention';
  assert.equal(decide(anonymous, retention, resource, { isPartOfWrite: true }), 'deny');
});

void test('a policy is public when it allows everybody something without naming them', () => {
  const list = { Action: 's3:ListBucket', Resource: 'arn:aws:s3:::b' };
  const narrow = (condition: object) =>
    isPublicPolicy(policy('bucket', { ...list, Condition: condition }));
  assert.equal(isPublicPolicy(readAll), true);
  assert.equal(isPublicPolicy(denyAll), false);
  assert.equal(isPublicPolicy(policy('bucket', { ...list, Principal: { AWS: 'bob' } })), false);
  assert.equal(
    isPublicPolicy(policy('bucket', { ...list, Principal: { AWS: 'bob' } }, list)),
    true,
  );
  assert.equal(narrow({ IpAddress: { 'aws:SourceIp': ['10.0.0.0/8', '2001:db8::/32'] } }), false);
  assert.equal(narrow({ IpAddress: { 'aws:SourceIp': ['10.0.0.1', '0.0.0.0/7'] } }), true);
  assert.equal(narrow({ IpAddressIfExists: { 'aws:SourceIp': '10.0.0.1' } }), true);
  assert.equal(narrow({ StringEquals: { 'aws:userid': 'x' } }), false);
  assert.equal(narrow({ StringEquals: { 'aws:userid': '${aws:username}' } }), true);
  assert.equal(narrow({ 'ForAllValues:StringEquals': { 'aws:userid': 'x' } }), true);
  assert.equal(narrow({ StringNotEquals: { 'aws:userid': 'x' } }), true);
  assert.equal(narrow({ Bool: { 'aws:SecureTransport': 'true' } }), true);
});

const actions = ['s3:GetObject', 's3:PutObject', 's3:ListBucket', 's3:GetObjectAcl'] as const;

type Rule = { readonly effect: 'Allow' | 'Deny'; readonly action: string; readonly who: string };

/** The decision as the documentation tells it, one sentence after another. */
function reference(question: {
  readonly who: 'root' | 'nobody' | 'bob' | 'eve';
  readonly action: string;
  readonly own: readonly Rule[];
  readonly bucket: readonly Rule[];
  readonly bucketAcl: CannedAcl;
  readonly objectAcl: CannedAcl;
  readonly ignores: boolean;
  readonly restricts: boolean;
}): string {
  const { who, action, own, bucket } = question;
  const isUser = who === 'bob' || who === 'eve';
  const speaks = (rule: Rule) =>
    (rule.action === '*' || `s3:${rule.action}` === action) &&
    (rule.who === '*' || rule.who === who);
  if (isUser && own.some((rule) => speaks(rule) && rule.effect === 'Deny')) return 'deny';
  if (bucket.some((rule) => speaks(rule) && rule.effect === 'Deny')) return 'deny';
  if (who === 'root' || who === 'bob') return 'allow';
  if (isUser && own.some((rule) => speaks(rule) && rule.effect === 'Allow')) return 'allow';
  const isPublic = bucket.some((rule) => rule.effect === 'Allow' && rule.who === '*');
  if (
    bucket.some((rule) => speaks(rule) && rule.effect === 'Allow') &&
    !(isPublic && question.restricts)
  ) {
    return 'allow';
  }
  const grants = (acl: CannedAcl) => {
    if (question.ignores) return 'nothing';
    if (acl === 'public-read' || (acl === 'authenticated-read' && isUser)) return 'read';
    return acl === 'public-read-write' ? 'read and write' : 'nothing';
  };
  if (action === 's3:ListBucket')
    return grants(question.bucketAcl).includes('read') ? 'allow' : 'deny';
  if (action === 's3:PutObject')
    return grants(question.bucketAcl).includes('write') ? 'allow' : 'deny';
  if (action === 's3:GetObject')
    return grants(question.objectAcl).includes('read') ? 'allow' : 'deny';
  return 'deny';
}

void test('every combination of policies, lists and switches is decided as the rules say', () => {
  const rule = (callers: readonly string[]) =>
    fc.record({
      effect: fc.constantFrom('Allow', 'Deny'),
      action: fc.constantFrom('*', ...actions.map((action) => action.slice(3))),
      who: fc.constantFrom(...callers),
    });
  const questions = fc.record({
    who: fc.constantFrom('root', 'nobody', 'bob', 'eve'),
    action: fc.constantFrom(...actions),
    own: fc.array(rule(['*']), { maxLength: 2 }),
    bucket: fc.array(rule(['*', 'bob', 'eve']), { maxLength: 3 }),
    bucketAcl: fc.constantFrom(...cannedAcls),
    objectAcl: fc.constantFrom(...cannedAcls),
    ignores: fc.boolean(),
    restricts: fc.boolean(),
  });
  fc.assert(
    fc.property(questions, (question) => {
      const statement = ({ effect, action }: Rule) => ({ Effect: effect, Action: `s3:${action}` });
      const own =
        question.own.length === 0 ? [] : [policy('identity', ...question.own.map(statement))];
      const bucket = question.bucket.map((item) => ({
        ...statement(item),
        Principal: item.who === '*' ? '*' : { AWS: item.who },
      }));
      const identity = {
        root,
        nobody: anonymous,
        bob: user('bob', ...own),
        eve: user('eve', ...own),
      }[question.who];
      const decision = decide(identity, question.action, {
        bucketPolicy: bucket.length === 0 ? undefined : policy('bucket', ...bucket),
        bucketAcl: question.bucketAcl,
        object: { owner: 'x', acl: question.objectAcl },
        publicAccessBlock: {
          blockPublicAcls: false,
          ignorePublicAcls: question.ignores,
          blockPublicPolicy: false,
          restrictPublicBuckets: question.restricts,
        },
      });
      assert.equal(decision, reference(question));
    }),
    { numRuns: 3000 },
  );
});
