// DSSE-KMS and bucket keys against known answers, and that layers, places and envelopes cannot be mixed.

import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { openDare } from '../aead/dare.ts';
import { hex, readVectors } from '../../test/support/vectors.ts';
import { VectorKms } from '../../test/support/vector-kms.ts';
import { BucketKeys } from './bucket-keys.ts';
import { createDsseKmsKey, type DsseKmsEnvelope, openDsseKmsKey } from './dsse-kms.ts';
import { KmsError } from './kms.ts';
import {
  deriveDataKey,
  layersOf,
  openData,
  openDataStream,
  sealData,
  sealDataStream,
  sealedDataSize,
  sliceOf,
} from './object-data.ts';
import { SseError } from './sse-error.ts';
import { openBucketKeyedKey, openSseKmsKey, type SseKmsEnvelope } from './sse-kms.ts';

type Layer = Readonly<
  Record<'keyName' | 'sealAlgorithm' | 'iv' | 'sealedOek' | 'sealedDataKey', string>
>;
const vectors = readVectors('sse-layers-and-bucket-keys.json') as {
  masterKeys: Record<'inner' | 'outer', string>;
  place: { bucket: string; key: string };
  context: Record<string, string>;
  plaintext: string;
  dsse: { inner: Layer; outer: Layer; oek: string; stored: string; storedPart7: string };
  bucketKey: Layer & { oek: string; stored: string };
};
const { place, context } = vectors;
const masterKeys = {
  inner: hex(vectors.masterKeys.inner),
  outer: hex(vectors.masterKeys.outer),
};
const kmsOf = () => new VectorKms({ defaultKeyName: 'inner', masterKeys });
const layerOf = (layer: Layer) => ({
  keyName: layer.keyName,
  sealAlgorithm: layer.sealAlgorithm,
  iv: hex(layer.iv),
  sealedOek: hex(layer.sealedOek),
  sealedDataKey: hex(layer.sealedDataKey),
});
const known: DsseKmsEnvelope = {
  inner: layerOf(vectors.dsse.inner),
  outer: layerOf(vectors.dsse.outer),
  context,
};
const knownUnderBucketKey: SseKmsEnvelope = {
  ...layerOf(vectors.bucketKey),
  context,
  hasBucketKey: true,
};
const mismatch = (error: unknown): boolean =>
  error instanceof SseError && error.code === 'key-mismatch';

/** A sealed key opened by nothing but the words of the format's page. */
function openByHand(layer: Layer, externalKey: Uint8Array, domain: string): Buffer {
  const kek = createHmac('sha256', externalKey)
    .update(hex(layer.iv))
    .update(`${domain}DAREv2-HMAC-SHA256${place.bucket}/${place.key}`)
    .digest();
  return openDare(kek, hex(layer.sealedOek));
}

void describe('DSSE-KMS', () => {
  void it('opens the known answer, and follows from the page of the format', async () => {
    const oek = await openDsseKmsKey(kmsOf(), place, known);
    assert.equal(oek.toString('hex'), vectors.dsse.oek);
    assert.equal(openData(oek, hex(vectors.dsse.stored)).toString(), vectors.plaintext);
    const partKey = deriveDataKey(oek, 7);
    assert.equal(openData(partKey, hex(vectors.dsse.storedPart7)).toString(), vectors.plaintext);

    const bound = { ...context, [place.bucket]: `${place.bucket}/${place.key}` };
    const { inner, outer } = vectors.dsse;
    const external = async ({ keyName, sealedDataKey }: Layer) =>
      kmsOf().decrypt(keyName, hex(sealedDataKey), bound);
    const key1 = openByHand(inner, await external(inner), 'DSSE-KMS-INNER');
    const key2 = openByHand(outer, await external(outer), 'DSSE-KMS-OUTER');
    const once = openDare(key2, hex(vectors.dsse.stored));
    assert.equal(openDare(key1, once).toString(), vectors.plaintext);
  });

  void it('makes two keys with two calls, under two master keys where two are named', async () => {
    const kms = kmsOf();
    const made = await createDsseKmsKey(kms, place, {
      outerKeyName: 'outer',
      keyId: 'alias/inner',
    });
    assert.deepEqual(
      kms.calls.map(({ call, keyName }) => `${call} ${keyName}`),
      ['generate inner', 'generate outer'],
    );
    assert.equal(made.oek.length, 64);
    assert.notDeepEqual(made.oek.subarray(0, 32), made.oek.subarray(32));
    assert.ok(kms.given.every((key) => key.every((byte) => byte === 0)));
    assert.deepEqual(await openDsseKmsKey(kms, place, made.envelope), made.oek);
    const single = await createDsseKmsKey(kmsOf(), place);
    assert.equal(single.envelope.outer.keyName, 'inner');
  });

  void it('opens nowhere else, not with its layers swapped, and not with one of another object', async () => {
    const kms = kmsOf();
    const { envelope } = await createDsseKmsKey(kms, place);
    const other = (await createDsseKmsKey(kms, place)).envelope;
    const bad: readonly DsseKmsEnvelope[] = [
      { ...envelope, inner: envelope.outer, outer: envelope.inner },
      { ...envelope, inner: envelope.outer },
      { ...envelope, inner: { ...envelope.inner, sealedOek: other.inner.sealedOek } },
      { ...envelope, outer: { ...envelope.outer, iv: other.outer.iv } },
    ];
    for (const changed of bad) await assert.rejects(openDsseKmsKey(kms, place, changed), mismatch);
    const elsewhere = openDsseKmsKey(kms, { ...place, key: 'b' }, envelope);
    await assert.rejects(elsewhere, (error) => error instanceof KmsError);
    await assert.rejects(openSseKmsKey(kms, place, envelope.inner), mismatch);
  });

  void it('passes on what the KMS says of either key', async () => {
    for (const names of [
      { keyName: 'absent', outerKeyName: 'outer' },
      { keyName: 'inner', outerKeyName: 'absent' },
    ]) {
      const made = createDsseKmsKey(kmsOf(), place, names);
      await assert.rejects(
        made,
        (error) => error instanceof KmsError && error.keyName === 'absent',
      );
    }
  });
});

