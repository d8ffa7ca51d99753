// The rules of the canonical form, one by one: what is encoded, sorted, trimmed, and what is left alone.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import {
  canonicalPath,
  canonicalQuery,
  canonicalValue,
  decodeQueryText,
  emptySha256,
  encodeQueryText,
  parseCanonicalQuery,
  sha256Hex,
  toByteString,
} from './canonical.ts';

const queryOf = (query: string, without?: string) =>
  canonicalQuery(parseCanonicalQuery(query), without);

void test('the path is encoded once and never normalised', () => {
  for (const [received, canonical] of [
    ['/bucket/key', '/bucket/key'],
    ['/b//a/./../c/', '/b//a/./../c/'],
    ['/b/a%20b', '/b/a%20b'],
    ['/b/a b+c', '/b/a%20b%2Bc'],
    ['/b/a%2bc', '/b/a%2Bc'],
    ['/b/%7euser%41', '/b/~userA'],
    ['/b/a%2Fb', '/b/a%2Fb'],
    ['/b/100%', '/b/100%25'],
    ['/b/%zz%2', '/b/%25zz%252'],
    ['/b/%2520', '/b/%2520'],
    ['/b/\xc3\xa4', '/b/%C3%A4'],
    ["/b/!$&'()*,:;=@", '/b/%21%24%26%27%28%29%2A%2C%3A%3B%3D%40'],
    ['/b/\x01', '/b/%01'],
  ] as const) {
    assert.equal(canonicalPath(received), canonical);
  }
});

void test('the query is sorted by encoded name, then value, and its plus is a blank', () => {
  for (const [received, canonical] of [
    ['', ''],
    ['acl', 'acl='],
    ['acl=', 'acl='],
    ['b=2&a=1', 'a=1&b=2'],
    ['a=2&a=1&a', 'a=&a=1&a=2'],
    ['prefix=a/b&delimiter=%2F', 'delimiter=%2F&prefix=a%2Fb'],
    ['prefix=a+b', 'prefix=a%20b'],
    ['prefix=a%2Bb', 'prefix=a%2Bb'],
    ['&&a=1&', 'a=1'],
    ['a=b=c', 'a=b%3Dc'],
    ['B=1&a=1', 'B=1&a=1'],
  ] as const) {
    assert.equal(queryOf(received), canonical);
  }
  assert.equal(queryOf('X-Amz-Signature=s&a=1', 'X-Amz-Signature'), 'a=1');
});

void test('encoding is idempotent, and query text comes back when decoded', () => {
  const bytes = fc
    .uint8Array({ maxLength: 40 })
    .map((data) => Buffer.from(data).toString('latin1'));
  fc.assert(
    fc.property(bytes, (text) => {
      const path = canonicalPath(`/${text}`);
      assert.equal(canonicalPath(path), path);
      const query = queryOf(text);
      assert.equal(queryOf(query), query);
      assert.equal(decodeQueryText(encodeQueryText(text)), text);
      assert.match(encodeQueryText(text), /^(?:[A-Za-z0-9\-_.~]|%[0-9A-F]{2})*$/);
    }),
    { numRuns: 300 },
  );
});

void test('header values are trimmed, inner blanks collapsed, several values joined', () => {
  assert.equal(canonicalValue('plain value'), 'plain value');
  assert.equal(canonicalValue('  a   b\t c '), 'a b c');
  assert.equal(canonicalValue('end '), 'end');
  assert.equal(canonicalValue('end  '), 'end');
  assert.equal(canonicalValue(['a', ' b  c']), 'a,b c');
  assert.equal(canonicalValue(''), '');
  // Bytes of UTF-8 that would be blanks as characters stay.
  assert.equal(canonicalValue('\xc3\xa0'), '\xc3\xa0');
});

void test('text beyond ASCII is hashed as the bytes it was sent as', () => {
  assert.equal(toByteString('plain'), 'plain');
  assert.equal(toByteString('ä'), '\xc3\xa4');
  assert.equal(sha256Hex(toByteString('ä')), sha256Hex(Buffer.from('ä')));
  assert.equal(sha256Hex(''), emptySha256);
});
