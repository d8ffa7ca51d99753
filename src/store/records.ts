// The values of the store's entries (docs/formats/metadata.md): MessagePack arrays whose first element is the
// version of the layout. No shared structures, so that every process reads what any other wrote. Maps are
// kept as flat lists of names and values.

import { Packr, Unpackr } from 'msgpackr';
import type { ObjectEnvelope, SealedDataKey, SealedObjectKey } from '../sse/envelope.ts';
import type { KmsContext } from '../sse/kms.ts';
import { encryptionOf } from './encryption/envelopes.ts';
import { KvError } from './kv.ts';
import type {
  BucketInfo,
  BucketSettings,
  Checksum,
  ObjectAttributes,
  ObjectInfo,
  ObjectLock,
  PartInfo,
  RetentionMode,
  UploadInfo,
} from './types.ts';

/** Where the stored bytes are: nowhere (there are none), beside the records, or in the blob store. */
export type Place =
  | { readonly kind: 'none' }
  | { readonly kind: 'inline' | 'blob'; readonly id: string };

/** Bytes as they are stored: sealed when the object is encrypted. */
export type StoredBytes = { readonly place: Place; readonly storedBytes: number };

export type PartRecord = StoredBytes &
  PartInfo & {
    /** Of the sealed stream, so that an earlier upload of the same part cannot take its place. */
    readonly nonce?: Uint8Array;
    /** Instead of `checksum`, where only the client's key may show it (SSE-C). */
    readonly sealedChecksum?: Uint8Array;
  };

export type ObjectRecord = {
  readonly versionId: string;
  readonly etag: string;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
  readonly attributes: ObjectAttributes;
  readonly owner: string;
  readonly envelope?: ObjectEnvelope;
  readonly checksum?: Checksum;
  /** Instead of `checksum`, where only the client's key may show it (SSE-C). */
  readonly sealedChecksum?: Uint8Array;
  /** One of the two: the bytes of a single-part object, or the parts in order. */
  readonly data?: StoredBytes;
  /** In an entry of their own, because a listing has no use for up to 10,000 of them. */
  readonly parts?: readonly PartRecord[];
  /** Where that entry is. */
  readonly partsId?: string;
  /** Absent in buckets that never had versioning, and in what was written before they had. */
  readonly version?: VersionState;
  readonly lock?: ObjectLock;
};

/** What a record says of its place among the versions of its name. */
export type VersionState = {
  /** Grows with every version of a name; what was written before versioning has 0. */
  readonly order: number;
  /** The version is a delete marker: no bytes, no attributes. */
  readonly isMarker?: true;
  /** Only in the newest version: the order of the version `null`, when that is not the newest itself. */
  readonly nullOrder?: number;
};

export type BucketRecord = {
  readonly id: Buffer;
  readonly createdMs: number;
  readonly owner: string;
  readonly location: string;
  readonly settings: BucketSettings;
  /** Set while a deletion looks for objects; writes wait for its outcome. */
  readonly deletingSinceMs?: number;
};

export type UploadRecord = {
  readonly initiatedMs: number;
  readonly owner: string;
  readonly attributes: ObjectAttributes;
  readonly envelope?: ObjectEnvelope;
  readonly checksum?: NonNullable<UploadInfo['checksum']>;
  /** What the object is to be protected by. */
  readonly lock?: ObjectLock;
};

/** Work for the sweep. */
export type GarbageRecord =
  | { readonly kind: 'blobs'; readonly ids: readonly string[] }
  | { readonly kind: 'entries'; readonly entryKeys: readonly Uint8Array[] }
  | {
      readonly kind: 'upload';
      readonly bucketId: Uint8Array;
      readonly name: Uint8Array;
      readonly uploadId: string;
    }
  | { readonly kind: 'bucket'; readonly bucketId: Uint8Array };

const version = 1;
const packr = new Packr({ useRecords: false, variableMapSize: true });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number' });

type Packed = readonly unknown[];

function encode(fields: Packed): Buffer {
  return packr.pack([version, ...fields]);
}

/**
 * Values come from our own commits, and are authenticated when sealed; what else decodes is damage. So is what
 * `unpack` cannot take. Throws `KvError` `corrupt` and nothing else.
 */
function decode<Decoded>(
  value: Uint8Array,
  what: string,
  unpack: (fields: Packed) => Decoded,
): Decoded {
  try {
    const fields: unknown = unpackr.unpack(value);
    if (Array.isArray(fields) && fields[0] === version) return unpack(fields as Packed);
  } catch (cause) {
    throw new KvError('corrupt', `the record of ${what} is damaged`, { cause });
  }
  throw new KvError('corrupt', `the record of ${what} has an unknown layout`);
}

