import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { connect, type ClientHttp2Session, constants } from 'node:http2';
import { Agent, request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as tlsConnect } from 'node:tls';
import { silentLog } from '../base/log.ts';
import type { AuditEvent } from '../kes/audit.ts';
import { LineHub } from '../kes/handlers/logs.ts';
import { KesMetrics } from '../kes/metrics.ts';
import type { KesConfig } from '../kes/config.ts';
import { KeyStoreError } from '../keys/key-store.ts';
import { openFileKeyStore } from '../keystores/files.ts';
import { MemoryKeyStore } from '../keystores/memory.ts';
import { kesErrors } from '../wire/kes.ts';
import {
  createClientCertificate,
  generateApiKey,
  type KesApiKey,
  type KesClientCertificate,
} from '../wire/kes-identity.ts';
import { createAuditLog, createKesLog, LineWriter } from './kes-log.ts';
import { type KesServer, type KesServerDeps, startKesServer } from './kes-service.ts';

type Answer = {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
};
type Call = { readonly method: string; readonly path: string; readonly body?: string | Buffer };

const serverKey = generateApiKey();
const serverFiles = await createClientCertificate(serverKey, {
  commonName: 'localhost',
  dnsNames: ['localhost'],
  ipAddresses: ['127.0.0.1'],
  isServer: true,
});
const admin = generateApiKey();
const app = generateApiKey();
const stranger = generateApiKey();
const proxy = generateApiKey();
const clientFiles = new Map(
  await Promise.all(
    [admin, app, stranger, proxy].map(
      async (apiKey) => [apiKey, await createClientCertificate(apiKey)] as const,
    ),
  ),
);

const baseConfig: KesConfig = {
  address: '127.0.0.1:0',
  admin: admin.identity,
  tls: {
    key: '',
    cert: '',
    password: '',
    auth: 'off',
    ca: '',
    proxy: { identities: [], certHeader: '' },
  },
  policies: [
    {
      name: 'app',
      allow: ['/v1/key/generate/app-*', '/v1/key/decrypt/app-*', '/v1/key/list/app*', '/v1/status'],
      deny: ['/v1/key/decrypt/app-secret*'],
      identities: [app.identity],
    },
  ],
  cache: { anyMs: 300_000, unusedMs: 30_000, offlineMs: 0 },
  api: new Map(),
  log: { error: 0, audit: 0 },
  keys: ['app-key'],
  keyStore: { type: 'memory' },
};

function start(config: Partial<KesConfig> = {}, deps: Partial<KesServerDeps> = {}) {
  return startKesServer(
    { ...baseConfig, ...config },
    { log: silentLog, audit: { record() {} }, tls: { ...serverFiles, roots: [] }, ...deps },
  );
}

/** The certificate of one of the identities above. */
function filesOf(apiKey: KesApiKey): KesClientCertificate {
  const files = clientFiles.get(apiKey);
  assert.ok(files);
  return files;
}

function open(server: KesServer, apiKey?: KesApiKey): ClientHttp2Session {
  const files = apiKey === undefined ? {} : filesOf(apiKey);
  const session = connect(`https://127.0.0.1:${server.address.port}`, {
    ...files,
    rejectUnauthorized: false,
  });
  session.on('error', () => {});
  return session;
}

function callHttp2(session: ClientHttp2Session, call: Call): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const stream = session.request(
      { ':method': call.method, ':path': call.path },
      { endStream: call.body === undefined },
    );
    let headers: Record<string, unknown> = {};
    let body = '';
    stream.setEncoding('utf8');
    stream.on('response', (received) => {
      headers = { ...received };
    });
    stream.on('data', (text: string) => {
      body += text;
    });
    stream.on('error', reject);
    stream.on('close', () => {
      const status = Number(headers[':status']);
      if (Number.isNaN(status)) reject(new Error('closed without an answer'));
      else resolve({ status, headers, body });
    });
    if (call.body !== undefined) stream.end(call.body);
  });
}

function callHttp1(server: KesServer, apiKey: KesApiKey | undefined, call: Call): Promise<Answer> {
  const files = apiKey === undefined ? {} : filesOf(apiKey);
  const agent = new Agent({ keepAlive: false });
  return new Promise((resolve, reject) => {
    const request = httpsRequest(
      {
        ...files,
        agent,
        host: '127.0.0.1',
        port: server.address.port,
        method: call.method,
        path: call.path,
        rejectUnauthorized: false,
      },
      (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (text: string) => {
          body += text;
        });
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
        );
      },
    );
    request.on('error', reject);
    request.end(call.body);
  });
}

