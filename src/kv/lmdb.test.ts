// LMDB keeps the contract of every engine, also between processes.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { testKv } from '../../test/contract/kv.ts';
import { type Kv, KvError } from '../store/kv.ts';
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

const lmdbModule = JSON.stringify(new URL('./lmdb.ts', import.meta.url).href);

void test("several processes see each other's commits at once, and none is lost", async (t) => {
  const dir = join(root, 'shared');
  const kv = openLmdbKv(dir);
  t.after(() => kv.close());
  const counter = Buffer.from('counter');
  await kv.commit({ puts: [{ entryKey: counter, value: Buffer.from('0') }] });
  // Each child adds to the counter, then tells its parent, who must read at least what was told.
  const script = `import { openLmdbKv } from ${lmdbModule};
    const kv = openLmdbKv(process.argv[1]);
    const entryKey = Buffer.from('counter');
    for (let done = 0; done < 100; ) {
      const { value, version } = await kv.get(entryKey);
      const next = Number(value.toString()) + 1;
      const put = { entryKey, value: Buffer.from(String(next)) };
      const outcome = await kv.commit({ checks: [{ entryKey, version }], puts: [put] });
      if (outcome === 'committed') { done += 1; console.log(next); }
    }
    await kv.close();`;
  const children = Array.from({ length: 3 }, async () => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', script, dir], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const exit = once(child, 'exit');
    for await (const line of createInterface({ input: child.stdout })) {
      const seen = Number(Buffer.from((await kv.get(counter))?.value ?? '').toString());
      assert.ok(seen >= Number(line), `told ${line}, saw ${seen}`);
    }
    assert.deepEqual(await exit, [0, null]);
  });
  await Promise.all(children);
  assert.equal(Buffer.from((await kv.get(counter))?.value ?? '').toString(), '300');
});

void test('a closed store refuses', async () => {
  const kv = openFresh();
  await kv.close();
  await kv.close();
  await assert.rejects(kv.get(Buffer.from('a')), KvError);
  await assert.rejects(kv.commit({ deletes: [Buffer.from('a')] }), KvError);
});

void test('a commit with many checks that fails half way changes nothing, and the next one does', async (t) => {
  const kv = openFresh();
  t.after(() => kv.close());
  const names = Array.from({ length: 40 }, (_, index) => Buffer.from(`many-${index}`));
  const checks = names.map((entryKey) => ({ entryKey, version: 'absent' as const }));
  const puts = names.map((entryKey) => ({ entryKey, value: randomBytes(10) }));
  // The library refuses it when the puts before it are already made.
  const refused = { entryKey: Buffer.from('refused'), value: { length: 1 } as Uint8Array };
  const neighbour = { entryKey: Buffer.from('neighbour'), value: randomBytes(10) };
  const [failed, beside] = await Promise.allSettled([
    kv.commit({ checks, puts: [...puts, refused] }),
    kv.commit({ puts: [neighbour] }),
  ]);
  assert.ok(failed.status === 'rejected' && failed.reason instanceof KvError);
  assert.equal(beside.status, 'fulfilled');
  assert.deepEqual(
    (await kv.getMany(names)).filter((entry) => entry !== undefined),
    [],
  );
  assert.ok(await kv.get(neighbour.entryKey));
  assert.equal(await kv.commit({ checks, puts }), 'committed');
});

void test('a file that is not a database, or was cut, is refused instead of crashing the process', async () => {
  const isCorrupt = (error: unknown): boolean =>
    error instanceof KvError && error.code === 'corrupt';
  const dir = join(root, 'damaged');
  const file = join(dir, 'data.mdb');
  await mkdir(dir);
  for (const content of [randomBytes(100_000), Buffer.from('short'), Buffer.alloc(8192)]) {
    await writeFile(file, content);
    assert.throws(() => openLmdbKv(dir), isCorrupt);
  }
  await rm(dir, { recursive: true });
  const kv = openLmdbKv(dir);
  for (let index = 0; index < 5; index += 1) {
    await kv.commit({ puts: [{ entryKey: Buffer.from([index]), value: randomBytes(20_000) }] });
  }
  await kv.close();
  const { length } = await readFile(file);
  await truncate(file, length - 4096);
  assert.throws(() => openLmdbKv(dir), isCorrupt);
});
