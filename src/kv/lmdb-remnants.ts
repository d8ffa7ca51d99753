// LMDB reuses freed pages but does not clear them, so a file whose values were replaced still holds the old ones
// for a while. Where that matters (values that were plain are now sealed) the file is rewritten without its free
// pages, and the old one is overwritten before it is given back to the file system.
//
// A marker beside the file says that this is still to be done, so that a crash at any moment only postpones it.
// File systems that never overwrite in place, and flash, may keep older copies of blocks all the same.

import { constants, existsSync } from 'node:fs';
import { link, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { open as openLmdb } from 'lmdb';
import { KvError } from '../store/kv.ts';

const markerName = 'has-remnants';
const zeros = Buffer.alloc(1024 * 1024);

/** True when `noteRemnants` was called and `removeRemnants` has not come to its end since. */
export function hasRemnants(dir: string): boolean {
  return existsSync(join(dir, markerName));
}

/** Records, durably, that the file is about to hold values that must not stay. */
export async function noteRemnants(dir: string): Promise<void> {
  const marker = await open(join(dir, markerName), constants.O_CREAT | constants.O_WRONLY, 0o600);
  await marker.sync();
  await marker.close();
  await syncDirectory(dir);
}

/**
 * Rewrites the file without free pages and overwrites the old one. No process may have the store open. After a
 * crash either the old or the new file is in place, complete, and the marker still stands unless all was done.
 * Throws `KvError`; a full disk leaves everything as it was.
 */
export async function removeRemnants(dir: string): Promise<void> {
  const file = join(dir, 'data.mdb');
  const fresh = join(dir, 'compacted');
  const old = join(dir, 'data.mdb.old');
  try {
    await dropOld(file, old);
    await rm(fresh, { recursive: true, force: true });
    await copyCompacted(dir, fresh);
    // The name `data.mdb` is never without a complete file.
    await link(file, old);
    await rename(join(fresh, 'data.mdb'), file);
    await syncDirectory(dir);
    await dropOld(file, old);
    await rm(fresh, { recursive: true, force: true });
    await rm(join(dir, markerName), { force: true });
    await syncDirectory(dir);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code === 'ENOSPC' ? 'full' : 'unavailable';
    throw new KvError(code, `cannot rewrite the metadata store in ${dir}: ${String(error)}`, {
      cause: error,
    });
  }
}

async function copyCompacted(dir: string, fresh: string): Promise<void> {
  await mkdir(fresh, { mode: 0o700 });
  const database = openLmdb<Buffer, Uint8Array>({
    path: dir,
    noSubdir: false,
    encoding: 'binary',
    keyEncoding: 'binary',
    useVersions: true,
  });
  try {
    await database.backup(fresh, true);
  } finally {
    await database.close();
  }
  const copy = await open(join(fresh, 'data.mdb'), constants.O_RDWR);
  await copy.chmod(0o600);
  await copy.sync();
  await copy.close();
}

/** Overwrites and removes the old file, unless it is still the one in use under a second name. */
async function dropOld(file: string, old: string): Promise<void> {
  if (!existsSync(old)) return;
  const [current, former] = [await stat(file), await stat(old)];
  if (current.ino !== former.ino) await overwrite(old, former.size);
  await rm(old);
}

async function overwrite(path: string, sizeBytes: number): Promise<void> {
  const handle = await open(path, constants.O_WRONLY);
  try {
    for (let at = 0; at < sizeBytes; at += zeros.length) {
      await handle.write(zeros, 0, Math.min(zeros.length, sizeBytes - at), at);
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function syncDirectory(dir: string): Promise<void> {
  const handle = await open(dir, constants.O_RDONLY);
  await handle.sync();
  await handle.close();
}
