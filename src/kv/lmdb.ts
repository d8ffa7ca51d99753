// The embedded engine: LMDB, a memory-mapped B-tree that any number of processes share. Reads happen on
// the calling thread and take microseconds; commits are queued to a thread of the library, which puts all
// that are waiting into one transaction and syncs it to the disk once (group commit), so the event loop
// never waits for the disk.
//
// Durability: `overlappingSync` is off, so the library reports a transaction only after its pages
// (fdatasync) and its meta page (opened with O_DSYNC) are on the disk. Visibility: the shared read
// transaction is renewed before every call, so a read sees whatever any process committed before it.

import { randomFillSync } from 'node:crypto';
import { closeSync, fsyncSync, mkdirSync, openSync, statfsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { open, type RootDatabase, type RootDatabaseOptionsWithPath } from 'lmdb';
import {
  type EntryVersion,
  type Kv,
  type KvCheck,
  type KvCommit,
  type KvEntry,
  KvError,
  type KvErrorCode,
  type KvRange,
} from '../store/kv.ts';
import type { CommitGate } from './commit-gate.ts';
import { assertCommit, assertRange, isEntryKey, shortBound } from './commit-rules.ts';
import { assertLmdbFile } from './lmdb-file.ts';

export type LmdbKvOptions = {
  /** Address space reserved for the file, in bytes; the file itself grows as needed. Default 1 TiB. */
  readonly mapSizeBytes?: number;
  /** Holds the commits back while another process opens the same directory. */
  readonly gate?: CommitGate;
};

const mapSizeBytesDefault = 2 ** 40;
/** Processes and threads that may read at the same time. */
const readersMax = 512;
/** Above this many checks a commit runs as one transaction callback instead of nested conditions. */
const nestedChecksMax = 32;

/**
 * Opens (and creates) the store in the directory. Nothing may commit in it meanwhile, in any process: the
 * library would forget that commit (`commit-gate.ts`). Throws `KvError`: `read-only` when the directory cannot
 * be written, `full`, `corrupt` when the files are not LMDB's, `unavailable` otherwise.
 */
export function openLmdbKv(dir: string, { mapSizeBytes, gate }: LmdbKvOptions = {}): Kv {
  try {
    const isNew = makeDirectory(dir);
    assertLmdbFile(join(dir, 'data.mdb'));
    const options: RootDatabaseOptionsWithPath & { readonly permissionsMode: number } = {
      path: dir,
      noSubdir: false,
      encoding: 'binary',
      keyEncoding: 'binary',
      useVersions: true,
      compression: false,
      overlappingSync: false,
      // With it the library makes a promise of its own for every batch, whose rejection nobody can handle.
      eventTurnBatching: false,
      mapSize: mapSizeBytes ?? mapSizeBytesDefault,
      maxReaders: readersMax,
      permissionsMode: 0o600,
    };
    const database = open<Buffer, Uint8Array>(options);
    // The names of files that were just made must survive a crash too.
    syncDirectory(dir);
    syncDirectory(dirname(dir));
    if (isNew) syncAncestors(dirname(dir));
    return new LmdbKv(database, dir, gate);
  } catch (error) {
    throw toKvError(error, `cannot open the metadata store in ${dir}`, dir);
  }
}

/**
 * Returns true when the directory was not there. On a read-only file system the recursive form reports ENOENT; the
 * plain one knows better.
 */
function makeDirectory(dir: string): boolean {
  try {
    return mkdirSync(dir, { recursive: true, mode: 0o700 }) !== undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') mkdirSync(dir, { mode: 0o700 });
    throw error;
  }
}

/** Directories above a new one may be as new, whoever made them. Those we may not open are not of our making. */
function syncAncestors(dir: string): void {
  const above = dirname(resolve(dir));
  try {
    syncDirectory(above);
  } catch {
    return;
  }
  if (above !== dirname(above)) syncAncestors(above);
}

function syncDirectory(dir: string): void {
  const handle = openSync(dir, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

class LmdbKv implements Kv {
  readonly #database: RootDatabase<Buffer, Uint8Array>;
  readonly #dir: string;
  readonly #gate: CommitGate | undefined;
  readonly #nextVersion = createVersions();
  #isClosed = false;

  constructor(
    database: RootDatabase<Buffer, Uint8Array>,
    dir: string,
    gate: CommitGate | undefined,
  ) {
    this.#database = database;
    this.#dir = dir;
    this.#gate = gate;
  }

  async get(entryKey: Uint8Array): Promise<KvEntry | undefined> {
    return this.#read(() => this.#find(entryKey));
  }

  async getMany(entryKeys: readonly Uint8Array[]): Promise<(KvEntry | undefined)[]> {
    // One synchronous run, hence one read transaction, hence one snapshot.
    return this.#read(() => entryKeys.map((entryKey) => this.#find(entryKey)));
  }

  async list(range: KvRange): Promise<KvEntry[]> {
    assertRange(range);
    if (Buffer.compare(range.start, range.end) >= 0) return [];
    const start = shortBound(range.start);
    const end = shortBound(range.end);
    const bounds = range.isReverse
      ? {
          start: end,
          end: start,
          reverse: true,
          exclusiveStart: true,
          inclusiveEnd: true,
        }
      : { start, end };
    return this.#read(() => {
      const entries: KvEntry[] = [];
      const found = this.#database.getRange({ ...bounds, limit: range.limit, versions: true });
      for (const { key, value, version } of found) {
        entries.push({ entryKey: key, value, version: version ?? 0 });
      }
      return entries;
    });
  }

  async commit(commit: KvCommit): Promise<'committed' | 'conflict'> {
    assertCommit(commit);
    return this.#gate ? this.#gate.pass(() => this.#commit(commit)) : this.#commit(commit);
  }

  async #commit(commit: KvCommit): Promise<'committed' | 'conflict'> {
    const checks = commit.checks ?? [];
    try {
      this.#assertOpen();
      const isCommitted =
        checks.length > nestedChecksMax
          ? await this.#commitInTransaction(commit)
          : await this.#commitNested(commit, checks);
      return isCommitted ? 'committed' : 'conflict';
    } catch (error) {
      throw toKvError(await causeOf(error), 'the metadata store could not commit', this.#dir);
    }
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#database.close();
  }

  /** Each check opens a block that the library skips when the check fails; the writes are in the innermost. */
  async #commitNested(commit: KvCommit, checks: readonly KvCheck[]): Promise<boolean> {
    const version = this.#nextVersion();
    const results: Promise<boolean>[] = [];
    const runFrom = (index: number): void => {
      const check = checks[index];
      if (!check) {
        this.#write(commit, version);
        return;
      }
      const expected = check.version === 'absent' ? null : check.version;
      results.push(
        // The type lacks null, which is the library's documented "does not exist" of `ifNoExists`.
        this.#database.ifVersion(check.entryKey, expected as number, () => runFrom(index + 1)),
      );
    };
    if (checks.length > 0) runFrom(0);
    else results.push(this.#database.batch(() => this.#write(commit, version)));
    const outcomes = await Promise.all(results);
    return outcomes.every(Boolean);
  }

  async #commitInTransaction(commit: KvCommit): Promise<boolean> {
    const version = this.#nextVersion();
    // A child: the library commits what a plain transaction wrote before its callback threw.
    return this.#database.childTransaction(() => {
      for (const check of commit.checks ?? []) {
        const found = this.#database.getEntry(check.entryKey);
        if ((found?.version ?? 'absent') !== check.version) return false;
      }
      this.#write(commit, version);
      return true;
    });
  }

  #write(commit: KvCommit, version: EntryVersion): void {
    // The promises of single writes say nothing that the enclosing block's does not.
    for (const { entryKey, value } of commit.puts ?? []) {
      void this.#database.put(entryKey, value as Buffer, version);
    }
    for (const entryKey of commit.deletes ?? []) void this.#database.remove(entryKey);
  }

  #read<T>(run: () => T): T {
    try {
      this.#assertOpen();
      this.#database.resetReadTxn();
      return run();
    } catch (error) {
      throw toKvError(error, 'the metadata store could not be read', this.#dir);
    }
  }

  #find(entryKey: Uint8Array): KvEntry | undefined {
    if (!isEntryKey(entryKey)) return undefined;
    const found = this.#database.getEntry(entryKey);
    return found && { entryKey, value: found.value, version: found.version ?? 0 };
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new KvError('unavailable', 'the metadata store is closed');
  }
}

