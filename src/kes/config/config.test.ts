import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { type KesConfig, parseKesConfig, parseKesConfigFile, readAddress } from './config.ts';
import { refuseUselessDenies } from './policy.ts';
import { KesConfigError } from './yaml.ts';
import { formatDuration, parseDurationMs } from './duration.ts';
import { formatLogLevel, parseLogLevel } from './log-level.ts';

type Settings = Record<string, unknown>;
type Expected = {
  address: string;
  admin: string;
  tls: { key: string; cert: string };
  keystore: Record<string, Settings>;
  cache_seconds?: { any: number; unused: number; offline: number };
  api?: Record<string, { timeout_seconds: number; skip_auth: boolean }>;
};
type Vectors = {
  valid: { name: string; yaml: string; expect: Expected }[];
  env: { yaml: string; env: Record<string, string>; expect?: Expected; error?: string }[];
  invalid: { why: string; yaml: string; error: string }[];
  log_levels: { text: string; level: number }[];
};

const vectors = JSON.parse(
  readFileSync(new URL('../../../test/vectors/kes-config.json', import.meta.url), 'utf8'),
) as Vectors;

/** The settings of the chosen store, as the vectors write them. */
function settingsOf(config: KesConfig): Settings {
  if (config.keyStore.type === 'fs') return { path: config.keyStore.path };
  if (config.keyStore.type === 'memory') return {};
  return config.keyStore.settings as Settings;
}

function assertConfig(config: KesConfig, expected: Expected): void {
  assert.equal(config.address, expected.address);
  assert.equal(config.admin, expected.admin);
  assert.equal(config.tls.key, expected.tls.key);
  assert.equal(config.tls.cert, expected.tls.cert);
  const [type = '', settings = {}] = Object.entries(expected.keystore)[0] ?? [];
  assert.equal(config.keyStore.type, type);
  if (type === 'aws') {
    const { accesskey, secretkey, ...rest } = settings['secretsmanager'] as Settings;
    const credentials = { accesskey, secretkey };
    const own = settingsOf(config);
    assert.partialDeepStrictEqual(own, rest);
    if (accesskey !== '') assert.deepEqual(own['credentials'], credentials);
  } else assert.deepEqual(settingsOf(config), settings);
  const { cache_seconds: cache } = expected;
  if (cache !== undefined) {
    assert.deepEqual(config.cache, {
      anyMs: cache.any * 1000,
      unusedMs: cache.unused * 1000,
      offlineMs: cache.offline * 1000,
      revalidateMs: 500,
    });
  }
  for (const [path, api] of Object.entries(expected.api ?? {})) {
    const own = { timeoutMs: api.timeout_seconds * 1000, skipAuth: api.skip_auth };
    assert.deepEqual(config.api.get(path), own);
  }
}

for (const { name, yaml, expect } of vectors.valid) {
  test(`reads a configuration: ${name}`, () => assertConfig(parseKesConfig(yaml, {}), expect));
}

test('replaces whole scalars that refer to the environment', () => {
  for (const { yaml, env, expect, error } of vectors.env) {
    if (error !== undefined) assert.throws(() => parseKesConfig(yaml, env), { message: error });
    else if (expect !== undefined) assertConfig(parseKesConfig(yaml, env), expect);
  }
});

for (const { why, yaml, error } of vectors.invalid) {
  test(`refuses a configuration: ${why}`, () => {
    const [before = '', after = ''] = error.split('*');
    assert.throws(
      () => parseKesConfig(yaml, {}),
      ({ message }: Error) =>
        error.includes('*')
          ? message.includes(error.replaceAll('*', '')) ||
            (message.startsWith(before) && message.endsWith(after))
          : message === error,
    );
  });
}

const base =
  'admin:\n  identity: disabled\ntls:\n  key: k\n  cert: c\nkeystore:\n  fs:\n    path: p\n';

test('references work in numbers and lists, and not in patterns', () => {
  const yaml = `${base}cache:\n  expiry:\n    any: \${ANY}\npolicy:\n  p:\n    allow: ["\${X}"]\n    identities: ["\${ID}"]\n`;
  const config = parseKesConfig(yaml, { ANY: '7s', ID: 'someone', X: 'never' });
  assert.equal(config.cache.anyMs, 7_000);
  assert.deepEqual(config.policies, [
    { name: 'p', allow: ['${X}'], deny: [], identities: ['someone'] },
  ]);
});

test('the cache has the documented defaults', () => {
  assert.deepEqual(parseKesConfig(base, {}).cache, {
    anyMs: 300_000,
    unusedMs: 30_000,
    offlineMs: 0,
    revalidateMs: 500,
  });
});

test('a memory key store must be asked for', () => {
  const yaml = base.replace('fs:\n    path: p', 'memory: {}');
  assert.deepEqual(parseKesConfig(yaml, {}).keyStore, { type: 'memory' });
});

