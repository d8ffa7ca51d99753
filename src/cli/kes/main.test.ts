import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import type { TestContext } from 'node:test';
import { after, before, test } from 'node:test';
import type { TestKesServer } from '../../../test/support/kes-server.ts';
import { startTestKesServer } from '../../../test/support/kes-server.ts';
import {
  certificateIdentity,
  formatApiKey,
  generateApiKey,
  parseApiKey,
} from '../../wire/kes-identity.ts';
import { isEncryptedKey, openPrivateKey, sealPrivateKey } from '../../wire/kes-private-key.ts';
import { createClientCertificate } from '../../wire/kes-identity.ts';
import { kesCredentials, kesEnvOrder, kesServers } from './environment.ts';
import { kesCommands, runKes } from './main.ts';

type Result = { readonly code: number; readonly stdout: string; readonly stderr: string };
type Options = {
  readonly env?: Record<string, string | undefined>;
  readonly stdin?: string;
  readonly isTerminal?: boolean;
  readonly signal?: AbortSignal;
  readonly onStdout?: () => void;
};

let server: TestKesServer;
let env: Record<string, string>;
let trustDir: string;

before(async () => {
  server = await startTestKesServer();
  trustDir = mkdtempSync(join(tmpdir(), 'coffer-kes-'));
  writeFileSync(join(trustDir, 'ca.crt'), server.serverCert);
  env = {
    KES_SERVER: server.origin,
    KES_API_KEY: formatApiKey(server.admin),
    SSL_CERT_FILE: join(trustDir, 'ca.crt'),
  };
});
after(async () => {
  await server.close();
  rmSync(trustDir, { recursive: true });
});

async function run(argv: readonly string[], options: Options = {}): Promise<Result> {
  const chunks: { stdout: string; stderr: string } = { stdout: '', stderr: '' };
  const sink = (name: 'stdout' | 'stderr') => {
    const stream = new Writable({
      write(chunk: Buffer, _, done) {
        chunks[name] += chunk.toString('utf8');
        if (name === 'stdout') options.onStdout?.();
        done();
      },
    });
    return Object.assign(stream, { isTTY: options.isTerminal ?? false });
  };
  const code = await runKes(argv, {
    env: { ...env, ...options.env },
    stdin: Readable.from([Buffer.from(options.stdin ?? '')], { objectMode: false }),
    stdout: sink('stdout'),
    stderr: sink('stderr'),
    signal: options.signal ?? new AbortController().signal,
  });
  return { code, ...chunks };
}

/** Runs, asserts success without a word on stderr, returns stdout. */
async function out(argv: readonly string[], options: Options = {}): Promise<string> {
  const result = await run(argv, options);
  assert.deepEqual([result.code, result.stderr], [0, ''], argv.join(' '));
  return result.stdout;
}

async function fails(argv: readonly string[], stderr: string, options: Options = {}) {
  assert.deepEqual(await run(argv, options), { code: 1, stdout: '', stderr: `Error: ${stderr}\n` });
}

function tempDir(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'coffer-kes-'));
  t.after(() => rmSync(dir, { recursive: true }));
  return dir;
}

