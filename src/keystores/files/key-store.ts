// A key store in a directory: one file per key, named like the key, holding its text and nothing else, the
// layout of the reference (docs/formats/key-store.md). What this store adds of its own has names that
// begin with a dot: half-written files and locks.
//
// A key appears by link(2) of a finished, synced file, so it is whole and has one creator. It changes by
// rename(2) and goes by unlink(2), both under the key's lock, so that a change never brings a deleted key
// back. Every call syncs the directory before it resolves. What is erased or deleted has no other name
// left, not even in what a crashed program left behind.

import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import {
  type FileHandle,
  link,
  mkdir,
  open,
  readdir,
  rename,
  stat,
  unlink,
} from 'node:fs/promises';
import { join } from 'node:path';
import {
  type KeyStore,
  type KeyStoreChange,
  KeyStoreError,
  type KeyStorePage,
  type KeyStoreStatus,
} from '../../keys/key-store.ts';
import { pageOf } from '../../keys/key-store-page.ts';
import { removeIfAbandoned, withFileLock } from './file-lock.ts';
import { isLeftBehind, ownerMark, temporaryPrefix } from './file-owner.ts';

const valueBytesMax = 1_048_576;
const lockPrefix = '.lock-';

/**
 * Opens the directory, making it (and its parents) if needed, and removes what crashed programs left
 * behind. Throws `KeyStoreError` `failed` when the path is no directory or cannot be made.
 */
export async function openFileKeyStore(path: string): Promise<KeyStore> {
  try {
    await mkdir(path, { recursive: true, mode: 0o755 });
    if (!(await stat(path)).isDirectory()) throw new Error('it is not a directory');
    await removeLeftovers(path);
  } catch (error) {
    const reason = (error as Error).message;
    throw new KeyStoreError('failed', `cannot open key directory ${path}: ${reason}`, {
      cause: error,
    });
  }
  return new FileKeyStore(path);
}

class FileKeyStore implements KeyStore {
  readonly #path: string;
  readonly #mark = ownerMark();

  constructor(path: string) {
    this.#path = path;
  }

  async create(name: string, value: string): Promise<void> {
    const file = this.#file(name);
    await this.#guard('create', name, async () => {
      await this.#withTemporary(value, (temporary) => link(temporary, file));
    });
  }

  async get(name: string): Promise<string> {
    const file = this.#file(name);
    return this.#guard('read', name, () => readValue(file));
  }

  async replace(name: string, change: KeyStoreChange): Promise<void> {
    const file = this.#file(name);
    await this.#guard('replace', name, () =>
      this.#locked(name, async (stillHeld) => {
        await this.#withTemporary(change.value, async (temporary) => {
          if ((await readValue(file)) !== change.expected) {
            throw new KeyStoreError('conflict', `key ${name} has changed`);
          }
          const { ino } = await stat(file);
          await stillHeld();
          await rename(temporary, file);
          if (change.isErasing === true) await removeTraces(this.#path, ino);
        });
      }),
    );
  }

  async delete(name: string, expected?: string): Promise<void> {
    const file = this.#file(name);
    await this.#guard('delete', name, () =>
      this.#locked(name, async (stillHeld) => {
        if (expected !== undefined && (await readValue(file)) !== expected) {
          throw new KeyStoreError('conflict', `key ${name} has changed`);
        }
        const { ino } = await stat(file);
        await stillHeld();
        await unlink(file);
        await removeTraces(this.#path, ino);
        await syncDirectory(this.#path);
      }),
    );
  }

  async list(query: { readonly prefix: string; readonly after?: string }): Promise<KeyStorePage> {
    return this.#guard('list', query.prefix, async () => {
      const entries = await readdir(this.#path);
      return pageOf(entries.filter(isFileName), query);
    });
  }

  async status(): Promise<KeyStoreStatus> {
    const start = performance.now();
    try {
      await stat(this.#path);
    } catch (error) {
      return { state: 'unreachable', reason: (error as Error).message };
    }
    return { state: 'available', latencyMs: Math.max(1, Math.round(performance.now() - start)) };
  }

  async close(): Promise<void> {}

  #file(name: string): string {
    if (!isFileName(name)) {
      throw new KeyStoreError('invalid-name', 'fs: key name contains invalid character');
    }
    return join(this.#path, name);
  }

  #locked<T>(name: string, work: (stillHeld: () => Promise<void>) => Promise<T>): Promise<T> {
    return withFileLock(join(this.#path, `${lockPrefix}${name}`), this.#mark, work);
  }

  /** Writes a synced file beside the keys, hands it to `publish`, and syncs the directory. */
  async #withTemporary(value: string, publish: (path: string) => Promise<void>): Promise<void> {
    const unique = randomBytes(8).toString('hex');
    const temporary = join(this.#path, `${temporaryPrefix}${this.#mark}-${unique}`);
    try {
      await writeSynced(temporary, value);
      await publish(temporary);
      await syncDirectory(this.#path);
    } finally {
      await unlink(temporary).catch(ignoreMissing);
    }
  }

  /** Turns what the file system says into the errors of the contract. */
  async #guard<T>(action: string, name: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof KeyStoreError) throw error;
      throw await this.#toStoreError(error as NodeJS.ErrnoException, `${action} key ${name}`);
    }
  }

  async #toStoreError(error: NodeJS.ErrnoException, what: string): Promise<KeyStoreError> {
    if (error.code === 'EEXIST') {
      return new KeyStoreError('exists', `cannot ${what}: it already exists`, { cause: error });
    }
    // A directory that has gone (unmounted, say) is not the same as a key that has gone.
    const status = await this.status();
    if (status.state !== 'available') {
      return new KeyStoreError('unreachable', `cannot ${what}: ${status.reason}`, { cause: error });
    }
    if (error.code === 'ENOENT') {
      return new KeyStoreError('not-found', `cannot ${what}: it does not exist`, { cause: error });
    }
    return new KeyStoreError('failed', `cannot ${what}: ${error.message}`, { cause: error });
  }
}

