import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import type { FakeKes } from '../../test/support/fake-kes.ts';
import { startFakeKes } from '../../test/support/fake-kes.ts';
import type { KesClientOptions } from './kes-client.ts';
import { KesClient } from './kes-client.ts';
import { createClientCertificate, generateApiKey } from './kes-identity.ts';
import { parseKesEndpoint } from './kes-paths.ts';

const context = Buffer.from('{"bucket":"bucket/object"}');

/** No pauses between attempts; they are counted. */
function fastDeps(pauses: number[] = []) {
  return {
    random: () => 0,
    sleep: async (ms: number) => {
      pauses.push(ms);
    },
  };
}

function clientOf(fakes: readonly FakeKes[], options: Partial<KesClientOptions> = {}): KesClient {
  const ca = fakes.map((fake) => fake.serverCert);
  return new KesClient({
    endpoints: fakes.map((fake) => fake.origin),
    tls: { ...fakes[0]?.tls, ca },
    deps: fastDeps(),
    ...options,
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo; // it listens on a port
  await new Promise((resolve) => server.close(resolve));
  return port;
}

for (const allowHttp2 of [true, false]) {
  void test(`speaks the protocol over ${allowHttp2 ? 'HTTP/2' : 'HTTP/1.1 when the server offers no more'}`, async (t) => {
    const fake = await startFakeKes({ allowHttp2 });
    t.after(() => fake.close());
    const client = clientOf([fake]);
    t.after(() => client.close());
    await client.createKey('my-key');
    const { plaintext, ciphertext } = await client.generateKey('my-key', context);
    assert.equal(plaintext.length, 32);
    assert.equal(ciphertext.length, 76);
    assert.deepEqual(await client.decrypt('my-key', { ciphertext, context }), plaintext);
    await client.disableKey('my-key');
    assert.equal((await client.describeKey('my-key')).state, 'disabled');
    assert.deepEqual([...(await client.listKeys('my-')).disabled], ['my-key']);
    await client.enableKey('my-key');
    await client.deleteKey('my-key');
    assert.deepEqual((await client.listKeys('')).names, []);
    assert.equal(await client.version(), 'fake');
    assert.deepEqual([...fake.identities], [fake.clientIdentity]);
    assert.equal(fake.protocolsSeen.has('h2'), allowHttp2);
    assert.ok(fake.requests.includes('POST /v1/key/create/my-key'));
  });

  void test(`many concurrent calls over ${allowHttp2 ? 'HTTP/2' : 'HTTP/1.1'} each get their own answer`, async (t) => {
    const fake = await startFakeKes({ allowHttp2 });
    t.after(() => fake.close());
    const client = clientOf([fake]);
    t.after(() => client.close());
    fake.addKey('my-key');
    const keys = await Promise.all(
      Array.from({ length: 100 }, () => client.generateKey('my-key', context)),
    );
    const opened = await Promise.all(
      keys.map(({ ciphertext }) => client.decrypt('my-key', { ciphertext, context })),
    );
    assert.deepEqual(
      opened,
      keys.map((key) => key.plaintext),
    );
  });

  void test(`over ${allowHttp2 ? 'HTTP/2' : 'HTTP/1.1'} a hanging server costs the time limit and no more`, async (t) => {
    const fake = await startFakeKes({ allowHttp2 });
    t.after(() => fake.close());
    const client = clientOf([fake], { timeoutMs: 80, retriesMax: 0 });
    t.after(() => client.close());
    fake.fault = () => 'hang';
    await assert.rejects(client.version(), { code: 'timeout' });
    const controller = new AbortController();
    const aborted = clientOf([fake]);
    t.after(() => aborted.close());
    const call = aborted.version({ signal: controller.signal });
    setTimeout(() => controller.abort(), 30);
    await assert.rejects(call, { code: 'aborted' });
    await assert.rejects(aborted.version({ signal: controller.signal }), { code: 'aborted' });
  });
}

void test('errors are told apart by status and text, older spellings included', async (t) => {
  const fake = await startFakeKes();
  t.after(() => fake.close());
  const client = clientOf([fake]);
  t.after(() => client.close());
  const cases = [
    [404, 'key does not exist', 'key-not-found'],
    [400, 'key already exists', 'key-exists'],
    [400, 'key does already exist', 'key-exists'],
    [403, 'not authorized: insufficient permissions', 'not-allowed'],
    [403, 'prohibited by policy', 'not-allowed'],
    [403, 'key is disabled: enable it to use it again', 'key-disabled'],
    [400, 'decryption failed: ciphertext is not authentic', 'invalid-ciphertext'],
    [404, 'policy does not exist', 'policy-not-found'],
    [404, 'identity does not exist', 'identity-not-found'],
    [400, 'key does not exist', 'http'],
    [502, 'failed to read key', 'http'],
  ] as const;
  for (const [status, message, code] of cases) {
    fake.fault = () => ({ status, message });
    await assert.rejects(client.describeKey('x'), {
      name: 'KesClientError',
      code,
      status,
      message,
    });
  }
});

void test('an answer of 503 and a dropped connection are tried twice more, with pauses', async (t) => {
  const fake = await startFakeKes();
  t.after(() => fake.close());
  const pauses: number[] = [];
  const client = clientOf([fake], { deps: fastDeps(pauses) });
  t.after(() => client.close());
  fake.addKey('my-key');
  for (const fault of [{ status: 503, message: 'busy' }, 'drop'] as const) {
    fake.requests.length = 0;
    pauses.length = 0;
    fake.fault = () => (fake.requests.length < 3 ? fault : undefined);
    await client.generateKey('my-key', context);
    assert.equal(fake.requests.length, 3);
    assert.deepEqual(pauses, [200, 200]);
  }
  fake.fault = () => ({ status: 503, message: 'busy' });
  fake.requests.length = 0;
  await assert.rejects(client.generateKey('my-key', context), { status: 503, message: 'busy' });
  assert.equal(fake.requests.length, 3);
});

void test('a create that may have had an effect is not sent again', async (t) => {
  const fake = await startFakeKes();
  t.after(() => fake.close());
  const client = clientOf([fake]);
  t.after(() => client.close());
  await client.version();
  fake.requests.length = 0;
  fake.fault = () => 'drop';
  await assert.rejects(client.createKey('my-key'), { code: 'connection' });
  assert.equal(fake.requests.length, 1);
});

void test('a refused connection is tried again, and says what happened in the end', async (t) => {
  const port = await freePort();
  const pauses: number[] = [];
  const client = new KesClient({
    endpoints: [`https://127.0.0.1:${port}`],
    tls: {},
    deps: fastDeps(pauses),
  });
  t.after(() => client.close());
  await assert.rejects(client.createKey('my-key'), {
    code: 'connection',
    message: `kes: connection error: connect ECONNREFUSED 127.0.0.1:${port}`,
  });
  assert.equal(pauses.length, 2);
});

void test('connects again after the server dropped all connections', async (t) => {
  const fake = await startFakeKes();
  t.after(() => fake.close());
  const client = clientOf([fake]);
  t.after(() => client.close());
  await client.version();
  fake.dropConnections();
  await client.version();
});

void test('a server that accepts and never answers costs the time limit and no more', async (t) => {
  const silent = createServer(() => {});
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  t.after(() => silent.close());
  const { port } = silent.address() as AddressInfo; // it listens on a port
  const options = { endpoints: [`https://127.0.0.1:${port}`], tls: {}, retriesMax: 0 };
  const client = new KesClient({ ...options, timeoutMs: 50 });
  t.after(() => client.close());
  await assert.rejects(client.version(), { code: 'timeout', wasSent: false });
  const patient = new KesClient(options);
  t.after(() => patient.close());
  const controller = new AbortController();
  const call = patient.version({ signal: controller.signal });
  setTimeout(() => controller.abort(), 20);
  await assert.rejects(call, { code: 'aborted' });
});

void test('a certificate renewed while connecting is used by the connection after', async (t) => {
  const fake = await startFakeKes();
  t.after(() => fake.close());
  const client = clientOf([fake]);
  t.after(() => client.close());
  const renewed = generateApiKey();
  const certificate = await createClientCertificate(renewed);
  const first = client.version();
  client.setTls({ ...fake.tls, ...certificate });
  assert.equal(await first, 'fake');
  assert.equal(await client.version(), 'fake');
  assert.deepEqual([...fake.identities], [fake.clientIdentity, renewed.identity]);
});

void test('a server that is not trusted is refused, unless the check is off', async (t) => {
  const fake = await startFakeKes();
  t.after(() => fake.close());
  const pauses: number[] = [];
  const tls = await createClientCertificate(generateApiKey());
  const wary = clientOf([fake], { tls, deps: fastDeps(pauses) });
  t.after(() => wary.close());
  await assert.rejects(wary.version(), {
    code: 'untrusted',
    message: 'kes: connection error: the certificate of the server is self-signed and not trusted',
  });
  assert.deepEqual(pauses, []);
  const insecure = clientOf([fake], { tls: { isInsecure: true } });
  t.after(() => insecure.close());
  assert.equal(await insecure.version(), 'fake');
});

void test('a renewed certificate is used by the next connection', async (t) => {
  const fake = await startFakeKes();
  t.after(() => fake.close());
  const client = clientOf([fake]);
  t.after(() => client.close());
  await client.version();
  const renewed = generateApiKey();
  client.setTls({ ...fake.tls, ...(await createClientCertificate(renewed)) });
  await client.version();
  assert.deepEqual([...fake.identities], [fake.clientIdentity, renewed.identity]);
});

void test('a failing endpoint is set aside for 30 seconds, then probed', async (t) => {
  const [first, second] = [await startFakeKes(), await startFakeKes()];
  t.after(() => Promise.all([first.close(), second.close()]));
  let now = 1_000_000;
  const client = clientOf([first, second], { deps: { ...fastDeps(), now: () => now } });
  t.after(() => client.close());
  first.fault = () => ({ status: 502, message: 'failed to read key' });
  for (let call = 0; call < 4; call += 1) await client.version();
  assert.equal(first.requests.length, 1);
  assert.equal(second.requests.length, 4);
  now += 30_001;
  for (let call = 0; call < 4; call += 1) await client.version();
  assert.equal(first.requests.length, 2);
  now += 30_001;
  first.fault = () => undefined;
  for (let call = 0; call < 4; call += 1) await client.version();
  assert.ok(first.requests.length > 3);
});

void test('when all endpoints are set aside, all are tried', async (t) => {
  const [first, second] = [await startFakeKes(), await startFakeKes()];
  t.after(() => Promise.all([first.close(), second.close()]));
  const client = clientOf([first, second]);
  t.after(() => client.close());
  for (const fake of [first, second]) fake.fault = () => ({ status: 500, message: 'broken' });
  await assert.rejects(client.version(), { status: 500, message: 'broken' });
  second.fault = () => undefined;
  assert.equal(await client.version(), 'fake');
});

void test('a list follows its pages and keeps to its prefix', async (t) => {
  const fake = await startFakeKes();
  t.after(() => fake.close());
  const client = clientOf([fake]);
  t.after(() => client.close());
  for (const name of ['b', 'my-key', 'my-key2', 'myself']) fake.addKey(name);
  assert.deepEqual((await client.listKeys('my')).names, ['my-key', 'my-key2', 'myself']);
  assert.deepEqual((await client.listKeys('my-')).names, ['my-key', 'my-key2']);
  assert.deepEqual(fake.requests.slice(-2), ['GET /v1/key/list/my', 'GET /v1/key/list/my-*']);
});

void test('batches are used once the endpoint has listed the route, and asked for again on reconnect', async (t) => {
  const fake = await startFakeKes();
  t.after(() => fake.close());
  const client = clientOf([fake], { usesBatches: true });
  t.after(() => client.close());
  assert.equal(client.isBatching(), false);
  await client.version();
  while (!client.isBatching()) await new Promise((resolve) => setTimeout(resolve, 5));
  fake.addKey('my-key');
  const results = await client.callKeys([
    { op: 'generate', name: 'my-key' },
    { op: 'generate', name: 'other' },
  ]);
  assert.deepEqual(
    results?.map((result) => result.status),
    [200, 404],
  );
  fake.takesBatches = false;
  assert.equal(await client.callKeys([{ op: 'generate', name: 'my-key' }]), undefined);
  assert.equal(client.isBatching(), false);
  fake.takesBatches = true;
  fake.dropConnections();
  await client.version();
  while (!client.isBatching()) await new Promise((resolve) => setTimeout(resolve, 5));
});

void test('an endpoint is an https URL with nothing after the port', () => {
  assert.equal(parseKesEndpoint(' https://127.0.0.1:7373/ ').origin, 'https://127.0.0.1:7373');
  for (const text of ['http://a:1', 'a:1', 'https://a/b', 'https://u:p@a', 'https://a?x', '']) {
    assert.throws(() => parseKesEndpoint(text), TypeError, text);
  }
});
