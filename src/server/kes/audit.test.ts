import assert from 'node:assert/strict';
import { appendFile, mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { silentLog } from '../../base/log.ts';
import type { AuditEvent } from '../../kes/audit/audit.ts';
import type { CallEntry, ChainedEntry } from '../../kes/audit/chain.ts';
import { AuditVerifier } from '../../kes/audit/verify.ts';
import { defaultCache, type KesConfig } from '../../kes/config/config.ts';
import { KesClient } from '../../wire/kes-client.ts';
import {
  createClientCertificate,
  generateApiKey,
  type KesApiKey,
} from '../../wire/kes-identity.ts';
import type { KesTls } from '../../wire/kes-transport.ts';
import { type KesServer, startKesServer } from './service.ts';

type Bench = {
  readonly file: string;
  readonly config: KesConfig;
  readonly server: KesServer;
  readonly admin: KesClient;
  /** An identity without a policy. */
  readonly nobody: KesClient;
  readonly nobodyIdentity: string;
  readonly adminTls: KesTls;
  /** What the reference's own stream got. */
  readonly streamed: AuditEvent[];
};

async function bench(t: TestContext, mode: 'strict' | 'relaxed' = 'strict'): Promise<Bench> {
  const dir = await mkdtemp(path.join(tmpdir(), 'coffer-kes-audit-'));
  const file = path.join(dir, 'audit.log');
  const [adminKey, nobodyKey] = [generateApiKey(), generateApiKey()];
  const certificate = await createClientCertificate(generateApiKey(), {
    ipAddresses: ['127.0.0.1'],
    isServer: true,
  });
  const config: KesConfig = {
    address: '127.0.0.1:0',
    admin: adminKey.identity,
    tls: {
      key: '',
      cert: '',
      password: '',
      auth: 'off',
      ca: '',
      proxy: { identities: [], certHeader: '' },
    },
    policies: [],
    cache: defaultCache,
    api: new Map(),
    log: { error: 0, audit: 0 },
    keys: [],
    keyStore: { type: 'memory' },
    auditFile: {
      file,
      mode,
      keyFile: `${file}.key`,
      checkpointLines: 1_000,
      checkpointMs: 60_000,
    },
  };
  const streamed: AuditEvent[] = [];
  const server = await startKesServer(config, {
    log: silentLog,
    audit: { record: (event) => void streamed.push(event) },
    tls: { ...certificate, roots: [] },
  });
  const clientOf = async (apiKey: KesApiKey) =>
    new KesClient({
      endpoints: [`https://127.0.0.1:${server.address.port}`],
      tls: { ...(await createClientCertificate(apiKey)), ca: [certificate.cert] },
      retriesMax: 0,
    });
  const [admin, nobody] = [await clientOf(adminKey), await clientOf(nobodyKey)];
  t.after(async () => {
    admin.close();
    nobody.close();
    await server.close();
    await rm(dir, { recursive: true, force: true });
  });
  const nobodyIdentity = nobodyKey.identity;
  const adminTls = { ...(await createClientCertificate(adminKey)), ca: [certificate.cert] };
  return { file, config, server, admin, nobody, nobodyIdentity, adminTls, streamed };
}

/** Sends JSON to a route that the client has no method for; gives the status. */
function postJson(server: KesServer, tls: KesTls, target: string, body: object): Promise<number> {
  const { cert, key, ca } = tls;
  const options = { host: '127.0.0.1', port: server.address.port, method: 'PUT', path: target };
  return new Promise((resolve, reject) => {
    const sent = request({ ...options, cert, key, ca: [...(ca ?? [])], agent: false }, (answer) => {
      answer.resume();
      answer.on('end', () => resolve(answer.statusCode ?? 0));
    });
    sent.on('error', reject);
    sent.end(JSON.stringify(body));
  });
}

async function linesOf(file: string): Promise<ChainedEntry[]> {
  const text = await readFile(file, 'latin1');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as ChainedEntry);
}

async function callsIn(file: string): Promise<CallEntry[]> {
  return (await linesOf(file)).filter((entry) => entry.kind === 'call');
}

async function isIntact(...files: string[]): Promise<boolean> {
  const verifier = new AuditVerifier();
  for (const file of files) {
    verifier.startFile(file);
    const text = await readFile(file, 'latin1');
    for (const line of text.trimEnd().split('\n')) verifier.add(Buffer.from(line, 'latin1'), true);
  }
  const { isIntact: isRight, finding } = verifier.report();
  assert.equal(finding, undefined);
  return isRight;
}

test('a call has its line, with key, version and object, before it is answered', async (t) => {
  const { file, admin } = await bench(t);
  await admin.createKey('my-key');
  const context = Buffer.from('{"bucket":"bucket/a/b.txt"}');
  const { ciphertext } = await admin.generateKey('my-key', context);
  const [create, generate] = await callsIn(file);
  assert.equal(create?.operation, 'key-create');
  assert.equal(create?.key, 'my-key');
  assert.deepEqual([generate?.operation, generate?.key], ['key-generate', 'my-key']);
  assert.deepEqual([generate?.object, generate?.version], ['bucket/a/b.txt', 1]);
  assert.deepEqual([generate?.allowed, generate?.status], [true, 200]);
  assert.match(generate?.keyId ?? '', /^[0-9a-f]{32}$/);
  await admin.decrypt('my-key', { ciphertext, context });
  const decrypt = (await callsIn(file)).at(-1);
  assert.deepEqual([decrypt?.object, decrypt?.version], ['bucket/a/b.txt', 1]);
  assert.ok(await isIntact(file));
});

