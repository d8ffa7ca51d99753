// The Google adapter against its double: the contract of secret stores, then what is particular to Google:
// two calls to create, tokens, and its refusals.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { Dispatcher } from 'undici';
import { failsWith } from '../../../test/contract/key-store.ts';
import { testSecretStore } from '../../../test/contract/secret-store.ts';
import { connectionsTo } from '../../../test/support/doubles/cloud-hosts.ts';
import {
  type GcpSecretsDouble,
  makeAccountKey,
  startGcpSecretsDouble,
} from '../../../test/support/doubles/gcp-secrets.ts';
import {
  gcpDeps,
  gcpHosts,
  gcpSettings,
  openGcpContract,
} from '../../../test/support/doubles/gcp-contract.ts';
import { documentedKeyStore } from '../../../test/support/documented-config.ts';
import { type Log, silentLog } from '../../base/log.ts';
import { KeyStoreError } from '../../keys/key-store.ts';
import { type GcpSecretsSettings, openGcpSecrets } from './secrets.ts';
import type { SecretStore } from '../secret-store.ts';

const accountKey = makeAccountKey();

testSecretStore('Google', () => openGcpContract(accountKey), {
  valueBytesMax: 65_536,
  listCount: 80,
});

describe('Google Secret Manager', () => {
  let double: GcpSecretsDouble;
  let connections: Dispatcher;
  let store: SecretStore;

  beforeEach(async () => {
    double = await startGcpSecretsDouble(accountKey);
    connections = connectionsTo(gcpHosts(double));
    store = await openGcpSecrets(gcpSettings(double), gcpDeps(connections));
  });

  afterEach(async () => {
    await store.close();
    await connections.destroy();
    await double.close();
  });

  const versionsOf = (name: string): (string | undefined)[] | undefined =>
    double.secrets.get(name)?.map(({ data }) => Buffer.from(data, 'base64').toString('latin1'));

  test('keeps a key as the reference does: its text in version 1', async () => {
    await store.create('my-key', 'the text');
    assert.deepEqual(versionsOf('my-key'), ['the text']);
  });

  test('completes what a creator that crashed between its two calls left', async () => {
    double.secrets.set('my-key', []);
    await assert.rejects(store.get('my-key'), failsWith('not-found'));
    await store.create('my-key', 'x');
    assert.equal(await store.get('my-key'), 'x');
    assert.deepEqual(versionsOf('my-key'), ['x']);
  });

  test('of many that complete it at the same time exactly one wins', async () => {
    const other = await openGcpSecrets(gcpSettings(double), gcpDeps(connections));
    for (let round = 0; round < 5; round += 1) {
      const name = `key${round}`;
      double.secrets.set(name, []);
      const values = ['a', 'b', 'c', 'd', 'e', 'f'];
      const outcomes = await Promise.allSettled(
        values.map((value, index) => (index % 2 === 0 ? store : other).create(name, value)),
      );
      const winners = values.filter((_, index) => outcomes[index]?.status === 'fulfilled');
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected') failsWith('exists')(outcome.reason);
      }
      assert.equal(winners.length, 1);
      assert.equal(await store.get(name), winners[0]);
    }
    await other.close();
  });

  test('the creator of the secret loses to one that wrote version 1 before it', async () => {
    const { promise: held, resolve: release } = Promise.withResolvers<void>();
    const { promise: arrived, resolve: arrive } = Promise.withResolvers<void>();
    let isFirst = true;
    double.gate = async (line) => {
      if (!line.endsWith(':addVersion') || !isFirst) return;
      isFirst = false;
      arrive();
      await held;
    };
    const slow = store.create('my-key', 'slow').then(() => 'created', failsWith('exists'));
    await arrived;
    await store.create('my-key', 'quick');
    assert.equal(await store.get('my-key'), 'quick');
    release();
    assert.equal(await slow, true);
    assert.equal(await store.get('my-key'), 'quick');
  });

  test('a version whose answer was lost is recognised as ours', async () => {
    double.api.loseAnswerNext(1, { match: /addVersion/ });
    await store.create('my-key', 'x');
    assert.equal(await store.get('my-key'), 'x');
  });

  test('of two creators whose answers are lost the second does not win', async () => {
    await store.create('my-key', 'first');
    double.secrets.set('other', []);
    double.api.loseAnswerNext(1, { match: /other:addVersion/ });
    double.secrets.get('other')?.push({ data: btoa('first'), state: 'ENABLED' });
    await assert.rejects(store.create('other', 'second'), failsWith('exists'));
    assert.equal(await store.get('other'), 'first');
  });

  test('a disabled or destroyed version is an error, and its name stays taken', async () => {
    await store.create('my-key', 'x');
    for (const state of ['DISABLED', 'DESTROYED'] as const) {
      const [version] = double.secrets.get('my-key') ?? [];
      assert.ok(version);
      version.state = state;
      await assert.rejects(store.get('my-key'), (error) => {
        failsWith('failed')(error);
        assert.match(String(error), new RegExp(`FAILED_PRECONDITION.*${state}`));
        return true;
      });
      await assert.rejects(store.create('my-key', 'y'), failsWith('exists'));
    }
  });

  test('a token that expires is exchanged anew, with the configured scopes', async () => {
    double.tokenLifetimeMs = 1_000;
    const scopes = ['https://www.googleapis.com/auth/cloud-platform', 'https://example.com/other'];
    const settings = { ...gcpSettings(double), scopes };
    double.tokenScopes.length = 0;
    const short = await openGcpSecrets(settings, gcpDeps(connections));
    await short.create('a', 'x');
    await new Promise((resolve) => setTimeout(resolve, 1_050));
    assert.equal(await short.get('a'), 'x');
    assert.ok(double.tokenScopes.length >= 2);
    assert.deepEqual(new Set(double.tokenScopes), new Set([scopes.join(' ')]));
    await short.close();
  });

  test('a token exchange that fails once is survived', async () => {
    double.identity.failNext(1, 503);
    const other = await openGcpSecrets(gcpSettings(double), gcpDeps(connections));
    assert.deepEqual(await other.list(), []);
    await other.close();
  });

  test('does not open with a wrong key, an unknown account, or where there is no server', async () => {
    const settings = gcpSettings(double);
    const { privateKey } = makeAccountKey();
    const withCredentials = (changed: object): GcpSecretsSettings => ({
      ...settings,
      credentials: { ...settings.credentials, ...changed },
    });
    for (const [wrong, pattern] of [
      [withCredentials({ private_key: privateKey }), /invalid_grant.*private_key/],
      [withCredentials({ client_email: 'who@else' }), /invalid_grant.*client_email/],
      [withCredentials({ private_key: 'no key' }), /cannot list/],
      [{ ...settings, endpoint: 'https://unknown.example' }, /host name is unknown/],
      [{ ...settings, endpoint: 'a b' }, /endpoint must be/],
    ] as const) {
      await assert.rejects(openGcpSecrets(wrong, gcpDeps(connections)), (error) => {
        assert.ok(error instanceof KeyStoreError);
        assert.match(error.message, pattern);
        return true;
      });
    }
  });

  test('names the permission that is missing, action by action', async () => {
    const rejects = async (permission: string, call: () => Promise<unknown>) => {
      double.denied.add(permission);
      await assert.rejects(call(), new RegExp(`PERMISSION_DENIED.*grant .*${permission}`));
      double.denied.clear();
    };
    await rejects('secretmanager.secrets.create', () => store.create('a', 'x'));
    await rejects('secretmanager.versions.add', () => store.create('a', 'x'));
    await rejects('secretmanager.versions.access', () => store.get('a'));
    await rejects('secretmanager.secrets.delete', () => store.delete('a'));
    await rejects('secretmanager.secrets.list', () => store.list());
  });

  test('opens without the permission to list, and says so', async () => {
    double.denied.add('secretmanager.secrets.list');
    const said: string[] = [];
    const log: Log = { ...silentLog, warn: (message) => said.push(message) };
    await (await openGcpSecrets(gcpSettings(double), { ...gcpDeps(connections), log })).close();
    assert.equal(said.length, 1);
    assert.match(said[0] ?? '', /secretmanager\.secrets\.list/);
  });

  test('a deletion is sent once, and what became of it is looked at by the caller', async () => {
    const match = /^DELETE/;
    for (const fault of [
      () => double.api.failNext(1, 503, { match }),
      () => double.api.failNext(1, 429, { match }),
      () => double.api.dropNext(1, { match }),
      () => double.api.loseAnswerNext(1, { match }),
    ]) {
      await store.create('a', '1');
      fault();
      const before = double.api.requests.length;
      await assert.rejects(store.delete('a'), failsWith('unreachable'));
      assert.equal(double.api.requests.length, before + 1);
      await store.delete('a');
    }
  });

  test('an answer without details of Google counts by its status alone', async () => {
    const bodies = ['', 'oops: nothing', '<html>', '{}', '[]', '{"error":"NOT_FOUND"}'];
    const hints = { 401: /UNAUTHENTICATED.*credentials/, 403: /PERMISSION_DENIED.*grant/ };
    await store.create('a', 'x');
    for (const body of [...bodies, '{"error":{"status":"NOT_FOUND"}}']) {
      for (const [status, hint] of Object.entries({ ...hints, 429: /RESOURCE_EXHAUSTED.*quota/ })) {
        double.api.failNext(status === '429' ? 3 : 1, Number(status), { answer: { body } });
        await assert.rejects(
          store.get('a'),
          (error) => failsWith('failed')(error) && hint.test(String(error)),
          `${status} ${body}`,
        );
      }
    }
    for (const body of bodies) {
      double.api.failNext(1, 404, { answer: { body } });
      await assert.rejects(store.get('a'), failsWith('failed'));
    }
    assert.equal(await store.get('a'), 'x');
  });

  test('a quota that is used up is named', async () => {
    const answer = { body: { error: { code: 429, status: 'RESOURCE_EXHAUSTED', message: 'q' } } };
    double.api.failNext(3, 429, { answer });
    await assert.rejects(store.get('a'), /RESOURCE_EXHAUSTED.*cache\.revalidate/);
  });

  test('takes an endpoint with and without scheme and port', async () => {
    for (const endpoint of [
      'secretmanager.googleapis.com',
      'secretmanager.googleapis.com:443',
      'https://secretmanager.googleapis.com',
      'https://secretmanager.googleapis.com:443',
    ]) {
      const settings = { ...gcpSettings(double), endpoint };
      await (await openGcpSecrets(settings, gcpDeps(connections))).close();
    }
  });

  test('the documented configuration opens', async () => {
    const config = documentedKeyStore('keystores/google-secret-manager.md', {
      COFFER_GCP_KEY_ID: double.account.keyId,
      COFFER_GCP_PRIVATE_KEY: double.account.privateKey.replaceAll('\n', '\\n'),
    });
    assert.ok(config.type === 'gcp');
    const documented = await openGcpSecrets(config.settings, gcpDeps(connections));
    await documented.create('my-key', 'x');
    assert.deepEqual(versionsOf('my-key'), ['x']);
    await documented.close();
  });

  test('a get that is not answered fails in time', async () => {
    const limits = { attemptMs: 40, readMs: 120, retryDelayMs: 1 };
    const quick = await openGcpSecrets(gcpSettings(double), {
      ...gcpDeps(connections),
      limits: { ...limits, changeMs: 5_000, attemptMs: 500 },
    });
    double.api.hangNext(9);
    await assert.rejects(quick.get('a'), failsWith('unreachable'));
    await quick.close();
  });

  test('lists over pages, and no secret whose name cannot be a key', async () => {
    double.pageSize = 2;
    double.secrets.set('n'.repeat(200), []);
    for (const name of ['a', 'b', 'c']) await store.create(name, 'x');
    assert.deepEqual((await store.list()).toSorted(), ['a', 'b', 'c']);
  });

  test('a value too large for Google is refused before it is sent', async () => {
    await assert.rejects(store.create('a', 'x'.repeat(65_537)), /at most 65536 bytes/);
    assert.equal(double.secrets.size, 0);
  });

  test('tells the server nothing about this machine', async () => {
    await store.create('a', 'x');
    assert.equal(double.userAgents.size, 1);
    for (const agent of double.userAgents) assert.match(agent, /^coffer\/[0-9.]+$/);
  });
});

