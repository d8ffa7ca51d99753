// A lock between processes: a file that only one of them can create. Its text is the owner's mark and a
// random token. Whoever finds the lock of a program that is gone moves it away, checks that it moved the
// one it meant, and tries again.

import { randomBytes } from 'node:crypto';
import { link, readFile, rename, unlink, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { KeyStoreError } from '../../keys/key-store.ts';
import { isLeftBehind } from './file-owner.ts';

const waitMsMax = 10_000;
const retryMs = 5;

/**
 * Runs `work` while holding the lock at `path`. `work` is given a check that throws when the lock was
 * taken away (the process slept for a minute, say): call it just before the step that must be safe.
 * Throws `KeyStoreError` `failed` when the lock cannot be had within ten seconds.
 */
export async function withFileLock<T>(
  path: string,
  mark: string,
  work: (stillHeld: () => Promise<void>) => Promise<T>,
): Promise<T> {
  const text = `${mark} ${randomBytes(8).toString('hex')}`;
  await acquire(path, text);
  try {
    return await work(async () => {
      if ((await readIfThere(path)) !== text) throw busy('the lock was lost');
    });
  } finally {
    if ((await readIfThere(path)) === text) await unlink(path).catch(() => undefined);
  }
}

async function acquire(path: string, text: string): Promise<void> {
  const deadline = performance.now() + waitMsMax;
  while (!(await tryCreate(path, text))) {
    if (performance.now() > deadline) throw busy('another program holds the lock');
    await removeIfAbandoned(path);
    await sleep(retryMs);
  }
}

/** Creates the lock whole: a reader must never see it empty. */
async function tryCreate(path: string, text: string): Promise<boolean> {
  const draft = `${path}-${text.replace(/ /g, '-')}`;
  await writeFile(draft, text, { flag: 'wx', mode: 0o600 });
  try {
    await link(draft, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
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
