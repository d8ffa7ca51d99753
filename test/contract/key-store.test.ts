// Every key store engine against the contract, and what only stores shared by several programs can do.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { CachedKeyStore } from '../../src/keys/cached-key-store.ts';
import type { KeyStore } from '../../src/keys/key-store.ts';
import { openFileKeyStore } from '../../src/keystores/files/key-store.ts';
import { MemoryKeyStore } from '../../src/keystores/memory.ts';
import { failsWith, testKeyStore } from './key-store.ts';

async function makeDirectory(): Promise<{ path: string; remove: () => Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'coffer-keys-'));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}

testKeyStore('memory', async () => ({ store: new MemoryKeyStore(), close: async () => {} }));

testKeyStore('file', async () => {
  const { path, remove } = await makeDirectory();
  const store = await openFileKeyStore(path);
  return { store, openAgain: () => openFileKeyStore(path), close: remove };
});

/** Runs module text in another process; resolves with its lines of output. */
async function runProcess(code: string): Promise<string[]> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const [exitCode] = (await once(child, 'close')) as [number];
  assert.equal(exitCode, 0);
  return output.split('\n').filter((line) => line !== '');
}

const filesModule = new URL('../../src/keystores/files/key-store.ts', import.meta.url).href;

function creatorOf(path: string, label: string): string {
  return `
    import { openFileKeyStore } from ${JSON.stringify(filesModule)};
    const store = await openFileKeyStore(${JSON.stringify(path)});
    for (let round = 0; round < 60; round += 1) {
      const tries = [0, 1, 2].map((n) => store.create('k' + round, ${JSON.stringify(label)} + n));
      const outcomes = await Promise.allSettled(tries);
      outcomes.forEach((outcome, n) => {
        if (outcome.status === 'fulfilled') console.log('k' + round + ' ' + ${JSON.stringify(label)} + n);
        else if (outcome.reason.code !== 'exists') throw outcome.reason;
      });
    }`;
}

test('of many creators in several processes exactly one wins each name', async () => {
  const { path, remove } = await makeDirectory();
  try {
    const outputs = await Promise.all(
      ['p', 'q', 'r', 's'].map((label) => runProcess(creatorOf(path, label))),
    );
    const wins = outputs.flat().map((line) => line.split(' '));
    assert.equal(wins.length, 60);
    assert.equal(new Set(wins.map(([name]) => name)).size, 60);
    const store = await openFileKeyStore(path);
    for (const [name = '', value] of wins) assert.equal(await store.get(name), value);
    assert.equal((await readdir(path)).length, 60);
  } finally {
    await remove();
  }
});

function counterOf(path: string): string {
  return `
    import { openFileKeyStore } from ${JSON.stringify(filesModule)};
    const store = await openFileKeyStore(${JSON.stringify(path)});
    let done = 0;
    while (done < 15) {
      const expected = await store.get('n');
      try {
        await store.replace('n', { expected, value: String(Number(expected) + 1) });
        done += 1;
      } catch (error) {
        if (error.code !== 'conflict') throw error;
      }
    }`;
}

test('replacements by several processes lose nothing', async () => {
  const { path, remove } = await makeDirectory();
  try {
    const store = await openFileKeyStore(path);
    await store.create('n', '0');
    await Promise.all([1, 2, 3].map(() => runProcess(counterOf(path))));
    assert.equal(await store.get('n'), '45');
    assert.deepEqual(await readdir(path), ['n']);
  } finally {
    await remove();
  }
});

test('key files are named like their key, private, and hold nothing but the text', async () => {
  const { path, remove } = await makeDirectory();
  try {
    const store = await openFileKeyStore(join(path, 'deep/keys'));
    await store.create('my-key', 'text');
    const file = join(path, 'deep/keys/my-key');
    assert.equal(await readFile(file, 'utf8'), 'text');
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    await store.replace('my-key', { expected: 'text', value: 'other' });
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    assert.deepEqual(await readdir(join(path, 'deep/keys')), ['my-key']);
  } finally {
    await remove();
  }
});

test('what crashed programs left behind is removed at open and never listed', async () => {
  const { path, remove } = await makeDirectory();
  try {
    const code = `
      import { ownerMark } from ${JSON.stringify(new URL('../../src/keystores/files/file-owner.ts', import.meta.url).href)};
      console.log(ownerMark());`;
    const [deadMark] = await runProcess(code);
    await writeFile(join(path, `.new-${deadMark}-0011`), 'half');
    await writeFile(join(path, '.lock-my-key'), `${deadMark} 00`);
    await writeFile(join(path, '.hidden'), 'not ours');
    const first = await openFileKeyStore(path);
    assert.deepEqual(await readdir(path), ['.hidden']);
    assert.deepEqual((await first.list({ prefix: '' })).names, []);
    await first.create('my-key', '1');
    await writeFile(join(path, '.lock-my-key'), `${deadMark} 01`);
    await first.replace('my-key', { expected: '1', value: '2' });
    assert.equal(await first.get('my-key'), '2');
  } finally {
    await remove();
  }
});

