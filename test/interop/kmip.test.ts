// The KMIP store against PyKMIP, an independent server: the four versions it has, creation under a race (it
// lets many objects have one name), what it permits to whom, a restart. Its Locate reads every object, so a
// call costs half a millisecond per stored object; the tests keep few.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { silentLog } from '../../src/base/log.ts';
import { openGenerations } from '../../src/keystores/generations.ts';
import {
  type KmipStoreDeps,
  type KmipStoreSettings,
  openKmipSecrets,
} from '../../src/keystores/kmip/secrets.ts';
import { KmipClient } from '../../src/keystores/kmip/client.ts';
import { KmipPool } from '../../src/keystores/kmip/connection.ts';
import type { SecretStore } from '../../src/keystores/secret-store.ts';
import { failsWith, testKeyStore } from '../contract/key-store.ts';
import { freePort, type Program, waitUntil } from '../support/programs.ts';

const interopDir =
  process.env['COFFER_INTEROP_DIR'] ?? path.join(homedir(), '.cache/coffer-interop');
const versions = ['1.2', '1.3', '1.4', '2.0'] as const;

const dir = mkdtempSync(path.join(tmpdir(), 'coffer-kmip-'));
const inDir = (name: string): string => path.join(dir, name);
let port = 0;
let server: Program | undefined;

function run(command: readonly string[]): void {
  const [program = '', ...args] = command;
  const { status, stderr } = spawnSync(program, args, { cwd: dir, encoding: 'utf8' });
  assert.equal(status, 0, stderr);
}

const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

function makeAuthority(): void {
  run([
    'openssl',
    'req',
    '-x509',
    ...newKey,
    '-keyout',
    'ca.key',
    '-out',
    'ca.crt',
    '-subj',
    '/CN=kmip-ca',
    '-days',
    '2',
  ]);
}

function makeCertificate(name: string, extensions: string): void {
  writeFileSync(inDir(`${name}.ext`), extensions);
  run([
    'openssl',
    'req',
    ...newKey,
    '-keyout',
    `${name}.key`,
    '-out',
    `${name}.csr`,
    '-subj',
    `/CN=${name}`,
  ]);
  run([
    'openssl',
    'x509',
    '-req',
    '-in',
    `${name}.csr`,
    '-CA',
    'ca.crt',
    '-CAkey',
    'ca.key',
    '-CAcreateserial',
    '-days',
    '2',
    '-extfile',
    `${name}.ext`,
    '-out',
    `${name}.crt`,
  ]);
}

/** PyKMIP starts helpers of its own, which only end with their group. */
async function startServer(): Promise<void> {
  const child = spawn(
    path.join(interopDir, 'pykmip/bin/pykmip-server'),
    ['-f', inDir('server.conf'), '-l', inDir('server.log')],
    { cwd: dir, detached: true, stdio: 'ignore' },
  );
  const ended = new Promise<number | null>((resolve) => {
    child.on('exit', resolve);
    child.on('error', () => {
      resolve(null);
    });
  });
  const kill = (signal: NodeJS.Signals): void => {
    if (child.pid !== undefined) process.kill(-child.pid, signal);
  };
  const program: Program = {
    name: 'pykmip',
    pid: child.pid ?? 0,
    logFile: inDir('server.log'),
    ended,
    kill,
    stop: async () => {
      kill('SIGKILL');
      await ended;
    },
  };
  server = program;
  await waitUntil(program, async () => {
    await new Promise<void>((resolve, reject) => {
      const socket = createConnection(port, '127.0.0.1', () => {
        socket.destroy();
        resolve();
      });
      socket.on('error', reject);
    });
    return true;
  });
}

const tlsOf = (
  name: string,
): { readonly key: string; readonly cert: string; readonly ca: string } => ({
  key: inDir(`${name}.key`),
  cert: inDir(`${name}.crt`),
  ca: inDir('ca.crt'),
});

function open(
  settings: KmipStoreSettings = {},
  deps: Partial<KmipStoreDeps> = {},
): Promise<SecretStore> {
  return openKmipSecrets(
    { endpoint: `127.0.0.1:${port}`, tls: tlsOf('client'), ...settings },
    { log: silentLog, ...deps },
  );
}

async function withStore(
  settings: KmipStoreSettings,
  work: (store: SecretStore) => Promise<void>,
): Promise<void> {
  const store = await open(settings);
  try {
    await work(store);
  } finally {
    for (const name of await store.list()) await store.delete(name);
    await store.close();
  }
}

