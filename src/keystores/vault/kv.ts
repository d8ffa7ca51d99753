// Texts in Vault's KV engine, versions 1 and 2, where the reference key service puts them: an entry per
// name whose one member is called like the name.
//
// Version 2 creates atomically (check-and-set 0) and is read at version 1, so that a later version written
// by somebody else changes nothing. What was deleted softly is neither there nor gone, and an error that
// says what to do. Version 1 has nothing atomic: `claims.ts` keeps our own nodes apart.

import { KeyStoreError } from '../../keys/key-store.ts';
import { createOnce } from '../create-once.ts';
import type { HttpAnswer } from '../http.ts';
import {
  bodyOf,
  dataOf,
  errorsOf,
  isAbsence,
  type JsonObject,
  membersOf,
  refusal,
  vaultPath,
} from './answers.ts';
import type { VaultClient } from './client.ts';

export type VaultKvSettings = {
  readonly engine: string;
  readonly prefix: string;
  readonly retryDelayMs?: (() => number) | undefined;
};

/** `create` throws `exists`, `get` `not-found`; version 1 creates without a check. */
export interface VaultKv {
  create(name: string, value: string): Promise<void>;
  get(name: string): Promise<string>;
  /** Resolves when the name does not exist. */
  delete(name: string): Promise<void>;
  /** Every name below the prefix; names of folders are left out. */
  list(): Promise<string[]>;
}

const listBytesMax = 32 * 1024 * 1024;
const writeTriesMax = 3;
const valueAnswerBytesMax = 16 * 1024 * 1024;

/** KV version 1. */
export class VaultKv1 implements VaultKv {
  readonly #client: VaultClient;
  readonly #settings: VaultKvSettings;

  constructor(client: VaultClient, settings: VaultKvSettings) {
    this.#client = client;
    this.#settings = settings;
  }

  async create(name: string, value: string): Promise<void> {
    const path = this.#path(name);
    const json = { [name]: value };
    // Writing the same again changes nothing.
    const answer = await this.#client.call({ method: 'PUT', path, json, isRepeatable: true });
    await this.#checkWritten(name, value, answer);
  }

  /**
   * As `create`, within this time or not at all. False when an attempt before the good one had no answer of
   * Vault: it may still arrive, and write the value again.
   */
  async write(name: string, value: string, limit: { readonly withinMs: number }): Promise<boolean> {
    const until = performance.now() + limit.withinMs;
    const call = { method: 'PUT', path: this.#path(name), json: { [name]: value } } as const;
    let isSettled = true;
    for (let tries = 1; ; tries += 1) {
      const withinMs = Math.max(1, until - performance.now());
      const delayMs = this.#settings.retryDelayMs?.() ?? 200 + Math.random() * 800;
      const isLast = tries === writeTriesMax || delayMs >= withinMs;
      const answer = await answerOf(
        this.#client.call({ ...call, isRepeatable: false, withinMs }),
        isLast,
      );
      if (answer !== undefined && (answer.status < 500 || isLast)) {
        await this.#checkWritten(name, value, answer);
        return isSettled;
      }
      // Vault's own errors end a write; those of a proxy say nothing about it.
      if (answer?.status !== 500 && answer?.status !== 503) isSettled = false;
      await new Promise((resolve) => setTimeout(resolve, delayMs));
    }
  }

  async #checkWritten(name: string, value: string, answer: HttpAnswer): Promise<void> {
    if (answer.status === 200) return checkWritten(this, name, value);
    if (answer.status !== 204) throw refusal(`write ${name}`, answer);
  }

