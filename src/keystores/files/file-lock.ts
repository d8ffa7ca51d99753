// A lock between processes: a file that only one of them can create. Its text is the owner's mark and a
// random token. Whoever finds the lock of a program that is gone moves it away, checks that it moved the
// one it meant, and tries again. Whether an owner in another container or on another host is gone, only the
// age of the lock tells: so its owner writes it again while it works.

import { randomBytes } from 'node:crypto';
import { type FileHandle, link, open, readFile, rename, unlink } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { KeyStoreError } from '../../keys/key-store.ts';
import { isLeftBehind } from './file-owner.ts';

const waitMsMax = 10_000;
const retryMs = 5;
/** How often a lock shows that its owner lives; a minute without it, and the lock is taken away. */
const refreshMs = 10_000;
/** Looking whether the owner is gone costs more than trying again. */
const triesPerLook = 20;

/**
 * Runs `work` while holding the lock at `path`. `work` is given a check that throws when the lock was
 * taken away (the process slept for a minute, say): call it just before the step that must be safe. Between
 * that check and that step nothing protects a process that sleeps for a minute.
 * Throws `KeyStoreError` `failed` when the lock cannot be had within ten seconds.
 */
export async function withFileLock<T>(
  path: string,
  mark: string,
  work: (stillHeld: () => Promise<void>) => Promise<T>,
  options: { readonly refreshMs?: number } = {},
): Promise<T> {
  const text = `${mark} ${randomBytes(8).toString('hex')}`;
  const handle = await acquire(path, text);
  // Through the handle: a lock that somebody else has put there meanwhile is not touched.
  const refresher = setInterval(() => {
    void handle.write(text, 0, 'latin1').catch(() => undefined);
  }, options.refreshMs ?? refreshMs).unref();
  try {
    return await work(async () => {
      if ((await readIfThere(path)) !== text) throw busy('the lock was lost');
    });
  } finally {
    clearInterval(refresher);
    await handle.close().catch(() => undefined);
    if ((await readIfThere(path)) === text) await unlink(path).catch(() => undefined);
  }
}

async function acquire(path: string, text: string): Promise<FileHandle> {
  const deadline = performance.now() + waitMsMax;
  for (let tries = 0; ; tries += 1) {
    const handle = await tryCreate(path, text);
    if (handle !== undefined) return handle;
    if (performance.now() > deadline) throw busy('another program holds the lock');
    if (tries % triesPerLook === 0) await removeIfAbandoned(path);
    await sleep(retryMs);
  }
}

/** Creates the lock whole: a reader must never see it empty. */
async function tryCreate(path: string, text: string): Promise<FileHandle | undefined> {
  const draft = `${path}-${text.replace(/ /g, '-')}`;
  const handle = await open(draft, 'wx', 0o600);
  try {
    await handle.writeFile(text, 'latin1');
    await link(draft, path);
    return handle;
  } catch (error) {
    await handle.close();
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return undefined;
    throw error;
  } finally {
    await unlink(draft);
  }
}

/** Removes the lock (or what a crash left of one) when its owner is gone. */
export async function removeIfAbandoned(path: string): Promise<void> {
  const text = await readIfThere(path);
  if (text === undefined) return;
  if (!(await isLeftBehind(path, text.split(' ')[0] ?? ''))) return;
  const aside = `${path}-abandoned-${randomBytes(8).toString('hex')}`;
  try {
    await rename(path, aside);
  } catch {
    return;
  }
  // Somebody else may have removed it and taken the lock in between: then give it back.
  if ((await readIfThere(aside)) !== text) await link(aside, path).catch(() => undefined);
  await unlink(aside).catch(() => undefined);
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function busy(reason: string): KeyStoreError {
  return new KeyStoreError('failed', `the key cannot be changed now: ${reason}; try again`);
}
