// Writing a file past the page cache (O_DIRECT). A large object is written once and seldom read soon after, so
// copying it into the page cache only costs time and pushes out what is read often. The kernel then takes the
// bytes straight from our buffers, which have to lie on block boundaries: the memory of WebAssembly begins on a
// page, which nothing else in this runtime promises.
//
// File systems that cannot do it are found out once, when the store is opened.

import { constants } from 'node:fs';
import { type FileHandle, open, readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { freeBytes } from '../base/bytes.ts';

/** The part that is used here of what the types of the runtime leave out. */
declare const WebAssembly: {
  readonly Memory: new (size: {
    readonly initial: number;
    readonly maximum: number;
  }) => { readonly buffer: ArrayBuffer };
};

const blockBytes = 4096;
/** One write. */
const bufferBytes = 1024 * 1024;
const wasmPageBytes = 65_536;
/** Two are taken by each file that is being written. */
const buffersMax = 64;

/** What the files are called by which it is found out, each followed by the id of its process. */
const probePrefix = '.direct-';

/** Flags beside those of an ordinary write. Zero where the platform has no such thing. */
export const directFlag: number = constants.O_DIRECT ?? 0;

/** Aligned buffers that go from write to write. */
export class AlignedBuffers {
  readonly #free: Buffer[] = [];

  constructor() {
    const pages = (buffersMax * bufferBytes) / wasmPageBytes;
    // The pages cost nothing before they are written to.
    const { buffer } = new WebAssembly.Memory({ initial: pages, maximum: pages });
    for (let index = 0; index < buffersMax; index += 1) {
      this.#free.push(Buffer.from(buffer, index * bufferBytes, bufferBytes));
    }
  }

  /** Two buffers, or undefined when there are none: the caller then writes in the ordinary way. */
  takePair(): [Buffer, Buffer] | undefined {
    if (this.#free.length < 2) return undefined;
    return this.#free.splice(-2) as [Buffer, Buffer];
  }

  /** Gives a pair back that nothing writes from any more. */
  givePair(pair: readonly [Buffer, Buffer]): void {
    this.#free.push(...pair);
  }
}

/** Removes what processes left that died while they found out. One that is still at it loses nothing but a name. */
export async function removeProbes(dir: string): Promise<void> {
  const names = await readdir(dir).catch(() => []);
  for (const name of names) {
    if (name.startsWith(probePrefix)) await unlink(join(dir, name)).catch(() => undefined);
  }
}

/** True when files in the directory can be written past the page cache. Leaves nothing behind. */
export async function canWriteDirect(dir: string, buffers: AlignedBuffers): Promise<boolean> {
  const pair = buffers.takePair();
  if (directFlag === 0 || pair === undefined) return false;
  const path = join(dir, `${probePrefix}${process.pid}`);
  try {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | directFlag;
    const file = await open(path, flags, 0o600);
    try {
      return (await file.write(pair[0], 0, blockBytes, 0)).bytesWritten === blockBytes;
    } finally {
      await file.close();
    }
  } catch {
    // Whatever is wrong with the directory shows itself when a blob is written.
    return false;
  } finally {
    buffers.givePair(pair);
    await unlink(path).catch(() => undefined);
  }
}

/**
 * Writes all chunks to a file that was opened with `directFlag`, one buffer filling while the other is written.
 * Returns the number of bytes. On return or failure nothing writes from the buffers any more. A chunk is free
 * again when the next one is asked for; with `ownsChunks` its memory is given back.
 */
export async function writeDirect(
  file: FileHandle,
  source: AsyncIterable<Uint8Array>,
  options: { readonly buffers: readonly [Buffer, Buffer]; readonly ownsChunks: boolean },
): Promise<number> {
  const writer = new DirectWriter(file, options.buffers);
  try {
    for await (const chunk of source) {
      for (let at = 0; at < chunk.length; ) {
        at += writer.fill(chunk, at);
        if (writer.isFull) await writer.flush();
      }
      if (options.ownsChunks) freeBytes(chunk);
    }
    return await writer.finish();
  } finally {
    await writer.settle();
  }
}

class DirectWriter {
  readonly #file: FileHandle;
  readonly #buffers: readonly [Buffer, Buffer];
  #current: 0 | 1 = 0;
  #filled = 0;
  #position = 0;
  #running: Promise<void> = Promise.resolve();

  constructor(file: FileHandle, buffers: readonly [Buffer, Buffer]) {
    this.#file = file;
    this.#buffers = buffers;
  }

  get isFull(): boolean {
    return this.#filled === bufferBytes;
  }

  /** Copies as much of the chunk, from `at` on, as there is room for. Returns how much. */
  fill(chunk: Uint8Array, at: number): number {
    const count = Math.min(chunk.length - at, bufferBytes - this.#filled);
    this.#buffers[this.#current].set(chunk.subarray(at, at + count), this.#filled);
    this.#filled += count;
    return count;
  }

  /** Starts to write the current buffer, after the other one was written, and goes on with that. */
  async flush(): Promise<void> {
    const buffer = this.#buffers[this.#current];
    const padded = Math.ceil(this.#filled / blockBytes) * blockBytes;
    buffer.fill(0, this.#filled, padded);
    await this.#running;
    this.#running = this.#write(buffer, padded, this.#position);
    // A failure is seen at the next flush, or at the end.
    this.#running.catch(() => undefined);
    this.#position += this.#filled;
    this.#current = this.#current === 0 ? 1 : 0;
    this.#filled = 0;
  }

  async finish(): Promise<number> {
    if (this.#filled > 0) await this.flush();
    await this.#running;
    // The last block was written whole.
    if (this.#position % blockBytes !== 0) await this.#file.truncate(this.#position);
    return this.#position;
  }

  async settle(): Promise<void> {
    await this.#running.catch(() => undefined);
  }

  async #write(buffer: Buffer, length: number, position: number): Promise<void> {
    const { bytesWritten } = await this.#file.write(buffer, 0, length, position);
    if (bytesWritten === length) return;
    throw Object.assign(new Error('a write was cut short'), { code: 'ENOSPC' });
  }
}