test('a refused call says why', async (t) => {
  const { file, admin, nobody, nobodyIdentity } = await bench(t);
  await assert.rejects(nobody.createKey('my-key'));
  await assert.rejects(admin.decrypt('my-key', { ciphertext: Buffer.alloc(50) }));
  const [denied, missing] = await callsIn(file);
  assert.deepEqual(
    [denied?.identity, denied?.allowed, denied?.status, denied?.reason],
    [nobodyIdentity, false, 403, 'identity has no policy'],
  );
  assert.deepEqual(
    [missing?.allowed, missing?.status, missing?.reason],
    [true, 404, 'key does not exist'],
  );
});

test('every call of a batch has its line', async (t) => {
  const { file, admin } = await bench(t);
  await admin.createKey('my-key');
  const context = Buffer.from('{"b":"b/1"}').toString('base64');
  await admin.callKeys([
    { op: 'generate', name: 'my-key', context },
    { op: 'generate', name: 'other' },
  ]);
  const calls = (await callsIn(file))
    .slice(1)
    .map((call) => `${call.operation} ${call.key} ${call.status}`);
  assert.deepEqual(calls.toSorted(), [
    'key-batch undefined 200',
    'key-generate my-key 200',
    'key-generate other 404',
  ]);
  const call = (await callsIn(file)).find(({ key, status }) => key === 'my-key' && status === 200);
  assert.equal(call?.kind, 'call');
  assert.ok((await callsIn(file)).some(({ object }) => object === 'b/1'));
});

test('every ciphertext of a bulk request has its line in the file, and none in the stream', async (t) => {
  const { file, admin, config, server, adminTls, streamed } = await bench(t);
  await admin.createKey('my-key');
  const contexts = ['b/1', 'b/2'].map((object) => Buffer.from(JSON.stringify({ b: object })));
  const entries = await Promise.all(
    contexts.map(async (context) => {
      const { ciphertext } = await admin.generateKey('my-key', context);
      return { ciphertext: ciphertext.toString('base64'), context: context.toString('base64') };
    }),
  );
  const before = streamed.length;
  const status = await postJson(server, adminTls, '/v1/key/bulk/decrypt/my-key', entries);
  assert.equal(status, 200);
  const calls = (await callsIn(file)).filter(({ operation }) => operation === 'key-bulk-decrypt');
  assert.deepEqual(
    calls.map(({ object }) => object),
    ['b/1', 'b/2', undefined],
  );
  assert.equal(streamed.length, before + 1);
  await appendFile(config.auditFile?.file ?? '', 'x');
  assert.equal(await postJson(server, adminTls, '/v1/key/bulk/decrypt/my-key', entries), 500);
});

test('a reload goes on in a new file after a rotation, and without one in the same', async (t) => {
  const { file, admin, server, config } = await bench(t);
  await admin.createKey('one');
  await server.reload(config);
  await rename(file, `${file}.1`);
  await admin.createKey('two');
  await server.reload(config);
  await admin.createKey('three');
  const [old, next] = [await callsIn(`${file}.1`), await callsIn(file)];
  assert.deepEqual(
    [old.map(({ key }) => key), next.map(({ key }) => key)],
    [['one', 'two'], ['three']],
  );
  assert.ok(await isIntact(`${file}.1`, file));
  const elsewhere = { ...config.auditFile, file: path.join(file, 'impossible') };
  await assert.rejects(
    server.reload({ ...config, auditFile: elsewhere as NonNullable<typeof config.auditFile> }),
  );
  await admin.createKey('four');
  assert.equal((await callsIn(file)).at(-1)?.key, 'four');
});

test('strict: what has no line is not answered, and a change that was made is told', async (t) => {
  const { file, admin } = await bench(t);
  await admin.createKey('my-key');
  await appendFile(file, 'x');
  await assert.rejects(
    admin.generateKey('my-key', Buffer.alloc(0)),
    (error: Error) => /audit/.test(error.message) && !/plaintext/.test(error.message),
  );
  await admin.generateKey('my-key', Buffer.alloc(0));
  await appendFile(file, 'x');
  await assert.rejects(admin.createKey('other'), /the change was made, but the audit log/);
  assert.equal((await admin.describeKey('other')).name, 'other');
  const text = await readFile(file, 'latin1');
  assert.equal(text.match(/"kind":"recovered"/g)?.length, 2);
  assert.equal(text.match(/"kind":"lost"/g)?.length, 2);
});

test('a service without an audit file writes none', async (t) => {
  const { file, admin, server, config } = await bench(t, 'relaxed');
  const { auditFile, ...without } = config;
  await server.reload(without);
  const before = (await linesOf(file)).length;
  await admin.createKey('my-key');
  assert.equal((await linesOf(file)).length, before);
  assert.equal(auditFile?.file, file);
});
