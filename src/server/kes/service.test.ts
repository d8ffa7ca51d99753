import assert from 'node:assert/strict';
import type { ClientHttp2Session } from 'node:http2';
import { after, before, describe, test } from 'node:test';
import {
  type Answer,
  callHttp2,
  createKesFixture,
  kesErrorBody,
} from '../../../test/support/kes-server.ts';
import type { AuditEvent } from '../../kes/audit/audit.ts';
import { kesErrors } from '../../wire/kes.ts';
import type { KesApiKey } from '../../wire/kes-identity.ts';
import type { KesServer } from './service.ts';

const kes = await createKesFixture();
const { admin, app, stranger, start, open, callHttp1 } = kes;
after(() => kes.closeAll());

const json = (value: unknown) => JSON.stringify(value);
const base64 = (text: string) => Buffer.from(text).toString('base64');

for (const version of ['HTTP/2', 'HTTP/1.1'] as const) {
  void describe(`a key service over ${version}`, () => {
    let server: KesServer;
    const events: AuditEvent[] = [];
    const sessions = new Map<KesApiKey, ClientHttp2Session>();

    before(async () => {
      server = await start({}, { audit: { record: (event) => void events.push(event) } });
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
        assert.equal(answer.body, kesErrorBody(message));
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
      const {
        created_at: createdAt,
        id,
        fingerprint,
        ...info
      } = JSON.parse(described.body) as Record<string, unknown>;
      assert.match(`${String(id)} ${String(fingerprint)}`, /^[0-9a-f]{32} [0-9a-f]{32}$/);
      assert.deepEqual(info, {
        name: 'round-trip',
        algorithm: 'AES256',
        created_by: admin.identity,
        version: 1,
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
      if (!(answer instanceof Error))
        assert.equal(answer.body, kesErrorBody('invalid request body'));
      assert.equal((await call(admin, 'GET', '/v1/ready')).status, 200);
    });

    void test('routes without a body ignore what is sent', async () => {
      const answer = await call(admin, 'PUT', '/v1/key/create/with-body', 'x'.repeat(100_000));
      assert.equal(answer.status, 200);
    });

    void test('policies decide, and who may not learns nothing about names', async () => {
      const denied = kesErrorBody(kesErrors.notAllowed.message);
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

    void test('old clients decrypt in bulk, by a permission of its own', async () => {
      const sealed = [];
      for (let count = 0; count < 3; count += 1) {
        const generated = await call(app, 'PUT', '/v1/key/generate/app-key');
        sealed.push(JSON.parse(generated.body) as { plaintext: string; ciphertext: string });
      }
      const path = '/v1/key/bulk/decrypt/app-key';
      const ask = (entries: unknown, apiKey = admin) => call(apiKey, 'POST', path, json(entries));
      const entries = sealed.map(({ ciphertext }) => ({ ciphertext }));
      const opened = await ask(entries);
      const expected = sealed.map(({ plaintext }) => ({ plaintext }));
      assert.deepEqual(JSON.parse(opened.body), expected);
      assert.equal((await ask([])).body, '[]\n');
      assert.equal((await ask(entries, app)).status, 403);
      const forged = await ask([...entries, { ciphertext: 'AA==' }]);
      assert.deepEqual(
        [forged.status, forged.body],
        [400, kesErrorBody(kesErrors.decrypt.message)],
      );
      assert.equal((await ask({ ciphertext: 'AA==' })).status, 400);
      const many = await ask(Array.from({ length: 1_001 }, () => ({ ciphertext: 'AA==' })));
      assert.match(many.body, /at most 1000 at once/);
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
