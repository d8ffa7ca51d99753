// The audit log that proves itself, as text (docs/formats/audit-log.md): one JSON line per call, each with
// the hash of the line before, and checkpoints signed with Ed25519. Lines are ASCII and canonical: there is
// one way to write each, so a flipped bit shows even in the last line. No files here.

import { createHash, createPublicKey, hash, type KeyObject, sign, verify } from 'node:crypto';
import type { AuditEvent } from './audit.ts';

/** Where a chain is: the number and the hash of its last line. */
export type ChainPoint = { readonly seq: number; readonly hash: string };

/** Before the first line of all. */
export const chainStart: ChainPoint = { seq: 0, hash: '0'.repeat(64) };

export type CallEntry = {
  readonly kind: 'call';
  readonly time: string;
  readonly identity: string;
  readonly ip: string;
  readonly method: string;
  readonly path: string;
  readonly operation?: string | undefined;
  readonly key?: string | undefined;
  readonly keyId?: string | undefined;
  readonly version?: number | undefined;
  /** `bucket/object` as the context names it. */
  readonly object?: string | undefined;
  /** Whether policy let the call run. */
  readonly allowed: boolean;
  /** Why it was refused or failed. */
  readonly reason?: string | undefined;
  readonly status: number;
  readonly durationMs: number;
};

/**
 * `start`: the service opened the file; `signer` is its public key (base64 of the SPKI). `recovered`: the
 * bytes before the `start` line are a line that a crash cut off. `lost`: calls that may have no line,
 * because the file could not be written. `checkpoint`: a signature; `signer` is the key's fingerprint.
 */
export type AuditEntry =
  | CallEntry
  | {
      readonly kind: 'start';
      readonly time: string;
      readonly file: 'new' | 'continued';
      readonly signer: string;
    }
  | {
      readonly kind: 'recovered';
      readonly time: string;
      readonly bytes: number;
      readonly sha256: string;
    }
  | {
      readonly kind: 'lost';
      readonly time: string;
      readonly calls: number;
      readonly reason: string;
    }
  | {
      readonly kind: 'checkpoint';
      readonly time: string;
      readonly signer: string;
      readonly signature: string;
    };

/** An entry as it stands in the file. */
export type ChainedEntry = AuditEntry & ChainLink;
type ChainLink = { readonly seq: number; readonly prev: string };

/** No line is longer, in bytes. */
export const auditLineBytesMax = 65_536;

const kinds: ReadonlySet<unknown> = new Set(['call', 'start', 'recovered', 'lost', 'checkpoint']);
const objectContextBytesMax = 8_192;
const textCharsMax = { path: 256, object: 1_100, reason: 256, other: 256 } as const;

/** SHA-256 of a line without its line break, as 64 hex digits. */
export function hashAuditLine(line: string | Uint8Array): string {
  return hash('sha256', line, 'hex');
}

/** The line of an entry, without line break, and where the chain is after it. */
export function chainLine(
  after: ChainPoint,
  entry: AuditEntry,
): { readonly line: string; readonly point: ChainPoint } {
  const seq = after.seq + 1;
  const line = formatEntry({ seq, ...entry, prev: after.hash });
  return { line, point: { seq, hash: hashAuditLine(line) } };
}

/** The signed checkpoint that comes after `after`. */
export function chainCheckpoint(
  after: ChainPoint,
  by: { readonly privateKey: KeyObject; readonly time: string },
): { readonly line: string; readonly point: ChainPoint } {
  const { privateKey, time } = by;
  const message = checkpointMessage({ seq: after.seq + 1, prev: after.hash, time });
  return chainLine(after, {
    kind: 'checkpoint',
    time,
    signer: fingerprintOf(createPublicKey(privateKey)),
    signature: sign(undefined, message, privateKey).toString('base64'),
  });
}

/** Whether `publicKey` signed this checkpoint. */
export function isCheckpointOf(
  publicKey: KeyObject,
  entry: ChainedEntry & { readonly kind: 'checkpoint' },
): boolean {
  const signature = Buffer.from(entry.signature, 'base64');
  const isCanonical = signature.toString('base64') === entry.signature;
  return isCanonical && verify(undefined, checkpointMessage(entry), publicKey, signature);
}

