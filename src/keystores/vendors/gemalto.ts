// Thales CipherTrust Manager (formerly Gemalto KeySecure): keys are secrets of data type `seed`, the text as
// it is. A refresh token buys tokens of a few minutes.

import type { Log } from '../../base/log.ts';
import { KeyStoreError, type KeyStoreStatus } from '../../keys/key-store.ts';
import { createOnce, saidBy } from '../create-once.ts';
import { type HttpAnswer, type HttpClient, type HttpTlsFiles, openHttpClient } from '../http.ts';
import { type IssuedToken, type RenewalClock, RenewedToken } from './renewed-token.ts';
import type { SecretStore } from '../secret-store.ts';

export type GemaltoSettings = {
  readonly endpoint?: string | undefined;
  readonly credentials?:
    | { readonly token?: string | undefined; readonly domain?: string | undefined }
    | undefined;
  readonly tls?: HttpTlsFiles | undefined;
};

/** `retryDelayMs`: as of the HTTP client. */
export type GemaltoDeps = {
  readonly log: Log;
  readonly clock?: RenewalClock;
  readonly retryDelayMs?: () => number;
};

const product = 'gemalto keysecure';
const secretsPath = '/api/v1/vault/secrets';
const pageSize = 200;
/** How often a listing begins again because secrets came or went while it was read. */
const listingsMax = 4;

/** Logs in; rejects with `KeyStoreError` when that fails. */
export async function openGemaltoSecrets(
  settings: GemaltoSettings,
  deps: GemaltoDeps,
): Promise<SecretStore> {
  const { credentials, endpoint = '', tls } = settings;
  const { retryDelayMs } = deps;
  const token = new RenewedToken({
    product,
    log: deps.log,
    login: () => login(http, credentials ?? {}),
    ...(deps.clock ? { clock: deps.clock } : {}),
  });
  const http = await openHttpClient({
    product,
    endpoints: [endpoint],
    tls,
    authorization: async (state) => ({ authorization: `Bearer ${await token.get(state)}` }),
    ...(retryDelayMs ? { retryDelayMs } : {}),
  });
  const store = new GemaltoSecrets(http, token, retryDelayMs);
  try {
    await token.get({ wasRefused: false });
    return store;
  } catch (error) {
    await store.close();
    throw error;
  }
}

async function login(
  http: HttpClient,
  credentials: NonNullable<GemaltoSettings['credentials']>,
): Promise<IssuedToken> {
  const answer = await http.call({
    method: 'POST',
    path: '/api/v1/auth/tokens',
    json: {
      grant_type: 'refresh_token',
      refresh_token: credentials.token,
      domain: credentials.domain ?? '',
    },
    isAnonymous: true,
    isRepeatable: true,
  });
  if (answer.status !== 200) throw refusal('log in', answer, [credentials.token]);
  const { token_type: type, jwt, duration } = objectOf(answer);
  const isWhole = typeof jwt === 'string' && /^[\x21-\x7e]+$/.test(jwt);
  if (type !== 'Bearer' || !isWhole || typeof duration !== 'number' || !(duration > 0)) {
    throw new KeyStoreError('failed', `${product}: the login gave no token that can be used`);
  }
  return { token: jwt, lifeMs: duration * 1000 };
}

class GemaltoSecrets implements SecretStore {
  readonly #http: HttpClient;
  readonly #token: RenewedToken;
  readonly #retryDelayMs: (() => number) | undefined;

  constructor(http: HttpClient, token: RenewedToken, retryDelayMs: (() => number) | undefined) {
    this.#http = http;
    this.#token = token;
    this.#retryDelayMs = retryDelayMs;
  }

  async create(name: string, value: string): Promise<void> {
    const json = { dataType: 'seed', material: value, name };
    const answer = await createOnce({
      send: () => this.#http.call({ method: 'POST', path: secretsPath, json }),
      isTaken: (answered) => isRefusal(answered, 409),
      read: () => this.get(name),
      value,
      retryDelayMs: this.#retryDelayMs,
    });
    if (answer === undefined || answer.status === 201) return;
    if (isRefusal(answer, 409)) throw new KeyStoreError('exists', `key ${name} already exists`);
    throw refusal(`create ${name}`, answer, [value]);
  }

  async get(name: string): Promise<string> {
    const path = `${secretsPath}/${encodeURIComponent(name)}/export?type=name`;
    const answer = await this.#http.call({ method: 'POST', path, isRepeatable: true });
    if (isRefusal(answer, 404)) throw new KeyStoreError('not-found', `key ${name} does not exist`);
    if (answer.status !== 200) throw refusal(`read ${name}`, answer);
    const { material } = objectOf(answer);
    if (typeof material === 'string') return material;
    throw new KeyStoreError('failed', `${product}: the answer for ${name} has no material`);
  }

