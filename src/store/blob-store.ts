// Where the bytes of larger objects live: immutable blobs under ids that nobody can guess. A blob is
// written once, made durable, then named by a record; whatever loses a race is removed afterwards.

/** A blob's id: 1 to 64 characters of `[0-9a-z-]`, made by the store, never reused. */
export type BlobId = string;

/** Bytes `start` to `end`, end exclusive, of a stored blob. */
export type BlobRange = { readonly start: number; readonly end: number };

/**
 * Guarantees of every engine:
 * - when `write` resolves, the blob and its directory entry are durable;
 * - when `write` rejects (source failed, disk full, aborted), nothing of the blob is left, or only what
 *   `list` shows and the sweep removes;
 * - a blob that exists never changes.
 * Errors are thrown as `BlobError`, except errors of the source iterable, which pass unchanged.
 */
export interface BlobStore {
  /**
   * Writes the chunks of `source` in order. Returns the number of bytes. Memory is bounded. The source must not
   * change a chunk after it gave it out.
   */
  write(id: BlobId, source: AsyncIterable<Uint8Array>, options?: BlobWriteOptions): Promise<number>;
  /**
   * Opens the blob at once (an absent blob rejects here, before any byte) and reads the range with
   * bounded memory; a shorter blob than the range makes the iteration fail with `truncated`. The reader
   * must be iterated to its end or closed. Chunks belong to the consumer and are never reused,
   * unless it asks for `isTransient`.
   */
  read(id: BlobId, range: BlobRange, options?: BlobReadOptions): Promise<BlobReader>;
  /** Removing an absent blob is not an error. Readers already open are not disturbed. */
  remove(id: BlobId): Promise<void>;
  /** Every blob in any order, with the time it was last written, for the sweep. */
  list(): AsyncIterable<{ readonly id: BlobId; readonly modifiedMs: number }>;
  close(): Promise<void>;
}

export type BlobWriteOptions = {
  /** True when nobody else uses the chunks: their memory may be given back once they are written. */
  readonly ownsChunks?: boolean;
};

export type BlobReadOptions = {
  /** True when the consumer is done with each chunk when it asks for the next: its memory is then reused. */
  readonly isTransient?: boolean;
};

export interface BlobReader extends AsyncIterable<Uint8Array> {
  /** Frees the file handle; harmless after the end. */
  close(): Promise<void>;
}

export type BlobErrorCode =
  | 'absent'
  | 'truncated'
  | 'full'
  | 'read-only'
  | 'too-many-files'
  | 'unavailable';

export class BlobError extends Error {
  readonly code: BlobErrorCode;
  constructor(code: BlobErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'BlobError';
    this.code = code;
  }
}
