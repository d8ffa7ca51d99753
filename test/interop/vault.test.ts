// A real HashiCorp Vault (`vault-server/`) behind the adapter: the contracts over KV 1, KV 2 and transit with
// the documented policy and commands, its seal, its tokens, soft deletion and rotation. Faults of the network
// are made by a proxy in front of it.

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { after, describe, test } from 'node:test';
import { silentLog } from '../../src/base/log.ts';
import { openGenerations } from '../../src/keystores/generations.ts';
import type { SecretStore } from '../../src/keystores/secret-store.ts';
import { openVaultSecrets, type VaultSettings } from '../../src/keystores/vault/secrets.ts';
import { failsWith, testKeyStore } from '../contract/key-store.ts';
import { testSecretStore } from '../contract/secret-store.ts';
import { type DoubleServer, startDoubleServer } from '../support/doubles/double-server.ts';
import { interopDir } from './clients.ts';

const policy = `
path "secret/data/coffer/*" { capabilities = ["create", "read", "update"] }
path "secret/metadata/coffer/*" { capabilities = ["read", "delete", "list"] }
path "kv/coffer/*" { capabilities = ["create", "read", "update", "delete", "list"] }
path "transit/encrypt/coffer" { capabilities = ["update"] }
path "transit/decrypt/coffer" { capabilities = ["update"] }
`;

let program: ChildProcess | undefined;
let origin = '';
let unsealKey = '';
let rootToken = '';
let approle = { id: '', secret: '' };
let prefixes = 0;

