// The time at a server, as a lower bound: its answers carry the second they were made in, and the rest is
// counted here. Azure stamps versions with whole seconds, so what was written within one second has no order
// until that second is over; this clock tells when it surely is.

/** Milliseconds that never go back, and a way to wait for them. */
export type LocalClock = { now(): number; sleep(ms: number): Promise<void> };

/** How far the clocks of one service's machines may be apart. */
const skewMs = 500;
/** After this long an observation is replaced, whatever it says: clocks are set right now and then. */
const observationMsMax = 10_000;

export class ServerClock {
  readonly #local: LocalClock;
  #offsetMs: number | undefined;
  #observedAt = 0;

  constructor(local: LocalClock) {
    this.#local = local;
  }

  /** Takes the `Date` header of an answer that arrived just now. */
  observe(date: string): void {
    const serverMs = Date.parse(date);
    if (Number.isNaN(serverMs)) return;
    const now = this.#local.now();
    const offsetMs = serverMs - now;
    const isStale = now - this.#observedAt > observationMsMax;
    if (this.#offsetMs !== undefined && !isStale && offsetMs <= this.#offsetMs) return;
    this.#offsetMs = offsetMs;
    this.#observedAt = now;
  }

  /** The server's time is at least this (Unix milliseconds); undefined before its first answer. */
  atLeast(): number | undefined {
    return this.#offsetMs === undefined ? undefined : this.#local.now() + this.#offsetMs;
  }

  /** Whether nothing more could be stamped with `second` at a time taken with `atLeast`. */
  wasOver(second: number, at: number | undefined): boolean {
    return at !== undefined && at >= (second + 1) * 1_000 + skewMs;
  }

  /** Milliseconds until nothing more can be stamped with `second` (Unix time); 0 when that is so. */
  untilOver(second: number): number {
    const overAt = (second + 1) * 1_000 + skewMs;
    const server = this.atLeast();
    // Without any answer's date, a whole second and the skew from now on is late enough.
    const wait = server === undefined ? 1_000 + skewMs : overAt - server;
    return Math.min(Math.max(0, Math.ceil(wait)), 1_000 + skewMs);
  }

  /** Waits until it is over. */
  async waitUntilOver(second: number): Promise<void> {
    const wait = this.untilOver(second);
    if (wait > 0) await this.#local.sleep(wait);
  }
}
