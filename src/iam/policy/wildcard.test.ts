// Patterns against a plain reference, and against the clock: no pattern takes more than a product of lengths.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { matchesPattern, PatternError, parsePattern, textOfPattern } from './wildcard.ts';

const all = { wildcards: true, variables: true } as const;
const values: Readonly<Record<string, string>> = { 'aws:username': 'bob', star: '*', empty: '' };
const lookup = (name: string): string | undefined => values[name];

function matches(pattern: string, text: string): boolean {
  return matchesPattern(parsePattern(pattern, all), text, lookup);
}

void test('stars stand for any text, question marks for one character', () => {
  // biome-ignore format: one case to a line
  const cases: readonly (readonly [string, string, boolean])[] = [
    ['', '', true],
    ['', 'a', false],
    ['*', '', true],
    ['**', 'a/b', true],
    ['?', '', false],
    ['?', 'é', true],
    ['?', '😀', true],
    ['??', '😀', false],
    ['a*', 'a', true],
    ['a*', 'ba', false],
    ['*a', 'ba', true],
    ['*a', 'ab', false],
    ['a*b*c', 'a1b2b3c', true],
    ['a*b*c', 'acb', false],
    ['*ab', 'aab', true],
    ['*a?c', 'aabc', true],
    ['a?c', 'a/c', true],
    ['*.jpg', 'x.jpg.png', false],
    ['[ab]*', 'a', false],
    ['a.c', 'abc', false],
    ['(a+)+$', '(a+)+$', true],
  ];
  for (const [pattern, text, expected] of cases) {
    assert.equal(matches(pattern, text), expected, `${pattern} ~ ${text}`);
  }
});

void test('variables bring in text, never wildcards', () => {
  assert.equal(matches('home/${aws:username}/*', 'home/bob/x'), true);
  assert.equal(matches('home/${aws:username}/*', 'home/eve/x'), false);
  assert.equal(matches('${star}', 'anything'), false);
  assert.equal(matches('${star}', '*'), true);
  assert.equal(matches('a${empty}b', 'ab'), true);
  assert.equal(matches('${*}${?}${$}', '*?$'), true);
  assert.equal(matches('${*}', 'x'), false);
  assert.equal(matches('${absent}', ''), false);
  assert.equal(matches('*${absent}*', 'anything'), false);
  assert.equal(matches("${absent, 'me'}", 'me'), true);
  assert.equal(matches("${aws:username, 'me'}", 'bob'), true);
  const literal = parsePattern('${aws:username}*', { wildcards: false, variables: false });
  assert.equal(textOfPattern(literal, lookup), '${aws:username}*');
  for (const bad of ['${', '${}', '${a', '${a b}', '${a, b}', "${, 'x'}"]) {
    assert.throws(() => parsePattern(bad, all), PatternError, bad);
  }
});

/** The definition, with exponential time. */
function reference(pattern: string, text: string): boolean {
  if (pattern === '') return text === '';
  const rest = pattern.slice(1);
  if (pattern[0] === '*') {
    return reference(rest, text) || (text !== '' && reference(pattern, text.slice(1)));
  }
  if (text === '') return false;
  return (pattern[0] === '?' || pattern[0] === text[0]) && reference(rest, text.slice(1));
}

void test('any pattern matches what its definition says', () => {
  const letters = (characters: string, length: number) =>
    fc
      .array(fc.constantFrom(...characters.split('')), { maxLength: length })
      .map((list) => list.join(''));
  fc.assert(
    fc.property(letters('ab*?', 8), letters('ab', 9), (pattern, text) => {
      assert.equal(matches(pattern, text), reference(pattern, text));
    }),
    { numRuns: 3000 },
  );
});

void test('a pattern made to take for ever does not', () => {
  const pattern = parsePattern(`${'a*'.repeat(5000)}b`, all);
  assert.equal(matchesPattern(pattern, 'a'.repeat(20_000), lookup), false);
  const questions = parsePattern(`${'*?'.repeat(5000)}b`, all);
  assert.equal(matchesPattern(questions, 'a'.repeat(20_000), lookup), false);
});
