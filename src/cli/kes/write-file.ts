// Writes files that must not be lost or seen: keys, certificates, configurations.

import { link, open, rename, rm } from 'node:fs/promises';
import { KesCommandError } from './command-error.ts';

export type NewFile = {
  readonly text: string;
  readonly mode: number;
  /** Whether an existing file may be replaced. */
  readonly isForced: boolean;
  /** What the file is, for errors: `private key`. */
  readonly what: string;
};

/** Whole or not at all, and never over an existing file unless forced. Throws `KesCommandError`. */
export async function writeNewFile(path: string, file: NewFile): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    const handle = await open(temporary, 'wx', file.mode);
    try {
      await handle.chmod(file.mode);
      await handle.writeFile(file.text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    if (file.isForced) await rename(temporary, path);
    else await link(temporary, path);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    const text =
      code === 'EEXIST'
        ? `${file.what} already exists. Use --force to overwrite it`
        : `failed to write ${file.what} '${path}'`;
    throw new KesCommandError('failed', text, { cause: error });
  } finally {
    await rm(temporary, { force: true });
  }
}
