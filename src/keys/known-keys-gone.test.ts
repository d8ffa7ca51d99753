import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLog } from '../base/log.ts';
import { MemoryKeyStore } from '../keystores/memory.ts';
import { CachedKeyStore } from './cached-key-store.ts';
import { KeyService } from './key-service.ts';
import { KnownKeys } from './known-keys.ts';
import { loadKnownKeys } from './known-keys-file.ts';
import { createMasterKey, keyTimeOf } from './master-key.ts';
import {
  buryStoredKey,
  changeStoredKey,
  formatStoredKey,
  parseStored,
  parseStoredKey,
} from './stored-key.ts';

const none = Buffer.alloc(0);
const newKey = () => formatStoredKey(createMasterKey({ createdAt: keyTimeOf(0), createdBy: '' }));
const disabled = (text: string) => changeStoredKey(text, { kind: 'disable' });
const buried = (text: string) =>
  buryStoredKey(text, { destroyedAt: keyTimeOf(0), destroyedBy: '' });
const withoutId = (text: string) => {
  const { id: _, ...rest } = parseStoredKey(text);
  return formatStoredKey(rest);
};

const check = (known: KnownKeys, text: string) =>
  known.check('k', parseStored(text), known.begin());

/** What is known after a read found `text` and a later one found nothing. */
function goneAfter(text: string): KnownKeys {
  const known = new KnownKeys();
  check(known, text);
  known.gone('k', known.begin());
  return known;
}

test('a key that was gone may come back as it was or further on, not as it was earlier', () => {
  const first = newKey();
  const second = disabled(first);
  for (const later of [second, changeStoredKey(second, { kind: 'enable' }), buried(second)]) {
    assert.equal(check(goneAfter(second), later), 'known');
  }
  assert.throws(() => check(goneAfter(second), first), { code: 'replaced' });
});

test('another key may get the name of one that is gone, and is then the known one', () => {
  const [old, next] = [newKey(), newKey()];
  const known = goneAfter(disabled(old));
  assert.equal(check(known, next), 'known');
  assert.throws(() => check(known, disabled(old)), { code: 'replaced' });
  assert.throws(() => check(known, newKey()), { code: 'replaced' });
});

test('without an id it is the secret that makes another key', () => {
  const old = withoutId(newKey());
  const known = goneAfter(disabled(old));
  assert.throws(() => check(known, old), { code: 'replaced' });
  assert.equal(check(known, withoutId(newKey())), 'known');
});

test('the name of a destroyed key that is gone goes to nobody, not to the key itself either', () => {
  const old = newKey();
  for (const text of [newKey(), old, disabled(disabled(old)), buried(newKey())]) {
    assert.throws(() => check(goneAfter(buried(old)), text), { code: 'replaced' });
  }
  assert.equal(check(goneAfter(buried(old)), buried(old)), 'known');
});

test('a read from before the key was gone proves nothing, nor does a miss from before it was seen', () => {
  const text = newKey();
  const known = new KnownKeys();
  check(known, text);
  const mark = known.begin();
  known.gone('k', known.begin());
  assert.equal(known.check('k', parseStored(text), mark), 'outdated');
  const seen = new KnownKeys();
  const early = seen.begin();
  check(seen, text);
  seen.gone('k', early);
  assert.equal(seen.find('k')?.isGone, undefined);
});

test('that a key is gone, or destroyed, outlives a restart', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'coffer-known-'));
  try {
    const file = join(dir, 'known-keys');
    const reload = () => loadKnownKeys(file, { onError: assert.fail });
    const text = disabled(newKey());
    let known = await reload();
    check(known, text);
    known.gone('k', known.begin());
    await known.close();
    known = await reload();
    assert.equal(known.find('k')?.isGone, true);
    const next = newKey();
    assert.equal(check(known, next), 'known');
    check(known, buried(next));
    known.gone('k', known.begin());
    await known.close();
    known = await reload();
    assert.throws(() => check(known, newKey()), { code: 'replaced' });
    await known.close();
  } finally {
    await rm(dir, { recursive: true });
  }
});

/** A node that knows `k`, over a store that has lost it. */
async function openLost() {
  const store = new MemoryKeyStore();
  const errors: string[] = [];
  const rules = { anyMs: 0, unusedMs: 0, offlineMs: 0 };
  const cache = new CachedKeyStore({ store, rules, now: () => 0 });
  const log = { ...silentLog, error: (text: string) => errors.push(text) };
  const service = new KeyService({ store: cache, nowMs: () => 1_000_000, now: () => 0, log });
  await service.create('k', 'me');
  const text = await store.get('k');
  await store.delete('k');
  cache.forget('k');
  return { store, service, cache, errors, text };
}

test('accepting a lost key gives it up: the name is as good as new, and a second time nothing is found', async () => {
  const { service, cache, errors } = await openLost();
  await assert.rejects(service.generate('k', none), { code: 'not-found' });
  await service.accept('k');
  assert.equal(cache.known.has('k'), false);
  await assert.rejects(service.accept('k'), { code: 'not-found' });
  await service.create('k', 'me');
  assert.deepEqual(errors, []);
});

test('accepting an unknown name gives up nothing', async () => {
  const { service } = await openLost();
  await assert.rejects(service.accept('other'), { code: 'not-found' });
});

test('a lost key that is created anew is told of with the fingerprint of the lost one', async () => {
  const { service, errors, text } = await openLost();
  await service.create('k', 'me');
  assert.equal(errors.length, 1);
  const { fingerprint = '' } = goneAfter(text).find('k') ?? {};
  assert.ok(errors[0]?.includes(fingerprint));
});

test('a lost key that comes back is used as before; an accepted one that comes back too', async () => {
  const { service, store, text } = await openLost();
  await assert.rejects(service.generate('k', none), { code: 'not-found' });
  await store.create('k', text);
  await service.generate('k', none);
  await service.accept('k');
  await service.generate('k', none);
});
