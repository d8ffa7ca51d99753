// Policies: what is refused and with which words, what matches, and that a Deny decides.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IamError } from '../iam-error.ts';
import { evaluatePolicies, parsePolicy, type Policy, type PolicyRequest } from './policy.ts';
import { findConditionKey } from './policy-names.ts';

const version = '2012-10-17';

function identity(...statements: readonly object[]): Policy {
  return parsePolicy(JSON.stringify({ Version: version, Statement: statements }), 'identity');
}

function ofBucket(...statements: readonly object[]): Policy {
  return parsePolicy(JSON.stringify({ Version: version, Statement: statements }), 'bucket', 'b');
}

function decide(policy: Policy, request: Partial<PolicyRequest>): string {
  return evaluatePolicies([policy], { action: 's3:GetObject', conditions: {}, ...request });
}

const allow = { Effect: 'Allow', Action: 's3:GetObject', Resource: 'arn:aws:s3:::b/*' };
const allowAll = { ...allow, Principal: '*' };

void test('a fault is refused with words that name it', () => {
  const arn = 'arn:aws:s3:::b';
  const { Effect: _effect, ...noEffect } = allowAll;
  const { Action: _action, ...noAction } = allowAll;
  const { Resource: _resource, ...noResource } = allowAll;
  // biome-ignore format: one case to a line
  const cases: readonly (readonly [unknown, RegExp])[] = [
    [[], /valid JSON/],
    ['text', /valid JSON/],
    [{}, /Missing required field Statement/],
    [{ Statement: [] }, /Statement is empty/],
    [{ Statement: 'x' }, /Statement must be an object/],
    [{ Statement: [[]] }, /Statement must be an object/],
    [{ Version: '2013-10-17', Statement: allowAll }, /valid version string/],
    [{ Version: 1, Statement: allowAll }, /valid version string/],
    [{ Id: 1, Statement: allowAll }, /Id must be a string/],
    [{ Statment: allowAll, Statement: allowAll }, /Unknown field Statment/],
    [{ Statement: { ...allowAll, Sid: 1 } }, /Sid must be a string/],
    [{ Statement: { ...allowAll, Conditions: {} } }, /Unknown field Conditions/],
    [{ Statement: noEffect }, /Missing required field Effect/],
    [{ Statement: { ...allowAll, Effect: 'Permit' } }, /Invalid effect: Permit/],
    [{ Statement: noAction }, /Missing required field Action/],
    [{ Statement: { ...allowAll, Action: [] } }, /Missing required field Action/],
    [{ Statement: { ...allowAll, Action: [1] } }, /Action must be a string/],
    [{ Statement: { ...allowAll, NotAction: 's3:GetObject' } }, /either Action or NotAction/],
    [{ Statement: { ...allowAll, Action: 's3:Nothing*' } }, /invalid action/],
    [{ Statement: { ...allowAll, Action: 'kms:*' } }, /invalid action/],
    [{ Statement: noResource }, /Missing required field Resource/],
    [{ Statement: { ...allowAll, Resource: [] } }, /Missing required field Resource/],
    [{ Statement: { ...allowAll, Resource: `${arn}x/*` } }, /invalid resource/],
    [{ Statement: { ...allowAll, Resource: `${arn}/` } }, /invalid resource/],
    [{ Statement: { ...allowAll, Resource: 'arn:aws:s3:::*' } }, /invalid resource/],
    [{ Statement: { ...allowAll, Resource: 'b/*' } }, /invalid resource/],
    [{ Version: version, Statement: { ...allowAll, Resource: `${arn}/\${aws:username` } }, /not closed/],
    [{ Version: version, Statement: { ...allowAll, Resource: `${arn}/\${aws:usrname}` } }, /Unknown policy variable/],
    [{ Statement: { ...allowAll, Action: 's3:ListBucket' } }, /does not apply to any resource/],
    [{ Statement: { ...allowAll, Action: ['s3:GetObject', 's3:ListBucket'] } }, /does not apply/],
    [{ Statement: { ...allowAll, Resource: arn } }, /does not apply to any resource/],
    [{ Statement: allow }, /Missing required field Principal/],
    [{ Statement: { ...allowAll, Principal: 'x' } }, /Invalid principal/],
    [{ Statement: { ...allowAll, Principal: {} } }, /Invalid principal/],
    [{ Statement: { ...allowAll, Principal: { AWS: [] } } }, /Invalid principal/],
    [{ Statement: { ...allowAll, Principal: { AWS: 'a*' } } }, /Invalid principal/],
    [{ Statement: { ...allowAll, Principal: { Service: 'x' } } }, /Invalid principal/],
    [{ Statement: { ...allowAll, Principal: { AWS: 'arn:aws:iam::1:role/x' } } }, /Invalid principal/],
    [{ Statement: { ...allow, NotPrincipal: '*' } }, /Allow with NotPrincipal/],
    [{ Statement: { ...allowAll, Condition: [] } }, /Condition must be an object/],
    [{ Statement: { ...allowAll, Condition: { Bool: 1 } } }, /must be an object/],
    [{ Statement: { ...allowAll, Condition: { Bool: { 'aws:SecureTransport': {} } } } }, /not a string/],
    [{ Statement: { ...allowAll, Condition: { Bool: { 'aws:SecureTransport': [] } } } }, /no value/],
    [{ Statement: { ...allowAll, Condition: { Bool: { 'aws:SecureTransport': 'x' } } } }, /true or false/],
    [{ Statement: { ...allowAll, Condition: { Bools: { 'aws:SecureTransport': 'true' } } } }, /Invalid Condition type : Bools/],
    [{ Statement: { ...allowAll, Condition: { toString: { 'aws:SecureTransport': 'true' } } } }, /Invalid Condition type/],
    [{ Statement: { ...allowAll, Condition: { NullIfExists: { 's3:prefix': 'true' } } } }, /Invalid Condition type/],
    [{ Statement: { ...allowAll, Condition: { StringEquals: { 's3:nothing': 'x' } } } }, /invalid condition key/],
    [{ Statement: { ...allowAll, Condition: { StringEquals: { 's3:ExistingObjectTag/': 'x' } } } }, /invalid condition key/],
    [{ Statement: { ...allowAll, Condition: { NumericEquals: { 's3:max-keys': 'ten' } } } }, /Invalid number/],
    [{ Statement: { ...allowAll, Condition: { DateEquals: { 'aws:CurrentTime': 'now' } } } }, /Invalid date/],
    [{ Statement: { ...allowAll, Condition: { IpAddress: { 'aws:SourceIp': '1.2.3' } } } }, /Invalid IP/],
    [{ Statement: { ...allowAll, Condition: { ArnLike: { 'aws:PrincipalArn': 'bob' } } } }, /Invalid ARN/],
    [{ Statement: { ...allowAll, Condition: { BinaryEquals: { 's3:prefix': '!' } } } }, /Invalid base64/],
  ];
  for (const [document, message] of cases) {
    const text = JSON.stringify(document);
    assert.throws(
      () => parsePolicy(text, 'bucket', 'b'),
      (error) => {
        assert.ok(error instanceof IamError, text);
        assert.equal(error.code, 'malformed-policy');
        assert.match(error.message, message, text);
        return true;
      },
      text,
    );
  }
});

