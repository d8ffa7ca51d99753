// Calls to HashiCorp Vault or OpenBao: the headers every request carries, namespaces, and how often the seal is
// looked at. A token is asked from whoever holds it; a refusal that means "this token is no longer good" makes
// it get a new one, once. No error shows a token.

import type { KeyStoreStatus } from '../../keys/key-store.ts';
import type { HttpAnswer, HttpCall, HttpClient } from '../http.ts';
import type { RenewalClock } from '../vendors/renewed-token.ts';
import { VaultNodes } from './nodes.ts';

export type VaultCall = Pick<HttpCall, 'method' | 'path' | 'json' | 'isRepeatable'> & {
  readonly answerBytesMax?: number;
  /** Milliseconds for all attempts together; as `VaultClientDeps.deadlineMs` by default. */
  readonly withinMs?: number;
};

/** What holds the token of all calls. */
export interface VaultTokens {
  readonly token: string;
  /** Gets another token when `refused` is no longer good; false when it is, or none can be had just now. */
  replace(refused: string): Promise<boolean>;
  /** A call with the token was not refused. */
  noteAccepted(): void;
}

export type VaultClientDeps = {
  readonly http: HttpClient;
  /** How many endpoints `http` has. */
  readonly nodes: number;
  readonly clock: RenewalClock;
  /** For all calls but health checks; empty or `/` for the root. */
  readonly namespace: string;
  /** Between two looks at the seal. */
  readonly pingMs: number;
  readonly retryDelayMs?: (() => number) | undefined;
  /** For one call with all its attempts; 20,000 by default. */
  readonly deadlineMs?: number | undefined;
};

const sealedPollMs = 1_000;

/** `call` and `send` throw `KeyStoreError`; they resolve with any answer but that of a sealed Vault. */
export class VaultClient {
  readonly #deps: VaultClientDeps;
  readonly #nodes: VaultNodes;
  #tokens: VaultTokens | undefined;
  #cancelPing: () => void = () => {};
  #isClosed = false;

  constructor(deps: VaultClientDeps) {
    this.#deps = deps;
    this.#nodes = new VaultNodes({
      http: deps.http,
      count: deps.nodes,
      deadlineMs: deps.deadlineMs,
      retryDelayMs: deps.retryDelayMs,
      onSealed: () => {
        this.#armPing();
      },
    });
  }

  /** True when no node can be used because of it. */
  get isSealed(): boolean {
    return this.#nodes.isSealed;
  }

  /** From here on calls carry a token, and the seal is watched. */
  start(tokens: VaultTokens): void {
    this.#tokens = tokens;
    this.#armPing();
  }

  async call(call: VaultCall): Promise<HttpAnswer> {
    const start = performance.now();
    const token = this.#tokens?.token ?? '';
    const answer = await this.send(call, { token });
    if (answer.status !== 403) {
      this.#tokens?.noteAccepted();
      return answer;
    }
    if (!(await this.#tokens?.replace(token))) return answer;
    const again = { token: this.#tokens?.token ?? '' };
    if (call.withinMs === undefined) return this.send(call, again);
    const withinMs = call.withinMs - (performance.now() - start);
    return withinMs > 0 ? this.send({ ...call, withinMs }, again) : answer;
  }

  /** A call with this token (or none), in this namespace if not that of the client. */
  async send(
    { withinMs, ...call }: VaultCall,
    as: { readonly token?: string; readonly namespace?: string } = {},
  ): Promise<HttpAnswer> {
    const namespace = (as.namespace || this.#deps.namespace).replace(/^\/+|\/+$/g, '');
    const headers = {
      'x-vault-request': 'true',
      ...(as.token ? { 'x-vault-token': as.token } : {}),
      ...(namespace === '' ? {} : { 'x-vault-namespace': namespace }),
    };
    const limit = withinMs === undefined ? {} : { deadlineMs: withinMs };
    return this.#nodes.call({ ...call, ...limit, headers });
  }

  /** Asks whether Vault can be used, and remembers which nodes are sealed. */
  status(): Promise<KeyStoreStatus> {
    return this.#nodes.status();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelPing();
    await this.#deps.http.close();
  }

  #armPing(): void {
    this.#cancelPing();
    if (this.#isClosed) return;
    const { clock, pingMs } = this.#deps;
    const delayMs = this.#nodes.isAnySealed ? Math.min(pingMs, sealedPollMs) : pingMs;
    this.#cancelPing = clock.after(delayMs, () => {
      const again = (): void => this.#armPing();
      this.status().then(again, again);
    });
  }
}
