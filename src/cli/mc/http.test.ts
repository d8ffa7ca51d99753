import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { redactHeader } from './http.ts';

describe('redactHeader', () => {
  it('leaves nothing secret', () => {
    const signed =
      'AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=abcdef';
    assert.equal(
      redactHeader('authorization', signed),
      'AWS4-HMAC-SHA256 Credential=*REDACTED*/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=*REDACTED*',
    );
    for (const name of [
      'X-Amz-Security-Token',
      'x-amz-server-side-encryption-customer-key',
      'x-amz-copy-source-server-side-encryption-customer-key',
    ]) {
      assert.equal(redactHeader(name, 'secret'), '*REDACTED*');
    }
    assert.equal(redactHeader('authorization', 'Bearer x'), '*REDACTED*');
  });

  it('shows what is not secret', () => {
    assert.equal(redactHeader('content-type', 'text/plain'), 'text/plain');
  });
});
