// The encryption headers against known answers: what they ask for, and how they are refused.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readVectors } from '../../test/support/vectors.ts';
import {
  parseSseCHeaders,
  parseSseKmsHeaders,
  type RequestHeaders,
  requestedEncryption,
  sseHeaderNames,
} from './headers.ts';
import { SseError, type SseErrorCode } from './sse-error.ts';

type Parse = { headers: Record<string, string>; result: string };
const vectors = readVectors('sse-headers.json') as {
  requested: {
    headers: Record<string, string>;
    sse_s3: boolean;
    sse_kms: boolean;
    sse_c: boolean;
    sse_c_copy: boolean;
  }[];
  sse_c_parse: Parse[];
  sse_kms_parse: Parse[];
};

const results: Record<string, SseErrorCode> = {
  'invalid algorithm': 'sse-c-algorithm',
  'missing key': 'sse-c-key-missing',
  'missing key md5': 'sse-c-md5-missing',
  'invalid key': 'sse-c-key-invalid',
  'md5 mismatch': 'sse-c-md5-mismatch',
  'invalid method': 'kms-method',
  error: 'kms-context',
};

function codeOf(code: SseErrorCode | undefined) {
  return (error: unknown) => error instanceof SseError && error.code === code;
}

function copySourceOf(headers: RequestHeaders): RequestHeaders {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [
      name.replace('x-amz-server', 'x-amz-copy-source-server'),
      value,
    ]),
  );
}

const valid = vectors.sse_c_parse[0]?.headers as Record<string, string>;
const kmsHeaders = { [sseHeaderNames.method]: 'aws:kms' };

function contextHeader(json: string): RequestHeaders {
  return { ...kmsHeaders, [sseHeaderNames.context]: Buffer.from(json).toString('base64') };
}

void describe('the encryption headers of a request', () => {
  void it('ask for what other implementations understand', () => {
    for (const vector of vectors.requested) {
      assert.deepEqual(requestedEncryption(vector.headers), {
        sseS3: vector.sse_s3,
        sseKms: vector.sse_kms,
        sseC: vector.sse_c,
        sseCCopySource: vector.sse_c_copy,
      });
    }
  });

  void it('of SSE-C give the key, or the first defect, for both triples', () => {
    for (const { headers, result } of vectors.sse_c_parse) {
      const parse = () => parseSseCHeaders(headers);
      const parseCopySource = () => parseSseCHeaders(copySourceOf(headers), 'copy-source');
      if (result === 'ok') {
        const { clientKey, keyMd5 } = parse();
        assert.equal(clientKey.toString(), '32byteslongsecretkeymustprovided');
        assert.equal(keyMd5, headers[sseHeaderNames.customerKeyMd5]);
        assert.deepEqual(parseCopySource(), parse());
        assert.throws(() => parseSseCHeaders(headers, 'copy-source'), SseError);
        continue;
      }
      assert.throws(parse, codeOf(results[result]));
      assert.throws(parseCopySource, codeOf(results[result]));
    }
    assert.throws(() => parseSseCHeaders({}), codeOf('sse-c-algorithm'));
    const short = { ...valid, [sseHeaderNames.customerKey]: 'AAAA' };
    assert.throws(() => parseSseCHeaders(short), codeOf('sse-c-key-invalid'));
  });

  void it('of SSE-KMS give key and context, or a defect', () => {
    for (const { headers, result } of vectors.sse_kms_parse) {
      const parse = () => parseSseKmsHeaders(headers);
      if (result !== 'ok') {
        assert.throws(parse, codeOf(results[result]));
        continue;
      }
      const keyName = headers[sseHeaderNames.keyId];
      const isBound = headers[sseHeaderNames.context]?.startsWith('eyJ');
      assert.deepEqual(parse(), {
        ...(keyName && { keyName }),
        ...(isBound && { context: { bucket: 'some-bucket' } }),
      });
    }
  });

  void it('of SSE-KMS may have an ARN, but no spaces around the key id', () => {
    const withKey = (keyId: string) => ({ ...kmsHeaders, [sseHeaderNames.keyId]: keyId });
    assert.deepEqual(parseSseKmsHeaders(withKey('arn:aws:kms:k')), { keyName: 'k' });
    assert.deepEqual(parseSseKmsHeaders(withKey('')), {});
    for (const keyId of [' k', 'k ', ' ']) {
      assert.throws(() => parseSseKmsHeaders(withKey(keyId)), codeOf('kms-key-id'));
    }
  });

  void it('of SSE-KMS may have only an object of strings as context', () => {
    assert.deepEqual(parseSseKmsHeaders(contextHeader('null')), {});
    assert.deepEqual(parseSseKmsHeaders(contextHeader('{"__proto__":"x"}')).context, {
      ['__proto__']: 'x',
    });
    for (const json of ['', '[]', '["a"]', '1', '"x"', '{"a":1}', '{"a":null}', '{"a":{}}', '{']) {
      assert.throws(() => parseSseKmsHeaders(contextHeader(json)), codeOf('kms-context'), json);
    }
    const notBase64 = { ...kmsHeaders, [sseHeaderNames.context]: '{}' };
    assert.throws(() => parseSseKmsHeaders(notBase64), codeOf('kms-context'));
  });

  void it('that came twice do not hide one another', () => {
    const headers = { [sseHeaderNames.method]: ['AES256', 'aws:kms'] };
    assert.deepEqual(requestedEncryption(headers), {
      sseS3: true,
      sseKms: true,
      sseC: false,
      sseCCopySource: false,
    });
    assert.throws(() => parseSseKmsHeaders(headers), codeOf('kms-method'));
  });
});
