// The cloud adapters against servers that others wrote: AWS Secrets Manager as moto has it, Google Secret
// Manager as drongo has it. Both contracts run, and the programs' own clients read what the adapters wrote.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { silentLog } from '../../src/base/log.ts';
import { openAwsSecrets } from '../../src/keystores/aws/secrets.ts';
import { openGcpSecrets } from '../../src/keystores/gcp/secrets.ts';
import { openGenerations } from '../../src/keystores/generations.ts';
import type { SecretStore } from '../../src/keystores/secret-store.ts';
import { failsWith, testKeyStore } from '../contract/key-store.ts';
import { type OpenedSecrets, testSecretStore } from '../contract/secret-store.ts';
import { connectionsTo } from '../support/doubles/cloud-hosts.ts';
import { type FaultyProxy, startFaultyProxy } from '../support/doubles/cloud-proxy.ts';
import { startGcpSecretsDouble } from '../support/doubles/gcp-secrets.ts';
import { freePort, type Program, startProgram, waitUntil } from '../support/programs.ts';
import { clientPaths, interopDir, runClient } from './clients.ts';

const dir = mkdtempSync(path.join(tmpdir(), 'coffer-cloud-'));
after(() => rmSync(dir, { recursive: true, force: true }));

async function startServer(
  name: string,
  command: (port: number) => string[],
): Promise<{
  readonly program: Program;
  readonly origin: string;
}> {
  const port = await freePort();
  const origin = `http://127.0.0.1:${port}`;
  const program = await startProgram({ name, command: command(port), dir });
  await waitUntil(program, async () => (await fetch(origin)).status < 600);
  return { program, origin };
}

type Open = (origin: string) => Promise<SecretStore>;

/** Both contracts over a proxy that misbehaves when it is told to; `reset` empties the server. */
function testContracts(
  name: string,
  parts: {
    readonly originOf: () => string;
    readonly open: Open;
    readonly reset: () => Promise<void>;
    readonly credentials: readonly string[];
    readonly valueBytesMax: number;
  },
): void {
  const { originOf, open, reset, credentials, valueBytesMax } = parts;
  const openContract = async (): Promise<OpenedSecrets> => {
    await reset();
    const proxy: FaultyProxy = await startFaultyProxy(originOf());
    return {
      store: await open(proxy.origin),
      openAgain: () => open(proxy.origin),
      credentials,
      faults: proxy,
      close: () => proxy.close(),
    };
  };
  testSecretStore(name, openContract, { valueBytesMax });
  testKeyStore(
    name,
    async () => {
      const opened = await openContract();
      return {
        store: openGenerations(opened.store, { settleMs: 50 }),
        openAgain: async () => openGenerations(await opened.openAgain(), { settleMs: 50 }),
        close: opened.close,
      };
    },
    { valueBytesMax, listCount: 1_030 },
  );
}

