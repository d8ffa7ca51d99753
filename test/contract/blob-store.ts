// The contract of every `BlobStore`, as tests: what `src/store/blob-store.ts` promises and nothing else.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { BlobError, type BlobStore } from '../../src/store/blob-store.ts';

async function* chunksOf(bytes: Buffer, chunkBytes: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
}

async function readAll(store: BlobStore, id: string, start: number, end: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of await store.read(id, { start, end })) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

async function idsOf(store: BlobStore): Promise<string[]> {
  const ids: string[] = [];
  for await (const { id } of store.list()) ids.push(id);
  return ids.sort();
}

const hasCode =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof BlobError && error.code === code;

/** Declares the suite. `open` gives a fresh, empty store. */
export function testBlobStore(name: string, open: () => Promise<BlobStore>): void {
  const withStore = (title: string, run: (store: BlobStore) => Promise<void>): void => {
    void test(`${name}: ${title}`, async () => {
      const store = await open();
      try {
        await run(store);
      } finally {
        await store.close();
      }
    });
  };

  withStore('gives back what was written, whatever the chunks', async (store) => {
    for (const [index, size] of [0, 1, 65_536, 1_048_576, 3_333_333].entries()) {
      const bytes = randomBytes(size);
      for (const chunkBytes of [1_000, 65_568, 2_000_000]) {
        const id = `blob-${index}-${chunkBytes}`;
        assert.equal(await store.write(id, chunksOf(bytes, chunkBytes)), size);
        assert.ok(bytes.equals(await readAll(store, id, 0, size)));
      }
    }
  });

  withStore('reads any range', async (store) => {
    const bytes = randomBytes(2_500_000);
    await store.write('ranges', chunksOf(bytes, 100_000));
    for (const [start, end] of [
      [0, 0],
      [0, 1],
      [2_499_999, 2_500_000],
      [1_048_576, 2_097_152],
      [5, 2_400_000],
    ] as const) {
      assert.ok(bytes.subarray(start, end).equals(await readAll(store, 'ranges', start, end)));
    }
  });

  withStore('refuses an absent blob before the first byte', async (store) => {
    await assert.rejects(store.read('missing', { start: 0, end: 1 }), hasCode('absent'));
  });

  withStore('fails with truncated when the blob is shorter than the range', async (store) => {
    await store.write('short', chunksOf(randomBytes(1000), 300));
    await assert.rejects(readAll(store, 'short', 0, 1001), hasCode('truncated'));
    await assert.rejects(readAll(store, 'short', 2000, 3000), hasCode('truncated'));
  });

  withStore('leaves nothing of a source that fails, and passes its error on', async (store) => {
    const failure = new Error('the client went away');
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield randomBytes(2_000_000);
      throw failure;
    }
    await assert.rejects(store.write('failed', failing()), (error) => error === failure);
    await assert.rejects(store.read('failed', { start: 0, end: 1 }), hasCode('absent'));
    assert.deepEqual(await idsOf(store), []);
  });

  withStore('never changes a blob that exists', async (store) => {
    const bytes = randomBytes(100);
    await store.write('once', chunksOf(bytes, 100));
    await assert.rejects(store.write('once', chunksOf(randomBytes(100), 100)), BlobError);
    assert.ok(bytes.equals(await readAll(store, 'once', 0, 100)));
  });

  withStore('removes blobs, also those that are not there', async (store) => {
    await store.write('gone', chunksOf(randomBytes(10), 10));
    await store.remove('gone');
    await store.remove('gone');
    await assert.rejects(store.read('gone', { start: 0, end: 1 }), hasCode('absent'));
  });

  withStore('does not disturb an open reader by a removal', async (store) => {
    const bytes = randomBytes(3_000_000);
    await store.write('open', chunksOf(bytes, 100_000));
    const reader = await store.read('open', { start: 0, end: bytes.length });
    await store.remove('open');
    const chunks: Buffer[] = [];
    for await (const chunk of reader) chunks.push(Buffer.from(chunk));
    assert.ok(bytes.equals(Buffer.concat(chunks)));
  });

  withStore('closes a reader early and twice without harm', async (store) => {
    await store.write('early', chunksOf(randomBytes(3_000_000), 100_000));
    const unread = await store.read('early', { start: 0, end: 3_000_000 });
    await unread.close();
    await unread.close();
    const reader = await store.read('early', { start: 0, end: 3_000_000 });
    for await (const chunk of reader) {
      assert.ok(chunk.length > 0);
      break;
    }
    await reader.close();
  });

  withStore('lists every blob with its time', async (store) => {
    const ids = Array.from(
      { length: 30 },
      (_, index) => `0a-${index}-${randomBytes(4).toString('hex')}`,
    );
    await Promise.all(ids.map((id) => store.write(id, chunksOf(randomBytes(10), 10))));
    assert.deepEqual(await idsOf(store), ids.sort());
    for await (const { modifiedMs } of store.list()) {
      assert.ok(Math.abs(Date.now() - modifiedMs) < 3_600_000);
    }
  });
}
