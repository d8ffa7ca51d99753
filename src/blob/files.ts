// Blobs as files: `<dir>/<last two characters of the id>/<id>`. The fan-out keeps directories small;
// the end of the id is random, its start may be a time.
//
// A write goes to its final name at once (nobody knows the id yet), mode 0600, and resolves after the file
// and its directory are synced. Whatever fails removes the file again. Memory is bounded: a write holds
// about two megabytes of its source's chunks, a read two chunks of a quarter megabyte.

import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, opendir, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import {
  BlobError,
  type BlobErrorCode,
  type BlobId,
  type BlobRange,
  type BlobReader,
  type BlobReadOptions,
  type BlobStore,
  type BlobWriteOptions,
} from '../store/blob-store.ts';
import { freeBytes } from '../base/bytes.ts';
import {
  AlignedBuffers,
  canWriteDirect,
  directFlag,
  removeProbes,
  writeDirect,
} from './direct-write.ts';
import { createDirectorySync, type DirectorySync } from './directory-sync.ts';

const fanOutCharacters = 2;
/** Chunks are gathered to this size, or number, before they go to the file. */
const writeBytesMin = 512 * 1024;
const writeChunksMax = 512;
/** A multiple of the stored size of one package, so that sealed chunks end where packages do. */
const readBytesMax = 4 * 65_568;
/** Buffers that wait to be reused by readers whose consumers allow it. */
const spareBuffersMax = 64;
const idPattern = /^[0-9a-z-]{1,64}$/;

/**
 * Opens (and creates) the store in the directory. Throws `BlobError`: `read-only`, `full`, `unavailable`.
 */
export async function openFileBlobStore(dir: string): Promise<BlobStore> {
  const sync = createDirectorySync();
  try {
    await makeDirectory(dir);
    await sync(dir);
    await sync(dirname(dir));
  } catch (error) {
    throw toBlobError(error, `cannot open the blob directory ${dir}`);
  }
  await removeProbes(dir);
  const buffers = new AlignedBuffers();
  return new FileBlobStore(dir, {
    sync,
    aligned: (await canWriteDirect(dir, buffers)) ? buffers : undefined,
  });
}

class FileBlobStore implements BlobStore {
  readonly #dir: string;
  readonly #sync: DirectorySync;
  /** Fan-out directories known to exist durably, with the running creation of the others. */
  readonly #folders = new Map<string, Promise<void>>();
  readonly #spare = new SpareBuffers();

  /** Undefined where files cannot be written past the page cache. */
  readonly #aligned: AlignedBuffers | undefined;

  constructor(
    dir: string,
    how: { readonly sync: DirectorySync; readonly aligned: AlignedBuffers | undefined },
  ) {
    this.#dir = dir;
    this.#sync = how.sync;
    this.#aligned = how.aligned;
  }

  async write(
    id: BlobId,
    source: AsyncIterable<Uint8Array>,
    options: BlobWriteOptions = {},
  ): Promise<number> {
    const { folder, path } = this.#place(id);
    const buffers = this.#aligned?.takePair();
    let isCreated = false;
    try {
      const file = await this.#create(folder, path, { id, isDirect: buffers !== undefined });
      isCreated = true;
      const sizeBytes = await writeSynced(file, { id, source, buffers, ...options });
      await this.#sync(folder).catch((error: unknown) => {
        throw toBlobError(error, `cannot write the directory of the blob ${id}`);
      });
      return sizeBytes;
    } catch (error) {
      // What cannot be unlinked now is found by the sweep: no record names it.
      if (isCreated) await unlink(path).catch(() => undefined);
      throw error;
    } finally {
      if (buffers) this.#aligned?.givePair(buffers);
    }
  }

  async read(id: BlobId, range: BlobRange, options: BlobReadOptions = {}): Promise<BlobReader> {
    const { path } = this.#place(id);
    try {
      const file = await open(path, constants.O_RDONLY);
      const buffers = options.isTransient === true ? this.#spare : undefined;
      return new FileReader(file, { id, range, buffers });
    } catch (error) {
      throw toBlobError(error, `cannot open the blob ${id}`);
    }
  }

  async remove(id: BlobId): Promise<void> {
    try {
      await unlink(this.#place(id).path);
    } catch (error) {
      const blobError = toBlobError(error, `cannot remove the blob ${id}`);
      if (blobError.code !== 'absent') throw blobError;
    }
  }

  async *list(): AsyncGenerator<{ readonly id: BlobId; readonly modifiedMs: number }> {
    for await (const folder of await this.#openDirectory(this.#dir)) {
      if (!folder.isDirectory()) continue;
      const path = join(this.#dir, folder.name);
      for await (const file of await this.#openDirectory(path)) {
        if (!file.isFile() || !idPattern.test(file.name)) continue;
        const found = await stat(join(path, file.name)).catch(() => undefined);
        // A blob may go while the list is read.
        if (found) yield { id: file.name, modifiedMs: found.mtimeMs };
      }
    }
  }

  async close(): Promise<void> {}

  async #openDirectory(path: string): ReturnType<typeof opendir> {
    try {
      return await opendir(path, { bufferSize: 1000 });
    } catch (error) {
      throw toBlobError(error, `cannot read the directory ${path}`);
    }
  }

  #place(id: BlobId): { readonly folder: string; readonly path: string } {
    if (!idPattern.test(id)) throw new BlobError('unavailable', 'a blob id of a wrong form');
    const folder = join(this.#dir, id.slice(-fanOutCharacters).padStart(fanOutCharacters, '0'));
    return { folder, path: join(folder, id) };
  }

  async #create(
    folder: string,
    path: string,
    how: { readonly id: BlobId; readonly isDirect: boolean },
  ): Promise<FileHandle> {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;
    try {
      await this.#ensureFolder(folder);
      return await open(path, how.isDirect ? flags | directFlag : flags, 0o600);
    } catch (error) {
      throw toBlobError(error, `cannot create the blob ${how.id}`);
    }
  }

  #ensureFolder(folder: string): Promise<void> {
    const known = this.#folders.get(folder);
    if (known) return known;
    const created = makeDirectory(folder).then(() => this.#sync(this.#dir));
    this.#folders.set(folder, created);
    created.catch(() => this.#folders.delete(folder));
    return created;
  }
}

