// Operators of conditions, and the evaluator against a naive one.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { meetsConditions, parseConditions } from './policy-condition.ts';

type Block = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

function meets(block: Block, values: Readonly<Record<string, readonly string[]>>): boolean {
  const lookup = (name: string) => values[name]?.[0];
  return meetsConditions(parseConditions(block, { variables: true }), values, lookup);
}

// biome-ignore format: one case to a line
const cases: readonly (readonly [string, string, unknown, readonly string[], boolean])[] = [
  ['StringEquals', 's3:prefix', 'a', ['a'], true],
  ['StringEquals', 's3:prefix', 'a', ['A'], false],
  ['StringEquals', 's3:prefix', ['b', 'a'], ['a'], true],
  ['StringEquals', 's3:prefix', 'a', [], false],
  ['StringEquals', 's3:prefix', 'a*', ['ab'], false],
  ['StringEquals', 's3:prefix', '', [''], true],
  ['StringEqualsIfExists', 's3:prefix', 'a', [], true],
  ['StringEqualsIfExists', 's3:prefix', 'a', ['b'], false],
  ['StringNotEquals', 's3:prefix', 'a', ['b'], true],
  ['StringNotEquals', 's3:prefix', ['a', 'b'], ['b'], false],
  ['StringNotEquals', 's3:prefix', 'a', [], true],
  ['StringNotEqualsIfExists', 's3:prefix', 'a', [], true],
  ['StringEqualsIgnoreCase', 's3:prefix', 'aB', ['Ab'], true],
  ['StringNotEqualsIgnoreCase', 's3:prefix', 'aB', ['Ab'], false],
  ['StringLike', 's3:prefix', 'a/*', ['a/b/c'], true],
  ['StringLike', 's3:prefix', 'a/?', ['a/bc'], false],
  ['StringLike', 's3:prefix', '${aws:username}/*', ['bob/x'], true],
  ['StringLike', 's3:prefix', '${aws:userid}/*', ['/x'], false],
  ['StringNotLike', 's3:prefix', 'a/*', ['b'], true],
  ['StringNotLike', 's3:prefix', 'a/*', [], true],
  ['NumericEquals', 's3:max-keys', '10', ['10'], true],
  ['NumericEquals', 's3:max-keys', 10, ['10.0'], true],
  ['NumericNotEquals', 's3:max-keys', '10', ['11'], true],
  ['NumericLessThan', 's3:max-keys', '10', ['9'], true],
  ['NumericLessThan', 's3:max-keys', '10', ['10'], false],
  ['NumericLessThanEquals', 's3:max-keys', '10', ['10'], true],
  ['NumericGreaterThan', 's3:max-keys', '10', ['10'], false],
  ['NumericGreaterThan', 's3:max-keys', '-1', ['0'], true],
  ['NumericGreaterThanEquals', 's3:max-keys', '10', ['x'], false],
  ['NumericGreaterThanIfExists', 's3:max-keys', '10', [], true],
  ['DateEquals', 'aws:CurrentTime', '2026-01-02T03:04:05Z', ['2026-01-02T03:04:05.000Z'], true],
  ['DateEquals', 'aws:EpochTime', '1767323045', ['1767323045'], true],
  ['DateNotEquals', 'aws:CurrentTime', '2026-01-02', ['2026-01-03T00:00:00Z'], true],
  ['DateLessThan', 'aws:CurrentTime', '2026-01-02T00:00:00+01:00', ['2026-01-01T22:59:59Z'], true],
  ['DateLessThan', 'aws:CurrentTime', '2026-01-02T00:00:00', ['2026-01-02T00:00:00Z'], false],
  ['DateGreaterThanEquals', 'aws:CurrentTime', '2026', ['2026-01-01T00:00:00Z'], true],
  ['DateGreaterThan', 'aws:CurrentTime', '2026-01-02', [], false],
  ['Bool', 'aws:SecureTransport', 'true', ['true'], true],
  ['Bool', 'aws:SecureTransport', false, ['false'], true],
  ['Bool', 'aws:SecureTransport', 'TRUE', ['false'], false],
  ['BoolIfExists', 'aws:SecureTransport', 'true', [], true],
  ['BinaryEquals', 's3:prefix', 'aGk=', ['aGk='], true],
  ['BinaryEquals', 's3:prefix', 'aGk=', ['aGo='], false],
  ['IpAddress', 'aws:SourceIp', '192.0.2.0/24', ['192.0.2.255'], true],
  ['IpAddress', 'aws:SourceIp', '192.0.2.0/24', ['192.0.3.0'], false],
  ['IpAddress', 'aws:SourceIp', '192.0.2.1', ['192.0.2.1'], true],
  ['IpAddress', 'aws:SourceIp', '192.0.2.1', ['::ffff:192.0.2.1'], true],
  ['IpAddress', 'aws:SourceIp', '0.0.0.0/0', ['2001:db8::1'], false],
  ['IpAddress', 'aws:SourceIp', '::/0', ['192.0.2.1'], false],
  ['IpAddress', 'aws:SourceIp', ['10.0.0.0/8', '2001:db8::/32'], ['2001:db8:1::1'], true],
  ['IpAddress', 'aws:SourceIp', '2001:db8::/32', ['2001:db9::'], false],
  ['IpAddress', 'aws:SourceIp', '192.0.2.0/24', ['nonsense'], false],
  ['NotIpAddress', 'aws:SourceIp', '192.0.2.0/24', ['198.51.100.1'], true],
  ['NotIpAddress', 'aws:SourceIp', '192.0.2.0/24', ['192.0.2.9'], false],
  ['ArnEquals', 'aws:PrincipalArn', 'arn:aws:iam::*:user/b?b', ['arn:aws:iam::1:user/bob'], true],
  ['ArnLike', 'aws:PrincipalArn', 'arn:*:*:*:*:root', ['arn:aws:iam::1:user/bob'], false],
  ['ArnNotLike', 'aws:PrincipalArn', 'arn:aws:iam::*:root', ['arn:aws:iam:::user/bob'], true],
  ['ArnNotEquals', 'aws:PrincipalArn', 'arn:aws:iam:::root', [], true],
  ['Null', 's3:prefix', 'true', [], true],
  ['Null', 's3:prefix', 'true', [''], false],
  ['Null', 's3:prefix', false, ['x'], true],
  ['ForAnyValue:StringEquals', 's3:RequestObjectTagKeys', ['a', 'b'], ['x', 'b'], true],
  ['ForAnyValue:StringEquals', 's3:RequestObjectTagKeys', ['a', 'b'], ['x', 'y'], false],
  ['ForAnyValue:StringEquals', 's3:RequestObjectTagKeys', ['a'], [], false],
  ['ForAnyValue:StringNotEquals', 's3:RequestObjectTagKeys', ['a'], ['a', 'x'], true],
  ['ForAnyValue:StringNotEquals', 's3:RequestObjectTagKeys', ['a'], [], false],
  ['ForAllValues:StringEquals', 's3:RequestObjectTagKeys', ['a', 'b'], ['b', 'a'], true],
  ['ForAllValues:StringEquals', 's3:RequestObjectTagKeys', ['a', 'b'], ['b', 'x'], false],
  ['ForAllValues:StringEquals', 's3:RequestObjectTagKeys', ['a'], [], true],
  ['ForAllValues:StringNotEquals', 's3:RequestObjectTagKeys', ['a'], ['x', 'a'], false],
  ['ForAllValues:StringLikeIfExists', 's3:RequestObjectTagKeys', ['a*'], ['ab', 'a'], true],
];

