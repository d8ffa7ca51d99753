// A time of day that is not believed at once when it jumps ahead: what happens at a time and cannot be
// undone must not happen because a clock was set wrong. A jump that lasts an hour is believed, and so is the
// clock a process begins with: until then no time has come. A clock that goes back is believed at once: then
// things merely happen later. A process has one, whatever else of it is made anew.

/** What two readings may differ by without being a jump. */
const stepMsMax = 60_000;
/** How long a clock that jumped ahead, or was just begun with, must go on evenly. */
export const believedAfterMs = 3_600_000;

export class CalmClock {
  readonly #nowMs: () => number;
  readonly #now: () => number;
  readonly #startedAt: number;
  /** What is believed: the time of day when `now` was 0. */
  #zeroMs: number;
  /** What a clock that jumped ahead says instead, and since when. */
  #ahead: { readonly zeroMs: number; readonly since: number } | undefined;

  /** `nowMs` is the time of day, `now` counts milliseconds and never goes back. */
  constructor(deps: { readonly nowMs: () => number; readonly now: () => number }) {
    this.#nowMs = deps.nowMs;
    this.#now = deps.now;
    this.#startedAt = deps.now();
    this.#zeroMs = deps.nowMs() - this.#startedAt;
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

  /** Whether a time, milliseconds since 1970, has come; never in the first hour of this clock. */
  isPast(timeMs: number): boolean {
    const nowMs = this.nowMs();
    return this.#now() - this.#startedAt >= believedAfterMs && timeMs <= nowMs;
  }

  #isBelieved(zeroMs: number, now: number): boolean {
    if (this.#ahead === undefined || Math.abs(zeroMs - this.#ahead.zeroMs) > stepMsMax) {
      this.#ahead = { zeroMs, since: now };
      return false;
    }
    return now - this.#ahead.since >= believedAfterMs;
  }
}