void test('documents that hide something are refused', () => {
  const twice = `{"Statement":{"Effect":"Deny","Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::b"}}`;
  assert.throws(() => parsePolicy(twice, 'bucket', 'b'), /two members of the same name/);
  const escaped = JSON.stringify({ Statement: { ...allowAll, Sid: 'a":"b\\" : ' } });
  assert.equal(parsePolicy(escaped, 'bucket', 'b').statements.length, 1);
  const padded = JSON.stringify({ Id: 'x'.repeat(20_480), Statement: allowAll });
  assert.throws(() => parsePolicy(padded, 'bucket', 'b'), /maximum allowed size of 20480 bytes/);
  assert.throws(() => parsePolicy('{', 'bucket', 'b'), /valid JSON/);
});

void test('policies of users have no principal, and may speak of the server and its keys', () => {
  const text = JSON.stringify({ Statement: allowAll });
  assert.throws(() => parsePolicy(text, 'identity'), /should not specify a principal/);
  const admin = identity({ Effect: 'Allow', Action: ['admin:ServerInfo', 'admin:*User'] });
  assert.equal(decide(admin, { action: 'admin:ServerInfo' }), 'allow');
  assert.equal(decide(admin, { action: 'admin:CreateUser' }), 'allow');
  assert.equal(decide(admin, { action: 'admin:CreatePolicy' }), 'none');
  const keys = identity({ Effect: 'Allow', Action: 'kms:*', Resource: 'arn:minio:kms:::my-*' });
  assert.equal(decide(keys, { action: 'kms:CreateKey', key: 'my-key' }), 'allow');
  assert.equal(decide(keys, { action: 'kms:CreateKey', key: 'key' }), 'none');
  const anyKey = identity({ Effect: 'Allow', Action: 'kms:KeyStatus' });
  assert.equal(decide(anyKey, { action: 'kms:KeyStatus', key: 'key' }), 'allow');
  for (const [statement, message] of [
    [{ Effect: 'Allow', Action: ['admin:*', 's3:*'], Resource: '*' }, /different services/],
    [{ Effect: 'Allow', Action: 'ec2:*', Resource: '*' }, /unsupported action/],
    [{ Effect: 'Allow', Action: 's3:*' }, /Missing required field Resource/],
    [{ Effect: 'Allow', Action: 's3:*', Resource: 'bucket' }, /invalid resource/],
    [{ Effect: 'Allow', Action: 's3:*', Resource: 'arn:aws:s3:::/x' }, /invalid resource/],
  ] as const) {
    assert.throws(() => identity(statement), message);
  }
});

