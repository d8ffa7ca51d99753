// Creating on KV version 1, which overwrites whatever is there. Nodes keep each other out with claims:
//
//   NAME--claim-<milliseconds since 1970, hex>-<random hex>-
//
// A creator writes its claim and then lists. Whoever sees no other claim on the name is alone: of two, each
// wrote before it listed, so at least one sees the other and withdraws. Who is alone looks whether the name
// is free, writes it and removes the claim. A creator ends its write, all attempts included, within
// `writeWithinMs` of its claim or gives up. The claims of dead creators are removed by whoever has itself seen
// them for longer than that, `seenForMs`; no clock of another machine matters, the time in a claim is only
// for people.
//
// This holds as long as Vault shows writes to every node at once (one cluster, no performance standby
// that lags) and a write whose answer was lost does not arrive later than its claim is removed. The reference key service makes no
// claims: it must not create keys on the same engine at the same time.

import { randomBytes } from 'node:crypto';
import { KeyStoreError } from '../../keys/key-store.ts';
import type { VaultKv1 } from './kv.ts';

export type ClaimDeps = {
  readonly kv: Pick<VaultKv1, 'create' | 'write' | 'get' | 'delete' | 'list'>;
  /** Counts milliseconds and never goes back. */
  readonly now: () => number;
  /** Milliseconds since 1970, to date claims. */
  readonly wallClock: () => number;
  readonly sleep: (ms: number) => Promise<void>;
};

const triesMax = 12;
const pauseMs = 25;
const pauseMaxMs = 1_000;
const seenForMs = 60_000;
const writeWithinMs = 30_000;
/** With less left a write is not begun. */
const writeLeastMs = 5_000;
const seenMax = 1_000;
const claimShape = /^(.+)--claim-[0-9a-f]{1,12}-[0-9a-f]+-$/;

/** Which other creators of a name there are. */
type Others = 'none' | 'some' | 'unknown';

/** Why a name was not created. */
const reasons: Readonly<Record<Others, (name: string) => string>> = {
  none: (name) => `${name} was not created, because Vault is too slow: try again`,
  some: (name) =>
    `another node is creating ${name}; if it died, its claim is removed in a minute: try again then`,
  unknown: (name) =>
    `${name} was not created, because Vault does not list what was just written: name the active node as endpoint, or use KV version 2`,
};

/** Whether an entry is a claim, which no list shows. */
export function isClaim(entry: string): boolean {
  return claimShape.test(entry);
}

/** Creates names on an engine that only overwrites. */
export class ClaimedCreates {
  readonly #deps: ClaimDeps;
  /** Creators of this process queue up here, by name. */
  readonly #queues = new Map<string, Promise<void>>();
  /** When a claim of somebody else was first seen. */
  readonly #seen = new Map<string, number>();

  constructor(deps: ClaimDeps) {
    this.#deps = deps;
  }

  /** Throws `exists`; `failed` when others keep claiming the name. */
  async create(name: string, value: string): Promise<void> {
    const before = this.#queues.get(name);
    const mine = (before ?? Promise.resolve()).then(() => this.#createInTurn(name, value));
    const settled = mine.catch(() => {});
    this.#queues.set(name, settled);
    try {
      await mine;
    } finally {
      if (this.#queues.get(name) === settled) this.#queues.delete(name);
    }
  }

  async #createInTurn(name: string, value: string): Promise<void> {
    const { kv, sleep } = this.#deps;
    let others: Others = 'none';
    for (let tries = 0; tries < triesMax; tries += 1) {
      if (await this.#exists(name)) throw taken(name);
      const claim = this.#newClaim(name);
      const claimedAt = this.#deps.now();
      await kv.create(claim, 'claim');
      // A write that failed may still arrive: its claim stays, and keeps others out until it is dead.
      let mayArrive = false;
      try {
        others = await this.#others(name, claim);
        if (others === 'none') {
          if (await this.#exists(name)) throw taken(name);
          const withinMs = claimedAt + writeWithinMs - this.#deps.now();
          if (withinMs >= writeLeastMs) {
            mayArrive = true;
            mayArrive = !(await kv.write(name, value, { withinMs }));
            return;
          }
        }
      } finally {
        if (!mayArrive) await this.#withdraw(claim);
      }
      await sleep(Math.random() * Math.min(pauseMs * 2 ** tries, pauseMaxMs));
    }
    throw new KeyStoreError('failed', `vault: ${reasons[others](name)}`);
  }

  /** A claim that stays is as one of a dead creator, and changes nothing about what happened to the name. */
  async #withdraw(claim: string): Promise<void> {
    try {
      await this.#deps.kv.delete(claim);
    } catch (error) {
      if (!(error instanceof KeyStoreError)) throw error;
    }
  }

  /** Whether another creator lives; removes the claims of those that do not. */
  async #others(name: string, own: string): Promise<Others> {
    const entries = await this.#deps.kv.list();
    // Who does not see what it has just written does not see the claims of others either.
    let others: Others = entries.includes(own) ? 'none' : 'unknown';
    for (const entry of entries) {
      const [, claimed] = claimShape.exec(entry) ?? [];
      if (claimed !== name || entry === own) continue;
      if (this.#isDead(entry)) await this.#deps.kv.delete(entry);
      else others = 'some';
    }
    return others;
  }

  /** Says so only after this node has seen it for a while: its clock is the only one that is trusted. */
  #isDead(claim: string): boolean {
    const now = this.#deps.now();
    const firstSeen = this.#seen.get(claim) ?? now;
    if (!this.#seen.has(claim)) {
      const [oldest] = this.#seen.keys();
      if (this.#seen.size >= seenMax && oldest !== undefined) this.#seen.delete(oldest);
      this.#seen.set(claim, now);
    }
    return now - firstSeen >= seenForMs;
  }

  #newClaim(name: string): string {
    const time = Math.floor(this.#deps.wallClock()).toString(16);
    return `${name}--claim-${time}-${randomBytes(12).toString('hex')}-`;
  }

  async #exists(name: string): Promise<boolean> {
    try {
      await this.#deps.kv.get(name);
      return true;
    } catch (error) {
      if (error instanceof KeyStoreError && error.code === 'not-found') return false;
      throw error;
    }
  }
}

function taken(name: string): KeyStoreError {
  return new KeyStoreError('exists', `vault: ${name} already exists`);
}
