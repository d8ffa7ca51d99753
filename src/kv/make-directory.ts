// Making a directory with its parents, private to the owner, with an error that says what is wrong.

import { mkdirSync } from 'node:fs';

/** Throws the system's error: `EROFS`, `EACCES`, `ENOSPC`, … */
export function makeDirectory(dir: string): void {
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
  } catch (error) {
    // On a read-only file system the recursive form reports ENOENT; the plain one knows better.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') mkdirSync(dir, { mode: 0o700 });
    throw error;
  }
}
