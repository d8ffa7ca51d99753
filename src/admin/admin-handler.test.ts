import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createServer, request } from 'node:http';
import { test } from 'node:test';

import { silentLog } from '../base/log.ts';
import { rootIdentity } from '../iam/identity.ts';
import { type DataKey, type Kms, KmsError } from '../sse/kms.ts';
import type { ObjectStore } from '../store/types.ts';
import type { ServiceAction } from '../wire/admin.ts';
import { createAdminHandler } from './admin-handler.ts';
import type { AdminParts, ServerFacts } from './call.ts';
import { adminRoutes, findAdminRoute, isAdminPath } from './routes.ts';

const facts: ServerFacts = {
  version: '1.2.3',
  runtimeVersion: 'node v26',
  deploymentId: 'deployment',
  region: '',
  domains: [],
  scheme: 'http',
  startedMs: 1_000,
  processors: 2,
  memory: { residentBytes: 10, heapBytes: 5 },
  drive: {
    path: '/data',
    totalBytes: 100,
    availableBytes: 60,
    inodesTotal: 10,
    inodesFree: 4,
  },
};

/** A key service of two keys, `good` and `off`, that remembers what was created. */
function fakeKms(): Kms & { readonly created: string[] } {
  const created: string[] = [];
  const requireGood = (keyName: string): void => {
    if (keyName === 'good') return;
    if (keyName === 'off') throw new KmsError('key-disabled', 'disabled', { keyName });
    if (keyName === 'down') throw new KmsError('unreachable', 'connect refused', { keyName });
    throw new KmsError('key-not-found', 'no such key', { keyName });
  };
  return {
    created,
    defaultKeyName: 'good',
    generateKey: async (keyName): Promise<DataKey> => {
      requireGood(keyName);
      return { plaintext: new Uint8Array(32), ciphertext: new Uint8Array(76), keyName };
    },
    decrypt: async (keyName) => {
      requireGood(keyName);
      return new Uint8Array(32);
    },
    createKey: async (keyName) => {
      if (keyName === 'good') throw new KmsError('key-exists', 'exists', { keyName });
      created.push(keyName);
    },
    listKeys: async (prefix) =>
      [
        { name: 'good', state: 'enabled' as const, createdAt: '2026-01-01T00:00:00Z' },
        { name: 'off', state: 'disabled' as const },
      ].filter((key) => key.name.startsWith(prefix)),
    describeKey: async (keyName) => {
      if (keyName === 'off') return { name: keyName, state: 'disabled' };
      requireGood(keyName);
      return { name: keyName, state: 'enabled' };
    },
    status: async () => ({
      name: 'MinIO KES',
      defaultKeyName: 'good',
      endpoints: { 'https://kes:7373': 'online' },
    }),
    close: async () => {},
  };
}

type Setup = {
  readonly kms?: Kms;
  readonly hasStore?: boolean;
  readonly denied?: readonly string[];
  readonly refusal?: string;
};

async function start(setup: Setup) {
  const acts: ServiceAction[] = [];
  const store = {
    totals: async () => ({
      buckets: 1,
      objects: 2,
      bytes: 3,
      versions: 2,
      deleteMarkers: 0,
      byBucket: new Map([['photos', { objects: 2, bytes: 3, versions: 2, deleteMarkers: 0 }]]),
    }),
    keyUsage: async () => ({ objects: 4, bytes: 5 }),
  } as unknown as ObjectStore; // The handlers under test use nothing else of it.
  const parts: AdminParts = {
    log: silentLog,
    store: setup.hasStore === false ? undefined : store,
    accounts: undefined,
    kms: setup.kms,
    facts: async () => facts,
    kmsMetrics: () => ({
      kms_req_success: 1,
      kms_req_error: 0,
      kms_req_failure: 0,
      kms_resp_time: {},
    }),
    restart: async () => {
      acts.push('restart');
      return setup.refusal;
    },
    act: (action) => acts.push(action),
    isAllowed: (_identity, action, keyName) =>
      !setup.denied?.includes(keyName === undefined ? action : `${action} ${keyName}`),
    isDenied: () => false,
    isRoot: (accessKey) => accessKey === 'root',
    now: () => 61_000,
  };
  const handler = createAdminHandler({
    parts: () => parts,
    authenticate: async (req) => ({
      identity: rootIdentity('root'),
      secretKey: 'root-secret',
      bodySha256: String(req.headers['x-amz-content-sha256']),
    }),
  });
  const server = createServer((req, res) => void handler(req, res));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (typeof address !== 'object' || address === null) throw new Error('no port');
  const call = (method: string, path: string, options: CallOptions = {}) =>
    send({ port: address.port, method, path, ...options });
  return { acts, call, [Symbol.asyncDispose]: async () => void server.close() };
}

