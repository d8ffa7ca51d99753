// Envelopes as metadata: names, order of checks, and that nothing else is ever thrown.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { SseEnvelope } from './envelope.ts';
import {
  classifyMetadata,
  formatEnvelope,
  isReservedName,
  type Metadata,
  metadataNames,
  parseEnvelope,
  parseEnvelopeAs,
} from './metadata.ts';
import { SseError, type SseErrorCode } from './sse-error.ts';

const sealed = {
  sealAlgorithm: 'DAREv2-HMAC-SHA256',
  iv: randomBytes(32),
  sealedOek: randomBytes(64),
};
const dataKey = { keyName: 'my-key', sealedDataKey: randomBytes(76) };
const envelopes: readonly SseEnvelope[] = [
  { kind: 'sse-s3', ...sealed, ...dataKey },
  { kind: 'sse-kms', ...sealed, ...dataKey },
  { kind: 'sse-kms', ...sealed, ...dataKey, context: { dept: 'fin&nce' } },
  { kind: 'sse-c', ...sealed },
  { kind: 'sse-c', ...sealed, sealAlgorithm: 'DARE-SHA256' },
];
const s3 = formatEnvelope(envelopes[0] as SseEnvelope);
const kms = formatEnvelope(envelopes[2] as SseEnvelope);
const customer = formatEnvelope(envelopes[3] as SseEnvelope);

function without(metadata: Metadata, name: string): Metadata {
  return Object.fromEntries(Object.entries(metadata).filter(([key]) => key !== name));
}

function codeOf(code: SseErrorCode, message?: RegExp) {
  return (error: unknown) =>
    error instanceof SseError && error.code === code && (message?.test(error.message) ?? true);
}

void describe('an envelope as metadata', () => {
  void it('comes back as it was, whatever the case of the names', () => {
    for (const envelope of envelopes) {
      const metadata = formatEnvelope(envelope);
      assert.equal(classifyMetadata(metadata), envelope.kind);
      assert.deepEqual(parseEnvelope(metadata), envelope);
      assert.deepEqual(parseEnvelopeAs(envelope.kind, metadata), envelope);
      const upper = Object.entries(metadata).map(([name, value]) => [name.toUpperCase(), value]);
      assert.deepEqual(parseEnvelope(Object.fromEntries(upper)), envelope);
    }
  });

  void it('has exactly the names of its kind', () => {
    const start = 'X-Minio-Internal-Server-Side-Encryption-';
    const shared = ['Iv', 'S3-Kms-Key-Id', 'S3-Kms-Sealed-Key', 'Seal-Algorithm'];
    const names = (metadata: Metadata) =>
      Object.keys(metadata)
        .map((name) => name.replace(start, ''))
        .sort();
    assert.deepEqual(names(s3), [...shared, 'S3-Sealed-Key'].sort());
    assert.deepEqual(names(kms), [...shared, 'Kms-Sealed-Key', 'Context'].sort());
    assert.deepEqual(names(customer), ['Iv', 'Seal-Algorithm', 'Sealed-Key']);
    assert.equal(kms[metadataNames.context], 'eyJkZXB0IjoiZmluXHUwMDI2bmNlIn0=');
  });

  void it('is classified in the order Kms, S3, customer', () => {
    assert.equal(classifyMetadata({ ...customer, ...s3, ...kms }), 'sse-kms');
    assert.equal(classifyMetadata({ ...customer, ...s3 }), 'sse-s3');
    assert.equal(classifyMetadata({ 'content-type': 'text/plain', etag: 'x' }), undefined);
    assert.equal(parseEnvelope({ 'X-Minio-Internal-actual-size': '1' }), undefined);
  });

  void it('of which only traces are left is tampered with', () => {
    const { encryptedMultipart, iv, sealAlgorithm, keyName, sealedDataKey, context } =
      metadataNames;
    for (const name of [encryptedMultipart, iv, sealAlgorithm, keyName, sealedDataKey, context]) {
      assert.equal(classifyMetadata({ [name]: '' }), 'unknown');
      assert.throws(() => parseEnvelope({ [name]: '' }), codeOf('object-tampered'));
    }
  });

  void it('with a defect is refused with the first code of the table', () => {
    const n = metadataNames;
    const cases: readonly [SseErrorCode, Metadata, RegExp?][] = [
      ['missing-iv', without(s3, n.iv)],
      ['missing-iv', without(without(s3, n.iv), n.sealAlgorithm)],
      ['missing-seal-algorithm', without(s3, n.sealAlgorithm)],
      ['missing-key-name', without(s3, n.keyName)],
      ['missing-sealed-data-key', without(s3, n.sealedDataKey)],
      ['missing-key-name', without(without(kms, n.keyName), n.sealedDataKey)],
      ['missing-sealed-data-key', { ...without(s3, n.sealedDataKey), [n.iv]: '!' }],
      ['invalid-iv', { ...s3, [n.iv]: 'AAAA' }],
      ['invalid-iv', { ...s3, [n.iv]: `${s3[n.iv]} ` }],
      ['invalid-seal-algorithm', { ...s3, [n.sealAlgorithm]: 'DARE-SHA256' }],
      ['invalid-seal-algorithm', { ...kms, [n.sealAlgorithm]: 'x' }],
      ['invalid-seal-algorithm', { ...customer, [n.sealAlgorithm]: '' }],
      ['invalid-sealed-key', { ...s3, [n.sealedKeyS3]: 'AAAA' }, /SSE-S3 is/],
      ['invalid-sealed-key', { ...kms, [n.sealedKeyKms]: '?' }, /SSE-KMS is/],
      ['invalid-sealed-key', { ...customer, [n.sealedKeyC]: '' }, /SSE-C is/],
      ['invalid-sealed-data-key', { ...s3, [n.sealedDataKey]: 'A' }, /SSE-S3 is/],
      ['invalid-sealed-data-key', { ...kms, [n.sealedDataKey]: 'A===' }, /SSE-KMS is/],
      ['invalid-context', { ...kms, [n.context]: 'e30' }],
      ['invalid-context', { ...kms, [n.context]: 'W10=' }],
    ];
    for (const [code, metadata, message] of cases) {
      assert.throws(() => parseEnvelope(metadata), codeOf(code, message));
    }
    const missing = () => parseEnvelopeAs('sse-c', s3);
    assert.throws(missing, codeOf('missing-sealed-key', /for SSE-C$/));
  });

  void it('that is any text at all throws only its own error', () => {
    const names = Object.values(metadataNames).map((name) => fc.constant(name));
    fc.assert(
      fc.property(fc.dictionary(fc.oneof(...names), fc.base64String()), (changes) => {
        try {
          parseEnvelope({ ...kms, ...changes });
        } catch (error) {
          assert(error instanceof SseError);
        }
      }),
    );
  });

  void it('has names that requests may not carry', () => {
    assert(isReservedName('x-minio-internal-Anything'));
    assert(!isReservedName('x-amz-meta-x-minio-internal-a'));
    for (const name of Object.values(metadataNames)) assert(isReservedName(name));
  });
});
