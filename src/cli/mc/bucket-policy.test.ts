// Policies as `anonymous` reads and changes them. The expected access is what the reference answered.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { type Access, findAccess, listAccess, withAccess } from './bucket-policy.ts';
import type { JsonObject } from './error.ts';

const bucketActions = ['s3:GetBucketLocation', 's3:ListBucket'];
const uploads = [
  's3:AbortMultipartUpload',
  's3:DeleteObject',
  's3:ListMultipartUploadParts',
  's3:PutObject',
];

function open(actions: readonly string[], place: string, more: JsonObject = {}): JsonObject {
  const Resource = [`arn:aws:s3:::${place}`];
  return { Action: actions, Effect: 'Allow', Principal: { AWS: ['*'] }, Resource, ...more };
}

function policy(...statements: JsonObject[]): JsonObject {
  return { Version: '2012-10-17', Statement: statements };
}

const at = (prefix: string) => ({ bucket: 'b', prefix });

function set(before: JsonObject, prefix: string, access: Access): JsonObject {
  return withAccess(before, at(prefix), access) ?? {};
}

describe('the access that a bucket policy gives to everybody', () => {
  const cases: [string, JsonObject, string, Access][] = [
    ['nothing', {}, '', 'none'],
    ['objects alone', policy(open(['s3:GetObject'], 'b/*')), '', 'none'],
    [
      'objects and the list, but not the place',
      policy(open(['s3:GetObject'], 'b/*'), open(['s3:ListBucket'], 'b')),
      '',
      'none',
    ],
    ['a star', policy(open(['s3:*'], 'b/*'), open(['s3:*'], 'b')), '', 'none'],
    [
      'more than is needed',
      policy(open(['s3:GetObject', 's3:GetObjectTagging'], 'b/*'), open(bucketActions, 'b')),
      'any',
      'readonly',
    ],
    [
      'a part of what uploads need',
      policy(
        open(['s3:PutObject'], 'b/*'),
        open(['s3:GetBucketLocation', 's3:ListBucketMultipartUploads'], 'b'),
      ),
      '',
      'none',
    ],
    [
      'a condition',
      policy(
        open(['s3:GetObject'], 'b/*', { Condition: { Bool: { 'aws:SecureTransport': ['true'] } } }),
        open(bucketActions, 'b'),
      ),
      '',
      'none',
    ],
    [
      'a prefix without a condition on the list',
      policy(open(['s3:GetObject'], 'b/pre*'), open(bucketActions, 'b')),
      'pre',
      'readonly',
    ],
    [
      'somebody else',
      policy(
        open(['s3:GetObject'], 'b/*', { Principal: { AWS: ['arn:aws:iam:::user/alice'] } }),
        open(bucketActions, 'b'),
      ),
      '',
      'none',
    ],
  ];
  for (const [name, document, prefix, access] of cases) {
    it(`is ${access} by ${name}`, () => {
      assert.equal(findAccess(document, at(prefix)), access);
    });
  }

  it('is that of the longest prefix', () => {
    const document = set(set({}, '', 'readonly'), 'pre', 'writeonly');
    assert.equal(findAccess(document, at('')), 'readonly');
    assert.equal(findAccess(document, at('pr')), 'readonly');
    assert.equal(findAccess(document, at('pre')), 'writeonly');
    assert.equal(findAccess(document, at('prefix/x')), 'writeonly');
    assert.deepEqual(listAccess(document), [
      { resource: 'b/*', access: 'readonly' },
      { resource: 'b/pre*', access: 'writeonly' },
    ]);
  });
});

describe('a change of the access', () => {
  it('writes what the reference writes', () => {
    assert.deepEqual(set({}, '', 'readonly'), {
      Version: '2012-10-17',
      Statement: [open(bucketActions, 'b'), open(['s3:GetObject'], 'b/*')],
    });
    assert.deepEqual(set({}, 'pub/', 'readwrite'), {
      Version: '2012-10-17',
      Statement: [
        open(['s3:GetBucketLocation', 's3:ListBucketMultipartUploads'], 'b'),
        open(['s3:ListBucket'], 'b', {
          Condition: { StringEquals: { 's3:prefix': ['pub/'] } },
        }),
        open([...uploads, 's3:GetObject'].sort(), 'b/pub/*'),
      ],
    });
  });

  it('is what is read afterwards, and taking all back leaves nothing', () => {
    const accesses: Access[] = ['none', 'readonly', 'writeonly', 'readwrite'];
    for (const first of accesses) {
      for (const second of accesses) {
        for (const third of accesses) {
          const one = set({}, '', first);
          const two = set(one, 'p/', second);
          const three = set(two, '', third);
          assert.equal(findAccess(three, at('')), third);
          const below = second === 'none' ? third : second;
          assert.equal(findAccess(three, at('p/')), below, `${first} ${second} ${third}`);
          assert.equal(withAccess(set(three, '', 'none'), at('p/'), 'none'), undefined);
        }
      }
    }
  });

  it('keeps what others wrote', () => {
    const tagging = open(['s3:GetObject', 's3:GetObjectTagging'], 'b/*', { Sid: 'keep' });
    const deny = { ...open(['s3:GetObject'], 'b/secret/*'), Effect: 'Deny' };
    const before = policy(tagging, deny, open([...bucketActions, 's3:GetBucketPolicy'], 'b'));
    const after = set(before, '', 'none');
    assert.deepEqual(after, {
      Version: '2012-10-17',
      Statement: [
        { ...tagging, Action: ['s3:GetObjectTagging'] },
        deny,
        open(['s3:GetBucketLocation', 's3:GetBucketPolicy'], 'b'),
      ],
    });
  });

  it('splits a statement about several places', () => {
    const both = {
      ...open(['s3:GetObject'], 'b/a/*'),
      Resource: ['arn:aws:s3:::b/a/*', 'arn:aws:s3:::b/p*'],
    };
    const after = set(policy(both, open(bucketActions, 'b')), 'p', 'none');
    assert.equal(findAccess(after, at('a/')), 'readonly');
    assert.equal(findAccess(after, at('p')), 'none');
  });
});
