// The nodes of one Vault: which of them gets a call, and which are sealed. A call goes to the node that answered
// last. It moves on to the next one when a node has certainly done nothing (it is sealed, over its quota, lags,
// or is a standby that does not forward), and, if it may be sent twice, also when a node did not answer or is
// out of order. Rules kept here: a call ends within its time, with all its attempts; a sealed node gets no call
// before a health check found it unsealed; and Vault is called sealed only when every node is.

import { KeyStoreError, type KeyStoreStatus } from '../../keys/key-store.ts';
import type { HttpAnswer, HttpCall, HttpClient } from '../http.ts';
import { bodyOf, errorsOf, refusal } from './answers.ts';

export type VaultNodesDeps = {
  /** Has `count` endpoints. */
  readonly http: HttpClient;
  readonly count: number;
  /** For one call with all its attempts; 20,000 by default. */
  readonly deadlineMs?: number | undefined;
  /** Milliseconds before all nodes are asked again; 200 to 1,000 at random by default. */
  readonly retryDelayMs?: (() => number) | undefined;
  /** Called when a node was found sealed by a call. */
  readonly onSealed: () => void;
};

/** Answers with which a node has done nothing; later, or another one, it may. */
const laterStatuses: readonly number[] = [412, 429, 472, 473];
const roundsMax = 3;
const deadlineDefaultMs = 20_000;

/** Standby, sealed and other nodes answer a health check with 299 instead of an error, so that all is parsed. */
const healthPath = `/v1/sys/health?${[
  'standbycode',
  'performancestandbycode',
  'drsecondarycode',
  'haunhealthycode',
  'removedcode',
  'sealedcode',
  'uninitcode',
]
  .map((name) => `${name}=299`)
  .join('&')}`;

const sealedText = 'vault: key store is sealed';

/** `isFinal`: no other attempt may follow. */
type Outcome = { readonly isFinal: boolean } & (
  | { readonly answer: HttpAnswer }
  | { readonly error: KeyStoreError }
);
type Limits = { readonly isRepeatable: boolean; readonly deadline: number };

/** `call` throws `KeyStoreError`; it resolves with any answer but that of a sealed node. */
export class VaultNodes {
  readonly #deps: VaultNodesDeps;
  readonly #sealed: boolean[];
  /** The node that answered last. */
  #current = 0;

  constructor(deps: VaultNodesDeps) {
    this.#deps = deps;
    this.#sealed = Array.from({ length: deps.count }, () => false);
  }

  /** True when all are. */
  get isSealed(): boolean {
    return this.#sealed.every(Boolean);
  }

  /** True when at least one is. */
  get isAnySealed(): boolean {
    return this.#sealed.some(Boolean);
  }

  async call(call: HttpCall): Promise<HttpAnswer> {
    const withinMs = call.deadlineMs ?? this.#deps.deadlineMs ?? deadlineDefaultMs;
    const limits: Limits = {
      isRepeatable: call.isRepeatable ?? (call.method === 'GET' || call.method === 'HEAD'),
      deadline: performance.now() + withinMs,
    };
    for (let round = 1; ; round += 1) {
      const outcome = await this.#round(call, limits);
      if (outcome.isFinal || round === roundsMax || !(await this.#pause(limits))) {
        if ('error' in outcome) throw outcome.error;
        return outcome.answer;
      }
    }
  }

  /** Waits before the next round; false when there is no time left for one. */
  async #pause({ deadline }: Limits): Promise<boolean> {
    const delayMs = this.#deps.retryDelayMs?.() ?? 200 + Math.random() * 800;
    if (performance.now() + delayMs >= deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, delayMs));
    return true;
  }

  /** Asks one node after another until one gives a final answer. */
  async #round(call: HttpCall, limits: Limits): Promise<Outcome> {
    const nodes = this.#sealed.map((_, index) => (this.#current + index) % this.#sealed.length);
    const usable = nodes.filter((node) => !this.#sealed[node]);
    let last: Outcome | undefined;
    for (const [index, node] of usable.entries()) {
      const leftMs = limits.deadline - performance.now();
      if (last !== undefined && leftMs <= 0) break;
      // One that hangs must leave time for the others.
      const isShared = limits.isRepeatable && index < usable.length - 1;
      const deadlineMs = Math.max(1, Math.ceil(isShared ? leftMs / 2 : leftMs));
      const outcome = await this.#attempt({ ...call, node, deadlineMs }, limits);
      if (outcome === undefined) this.#sealed[node] = true;
      const isGood = outcome !== undefined && 'answer' in outcome && outcome.answer.status < 500;
      this.#current = isGood && outcome.isFinal ? node : (node + 1) % this.#sealed.length;
      if (outcome === undefined) this.#deps.onSealed();
      else if (outcome.isFinal && !('error' in outcome && isShared)) return outcome;
      else last = outcome;
    }
    return last ?? { isFinal: true, error: new KeyStoreError('unreachable', sealedText) };
  }

  /** One attempt at one node; undefined when it is sealed. */
  async #attempt(call: HttpCall, { isRepeatable }: Limits): Promise<Outcome | undefined> {
    try {
      const answer = await this.#deps.http.call({ ...call, isRepeatable: false });
      const { status } = answer;
      if (status === 503 && errorsOf(answer).some((text) => /sealed/i.test(text))) return undefined;
      const isFinal = !laterStatuses.includes(status) && (status < 500 || !isRepeatable);
      return { answer, isFinal };
    } catch (error) {
      if (!(error instanceof KeyStoreError)) throw error;
      return { error, isFinal: error.code !== 'unreachable' || !isRepeatable };
    }
  }

  /** Asks every node whether it can be used, and resolves with the first that can. Notes which are sealed. */
  async status(): Promise<KeyStoreStatus> {
    const checks = this.#sealed.map(async (_, node) => this.#check(node));
    return new Promise((resolve, reject) => {
      for (const check of checks) {
        check.then((status) => {
          if (status.state === 'available') resolve(status);
        }, reject);
      }
      Promise.all(checks).then(([first, ...others]) => {
        const isTelling = (status: KeyStoreStatus): boolean =>
          !('reason' in status && status.reason === sealedText);
        resolve([first, ...others].find((each) => each && isTelling(each)) ?? sealedStatus);
      }, reject);
    });
  }

  async #check(node: number): Promise<KeyStoreStatus> {
    const start = performance.now();
    try {
      const headers = { 'x-vault-request': 'true' };
      const answer = await this.#deps.http.call({ method: 'GET', path: healthPath, headers, node });
      if (answer.status < 200 || answer.status > 299) throw refusal('health check', answer);
      const health = bodyOf('health check', answer);
      if (typeof health['initialized'] !== 'boolean' || typeof health['sealed'] !== 'boolean') {
        throw new KeyStoreError('failed', 'vault: health check: its answer is not that of a Vault');
      }
      this.#sealed[node] = health['sealed'];
      if (!health['initialized']) return { state: 'unreachable', reason: 'vault: not initialized' };
      if (health['sealed']) return sealedStatus;
    } catch (error) {
      if (!(error instanceof KeyStoreError)) throw error;
      const state = error.code === 'unreachable' ? 'unreachable' : 'unavailable';
      return { state, reason: error.message };
    }
    return { state: 'available', latencyMs: Math.max(1, Math.round(performance.now() - start)) };
  }
}

const sealedStatus: KeyStoreStatus = { state: 'unreachable', reason: sealedText };
