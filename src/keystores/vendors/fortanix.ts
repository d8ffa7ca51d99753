// Fortanix SDKMS (Data Security Manager): keys are security objects of type OPAQUE. An application's API key
// is sent with every call.

import type { Log } from '../../base/log.ts';
import { KeyStoreError, type KeyStoreStatus } from '../../keys/key-store.ts';
import { createOnce, saidBy } from '../create-once.ts';
import { type HttpAnswer, type HttpClient, type HttpTlsFiles, openHttpClient } from '../http.ts';
import type { SecretStore } from '../secret-store.ts';

export type FortanixSettings = {
  readonly endpoint?: string | undefined;
  readonly group_id?: string | undefined;
  readonly credentials?: { readonly key?: string | undefined } | undefined;
  readonly tls?: HttpTlsFiles | undefined;
};

/** `retryDelayMs`: as of the HTTP client. */
export type FortanixDeps = { readonly log: Log; readonly retryDelayMs?: () => number };

const product = 'fortanix SDKMS';
const keysPath = '/crypto/v1/keys';
const pageSize = 100;

/** Checks the service and the API key; rejects with `KeyStoreError` when one fails. */
export async function openFortanixSecrets(
  settings: FortanixSettings,
  deps: FortanixDeps,
): Promise<SecretStore> {
  const { endpoint = '', tls, credentials, group_id: groupId } = settings;
  const { retryDelayMs } = deps;
  const apiKey = credentials?.key ?? '';
  if (!/^[\x21-\x7e]+$/.test(apiKey)) {
    throw new KeyStoreError('failed', `${product}: credentials.key is not an API key`);
  }
  const http = await openHttpClient({
    product,
    endpoints: [endpoint],
    tls,
    authorization: async () => ({ authorization: `Basic ${apiKey}` }),
    ...(retryDelayMs ? { retryDelayMs } : {}),
  });
  try {
    await checkAccess(http, apiKey);
    return new FortanixSecrets(http, { apiKey, groupId, retryDelayMs });
  } catch (error) {
    await http.close();
    throw error;
  }
}

async function checkAccess(http: HttpClient, apiKey: string): Promise<void> {
  const health = await http.call({ method: 'GET', path: '/sys/v1/health', isAnonymous: true });
  if (health.status !== 204) throw refusal('use the service', health, [apiKey]);
  const path = '/sys/v1/session/auth';
  const session = await http.call({ method: 'POST', path, isRepeatable: true });
  if (session.status !== 200) throw refusal('log in', session, [apiKey]);
  const { access_token: token } = objectOf(session);
  if (typeof token !== 'string' || !/^[\x21-\x7e]+$/.test(token)) {
    throw new KeyStoreError('failed', `${product}: the login gave no token`);
  }
  const end = await http.call({
    method: 'POST',
    path: '/sys/v1/session/terminate',
    headers: { authorization: `Bearer ${token}` },
    isAnonymous: true,
  });
  if (end.status !== 204) throw refusal('end the session', end, [apiKey, token]);
}

type FortanixOptions = {
  readonly apiKey: string;
  readonly groupId: string | undefined;
  readonly retryDelayMs: (() => number) | undefined;
};

class FortanixSecrets implements SecretStore {
  readonly #http: HttpClient;
  readonly #options: FortanixOptions;

  constructor(http: HttpClient, options: FortanixOptions) {
    this.#http = http;
    this.#options = options;
  }

  async create(name: string, value: string): Promise<void> {
    const { groupId, retryDelayMs, apiKey } = this.#options;
    const encoded = Buffer.from(value, 'utf8').toString('base64');
    const json = {
      obj_type: 'OPAQUE',
      name,
      ...(groupId ? { group_id: groupId } : {}),
      key_ops: ['EXPORT', 'APPMANAGEABLE'],
      value: encoded,
      enabled: true,
    };
    const answer = await createOnce({
      send: () => this.#http.call({ method: 'PUT', path: keysPath, json }),
      isTaken,
      read: () => this.get(name),
      value,
      retryDelayMs,
    });
    if (answer === undefined || answer.status === 201) return;
    if (isTaken(answer)) throw new KeyStoreError('exists', `key ${name} already exists`);
    throw refusal(`create ${name}`, answer, [apiKey, value, encoded]);
  }

  async get(name: string): Promise<string> {
    const object = await this.#export(name);
    if (!object) throw new KeyStoreError('not-found', `key ${name} does not exist`);
    if (object['enabled'] !== true) {
      throw new KeyStoreError('failed', `${product}: ${name} is disabled there: enable it`);
    }
    const { value } = object;
    if (typeof value === 'string' && base64.test(value)) {
      return Buffer.from(value, 'base64').toString('utf8');
    }
    throw new KeyStoreError('failed', `${product}: the answer for ${name} has no value`);
  }

