// Checksums of SSE-C objects. A checksum says something about the plaintext, so it is kept only in sealed
// form, under the object's own key (docs/formats/object-encryption.md); whoever has the client's key sees it.
// Other kinds of encryption keep it in the record, which the backend seals.

import {
  decodeChecksums,
  encodeChecksums,
  openChecksums,
  sealChecksums,
} from '../../sse/checksum-record.ts';
import { deriveDataKey } from '../../sse/object-data.ts';
import type { ObjectRecord, PartRecord } from '../records.ts';
import type { Checksum } from '../types.ts';

/** The checksum of an object or a part as it is kept under the key of its bytes. */
export function sealChecksum(key: Uint8Array, checksum: Checksum): Buffer {
  const [digest = '', count] = checksum.value.split('-');
  const record = encodeChecksums([
    {
      algorithm: checksum.algorithm,
      value: Buffer.from(digest, 'base64'),
      isFullObject: checksum.type === 'FULL_OBJECT',
      isTrailing: false,
      ...(count === undefined ? {} : { parts: { count: Number(count), values: [] } }),
    },
  ]);
  return sealChecksums(key, record);
}

/** The checksum again. Throws `SseError`: `not-authentic`, `invalid-checksum-record`. */
export function openChecksum(key: Uint8Array, sealed: Uint8Array): Checksum | undefined {
  const [entry] = decodeChecksums(openChecksums(key, sealed));
  if (entry === undefined) return undefined;
  const suffix = entry.parts === undefined ? '' : `-${entry.parts.count}`;
  return {
    algorithm: entry.algorithm,
    type: entry.isFullObject ? 'FULL_OBJECT' : 'COMPOSITE',
    value: Buffer.from(entry.value).toString('base64') + suffix,
  };
}

/** A part with its checksum in clear; as it is when that is not sealed. */
export function unsealPart(oek: Uint8Array, part: PartRecord): PartRecord {
  if (part.sealedChecksum === undefined) return part;
  const key = deriveDataKey(oek, part.number);
  try {
    const checksum = openChecksum(key, part.sealedChecksum);
    return checksum === undefined ? part : { ...part, checksum };
  } finally {
    key.fill(0);
  }
}

/** A record with all its checksums in clear. */
export function unsealChecksums(oek: Uint8Array, record: ObjectRecord): ObjectRecord {
  const checksum = record.sealedChecksum && openChecksum(oek, record.sealedChecksum);
  return {
    ...record,
    ...(checksum === undefined ? {} : { checksum }),
    ...(record.parts ? { parts: record.parts.map((part) => unsealPart(oek, part)) } : {}),
  };
}
