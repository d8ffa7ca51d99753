// A cache over a key store that never outlives the truth by a second. An entry is used until half a second
// after the beginning of its last comparison with the store, then it is compared again before it is used;
// an answer that took so long that it may be a second old is not used at all. So a key removed, replaced
// or disabled by another program is refused within a second (later only if the rules say so), and while the store cannot be asked, keys are
// refused. What this process changes takes effect at once. Absence and errors are never cached, and each
// key is read once however many callers wait for it. The one exception is asked for by name: with
// `offlineMs` set, keys stay usable that long while the store cannot be reached.

import { KeyError } from './key-error.ts';
import { KeyStates } from './key-states.ts';
import {
  type KeyStore,
  type KeyStoreChange,
  KeyStoreError,
  type KeyStorePage,
  type KeyStoreStatus,
} from './key-store.ts';
import { KnownKeys } from './known-keys.ts';
import { parseStored, type StoredKey } from './stored-key.ts';

/** What a key store holds under a name, parsed once. */
export type CachedKey = { readonly value: string; readonly key: StoredKey };

export type CacheRules = {
  /** Everything is forgotten this often; 0 for never. */
  readonly anyMs: number;
  /** What was not used for this long is forgotten; 0 for never. */
  readonly unusedMs: number;
  /** How long keys stay usable while the store is unreachable; 0 for not at all. */
  readonly offlineMs: number;
  /**
   * The oldest an entry may be without asking the store again; 500 when absent. Above 1,000, a revocation by
   * another node takes effect that much later.
   */
  readonly revalidateMs?: number;
};

export type CacheDeps = {
  readonly store: KeyStore;
  readonly rules: CacheRules;
  /** Counts milliseconds and never goes back, whatever happens to the time of day. */
  readonly now: () => number;
  /** Which key each name had; memory of its own when absent. */
  readonly known?: KnownKeys;
  /** Told when the store stops answering and when it answers again. */
  readonly onOffline?: (isOffline: boolean, error?: Error) => void;
  /** Told once when a name has another key than the one known, until it has that again or is accepted. */
  readonly onReplaced?: (error: KeyError) => void;
  /** Calls back after `ms`; the result cancels that. `setTimeout` when absent. */
  readonly after?: (ms: number, call: () => void) => () => void;
};

/** How old an entry gets without a comparison when the rules do not say. */
export const revalidateAfterMs = 500;
/** What may be this old is not used, unless the rules let an entry get older than that. */
export const staleAfterMs = 1_000;
/** How long callers wait for an answer of the store. */
const answerWithinMs = 5_000;
/**
 * A read without an answer after this long no longer keeps others from trying; after `answerWithinMs` already
 * when the store has answered another read since.
 */
const abandonAfterMs = 15_000;
/** `look` begins a read of one key at most this often. */
export const lookEveryMs = 100;
/** One retry of an answer that came too late. */
const readTriesMax = 2;

type Entry = {
  readonly cached: CachedKey;
  /** When the store was asked for what it holds. */
  readonly checkedAt: number;
  usedAt: number;
  /** When the last comparison began, answered or not. */
  triedAt: number;
};

/** One read of the store under way, for everybody who wants that key. */
type Check = {
  readonly startedAt: number;
  /** Set when the key was forgotten meanwhile: the answer may be what was before. */
  isOutdated: boolean;
  answer: Promise<CachedKey>;
};

export class CachedKeyStore implements KeyStore {
  readonly states: KeyStates;
  readonly known: KnownKeys;
  readonly #store: KeyStore;
  readonly #rules: CacheRules;
  readonly #revalidateMs: number;
  readonly #staleMs: number;
  readonly #now: () => number;
  readonly #after: NonNullable<CacheDeps['after']>;
  readonly #onOffline: NonNullable<CacheDeps['onOffline']>;
  readonly #onReplaced: NonNullable<CacheDeps['onReplaced']>;
  readonly #entries = new Map<string, Entry>();
  readonly #checks = new Map<string, Check>();
  /** When `look` last began a read of a name, and the one that waits for its turn. */
  readonly #looks = new Map<string, { readonly at: number; next?: Promise<CachedKey> }>();
  /** Names that are refused because they have another key now. */
  readonly #replaced = new Set<string>();
  /** The cache over the same store that takes the place of this one. */
  #next: CachedKeyStore | undefined;
  #clearedAt: number;
  /** Whether the store could not be reached when it was last asked. */
  #isOffline = false;
  /** When the store was asked for the last answer it gave. */
  #answeredAt: number;
  /** When an answer last came. */
  #heardAt: number;

