import assert from 'node:assert/strict';
import { existsSync, linkSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { openLmdbKv } from './lmdb.ts';
import { hasRemnants, noteRemnants, removeRemnants } from './lmdb-remnants.ts';

const secret = 'a plain value that was replaced';
const entryKey = (index: number): Buffer => Buffer.from(`c${String(index).padStart(6, '0')}`);

describe('remnants in an LMDB file', () => {
  let dir = '';
  const file = (): string => path.join(dir, 'data.mdb');

  beforeEach(async () => {
    dir = mkdtempSync(path.join(tmpdir(), 'coffer-remnants-'));
    const kv = openLmdbKv(dir);
    const indices = Array.from({ length: 200 }, (_, index) => index);
    await kv.commit({
      puts: indices.map((index) => ({
        entryKey: entryKey(index),
        value: Buffer.from(secret.repeat(50)),
      })),
    });
    await noteRemnants(dir);
    for (const index of indices) {
      await kv.commit({
        puts: [{ entryKey: entryKey(index), value: Buffer.from(`sealed ${index}`) }],
      });
    }
    await kv.close();
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const assertWhole = async (): Promise<void> => {
    assert.equal(hasRemnants(dir), false);
    assert.deepEqual(
      readdirSync(dir).filter((name) => name !== 'lock.mdb'),
      ['data.mdb'],
    );
    assert.equal(readFileSync(file()).includes(secret), false);
    const kv = openLmdbKv(dir);
    const entries = await kv.list({ start: Buffer.from('c'), end: Buffer.from('d'), limit: 1000 });
    assert.equal(entries.length, 200);
    assert.equal(Buffer.from(entries[7]?.value ?? []).toString(), 'sealed 7');
    await kv.close();
  };

  test('are there before and gone after, and every entry stays', async () => {
    assert.equal(hasRemnants(dir), true);
    assert.equal(readFileSync(file()).includes(secret), true, 'replaced values stay in free pages');
    await removeRemnants(dir);
    await assertWhole();
  });

  test('a crash while the old file has two names does not cost the data', async () => {
    linkSync(file(), path.join(dir, 'data.mdb.old'));
    await removeRemnants(dir);
    await assertWhole();
  });

  test('a crash after the new file is in place is finished the next time', async () => {
    const kept = path.join(dir, 'kept');
    linkSync(file(), kept);
    await removeRemnants(dir);
    assert.equal(readFileSync(kept).includes(secret), false, 'the old file was overwritten');
    rmSync(kept);
    await noteRemnants(dir);
    await removeRemnants(dir);
    await assertWhole();
    assert.equal(existsSync(path.join(dir, 'data.mdb.old')), false);
  });
});
