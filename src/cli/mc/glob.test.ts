import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { matchesGlob } from './glob.ts';

describe('matchesGlob', () => {
  for (const [pattern, text, isMatch] of [
    ['*.txt', 'a.txt', true],
    ['*.txt', 'dir/a.txt', true],
    ['a?c', 'abc', true],
    ['a?c', 'ac', false],
    ['a.c', 'abc', false],
    ['dir/*', 'dir/x/y', true],
    ['[a]', '[a]', true],
    ['', '', true],
    ['*', '', true],
  ] as const) {
    it(`${pattern} ${isMatch ? 'matches' : 'does not match'} ${text}`, () => {
      assert.equal(matchesGlob(pattern, text), isMatch);
    });
  }
});
