// What state each key was in when it was last read, so that a listing and the search for keys whose time
// has come need not read thousands of keys again. It only informs: no use of a key is ever decided by it.

import type { Schedule } from './due-keys.ts';
import { keyTimeMs, type KeyState, type MasterKey } from './master-key.ts';
import type { StoredKey } from './stored-key.ts';

export type RememberedState = {
  /** `unreadable`: damaged, or another key than the one this node knows. */
  readonly state: KeyState | 'destroyed' | 'unreadable';
  /** While scheduled. */
  readonly schedule?: Schedule;
  /** When it was read, on the clock of `now`. */
  readonly readAt: number;
};

/** Most names that are remembered; the one not read for longest goes first. */
const statesMax = 100_000;

/** `now` counts milliseconds and never goes back. */
export class KeyStates {
  readonly #states = new Map<string, RememberedState>();
  readonly #now: () => number;
  /** Grows with every local change: what was read before one is not kept. */
  #changes = 0;

  constructor(deps: { readonly now: () => number }) {
    this.#now = deps.now;
  }

  /** The mark of a read that begins now. */
  begin(): number {
    return this.#changes;
  }

  /** What a read that began at `mark` brought; undefined: the key is there but cannot be read. */
  note(name: string, stored: StoredKey | undefined, mark = this.#changes): void {
    if (mark !== this.#changes) return;
    this.#states.delete(name);
    this.#states.set(name, rememberedState(stored, this.#now()));
    if (this.#states.size <= statesMax) return;
    for (const first of this.#states.keys()) {
      this.#states.delete(first);
      break;
    }
  }

  /** The key may have changed. */
  forget(name: string): void {
    this.#changes += 1;
    this.#states.delete(name);
  }

  /** What was read in the last `ageMsMax`; undefined when nothing was. */
  find(name: string, ageMsMax: number): RememberedState | undefined {
    const known = this.#states.get(name);
    if (known === undefined || this.#now() - known.readAt >= ageMsMax) return undefined;
    return known;
  }
}

/** The state of a key read at `readAt`; undefined: it cannot be read. */
export function rememberedState(key: StoredKey | undefined, readAt: number): RememberedState {
  const schedule = key === undefined ? undefined : scheduleOf(key);
  return { state: key?.state ?? 'unreadable', ...(schedule && { schedule }), readAt };
}

/** When a key that is scheduled for destruction is destroyed; undefined for any other. */
export function scheduleOf(key: StoredKey): Schedule | undefined {
  if (key.state !== 'scheduled' || key.destroyAt === undefined) return undefined;
  const { destroyAt, scheduledAt }: MasterKey = key;
  const since = scheduledAt === undefined ? {} : { scheduledAtMs: keyTimeMs(scheduledAt) };
  return { ...since, destroyAtMs: keyTimeMs(destroyAt) };
}
