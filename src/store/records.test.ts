// The layouts of entry keys and values, pinned: what a release wrote, every later one reads.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  afterPrefix,
  blobEntry,
  bucketEntry,
  completedEntry,
  currentEntry,
  garbageEntry,
  inlineEntry,
  markerEntry,
  partEntry,
  partsEntry,
  protectsEntry,
  uploadEntry,
  versionEntry,
} from './keys.ts';
import { versionTail } from './versions/version-ids.ts';
import { KvError } from './kv.ts';
import {
  type BucketRecord,
  decodeBucket,
  decodeGarbage,
  decodeObject,
  decodePart,
  decodeParts,
  decodeSize,
  decodeUpload,
  encodeBucket,
  encodeGarbage,
  encodeMark,
  encodeObject,
  encodePart,
  encodeParts,
  encodeSize,
  encodeUpload,
  type ObjectRecord,
  type PartRecord,
  type UploadRecord,
} from './records.ts';

const id = '019d1c5e7a3b0c5500112233445566ff';
const attributes = {
  headers: { 'content-type': 'text/plain' },
  userMetadata: { a: 'b' },
  tagging: 't=1',
  storageClass: 'STANDARD',
};
const envelope = {
  kind: 'sse-s3' as const,
  keyName: 'my-key',
  sealAlgorithm: 'DAREv2-HMAC-SHA256',
  iv: Buffer.alloc(4, 1),
  sealedOek: Buffer.alloc(4, 2),
  sealedDataKey: Buffer.alloc(4, 3),
};
const object: ObjectRecord = {
  versionId: 'null',
  etag: '900150983cd24fb0d6963f7d28e17f72',
  sizeBytes: 3,
  modifiedMs: 1_700_000_000_000,
  owner: 'o',
  attributes,
  envelope,
  checksum: { algorithm: 'CRC32', type: 'FULL_OBJECT', value: 'NSRBwg==' },
  data: { place: { kind: 'inline', id }, storedBytes: 35 },
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
const bucket: BucketRecord = {
  id: Buffer.alloc(8, 5),
  createdMs: 1_700_000_000_000,
  owner: 'o',
  location: 'eu',
  settings: { encryption: { algorithm: 'AES256' } },
};
const upload: UploadRecord = {
  initiatedMs: 1_700_000_000_000,
  owner: 'o',
  attributes,
  envelope,
  checksum: { algorithm: 'CRC64NVME', type: 'FULL_OBJECT' },
};

const { sealedDataKey: _sealedDataKey, keyName: _keyName, ...sealedOnly } = envelope;
const { checksum: _checksum, ...withoutChecksum } = object;
const ofKms: ObjectRecord = {
  ...object,
  envelope: { ...envelope, kind: 'sse-kms', keyId: 'alias/my-key', context: { a: 'b' } },
};
const ofDefaultKey: ObjectRecord = { ...object, envelope: { ...envelope, kind: 'sse-kms' } };
const ofClient: ObjectRecord = {
  ...withoutChecksum,
  envelope: { ...sealedOnly, kind: 'sse-c' },
  sealedChecksum: Buffer.alloc(4, 6),
};
const ofBucketKey: ObjectRecord = {
  ...object,
  envelope: { ...envelope, kind: 'sse-kms', hasBucketKey: true },
};
const { kind: _kind, ...layer } = envelope;
const ofLayers: ObjectRecord = {
  ...object,
  envelope: {
    kind: 'dsse-kms',
    inner: layer,
    outer: { ...layer, keyName: 'outer' },
    keyId: 'alias/my-key',
    context: { a: 'b' },
  },
};
const ofVersion: ObjectRecord = {
  ...object,
  versionId: 'fff9f5ef4fd29c5f0123456789abcdef',
  version: { order: 1_700_000_000_000_000, nullOrder: 0 },
  lock: { retention: { mode: 'GOVERNANCE', untilMs: 1_800_000_000_000 }, legalHold: true },
};
const marker: ObjectRecord = {
  versionId: 'null',
  etag: '',
  sizeBytes: 0,
  modifiedMs: 1_700_000_000_000,
  owner: 'o',
  attributes: { headers: {}, userMetadata: {}, tagging: '', storageClass: 'STANDARD' },
  version: { order: 1_700_000_000_000_001, isMarker: true },
};
const { checksum: _partChecksum, ...partWithoutChecksum } = part;
const partOfClient: PartRecord = { ...partWithoutChecksum, sealedChecksum: Buffer.alloc(4, 6) };

const pinned: readonly (readonly [name: string, found: Buffer, hex: string])[] = [
  [
    'object',
    encodeObject(object),
    '9b01a46e756c6cd920393030313530393833636432346662306436393633663764323865313766373203cb4278bcfe56800000a16f9492ac636f6e74656e742d74797065aa746578742f706c61696e92a161a162a3743d31a85354414e4441524496a67373652d7333a66d792d6b6579b24441524576322d484d41432d534841323536c40401010101c40402020202c4040303030393a54352433332ab46554c4c5f4f424a454354a84e53524277673d3d930123d9203031396431633565376133623063353530303131323233333434353536366666c0',
  ],
  [
    'object of SSE-KMS',
    encodeObject(ofKms),
    '9b01a46e756c6cd920393030313530393833636432346662306436393633663764323865313766373203cb4278bcfe56800000a16f9492ac636f6e74656e742d74797065aa746578742f706c61696e92a161a162a3743d31a85354414e4441524498a77373652d6b6d73a66d792d6b6579b24441524576322d484d41432d534841323536c40401010101c40402020202c40403030303ac616c6961732f6d792d6b657992a161a16293a54352433332ab46554c4c5f4f424a454354a84e53524277673d3d930123d9203031396431633565376133623063353530303131323233333434353536366666c0',
  ],
  [
    'object under a bucket key',
    encodeObject(ofBucketKey),
    '9b01a46e756c6cd920393030313530393833636432346662306436393633663764323865313766373203cb4278bcfe56800000a16f9492ac636f6e74656e742d74797065aa746578742f706c61696e92a161a162a3743d31a85354414e4441524499a77373652d6b6d73a66d792d6b6579b24441524576322d484d41432d534841323536c40401010101c40402020202c40403030303c0c0c393a54352433332ab46554c4c5f4f424a454354a84e53524277673d3d930123d9203031396431633565376133623063353530303131323233333434353536366666c0',
  ],
  [
    'object of DSSE-KMS',
    encodeObject(ofLayers),
    '9b01a46e756c6cd920393030313530393833636432346662306436393633663764323865313766373203cb4278bcfe56800000a16f9492ac636f6e74656e742d74797065aa746578742f706c61696e92a161a162a3743d31a85354414e4441524495a8647373652d6b6d7395a66d792d6b6579b24441524576322d484d41432d534841323536c40401010101c40402020202c4040303030395a56f75746572b24441524576322d484d41432d534841323536c40401010101c40402020202c40403030303ac616c6961732f6d792d6b657992a161a16293a54352433332ab46554c4c5f4f424a454354a84e53524277673d3d930123d9203031396431633565376133623063353530303131323233333434353536366666c0',
  ],
  [
    'object of SSE-C',
    encodeObject(ofClient),
    '9b01a46e756c6cd920393030313530393833636432346662306436393633663764323865313766373203cb4278bcfe56800000a16f9492ac636f6e74656e742d74797065aa746578742f706c61696e92a161a162a3743d31a85354414e4441524494a57373652d63b24441524576322d484d41432d534841323536c40401010101c40402020202c40406060606930123d9203031396431633565376133623063353530303131323233333434353536366666c0',
  ],
  [
    'version',
    encodeObject(ofVersion),
    '9d01d9206666663966356566346664323963356630313233343536373839616263646566d920393030313530393833636432346662306436393633663764323865313766373203cb4278bcfe56800000a16f9492ac636f6e74656e742d74797065aa746578742f706c61696e92a161a162a3743d31a85354414e4441524496a67373652d7333a66d792d6b6579b24441524576322d484d41432d534841323536c40401010101c40402020202c4040303030393a54352433332ab46554c4c5f4f424a454354a84e53524277673d3d930123d9203031396431633565376133623063353530303131323233333434353536366666c093cb4318289060790000c20093aa474f5645524e414e4345cb427a3185c5000000c3',
  ],
  [
    'delete marker',
    encodeObject(marker),
    '9c01a46e756c6ca000cb4278bcfe56800000a16f949090a0a85354414e44415244c0c0c0c093cb4318289060790004c3c0',
  ],
  [
    'upload with a lock',
    encodeUpload({ ...upload, lock: { legalHold: false } }),
    '9701cb4278bcfe56800000a16f9492ac636f6e74656e742d74797065aa746578742f706c61696e92a161a162a3743d31a85354414e4441524496a67373652d7333a66d792d6b6579b24441524576322d484d41432d534841323536c40401010101c40402020202c4040303030392a943524336344e564d45ab46554c4c5f4f424a45435493c0c0c2',
  ],
  [
    'part of SSE-C',
    encodePart(partOfClient),
    '9201970703d9203930303135303938336364323466623064363936336637643238653137663732cb4278bcfe56800000c40406060606930223d9203031396431633565376133623063353530303131323233333434353536366666c40c090909090909090909090909',
  ],
  [
    'part',
    encodePart(part),
    '9201970703d9203930303135303938336364323466623064363936336637643238653137663732cb4278bcfe5680000093a453484131ab46554c4c5f4f424a454354a178930223d9203031396431633565376133623063353530303131323233333434353536366666c40c090909090909090909090909',
  ],
  [
    'parts',
    encodeParts([part]),
    '9201970703d9203930303135303938336364323466623064363936336637643238653137663732cb4278bcfe5680000093a453484131ab46554c4c5f4f424a454354a178930223d9203031396431633565376133623063353530303131323233333434353536366666c40c090909090909090909090909',
  ],
  [
    'bucket',
    encodeBucket(bucket),
    '9701c4080505050505050505cb4278bcfe56800000a16fa2657581aa656e6372797074696f6e81a9616c676f726974686da6414553323536c0',
  ],
  [
    'upload',
    encodeUpload(upload),
    '9601cb4278bcfe56800000a16f9492ac636f6e74656e742d74797065aa746578742f706c61696e92a161a162a3743d31a85354414e4441524496a67373652d7333a66d792d6b6579b24441524576322d484d41432d534841323536c40401010101c40402020202c4040303030392a943524336344e564d45ab46554c4c5f4f424a454354',
  ],
  [
    'garbage',
    encodeGarbage({ kind: 'blobs', ids: [id] }),
    '9301a5626c6f627391d9203031396431633565376133623063353530303131323233333434353536366666',
  ],
  ['size', encodeSize(1000), '9201cd03e8'],
  ['mark', encodeMark(), '9101'],
];

void test('records keep their layout', () => {
  for (const [name, found, hex] of pinned) assert.equal(found.toString('hex'), hex, name);
});

void test('records come back as they were', () => {
  assert.deepEqual(decodeObject(encodeObject(object)), object);
  const lockedOnly = { ...object, lock: { legalHold: false } };
  for (const record of [
    ofKms,
    ofDefaultKey,
    ofBucketKey,
    ofLayers,
    ofClient,
    ofVersion,
    marker,
    lockedOnly,
  ]) {
    assert.deepEqual(decodeObject(encodeObject(record)), record);
  }
  assert.deepEqual(decodePart(encodePart(partOfClient)), partOfClient);
  const { data: _data, envelope: _envelope, ...bare } = withoutChecksum;
  const multipart = { ...bare, partsId: id };
  assert.deepEqual(decodeObject(encodeObject(multipart)), multipart);
  const empty = { ...bare, data: { place: { kind: 'none' as const }, storedBytes: 0 } };
  assert.deepEqual(decodeObject(encodeObject(empty)), empty);
  assert.deepEqual(decodePart(encodePart(part)), part);
  const { nonce: _nonce, ...plainPart } = partWithoutChecksum;
  assert.deepEqual(decodeParts(encodeParts([part, plainPart])), [part, plainPart]);
  assert.deepEqual(decodeBucket(encodeBucket(bucket)), bucket);
  const deleting = { ...bucket, deletingSinceMs: 5 };
  assert.deepEqual(decodeBucket(encodeBucket(deleting)), deleting);
  assert.deepEqual(decodeUpload(encodeUpload(upload)), upload);
  const lockedUpload: UploadRecord = {
    ...upload,
    lock: { retention: { mode: 'COMPLIANCE', untilMs: 5 } },
  };
  assert.deepEqual(decodeUpload(encodeUpload(lockedUpload)), lockedUpload);
  for (const garbage of [
    { kind: 'blobs', ids: [id] },
    { kind: 'entries', entryKeys: [Buffer.from('x')] },
    { kind: 'upload', bucketId: Buffer.alloc(8), name: Buffer.from('n'), uploadId: id },
    { kind: 'bucket', bucketId: Buffer.alloc(8) },
  ] as const) {
    assert.deepEqual(decodeGarbage(encodeGarbage(garbage)), garbage);
  }
  for (const size of [0, 1, 2 ** 32, 5 * 2 ** 40]) assert.equal(decodeSize(encodeSize(size)), size);
});

void test('names that objects have of their own come back as plain names', () => {
  const names = JSON.parse('{"__proto__":"1","constructor":"2","toString":"3"}');
  const record = { ...object, attributes: { ...attributes, userMetadata: names } };
  const { userMetadata } = decodeObject(encodeObject(record)).attributes;
  assert.deepEqual(Object.entries(userMetadata), Object.entries(names));
});

void test('an access list is kept, and costs nothing where there is none', () => {
  const record = { ...object, attributes: { ...attributes, acl: 'public-read' } };
  assert.deepEqual(decodeObject(encodeObject(record)).attributes, record.attributes);
  assert.equal('acl' in decodeObject(encodeObject(object)).attributes, false);
  assert.ok(encodeObject(record).length > encodeObject(object).length);
});

void test('damaged values, and layouts of another version, are refused', () => {
  const good = encodeObject(object);
  const newer = Buffer.from(good);
  newer[1] = 2;
  const damaged = [Buffer.alloc(0), good.subarray(0, 20), newer, Buffer.from([0xc0])];
  for (const value of damaged) {
    assert.throws(
      () => decodeObject(value),
      (error) => error instanceof KvError && error.code === 'corrupt',
    );
  }
});

void test('a record with any damaged byte is read or refused as corrupt, never anything else', () => {
  const decoders = [
    decodeObject,
    decodeUpload,
    decodeBucket,
    decodePart,
    decodeParts,
    decodeGarbage,
  ];
  let refused = 0;
  for (const [name, bytes] of pinned) {
    for (let at = 0; at < bytes.length; at += 1) {
      for (const byte of [0xc0, 0x90, 0x05, 0xa1, 0xff]) {
        const damaged = Buffer.from(bytes);
        damaged[at] = byte;
        for (const decodeRecord of decoders) {
          try {
            decodeRecord(damaged);
          } catch (error) {
            assert.ok(error instanceof KvError, `${name}, byte ${at}: ${String(error)}`);
            assert.equal(error.code, 'corrupt');
            refused += 1;
          }
        }
      }
    }
  }
  assert.ok(refused > 1000, String(refused));
});

void test('entry keys keep their layout', () => {
  const bucketId = Buffer.alloc(8, 5);
  const name = Buffer.from('a/b');
  const place = { bucketId, name, uploadId: id };
  const text = (entryKey: Buffer): string => entryKey.toString('latin1');
  const five = '\x05'.repeat(8);
  const idBytes = Buffer.from(id, 'hex').toString('latin1');
  assert.equal(text(bucketEntry('photos')), 'bphotos');
  assert.equal(text(currentEntry(bucketId, name)), `c${five}a/b`);
  assert.equal(text(markerEntry(bucketId, name)), `m${five}a/b`);
  const past = versionEntry(bucketId, name, versionTail('null', 1));
  const tail = `${'\xff'.repeat(7)}\xfe${'\0'.repeat(8)}`;
  assert.equal(text(past), `v${five}a/b\0${tail}`);
  assert.equal(text(uploadEntry(place)), `u${five}a/b\0${id}`);
  assert.equal(text(completedEntry(place)), `d${five}a/b\0${id}`);
  assert.equal(text(partEntry(place, 258)), `p${five}a/b\0${id}\x01\x02`);
  assert.equal(text(inlineEntry(id)), `i${idBytes}`);
  assert.equal(text(blobEntry(id)), `o${idBytes}`);
  assert.equal(text(partsEntry(id)), `n${idBytes}`);
  const index = protectsEntry({ keyName: 'my-key', bucketId, name, versionId: 'null' });
  assert.equal(text(index), `kmy-key\0${five}a/b\0null`);
  assert.equal(text(garbageEntry(258)).slice(0, 9), 'g\0\0\0\0\0\0\x01\x02');
  assert.equal(garbageEntry(0).length, 17);
});

void test('the end of a prefix is above everything that starts with it', () => {
  for (const [prefix, end] of [
    ['61', '62'],
    ['61ff', '62'],
    ['61feff', '61ff'],
    ['6100', '6101'],
  ] as const) {
    assert.equal(afterPrefix(Buffer.from(prefix, 'hex')).toString('hex'), end);
  }
  assert.equal(encodeMark().length, 2);
});
