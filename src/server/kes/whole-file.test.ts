import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { WholeFileError, writeWholeFile } from './whole-file.ts';

function makeFolder(t: TestContext): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'coffer-whole-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function* pieces(...texts: string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) {
    await new Promise((resolve) => setImmediate(resolve));
    yield Buffer.from(text);
  }
}

const isTaken = (error: unknown) =>
  error instanceof WholeFileError && error.code === 'exists' && /give another/.test(error.message);

void test('a file that exists is never replaced, and its writer reads nothing', async (t) => {
  const folder = makeFolder(t);
  const file = path.join(folder, 'backup');
  await writeWholeFile(file, pieces('one'));
  const never = (async function* () {
    yield await Promise.reject(new Error('it was read'));
  })();
  await assert.rejects(writeWholeFile(file, never), isTaken);
  assert.equal(readFileSync(file, 'utf8'), 'one');
  assert.deepEqual(readdirSync(folder), ['backup']);
});

void test('of two writers at once one wins, and its file is its own', async (t) => {
  const folder = makeFolder(t);
  const file = path.join(folder, 'backup');
  const results = await Promise.allSettled([
    writeWholeFile(file, pieces('a', 'a', 'a')),
    writeWholeFile(file, pieces('b', 'b', 'b')),
  ]);
  const lost = results.filter((result) => result.status === 'rejected');
  assert.equal(lost.length, 1);
  assert.ok(isTaken(lost[0]?.reason));
  assert.match(readFileSync(file, 'utf8'), /^(?:aaa|bbb)$/);
  assert.deepEqual(readdirSync(folder), ['backup']);
});

void test('what a failed writer wrote is gone', async (t) => {
  const folder = makeFolder(t);
  const failing = (async function* () {
    yield Buffer.from('half');
    await Promise.reject(new Error('the store is gone'));
  })();
  await assert.rejects(writeWholeFile(path.join(folder, 'backup'), failing), /the store is gone/);
  assert.deepEqual(readdirSync(folder), []);
});

void test('parts of killed writers are removed, those of others stay', async (t) => {
  const folder = makeFolder(t);
  const dead = spawnSync(process.execPath, ['-e', '']).pid;
  const part = (host: string, pid: number) => `backup.part-${host}-${pid}-0123456789ab`;
  const [killed, alive] = [part(hostname(), dead), part(hostname(), process.ppid)];
  const [far, farOld] = [part('elsewhere', dead), part('elsewhere', 1)];
  for (const name of [killed, alive, far, farOld, 'backup.part', 'other.part-x']) {
    writeFileSync(path.join(folder, name), 'half');
  }
  utimesSync(path.join(folder, farOld), 0, 0);
  await writeWholeFile(path.join(folder, 'backup'), pieces('whole'));
  const expected = ['backup', alive, far, 'backup.part', 'other.part-x'];
  assert.deepEqual(readdirSync(folder).toSorted(), expected.toSorted());
  assert.equal(readFileSync(path.join(folder, 'backup'), 'utf8'), 'whole');
});