void test('data usage names every bucket', async () => {
  await using server = await start({});
  const answer = await server.call('GET', '/minio/admin/v3/datausageinfo?capacity=true');
  const usage = answer.json;
  assert.equal(usage['objectsCount'], 2);
  assert.equal(usage['bucketsCount'], 1);
  const photos = { size: 3, objectsCount: 2, versionsCount: 2, deleteMarkersCount: 0 };
  assert.deepEqual(usage['bucketsUsageInfo'], { photos });
  assert.deepEqual(usage['bucketsSizes'], { photos: 3 });
});

type CallOptions = {
  readonly body?: string;
  readonly isChunked?: boolean;
  readonly sha256?: string;
};

function send(call: CallOptions & { port: number; method: string; path: string }) {
  const body = call.body ?? '';
  const sha256 = call.sha256 ?? createHash('sha256').update(body).digest('hex');
  const headers = {
    'x-amz-content-sha256': sha256,
    ...(call.isChunked ? { 'transfer-encoding': 'chunked' } : {}),
  };
  const { port, method, path } = call;
  return new Promise<{ status: number; text: string; json: Record<string, unknown> }>(
    (resolve, reject) => {
      const req = request({ host: '127.0.0.1', port, method, path, headers, agent: false });
      req.on('error', reject);
      req.on('response', (res) => {
        let text = '';
        res.setEncoding('utf8');
        res.on('data', (chunk: string) => {
          text += chunk;
        });
        res.on('end', () => {
          const json = text === '' ? {} : (JSON.parse(text) as Record<string, unknown>);
          resolve({ status: res.statusCode ?? 0, text, json });
        });
      });
      req.end(body);
    },
  );
}

void test('every route is found under its prefixes, by its method only', () => {
  for (const route of adminRoutes) {
    const prefixes =
      route.under === 'kms' ? ['/minio/kms/v1'] : ['/minio/admin/v3', '/minio/admin/v4'];
    for (const prefix of prefixes) {
      assert.equal(findAdminRoute(route.method, prefix + route.path), route);
      assert.equal(findAdminRoute('PATCH', prefix + route.path), undefined);
    }
  }
  assert.equal(findAdminRoute('GET', '/minio/admin/v2/info'), undefined);
  assert.ok(isAdminPath('/minio/admin/v9/x'));
  assert.ok(!isAdminPath('/minio/administration'));
});

void test('an unknown admin call answers 426 as JSON without ids', async () => {
  await using server = await start({});
  const answer = await server.call('GET', '/minio/admin/v3/pools/list');
  assert.equal(answer.status, 426);
  assert.equal(answer.json['Code'], 'XMinioAdminVersionMismatch');
  assert.equal(answer.json['RequestId'], '');
});

void test('service calls act, and a dry run does not', async () => {
  await using server = await start({});
  const target = '/minio/admin/v3/service?action=restart&dry-run=false&type=2';
  const restart = await server.call('POST', target, { isChunked: true });
  assert.equal(restart.status, 200);
  assert.equal(restart.json['action'], 'restart');
  assert.ok(Array.isArray(restart.json['results']));
  const old = await server.call('POST', '/minio/admin/v4/service?action=stop');
  assert.deepEqual([old.status, old.text], [200, '']);
  await server.call('POST', '/minio/admin/v3/service?action=stop&dry-run=true&type=2');
  const freeze = await server.call('POST', '/minio/admin/v3/service?action=freeze&type=2');
  assert.deepEqual(freeze.json, { action: 'freeze', dryRun: false });
  const unknown = await server.call('POST', '/minio/admin/v3/service?action=dance&type=2');
  assert.deepEqual([unknown.status, unknown.json['Code']], [400, 'MalformedPOSTRequest']);
  assert.deepEqual(server.acts, ['restart', 'stop', 'freeze']);
});

void test('a restart that was refused is a definite error with the reason', async () => {
  await using server = await start({ refusal: 'kms: no key' });
  const answer = await server.call('POST', '/minio/admin/v3/service?action=restart&type=2');
  assert.deepEqual([answer.status, answer.json['Code']], [409, 'XCofferRestartRefused']);
  assert.match(String(answer.json['Message']), /goes on as before: kms: no key/);
});

void test('a body that is not the one that was signed is refused', async () => {
  await using server = await start({});
  const target = '/minio/admin/v3/service?action=restart&type=2';
  const answer = await server.call('POST', target, { body: 'x', sha256: '0'.repeat(64) });
  assert.deepEqual([answer.status, answer.json['Code']], [400, 'XAmzContentSHA256Mismatch']);
  assert.deepEqual(server.acts, []);
});