function errorBody(message: string): string {
  return `{"message":${JSON.stringify(message)}\n}`;
}

const json = (value: unknown) => JSON.stringify(value);
const base64 = (text: string) => Buffer.from(text).toString('base64');

for (const version of ['HTTP/2', 'HTTP/1.1'] as const) {
  void describe(`a key service over ${version}`, () => {
    let server: KesServer;
    const events: AuditEvent[] = [];
    const sessions = new Map<KesApiKey, ClientHttp2Session>();

    before(async () => {
      server = await start({}, { audit: { record: (event) => events.push(event) } });
    });
    after(async () => {
      for (const session of sessions.values()) session.close();
      await server.close();
    });

    const call = (
      apiKey: KesApiKey,
      method: string,
      path: string,
      body?: string | Buffer,
    ): Promise<Answer> => {
      const given = body === undefined ? { method, path } : { method, path, body };
      if (version === 'HTTP/1.1') return callHttp1(server, apiKey, given);
      const session = sessions.get(apiKey) ?? open(server, apiKey);
      sessions.set(apiKey, session);
      return callHttp2(session, given);
    };

    const refusals: [
      what: string,
      status: number,
      message: string,
      method: string,
      path: string,
      body?: string,
    ][] = [
      ['wrong method', 405, "received method 'GET' expected 'PUT'", 'GET', '/v1/key/create/x'],
      ['wrong method', 405, "received method 'PUT' expected 'GET'", 'PUT', '/v1/status'],
      ['wrong method', 405, "received method 'GET' expected 'DELETE'", 'GET', '/v1/key/delete/x'],
      ['taken name', 400, 'key already exists', 'PUT', '/v1/key/create/app-key'],
      ['unknown key', 404, 'key does not exist', 'GET', '/v1/key/describe/none'],
      ['unknown key', 404, 'key does not exist', 'DELETE', '/v1/key/delete/none'],
      ['unknown key', 404, 'key does not exist', 'PUT', '/v1/key/generate/none'],
      [
        'unknown key',
        404,
        'key does not exist',
        'PUT',
        '/v1/key/encrypt/none',
        '{"plaintext":"AA=="}',
      ],
      [
        'unknown key',
        404,
        'key does not exist',
        'PUT',
        '/v1/key/decrypt/none',
        '{"ciphertext":"AA=="}',
      ],
      ['unknown key', 404, 'key does not exist', 'PUT', '/v1/key/hmac/none', '{"message":"AA=="}'],
      ['unknown key', 404, 'key does not exist', 'PUT', '/v1/key/disable/none'],
      ['unknown key', 404, 'key does not exist', 'PUT', '/v1/key/enable/none'],
      [
        'bad name',
        400,
        "key name 'a.b' is empty, too long or contains invalid characters",
        'PUT',
        '/v1/key/create/a.b',
      ],
      [
        'bad name',
        400,
        "key name '' is empty, too long or contains invalid characters",
        'PUT',
        '/v1/key/create/',
      ],
      [
        'bad name',
        400,
        "key name 'a/b' is empty, too long or contains invalid characters",
        'PUT',
        '/v1/key/generate/a%2Fb',
      ],
      [
        'bad pattern',
        400,
        "listing pattern 'a*b' is empty, too long or is invalid",
        'GET',
        '/v1/key/list/a*b',
      ],
      ['no body', 400, 'invalid request body', 'PUT', '/v1/key/decrypt/app-key'],
      [
        'broken body',
        400,
        'invalid request body',
        'PUT',
        '/v1/key/decrypt/app-key',
        '{"ciphertext"',
      ],
      [
        'bad base64',
        400,
        'invalid request body',
        'PUT',
        '/v1/key/decrypt/app-key',
        '{"ciphertext":"?"}',
      ],
      ['broken body', 400, 'invalid request body', 'PUT', '/v1/key/generate/app-key', 'x'],
      ['broken body', 400, 'invalid request body', 'PUT', '/v1/batch/key', '{"calls":5}'],
      [
        'forged',
        400,
        'decryption failed: ciphertext is not authentic',
        'PUT',
        '/v1/key/decrypt/app-key',
        '{"ciphertext":"AA=="}',
      ],
      ['broken import', 400, 'invalid import key request body', 'PUT', '/v1/key/import/x', '{'],
      [
        'bad cipher',
        406,
        "algorithm 'DES' is not supported",
        'PUT',
        '/v1/key/import/x',
        '{"cipher":"DES","key":"AA=="}',
      ],
      [
        'bad size',
        406,
        "invalid key size for 'AES256'",
        'PUT',
        '/v1/key/import/x',
        '{"cipher":"AES256","key":"AA=="}',
      ],
      ['unknown policy', 404, 'policy does not exist', 'GET', '/v1/policy/read/none'],
      ['unknown identity', 404, 'identity does not exist', 'GET', '/v1/identity/describe/none'],
    ];
    for (const [what, status, message, method, path, body] of refusals) {
      void test(`${what}: ${method} ${path} is ${status}`, async () => {
        const answer = await call(admin, method, path, body);
        assert.equal(answer.status, status);
        assert.equal(answer.body, errorBody(message));
        assert.equal(answer.headers['content-type'], 'application/json');
        assert.equal(Number(answer.headers['content-length']), Buffer.byteLength(answer.body));
        if (status === 405)
          assert.match(message, new RegExp(`'${String(answer.headers['accept'])}'$`));
      });
    }

    void test('unknown paths are a plain 404', async () => {
      const answer = await call(admin, 'GET', '/v1/nothing');
      assert.equal(answer.status, 404);
      assert.equal(answer.body, '404 page not found\n');
      assert.equal(answer.headers['content-type'], 'text/plain; charset=utf-8');
    });

    void test('unclean paths are redirected', async () => {
      const answer = await call(admin, 'GET', '/v1//status');
      assert.equal(answer.status, 301);
      assert.equal(answer.headers['location'], '/v1/status');
    });

    void test('keys are created, used, described, listed and deleted', async () => {
      const created = await call(admin, 'POST', '/v1/key/create/round-trip');
      assert.deepEqual([created.status, created.body], [200, '']);
      assert.equal(Number(created.headers['content-length']), 0);
      assert.equal(created.headers['content-type'], undefined);
      const context = base64('{"b":"b/o"}');
      const generated = await call(admin, 'POST', '/v1/key/generate/round-trip', json({ context }));
      assert.equal(generated.headers['content-type'], 'application/json');
      assert.ok(generated.body.endsWith('}\n'));
      const { plaintext, ciphertext } = JSON.parse(generated.body) as Record<string, string>;
      const body = json({ ciphertext, context, version: 1, unknown: {} });
      const decrypted = await call(admin, 'POST', '/v1/key/decrypt/round-trip', body);
      assert.equal(decrypted.body, `{"plaintext":"${plaintext}"}\n`);
      const described = await call(admin, 'GET', '/v1/key/describe/round-trip');
      const { created_at: createdAt, ...info } = JSON.parse(described.body) as Record<
        string,
        unknown
      >;
      assert.deepEqual(info, {
        name: 'round-trip',
        algorithm: 'AES256',
        created_by: admin.identity,
      });
      assert.ok(!Number.isNaN(Date.parse(String(createdAt))));
      const listed = await call(admin, 'GET', '/v1/key/list/round*');
      assert.deepEqual(JSON.parse(listed.body), { names: ['round-trip'] });
      assert.equal((await call(admin, 'DELETE', '/v1/key/delete/round-trip')).status, 200);
      assert.equal((await call(admin, 'POST', '/v1/key/decrypt/round-trip', body)).status, 404);
    });

    void test('generate works without a body, encrypt without a plaintext', async () => {
      assert.equal((await call(admin, 'PUT', '/v1/key/generate/app-key')).status, 200);
      const encrypted = await call(admin, 'PUT', '/v1/key/encrypt/app-key', '{}');
      const decrypted = await call(admin, 'PUT', '/v1/key/decrypt/app-key', encrypted.body);
      assert.equal(decrypted.body, '{"plaintext":""}\n');
    });

    void test('an imported key works, and takes an HMAC', async () => {
      const key = Buffer.alloc(32, 1).toString('base64');
      const body = json({ key, cipher: 'ChaCha20' });
      assert.equal((await call(admin, 'PUT', '/v1/key/import/imported', body)).status, 200);
      const hmac = await call(
        admin,
        'PUT',
        '/v1/key/hmac/imported',
        json({ message: base64('m') }),
      );
      const sum = (JSON.parse(hmac.body) as { hmac: string }).hmac;
      assert.equal(Buffer.from(sum, 'base64').length, 32);
      const info = await call(admin, 'GET', '/v1/key/describe/imported');
      assert.match(info.body, /"algorithm":"ChaCha20"/);
    });

    void test('a body beyond the limit is refused, and the connection stays usable', async () => {
      const body = json({ ciphertext: base64('x'.repeat(1_500_000)) });
      const answer = await call(admin, 'PUT', '/v1/key/decrypt/app-key', body).catch(
        (error: Error) => error,
      );
      if (!(answer instanceof Error)) assert.equal(answer.body, errorBody('invalid request body'));
      assert.equal((await call(admin, 'GET', '/v1/ready')).status, 200);
    });

    void test('routes without a body ignore what is sent', async () => {
      const answer = await call(admin, 'PUT', '/v1/key/create/with-body', 'x'.repeat(100_000));
      assert.equal(answer.status, 200);
    });

    void test('policies decide, and who may not learns nothing about names', async () => {
      const denied = errorBody(kesErrors.notAllowed.message);
      const expectations: [KesApiKey, string, string, number][] = [
        [app, 'PUT', '/v1/key/generate/app-key', 200],
        [app, 'PUT', '/v1/key/generate/other', 403],
        [app, 'PUT', '/v1/key/generate/..bad..', 403],
        [app, 'PUT', '/v1/key/decrypt/app-secret-1', 403],
        [app, 'PUT', '/v1/key/create/app-key', 403],
        [app, 'GET', '/v1/key/list/app*', 200],
        [app, 'GET', '/v1/key/list/', 403],
        [app, 'GET', '/v1/status', 200],
        [app, 'GET', '/v1/metrics', 403],
        [stranger, 'GET', '/v1/status', 403],
        [stranger, 'PUT', '/v1/key/generate/app-key', 403],
        [stranger, 'GET', '/version', 200],
      ];
      for (const [apiKey, method, path, status] of expectations) {
        const answer = await call(apiKey, method, path);
        assert.equal(answer.status, status, `${method} ${path}`);
        if (status === 403) assert.equal(answer.body, denied);
      }
    });

    void test('the date is told, the server is not', async () => {
      const { headers } = await call(admin, 'GET', '/version');
      assert.ok(!Number.isNaN(Date.parse(String(headers['date']))));
      assert.equal(headers['server'], undefined);
    });

    void test('HEAD is no GET', async () => {
      const answer = await call(admin, 'HEAD', '/v1/status');
      assert.equal(answer.status, 405);
      assert.equal(answer.body, '');
    });

    void test('self-description is for everybody who is known', async () => {
      const self = await call(app, 'GET', '/v1/identity/self/describe');
      assert.partialDeepStrictEqual(JSON.parse(self.body), {
        identity: app.identity,
        policy: 'app',
        allow: { '/v1/status': {} },
      });
      const own = await call(admin, 'GET', '/v1/identity/self/describe');
      assert.partialDeepStrictEqual(JSON.parse(own.body), {
        identity: admin.identity,
        admin: true,
      });
      assert.equal((await call(stranger, 'GET', '/v1/identity/self/describe')).status, 404);
    });

    void test('policies and identities are described and listed', async () => {
      const bodyOf = async (path: string) =>
        JSON.parse((await call(admin, 'GET', path)).body) as object;
      assert.partialDeepStrictEqual(await bodyOf('/v1/policy/read/app'), {
        name: 'app',
        allow: { '/v1/status': {} },
        deny: { '/v1/key/decrypt/app-secret*': {} },
        created_by: admin.identity,
      });
      assert.partialDeepStrictEqual(await bodyOf('/v1/policy/describe/app'), { name: 'app' });
      assert.deepEqual(await bodyOf('/v1/policy/list/a*'), { names: ['app'], continue_at: '' });
      const { identities } = (await bodyOf('/v1/identity/list')) as { identities: string[] };
      assert.deepEqual(identities, [admin.identity, app.identity].toSorted());
      assert.partialDeepStrictEqual(await bodyOf(`/v1/identity/describe/${app.identity}`), {
        policy: 'app',
      });
      assert.partialDeepStrictEqual(await bodyOf(`/v1/identity/describe/${admin.identity}`), {
        admin: true,
      });
    });

    void test('status, version, routes and metrics have the shape clients decode', async () => {
      const status = JSON.parse((await call(admin, 'GET', '/v1/status')).body) as Record<
        string,
        unknown
      >;
      for (const name of ['uptime', 'num_cpu', 'num_cpu_used', 'mem_heap_used', 'mem_stack_used']) {
        assert.ok(Number.isSafeInteger(status[name]) && Number(status[name]) >= 0, name);
      }
      assert.ok(Number(status['keystore_latency']) >= 1);
      assert.equal(status['keystore_unreachable'], undefined);
      const api = JSON.parse((await call(admin, 'GET', '/v1/api')).body) as { path: string }[];
      assert.ok(api.some(({ path }) => path === '/v1/batch/key'));
      const metrics = await call(admin, 'GET', '/v1/metrics');
      assert.match(metrics.body, /^kes_http_request_success\{code="200"\} [1-9]/m);
      assert.match(metrics.body, /^kes_http_response_time_bucket\{le="0\.01"\} /m);
      for (const family of metrics.body.matchAll(/^# TYPE (\S+)/gm)) {
        assert.match(
          metrics.body,
          new RegExp(`^${family[1]}(_count)?(\\{[^}]*\\})? [0-9.e+]+$`, 'm'),
        );
      }
    });

    void test('each call of a batch is authorised, answered and audited by itself', async () => {
      const generated = await call(app, 'PUT', '/v1/key/generate/app-key');
      const { ciphertext, plaintext } = JSON.parse(generated.body) as Record<string, string>;
      const calls = [
        { op: 'decrypt', name: 'app-key', ciphertext },
        { op: 'generate', name: 'app-key', context: base64('c') },
        { op: 'generate', name: 'other' },
        { op: 'decrypt', name: 'app-secret-1', ciphertext },
        { op: 'generate', name: 'app-none' },
        { op: 'decrypt', name: 'app-key', ciphertext: 'AA==' },
        { op: 'decrypt', name: 'app-key', ciphertext: '?' },
      ];
      events.length = 0;
      const answer = await call(app, 'PUT', '/v1/batch/key', json({ calls }));
      const { results } = JSON.parse(answer.body) as { results: Record<string, unknown>[] };
      assert.deepEqual(results[0], { status: 200, plaintext });
      assert.equal(results[1]?.['status'], 200);
      assert.deepEqual(results.slice(2), [
        kesErrors.notAllowed,
        kesErrors.notAllowed,
        kesErrors.keyNotFound,
        kesErrors.decrypt,
        { status: 400, message: 'invalid request body' },
      ]);
      assert.deepEqual(events.map(({ path, status }) => `${path} ${status}`).toSorted(), [
        '/v1/batch/key 200',
        '/v1/key/decrypt/app-key 200',
        '/v1/key/decrypt/app-key 400',
        '/v1/key/decrypt/app-key 400',
        '/v1/key/decrypt/app-secret-1 403',
        '/v1/key/generate/app-key 200',
        '/v1/key/generate/app-none 404',
        '/v1/key/generate/other 403',
      ]);
      assert.ok(events.every(({ identity }) => identity === app.identity));
    });

    void test('every request is audited, refused ones too', async () => {
      events.length = 0;
      await call(stranger, 'PUT', '/v1/key/delete/x');
      await call(stranger, 'DELETE', '/v1/key/delete/x');
      await call(admin, 'DELETE', '/v1/key/delete/x');
      assert.deepEqual(
        events.map((event) => [event.method, event.path, event.status, event.identity]),
        [
          ['PUT', '/v1/key/delete/x', 405, stranger.identity],
          ['DELETE', '/v1/key/delete/x', 403, stranger.identity],
          ['DELETE', '/v1/key/delete/x', 404, admin.identity],
        ],
      );
      assert.ok(events.every(({ ip, durationMs }) => ip === '127.0.0.1' && durationMs >= 0));
    });
  });
}

void describe('disabling keys', () => {
  void test('holds until the key is enabled, across a restart', async () => {
    const path = await mkdtemp(join(tmpdir(), 'coffer-kes-'));
    try {
      const keyStore = { type: 'fs', path } as const;
      let server = await start({ keyStore });
      let session = open(server, admin);
      const call = (method: string, target: string, body?: string) =>
        callHttp2(session, { method, path: target, ...(body === undefined ? {} : { body }) });
      const before = await readFile(join(path, 'app-key'), 'utf8');
      const generated = await call('PUT', '/v1/key/generate/app-key');
      assert.equal((await call('PUT', '/v1/key/disable/app-key')).status, 200);
      for (let round = 0; round < 2; round += 1) {
        for (const operation of ['generate', 'encrypt', 'decrypt', 'hmac']) {
          const answer = await call('PUT', `/v1/key/${operation}/app-key`, generated.body);
          assert.equal(answer.status, 403);
          assert.equal(answer.body, errorBody(kesErrors.keyDisabled.message));
        }
        assert.match((await call('GET', '/v1/key/describe/app-key')).body, /"state":"disabled"/);
        assert.deepEqual(JSON.parse((await call('GET', '/v1/key/list/')).body), {
          names: ['app-key'],
          disabled: ['app-key'],
        });
        session.close();
        await server.close();
        server = await start({ keyStore });
        session = open(server, admin);
      }
      assert.equal((await call('PUT', '/v1/key/enable/app-key')).status, 200);
      assert.equal((await call('PUT', '/v1/key/decrypt/app-key', generated.body)).status, 200);
      assert.equal(await readFile(join(path, 'app-key'), 'utf8'), before);
      session.close();
      await server.close();
    } finally {
      await rm(path, { recursive: true });
    }
  });

  void test('a key file that another program removes is refused within a second', async () => {
    const path = await mkdtemp(join(tmpdir(), 'coffer-kes-'));
    const server = await start({ keyStore: { type: 'fs', path } });
    const session = open(server, admin);
    try {
      const generate = { method: 'PUT', path: '/v1/key/generate/app-key' };
      assert.equal((await callHttp2(session, generate)).status, 200);
      await rm(join(path, 'app-key'));
      await sleep(1_000);
      assert.equal((await callHttp2(session, generate)).status, 404);
    } finally {
      session.close();
      await server.close();
      await rm(path, { recursive: true });
    }
  });

  void test('of many creators over the network exactly one wins', async () => {
    const path = await mkdtemp(join(tmpdir(), 'coffer-kes-'));
    const servers = await Promise.all(
      [1, 2].map(async () => start({ keys: [] }, { keyStore: await openFileKeyStore(path) })),
    );
    const sessions = servers.map((server) => open(server, admin));
    try {
      const answers = await Promise.all(
        sessions.flatMap((session) =>
          Array.from({ length: 10 }, () =>
            callHttp2(session, { method: 'PUT', path: '/v1/key/create/x' }),
          ),
        ),
      );
      assert.equal(answers.filter(({ status }) => status === 200).length, 1);
      assert.equal(answers.filter(({ status }) => status === 400).length, 19);
      assert.deepEqual(await readdir(path), ['x']);
    } finally {
      for (const session of sessions) session.close();
      await Promise.all(servers.map((server) => server.close()));
      await rm(path, { recursive: true });
    }
  });
});

void describe('client certificates', () => {
  void test('without one the connection is refused', async () => {
    const server = await start();
    await assert.rejects(callHttp1(server, undefined, { method: 'GET', path: '/version' }));
    const session = open(server);
    await assert.rejects(callHttp2(session, { method: 'GET', path: '/version' }));
    session.destroy();
    await server.close();
  });

  void test('with skip_auth on any route they are optional, and protected routes still want one', async () => {
    const api = new Map([['/v1/ready', { timeoutMs: 0, skipAuth: true }]]);
    const server = await start({ api });
    const get = (path: string) => callHttp1(server, undefined, { method: 'GET', path });
    assert.equal((await get('/v1/ready')).status, 200);
    assert.equal((await get('/version')).status, 200);
    const refused = await get('/v1/status');
    assert.equal(refused.status, 400);
    assert.equal(refused.body, errorBody('tls: client certificate is required'));
    const batch = json({ calls: [{ op: 'generate', name: 'app-key' }] });
    const answer = await callHttp1(server, undefined, {
      method: 'PUT',
      path: '/v1/batch/key',
      body: batch,
    });
    assert.match(answer.body, /"status":400,"message":"tls: client certificate is required"/);
    await server.close();
  });

  void test('with verification only trusted ones get in', async () => {
    const trusted = filesOf(app);
    const tls = { ...baseConfig.tls, auth: 'on' } as const;
    const server = await start({ tls }, { tls: { ...serverFiles, roots: [trusted.cert] } });
    const agent = { rejectUnauthorized: false };
    const url = `https://127.0.0.1:${server.address.port}`;
    const good = connect(url, { ...trusted, ...agent });
    assert.equal((await callHttp2(good, { method: 'GET', path: '/v1/status' })).status, 200);
    const bad = open(server, stranger);
    await assert.rejects(callHttp2(bad, { method: 'GET', path: '/version' }));
    good.close();
    bad.destroy();
    await server.close();
  });

  void test('no CA names are advertised while certificates are not verified', async () => {
    const server = await start();
    const socket = tlsConnect({
      port: server.address.port,
      host: '127.0.0.1',
      rejectUnauthorized: false,
      ...filesOf(app),
    });
    await new Promise<void>((resolve) => socket.once('secureConnect', () => resolve()));
    assert.equal(socket.getProtocol(), 'TLSv1.3');
    socket.destroy();
    await server.close();
  });

  void test('a listed proxy speaks for the client it forwards, others cannot', async () => {
    const tls = {
      ...baseConfig.tls,
      proxy: { identities: [proxy.identity], certHeader: 'X-Tls-Client-Cert' },
    };
    const events: AuditEvent[] = [];
    const server = await start({ tls }, { audit: { record: (event) => events.push(event) } });
    const forwarded = encodeURIComponent(filesOf(app).cert);
    const ask = (apiKey: KesApiKey, headers: Record<string, string>) => {
      const session = open(server, apiKey);
      return new Promise<number>((resolve, reject) => {
        const stream = session.request({ ':path': '/v1/status', ...headers });
        stream.on('response', (received) => resolve(Number(received[':status'])));
        stream.on('error', reject);
        stream.on('close', () => session.close());
        stream.resume();
      });
    };
    const header = { 'x-tls-client-cert': forwarded, 'x-forwarded-for': '10.1.2.3:55, 10.0.0.1' };
    assert.equal(await ask(proxy, header), 200);
    assert.deepEqual([events[0]?.identity, events[0]?.ip], [app.identity, '10.1.2.3']);
    assert.equal(await ask(proxy, {}), 400);
    assert.equal(await ask(proxy, { 'x-tls-client-cert': 'AAAA' }), 400);
    assert.equal(await ask(stranger, header), 403);
    await server.close();
  });
});

void describe('resumed TLS sessions', () => {
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    void test(`keep the client's identity with ${maxVersion}`, async () => {
      const events: AuditEvent[] = [];
      const server = await start({}, { audit: { record: (event) => events.push(event) } });
      const ask = (session: Buffer | undefined) =>
        new Promise<{ session: Buffer | undefined; isReused: boolean }>((resolve, reject) => {
          const socket = tlsConnect({
            port: server.address.port,
            host: '127.0.0.1',
            rejectUnauthorized: false,
            maxVersion,
            ALPNProtocols: ['http/1.1'],
            ...(session === undefined ? {} : { session }),
            ...filesOf(app),
          });
          let ticket = maxVersion === 'TLSv1.2' ? undefined : session;
          socket.on('session', (received: Buffer) => {
            ticket = received;
          });
          socket.on('error', reject);
          socket.write('GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
          socket.resume();
          let isReused = false;
          socket.on('secureConnect', () => {
            isReused = socket.isSessionReused();
          });
          socket.on('close', () => resolve({ session: ticket, isReused }));
        });
      const first = await ask(undefined);
      const second = await ask(first.session);
      assert.equal(second.isReused, true);
      assert.deepEqual(
        events.map(({ status, identity }) => [status, identity]),
        [
          [200, app.identity],
          [200, app.identity],
        ],
      );
      await server.close();
    });
  }
});

void describe('log streams', () => {
  void test('deliver audit events and error lines as they happen', async () => {
    const hubs = { error: new LineHub(), audit: new LineHub() };
    const writer = new LineWriter({ write: () => true });
    const metrics = new KesMetrics({ nowMs: Date.now });
    const deps = { writer, metrics, nowMs: Date.now };
    const server = await start(
      {},
      {
        hubs,
        metrics,
        log: createKesLog(() => 0, { ...deps, hub: hubs.error }),
        audit: createAuditLog(() => 0, { ...deps, hub: hubs.audit }),
      },
    );
    const session = open(server, admin);
    const firstLine = (path: string) => {
      const stream = session.request({ ':path': path });
      const opened = new Promise<void>((resolve) => stream.once('response', () => resolve()));
      const line = new Promise<string>((resolve) => {
        stream.once('data', (chunk: Buffer) => {
          stream.close();
          resolve(chunk.toString('utf8').split('\n')[0] ?? '');
        });
      });
      return { opened, line };
    };
    const errors = firstLine('/v1/log/error');
    await errors.opened;
    const audit = firstLine('/v1/log/audit');
    await audit.opened;
    await callHttp2(session, { method: 'GET', path: '/v1/key/describe/app-key' });
    const isDescribe = JSON.parse(await audit.line) as Record<string, unknown>;
    assert.partialDeepStrictEqual(isDescribe, {
      request: { ip: '127.0.0.1', identity: admin.identity },
      response: { code: 200 },
    });
    await callHttp1(server, undefined, { method: 'GET', path: '/version' }).catch(() => {});
    assert.match(
      await errors.line,
      /^\{"message":"time=.* level=INFO msg=\\"TLS handshake refused/,
    );
    session.close();
    await server.close();
  });
});

void describe('limits', () => {
  void test('a request that outlives its route is cut off without an answer', async () => {
    const api = new Map([['/v1/key/decrypt/', { timeoutMs: 100, skipAuth: false }]]);
    const server = await start({ api });
    const session = open(server, admin);
    const stream = session.request({ ':method': 'PUT', ':path': '/v1/key/decrypt/app-key' });
    stream.write('{"ciphertext":"');
    const code = await new Promise((resolve) => {
      stream.on('error', () => {});
      stream.on('close', () => resolve(stream.rstCode));
    });
    assert.equal(code, constants.NGHTTP2_CANCEL);
    session.close();
    await server.close();
  });

  void test('a client that never finishes its header is cut off', { timeout: 20_000 }, async () => {
    const server = await start();
    const socket = tlsConnect({
      port: server.address.port,
      host: '127.0.0.1',
      rejectUnauthorized: false,
      ALPNProtocols: ['http/1.1'],
      ...filesOf(admin),
    });
    socket.write('GET /version HTTP/1.1\r\nHost: x\r\n');
    socket.on('error', () => {});
    socket.resume();
    await new Promise<void>((resolve) => socket.on('close', () => resolve()));
    await server.close();
  });

  void test('garbage instead of HTTP or TLS does no harm', async () => {
    const server = await start();
    const files = filesOf(admin);
    const at = { port: server.address.port, host: '127.0.0.1', rejectUnauthorized: false };
    for (const ALPNProtocols of [['h2'], ['http/1.1']]) {
      const socket = tlsConnect({ ...at, ...files, ALPNProtocols });
      socket.on('error', () => {});
      socket.write('\0garbage\r\n\r\n'.repeat(50));
      socket.resume();
      await new Promise<void>((resolve) => socket.on('close', () => resolve()));
    }
    assert.equal((await callHttp1(server, admin, { method: 'GET', path: '/version' })).status, 200);
    await server.close();
  });
});

void describe('trouble with the key store', () => {
  void test('is a 502 or 504 with the documented text, and shows in status', async () => {
    const keyStore = new MemoryKeyStore();
    const server = await start({ keys: [] }, { keyStore });
    const session = open(server, admin);
    const fail = async () => {
      throw new KeyStoreError('unreachable', 'the disk is gone');
    };
    Object.assign(keyStore, { get: fail, create: fail, list: fail, delete: fail });
    keyStore.status = async () => ({ state: 'unreachable', reason: 'the disk is gone' });
    const bodyOf = async (method: string, path: string) => {
      const answer = await callHttp2(session, { method, path });
      return `${answer.status} ${answer.body}`;
    };
    const expectations: [string, string, number, string][] = [
      ['PUT', '/v1/key/create/x', 502, 'failed to create key'],
      ['GET', '/v1/key/describe/x', 502, 'failed to read key'],
      ['PUT', '/v1/key/generate/x', 502, 'failed to read key'],
      ['GET', '/v1/key/list/', 502, 'failed to list keys'],
      ['DELETE', '/v1/key/delete/x', 502, 'failed to delete key'],
      ['GET', '/v1/ready', 504, 'key store is not reachable'],
    ];
    for (const [method, path, status, message] of expectations) {
      assert.equal(await bodyOf(method, path), `${status} ${errorBody(message)}`);
    }
    const status = await callHttp2(session, { method: 'GET', path: '/v1/status' });
    assert.match(status.body, /"keystore_unreachable":true,"keystore_unavailable":true/);
    keyStore.status = async () => ({ state: 'unavailable', reason: 'broken' });
    assert.equal(await bodyOf('GET', '/v1/ready'), `502 ${errorBody('key store is unavailable')}`);
    session.close();
    await server.close();
  });
});

void describe('reloading', () => {
  void test('takes the new policies and keeps keys and connections; a bad one changes nothing', async () => {
    const server = await start();
    const session = open(server, stranger);
    const generate = { method: 'PUT', path: '/v1/key/generate/app-key' };
    assert.equal((await callHttp2(session, generate)).status, 403);
    const policy = { name: 'new', allow: ['/v1/key/*'], deny: [], identities: [stranger.identity] };
    await server.reload({ ...baseConfig, policies: [policy] });
    assert.equal((await callHttp2(session, generate)).status, 200);
    const denyAll = { ...policy, deny: ['/v1/*/x'] };
    await assert.rejects(server.reload({ ...baseConfig, policies: [denyAll] }), /protect nothing/);
    assert.equal((await callHttp2(session, generate)).status, 200);
    session.close();
    await server.close();
  });

  void test('starting fails clearly, and leaves nothing open', async () => {
    const server = await start();
    const address = `127.0.0.1:${server.address.port}`;
    await assert.rejects(start({ address }), { code: 'EADDRINUSE' });
    await assert.rejects(start({ keyStore: { type: 'vault', settings: {} } }), /not available/);
    const path = await mkdtemp(join(tmpdir(), 'coffer-kes-'));
    await writeFile(join(path, 'file'), '');
    const keyStore = { type: 'fs', path: join(path, 'file') } as const;
    await assert.rejects(start({ keyStore }), /cannot open key directory/);
    await rm(path, { recursive: true });
    await server.close();
  });
});
