import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { allows, Authorizer, isSubset, matchesPattern, type Policy } from './policy.ts';

type Vectors = {
  verify: { policy: Policy; requests: Record<string, boolean> }[];
  subset: { a: Policy; b: Policy; is_subset: boolean; is_equal?: boolean }[];
  extra: { pattern: string; path: string; match: boolean; note?: string }[];
  doc_tables_legacy_glob: { policy: Policy; current: Record<string, boolean> }[];
};

const vectors = JSON.parse(
  readFileSync(new URL('../../test/vectors/kes-policy.json', import.meta.url), 'utf8'),
) as Vectors;

test('patterns match as the reference matches', () => {
  for (const { pattern, path, match, note } of vectors.extra) {
    assert.equal(matchesPattern(pattern, path), match, note ?? pattern);
  }
});

test('policies allow as the reference allows', () => {
  for (const { policy, requests } of vectors.verify) {
    for (const [path, allowed] of Object.entries(requests)) {
      assert.equal(allows(policy, path), allowed, path);
    }
  }
  for (const { policy, current } of vectors.doc_tables_legacy_glob) {
    for (const [path, allowed] of Object.entries(current)) {
      assert.equal(allows(policy, path), allowed, path);
    }
  }
});

test('one policy is within another as the reference has it', () => {
  for (const { a, b, is_subset: inside, is_equal: same } of vectors.subset) {
    assert.equal(isSubset(a, b), inside, JSON.stringify({ a, b }));
    if (same !== undefined) assert.equal(isSubset(a, b) && isSubset(b, a), same);
  }
});

test('the admin may do everything, strangers nothing, others what their policy says', () => {
  const authorizer = new Authorizer({
    admin: 'boss',
    policies: [{ name: 'p', allow: ['/v1/status'], deny: [], identities: ['app'] }],
  });
  for (let round = 0; round < 2; round += 1) {
    assert.equal(authorizer.decide('boss', '/v1/key/delete/x').isAllowed, true);
    assert.equal(authorizer.decide('app', '/v1/status').isAllowed, true);
    assert.equal(authorizer.decide('app', '/v1/key/delete/x').isAllowed, false);
    assert.equal(authorizer.decide('stranger', '/v1/status').isAllowed, false);
    assert.equal(authorizer.decide('', '/v1/status').isAllowed, false);
  }
  assert.equal(authorizer.policyOf('app')?.name, 'p');
});

test('nobody is the admin when the admin is switched off, not even a peer without identity', () => {
  const authorizer = new Authorizer({ admin: '', policies: [] });
  assert.equal(authorizer.decide('', '/v1/status').isAllowed, false);
});

test('a peer may tell of changes and nothing else, whatever its policy', () => {
  const policies = [{ name: 'p', allow: ['/v1/status'], deny: ['/v1/peer/*'], identities: ['b'] }];
  const authorizer = new Authorizer({ admin: 'x', policies, peers: ['a', 'b'] });
  for (const peer of ['a', 'b']) {
    assert.equal(authorizer.decide(peer, '/v1/peer/changed/my-key').isAllowed, true);
    assert.equal(authorizer.decide(peer, '/v1/key/decrypt/my-key').isAllowed, false);
  }
  assert.equal(authorizer.decide('b', '/v1/status').isAllowed, true);
  assert.equal(authorizer.decide('c', '/v1/peer/changed/my-key').isAllowed, false);
  assert.equal(authorizer.decide('', '/v1/peer/changed/my-key').isAllowed, false);
});

test('what is remembered of one policy is never taken for another, whatever their names', () => {
  const authorizer = new Authorizer({
    admin: 'disabled',
    policies: [
      { name: 'a', allow: ['/x y'], deny: [], identities: ['one'] },
      { name: 'a /x', allow: ['*'], deny: ['y'], identities: ['two'] },
    ],
  });
  // Name and path together read `a /x y` for both.
  assert.equal(authorizer.decide('one', '/x y').isAllowed, true);
  assert.equal(authorizer.decide('two', 'y').isAllowed, false);
  assert.equal(authorizer.decide('one', '/x y').isAllowed, true);
});

test('what a policy denies stays denied when a younger route does the same to the key', () => {
  for (const [denied, younger] of [
    ['delete', ['destroy', 'disable']],
    ['create', ['rotate', 'accept']],
    ['import', ['rotate', 'accept']],
    ['enable', ['cancel']],
    ['decrypt', ['bulk/decrypt', 'rewrap']],
    ['encrypt', ['rewrap']],
  ] as const) {
    const deny = [`/v1/key/${denied}/prod-*`];
    const policy = { name: 'p', allow: ['/v1/key/*'], deny, identities: ['app'] };
    const authorizer = new Authorizer({ admin: 'x', policies: [policy] });
    const may = (route: string, key: string) =>
      authorizer.decide('app', `/v1/key/${route}/${key}`).isAllowed;
    for (const route of younger) {
      assert.equal(may(route, 'prod-1'), false, `${denied}: ${route}`);
      assert.equal(may(route, 'test-1'), true, `${denied}: ${route}`);
    }
    assert.equal(may('generate', 'prod-1'), true);
  }
});
