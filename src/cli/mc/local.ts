// The local side of copies, listings and mirrors: walking folders, looking at files, and writing a file so
// that it appears whole or not at all.

import { randomBytes } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import type { Stats } from 'node:fs';
import { mkdir, readdir, rename, stat, unlink } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';

import { McError } from './error.ts';

/** A file or folder below `root`. `name` is relative, with `/`, and ends in `/` for a folder. */
export type LocalEntry = {
  readonly name: string;
  readonly path: string;
  readonly isFolder: boolean;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
};

/** The absolute path of an argument. */
export function listLocalPath(text: string): string {
  return path.resolve(text);
}

/**
 * The place of a listed name below a folder. Throws `local` for a name that would leave the folder: object
 * names come from a server and may hold `..`.
 */
export function placeBelow(folder: string, name: string): string {
  const place = path.join(folder, name);
  const below = path.relative(path.resolve(folder), path.resolve(place));
  const isOutside = below === '' || below === '..' || below.startsWith(`..${path.sep}`);
  if (isOutside || path.isAbsolute(below) || name.includes('\0')) {
    throw new McError('local', `Object name \`${name}\` cannot be a file below \`${folder}\`.`);
  }
  return place;
}

/** Throws `local-missing`. */
export async function statLocal(file: string): Promise<Stats> {
  try {
    return await stat(file);
  } catch (error) {
    throw localError(error, file);
  }
}

/**
 * A listing is one of a folder: the place itself when it ends in `/`, otherwise the folder it stands in. Throws
 * `local-missing` when that is not there and `local` when it is a file.
 */
export async function requireListedFolder(place: { text: string; path: string }): Promise<void> {
  const isFolder = /[/\\]$/.test(place.text);
  const info = await statLocal(isFolder ? place.path : path.dirname(place.path));
  if (info.isDirectory()) return;
  const shown = isFolder ? `${place.path}${path.sep}` : place.path;
  throw new McError('local', `stat ${shown}: not a directory`);
}

/** An error of the file system with the client's own sentence where there is one. */
export function localError(error: unknown, file: string): unknown {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new McError('local-missing', `Requested path \`${file}\` not found`, {
      detail: { Path: file },
      cause: error,
    });
  }
  if (code === 'EACCES' || code === 'EPERM') {
    return new McError('local', `Insufficient permissions to access this path \`${file}\``, {
      detail: { Path: file },
      cause: error,
    });
  }
  return error;
}

/** The entries of one folder, by name; with `isRecursive` all files below it and no folders. */
export async function* walkLocal(
  root: string,
  options: { isRecursive: boolean; below?: string },
): AsyncGenerator<LocalEntry> {
  const below = options.below ?? '';
  for (const entry of await readFolder(root, below)) {
    if (entry.isFolder && options.isRecursive) {
      yield* walkLocal(root, { isRecursive: true, below: entry.name });
    } else yield entry;
  }
}

/** In the order of an object listing: by bytes, a folder counting with its `/`. */
async function readFolder(root: string, below: string): Promise<LocalEntry[]> {
  const entries: LocalEntry[] = [];
  for (const name of await readdir(path.join(root, below))) {
    const file = path.join(root, below, name);
    const info = await stat(file).catch(() => undefined); // gone meanwhile, or a link to nowhere
    if (info === undefined || !(info.isDirectory() || info.isFile())) continue;
    entries.push({
      name: below + name + (info.isDirectory() ? '/' : ''),
      path: file,
      isFolder: info.isDirectory(),
      sizeBytes: info.size,
      modifiedMs: info.mtimeMs,
    });
  }
  return entries.sort((left, right) => compareBytes(left.name, right.name));
}

/** The order of keys in an object listing. */
export function compareBytes(left: string, right: string): number {
  return Buffer.compare(Buffer.from(left), Buffer.from(right));
}

/** The bytes of a file, or of a part of it. */
export function readFileRange(
  file: string,
  range?: { start: number; sizeBytes: number },
): AsyncIterable<Uint8Array> {
  if (range === undefined) return createReadStream(file, { highWaterMark: 1024 * 1024 });
  if (range.sizeBytes === 0) return emptyBody();
  const end = range.start + range.sizeBytes - 1;
  return createReadStream(file, { start: range.start, end, highWaterMark: 1024 * 1024 });
}

// oxlint-disable-next-line require-yield
async function* emptyBody(): AsyncGenerator<Uint8Array> {}

/**
 * Writes a file beside its place and renames it when it is whole. `append` continues at `start`: it is how a
 * broken download goes on. The temporary file is removed on failure.
 */
export async function writeWhole(
  file: string,
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true });
  const temporary = `${file}.${randomBytes(6).toString('hex')}.part`;
  try {
    await pipeline(source, createWriteStream(temporary, { flags: 'wx' }), { signal });
    await rename(temporary, file);
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw localError(error, file);
  }
}

const typesByExtension: Readonly<Record<string, string>> = {
  bin: 'application/octet-stream',
  bz2: 'application/x-bzip2',
  css: 'text/css',
  csv: 'text/csv',
  gif: 'image/gif',
  gz: 'application/gzip',
  htm: 'text/html',
  html: 'text/html',
  ico: 'image/x-icon',
  jpeg: 'image/jpeg',
  jpg: 'image/jpeg',
  js: 'application/javascript',
  json: 'application/json',
  md: 'text/markdown',
  mjs: 'application/javascript',
  mp3: 'audio/mpeg',
  mp4: 'video/mp4',
  parquet: 'application/vnd.apache.parquet',
  pdf: 'application/pdf',
  png: 'image/png',
  svg: 'image/svg+xml',
  tar: 'application/x-tar',
  tgz: 'application/gzip',
  txt: 'text/plain',
  wasm: 'application/wasm',
  webm: 'video/webm',
  webp: 'image/webp',
  xml: 'text/xml',
  yaml: 'text/yaml',
  yml: 'text/yaml',
  zip: 'application/zip',
  zst: 'application/zstd',
};

/** The content type that a name suggests. */
export function contentTypeOf(name: string): string {
  const extension = path.extname(name).slice(1).toLowerCase();
  return typesByExtension[extension] ?? 'application/octet-stream';
}
