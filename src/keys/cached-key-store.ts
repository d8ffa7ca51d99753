// A cache over a key store that never outlives the truth by more than half a second: an entry older than
// that is compared with the store before it is used, so a key removed, replaced or disabled by another
// program is refused within a second. What this process changes takes effect at once. Absence and errors
// are never cached. The one exception is asked for by name: with `offlineMs` set, keys stay usable that
// long while the store cannot be reached.

import {
  type KeyStore,
  KeyStoreError,
  type KeyStorePage,
  type KeyStoreStatus,
} from './key-store.ts';
import type { MasterKey } from './master-key.ts';
import { parseStoredKey } from './stored-key.ts';

/** A stored key, parsed once. */
export type CachedKey = { readonly value: string; readonly masterKey: MasterKey };

export type CacheRules = {
  /** Everything is forgotten this often; 0 for never. */
  readonly anyMs: number;
  /** What was not used for this long is forgotten; 0 for never. */
  readonly unusedMs: number;
  /** How long keys stay usable while the store is unreachable; 0 for not at all. */
  readonly offlineMs: number;
};

/** The oldest an entry may be without asking the store again. */
export const revalidateAfterMs = 500;

type Entry = {
  cached: CachedKey;
  /** When the store was asked for what it holds. */
  checkedAt: number;
  usedAt: number;
  refresh: Promise<CachedKey> | undefined;
};

/** `now` counts milliseconds and never goes back. */
export class CachedKeyStore implements KeyStore {
  readonly #store: KeyStore;
  readonly #rules: CacheRules;
  readonly #now: () => number;
  readonly #entries = new Map<string, Entry>();
  readonly #loads = new Map<string, Promise<CachedKey>>();
  /** Grows with every local change: a load that began before one must not be kept. */
  #changes = 0;
  #clearedAt: number;
  /** Whether the store could not be reached when it was last asked. */
  #isOffline = false;

  constructor(deps: { store: KeyStore; rules: CacheRules; now: () => number }) {
    this.#store = deps.store;
    this.#rules = deps.rules;
    this.#now = deps.now;
    this.#clearedAt = deps.now();
  }

  /** The parsed key. Throws `KeyStoreError` as `get` does, and `KeyError` `corrupt`. */
  load(name: string): CachedKey | Promise<CachedKey> {
    const entry = this.#entries.get(name);
    if (entry === undefined) return this.#loadOnce(name);
    const now = this.#now();
    entry.usedAt = now;
    if (now - entry.checkedAt < revalidateAfterMs) return entry.cached;
    entry.refresh ??= this.#refresh(name, entry).finally(() => {
      entry.refresh = undefined;
    });
    return entry.refresh;
  }

  /** The cached parsed key if it may be used without asking the store. */
  peek(name: string): CachedKey | undefined {
    const entry = this.#entries.get(name);
    if (entry === undefined || this.#now() - entry.checkedAt >= revalidateAfterMs) return undefined;
    return entry.cached;
  }

  async get(name: string): Promise<string> {
    const { value } = await this.load(name);
    return value;
  }

  async create(name: string, value: string): Promise<void> {
    await this.#store.create(name, value);
  }

  async replace(
    name: string,
    change: { readonly expected: string; readonly value: string },
  ): Promise<void> {
    await this.#changing(name, () => this.#store.replace(name, change));
  }

  async delete(name: string): Promise<void> {
    await this.#changing(name, () => this.#store.delete(name));
  }

  list(query: { readonly prefix: string; readonly after?: string }): Promise<KeyStorePage> {
    return this.#store.list(query);
  }

  status(): Promise<KeyStoreStatus> {
    return this.#store.status();
  }

  async close(): Promise<void> {
    this.#entries.clear();
    await this.#store.close();
  }

  /** What the store holds now; nothing is kept. */
  getUncached(name: string): Promise<string> {
    return this.#store.get(name);
  }

  /** Forgets one key: the next use asks the store. */
  forget(name: string): void {
    this.#changes += 1;
    this.#entries.delete(name);
    this.#loads.delete(name);
  }

  /** Forgets everything, without touching the store. */
  clear(): void {
    this.#changes += 1;
    this.#entries.clear();
    this.#loads.clear();
  }

  /** Forgets what the rules say; to be called about once a second. */
  sweep(): void {
    const now = this.#now();
    const { anyMs, unusedMs, offlineMs } = this.#rules;
    if (this.#isOffline && offlineMs > 0) {
      this.#forgetIf((entry) => now - entry.checkedAt >= offlineMs);
      return;
    }
    if (anyMs > 0 && now - this.#clearedAt >= anyMs) {
      this.#clearedAt = now;
      this.#entries.clear();
    }
    if (unusedMs > 0) this.#forgetIf((entry) => now - entry.usedAt >= unusedMs);
  }

  #forgetIf(isOver: (entry: Entry) => boolean): void {
    for (const [name, entry] of this.#entries) {
      if (isOver(entry)) this.#entries.delete(name);
    }
  }

  /** Forgets the key before and after the change, so that no call sees what it was for longer. */
  async #changing(name: string, change: () => Promise<void>): Promise<void> {
    this.forget(name);
    try {
      await change();
    } finally {
      this.forget(name);
    }
  }

  #loadOnce(name: string): Promise<CachedKey> {
    const running = this.#loads.get(name);
    if (running !== undefined) return running;
    const load = this.#loadFresh(name).finally(() => {
      if (this.#loads.get(name) === load) this.#loads.delete(name);
    });
    this.#loads.set(name, load);
    return load;
  }

  async #loadFresh(name: string): Promise<CachedKey> {
    const changes = this.#changes;
    const checkedAt = this.#now();
    const value = await this.#store.get(name);
    const cached = { value, masterKey: parseStoredKey(value) };
    if (changes === this.#changes) {
      this.#entries.set(name, { cached, checkedAt, usedAt: this.#now(), refresh: undefined });
    }
    return cached;
  }

  async #refresh(name: string, entry: Entry): Promise<CachedKey> {
    const checkedAt = this.#now();
    try {
      const value = await this.#store.get(name);
      this.#isOffline = false;
      if (value !== entry.cached.value) {
        entry.cached = { value, masterKey: parseStoredKey(value) };
      }
      entry.checkedAt = checkedAt;
      return entry.cached;
    } catch (error) {
      this.#isOffline = error instanceof KeyStoreError && error.code === 'unreachable';
      const isUsable = checkedAt - entry.checkedAt < this.#rules.offlineMs;
      if (this.#isOffline && isUsable) return entry.cached;
      if (this.#entries.get(name) === entry) this.#entries.delete(name);
      throw error;
    }
  }
}