void test('actions match whatever their case, with wildcards, and by exclusion', () => {
  const policy = identity({ ...allow, Action: ['S3:getobject', 's3:List*'], Resource: '*' });
  assert.equal(decide(policy, { bucket: 'b', key: 'k' }), 'allow');
  assert.equal(decide(policy, { action: 's3:ListBucket', bucket: 'b' }), 'allow');
  assert.equal(decide(policy, { action: 's3:GetObjectAcl', bucket: 'b', key: 'k' }), 'none');
  const but = identity({ Effect: 'Allow', NotAction: 's3:Delete*', Resource: '*' });
  assert.equal(decide(but, { bucket: 'b', key: 'k' }), 'allow');
  assert.equal(decide(but, { action: 's3:DeleteObject', bucket: 'b', key: 'k' }), 'none');
  assert.equal(
    decide(identity({ ...allow, Action: '*', Resource: '*' }), { action: 'admin:Heal' }),
    'allow',
  );
});

void test('what is said of buckets says nothing of the server', () => {
  const server = { action: 'admin:CreateUser' };
  const key = { action: 'kms:CreateKey', key: 'k' };
  const object = { bucket: 'b', key: 'k' };
  // biome-ignore format: one case to a line
  const cases: readonly (readonly [object, string, string, string])[] = [
    [{ Effect: 'Allow', Action: '*', Resource: 'arn:aws:s3:::b/*' }, 'none', 'none', 'allow'],
    [{ Effect: 'Allow', Action: '*', Resource: '*' }, 'allow', 'allow', 'allow'],
    [{ Effect: 'Allow', Action: '*', NotResource: 'arn:aws:s3:::x/*' }, 'none', 'none', 'allow'],
    [{ Effect: 'Deny', Action: '*', NotResource: 'arn:aws:s3:::x/*' }, 'deny', 'deny', 'deny'],
    [{ Effect: 'Allow', NotAction: 's3:Delete*', Resource: 'arn:aws:s3:::*' }, 'none', 'none', 'allow'],
    [{ Effect: 'Allow', NotAction: 's3:Delete*', Resource: '*' }, 'none', 'none', 'allow'],
    [{ Effect: 'Allow', NotAction: 'admin:Heal', Resource: '*' }, 'allow', 'none', 'none'],
    [{ Effect: 'Allow', Action: 'admin:*', Resource: 'arn:aws:s3:::b' }, 'allow', 'none', 'none'],
    [{ Effect: 'Deny', NotAction: 's3:Get*', Resource: '*' }, 'deny', 'deny', 'none'],
    [{ Effect: 'Deny', NotAction: 's3:Put*', Resource: 'arn:aws:s3:::b/*' }, 'none', 'none', 'deny'],
    [{ Effect: 'Deny', Action: '*', Resource: '*' }, 'deny', 'deny', 'deny'],
  ];
  for (const [statement, ofServer, ofKey, ofObject] of cases) {
    const policy = identity(statement);
    const what = JSON.stringify(statement);
    assert.equal(decide(policy, server), ofServer, what);
    assert.equal(decide(policy, key), ofKey, what);
    assert.equal(decide(policy, object), ofObject, what);
  }
});

void test('resources match the bucket or the object, with variables, and by exclusion', () => {
  const policy = identity({
    ...allow,
    Action: 's3:*',
    Resource: 'arn:aws:s3:::b/${aws:username}/?',
  });
  const bob = { conditions: { 'aws:username': ['bob'] }, bucket: 'b' };
  assert.equal(decide(policy, { ...bob, key: 'bob/1' }), 'allow');
  assert.equal(decide(policy, { ...bob, key: 'bob/12' }), 'none');
  assert.equal(decide(policy, { ...bob, key: 'eve/1' }), 'none');
  assert.equal(decide(policy, { bucket: 'b', key: '/1' }), 'none');
  const list = { action: 's3:ListBucket', bucket: 'b' };
  // To users' policies `b/*` speaks of the bucket as well, to those of buckets it does not.
  assert.equal(decide(identity({ ...allow, Action: 's3:*' }), list), 'allow');
  assert.equal(decide(identity({ ...allow, Action: 's3:*' }), { ...list, bucket: 'bb' }), 'none');
  assert.equal(decide(ofBucket({ ...allowAll, Action: 's3:*' }), list), 'none');
  const not = identity({ Effect: 'Allow', Action: 's3:*', NotResource: 'arn:aws:s3:::secret*' });
  assert.equal(decide(not, { bucket: 'open', key: 'k' }), 'allow');
  assert.equal(decide(not, { bucket: 'secrets', key: 'k' }), 'none');
  const service = { action: 's3:ListAllMyBuckets' };
  assert.equal(
    decide(identity({ ...allow, Action: 's3:*', Resource: 'arn:aws:s3:::*' }), service),
    'allow',
  );
  assert.equal(decide(identity({ ...allow, Action: 's3:*' }), service), 'none');
});