/**
 * Versions are 52 random bits plus one, drawn afresh for every commit: unique per entry across processes and also
 * when an entry is deleted and written again, without any shared counter.
 */
function createVersions(): () => EntryVersion {
  const pool = new Uint32Array(1024);
  let position = pool.length;
  return () => {
    if (position >= pool.length) {
      randomFillSync(pool);
      position = 0;
    }
    // Both indices are within the pool, whose length is even.
    const high = (pool[position] as number) & 0xfffff;
    const low = pool[position + 1] as number;
    position += 2;
    return high * 2 ** 32 + low + 1;
  };
}

/** The library rejects each write of a failed transaction with a promise of the real reason. */
async function causeOf(error: unknown): Promise<unknown> {
  const reason = (error as { commitError?: Promise<unknown> } | undefined)?.commitError;
  if (!reason) return error;
  try {
    await reason;
    return error;
  } catch (cause) {
    return cause;
  }
}

const codeByPattern: readonly (readonly [RegExp, KvErrorCode])[] = [
  [/MDB_MAP_FULL|No space left|ENOSPC|quota|File too large/i, 'full'],
  [/Read-only file system|EROFS|EACCES|Permission denied|EPERM/i, 'read-only'],
  [/MDB_CORRUPTED|MDB_PAGE_NOTFOUND|MDB_INVALID|MDB_VERSION_MISMATCH|MDB_PANIC/i, 'corrupt'],
  [/MDB_READERS_FULL|EAGAIN|Resource temporarily|locked/i, 'locked'],
];

/** Below this much free space a write that failed without a reason failed for want of space. */
const freeBytesMin = 64 * 1024 * 1024;

function toKvError(error: unknown, what: string, dir: string): KvError {
  if (error instanceof KvError) return error;
  const text = error instanceof Error ? error.message : String(error);
  let code = codeByPattern.find(([pattern]) => pattern.test(text))?.[1] ?? 'unavailable';
  // LMDB reports a write that was cut short by a full disk as an I/O error.
  if (/Input\/output error/i.test(text) && isNearlyFull(dir)) code = 'full';
  return new KvError(code, `${what}: ${text}`, { cause: error });
}

function isNearlyFull(dir: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(dir);
    return bavail * bsize < freeBytesMin;
  } catch {
    return false;
  }
}