/** A call of the operator. */
async function vault(method: string, at: string, body?: object): Promise<Record<string, unknown>> {
  const answer = await fetch(`${origin}/v1/${at}`, {
    method,
    headers: { 'x-vault-token': rootToken },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  assert.ok(answer.ok, `${method} ${at}: ${answer.status} ${text}`);
  return text === '' ? {} : (JSON.parse(text) as Record<string, unknown>);
}

async function setUp(): Promise<void> {
  program = spawn(path.join(interopDir, 'bin/vault-server'), [], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  assert.ok(program.stdout);
  const [line] = (await once(createInterface(program.stdout), 'line')) as [string];
  origin = line;
  const init = await vault('PUT', 'sys/init', { secret_shares: 1, secret_threshold: 1 });
  [unsealKey = ''] = init['keys'] as string[];
  rootToken = String(init['root_token']);
  await unseal();
  await vault('POST', 'sys/mounts/kv', { type: 'kv', options: { version: '1' } });
  await vault('POST', 'sys/mounts/secret', { type: 'kv', options: { version: '2' } });
  await vault('POST', 'sys/mounts/transit', { type: 'transit' });
  await vault('POST', 'transit/keys/coffer');
  await vault('PUT', 'sys/policies/acl/coffer', { policy });
  await vault('POST', 'sys/auth/approle', { type: 'approle' });
  await vault('POST', 'auth/approle/role/coffer', { token_policies: 'coffer', token_ttl: '1h' });
  const role = await vault('GET', 'auth/approle/role/coffer/role-id');
  const secret = await vault('POST', 'auth/approle/role/coffer/secret-id');
  approle = {
    id: String((role['data'] as Record<string, unknown>)['role_id']),
    secret: String((secret['data'] as Record<string, unknown>)['secret_id']),
  };
}

try {
  await setUp();
} catch (error) {
  program?.kill('SIGKILL');
  throw error;
}
after(() => {
  program?.kill('SIGKILL');
});

async function unseal(): Promise<void> {
  const answer = await vault('PUT', 'sys/unseal', { key: unsealKey });
  assert.equal(answer['sealed'], false);
  for (let tries = 0; tries < 100; tries += 1) {
    if ((await fetch(`${origin}/v1/sys/health`)).status === 200) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail('Vault does not become active');
}

/** Settings of a version under a prefix that nobody used. */
function settingsOf(kind: 'v1' | 'v2' | 'transit'): VaultSettings {
  prefixes += 1;
  return {
    engine: kind === 'v1' ? 'kv' : 'secret',
    version: kind === 'v1' ? 'v1' : 'v2',
    prefix: `coffer/${prefixes}`,
    approle,
    ...(kind === 'transit' ? { transit: { key: 'coffer' } } : {}),
  };
}

function open(settings: VaultSettings, endpoint = origin): Promise<SecretStore> {
  return openVaultSecrets(
    { endpoint, ...settings },
    { log: silentLog, retryDelayMs: () => 1, sleep: async () => {} },
  );
}

/** Passes everything on to Vault. */
function startProxy(): Promise<DoubleServer> {
  return startDoubleServer(async (request) => {
    const { method, body, query } = request;
    const headers = Object.fromEntries(
      Object.entries(request.headers).filter(([name]) => name.startsWith('x-vault-')),
    );
    const search = query.size === 0 ? '' : `?${query.toString()}`;
    const answer = await fetch(`${origin}${request.path}${search}`, {
      method,
      headers,
      ...(body.length > 0 ? { body } : {}),
    });
    return { status: answer.status, body: await answer.text() };
  });
}

for (const kind of ['v1', 'v2', 'transit'] as const) {
  testSecretStore(
    `real Vault ${kind}`,
    async () => {
      const settings = settingsOf(kind);
      const proxy = await startProxy();
      return {
        store: await open(settings, proxy.origin),
        openAgain: () => open(settings),
        credentials: [approle.id, approle.secret],
        faults: proxy,
        close: () => proxy.close(),
      };
    },
    { listCount: kind === 'v1' ? 60 : 250 },
  );
  testKeyStore(
    `real Vault ${kind}`,
    async () => {
      const settings = settingsOf(kind);
      const openAgain = async () => openGenerations(await open(settings), { settleMs: 10 });
      return { store: await openAgain(), openAgain, close: async () => {} };
    },
    { listCount: kind === 'v2' ? 1030 : 20 },
  );
}

describe('real Vault', () => {
  test('what it says of a wrong login, engine or version is told', async () => {
    const wrong = { ...settingsOf('v2'), approle: { ...approle, secret: 'wrong-secret' } };
    await assert.rejects(open(wrong), (error) => {
      assert.match(String(error), /approle login: status \d+ \(invalid secret id\)/);
      assert.doesNotMatch(String(error), /wrong-secret/);
      return failsWith('failed')(error);
    });
    await assert.rejects(open({ ...settingsOf('v2'), version: 'v1' }), /set version: v2/);
    await assert.rejects(open({ ...settingsOf('v1'), version: 'v2' }), /set version: v1/);
    const forbidden = await open({ ...settingsOf('v2'), prefix: 'other' });
    await assert.rejects(forbidden.get('a'), /status 403 .*permission denied/);
    await assert.rejects(forbidden.create('a', '1'), /check the policy/);
    await forbidden.close();
  });

  test('sealed, it is unreachable; unsealed, nothing is lost', async () => {
    const settings = { ...settingsOf('v2'), status: { ping: '200ms' } };
    const store = await open(settings);
    await store.create('a', '1');
    await vault('PUT', 'sys/seal');
    await assert.rejects(store.get('a'), failsWith('unreachable'));
    await assert.rejects(store.create('b', '2'), /key store is sealed/);
    assert.equal((await store.status()).state, 'unreachable');
    await assert.rejects(open(settings), /key store is sealed/);
    await unseal();
    assert.equal((await store.status()).state, 'available');
    assert.equal(await store.get('a'), '1');
    await store.create('b', '2');
    await store.close();
  });

  test('beside nodes that are down, sealed or out of order, everything goes on', async () => {
    const down = await startDoubleServer(() => ({ status: 200 }));
    await down.down();
    const sealed = await startDoubleServer(() => ({
      status: 503,
      body: { errors: ['Vault is sealed'] },
    }));
    const broken = await startDoubleServer(() => ({ status: 500, body: 'no' }));
    const nodes = [down.origin, sealed.origin, broken.origin, origin].join(',');
    const store = await open(settingsOf('v2'), nodes);
    await store.create('a', '1');
    await assert.rejects(store.create('a', '2'), failsWith('exists'));
    assert.equal(await store.get('a'), '1');
    assert.equal((await store.status()).state, 'available');
    await store.delete('a');
    assert.deepEqual(await store.list(), []);
    await store.close();
    for (const node of [down, sealed, broken]) await node.close();
  });

  test('a revoked token is replaced, one that ends is renewed', async () => {
    const store = await open(settingsOf('v2'));
    await store.create('a', '1');
    await vault('PUT', 'sys/leases/revoke-force/auth/approle');
    assert.equal(await store.get('a'), '1');
    await store.close();
    await vault('POST', 'auth/approle/role/short', {
      token_policies: 'coffer',
      token_ttl: '2s',
      token_max_ttl: '4s',
    });
    const role = await vault('GET', 'auth/approle/role/short/role-id');
    const secret = await vault('POST', 'auth/approle/role/short/secret-id');
    const short = await open({
      ...settingsOf('v2'),
      approle: {
        id: String((role['data'] as Record<string, unknown>)['role_id']),
        secret: String((secret['data'] as Record<string, unknown>)['secret_id']),
      },
    });
    await short.create('a', '1');
    for (let seconds = 0; seconds < 7; seconds += 1) {
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      assert.equal(await short.get('a'), '1');
    }
    await short.close();
  });

  test('soft deletion is recognised, the commands in the error help', async () => {
    const settings = settingsOf('v2');
    const store = await open(settings);
    await store.create('a', '1');
    await vault('DELETE', `secret/data/${settings.prefix}/a`);
    await assert.rejects(store.get('a'), /vault kv undelete -versions=1 -mount=secret coffer/);
    await assert.rejects(store.create('a', '2'), failsWith('failed'));
    await vault('PUT', `secret/undelete/${settings.prefix}/a`, { versions: [1] });
    assert.equal(await store.get('a'), '1');
    await vault('PUT', `secret/destroy/${settings.prefix}/a`, { versions: [1] });
    await assert.rejects(store.get('a'), /was destroyed in Vault/);
    await vault('DELETE', `secret/metadata/${settings.prefix}/a`);
    await store.create('a', '2');
    await store.close();
  });

  test('the transit key is rotated, and old versions can be forbidden', async () => {
    const store = await open(settingsOf('transit'));
    await store.create('a', '1');
    await vault('POST', 'transit/keys/coffer/rotate');
    await store.create('b', '2');
    assert.equal(await store.get('a'), '1');
    assert.equal(await store.get('b'), '2');
    const keys = await vault('GET', 'transit/keys/coffer');
    const { latest_version: latest } = keys['data'] as { latest_version: number };
    await vault('POST', 'transit/keys/coffer/config', { min_decryption_version: latest });
    await assert.rejects(store.get('a'), /too old/);
    assert.equal(await store.get('b'), '2');
    await vault('POST', 'transit/keys/coffer/config', { min_decryption_version: 1 });
    assert.equal(await store.get('a'), '1');
    await store.close();
  });

  test('an engine that requires check-and-set takes our creates', async () => {
    await vault('POST', 'secret/config', { cas_required: true });
    const store = await open(settingsOf('v2'));
    await store.create('a', '1');
    await assert.rejects(store.create('a', '2'), failsWith('exists'));
    await store.close();
    await vault('POST', 'secret/config', { cas_required: false });
  });
});
