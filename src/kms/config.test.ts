import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { KmsConfigError, parseAutoEncryption, parseKmsConfig, parseStaticKey } from './config.ts';
import { expandEllipses } from './ellipses.ts';

const vectors = JSON.parse(
  readFileSync(new URL('../../test/vectors/sse-kms-static-key.json', import.meta.url), 'utf8'),
) as {
  env_presence: { env: Record<string, string>; present?: boolean; error?: boolean }[];
  invalid_values: string[];
};
const apiKey = 'kes:v1:AD9E7FSYWrMD+VjhI6q545cYT9YOyFxZb7UnjEepYDRc';
const staticKey = 'my-key:eEm+JI9/q4JhH8QwKvf3LKo4DEBl6QbfvAl1CAbMIv8=';
const kes = {
  MINIO_KMS_KES_ENDPOINT: 'https://127.0.0.1:7373',
  MINIO_KMS_KES_KEY_NAME: 'minio-key',
  MINIO_KMS_KES_API_KEY: apiKey,
};
const files = {
  MINIO_KMS_KES_ENDPOINT: 'https://127.0.0.1:7373',
  MINIO_KMS_KES_KEY_NAME: 'minio-key',
  MINIO_KMS_KES_CERT_FILE: '/tmp/client.crt',
  MINIO_KMS_KES_KEY_FILE: '/tmp/client.key',
};
const minkms = {
  MINIO_KMS_SERVER: 'https://127.0.0.1:7373',
  MINIO_KMS_ENCLAVE: 'demo',
  MINIO_KMS_SSE_KEY: 'key',
  MINIO_KMS_API_KEY: 'k1:secret',
};

void test('known environments are present, absent or refused', () => {
  for (const { env, present, error } of vectors.env_presence) {
    const isMinkms = 'MINIO_KMS_SERVER' in env;
    if (error || isMinkms) assert.throws(() => parseKmsConfig(env), KmsConfigError);
    else assert.equal(parseKmsConfig(env) !== undefined, present, JSON.stringify(env));
  }
});

void test('every wrong combination has its documented error', () => {
  const without = (env: Record<string, string>, name: string) => ({ ...env, [name]: undefined });
  const incomplete = 'kms: incomplete configuration for';
  const cases: [Record<string, string | undefined>, string][] = [
    [{ ...minkms, ...kes }, 'kms: configuration for MinIO KMS and MinIO KES is present'],
    [
      { ...minkms, MINIO_KMS_SECRET_KEY: staticKey },
      'kms: configuration for MinIO KMS and static KMS key is present',
    ],
    [
      { ...kes, MINIO_KMS_SECRET_KEY: staticKey },
      'kms: configuration for MinIO KES and static KMS key is present',
    ],
    [{ MINIO_KMS_API_KEY: 'k1:x' }, `${incomplete} MinIO KMS: missing 'MINIO_KMS_SERVER'`],
    [without(minkms, 'MINIO_KMS_ENCLAVE'), `${incomplete} MinIO KMS: missing 'MINIO_KMS_ENCLAVE'`],
    [{ ...minkms, MINIO_KMS_SERVER: '' }, 'kms: no KMS server endpoint provided'],
    [
      without(kes, 'MINIO_KMS_KES_ENDPOINT'),
      `${incomplete} MinIO KES: missing 'MINIO_KMS_KES_ENDPOINT'`,
    ],
    [
      without(kes, 'MINIO_KMS_KES_KEY_NAME'),
      `${incomplete} MinIO KES: missing 'MINIO_KMS_KES_KEY_NAME'`,
    ],
    [
      without(kes, 'MINIO_KMS_KES_API_KEY'),
      `${incomplete} MinIO KES: missing authentication method`,
    ],
    [
      without(files, 'MINIO_KMS_KES_CERT_FILE'),
      `${incomplete} MinIO KES: missing 'MINIO_KMS_KES_CERT_FILE'`,
    ],
    [
      without(files, 'MINIO_KMS_KES_KEY_FILE'),
      `${incomplete} MinIO KES: missing 'MINIO_KMS_KES_KEY_FILE'`,
    ],
    [{ MINIO_KMS_KES_CAPATH: '/etc' }, `${incomplete} MinIO KES: missing 'MINIO_KMS_KES_ENDPOINT'`],
    [{ ...kes, MINIO_KMS_KES_ENDPOINT: '' }, 'kms: no KES server endpoint provided'],
    [{ ...kes, MINIO_KMS_KES_ENDPOINT: ' , ' }, 'kms: no KES server endpoint provided'],
    [
      { ...kes, MINIO_KMS_KES_KEY_NAME: '' },
      "kms: invalid configuration for MinIO KES: 'MINIO_KMS_KES_KEY_NAME' is empty",
    ],
    [
      { ...kes, MINIO_KMS_KES_ENDPOINT: 'http://127.0.0.1:7373' },
      "kms: invalid endpoint 'http://127.0.0.1:7373': only https is supported",
    ],
    [
      { ...kes, MINIO_KMS_KES_ENDPOINT: 'https://kes-{4...1}:7373' },
      "kms: invalid endpoint 'https://kes-{4...1}:7373': invalid range: the start is after the end",
    ],
    [
      { ...kes, MINIO_KMS_KES_API_KEY: 'kes:v1:AAAA' },
      "kms: invalid 'MINIO_KMS_KES_API_KEY': invalid API key: invalid length",
    ],
    ...(['CERT_FILE', 'KEY_FILE', 'KEY_PASSWORD'] as const).map(
      (name): [Record<string, string>, string] => [
        { ...kes, [`MINIO_KMS_KES_${name}`]: 'x' },
        "kms: invalid configuration for MinIO KES: 'MINIO_KMS_KES_API_KEY' and client certificate is present",
      ],
    ),
  ];
  for (const [env, message] of cases) {
    assert.throws(() => parseKmsConfig(env), { name: 'KmsConfigError', message });
  }
});

