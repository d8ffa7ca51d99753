// Blobs in memory, for tests and throw-away servers. Same contract as the durable stores, except that
// nothing outlives the process.

import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  BlobError,
  type BlobId,
  type BlobRange,
  type BlobReader,
  type BlobStore,
} from '../store/blob-store.ts';

const chunkBytes = 64 * 1024;

export type MemoryBlobs = BlobStore & {
  /** The stored bytes themselves, for tests that look at them or damage them. */
  readonly bytes: Map<BlobId, Buffer>;
};

/** Opens an empty store. `now` stamps the blobs. */
export function openMemoryBlobStore(now: () => number = Date.now): MemoryBlobs {
  const bytes = new Map<BlobId, Buffer>();
  const times = new Map<BlobId, number>();
  return {
    bytes,
    async write(id, source) {
      if (bytes.has(id)) throw new BlobError('unavailable', `the blob ${id} exists`);
      const chunks: Buffer[] = [];
      for await (const chunk of source) chunks.push(Buffer.from(chunk));
      const blob = Buffer.concat(chunks);
      bytes.set(id, blob);
      times.set(id, now());
      return blob.length;
    },
    async read(id, range) {
      const blob = bytes.get(id);
      if (!blob) throw new BlobError('absent', `there is no blob ${id}`);
      return readerOf(id, blob, range);
    },
    async remove(id) {
      bytes.delete(id);
      times.delete(id);
    },
    async *list() {
      for (const [id, modifiedMs] of times) yield { id, modifiedMs };
    },
    async close() {},
  };
}

function readerOf(id: BlobId, blob: Buffer, range: BlobRange): BlobReader {
  let isClosed = false;
  async function* iterate(): AsyncGenerator<Uint8Array> {
    for (let start = range.start; start < range.end; start += chunkBytes) {
      if (isClosed) return;
      const end = Math.min(start + chunkBytes, range.end);
      if (end > blob.length)
        throw new BlobError('truncated', `the blob ${id} is shorter than recorded`);
      await nextTurn();
      yield Buffer.from(blob.subarray(start, end));
    }
  }
  return {
    [Symbol.asyncIterator]: iterate,
    async close() {
      isClosed = true;
    },
  };
}
