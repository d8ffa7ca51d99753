// A time of day that is not believed at once when it jumps ahead: what happens at a time and cannot be
// undone must not happen because a clock was set wrong. A jump that lasts an hour is believed. A clock that
// goes back is believed at once: then things merely happen later.

/** What two readings may differ by without being a jump. */
const stepMsMax = 60_000;
/** How long a clock that jumped ahead must go on evenly. */
const believedAfterMs = 3_600_000;

export class CalmClock {
  readonly #nowMs: () => number;
  readonly #now: () => number;
  /** What is believed: the time of day when `now` was 0. */
  #zeroMs: number;
  /** What a clock that jumped ahead says instead, and since when. */
  #ahead: { readonly zeroMs: number; readonly since: number } | undefined;

  /** `nowMs` is the time of day, `now` counts milliseconds and never goes back. */
  constructor(deps: { readonly nowMs: () => number; readonly now: () => number }) {
    this.#nowMs = deps.nowMs;
    this.#now = deps.now;
    this.#zeroMs = deps.nowMs() - deps.now();
  }

  /** Milliseconds since 1970; never later than the time of day. To be asked every few minutes. */
  nowMs(): number {
    const now = this.#now();
    const zeroMs = this.#nowMs() - now;
    if (zeroMs - this.#zeroMs <= stepMsMax || this.#isBelieved(zeroMs, now)) {
      this.#zeroMs = zeroMs;
      this.#ahead = undefined;
    }
    return now + this.#zeroMs;
  }

  #isBelieved(zeroMs: number, now: number): boolean {
    if (this.#ahead === undefined || Math.abs(zeroMs - this.#ahead.zeroMs) > stepMsMax) {
      this.#ahead = { zeroMs, since: now };
      return false;
    }
    return now - this.#ahead.since >= believedAfterMs;
  }
}
