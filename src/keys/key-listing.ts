// Listing keys with their states, and finding those whose time has come. Both look at many keys, so both
// are bounded: reads go through one gate, a state read lately is not read again, and a listing that would
// take too long ends early and says where to go on.

import type { CachedKeyStore } from './cached-key-store.ts';
import { fromStore } from './key-changes.ts';
import { isName } from './key-name.ts';
import { type RememberedState, rememberedState } from './key-states.ts';
import { KeyStoreError } from './key-store.ts';
import { parseStored, type StoredKey } from './stored-key.ts';

/** `next` is set when there are more names: the last name of this answer, for the next `after`. */
export type KeyListing = {
  readonly names: readonly string[];
  readonly disabled: readonly string[];
  readonly scheduled: readonly string[];
  readonly destroyed: readonly string[];
  readonly next?: string;
};

/** Names in one listing: with their quotes they stay under the mebibyte that clients read. */
const listNamesMax = 10_000;
/** Store reads of all listings that are under way together. */
const readsMax = 16;
/** How long one listing reads states before it ends early. */
const listMsMax = 2_000;
/** How old a state in a listing may be. */
const listedStateMsMax = 60_000;
/** How long a key that is not scheduled is not looked at again by the search for due keys. */
const settledMsMax = 3_600_000;

export class KeyLister {
  readonly #store: CachedKeyStore;
  readonly #now: () => number;
  readonly #gate = new Gate(readsMax);

  /** `now` counts milliseconds and never goes back. */
  constructor(deps: { readonly store: CachedKeyStore; readonly now: () => number }) {
    this.#store = deps.store;
    this.#now = deps.now;
  }

  /** Names that start with `prefix`, after `after`, sorted, with those in each state. Throws `KeyError`. */
  async list(query: { readonly prefix: string; readonly after?: string }): Promise<KeyListing> {
    const { names, hasMore } = await this.#names(query);
    const states = await this.#statesOf(names);
    const listed = names.slice(0, states.length);
    const inState = (state: RememberedState['state']) =>
      listed.filter((_, index) => states[index]?.state === state);
    const last = listed.at(-1);
    const isCut = hasMore || listed.length < names.length;
    return {
      names: listed,
      disabled: inState('disabled'),
      scheduled: inState('scheduled'),
      destroyed: inState('destroyed'),
      ...(isCut && last !== undefined ? { next: last } : {}),
    };
  }

  /** Calls `visit` for each key with a state not older than an hour, or read now. Throws `KeyError`. */
  async forEach(visit: (name: string, state: RememberedState) => Promise<void>): Promise<void> {
    let after: string | undefined;
    for (let hasMore = true; hasMore; ) {
      const from = after === undefined ? {} : { after };
      const page = await fromStore(() => this.#store.list({ prefix: '', ...from }));
      for (const name of page.names.filter(isName)) {
        const state = await this.#stateOf(name, settledMsMax);
        if (state !== undefined) await visit(name, state);
      }
      after = page.names.at(-1);
      hasMore = page.hasMore && after !== undefined;
    }
  }

  async #names(query: {
    readonly prefix: string;
    readonly after?: string;
  }): Promise<{ readonly names: readonly string[]; readonly hasMore: boolean }> {
    const names: string[] = [];
    let { after } = query;
    let hasMore = true;
    while (hasMore && names.length < listNamesMax) {
      const from = after === undefined ? {} : { after };
      const page = await fromStore(() => this.#store.list({ prefix: query.prefix, ...from }));
      names.push(...page.names.filter(isName));
      after = page.names.at(-1);
      hasMore = page.hasMore && after !== undefined;
    }
    return { names, hasMore };
  }

  /** States in the order of `names`: of all of them, or of as many from the front as there was time for. */
  async #statesOf(names: readonly string[]): Promise<(RememberedState | undefined)[]> {
    const states: (RememberedState | undefined)[] = [];
    const endAt = this.#now() + listMsMax;
    let next = 0;
    const work = async () => {
      while (next < names.length && (next === 0 || this.#now() < endAt)) {
        const index = next++;
        states[index] = await this.#stateOf(names[index] ?? '', listedStateMsMax);
      }
    };
    await Promise.all(Array.from({ length: readsMax }, work));
    return states;
  }

  /** A key that cannot be read must not keep the others from being listed: it has no state. */
  async #stateOf(name: string, ageMsMax: number): Promise<RememberedState | undefined> {
    const { states } = this.#store;
    const remembered = states.find(name, ageMsMax);
    if (remembered !== undefined) return remembered;
    const mark = states.begin();
    let state: StoredKey | undefined;
    try {
      const value = await this.#gate.run(() => this.#store.getUncached(name));
      state = parseStored(value);
    } catch (error) {
      if (error instanceof KeyStoreError) return undefined;
    }
    states.note(name, state, mark);
    return rememberedState(state, this.#now());
  }
}

/** Lets so many calls run together; the others wait their turn. */
class Gate {
  readonly #waiting: (() => void)[] = [];
  #free: number;

  constructor(size: number) {
    this.#free = size;
  }

  async run<T>(call: () => Promise<T>): Promise<T> {
    if (this.#free === 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#free -= 1;
    try {
      return await call();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    }
  }
}
