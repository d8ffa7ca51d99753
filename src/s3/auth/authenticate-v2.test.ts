// Targets presigned by Signature V2: those that boto3 made are accepted, and every change to one is refused.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { AuthError } from '../../sigv4/errors.ts';
import { SigningKeyCache } from '../../sigv4/signing-key.ts';
import { type AuthDeps, authenticate, type Authentication } from './authenticate.ts';

type Vectors = {
  readonly accessKey: string;
  readonly secretKey: string;
  readonly nowMs: number;
  readonly targets: readonly {
    readonly name: string;
    readonly method: string;
    readonly url: string;
  }[];
};

const file = new URL('../../../test/vectors/sigv2-presigned.json', import.meta.url);
const vectors = JSON.parse(readFileSync(file, 'utf8')) as Vectors;
const { accessKey, secretKey } = vectors;
const deps = (nowMs = vectors.nowMs): AuthDeps => ({
  credentials: {
    find: (name) =>
      name === accessKey
        ? { accessKey, secretKey, identity: { kind: 'root', accessKey } as never }
        : undefined,
  },
  signingKeys: new SigningKeyCache(),
  region: 'us-east-1',
  now: () => nowMs,
});

function ask(
  url: string,
  method: string,
  headers: Record<string, string> = {},
  at: AuthDeps = deps(),
): Promise<Authentication> {
  const { host, pathname, search } = new URL(url);
  const bucket = /^(\w+)\.localhost/.exec(host)?.[1];
  return authenticate(
    { method, rawTarget: pathname + search, headers: { host, ...headers } },
    at,
    bucket === undefined ? {} : { hostBucket: bucket },
  );
}

async function codeOf(asking: Promise<Authentication>): Promise<string> {
  try {
    await asking;
    return 'accepted';
  } catch (error) {
    assert.ok(error instanceof AuthError);
    assert.ok(!error.message.includes(secretKey));
    return error.code;
  }
}

for (const { name, method, url } of vectors.targets) {
  void test(`the target "${name}" is accepted until it expires, and only as it was signed`, async () => {
    const { identity } = await ask(url, method);
    assert.equal(identity.kind, 'root');
    assert.equal(await codeOf(ask(url, method, {}, deps(vectors.nowMs + 600_000))), 'accepted');
    const late = ask(url, method, {}, deps(vectors.nowMs + 600_001));
    assert.equal(await codeOf(late), 'AccessDenied');
    const other = method === 'GET' ? 'DELETE' : 'GET';
    assert.equal(await codeOf(ask(url, other)), 'SignatureDoesNotMatch');
    for (const [from, to, code] of [
      [/\/(k|bucket\?|a%20b)/, '/x$1', 'SignatureDoesNotMatch'],
      ['Expires=1767323645', 'Expires=1767323646', 'SignatureDoesNotMatch'],
      ['Expires=1767323645', 'Expires=', 'AccessDenied'],
      ['Expires=1767323645', 'Expires=soon', 'AccessDenied'],
      ['Expires=1767323645', 'Expires=1767323645&Expires=9767323645', 'AccessDenied'],
      ['AKEXAMPLE', 'SOMEBODY', 'InvalidAccessKeyId'],
      [/Signature=./, 'Signature=A', 'SignatureDoesNotMatch'],
      [/Signature=[^&]*/, '', 'AccessDenied'],
      ['AWSAccessKeyId', 'versionId=other&AWSAccessKeyId', 'SignatureDoesNotMatch'],
      ['AWSAccessKeyId', 'acl&AWSAccessKeyId', 'SignatureDoesNotMatch'],
      ['AWSAccessKeyId', 'retention&AWSAccessKeyId', 'AccessDenied'],
      ['AWSAccessKeyId', 'prefix=a&AWSAccessKeyId', 'AccessDenied'],
      ['AWSAccessKeyId', 'x-amz-acl=public-read&AWSAccessKeyId', 'SignatureDoesNotMatch'],
      ['AWSAccessKeyId', 'X-Amz-Acl=public-read&AWSAccessKeyId', 'SignatureDoesNotMatch'],
      ['AWSAccessKeyId', 'x-amz-security-token=t&AWSAccessKeyId', 'InvalidTokenId'],
    ] as const) {
      const changed = url.replace(from, to);
      assert.notEqual(changed, url);
      assert.equal(await codeOf(ask(changed, method)), code, changed);
    }
  });
}

void test('headers beside the target count for its signature', async () => {
  const put = vectors.targets.find(({ name }) => name === 'put with headers');
  const plain = vectors.targets.find(({ name }) => name === 'part');
  assert.ok(put !== undefined && plain !== undefined);
  const { headers } = await ask(put.url, 'PUT');
  assert.equal(headers['x-amz-server-side-encryption'], 'AES256');
  assert.equal(headers['content-type'], 'text/plain');
  assert.equal(await codeOf(ask(put.url, 'PUT', { 'content-type': 'text/plain' })), 'accepted');
  for (const [url, extra] of [
    [put.url, { 'content-type': 'text/html' }],
    [put.url, { 'x-amz-server-side-encryption': 'aws:kms' }],
    [plain.url, { 'x-amz-acl': 'public-read' }],
    [plain.url, { 'content-type': 'text/html' }],
    [plain.url, { 'x-amz-checksum-crc32': 'AAAAAA==' }],
  ] as const) {
    assert.notEqual(await codeOf(ask(url, 'PUT', extra)), 'accepted', JSON.stringify(extra));
  }
});

void test('a target presigned in two ways is refused', async () => {
  const [first] = vectors.targets;
  assert.ok(first !== undefined);
  assert.equal(await codeOf(ask(`${first.url}&X-Amz-Signature=x`, 'GET')), 'InvalidArgument');
  const header = { authorization: 'AWS4-HMAC-SHA256 Credential=a' };
  assert.equal(await codeOf(ask(first.url, 'GET', header)), 'InvalidArgument');
});
