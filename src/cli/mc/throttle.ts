// `--limit-upload` and `--limit-download`: bytes pass no faster than a rate, all transfers of a command
// together.

import { setTimeout as sleep } from 'node:timers/promises';

/** A shared allowance. `pass` yields the same bytes, slowed down. */
export class Throttle {
  readonly #bytesPerSecond: number;
  #freeAtMs = 0;

  constructor(bytesPerSecond: number) {
    this.#bytesPerSecond = bytesPerSecond;
  }

  async *pass(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of source) {
      const now = performance.now();
      const start = Math.max(now, this.#freeAtMs);
      this.#freeAtMs = start + (chunk.length / this.#bytesPerSecond) * 1000;
      if (start > now) await sleep(start - now);
      yield chunk;
    }
  }
}