void test('a complete MinKMS configuration is refused with a way out', () => {
  assert.throws(() => parseKmsConfig(minkms), {
    code: 'unsupported',
    message: /not supported.*MINIO_KMS_KES_ENDPOINT/,
  });
});

void test('several endpoints come as a list, with ranges, and without a scheme', () => {
  const config = parseKmsConfig({
    ...kes,
    MINIO_KMS_KES_ENDPOINT: ' https://kes-{1...3}.example.com:7373, ,10.0.0.1:7373/',
  });
  assert.ok(config?.kind === 'kes');
  assert.deepEqual(config.endpoints, [
    'https://kes-1.example.com:7373',
    'https://kes-2.example.com:7373',
    'https://kes-3.example.com:7373',
    'https://10.0.0.1:7373',
  ]);
});

void test('a range is numbers, padded like its bounds, or letters', () => {
  const items = (text: string) => {
    const expanded = expandEllipses(text);
    return expanded.kind === 'items' ? expanded.items.join(' ') : expanded.reason;
  };
  assert.equal(items('plain'), 'plain');
  assert.equal(items('a{08...11}'), 'a08 a09 a10 a11');
  assert.equal(items('{a...c}{1...2}'), 'a1 a2 b1 b2 c1 c2');
  assert.equal(items('{1..3}'), 'invalid range: expected {a...b}');
  assert.equal(items('{1...c}'), 'invalid range: mixes numbers and letters');
  assert.equal(items('a{1...3'), 'unbalanced braces');
  assert.equal(items('a}'), 'unbalanced braces');
  assert.match(items('{1...9999999999}'), /more than/);
  assert.match(items('{1...100}{1...100}'), /more than/);
});

void test('credential files, password and CA path are taken as given', () => {
  const config = parseKmsConfig({
    ...files,
    MINIO_KMS_KES_KEY_PASSWORD: 'hunter2',
    MINIO_KMS_KES_CAPATH: '/etc/ca',
  });
  assert.ok(config?.kind === 'kes' && config.credentials.kind === 'files');
  assert.equal(config.caPath, '/etc/ca');
  assert.equal(config.credentials.certFile, '/tmp/client.crt');
  assert.equal(config.credentials.password?.export().toString(), 'hunter2');
});