test('an identity has one policy, and is no proxy', () => {
  const yaml = `${base}policy:\n  a:\n    identities: [x]\n  b:\n    identities: [x]\n`;
  assert.throws(() => parseKesConfig(yaml, {}), {
    message: "kes: cannot assign policy 'b' to 'x': identity already has a policy",
  });
  const proxied = yaml
    .replace('  cert: c\n', '  cert: c\n  proxy:\n    identities: [x]\n')
    .replace('  b:\n    identities: [x]\n', '');
  assert.throws(() => parseKesConfig(proxied, {}), /already a TLS proxy/);
});

test('spellings of long ago are refused with what to write instead', () => {
  const cases = [
    [base.replace('admin:\n  identity: disabled', 'root: x'), /admin\.identity/],
    [`${base}keys:\n  fs:\n    path: x\n`, /keystore/],
    [`${base}policy:\n  p:\n    paths: [a]\n`, /allow/],
  ] as const;
  for (const [yaml, text] of cases) assert.throws(() => parseKesConfig(yaml, {}), text);
});

test('malformed text is refused with its place', () => {
  for (const yaml of ['a: [', '- a', 'x', 'tls: 5\n', `${base}cache:\n  expiry:\n    any: 5\n`]) {
    assert.throws(() => parseKesConfig(yaml, {}), { name: 'KesConfigError' }, yaml);
  }
});

const globs = ['/v1/key/*/my-key-internal', '/v1/key/create/a?', '/v1/key/create/[a-z]'];

test('a deny that looks like a glob is refused, in a file and on its own', () => {
  for (const pattern of globs) {
    const policy = { name: 'p', identities: [], allow: [], deny: [pattern] };
    assert.throws(() => refuseUselessDenies([policy]), /would protect nothing/);
    const yaml = `${base}policy:\n  p:\n    deny:\n      - ${JSON.stringify(pattern)}\n`;
    assert.throws(() => parseKesConfig(yaml, {}), { line: 12, message: /would protect nothing/ });
  }
});

/** The warnings of the base configuration with more members. */
function warningsOf(more: string): string[] {
  const { warnings } = parseKesConfigFile(base + more, {});
  return warnings.map(({ line, message }) => `${line}: ${message}`);
}

test('patterns that mean nothing get a warning with their line', () => {
  const patterns = [
    '/v1/key/create/*',
    '/v1/key/create/my-key',
    '/v1/key/*',
    '*',
    '/v1/status',
    '/v1/key/list',
    '/v1/kye/create/*',
    '/v1/status/*',
    '/v1/key/*/x',
  ];
  const rows = patterns.map((pattern) => `      - '${pattern}'\n`).join('');
  assert.deepEqual(
    warningsOf(`policy:\n  p:\n    allow:\n${rows}`).filter(
      (line) => !line.includes('also allows'),
    ),
    [
      "17: policy 'p': allow pattern '/v1/key/list' matches no route of this service: GET /v1/api lists them",
      "18: policy 'p': allow pattern '/v1/kye/create/*' matches no route of this service: GET /v1/api lists them",
      "19: policy 'p': allow pattern '/v1/status/*' matches no route of this service: GET /v1/api lists them",
      "20: policy 'p': allow pattern '/v1/key/*/x' matches only itself: '*' is a wildcard only at the end, '?' and '[' never are",
    ],
  );
  const [deny] = warningsOf("policy:\n  p:\n    deny: ['/v1/key/decrpyt/*']\n");
  assert.match(
    deny ?? '',
    /^11: policy 'p': deny pattern '\/v1\/key\/decrpyt\/\*' matches no route/,
  );
});

test('members that no setting has are ignored with a warning that names the nearest', () => {
  assert.deepEqual(
    warningsOf(
      'polcy: {}\npolicy:\n  p:\n    denny: [a]\n    identites: [x]\napi:\n  /v1/redy:\n    skip_auth: true\nlog:\n  zebra: 1\nkeys:\n  - name: a\n    nmae: b\n',
    ),
    [
      "9: member 'polcy' is not known and is ignored: did you mean 'policy'?",
      "12: member 'policy.p.denny' is not known and is ignored: did you mean 'deny'?",
      "13: member 'policy.p.identites' is not known and is ignored: did you mean 'identities'?",
      "15: api path '/v1/redy' is ignored: no route has it: did you mean '/v1/ready'?",
      "18: member 'log.zebra' is not known and is ignored",
      "21: member 'keys.0.nmae' is not known and is ignored: did you mean 'name'?",
    ],
  );
  assert.deepEqual(warningsOf(''), []);
});

