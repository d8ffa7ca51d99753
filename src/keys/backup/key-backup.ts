// What is inside a key backup (docs/formats/key-backup.md): one line of JSON per key, each with its SHA-256,
// between a line that says what this is and one that says how many keys there were. Every key in it has been
// parsed, on the way in and on the way out. Nothing here is encrypted: that is the envelope's work.

import { createHash, hash } from 'node:crypto';
import { KeyError } from '../key-error.ts';
import { isName } from '../key-name.ts';
import { parseStored } from '../stored-key.ts';

/** `invalid`: it is no backup, or a damaged one. `incomplete`: it ends early. `newer`: an unknown version. */
export type KeyBackupErrorCode = 'invalid' | 'incomplete' | 'newer';

export class KeyBackupError extends Error {
  readonly code: KeyBackupErrorCode;
  constructor(code: KeyBackupErrorCode, message: string) {
    super(message);
    this.name = 'KeyBackupError';
    this.code = code;
  }
}

/** A name and the text that a key store holds under it. */
export type BackupEntry = { readonly name: string; readonly value: string };
export type KeyBackup = { readonly createdAt: string; readonly keys: readonly BackupEntry[] };

const format = 'coffer-key-backup';
const version = 1;

/** The lines of a backup; the entries have distinct names. */
export async function* encodeKeyBackup(
  entries: AsyncIterable<BackupEntry>,
  createdAt: string,
): AsyncGenerator<Buffer> {
  const sum = createHash('sha256');
  let keys = 0;
  const line = (members: object): Buffer => {
    const bytes = Buffer.from(`${JSON.stringify(members)}\n`);
    sum.update(bytes);
    return bytes;
  };
  yield line({ format, version, created_at: createdAt });
  for await (const { name, value } of entries) {
    keys += 1;
    yield line({ name, sha256: hash('sha256', value, 'hex'), value });
  }
  yield Buffer.from(`${JSON.stringify({ keys, sha256: sum.digest('hex') })}\n`);
}

/** Reads a whole backup and checks all of it. Throws `KeyBackupError`; no value appears in it. */
export function decodeKeyBackup(bytes: Buffer): KeyBackup {
  const lines = splitLines(bytes);
  const head = membersOf(lines[0]);
  if (head?.['format'] !== format) throw new KeyBackupError('invalid', 'it is no key backup');
  if (head['version'] !== version) {
    const text = `the backup has version ${String(head['version'])}: use a newer program`;
    throw new KeyBackupError('newer', text);
  }
  checkEnd(lines);
  const keys = lines.slice(1, -1).map(parseEntry);
  const names = new Set(keys.map(({ name }) => name));
  if (names.size !== keys.length) throw new KeyBackupError('invalid', 'a name is there twice');
  return { createdAt: String(head['created_at']), keys };
}

/** With their line breaks. */
function splitLines(bytes: Buffer): Buffer[] {
  const lines: Buffer[] = [];
  let start = 0;
  for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, start)) {
    lines.push(bytes.subarray(start, end + 1));
    start = end + 1;
  }
  if (start < bytes.length) lines.push(bytes.subarray(start));
  return lines;
}

function checkEnd(lines: readonly Buffer[]): void {
  const end = membersOf(lines.at(-1));
  if (lines.length < 2 || typeof end?.['keys'] !== 'number') {
    throw new KeyBackupError('incomplete', 'the backup has no end: it was cut off');
  }
  const sum = createHash('sha256');
  for (const line of lines.slice(0, -1)) sum.update(line);
  if (end['keys'] !== lines.length - 2 || end['sha256'] !== sum.digest('hex')) {
    throw new KeyBackupError('invalid', 'the backup is not what its last line says');
  }
}

function parseEntry(line: Buffer, index: number): BackupEntry {
  const { name, sha256, value } = membersOf(line) ?? {};
  if (typeof name !== 'string' || typeof value !== 'string' || !isName(name)) {
    throw new KeyBackupError('invalid', `key number ${index + 1} of the backup has no valid name`);
  }
  if (hash('sha256', value, 'hex') !== sha256 || !isStoredKey(value)) {
    throw new KeyBackupError('invalid', `key '${name}' of the backup is damaged`);
  }
  return { name, value };
}

/** Whether a text is what a key store may hold under a name. */
export function isStoredKey(value: string): boolean {
  try {
    parseStored(value);
    return true;
  } catch (error) {
    if (error instanceof KeyError) return false;
    throw error;
  }
}

function membersOf(line: Buffer | undefined): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line?.toString('utf8') ?? '');
    return typeof value === 'object' && value !== null
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}
