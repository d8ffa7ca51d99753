// A look at LMDB's data file before the library maps it: a file that is not LMDB's, or that was cut, would make
// the library crash the process on its first read of what is not there.
//
// Each of the first two pages is a header of 24 bytes, then: magic (4) | version (4) | address (8) | map size (8) |
// free list (48, begins with the page size, 4) | main tree (48) | last page (8) | transaction (8); little-endian.

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { KvError } from '../store/kv.ts';

const magic = 0xbeefc0de;
const formatVersion = 2;
const looksMax = 3;
const at = { magic: 24, version: 28, pageSize: 48, lastPage: 144, transaction: 152, end: 160 };

/** Throws `KvError` `corrupt` for a file that is there, not empty, and not a whole LMDB file. */
export function assertLmdbFile(path: string): void {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  try {
    // Another process may be writing these very bytes, so a bad look is taken again.
    for (let look = 1; ; look += 1) {
      const why = whatIsWrong(file);
      if (why === undefined) return;
      if (look === looksMax) throw damaged(path, why);
    }
  } finally {
    closeSync(file);
  }
}

function whatIsWrong(file: number): string | undefined {
  const { size } = fstatSync(file);
  if (size === 0) return undefined;
  const first = readPage(file, 0);
  const pageSize = first.readUInt32LE(at.pageSize);
  const metas = [first, readPage(file, pageSize)];
  if (!metas.every(isMeta)) return 'it is not a database file';
  const newest = metas.reduce((a, b) => (transactionOf(b) > transactionOf(a) ? b : a));
  const pages = newest.readBigUInt64LE(at.lastPage) + 1n;
  return BigInt(size) < pages * BigInt(pageSize) ? 'its end is missing' : undefined;
}

function readPage(file: number, position: number): Buffer {
  const page = Buffer.alloc(at.end);
  readSync(file, page, 0, page.length, position);
  return page;
}

function isMeta(page: Buffer): boolean {
  return page.readUInt32LE(at.magic) === magic && page.readUInt32LE(at.version) === formatVersion;
}

function transactionOf(page: Buffer): bigint {
  return page.readBigUInt64LE(at.transaction);
}

function damaged(path: string, why: string): KvError {
  return new KvError(
    'corrupt',
    `The metadata file ${path} is damaged: ${why}. Restore the data directory from a backup.`,
  );
}