void test('each operator says what it should of values that are there and of those that are not', () => {
  for (const [operator, key, wanted, given, expected] of cases) {
    const values = { 'aws:username': ['bob'], [key]: given };
    const what = `${operator} ${key} ${JSON.stringify(wanted)} of ${JSON.stringify(given)}`;
    assert.equal(meets({ [operator]: { [key]: wanted } }, values), expected, what);
  }
});

void test('all operators and keys of a block must hold', () => {
  const block = {
    StringEquals: { 's3:prefix': 'a', 's3:delimiter': '/' },
    Null: { 'aws:Referer': true },
  };
  assert.equal(meets(block, { 's3:prefix': ['a'], 's3:delimiter': ['/'] }), true);
  assert.equal(meets(block, { 's3:prefix': ['a'], 's3:delimiter': ['-'] }), false);
  assert.equal(
    meets(block, { 's3:prefix': ['a'], 's3:delimiter': ['/'], 'aws:Referer': ['x'] }),
    false,
  );
  assert.equal(meets({}, {}), true);
  assert.equal(meets({ StringEquals: { 'S3:PREFIX': 'a' } }, { 's3:prefix': ['a'] }), true);
});

/** The definition of string conditions, one rule after another. */
function reference(operator: string, wanted: readonly string[], given: readonly string[]): boolean {
  const [, quantifier, isNot, isLike, ifExists] =
    /^(?:(ForAnyValue|ForAllValues):)?String(Not)?(?:Equals|(Like))(IfExists)?$/.exec(operator) ??
    [];
  if (given.length === 0) {
    if (ifExists !== undefined || quantifier === 'ForAllValues') return true;
    return quantifier === undefined && isNot !== undefined;
  }
  const fits = (value: string) => {
    const hit = wanted.some((want) => {
      if (isLike === undefined) return want === value;
      return new RegExp(`^${want.replaceAll('*', '.*').replaceAll('?', '.')}$`, 's').test(value);
    });
    return isNot === undefined ? hit : !hit;
  };
  const needsAll =
    quantifier === 'ForAllValues' || (quantifier === undefined && isNot !== undefined);
  return needsAll ? given.every(fits) : given.some(fits);
}

void test('string conditions agree with their definition', () => {
  const word = fc
    .array(fc.constantFrom('a', 'b', '*', '?'), { maxLength: 4 })
    .map((list) => list.join(''));
  const operator = fc
    .tuple(
      fc.constantFrom('', 'ForAnyValue:', 'ForAllValues:'),
      fc.constantFrom('Equals', 'NotEquals', 'Like', 'NotLike'),
      fc.constantFrom('', 'IfExists'),
    )
    .map(([quantifier, name, suffix]) => `${quantifier}String${name}${suffix}`);
  const values = fc.array(word, { maxLength: 3 });
  fc.assert(
    fc.property(
      operator,
      fc.array(word, { minLength: 1, maxLength: 3 }),
      values,
      (name, wanted, given) => {
        const block = { [name]: { 's3:RequestObjectTagKeys': wanted } };
        assert.equal(
          meets(block, { 's3:RequestObjectTagKeys': given }),
          reference(name, wanted, given),
        );
      },
    ),
    { numRuns: 3000 },
  );
});