async function makeDirectory(dir: string): Promise<void> {
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
  } catch (error) {
    // On a read-only file system the recursive form reports ENOENT; the plain one knows better.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') await mkdir(dir, { mode: 0o700 });
    throw error;
  }
}

type WriteJob = BlobWriteOptions & {
  readonly id: BlobId;
  readonly source: AsyncIterable<Uint8Array>;
  /** Aligned: the file was opened to be written past the page cache. */
  readonly buffers: readonly [Buffer, Buffer] | undefined;
};

/**
 * Makes the blob look as new as it is, whatever time its bytes took: the sweep goes by that. Should the sweep have
 * taken the file away already (the clock was put forward, the machine slept), the write fails.
 */
async function freshen(file: FileHandle, id: BlobId): Promise<void> {
  const now = new Date();
  let nlink: number;
  try {
    await file.utimes(now, now);
    ({ nlink } = await file.stat());
  } catch (error) {
    throw toBlobError(error, `cannot write the blob ${id}`);
  }
  if (nlink > 0) return;
  throw new BlobError('unavailable', `the blob ${id} was removed while it was written`);
}

/** Writes, syncs and closes the file. */
async function writeSynced(file: FileHandle, job: WriteJob): Promise<number> {
  try {
    const sizeBytes = await (job.buffers === undefined
      ? writeAll(file, job)
      : writeAllDirect(file, job, job.buffers));
    await file.datasync().catch((error: unknown) => {
      throw toBlobError(error, `cannot write the blob ${job.id}`);
    });
    await freshen(file, job.id);
    return sizeBytes;
  } finally {
    await file.close();
  }
}

/** Errors of the source pass through; those of the file become `BlobError`. */
async function writeAllDirect(
  file: FileHandle,
  { id, source, ownsChunks }: WriteJob,
  buffers: readonly [Buffer, Buffer],
): Promise<number> {
  let sourceError: unknown;
  async function* watched(): AsyncGenerator<Uint8Array> {
    try {
      yield* source;
    } catch (error) {
      sourceError = error;
      throw error;
    }
  }
  try {
    return await writeDirect(file, watched(), { buffers, ownsChunks: ownsChunks === true });
  } catch (error) {
    if (error === sourceError) throw error;
    throw toBlobError(error, `cannot write the blob ${id}`);
  }
}

/**
 * Gathers chunks and writes them in few vectored writes, each while the source makes the next chunks. Nothing
 * is copied. Returns the number of bytes.
 */
async function writeAll(file: FileHandle, { id, source, ownsChunks }: WriteJob): Promise<number> {
  let sizeBytes = 0;
  let waiting: Uint8Array[] = [];
  let waitingBytes = 0;
  let running: Promise<void> = Promise.resolve();
  const flush = async (): Promise<void> => {
    await running;
    running = writeFully(file, waiting, { id, ownsChunks: ownsChunks === true });
    // A failure is seen at the next flush, or at the end.
    running.catch(() => undefined);
    sizeBytes += waitingBytes;
    waiting = [];
    waitingBytes = 0;
  };
  try {
    for await (const chunk of source) {
      if (chunk.length === 0) continue;
      waiting.push(chunk);
      waitingBytes += chunk.length;
      if (waitingBytes >= writeBytesMin || waiting.length >= writeChunksMax) await flush();
    }
    if (waitingBytes > 0) await flush();
    await running;
    return sizeBytes;
  } finally {
    await running.catch(() => undefined);
  }
}

