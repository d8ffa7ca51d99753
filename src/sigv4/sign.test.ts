// Signing and verifying against the published examples, and against each other.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';

import fc from 'fast-check';

import { collect, readVectors } from '../../test/support/vectors.ts';
import {
  canonicalPath,
  canonicalQuery,
  canonicalRequest,
  parseCanonicalQuery,
  sha256Hex,
  splitSignedTarget,
} from './canonical.ts';
import { AuthError } from './errors.ts';
import { parseAuthorization, parsePresigned } from './parse.ts';
import {
  type SigningPayload,
  encodeSignedChunks,
  encodeUnsignedChunks,
  encodedChunksSize,
  presignTarget,
  signRequest,
} from './sign.ts';
import { SigningKeyCache, deriveSigningKey, formatScope, isSameSignature } from './signing-key.ts';
import { formatAmzDate, parseAmzDate, parseHttpDate } from './time.ts';
import { verifySignature } from './verify.ts';

type Credentials = { readonly accessKey: string; readonly secretKey: string };
type RequestVector = {
  readonly name: string;
  readonly credentials: string;
  readonly timestamp: string;
  readonly region: string;
  readonly method: string;
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly payloadHash: string;
  readonly canonicalSha256: string;
  readonly signature: string;
  readonly expiresSeconds: number;
};
type Vectors = {
  readonly credentials: Readonly<Record<string, Credentials>>;
  readonly signingKeys: readonly (Record<'secretKey' | 'date' | 'region' | 'service', string> & {
    readonly key: string;
  })[];
  readonly headers: readonly RequestVector[];
  readonly presigned: readonly RequestVector[];
};
type ChunkVectors = {
  readonly bodies: readonly (RequestVector & {
    readonly data: { readonly repeat: string; readonly sizeBytes: number };
    readonly seedSignature: string;
    readonly chunkSignatures: readonly string[];
    readonly trailer?: {
      readonly name: string;
      readonly value: string;
      readonly signature: string;
    };
  })[];
};

const vectors = readVectors('sigv4-requests.json') as Vectors;
const chunkVectors = readVectors('sigv4-chunks.json') as ChunkVectors;
const aws = vectors.credentials['aws'] as Credentials;

/** The time and key of a vector. */
function base(vector: RequestVector) {
  return {
    method: vector.method,
    target: vector.target,
    headers: vector.headers,
    credentials: vectors.credentials[vector.credentials] as Credentials,
    region: vector.region,
    timeMs: parseAmzDate(vector.timestamp) as number,
  };
}

void test('signing keys are the published ones', () => {
  for (const { secretKey, key, ...scope } of vectors.signingKeys) {
    assert.equal(deriveSigningKey(secretKey, scope).export().toString('hex'), key);
  }
});

for (const vector of vectors.headers) {
  void test(`the header signature of the published example is right: ${vector.name}`, () => {
    const input = base(vector);
    const signed = signRequest({ ...input, payload: { kind: 'hash', sha256: vector.payloadHash } });
    assert.equal(signed.signature, vector.signature);
    const claim = parseAuthorization(signed.headers['authorization'] as string);
    assert.equal(claim.accessKey, input.credentials.accessKey);
    const { path, query } = splitSignedTarget(vector.target);
    const canonical = canonicalRequest({
      method: vector.method,
      path: canonicalPath(path),
      query: canonicalQuery(parseCanonicalQuery(query)),
      headerLines: claim.signedHeaders.map((name) => `${name}:${signed.headers[name]}\n`).join(''),
      signedHeaders: claim.signedHeaders.join(';'),
      payloadHash: vector.payloadHash,
    });
    assert.equal(sha256Hex(canonical), vector.canonicalSha256);
    const parts = {
      method: vector.method,
      path,
      parameters: parseCanonicalQuery(query),
      headers: signed.headers,
      rawHeaders: undefined,
      signedHeaders: claim.signedHeaders,
      payloadHash: vector.payloadHash,
    };
    verifySignature(parts, signed.context, vector.signature);
    assert.throws(
      () => verifySignature({ ...parts, method: 'POST' }, signed.context, vector.signature),
      (error) => error instanceof AuthError && error.code === 'SignatureDoesNotMatch',
    );
  });
}

