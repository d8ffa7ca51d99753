// A token that a product gives for a while and that has to be renewed: kept for all calls of an adapter.
// It is renewed at half its life, by a timer that does not keep the process alive and that is armed again
// after every failure; a call that is refused or finds it expired gets a new one first.

import type { Log } from '../../base/log.ts';

/** `now`: milliseconds of a clock that only moves forward. `after` runs once and gives what cancels it. */
export type RenewalClock = {
  now(): number;
  after(delayMs: number, run: () => void): () => void;
};

/** What a login or a renewal gives; `lifeMs` is above 0. */
export type IssuedToken = { readonly token: string; readonly lifeMs: number };

export type RenewedTokenDeps = {
  readonly product: string;
  readonly log: Log;
  readonly login: () => Promise<IssuedToken>;
  /** Tried before `login` by the timer. */
  readonly renew?: (token: string) => Promise<IssuedToken>;
  readonly clock?: RenewalClock;
};

const retryMs = 5_000;
/** A token younger than this is not replaced because a call was refused: the refusal is of another kind. */
const youngMs = 1_000;
/** Longest delay that a timer takes. */
const delayMaxMs = 2_147_483_647;

export const systemRenewalClock: RenewalClock = {
  now: () => performance.now(),
  after: (delayMs, run) => {
    const timer = setTimeout(run, delayMs).unref();
    return () => clearTimeout(timer);
  },
};

type Held = IssuedToken & { readonly sinceMs: number };

/** Holds one token. `login` and `renew` throw `KeyStoreError`. */
export class RenewedToken {
  readonly #deps: RenewedTokenDeps;
  readonly #clock: RenewalClock;
  #held: Held | undefined;
  #cancelTimer: () => void = () => {};
  #running: Promise<Held> | undefined;
  #problem: string | undefined;
  #isClosed = false;

  constructor(deps: RenewedTokenDeps) {
    this.#deps = deps;
    this.#clock = deps.clock ?? systemRenewalClock;
  }

  /** Why there is no token that can be used, if there is none. */
  get problem(): string | undefined {
    return this.#usable() ? undefined : this.#problem;
  }

  /** The token; logs in first when there is none, it has expired, or (`wasRefused`) a call with it was refused. */
  async get(state: { readonly wasRefused: boolean }): Promise<string> {
    const held = this.#usable();
    const isYoung = held && this.#clock.now() - held.sinceMs < youngMs;
    if (held && (!state.wasRefused || isYoung)) return held.token;
    return (await this.#refresh(this.#deps.login)).token;
  }

  /** Stops renewing. */
  close(): void {
    this.#isClosed = true;
    this.#cancelTimer();
    this.#held = undefined;
  }

  #usable(): Held | undefined {
    const held = this.#held;
    return held && this.#clock.now() - held.sinceMs < held.lifeMs ? held : undefined;
  }

  /** One at a time, whoever asks. */
  #refresh(issue: () => Promise<IssuedToken>): Promise<Held> {
    this.#running ??= this.#issue(issue).finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #issue(issue: () => Promise<IssuedToken>): Promise<Held> {
    const sinceMs = this.#clock.now();
    try {
      const held = { ...(await issue()), sinceMs };
      this.#problem = undefined;
      if (!this.#isClosed) this.#held = held;
      this.#arm(held.lifeMs / 2);
      return held;
    } catch (error) {
      this.#problem = (error as Error).message;
      this.#arm(retryMs);
      throw error;
    }
  }

  #arm(delayMs: number): void {
    this.#cancelTimer();
    if (this.#isClosed) return;
    const capped = Math.min(Math.max(delayMs, 1), delayMaxMs);
    this.#cancelTimer = this.#clock.after(capped, () => void this.#renewByTimer());
  }

  async #renewByTimer(): Promise<void> {
    const { renew, login, log, product } = this.#deps;
    const held = this.#usable();
    try {
      await this.#refresh(() => (renew && held ? renew(held.token).catch(login) : login()));
    } catch (error) {
      const reason = (error as Error).message;
      log.warn(`${product}: cannot renew the login, next try in ${retryMs / 1000} s`, { reason });
    }
  }
}