export function encodeObject(record: ObjectRecord): Buffer {
  const { version: state, lock } = record;
  const fields: unknown[] = [
    record.versionId,
    record.etag,
    record.sizeBytes,
    record.modifiedMs,
    record.owner,
    packAttributes(record.attributes),
    record.envelope ? packEnvelope(record.envelope) : null,
    packChecksum(record),
    record.data ? packStored(record.data) : null,
    record.partsId ?? null,
  ];
  const later = [state ? packState(state) : null, lock ? packLock(lock) : null];
  // Younger fields are left out from the end, so that objects without them keep the layout they always had.
  while (later.at(-1) === null) later.pop();
  return encode([...fields, ...later]);
}

/** The record without its parts. */
export function decodeObject(value: Uint8Array): ObjectRecord {
  return decode(value, 'an object', (f) => {
    return {
      versionId: f[1] as string,
      etag: f[2] as string,
      sizeBytes: f[3] as number,
      modifiedMs: f[4] as number,
      owner: f[5] as string,
      attributes: unpackAttributes(f[6] as Packed),
      ...(f[7] ? { envelope: unpackEnvelope(f[7] as Packed) } : {}),
      ...unpackChecksum(f[8]),
      ...(f[9] ? { data: unpackStored(f[9] as Packed) } : {}),
      ...(f[10] ? { partsId: f[10] as string } : {}),
      ...(f[11] ? { version: unpackState(f[11] as Packed) } : {}),
      ...(f[12] ? { lock: unpackLock(f[12] as Packed) } : {}),
    };
  });
}

export function encodeParts(parts: readonly PartRecord[]): Buffer {
  return encode(parts.map(packPart));
}

export function decodeParts(value: Uint8Array): PartRecord[] {
  return decode(value, 'the parts of an object', (fields) =>
    fields.slice(1).map((packed) => unpackPart(packed as Packed)),
  );
}

export function encodePart(part: PartRecord): Buffer {
  return encode([packPart(part)]);
}

export function decodePart(value: Uint8Array): PartRecord {
  return decode(value, 'a part', (f) => unpackPart(f[1] as Packed));
}

export function encodeBucket(record: BucketRecord): Buffer {
  const { id, createdMs, owner, location, settings, deletingSinceMs } = record;
  return encode([id, createdMs, owner, location, settings, deletingSinceMs ?? null]);
}

export function decodeBucket(value: Uint8Array): BucketRecord {
  return decode(value, 'a bucket', (f) => {
    return {
      id: f[1] as Buffer,
      createdMs: f[2] as number,
      owner: f[3] as string,
      location: f[4] as string,
      settings: f[5] as BucketSettings,
      ...(f[6] === null ? {} : { deletingSinceMs: f[6] as number }),
    };
  });
}

export function encodeUpload(record: UploadRecord): Buffer {
  return encode([
    record.initiatedMs,
    record.owner,
    packAttributes(record.attributes),
    record.envelope ? packEnvelope(record.envelope) : null,
    record.checksum ? [record.checksum.algorithm, record.checksum.type] : null,
    ...(record.lock ? [packLock(record.lock)] : []),
  ]);
}

export function decodeUpload(value: Uint8Array): UploadRecord {
  return decode(value, 'an upload', (f) => {
    const checksum = f[5] as [Checksum['algorithm'], Checksum['type']] | null;
    return {
      initiatedMs: f[1] as number,
      owner: f[2] as string,
      attributes: unpackAttributes(f[3] as Packed),
      ...(f[4] ? { envelope: unpackEnvelope(f[4] as Packed) } : {}),
      ...(checksum ? { checksum: { algorithm: checksum[0], type: checksum[1] } } : {}),
      ...(f[6] ? { lock: unpackLock(f[6] as Packed) } : {}),
    };
  });
}

export function encodeGarbage(record: GarbageRecord): Buffer {
  switch (record.kind) {
    case 'blobs':
      return encode([record.kind, record.ids]);
    case 'entries':
      return encode([record.kind, record.entryKeys]);
    case 'upload':
      return encode([record.kind, record.bucketId, record.name, record.uploadId]);
    case 'bucket':
      return encode([record.kind, record.bucketId]);
  }
}

