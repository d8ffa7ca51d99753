// Writes a new file that appears whole and durable or not at all. It is written under a name of its own
// beside its place, so that two writers never share a file, and what a crash left there blocks nobody: the
// next writer takes it away.

import { randomBytes } from 'node:crypto';
import { link, lstat, open, readdir, rm, unlink } from 'node:fs/promises';
import { hostname } from 'node:os';
import path from 'node:path';
import { syncFolderOf } from './audit-open.ts';

/** `exists`: the name is taken; it is never replaced. */
export type WholeFileErrorCode = 'exists';

export class WholeFileError extends Error {
  readonly code: WholeFileErrorCode;
  constructor(code: WholeFileErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'WholeFileError';
    this.code = code;
  }
}

/** A part of another machine counts as left behind when nobody wrote to it for this long. */
const partAgeMaxMs = 24 * 3_600_000;

/**
 * Writes the pieces to a file with mode 0600. When it resolves, file and name are durable; when it rejects,
 * nothing of it is left. Throws `WholeFileError`, errors of the system, and those of `pieces`.
 */
export async function writeWholeFile(
  file: string,
  pieces: AsyncIterable<Uint8Array>,
): Promise<void> {
  if (await isThere(file)) throw taken(file);
  await removeLeftParts(file);
  const part = `${partStart(file)}${process.pid}-${randomBytes(6).toString('hex')}`;
  const handle = await open(part, 'wx', 0o600);
  try {
    for await (const piece of pieces) await handle.appendFile(piece);
    await handle.sync();
    await link(part, file); // Unlike a rename it replaces nothing.
  } catch (error) {
    throw codeOf(error) === 'EEXIST' ? taken(file, error) : error;
  } finally {
    await handle.close();
    await unlink(part);
  }
  await syncFolderOf(file);
}

async function isThere(file: string): Promise<boolean> {
  try {
    await lstat(file);
    return true;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false;
    throw error;
  }
}

/** `FILE.part-<machine>-`; then come the process and something random. */
function partStart(file: string): string {
  return `${file}.part-${hostname()}-`;
}

/** Removes what writers of this name left that were killed: never that of one at work. */
async function removeLeftParts(file: string): Promise<void> {
  const folder = path.dirname(file);
  const own = path.basename(partStart(file));
  for (const name of await readdir(folder)) {
    if (!name.startsWith(`${path.basename(file)}.part-`)) continue;
    const [, pid] = /^(\d+)-[0-9a-f]{12}$/.exec(name.slice(own.length)) ?? [];
    const isOwn = name.startsWith(own) && pid !== undefined;
    const left = path.join(folder, name);
    if (isOwn ? isGone(Number(pid)) : await isOld(left)) await rm(left, { force: true });
  }
}

function isGone(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return codeOf(error) === 'ESRCH';
  }
}

async function isOld(file: string): Promise<boolean> {
  try {
    return Date.now() - (await lstat(file)).mtimeMs > partAgeMaxMs;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false;
    throw error;
  }
}

function taken(file: string, cause?: unknown): WholeFileError {
  const text = `${file} exists, and is never replaced: give another name, or move it away`;
  return new WholeFileError('exists', text, { cause });
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}
