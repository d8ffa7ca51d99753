// Deleting an object takes two steps, Revoke and Destroy, and a node can die between them. What is left then
// looks like an object that somebody else took out of use, which must never be taken for a deleted key. So a
// deletion first says what it is about to do, with a mark: a Secret Data object that stays pre-active, named
//
//     .deleted.<seconds of the object's Initial Date>.<id of the object>
//
//     1. register the mark   2. revoke   3. destroy   4. destroy the mark
//
// Rule kept here: an object counts as deleted only when it is out of use and has its own mark; then everybody
// may finish the work, in any order and as often as they like. The mark of an active object means nothing (its
// deletion did not get far), and the mark of an object that is gone cannot hide a later one, even one that got
// the same id: its date differs.

import type { Log } from '../../base/log.ts';
import { KeyStoreError } from '../../keys/key-store.ts';
import { type KmipClient, KmipRefusal } from './client.ts';
import type { KmipObject } from './payloads.ts';

export type KmipDeletionDeps = {
  readonly client: KmipClient;
  readonly log: Log;
  /** Milliseconds, monotonic. */
  readonly now: () => number;
  /** A mark seen on an active object for longer than this is one whose deletion died before it revoked. */
  readonly markMs: number;
};

const markShape = /^\.deleted\.(-?\d+)\.(.+)$/s;
/** How many marks a list looks after. */
const tidiesMax = 16;
const seenMax = 1_000;

/** False for what only a trace is left of. */
export function isKept({ state }: KmipObject): boolean {
  return state !== 'destroyed' && state !== 'destroyed-compromised';
}

/** Whether it was a key once and is none any more. */
function isOutOfUse({ state }: KmipObject): boolean {
  return state === 'deactivated' || state === 'compromised';
}

function markNameOf({ id, createdAt }: KmipObject): string {
  return `.deleted.${createdAt}.${id}`;
}

/** Deletes objects and finishes what others began; one object per process. */
export class KmipDeletions {
  readonly #deps: KmipDeletionDeps;
  /** When the mark of an active object was first seen, by its id. */
  readonly #seen = new Map<string, number>();

  constructor(deps: KmipDeletionDeps) {
    this.#deps = deps;
  }

  /** Resolves when the object is gone. Throws what the server says. */
  async delete(object: KmipObject): Promise<void> {
    if (object.state !== 'active') return this.#finish(object);
    const { client } = this.#deps;
    const marks = await this.#mark(object);
    try {
      await client.revoke(object.id);
    } catch (error) {
      // Somebody else may be deleting it too. Without an answer it may still be revoked: its mark stays.
      const [left] = await client.describe([object.id]);
      const isRefused = error instanceof KmipRefusal;
      if (isRefused && left?.state === 'active') await this.#remove(marks);
      if (!isRefused || left?.state === 'active') throw error;
    }
    await client.destroy(object.id);
    await this.#remove(marks);
  }

  /** Whether its deletion was begun and nothing but the end is missing. */
  async isDeleted(object: KmipObject): Promise<boolean> {
    return isOutOfUse(object) && (await this.#marksOf(object)).length > 0;
  }

  /** Ends a deletion that was begun; false, and nothing done, when there was none. */
  async finishBegun(object: KmipObject): Promise<boolean> {
    if (!(await this.isDeleted(object))) return false;
    await this.#finish(object);
    return true;
  }

  /**
   * Those of all `objects` that are not deleted. Finishes deletions and removes marks that mean nothing any
   * more; what goes wrong with that is left to the next call.
   */
  async sweep(objects: readonly KmipObject[]): Promise<readonly KmipObject[]> {
    const marks = objects.filter((object) => isKept(object) && markOf(object) !== undefined);
    const marked = new Set(marks.flatMap(({ names }) => names));
    const isMarked = (object: KmipObject): boolean => marked.has(markNameOf(object));
    const counting = objects.filter((object) => !(isOutOfUse(object) && isMarked(object)));
    const subjects = objects.filter((object) => isKept(object) && isMarked(object));
    try {
      for (const mark of marks.slice(0, tidiesMax)) await this.#tidy(mark, subjects);
    } catch (error) {
      if (!(error instanceof KmipRefusal) && !(error instanceof KeyStoreError)) throw error;
      this.#deps.log.warn('kmip: a deletion could not be finished', { error: error.message });
    }
    return counting;
  }

  async #tidy(mark: KmipObject, subjects: readonly KmipObject[]): Promise<void> {
    const { client, now, markMs } = this.#deps;
    const name = markOf(mark) ?? '';
    const subject = subjects.find((object) => markNameOf(object) === name);
    if (subject === undefined) {
      const [, , id = ''] = markShape.exec(name) ?? [];
      const there = await client.describe([id]);
      if (there.some((object) => isKept(object) && markNameOf(object) === name)) return;
      await client.destroy(mark.id);
    } else if (isOutOfUse(subject)) {
      await this.#finish(subject);
    } else if (now() - this.#firstSeen(mark.id) > markMs) {
      // Should its deletion be alive all the same, it goes on without a mark, and only needs it if it dies.
      await client.destroy(mark.id);
    }
  }

  #firstSeen(id: string): number {
    const seen = this.#seen.get(id) ?? this.#deps.now();
    const [oldest] = this.#seen.keys();
    if (this.#seen.size >= seenMax && oldest !== undefined) this.#seen.delete(oldest);
    this.#seen.set(id, seen);
    return seen;
  }

  async #finish(object: KmipObject): Promise<void> {
    await this.#deps.client.destroy(object.id);
    await this.#remove(async () => this.#marksOf(object));
  }

  /** Our mark on an active object; none when it is no longer there, or no longer active. */
  async #mark(object: KmipObject): Promise<readonly string[]> {
    const { client } = this.#deps;
    try {
      return [await client.register(markNameOf(object), Buffer.from('deleted'))];
    } catch (error) {
      if (!(error instanceof KmipRefusal)) throw error;
      // Where names are unique, somebody who deletes it too was first.
      const marks = await this.#marksOf(object);
      if (marks.length > 0) return marks;
      const [left] = await client.describe([object.id]);
      if (left?.state === 'active') throw error;
      return [];
    }
  }

  async #marksOf(object: KmipObject): Promise<readonly string[]> {
    const { client } = this.#deps;
    const name = markNameOf(object);
    const found = await client.describe(await client.locate(name));
    return found.filter((each) => isKept(each) && each.names.includes(name)).map(({ id }) => id);
  }

  /** The object is gone: what goes wrong here is nobody's trouble, a list removes the marks too. */
  async #remove(marks: readonly string[] | (() => Promise<readonly string[]>)): Promise<void> {
    try {
      const ids = typeof marks === 'function' ? await marks() : marks;
      for (const id of ids) await this.#deps.client.destroy(id);
    } catch (error) {
      if (!(error instanceof KmipRefusal) && !(error instanceof KeyStoreError)) throw error;
      this.#deps.log.warn('kmip: the mark of a deletion was left behind', { error: error.message });
    }
  }
}

function markOf({ names }: KmipObject): string | undefined {
  return names.find((name) => markShape.test(name));
}
