// What is on disk before the audit log goes on: the signing key, the end of the chain (in the file, in the
// file it was rotated from, or in the head beside it) and what a crash cut off. A damaged end is never
// guessed around: opening fails and says what to do.

import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import {
  type ChainPoint,
  chainStart,
  hashAuditLine,
  parseAuditLine,
} from '../../kes/audit/chain.ts';

/** `damaged`: the file does not end in a line of a chain. `failed`: the system refuses it. */
export type AuditFileErrorCode = 'damaged' | 'failed';

export class AuditFileError extends Error {
  readonly code: AuditFileErrorCode;
  constructor(code: AuditFileErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'AuditFileError';
    this.code = code;
  }
}

export type AuditSigner = { readonly privateKey: KeyObject; readonly publicKey: KeyObject };

/** What comes after the last line break. */
export type TornLine = { readonly bytes: number; readonly sha256: string };

/** The end of a file: the chain's point there (absent without a whole line), and a torn line. */
export type AuditTail = { readonly point?: ChainPoint; readonly torn?: TornLine };

const tornBytesMax = 64 * 1024 * 1024;
const readBytes = 64 * 1024;

/** Reads the Ed25519 key, making it (mode 0600) and its `.pub` when they are not there. */
export async function loadAuditSigner(file: string): Promise<AuditSigner> {
  try {
    const privateKey = createPrivateKey(await readOrMakeKey(file));
    if (privateKey.asymmetricKeyType !== 'ed25519') throw new Error('it is no Ed25519 key');
    const publicKey = createPublicKey(privateKey);
    await writeFile(`${file}.pub`, publicKey.export({ type: 'spki', format: 'pem' }));
    return { privateKey, publicKey };
  } catch (error) {
    throw failed(`cannot use the key of the audit log, ${file}`, error);
  }
}

async function readOrMakeKey(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
  }
  const pem = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' });
  const handle = await open(file, 'wx', 0o600);
  try {
    await handle.writeFile(pem);
    await handle.sync();
  } finally {
    await handle.close();
  }
  return pem;
}

/** Opens the log for appending. Throws `failed`. */
export async function openForAppend(file: string): Promise<FileHandle> {
  try {
    return await open(file, constants.O_RDWR | constants.O_APPEND | constants.O_CREAT, 0o600);
  } catch (error) {
    throw failed(`cannot open the audit log ${file}`, error);
  }
}

/** Reads backwards from the end. Throws `damaged`. */
export async function readAuditTail(handle: FileHandle, file: string): Promise<AuditTail> {
  const { size } = await handle.stat();
  const end = await findLineBreak(handle, size, file);
  const torn = await readTorn(handle, end, size);
  if (end === 0) return torn === undefined ? {} : { torn };
  const start = await findLineBreak(handle, end - 1, file);
  const line = await readRange(handle, start, end - 1);
  const entry = parseAuditLine(line);
  if (entry === undefined) {
    throw new AuditFileError(
      'damaged',
      `the last line of the audit log ${file} is damaged: run 'kes log verify ${file}', then move the file away`,
    );
  }
  const point = { seq: entry.seq, hash: hashAuditLine(line) };
  return torn === undefined ? { point } : { point, torn };
}

/** The position after the last line break before `before`; 0 when there is none. */
async function findLineBreak(handle: FileHandle, before: number, file: string): Promise<number> {
  for (let end = before; end > 0; end -= readBytes) {
    if (before - end > tornBytesMax) {
      throw new AuditFileError('damaged', `${file} is no audit log: move it away`);
    }
    const start = Math.max(0, end - readBytes);
    const at = (await readRange(handle, start, end)).lastIndexOf(0x0a);
    if (at >= 0) return start + at + 1;
  }
  return 0;
}

async function readTorn(
  handle: FileHandle,
  start: number,
  end: number,
): Promise<TornLine | undefined> {
  if (start === end) return undefined;
  const bytes = await readRange(handle, start, end);
  return { bytes: bytes.length, sha256: hashAuditLine(bytes) };
}

async function readRange(handle: FileHandle, start: number, end: number): Promise<Buffer> {
  const bytes = Buffer.alloc(end - start);
  let length = 0;
  while (length < bytes.length) {
    const { bytesRead } = await handle.read(bytes, length, bytes.length - length, start + length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return bytes.subarray(0, length);
}

/**
 * The end of the chain when the file has no line yet: the newest of what the head says and of the files it
 * may have been rotated to (same name with a suffix). The start of all when there is none.
 */
export async function findEarlierTail(file: string): Promise<AuditTail> {
  let best: AuditTail = { point: (await readHead(file)) ?? chainStart };
  const folder = path.dirname(file);
  const name = path.basename(file);
  for (const entry of await readdir(folder)) {
    const suffix = entry.startsWith(name) ? entry.slice(name.length) : '';
    if (!/^[.-][\w.-]+$/.test(suffix) || /\.(?:head|key|pub|new|gz|xz|zst|bz2)$/.test(suffix))
      continue;
    const tail = await readOther(path.join(folder, entry));
    if ((tail?.point?.seq ?? 0) >= (best.point?.seq ?? 0) && tail?.point) best = tail;
  }
  return best;
}

async function readHead(file: string): Promise<ChainPoint | undefined> {
  let text: string;
  try {
    text = await readFile(headFileOf(file), 'latin1');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw failed(`cannot read ${headFileOf(file)}`, error);
  }
  const line = Buffer.from(text.replace(/\n$/, ''), 'latin1');
  const entry = parseAuditLine(line);
  return entry && { seq: entry.seq, hash: hashAuditLine(line) };
}

/** A neighbour that is no log of ours is none of our business. */
async function readOther(file: string): Promise<AuditTail | undefined> {
  try {
    const handle = await open(file, 'r');
    try {
      return await readAuditTail(handle, file);
    } finally {
      await handle.close();
    }
  } catch {
    return undefined;
  }
}

/** The file beside a log that holds its newest checkpoint, so that a cut end shows. */
export function headFileOf(file: string): string {
  return `${file}.head`;
}

/** Replaces the head by a new one, whole. */
export async function writeHead(file: string, line: string): Promise<void> {
  const next = `${headFileOf(file)}.new`;
  await writeFile(next, `${line}\n`, { mode: 0o600 });
  await rename(next, headFileOf(file));
}

/** Makes a file's name durable. */
export async function syncFolderOf(file: string): Promise<void> {
  const handle = await open(path.dirname(file), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function failed(what: string, cause: unknown): AuditFileError {
  return new AuditFileError('failed', `${what}: ${(cause as Error).message}`, { cause });
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}
