import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { Agent } from 'node:http';
import { Agent as TlsAgent } from 'node:https';
import { join } from 'node:path';
import { test } from 'node:test';

import { createClientCertificate, generateApiKey } from '../wire/kes-identity.ts';
import { runCoffer } from './main.ts';
import { parseAddress } from './server-command.ts';
import {
  callServer,
  findTestPort,
  makeTestDirectory,
  startTestServer,
  testPassword,
  testUser,
} from './test-support.ts';
import { readTlsFiles } from './tls.ts';

async function makeCertificate(directory: string): Promise<string> {
  const { cert, key } = await createClientCertificate(generateApiKey(), {
    commonName: 'localhost',
    ipAddresses: ['127.0.0.1'],
    isServer: true,
  });
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'public.crt'), cert);
  writeFileSync(join(directory, 'private.key'), key);
  return cert;
}

function makeToken(secretKey: string): string {
  const encode = (value: object): string =>
    Buffer.from(JSON.stringify(value)).toString('base64url');
  const claims = { iss: 'prometheus', sub: testUser, exp: Math.floor(Date.now() / 1000) + 60 };
  const signed = `${encode({ alg: 'HS512', typ: 'JWT' })}.${encode(claims)}`;
  return `${signed}.${createHmac('sha512', secretKey).update(signed).digest('base64url')}`;
}

void test('certificates turn HTTPS on, and kept connections live through a restart', async () => {
  using directory = makeTestDirectory();
  const certsDirectory = join(directory.path, 'certs');
  const ca = await makeCertificate(certsDirectory);
  const port = await findTestPort();
  await using server = startTestServer({
    directory: join(directory.path, 'data'),
    port,
    certsDirectory,
  });
  await server.printed(/serves .* at https:/);
  const agent = new TlsAgent({ keepAlive: true, maxSockets: 1, ca });
  const call = { port, ca, agent };
  assert.equal((await callServer({ ...call, method: 'PUT', target: '/bucket' })).status, 200);
  server.child.kill('SIGHUP');
  await server.printed(/restarted generation=2/);
  // The kept connection belongs to a worker that was replaced: it passes the request on.
  const body = Buffer.alloc(3_000_000, 'x');
  const put = { ...call, method: 'PUT', target: '/bucket/key', body, expectsContinue: true };
  const answer = await callServer(put);
  assert.equal(answer.status, 200, answer.body.toString());
  assert.equal(answer.headers['connection'], 'close');
  assert.ok((await callServer({ ...call, target: '/bucket/key' })).body.equals(body));
  agent.destroy();
  await assert.rejects(callServer({ port, target: '/' }));
  assert.equal(await server.end('SIGTERM'), 0);
});

void test('an error answer of the successors reaches the client that expects to continue', async () => {
  using directory = makeTestDirectory();
  const port = await findTestPort();
  await using server = startTestServer({ directory: directory.path, port });
  await server.printed(/serves/);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  await callServer({ port, target: '/', agent });
  server.child.kill('SIGHUP');
  await server.printed(/restarted generation=2/);
  const put = { port, agent, method: 'PUT', target: '/no-bucket/key', body: Buffer.from('x') };
  assert.equal((await callServer({ ...put, expectsContinue: true })).status, 404);
  agent.destroy();
});

void test('metrics need a token of the right secret, and show all workers', async () => {
  using directory = makeTestDirectory();
  const port = await findTestPort();
  const env = { COFFER_WORKERS: '2' };
  await using server = startTestServer({ directory: directory.path, port, env });
  await server.printed(/serves/);
  const scrape = (token?: string, path = '/minio/v2/metrics/cluster') =>
    callServer({
      port,
      target: path,
      isSigned: false,
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    });
  for (let turn = 0; turn < 4; turn += 1) await callServer({ port, target: '/' });
  for (const token of [undefined, 'nonsense', makeToken('wrong-secret')]) {
    const refused = await scrape(token);
    assert.equal(refused.status, 403);
    assert.equal(JSON.parse(refused.body.toString()).Code, 'AccessDenied');
  }
  const page = await scrape(makeToken(testPassword));
  assert.equal(page.status, 200);
  const text = page.body.toString();
  assert.match(text, /^coffer_s3_requests_total\{operation="ListBuckets",code="200"\} 4$/m);
  assert.match(text, /^minio_cluster_kms_request_success 0$/m);
  assert.match(text, /^coffer_received_bytes_total [1-9]/m);
  assert.ok(!text.includes(testPassword));
  assert.equal(
    (await scrape(makeToken(testPassword), '/minio/metrics/v3/api/requests')).status,
    200,
  );
});

