// Entrust KeyControl: keys are secrets of one box of a vault. A user's login gives a token that is renewed
// while it lives. Every call is a POST, and only the login names a content type.

import type { Log } from '../../base/log.ts';
import { KeyStoreError, type KeyStoreStatus } from '../../keys/key-store.ts';
import { createOnce, saidBy } from '../create-once.ts';
import { type HttpAnswer, type HttpClient, type HttpTlsFiles, openHttpClient } from '../http.ts';
import { type IssuedToken, type RenewalClock, RenewedToken } from './renewed-token.ts';
import type { SecretStore } from '../secret-store.ts';

export type EntrustSettings = {
  readonly endpoint?: string | undefined;
  readonly vault_id?: string | undefined;
  readonly box_id?: string | undefined;
  readonly credentials?:
    | { readonly username?: string | undefined; readonly password?: string | undefined }
    | undefined;
  readonly tls?: HttpTlsFiles | undefined;
};

/** `retryDelayMs`: as of the HTTP client. `wallClock`: milliseconds since 1970, for what the product says about time. */
export type EntrustDeps = {
  readonly log: Log;
  readonly clock?: RenewalClock;
  readonly wallClock?: () => number;
  readonly retryDelayMs?: () => number;
};

const product = 'Entrust KeyControl';
const authHeader = 'x-vault-auth';
const pageSize = 256;
/** Life of a token that does not say when it expires, or says a time past. */
const assumedLifeMs = 300_000;

/** Logs in and looks at the box; rejects with `KeyStoreError` when one fails. */
export async function openEntrustSecrets(
  settings: EntrustSettings,
  deps: EntrustDeps,
): Promise<SecretStore> {
  const { endpoint = '', tls, box_id: boxId = '' } = settings;
  const { retryDelayMs, wallClock = () => Date.now() } = deps;
  const token = new RenewedToken({
    product,
    log: deps.log,
    login: () => login(http, settings, wallClock),
    renew: (current) => renew(http, current, wallClock),
    ...(deps.clock ? { clock: deps.clock } : {}),
  });
  const http = await openHttpClient({
    product,
    endpoints: [endpoint],
    tls,
    authorization: async (state) => ({ [authHeader]: await token.get(state) }),
    ...(retryDelayMs ? { retryDelayMs } : {}),
  });
  const store = new EntrustSecrets({ http, token, boxId, retryDelayMs });
  try {
    await store.checkBox();
    return store;
  } catch (error) {
    await store.close();
    throw error;
  }
}

async function login(
  http: HttpClient,
  settings: EntrustSettings,
  wallClock: () => number,
): Promise<IssuedToken> {
  const { username, password } = settings.credentials ?? {};
  const answer = await http.call({
    method: 'POST',
    path: `/vault/1.0/Login/${encodeURIComponent(settings.vault_id ?? '')}/`,
    json: { username, password },
    isAnonymous: true,
    isRepeatable: true,
  });
  if (answer.status !== 200) throw refusal('log in', answer, [password]);
  return readToken(answer, wallClock);
}

async function renew(
  http: HttpClient,
  token: string,
  wallClock: () => number,
): Promise<IssuedToken> {
  const answer = await http.call({
    method: 'POST',
    path: '/vault/1.0/Renew/',
    headers: { [authHeader]: token },
    isAnonymous: true,
  });
  if (answer.status !== 200) throw refusal('renew the login', answer, [token]);
  return readToken(answer, wallClock);
}

function readToken(answer: HttpAnswer, wallClock: () => number): IssuedToken {
  const { access_token: token, expires_at: expiresAt } = objectOf(answer);
  if (typeof token !== 'string' || !/^[\x21-\x7e]+$/.test(token)) {
    throw new KeyStoreError('failed', `${product}: the login gave no token`);
  }
  const lifeMs = typeof expiresAt === 'string' ? Date.parse(expiresAt) - wallClock() : Number.NaN;
  return { token, lifeMs: lifeMs > 0 ? lifeMs : assumedLifeMs };
}

type EntrustParts = {
  readonly http: HttpClient;
  readonly token: RenewedToken;
  readonly boxId: string;
  readonly retryDelayMs: (() => number) | undefined;
};

class EntrustSecrets implements SecretStore {
  readonly #parts: EntrustParts;

  constructor(parts: EntrustParts) {
    this.#parts = parts;
  }

  async create(name: string, value: string): Promise<void> {
    const encoded = Buffer.from(value, 'utf8').toString('base64');
    const answer = await createOnce({
      send: () => this.#call('CreateSecret', { name, secret_data: encoded }, false),
      isTaken,
      read: () => this.get(name),
      value,
      retryDelayMs: this.#parts.retryDelayMs,
    });
    if (answer === undefined || answer.status === 200) return;
    if (isTaken(answer)) throw new KeyStoreError('exists', `key ${name} already exists`);
    throw refusal(`create ${name}`, answer, [value, encoded]);
  }

