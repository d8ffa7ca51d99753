import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Writable } from 'node:stream';
import { describe, test } from 'node:test';
import type { CliIo } from '../../cli/io.ts';
import {
  createClientCertificate,
  formatApiKey,
  generateApiKey,
  type KesApiKey,
  parseApiKey,
} from '../../wire/kes-identity.ts';
import { runKesServer } from './server.ts';

/** A running command: what it printed so far, and how to wait for a text and stop it. */
function run(argv: string[], env: Record<string, string> = {}) {
  const printed = { stdout: '', stderr: '' };
  const waiting: (() => void)[] = [];
  const sink = (name: 'stdout' | 'stderr') =>
    new Writable({
      write(chunk, _encoding, done) {
        printed[name] += String(chunk);
        for (const wake of waiting.splice(0)) wake();
        done();
      },
    });
  const abort = new AbortController();
  const io: CliIo = {
    env,
    stdin: new PassThrough(),
    stdout: sink('stdout'),
    stderr: sink('stderr'),
    signal: abort.signal,
  };
  const done = runKesServer(argv, io);
  const until = async (name: 'stdout' | 'stderr', pattern: RegExp): Promise<RegExpExecArray> => {
    for (;;) {
      const match = pattern.exec(printed[name]);
      if (match !== null) return match;
      const isOver = await Promise.race([
        done.then(() => true),
        new Promise<false>((resolve) => waiting.push(() => resolve(false))),
      ]);
      if (isOver && !pattern.test(printed[name])) {
        assert.fail(`no ${String(pattern)} in ${name}: ${printed.stdout}${printed.stderr}`);
      }
    }
  };
  return { printed, until, done, stop: () => abort.abort() };
}

/** One call over HTTP/2 with a fresh connection. */
async function call(
  port: number,
  apiKey: KesApiKey,
  request: { method: string; path: string; body?: string },
) {
  const files = await createClientCertificate(apiKey);
  const session = connect(`https://127.0.0.1:${port}`, {
    ...files,
    rejectUnauthorized: false,
  });
  return new Promise<{ status: number; body: string }>((resolve, reject) => {
    session.on('error', reject);
    const stream = session.request(
      { ':method': request.method, ':path': request.path },
      { endStream: request.body === undefined },
    );
    let status = 0;
    let body = '';
    stream.setEncoding('utf8');
    stream.on('response', (headers) => {
      status = Number(headers[':status']);
    });
    stream.on('data', (text: string) => {
      body += text;
    });
    stream.on('error', reject);
    stream.on('close', () => {
      session.close();
      resolve({ status, body });
    });
    if (request.body !== undefined) stream.end(request.body);
  });
}

async function writeConfig(path: string, options: { admin: string; extra?: string }) {
  const server = await createClientCertificate(generateApiKey(), {
    dnsNames: ['localhost'],
    isServer: true,
  });
  await writeFile(join(path, 'server.key'), server.key);
  await writeFile(join(path, 'server.cert'), server.cert);
  const file = join(path, 'config.yml');
  await writeFile(file, configText(path, options));
  return file;
}

function configText(path: string, options: { admin: string; extra?: string }): string {
  return `version: v1
address: 127.0.0.1:0
admin:
  identity: ${options.admin}
tls:
  key: ${join(path, 'server.key')}
  cert: ${join(path, 'server.cert')}
keys:
  - name: first-key
keystore:
  fs:
    path: ${join(path, 'keys')}
${options.extra ?? ''}`;
}

async function withDirectory(work: (path: string) => Promise<void>): Promise<void> {
  const path = await mkdtemp(join(tmpdir(), 'coffer-kes-server-'));
  try {
    await work(path);
  } finally {
    await rm(path, { recursive: true });
  }
}

const apiUrl = /API +· https:\/\/127\.0\.0\.1:(\d+)/;
const isUp = /=> Server is up and running\.\.\./;

