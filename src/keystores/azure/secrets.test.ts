// The Azure adapter against its double: the contract of secret stores, under escaped names because Azure has
// fewer, then what is particular to Azure: versions, soft delete, names, tokens, and its refusals.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { Dispatcher } from 'undici';
import { failsWith } from '../../../test/contract/key-store.ts';
import { testSecretStore } from '../../../test/contract/secret-store.ts';
import {
  type AzureVaultDouble,
  startAzureVaultDouble,
} from '../../../test/support/doubles/azure-vault.ts';
import { connectionsTo } from '../../../test/support/doubles/cloud-hosts.ts';
import {
  azureDeps,
  azureHosts,
  azureSettings,
  openAzureContract,
} from '../../../test/support/doubles/azure-contract.ts';
import { documentedKeyStore } from '../../../test/support/documented-config.ts';
import { seededRandom } from '../../../test/support/seeded-random.ts';
import { type Log, silentLog } from '../../base/log.ts';
import { KeyStoreError } from '../../keys/key-store.ts';
import { type AzureDeps, openAzureSecrets } from './secrets.ts';
import type { SecretStore } from '../secret-store.ts';

testSecretStore('Azure', openAzureContract, { valueBytesMax: 25_600, listCount: 80 });

describe('Azure Key Vault', () => {
  let double: AzureVaultDouble;
  let connections: Dispatcher;
  let store: SecretStore;

  beforeEach(async () => {
    double = await startAzureVaultDouble();
    connections = connectionsTo(azureHosts(double));
    store = await openAzureSecrets(azureSettings(double), azureDeps(double, connections));
  });

  afterEach(async () => {
    await store.close();
    await connections.destroy();
    await double.close();
  });

  const openOther = (more: Partial<AzureDeps> = {}): Promise<SecretStore> =>
    openAzureSecrets(azureSettings(double), { ...azureDeps(double, connections), ...more });

  test('keeps a key as the reference does, and reads what the reference wrote', async () => {
    await store.create('my-key', 'the text');
    assert.equal(double.secrets.get('my-key')?.versions.length, 1);
    assert.equal(double.secrets.get('my-key')?.versions[0]?.value, 'the text');
    double.put('of-kes', 'older', { created: 1_600_000_000, id: 'f'.repeat(32) });
    double.put('of-kes', 'newer', { created: 1_700_000_000, id: '0'.repeat(32) });
    assert.equal(await store.get('of-kes'), 'older');
  });

  test('the oldest version counts also when there are many pages of them', async () => {
    double.pageSize = 3;
    for (let second = 20; second > 0; second -= 1) {
      double.put('my-key', `of second ${second}`, { created: 1_600_000_000 + second });
    }
    assert.equal(await store.get('my-key'), 'of second 1');
  });

  test('of two that write within one second the smaller id wins, on every node', async () => {
    const other = await openOther();
    const bothWrite = meeting(2, /^PUT/);
    double.gate = bothWrite;
    double.nextIds.push('e'.repeat(32), '1'.repeat(32));
    const outcomes = await Promise.allSettled([
      store.create('my-key', 'a'),
      other.create('my-key', 'b'),
    ]);
    assert.deepEqual(outcomes.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected']);
    const winner = outcomes[0]?.status === 'fulfilled' ? 'a' : 'b';
    const oldest = double.secrets.get('my-key')?.versions.find(({ id }) => id.startsWith('1'));
    assert.equal(oldest?.value, winner);
    assert.equal(await store.get('my-key'), winner);
    assert.equal(await other.get('my-key'), winner);
    await other.close();
  });

  test('a reader waits until nothing can come before a young version', async () => {
    const second = Math.floor(double.serverMs() / 1_000);
    double.put('my-key', 'first written', { created: second, id: 'e'.repeat(32) });
    const { sleep } = double.clock;
    let slept = 0;
    const clock = {
      now: double.clock.now,
      sleep: async (ms: number) => {
        slept += 1;
        // What comes within the same second, while the reader waits.
        double.put('my-key', 'smaller id', { created: second, id: '1'.repeat(32) });
        await sleep(ms);
      },
    };
    const reader = await openOther({ clock });
    assert.equal(await reader.get('my-key'), 'smaller id');
    assert.equal(await reader.get('my-key'), 'smaller id');
    assert.equal(slept, 1);
    await reader.close();
  });

  test('whatever creators and readers do at the same time, all that is read is one value', async () => {
    const seed = Math.floor(Math.random() * 2 ** 31);
    const random = seededRandom(seed);
    const other = await openOther();
    // Every request takes its time, so that writes fall into the same second and into several.
    double.gate = async () => {
      for (let turns = random() * 6; turns > 0; turns -= 1) await double.clock.sleep(random() * 60);
    };
    for (let round = 0; round < 12; round += 1) {
      const name = `key${round}`;
      const seen = new Set<string>();
      const read = async (node: SecretStore): Promise<void> => {
        for (let reads = 0; reads < 4; reads += 1) {
          const value = await node.get(name).catch(failsWith('not-found'));
          if (typeof value === 'string') seen.add(value);
        }
      };
      const values = ['a', 'b', 'c', 'd', 'e'];
      const creates = values.map((value, index) =>
        (index % 2 === 0 ? store : other).create(name, value),
      );
      const [outcomes] = await Promise.all([
        Promise.allSettled(creates),
        read(store),
        read(other),
        read(store),
      ]);
      const winners = values.filter((_, index) => outcomes[index]?.status === 'fulfilled');
      assert.equal(winners.length, 1, `seed ${seed}`);
      seen.add(await other.get(name));
      assert.deepEqual([...seen], winners, `seed ${seed}`);
    }
    await other.close();
  });

  test('a create whose request arrives late does not win', async () => {
    const other = await openOther();
    const { promise: held, resolve: release } = Promise.withResolvers<void>();
    const { promise: arrived, resolve: arrive } = Promise.withResolvers<void>();
    let isFirst = true;
    double.gate = async (line) => {
      if (!line.startsWith('PUT') || !isFirst) return;
      isFirst = false;
      arrive();
      await held;
    };
    const late = store.create('my-key', 'late').then(() => false, failsWith('exists'));
    await arrived;
    await other.create('my-key', 'early');
    release();
    assert.equal(await late, true);
    assert.equal(await store.get('my-key'), 'early');
    await other.close();
  });

  test('reads one address when the version is known, and sees a deletion at once', async () => {
    await store.create('my-key', '1');
    await store.get('my-key');
    const before = double.vault.requests.length;
    await store.get('my-key');
    assert.equal(double.vault.requests.length, before + 1);
    const other = await openOther();
    await other.delete('my-key');
    await assert.rejects(store.get('my-key'), failsWith('not-found'));
    await other.create('my-key', '2');
    assert.equal(await store.get('my-key'), '2');
    await other.close();
  });

  test('disabled, early and expired versions are errors', async () => {
    const past = Math.floor(Date.now() / 1_000) - 1_000;
    double.put('disabled', 'x', { created: past, enabled: false });
    double.put('early', 'x', { created: past, nbf: past + 100_000 });
    double.put('expired', 'x', { created: past, exp: past + 10 });
    const errors = {
      disabled: /SecretDisabled|ObjectIsDisabled/,
      early: /ObjectMustNotBeUsed/,
      expired: /ObjectIsExpired/,
    };
    for (const [name, pattern] of Object.entries(errors)) {
      await assert.rejects(store.get(name), (error) => {
        failsWith('failed')(error);
        assert.match(String(error), pattern);
        return true;
      });
    }
  });

  test('names that Azure does not have are refused, and never found', async () => {
    await assert.rejects(store.create('my_key', 'x'), failsWith('invalid-name'));
    await assert.rejects(store.get('my_key'), failsWith('not-found'));
    await store.delete('my_key');
  });

  test('a name that differs only in case is another key: not read, not deleted, not created', async () => {
    double.put('of-kes', 'theirs', { created: 1_600_000_000 });
    await store.create('my-key', 'x');
    await assert.rejects(store.get('My-Key'), failsWith('not-found'));
    await assert.rejects(store.create('My-Key', 'y'), failsWith('invalid-name'));
    await store.delete('My-Key');
    assert.equal(await store.get('my-key'), 'x');
    assert.equal(await store.get('of-kes'), 'theirs');
    await store.delete('my-key');
    await store.create('My-Key', 'z');
    assert.equal(await store.get('My-Key'), 'z');
    await assert.rejects(store.get('my-key'), failsWith('not-found'));
  });

  test('deletes and purges, also while the vault takes its time', async () => {
    double.deletingLag = 3;
    double.purgingLag = 2;
    await store.create('my-key', '1');
    await store.delete('my-key');
    assert.equal(double.deleted.size, 0);
    await store.create('my-key', '2');
    assert.equal(await store.get('my-key'), '2');
  });

  test('purges beside other calls what the vault takes very long to delete', async () => {
    double.deletingLag = 14;
    await store.create('my-key', '1');
    await store.delete('my-key');
    await assert.rejects(store.get('my-key'), failsWith('not-found'));
    assert.equal(double.deleted.size, 1);
    for (let tries = 0; double.deleted.size > 0 && tries < 500; tries += 1) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    assert.equal(double.deleted.size, 0);
  });

  test('a delete that crashed before its purge is finished by the next', async () => {
    await store.create('my-key', '1');
    const secret = double.secrets.get('my-key');
    assert.ok(secret);
    double.secrets.delete('my-key');
    double.deleted.set('my-key', { ...secret, purgeable: 0 });
    await store.delete('My-Key');
    assert.equal(double.deleted.size, 1);
    await store.delete('my-key');
    assert.equal(double.deleted.size, 0);
  });

  test('a deleted secret in the way of a create is purged, as the reference does', async () => {
    await store.create('my-key', '1');
    const secret = double.secrets.get('my-key');
    assert.ok(secret);
    double.secrets.delete('my-key');
    double.deleted.set('my-key', { ...secret, purgeable: 2 });
    await store.create('my-key', '2');
    assert.equal(await store.get('my-key'), '2');
  });

  test('says that a vault with purge protection keeps what is deleted', async () => {
    assert.equal(store.keepsDeleted, undefined);
    double.softDelete = 'protected';
    await store.create('my-key', '1');
    const said: string[] = [];
    const log: Log = { ...silentLog, warn: (message) => said.push(message) };
    const other = await openOther({ log });
    assert.match(other.keepsDeleted ?? '', /keeps deleted secrets for 90 days/);
    assert.equal(said.length, 1);
    await store.delete('my-key');
    assert.match(store.keepsDeleted ?? '', /keeps deleted secrets/);
    await assert.rejects(store.get('my-key'), failsWith('not-found'));
    await assert.rejects(store.create('my-key', '2'), (error) => {
      failsWith('failed')(error);
      assert.match(String(error), /ObjectIsDeletedButRecoverable.*wait until it is purged/);
      return true;
    });
    await other.close();
  });

  test('a deletion is sent once, and purged all the same when its answer was lost', async () => {
    const match = /^DELETE \/secrets/;
    const { vault } = double;
    for (const fault of [
      () => vault.failNext(1, 503, { match }),
      () => vault.failNext(1, 429, { match, answer: { headers: { 'retry-after': '0' } } }),
      () => vault.dropNext(1, { match }),
      () => vault.loseAnswerNext(1, { match }),
    ]) {
      await store.create('my-key', '1');
      fault();
      const before = vault.requests.length;
      await assert.rejects(store.delete('my-key'), failsWith('unreachable'));
      assert.equal(vault.requests.slice(before).filter((line) => match.test(line)).length, 1);
      await until(() => !vault.requests.at(-1)?.startsWith('DELETE /secrets'));
      await until(() => double.deleted.size === 0);
      await store.delete('my-key');
    }
  });

  test('a purge without an answer is repeated only after another look', async () => {
    const match = /^DELETE \/deletedsecrets/;
    const { vault } = double;
    for (const fault of [
      () => vault.failNext(1, 503, { match }),
      () => vault.loseAnswerNext(1, { match }),
    ]) {
      await store.create('my-key', '1');
      fault();
      await store.delete('my-key');
      await until(() => vault.requests.at(-1)?.startsWith('DELETE /deletedsecrets') === true);
      await until(() => double.deleted.size === 0);
      const purges = vault.requests.flatMap((line, index) => (match.test(line) ? [index] : []));
      const [first = 0, second = 0] = purges.slice(-2);
      const between = vault.requests.slice(first + 1, second);
      assert.ok(
        between.some((line) => line.startsWith('GET /deletedsecrets/my-key')),
        between.join(),
      );
    }
  });

  test("a 403 that is not the vault's own is no refusal to purge", async () => {
    const match = /^DELETE \/deletedsecrets/;
    for (const body of ['<html>Forbidden</html>', '', '{}', '{"error":{"message":"no"}}']) {
      await store.create('my-key', '1');
      double.vault.failNext(1, 403, { match, answer: { body } });
      await assert.rejects(store.delete('my-key'), failsWith('failed'));
      assert.equal(store.keepsDeleted, undefined);
      await until(() => double.deleted.size === 0);
    }
  });

  test("a 403 that is not the vault's own does not mean that nothing is to be purged", async () => {
    for (const body of ['<html>Forbidden</html>', '{}']) {
      double.vault.failNext(1, 403, { match: /^GET \/deletedsecrets/, answer: { body } });
      await assert.rejects(store.delete('my-key'), failsWith('failed'));
    }
  });

  test('of a 404 only the outer code says that there is no such secret', async () => {
    await store.create('my-key', '1');
    const answers = [
      { code: 'NotFound', innererror: { code: 'SecretNotFound' } },
      { code: 'VaultNotFound' },
      {},
    ];
    for (const error of answers) {
      double.vault.failNext(1, 404, { answer: { body: { error } } });
      await assert.rejects(store.get('my-key'), failsWith('failed'));
    }
    const error = { code: 'SecretNotFound', innererror: { code: 'Other' } };
    double.vault.failNext(2, 404, { answer: { body: { error } } });
    await assert.rejects(store.get('my-key'), failsWith('not-found'));
    assert.equal(await store.get('my-key'), '1');
  });

  test('says that it may not purge, and which permission it takes', async () => {
    double.denied.add('purge');
    await store.create('my-key', '1');
    await store.delete('my-key');
    assert.match(store.keepsDeleted ?? '', /grant Purge.*Key Vault Secrets Officer/);
  });

  test('works without soft delete', async () => {
    double.softDelete = 'off';
    await store.create('my-key', '1');
    await store.delete('my-key');
    await store.create('my-key', '2');
    assert.equal(await store.get('my-key'), '2');
  });

  test('names the permission that is missing, action by action', async () => {
    await store.create('there', 'x');
    const rejects = async (action: string, call: () => Promise<unknown>, permission: string) => {
      double.denied.add(action);
      await assert.rejects(call(), new RegExp(`AccessDenied.*grant ${permission}.* on secrets`));
      double.denied.clear();
    };
    await rejects('set', () => store.create('a', 'x'), 'Set');
    await rejects('get', () => store.get('there'), 'Get');
    await rejects('delete', () => store.delete('there'), 'Delete');
    await rejects('list', () => store.list(), 'List');
  });

  test('throttling is waited out, and named when it does not end', async () => {
    await store.create('a', 'x');
    const throttled = { body: { error: { code: 'Throttled', message: 'too many' } } };
    double.vault.failNext(2, 429, { answer: { ...throttled, headers: { 'retry-after': '0' } } });
    assert.equal(await store.get('a'), 'x');
    double.vault.failNext(8, 429, { answer: { ...throttled, headers: { 'retry-after': '0' } } });
    await assert.rejects(store.get('a'), /Throttled.*cache\.revalidate/);
    const quick = await openOther({ limits: { retryDelayMs: 1, readMs: 100 } });
    double.vault.failNext(1, 429, { answer: { ...throttled, headers: { 'retry-after': '60' } } });
    await assert.rejects(quick.get('a'), failsWith('unreachable'));
    await quick.close();
  });

  test('does not open with a wrong secret, tenant or address', async () => {
    const settings = azureSettings(double);
    const wrongSecret = { ...settings.credentials, client_secret: 'wrong' };
    for (const [wrong, pattern] of [
      [{ ...settings, credentials: wrongSecret }, /AADSTS7000215.*client_secret/],
      [{ ...settings, endpoint: 'https://other.vault.azure.net' }, /host name is unknown/],
      [{ ...settings, endpoint: `http://${double.host}` }, /./],
      [{ ...settings, endpoint: 'https://user:pw@host' }, /endpoint must be/],
    ] as const) {
      await assert.rejects(openAzureSecrets(wrong, azureDeps(double, connections)), (error) => {
        assert.ok(error instanceof KeyStoreError);
        assert.match(error.message, pattern);
        assert.ok(!error.message.includes(double.client.secret));
        return true;
      });
    }
  });

  test('a login that does not answer is unreachable', async () => {
    await double.login.down();
    await assert.rejects(openOther(), failsWith('unreachable'));
    await double.login.up();
  });

  test('a token that has expired is fetched anew', async () => {
    double.tokenLifetimeMs = 1_000;
    const short = await openOther();
    await short.create('a', 'x');
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    assert.equal(await short.get('a'), 'x');
    await short.close();
  });

  test('opens with a managed identity', async () => {
    const settings = {
      endpoint: `https://${double.host}`,
      managed_identity: { client_id: double.client.id },
    };
    const managed = await openAzureSecrets(settings, azureDeps(double, connections));
    await managed.create('a', 'x');
    assert.equal(await managed.get('a'), 'x');
    await managed.close();
    const unknown = { ...settings, managed_identity: { client_id: double.tenant } };
    await assert.rejects(
      openAzureSecrets(unknown, azureDeps(double, connections)),
      failsWith('failed'),
    );
  });

  test('the documented configuration opens', async () => {
    const config = documentedKeyStore('keystores/azure-key-vault.md', {
      COFFER_AZURE_SECRET: double.client.secret,
    });
    assert.ok(config.type === 'azure');
    const documented = await openAzureSecrets(config.settings, azureDeps(double, connections));
    await documented.create('my-key', 'x');
    assert.equal(double.secrets.get('my-key')?.versions[0]?.value, 'x');
    await documented.close();
  });

  test('a get that is not answered fails in time', async () => {
    const quick = await openOther({ limits: { readMs: 150, retryDelayMs: 1 } });
    double.vault.hangNext(1);
    await assert.rejects(quick.get('a'), failsWith('unreachable'));
    await quick.close();
  });

  test('a value too large for Azure is refused before it is sent', async () => {
    await assert.rejects(store.create('a', 'x'.repeat(25_601)), /at most 25600 bytes/);
    assert.equal(double.secrets.size, 0);
  });

  test('tells the server nothing about this machine', async () => {
    await store.create('a', 'x');
    assert.equal(double.userAgents.size, 1);
    for (const agent of double.userAgents) assert.match(agent, /^coffer\/[0-9.]+$/);
  });
});

describe('Azure credentials of the environment', () => {
  test('none at all is said so', async () => {
    const double = await startAzureVaultDouble();
    await double.machine.down();
    const connections = connectionsTo(azureHosts(double));
    try {
      await assert.rejects(
        openAzureSecrets({ endpoint: double.host }, azureDeps(double, connections)),
        (error) => {
          assert.ok(error instanceof KeyStoreError);
          assert.match(error.message, /no access token.*AZURE_CLIENT_ID/);
          return true;
        },
      );
    } finally {
      await connections.destroy();
      await double.close();
    }
  });

  test('variables name the client', async () => {
    const double = await startAzureVaultDouble();
    const connections = connectionsTo(azureHosts(double));
    const saved = { ...process.env };
    process.env['AZURE_TENANT_ID'] = double.tenant;
    process.env['AZURE_CLIENT_ID'] = double.client.id;
    process.env['AZURE_CLIENT_SECRET'] = double.client.secret;
    try {
      const settings = { endpoint: double.host };
      const store = await openAzureSecrets(settings, azureDeps(double, connections));
      await store.create('a', 'x');
      assert.equal(await store.get('a'), 'x');
      await store.close();
    } finally {
      for (const name of Object.keys(process.env)) {
        if (saved[name] === undefined) delete process.env[name];
      }
      await connections.destroy();
      await double.close();
    }
  });
});

async function until(isTrue: () => boolean): Promise<void> {
  for (let tries = 0; !isTrue() && tries < 1_000; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.ok(isTrue());
}

/** A gate where so many requests of a kind meet before any goes on; others pass. */
function meeting(count: number, kind: RegExp): (line: string) => Promise<void> {
  let here = 0;
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return async (line) => {
    if (!kind.test(line)) return;
    here += 1;
    if (here >= count) open();
    await opened;
  };
}
