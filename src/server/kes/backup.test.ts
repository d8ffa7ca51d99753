import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { PassThrough, Writable } from 'node:stream';
import { test, type TestContext } from 'node:test';
import {
  formatAgeIdentity,
  formatAgeRecipient,
  generateAgeIdentity,
} from '../../keys/backup/age.ts';
import { createMasterKey, keyTimeOf } from '../../keys/master-key.ts';
import { changeStoredKey, formatStoredKey, parseStoredKey } from '../../keys/stored-key.ts';
import { MemoryKeyStore } from '../../keystores/memory.ts';
import { runKesKeyBackup, runKesKeyRestore } from './backup.ts';
import { KeyRestoreError, restoreKeys } from './key-restore.ts';

type Result = { readonly code: number; readonly out: string; readonly err: string };
type Bench = {
  readonly dir: string;
  /** Directory of the keys of a configuration. */
  keysOf(name: string): string;
  backup(from: string, ...args: string[]): Promise<Result>;
  restore(to: string, ...args: string[]): Promise<Result>;
};

const newKey = () => formatStoredKey(createMasterKey({ createdAt: keyTimeOf(0), createdBy: '' }));

async function bench(t: TestContext, stores: Record<string, Record<string, string>>) {
  const dir = await mkdtemp(path.join(tmpdir(), 'coffer-backup-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const keysOf = (name: string) => path.join(dir, `keys-${name}`);
  for (const [name, keys] of Object.entries(stores)) {
    // That of a whole server, or the key store alone.
    const server =
      name === 'a' ? `admin: {identity: ${'ab'.repeat(32)}}\ntls: {key: k, cert: c}\n` : '';
    const yaml = `${server}keystore: {fs: {path: ${keysOf(name)}}}\n`;
    await writeFile(path.join(dir, `${name}.yml`), yaml);
    await mkdir(keysOf(name));
    for (const [key, value] of Object.entries(keys)) {
      await writeFile(path.join(keysOf(name), key), value);
    }
  }
  const call = async (
    command: typeof runKesKeyBackup,
    argv: readonly string[],
  ): Promise<Result> => {
    const texts = { out: '', err: '' };
    const sink = (kind: 'out' | 'err') =>
      new Writable({
        write(chunk: Buffer, _encoding, done) {
          texts[kind] += chunk.toString();
          done();
        },
      });
    const { signal } = new AbortController();
    const io = {
      env: {},
      stdin: new PassThrough(),
      stdout: sink('out'),
      stderr: sink('err'),
      signal,
    };
    const code = await command(argv, io);
    return { code, ...texts };
  };
  const configOf = (name: string) => ['--config', path.join(dir, `${name}.yml`)];
  const made: Bench = {
    dir,
    keysOf,
    backup: (from, ...args) => call(runKesKeyBackup, [...configOf(from), ...args]),
    restore: (to, ...args) => call(runKesKeyRestore, [...configOf(to), ...args]),
  };
  return made;
}

async function filesIn(dir: string): Promise<Record<string, string>> {
  const names = await readdir(dir);
  const texts = await Promise.all(names.map((name) => readFile(path.join(dir, name), 'latin1')));
  return Object.fromEntries(names.map((name, index) => [name, texts[index] ?? '']));
}

test('all keys come back into an empty store, with an identity', async (t) => {
  const keys = Object.fromEntries(Array.from({ length: 30 }, (_, at) => [`key-${at}`, newKey()]));
  const { dir, backup, restore, keysOf } = await bench(t, { a: keys, b: {} });
  const file = path.join(dir, 'backup.age');
  const identity = generateAgeIdentity();
  const recipient = formatAgeRecipient(identity.recipient);
  const idFile = path.join(dir, 'id');
  await writeFile(idFile, `${formatAgeIdentity(identity)}\n`);
  const saved = await backup('a', '--out', file, '--recipient', recipient);
  assert.deepEqual([saved.code, saved.out], [0, ''], saved.err);
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  assert.equal((await readFile(file)).includes('key-1'), false);
  const checked = await restore('b', '--in', file, '--identity', idFile, '--verify-only');
  assert.match(checked.err, /is whole: 30 keys/);
  assert.deepEqual(await filesIn(keysOf('b')), {});
  const restored = await restore('b', '--in', file, '--identity', idFile);
  assert.equal(restored.code, 0, restored.err);
  assert.deepEqual(await filesIn(keysOf('b')), keys);
  const again = await restore('b', '--in', file, '--identity', idFile);
  assert.match(again.err, /Restored 0 keys; 30 were there already/);
  assert.match((await backup('a', '--out', file, '--recipient', recipient)).err, /exists/);
  assert.deepEqual(
    (await readdir(dir)).filter((name) => name.includes('.part')),
    [],
  );
});

test('enough shares open a backup, fewer or foreign ones do not', async (t) => {
  const { dir, backup, restore, keysOf } = await bench(t, { a: { k: newKey() }, b: {} });
  const [one, two] = [path.join(dir, '1.age'), path.join(dir, '2.age')];
  const saved = await backup('a', '--out', one, '--shares', '2/3');
  assert.equal(saved.code, 0, saved.err);
  const shares = saved.out.trim().split('\n');
  assert.equal(shares.length, 3);
  const foreign = (await backup('a', '--out', two, '--shares', '2/3')).out.trim().split('\n');
  const args = (...given: (string | undefined)[]) =>
    given.flatMap((share) => ['--share', share ?? '']);
  const few = await restore('b', '--in', one, ...args(shares[0]));
  assert.match(few.err, /2 different shares are needed, and 1 were given/);
  const mixed = await restore('b', '--in', one, ...args(shares[0], foreign[1]));
  assert.match(mixed.err, /belongs to another backup/);
  const wrong = await restore('b', '--in', one, ...args(foreign[0], foreign[1]));
  assert.match(wrong.err, /none of the identities opens this file/);
  assert.deepEqual(await filesIn(keysOf('b')), {});
  await writeFile(path.join(dir, 'shares'), `# two of three\n${shares[1]}\n${shares[2]}\n`);
  const right = await restore('b', '--in', one, '--share-file', path.join(dir, 'shares'));
  assert.equal(right.code, 0, right.err);
  assert.deepEqual(await filesIn(keysOf('b')), await filesIn(keysOf('a')));
});

test('other keys under the same names: nothing is written, unless it is said what to do', async (t) => {
  const [old, same, other] = [newKey(), newKey(), newKey()];
  const stores = { a: { k: old, same, new: newKey() }, b: { k: other, same } };
  const { dir, backup, restore, keysOf } = await bench(t, stores);
  const file = path.join(dir, 'backup.age');
  const shares = (await backup('a', '--out', file, '--shares', '2/2')).out.trim().split('\n');
  const opened = ['--in', file, ...shares.flatMap((share) => ['--share', share])];
  const refused = await restore('b', ...opened);
  assert.equal(refused.code, 1);
  assert.match(refused.err, /nothing was restored: .* k: give --merge to leave them/);
  assert.deepEqual(await filesIn(keysOf('b')), stores.b);
  assert.match((await restore('b', ...opened, '--force', '--merge')).err, /exclude each other/);
  const merged = await restore('b', ...opened, '--merge');
  assert.match(merged.err, /Left as they are: k\./);
  assert.deepEqual(await filesIn(keysOf('b')), { ...stores.b, new: stores.a.new });
  const forced = await restore('b', ...opened, '--force');
  assert.match(forced.err, /Replaced: k\./);
  assert.deepEqual(await filesIn(keysOf('b')), stores.a);
});

test('a damaged key is named and left out, a partial backup is refused', async (t) => {
  const { dir, backup, restore, keysOf } = await bench(t, { a: { bad: 'xx', k: newKey() }, b: {} });
  const file = path.join(dir, 'backup.age');
  const saved = await backup('a', '--out', file, '--shares', '2/2');
  assert.equal(saved.code, 1);
  assert.match(saved.err, /NOT in the backup: bad/);
  const shares = saved.out
    .trim()
    .split('\n')
    .flatMap((share) => ['--share', share]);
  const bytes = await readFile(file);
  for (const cut of [10, 150, bytes.length - 1]) {
    await writeFile(file, bytes.subarray(0, cut));
    const refused = await restore('b', '--in', file, ...shares);
    assert.equal(refused.code, 1);
    assert.match(refused.err, /not a whole age file/);
  }
  assert.deepEqual(await filesIn(keysOf('b')), {});
  await writeFile(file, bytes);
  assert.equal((await restore('b', '--in', file, ...shares)).code, 0);
});

test('a destroyed key is never brought back, and a store that loses a write is noticed', async () => {
  const store = new MemoryKeyStore();
  await store.create('gone', '{"state":"destroyed"}');
  const keys = [{ name: 'gone', value: newKey() }];
  await assert.rejects(
    restoreKeys(store, keys, 'force', 0),
    (error) =>
      error instanceof KeyRestoreError &&
      error.code === 'different' &&
      /names stay taken/.test(error.message) &&
      !/delete them/.test(error.message),
  );
  const lossy = new MemoryKeyStore();
  const get = lossy.get.bind(lossy);
  let isWritten = false;
  lossy.create = async () => {
    isWritten = true;
    await MemoryKeyStore.prototype.create.call(lossy, 'k', newKey());
  };
  lossy.get = (name) => get(name);
  await assert.rejects(
    restoreKeys(lossy, [{ name: 'k', value: newKey() }], 'refuse', 0),
    (error) => error instanceof KeyRestoreError && error.code === 'lost',
  );
  assert.ok(isWritten);
});

test('bad flags are explained', async (t) => {
  const { dir, backup, restore } = await bench(t, { a: { k: newKey() } });
  const out = ['--out', path.join(dir, 'x')];
  assert.match((await backup('a', ...out)).err, /either --recipient or --shares/);
  assert.match((await backup('a', ...out, '--shares', '5/3')).err, /2 <= K <= N/);
  assert.match((await backup('a', ...out, '--recipient', 'age1x')).err, /is no age recipient/);
  assert.match((await restore('a', '--in', 'x')).err, /either --identity or --share/);
  assert.equal((await backup('a')).code, 1);
});

test('force does not put a key back to an older state of itself', async () => {
  const store = new MemoryKeyStore();
  const value = newKey();
  const now = changeStoredKey(value, { kind: 'disable' });
  await store.create('k', now);
  for (const older of [value, '{"state":"destroyed"}']) {
    await assert.rejects(
      restoreKeys(store, [{ name: 'k', value: older }], 'force', 0),
      /newer state.*: k:/,
    );
  }
  assert.equal(await store.get('k'), now);
});

test('a key that was to be destroyed at a time that has passed comes back disabled', async () => {
  const destroyAt = keyTimeOf(1_000_000);
  const value = changeStoredKey(newKey(), { kind: 'schedule', destroyAt });
  const store = new MemoryKeyStore();
  const keys = [{ name: 'k', value }];
  const restored = await restoreKeys(store, keys, 'refuse', 1_000_000);
  assert.deepEqual([restored.written, restored.disabled], [['k'], ['k']]);
  assert.equal(parseStoredKey(await store.get('k')).state, 'disabled');
  const again = await restoreKeys(store, keys, 'refuse', 1_000_000);
  assert.deepEqual([again.identical, again.disabled], [['k'], []]);
  const early = new MemoryKeyStore();
  assert.deepEqual((await restoreKeys(early, keys, 'refuse', 999_999)).disabled, []);
  assert.equal(await early.get('k'), value);
  // Restored early, still scheduled, and run again late: it is there, and is left.
  assert.deepEqual((await restoreKeys(early, keys, 'refuse', 1_000_000)).identical, ['k']);
});