test('what is wrong is blamed on its line', () => {
  const cases: [string, number | undefined, RegExp][] = [
    ['version: v1\nadmin:\n  identity: ""\n', 3, /no admin identity/],
    ['admin:\n  identity: x\ntls:\n  cert: c\n', 3, /no private key/],
    ['admin:\n  identity: x\n', undefined, /no private key/],
    [`${base}address: 1.2.3.4\n`, 9, /expected IP:PORT/],
    [`${base}address: host:1\n`, 9, /not a valid IP/],
    [`${base}cache:\n  expiry:\n    unused: 5\n`, 11, /is not a duration/],
    [`${base}cache:\n  expiry:\n    unused: -5s\n`, 11, /invalid cache unused expiry '-5s'/],
    [`${base}api:\n  /v1/status:\n    skip_auth: maybe\n`, 11, /invalid skip_auth/],
    [`${base}api:\n  /v1/status:\n    timeout: -1s\n`, 11, /invalid timeout/],
    [`${base}log:\n  audit: loud\n`, 10, /invalid log level 'LOUD'/],
    [`${base}keys:\n  - name: ok\n  - name: not.ok\n`, 11, /key name 'not\.ok' is empty, too long/],
    [`${base}keys:\n  - name: ok\n  - name: ok\n`, 11, /defined multiple times/],
    [`${base}keys:\n  - nam: ok\n`, 10, /key name '' is empty/],
    [`${base}policy:\n  p:\n    deny: /v1/x\n`, 11, /policy\.p\.deny: write a list here/],
    [`${base}policy:\n  p:\n    deny: {a: b}\n`, 11, /policy\.p\.deny: write a list here/],
    [`${base}policy:\n  - p\n`, 9, /policy: write members here/],
    [`${base}log: on\n`, 9, /log: write members here/],
    [`${base}address: [a]\n`, 9, /address: write one value here/],
    [
      `${base}policy:\n  a: {identities: [x]}\n  b:\n    identities:\n      - x\n`,
      13,
      /already has/,
    ],
    [base.replace('path: p', 'path:'), 7, /no path specified/],
    [base.replace('fs:\n    path: p', 'vault:\n    endpoint: e'), 7, /no authentication method/],
    [`${base}audit:\n  file: a\n  mode: slack\n`, 11, /neither 'strict' nor/],
    [`${base}peers:\n  endpoints: [e]\n`, 9, /no api_key/],
    ['version: v1\ntls:\n  key: 1\n  key: 2\n', 4, /Map keys must be unique/],
  ];
  for (const [yaml, line, message] of cases) {
    assert.throws(
      () => parseKesConfig(yaml, {}),
      (error: Error) => {
        assert.ok(error instanceof KesConfigError);
        assert.match(error.message, message);
        assert.equal(error.line, line, error.message);
        return true;
      },
    );
  }
});

test('addresses are IP and port', () => {
  assert.equal(readAddress(''), '0.0.0.0:7373');
  assert.equal(readAddress(':7374'), '0.0.0.0:7374');
  assert.equal(readAddress('127.0.0.1:0'), '127.0.0.1:0');
  assert.equal(readAddress('[::1]:7373'), '[::1]:7373');
  assert.throws(() => readAddress('localhost:7373'), {
    message: "'localhost' is not a valid IP address",
  });
  for (const text of ['7373', '1.2.3.4', '1.2.3.4:x', '1.2.3.4:70000']) {
    assert.throws(() => readAddress(text), { name: 'KesConfigError' });
  }
});

test('log levels have names, offsets and numbers', () => {
  for (const { text, level } of vectors.log_levels) assert.equal(parseLogLevel(text), level, text);
  assert.deepEqual([-4, 0, 4, 8, 9, 2, -5].map(formatLogLevel), [
    'DEBUG',
    'INFO',
    'WARN',
    'ERROR',
    'ERROR+1',
    'INFO+2',
    'DEBUG-1',
  ]);
});

test('durations are read and written', () => {
  for (const [text, ms] of Object.entries({
    '5m0s': 300_000,
    '1h30m': 5_400_000,
    '1.5s': 1_500,
    '300ms': 300,
    '-1s': -1_000,
    '0': 0,
    '100us': 0.1,
  })) {
    assert.equal(parseDurationMs(text), ms, text);
  }
  for (const text of ['', '5', 's', '5 s', '1d', '--1s'])
    assert.equal(parseDurationMs(text), undefined);
  assert.deepEqual([0, 300, 90_000, 5_400_000, -1_000].map(formatDuration), [
    '0s',
    '300ms',
    '1m30s',
    '1h30m0s',
    '-1s',
  ]);
});

test('a pattern as wide as KES policies have it is told which routes it allows besides', () => {
  const [wide, ...rest] = warningsOf("policy:\n  p:\n    allow: ['/v1/key/*']\n");
  assert.match(
    wide ?? '',
    /policy 'p'.*also allows destroy, disable, enable, cancel, rotate, accept/,
  );
  assert.deepEqual(rest, []);
  const denied = "deny: ['/v1/key/delete/*', '/v1/key/enable/*', '/v1/key/create/*']";
  assert.deepEqual(warningsOf(`policy:\n  p:\n    allow: ['/v1/key/*']\n    ${denied}\n`), []);
  assert.deepEqual(warningsOf("policy:\n  p:\n    allow: ['/v1/key/d*']\n"), []);
});
