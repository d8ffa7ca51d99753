// Policies, their patterns and access lists from strangers. A policy that is accepted can be evaluated for
// any request without an error and in bounded time.

import { cannedAcls } from '../../src/iam/acl.ts';
import { IamError } from '../../src/iam/iam-error.ts';
import { evaluatePolicies, parsePolicy } from '../../src/iam/policy/policy.ts';
import { isPublicPolicy } from '../../src/iam/policy/public-policy.ts';
import { matchesPattern, PatternError, parsePattern } from '../../src/iam/policy/wildcard.ts';
import { XmlError } from '../../src/base/xml.ts';
import { aclXml, parseAcl } from '../../src/s3/access/acl-documents.ts';
import { S3Error } from '../../src/s3/errors.ts';
import type { FuzzTarget } from './targets.ts';

const statements = [
  { Effect: 'Allow', Principal: '*', Action: 's3:GetObject', Resource: 'arn:aws:s3:::b/*' },
  {
    Sid: 'two',
    Effect: 'Deny',
    NotPrincipal: { AWS: ['arn:aws:iam::1:user/x', 'y'], CanonicalUser: 'z' },
    NotAction: ['s3:List*', 's3:?etObject'],
    Resource: ['arn:aws:s3:::b', 'arn:aws:s3:::b/${aws:username}/*'],
    Condition: {
      StringLike: { 's3:prefix': ['a*', '${aws:userid}?'] },
      IpAddress: { 'aws:SourceIp': ['10.0.0.0/8', '2001:db8::/32'] },
      'ForAllValues:StringNotEquals': { 's3:RequestObjectTagKeys': ['a', 'b'] },
      NumericLessThanIfExists: { 's3:max-keys': 10 },
      DateGreaterThan: { 'aws:CurrentTime': '2026-01-02T03:04:05Z' },
      Null: { 'aws:Referer': true },
      ArnLike: { 'aws:PrincipalArn': 'arn:aws:iam::*:user/*' },
      Bool: { 'aws:SecureTransport': 'false' },
      BinaryEquals: { 's3:delimiter': 'aGk=' },
    },
  },
];

const request = {
  action: 's3:GetObject',
  bucket: 'b',
  key: 'x/y',
  principal: { kind: 'user', accessKey: 'x', ownerId: 'z' },
  conditions: {
    's3:prefix': ['ab'],
    'aws:SourceIp': ['::ffff:10.1.2.3'],
    's3:RequestObjectTagKeys': ['a', 'c'],
    's3:max-keys': ['7'],
    'aws:CurrentTime': ['2026-03-04T05:06:07Z'],
    'aws:PrincipalArn': ['arn:aws:iam:::user/x'],
    'aws:SecureTransport': ['false'],
    'aws:username': ['x'],
  },
} as const;

const owners = { owner: { ownerId: 'a'.repeat(64), displayName: 'a' } };

/** Everything here is text. */
function textOf(input: Uint8Array): string {
  return Buffer.from(input).toString('utf8');
}

function unlessOwn(
  kinds: readonly (abstract new (...args: never[]) => Error)[],
  run: () => void,
): void {
  try {
    run();
  } catch (error) {
    if (!kinds.some((kind) => error instanceof kind)) throw error;
  }
}

export function policyTargets(): FuzzTarget[] {
  return [
    {
      name: 'policy document',
      samples: [statements.slice(0, 1), statements.slice(1), statements].map((list) =>
        Buffer.from(JSON.stringify({ Version: '2012-10-17', Id: 'x', Statement: list })),
      ),
      run: (input) => {
        for (const kind of ['bucket', 'identity'] as const) {
          unlessOwn([IamError], () => {
            const policy = parsePolicy(textOf(input), kind, 'b');
            evaluatePolicies([policy], request);
            evaluatePolicies([policy], { action: 's3:ListBucket', bucket: 'b', conditions: {} });
            isPublicPolicy(policy);
          });
        }
      },
    },
    {
      name: 'policy pattern',
      samples: ['a*b?${aws:username}', '*a*a*a*a*a*b', "${x, 'y'}${*}"].map((text) =>
        Buffer.from(text),
      ),
      run: (input) => {
        unlessOwn([PatternError], () => {
          const pattern = parsePattern(textOf(input), { wildcards: true, variables: true });
          matchesPattern(pattern, 'a'.repeat(1000), (name) => name);
        });
      },
    },
    {
      name: 'access list',
      samples: cannedAcls.map((acl) =>
        Buffer.from(`<AccessControlPolicy>${aclXml(acl, owners)}</AccessControlPolicy>`),
      ),
      run: (input) => unlessOwn([S3Error, XmlError], () => void parseAcl(input, owners, 4096)),
    },
  ];
}
