// Object keys of all three kinds: calls to the KMS, what binds them, and that no plain key stays
// behind.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { base64, hex, readVectors } from '../../test/support/vectors.ts';
import { VectorKms } from '../../test/support/vector-kms.ts';
import { type Kms, KmsError } from './kms.ts';
import { createSseCKey, openSseCKey } from './sse-c.ts';
import { SseError, type SseErrorCode } from './sse-error.ts';
import { sseKmsContext } from './context.ts';
import { createSseKmsKey, keyIdOf, keyNameOf, openSseKmsKey } from './sse-kms.ts';
import { createSseS3Key, openSseS3Key } from './sse-s3.ts';

type Unseal = {
  customer_key: string;
  iv: string;
  algorithm: string;
  bucket: string;
  object: string;
  sealed_key: string;
  object_key?: string;
  ok: boolean;
};
const vectors = readVectors('sse-object-keys.json') as {
  ssec_unseal: Unseal[];
  derived_legacy: { external_key: string; iv: string; object_key: string; sealed_key: string };
};

const place = { bucket: 'bucket', key: 'dir/object' };
const elsewhere = { bucket: 'bucket', key: 'dir/object2' };

function newKms(): VectorKms {
  return new VectorKms({
    defaultKeyName: 'default-key',
    masterKeys: { 'default-key': randomBytes(32), 'team-key': randomBytes(32) },
  });
}

function codeOf(code: SseErrorCode) {
  return (error: unknown) => error instanceof SseError && error.code === code;
}

function isInvalidCiphertext(error: unknown): boolean {
  return error instanceof KmsError && error.code === 'invalid-ciphertext';
}

void describe('an SSE-S3 key', () => {
  void it('takes one call to make and one to open, both bound to the object', async () => {
    const kms = newKms();
    const { oek, envelope } = await createSseS3Key(kms, place);
    assert.deepEqual(await openSseS3Key(kms, place, envelope), oek);
    assert.equal(envelope.iv.length, 32);
    assert.equal(envelope.sealedOek.length, 64);
    const context = '{"bucket":"bucket/dir/object"}';
    assert.deepEqual(kms.calls, [
      { call: 'generate', keyName: 'default-key', context },
      { call: 'decrypt', keyName: 'default-key', context },
    ]);
  });

  void it('leaves no plain data key behind', async () => {
    const kms = newKms();
    const { envelope } = await createSseS3Key(kms, place);
    await openSseS3Key(kms, place, envelope);
    const changed = { ...envelope, sealedOek: randomBytes(64) };
    await assert.rejects(openSseS3Key(kms, place, changed), codeOf('key-mismatch'));
    assert.equal(kms.given.length, 3);
    for (const key of kms.given) assert.deepEqual(Buffer.from(key), Buffer.alloc(32));
  });

  void it('opens nowhere else, and not with pieces of another', async () => {
    const kms = newKms();
    const { envelope } = await createSseS3Key(kms, place);
    const { envelope: other } = await createSseS3Key(kms, place);
    await assert.rejects(openSseS3Key(kms, elsewhere, envelope), isInvalidCiphertext);
    for (const mixed of [
      { ...envelope, iv: other.iv },
      { ...envelope, sealedOek: other.sealedOek },
      { ...envelope, sealedDataKey: other.sealedDataKey },
    ]) {
      await assert.rejects(openSseS3Key(kms, place, mixed), codeOf('key-mismatch'));
    }
  });

  void it('is not asked of the KMS when the envelope is of no known form', async () => {
    const kms = newKms();
    const { envelope } = await createSseS3Key(kms, place);
    const legacy = { ...envelope, sealAlgorithm: 'DARE-SHA256' };
    const open = openSseS3Key(kms, place, legacy);
    await assert.rejects(open, codeOf('invalid-seal-algorithm'));
    const cut = { ...envelope, iv: randomBytes(31) };
    await assert.rejects(openSseS3Key(kms, place, cut), codeOf('invalid-iv'));
    assert.equal(kms.calls.length, 1);
  });

  void it('passes the error of the KMS through, and refuses a data key of another size', async () => {
    const kms = newKms();
    const { envelope } = await createSseS3Key(kms, place);
    const wrongSize: Kms = Object.assign(newKms(), {
      generateKey: async () => ({
        plaintext: randomBytes(16),
        ciphertext: randomBytes(60),
        keyName: 'default-key',
      }),
      decrypt: async () => randomBytes(33),
    });
    await assert.rejects(createSseS3Key(wrongSize, place), codeOf('invalid-data-key'));
    await assert.rejects(openSseS3Key(wrongSize, place, envelope), codeOf('invalid-data-key'));
    kms.failure = new KmsError('key-disabled', 'the key is disabled', { keyName: 'default-key' });
    await assert.rejects(openSseS3Key(kms, place, envelope), kms.failure);
    await assert.rejects(createSseS3Key(kms, place), kms.failure);
  });
});

