import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, stat, unlink, utimes, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { withFileLock } from './file-lock.ts';
import { type HostSource, isLeftBehind, ownerMark } from './file-owner.ts';

async function withDirectory(work: (path: string) => Promise<void>): Promise<void> {
  const path = await mkdtemp(join(tmpdir(), 'coffer-lock-'));
  try {
    await work(path);
  } finally {
    await rm(path, { recursive: true });
  }
}

test('one holder at a time, and nothing is left afterwards', () =>
  withDirectory(async (path) => {
    let holders = 0;
    let most = 0;
    const hold = () =>
      withFileLock(join(path, 'lock'), ownerMark(), async (stillHeld) => {
        holders += 1;
        most = Math.max(most, holders);
        await stillHeld();
        holders -= 1;
      });
    await Promise.all(Array.from({ length: 6 }, hold));
    assert.equal(most, 1);
    assert.deepEqual(await readdir(path), []);
  }));

test('a holder whose lock was taken away notices, and leaves the new one alone', () =>
  withDirectory(async (path) => {
    const lock = join(path, 'lock');
    await withFileLock(lock, ownerMark(), async (stillHeld) => {
      await unlink(lock);
      await writeFile(lock, 'somebody else');
      await assert.rejects(stillHeld(), { code: 'failed' });
    });
    assert.deepEqual(await readdir(path), ['lock']);
  }));

test('errors of the work pass through, and the lock is released', () =>
  withDirectory(async (path) => {
    const failing = withFileLock(join(path, 'lock'), ownerMark(), async () => {
      throw new Error('no');
    });
    await assert.rejects(failing, { message: 'no' });
    assert.deepEqual(await readdir(path), []);
  }));

test('files of another host are left behind only when they are old', () =>
  withDirectory(async (path) => {
    assert.notEqual(hostname(), '');
    const file = join(path, 'file');
    await writeFile(file, '');
    assert.equal(await isLeftBehind(file, 'elsewhere-1-x'), false);
    await utimes(file, 0, 0);
    assert.equal(await isLeftBehind(file, 'elsewhere-1-x'), true);
    assert.equal(await isLeftBehind(file, ownerMark()), false);
    assert.equal(await isLeftBehind(join(path, 'none'), 'elsewhere-1-x'), false);
    const [host, pid] = ownerMark().split('-');
    assert.equal(await isLeftBehind(file, `${host}-${pid}-earlier`), true);
    await utimes(file, new Date(), new Date());
    assert.equal(await isLeftBehind(file, `${host}-1-x`), false);
    assert.equal(await isLeftBehind(file, `${host}-x-x`), false);
  }));

test('containers that share a host name, and boots of one host, are different hosts', () => {
  const source: HostSource = {
    platform: 'linux',
    hostName: () => 'node',
    bootId: () => 'boot 1',
    pidNamespace: () => 'pid:[1]',
  };
  const hostOf = (other: Partial<HostSource>) => ownerMark({ ...source, ...other }).split('-')[0];
  const fails = () => {
    throw new Error('no /proc');
  };
  const hosts = [
    hostOf({}),
    hostOf({ bootId: () => 'boot 2' }),
    hostOf({ pidNamespace: () => 'pid:[2]' }),
    hostOf({ hostName: () => 'other' }),
    hostOf({ pidNamespace: fails }),
    hostOf({ platform: 'darwin', bootId: fails, pidNamespace: fails }),
  ];
  assert.equal(new Set(hosts).size, hosts.length);
  assert.equal(hostOf({}), hosts[0]);
});

test('age is measured by the clock of the directory', (t) =>
  withDirectory(async (path) => {
    const file = join(path, 'file');
    await writeFile(file, '');
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 3_600_000 });
    assert.equal(await isLeftBehind(file, 'elsewhere-1-x'), false);
    assert.deepEqual(await readdir(path), ['file']);
  }));

test('a lock that is held for long shows that its owner lives', () =>
  withDirectory(async (path) => {
    const lock = join(path, 'lock');
    const work = async () => {
      await utimes(lock, 0, 0);
      while ((await stat(lock)).mtimeMs === 0) await new Promise((done) => setTimeout(done, 5));
      assert.equal(await isLeftBehind(lock, 'elsewhere-1-x'), false);
    };
    await withFileLock(lock, ownerMark(), work, { refreshMs: 5 });
    assert.deepEqual(await readdir(path), []);
  }));
