import assert from 'node:assert/strict';
import { test } from 'node:test';
import { XmlError } from '../base/xml.ts';
import { AuthError } from '../sigv4/errors.ts';
import { KmsError } from '../sse/kms.ts';
import { SseError } from '../sse/sse-error.ts';
import { StoreError } from '../store/types.ts';
import { s3Errors, toS3Error } from './errors.ts';

const shown = (error: unknown) => {
  const { status, code, message, headers } = toS3Error(error);
  return { line: `${status} ${code}`, message, headers };
};

void test('errors of the store keep their meaning', () => {
  assert.equal(shown(new StoreError('NoSuchKey', 'x')).line, '404 NoSuchKey');
  assert.equal(
    shown(new StoreError('BucketAlreadyExists', 'x')).line,
    '409 BucketAlreadyOwnedByYou',
  );
  assert.equal(shown(new StoreError('KmsNotConfigured', 'x')).line, '501 NotImplemented');
  assert.equal(shown(new StoreError('StorageFull', 'x')).line, '507 XMinioStorageFull');
  assert.equal(shown(new StoreError('StorageReadOnly', 'x')).line, '507 XMinioStorageFull');
  const unavailable = shown(new StoreError('StorageUnavailable', 'x'));
  assert.equal(unavailable.line, '503 ServiceUnavailable');
  assert.equal(unavailable.headers['retry-after'], '5');
  const detailed = toS3Error(
    new StoreError('EntityTooSmall', 'x', { details: { PartNumber: '1' } }),
  );
  assert.deepEqual(detailed.details, { PartNumber: '1' });
});

void test('errors of the key service name the key and nothing else', () => {
  const disabled = shown(new KmsError('key-disabled', 'inner text', { keyName: 'my-key' }));
  assert.equal(disabled.line, '400 KMS.DisabledException');
  assert.match(disabled.message, /my-key.*disabled/);
  assert.ok(!disabled.message.includes('inner text'));
  assert.equal(
    shown(new KmsError('key-not-found', '', { keyName: 'k' })).line,
    '400 KMS.NotFoundException',
  );
  assert.equal(shown(new KmsError('not-authorized', '')).line, '403 AccessDenied');
  assert.equal(shown(new KmsError('unreachable', '')).line, '503 ServiceUnavailable');
  const unreachable = shown(new KmsError('unreachable', ''));
  assert.equal(unreachable.headers['retry-after'], '5');
  assert.match(unreachable.message, /cannot be reached/);
  const refused = shown(new KmsError('failed', 'inner text'));
  assert.equal(refused.line, '503 ServiceUnavailable');
  assert.equal(refused.headers['retry-after'], undefined);
  assert.match(refused.message, /answers with an error/);
});

void test('what nobody expected is an internal error that tells nothing', () => {
  for (const error of [
    new Error('secret'),
    new SseError('key-mismatch'),
    new StoreError('ObjectCorrupt', 'secret'),
    'secret',
    undefined,
  ]) {
    const { line, message } = shown(error);
    assert.equal(line, '500 InternalError');
    assert.ok(!message.includes('secret'));
  }
});

void test('faults of clients are never 5xx', () => {
  assert.equal(shown(new XmlError('malformed', 'x')).line, '400 MalformedXML');
  assert.equal(
    shown(new AuthError('SignatureDoesNotMatch', 'x')).line,
    '403 SignatureDoesNotMatch',
  );
  const aborted = Object.assign(new Error('aborted'), { code: 'ECONNRESET' });
  assert.equal(shown(aborted).line, '400 IncompleteBody');
  const fives = Object.entries(s3Errors).filter(([, [status]]) => status >= 500);
  assert.deepEqual(fives.map(([code]) => code).sort(), [
    'InternalError',
    'NotImplemented',
    'ServiceUnavailable',
    'SlowDown',
    'XMinioServerNotInitialized',
    'XMinioStorageFull',
  ]);
});