/** A write may take less than asked (a full disk does that); goes on until all is written or it fails. */
async function writeFully(
  file: FileHandle,
  chunks: Uint8Array[],
  { id, ownsChunks }: { readonly id: BlobId; readonly ownsChunks: boolean },
): Promise<void> {
  let left = chunks;
  while (left.length > 0) {
    let { bytesWritten } = await file.writev(left).catch((error: unknown) => {
      throw toBlobError(error, `cannot write the blob ${id}`);
    });
    if (bytesWritten === 0) throw new BlobError('full', `cannot write the blob ${id}`);
    const rest: Uint8Array[] = [];
    for (const chunk of left) {
      if (bytesWritten < chunk.length) rest.push(chunk.subarray(bytesWritten));
      bytesWritten = Math.max(0, bytesWritten - chunk.length);
    }
    left = rest;
  }
  if (ownsChunks) for (const chunk of chunks) freeBytes(chunk);
}

/** Buffers of one size that go from reader to reader. */
class SpareBuffers {
  readonly #buffers: Buffer[] = [];

  take(): Buffer {
    return this.#buffers.pop() ?? Buffer.allocUnsafeSlow(readBytesMax);
  }

  give(buffer: Buffer): void {
    if (this.#buffers.length < spareBuffersMax) this.#buffers.push(buffer);
  }
}

class FileReader implements BlobReader {
  readonly #file: FileHandle;
  readonly #id: BlobId;
  readonly #range: BlobRange;
  /** Where the buffers come from and go to; undefined: every chunk is a buffer of its own. */
  readonly #buffers: SpareBuffers | undefined;
  #closing: Promise<void> | undefined;

  constructor(
    file: FileHandle,
    of: {
      readonly id: BlobId;
      readonly range: BlobRange;
      readonly buffers: SpareBuffers | undefined;
    },
  ) {
    this.#file = file;
    this.#id = of.id;
    this.#range = of.range;
    this.#buffers = of.buffers;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    const { start, end } = this.#range;
    // The next chunk is read while the consumer works on the last one.
    const readNext = (position: number): Promise<Buffer> =>
      this.#read(Math.min(readBytesMax, end - position), position);
    let pending = start < end ? readNext(start) : undefined;
    try {
      for (let position = start; pending; ) {
        const chunk = await pending;
        position += chunk.length;
        pending = position < end ? readNext(position) : undefined;
        // A failure while the consumer works is reported when it asks for the next chunk.
        pending?.catch(() => undefined);
        yield chunk;
        this.#giveBack(chunk);
      }
    } finally {
      const last = await pending?.catch(() => undefined);
      if (last) this.#giveBack(last);
      await this.close();
    }
  }

  /** Only of buffers that nothing reads into and nobody reads from any more. */
  #giveBack(chunk: Buffer): void {
    this.#buffers?.give(Buffer.from(chunk.buffer));
  }

  close(): Promise<void> {
    this.#closing ??= this.#file.close();
    return this.#closing;
  }

  async #read(length: number, position: number): Promise<Buffer> {
    const buffer = this.#buffers?.take().subarray(0, length) ?? Buffer.allocUnsafeSlow(length);
    let filled = 0;
    while (filled < length) {
      const { bytesRead } = await this.#file
        .read(buffer, filled, length - filled, position + filled)
        .catch((error: unknown) => {
          throw toBlobError(error, `cannot read the blob ${this.#id}`);
        });
      if (bytesRead === 0) {
        throw new BlobError('truncated', `the blob ${this.#id} is shorter than recorded`);
      }
      filled += bytesRead;
    }
    return buffer;
  }
}

const codeByErrno: Readonly<Record<string, BlobErrorCode>> = {
  ENOENT: 'absent',
  ENOTDIR: 'absent',
  ENOSPC: 'full',
  EDQUOT: 'full',
  EFBIG: 'full',
  EROFS: 'read-only',
  EACCES: 'read-only',
  EPERM: 'read-only',
  EMFILE: 'too-many-files',
  ENFILE: 'too-many-files',
};

function toBlobError(error: unknown, what: string): BlobError {
  if (error instanceof BlobError) return error;
  const errno = (error as NodeJS.ErrnoException | undefined)?.code ?? '';
  const text = error instanceof Error ? error.message : String(error);
  return new BlobError(codeByErrno[errno] ?? 'unavailable', `${what}: ${text}`, { cause: error });
}
