// Deriving and sealing keys against known answers, step by step.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { base64, hex, readVectors } from '../../test/support/vectors.ts';
import { openDare, sealDare } from '../aead/dare.ts';
import { objectPath } from './context.ts';
import {
  deriveChecksumKey,
  deriveCompressionIndexKey,
  deriveEtagKey,
  deriveKek,
  deriveLegacyKek,
  deriveOek,
  derivePartKey,
  generateOek,
  openLegacyOek,
  openOek,
  type SseDomain,
  sealOek,
} from './object-key.ts';
import { SseError } from './sse-error.ts';

type SealedKey = {
  domain: SseDomain;
  bucket: string;
  object: string;
  path: string;
  suite: 0 | 1;
  kek: string;
  sealed_key: string;
};
const vectors = readVectors('sse-object-keys.json') as {
  part_keys: { object_key: string; part_number: number; part_key: string }[];
  derived_parameters: { external_key: string; iv: string; object_key: string; dare_random: string };
  derived_sealed_keys: SealedKey[];
  derived_object_key_generation: { external_key: string; random: string; object_key: string }[];
  derived_legacy: {
    external_key: string;
    iv: string;
    kek: string;
    object_key: string;
    sealed_key: string;
  };
  derived_sub_keys: { object_key: string; label: string; key: string }[];
};
const parameters = vectors.derived_parameters;

function isMismatch(error: unknown): boolean {
  return error instanceof SseError && error.code === 'key-mismatch';
}

void describe('object keys', () => {
  void it('of parts are the known ones', () => {
    for (const { object_key, part_number, part_key } of vectors.part_keys) {
      assert.equal(derivePartKey(hex(object_key), part_number).toString('hex'), part_key);
    }
  });

  void it('are sealed byte for byte as known, in every domain and at awkward places', () => {
    const externalKey = hex(parameters.external_key);
    const iv = hex(parameters.iv);
    assert.equal(vectors.derived_sealed_keys.length, 16);
    for (const {
      domain,
      bucket,
      object,
      path,
      suite,
      kek,
      sealed_key,
    } of vectors.derived_sealed_keys) {
      assert.equal(objectPath(bucket, object), path);
      const derived = deriveKek({ externalKey, iv, domain, path });
      assert.equal(derived.toString('hex'), kek);
      const oek = openOek(derived, base64(sealed_key));
      assert.equal(oek.toString('hex'), parameters.object_key);
      const cipher = suite === 0 ? 'aes-256-gcm' : 'chacha20-poly1305';
      const sealed = sealDare(derived, oek, { cipher, nonce: hex(parameters.dare_random) });
      assert.equal(sealed.toString('base64'), sealed_key);
    }
  });

  void it('come from the external key and random bytes as known, and differ each time', () => {
    for (const { external_key, random, object_key } of vectors.derived_object_key_generation) {
      assert.equal(deriveOek(hex(external_key), hex(random)).toString('hex'), object_key);
    }
    const externalKey = randomBytes(32);
    assert(!generateOek(externalKey).equals(generateOek(externalKey)));
    assert.throws(() => generateOek(randomBytes(31)), assert.AssertionError);
  });

  void it('sealed by the legacy algorithm open, in DARE 1.0 and 2.0', () => {
    const { external_key, iv, kek, object_key, sealed_key } = vectors.derived_legacy;
    const derived = deriveLegacyKek(hex(external_key), hex(iv));
    assert.equal(derived.toString('hex'), kek);
    assert.equal(openLegacyOek(derived, base64(sealed_key)).toString('hex'), object_key);
    const again = sealOek(derived, hex(object_key));
    assert.equal(openLegacyOek(derived, again).toString('hex'), object_key);
    assert.throws(() => openOek(derived, base64(sealed_key)), isMismatch);
  });

  void it('have the known sub-keys', () => {
    const derivations: Record<string, (oek: Uint8Array) => Buffer> = {
      'SSE-etag': deriveEtagKey,
      'object-checksum': deriveChecksumKey,
      'compression-index': deriveCompressionIndexKey,
    };
    assert.equal(vectors.derived_sub_keys.length, 3);
    for (const { object_key, label, key } of vectors.derived_sub_keys) {
      assert.equal(derivations[label]?.(hex(object_key)).toString('hex'), key);
    }
  });

  void it('open only under their own key, unchanged and whole', () => {
    const kek = randomBytes(32);
    const oek = randomBytes(32);
    const sealed = sealOek(kek, oek);
    assert.equal(sealed.length, 64);
    assert(openDare(kek, sealed).equals(oek));
    fc.assert(
      fc.property(fc.nat(63), fc.integer({ min: 1, max: 255 }), (at, mask) => {
        const changed = Buffer.from(sealed);
        changed[at] = (changed[at] as number) ^ mask;
        assert.throws(() => openOek(kek, changed), isMismatch);
        assert.throws(() => openOek(kek, sealed.subarray(0, at)), isMismatch);
      }),
    );
    assert.throws(() => openOek(randomBytes(32), sealed), isMismatch);
    assert.throws(() => openOek(kek, sealDare(kek, randomBytes(33))), isMismatch);
    assert.throws(() => sealOek(kek, randomBytes(16)), assert.AssertionError);
    assert.throws(() => openOek(randomBytes(16), sealed), assert.AssertionError);
  });
});