/** The operations themselves, for what the store never does. */
function openClient(version: (typeof versions)[number]): KmipClient {
  return new KmipClient(new KmipPool({ host: '127.0.0.1', port, tls: tlsOf('client') }), {
    version,
  });
}

describe('KMIP on PyKMIP', () => {
  before(async () => {
    port = await freePort();
    makeAuthority();
    makeCertificate('server', 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n');
    makeCertificate('client', 'extendedKeyUsage=clientAuth\n');
    makeCertificate('other', 'extendedKeyUsage=clientAuth\n');
    makeCertificate('unmarked', 'keyUsage=digitalSignature\n');
    mkdirSync(inDir('policy'));
    writeFileSync(
      inDir('server.conf'),
      `[server]
hostname=127.0.0.1
port=${port}
certificate_path=${inDir('server.crt')}
key_path=${inDir('server.key')}
ca_path=${inDir('ca.crt')}
auth_suite=TLS1.2
policy_path=${inDir('policy')}
enable_tls_client_auth=True
database_path=${inDir('pykmip.db')}
`,
    );
    await startServer();
  });

  after(async () => {
    await server?.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  test('the newest version is found', async () => {
    const messages: unknown[] = [];
    const store = await openKmipSecrets(
      { endpoint: `127.0.0.1:${port}`, tls: tlsOf('client') },
      { log: { ...silentLog, debug: (_, fields) => messages.push(fields) } },
    );
    await store.close();
    assert.deepEqual(messages, [{ version: '2.0' }]);
    await assert.rejects(open({ version: '2.1' }), failsWith('failed'));
  });

  for (const version of versions) {
    test(`KMIP ${version}: texts are created once, read, listed and deleted`, () =>
      withStore({ version }, async (store) => {
        const long = `{"bytes":"${'A'.repeat(20_000)}"}`;
        await store.create('a', 'first');
        await store.create('a-long_NAME--0123456789ab-1-', long);
        await assert.rejects(store.create('a', 'second'), failsWith('exists'));
        assert.equal(await store.get('a'), 'first');
        assert.equal(await store.get('a-long_NAME--0123456789ab-1-'), long);
        assert.deepEqual((await store.list()).toSorted(), ['a', 'a-long_NAME--0123456789ab-1-']);
        assert.equal((await store.status()).state, 'available');
        await store.delete('a');
        await store.delete('a');
        await assert.rejects(store.get('a'), failsWith('not-found'));
        await store.create('a', 'third');
        assert.equal(await store.get('a'), 'third');
      }));

    test(`KMIP ${version}: the server lets names repeat, and still one of many creators wins`, async () => {
      const client = openClient(version);
      const twins = [
        await client.register('twin', Buffer.from('1')),
        await client.register('twin', Buffer.from('2')),
      ];
      assert.equal((await client.locate('twin')).length, 2);
      for (const id of twins) await client.destroy(id);

      const stores = await Promise.all([open({ version }), open({ version }), open({ version })]);
      for (let round = 0; round < 6; round += 1) {
        const name = `race${round}`;
        const values = Array.from({ length: 9 }, (_, index) => `v${index}`);
        const outcomes = await Promise.allSettled(
          values.map(async (value, index) => stores[index % stores.length]?.create(name, value)),
        );
        const winners = values.filter((_, index) => outcomes[index]?.status === 'fulfilled');
        assert.equal(winners.length, 1);
        for (const store of stores) assert.equal(await store.get(name), winners[0]);
        const objects = await client.describe(await client.locate(name));
        assert.deepEqual(
          objects.map(({ state }) => state),
          ['active'],
        );
        await stores[0]?.delete(name);
      }
      client.close();
      await Promise.all(stores.map(async (store) => store.close()));
    });

    test(`KMIP ${version}: a dead creator's claim is no key, and is removed by the next creator`, async () => {
      const client = openClient(version);
      const dead = await client.register('claimed', Buffer.from('dead'));
      const store = await open({ version }, { claimMs: 50 });
      await assert.rejects(store.get('claimed'), failsWith('not-found'));
      await store.create('claimed', 'alive');
      assert.equal(await store.get('claimed'), 'alive');
      assert.deepEqual(await client.describe([dead]), []);
      await assert.rejects(client.activate(dead), /Activate was refused: ItemNotFound/);
      await store.delete('claimed');
      client.close();
      await store.close();
    });

    test(`KMIP ${version}: a deletion that died after Revoke is over, one of somebody else is not`, async () => {
      const client = openClient(version);
      const store = await open({ version });
      for (const [name, isMarked] of [
        ['marked', true],
        ['unmarked', false],
      ] as const) {
        await store.create(name, 'old');
        const [object] = await client.describe(await client.locate(name));
        assert.ok(object);
        if (isMarked) {
          const mark = `.deleted.${object.createdAt}.${object.id}`;
          await client.register(mark, Buffer.from('deleted'));
        }
        await client.revoke(object.id);
      }
      await assert.rejects(store.get('marked'), failsWith('not-found'));
      await assert.rejects(store.get('unmarked'), failsWith('failed'));
      await assert.rejects(store.create('unmarked', 'new'), failsWith('failed'));
      await store.create('marked', 'new');
      assert.equal(await store.get('marked'), 'new');
      assert.deepEqual((await store.list()).toSorted(), ['marked', 'unmarked']);
      await store.delete('marked');
      await store.delete('unmarked');
      assert.deepEqual(await client.locate(), []);
      client.close();
      await store.close();
    });

    test(`KMIP ${version}: an active object cannot be destroyed before it is revoked`, async () => {
      const client = openClient(version);
      const id = await client.register('states', Buffer.from('1'));
      await client.activate(id);
      await assert.rejects(client.destroy(id), /Destroy was refused: PermissionDenied/);
      await assert.rejects(client.activate(id), /Activate was refused: PermissionDenied/);
      await client.revoke(id);
      await assert.rejects(client.activate(id), /Activate was refused: PermissionDenied/);
      await client.destroy(id);
      assert.deepEqual(await client.locate('states'), []);
      client.close();
    });
  }

  test('as a key store: keys change, are erased, and their names are not created again', async () => {
    const keys = openGenerations(await open(), { settleMs: 50 });
    await keys.create('key', 'one');
    await keys.replace('key', { expected: 'one', value: 'two' });
    await assert.rejects(
      keys.replace('key', { expected: 'one', value: 'no' }),
      failsWith('conflict'),
    );
    assert.equal(await keys.get('key'), 'two');
    assert.deepEqual(await keys.list({ prefix: '' }), { names: ['key'], hasMore: false });
    await keys.replace('key', { expected: 'two', value: 'erased', isErasing: true });
    assert.equal(await keys.get('key'), 'erased');
    await assert.rejects(keys.create('key', 'again'), failsWith('exists'));
    await keys.create('other', 'one');
    await keys.delete('other');
    await assert.rejects(keys.get('other'), failsWith('not-found'));
    await keys.close();
    await withStore({}, async () => undefined);
  });

  // The largest key and very many are left to the double: this server takes minutes for them.
  for (const version of ['1.2', '2.0'] as const) {
    testKeyStore(
      `KMIP ${version} on PyKMIP`,
      async () => {
        const openKeys = async () => openGenerations(await open({ version }), { settleMs: 200 });
        return {
          store: await openKeys(),
          openAgain: openKeys,
          close: async () => withStore({}, async () => undefined),
        };
      },
      { valueBytesMax: 50_000, listCount: 0 },
    );
  }

  test('objects belong to the certificate that made them', () =>
    withStore({}, async (store) => {
      await store.create('mine', '1');
      const other = await open({ tls: tlsOf('other') });
      await assert.rejects(other.get('mine'), failsWith('not-found'));
      assert.deepEqual(await other.list(), []);
      await other.delete('mine');
      await other.close();
      assert.equal(await store.get('mine'), '1');
    }));

  test('a certificate without the client usage is refused, and the error says where to look', async () => {
    await assert.rejects(open({ tls: tlsOf('unmarked') }), (error: unknown) => {
      failsWith('failed')(error);
      assert.match(String(error), /AuthenticationNotSuccessful.*client authentication usage/);
      return true;
    });
  });

  test('keys outlive a restart of the server, and the store goes on by itself', () =>
    withStore({}, async (store) => {
      await store.create('kept', '1');
      await server?.stop();
      assert.equal((await store.status()).state, 'unreachable');
      await assert.rejects(store.get('kept'), failsWith('unreachable'));
      await startServer();
      assert.equal(await store.get('kept'), '1');
      await store.create('new', '2');
      assert.equal(await store.get('new'), '2');
    }));
});