void test('a static key comes from the variable or from a file, never from both', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'coffer-kms-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const file = join(dir, 'key');
  writeFileSync(file, `${staticKey}\n`);
  const fromFile = parseKmsConfig({ MINIO_KMS_SECRET_KEY: '', MINIO_KMS_SECRET_KEY_FILE: file });
  const fromText = parseKmsConfig({
    MINIO_KMS_SECRET_KEY: staticKey,
    MINIO_KMS_SECRET_KEY_FILE: join(dir, 'absent'),
  });
  assert.ok(fromFile?.kind === 'static' && fromText?.kind === 'static');
  assert.ok(fromFile.key.equals(fromText.key));
  assert.equal(fromFile.keyName, 'my-key');
  assert.throws(
    () => parseKmsConfig({ MINIO_KMS_SECRET_KEY: staticKey, MINIO_KMS_SECRET_KEY_FILE: file }),
    {
      message:
        "kms: invalid configuration for static KMS key: 'MINIO_KMS_SECRET_KEY' and 'MINIO_KMS_SECRET_KEY_FILE' are present",
    },
  );
  assert.throws(() => parseKmsConfig({ MINIO_KMS_SECRET_KEY_FILE: dir }), /cannot read the file/);
  const unset = { MINIO_KMS_SECRET_KEY: '', MINIO_KMS_SECRET_KEY_FILE: join(dir, 'absent') };
  assert.equal(parseKmsConfig(unset), undefined);
  assert.ok(parseKmsConfig({ ...kes, ...unset })?.kind === 'kes');
});

void test('malformed static keys are refused without being shown', () => {
  const secret = 'eEm+JI9/q4JhH8QwKvf3LKo4DEBl6QbfvAl1CAbMIv8=';
  const cases: [string, string][] = [
    ['nocolon', 'kms: invalid secret key format'],
    ['name:AAAA', 'kms: invalid key length 3'],
    [`:${secret}`, 'kms: invalid secret key format: the key has no name'],
    [`name: ${secret}`, 'kms: invalid secret key format: not base64 text'],
  ];
  for (const [text, message] of cases) assert.throws(() => parseStaticKey(text), { message });
  for (const text of vectors.invalid_values) {
    assert.throws(() => parseStaticKey(text), KmsConfigError);
  }
});

void test('a printed configuration shows no secret', () => {
  const envs: Record<string, string>[] = [
    kes,
    { ...files, MINIO_KMS_KES_KEY_PASSWORD: 'hunter2' },
    { MINIO_KMS_SECRET_KEY: staticKey },
  ];
  const shown = envs
    .map((env) => parseKmsConfig(env))
    .map((config) => inspect(config, { depth: 9, showHidden: true }) + JSON.stringify(config))
    .join('\n');
  for (const secret of ['AD9E7FSY', 'hunter2', 'eEm+JI9', 'kes:v1:']) {
    assert.ok(!shown.includes(secret));
  }
});

void test('auto encryption is on only for the documented spellings', () => {
  for (const text of [
    '1',
    't',
    'T',
    'true',
    'TRUE',
    'True',
    'on',
    'ON',
    'On',
    'enabled',
    'Enabled',
  ]) {
    assert.ok(parseAutoEncryption({ MINIO_KMS_AUTO_ENCRYPTION: text }), text);
  }
  for (const text of ['', '0', 'yes', 'oN', 'tRUE', ' on', 'off', undefined]) {
    assert.ok(!parseAutoEncryption({ MINIO_KMS_AUTO_ENCRYPTION: text }), String(text));
  }
});

test('no part of a password in an endpoint is told', () => {
  for (const endpoint of [
    'https://user:hunter2@host:7373',
    'https://user:hun,ter2@host:7373',
    'http://user:hunter2@host',
    'https://user:hunter2@host{1...',
    'user:hunter2@host/path',
    'https://other:7373,https://hunter2@host',
  ]) {
    const env = {
      MINIO_KMS_KES_ENDPOINT: endpoint,
      MINIO_KMS_KES_KEY_NAME: 'key',
      MINIO_KMS_KES_API_KEY: 'kes:v1:AD9E7FSYWrMD+VjhI6q545cYT9YOyFxZb7UnjEepYDRc',
    };
    assert.throws(
      () => parseKmsConfig(env),
      ({ message }: Error) => /user name or password/.test(message) && !/hun|ter2/.test(message),
    );
  }
});
