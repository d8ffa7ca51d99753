import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseKesConfig } from './config.ts';
import { parseConfigYaml } from './yaml.ts';

const base =
  'admin:\n  identity: disabled\ntls:\n  key: k\n  cert: c\nkeystore:\n  fs:\n    path: p\n';
const secret = '/v1/key/decrypt/secret*';

test('a deny list behind an alias is a deny list', () => {
  const yaml = `${base}shared: &d\n  - ${secret}\npolicy:\n  p:\n    allow: [/v1/key/*]\n    deny: *d\n`;
  assert.deepEqual(parseKesConfig(yaml, {}).policies[0]?.deny, [secret]);
});

test('one pattern and one identity may be aliases', () => {
  const yaml = `${base}x: [&s ${secret}, &i someone]\npolicy:\n  p:\n    deny: [*s]\n    identities: [*i]\n`;
  const [policy] = parseKesConfig(yaml, {}).policies;
  assert.deepEqual([policy?.deny, policy?.identities], [[secret], ['someone']]);
});

test('tls.auth behind an alias is on', () => {
  const yaml = `switch: &a on\n${base.replace('  cert: c\n', '  cert: c\n  auth: *a\n')}`;
  assert.equal(parseKesConfig(yaml, {}).tls.auth, 'on');
});

test('merged members are there, and the own ones win', () => {
  const yaml = `${base}common: &b\n  allow: [/v1/key/*]\n  deny: ['${secret}']\npolicy:\n  p:\n    <<: *b\n    allow: [/v1/status]\n`;
  const [policy] = parseKesConfig(yaml, {}).policies;
  assert.deepEqual(policy, { name: 'p', allow: ['/v1/status'], deny: [secret], identities: [] });
});

test('of several merged maps the first wins, and merged maps merge themselves', () => {
  const { root } = parseConfigYaml(
    'a: &a {x: 1}\nb: &b {<<: *a, y: 2}\nc: {<<: [*b, {y: 3, z: 4}]}\n',
    {},
  );
  assert.deepEqual(root['c'], { x: '1', y: '2', z: '4' });
});

test('anchors alone change nothing', () => {
  const yaml = `${base}policy: &p\n  p: &q\n    deny: &d [&s '${secret}']\n`;
  assert.deepEqual(parseKesConfig(yaml, {}).policies[0]?.deny, [secret]);
});

test('a quoted << is a name like any other', () => {
  assert.deepEqual(parseConfigYaml('a: {"<<": {b: c}}\n', {}).root, { a: { '<<': { b: 'c' } } });
});

test('what cannot be read is refused with its line', () => {
  const cases: [string, number, RegExp][] = [
    ['a: 1\nb: *none\n', 2, /alias '\*none' has no anchor|Unresolved alias/],
    ['a: 1\nb: &b [*b]\n', 2, /refers to what it is part of/],
    ['a: 1\nb: &b {<<: *b}\n', 2, /refers to what it is part of/],
    ['a: &a text\nb: {<<: *a}\n', 2, /'<<' takes a map/],
    ['a: 1\nb: 2\na: 3\n', 3, /must be unique/],
    ['a: 1\n? [b]\n: c\n', 2, /must be a plain text/],
    ['a: &a b\n*a : c\n', 2, /must be a plain text/],
    ['a: 1\n__proto__: {b: c}\n', 2, /must be a plain text/],
    ['a: 1\nb: !!binary aGk=\n', 2, /without a tag/],
    ['a: 1\n---\nb: 2\n', 2, /multiple documents/],
    ['a: 1\nb: ${NONE}\n', 2, /'NONE' in line '2' not found/],
  ];
  for (const [yaml, line, message] of cases) {
    assert.throws(() => parseConfigYaml(yaml, {}), { name: 'KesConfigError', line, message }, yaml);
  }
});

test('aliases of aliases do not blow up, and deep nesting is refused', () => {
  let bomb = 'a0: &a0 [x]\n';
  for (let level = 1; level < 9; level += 1) {
    const again = Array.from({ length: 10 }, () => `*a${level - 1}`).join(', ');
    bomb += `a${level}: &a${level} [${again}]\n`;
  }
  assert.throws(() => parseConfigYaml(bomb, {}), /too large/);
  let merges = 'm0: &m0 {x: y}\n';
  for (let level = 1; level < 30; level += 1) {
    merges += `m${level}: &m${level} {<<: [*m${level - 1}, *m${level - 1}]}\n`;
  }
  assert.throws(() => parseConfigYaml(merges, {}), { name: 'KesConfigError' });
  for (const deep of ['['.repeat(50_000), `a: ${'{a: '.repeat(5_000)}${'}'.repeat(5_000)}`]) {
    assert.throws(() => parseConfigYaml(deep, {}), { name: 'KesConfigError' });
  }
});

test('what is wrong is told without the text around it, which may be a password', () => {
  for (const yaml of ['tls:\n  password: "hunter2\n', 'p: hunter2: x\n', 'hunter2\n: :\n- x']) {
    assert.throws(
      () => parseConfigYaml(yaml, {}),
      ({ message }: Error) => !message.includes('hunter2'),
    );
  }
});

test('an empty entry of a list is an empty text, as in the reference', () => {
  const yaml = `${base}policy:\n  p:\n    deny:\n      -\n      - ${secret}\n    identities: [~]\n`;
  const [policy] = parseKesConfig(yaml, {}).policies;
  assert.deepEqual([policy?.deny, policy?.identities], [['', secret], []]);
});

test('only the version of the file is literal, not that of a key store', () => {
  const vault =
    'vault:\n    endpoint: e\n    version: ${V}\n    approle:\n      id: i\n      secret: s\n';
  const config = parseKesConfig(base.replace('fs:\n    path: p\n', vault), { V: 'v2' });
  assert.partialDeepStrictEqual(config.keyStore, { settings: { version: 'v2' } });
});
