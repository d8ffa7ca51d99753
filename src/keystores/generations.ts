// A key store on top of immutable named texts (`secret-store.ts`). A key is its base entry, `NAME`, exactly
// as the reference key service writes it and never changed, followed by what became of it:
//
//   NAME--<12 hex of SHA-256 of the base>-<generation>-   a companion: the value after that many changes
//   NAME--destroyed-                                      what an erased key left: its last value, and no key
//
// Names of keys never end in `-`, so neither can be taken for one. The rules:
//
// - Creating generation g + 1 is the compare-and-swap that ends generation g, whether by a change, by erasing
//   or by deletion: of several callers one wins, and none passes by another.
// - Generations 1 to g all stay while their base stays, and go from the highest down after it, so that the
//   absence of g + 1 proves g current, and the absence of 1 proves that nothing is left.
// - Without its base a companion means nothing, and under a new base of the same name it has another hash.
//   A change that finds its base gone takes itself back.
// - Erasing: the companion that says so, the destroyed entry (for good), then base and companions go. Anyone
//   may repeat it at any time. Deletion: the companion that says so, then base and companions go. Only a
//   deletion goes on with another's, as a base that was created since would go with it.
// - Base and next companion are read at the same time. Read that way, they could straddle a whole removal
//   and show an old state, so removal waits `settleMs` between base and companions, and a read that took
//   longer than half of that looks at the base once more.
// - Nothing is removed because something is absent, unless it was absent twice, `settleMs` apart: a proxy that
//   answers 404 for a moment must not cost a key its changes.

import {
  type KeyStore,
  type KeyStoreChange,
  KeyStoreError,
  type KeyStorePage,
  type KeyStoreStatus,
} from '../keys/key-store.ts';
import { pageOf } from '../keys/key-store-page.ts';
import { EntryRemoval } from './entry-removal.ts';
import {
  companionName,
  deletionText,
  destroyedName,
  digestOf,
  type Erased,
  encodeCompanion,
  encodeDestroyed,
  isSameErase,
  parseCompanion,
  parseDestroyed,
  parseEntryName,
  shortHash,
} from './generation-entries.ts';
import type { SecretStore } from './secret-store.ts';

export type GenerationOptions = {
  /** How long a removal waits between base and companions; 500 by default. The same on every node. */
  readonly settleMs?: number;
  /** Counts milliseconds and never goes back. */
  readonly now?: () => number;
  readonly sleep?: (ms: number) => Promise<void>;
};

/** A key store that keeps its keys in `secrets`, which it owns: closing one closes the other. */
export function openGenerations(secrets: SecretStore, options: GenerationOptions = {}): KeyStore {
  return new GenerationStore(secrets, options);
}

/** What lies under a name. `generation` 0 is the base itself. */
type Found = { readonly base: string; readonly generation: number };
type Live = Found & { readonly state: 'live'; readonly value: string };
type Current =
  | { readonly state: 'none' }
  | Live
  /** Deleted, but not cleaned up. */
  | (Found & { readonly state: 'deleting' })
  /** Erased, but not cleaned up. */
  | (Found & { readonly state: 'erasing'; readonly erased: Erased })
  /** `isDirty`: a base lies beside it. */
  | { readonly state: 'destroyed'; readonly erased: Erased; readonly isDirty: boolean };

/** What a list showed of a key: generations by hash of their base. */
type Listed = {
  readonly chains: ReadonlyMap<string, readonly number[]>;
  readonly isBaseThere: boolean;
};

/** Where the last read ended: only a place to start from, always verified. */
type Hint = { readonly baseDigest: string; readonly generation: number; readonly markerAt: number };

const hintsMax = 10_000;
/** How often the destroyed entry is looked for beside a base that is known. */
const markerCheckMs = 10_000;
const loadTriesMax = 10;
/** How many times `settleMs` another's deletion is waited for. */
const deletionWaitsMax = 4;
const sweepsMax = 100;
class GenerationStore implements KeyStore {
  readonly #secrets: SecretStore;
  readonly #settleMs: number;
  readonly #now: () => number;
  readonly #sleep: (ms: number) => Promise<void>;
  readonly #removal: EntryRemoval;
  readonly #hints = new Map<string, Hint>();
  /** Cleaning that runs beside the calls, by name. */
  readonly #cleaning = new Map<string, Promise<void>>();