describe('AWS Secrets Manager as moto has it', () => {
  let moto: { readonly program: Program; readonly origin: string };
  const credentials = { accesskey: 'AKIAMOTO', secretkey: 'moto-secret-key' };

  before(async () => {
    moto = await startServer('moto', (port) => [
      path.join(interopDir, 'moto/bin/moto_server'),
      '--host',
      '127.0.0.1',
      '--port',
      String(port),
    ]);
  });
  after(() => moto.program.stop());

  const open: Open = (endpoint) =>
    openAwsSecrets(
      { endpoint, region: 'eu-central-1', credentials },
      { log: silentLog, limits: { retryDelayMs: 5 } },
    );

  testContracts('moto', {
    originOf: () => moto.origin,
    open,
    reset: async () => {
      await fetch(`${moto.origin}/moto-api/reset`, { method: 'POST' });
    },
    credentials: [credentials.secretkey],
    valueBytesMax: 65_536,
  });

  const aws = (...args: string[]) =>
    runClient([clientPaths.aws, '--endpoint-url', moto.origin, ...args, '--output', 'text'], {
      env: {
        AWS_ACCESS_KEY_ID: credentials.accesskey,
        AWS_SECRET_ACCESS_KEY: credentials.secretkey,
        AWS_DEFAULT_REGION: 'eu-central-1',
        HOME: dir,
      },
    });

  test('the aws command reads what was written, and the other way round', async () => {
    await fetch(`${moto.origin}/moto-api/reset`, { method: 'POST' });
    const store = await open(moto.origin);
    await store.create('from-coffer', 'the text');
    const got = await aws('secretsmanager', 'get-secret-value', '--secret-id', 'from-coffer');
    assert.equal(got.exitCode, 0, got.stderr);
    assert.match(got.stdout, /the text/);
    const made = await aws(
      'secretsmanager',
      'create-secret',
      '--name',
      'from-aws',
      '--secret-string',
      'of aws',
    );
    assert.equal(made.exitCode, 0, made.stderr);
    assert.equal(await store.get('from-aws'), 'of aws');
    assert.deepEqual((await store.list()).toSorted(), ['from-aws', 'from-coffer']);
    await store.close();
  });

  test('a KMS key of moto encrypts, and a deletion with a waiting time is named', async () => {
    await fetch(`${moto.origin}/moto-api/reset`, { method: 'POST' });
    const key = await aws('kms', 'create-key', '--query', 'KeyMetadata.KeyId');
    assert.equal(key.exitCode, 0, key.stderr);
    const kmskey = key.stdout.trim();
    const settings = { endpoint: moto.origin, region: 'eu-central-1', kmskey, credentials };
    const deps = { log: silentLog, limits: { changeMs: 1_000 } };
    const store = await openAwsSecrets(settings, deps);
    await store.create('a', 'x');
    const described = await aws(
      'secretsmanager',
      'describe-secret',
      '--secret-id',
      'a',
      '--query',
      'KmsKeyId',
    );
    assert.equal(described.stdout.trim(), kmskey);
    await aws('secretsmanager', 'delete-secret', '--secret-id', 'a');
    await assert.rejects(store.get('a'), /InvalidRequestException.*restore-secret/);
    // AWS itself answers a create with the same exception; moto says that the name is taken.
    await assert.rejects(store.create('a', 'y'), failsWith('exists'));
    await store.close();
  });
});

describe('Google Secret Manager as drongo has it', () => {
  let drongo: { readonly program: Program; readonly origin: string };
  let identity: Awaited<ReturnType<typeof startGcpSecretsDouble>>;
  let project = 0;

  before(async () => {
    identity = await startGcpSecretsDouble();
    drongo = await startServer('drongo', (port) => [
      path.join(interopDir, 'drongo/bin/drongo'),
      'server',
      '--host',
      '127.0.0.1',
      '--port',
      String(port),
    ]);
  });
  after(async () => {
    await drongo.program.stop();
    await identity.close();
  });

  /** drongo asks for no token; the token endpoint is ours. */
  const open: Open = async (endpoint) => {
    const { email, keyId, privateKey } = identity.account;
    const { hostname } = new URL(endpoint);
    const connections = connectionsTo({
      [hostname]: endpoint,
      'oauth2.googleapis.com': identity.identity.origin,
    });
    const store = await openGcpSecrets(
      {
        project_id: `project-${project}`,
        endpoint,
        credentials: {
          client_email: email,
          client_id: '1',
          private_key_id: keyId,
          private_key: privateKey,
        },
      },
      { log: silentLog, limits: { retryDelayMs: 5 }, connections },
    );
    const { close } = store;
    store.close = async () => {
      await close.call(store);
      await connections.destroy();
    };
    return store;
  };

  testContracts('drongo', {
    originOf: () => drongo.origin,
    open,
    reset: async () => {
      project += 1;
    },
    credentials: [],
    valueBytesMax: 65_536,
  });
});
