// A key store in memory: for development and tests. Its keys are gone with the process.

import {
  type KeyStore,
  KeyStoreError,
  type KeyStorePage,
  type KeyStoreStatus,
} from '../keys/key-store.ts';
import { pageOf } from '../keys/key-store-page.ts';

/** Keeps nothing; never fails. */
export class MemoryKeyStore implements KeyStore {
  readonly #values = new Map<string, string>();

  async create(name: string, value: string): Promise<void> {
    if (this.#values.has(name)) throw new KeyStoreError('exists', `key ${name} already exists`);
    this.#values.set(name, value);
  }

  async get(name: string): Promise<string> {
    const value = this.#values.get(name);
    if (value === undefined) throw notFound(name);
    return value;
  }

  async replace(
    name: string,
    change: { readonly expected: string; readonly value: string },
  ): Promise<void> {
    const value = this.#values.get(name);
    if (value === undefined) throw notFound(name);
    if (value !== change.expected) throw conflict(name);
    this.#values.set(name, change.value);
  }

  async delete(name: string, expected?: string): Promise<void> {
    const value = this.#values.get(name);
    if (value === undefined) throw notFound(name);
    if (expected !== undefined && value !== expected) throw conflict(name);
    this.#values.delete(name);
  }

  async list(query: { readonly prefix: string; readonly after?: string }): Promise<KeyStorePage> {
    return pageOf([...this.#values.keys()], query);
  }

  async status(): Promise<KeyStoreStatus> {
    return { state: 'available', latencyMs: 1 };
  }

  async close(): Promise<void> {}
}

function conflict(name: string): KeyStoreError {
  return new KeyStoreError('conflict', `key ${name} has changed`);
}

function notFound(name: string): KeyStoreError {
  return new KeyStoreError('not-found', `key ${name} does not exist`);
}
