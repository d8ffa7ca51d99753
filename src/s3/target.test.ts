import assert from 'node:assert/strict';
import { test } from 'node:test';
import { S3Error, type S3ErrorCode } from './errors.ts';
import { isValidBucketName, parseTarget } from './target.ts';

function read(target: string, host?: string, domains: readonly string[] = []): string {
  const { bucket, key, query } = parseTarget(target, host, domains);
  const pairs = query.map(({ name, value }) => `${name}=${value}`);
  return [bucket, key, ...pairs].join(' | ');
}

function refusal(target: string): S3ErrorCode | undefined {
  try {
    parseTarget(target, undefined, []);
    return undefined;
  } catch (error) {
    return error instanceof S3Error ? error.code : undefined;
  }
}

void test('path style names a bucket and a key, decoded once and never normalised', () => {
  // biome-ignore format: one case to a line
  const cases: readonly (readonly [string, string])[] = [
    ['/', ' | '],
    ['/b', 'b | '],
    ['/b/', 'b | '],
    ['/b/k', 'b | k'],
    ['/b//k', 'b | /k'],
    ['/b/./../k', 'b | ./../k'],
    ['/b/a%2Fb%252F+c%20d', 'b | a/b%2F+c d'],
    ['/b/%C3%A9', 'b | é'],
    ['/b/\u00c3\u00a9', 'b | é'],
    ['/b/k?', 'b | k'],
    ['/b/k?acl', 'b | k | acl='],
    ['/b/k?a=1+2%2B3&b=&&c', 'b | k | a=1 2+3 | b= | c='],
    ['/b/k?a=b=c', 'b | k | a=b=c'],
    ['http://host:9000/b/k?x', 'b | k | x='],
    ['http://host', ' | '],
    ['http://h?z=/b/k?y', ' |  | z=/b/k?y'],
  ];
  for (const [target, expected] of cases) assert.equal(read(target), expected, target);
});

void test('host style names the bucket in the host, whatever its port and case', () => {
  const domains = ['s3.local'];
  assert.equal(read('/k/l', 'b-1.s3.local:9000', domains), 'b-1 | k/l');
  assert.equal(read('/', 'A.b.S3.local', domains), 'a.b | ');
  assert.equal(read('/b/k', 's3.local', domains), 'b | k');
  assert.equal(read('/b/k', 'no_bucket.s3.local', domains), 'b | k');
  assert.equal(read('/b/k', 'b.other.local', domains), 'b | k');
  assert.equal(read('/b/k', undefined, domains), 'b | k');
});

void test('what cannot be a target is refused', () => {
  assert.equal(refusal('/b/%zz'), 'InvalidURI');
  assert.equal(refusal('/b/%ff'), 'InvalidURI');
  assert.equal(refusal('/b/a%00'), 'InvalidURI');
  assert.equal(refusal('/b/k?a=%'), 'InvalidURI');
  for (const target of ['*', '', 'h:80', 'b/k', 'ftp://h/b', 'x://h?z=/b/k']) {
    assert.equal(refusal(target), 'InvalidURI', target);
  }
  assert.equal(refusal('//k'), 'InvalidBucketName');
  assert.equal(refusal(`/b/${'x'.repeat(1024)}`), undefined);
  assert.equal(refusal(`/b/${'x'.repeat(1025)}`), 'KeyTooLongError');
  assert.equal(refusal(`/b/${'%C3%A9'.repeat(513)}`), 'KeyTooLongError');
});

void test('bucket names follow the rules of S3', () => {
  for (const name of ['abc', '0ab', 'a-b.c', 'x'.repeat(63)])
    assert.ok(isValidBucketName(name), name);
  for (const name of [
    '',
    'ab',
    'x'.repeat(64),
    'Abc',
    'a_b',
    '-ab',
    'ab-',
    'a..b',
    'a.-b',
    'a-.b',
    '1.2.3.4',
    'xn--a',
    'a--x-s3',
  ]) {
    assert.ok(!isValidBucketName(name), name);
  }
});
