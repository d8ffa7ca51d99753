// One server per data directory. The lock is one that the kernel gives back when the process ends,
// however it ends: a transaction held open on a small SQLite file, which is an fcntl lock. It works
// across containers that share the directory, and leaves nothing stale behind a crash. Workers share a second
// lock: those of a server that was killed may live a moment longer, and the next server must not open the
// metadata while one of them still commits.

import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

export type DirectoryLockErrorCode = 'locked' | 'unusable';

/** The directory is in use, or cannot be used. The message says what to do. */
export class DirectoryLockError extends Error {
  readonly code: DirectoryLockErrorCode;
  constructor(code: DirectoryLockErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'DirectoryLockError';
    this.code = code;
  }
}

export interface DirectoryLock extends Disposable {
  /** Gives the directory back. */
  release(): void;
}

/** How long the workers of a killed server may take to end: they notice at once, and end after a commit under way. */
const workersTimeoutMs = 30_000;

/**
 * Creates the directory if needed and takes it; waits until no worker of an earlier server is left. Throws
 * `DirectoryLockError`.
 */
export function lockDirectory(directory: string): DirectoryLock {
  const pidFile = join(directory, 'server.pid');
  let database: DatabaseSync | undefined;
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const lockFile = join(directory, 'server.lock');
    closeSync(openSync(lockFile, 'a', 0o600));
    database = new DatabaseSync(lockFile, { timeout: 0 });
    // With its journal in memory nothing is written: the lock can be taken on a full disk, too.
    database.exec('PRAGMA journal_mode = MEMORY; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE');
    notePid(pidFile);
    awaitWorkers(directory);
    syncDirectory(directory);
  } catch (error) {
    database?.close();
    throw explain(error, directory, pidFile);
  }
  const held = database;
  const release = (): void => {
    if (held.isOpen) held.close();
  };
  return { release, [Symbol.dispose]: release };
}

/** Marks this process as a worker on the directory until it ends. Throws when the lock cannot be had. */
export function joinDirectory(directory: string): Disposable {
  const database = new DatabaseSync(workersFile(directory), { timeout: workersTimeoutMs });
  // An open read transaction is a shared lock.
  database.exec('BEGIN; SELECT count(*) FROM sqlite_schema');
  return { [Symbol.dispose]: () => database.close() };
}

function awaitWorkers(directory: string): void {
  const file = workersFile(directory);
  closeSync(openSync(file, 'a', 0o600));
  const database = new DatabaseSync(file, { timeout: workersTimeoutMs });
  try {
    database.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE; ROLLBACK');
  } finally {
    database.close();
  }
}

function workersFile(directory: string): string {
  return join(directory, 'workers.lock');
}

/** Only for the message of a second server; a full disk does not keep the first one from starting. */
function notePid(pidFile: string): void {
  try {
    writeFileSync(pidFile, `${process.pid}\n`, { mode: 0o600 });
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error;
  }
}

function explain(error: unknown, directory: string, pidFile: string): DirectoryLockError {
  const text = error instanceof Error ? error.message : String(error);
  if (/locked|busy/i.test(text)) {
    const pid = readPid(pidFile);
    return new DirectoryLockError(
      'locked',
      `${directory} is in use by another server${pid}: stop it first, or use another directory`,
      { cause: error },
    );
  }
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return new DirectoryLockError(
    'unusable',
    `cannot use the directory ${directory} (${code === '' ? text : `${code}: ${text}`}): it must exist or be creatable, and be writable by this user`,
    { cause: error },
  );
}

function readPid(pidFile: string): string {
  try {
    return ` (process ${readFileSync(pidFile, 'utf8').trim()})`;
  } catch {
    return '';
  }
}

function syncDirectory(directory: string): void {
  const handle = openSync(directory, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
