// Every change of a key that exists goes through here: read what the store holds now, decide, and put the
// outcome in its place only if nothing changed meanwhile. So changes of many nodes at once lose nothing. A
// change is durable in the store, and known to this node, before it is answered.

import { setTimeout as sleep } from 'node:timers/promises';
import type { CachedKey, CachedKeyStore } from './cached-key-store.ts';
import { KeyError, type KeyErrorCode } from './key-error.ts';
import { type KeyStoreChange, KeyStoreError, type KeyStoreErrorCode } from './key-store.ts';
import { parseStored } from './stored-key.ts';

/** What to put in the place of a stored key; undefined leaves it as it is. */
export type Decision = { readonly value: string; readonly isErasing?: boolean } | undefined;

/** How often a change is tried again when another program changed the key meanwhile. */
const triesMax = 24;
/** The longest wait before another try; grows up to this. */
const waitMsMax = 200;

export class KeyChanges {
  readonly #store: CachedKeyStore;
  readonly #onChange: (name: string) => void;
  /** Changes of one key by this process happen one after another. */
  readonly #queues = new Map<string, Promise<unknown>>();

  constructor(deps: { readonly store: CachedKeyStore; readonly onChange: (name: string) => void }) {
    this.#store = deps.store;
    this.#onChange = deps.onChange;
  }

  /** Stores a new key. Throws `KeyError` `exists`. */
  async create(name: string, value: string): Promise<void> {
    await this.#inTurn(name, async () => {
      await fromStore(() => this.#store.create(name, value));
      await this.#settle(name, () => this.#store.known.wrote(name, parseStored(value)));
    });
  }

  /** Deletes a key unless `check` throws for what a read that began at `mark` found. */
  async delete(name: string, check: (value: string, mark: number) => void): Promise<void> {
    await this.#inTurn(name, async () => {
      for (let tries = 1; ; tries += 1) {
        const mark = this.#store.known.begin();
        const value = await fromStore(() => this.#store.getUncached(name));
        check(value, mark);
        try {
          await this.#store.delete(name, value);
          break;
        } catch (error) {
          const isConflict = error instanceof KeyStoreError && error.code === 'conflict';
          if (!isConflict || tries >= triesMax) throw toKeyError(error);
          await sleep(Math.random() * Math.min(waitMsMax, 4 * 2 ** tries));
        }
      }
      await this.#settle(name, () => this.#store.known.forget(name));
    });
  }

  /**
   * Changes a key as `decide` says, which is asked again for what the store then holds when somebody was
   * faster, and may throw. Resolves with the value the store holds afterwards.
   */
  change(name: string, decide: (current: CachedKey) => Decision): Promise<string> {
    return this.#inTurn(name, () => this.#change(name, decide));
  }

  async #change(name: string, decide: (current: CachedKey) => Decision): Promise<string> {
    let attempted: (KeyStoreChange & { readonly isRepeat: boolean }) | undefined;
    for (let tries = 1; ; tries += 1) {
      const current = await fromStore(() => this.#store.recheck(name));
      // The store may say that it did not change the key although it did: its answer was lost, say. What
      // was to be erased is erased once more then.
      const isDone =
        current.value === attempted?.value && (attempted.isErasing !== true || attempted.isRepeat);
      const decision = isDone ? undefined : decide(current);
      if (decision === undefined) {
        if (isDone) await this.#settle(name, () => this.#wrote(name, current.value));
        return current.value;
      }
      const expected = current.value;
      attempted = { expected, ...decision, isRepeat: expected === decision.value };
      try {
        await this.#store.replace(name, { expected, ...decision });
      } catch (error) {
        const isConflict = error instanceof KeyStoreError && error.code === 'conflict';
        if (!isConflict || tries >= triesMax) throw toKeyError(error);
        await sleep(Math.random() * Math.min(waitMsMax, 4 * 2 ** tries));
        continue;
      }
      await this.#settle(name, () => this.#wrote(name, decision.value));
      return decision.value;
    }
  }

  #wrote(name: string, value: string): void {
    this.#store.known.wrote(name, parseStored(value));
  }

  async #settle(name: string, learn: () => void): Promise<void> {
    learn();
    this.#onChange(name);
    await this.#store.known.flush();
  }

  async #inTurn<T>(name: string, work: () => Promise<T>): Promise<T> {
    const before = this.#queues.get(name) ?? Promise.resolve();
    const result = before.then(work);
    const end = result.catch(() => undefined);
    this.#queues.set(name, end);
    try {
      return await result;
    } finally {
      if (this.#queues.get(name) === end) this.#queues.delete(name);
    }
  }
}

const codes: Readonly<Record<KeyStoreErrorCode, KeyErrorCode>> = {
  exists: 'exists',
  'not-found': 'not-found',
  conflict: 'store-failed',
  'invalid-name': 'store-failed',
  unreachable: 'store-unreachable',
  failed: 'store-failed',
};

/** An error of the key store as one of the key service; any other as it is. */
export function toKeyError(error: unknown): unknown {
  if (!(error instanceof KeyStoreError)) return error;
  return new KeyError(codes[error.code], error.message, { cause: error });
}

/** Calls the key store. Throws `KeyError`. */
export async function fromStore<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw toKeyError(error);
  }
}
