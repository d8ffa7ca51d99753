import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { isListPattern, isName, patternPrefix } from './key-name.ts';
import { keyStorePageMax, pageOf } from './key-store-page.ts';

const vectors = JSON.parse(
  readFileSync(new URL('../../test/vectors/kes-names.json', import.meta.url), 'utf8'),
) as Record<string, string[]> & {
  listing: { names: string[]; prefix: string; n: number; result: string[] }[];
};

test('names and patterns are valid exactly when the reference says so', () => {
  const each = (list: string, check: (text: string) => boolean, expected: boolean) => {
    for (const text of vectors[list] ?? []) assert.equal(check(text), expected, `${list}: ${text}`);
  };
  each('name_valid', isName, true);
  each('name_valid_extra', isName, true);
  each('name_invalid', isName, false);
  each('name_invalid_extra', isName, false);
  each('pattern_valid', isListPattern, true);
  each('pattern_valid_extra', isListPattern, true);
  each('pattern_invalid', isListPattern, false);
  each('pattern_invalid_extra', isListPattern, false);
});

test('a pattern asks for what comes before its asterisk', () => {
  assert.equal(patternPrefix('my-*'), 'my-');
  assert.equal(patternPrefix('my'), 'my');
  assert.equal(patternPrefix('*'), '');
});

test('pages out of full lists are sorted and filtered', () => {
  for (const { names, prefix, n, result } of vectors.listing) {
    const page = pageOf(names, { prefix });
    assert.deepEqual(n === 0 ? page.names : page.names.slice(0, n), result);
    assert.equal(page.hasMore, false);
  }
  const many = Array.from({ length: keyStorePageMax + 1 }, (_, index) => `k${index}`);
  assert.equal(pageOf(many, { prefix: '' }).hasMore, true);
});
