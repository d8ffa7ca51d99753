// Taking the entries of `generations.ts` away. Rules kept here: an adapter tries a deletion once, so one whose
// answer was lost is repeated only after another look has shown that what is there is still what was to go;
// and companions go only while no base they belong to is there.

import { KeyStoreError } from '../keys/key-store.ts';
import { companionName, deletionText, destroyedName, shortHash } from './generation-entries.ts';
import type { SecretStore } from './secret-store.ts';

/** How often one deletion is tried at most. */
const deleteTriesMax = 3;

/** The ways in which entries of `secrets` go. All of them throw `KeyStoreError`. */
export class EntryRemoval {
  readonly #secrets: SecretStore;
  /** Waits until nobody reads any more what was there before. */
  readonly #settle: () => Promise<void>;

  constructor(secrets: SecretStore, settle: () => Promise<void>) {
    this.#secrets = secrets;
    this.#settle = settle;
  }

  /** Undefined when there is no such entry. */
  async find(entry: string): Promise<string | undefined> {
    try {
      return await this.#secrets.get(entry);
    } catch (error) {
      if (error instanceof KeyStoreError && error.code === 'not-found') return undefined;
      throw error;
    }
  }

  /** Deletes an entry that still holds `text`. */
  async deleteText(entry: string, text: string): Promise<void> {
    await this.#deleteWhile(entry, async () => (await this.find(entry)) === text);
  }

  /**
   * Deletes a base whose deletion was decided by `companion`. A base with the same text that was created
   * since is another one: whoever created it has removed the companion before.
   */
  async deleteBase(name: string, base: string, companion: string): Promise<void> {
    await this.#deleteWhile(
      name,
      async () => (await this.find(name)) === base && (await this.find(companion)) === deletionText,
    );
  }

  /** Deletes whatever lies under a name that has its destroyed entry: it is no key. */
  async deleteDestroyedBase(name: string): Promise<void> {
    await this.#delete(name, async () => (await this.find(name)) !== undefined);
  }

  /** Removes all generations after a base that is gone, from the highest down. */
  async removeChain(name: string, hash: string): Promise<void> {
    const isThere = async (generation: number) =>
      (await this.find(companionName(name, hash, generation))) !== undefined;
    if (!(await isThere(1))) return;
    await this.#settle();
    let last = 1;
    while (await isThere(last + 1)) last += 1;
    const generations = Array.from({ length: last }, (_, index) => last - index);
    await this.removeGenerations(name, hash, generations);
  }

  /** Removes these companions in this order, and none from when their base is there. */
  async removeGenerations(
    name: string,
    hash: string,
    generations: readonly number[],
  ): Promise<void> {
    for (const generation of generations) {
      if (await this.#isUsed(name, hash)) return;
      const companion = companionName(name, hash, generation);
      await this.#delete(
        companion,
        async () => (await this.find(companion)) !== undefined && !(await this.#isUsed(name, hash)),
      );
    }
  }

  /** A base beside a destroyed entry uses nothing. */
  async #isUsed(name: string, hash: string): Promise<boolean> {
    const base = await this.find(name);
    if (base === undefined || shortHash(base) !== hash) return false;
    return (await this.find(destroyedName(name))) === undefined;
  }

  async #deleteWhile(entry: string, isDue: () => Promise<boolean>): Promise<void> {
    if (await isDue()) await this.#delete(entry, isDue);
  }

  /** `isDue`: whether the entry is still there and still to go, asked when an answer was lost. */
  async #delete(entry: string, isDue: () => Promise<boolean>): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      try {
        await this.#secrets.delete(entry);
        return;
      } catch (error) {
        if (!(error instanceof KeyStoreError && error.code === 'unreachable')) throw error;
        if (!(await isDue())) return;
        if (tries >= deleteTriesMax) throw error;
      }
    }
  }
}