for (const vector of vectors.presigned) {
  void test(`the presigned target of the published example is right: ${vector.name}`, () => {
    const target = presignTarget({ ...base(vector), expiresSeconds: vector.expiresSeconds });
    const parameters = parseCanonicalQuery(splitSignedTarget(target).query);
    const claim = parsePresigned(parameters);
    assert.equal(claim.signature, vector.signature);
    assert.equal(claim.expiresSeconds, vector.expiresSeconds);
    assert.equal(claim.timestamp, vector.timestamp);
  });
}

for (const vector of chunkVectors.bodies) {
  void test(`the chunks of the published example are signed right: ${vector.name}`, async () => {
    const { data, trailer } = vector;
    const payload: Extract<SigningPayload, { kind: 'signed-chunks' }> = {
      kind: 'signed-chunks',
      sizeBytes: data.sizeBytes,
      ...(trailer === undefined ? {} : { trailer: trailer.name }),
    };
    const signed = signRequest({ ...base(vector), payload });
    assert.equal(signed.signature, vector.seedSignature);
    for (const step of [65536, 1000, 66560]) {
      const bytes = Buffer.alloc(data.sizeBytes, data.repeat);
      const pieces = Array.from({ length: Math.ceil(bytes.length / step) }, (_, index) =>
        bytes.subarray(index * step, (index + 1) * step),
      );
      const encoded = encodeSignedChunks(
        signed,
        pieces,
        trailer === undefined ? undefined : { name: trailer.name, value: () => trailer.value },
      );
      const body = (await collect(encoded)).toString('latin1');
      const found = [...body.matchAll(/chunk-signature=([0-9a-f]{64})/g)].map((match) => match[1]);
      assert.deepEqual(found, vector.chunkSignatures);
      assert.equal(
        /x-amz-trailer-signature:([0-9a-f]+)\r\n\r\n$/.exec(body)?.[1],
        trailer?.signature,
      );
      assert.equal(body.length, encodedChunksSize(payload, trailer?.value.length));
    }
  });
}

void test('the payload decides the hash header, and a session token is signed', () => {
  const input = {
    method: 'PUT',
    target: '/b/k',
    headers: { host: 'h', 'user-agent': 'x' },
    credentials: { ...aws, sessionToken: 'token' },
    region: 'us-east-1',
    timeMs: 0,
  };
  const bytes = Buffer.from('abc');
  const { headers } = signRequest({ ...input, payload: { kind: 'bytes', bytes } });
  assert.equal(headers['x-amz-content-sha256'], sha256Hex(bytes));
  assert.equal(headers['x-amz-security-token'], 'token');
  const names = parseAuthorization(headers['authorization'] as string).signedHeaders;
  assert.deepEqual(names, ['host', 'x-amz-content-sha256', 'x-amz-date', 'x-amz-security-token']);
  assert.match(presignTarget({ ...input, expiresSeconds: 5 }), /X-Amz-Security-Token=token&/);
  const trailer = 'X-Amz-Checksum-Sha1';
  const chunked = signRequest({
    ...input,
    payload: { kind: 'unsigned-chunks', sizeBytes: 3, trailer },
  });
  assert.equal(chunked.headers['x-amz-trailer'], 'x-amz-checksum-sha1');
  assert.equal(chunked.headers['x-amz-decoded-content-length'], '3');
});

void test('the announced length of a chunked body is its real length', async () => {
  const signed = signRequest({
    method: 'PUT',
    target: '/b/k',
    headers: { host: 'h' },
    credentials: aws,
    region: 'us-east-1',
    timeMs: 0,
    payload: { kind: 'empty' },
  });
  const trailer = { name: 'x-amz-checksum-crc32', value: () => 'AAAAAA==' };
  for (const sizeBytes of [0, 1, 15, 16, 65535, 65536, 65537, 131072, 200000]) {
    const source = sizeBytes === 0 ? [] : [Buffer.alloc(sizeBytes)];
    const unsigned = await collect(encodeUnsignedChunks(source, trailer));
    assert.equal(
      unsigned.length,
      encodedChunksSize({ kind: 'unsigned-chunks', sizeBytes, trailer: trailer.name }, 8),
    );
    const plain = await collect(encodeSignedChunks(signed, source));
    assert.equal(plain.length, encodedChunksSize({ kind: 'signed-chunks', sizeBytes }));
  }
});

