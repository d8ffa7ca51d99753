// How root credentials are made, kept and found, and what they allow.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Kv, KvCommit, KvEntry } from '../../store/kv.ts';
import { authorize } from '../authorize.ts';
import { IamError } from '../iam-error.ts';
import { anonymous, ownerIdOf, recordedOwner, rootIdentity, rootOwner } from '../identity.ts';
import {
  checkRootCredentials,
  findGeneratedCredentials,
  generateRootCredentials,
  loadOrGenerateCredentials,
  rootCredentialsSource,
} from './root-credentials.ts';

/** The least that is a `Kv`, with a hook before each commit. */
function fakeKv(
  beforeCommit: () => void = () => {},
): Kv & { readonly map: Map<string, Uint8Array> } {
  const map = new Map<string, Uint8Array>();
  const get = async (entryKey: Uint8Array): Promise<KvEntry | undefined> => {
    const value = map.get(Buffer.from(entryKey).toString());
    return value === undefined ? undefined : { entryKey, value, version: 1 };
  };
  return {
    map,
    get,
    getMany: (entryKeys) => Promise.all(entryKeys.map(get)),
    list: async () => [],
    commit: async (commit: KvCommit) => {
      beforeCommit();
      for (const check of commit.checks ?? []) {
        if (map.has(Buffer.from(check.entryKey).toString())) return 'conflict';
      }
      for (const put of commit.puts ?? []) map.set(Buffer.from(put.entryKey).toString(), put.value);
      return 'committed';
    },
    close: async () => {},
  };
}

void test('credentials are generated once and are the same at every later start', async () => {
  const kv = fakeKv();
  assert.equal(await findGeneratedCredentials(kv), undefined);
  const first = await loadOrGenerateCredentials(kv);
  assert.equal(first.isNew, true);
  assert.match(first.credentials.accessKey, /^[A-Z0-9]{20}$/);
  assert.match(first.credentials.secretKey, /^[A-Za-z0-9]{40}$/);
  assert.deepEqual(await loadOrGenerateCredentials(kv), {
    credentials: first.credentials,
    isNew: false,
  });
  assert.deepEqual(await findGeneratedCredentials(kv), first.credentials);
});

void test('a process that loses the race uses the credentials of the winner', async () => {
  const winner = { version: 1, accessKey: 'WINNER', secretKey: 'winner-secret' };
  const kv: ReturnType<typeof fakeKv> = fakeKv(() => {
    kv.map.set('aroot/credentials', Buffer.from(JSON.stringify(winner)));
  });
  const { credentials, isNew } = await loadOrGenerateCredentials(kv);
  assert.equal(isNew, false);
  assert.equal(credentials.accessKey, 'WINNER');
});

void test('stored credentials that cannot be read are an error that does not quote them', async () => {
  for (const text of ['secret-text', 'null', '{"version":2}', '{"version":1,"accessKey":"a"}']) {
    const kv = fakeKv();
    kv.map.set('aroot/credentials', Buffer.from(text));
    await assert.rejects(loadOrGenerateCredentials(kv), (error) => {
      assert.ok(error instanceof IamError && error.code === 'corrupt');
      assert.equal(error.message.includes('secret-text'), false);
      assert.equal(error.cause, undefined);
      return true;
    });
  }
});

void test('unusable credentials in the settings are refused', () => {
  const good = { accessKey: 'min', secretKey: '12345678' };
  assert.equal(checkRootCredentials(good), good);
  for (const bad of [
    { accessKey: 'ab', secretKey: '12345678' },
    { accessKey: 'a,b', secretKey: '12345678' },
    { accessKey: 'admin', secretKey: '1234567' },
  ]) {
    assert.throws(
      () => checkRootCredentials(bad),
      (error) => error instanceof IamError && error.code === 'invalid-credentials',
    );
  }
});

void test('the source finds the root access key as it is now, and no other', () => {
  let root = generateRootCredentials();
  const source = rootCredentialsSource(() => root);
  assert.deepEqual(source.find(root.accessKey), {
    ...root,
    identity: rootIdentity(root.accessKey),
  });
  assert.equal(source.find('someone'), undefined);
  const before = root.accessKey;
  root = generateRootCredentials();
  assert.equal(source.find(before), undefined);
});

void test('root may do everything, anonymous nothing', () => {
  const root = rootIdentity('admin');
  const request = { action: 's3:GetObject', bucket: 'b', key: 'k' };
  assert.equal(authorize({ identity: root, ...request }), 'allow');
  assert.equal(authorize({ identity: anonymous, ...request }), 'deny');
  assert.equal(ownerIdOf(recordedOwner(root)), rootOwner.ownerId);
  assert.equal(recordedOwner(anonymous), '');
  assert.equal(ownerIdOf('', recordedOwner(root)), rootOwner.ownerId);
  assert.equal(ownerIdOf('an-access-key-of-root'), rootOwner.ownerId);
  assert.equal(ownerIdOf('a'.repeat(64)), 'a'.repeat(64));
});
