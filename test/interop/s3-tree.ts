// Folders of files for the command-line clients: made once, compared with what a client brought back.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const kib = 1024;
const mib = 1024 * kib;

export type TreeFile = { readonly name: string; readonly size: number };

/** Names a file system can hold, and sizes at the edges. */
export const leanTree: readonly TreeFile[] = [
  { name: 'empty', size: 0 },
  { name: 'one byte', size: 1 },
  { name: 'deep/plus+percent%20 ü日本😀/65535', size: 64 * kib - 1 },
  { name: "deep/quote'(1)&=;,@", size: 64 * kib + 1 },
  { name: 'parts.bin', size: 5 * mib + 1 },
];

export const fullTree: readonly TreeFile[] = [
  ...leanTree,
  { name: '65536', size: 64 * kib },
  { name: 'parts-1', size: 5 * mib - 1 },
  { name: 'parts', size: 5 * mib },
  { name: 'large.bin', size: 16 * mib + 1 },
];

/** Writes the files below `dir`, each with other bytes of `data`. */
export function writeTree(dir: string, files: readonly TreeFile[], data: Buffer): void {
  for (const [at, { name, size }] of files.entries()) {
    const file = path.join(dir, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, data.subarray(at * 1013, at * 1013 + size));
  }
}

/** Relative name → digest of every file below a folder. */
export function treeDigests(dir: string): Record<string, string> {
  const digests = readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => {
      const file = path.join(entry.parentPath, entry.name);
      const digest = createHash('sha256').update(readFileSync(file)).digest('hex');
      return [path.relative(dir, file), digest] as const;
    });
  return Object.fromEntries(digests.toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

/** Fails unless both folders hold the same files. */
export function assertSameTree(actual: string, expected: string, what: string): void {
  assert.deepEqual(treeDigests(actual), treeDigests(expected), what);
}
