// A `SecretStore` in memory, for tests of what is built on top.

import { KeyStoreError, type KeyStoreStatus } from '../../src/keys/key-store.ts';
import type { SecretStore } from '../../src/keystores/secret-store.ts';

/** Several of them on one map are several nodes with one product. */
export class MemorySecrets implements SecretStore {
  readonly entries: Map<string, string>;

  constructor(entries = new Map<string, string>()) {
    this.entries = entries;
  }

  async create(name: string, value: string): Promise<void> {
    if (this.entries.has(name)) throw new KeyStoreError('exists', `${name} exists`);
    this.entries.set(name, value);
  }

  async get(name: string): Promise<string> {
    const value = this.entries.get(name);
    if (value === undefined) throw new KeyStoreError('not-found', `${name} does not exist`);
    return value;
  }

  async delete(name: string): Promise<void> {
    this.entries.delete(name);
  }

  async list(): Promise<string[]> {
    return [...this.entries.keys()];
  }

  async status(): Promise<KeyStoreStatus> {
    return { state: 'available', latencyMs: 1 };
  }

  async close(): Promise<void> {}
}
