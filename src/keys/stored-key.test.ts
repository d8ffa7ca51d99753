import assert from 'node:assert/strict';
import { createHmac, createSecretKey, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { KeyError } from './key-error.ts';
import {
  createMasterKey,
  formatKeyTime,
  keyTimeOf,
  type MasterKey,
  parseKeyTime,
} from './master-key.ts';
import { changeStoredKey, formatStoredKey, parseStoredKey } from './stored-key.ts';

type ParseVector = {
  raw: string;
  ok: boolean;
  cipher: string;
  key: string;
  hmac_key: string | null;
  created_at: string;
  created_by: string;
};
type EncodeVector = {
  cipher: 'AES256' | 'ChaCha20';
  key: string;
  hmac_key: string;
  created_at: string;
  created_by: string;
  encoded: string;
};
type Vectors = {
  parse: ParseVector[];
  encode: EncodeVector[];
  hmac: { hmac_key: string; message: string; sum: string }[];
};

const vectors = JSON.parse(
  readFileSync(new URL('../../test/vectors/kes-stored-keys.json', import.meta.url), 'utf8'),
) as Vectors;
const good = vectors.parse.filter(({ ok }) => ok);

function secretOf(text: string) {
  return createSecretKey(Buffer.from(text, 'base64'));
}

test('reads every stored key of the reference', () => {
  for (const vector of good) {
    const masterKey = parseStoredKey(vector.raw);
    assert.equal(masterKey.cipher, vector.cipher);
    assert.equal(masterKey.secret.export().toString('base64'), vector.key);
    assert.equal(masterKey.hmacSecret?.export().toString('base64') ?? null, vector.hmac_key);
    assert.equal(formatKeyTime(masterKey.createdAt), vector.created_at);
    assert.equal(masterKey.createdBy, vector.created_by);
    assert.equal(masterKey.state, 'enabled');
    assert.equal(masterKey.revision, 0);
    assert.deepEqual(masterKey.later, []);
  }
});

test('refuses what is no stored key, without telling its bytes', () => {
  const texts = vectors.parse.filter(({ ok }) => !ok).map(({ raw }) => raw);
  const current = good.find(({ raw }) => raw.startsWith('C'))?.raw ?? '';
  const bad = [...texts, '', ' ', '[]', '"x"', '{}', `${current}\n`, current.slice(0, -4), 'AAAA'];
  for (const raw of bad) {
    assert.throws(
      () => parseStoredKey(raw),
      (error) =>
        error instanceof KeyError &&
        error.code === 'corrupt' &&
        !error.message.includes(raw.trim().slice(0, 20) || '\0'),
      raw,
    );
  }
});

test('writes the very bytes of the reference', () => {
  for (const vector of vectors.encode) {
    const createdAt = parseKeyTime(vector.created_at);
    assert.ok(createdAt);
    const masterKey: MasterKey = {
      cipher: vector.cipher,
      isCipherAssumed: false,
      secret: secretOf(vector.key),
      hmacSecret: secretOf(vector.hmac_key),
      createdAt,
      createdBy: vector.created_by,
      state: 'enabled',
      later: [],
      revision: 0,
    };
    assert.equal(formatStoredKey(masterKey), vector.encoded);
    assert.equal(formatStoredKey(parseStoredKey(vector.encoded)), vector.encoded);
  }
});

test('computes the HMAC sums of the reference', () => {
  for (const { hmac_key, message, sum } of vectors.hmac) {
    const hash = createHmac('sha256', secretOf(hmac_key)).update(Buffer.from(message, 'base64'));
    assert.equal(hash.digest('base64'), sum);
  }
});

const disabledOf = (text: string) => changeStoredKey(text, { kind: 'disable' });
const enabledOf = (text: string) => changeStoredKey(text, { kind: 'enable' });

test('disabling and enabling change state and revision and nothing else', () => {
  for (const { raw } of good) {
    const before = parseStoredKey(raw);
    const disabled = disabledOf(raw);
    assert.deepEqual(parseStoredKey(disabled), { ...before, state: 'disabled', revision: 1 });
    assert.equal(disabledOf(disabled), disabled);
    assert.deepEqual(parseStoredKey(enabledOf(disabled)), { ...before, revision: 2 });
    assert.equal(enabledOf(raw), raw);
  }
});

test('a legacy key that was disabled by other means is enabled too', () => {
  const bytes = Buffer.alloc(32).toString('base64');
  const text = JSON.stringify({ bytes, state: 'disabled' });
  assert.equal(parseStoredKey(text).state, 'disabled');
  assert.equal(enabledOf(text), JSON.stringify({ bytes, revision: 1 }));
});

test('state and revision of a current key are fields at the end', () => {
  const raw = formatStoredKey(createMasterKey({ createdAt: keyTimeOf(0), createdBy: 'x' }));
  const plain = Buffer.from(raw, 'base64');
  const disabled = Buffer.from(disabledOf(raw), 'base64');
  assert.deepEqual(disabled, Buffer.concat([plain, Buffer.from('7801980101', 'hex')]));
});

test('an early disabled key, without a revision, is enabled to the text of the reference and a revision', () => {
  const raw = Buffer.from(good.find((vector) => vector.hmac_key !== null)?.raw ?? '', 'base64');
  const early = Buffer.concat([raw, Buffer.from('7801', 'hex')]).toString('base64');
  assert.equal(parseStoredKey(early).state, 'disabled');
  const enabled = Buffer.from(enabledOf(early), 'base64');
  assert.deepEqual(enabled, Buffer.concat([raw, Buffer.from('980101', 'hex')]));
});

test('keeps fields it does not know', () => {
  const raw = good.find((vector) => vector.hmac_key !== null)?.raw ?? '';
  const extra = Buffer.concat([Buffer.from(raw, 'base64'), Buffer.from('a2060161', 'hex')]);
  const changed = Buffer.from(enabledOf(disabledOf(extra.toString('base64'))), 'base64');
  assert.deepEqual(changed, Buffer.concat([extra, Buffer.from('980102', 'hex')]));
});

test('no input makes the reader throw anything but its own error', () => {
  const raw = Buffer.from(good.find((vector) => vector.hmac_key !== null)?.raw ?? '', 'base64');
  const mutated = fc
    .tuple(fc.nat(raw.length - 1), fc.nat(255), fc.nat(raw.length))
    .map(([at, value, end]) => {
      const copy = Buffer.from(raw);
      copy[at] = value;
      return copy.subarray(0, end).toString('base64');
    });
  fc.assert(
    fc.property(fc.oneof(mutated, fc.string(), fc.json()), (text) => {
      try {
        parseStoredKey(text);
      } catch (error) {
        assert.ok(error instanceof KeyError, String(error));
      }
    }),
  );
});

test('times keep their nanoseconds', () => {
  for (const text of [
    '2009-11-10T23:00:00Z',
    '2023-03-14T23:42:00.729167884Z',
    '0001-01-01T00:00:00Z',
  ]) {
    const time = parseKeyTime(text);
    assert.ok(time);
    assert.equal(formatKeyTime(time), text);
  }
  assert.equal(
    formatKeyTime(parseKeyTime('2024-01-01T01:00:00+01:00') ?? keyTimeOf(0)),
    '2024-01-01T00:00:00Z',
  );
  assert.equal(parseKeyTime('yesterday'), undefined);
  assert.equal(formatKeyTime(keyTimeOf(1_500)), '1970-01-01T00:00:01.5Z');
});

test('a new key is AES256 with its own HMAC key, and refuses bytes of the wrong length', () => {
  const masterKey = createMasterKey({ createdAt: keyTimeOf(0), createdBy: '' });
  assert.equal(masterKey.cipher, 'AES256');
  assert.match(masterKey.id ?? '', /^[0-9a-f]{32}$/);
  // What the reference writes, and 19 bytes of id.
  assert.equal(Buffer.from(formatStoredKey(masterKey), 'base64').length, 78 + 19);
  assert.throws(
    () => createMasterKey({ createdAt: keyTimeOf(0), createdBy: '', bytes: randomBytes(31) }),
    { code: 'invalid-key-size' },
  );
});
