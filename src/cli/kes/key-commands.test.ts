import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { useTestCli } from '../../../test/support/kes-cli.ts';
import { formatApiKey, generateApiKey } from '../../wire/kes-identity.ts';

const cli = useTestCli();
const { out, fails } = cli;

void test('keys are made, shown, listed and removed', async () => {
  assert.equal(await out(['key', 'create', 'one-a', 'one-b']), '');
  assert.equal(await out(['key', 'ls', 'one-*']), 'Key\none-a\none-b\n');
  assert.equal(await out(['ls', 'one-']), 'Key\none-a\none-b\n');
  assert.equal(await out(['key', 'ls', 'one', '--json']), '["one-a","one-b"]\n');
  const info = JSON.parse(await out(['key', 'info', 'one-a', '--json'])) as Record<string, string>;
  const documented = ['name', 'algorithm', 'created_at', 'created_by'];
  assert.deepEqual(Object.keys(info).slice(0, 4), documented);
  assert.equal(info['algorithm'], 'AES256');
  assert.match(
    await out(['key', 'info', 'one-a']),
    /^Name {8}one-a\nAlgorithm {3}AES256\nDate {8}\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\nOwner {7}[0-9a-f]{64}\n/,
  );
  assert.equal(await out(['key', 'rm', 'one-a', 'one-b']), '');
  assert.equal(await out(['key', 'ls', 'one']), '');
  assert.equal(await out(['key', 'ls', 'one', '--json']), '[]\n');
});

void test('commands with several names stop at the first failure', async () => {
  await out(['key', 'create', 'two-b']);
  await fails(
    ['key', 'create', 'two-a', 'two-b', 'two-c'],
    'failed to create key "two-b": key already exists',
  );
  assert.equal(await out(['key', 'ls', 'two']), 'Key\ntwo-a\ntwo-b\n');
  await fails(
    ['key', 'rm', 'two-a', 'absent'],
    'failed to remove key "absent": key does not exist',
  );
  assert.equal(await out(['key', 'rm', 'two-b']), '');
});

void test('messages are encrypted and data keys made, bare for scripts and in words on a terminal', async () => {
  const key = randomBytes(32).toString('base64');
  assert.equal(await out(['key', 'import', 'imported', key]), '');
  const sealed = await out(['key', 'encrypt', 'imported', 'hello']);
  assert.match(sealed, /^\{"ciphertext":"[A-Za-z0-9+/=]+"\}$/);
  const { ciphertext } = JSON.parse(sealed) as { ciphertext: string };
  const plaintext = Buffer.from('hello').toString('base64');
  assert.equal(
    await out(['key', 'decrypt', 'imported', ciphertext]),
    JSON.stringify({ plaintext }),
  );
  const context = Buffer.from('{"a":"b"}').toString('base64');
  const dekText = await out(['key', 'dek', 'imported', context]);
  assert.match(dekText, /^\{"plaintext":"[^"]+","ciphertext":"[^"]+"\}$/);
  const dek = JSON.parse(dekText) as { plaintext: string; ciphertext: string };
  assert.equal(
    await out(['key', 'decrypt', 'imported', dek.ciphertext, context]),
    JSON.stringify({ plaintext: dek.plaintext }),
  );
  await fails(
    ['key', 'decrypt', 'imported', dek.ciphertext],
    'failed to decrypt ciphertext: decryption failed: ciphertext is not authentic',
  );
  const terminal = { isTerminal: true };
  assert.equal(
    await out(['key', 'decrypt', 'imported', ciphertext], terminal),
    `\nplaintext: ${plaintext}\n`,
  );
  assert.match(await out(['key', 'encrypt', 'imported', 'x'], terminal), /^\nciphertext: \S+\n$/);
  assert.match(
    await out(['key', 'dek', 'imported'], terminal),
    /^\nplaintext: {2}\S+\nciphertext: \S+\n$/,
  );
});

void test('a key that is not base64 is refused and not shown', async () => {
  await fails(
    ['key', 'import', 'x', 'secret!'],
    "invalid key: not base64 text. See 'kes key import --help'",
  );
  await fails(
    ['key', 'import', 'x', 'AAAA'],
    `failed to import "x": invalid key size for 'AES256'`,
  );
});

void test('who may not is told so, and no reason is invented', async () => {
  const env = { KES_API_KEY: formatApiKey(generateApiKey()) };
  const denied = 'not authorized: insufficient permissions';
  await fails(['key', 'create', 'x'], `failed to create key "x": ${denied}`, { env });
  await fails(['key', 'ls'], `failed to list keys: ${denied}`, { env });
  await fails(['key', 'info', 'x'], `failed to describe keys: ${denied}`, { env });
});

void test('a key may come from standard input and be for another cipher', async () => {
  const key = randomBytes(32).toString('base64');
  const argv = ['key', 'import', 'from-stdin', '-', '--cipher', 'ChaCha20'];
  assert.equal(await out(argv, { stdin: `${key}\n` }), '');
  assert.match(await out(['key', 'info', 'from-stdin']), /\nAlgorithm {3}ChaCha20\n/);
  await fails(['key', 'import', 'x', '-'], 'no input given');
  await fails(
    ['key', 'import', 'x', key, '--cipher', 'DES'],
    `failed to import "x": algorithm 'DES' is not supported`,
  );
});

void test('the HMAC of a message is always the same', async () => {
  await out(['key', 'create', 'for-hmac']);
  const first = await out(['key', 'hmac', 'for-hmac', 'message']);
  assert.match(first, /^\{"hmac":"[A-Za-z0-9+/]{43}="\}$/);
  assert.equal(await out(['key', 'hmac', 'for-hmac', 'message']), first);
  assert.notEqual(await out(['key', 'hmac', 'for-hmac', 'other']), first);
  const { hmac } = JSON.parse(first) as { hmac: string };
  const shown = await out(['key', 'hmac', 'for-hmac', 'message'], { isTerminal: true });
  assert.equal(shown, `\nhmac: ${hmac}\n`);
});
