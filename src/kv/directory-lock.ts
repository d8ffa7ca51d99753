// One server per data directory: a lock that the operating system holds for the process and drops when the
// process ends, however it ends. It is SQLite's exclusive lock on an empty database, the one file lock that
// Node offers on every platform; it also holds between containers that share a disk.

import { hostname } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { KvError, type KvErrorCode } from '../store/kv.ts';
import { makeDirectory } from './make-directory.ts';

const lockFile = 'lock';

export type DirectoryLock = {
  /** Lets the next server in; harmless when repeated. */
  release(): void;
};

/**
 * Locks the directory for this process and the workers it stands for; creates it when it is missing. Throws
 * `KvError`: `locked` when another server has it, `read-only` and `full` by the disk, `unavailable` otherwise.
 */
export function lockDataDirectory(dir: string): DirectoryLock {
  let database: DatabaseSync | undefined;
  try {
    makeDirectory(dir);
    database = new DatabaseSync(join(dir, lockFile), { timeout: 0 });
    // The lock is all we want: no journal file, nothing to sync.
    database.exec('PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; BEGIN EXCLUSIVE');
  } catch (error) {
    if (database?.isOpen) database.close();
    throw toKvError(error, dir);
  }
  const held = database;
  return {
    release() {
      if (held.isOpen) held.close();
    },
  };
}

const codeByPattern: readonly (readonly [RegExp, KvErrorCode])[] = [
  [/database is locked|SQLITE_BUSY/i, 'locked'],
  [/readonly|read-only|unable to open|EACCES|EROFS|EPERM/i, 'read-only'],
  [/disk is full|ENOSPC/i, 'full'],
];

function toKvError(error: unknown, dir: string): KvError {
  const text = error instanceof Error ? error.message : String(error);
  const code = codeByPattern.find(([pattern]) => pattern.test(text))?.[1] ?? 'unavailable';
  const message =
    code === 'locked'
      ? `The data directory ${dir} is in use by another server on ${hostname()} or on a machine that shares it. Stop that server, or give this one its own directory.`
      : `The data directory ${dir} cannot be locked: ${text}`;
  return new KvError(code, message, { cause: error });
}
