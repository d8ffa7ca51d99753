// A clock that moves when a test says so, with the timers that are due on the way.

type Timer = { readonly atMs: number; readonly run: () => void };

/** Fits `RenewalClock`. Starts at one second. */
export class ManualClock {
  #nowMs = 1_000;
  readonly #timers = new Set<Timer>();

  now(): number {
    return this.#nowMs;
  }

  after(delayMs: number, run: () => void): () => void {
    const timer = { atMs: this.#nowMs + delayMs, run };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** Moves on without running timers, as when a machine sleeps. */
  skip(ms: number): void {
    this.#nowMs += ms;
  }

  /** Moves on and runs what is due, leaving each timer time for a call over the loopback. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    for (;;) {
      const [next] = [...this.#timers].toSorted((a, b) => a.atMs - b.atMs);
      if (!next || next.atMs > endMs) break;
      this.#timers.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.run();
      await this.#untilArmedOrIdle();
    }
    this.#nowMs = endMs;
  }

  /** A renewal ends by arming the next timer. */
  async #untilArmedOrIdle(): Promise<void> {
    for (let round = 0; round < 400 && this.#timers.size === 0; round += 1) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}
