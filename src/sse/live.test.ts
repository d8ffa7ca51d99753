// Objects and records that a real server and a real key service wrote, opened from their stored
// bytes alone.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { base64, chunked, collect, readVectors, sha256Hex } from '../../test/support/vectors.ts';
import { VectorKms } from '../../test/support/vector-kms.ts';
import { openDare, openDareStream, plainSize, sealDare, sealedSize } from '../aead/dare.ts';
import { decodeChecksums, encodeChecksums, openChecksums } from './checksum-record.ts';
import { openConfig } from './encrypted-config.ts';
import type { ObjectPlace } from './envelope.ts';
import { clientEtag, openEtag } from './etag.ts';
import { formatEnvelope, metadataNames, parseEnvelope } from './metadata.ts';
import { derivePartKey } from './object-key.ts';
import { openSseCKey } from './sse-c.ts';
import { openSseKmsKey } from './sse-kms.ts';
import { openSseS3Key } from './sse-s3.ts';

type LiveObject = {
  bucket: string;
  key: string;
  mode: 'SSE-S3' | 'SSE-KMS' | 'SSE-C';
  systemMetadata: Record<string, string>;
  storedEtag: string;
  clientEtag: string;
  partNumbers: number[];
  partSizes: number[];
  partActualSizes: number[];
  plaintextSize: number;
  plaintextSha256: string;
  checksumRecordOpened: string | null;
  ciphertext?: string;
};
const live = readVectors('sse-live.json') as {
  storedKeys: Record<string, string>;
  clientKey: string;
  objects: LiveObject[];
  multipart: LiveObject;
  configBlobs: { name: string; blob: string; plaintext: string }[];
};

/** A stored key starts with two nested lengths, then the 32 bytes. */
const masterKeys = Object.fromEntries(
  Object.entries(live.storedKeys).map(([name, stored]) => [name, base64(stored).subarray(4, 36)]),
);
const kms = new VectorKms({ defaultKeyName: 'my-minio-sse-s3-key', masterKeys });

async function openObjectKey(object: LiveObject): Promise<Buffer> {
  const place: ObjectPlace = { bucket: object.bucket, key: object.key };
  const envelope = parseEnvelope(object.systemMetadata);
  assert(envelope !== undefined);
  switch (envelope.kind) {
    case 'sse-s3':
      return openSseS3Key(kms, place, envelope);
    case 'sse-kms':
      return openSseKmsKey(kms, place, envelope);
    case 'sse-c':
      return openSseCKey(base64(live.clientKey), place, envelope);
  }
}

function patternOf(size: number, seed: number): Buffer {
  const bytes = Buffer.alloc(size);
  for (let i = 0; i < size; i += 1) bytes[i] = (7 * i + 13 * (i >> 8) + seed) % 256;
  return bytes;
}

void describe('what a real server wrote', () => {
  for (const object of [...live.objects, live.multipart]) {
    const title = `${object.bucket}/${object.key}`;
    void it(`opens: ${title}`, async () => {
      const oek = await openObjectKey(object);
      const etag =
        object.mode === 'SSE-S3' ? openEtag(oek, object.storedEtag) : clientEtag(object.storedEtag);
      assert.equal(`"${etag}"`, object.clientEtag);
      for (const [index, size] of object.partSizes.entries()) {
        assert.equal(plainSize(size), object.partActualSizes[index]);
        assert.equal(sealedSize(object.partActualSizes[index] as number), size);
      }
      if (object.ciphertext === undefined) return;
      const sealed = base64(object.ciphertext);
      const plaintext = openDare(oek, sealed);
      assert.equal(plaintext.length, object.plaintextSize);
      assert.equal(sha256Hex(plaintext), object.plaintextSha256);
      const streamed = await collect(openDareStream(oek, chunked(sealed, 777)));
      assert(streamed.equals(plaintext));
    });

    void it(`comes out the same when encoded again: ${title}`, () => {
      const envelope = parseEnvelope(object.systemMetadata);
      assert(envelope !== undefined);
      const { encryptedMultipart, actualSize, checksum } = metadataNames;
      const others = new Set<string>([encryptedMultipart, actualSize, checksum]);
      const stored = Object.entries(object.systemMetadata).filter(([name]) => !others.has(name));
      assert.deepEqual(formatEnvelope(envelope), Object.fromEntries(stored));
    });

    if (object.checksumRecordOpened === null) continue;
    void it(`has its checksum: ${title}`, async () => {
      const oek = await openObjectKey(object);
      const sealed = base64(object.systemMetadata[metadataNames.checksum] as string);
      const record = openChecksums(oek, sealed);
      assert.equal(record.toString('hex'), object.checksumRecordOpened);
      assert(encodeChecksums(decodeChecksums(record)).equals(record));
    });
  }

  void it('opens as parts, each under its own key', async () => {
    const { multipart } = live;
    const oek = await openObjectKey(multipart);
    const plaintext: Buffer[] = [];
    for (const [index, number] of multipart.partNumbers.entries()) {
      const part = patternOf(multipart.partActualSizes[index] as number, number);
      const partKey = derivePartKey(oek, number);
      assert(openDare(partKey, sealDare(partKey, part)).equals(part));
      plaintext.push(part);
    }
    assert.equal(sha256Hex(Buffer.concat(plaintext)), multipart.plaintextSha256);
  });

  for (const { name, blob, plaintext } of live.configBlobs) {
    void it(`opens: ${name}`, async () => {
      const opened = await openConfig(kms, { name, bytes: base64(blob) });
      assert.equal(opened.toString(), plaintext);
    });
  }
});