  async delete(name: string): Promise<void> {
    const object = await this.#export(name);
    if (!object) return;
    const { kid } = object;
    if (typeof kid !== 'string' || kid === '') {
      throw new KeyStoreError('failed', `${product}: the answer for ${name} has no id`);
    }
    const path = `${keysPath}/${encodeURIComponent(kid)}`;
    // Once only, as everywhere, though an id is never used again.
    const answer = await this.#http.call({ method: 'DELETE', path, isRepeatable: false });
    if (answer.status >= 500 || answer.status === 429) {
      throw new KeyStoreError('unreachable', `${product}: delete ${name}: ${answer.status}`);
    }
    if (answer.status !== 204 && !isMissing(answer)) {
      throw refusal(`delete ${name}`, answer, [this.#options.apiKey]);
    }
  }

  /** Undefined when there is no such object. */
  async #export(name: string): Promise<Record<string, unknown> | undefined> {
    const path = `${keysPath}/export`;
    const answer = await this.#http.call({
      method: 'POST',
      path,
      json: { name },
      isRepeatable: true,
    });
    if (isMissing(answer)) return undefined;
    if (answer.status !== 200) throw refusal(`read ${name}`, answer, [this.#options.apiKey]);
    return objectOf(answer);
  }

  /**
   * A page starts after a name, or with it. The end is a page with nothing after that: a short one may be the
   * service's own limit. Objects without a name cannot be paged over; a page full of them must not hide names.
   */
  async list(): Promise<string[]> {
    const names = new Set<string>();
    for (let start: string | undefined; ; ) {
      const page = await this.#page(start);
      const last = page.at(-1);
      if (last === undefined || (page.length === 1 && last === start)) return [...names];
      const known = names.size;
      for (const name of page) if (name !== '') names.add(name);
      if (last === '') {
        if (page.length < pageSize) return [...names];
        throw unnamedError();
      }
      if (names.size === known) {
        throw new KeyStoreError('failed', `${product}: the listing leads in a circle`);
      }
      start = last;
    }
  }

  async #page(start: string | undefined): Promise<string[]> {
    const from = start === undefined ? '' : `&start=${encodeURIComponent(start)}`;
    const path = `${keysPath}?sort=name:asc&limit=${pageSize}${from}`;
    const answer = await this.#http.call({ method: 'GET', path });
    if (answer.status !== 200) throw refusal('list', answer, [this.#options.apiKey]);
    const entries = answer.json();
    if (!Array.isArray(entries)) {
      throw new KeyStoreError('failed', `${product}: the listing is not a list`);
    }
    return (entries as readonly ({ readonly name?: unknown } | null)[]).map((entry) =>
      typeof entry?.name === 'string' ? entry.name : '',
    );
  }

  async status(): Promise<KeyStoreStatus> {
    const begin = performance.now();
    try {
      await this.#http.call({ method: 'GET', path: '/', isAnonymous: true, isRepeatable: false });
    } catch (error) {
      if (!(error instanceof KeyStoreError)) throw error;
      const state = error.code === 'unreachable' ? 'unreachable' : 'unavailable';
      return { state, reason: error.message };
    }
    return { state: 'available', latencyMs: Math.max(1, Math.round(performance.now() - begin)) };
  }

  close(): Promise<void> {
    return this.#http.close();
  }
}

const base64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

function isTaken(answer: HttpAnswer): boolean {
  return answer.status === 409 && describe(answer.text) === 'sobject already exists';
}

function isMissing(answer: HttpAnswer): boolean {
  return answer.status === 404 && describe(answer.text) === 'sobject does not exist';
}

function objectOf(answer: HttpAnswer): Record<string, unknown> {
  const value = answer.json();
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function refusal(
  action: string,
  answer: HttpAnswer,
  secrets: readonly (string | undefined)[],
): KeyStoreError {
  // What is not the product's own error may echo our headers, the API key included.
  const said = saidBy(messageOf(answer.text) ?? '', secrets);
  const hint = hints[answer.status] ?? '';
  return new KeyStoreError(
    'failed',
    `${product}: cannot ${action}: ${answer.status} ${said}${hint}`,
  );
}

/** What an error of the product says: a JSON member, or the text itself. */
function describe(text: string): string {
  return messageOf(text) ?? text.trim();
}

/** Undefined when the text is not JSON with a message. */
function messageOf(text: string): string | undefined {
  try {
    const { message } = (JSON.parse(text) ?? {}) as { message?: unknown };
    return typeof message === 'string' ? message : undefined;
  } catch {
    return undefined;
  }
}

function unnamedError(): KeyStoreError {
  return new KeyStoreError(
    'failed',
    `${product}: cannot list: it has ${pageSize} or more objects without a name, which hide the others: ` +
      'name or remove them, or keep the application to a group of its own',
  );
}

const hints: Readonly<Record<number, string>> = {
  401: ' (check credentials.key: the API key of the application)',
  403: ' (let the application manage and export opaque objects in its group)',
};
