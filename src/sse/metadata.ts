// Envelopes as metadata entries of an object (docs/formats/object-encryption.md): names with a
// reserved prefix, base64 values. The names are for ever. Reading checks in a fixed order and gives
// one code for each defect; an object that has some of the entries but no sealed key is encrypted
// of unknown kind, and counts as tampered.

import { encodeContext } from './context.ts';
import type { SseEnvelope, SseKind, SseKmsEnvelope } from './envelope.ts';
import { parseContextJson } from './headers.ts';
import { ivSizeBytes, legacySealAlgorithm, sealAlgorithm, sealedOekBytes } from './object-key.ts';
import { SseError } from './sse-error.ts';
import { decodeBase64, decodeBase64Sized } from './strict-base64.ts';

/** Names and values; names compare without case. */
export type Metadata = Readonly<Record<string, string>>;

const prefix = 'X-Minio-Internal-';
const ssePrefix = `${prefix}Server-Side-Encryption-`;

/** The entries' names as they are written. */
export const metadataNames = {
  sealAlgorithm: `${ssePrefix}Seal-Algorithm`,
  iv: `${ssePrefix}Iv`,
  sealedKeyS3: `${ssePrefix}S3-Sealed-Key`,
  sealedKeyKms: `${ssePrefix}Kms-Sealed-Key`,
  sealedKeyC: `${ssePrefix}Sealed-Key`,
  keyName: `${ssePrefix}S3-Kms-Key-Id`,
  sealedDataKey: `${ssePrefix}S3-Kms-Sealed-Key`,
  context: `${ssePrefix}Context`,
  /** Present, and empty, on objects made by a multipart upload. */
  encryptedMultipart: `${prefix}Encrypted-Multipart`,
  /** Plaintext size in decimal, of multipart and of compressed objects. */
  actualSize: `${prefix}actual-size`,
  /** The sealed checksum record; a binary value. */
  checksum: 'x-minio-internal-crc',
} as const;

const sealedKeyNames: Readonly<Record<SseKind, string>> = {
  'sse-s3': metadataNames.sealedKeyS3,
  'sse-kms': metadataNames.sealedKeyKms,
  'sse-c': metadataNames.sealedKeyC,
};

const kindLabels: Readonly<Record<SseKind, string>> = {
  'sse-s3': 'SSE-S3',
  'sse-kms': 'SSE-KMS',
  'sse-c': 'SSE-C',
};

/** True for a name that only the store itself may set: a request that carries one is refused. */
export function isReservedName(name: string): boolean {
  return name.toLowerCase().startsWith(prefix.toLowerCase());
}

/**
 * The kind of encryption, `unknown` when only traces of one are there, undefined for a plain
 * object.
 */
export function classifyMetadata(metadata: Metadata): SseKind | 'unknown' | undefined {
  return classify(indexEntries(metadata));
}

/**
 * The envelope of an object, undefined when it is not encrypted. Throws `SseError` with the first
 * defect of the table.
 */
export function parseEnvelope(metadata: Metadata): SseEnvelope | undefined {
  const entries = indexEntries(metadata);
  const kind = classify(entries);
  if (kind === 'unknown') throw new SseError('object-tampered');
  return kind === undefined ? undefined : parseAs(kind, entries);
}

/** The same for an object that must be of this kind. */
export function parseEnvelopeAs(kind: SseKind, metadata: Metadata): SseEnvelope {
  return parseAs(kind, indexEntries(metadata));
}

/**
 * The entries to store for an envelope. Those of a multipart upload also get `encryptedMultipart`,
 * empty.
 */
export function formatEnvelope(envelope: SseEnvelope): Record<string, string> {
  const sealedKey = sealedKeyNames[envelope.kind];
  const entries = {
    [metadataNames.sealAlgorithm]: envelope.sealAlgorithm,
    [metadataNames.iv]: toBase64(envelope.iv),
    [sealedKey]: toBase64(envelope.sealedOek),
  };
  if (envelope.kind === 'sse-c') return entries;
  entries[metadataNames.keyName] = envelope.keyName;
  entries[metadataNames.sealedDataKey] = toBase64(envelope.sealedDataKey);
  if (envelope.kind === 'sse-kms' && envelope.context !== undefined) {
    entries[metadataNames.context] = toBase64(encodeContext(envelope.context));
  }
  return entries;
}