export function decodeGarbage(value: Uint8Array): GarbageRecord {
  return decode(value, 'garbage', (f) => {
    switch (f[1] as GarbageRecord['kind']) {
      case 'blobs':
        return { kind: 'blobs', ids: f[2] as string[] };
      case 'entries':
        return { kind: 'entries', entryKeys: f[2] as Uint8Array[] };
      case 'upload':
        return {
          kind: 'upload',
          bucketId: f[2] as Uint8Array,
          name: f[3] as Uint8Array,
          uploadId: f[4] as string,
        };
      case 'bucket':
        return { kind: 'bucket', bucketId: f[2] as Uint8Array };
      default:
        throw new KvError('corrupt', 'the record of garbage has an unknown kind');
    }
  });
}

/** The value of an index entry: the plaintext size it stands for. */
export function encodeSize(sizeBytes: number): Buffer {
  return encode([sizeBytes]);
}

export function decodeSize(value: Uint8Array): number {
  return decode(value, 'an index entry', (f) => f[1] as number);
}

/** The value of an entry that only says that something is there. */
export function encodeMark(): Buffer {
  return encode([]);
}

export function toBucketInfo(name: string, record: BucketRecord): BucketInfo {
  const { createdMs, owner, location, settings } = record;
  return { name, createdMs, owner, location, settings };
}

export function toObjectInfo(bucket: string, key: string, record: ObjectRecord): ObjectInfo {
  const { versionId, etag, sizeBytes, modifiedMs, attributes, owner, envelope } = record;
  return {
    bucket,
    key,
    versionId,
    etag,
    sizeBytes,
    modifiedMs,
    attributes,
    owner,
    ...(envelope ? { encryption: encryptionOf(envelope) } : {}),
    ...(record.checksum ? { checksum: record.checksum } : {}),
    ...(record.lock ? { lock: record.lock } : {}),
    ...(record.parts ? { parts: record.parts.map(toPartInfo) } : {}),
  };
}

export function toPartInfo(part: PartRecord): PartInfo {
  const { number, sizeBytes, etag, modifiedMs, checksum } = part;
  return { number, sizeBytes, etag, modifiedMs, ...(checksum ? { checksum } : {}) };
}

function packAttributes(attributes: ObjectAttributes): Packed {
  return [
    Object.entries(attributes.headers).flat(),
    Object.entries(attributes.userMetadata).flat(),
    attributes.tagging,
    attributes.storageClass,
    ...(attributes.acl === undefined ? [] : [attributes.acl]),
  ];
}

function unpackAttributes(packed: Packed): ObjectAttributes {
  return {
    headers: unpackNames(packed[0] as string[]),
    userMetadata: unpackNames(packed[1] as string[]),
    tagging: packed[2] as string,
    storageClass: packed[3] as string,
    ...(packed[4] === undefined ? {} : { acl: packed[4] as string }),
  };
}

/** Own properties only, whatever the names are. */
function unpackNames(flat: readonly string[]): Record<string, string> {
  const entries: [string, string][] = [];
  for (let at = 0; at + 1 < flat.length; at += 2) {
    entries.push([flat[at] as string, flat[at + 1] as string]); // both are within the list
  }
  return Object.fromEntries(entries);
}

type Layer = SealedObjectKey & SealedDataKey;

function packEnvelope(envelope: ObjectEnvelope): Packed {
  const { kind } = envelope;
  switch (kind) {
    case 'sse-s3':
      return [kind, ...packLayer(envelope)];
    case 'sse-kms':
      return [
        kind,
        ...packLayer(envelope),
        ...packRequest(envelope),
        ...(envelope.hasBucketKey ? [true] : []),
      ];
    case 'dsse-kms':
      return [kind, packLayer(envelope.inner), packLayer(envelope.outer), ...packRequest(envelope)];
    case 'sse-c':
      return [kind, envelope.sealAlgorithm, envelope.iv, envelope.sealedOek];
  }
}

function unpackEnvelope(packed: Packed): ObjectEnvelope {
  const kind = packed[0] as ObjectEnvelope['kind'];
  switch (kind) {
    case 'sse-s3':
      return { kind, ...unpackLayer(packed.slice(1)) };
    case 'sse-kms':
      return {
        kind,
        ...unpackLayer(packed.slice(1)),
        ...unpackRequest(packed.slice(6)),
        ...(packed[8] === true ? { hasBucketKey: true } : {}),
      };
    case 'dsse-kms':
      return {
        kind,
        inner: unpackLayer(packed[1] as Packed),
        outer: unpackLayer(packed[2] as Packed),
        ...unpackRequest(packed.slice(3)),
      };
    case 'sse-c': {
      const [, sealAlgorithm, iv, sealedOek] = packed as [string, string, Buffer, Buffer];
      return { kind, sealAlgorithm, iv, sealedOek };
    }
    default:
      throw new KvError('corrupt', 'an object has an unknown encryption');
  }
}

