// Creating on KV version 1, which overwrites whatever is there. Nodes keep each other out with claims:
//
//   NAME--claim-<milliseconds since 1970, hex>-<random hex>-
//
// A creator writes its claim and then lists. Whoever sees no other claim on the name is alone: of two, each
// wrote before it listed, so at least one sees the other and withdraws. Who is alone looks whether the name
// is free, writes it and removes the claim. Claims of dead creators are removed when they have been seen for
// a minute, or are ten minutes old by the clock.
//
// This holds as long as Vault shows writes to every node at once (one cluster, no performance standby
// that lags) and a write arrives within `writeWithinMs` of the claim. The reference key service makes no
// claims: it must not create keys on the same engine at the same time.

import { randomBytes } from 'node:crypto';
import { KeyStoreError } from '../../keys/key-store.ts';
import type { VaultKv } from './kv.ts';

export type ClaimDeps = {
  readonly kv: VaultKv;
  /** Counts milliseconds and never goes back. */
  readonly now: () => number;
  /** Milliseconds since 1970. */
  readonly wallClock: () => number;
  readonly sleep: (ms: number) => Promise<void>;
};

const triesMax = 12;
const pauseMs = 25;
const pauseMaxMs = 1_000;
const seenForMs = 60_000;
const ageMaxMs = 600_000;
const writeWithinMs = 20_000;
const seenMax = 1_000;
const claimShape = /^(.+)--claim-([0-9a-f]{1,12})-[0-9a-f]+-$/;

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
    for (let tries = 0; tries < triesMax; tries += 1) {
      if (await this.#exists(name)) throw taken(name);
      const claim = this.#newClaim(name);
      const claimedAt = this.#deps.now();
      await kv.create(claim, 'claim');
      // A write that failed may still arrive: its claim stays, and keeps others out until it is dead.
      let mayArrive = false;
      try {
        if (await this.#isAlone(name, claim)) {
          if (await this.#exists(name)) throw taken(name);
          if (this.#deps.now() - claimedAt < writeWithinMs) {
            mayArrive = true;
            await kv.create(name, value);
            mayArrive = false;
            return;
          }
        }
      } finally {
        if (!mayArrive) await kv.delete(claim);
      }
      await sleep(Math.random() * Math.min(pauseMs * 2 ** tries, pauseMaxMs));
    }
    throw new KeyStoreError(
      'failed',
      `vault: another node is creating ${name}; if it died, its claim is removed in a minute: try again then`,
    );
  }

  /** Whether no other creator lives; removes the claims of those that do not. */
  async #isAlone(name: string, own: string): Promise<boolean> {
    let isAlone = true;
    for (const entry of await this.#deps.kv.list()) {
      const [, claimed, hex = ''] = claimShape.exec(entry) ?? [];
      if (claimed !== name || entry === own) continue;
      if (this.#isDead(entry, Number.parseInt(hex, 16))) await this.#deps.kv.delete(entry);
      else isAlone = false;
    }
    return isAlone;
  }

  #isDead(claim: string, claimedAt: number): boolean {
    const now = this.#deps.now();
    const firstSeen = this.#seen.get(claim) ?? now;
    if (!this.#seen.has(claim)) {
      const [oldest] = this.#seen.keys();
      if (this.#seen.size >= seenMax && oldest !== undefined) this.#seen.delete(oldest);
      this.#seen.set(claim, now);
    }
    return now - firstSeen >= seenForMs || this.#deps.wallClock() - claimedAt >= ageMaxMs;
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
