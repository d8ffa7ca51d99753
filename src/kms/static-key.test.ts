import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parseStaticKey } from './config.ts';
import { openStaticKms } from './static-key.ts';

type Legacy = {
  env: string;
  context: Record<string, string>;
  ciphertext_text?: string;
  ciphertext?: string;
  plaintext: string;
};
const vectors = JSON.parse(
  readFileSync(new URL('../../test/vectors/sse-kms-static-key.json', import.meta.url), 'utf8'),
) as {
  legacy_json: Legacy[];
  derived_binary: Legacy[];
  secret_key_invalid: { key: string; ciphertext_text: string; reason: string }[];
  secret_key_formats: { type: string; key: string; associated_data: string; format: string }[];
};

void test('ciphertexts written by others open, in the binary and in the JSON form', async () => {
  for (const vector of [...vectors.legacy_json, ...vectors.derived_binary]) {
    const kms = openStaticKms(parseStaticKey(vector.env));
    const sealed =
      vector.ciphertext_text === undefined
        ? Buffer.from(vector.ciphertext ?? '', 'base64')
        : Buffer.from(vector.ciphertext_text);
    const opened = await kms.decrypt(kms.defaultKeyName, sealed, vector.context);
    assert.equal(Buffer.from(opened).toString('base64'), vector.plaintext);
    const other = { ...vector.context, more: '1' };
    await assert.rejects(kms.decrypt(kms.defaultKeyName, sealed, other), {
      code: 'invalid-ciphertext',
    });
  }
});

void test('malformed JSON ciphertexts have the one error of all bad ciphertexts', async () => {
  for (const vector of vectors.secret_key_invalid) {
    const kms = openStaticKms(parseStaticKey(`my-key:${vector.key}`));
    const sealed = Buffer.from(vector.ciphertext_text);
    await assert.rejects(
      kms.decrypt('my-key', sealed, {}),
      { code: 'invalid-ciphertext', message: 'failed to decrypt ciphertext' },
      vector.reason,
    );
  }
});

void test('a ciphertext shorter than its fixed parts is refused', async () => {
  const kms = openStaticKms(parseStaticKey(`my-key:${Buffer.alloc(32).toString('base64')}`));
  for (let size = 0; size < 45; size += 1) {
    await assert.rejects(kms.decrypt('my-key', Buffer.alloc(size), {}), {
      code: 'invalid-ciphertext',
    });
  }
});