  async get(name: string): Promise<string> {
    const answer = await this.#call('CheckoutSecret', { secret_id: name });
    if (isMissing(answer)) throw new KeyStoreError('not-found', `key ${name} does not exist`);
    if (answer.status !== 200) throw refusal(`read ${name}`, answer);
    const { secret_data: data } = objectOf(answer);
    if (typeof data === 'string' && base64.test(data)) {
      return Buffer.from(data, 'base64').toString('utf8');
    }
    throw new KeyStoreError('failed', `${product}: the answer for ${name} has no secret_data`);
  }

  async delete(name: string): Promise<void> {
    // Once only: a repeated one could delete what was created in between.
    const answer = await this.#call('DeleteSecret', { secret_id: name }, false);
    if (answer.status >= 500 || answer.status === 429) {
      throw new KeyStoreError('unreachable', `${product}: delete ${name}: ${answer.status}`);
    }
    if (isMissing(answer)) return;
    if (answer.status !== 200) throw refusal(`delete ${name}`, answer);
    // A page of a proxy is no deletion.
    if (answer.text !== '') answer.json();
  }

  async list(): Promise<string[]> {
    const names = new Set<string>();
    const tokens = new Set<string>();
    for (let next: string | undefined; ; ) {
      const query = { max_items: pageSize, ...(next === undefined ? {} : { next_token: next }) };
      const answer = await this.#call('ListSecretIds', query);
      if (answer.status !== 200) throw refusal('list', answer);
      const { secrets, next_token: token } = objectOf(answer);
      for (const name of readNames(secrets)) names.add(name);
      if (token === undefined || token === null || token === '') return [...names];
      if (typeof token !== 'string' || tokens.has(token)) {
        throw new KeyStoreError('failed', `${product}: the listing leads in a circle, or nowhere`);
      }
      tokens.add(token);
      next = token;
    }
  }

  async status(): Promise<KeyStoreStatus> {
    const start = performance.now();
    try {
      await this.checkBox();
    } catch (error) {
      if (!(error instanceof KeyStoreError)) throw error;
      const state = error.code === 'unreachable' ? 'unreachable' : 'unavailable';
      return { state, reason: error.message };
    }
    return { state: 'available', latencyMs: Math.max(1, Math.round(performance.now() - start)) };
  }

  /** Throws `KeyStoreError` when the box cannot be used. */
  async checkBox(): Promise<void> {
    const answer = await this.#call('GetBox', {}, false);
    if (answer.status !== 200) throw refusal('use the box', answer);
  }

  async close(): Promise<void> {
    this.#parts.token.close();
    await this.#parts.http.close();
  }

  #call(name: string, message: Record<string, unknown>, isRepeatable = true): Promise<HttpAnswer> {
    const { http, boxId } = this.#parts;
    const text = JSON.stringify({ box_id: boxId, ...message });
    return http.call({ method: 'POST', path: `/vault/1.0/${name}/`, text, isRepeatable });
  }
}

function readNames(secrets: unknown): string[] {
  if (!Array.isArray(secrets)) {
    throw new KeyStoreError('failed', `${product}: the listing has no list of secrets`);
  }
  const entries = secrets as readonly ({ readonly name?: unknown; expired?: unknown } | null)[];
  return entries
    .filter((entry) => entry?.expired !== true)
    .map((entry) => entry?.name)
    .filter((name): name is string => typeof name === 'string' && name !== '');
}

const base64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

function isTaken(answer: HttpAnswer): boolean {
  return answer.status === 409 && errorOf(answer) === 'Secret already exists';
}

function isMissing(answer: HttpAnswer): boolean {
  return answer.status === 404 && errorOf(answer) === 'Secret not found';
}

/** The error of a JSON answer; undefined when it is none, whatever the text. */
function errorOf({ headers, text }: HttpAnswer): string | undefined {
  if (!/^application\/json\b/i.test(headers['content-type'] ?? '')) return undefined;
  try {
    const { error } = JSON.parse(text) as { error?: unknown };
    return typeof error === 'string' ? error : undefined;
  } catch {
    return undefined;
  }
}

function objectOf(answer: HttpAnswer): Record<string, unknown> {
  const value = answer.json();
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function refusal(
  action: string,
  answer: HttpAnswer,
  secrets: readonly (string | undefined)[] = [],
): KeyStoreError {
  // What is not the product's own error may echo our headers, the token included.
  const said = saidBy(errorOf(answer) ?? '', secrets);
  const hint = hints[answer.status] ?? '';
  return new KeyStoreError(
    'failed',
    `${product}: cannot ${action}: ${answer.status} ${said}${hint}`,
  );
}

const hints: Readonly<Record<number, string>> = {
  401: ' (check vault_id and credentials)',
  403: ' (give the user a policy for the box that may create, check out, list and delete secrets)',
};
