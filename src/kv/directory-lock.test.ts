// The lock on a data directory, against a real second process.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { KvError } from '../store/kv.ts';
import { lockDataDirectory } from './directory-lock.ts';

const isLocked = (error: unknown): boolean => error instanceof KvError && error.code === 'locked';
const module = JSON.stringify(new URL('./directory-lock.ts', import.meta.url).href);

void test('a second server is refused until the first one ends, however it ends', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'coffer-lock-'));
  t.after(() => rm(root, { recursive: true, force: true }));
  const dir = join(root, 'data');
  const script = `import { lockDataDirectory } from ${module};
    lockDataDirectory(process.argv[1]); console.log('held'); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script, dir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  assert.throws(() => lockDataDirectory(dir), isLocked);
  child.kill('SIGKILL');
  await once(child, 'exit');
  const lock = lockDataDirectory(dir);
  assert.throws(() => lockDataDirectory(dir), isLocked);
  lock.release();
  lock.release();
  lockDataDirectory(dir).release();
});