void describe('an SSE-KMS key', () => {
  void it('is under the named key and bound to the client context and the object', async () => {
    const kms = newKms();
    const request = { keyName: 'team-key', context: { dept: '<fin>' } };
    const { oek, envelope } = await createSseKmsKey(kms, place, request);
    assert.deepEqual(envelope.context, { dept: '<fin>' });
    assert.deepEqual(await openSseKmsKey(kms, place, envelope), oek);
    const context = String.raw`{"bucket":"bucket/dir/object","dept":"\u003cfin\u003e"}`;
    assert.deepEqual(kms.calls, [
      { call: 'generate', keyName: 'team-key', context },
      { call: 'decrypt', keyName: 'team-key', context },
    ]);
    const other = { ...envelope, context: { dept: 'hr' } };
    await assert.rejects(openSseKmsKey(kms, place, other), isInvalidCiphertext);
  });

  void it('is under the default key when none is named', async () => {
    const kms = newKms();
    for (const request of [undefined, {}, { keyName: '', context: {} }]) {
      const { oek, envelope } = await createSseKmsKey(kms, place, request);
      assert.equal(envelope.keyName, 'default-key');
      assert(!('context' in envelope));
      assert.deepEqual(await openSseKmsKey(kms, place, envelope), oek);
    }
  });

  void it('keeps a client entry under the name of the bucket, and is still bound to its place', async () => {
    const kms = newKms();
    const context = { bucket: 'mine' };
    assert.deepEqual(sseKmsContext(place, context), context);
    const { oek, envelope } = await createSseKmsKey(kms, place, { context });
    assert.deepEqual(await openSseKmsKey(kms, place, envelope), oek);
    await assert.rejects(openSseKmsKey(kms, elsewhere, envelope), codeOf('key-mismatch'));
  });

  void it('does not open as SSE-S3', async () => {
    const kms = newKms();
    const { envelope } = await createSseKmsKey(kms, place);
    await assert.rejects(openSseS3Key(kms, place, envelope), codeOf('key-mismatch'));
  });

  void it('has a key id with a prefix for clients', () => {
    assert.equal(keyIdOf('k'), 'arn:aws:kms:k');
    assert.equal(keyNameOf('arn:aws:kms:arn:aws:kms:k'), 'arn:aws:kms:k');
    assert.equal(keyNameOf('k'), 'k');
  });
});

void describe('an SSE-C key', () => {
  void it('written by another implementation opens at its own place only', () => {
    for (const vector of vectors.ssec_unseal) {
      const envelope = {
        sealAlgorithm: vector.algorithm,
        iv: base64(vector.iv),
        sealedOek: base64(vector.sealed_key),
      };
      const at = { bucket: vector.bucket, key: vector.object };
      const open = () => openSseCKey(base64(vector.customer_key), at, envelope);
      if (vector.ok) assert.equal(open().toString('hex'), vector.object_key);
      else assert.throws(open, codeOf('key-mismatch'));
    }
  });

  void it('of the legacy algorithm opens', () => {
    const { external_key, iv, object_key, sealed_key } = vectors.derived_legacy;
    const envelope = { sealAlgorithm: 'DARE-SHA256', iv: hex(iv), sealedOek: base64(sealed_key) };
    const oek = openSseCKey(hex(external_key), place, envelope);
    assert.equal(oek.toString('hex'), object_key);
    const other = () => openSseCKey(randomBytes(32), place, envelope);
    assert.throws(other, codeOf('key-mismatch'));
    const cut = { ...envelope, iv: Buffer.alloc(1) };
    assert.throws(() => openSseCKey(hex(external_key), place, cut), codeOf('invalid-iv'));
  });

  void it('opens with the key of the client and no other', () => {
    const clientKey = randomBytes(32);
    const { oek, envelope } = createSseCKey(clientKey, place);
    assert.deepEqual(openSseCKey(clientKey, place, envelope), oek);
    const open = () => openSseCKey(randomBytes(32), place, envelope);
    assert.throws(open, codeOf('key-mismatch'));
    assert.throws(() => openSseCKey(clientKey, elsewhere, envelope), codeOf('key-mismatch'));
    const unknown = { ...envelope, sealAlgorithm: 'ROT13' };
    const openUnknown = () => openSseCKey(clientKey, place, unknown);
    assert.throws(openUnknown, codeOf('invalid-seal-algorithm'));
  });
});
