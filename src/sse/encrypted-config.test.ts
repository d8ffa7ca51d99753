// Sealed configuration records against known answers, and each form that reading accepts.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { base64, hex, readVectors, sha256Hex } from '../../test/support/vectors.ts';
import { VectorKms } from '../../test/support/vector-kms.ts';
import { sealAdminPayload } from '../aead/admin-payload.ts';
import { openConfig, sealConfig } from './encrypted-config.ts';
import { KmsError } from './kms.ts';
import { SseError, type SseErrorCode } from './sse-error.ts';

type Blob = {
  path: string;
  algorithm: 'AES-256-GCM' | 'ChaCha20-Poly1305';
  plaintext_size: number;
  sha256_plaintext: string;
  blob_size: number;
  header: string;
  metadata: string;
  sha256_blob: string;
  blob?: string;
};
const { derived_blobs: blobs } = readVectors('sse-config-blob.json') as { derived_blobs: Blob[] };
const { derived_binary } = readVectors('sse-kms-static-key.json') as {
  derived_binary: { iv: string; nonce: string; plaintext: string }[];
};

const name = 'config/iam/users/alice/identity.json';
const text = Buffer.from('{"version":1}');

function vectorKms(): VectorKms {
  const [fixed] = derived_binary;
  assert(fixed !== undefined);
  return new VectorKms({
    defaultKeyName: 'my-key',
    masterKeys: { 'my-key': base64('eEm+JI9/q4JhH8QwKvf3LKo4DEBl6QbfvAl1CAbMIv8=') },
    dataKey: base64(fixed.plaintext),
    iv: hex(fixed.iv),
    nonce: hex(fixed.nonce),
  });
}

/** As the vectors' rule has it; the first is a JSON text. */
function plaintextOf(blob: Blob): Buffer {
  if (blob.plaintext_size === 16) return Buffer.from('{"version":"33"}');
  const bytes = Buffer.alloc(blob.plaintext_size);
  for (let i = 0; i < bytes.length; i += 1) bytes[i] = (7 * i + 13 * Math.floor(i / 256)) % 256;
  return bytes;
}

function codeOf(code: SseErrorCode) {
  return (error: unknown) => error instanceof SseError && error.code === code;
}

function withMetadata(metadata: string, stream: Buffer): Buffer {
  const header = Buffer.from([1, 0, 0, 0, 0]);
  header.writeUInt32LE(metadata.length, 1);
  return Buffer.concat([header, Buffer.from(metadata), stream]);
}