  constructor(secrets: SecretStore, options: GenerationOptions) {
    this.#secrets = secrets;
    this.#settleMs = options.settleMs ?? 500;
    this.#now = options.now ?? (() => performance.now());
    this.#sleep = options.sleep ?? ((ms) => new Promise((resolve) => setTimeout(resolve, ms)));
    this.#removal = new EntryRemoval(secrets, () => this.#sleep(this.#settleMs));
  }

  /** The product may learn it only when something is deleted. */
  get keepsDeleted(): string | undefined {
    return this.#secrets.keepsDeleted;
  }

  async create(name: string, value: string): Promise<void> {
    if ((await this.#find(destroyedName(name))) !== undefined) throw destroyedError(name);
    await this.#createBase(name, value);
    const first = companionName(name, shortHash(value), 1);
    const [destroyed, held, next] = await Promise.all([
      this.#find(destroyedName(name)),
      this.#find(name),
      this.#find(first),
    ]);
    // A destruction that was under way when the name was looked at has left its entry by now.
    if (destroyed !== undefined) {
      await this.#removal.deleteText(name, value);
      throw destroyedError(name);
    }
    if (held !== value) throw lostError(name);
    // Deleted already, perhaps by the deletion of a former key with the very same text: it took both.
    const current = next === undefined ? undefined : await this.#load(name);
    if (current?.state !== 'deleting') return;
    await this.#finishDeletion(name, current);
    throw lostError(name);
  }

  async get(name: string): Promise<string> {
    const current = await this.#load(name);
    if (current.state === 'none' || current.state === 'deleting') throw notFound(name);
    if (current.state === 'live') return current.value;
    const { erased } = current;
    if (current.state === 'erasing' || current.isDirty) {
      this.#cleanSoon(name, () => this.#finishErase(name, erased));
    }
    return erased.value;
  }

  async replace(name: string, change: KeyStoreChange): Promise<void> {
    const current = await this.#load(name);
    if (current.state === 'none' || current.state === 'deleting') throw notFound(name);
    if (current.state !== 'live') return this.#repeatErase(name, change, current);
    if (current.value !== change.expected) throw conflict(name);
    const next = companionName(name, shortHash(current.base), current.generation + 1);
    if (!(await this.#createNew(next, encodeCompanion(change)))) throw conflict(name);
    if (!(await this.#isInForce(name, next, { current, change }))) return;
    if (change.isErasing !== true) return;
    await this.#finishErase(name, {
      baseHash: shortHash(current.base),
      expectedHash: shortHash(change.expected),
      value: change.value,
    });
  }

  async delete(name: string, expected?: string): Promise<void> {
    for (let tries = 0; tries < loadTriesMax; tries += 1) {
      const current = await this.#load(name);
      if (current.state === 'none') throw notFound(name);
      if (current.state === 'erasing') await this.#finishErase(name, current.erased);
      if (current.state === 'erasing' || current.state === 'destroyed') {
        throw destroyedError(name, 'conflict');
      }
      if (current.state === 'live' && expected !== undefined && current.value !== expected) {
        throw conflict(name);
      }
      let { generation } = current;
      if (current.state === 'deleting') {
        // What another caller left when it died in the middle goes all the same.
        if (!(await this.#isDeletionStuck(name, current.base))) {
          return this.#removal.removeChain(name, shortHash(current.base));
        }
      } else {
        generation += 1;
        const next = companionName(name, shortHash(current.base), generation);
        if (!(await this.#createNew(next, deletionText))) continue;
      }
      return this.#finishDeletion(name, { base: current.base, generation });
    }
    throw new KeyStoreError('conflict', `key ${name} changes all the time; try again`);
  }

  async list(query: { readonly prefix: string; readonly after?: string }): Promise<KeyStorePage> {
    const entries = await this.#secrets.list();
    const names = new Set<string>();
    for (const entry of entries) {
      const parsed = parseEntryName(entry);
      if (parsed.kind === 'base' || parsed.kind === 'destroyed') names.add(parsed.name);
    }
    this.#sweep(entries);
    return pageOf([...names], query);
  }

  status(): Promise<KeyStoreStatus> {
    return this.#secrets.status();
  }

  async close(): Promise<void> {
    await Promise.all(this.#cleaning.values());
    await this.#secrets.close();
  }

  #find(entry: string): Promise<string | undefined> {
    return this.#removal.find(entry);
  }

  async #load(name: string): Promise<Current> {
    for (let tries = 0; tries < loadTriesMax; tries += 1) {
      const start = this.#now();
      const current =
        (await this.#loadFromHint(name, start)) ?? (await this.#loadCold(name, start));
      if (current === undefined) continue;
      if (current.state === 'none' || current.state === 'destroyed') {
        this.#hints.delete(name);
        return current;
      }
      if (this.#now() - start <= this.#settleMs / 2) return current;
      if ((await this.#find(name)) === current.base) return current;
    }
    throw new KeyStoreError('failed', `key ${name} changes faster than it can be read; try again`);
  }

  /** Undefined when the hint is of no use (any more). */
  async #loadFromHint(name: string, start: number): Promise<Current | undefined> {
    const hint = this.#hints.get(name);
    if (hint === undefined) return undefined;
    const hash = hint.baseDigest.slice(0, 12);
    const { generation } = hint;
    const isMarkerDue = start - hint.markerAt >= markerCheckMs;
    const [base, held, next, marker] = await Promise.all([
      this.#find(name),
      generation === 0 ? undefined : this.#find(companionName(name, hash, generation)),
      this.#find(companionName(name, hash, generation + 1)),
      isMarkerDue ? this.#find(destroyedName(name)) : undefined,
    ]);
    this.#hints.delete(name);
    if (base === undefined || digestOf(base) !== hint.baseDigest) return undefined;
    if (marker !== undefined) return destroyedState(name, marker, base);
    if (generation > 0 && held === undefined) return undefined;
    const markerAt = isMarkerDue ? start : hint.markerAt;
    if (next !== undefined) return this.#search(name, base, { from: generation + 1, markerAt });
    return this.#found(name, { base, generation, text: held, markerAt });
  }

  /** Undefined when it changed while it was read. */
  async #loadCold(name: string, start: number): Promise<Current | undefined> {
    const [base, early] = await Promise.all([this.#find(name), this.#find(destroyedName(name))]);
    // The destroyed entry appears before its base goes: only looking later tells that there is none.
    const marker =
      base === undefined && early === undefined ? await this.#find(destroyedName(name)) : early;
    if (marker !== undefined) return destroyedState(name, marker, base);
    if (base === undefined) return { state: 'none' };
    return this.#search(name, base, { from: 0, markerAt: start });
  }

  /** Finds the last generation, `from` or later: doubling steps, then halving ones. */
  async #search(
    name: string,
    base: string,
    start: { readonly from: number; readonly markerAt: number },
  ): Promise<Current | undefined> {
    const hash = shortHash(base);
    const textOf = (generation: number) => this.#find(companionName(name, hash, generation));
    let there = start.from;
    let text: string | undefined;
    let absent = there;
    for (let step = 1; absent === there; step *= 2) {
      const next = await textOf(there + step);
      if (next === undefined) absent = there + step;
      else [there, absent, text] = [there + step, there + step, next];
    }
    while (absent - there > 1) {
      const middle = Math.floor((there + absent) / 2);
      const next = await textOf(middle);
      if (next === undefined) absent = middle;
      else [there, text] = [middle, next];
    }
    if (there > 0) text ??= await textOf(there);
    if (there > 0 && text === undefined) return undefined;
    return this.#found(name, { base, generation: there, text, markerAt: start.markerAt });
  }

  #found(
    name: string,
    found: {
      readonly base: string;
      readonly generation: number;
      readonly text: string | undefined;
      readonly markerAt: number;
    },
  ): Current {
    const { base, generation, text, markerAt } = found;
    if (this.#hints.size >= hintsMax) {
      const [oldest] = this.#hints.keys();
      if (oldest !== undefined) this.#hints.delete(oldest);
    }
    this.#hints.set(name, { baseDigest: digestOf(base), generation, markerAt });
    if (text === undefined) return { state: 'live', base, generation, value: base };
    if (text === deletionText) return { state: 'deleting', base, generation };
    const { value, expectedHash } = parseCompanion(name, text);
    if (expectedHash === undefined) return { state: 'live', base, generation, value };
    const erased = { baseHash: shortHash(base), expectedHash, value };
    return { state: 'erasing', base, generation, erased };
  }

  async #createBase(name: string, value: string): Promise<void> {
    for (let waits = 0; ; waits += 1) {
      await this.#removeLeftover(name, shortHash(value));
      if (await this.#createNew(name, value)) return;
      const { state } = await this.#load(name);
      if (state === 'none') continue;
      if (state === 'destroyed') throw destroyedError(name);
      if (state !== 'deleting' || waits >= deletionWaitsMax) {
        const why = state === 'deleting' ? 'its deletion was not finished: delete it again' : '';
        throw new KeyStoreError('exists', `key ${name} already exists${why && ` (${why})`}`);
      }
      await this.#sleep(this.#settleMs);
    }
  }

  /** False when the name is taken. */
  async #createNew(entry: string, text: string): Promise<boolean> {
    try {
      await this.#secrets.create(entry, text);
      return true;
    } catch (error) {
      if (error instanceof KeyStoreError && error.code === 'exists') return false;
      throw error;
    }
  }

  /**
   * Reads a change back, and takes it back when its key was deleted meanwhile: it came too late. False when an
   * erasing change was finished by somebody else who saw it.
   */
  async #isInForce(
    name: string,
    next: string,
    made: { readonly current: Live; readonly change: KeyStoreChange },
  ): Promise<boolean> {
    const { base, generation } = made.current;
    const text = encodeCompanion(made.change);
    const look = () =>
      Promise.all([
        this.#find(name),
        generation === 0 ? '' : this.#find(companionName(name, shortHash(base), generation)),
        this.#find(next),
      ]);
    let [baseNow, heldNow, nextNow] = await look();
    if (baseNow === undefined || heldNow === undefined) {
      await this.#sleep(this.#settleMs);
      [baseNow, heldNow, nextNow] = await look();
    }
    if (baseNow === base && heldNow !== undefined) {
      if (nextNow !== text) throw lostError(name);
      return true;
    }
    const marker = baseNow === undefined ? await this.#find(destroyedName(name)) : undefined;
    await this.#removal.deleteText(next, text);
    if (marker !== undefined && isSameErase(parseDestroyed(name, marker), made.change))
      return false;
    throw baseNow === undefined && marker === undefined ? notFound(name) : conflict(name);
  }

  /** Waits for the caller that deletes `base`; true when it seems to have died on the way. */
  async #isDeletionStuck(name: string, base: string): Promise<boolean> {
    for (let waits = 0; waits < deletionWaitsMax; waits += 1) {
      await this.#sleep(this.#settleMs);
      if ((await this.#find(name)) !== base) return false;
    }
    return true;
  }

  /**
   * `replace` of a key that is erased already: finishes the work. The same change again, after a crash,
   * succeeds and leaves the first value.
   */
  async #repeatErase(
    name: string,
    change: KeyStoreChange,
    current: Extract<Current, { erased: Erased }>,
  ): Promise<void> {
    const { erased } = current;
    await this.#finishErase(name, erased);
    if (!isSameErase(erased, change)) throw conflict(name);
  }

  /** Safe to do again at any time: a destroyed name stays destroyed. */
  async #finishErase(name: string, erased: Erased): Promise<void> {
    this.#hints.delete(name);
    await this.#createNew(destroyedName(name), encodeDestroyed(erased));
    await this.#removal.deleteDestroyedBase(name);
    await this.#removal.removeChain(name, erased.baseHash);
  }

  /** `generation`: of the companion that says so. */
  async #finishDeletion(name: string, { base, generation }: Found): Promise<void> {
    const hash = shortHash(base);
    this.#hints.delete(name);
    await this.#removal.deleteBase(name, base, companionName(name, hash, generation));
    await this.#removal.removeChain(name, hash);
  }

  /** A deletion that crashed left companions of a base with the very text that is about to be created. */
  async #removeLeftover(name: string, hash: string): Promise<void> {
    if ((await this.#find(companionName(name, hash, 1))) === undefined) return;
    if ((await this.#find(name)) === undefined) await this.#removal.removeChain(name, hash);
  }

  /** Starts to remove what crashed calls left: companions without their base, bases of destroyed names. */
  #sweep(entries: readonly string[]): void {
    const there = new Set(entries);
    const chains = new Map<string, Map<string, number[]>>();
    for (const entry of entries) {
      const parsed = parseEntryName(entry);
      if (parsed.kind === 'base' || parsed.kind === 'claim') continue;
      const ofName = chains.get(parsed.name) ?? new Map<string, number[]>();
      chains.set(parsed.name, ofName);
      if (parsed.kind !== 'companion') continue;
      ofName.set(parsed.hash, [...(ofName.get(parsed.hash) ?? []), parsed.generation]);
    }
    const orphans = [...chains].filter(([name, ofName]) =>
      there.has(destroyedName(name))
        ? there.has(name) || ofName.size > 0
        : !there.has(name) || ofName.size > 1,
    );
    for (const [name, ofName] of orphans.slice(0, sweepsMax)) {
      const listed = { chains: ofName, isBaseThere: there.has(name) };
      this.#cleanSoon(name, () => this.#sweepKey(name, listed));
    }
  }

  async #sweepKey(name: string, listed: Listed): Promise<void> {
    const before = await this.#load(name);
    if (before.state === 'erasing') return this.#finishErase(name, before.erased);
    await this.#sleep(this.#settleMs);
    const current = await this.#load(name);
    const seen = [before, current];
    // What was listed and cannot be found is being deleted, or hidden for a moment: the next list will tell.
    const isAbsent = seen.some(({ state }) => state === 'none');
    if (listed.isBaseThere && isAbsent) return;
    // A base beside a destroyed entry was made by a create that crashed before it looked again.
    if (current.state === 'destroyed') await this.#removal.deleteDestroyedBase(name);
    for (const [hash, generations] of listed.chains) {
      const isUsed = seen.some((each) => 'base' in each && shortHash(each.base) === hash);
      if (isUsed) continue;
      const downwards = generations.toSorted((a, b) => b - a);
      await this.#removal.removeGenerations(name, hash, downwards);
    }
  }

  /** A cleaning that fails is done by the next get or list that sees the need. */
  #cleanSoon(name: string, clean: () => Promise<void>): void {
    if (this.#cleaning.has(name)) return;
    const done = clean()
      .catch(() => {})
      .finally(() => this.#cleaning.delete(name));
    this.#cleaning.set(name, done);
  }
}

function notFound(name: string): KeyStoreError {
  return new KeyStoreError('not-found', `key ${name} does not exist`);
}

function conflict(name: string): KeyStoreError {
  return new KeyStoreError('conflict', `key ${name} has changed`);
}

/** A product that loses what it acknowledged must not go unnoticed. */
function lostError(name: string): KeyStoreError {
  return new KeyStoreError(
    'failed',
    `key ${name} was written but is not there: it was deleted meanwhile, or the store lost the write`,
  );
}

function destroyedError(name: string, code: 'exists' | 'conflict' = 'exists'): KeyStoreError {
  return new KeyStoreError(
    code,
    `key ${name} was destroyed: its name is kept and never used again`,
  );
}

function destroyedState(name: string, marker: string, base: string | undefined): Current {
  const erased = parseDestroyed(name, marker);
  return { state: 'destroyed', erased, isDirty: base !== undefined };
}
