import assert from 'node:assert/strict';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { tempFolder, useTestCli } from '../../../test/support/kes-cli.ts';
import {
  certificateIdentity,
  createClientCertificate,
  formatApiKey,
  parseApiKey,
} from '../../wire/kes-identity.ts';
import { isEncryptedKey, openPrivateKey, sealPrivateKey } from '../../wire/kes-private-key.ts';

const cli = useTestCli();
const { run, out, fails } = cli;

void test('identities are shown and listed', async () => {
  const own = cli.server.admin.identity;
  assert.match(await out(['identity', 'info']), new RegExp(`^Identity {4}${own}\nAdmin {7}yes\n`));
  assert.match(await out(['identity', 'info', cli.server.store.identity]), /\nPolicy {6}store\n/);
  const info = JSON.parse(await out(['identity', 'info', '--json'])) as { identity: string };
  assert.equal(info.identity, own);
  const listed = await out(['identity', 'ls']);
  assert.deepEqual(listed.split('\n').slice(1, -1).sort(), [own, cli.server.store.identity].sort());
  assert.match(await out(['ls', '-i']), /^Identity\n/);
  assert.equal(await out(['ls', '-p']), 'Policy\nstore\n');
});

void test('a new identity is on lines 3 and 9, each indented by 3 spaces', async () => {
  const lines = (await out(['identity', 'new'])).split('\n');
  assert.equal(lines[0], 'Your API key:');
  assert.equal(lines[6], 'Your Identity:');
  const apiKey = parseApiKey(lines[2]?.slice(3) ?? '');
  assert.equal(lines[2], `   ${formatApiKey(apiKey)}`);
  assert.equal(lines[8], `   ${apiKey.identity}`);
});

void test('the bare identity command makes and explains API keys', async (t) => {
  const made = await out(['identity']);
  const apiKey = parseApiKey(made);
  assert.equal(made, formatApiKey(apiKey));
  assert.equal(await out(['identity', made]), apiKey.identity);
  assert.equal(await out(['identity', 'of', made]), apiKey.identity);
  assert.match(await out(['identity', 'of', made], { isTerminal: true }), /│ [0-9a-f]{64} │/);
  const dir = tempFolder(t);
  const { cert, key } = await createClientCertificate(apiKey);
  writeFileSync(join(dir, 'c.crt'), cert);
  writeFileSync(join(dir, 'c.key'), key);
  assert.equal(await out(['identity', 'of', join(dir, 'c.crt')]), apiKey.identity);
  assert.equal(await out(['identity', join(dir, 'c.crt')]), apiKey.identity);
  assert.equal(await out(['identity', join(dir, 'c.key')]), made);
  await fails(['identity', 'of', 'nonsense'], 'neither an API key nor a certificate file');
});

void test('a new identity can be written to files, which are not overwritten by accident', async (t) => {
  const dir = tempFolder(t);
  const [key, cert] = [join(dir, 'a.key'), join(dir, 'a.crt')];
  const argv = [
    'identity',
    'new',
    'my-app',
    '--key',
    key,
    `--cert=${cert}`,
    '--ip',
    '127.0.0.1,::1',
  ];
  const lines = (await out([...argv, '--dns', 'localhost', '--expiry', '24h'])).split('\n');
  assert.equal(certificateIdentity(readFileSync(cert)), lines[8]?.trim());
  assert.equal(statSync(key).mode & 0o777, 0o600);
  assert.equal(statSync(cert).mode & 0o777, 0o644);
  await fails(argv, 'private key already exists. Use --force to overwrite it');
  const before = readFileSync(key, 'utf8');
  await out([...argv, '--force']);
  assert.notEqual(readFileSync(key, 'utf8'), before);
  await fails(
    ['identity', 'new', '--key', key],
    "both --key and --cert are required. See 'kes identity new --help'",
  );
  await fails([...argv.slice(0, -1), 'localhost', '-f'], 'not an IP address: localhost');
  const hint = ". See 'kes identity new --help'";
  for (const [flag, value, text] of [
    ['--dns', 'bäd', 'not a DNS name: bäd'],
    ['--dns', 'a b', 'not a DNS name: a b'],
    ['--dns', '', 'invalid argument "" for "--dns" flag: empty value' + hint],
    ['--dns', 'a,,b', 'invalid argument "a,,b" for "--dns" flag: empty value' + hint],
    ['--ip', ' ', 'invalid argument " " for "--ip" flag: empty value' + hint],
    ['--expiry', '99999999h', "invalid duration '99999999h': it would end after the year 9999"],
  ] as const) {
    await fails([...argv, '-f', flag, value], text);
  }
});

void test('a private key under a password asks for it', async (t) => {
  const dir = tempFolder(t);
  const [key, cert] = [join(dir, 'a.key'), join(dir, 'a.crt')];
  const argv = ['identity', 'new', '--key', key, '--cert', cert, '--encrypt'];
  const made = await run(argv, { stdin: 'pass\npass\n' });
  assert.equal(made.code, 0);
  assert.ok(made.stderr.startsWith('Enter password for private key: '));
  const pem = readFileSync(key, 'utf8');
  assert.ok(isEncryptedKey(pem));
  assert.equal(openPrivateKey(pem, 'pass').type, 'private');
  const differing = await run([...argv, '-f'], { stdin: 'pass\nother\n' });
  assert.match(differing.stderr, /Error: passwords do not match\n$/);

  const { cert: adminCert } = await createClientCertificate(cli.server.admin);
  writeFileSync(cert, adminCert);
  writeFileSync(key, sealPrivateKey(cli.server.admin.privateKey, 'pass'));
  const files = { KES_API_KEY: undefined, KES_CLIENT_KEY: key, KES_CLIENT_CERT: cert };
  const used = await run(['key', 'create', 'with-password'], { env: files, stdin: 'pass\n' });
  assert.deepEqual(used, { code: 0, stdout: '', stderr: 'Enter password for private key: \n' });
  const wrong = await run(['key', 'ls'], { env: files, stdin: 'wrong\n' });
  assert.equal(wrong.stderr, 'Enter password for private key: \nError: incorrect password\n');
  assert.equal(wrong.code, 1);
});