void describe('a sealed record', () => {
  for (const blob of blobs) {
    void it(`is byte for byte the known one: ${blob.path}, ${blob.algorithm}`, async () => {
      const kms = vectorKms();
      const nonce = createHash('sha256').update('cfg-nonce').digest().subarray(0, 8);
      const cipher = blob.algorithm === 'AES-256-GCM' ? 'aes-256-gcm' : 'chacha20-poly1305';
      if (blob.blob !== undefined) {
        const bytes = base64(blob.blob);
        const opened = await openConfig(kms, { name: blob.path, bytes });
        assert.equal(sha256Hex(opened), blob.sha256_plaintext);
      }
      const plaintext = blob.blob
        ? await openConfig(kms, { name: blob.path, bytes: base64(blob.blob) })
        : plaintextOf(blob);
      assert.equal(sha256Hex(plaintext), blob.sha256_plaintext);
      const sealed = await sealConfig(kms, { name: blob.path, plaintext }, { cipher, nonce });
      assert.equal(sealed.length, blob.blob_size);
      assert.equal(sealed.toString('hex', 0, 5), blob.header);
      assert.equal(sealed.toString('utf8', 5, 5 + blob.metadata.length), blob.metadata);
      assert.equal(sha256Hex(sealed), blob.sha256_blob);
      assert((await openConfig(kms, { name: blob.path, bytes: sealed })).equals(plaintext));
    });
  }

  void it('opens under its own name, with no plain data key left', async () => {
    const kms = vectorKms();
    const bytes = await sealConfig(kms, { name, plaintext: text });
    assert((await openConfig(kms, { name, bytes })).equals(text));
    const other = openConfig(kms, { name: 'config/iam/users/bob/identity.json', bytes });
    await assert.rejects(other, KmsError);
    for (const key of kms.given) assert.deepEqual(Buffer.from(key), Buffer.alloc(32));
  });

  void it('opens under the context of older releases', async () => {
    const kms = vectorKms();
    const bytes = await sealConfig(kms, { name, plaintext: text });
    const older = name.replace('config/', '');
    assert((await openConfig(kms, { name: `.minio.sys/${name}`, bytes })).equals(text));
    await assert.rejects(openConfig(kms, { name: older, bytes }), KmsError);
  });

  void it('that is plain text is given back', async () => {
    assert((await openConfig(undefined, { name, bytes: text })).equals(text));
    assert.equal((await openConfig(undefined, { name, bytes: Buffer.alloc(0) })).length, 0);
  });

  void it('needs its KMS, and passes the error of a KMS that does not answer', async () => {
    const kms = vectorKms();
    const bytes = await sealConfig(kms, { name, plaintext: text });
    await assert.rejects(openConfig(undefined, { name, bytes }), codeOf('kms-not-configured'));
    kms.failure = new KmsError('unreachable', 'no answer');
    await assert.rejects(openConfig(kms, { name, bytes }), kms.failure);
    await assert.rejects(sealConfig(kms, { name, plaintext: text }), kms.failure);
  });

  void it('is refused when any byte of its stream is changed or cut', async () => {
    const kms = vectorKms();
    const bytes = await sealConfig(kms, { name, plaintext: text });
    const streamBytes = text.length + 16;
    for (let at = bytes.length - streamBytes; at < bytes.length; at += 1) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] as number) ^ 0x80;
      await assert.rejects(openConfig(kms, { name, bytes: changed }), codeOf('not-authentic'));
      const cut = bytes.subarray(0, at);
      await assert.rejects(openConfig(kms, { name, bytes: cut }), codeOf('not-authentic'));
    }
  });

  void it('with metadata that cannot be is refused', async () => {
    const kms = vectorKms();
    const stream = Buffer.alloc(32, 0xff);
    const good = { keyid: 'my-key', kmskey: 'AAAA', algorithm: 'AES-256-GCM' };
    const nonce = 'AAAAAAAAAAA=';
    for (const metadata of [
      JSON.stringify({ ...good, nonce: 'AAAA' }),
      JSON.stringify({ ...good, nonce, algorithm: 'ROT13' }),
      JSON.stringify({ ...good, nonce, kmskey: '!' }),
      JSON.stringify({ ...good }),
      JSON.stringify({ ...good, nonce: 7 }),
      '{',
      'null',
      '[]',
    ]) {
      const bytes = withMetadata(metadata, stream);
      await assert.rejects(openConfig(kms, { name, bytes }), codeOf('invalid-config'), metadata);
    }
    const huge = Buffer.from([1, 0xff, 0xff, 0xff, 0xff, 0x7b, 0x7d]);
    const long = Buffer.from([1, 0x10, 0, 0, 0, 0xff]);
    const short = Buffer.from([1, 0xff]);
    const other = Buffer.from([2, 0xff, 0, 0, 0, 0]);
    for (const bytes of [huge, long, short, other]) {
      await assert.rejects(openConfig(kms, { name, bytes }), codeOf('invalid-config'));
    }
    assert.equal(kms.calls.length, 0);
  });

  void it('of old releases opens under the root credentials', async () => {
    const rootCredentials = { accessKey: 'root', secretKey: 'password' };
    const bytes = await sealAdminPayload('root:password', text, { kind: 2 });
    assert((await openConfig(undefined, { name, bytes }, { rootCredentials })).equals(text));
    const other = { rootCredentials: { accessKey: 'root', secretKey: 'other' } };
    await assert.rejects(openConfig(undefined, { name, bytes }, other), codeOf('not-authentic'));
    await assert.rejects(openConfig(undefined, { name, bytes }), codeOf('invalid-config'));
    const noise = Buffer.concat([randomBytes(20), Buffer.of(0xff), Buffer.alloc(30, 9)]);
    const open = openConfig(undefined, { name, bytes: noise }, { rootCredentials });
    await assert.rejects(open, codeOf('invalid-config'));
  });
});
