import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { runCli, tempFolder, withInitialServer } from '../../../test/support/kes-cli.ts';
import { parseKesConfig } from '../../kes/config/config.ts';
import { parseApiKey } from '../../wire/kes-identity.ts';

/** The API key that was printed. */
function apiKeyIn(stdout: string): string {
  return /^ {3}(kes:v1:\S+)$/m.exec(stdout)?.[1] ?? '';
}

void test('what is written starts a server, and the printed API key is its admin', async (t) => {
  const folder = join(tempFolder(t), 'kes');
  await withInitialServer(folder, async (env) => {
    const created = await runCli(['key', 'create', 'first'], { env });
    assert.deepEqual([created.code, created.stderr], [0, '']);
  });
  assert.deepEqual(readdirSync(join(folder, 'keys')), ['first']);
});

void test('the files are private where they must be, and hold no API key', async (t) => {
  const folder = tempFolder(t);
  const { stdout } = await runCli(['init', folder]);
  assert.ok(stdout.includes(`   kes server --config ${join(folder, 'config.yml')}\n`));
  const apiKey = apiKeyIn(stdout);
  assert.equal(stdout.split(apiKey).length, 2);
  assert.deepEqual(readdirSync(folder).toSorted(), [
    'config.yml',
    'keys',
    'server.crt',
    'server.key',
  ]);
  assert.equal(statSync(join(folder, 'server.key')).mode & 0o777, 0o600);
  assert.equal(statSync(join(folder, 'keys')).mode & 0o777, 0o700);
  const text = readFileSync(join(folder, 'config.yml'), 'utf8');
  assert.ok(!text.includes(apiKey));
  const config = parseKesConfig(text, {});
  assert.equal(config.admin, parseApiKey(apiKey).identity);
  assert.equal(config.address, '0.0.0.0:7373');
  assert.deepEqual(config.keyStore, { type: 'fs', path: join(folder, 'keys') });
  const names = new X509Certificate(readFileSync(join(folder, 'server.crt'))).subjectAltName ?? '';
  for (const name of ['DNS:localhost', `DNS:${hostname()}`, 'IP Address:127.0.0.1']) {
    assert.ok(names.includes(name), names);
  }
});

void test('the certificate is for what was named', async (t) => {
  const folder = tempFolder(t);
  const { stdout } = await runCli(['init', folder, '--dns', 'kes.example.com', '--ip', '10.0.0.1']);
  const certificate = new X509Certificate(readFileSync(join(folder, 'server.crt')));
  assert.equal(certificate.subjectAltName, 'DNS:kes.example.com, IP Address:10.0.0.1');
  assert.match(stdout, /\n {3}KES_SERVER=kes\.example\.com:7373 SSL_CERT_FILE=/);
});

void test('nothing is overwritten by accident, and keys never', async (t) => {
  const folder = tempFolder(t);
  await runCli(['init', folder]);
  const key = join(folder, 'keys', 'kept');
  writeFileSync(key, 'kept');
  const before = readFileSync(join(folder, 'config.yml'), 'utf8');
  const again = await runCli(['init', folder]);
  assert.deepEqual([again.code, again.stdout], [1, '']);
  assert.match(
    again.stderr,
    /^Error: '.*config\.yml' already exists\. Use --force to overwrite it\n$/,
  );
  assert.equal(readFileSync(join(folder, 'config.yml'), 'utf8'), before);
  assert.equal((await runCli(['init', folder, '--force'])).code, 0);
  assert.notEqual(readFileSync(join(folder, 'config.yml'), 'utf8'), before);
  assert.equal(readFileSync(key, 'utf8'), 'kept');
});

void test('what cannot be written is refused with nothing made', async (t) => {
  const folder = join(tempFolder(t), 'new');
  for (const [argv, text] of [
    [['--ip', 'localhost'], 'not an IP address: localhost'],
    [['--addr', 'localhost:1'], "'localhost' is not a valid IP address"],
    [['--expiry', 'long'], "invalid duration 'long': expected for example 87600h"],
  ] as const) {
    const result = await runCli(['init', folder, ...argv]);
    assert.equal(result.code, 1);
    assert.ok(result.stderr.includes(text), result.stderr);
    assert.ok(!readdirSync(join(folder, '..')).includes('new'));
  }
});
