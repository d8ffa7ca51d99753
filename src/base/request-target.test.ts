import assert from 'node:assert/strict';
import { test } from 'node:test';

import { splitTarget } from './request-target.ts';

void test('a target is split into path and query as received, an origin before it counts for nothing', () => {
  for (const [rest, path, query] of [
    ['/a?b=c?d', '/a', 'b=c?d'],
    ['/', '/', ''],
    ['/a?', '/a', ''],
    ['//k', '//k', ''],
    ['/a/./../b//', '/a/./../b//', ''],
    ['/?z=/b/k', '/', 'z=/b/k'],
    ['/b/k?u=http://h/x', '/b/k', 'u=http://h/x'],
  ] as const) {
    for (const origin of ['', 'http://host', 'HTTPS://host:1', 'http://', 'http://u@h#f']) {
      assert.deepEqual(splitTarget(origin + rest), { path, query }, origin + rest);
    }
  }
});

void test('an absolute target without a path means the root, whatever its query holds', () => {
  assert.deepEqual(splitTarget('http://host'), { path: '/', query: '' });
  assert.deepEqual(splitTarget('http://h?z=/b/k?x'), { path: '/', query: 'z=/b/k?x' });
});

void test('other forms are none', () => {
  for (const target of ['', '*', 'host:80', 'b/k', '?a', 'ftp://h/b', 'x://h/b/k', ' /b']) {
    assert.equal(splitTarget(target), undefined, target);
  }
});