void test('keys are made, shown, listed and removed', async () => {
  assert.equal(await out(['key', 'create', 'one-a', 'one-b']), '');
  assert.equal(await out(['key', 'ls', 'one-*']), 'Key\none-a\none-b\n');
  assert.equal(await out(['ls', 'one-']), 'Key\none-a\none-b\n');
  assert.equal(await out(['key', 'ls', 'one', '--json']), '["one-a","one-b"]\n');
  const info = JSON.parse(await out(['key', 'info', 'one-a', '--json'])) as Record<string, string>;
  assert.deepEqual(Object.keys(info), ['name', 'algorithm', 'created_at', 'created_by']);
  assert.equal(info['algorithm'], 'AES256');
  assert.match(
    await out(['key', 'info', 'one-a']),
    /^Name {8}one-a\nAlgorithm {3}AES256\nDate {8}\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\nOwner {7}[0-9a-f]{64}\n$/,
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

void test('a locked key says so everywhere, until it is unlocked', async () => {
  await out(['key', 'create', 'locked', 'lock-other']);
  const dek = JSON.parse(await out(['key', 'dek', 'locked'])) as { ciphertext: string };
  assert.equal(await out(['key', 'disable', 'locked']), '');
  assert.equal(await out(['key', 'disable', 'locked']), '');
  assert.equal(await out(['key', 'ls', 'lock*']), 'Key\nlock-other\nlocked  disabled\n');
  assert.match(await out(['key', 'info', 'locked']), /\nState {7}disabled\n$/);
  const info = JSON.parse(await out(['key', 'info', 'locked', '--json'])) as { state: string };
  assert.equal(info.state, 'disabled');
  const reason = 'key is disabled: enable it to use it again';
  await fails(['key', 'dek', 'locked'], `failed to derive key: ${reason}`);
  await fails(['key', 'encrypt', 'locked', 'x'], `failed to encrypt message: ${reason}`);
  await fails(
    ['key', 'decrypt', 'locked', dek.ciphertext],
    `failed to decrypt ciphertext: ${reason}`,
  );
  assert.equal(await out(['key', 'enable', 'locked']), '');
  assert.doesNotMatch(await out(['key', 'info', 'locked']), /State/);
  await out(['key', 'decrypt', 'locked', dek.ciphertext]);
  await fails(['key', 'disable', 'absent'], 'failed to disable key "absent": key does not exist');
  await fails(['key', 'enable', 'absent'], 'failed to enable key "absent": key does not exist');
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

void test('the status is rows for people and JSON for programs', async () => {
  const host = new URL(server.origin).host;
  const text = await out(['status']);
  assert.ok(text.startsWith(`● ${host}\n  Version   `), text);
  assert.match(text, /\n  Uptime    \d+ seconds\n  Latency   \d+ms\n  OS        \w+\n  CPUs      /);
  assert.equal((await out(['status', '-s'])).split('\n').length, 5);
  assert.match(
    await out(['status', '--api']),
    /\n  Method  API +Timeout\n[\s\S]*\/v1\/key\/create\/ +15s\n/,
  );
  const status = JSON.parse(await out(['status', '--json'])) as Record<string, unknown>;
  assert.ok(typeof status['version'] === 'string' && !('keystore_unreachable' in status));
  const apis = JSON.parse(await out(['status', '--api', '--json'])) as { path: string }[];
  assert.ok(apis.some((api) => api.path === '/v1/status'));
});

void test('metrics are printed as JSON until the command is interrupted', async () => {
  const controller = new AbortController();
  let objects = 0;
  const onStdout = () => {
    objects += 1;
    if (objects === 3) controller.abort();
  };
  const result = await run(['metric', '--rate', '5ms'], { signal: controller.signal, onStdout });
  assert.equal(result.code, 1);
  const [first = '{}'] = result.stdout.split('\n');
  const metrics = JSON.parse(first) as Record<string, unknown>;
  assert.equal(typeof metrics['kes_system_up_time'], 'number');
  assert.equal(typeof metrics['kes_http_response_time'], 'object');
  assert.equal(result.stdout.split('\n').length, 4);
});

void test('identities are shown and listed', async () => {
  const own = server.admin.identity;
  assert.match(await out(['identity', 'info']), new RegExp(`^Identity {4}${own}\nAdmin {7}yes\n`));
  assert.match(await out(['identity', 'info', server.store.identity]), /\nPolicy {6}store\n/);
  const info = JSON.parse(await out(['identity', 'info', '--json'])) as { identity: string };
  assert.equal(info.identity, own);
  const listed = await out(['identity', 'ls']);
  assert.deepEqual(listed.split('\n').slice(1, -1).sort(), [own, server.store.identity].sort());
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
  const dir = tempDir(t);
  const { cert, key } = await createClientCertificate(apiKey);
  writeFileSync(join(dir, 'c.crt'), cert);
  writeFileSync(join(dir, 'c.key'), key);
  assert.equal(await out(['identity', 'of', join(dir, 'c.crt')]), apiKey.identity);
  assert.equal(await out(['identity', join(dir, 'c.crt')]), apiKey.identity);
  assert.equal(await out(['identity', join(dir, 'c.key')]), made);
  await fails(['identity', 'of', 'nonsense'], 'neither an API key nor a certificate file');
});

void test('a new identity can be written to files, which are not overwritten by accident', async (t) => {
  const dir = tempDir(t);
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
  const dir = tempDir(t);
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

  const { cert: adminCert } = await createClientCertificate(server.admin);
  writeFileSync(cert, adminCert);
  writeFileSync(key, sealPrivateKey(server.admin.privateKey, 'pass'));
  const files = { KES_API_KEY: undefined, KES_CLIENT_KEY: key, KES_CLIENT_CERT: cert };
  const used = await run(['key', 'create', 'with-password'], { env: files, stdin: 'pass\n' });
  assert.deepEqual(used, { code: 0, stdout: '', stderr: 'Enter password for private key: \n' });
  const wrong = await run(['key', 'ls'], { env: files, stdin: 'wrong\n' });
  assert.equal(wrong.stderr, 'Enter password for private key: \nError: incorrect password\n');
  assert.equal(wrong.code, 1);
});

void test('a client key and certificate file serve instead of an API key', async (t) => {
  const dir = tempDir(t);
  const [key, cert] = [join(dir, 'root.key'), join(dir, 'root.cert')];
  const made = await createClientCertificate(server.admin);
  writeFileSync(key, made.key);
  writeFileSync(cert, made.cert);
  const files = { KES_API_KEY: undefined, KES_CLIENT_KEY: key, KES_CLIENT_CERT: cert };
  assert.equal(await out(['key', 'create', 'by-file'], { env: files }), '');
  const cases: [Record<string, string | undefined>, string][] = [
    [{ KES_API_KEY: undefined }, 'no API key specified. Consider setting MINIO_KES_API_KEY'],
    [{ KES_API_KEY: '' }, 'no API key specified. Consider setting MINIO_KES_API_KEY'],
    [{ KES_CLIENT_KEY: key }, 'API key and private key file cannot be used at the same time'],
    [{ KES_CLIENT_CERT: cert }, 'API key and certificate file cannot be used at the same time'],
    [
      { KES_API_KEY: '', KES_CLIENT_KEY: key },
      'no certificate file specified. Consider setting MINIO_KES_CERT_FILE',
    ],
    [
      { KES_API_KEY: '', KES_CLIENT_CERT: cert },
      'no private key file specified. Consider setting MINIO_KES_KEY_FILE',
    ],
    [{ KES_API_KEY: 'kes:v1:AAAA' }, 'parsing API key: kes: invalid API key: invalid length'],
  ];
  for (const [env, text] of cases) await fails(['key', 'ls'], text, { env });
});

void test('of several variables the first that is set wins', () => {
  const vectors = JSON.parse(
    readFileSync(new URL('../../../test/vectors/kes-cli-env.json', import.meta.url), 'utf8'),
  ) as {
    server_order: string[];
    api_key_order: string[];
    key_file_order: string[];
    cert_file_order: string[];
    endpoints: { env: Record<string, string>; endpoints: string[] }[];
  };
  assert.deepEqual(
    [kesEnvOrder.server, kesEnvOrder.apiKey, kesEnvOrder.keyFile, kesEnvOrder.certFile],
    [vectors.server_order, vectors.api_key_order, vectors.key_file_order, vectors.cert_file_order],
  );
  for (const vector of vectors.endpoints) {
    assert.deepEqual(kesServers(vector.env), vector.endpoints);
  }
  const both = { MINIO_KES_API_KEY: 'first', KES_API_KEY: 'second' };
  assert.deepEqual(kesCredentials(both), { kind: 'api-key', text: 'first' });
  assert.throws(() => kesCredentials({ ...both, MINIO_KES_API_KEY: '' }), /no API key specified/);
});

void test('who may not is told so, and no reason is invented', async () => {
  const env = { KES_API_KEY: formatApiKey(generateApiKey()) };
  const denied = 'not authorized: insufficient permissions';
  await fails(['key', 'create', 'x'], `failed to create key "x": ${denied}`, { env });
  await fails(['key', 'ls'], `failed to list keys: ${denied}`, { env });
  await fails(['key', 'info', 'x'], `failed to describe keys: ${denied}`, { env });
});

void test('a server that is not there or not trusted is named, with a way out', async () => {
  const gone = await run(['key', 'ls'], { env: { KES_SERVER: '127.0.0.1:1' } });
  assert.match(
    gone.stderr,
    /^Error: failed to list keys: kes: connection error: connect ECONNREFUSED 127\.0\.0\.1:1\n$/,
  );
  const untrusted = await run(['key', 'ls'], { env: { SSL_CERT_FILE: undefined } });
  assert.match(
    untrusted.stderr,
    /^Error: failed to list keys: kes: connection error: .*--insecure\)\n$/,
  );
  assert.match(await out(['key', 'ls', '-k'], { env: { SSL_CERT_FILE: undefined } }), /^Key\n/);
});

void test('help goes to standard error with exit code 2', async () => {
  for (const argv of [[], ['-h'], ['--help'], ['key'], ['key', '--help'], ['identity', '-h']]) {
    const result = await run(argv);
    assert.deepEqual([result.code, result.stdout], [2, ''], argv.join(' '));
    assert.match(result.stderr, /^Usage:\n/);
  }
  for (const command of kesCommands) {
    const result = await run([...command.words.split(' '), '--help']);
    const expected = command.words === 'ls' ? 1 : 2;
    assert.deepEqual([result.code, result.stdout], [expected, ''], command.words);
    assert.match(result.stderr, /^Usage:\n/);
  }
});

void test('wrong words and arguments are explained', async () => {
  await fails(['x'], `"x" is not a kes command. See 'kes --help'`);
  await fails(['key', 'x'], `"x" is not a key command. See 'kes key --help'`);
  await fails(['key', 'create'], "no key name specified. See 'kes key create --help'");
  await fails(['key', 'info', 'a', 'b'], "too many arguments. See 'kes key info --help'");
  await fails(['key', 'ls', '--frob'], "unknown flag: --frob. See 'kes key ls --help'");
  await fails(['key', 'ls', '-x'], "unknown shorthand flag: 'x' in -x. See 'kes key ls --help'");
  await fails(['key', 'ls', '--color', 'blue'], "invalid color option 'blue'");
  await fails(['policy', 'ls'], "'kes policy' is not available in this version");
  for (const word of ['log', 'migrate', 'update', 'init']) {
    await fails([word], `'kes ${word}' is not available in this version`);
  }
});

void test('flags may stand anywhere, joined or apart', async () => {
  await out(['key', 'create', '-k', 'flag-a', '-e', 'enclave']);
  assert.equal(await out(['key', 'ls', '--json', '-k', '--color=never', 'flag']), '["flag-a"]\n');
  const apart = { KES_API_KEY: undefined, KES_SERVER: 'nowhere:1' };
  const argv = [
    'ls',
    '-ka',
    formatApiKey(server.admin),
    `-s${new URL(server.origin).host}`,
    'flag',
  ];
  assert.equal(await out(argv, { env: apart }), 'Key\nflag-a\n');
  assert.equal(await out(['key', 'rm', '--', 'flag-a']), '');
});

void test('the version is four rows', async () => {
  const text = await out(['--version']);
  const labels = text.split('\n').map((line) => line.split(' ')[0]);
  assert.deepEqual(labels, ['Version', 'Runtime', 'License', 'Copyright', '']);
});

void test('colours are for terminals, or when asked for', async () => {
  await out(['key', 'create', 'color']);
  assert.equal(await out(['key', 'ls', 'color']), 'Key\ncolor\n');
  assert.equal(
    await out(['key', 'ls', 'color', '--color', 'always']),
    '\x1b[1mKey\x1b[0m\ncolor\n',
  );
  assert.equal(
    await out(['key', 'ls', 'color', '--color', 'never'], { isTerminal: true }),
    'Key\ncolor\n',
  );
});