void test('what the caller may not do answers 403', async () => {
  await using server = await start({
    kms: fakeKms(),
    denied: ['admin:ServiceRestart', 'admin:ServerInfo', 'kms:ListKeys off', 'kms:CreateKey new'],
  });
  const refused = [
    ['POST', '/minio/admin/v3/service?action=restart'],
    ['GET', '/minio/admin/v3/info'],
    ['POST', '/minio/kms/v1/key/create?key-id=new'],
  ] as const;
  for (const [method, path] of refused) {
    const answer = await server.call(method, path);
    assert.deepEqual([answer.status, answer.json['Code']], [403, 'AccessDenied']);
  }
  const list = await server.call('GET', '/minio/kms/v1/key/list?pattern=*');
  assert.deepEqual(JSON.parse(list.text), [{ name: 'good', createdAt: '2026-01-01T00:00:00Z' }]);
});

void test('info shows one server, one drive and the key service in shapes clients can draw', async () => {
  await using server = await start({ kms: fakeKms() });
  const { json } = await server.call('GET', '/minio/admin/v3/info?metrics=false');
  assert.equal(json['mode'], 'online');
  assert.deepEqual(json['services'], {
    kms: {},
    kmsStatus: [{ status: 'online', endpoint: 'https://kes:7373' }],
    ldap: {},
  });
  const [shown] = json['servers'] as { uptime: number; drives: { usedspace: number }[] }[];
  assert.equal(shown?.uptime, 60);
  assert.equal(shown?.drives[0]?.usedspace, 40);
  await using starting = await start({ hasStore: false });
  assert.equal((await starting.call('GET', '/minio/admin/v3/info')).json['mode'], 'initializing');
});

void test('key calls work, and their errors are definite and never 503', async () => {
  const kms = fakeKms();
  await using server = await start({ kms });
  const create = await server.call('POST', '/minio/kms/v1/key/create?key-id=new');
  assert.deepEqual([create.status, create.text], [200, '']);
  assert.deepEqual(kms.created, ['new']);
  const again = await server.call('POST', '/minio/kms/v1/key/create?key-id=good');
  assert.deepEqual([again.status, again.json['Code']], [409, 'kms:KeyAlreadyExists']);
  const nameless = await server.call('POST', '/minio/kms/v1/key/create');
  assert.equal(nameless.status, 400);
  const list = await server.call('GET', '/minio/kms/v1/key/list?pattern=*');
  assert.deepEqual(JSON.parse(list.text), [
    { name: 'good', createdAt: '2026-01-01T00:00:00Z' },
    { name: 'off', state: 'disabled' },
  ]);
  const older = await server.call('GET', '/minio/admin/v3/kms/key/status');
  assert.deepEqual(older.json, { 'key-id': 'good' });
});

void test('key status reports failures inside a 200', async () => {
  await using server = await start({ kms: fakeKms() });
  const status = async (keyName: string) =>
    (await server.call('GET', `/minio/kms/v1/key/status?key-id=${keyName}`)).json;
  assert.deepEqual(await status(''), { 'key-id': 'good' });
  assert.deepEqual(await status('gone'), {
    'key-id': 'gone',
    'encryption-error': 'key with given key ID does not exist',
  });
  assert.match(String((await status('off'))['encryption-error']), /disabled/);
  assert.match(String((await status('down'))['encryption-error']), /connect refused/);
});

void test('key usage shows state, objects and bytes', async () => {
  await using server = await start({ kms: fakeKms() });
  const usage = async (keyName: string) =>
    (await server.call('GET', `/minio/kms/v1/key/usage?key-id=${keyName}`)).json;
  assert.deepEqual(await usage('good'), {
    keyId: 'good',
    state: 'enabled',
    objects: 4,
    bytes: 5,
  });
  assert.equal((await usage('off'))['state'], 'disabled');
  assert.equal((await usage('gone'))['state'], 'absent');
  assert.equal((await usage('down'))['state'], 'unknown');
});

void test('without a key service every KMS call answers 501', async () => {
  await using server = await start({});
  for (const route of adminRoutes.filter(
    ({ under, path }) => under === 'kms' || path.startsWith('/kms/'),
  )) {
    const prefix = route.under === 'kms' ? '/minio/kms/v1' : '/minio/admin/v3';
    const answer = await server.call(route.method, `${prefix}${route.path}?key-id=k&pattern=*`);
    assert.deepEqual([answer.status, answer.json['Code']], [501, 'NotImplemented'], route.path);
  }
});
