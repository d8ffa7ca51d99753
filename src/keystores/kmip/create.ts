// Creating a name once, on servers that let many objects have the same name (the standard says a name is
// unique; not every server sees to it). Two properties of every KMIP object with a state make it possible: it
// becomes active only while it is pre-active, and it cannot be destroyed while it is active. So
//
//     1. look: an active object of this name → the name is taken
//     2. register the value; it is pre-active, a claim that no reader looks at
//     3. look again: activate the claim only if it is the only object of this name
//
// Rule kept here: at most one claim becomes active. Of two, one was registered first, and the other one's
// creator looks after that, sees it, and does not activate its own. Neither clocks nor waiting times matter for
// that; they only settle who goes on: the oldest claim stays and removes the others, the others step back and
// wait for what becomes of it. A claim whose creator died is removed by the next creator, after `claimMs`. A
// removed claim cannot become active any more, and one that became active cannot be removed any more.

import type { Log } from '../../base/log.ts';
import { KeyStoreError } from '../../keys/key-store.ts';
import { isGone, type KmipClient, KmipRefusal } from './client.ts';
import type { KmipObject } from './payloads.ts';

export type KmipCreateDeps = {
  readonly client: KmipClient;
  readonly log: Log;
  /** Milliseconds, monotonic. */
  readonly now: () => number;
  readonly wait: (ms: number) => Promise<void>;
  /** From 0 to 1. */
  readonly random: () => number;
  /** A claim seen for longer than this is one whose creator died. */
  readonly claimMs: number;
  /** The objects of a name that are ours and not destroyed, the one that counts first. */
  readonly look: (name: string) => Promise<readonly KmipObject[]>;
  /** Ends the deletion of an object out of use; false when nobody began to delete it. */
  readonly finishBegun: (object: KmipObject) => Promise<boolean>;
};

/** How long to compete for a name beyond the time a dead creator's claim takes. */
const patienceMs = 20_000;
/** Rounds in which an object that is just being deleted may go: its mark goes after it. */
const deletionRounds = 8;
const rivalsRounds = 50;
const pauseMs = { first: 10, most: 400 };

/** Creates one name after another; one object per process. */
export class KmipCreator {
  readonly #deps: KmipCreateDeps;
  /** Set once the server was seen to keep active objects from being destroyed. */
  #probe: Promise<boolean> | undefined;

  constructor(deps: KmipCreateDeps) {
    this.#deps = deps;
  }

  /** As `SecretStore.create`. */
  async create(name: string, value: string): Promise<void> {
    const bytes = Buffer.from(value, 'utf8');
    const { now, claimMs } = this.#deps;
    const seen = new Map<string, number>();
    const until = now() + claimMs + patienceMs;
    try {
      for (let round = 0; now() <= until; round += 1) {
        const isFree = await this.#clear(name, { seen, round });
        if (isFree && (await this.#claim(name, bytes))) return;
        await this.#pause(round);
      }
    } finally {
      bytes.fill(0);
    }
    throw new KeyStoreError(
      'failed',
      `kmip: creating ${name} found no end: other creators keep trying`,
    );
  }

  async #pause(round: number): Promise<void> {
    const most = Math.min(pauseMs.most, pauseMs.first * 2 ** round);
    await this.#deps.wait(most * (0.5 + this.#deps.random() / 2));
  }

  /** True when nothing has the name. Throws `exists`. Removes claims that are too old. */
  async #clear(
    name: string,
    { seen, round }: { readonly seen: Map<string, number>; readonly round: number },
  ): Promise<boolean> {
    const objects = await this.#deps.look(name);
    refuseTaken(name, objects);
    const now = this.#deps.now();
    for (const object of objects) {
      if (object.state !== 'pre-active') {
        const isFinished = await this.#deps.finishBegun(object);
        if (!isFinished && round >= deletionRounds) throw outOfUse(name, object);
        continue;
      }
      const since = seen.get(object.id);
      if (since === undefined) seen.set(object.id, now);
      else if (now - since > this.#deps.claimMs) await this.#remove(name, object.id);
    }
    return objects.length === 0;
  }

  /** True when our claim became the key. Throws `exists`. */
  async #claim(name: string, value: Uint8Array): Promise<boolean> {
    const id = await this.#register(name, value);
    if (id === undefined) return false;
    let isOurs = false;
    try {
      isOurs = (await this.#isFirst(name, id)) && (await this.#activate(id));
      return isOurs;
    } finally {
      if (!isOurs) await this.#withdraw(name, id);
    }
  }

  /** The id of our claim; undefined when the server keeps names unique and somebody else has it. */
  async #register(name: string, value: Uint8Array): Promise<string | undefined> {
    try {
      return await this.#deps.client.register(name, value);
    } catch (error) {
      if (!(error instanceof KmipRefusal)) throw error;
      const objects = await this.#deps.look(name);
      refuseTaken(name, objects);
      if (objects.length === 0) throw error;
      return undefined;
    }
  }