function packLayer({ keyName, sealAlgorithm, iv, sealedOek, sealedDataKey }: Layer): Packed {
  return [keyName, sealAlgorithm, iv, sealedOek, sealedDataKey];
}

function unpackLayer(packed: Packed): Layer {
  const [keyName, sealAlgorithm, iv, sealedOek, sealedDataKey] = packed;
  return {
    keyName: keyName as string,
    sealAlgorithm: sealAlgorithm as string,
    iv: iv as Buffer,
    sealedOek: sealedOek as Buffer,
    sealedDataKey: sealedDataKey as Buffer,
  };
}

type AsRequested = { readonly keyId?: string; readonly context?: KmsContext };

function packRequest({ keyId, context }: AsRequested): Packed {
  return [keyId ?? null, context ? Object.entries(context).flat() : null];
}

function unpackRequest([keyId, context]: Packed): AsRequested {
  return {
    ...(keyId ? { keyId: keyId as string } : {}),
    ...(context ? { context: unpackNames(context as string[]) } : {}),
  };
}

type WithChecksum = { readonly checksum?: Checksum; readonly sealedChecksum?: Uint8Array };

/** Sealed ones are bytes. */
function packChecksum({ checksum, sealedChecksum }: WithChecksum): unknown {
  if (sealedChecksum) return sealedChecksum;
  return checksum ? [checksum.algorithm, checksum.type, checksum.value] : null;
}

function unpackChecksum(packed: unknown): WithChecksum {
  if (packed instanceof Uint8Array) return { sealedChecksum: packed };
  if (!Array.isArray(packed)) return {};
  const [algorithm, type, value] = packed as [Checksum['algorithm'], Checksum['type'], string];
  return { checksum: { algorithm, type, value } };
}

function packState(state: VersionState): Packed {
  return [state.order, state.isMarker ?? false, state.nullOrder ?? null];
}

function unpackState(packed: Packed): VersionState {
  return {
    order: packed[0] as number,
    ...(packed[1] ? { isMarker: true as const } : {}),
    ...(packed[2] === null ? {} : { nullOrder: packed[2] as number }),
  };
}

function packLock(lock: ObjectLock): Packed {
  const { retention, legalHold } = lock;
  return [retention?.mode ?? null, retention?.untilMs ?? null, legalHold ?? null];
}

function unpackLock(packed: Packed): ObjectLock {
  const mode = packed[0] as RetentionMode | null;
  return {
    ...(mode === null ? {} : { retention: { mode, untilMs: packed[1] as number } }),
    ...(packed[2] === null ? {} : { legalHold: packed[2] as boolean }),
  };
}

const placeCodes = { none: 0, inline: 1, blob: 2 } as const;
const placeKinds = ['none', 'inline', 'blob'] as const;

function packStored(stored: StoredBytes): Packed {
  const { place, storedBytes } = stored;
  return place.kind === 'none' ? [0, 0] : [placeCodes[place.kind], storedBytes, place.id];
}

function unpackStored(packed: Packed): StoredBytes {
  const kind = placeKinds[packed[0] as number];
  if (kind === undefined) throw new KvError('corrupt', 'an object is at an unknown kind of place');
  if (kind === 'none') return { place: { kind }, storedBytes: 0 };
  return { place: { kind, id: packed[2] as string }, storedBytes: packed[1] as number };
}

function packPart(part: PartRecord): Packed {
  const { number, sizeBytes, etag, modifiedMs } = part;
  return [
    number,
    sizeBytes,
    etag,
    modifiedMs,
    packChecksum(part),
    packStored(part),
    part.nonce ?? null,
  ];
}

function unpackPart(packed: Packed): PartRecord {
  return {
    number: packed[0] as number,
    sizeBytes: packed[1] as number,
    etag: packed[2] as string,
    modifiedMs: packed[3] as number,
    ...unpackChecksum(packed[4]),
    ...unpackStored(packed[5] as Packed),
    ...(packed[6] ? { nonce: packed[6] as Buffer } : {}),
  };
}
