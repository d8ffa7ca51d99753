import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CachedKeyStore } from './cached-key-store.ts';
import { KeyService } from './key-service.ts';
import { type KeyStore, KeyStoreError } from './key-store.ts';
import { pageOf } from './key-store-page.ts';

const none = Buffer.alloc(0);

function memoryStore(values: Map<string, string>): KeyStore {
  const find = (name: string) => {
    const value = values.get(name);
    if (value === undefined) throw new KeyStoreError('not-found', 'no such key');
    return value;
  };
  return {
    create: async (name, value) => {
      if (values.has(name)) throw new KeyStoreError('exists', 'taken');
      values.set(name, value);
    },
    get: async (name) => find(name),
    replace: async (name, change) => {
      if (find(name) !== change.expected) throw new KeyStoreError('conflict', 'changed');
      values.set(name, change.value);
    },
    delete: async (name) => {
      find(name);
      values.delete(name);
    },
    list: async (query) => pageOf([...values.keys()], query),
    status: async () => ({ state: 'available', latencyMs: 1 }),
    close: async () => {},
  };
}

function newService(store: KeyStore): KeyService {
  const rules = { anyMs: 0, unusedMs: 0, offlineMs: 0 };
  const cache = new CachedKeyStore({ store, rules, now: () => 0 });
  return new KeyService({ store: cache, nowMs: () => 1_000 });
}

function setUp() {
  const values = new Map<string, string>();
  const store = memoryStore(values);
  return { values, store, service: newService(store) };
}

test('a data key opens again with its context, and with no other', async () => {
  const { service } = setUp();
  await service.create('k', 'me');
  const context = Buffer.from('{"b":"b/o"}');
  const { plaintext, ciphertext } = await service.generate('k', context);
  assert.equal(plaintext.length, 32);
  assert.deepEqual(await service.decrypt('k', ciphertext, context), plaintext);
  await assert.rejects(service.decrypt('k', ciphertext, none), { code: 'not-authentic' });
});

test('describe tells what is known about a key', async () => {
  const { service } = setUp();
  await service.create('k', 'me');
  const { id, fingerprint, versions, ...rest } = await service.describe('k');
  assert.match(`${id} ${fingerprint}`, /^[0-9a-f]{32} [0-9a-f]{32}$/);
  const origin = { createdAt: { seconds: 1n, nanos: 0 }, createdBy: 'me' };
  assert.deepEqual(versions, [{ version: 1, fingerprint, ...origin }]);
  assert.deepEqual(rest, { name: 'k', state: 'enabled', cipher: 'AES256', version: 1, ...origin });
  await assert.rejects(service.create('k', 'me'), { code: 'exists' });
  await assert.rejects(service.describe('other'), { code: 'not-found' });
});

test('imports keys of both ciphers under all their names', async () => {
  const { service } = setUp();
  const bytes = Buffer.alloc(32, 7);
  const ciphers = {
    AES256: 'AES256',
    'AES256-GCM_SHA256': 'AES256',
    ChaCha20: 'ChaCha20',
    'XCHACHA20-POLY1305': 'ChaCha20',
  };
  for (const [cipher, expected] of Object.entries(ciphers)) {
    await service.import(cipher, { cipher, bytes, createdBy: '' });
    assert.equal((await service.describe(cipher)).cipher, expected);
    const sealed = await service.encrypt(cipher, Buffer.from('text'), none);
    assert.equal((await service.decrypt(cipher, sealed, none)).toString(), 'text');
  }
  await assert.rejects(service.import('x', { cipher: 'DES', bytes, createdBy: '' }), {
    code: 'unknown-cipher',
  });
  const short = { cipher: 'AES256', bytes: bytes.subarray(1), createdBy: '' };
  await assert.rejects(service.import('x', short), { code: 'invalid-key-size' });
});

test('a disabled key does nothing, shows in describe and list, and works again when enabled', async () => {
  const { service, store } = setUp();
  await service.create('k', 'me');
  await service.create('other', 'me');
  const { ciphertext } = await service.generate('k', none);
  await service.disable('k');
  await service.disable('k');
  for (const each of [service, newService(store)]) {
    const disabled = { code: 'disabled' };
    await assert.rejects(each.generate('k', none), disabled);
    await assert.rejects(each.encrypt('k', none, none), disabled);
    await assert.rejects(each.decrypt('k', ciphertext, none), disabled);
    await assert.rejects(each.hmac('k', none), disabled);
    assert.equal((await each.describe('k')).state, 'disabled');
    const { names, disabled: listed } = await each.list({ prefix: '' });
    assert.deepEqual([names, listed], [['k', 'other'], ['k']]);
  }
  await service.enable('k');
  assert.equal((await service.decrypt('k', ciphertext, none)).length, 32);
  assert.deepEqual((await service.list({ prefix: '' })).disabled, []);
  await assert.rejects(service.disable('none'), { code: 'not-found' });
});

test('disabling a key that another program changes meanwhile tries again', async () => {
  const { service, values, store } = setUp();
  await service.create('k', 'me');
  const { replace } = store;
  let interferences = 0;
  store.replace = async (name, change) => {
    if (interferences++ < 2) throw new KeyStoreError('conflict', 'changed');
    await replace(name, change);
  };
  await service.disable('k');
  assert.equal(interferences, 3);
  store.replace = async () => {
    throw new KeyStoreError('conflict', 'changed');
  };
  await assert.rejects(service.enable('k'), { code: 'store-failed' });
  assert.equal(values.size, 1);
});

test('keys without an HMAC key say so', async () => {
  const { service, values } = setUp();
  values.set('old', JSON.stringify({ bytes: Buffer.alloc(32).toString('base64') }));
  await assert.rejects(service.hmac('old', none), { code: 'no-hmac-key' });
  await service.create('new', '');
  assert.equal((await service.hmac('new', none)).length, 32);
});

test('a deleted key opens nothing', async () => {
  const { service } = setUp();
  await service.create('k', '');
  const { ciphertext } = await service.generate('k', none);
  await service.delete('k');
  await assert.rejects(service.decrypt('k', ciphertext, none), { code: 'not-found' });
  await service.create('k', '');
  await assert.rejects(service.decrypt('k', ciphertext, none), { code: 'not-authentic' });
});

test('a listing goes through all pages, leaves out foreign names, and survives damaged keys', async () => {
  const { service, values } = setUp();
  for (let index = 0; index < 2_500; index += 1) values.set(`k${index}`, 'damaged');
  values.set('-foreign', 'x');
  const { names, next } = await service.list({ prefix: '' });
  assert.equal(names.length, 2_500);
  assert.equal(next, undefined);
  await assert.rejects(service.describe('k1'), { code: 'corrupt' });
});

test('a listing too long for one answer says where to go on', async () => {
  const { service, values } = setUp();
  for (let index = 0; index < 12_000; index += 1) values.set(`k${index}`, 'damaged');
  const first = await service.list({ prefix: 'k' });
  assert.ok(first.next !== undefined);
  const second = await service.list({ prefix: 'k', after: first.next });
  assert.equal(second.next, undefined);
  assert.equal(new Set([...first.names, ...second.names]).size, 12_000);
});

test('trouble of the store is told apart from what callers do wrong', async () => {
  const { service, store } = setUp();
  store.get = async () => {
    throw new KeyStoreError('unreachable', 'gone');
  };
  store.list = async () => {
    throw new KeyStoreError('failed', 'broken');
  };
  await assert.rejects(service.describe('k'), { code: 'store-unreachable' });
  await assert.rejects(service.list({ prefix: '' }), { code: 'store-failed' });
});