/** By lower-case name. */
type Entries = ReadonlyMap<string, string>;

function indexEntries(metadata: Metadata): Entries {
  const entries = Object.entries(metadata).filter(([name]) => isReservedName(name));
  return new Map(entries.map(([name, value]) => [name.toLowerCase(), value]));
}

function find(entries: Entries, name: string): string | undefined {
  return entries.get(name.toLowerCase());
}

function classify(entries: Entries): SseKind | 'unknown' | undefined {
  const has = (name: string) => find(entries, name) !== undefined;
  if (has(metadataNames.sealedKeyKms)) return 'sse-kms';
  if (has(metadataNames.sealedKeyS3)) return 'sse-s3';
  if (has(metadataNames.sealedKeyC)) return 'sse-c';
  const { encryptedMultipart, iv, sealAlgorithm: algorithm, keyName } = metadataNames;
  const traces = [encryptedMultipart, iv, algorithm, keyName, metadataNames.sealedDataKey];
  return [...traces, metadataNames.context].some(has) ? 'unknown' : undefined;
}

function parseAs(kind: SseKind, entries: Entries): SseEnvelope {
  const label = kindLabels[kind];
  const ivText = find(entries, metadataNames.iv);
  if (ivText === undefined) throw new SseError('missing-iv');
  const algorithm = find(entries, metadataNames.sealAlgorithm);
  if (algorithm === undefined) throw new SseError('missing-seal-algorithm');
  const sealedOekText = find(entries, sealedKeyNames[kind]);
  if (sealedOekText === undefined) {
    const message = `The object metadata is missing the internal sealed key for ${label}`;
    throw new SseError('missing-sealed-key', { message });
  }
  const dataKeyTexts = kind === 'sse-c' ? undefined : findDataKey(entries);
  const iv = decodeBase64Sized(ivText, ivSizeBytes);
  if (iv === undefined) throw new SseError('invalid-iv');
  const isLegacy = kind === 'sse-c' && algorithm === legacySealAlgorithm;
  if (algorithm !== sealAlgorithm && !isLegacy) throw new SseError('invalid-seal-algorithm');
  const sealedOek = decodeBase64Sized(sealedOekText, sealedOekBytes);
  if (sealedOek === undefined) {
    const message = `The internal sealed key for ${label} is invalid`;
    throw new SseError('invalid-sealed-key', { message });
  }
  const sealed = { sealAlgorithm: algorithm, iv, sealedOek };
  if (kind === 'sse-c' || dataKeyTexts === undefined) return { kind: 'sse-c', ...sealed };
  const { keyName } = dataKeyTexts;
  const sealedDataKey = decodeBase64(dataKeyTexts.sealedDataKey);
  if (sealedDataKey === undefined) {
    const message = `The internal sealed KMS data key for ${label} is invalid`;
    throw new SseError('invalid-sealed-data-key', { message });
  }
  if (kind === 'sse-s3') return { kind, ...sealed, keyName, sealedDataKey };
  return { kind, ...sealed, keyName, sealedDataKey, ...parseStoredContext(entries) };
}

function findDataKey(entries: Entries): { keyName: string; sealedDataKey: string } {
  const keyName = find(entries, metadataNames.keyName);
  const sealedDataKey = find(entries, metadataNames.sealedDataKey);
  if (keyName === undefined) throw new SseError('missing-key-name');
  if (sealedDataKey === undefined) throw new SseError('missing-sealed-data-key');
  return { keyName, sealedDataKey };
}

function parseStoredContext(entries: Entries): Pick<SseKmsEnvelope, 'context'> {
  const text = find(entries, metadataNames.context);
  if (text === undefined) return {};
  const json = decodeBase64(text);
  const context = json === undefined ? undefined : parseContextJson(json);
  if (context === undefined) throw new SseError('invalid-context');
  return { context };
}

function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64');
}