void test('policies without the current version take `${…}` as it stands, in buckets', () => {
  const statement = { ...allowAll, Resource: 'arn:aws:s3:::b/${aws:username}' };
  const request = { bucket: 'b', key: 'bob', conditions: { 'aws:username': ['bob'] } };
  assert.equal(decide(ofBucket(statement), request), 'allow');
  const old = parsePolicy(JSON.stringify({ Statement: statement }), 'bucket', 'b');
  assert.equal(decide(old, request), 'none');
  assert.equal(decide(old, { ...request, key: '${aws:username}' }), 'allow');
});

void test('principals are everybody, an access key, a canonical id, an ARN or root', () => {
  const user = { kind: 'user', accessKey: 'bob', ownerId: 'b0b' } as const;
  const root = { kind: 'root', accessKey: 'admin', ownerId: 'r00t' } as const;
  const nobody = { kind: 'anonymous' } as const;
  // biome-ignore format: one case to a line
  const cases: readonly (readonly [unknown, boolean, boolean, boolean])[] = [
    ['*', true, true, true],
    [{ AWS: '*' }, true, true, true],
    [{ AWS: ['eve', '*'] }, true, true, true],
    [{ AWS: 'bob' }, true, false, false],
    [{ AWS: 'b0b' }, true, false, false],
    [{ AWS: 'Bob' }, false, false, false],
    [{ AWS: 'arn:aws:iam:::user/bob' }, true, false, false],
    [{ AWS: 'arn:aws:iam::123456789012:user/team/bob' }, true, false, false],
    [{ AWS: 'arn:aws:iam::123456789012:user/eve' }, false, false, false],
    [{ AWS: 'arn:aws:iam::b0b:root' }, true, false, false],
    [{ AWS: 'arn:aws:iam:::root' }, false, true, false],
    [{ AWS: 'arn:aws:iam::r00t:root' }, false, true, false],
    [{ CanonicalUser: 'b0b' }, true, false, false],
    [{ CanonicalUser: 'bob' }, false, false, false],
    [{ CanonicalUser: ['x'], AWS: ['admin'] }, false, true, false],
  ];
  for (const [principal, forUser, forRoot, forNobody] of cases) {
    const policy = ofBucket({ ...allow, Principal: principal });
    const deny = ofBucket({ ...allow, Effect: 'Deny', NotPrincipal: principal });
    for (const [caller, expected] of [
      [user, forUser],
      [root, forRoot],
      [nobody, forNobody],
    ] as const) {
      const what = `${JSON.stringify(principal)} ${caller.kind}`;
      const request = { bucket: 'b', key: 'k', principal: caller };
      assert.equal(decide(policy, request), expected ? 'allow' : 'none', what);
      assert.equal(decide(deny, request), expected ? 'none' : 'deny', what);
    }
    assert.equal(decide(policy, { bucket: 'b', key: 'k' }), forNobody ? 'allow' : 'none');
  }
});

void test('a Deny decides, in whatever policy it stands', () => {
  const allows = identity(allow);
  const denies = identity({ ...allow, Effect: 'Deny', Resource: 'arn:aws:s3:::b/k*' });
  const request = { action: 's3:GetObject', bucket: 'b', key: 'k', conditions: {} };
  assert.equal(evaluatePolicies([allows, denies], request), 'deny');
  assert.equal(evaluatePolicies([denies, allows], request), 'deny');
  assert.equal(evaluatePolicies([denies, allows], { ...request, key: 'x' }), 'allow');
  assert.equal(evaluatePolicies([denies], { ...request, key: 'x' }), 'none');
  assert.equal(evaluatePolicies([], request), 'none');
});

void test('a policy tells which condition keys it asks for', () => {
  const policy = identity({
    ...allow,
    Resource: 'arn:aws:s3:::b/${AWS:UserName}/${s3:prefix}',
    Condition: {
      StringLike: { 'S3:Prefix': '${aws:userid}*', 's3:existingobjecttag/Team': 'a' },
      Null: { 'aws:referer': 'false' },
    },
  });
  assert.deepEqual(
    [...policy.conditionKeys].toSorted(),
    [
      'aws:Referer',
      'aws:userid',
      'aws:username',
      's3:ExistingObjectTag/Team',
      's3:prefix',
    ].toSorted(),
  );
  assert.equal(findConditionKey('s3:ExistingObjectTag'), undefined);
  assert.equal(findConditionKey('s3:VERSIONID'), 's3:VersionId');
});
