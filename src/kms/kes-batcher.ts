// Generate and decrypt calls that run at the same time share requests, where the key service takes that.
// A lone call goes out at once, on its own route. While as many requests are in flight as may be, further
// calls wait and leave together in the next one. Rules kept here: each call has its own result, its own
// deadline and its own error; what waits is bounded.

import type { KesBatchCall, KesBatchResult } from '../wire/kes.ts';
import { kesBatchCallsMax } from '../wire/kes.ts';
import type { KesClient } from '../wire/kes-client.ts';
import { kmsBusy, kmsTimeout } from './kms-errors.ts';

export type KesBatcherLimits = {
  /** Requests in flight from which on calls wait for one another. */
  readonly requestsMax: number;
  /** Calls waiting or in flight together; beyond, calls fail at once. */
  readonly callsMax: number;
  readonly timeoutMs: number;
};

/** The measured choice (docs/performance.md). */
export const kesBatcherLimits: KesBatcherLimits = {
  requestsMax: 3,
  callsMax: 8192,
  timeoutMs: 15_000,
};

/** Below the service's limit of 1 MB for a body, with room for the JSON around it. */
const bodyBytesMax = 900_000;
/** JSON around one call. */
const callOverheadBytes = 80;

type Waiting = {
  readonly call: KesBatchCall;
  readonly sizeBytes: number;
  readonly deadline: number;
  readonly resolve: (result: KesBatchResult) => void;
  readonly reject: (error: unknown) => void;
  readonly timer: NodeJS.Timeout;
};

/** Owns nothing but the calls it was given; every call ends within the limit. */
export class KesBatcher {
  readonly #client: KesClient;
  readonly #limits: KesBatcherLimits;
  #queue: Waiting[] = [];
  #requests = 0;
  #calls = 0;

  constructor(client: KesClient, limits: KesBatcherLimits = kesBatcherLimits) {
    this.#client = client;
    this.#limits = limits;
  }

  /** Throws `KmsError` (`unreachable`) when full or late, `KesClientError` for everything else. */
  async call(call: KesBatchCall): Promise<KesBatchResult> {
    if (this.#calls >= this.#limits.callsMax) throw kmsBusy(call.name);
    this.#calls += 1;
    try {
      if (this.#client.isBatching()) return await this.#enqueue(call);
      return await this.#client.callKey(call, { timeoutMs: this.#limits.timeoutMs });
    } finally {
      this.#calls -= 1;
    }
  }

  #enqueue(call: KesBatchCall): Promise<KesBatchResult> {
    return new Promise((resolve, reject) => {
      const { timeoutMs } = this.#limits;
      const timer = setTimeout(() => reject(kmsTimeout(call.name)), timeoutMs);
      const deadline = performance.now() + timeoutMs;
      this.#queue.push({ call, sizeBytes: sizeOf(call), deadline, resolve, reject, timer });
      this.#flush();
    });
  }

  #flush(): void {
    while (this.#requests < this.#limits.requestsMax && this.#queue.length > 0) {
      const group = this.#take();
      if (group.length === 0) continue;
      this.#requests += 1;
      void this.#send(group).finally(() => {
        this.#requests -= 1;
        this.#flush();
      });
    }
  }

  /** The oldest calls that fit in one request, without those whose time is over. */
  #take(): Waiting[] {
    const now = performance.now();
    const group: Waiting[] = [];
    let sizeBytes = 0;
    let taken = 0;
    for (const waiting of this.#queue) {
      const isFull = group.length > 0 && sizeBytes + waiting.sizeBytes > bodyBytesMax;
      if (isFull || group.length >= kesBatchCallsMax) break;
      taken += 1;
      if (waiting.deadline <= now) continue; // its timer rejects it
      sizeBytes += waiting.sizeBytes;
      group.push(waiting);
    }
    this.#queue = taken === this.#queue.length ? [] : this.#queue.slice(taken);
    return group;
  }

  /** Never rejects: every call of the group is settled. */
  async #send(group: readonly Waiting[]): Promise<void> {
    try {
      const results = group.length > 1 ? await this.#sendTogether(group) : undefined;
      if (results === undefined) {
        await Promise.all(group.map((waiting) => this.#sendAlone(waiting)));
        return;
      }
      await Promise.all(
        group.map(async (waiting, index) => {
          const result = results[index];
          if (result && !isServiceFailure(result)) waiting.resolve(result);
          else await this.#sendAlone(waiting);
        }),
      );
    } catch (error) {
      for (const waiting of group) waiting.reject(error);
    } finally {
      for (const waiting of group) clearTimeout(waiting.timer);
    }
  }

  #sendTogether(group: readonly Waiting[]): Promise<KesBatchResult[] | undefined> {
    const calls = group.map((waiting) => waiting.call);
    return this.#client.callKeys(calls, { timeoutMs: this.#timeLeft(group) });
  }

  async #sendAlone(waiting: Waiting): Promise<void> {
    const timeoutMs = this.#timeLeft([waiting]);
    try {
      waiting.resolve(await this.#client.callKey(waiting.call, { timeoutMs }));
    } catch (error) {
      waiting.reject(error);
    }
  }

  #timeLeft(group: readonly Waiting[]): number {
    const deadline = Math.max(...group.map((waiting) => waiting.deadline));
    return Math.max(1, deadline - performance.now());
  }
}

/** Worth another endpoint, which a call gets on its own route. */
function isServiceFailure(result: KesBatchResult): boolean {
  return result.status >= 500 && result.status !== 501;
}

function sizeOf(call: KesBatchCall): number {
  const ciphertext = call.op === 'decrypt' ? call.ciphertext.length : 0;
  return callOverheadBytes + call.name.length + ciphertext + (call.context?.length ?? 0);
}
