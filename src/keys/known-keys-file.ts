// Known keys in a file, so that a key which was exchanged while this node was down is noticed too. One JSON
// line for each thing learnt; the last line of a name counts. The file is written anew when it is opened,
// and when most of its lines no longer count. A line is durable before a change of this node is answered;
// what was merely seen may be lost in a crash. Each node needs a file of its own. It holds no secrets.

import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import {
  formatKnown,
  type KnownKey,
  KnownKeys,
  type KnownKeysJournal,
  knownKeysMax,
} from './known-keys.ts';

export type KnownKeysErrorCode = 'unreadable' | 'damaged';

export class KnownKeysError extends Error {
  readonly code: KnownKeysErrorCode;
  constructor(code: KnownKeysErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'KnownKeysError';
    this.code = code;
  }
}

/** Lines that may be appended before the file is written anew, besides four for each name. */
const spareLines = 1_000;

/**
 * Reads the file, or begins it, and goes on writing it. `onError` is told when it cannot be written, once
 * until it can be again: known keys then live in memory only. Throws `KnownKeysError`.
 */
export async function loadKnownKeys(
  file: string,
  deps: { readonly onError: (error: Error) => void },
): Promise<KnownKeys> {
  const known = parseLines(file, await readIfThere(file));
  const journal = new FileJournal(file, deps.onError);
  const keys = new KnownKeys({ known, journal });
  try {
    await journal.writeAnew([...known].map(([name, entry]) => formatKnown(name, entry)));
  } catch (error) {
    const reason = (error as Error).message;
    throw new KnownKeysError('unreadable', `cannot write known keys to ${file}: ${reason}`, {
      cause: error,
    });
  }
  return keys;
}

async function readIfThere(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    const reason = (error as Error).message;
    throw new KnownKeysError('unreadable', `cannot read known keys from ${file}: ${reason}`, {
      cause: error,
    });
  }
}

/** What follows the last line break was being written in a crash, and does not count. */
function parseLines(file: string, text: string): Map<string, KnownKey> {
  const known = new Map<string, KnownKey>();
  for (const [index, line] of text.split('\n').slice(0, -1).entries()) {
    const entry = parseLine(line);
    if (entry === undefined) {
      throw new KnownKeysError(
        'damaged',
        `line ${index + 1} of ${file} is damaged: check the keys by hand, then remove the file`,
      );
    }
    known.delete(entry.name);
    if (entry.known !== undefined) known.set(entry.name, entry.known);
  }
  return new Map([...known].slice(-knownKeysMax));
}

function parseLine(line: string): { name: string; known?: KnownKey } | undefined {
  let members: Record<string, unknown>;
  try {
    members = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return undefined;
  }
  const { name, gone, id, fingerprint, revision, versions, newest } = members ?? {};
  if (typeof name !== 'string') return undefined;
  if (gone === true) return { name };
  if (typeof fingerprint !== 'string' || typeof newest !== 'string') return undefined;
  if (!Number.isSafeInteger(revision) || !Number.isSafeInteger(versions)) return undefined;
  const { state, destroyAt, isGone } = members;
  const counts = { revision: Number(revision), versions: Number(versions) };
  return {
    name,
    known: {
      ...(typeof id === 'string' ? { id } : {}),
      fingerprint,
      ...counts,
      newest,
      ...(typeof state === 'string' ? { state } : {}),
      ...(typeof destroyAt === 'string' ? { destroyAt } : {}),
      ...(isGone === true ? { isGone } : {}),
    },
  };
}

class FileJournal implements KnownKeysJournal {
  readonly #file: string;
  readonly #onError: (error: Error) => void;
  #handle: FileHandle | undefined;
  #waiting: string[] = [];
  #allLines: () => readonly string[] = () => [];
  /** One write after another. */
  #writing: Promise<void> | undefined;
  #linesInFile = 0;
  #linesAtStart = 0;
  #isFailing = false;

  constructor(file: string, onError: (error: Error) => void) {
    this.#file = file;
    this.#onError = onError;
  }

  add(line: string, allLines: () => readonly string[]): void {
    this.#waiting.push(line);
    this.#allLines = allLines;
    this.#writing ??= this.#writeWaiting();
  }

  async flush(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
  }

  async close(): Promise<void> {
    await this.flush();
    await this.#handle?.close();
    this.#handle = undefined;
  }

  /** Puts a file with just these lines in the place of the old one. */
  async writeAnew(lines: readonly string[]): Promise<void> {
    const draft = `${this.#file}.new`;
    await mkdir(dirname(this.#file), { recursive: true });
    const handle = await open(draft, 'w', 0o600);
    try {
      await handle.writeFile(lines.map((line) => `${line}\n`).join(''));
      await handle.sync();
      await rename(draft, this.#file);
      await syncDirectory(dirname(this.#file));
    } catch (error) {
      await handle.close();
      throw error;
    }
    await this.#handle?.close();
    this.#handle = handle;
    this.#linesInFile = lines.length;
    this.#linesAtStart = lines.length;
  }

  async #writeWaiting(): Promise<void> {
    // Lines that come while one write is under way share the next.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const lines = this.#waiting;
      this.#waiting = [];
      try {
        await this.#write(lines);
        this.#isFailing = false;
      } catch (error) {
        if (!this.#isFailing) this.#onError(error as Error);
        this.#isFailing = true;
      }
    }
    this.#writing = undefined;
  }

  /** After a failed write the file may end in the middle of a line, so it is written anew. */
  async #write(lines: readonly string[]): Promise<void> {
    const tooMany = 4 * this.#linesAtStart + spareLines;
    if (this.#isFailing || this.#handle === undefined || this.#linesInFile > tooMany) {
      await this.writeAnew(this.#allLines());
      return;
    }
    await this.#handle.appendFile(lines.map((line) => `${line}\n`).join(''));
    await this.#handle.datasync();
    this.#linesInFile += lines.length;
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
