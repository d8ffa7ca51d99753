// Chunks of any size in, runs of exactly the wanted size out, copying only what straddles two
// chunks and must be contiguous. It holds references to the chunks, so a source must not reuse a
// chunk that it has given out before `detach` was called.

import { freeBytes } from '../base/bytes.ts';

/** A first-in, first-out queue of bytes. Taking more than `length` is a mistake of the caller. */
export class ByteQueue {
  #chunks: Uint8Array[] = [];
  #head = 0;
  #offset = 0;
  #length = 0;
  readonly #spent: Uint8Array[] | undefined;

  /** With `ownsChunks` the memory of chunks that were taken whole is freed by `freeSpent`. */
  constructor(options: { readonly ownsChunks?: boolean } = {}) {
    this.#spent = options.ownsChunks === true ? [] : undefined;
  }

  /** Bytes waiting. */
  get length(): number {
    return this.#length;
  }

  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#length += chunk.length;
  }

  /** The byte at this distance from the front, undefined beyond the end. */
  peek(index: number): number | undefined {
    let position = this.#offset + index;
    for (let at = this.#head; at < this.#chunks.length; at += 1) {
      const chunk = this.#chunks[at] as Uint8Array; // `at` is below the length
      if (position < chunk.length) return chunk[position];
      position -= chunk.length;
    }
    return undefined;
  }

  /**
   * The next bytes as one run: a view where they lie in one chunk, else a copy at the start of
   * `scratch`.
   */
  take(count: number, scratch: Buffer): Uint8Array {
    const pieces = this.takePieces(count);
    if (pieces.length === 1) return pieces[0] as Uint8Array;
    let offset = 0;
    for (const piece of pieces) {
      scratch.set(piece, offset);
      offset += piece.length;
    }
    return scratch.subarray(0, count);
  }

  /** The next bytes as views of the chunks they lie in. */
  takePieces(count: number): Uint8Array[] {
    const pieces: Uint8Array[] = [];
    let missing = count;
    while (missing > 0) {
      const chunk = this.#chunks[this.#head] as Uint8Array; // the caller asked `length` first
      const size = Math.min(missing, chunk.length - this.#offset);
      pieces.push(chunk.subarray(this.#offset, this.#offset + size));
      missing -= size;
      this.#advance(chunk, size);
    }
    this.#length -= count;
    return pieces;
  }

  /** Frees the chunks that lie wholly behind the front: nothing taken so far may be used any more. */
  freeSpent(): void {
    if (this.#spent === undefined) return;
    for (const chunk of this.#spent) freeBytes(chunk);
    this.#spent.length = 0;
  }

  /** Copies what waits, so that the chunks pushed so far may be reused by whoever made them. */
  detach(): void {
    if (this.#length === 0) return;
    const copy = Buffer.concat(this.takePieces(this.#length));
    this.push(copy);
  }

  #advance(chunk: Uint8Array, size: number): void {
    this.#offset += size;
    if (this.#offset < chunk.length) return;
    this.#offset = 0;
    this.#head += 1;
    this.#spent?.push(chunk);
    if (this.#head < this.#chunks.length && this.#head < 64) return;
    this.#chunks = this.#chunks.slice(this.#head);
    this.#head = 0;
  }
}
