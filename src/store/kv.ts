// The ordered key-value store under all metadata. Keys are bytes, ordered by bytes (memcmp); values
// are opaque; every entry carries a version that changes whenever the entry is written. The contract
// below is everything the logic above may rely on, and `test/contract/kv.ts` checks it on every engine.

/** Identifies one state of one entry. Opaque: compare only with `===`, and only for the same entry. */
export type EntryVersion = number;

/** An entry as it was read. */
export type KvEntry = {
  readonly entryKey: Uint8Array;
  /** Owned by the caller: the engine never changes or reuses these bytes afterwards. */
  readonly value: Uint8Array;
  readonly version: EntryVersion;
};

/** A condition of a commit: the entry is still at this version, or still absent. */
export type KvCheck = { readonly entryKey: Uint8Array; readonly version: EntryVersion | 'absent' };

/** A write of a commit. `value` must not be changed by the caller until the commit resolves. */
export type KvPut = { readonly entryKey: Uint8Array; readonly value: Uint8Array };

/** One atomic change. An entry key occurs at most once among `puts` and `deletes` together. */
export type KvCommit = {
  readonly checks?: readonly KvCheck[];
  readonly puts?: readonly KvPut[];
  /** Deleting an absent entry is not an error. */
  readonly deletes?: readonly Uint8Array[];
};

/** A half-open interval of entry keys: `start <= key < end`, whatever the direction. */
export type KvRange = {
  readonly start: Uint8Array;
  readonly end: Uint8Array;
  /** Most entries to return, 1 to 10,000. */
  readonly limit: number;
  /** True lists from the end downwards. Default false. */
  readonly isReverse?: boolean;
};

/** Longest entry key, in bytes: table, bucket id, object name (1,024), separators, version. */
export const entryKeyBytesMax = 1500;

/** Largest value, in bytes. */
export const valueBytesMax = 16 * 1024 * 1024;

/**
 * Guarantees of every engine:
 * - a resolved commit is durable (it survives a crash of the process and of the machine) and visible to
 *   every later read in every process that shares the store;
 * - a commit is all or nothing, also across a crash; `'conflict'` means that nothing was changed;
 * - a commit that rejects (disk full, read-only, I/O error) changed nothing;
 * - `get` and `getMany` see only committed states, `list` sees one consistent snapshot per call.
 * Errors are thrown as `KvError`.
 */
export interface Kv {
  get(entryKey: Uint8Array): Promise<KvEntry | undefined>;
  /** Same order and length as the argument. One snapshot. */
  getMany(entryKeys: readonly Uint8Array[]): Promise<(KvEntry | undefined)[]>;
  list(range: KvRange): Promise<KvEntry[]>;
  commit(commit: KvCommit): Promise<'committed' | 'conflict'>;
  close(): Promise<void>;
}

export type KvErrorCode = 'corrupt' | 'full' | 'read-only' | 'locked' | 'unavailable';

/** `corrupt`: an entry is not what was written (sealed values: does not open). The rest is the disk's or engine's state. */
export class KvError extends Error {
  readonly code: KvErrorCode;
  constructor(code: KvErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'KvError';
    this.code = code;
  }
}
