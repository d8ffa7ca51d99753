// Calls to HashiCorp Vault or OpenBao: the headers every request carries, namespaces, what its answers mean,
// and whether it is sealed. A token is asked from whoever holds it; a refusal that means "this token is no
// longer good" makes it get a new one, once. No error shows a token, and what Vault says is cut short.

import { KeyStoreError, type KeyStoreStatus } from '../../keys/key-store.ts';
import { saidBy } from '../create-once.ts';
import type { HttpAnswer, HttpCall, HttpClient } from '../http.ts';
import type { RenewalClock } from '../vendors/renewed-token.ts';

export type VaultCall = Pick<HttpCall, 'method' | 'path' | 'json' | 'isRepeatable'> & {
  readonly answerBytesMax?: number;
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
  readonly clock: RenewalClock;
  /** For all calls but health checks; empty or `/` for the root. */
  readonly namespace: string;
  /** Between two looks at the seal. */
  readonly pingMs: number;
  readonly retryDelayMs?: (() => number) | undefined;
};

/** Answers with which Vault has done nothing and will take the same call later. */
const laterStatuses: readonly number[] = [412, 429];
const laterTriesMax = 3;
const sealedPollMs = 1_000;

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

/** `call` throws `KeyStoreError`; it resolves with any answer that is neither a seal nor "later". */
export class VaultClient {
  readonly #deps: VaultClientDeps;
  #tokens: VaultTokens | undefined;
  #isSealed = false;
  #cancelPing: () => void = () => {};
  #isClosed = false;

  constructor(deps: VaultClientDeps) {
    this.#deps = deps;
  }

  get isSealed(): boolean {
    return this.#isSealed;
  }

  /** From here on calls carry a token, and the seal is watched. */
  start(tokens: VaultTokens): void {
    this.#tokens = tokens;
    this.#armPing();
  }

  async call(call: VaultCall): Promise<HttpAnswer> {
    if (this.#isSealed) throw sealedError();
    const token = this.#tokens?.token ?? '';
    const answer = await this.send(call, { token });
    if (answer.status !== 403) {
      this.#tokens?.noteAccepted();
      return answer;
    }
    if (!(await this.#tokens?.replace(token))) return answer;
    return this.send(call, { token: this.#tokens?.token ?? '' });
  }

  /** A call with this token (or none), in this namespace if not that of the client. */
  async send(
    call: VaultCall,
    as: { readonly token?: string; readonly namespace?: string } = {},
  ): Promise<HttpAnswer> {
    const namespace = (as.namespace || this.#deps.namespace).replace(/^\/+|\/+$/g, '');
    const headers = {
      'x-vault-request': 'true',
      ...(as.token ? { 'x-vault-token': as.token } : {}),
      ...(namespace === '' ? {} : { 'x-vault-namespace': namespace }),
    };
    for (let tries = 1; ; tries += 1) {
      const answer = await this.#deps.http.call({ ...call, headers });
      if (answer.status === 503 && errorsOf(answer).some((text) => /sealed/i.test(text))) {
        this.#isSealed = true;
        this.#armPing();
        throw sealedError();
      }
      if (!laterStatuses.includes(answer.status) || tries === laterTriesMax) return answer;
      const delayMs = this.#deps.retryDelayMs?.() ?? 200 + Math.random() * 800;
      await new Promise((resolve) => setTimeout(resolve, delayMs));
    }
  }

  /** Asks whether Vault can be used, and remembers whether it is sealed. Never throws. */
  async status(): Promise<KeyStoreStatus> {
    const start = performance.now();
    try {
      const headers = { 'x-vault-request': 'true' };
      const answer = await this.#deps.http.call({ method: 'GET', path: healthPath, headers });
      if (answer.status < 200 || answer.status > 299) throw refusal('health check', answer);
      const health = answer.json() as { initialized?: unknown; sealed?: unknown } | null;
      if (typeof health?.initialized !== 'boolean' || typeof health.sealed !== 'boolean') {
        throw new KeyStoreError('failed', 'vault: health check: its answer is not that of a Vault');
      }
      this.#isSealed = health.sealed;
      if (!health.initialized) return { state: 'unreachable', reason: 'vault: not initialized' };
      if (health.sealed) return { state: 'unreachable', reason: sealedText };
    } catch (error) {
      if (!(error instanceof KeyStoreError)) throw error;
      const state = error.code === 'unreachable' ? 'unreachable' : 'unavailable';
      return { state, reason: error.message };
    }
    return { state: 'available', latencyMs: Math.max(1, Math.round(performance.now() - start)) };
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
    const delayMs = this.#isSealed ? Math.min(pingMs, sealedPollMs) : pingMs;
    this.#cancelPing = clock.after(delayMs, () => {
      void this.status().finally(() => this.#armPing());
    });
  }
}

const sealedText = 'vault: key store is sealed';

function sealedError(): KeyStoreError {
  return new KeyStoreError('unreachable', sealedText);
}

/** The error for an answer that nothing can be done with. `what` is what was tried. */
export function refusal(
  what: string,
  answer: HttpAnswer,
  secrets: readonly string[] = [],
): KeyStoreError {
  const said = saidBy(errorsOf(answer).join('; '), secrets);
  const hint = answer.status === 403 ? ': check the policy of the key service in Vault' : '';
  return new KeyStoreError(
    answer.status === 503 ? 'unreachable' : 'failed',
    `vault: ${what}: status ${answer.status}${said && ` (${said})`}${hint}`,
  );
}

/** The texts of an error answer; none when it has another shape. */
export function errorsOf(answer: HttpAnswer): string[] {
  try {
    const { errors } = JSON.parse(answer.text) as { errors?: unknown };
    return Array.isArray(errors) ? errors.filter((each) => typeof each === 'string') : [];
  } catch {
    return [];
  }
}

/**
 * Whether a 404 is Vault's way of saying that there is nothing. Throws when it says something else: that of a
 * proxy, of a missing engine, or of an engine of the other version.
 */
export function isAbsence(what: string, answer: HttpAnswer): boolean {
  if (answer.status !== 404) return false;
  const { errors, warnings } = answer.json() as { errors?: unknown; warnings?: unknown };
  const isVersioned = JSON.stringify(warnings ?? '').includes('versioned K/V');
  if (isVersioned) {
    throw new KeyStoreError(
      'failed',
      `vault: ${what}: the engine is KV version 2: set version: v2`,
    );
  }
  if (!Array.isArray(errors) || errors.length > 0) throw refusal(what, answer);
  return true;
}

/** A path of segments, each encoded; empty ones are left out. */
export function vaultPath(...parts: readonly string[]): string {
  const segments = parts.flatMap((part) => part.split('/')).filter((segment) => segment !== '');
  return `/v1/${segments.map(encodeURIComponent).join('/')}`;
}