describe('Google application default credentials', () => {
  let double: GcpSecretsDouble;
  let connections: Dispatcher;
  let directory: string;
  let saved: NodeJS.ProcessEnv;

  beforeEach(async () => {
    saved = { ...process.env };
    double = await startGcpSecretsDouble(accountKey);
    connections = connectionsTo(gcpHosts(double));
    directory = await mkdtemp(join(tmpdir(), 'coffer-gcp-'));
    process.env['CLOUDSDK_CONFIG'] = directory;
    process.env['METADATA_SERVER_DETECTION'] = 'none';
  });

  afterEach(async () => {
    for (const name of Object.keys(process.env)) {
      if (saved[name] === undefined) delete process.env[name];
    }
    await connections.destroy();
    await double.close();
    await rm(directory, { recursive: true, force: true });
  });

  test('none at all is said so', async () => {
    await assert.rejects(
      openGcpSecrets({ project_id: double.project }, gcpDeps(connections)),
      /default credentials.*GOOGLE_APPLICATION_CREDENTIALS/,
    );
  });

  test('a file named by GOOGLE_APPLICATION_CREDENTIALS', async () => {
    const file = join(directory, 'account.json');
    const { email, keyId, privateKey } = double.account;
    await writeFile(
      file,
      JSON.stringify({
        type: 'service_account',
        client_email: email,
        private_key_id: keyId,
        private_key: privateKey,
        token_uri: 'https://oauth2.googleapis.com/token',
      }),
    );
    process.env['GOOGLE_APPLICATION_CREDENTIALS'] = file;
    const settings = { project_id: double.project };
    const store = await openGcpSecrets(settings, gcpDeps(connections));
    await store.create('a', 'x');
    assert.equal(await store.get('a'), 'x');
    await store.close();
  });

  test('the service account of the machine', async () => {
    process.env['GCE_METADATA_HOST'] = new URL(double.machine.origin).host;
    process.env['METADATA_SERVER_DETECTION'] = 'assume-present';
    const settings = { project_id: double.project };
    const store = await openGcpSecrets(settings, gcpDeps(connections));
    await store.create('a', 'x');
    assert.equal(await store.get('a'), 'x');
    assert.ok(double.machine.requests.some((line) => line.includes('/default/token')));
    await store.close();
  });

  test('prints nothing when the SDK is told to log', async () => {
    process.env['GOOGLE_SDK_NODE_LOGGING'] = 'all';
    const printed: string[] = [];
    const { write } = process.stderr;
    const store = await openGcpSecrets(gcpSettings(double), gcpDeps(connections));
    process.stderr.write = (text: string | Uint8Array) => {
      printed.push(String(text));
      return true;
    };
    try {
      await store.create('a', 'a-secret-value');
      await store.get('a');
    } finally {
      process.stderr.write = write;
      await store.close();
    }
    assert.deepEqual(printed, []);
  });
});