test('a half-written file of a running program is left alone', async () => {
  const { path, remove } = await makeDirectory();
  try {
    const { ownerMark } = await import('../../src/keystores/files/file-owner.ts');
    const name = `.new-${ownerMark()}-0011`;
    await writeFile(join(path, name), 'half');
    await openFileKeyStore(path);
    assert.deepEqual(await readdir(path), [name]);
  } finally {
    await remove();
  }
});

test('a program killed at any moment leaves whole keys, and loses none it acknowledged', async () => {
  const { path, remove } = await makeDirectory();
  try {
    for (let round = 0; round < 3; round += 1) {
      const acknowledged = await createUntilKilled(path, `r${round}-`);
      const store = await openFileKeyStore(path);
      for (const name of acknowledged) assert.equal(await store.get(name), valueOf(name));
      for (const name of await readdir(path)) assert.equal(await store.get(name), valueOf(name));
      assert.ok(acknowledged.length > 0);
    }
  } finally {
    await remove();
  }
});

function valueOf(name: string): string {
  return `${name}:`.repeat(100);
}

/** Creates keys in another process, kills it in the middle, and tells which were acknowledged. */
async function createUntilKilled(path: string, prefix: string): Promise<string[]> {
  const code = `
    import { openFileKeyStore } from ${JSON.stringify(filesModule)};
    import { writeSync } from 'node:fs';
    const store = await openFileKeyStore(${JSON.stringify(path)});
    const work = async (worker) => {
      for (let index = 0; ; index += 1) {
        const name = ${JSON.stringify(prefix)} + worker + '-' + index;
        await store.create(name, (name + ':').repeat(100));
        writeSync(1, name + '\\n');
      }
    };
    await Promise.all([0, 1, 2, 3].map(work));`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
    if (output.length > 300) child.kill('SIGKILL');
  });
  await once(child, 'close');
  return output.split('\n').slice(0, -1);
}

test('file names that could lead elsewhere are refused', async () => {
  const { path, remove } = await makeDirectory();
  const text = await readFile(new URL('../vectors/kes-names.json', import.meta.url), 'utf8');
  const vectors = JSON.parse(text) as { fs_name_valid: string[]; fs_name_invalid: string[] };
  try {
    const store: KeyStore = await openFileKeyStore(path);
    for (const name of vectors.fs_name_valid) await store.create(name, 'x');
    for (const name of vectors.fs_name_invalid) {
      await assert.rejects(store.create(name, 'x'), failsWith('invalid-name'));
      await assert.rejects(store.get(name), failsWith('invalid-name'));
      await assert.rejects(store.delete(name), failsWith('invalid-name'));
    }
  } finally {
    await remove();
  }
});

test('a directory that has gone is unreachable, not empty', async () => {
  const { path, remove } = await makeDirectory();
  const store = await openFileKeyStore(join(path, 'keys'));
  await store.create('a', 'x');
  await remove();
  assert.equal((await store.status()).state, 'unreachable');
  await assert.rejects(store.get('a'), failsWith('unreachable'));
  await assert.rejects(store.create('b', 'x'), failsWith('unreachable'));
  await assert.rejects(store.delete('a'), failsWith('unreachable'));
});

test('opening something that is no directory fails with its path', async () => {
  const { path, remove } = await makeDirectory();
  try {
    await writeFile(join(path, 'file'), '');
    await assert.rejects(openFileKeyStore(join(path, 'file')), failsWith('failed'));
  } finally {
    await remove();
  }
});

test('a key file larger than a key can be is refused', async () => {
  const { path, remove } = await makeDirectory();
  try {
    await writeFile(join(path, 'big'), 'x'.repeat(1_048_577));
    await mkdir(join(path, 'directory'));
    const store = await openFileKeyStore(path);
    await assert.rejects(store.get('big'), failsWith('failed'));
    await assert.rejects(store.get('directory'), failsWith('failed'));
  } finally {
    await remove();
  }
});

test('a refused create leaves nothing behind', async () => {
  const { path, remove } = await makeDirectory();
  try {
    await mkdir(join(path, 'taken'));
    const store = await openFileKeyStore(path);
    await assert.rejects(store.create('taken', 'x'), failsWith('exists'));
    assert.deepEqual(await readdir(path), ['taken']);
  } finally {
    await remove();
  }
});

test('the cache passes everything through to its store', async () => {
  const store = new MemoryKeyStore();
  const rules = { anyMs: 0, unusedMs: 0, offlineMs: 0 };
  const cache = new CachedKeyStore({ store, rules, now: () => 0 });
  await cache.create('a', 'x');
  assert.deepEqual(await cache.list({ prefix: '' }), { names: ['a'], hasMore: false });
  assert.equal(await store.get('a'), 'x');
  assert.equal((await cache.status()).state, 'available');
});