function checkpointMessage(of: ChainLink & { readonly time: string }): Buffer {
  return Buffer.from(`coffer audit checkpoint v1\n${of.seq}\n${of.prev}\n${of.time}\n`);
}

/** SHA-256 of the key's SPKI, as 64 hex digits. */
export function fingerprintOf(publicKey: KeyObject): string {
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  return createHash('sha256').update(spki).digest('hex');
}

/** The public key as `start` lines carry it. */
export function formatSigner(publicKey: KeyObject): string {
  return publicKey.export({ type: 'spki', format: 'der' }).toString('base64');
}

/** Undefined when the text is no Ed25519 key. */
export function parseSigner(text: string): KeyObject | undefined {
  try {
    const key = createPublicKey({ key: Buffer.from(text, 'base64'), type: 'spki', format: 'der' });
    return key.asymmetricKeyType === 'ed25519' ? key : undefined;
  } catch {
    return undefined;
  }
}

/** Reads a line without its line break; undefined unless it is exactly what `chainLine` writes. */
export function parseAuditLine(line: Uint8Array): ChainedEntry | undefined {
  const text = Buffer.from(line.buffer, line.byteOffset, line.byteLength).toString('latin1');
  try {
    const entry: unknown = JSON.parse(text);
    if (!isChainedEntry(entry)) return undefined;
    return formatEntry(entry) === text ? entry : undefined;
  } catch {
    return undefined;
  }
}

function isChainedEntry(value: unknown): value is ChainedEntry {
  if (typeof value !== 'object' || value === null) return false;
  const { seq, prev, kind, time } = value as Record<string, unknown>;
  if (!Number.isSafeInteger(seq) || typeof prev !== 'string' || typeof time !== 'string') {
    return false;
  }
  if (!kinds.has(kind)) return false;
  const texts =
    kind === 'checkpoint' ? ['signer', 'signature'] : kind === 'start' ? ['signer'] : [];
  return texts.every((name) => typeof (value as Record<string, unknown>)[name] === 'string');
}

/** Everything but printable ASCII is escaped: terminals and line readers see what is there. */
function formatEntry(entry: object): string {
  const text = JSON.stringify(entry);
  if (/^[\x20-\x7e]*$/.test(text)) return text;
  return text.replaceAll(
    /[^\x20-\x7e]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** The call of an event. Texts that came from outside are bounded. */
export function callEntry(event: AuditEvent, time: string): CallEntry {
  const { key, object, reason } = event;
  return {
    kind: 'call',
    time,
    identity: bounded(event.identity, textCharsMax.other),
    ip: bounded(event.ip, textCharsMax.other),
    method: bounded(event.method, textCharsMax.other),
    path: bounded(event.path, textCharsMax.path),
    operation: event.operation,
    key: key === undefined ? undefined : bounded(key, textCharsMax.other),
    keyId: event.keyId,
    version: event.version,
    object: object === undefined ? undefined : bounded(object, textCharsMax.object),
    allowed: event.isAllowed ?? event.status < 400,
    reason: reason === undefined ? undefined : bounded(reason, textCharsMax.reason),
    status: event.status,
    durationMs: Math.round(event.durationMs * 1000) / 1000,
  };
}

function bounded(text: string, charsMax: number): string {
  return text.length <= charsMax ? text : `${text.slice(0, charsMax)}…`;
}

/**
 * The object that a context names: the member `bucket: "bucket/object"` (or the bucket alone) that an
 * object store puts into it. Undefined when the context is something else or too long.
 */
export function objectInContext(context: Uint8Array): string | undefined {
  if (context.length < 7 || context.length > objectContextBytesMax || context[0] !== 0x7b) {
    return undefined;
  }
  try {
    const members: unknown = JSON.parse(Buffer.from(context).toString('utf8'));
    for (const [bucket, path] of Object.entries(members as Record<string, unknown>)) {
      if (typeof path !== 'string' || bucket === '') continue;
      if (path === bucket || path.startsWith(`${bucket}/`)) return path;
    }
  } catch {
    // Some other client's context: it names no object.
  }
  return undefined;
}
