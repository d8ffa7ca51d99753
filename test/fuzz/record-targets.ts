// Stored records whose bytes are damaged: each decoder answers or throws `KvError`, and what it answers can be
// written again.

import { KvError } from '../../src/store/kv.ts';
import {
  decodeBucket,
  decodeGarbage,
  decodeObject,
  decodePart,
  decodeParts,
  decodeSize,
  decodeUpload,
  encodeBucket,
  encodeGarbage,
  encodeObject,
  encodePart,
  encodeParts,
  encodeSize,
  encodeUpload,
  type ObjectRecord,
  type PartRecord,
} from '../../src/store/records.ts';
import type { ObjectEnvelope } from '../../src/sse/envelope.ts';
import type { FuzzTarget } from './targets.ts';

const id = '019d1c5e7a3b0c5500112233445566ff';
const layer = {
  keyName: 'my-key',
  sealAlgorithm: 'DAREv2-HMAC-SHA256',
  iv: Buffer.alloc(32, 1),
  sealedOek: Buffer.alloc(64, 2),
  sealedDataKey: Buffer.alloc(92, 3),
};
const { sealedDataKey: _dataKey, keyName: _keyName, ...sealedOnly } = layer;
const asked = { keyId: 'alias/my-key', context: { a: 'b', c: 'd' } };
const envelopes: readonly ObjectEnvelope[] = [
  { ...layer, kind: 'sse-s3' },
  { ...layer, kind: 'sse-kms', ...asked },
  { ...layer, kind: 'sse-kms', hasBucketKey: true },
  { kind: 'dsse-kms', inner: layer, outer: { ...layer, keyName: 'outer' }, ...asked },
  { ...sealedOnly, kind: 'sse-c' },
];
const attributes = {
  headers: { 'content-type': 'text/plain', expires: 'never' },
  userMetadata: { a: 'b' },
  tagging: 't=1',
  storageClass: 'STANDARD',
  acl: 'public-read',
};
const plain: ObjectRecord = {
  versionId: 'null',
  etag: '900150983cd24fb0d6963f7d28e17f72',
  sizeBytes: 3,
  modifiedMs: 1_700_000_000_000,
  owner: 'a'.repeat(64),
  attributes,
  checksum: { algorithm: 'CRC32', type: 'FULL_OBJECT', value: 'NSRBwg==' },
  data: { place: { kind: 'inline', id }, storedBytes: 35 },
  lock: { retention: { mode: 'GOVERNANCE', untilMs: 1_800_000_000_000 }, legalHold: true },
};
const part: PartRecord = {
  number: 7,
  sizeBytes: 3,
  etag: '900150983cd24fb0d6963f7d28e17f72',
  modifiedMs: 1_700_000_000_000,
  checksum: { algorithm: 'SHA1', type: 'FULL_OBJECT', value: 'x' },
  place: { kind: 'blob', id },
  storedBytes: 35,
  nonce: Buffer.alloc(12, 9),
};

type Codec = {
  readonly name: string;
  readonly samples: readonly Uint8Array[];
  readonly decode: (value: Uint8Array) => unknown;
};

const codecs: readonly Codec[] = [
  {
    name: 'object',
    samples: [plain, ...envelopes.map((envelope) => ({ ...plain, envelope }))].map(encodeObject),
    decode: decodeObject,
  },
  {
    name: 'upload',
    samples: envelopes.map((envelope) =>
      encodeUpload({
        initiatedMs: 1_700_000_000_000,
        owner: 'o',
        attributes,
        envelope,
        checksum: { algorithm: 'CRC64NVME', type: 'FULL_OBJECT' },
      }),
    ),
    decode: decodeUpload,
  },
  {
    name: 'bucket',
    samples: [
      encodeBucket({
        id: Buffer.alloc(8, 5),
        createdMs: 1_700_000_000_000,
        owner: 'o',
        location: 'eu',
        settings: { encryption: { algorithm: 'AES256' }, versioning: 'Enabled', policy: '{}' },
      }),
    ],
    decode: decodeBucket,
  },
  { name: 'part', samples: [encodePart(part)], decode: decodePart },
  { name: 'parts', samples: [encodeParts([part, part])], decode: decodeParts },
  { name: 'size', samples: [encodeSize(12_345_678)], decode: decodeSize },
  {
    name: 'garbage',
    samples: [
      encodeGarbage({ kind: 'blobs', ids: [id, id] }),
      encodeGarbage({ kind: 'bucket', bucketId: Buffer.alloc(8, 5) }),
    ],
    decode: decodeGarbage,
  },
];

export function recordTargets(): FuzzTarget[] {
  return codecs.map(({ name, samples, decode }) => ({
    name: `stored record: ${name}`,
    samples,
    run: (input) => {
      try {
        decode(input);
      } catch (error) {
        if (!(error instanceof KvError) || error.code !== 'corrupt') throw error;
      }
    },
  }));
}