/** Whether a key may have this name: no dot, no slash, not empty; keeps our own files out of sight. */
function isFileName(name: string): boolean {
  return name !== '' && !/[./\\\0]/.test(name);
}

async function readValue(file: string): Promise<string> {
  const handle = await open(file, constants.O_RDONLY);
  try {
    const buffer = Buffer.allocUnsafe(Math.min((await handle.stat()).size, valueBytesMax) + 1);
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0);
    if (bytesRead > valueBytesMax) throw new Error('the file is larger than a key can be');
    return buffer.toString('latin1', 0, bytesRead);
  } finally {
    await handle.close();
  }
}

async function writeSynced(path: string, value: string): Promise<void> {
  const handle: FileHandle = await open(path, 'wx', 0o600);
  try {
    await handle.writeFile(value, 'latin1');
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}

/**
 * Removes what other names still show of a key that is gone: the half-written files of crashed programs,
 * which may hold a later text of it, and the second name of a file that is just being created.
 */
async function removeTraces(path: string, inode: number): Promise<void> {
  for (const entry of await readdir(path)) {
    if (!entry.startsWith(temporaryPrefix)) continue;
    const file = join(path, entry);
    const isSecondName = (await inodeOf(file)) === inode;
    const mark = entry.slice(temporaryPrefix.length).replace(/-[0-9a-f]*$/, '');
    if (isSecondName || (await isLeftBehind(file, mark))) await unlink(file).catch(ignoreMissing);
  }
}

async function inodeOf(file: string): Promise<number | undefined> {
  try {
    return (await stat(file)).ino;
  } catch (error) {
    ignoreMissing(error as NodeJS.ErrnoException);
    return undefined;
  }
}

async function removeLeftovers(path: string): Promise<void> {
  for (const entry of await readdir(path)) {
    const file = join(path, entry);
    if (entry.startsWith(lockPrefix)) await removeIfAbandoned(file);
    if (!entry.startsWith(temporaryPrefix)) continue;
    const mark = entry.slice(temporaryPrefix.length).replace(/-[0-9a-f]*$/, '');
    if (await isLeftBehind(file, mark)) await unlink(file).catch(ignoreMissing);
  }
}