void describe('kes server', () => {
  void test('in development mode prints an API key that works, and stops when told', async () => {
    const server = run(['--dev', '--addr', '127.0.0.1:0']);
    await server.until('stdout', isUp);
    const [, port] = await server.until('stdout', apiUrl);
    const [, text = ''] = await server.until('stdout', /API Key +(kes:v1:\S+)/);
    const apiKey = parseApiKey(text);
    assert.match(server.printed.stdout, new RegExp(`Admin +${apiKey.identity}`));
    assert.match(server.printed.stdout, /KMS +In Memory/);
    const created = await call(Number(port), apiKey, { method: 'PUT', path: '/v1/key/create/k' });
    assert.equal(created.status, 200);
    await server.until(
      'stdout',
      /msg="secret key 'k' created" req\.method=PUT req\.path=\/v1\/key\/create\/k/,
    );
    server.stop();
    assert.equal(await server.done, 0);
    assert.match(server.printed.stdout, /\n=> Stopping server\.\.\. Goodbye\.\n$/);
  });

  void test('reads a configuration, with references to the environment', () =>
    withDirectory(async (path) => {
      const admin = generateApiKey();
      const file = await writeConfig(path, { admin: '${ADMIN}' });
      const server = run(['--config', file], { ADMIN: admin.identity });
      await server.until('stdout', isUp);
      const [, port] = await server.until('stdout', apiUrl);
      assert.match(server.printed.stdout, new RegExp(`KMS +Filesystem: ${join(path, 'keys')}`));
      const listed = await call(Number(port), admin, { method: 'GET', path: '/v1/key/list/' });
      assert.deepEqual(JSON.parse(listed.body), { names: ['first-key'] });
      server.stop();
      assert.equal(await server.done, 0);
    }));

  void test('reloads on SIGHUP, and keeps what it had when the new configuration is bad', () =>
    withDirectory(async (path) => {
      const admin = generateApiKey();
      const app = generateApiKey();
      const file = await writeConfig(path, { admin: admin.identity });
      const server = run(['--config', file]);
      await server.until('stdout', isUp);
      const port = Number((await server.until('stdout', apiUrl))[1]);
      const generate = { method: 'PUT', path: '/v1/key/generate/first-key' };
      assert.equal((await call(port, app, generate)).status, 403);
      const extra = `policy:\n  app:\n    allow: ["/v1/key/*"]\n    identities: ["${app.identity}"]\n`;
      await writeFile(file, configText(path, { admin: admin.identity, extra }));
      process.emit('SIGHUP');
      await server.until('stdout', /=> Reloading configuration after SIGHUP signal completed\./);
      assert.equal((await call(port, app, generate)).status, 200);
      await writeFile(file, 'version: v9\n');
      process.emit('SIGHUP');
      await server.until(
        'stderr',
        /Failed to reload server config: \S+config\.yml:1: edge: invalid server config/,
      );
      const badKey = configText(path, { admin: admin.identity }).replace('server.key', 'none.key');
      await writeFile(file, badKey);
      process.emit('SIGHUP');
      await server.until('stderr', /Failed to update server configuration: tls: cannot read/);
      assert.equal((await call(port, app, generate)).status, 200);
      server.stop();
      assert.equal(await server.done, 0);
    }));

  void test('no secret it used is in what it prints or tells', () =>
    withDirectory(async (path) => {
      const admin = generateApiKey();
      const file = await writeConfig(path, {
        admin: admin.identity,
        extra: 'log:\n  error: debug\n',
      });
      const server = run(['--config', file]);
      await server.until('stdout', isUp);
      const port = Number((await server.until('stdout', apiUrl))[1]);
      const key = Buffer.from('0123456789abcdef0123456789ABCDEF').toString('base64');
      const put = (name: string, body?: object) =>
        call(port, admin, {
          method: 'PUT',
          path: `/v1/key/${name}`,
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        });
      await put('import/imported', { key, cipher: 'AES256' });
      const context = Buffer.from('a very recognisable context').toString('base64');
      const data = JSON.parse((await put('generate/imported', { context })).body) as {
        plaintext: string;
        ciphertext: string;
      };
      const plaintext = Buffer.from('a very recognisable plaintext').toString('base64');
      await put('encrypt/imported', { plaintext });
      await put('decrypt/imported', { ciphertext: data.ciphertext, context });
      await put('decrypt/imported', { ciphertext: data.ciphertext });
      await put('import/imported', { key, cipher: 'AES256' });
      await put('import/other', { key: plaintext, cipher: 'AES256' });
      await writeFile(join(path, 'keys/broken'), `{"bytes":"${key}","algorithm":"none"}`);
      const broken = await put('generate/broken');
      assert.equal(broken.status, 502);
      const metrics = await call(port, admin, { method: 'GET', path: '/v1/metrics' });
      server.stop();
      await server.done;
      const stored = await readFile(join(path, 'keys/first-key'), 'utf8');
      const secrets = [
        key,
        context,
        data.plaintext,
        plaintext,
        stored,
        formatApiKey(admin).slice(7),
      ];
      const told = server.printed.stdout + server.printed.stderr + metrics.body + broken.body;
      for (const secret of secrets) {
        for (const form of [secret, Buffer.from(secret, 'base64').toString('hex')]) {
          assert.ok(!told.includes(form), 'a secret was told');
        }
        assert.ok(!told.includes(Buffer.from(secret, 'base64').toString('latin1')));
      }
    }));

  void test('says what is wrong and exits with 1', () =>
    withDirectory(async (path) => {
      const bad = join(path, 'bad.yml');
      await writeFile(bad, 'version: v2\n');
      const keyless = join(path, 'keyless.yml');
      await writeConfig(path, { admin: 'disabled' });
      const text = configText(path, { admin: 'disabled' });
      await writeFile(keyless, text.replace('- name: first-key', '- name: first.key'));
      const cases: [string[], RegExp][] = [
        [[], /^Error: open : no such file or directory\n$/],
        [['--config', join(path, 'none.yml')], /none\.yml: no such file or directory/],
        [['--config', bad], /^Error: \S+bad\.yml:1: edge: invalid server config version 'v2'\n$/],
        [['--config', keyless], /^Error: \S+keyless\.yml:9: kesconf: .* key name 'first\.key' is/],
        [
          ['--dev', '--config', bad],
          /^Error: '--config' flag is not supported in development mode\n$/,
        ],
        [['--dev', '--addr', 'localhost:1'], /'localhost' is not a valid IP address/],
        [['--nonsense'], /nonsense/],
        [['argument'], /argument/],
      ];
      for (const [argv, pattern] of cases) {
        const server = run(argv);
        assert.equal(await server.done, 1, argv.join(' '));
        assert.match(server.printed.stderr, pattern);
        assert.equal(server.printed.stdout, '');
      }
    }));

  void test('warns of what has no effect, with file and line', () =>
    withDirectory(async (path) => {
      const file = await writeConfig(path, {
        admin: 'disabled',
        extra: 'polici: {}\npolicy:\n  p:\n    allow: [/v1/nothing]\n',
      });
      const server = run(['--config', file]);
      await server.until('stdout', isUp);
      const line = /level=WARN msg="\S+config\.yml:13: member 'polici' .* did you mean 'policy'\?"/;
      await server.until('stderr', line);
      await server.until('stderr', /config\.yml:16: policy 'p': allow pattern '\/v1\/nothing'/);
      server.stop();
      assert.equal(await server.done, 0);
    }));

  void test('shows its usage on stderr, and warns of flags without effect', async () => {
    const help = run(['--help']);
    assert.equal(await help.done, 2);
    assert.match(help.printed.stderr, /--config/);
    const server = run(['--dev', '--addr', '127.0.0.1:0', '--auth', 'off', '--key', 'x']);
    await server.until('stdout', isUp);
    assert.match(server.printed.stderr, /--key.*\n.*--auth/);
    server.stop();
    assert.equal(await server.done, 0);
  });
});
