import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { testKv } from '../../test/contract/kv.ts';
import type { Kv } from '../store/kv.ts';
import { openLmdbKv } from './lmdb.ts';

let root = '';
let count = 0;
const dirs = new WeakMap<Kv, string>();

before(async () => {
  root = await mkdtemp(join(tmpdir(), 'coffer-lmdb-'));
});
after(() => rm(root, { recursive: true, force: true }));

function openFresh(): Kv {
  count += 1;
  const dir = join(root, `kv-${count}`);
  const kv = openLmdbKv(dir);
  dirs.set(kv, dir);
  return kv;
}

testKv(
  'lmdb',
  async () => openFresh(),
  async (kv) => {
    await kv.close();
    return openLmdbKv(dirs.get(kv) ?? '');
  },
);
