import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { silentLog } from '../../base/log.ts';
import { CachedKeyStore } from '../../keys/cached-key-store.ts';
import { KeyService } from '../../keys/key-service.ts';
import { MemoryKeyStore } from '../../keystores/memory.ts';
import type { AuditEvent, AuditLog } from '../audit/audit.ts';
import type { KesContext, KesState } from '../dispatcher.ts';
import { KesHttpError } from '../errors.ts';
import { KesMetrics } from '../metrics.ts';
import { Authorizer } from '../policy.ts';
import { RouteTable } from '../routes.ts';
import { batchHandlers } from './batch.ts';

const policies = [
  {
    name: 'app',
    allow: ['/v1/key/generate/k', '/v1/key/decrypt/k'],
    deny: [],
    identities: ['app'],
  },
];

async function setUp(options: { readonly openRoute?: string; readonly audit?: AuditLog } = {}) {
  const rules = { anyMs: 0, unusedMs: 0, offlineMs: 0 };
  const store = new CachedKeyStore({ store: new MemoryKeyStore(), rules, now: () => 0 });
  const keys = new KeyService({ store, nowMs: () => 0 });
  await keys.create('k', 'me');
  const { openRoute } = options;
  const api = new Map(
    openRoute === undefined ? [] : [[openRoute, { timeoutMs: 0, skipAuth: true }]],
  );
  const state: KesState = {
    admin: 'admin',
    policies,
    authorizer: new Authorizer({ admin: 'admin', policies, peers: ['peer'] }),
    routes: new RouteTable(api),
    keys,
    startedAtMs: 0,
    resolvePeer: (peer) => peer,
  };
  const events: AuditEvent[] = [];
  const audit = options.audit ?? { record: (event: AuditEvent) => void events.push(event) };
  const call = async (identity: string, calls: unknown, later: Partial<KesState> = {}) => {
    let reads = 0;
    const metrics = new KesMetrics({ nowMs: () => 0 });
    const deps = { log: silentLog, audit, metrics, nowMs: () => 0 };
    // Only what the handler uses.
    const context = {
      state,
      identity,
      ip: '::1',
      deps,
      readBody: async () => {
        reads += 1;
        context.state = { ...state, ...later };
        return Buffer.from(JSON.stringify({ calls }));
      },
    } as unknown as { -readonly [Name in keyof KesContext]: KesContext[Name] };
    try {
      const reply = await batchHandlers['key-batch']?.(context);
      const { results } = JSON.parse(String(reply?.body)) as { results: { status: number }[] };
      return { reads, statuses: results.map(({ status }) => status), results };
    } catch (error) {
      assert.ok(error instanceof KesHttpError, String(error));
      return { reads, refused: error.status };
    }
  };
  return { call, events, keys };
}

const generate = { op: 'generate', name: 'k' };

test('the body of callers to whom nothing can be allowed is not read', async () => {
  const { call } = await setUp();
  for (const identity of ['', 'stranger', 'peer']) {
    assert.deepEqual(await call(identity, [generate]), { reads: 0, refused: 403 });
  }
  for (const identity of ['admin', 'app']) {
    assert.deepEqual((await call(identity, [generate])).statuses, [200]);
  }
});

test('a route without authorisation opens the batch for its own calls', async () => {
  const { call } = await setUp({ openRoute: '/v1/key/generate/' });
  const decrypt = { op: 'decrypt', name: 'k', ciphertext: '' };
  assert.deepEqual((await call('', [generate, decrypt])).statuses, [200, 400]);
  assert.deepEqual((await call('stranger', [generate, decrypt])).statuses, [200, 403]);
  const other = await setUp({ openRoute: '/v1/key/describe/' });
  assert.deepEqual(await other.call('', [generate]), { reads: 0, refused: 403 });
});

test('a malformed call is answered by itself, and the others run', async () => {
  const { call, events } = await setUp();
  const calls = [
    generate,
    null,
    5,
    {},
    { op: 'encrypt', name: 'k' },
    { op: 'constructor', name: 'k' },
    { op: 'generate', name: 5 },
    { op: 'generate', name: 'no/name' },
    { op: 'generate', name: 'k', context: '!' },
    { op: 'decrypt', name: 'k', ciphertext: randomBytes(76).toString('base64') },
    generate,
  ];
  const { statuses } = await call('admin', calls);
  assert.deepEqual(statuses, [200, 400, 400, 400, 400, 400, 400, 400, 400, 400, 200]);
  assert.equal(events.length, 5);
});

test('calls go by the configuration that holds when the body has been read', async () => {
  const { call } = await setUp();
  const authorizer = new Authorizer({ admin: 'admin', policies: [] });
  assert.deepEqual(await call('app', [generate], { authorizer }), { reads: 1, refused: 403 });
  const none = [{ ...policies[0], name: 'app', allow: [], deny: [], identities: ['app'] }];
  const narrowed = new Authorizer({ admin: 'admin', policies: none });
  assert.deepEqual((await call('app', [generate], { authorizer: narrowed })).statuses, [403]);
});

test('each call is audited with its key, version and object, and why it was refused', async () => {
  const { call, events, keys } = await setUp();
  const context = Buffer.from('{"bucket":"bucket/object"}').toString('base64');
  await keys.rotate('k', 'me');
  await call('app', [
    { ...generate, context },
    { op: 'generate', name: 'other' },
  ]);
  const { id } = await keys.describe('k');
  const [second, first] = events.toSorted((a, b) => b.status - a.status);
  assert.deepEqual(
    [first?.operation, first?.isAllowed, first?.key, first?.keyId, first?.version, first?.object],
    ['key-generate', true, 'k', id, 2, 'bucket/object'],
  );
  assert.deepEqual(
    [second?.status, second?.isAllowed, second?.reason, second?.key],
    [403, false, 'not authorized: insufficient permissions', undefined],
  );
});

test('a use is authorised as a decrypt call, audited with its object, and refused with its key', async () => {
  const { call, events, keys } = await setUp();
  const context = Buffer.from('{"bucket":"bucket/object"}').toString('base64');
  const use = { op: 'use', name: 'k', context };
  const { statuses, results } = await call('app', [use, { ...use, name: 'other' }, { op: 'use' }]);
  assert.deepEqual(statuses, [200, 403, 400]);
  assert.deepEqual(results?.[0], { status: 200 });
  const [, allowed] = events.toSorted((a, b) => b.status - a.status);
  const { id } = await keys.describe('k');
  assert.deepEqual(
    [allowed?.operation, allowed?.path, allowed?.key, allowed?.keyId, allowed?.object],
    ['key-use', '/v1/key/decrypt/k', 'k', id, 'bucket/object'],
  );
  await keys.disable('k');
  assert.deepEqual((await call('app', [use])).statuses, [403]);
  assert.equal(events.at(-1)?.object, 'bucket/object');
});

test('nothing is answered when the audit log cannot be written', async () => {
  const audit = { record: () => Promise.reject(new Error('disk full')) };
  const { call } = await setUp({ audit });
  assert.deepEqual(await call('admin', [generate]), { reads: 1, refused: 500 });
});
