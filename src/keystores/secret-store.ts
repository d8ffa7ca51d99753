// What a remote product has to offer to hold keys: named, immutable texts. It is as much as every secret
// manager can do, and exactly what the reference key service uses, so what lies there stays readable both
// ways. Changing a key (disabling, rotating, destroying) is built on top, in `generations.ts`.

import type { KeyStoreStatus } from '../keys/key-store.ts';

/**
 * Names are `[0-9A-Za-z_-]{1,127}`; values are at most 1 MiB of ASCII text. Errors are thrown as
 * `KeyStoreError`: `unreachable` when the product did not answer (connection, timeout, DNS), `failed` with
 * what it said otherwise. No error text holds a value or a credential.
 */
export interface SecretStore {
  /** As `KeyStore.keepsDeleted`. */
  readonly keepsDeleted?: string | undefined;
  /** Throws `exists`. Atomic: of many creators of one name, on any number of nodes, exactly one succeeds. */
  create(name: string, value: string): Promise<void>;
  /** Throws `not-found`. */
  get(name: string): Promise<string>;
  /**
   * Final, or as `keepsDeleted` says. Resolves when the name does not exist. At most one attempt is made: when
   * its answer was lost, it rejects with `unreachable`, and the entry may be gone or not. Whether to repeat it
   * is for the caller to decide, who knows what was to go: another entry may have the name by then.
   */
  delete(name: string): Promise<void>;
  /** Every name, in any order. */
  list(): Promise<string[]>;
  status(): Promise<KeyStoreStatus>;
  close(): Promise<void>;
}
