// A key-value store in memory, for tests and throw-away servers. Same contract as the durable engines,
// except that nothing outlives the process. Values are copied in both directions.

import type { Kv, KvCommit, KvEntry, KvRange } from '../store/kv.ts';
import { assertCommit, assertRange, entryKeyText } from './commit-rules.ts';

type Stored = { readonly entryKey: Buffer; readonly value: Buffer; readonly version: number };

/** Opens an empty store. */
export function openMemoryKv(): Kv {
  return new MemoryKv();
}

class MemoryKv implements Kv {
  readonly #entries = new Map<string, Stored>();
  /** All keys in order; undefined after keys came or went. */
  #sorted: string[] | undefined;
  #version = 0;

  async get(entryKey: Uint8Array): Promise<KvEntry | undefined> {
    return this.#find(entryKey);
  }

  async getMany(entryKeys: readonly Uint8Array[]): Promise<(KvEntry | undefined)[]> {
    return entryKeys.map((entryKey) => this.#find(entryKey));
  }

  async list(range: KvRange): Promise<KvEntry[]> {
    assertRange(range);
    const keys = this.#sortedKeys();
    const from = lowerBound(keys, entryKeyText(range.start));
    const to = Math.max(from, lowerBound(keys, entryKeyText(range.end)));
    const count = Math.min(to - from, range.limit);
    const page = range.isReverse
      ? keys.slice(to - count, to).toReversed()
      : keys.slice(from, from + count);
    const entries: KvEntry[] = [];
    for (const key of page) {
      const stored = this.#entries.get(key);
      if (stored) entries.push(toEntry(stored));
    }
    return entries;
  }

  async commit(commit: KvCommit): Promise<'committed' | 'conflict'> {
    assertCommit(commit);
    for (const check of commit.checks ?? []) {
      const stored = this.#entries.get(entryKeyText(check.entryKey));
      if ((stored?.version ?? 'absent') !== check.version) return 'conflict';
    }
    this.#version += 1;
    for (const { entryKey, value } of commit.puts ?? []) {
      const key = entryKeyText(entryKey);
      if (!this.#entries.has(key)) this.#sorted = undefined;
      const stored = { entryKey: Buffer.from(entryKey), value: Buffer.from(value) };
      this.#entries.set(key, { ...stored, version: this.#version });
    }
    for (const entryKey of commit.deletes ?? []) {
      if (this.#entries.delete(entryKeyText(entryKey))) this.#sorted = undefined;
    }
    return 'committed';
  }

  async close(): Promise<void> {
    this.#entries.clear();
    this.#sorted = undefined;
  }

  #find(entryKey: Uint8Array): KvEntry | undefined {
    const stored = this.#entries.get(entryKeyText(entryKey));
    return stored && toEntry(stored);
  }

  #sortedKeys(): string[] {
    // The default order compares UTF-16 units; these strings hold one byte a unit, so it is byte order.
    this.#sorted ??= [...this.#entries.keys()].sort();
    return this.#sorted;
  }
}

function toEntry(stored: Stored): KvEntry {
  return {
    entryKey: Buffer.from(stored.entryKey),
    value: Buffer.from(stored.value),
    version: stored.version,
  };
}

/** Index of the first key that is not below `key`. */
function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    // The index is within the array by construction.
    if ((keys[middle] as string) < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