void test('metrics are open when the settings say so, and all of them are documented', async () => {
  using directory = makeTestDirectory();
  const port = await findTestPort();
  const secretKey = `key:${Buffer.alloc(32, 1).toString('base64')}`;
  const env = { MINIO_PROMETHEUS_AUTH_TYPE: 'public', MINIO_KMS_SECRET_KEY: secretKey };
  await using server = startTestServer({ directory: directory.path, port, env });
  await server.printed(/serves/);
  const target = '/minio/prometheus/metrics';
  const page = await callServer({ port, target, isSigned: false });
  assert.equal(page.status, 200);
  const text = page.body.toString();
  assert.match(text, /^minio_cluster_kms_online 1$/m);
  const names = [...text.matchAll(/^# TYPE (\S+) /gm)].map((match) => match[1] ?? '');
  const own = names.filter((name) => /^(minio|coffer)_/.test(name));
  const file = new URL('../../docs/operations.md', import.meta.url);
  const documented = [
    ...readFileSync(file, 'utf8').matchAll(/`((?:minio|coffer)_[a-z0-9_]+)[`{]/g),
  ];
  assert.deepEqual(new Set(documented.map((match) => match[1])), new Set(own));
});

void test('admin calls are refused without the right signature', async () => {
  using directory = makeTestDirectory();
  const port = await findTestPort();
  await using server = startTestServer({ directory: directory.path, port });
  await server.printed(/serves/);
  const target = '/minio/admin/v3/info';
  const codeOf = (answer: { body: Buffer }): string => JSON.parse(answer.body.toString()).Code;
  const unsigned = await callServer({ port, target, isSigned: false });
  assert.deepEqual([unsigned.status, codeOf(unsigned)], [403, 'AccessDenied']);
  const wrong = await callServer({ port, target, region: '', secretKey: 'wrong-secret' });
  assert.deepEqual([wrong.status, codeOf(wrong)], [403, 'SignatureDoesNotMatch']);
  assert.equal((await callServer({ port, target, region: 'anywhere' })).status, 200);
  // The same path in absolute form is the same call.
  const absolute = `http://127.0.0.1:${port}${target}`;
  assert.equal((await callServer({ port, target: absolute })).status, 200);
  const probe = `http://127.0.0.1:${port}/minio/health/live`;
  assert.equal((await callServer({ port, target: probe, isSigned: false })).status, 200);
});

void test('what the server cannot use is refused with what to do', async () => {
  using directory = makeTestDirectory();
  const port = await findTestPort();
  await using server = startTestServer({ directory: join(directory.path, 'a'), port });
  await server.printed(/serves/);
  await using second = startTestServer({ directory: join(directory.path, 'b'), port });
  assert.equal(await second.exited, 1);
  assert.match(second.output(), /cannot listen on .*EADDRINUSE.*--address/);
  writeFileSync(join(directory.path, 'file'), '');
  const file = startTestServer({
    directory: join(directory.path, 'file'),
    port: await findTestPort(),
    certsDirectory: join(directory.path, 'none'),
  });
  assert.equal(await file.exited, 1);
  assert.match(file.output(), /cannot use the directory/);
});

void test('addresses have a port and may name a host', () => {
  assert.deepEqual(parseAddress(':9000'), { host: '', port: 9000 });
  assert.deepEqual(parseAddress('127.0.0.1:1'), { host: '127.0.0.1', port: 1 });
  assert.deepEqual(parseAddress('[::1]:80'), { host: '::1', port: 80 });
  for (const wrong of ['9000', 'host', 'a:b:1', '::1', 'h:99999', '']) {
    assert.throws(() => parseAddress(wrong), /is not an address/);
  }
});

void test('half a certificate is an error that names the missing file', async () => {
  using directory = makeTestDirectory();
  assert.equal(readTlsFiles(directory.path), undefined);
  await makeCertificate(directory.path);
  assert.ok(readTlsFiles(directory.path));
  writeFileSync(join(directory.path, 'private.key'), 'not a key');
  assert.throws(() => readTlsFiles(directory.path), /cannot be used together/);
  using other = makeTestDirectory();
  writeFileSync(join(other.path, 'public.crt'), '');
  assert.throws(() => readTlsFiles(other.path), /private\.key is missing/);
});

void test('the program names its commands, and refuses what is none', async () => {
  const run = async (...argv: string[]) => {
    let output = '';
    const stream = { write: (text: string) => ((output += text), true) };
    const io = {
      env: {},
      stdin: process.stdin,
      // Commands only write to these.
      stdout: stream as unknown as NodeJS.WriteStream,
      stderr: stream as unknown as NodeJS.WriteStream,
      signal: new AbortController().signal,
    };
    return { code: await runCoffer(argv, io), output };
  };
  assert.match((await run('--version')).output, /^coffer version \d+\.\d+\.\d+\n$/);
  assert.equal((await run('--help')).code, 0);
  assert.equal((await run('dance')).code, 1);
  const help = await run('server', '--help');
  assert.equal(help.code, 0);
  assert.match(help.output, /MINIO_KMS_KES_ENDPOINT/);
});