  async get(name: string): Promise<string> {
    const what = `read ${name}`;
    const answer = await this.#client.call({
      method: 'GET',
      path: this.#path(name),
      answerBytesMax: valueAnswerBytesMax,
    });
    if (isAbsence(what, answer)) throw notFound(name);
    if (answer.status !== 200) throw refusal(what, answer);
    return memberOf(name, bodyOf(what, answer)['data']);
  }

  async delete(name: string): Promise<void> {
    await deleteAt(this.#client, name, this.#path(name));
  }

  list(): Promise<string[]> {
    return listAt(this.#client, vaultPath(this.#settings.engine, this.#settings.prefix));
  }

  #path(name: string): string {
    return vaultPath(this.#settings.engine, this.#settings.prefix, name);
  }
}

/** Undefined when there was none and another attempt follows. */
async function answerOf(
  call: Promise<HttpAnswer>,
  isLast: boolean,
): Promise<HttpAnswer | undefined> {
  try {
    return await call;
  } catch (error) {
    const isLost = error instanceof KeyStoreError && error.code === 'unreachable';
    if (!isLost || isLast) throw error;
    return undefined;
  }
}

/** KV version 2. */
export class VaultKv2 implements VaultKv {
  readonly #client: VaultClient;
  readonly #settings: VaultKvSettings;

  constructor(client: VaultClient, settings: VaultKvSettings) {
    this.#client = client;
    this.#settings = settings;
  }

  async create(name: string, value: string): Promise<void> {
    const what = `write ${name}`;
    const json = { options: { cas: 0 }, data: { [name]: value } };
    const path = this.#path('data', name);
    const answer = await createOnce({
      send: () => this.#client.call({ method: 'PUT', path, json, isRepeatable: false }),
      isTaken,
      read: () => this.#find(name),
      value,
      retryDelayMs: this.#settings.retryDelayMs,
    });
    if (answer === undefined || isFirstVersion(answer)) return;
    if (answer.status === 200 || answer.status === 204) return checkWritten(this, name, value);
    if (!isTaken(answer)) throw refusal(what, answer);
    await this.#find(name); // throws when what lies there is no value
    throw new KeyStoreError('exists', `vault: ${name} already exists`);
  }

  async get(name: string): Promise<string> {
    const what = `read ${name}`;
    const answer = await this.#client.call({
      method: 'GET',
      path: `${this.#path('data', name)}?version=1`,
      answerBytesMax: valueAnswerBytesMax,
    });
    if (answer.status === 404) this.#checkGone(name, dataOf(what, answer));
    if (isAbsence(what, answer)) throw notFound(name);
    if (answer.status !== 200) throw refusal(what, answer);
    return memberOf(name, dataOf(what, answer)['data']);
  }

  async delete(name: string): Promise<void> {
    await deleteAt(this.#client, name, this.#path('metadata', name));
  }

  list(): Promise<string[]> {
    const { engine, prefix } = this.#settings;
    return listAt(this.#client, vaultPath(engine, 'metadata', prefix));
  }

  /** It may have been deleted since; then it was taken all the same. */
  async #find(name: string): Promise<string | undefined> {
    try {
      return await this.get(name);
    } catch (error) {
      if (error instanceof KeyStoreError && error.code === 'not-found') return undefined;
      throw error;
    }
  }

  #path(kind: 'data' | 'metadata', name: string): string {
    return vaultPath(this.#settings.engine, kind, this.#settings.prefix, name);
  }

  /** Throws for an entry whose first version is deleted or destroyed, but which is still there. */
  #checkGone(name: string, data: JsonObject): void {
    if (data['metadata'] === undefined) return;
    const { engine, prefix } = this.#settings;
    const at = `-mount=${engine} ${[prefix, name].filter((part) => part !== '').join('/')}`;
    const isDestroyed = membersOf(data['metadata'])['destroyed'] === true;
    const undelete = isDestroyed ? '' : `'vault kv undelete -versions=1 ${at}' brings it back, `;
    throw new KeyStoreError(
      'failed',
      `vault: ${name} was ${isDestroyed ? 'destroyed' : 'deleted'} in Vault but its name is still taken: ` +
        `${undelete}'vault kv metadata delete ${at}' removes it for good`,
    );
  }
}

/** The answer to a write that made version 1. */
function isFirstVersion(answer: HttpAnswer): boolean {
  if (answer.status !== 200) return false;
  try {
    return dataOf('write', answer)['version'] === 1;
  } catch {
    return false;
  }
}

/** A success in an unusual form may not come from Vault at all: believes it only when the value is there. */
async function checkWritten(kv: VaultKv, name: string, value: string): Promise<void> {
  try {
    if ((await kv.get(name)) === value) return;
  } catch (error) {
    if (!(error instanceof KeyStoreError) || error.code !== 'not-found') throw error;
  }
  throw new KeyStoreError('failed', `vault: write ${name}: it was answered, but not carried out`);
}

/** The answer to a write with check-and-set 0 on a name that has a version. */
function isTaken(answer: HttpAnswer): boolean {
  return answer.status === 400 && errorsOf(answer).some((text) => text.includes('check-and-set'));
}

async function deleteAt(client: VaultClient, name: string, path: string): Promise<void> {
  const what = `delete ${name}`;
  // Once only: a repeated one could delete what was created in between.
  const answer = await client.call({ method: 'DELETE', path, isRepeatable: false });
  if (answer.status === 204 || isAbsence(what, answer)) return;
  if (answer.status >= 500) {
    throw new KeyStoreError('unreachable', `vault: ${what}: ${answer.status}`);
  }
  throw refusal(what, answer);
}

async function listAt(client: VaultClient, path: string): Promise<string[]> {
  const answer = await client.call({
    method: 'GET',
    path: `${path}?list=true`,
    answerBytesMax: listBytesMax,
  });
  if (isAbsence('list', answer)) return [];
  if (answer.status !== 200) throw refusal('list', answer);
  const { keys } = dataOf('list', answer);
  if (!Array.isArray(keys))
    throw new KeyStoreError('failed', 'vault: list: there is no list in it');
  return keys.filter((key): key is string => typeof key === 'string' && !key.endsWith('/'));
}

function memberOf(name: string, data: unknown): string {
  const value: unknown =
    data !== null && typeof data === 'object' && Object.getOwnPropertyDescriptor(data, name)?.value;
  if (typeof value === 'string') return value;
  throw new KeyStoreError('failed', `vault: read ${name}: the entry has no member of that name`);
}

function notFound(name: string): KeyStoreError {
  return new KeyStoreError('not-found', `vault: ${name} does not exist`);
}
