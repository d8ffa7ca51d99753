// Where the key service keeps its keys: named, opaque text values (`docs/formats/key-store.md`). Every
// engine passes `test/contract/key-store.ts`.

/**
 * Guarantees of every engine:
 * - `create` fails with `exists` when the name is taken, atomically: of many concurrent creators of one
 *   name, on any number of nodes, exactly one succeeds;
 * - a resolved `create`, `replace` or `delete` is durable;
 * - a reader sees a whole value or none, never a part.
 * Names are valid key names (1 to 80 of `[0-9A-Za-z_-]`), checked by the caller; values are at most 1 MiB
 * of ASCII text. Errors are thrown as `KeyStoreError`.
 */
export interface KeyStore {
  /**
   * Set when the provider keeps a copy of what is deleted or erased (soft deletion, say): one sentence that
   * says which and for how long, for operators. Absent: deletion is final.
   */
  readonly keepsDeleted?: string | undefined;
  create(name: string, value: string): Promise<void>;
  /** Throws `not-found`. */
  get(name: string): Promise<string>;
  /**
   * Replaces the value only if it is still `expected`; throws `not-found` or `conflict` otherwise. A
   * replace never brings a deleted key back. With `isErasing`, no earlier value can be read from the store
   * any more when it resolves, and after a crash it can be called again with the same `expected`.
   */
  replace(name: string, change: KeyStoreChange): Promise<void>;
  /**
   * Throws `not-found`. No value of the key can be read from the store when it resolves. With `expected`, it
   * throws `conflict` and leaves the key alone when its value is another: what was decided about one value
   * is never done to its successor.
   */
  delete(name: string, expected?: string): Promise<void>;
  /** Names that start with `prefix` and come after `after` by bytes, sorted by bytes, at most 1,024. */
  list(query: { readonly prefix: string; readonly after?: string }): Promise<KeyStorePage>;
  status(): Promise<KeyStoreStatus>;
  close(): Promise<void>;
}

export type KeyStoreChange = {
  readonly expected: string;
  readonly value: string;
  readonly isErasing?: boolean;
};

export type KeyStorePage = { readonly names: readonly string[]; readonly hasMore: boolean };

/** `latencyMs`: round trip of the status call, at least 1. */
export type KeyStoreStatus =
  | { readonly state: 'available'; readonly latencyMs: number }
  | { readonly state: 'unavailable' | 'unreachable'; readonly reason: string };

export type KeyStoreErrorCode =
  | 'exists'
  | 'not-found'
  | 'conflict'
  | 'invalid-name'
  | 'unreachable'
  | 'failed';

export class KeyStoreError extends Error {
  readonly code: KeyStoreErrorCode;
  constructor(code: KeyStoreErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'KeyStoreError';
    this.code = code;
  }
}