  constructor(deps: CacheDeps) {
    this.#store = deps.store;
    this.#rules = deps.rules;
    this.#revalidateMs = deps.rules.revalidateMs ?? revalidateAfterMs;
    this.#staleMs = Math.max(staleAfterMs, this.#revalidateMs);
    this.#now = deps.now;
    this.#after = deps.after ?? afterTimeout;
    this.#onOffline = deps.onOffline ?? (() => {});
    this.#onReplaced = deps.onReplaced ?? (() => {});
    this.#clearedAt = deps.now();
    this.#answeredAt = deps.now();
    this.#heardAt = deps.now();
    this.states = new KeyStates({ now: deps.now });
    this.known = deps.known ?? new KnownKeys();
  }

  get keepsDeleted(): string | undefined {
    return this.#store.keepsDeleted;
  }

  /**
   * The parsed key. Throws `KeyStoreError` as `get` does, `unreachable` also when the store answers too
   * slowly, and `KeyError` `corrupt` and `replaced`.
   */
  load(name: string): CachedKey | Promise<CachedKey> {
    return this.peek(name) ?? this.#loadOffline(name) ?? this.#checked(name);
  }

  /** The cached parsed key if it may be used without asking the store. */
  peek(name: string): CachedKey | undefined {
    const entry = this.#entries.get(name);
    if (entry === undefined) return undefined;
    const now = this.#now();
    if (now - entry.checkedAt >= this.#revalidateMs) return undefined;
    entry.usedAt = now;
    return entry.cached;
  }

  /** The parsed key as a read that begins now finds it; what is cached stays usable. Throws as `load`. */
  async recheck(name: string): Promise<CachedKey> {
    const running = this.#checks.get(name);
    if (running !== undefined) await running.answer.catch(() => undefined);
    return this.#checked(name);
  }

  /**
   * As `recheck`, for callers who cannot be trusted with a read each: those who ask while one waits for its
   * turn share it, and a key has a turn every `lookEveryMs`.
   */
  look(name: string): Promise<CachedKey> {
    const last = this.#looks.get(name);
    if (last?.next !== undefined) return last.next;
    const waitMs = last === undefined ? 0 : last.at + lookEveryMs - this.#now();
    if (last === undefined || waitMs <= 0) {
      this.#looks.set(name, { at: this.#now() });
      return this.recheck(name);
    }
    const turn = new Promise<void>((resolve) => void this.#after(waitMs, resolve));
    last.next = turn.then(() => {
      this.#looks.set(name, { at: this.#now() });
      return this.recheck(name);
    });
    return last.next;
  }

  /** From now on `next` forgets what this cache forgets: calls under way may still change keys here. */
  setNext(next: CachedKeyStore): void {
    this.#next = next;
  }

  /**
   * Goes on with what another cache over the same store has, so that keys stay usable while the store cannot
   * be reached. Whatever this one had is forgotten. Nothing gets younger by it.
   */
  takeOver(previous: CachedKeyStore): void {
    this.clear();
    for (const [name, entry] of previous.#entries) this.#entries.set(name, { ...entry });
    this.#answeredAt = previous.#answeredAt;
    this.#heardAt = previous.#heardAt;
    this.#isOffline = previous.#isOffline;
  }

  async get(name: string): Promise<string> {
    const { value } = await this.load(name);
    return value;
  }

  async create(name: string, value: string): Promise<void> {
    // What was not created has changed nothing.
    await this.#store.create(name, value);
    this.forget(name);
  }

  async replace(name: string, change: KeyStoreChange): Promise<void> {
    await this.#changing(name, () => this.#store.replace(name, change));
  }

  async delete(name: string, expected?: string): Promise<void> {
    await this.#changing(name, () => this.#store.delete(name, expected));
  }

  list(query: { readonly prefix: string; readonly after?: string }): Promise<KeyStorePage> {
    return this.#store.list(query);
  }

  status(): Promise<KeyStoreStatus> {
    return this.#store.status();
  }

  async close(): Promise<void> {
    this.clear();
    await this.#store.close();
  }

  /** What the store holds now; nothing is kept. */
  getUncached(name: string): Promise<string> {
    return this.#store.get(name);
  }

  /** Forgets one key: the next use asks the store, and no answer under way is used. */
  forget(name: string): void {
    this.#forget(name);
    this.#next?.forget(name);
  }

  #forget(name: string): void {
    this.#entries.delete(name);
    this.states.forget(name);
    const check = this.#checks.get(name);
    if (check === undefined) return;
    check.isOutdated = true;
    this.#checks.delete(name);
  }

  /** Forgets every key, without touching the store. */
  clear(): void {
    this.#entries.clear();
    for (const name of this.#checks.keys()) this.#forget(name);
  }

  /** Forgets what the rules say, and asks a store that did not answer again; to be called about once a second. */
  sweep(): void {
    const now = this.#now();
    const { anyMs, unusedMs, offlineMs } = this.#rules;
    for (const [name, { at, next }] of this.#looks) {
      if (next === undefined && now - at >= lookEveryMs) this.#looks.delete(name);
    }
    if (this.#isOffline && offlineMs > 0) {
      this.#forgetIf((entry) => now - entry.checkedAt >= offlineMs);
      for (const name of this.#entries.keys()) {
        this.#checked(name).catch(() => undefined);
        break;
      }
      return;
    }
    if (anyMs > 0 && now - this.#clearedAt >= anyMs) {
      this.#clearedAt = now;
      this.#entries.clear();
    }
    if (unusedMs > 0) this.#forgetIf((entry) => now - entry.usedAt >= unusedMs);
  }

  /**
   * How many milliseconds from now keys stay usable without the store at the longest; undefined while the
   * store answers, or when keys are refused without it.
   */
  offlineLeftMs(): number | undefined {
    if (!this.#isOffline || this.#rules.offlineMs === 0) return undefined;
    return Math.max(0, this.#answeredAt + this.#rules.offlineMs - this.#now());
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

  /** With an offline rule: what is cached, when the store cannot be reached; undefined without one. */
  #loadOffline(name: string): CachedKey | Promise<CachedKey> | undefined {
    if (this.#rules.offlineMs === 0) return undefined;
    const entry = this.#offlineEntry(name);
    if (this.#isOffline && entry !== undefined) {
      if (this.#now() - entry.triedAt >= this.#revalidateMs) {
        this.#checked(name).catch(() => undefined);
      }
      return entry.cached;
    }
    return this.#checked(name).catch((error: unknown) => {
      const usable = isUnreachable(error) ? this.#offlineEntry(name) : undefined;
      if (usable === undefined) throw error;
      return usable.cached;
    });
  }

  #offlineEntry(name: string): Entry | undefined {
    const entry = this.#entries.get(name);
    if (entry === undefined) return undefined;
    const now = this.#now();
    if (now - entry.checkedAt >= this.#rules.offlineMs) return undefined;
    entry.usedAt = now;
    return entry;
  }

  /** Joins the read that is under way, or begins one. */
  #checked(name: string): Promise<CachedKey> {
    const now = this.#now();
    const running = this.#checks.get(name);
    if (running !== undefined && !this.#isAbandoned(running, now)) return running.answer;
    const entry = this.#entries.get(name);
    if (entry !== undefined) entry.triedAt = now;
    const { promise, resolve, reject } = Promise.withResolvers<CachedKey>();
    const check: Check = { startedAt: now, isOutdated: false, answer: promise };
    this.#checks.set(name, check);
    const withinMs = this.#rules.offlineMs > 0 ? staleAfterMs : answerWithinMs;
    const cancel = this.#after(withinMs, () => {
      const error = tooSlow(name);
      if (!check.isOutdated) this.#wasSlow(now, error);
      reject(error);
    });
    // Nobody may join a read that has its answer.
    const end = () => {
      cancel();
      if (this.#checks.get(name) === check) this.#checks.delete(name);
    };
    void this.#read(name, check).finally(end).then(resolve, reject);
    return promise;
  }

  #isAbandoned({ startedAt }: Check, now: number): boolean {
    const isHeard = this.#heardAt > startedAt;
    return now - startedAt >= (isHeard ? answerWithinMs : abandonAfterMs);
  }

  async #read(name: string, check: Check): Promise<CachedKey> {
    for (let tries = 1; tries <= readTriesMax; tries += 1) {
      const startedAt = this.#now();
      const mark = this.known.begin();
      let value: string;
      try {
        value = await this.#store.get(name);
      } catch (error) {
        if (check.isOutdated) return this.load(name);
        throw this.#failed(name, error, { startedAt, mark });
      }
      if (check.isOutdated) return this.load(name);
      if (this.#now() - startedAt >= this.#staleMs) continue;
      this.#answered(startedAt);
      const cached = this.#parse(name, value, mark);
      if (cached !== undefined) {
        const now = this.#now();
        this.#entries.set(name, { cached, checkedAt: startedAt, usedAt: now, triedAt: startedAt });
        return cached;
      }
    }
    const error = tooSlow(name);
    this.#wasSlow(check.startedAt, error);
    throw error;
  }

  /** A read that began then has no answer in time: the store does not answer, unless it answered others. */
  #wasSlow(startedAt: number, error: Error): void {
    if (this.#heardAt <= startedAt) this.#setOffline(true, error);
  }

  /** The parsed value; undefined when it is older than what is known. Throws `corrupt`, `replaced`. */
  #parse(name: string, value: string, mark: number): CachedKey | undefined {
    try {
      const known = this.#entries.get(name)?.cached;
      const cached = known?.value === value ? known : { value, key: parseStored(value) };
      if (this.known.check(name, cached.key, mark) === 'outdated') return undefined;
      this.#replaced.delete(name);
      this.states.note(name, cached.key);
      return cached;
    } catch (error) {
      this.#entries.delete(name);
      if (error instanceof KeyError) this.#refused(name, error);
      throw error;
    }
  }

  #refused(name: string, error: KeyError): void {
    this.states.note(name, undefined);
    if (error.code !== 'replaced' || this.#replaced.has(name)) return;
    this.#replaced.add(name);
    this.#onReplaced(error);
  }

  #failed(
    name: string,
    error: unknown,
    read: { readonly startedAt: number; readonly mark: number },
  ): unknown {
    if (isUnreachable(error)) {
      this.#setOffline(true, error as Error);
      return error;
    }
    this.#answered(read.startedAt);
    this.#entries.delete(name);
    this.states.forget(name);
    const isGone = error instanceof KeyStoreError && error.code === 'not-found';
    if (isGone) {
      this.#replaced.delete(name);
      this.known.gone(name, read.mark);
    }
    return error;
  }

  #answered(startedAt: number): void {
    this.#answeredAt = Math.max(this.#answeredAt, startedAt);
    this.#heardAt = this.#now();
    this.#setOffline(false);
  }

  #setOffline(isOffline: boolean, error?: Error): void {
    if (this.#isOffline === isOffline) return;
    this.#isOffline = isOffline;
    this.#onOffline(isOffline, error);
  }
}

function isUnreachable(error: unknown): boolean {
  return error instanceof KeyStoreError && error.code === 'unreachable';
}

function tooSlow(name: string): KeyStoreError {
  return new KeyStoreError(
    'unreachable',
    `the key store answers too slowly: what it says about key ${name} may be more than a second old`,
  );
}

function afterTimeout(ms: number, call: () => void): () => void {
  const timer = setTimeout(call, ms).unref();
  return () => clearTimeout(timer);
}
