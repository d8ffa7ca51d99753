// ETags of encrypted objects against known answers.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { hex, readVectors } from '../../test/support/vectors.ts';
import { sealDare } from '../aead/dare.ts';
import {
  clientEtag,
  formatEtag,
  isSealedEtag,
  multipartEtag,
  openEtag,
  parseEtag,
  sealEtag,
} from './etag.ts';
import { deriveEtagKey } from './object-key.ts';
import { SseError, type SseErrorCode } from './sse-error.ts';

const vectors = readVectors('sse-etags.json') as {
  decrypt: { object_key: string; sealed: string; etag: string }[];
  decrypt_invalid: { object_key: string; sealed: string }[];
  pass_through: string[];
  pass_through_invalid: string[];
  parse_valid: { text: string; bytes: string }[];
  parse_invalid: string[];
  is_sealed: { hex: string; sealed: boolean }[];
  format: { etag: string; client: string }[];
  multipart: { parts: string[]; etag: string }[];
  derived_sealed: {
    object_key: string;
    dare_random: string;
    suite: 0 | 1;
    etag: string;
    sealed: string;
    client_view_sse_s3: string;
    client_view_sse_c_and_kms: string;
  }[];
};

const oek = randomBytes(32);

function codeOf(code: SseErrorCode) {
  return (error: unknown) => error instanceof SseError && error.code === code;
}

void describe('ETags', () => {
  void it('sealed by another implementation open, and changed ones are refused', () => {
    for (const { object_key, sealed, etag } of vectors.decrypt) {
      assert.equal(openEtag(hex(object_key), sealed), etag);
      assert.throws(() => openEtag(oek, sealed), codeOf('object-tampered'));
    }
    for (const { object_key, sealed } of vectors.decrypt_invalid) {
      assert.throws(() => openEtag(hex(object_key), sealed), codeOf('object-tampered'));
    }
  });

  void it('that are not sealed are what they are', () => {
    for (const text of vectors.pass_through) {
      assert.equal(openEtag(oek, text), text);
      assert.equal(clientEtag(text), text);
    }
    for (const text of vectors.pass_through_invalid) {
      assert.throws(() => openEtag(oek, text), codeOf('object-tampered'));
      assert.throws(() => clientEtag(text), codeOf('object-tampered'));
    }
  });

  void it('are parsed and formatted', () => {
    for (const { text, bytes } of vectors.parse_valid) {
      const etag = parseEtag(text);
      assert.equal(etag.toString('hex'), bytes);
      assert.equal(formatEtag(etag), text.replaceAll('"', ''));
    }
    for (const text of [...vectors.parse_invalid, `${'a'.repeat(32)}-2147483648`, 'xx', '"']) {
      assert.throws(() => parseEtag(text), codeOf('invalid-etag'), text);
    }
    assert.equal(parseEtag('').length, 0);
  });

  void it('are known as sealed by their size', () => {
    for (const vector of vectors.is_sealed) {
      assert.equal(isSealedEtag(hex(vector.hex)), vector.sealed);
    }
    assert(!isSealedEtag(parseEtag(`${'a'.repeat(32)}-10000`)));
  });

  void it('look to clients as known', () => {
    for (const { etag, client } of vectors.format) assert.equal(clientEtag(etag), client);
    for (const vector of vectors.derived_sealed) {
      const key = hex(vector.object_key);
      assert.equal(openEtag(key, vector.sealed), vector.client_view_sse_s3);
      assert.equal(clientEtag(vector.sealed), vector.client_view_sse_c_and_kms);
      const cipher = vector.suite === 0 ? 'aes-256-gcm' : 'chacha20-poly1305';
      const nonce = hex(vector.dare_random);
      const sealed = sealDare(deriveEtagKey(key), hex(vector.etag), { cipher, nonce });
      assert.equal(sealed.toString('hex'), vector.sealed);
    }
  });

  void it('of multipart objects come from those of the parts', () => {
    for (const { parts, etag } of vectors.multipart) {
      assert.equal(multipartEtag(parts.map((part) => parseEtag(part))), etag);
    }
  });

  void it('are sealed to 96 digits and open again; none stays none', () => {
    const etag = randomBytes(16);
    const sealed = sealEtag(oek, etag);
    assert.match(sealed, /^20000f00[89a-f][0-9a-f]{87}$/);
    assert.equal(openEtag(oek, sealed), etag.toString('hex'));
    assert.equal(sealEtag(oek, Buffer.alloc(0)), '');
    assert.equal(openEtag(oek, ''), '');
  });
});
