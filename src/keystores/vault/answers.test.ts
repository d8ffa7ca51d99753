// JSON that is good and yet no answer of a Vault, in place of every answer there is.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startVaultDouble, type VaultDouble } from '../../../test/support/doubles/vault.ts';
import { silentLog } from '../../base/log.ts';
import { KeyStoreError } from '../../keys/key-store.ts';
import { openVaultSecrets, type VaultSettings } from './secrets.ts';

const approle = { id: 'role-id-of-the-test', secret: 'secret-id-of-the-test' };
const odd = [
  'null',
  'true',
  '1',
  '"x"',
  '[]',
  '[null]',
  '{}',
  '{"data":null}',
  '{"data":[]}',
  '{"data":{"metadata":null}}',
  '{"data":{"data":null}}',
  '{"data":{"keys":null}}',
  '{"auth":null}',
  '{"errors":null}',
  '{"errors":{}}',
];

function open(double: VaultDouble, settings: VaultSettings) {
  const deps = { log: silentLog, retryDelayMs: () => 1, sleep: async () => {} };
  return openVaultSecrets({ endpoint: double.origin, approle, ...settings }, deps);
}

function isFailure(error: unknown): boolean {
  assert.ok(error instanceof KeyStoreError, String(error));
  assert.ok(['failed', 'unreachable'].includes(error.code), error.code);
  return true;
}

for (const settings of [
  { engine: 'kv' },
  { engine: 'secret', version: 'v2' },
  { engine: 'secret', version: 'v2', transit: { key: 'coffer' } },
]) {
  test(`odd JSON is an error, never an absence or a value: ${JSON.stringify(settings)}`, async () => {
    const double = await startVaultDouble();
    const store = await open(double, settings);
    try {
      await store.create('a', '1');
      for (const body of odd) {
        for (const status of [200, 404]) {
          const fault = { match: /^(GET|POST)/, answer: { body } };
          for (const call of [() => store.get('a'), () => store.get('none'), () => store.list()]) {
            double.failNext(1, status, fault);
            await assert.rejects(call(), isFailure, `${status} ${body}`);
          }
          double.failNext(1, status, { match: /^GET .*health/, answer: { body } });
          assert.notEqual((await store.status()).state, 'available');
        }
        double.failNext(1, 404, { match: /^DELETE/, answer: { body } });
        await assert.rejects(store.delete('a'), isFailure, body);
        double.failNext(1, 404, { match: /^PUT/, answer: { body } });
        await assert.rejects(store.create('b', '1'), isFailure, body);
      }
      assert.equal(await store.get('a'), '1');
    } finally {
      await store.close();
      await double.close();
    }
  });
}

test('odd JSON in place of a login or of a description of the engine fails the start', async () => {
  const double = await startVaultDouble();
  try {
    for (const body of odd) {
      for (const match of [/login$/, /mounts/]) {
        double.failNext(1, 200, { match, answer: { body } });
        await assert.rejects(open(double, { engine: 'kv' }), isFailure, body);
      }
    }
  } finally {
    await double.close();
  }
});
