import assert from 'node:assert/strict';
import { createCipheriv, createHmac, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  ciphertextOverheadBytes,
  openWith,
  sealWith,
  versionedOverheadBytes,
  versionOf,
} from './ciphertext.ts';
import {
  createKeyVersion,
  createMasterKey,
  keyTimeOf,
  type KeyCipher,
  type MasterKey,
} from './master-key.ts';

const made = { createdAt: keyTimeOf(0), createdBy: '' };
const none = Buffer.alloc(0);
const refused = { code: 'not-authentic' };

function rotated(masterKey: MasterKey, times: number): MasterKey {
  if (times === 0) return masterKey;
  const later = [...masterKey.later, createKeyVersion(masterKey, made)];
  return rotated({ ...masterKey, later }, times - 1);
}

test('every version opens what it and all before it sealed, and names its own', () => {
  const bytes = fc.uint8Array({ maxLength: 200 });
  const cipher = fc.constantFrom<KeyCipher>('AES256', 'ChaCha20');
  fc.assert(
    fc.property(cipher, fc.nat(4), fc.nat(3), bytes, bytes, (kind, older, more, plain, context) => {
      const key = rotated(createMasterKey({ ...made, cipher: kind }), older);
      const sealed = sealWith(key, plain, context);
      assert.equal(versionOf(sealed), older + 1);
      const overhead = older === 0 ? ciphertextOverheadBytes : versionedOverheadBytes;
      assert.equal(sealed.length, plain.length + overhead);
      assert.deepEqual(openWith(rotated(key, more), sealed, context), Buffer.from(plain));
    }),
    { numRuns: 60 },
  );
});

test('a ciphertext of a later version is the header and the old form under that version', () => {
  const key = rotated(createMasterKey(made), 2);
  const sealed = sealWith(key, Buffer.from('text'), none);
  assert.equal(sealed.toString('hex', 0, 8), 'cf6b760100000003');
  const alone: MasterKey = { ...key, secret: key.later[1]?.secret ?? key.secret, later: [] };
  assert.equal(openWith(alone, sealed.subarray(8), none).toString(), 'text');
});

test('refuses every flipped bit, every cut, another context, and versions the key does not have', () => {
  const first = createMasterKey(made);
  const key = rotated(first, 2);
  const context = Buffer.from('{"bucket":"bucket/object"}');
  const sealed = sealWith(key, randomBytes(32), context);
  for (let index = 0; index < sealed.length; index += 1) {
    const flipped = Buffer.from(sealed);
    flipped[index] = (flipped[index] ?? 0) ^ (1 << (index % 8));
    assert.throws(() => openWith(key, flipped, context), refused);
    assert.throws(() => openWith(key, sealed.subarray(0, index), context), refused);
  }
  assert.throws(() => openWith(key, sealed, none), refused);
  assert.throws(() => openWith(first, sealed, context), refused);
  assert.throws(() => openWith(rotated(first, 2), sealed, context), refused);
  assert.throws(() => openWith(key, sealed.subarray(8), context), refused);
});

test('a ciphertext of version 1 that happens to begin like a later one is opened', () => {
  const key = rotated(createMasterKey(made), 1);
  for (const header of ['cf6b760100000002', 'cf6b760100000001', 'cf6b760100000063']) {
    const iv = randomBytes(16);
    const nonce = randomBytes(12);
    const seal = (plain: Buffer): Buffer => {
      const derived = createHmac('sha256', key.secret).update(iv).digest();
      const cipher = createCipheriv('aes-256-gcm', derived, nonce);
      const bytes = Buffer.concat([cipher.update(plain), cipher.final()]);
      return Buffer.concat([bytes, cipher.getAuthTag(), iv, nonce]);
    };
    // The keystream makes whatever first bytes are wanted out of the right plaintext.
    const keystream = seal(Buffer.alloc(32));
    const plain = Buffer.alloc(32, 7);
    const wanted = Buffer.from(header, 'hex');
    wanted.forEach((byte, index) => {
      plain[index] = byte ^ (keystream[index] ?? 0);
    });
    const sealed = seal(plain);
    assert.equal(sealed.toString('hex', 0, 8), header);
    assert.deepEqual(openWith(key, sealed, none), plain);
  }
});

test('whatever the bytes, the version is a number and opening gives the one error', () => {
  const key = rotated(createMasterKey(made), 3);
  const headed = fc
    .tuple(fc.nat(6), fc.uint8Array({ maxLength: 80 }))
    .map(([version, rest]) => Buffer.from([0xcf, 0x6b, 0x76, 1, 0, 0, 0, version, ...rest]));
  fc.assert(
    fc.property(fc.oneof(headed, fc.uint8Array({ maxLength: 90 })), (bytes) => {
      assert.ok(versionOf(bytes) >= 1);
      assert.throws(() => openWith(key, bytes, none), refused);
    }),
    { numRuns: 1_000 },
  );
});
