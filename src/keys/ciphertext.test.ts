import assert from 'node:assert/strict';
import { createSecretKey, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ciphertextOverheadBytes, openWith, sealWith } from './ciphertext.ts';
import { keyTimeOf, type KeyCipher, type MasterKey } from './master-key.ts';
import { parseStoredKey } from './stored-key.ts';

type Vector = {
  format: string;
  cipher: KeyCipher;
  key: string;
  aad?: string;
  plaintext: string;
  ciphertext: string;
};
type Vectors = {
  decrypt: Vector[];
  must_fail: { why: string; cipher: KeyCipher; key: string; ciphertext: string }[];
};

const vectors = JSON.parse(
  readFileSync(new URL('../../test/vectors/kes-ciphertexts.json', import.meta.url), 'utf8'),
) as Vectors;

const none = Buffer.alloc(0);
const bytes = (text: string | undefined) => Buffer.from(text ?? '', 'base64');

function keyOf(cipher: KeyCipher, secret: Uint8Array, isCipherAssumed = false): MasterKey {
  return {
    cipher,
    isCipherAssumed,
    secret: createSecretKey(secret),
    createdAt: keyTimeOf(0),
    createdBy: '',
    state: 'enabled',
    later: [],
    revision: 0,
  };
}

test('opens ciphertexts of all three forms', () => {
  for (const vector of vectors.decrypt) {
    const masterKey = keyOf(vector.cipher, bytes(vector.key));
    const plaintext = openWith(masterKey, bytes(vector.ciphertext), bytes(vector.aad));
    assert.equal(plaintext.toString('base64'), vector.plaintext, vector.format);
  }
});

test('refuses malformed and forged ciphertexts with one error', () => {
  for (const { why, cipher, key, ciphertext } of vectors.must_fail) {
    assert.throws(
      () => openWith(keyOf(cipher, bytes(key)), bytes(ciphertext), none),
      {
        code: 'not-authentic',
      },
      why,
    );
  }
});

test('an older ciphertext decides its cipher when the stored key names none', () => {
  for (const vector of vectors.decrypt.filter(({ format }) => format !== 'raw')) {
    const masterKey = keyOf('AES256', bytes(vector.key), true);
    const plaintext = openWith(masterKey, bytes(vector.ciphertext), bytes(vector.aad));
    assert.equal(plaintext.toString('base64'), vector.plaintext, vector.format);
  }
});

for (const cipher of ['AES256', 'ChaCha20'] as const) {
  test(`opens what it sealed with ${cipher}, whatever its size and context`, () => {
    const masterKey = keyOf(cipher, randomBytes(32));
    for (const size of [0, 1, 31, 32, 33, 1000]) {
      for (const context of [none, randomBytes(1), randomBytes(100)]) {
        const plaintext = randomBytes(size);
        const sealed = sealWith(masterKey, plaintext, context);
        assert.equal(sealed.length, size + ciphertextOverheadBytes);
        assert.deepEqual(openWith(masterKey, sealed, context), plaintext);
      }
    }
  });

  test(`refuses every flipped bit, every cut, and another context or key with ${cipher}`, () => {
    const masterKey = keyOf(cipher, randomBytes(32));
    const context = Buffer.from('{"bucket":"bucket/object"}');
    const sealed = sealWith(masterKey, randomBytes(32), context);
    const refused = (key: MasterKey, ciphertext: Uint8Array, aad: Uint8Array) =>
      assert.throws(() => openWith(key, ciphertext, aad), { code: 'not-authentic' });
    for (let index = 0; index < sealed.length; index += 1) {
      const flipped = Buffer.from(sealed);
      flipped[index] = (flipped[index] ?? 0) ^ (1 << (index % 8));
      refused(masterKey, flipped, context);
      refused(masterKey, sealed.subarray(0, index), context);
    }
    refused(masterKey, sealed, none);
    refused(keyOf(cipher, randomBytes(32)), sealed, context);
    refused(masterKey, Buffer.concat([sealed, Buffer.of(0)]), context);
  });
}

test('a ciphertext that happens to look like an older form is taken as what it is', () => {
  const masterKey = keyOf('AES256', randomBytes(32));
  const seen = new Set<number>();
  for (let tries = 0; tries < 20_000 && seen.size < 2; tries += 1) {
    const sealed = sealWith(masterKey, Buffer.of(1, 2, 3), none);
    const first = sealed[0] ?? 0;
    if (first !== 0x95 && first !== 0x7b) continue;
    seen.add(first);
    assert.deepEqual(openWith(masterKey, sealed, none), Buffer.of(1, 2, 3));
  }
  assert.equal(seen.size, 2);
});

test('opens data keys that the real key service sealed', () => {
  const live = JSON.parse(
    readFileSync(new URL('../../test/vectors/kes-live.json', import.meta.url), 'utf8'),
  ) as { sealed: { stored: string; context: string; ciphertext: string }[] };
  assert.ok(live.sealed.length > 0);
  for (const { stored, context, ciphertext } of live.sealed) {
    const opened = openWith(parseStoredKey(stored), bytes(ciphertext), Buffer.from(context));
    assert.equal(opened.length, 32);
  }
});
