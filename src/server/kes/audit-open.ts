// What is on disk before the audit log goes on: the signing key, the end of the chain (in the file, in the
// file it was rotated from, or in the head beside it) and what a crash cut off. A damaged end, or one before
// the point that the head proves, is never guessed around: opening fails and says what to do.

import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto';
import { constants } from 'node:fs';
import {
  copyFile,
  type FileHandle,
  open,
  readdir,
  readFile,
  rename,
  writeFile,
} from 'node:fs/promises';
import path from 'node:path';
import {
  type ChainPoint,
  chainStart,
  hashAuditLine,
  parseAuditLine,
} from '../../kes/audit/chain.ts';

/** `damaged`: the file does not end in a line of a chain, or lines are missing. `failed`: the system refuses it. */
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
const readBytesMax = 4 * 1024 * 1024;

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
 * Whether a file goes on from a point of its chain: it holds that very line, or begins after it. What comes
 * after the last line break does not count. Reads back from the end as far as needed.
 */
export async function followsPoint(handle: FileHandle, point: ChainPoint): Promise<boolean> {
  let end = (await handle.stat()).size;
  let rest: Buffer = Buffer.alloc(0);
  let bytesMax = readBytes;
  while (end > 0) {
    const start = Math.max(0, end - bytesMax);
    const bytes: Buffer = Buffer.concat([await readRange(handle, start, end), rest]);
    // The first line may begin in the piece before.
    const from = start === 0 ? 0 : bytes.indexOf(0x0a) + 1;
    for (let stop = bytes.lastIndexOf(0x0a); stop >= from; ) {
      const before = stop === 0 ? -1 : bytes.lastIndexOf(0x0a, stop - 1);
      const line = bytes.subarray(Math.max(before + 1, from), stop);
      const seq = seqOf(line);
      if (seq !== undefined && seq <= point.seq) {
        return seq === point.seq && hashAuditLine(line) === point.hash;
      }
      stop = before;
    }
    rest = from === 0 ? bytes : bytes.subarray(0, from);
    if (rest.length > tornBytesMax) return false;
    bytesMax = Math.min(2 * bytesMax, readBytesMax);
    end = start;
  }
  return true;
}

function seqOf(line: Buffer): number | undefined {
  const [, digits] = /^\{"seq":(\d{1,16}),/.exec(line.toString('latin1', 0, 32)) ?? [];
  return digits === undefined ? undefined : Number(digits);
}

/**
 * The end of the chain when the file has no line yet: the newest of what the head says and of the files it
 * may have been rotated to (same name with a suffix). The start of all when there is none.
 */
export async function findEarlierTail(file: string): Promise<AuditTail> {
  const head = await readHead(file);
  let best: AuditTail = { point: head ?? chainStart };
  const folder = path.dirname(file);
  const name = path.basename(file);
  for (const entry of await readdir(folder)) {
    const suffix = entry.startsWith(name) ? entry.slice(name.length) : '';
    if (!/^[.-][\w.-]+$/.test(suffix) || /^\.head|\.(?:key|pub|gz|xz|zst|bz2)$/.test(suffix))
      continue;
    const tail = await readOther(path.join(folder, entry), head);
    if ((tail?.point?.seq ?? 0) >= (best.point?.seq ?? 0) && tail?.point) best = tail;
  }
  return best;
}

/** The newest point that a head of the file proves, kept ones included. */
export async function readHead(file: string): Promise<ChainPoint | undefined> {
  let newest: ChainPoint | undefined;
  for (const head of [headFileOf(file), ...(await findKeptHeads(file))]) {
    const point = await readPoint(head);
    if ((point?.seq ?? 0) > (newest?.seq ?? 0)) newest = point;
  }
  return newest;
}

async function readPoint(head: string): Promise<ChainPoint | undefined> {
  let text: string;
  try {
    text = await readFile(head, 'latin1');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw failed(`cannot read ${head}`, error);
  }
  const line = Buffer.from(text.replace(/\n$/, ''), 'latin1');
  const entry = parseAuditLine(line);
  return entry && { seq: entry.seq, hash: hashAuditLine(line) };
}

/** A neighbour that is no log of ours, or does not hold what the head proves, is none of our business. */
async function readOther(
  file: string,
  head: ChainPoint | undefined,
): Promise<AuditTail | undefined> {
  try {
    const handle = await open(file, 'r');
    try {
      if (head !== undefined && !(await followsPoint(handle, head))) return undefined;
      return await readAuditTail(handle, file);
    } finally {
      await handle.close();
    }
  } catch {
    return undefined;
  }
}

/** Heads that were kept because their file no longer held what they prove: `FILE.head.<seq>`. */
export async function findKeptHeads(file: string): Promise<string[]> {
  const folder = path.dirname(file);
  const start = `${path.basename(headFileOf(file))}.`;
  const names = (await readdir(folder)).filter(
    (name) => name.startsWith(start) && /^\d+$/.test(name.slice(start.length)),
  );
  return names.map((name) => path.join(folder, name));
}

/** Keeps the head as `FILE.head.<seq>`, where no later head replaces it. Gives that name, if there is a head. */
export async function keepHead(file: string): Promise<string | undefined> {
  const head = headFileOf(file);
  const point = await readPoint(head);
  if (point === undefined) return undefined;
  const kept = `${head}.${point.seq}`;
  await copyFile(head, kept);
  await syncFolderOf(file);
  return kept;
}

/** For a file that does not hold the point that its head proves. Keeps the head. */
export async function cutError(
  file: string,
  found: { readonly own: ChainPoint; readonly proven: ChainPoint },
): Promise<AuditFileError> {
  const { own, proven } = found;
  await keepHead(file);
  const kept = `${headFileOf(file)}.${proven.seq}`;
  const what =
    own.seq < proven.seq
      ? `ends at number ${own.seq}, and ${kept} proves that number ${proven.seq} was written: lines are missing`
      : `has other lines than were written: number ${proven.seq} is not the one in ${kept}`;
  return new AuditFileError(
    'damaged',
    `the audit log ${file} ${what}. No crash does that. Put the whole file back; or, to go on without the lines, move it away ('mv ${file} ${file}.cut') and start again: the new file begins after number ${proven.seq}, so the gap stays visible`,
  );
}

/** The file beside a log that holds its newest checkpoint, so that a cut end shows. */
export function headFileOf(file: string): string {
  return `${file}.head`;
}

/** Replaces the head by a new one, whole. Only for a checkpoint that is durable in the file. */
export async function writeHead(file: string, line: string): Promise<void> {
  const next = `${headFileOf(file)}.new`;
  await writeFile(next, `${line}\n`, { mode: 0o600, flush: true });
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