  async delete(name: string): Promise<void> {
    const path = `${secretsPath}/${encodeURIComponent(name)}?type=name`;
    // Once only: a repeated one could delete what was created in between.
    const answer = await this.#http.call({ method: 'DELETE', path, isRepeatable: false });
    if (answer.status >= 500 || answer.status === 429) {
      throw new KeyStoreError('unreachable', `${product}: delete ${name}: ${answer.status}`);
    }
    if (answer.status !== 204 && !isRefusal(answer, 404)) throw refusal(`delete ${name}`, answer);
  }

  /** Pages are counted, so one that shifted while it was read is read again from the start. */
  async list(): Promise<string[]> {
    for (let count = 1; ; count += 1) {
      const names = await this.#listOnce();
      if (names) return names;
      if (count === listingsMax) {
        throw new KeyStoreError('failed', `${product}: the listing changes faster than it is read`);
      }
    }
  }

  /**
   * Undefined when the secrets changed on the way: in number, or so that a page does not begin with the last one
   * of the page before, which it is asked to.
   */
  async #listOnce(): Promise<string[] | undefined> {
    const names = new Set<string>();
    let total: number | undefined;
    let last: string | undefined;
    for (let seen = 0; total === undefined || seen < total; ) {
      const page = await this.#page(Math.max(0, seen - 1));
      total ??= page.total;
      const isNext = last === undefined || page.names[0] === last;
      const fresh = last === undefined ? page.names : page.names.slice(1);
      if (page.total !== total || !isNext || (fresh.length === 0 && seen < total)) return undefined;
      for (const name of fresh) if (name !== '') names.add(name);
      last = page.names.at(-1);
      seen += fresh.length;
    }
    return [...names];
  }

  async #page(skip: number): Promise<{ names: string[]; total: number }> {
    const path = `${secretsPath}?limit=${pageSize}&skip=${skip}`;
    const answer = await this.#http.call({ method: 'GET', path });
    if (answer.status !== 200) throw refusal('list', answer);
    const { skip: answered, total, resources } = objectOf(answer);
    if (answered !== skip || typeof total !== 'number' || !Array.isArray(resources)) {
      throw new KeyStoreError(
        'failed',
        `${product}: the listing is not the page that was asked for`,
      );
    }
    const names = (resources as readonly ({ readonly name?: unknown } | null)[]).map(
      (resource) => resource?.name,
    );
    return { names: names.map((name) => (typeof name === 'string' ? name : '')), total };
  }

  async status(): Promise<KeyStoreStatus> {
    const start = performance.now();
    try {
      await this.#http.call({ method: 'GET', path: '/', isAnonymous: true, isRepeatable: false });
    } catch (error) {
      if (!(error instanceof KeyStoreError)) throw error;
      const state = error.code === 'unreachable' ? 'unreachable' : 'unavailable';
      return { state, reason: error.message };
    }
    const { problem } = this.#token;
    if (problem !== undefined) return { state: 'unavailable', reason: problem };
    return { state: 'available', latencyMs: Math.max(1, Math.round(performance.now() - start)) };
  }

  async close(): Promise<void> {
    this.#token.close();
    await this.#http.close();
  }
}

/** The answer as a JSON object; an empty one for any other JSON. */
function objectOf(answer: HttpAnswer): Record<string, unknown> {
  const value = answer.json();
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

/** Whether the product itself answered so: a page of a proxy must not say that a key does not exist. */
function isRefusal(answer: HttpAnswer, status: number): boolean {
  return answer.status === status && codeDescOf(answer.text) !== undefined;
}

function refusal(
  action: string,
  answer: HttpAnswer,
  secrets: readonly (string | undefined)[] = [],
): KeyStoreError {
  // What is not the product's own error may echo our headers, the token included.
  const said = saidBy(codeDescOf(answer.text) ?? '', secrets);
  const hint = hints[answer.status] ?? '';
  return new KeyStoreError(
    'failed',
    `${product}: cannot ${action}: ${answer.status} ${said}${hint}`,
  );
}

/** What an error of the product says; undefined when the text is none. */
function codeDescOf(text: string): string | undefined {
  try {
    const { codeDesc } = (JSON.parse(text) ?? {}) as { codeDesc?: unknown };
    return typeof codeDesc === 'string' ? codeDesc : undefined;
  } catch {
    return undefined;
  }
}

const hints: Readonly<Record<number, string>> = {
  401: ' (check credentials.token and credentials.domain)',
  403: ' (the user of the token may not do this: add it to the group that may use secrets)',
};