  /** True once our claim is the only object of this name. Throws `exists`. */
  async #isFirst(name: string, id: string): Promise<boolean> {
    for (let round = 0; round < rivalsRounds; round += 1) {
      const objects = await this.#deps.look(name);
      refuseTaken(name, objects);
      if (objects[0]?.id !== id) return false;
      if (objects.length === 1) return true;
      if (objects.some(({ state }) => state !== 'pre-active')) return false;
      for (const rival of objects.slice(1)) await this.#remove(name, rival.id);
    }
    return false;
  }

  /** False when somebody removed the claim before. */
  async #activate(id: string): Promise<boolean> {
    try {
      await this.#deps.client.activate(id);
      return true;
    } catch (error) {
      // Also after a lost answer: the state tells what happened.
      const [object] = await this.#deps.client.describe([id]);
      if (object?.state === 'active') return true;
      // Without an answer it may have been active, and deleted since: that must not be undone.
      if (isGone(error) || (object === undefined && error instanceof KmipRefusal)) return false;
      throw error;
    }
  }

  /** Removes our own claim. What goes wrong here is not the caller's trouble: the next creator removes it. */
  async #withdraw(name: string, id: string): Promise<void> {
    try {
      await this.#deps.client.destroy(id);
    } catch (error) {
      this.#deps.log.warn('a claim of a key was left behind', { name, id, error: String(error) });
    }
  }

  /** Removes somebody's claim, unless it has just become active. */
  async #remove(name: string, id: string): Promise<void> {
    this.#probe ??= this.#keepsActive();
    const keepsActive = await this.#probe.catch((error: unknown) => {
      this.#probe = undefined;
      throw error;
    });
    if (!keepsActive) {
      throw new KeyStoreError(
        'failed',
        `kmip: object ${id} stands in the way of ${name} and cannot be removed safely, because this server destroys active objects: remove it by hand when no coffer is creating ${name}`,
      );
    }
    try {
      await this.#deps.client.destroy(id);
    } catch (error) {
      if (!(error instanceof KmipRefusal)) throw error;
      const [object] = await this.#deps.client.describe([id]);
      if (object?.state === 'pre-active') throw error;
    }
  }

  /** Tries on an object of its own whether an active one can be destroyed. */
  async #keepsActive(): Promise<boolean> {
    const { client } = this.#deps;
    const id = await client.register(
      `.probe.${this.#deps.random().toString(36).slice(2)}`,
      Buffer.from('probe'),
    );
    await client.activate(id);
    try {
      await client.destroy(id);
      return false;
    } catch (error) {
      if (!(error instanceof KmipRefusal)) throw error;
    }
    await client.revoke(id);
    await client.destroy(id);
    return true;
  }
}

function refuseTaken(name: string, objects: readonly KmipObject[]): void {
  if (objects.some(({ state }) => state === 'active')) {
    throw new KeyStoreError('exists', `${name} exists`);
  }
}

/** The error for a name whose object is neither a claim nor active. */
export function outOfUse(name: string, { id, state }: KmipObject): KeyStoreError {
  return new KeyStoreError(
    'failed',
    `kmip: object ${id} of ${name} is ${state}: it was taken out of use on the server, not by deleting the key: delete the key, or restore the object there`,
  );
}
