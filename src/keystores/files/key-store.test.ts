import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { link, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ownerMark } from './file-owner.ts';
import { openFileKeyStore } from './key-store.ts';

/** The mark of a program that has ended. */
function deadMark(): string {
  const module = new URL('./file-owner.ts', import.meta.url).href;
  const code = `import { ownerMark } from ${JSON.stringify(module)}; console.log(ownerMark());`;
  const child = spawnSync(process.execPath, ['--input-type=module', '-e', code]);
  return child.stdout.toString().trim();
}

async function withDirectory(work: (path: string) => Promise<void>): Promise<void> {
  const path = await mkdtemp(join(tmpdir(), 'coffer-keys-'));
  try {
    await work(path);
  } finally {
    await rm(path, { recursive: true });
  }
}

/** Every text that any file of the directory holds. */
async function textsIn(path: string): Promise<string[]> {
  const names = await readdir(path);
  return Promise.all(names.map((name) => readFile(join(path, name), 'latin1')));
}

for (const action of ['erase', 'delete'] as const) {
  test(`after a key is gone (${action}) no file holds an earlier text of it`, async () => {
    await withDirectory(async (path) => {
      const store = await openFileKeyStore(path);
      await store.create('a', 'secret 1');
      await store.create('b', 'other');
      // A program between giving the key its name and taking away the first one.
      await link(join(path, 'a'), join(path, `.new-${ownerMark()}-0011`));
      // One that died while it wrote a later text, and one that is at work on another key.
      await writeFile(join(path, `.new-${deadMark()}-0022`), 'secret 2');
      const alive = `.new-${ownerMark()}-0033`;
      await writeFile(join(path, alive), 'third');
      if (action === 'delete') await store.delete('a');
      else await store.replace('a', { expected: 'secret 1', value: 'gone', isErasing: true });
      const texts = await textsIn(path);
      assert.deepEqual(
        texts.toSorted(),
        action === 'delete' ? ['other', 'third'] : ['gone', 'other', 'third'],
      );
    });
  });
}