void test('the key cache gives the derived key, stays bounded and notices a new secret', () => {
  const cache = new SigningKeyCache(2);
  const scope = { date: '20260102', region: '', service: 's3' };
  const digest = (key: Parameters<typeof createHmac>[1]) =>
    createHmac('sha256', key).update('x').digest('hex');
  const first = cache.get('a', 'one', scope);
  assert.equal(cache.get('a', 'one', scope), first);
  assert.equal(digest(first), digest(deriveSigningKey('one', scope)));
  assert.equal(digest(cache.get('a', 'two', scope)), digest(deriveSigningKey('two', scope)));
  const held = cache.get('b', 'one', scope);
  cache.get('c', 'one', scope);
  assert.equal(cache.get('b', 'one', scope), held);
  assert.notEqual(cache.get('a', 'two', scope), first);
  assert.equal(formatScope(scope), '20260102//s3/aws4_request');
});

void test('times are read and written in both forms, and nothing else is a time', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 4_000_000_000 }), (seconds) => {
      assert.equal(parseAmzDate(formatAmzDate(seconds * 1000)), seconds * 1000);
      assert.equal(parseHttpDate(new Date(seconds * 1000).toUTCString()), seconds * 1000);
    }),
    { numRuns: 200 },
  );
  for (const text of [
    '',
    '20130524T000000',
    '20130524 000000Z',
    '2013-05-24T00:00Z',
    '20131324T000000Z',
    '20130230T000000Z',
    '20130431T000000Z',
    '21000229T000000Z',
    '20130524Tx00000Z',
    '20130524T006000Z',
    '20130524T000061Z',
    '20130524T240000Z',
    '2013052xT000000Z',
    '+2130524T000000Z',
  ]) {
    assert.equal(parseAmzDate(text), undefined, text);
  }
  for (const text of ['', '1', 'tomorrow', '2013-05-24', 'Fri, 24 May 2013', 'x'.repeat(100)]) {
    assert.equal(parseHttpDate(text), undefined, text);
  }
  assert.equal(parseAmzDate('20240229T235959Z'), Date.UTC(2024, 1, 29, 23, 59, 59));
  assert.equal(parseHttpDate('Fri, 24 May 2013 00:00:00 +0000'), Date.UTC(2013, 4, 24));
  assert.equal(parseHttpDate('Xxx, 99 Foo 2013 00:00:00 GMT'), undefined);
});

void test('malformed claims are refused with the code of their place', () => {
  const scope = '20260102/us-east-1/s3/aws4_request';
  const good = `AWS4-HMAC-SHA256 Credential=a/b/${scope},SignedHeaders=host,Signature=x`;
  assert.deepEqual(parseAuthorization(good), {
    accessKey: 'a/b',
    scope: { date: '20260102', region: 'us-east-1', service: 's3' },
    signedHeaders: ['host'],
    signature: 'x',
  });
  assert.equal(parseAuthorization(good.replace('us-east-1', '')).scope.region, '');
  for (const bad of [
    'AWS4-HMAC-SHA256 ',
    good.replace('Signature=x', ''),
    good.replace(',Signature=x', ''),
    good.replace('Signature=x', 'Signature='),
    good.replace('Signature=x', 'Sig=x'),
    good.replace('host', ''),
    good.replace('host', 'Host'),
    good.replace('host', 'host;;a'),
    good.replace('host', 'a;'.repeat(150)),
    good.replace('SignedHeaders=', 'Names='),
    good.replace('Credential=', 'Name='),
    good.replace('a/b/', '/'),
    good.replace('a/b/2026', '2026'),
    good.replace('20260102', '2026010'),
    good.replace('/s3/', '/ec2/'),
    good.replace('aws4_request', 'aws5_request'),
    `${good},More=1`,
  ]) {
    assert.throws(
      () => parseAuthorization(bad),
      (error) => error instanceof AuthError && error.code === 'AuthorizationHeaderMalformed',
      bad,
    );
  }
});

void test('signatures are equal only when every character is', () => {
  assert.equal(isSameSignature('abc', 'abc'), true);
  assert.equal(isSameSignature('abd', 'abc'), false);
  assert.equal(isSameSignature('ab', 'abc'), false);
  assert.equal(isSameSignature('\u0161bc', 'abc'), false);
});