void describe('two layers of data', () => {
  const key = randomBytes(64);
  const pieces = async function* pieces(bytes: Buffer, size: number): AsyncGenerator<Uint8Array> {
    // Copies: whoever owns chunks may free their memory.
    for (let at = 0; at < bytes.length; at += size)
      yield Uint8Array.from(bytes.subarray(at, at + size));
  };
  const collect = async (source: AsyncIterable<Uint8Array>) => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of source) chunks.push(Buffer.from(chunk));
    return Buffer.concat(chunks);
  };

  void it('have the announced size, whole and streamed, and come back', async () => {
    assert.equal(layersOf(key), 2);
    for (const size of [0, 1, 65_503, 65_504, 65_536, 65_537, 1_000_000]) {
      const plain = randomBytes(size);
      const whole = sealData(key, plain);
      assert.equal(whole.length, sealedDataSize(size, 2));
      assert.ok(openData(key, whole).equals(plain));
      const streamed = await collect(
        sealDataStream(key, pieces(plain, 50_000), { ownsChunks: true }),
      );
      assert.equal(streamed.length, whole.length);
      assert.ok(openData(key, streamed).equals(plain));
    }
  });

  void it('give exactly the bytes of any range', async () => {
    for (const size of [1, 65_536, 65_537, 700_001]) {
      const plain = randomBytes(size);
      const sealed = sealData(key, plain);
      for (let round = 0; round < 60; round += 1) {
        const start = Math.floor(Math.random() * size);
        const end = start + 1 + Math.floor(Math.random() * (size - start));
        const slice = sliceOf(size, { start, end }, 2);
        const stored = sealed.subarray(slice.storedStart, slice.storedEnd);
        const how = { ...slice, lengthBytes: end - start, freesChunks: true };
        const opened = await collect(openDataStream(key, pieces(stored, 40_000), how));
        assert.ok(opened.equals(plain.subarray(start, end)), `${start}-${end} of ${size}`);
      }
    }
  });

  void it('refuse every changed byte and every cut', async () => {
    const plain = randomBytes(100);
    const sealed = sealData(key, plain);
    for (let at = 0; at < sealed.length; at += 1) {
      const changed = Buffer.from(sealed);
      changed[at] = (changed[at] ?? 0) ^ 1;
      assert.throws(() => openData(key, changed), SseError);
    }
    for (const end of [1, 32, sealed.length - 1]) {
      assert.throws(() => openData(key, sealed.subarray(0, end)), SseError);
    }
    const swapped = Buffer.concat([key.subarray(32), key.subarray(0, 32)]);
    assert.throws(() => openData(swapped, sealed), SseError);
  });
});

void describe('an object under a bucket key', () => {
  void it('opens by the known answer, and follows from the page of the format', async () => {
    const kms = kmsOf();
    const keys = new BucketKeys(kms);
    const oek = await openBucketKeyedKey(keys, place, knownUnderBucketKey);
    await keys.close();
    assert.equal(oek.toString('hex'), vectors.bucketKey.oek);
    assert.equal(openData(oek, hex(vectors.bucketKey.stored)).toString(), vectors.plaintext);
    const { keyName, sealedDataKey } = vectors.bucketKey;
    const bound = { ...context, [place.bucket]: place.bucket };
    const external = await kmsOf().decrypt(keyName, hex(sealedDataKey), bound);
    assert.deepEqual(openByHand(vectors.bucketKey, external, 'SSE-KMS-BUCKET-KEY'), oek);
  });

  void it('opens at its own place only, and not as an object without a bucket key', async () => {
    const keys = new BucketKeys(kmsOf());
    const elsewhere = openBucketKeyedKey(keys, { ...place, key: 'b' }, knownUnderBucketKey);
    await assert.rejects(elsewhere, mismatch);
    const asOther = openSseKmsKey(kmsOf(), place, knownUnderBucketKey);
    await assert.rejects(asOther, (error) => error instanceof KmsError);
    await keys.close();
  });
});
