// Every rule by which a request is accepted or refused before its body is read.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { type Credentials, rootIdentity } from '../../iam/identity.ts';
import { encodeQueryText, toByteString } from '../../sigv4/canonical.ts';
import { AuthError, type AuthErrorCode } from '../../sigv4/errors.ts';
import { type SignInput, presignTarget, signRequest } from '../../sigv4/sign.ts';
import { SigningKeyCache } from '../../sigv4/signing-key.ts';
import { formatAmzDate } from '../../sigv4/time.ts';
import { type AuthDeps, type AuthOptions, type AuthRequest, authenticate } from './authenticate.ts';

const nowMs = Date.UTC(2026, 0, 2, 3, 4, 5);
const credentials = { accessKey: 'AKEXAMPLE', secretKey: 'a-secret-key' };
const identity = rootIdentity(credentials.accessKey);

function depsOf(overrides: Partial<AuthDeps> = {}): AuthDeps {
  return {
    credentials: {
      find: (accessKey): Credentials | undefined =>
        accessKey === credentials.accessKey ? { ...credentials, identity } : undefined,
    },
    signingKeys: new SigningKeyCache(),
    region: 'us-east-1',
    now: () => nowMs,
    ...overrides,
  };
}

function signed(overrides: Partial<SignInput> = {}): AuthRequest & {
  readonly headers: Record<string, string>;
} {
  const input: SignInput = {
    method: 'GET',
    target: '/bucket/key',
    headers: { host: 'localhost:9000' },
    credentials,
    region: 'us-east-1',
    timeMs: nowMs,
    payload: { kind: 'unsigned' },
    ...overrides,
  };
  const { headers } = signRequest(input);
  return { method: input.method, rawTarget: input.target, headers };
}

function presigned(overrides: Partial<SignInput & { expiresSeconds: number }> = {}): AuthRequest {
  const headers = overrides.headers ?? { host: 'localhost:9000' };
  const rawTarget = presignTarget({
    method: 'GET',
    target: '/bucket/key',
    credentials,
    region: 'us-east-1',
    timeMs: nowMs,
    expiresSeconds: 600,
    ...overrides,
    headers,
  });
  return { method: overrides.method ?? 'GET', rawTarget, headers };
}

async function refused(
  request: AuthRequest,
  code: AuthErrorCode,
  deps: AuthDeps = depsOf(),
  options?: AuthOptions,
): Promise<AuthError> {
  let found: AuthError | undefined;
  await assert.rejects(authenticate(request, deps, options), (error) => {
    assert.ok(error instanceof AuthError, String(error));
    found = error;
    assert.equal(error.code, code, error.message);
    assert.equal(`${error.message}${JSON.stringify(error.details)}`.includes('a-secret'), false);
    return true;
  });
  return found as AuthError;
}

void test('a request signed by its headers has the identity of its access key', async () => {
  const answer = await authenticate(signed(), depsOf());
  assert.deepEqual(answer.identity, identity);
  assert.equal(answer.method, 'header');
  assert.deepEqual(answer.payload, { kind: 'unsigned' });
  assert.equal(answer.headers['host'], 'localhost:9000');
  assert.equal(answer.hoisted.size, 0);
});

void test('a request without a signature is anonymous', async () => {
  for (const headers of [{ host: 'h' }, { host: 'h', authorization: '' }]) {
    const answer = await authenticate({ method: 'GET', rawTarget: '/b/k?x=1', headers }, depsOf());
    assert.deepEqual(answer.identity, { kind: 'anonymous' });
    assert.equal(answer.method, 'anonymous');
  }
});

void test('the path that is verified is the path that is routed, in every form of target', async () => {
  for (const target of ['/bucket/key?a=1', 'http://h:1/bucket/key?a=1', 'http://h?z=/bucket/key']) {
    await authenticate(signed({ target }), depsOf());
  }
  const { rawTarget, ...request } = presigned();
  const query = rawTarget.slice('/bucket/key'.length);
  // The signed path moved into the query of a target that names the service itself.
  const moved = { ...request, rawTarget: `http://h?z=/bucket/key${query}` };
  await refused(moved, 'AuthorizationQueryParametersError');
  const joined = `http://h?z=/bucket/key&${query.slice(1)}`;
  await refused({ ...request, rawTarget: joined }, 'SignatureDoesNotMatch');
  for (const other of ['*', 'h:80', 'ftp://h/bucket/key', `x://h/bucket/key${query}`]) {
    await refused({ ...request, rawTarget: other }, 'InvalidURI');
  }
});

void test('a header that widens a request must be under its signature', async () => {
  const request = signed({ method: 'DELETE' });
  const widened = { ...request.headers, 'x-minio-force-delete': 'true' };
  const error = await refused({ ...request, headers: widened }, 'AccessDenied');
  assert.equal(error.details['HeadersNotSigned'], 'x-minio-force-delete');
  const { headers, ...link } = presigned({ method: 'DELETE' });
  const extended = { ...link, headers: { ...headers, 'x-minio-force-delete': 'true' } };
  await refused(extended, 'AccessDenied');
  const asked = signed({
    method: 'DELETE',
    headers: { host: 'h', 'x-minio-force-delete': 'true' },
  });
  assert.equal((await authenticate(asked, depsOf())).headers['x-minio-force-delete'], 'true');
});

void test('credentials may be found later', async () => {
  const credentialsSource = { find: async () => ({ ...credentials, identity }) };
  const answer = await authenticate(signed(), depsOf({ credentials: credentialsSource }));
  assert.deepEqual(answer.identity, identity);
});

void test('any change of what was signed is refused', async () => {
  const request = signed({
    target: '/bucket/key?a=1',
    headers: { host: 'h', 'content-type': 'x' },
  });
  const changes: Partial<AuthRequest>[] = [
    { method: 'PUT' },
    { rawTarget: '/bucket/kex?a=1' },
    { rawTarget: '/bucket/./key?a=1' },
    { rawTarget: '/bucket//key?a=1' },
    { rawTarget: '/bucket/key?a=2' },
    { rawTarget: '/bucket/key?a=1&b' },
    { rawTarget: '/bucket/key' },
    { headers: { ...request.headers, host: 'i' } },
    { headers: { ...request.headers, 'content-type': 'y' } },
    { headers: { ...request.headers, 'x-amz-content-sha256': 'f'.repeat(64) } },
    { headers: { ...request.headers, 'x-amz-date': formatAmzDate(nowMs + 1000) } },
  ];
  await authenticate(request, depsOf());
  for (const change of changes) await refused({ ...request, ...change }, 'SignatureDoesNotMatch');
  const { authorization = '' } = request.headers;
  for (let at = 0; at < 64; at += 7) {
    const cut = authorization.length - 64 + at;
    const digit = authorization.charAt(cut) === '0' ? '1' : '0';
    const changed = `${authorization.slice(0, cut)}${digit}${authorization.slice(cut + 1)}`;
    await refused(
      { ...request, headers: { ...request.headers, authorization: changed } },
      'SignatureDoesNotMatch',
    );
  }
});

void test('paths, queries and header values of any bytes are accepted as they were signed', async () => {
  for (const target of [
    '/bucket/a%20b/../c//%C3%A4+%2B',
    '/bucket/key?prefix=a+b&delimiter=%2F&list-type=2',
    '/bucket/key?x-id=GetObject&acl',
    '/bucket/%7Ekey%41',
    '/bucket/\xc3\xa4',
  ]) {
    await authenticate(signed({ target }), depsOf());
  }
  const name = toByteString('Grüße  und   Küsse');
  await authenticate(signed({ headers: { host: 'h', 'x-amz-meta-name': name } }), depsOf());
});

void test('repeated headers count as joined by a comma', async () => {
  const request = signed({ headers: { host: 'h', 'x-amz-meta-a': 'one,two' } });
  const rawHeaders = ['Host', 'h', 'X-Amz-Meta-A', 'one', 'x-amz-meta-a', ' two '];
  const headers = { ...request.headers, 'x-amz-meta-a': 'one, two' };
  await authenticate({ ...request, headers, rawHeaders }, depsOf());
  await refused({ ...request, headers }, 'SignatureDoesNotMatch');
  // A value that holds comma and blank itself stays as it is.
  const single = signed({ headers: { host: 'h', 'x-amz-meta-a': 'one, two' } });
  await authenticate({ ...single, rawHeaders: ['x-amz-meta-a', 'one, two'] }, depsOf());
  const list = { ...request.headers, 'x-amz-meta-a': ['one', 'two'] };
  await authenticate({ ...request, headers: list }, depsOf());
});

void test('unknown access keys and wrong secrets are told apart', async () => {
  const stranger = { accessKey: 'NOBODY', secretKey: 'a-secret-key' };
  const error = await refused(signed({ credentials: stranger }), 'InvalidAccessKeyId');
  assert.deepEqual(error.details, { AWSAccessKeyId: 'NOBODY' });
  const wrong = { ...credentials, secretKey: 'b-secret-key' };
  await refused(signed({ credentials: wrong }), 'SignatureDoesNotMatch');
  await refused(presigned({ credentials: wrong }), 'SignatureDoesNotMatch');
});

void test('the clock may differ by fifteen minutes', async () => {
  const minutes = 60_000;
  await authenticate(signed({ timeMs: nowMs - 15 * minutes }), depsOf());
  await authenticate(signed({ timeMs: nowMs + 15 * minutes }), depsOf());
  await refused(signed({ timeMs: nowMs - 15 * minutes - 1000 }), 'RequestTimeTooSkewed');
  await refused(signed({ timeMs: nowMs + 15 * minutes + 1000 }), 'RequestTimeTooSkewed');
});

void test('the date comes from x-amz-date, else from Date, and one must be there', async () => {
  const request = signed();
  const { 'x-amz-date': _date, ...rest } = request.headers;
  await refused({ ...request, headers: rest }, 'AccessDenied');
  await refused({ ...request, headers: { ...rest, date: 'yesterday' } }, 'AccessDenied');
  // Signed with x-amz-date, so without it the signature is wrong; the date itself is understood.
  const httpDate = new Date(nowMs).toUTCString();
  await refused({ ...request, headers: { ...rest, date: httpDate } }, 'AccessDenied');
  await refused(
    { ...request, headers: { ...rest, 'x-amz-date': 'junk', date: httpDate } },
    'SignatureDoesNotMatch',
  );
  const old = { ...rest, 'x-amz-date': formatAmzDate(nowMs - 86_400_000) };
  await refused({ ...request, headers: old }, 'AuthorizationHeaderMalformed');
});

void test('the region is the server’s, us-east-1 or the bucket’s; some calls take any', async () => {
  const deps = depsOf({ region: 'eu-central-1' });
  for (const region of ['eu-central-1', 'us-east-1', 'US']) {
    await authenticate(signed({ region }), deps);
  }
  const error = await refused(
    signed({ region: 'us-west-2' }),
    'AuthorizationHeaderMalformed',
    deps,
  );
  assert.deepEqual(error.details, { Region: 'eu-central-1' });
  await refused(signed({ region: '' }), 'AuthorizationHeaderMalformed', deps);
  await refused(presigned({ region: 'us-west-2' }), 'AuthorizationQueryParametersError', deps);
  const findBucketRegion = async () => 'us-west-2';
  await authenticate(signed({ region: 'us-west-2' }), deps, { findBucketRegion });
  await refused(signed({ region: 'x' }), 'AuthorizationHeaderMalformed', deps, {
    findBucketRegion: async () => undefined,
  });
  const named = await refused(signed({ region: 'x' }), 'AuthorizationHeaderMalformed', deps, {
    findBucketRegion,
  });
  assert.deepEqual(named.details, { Region: 'us-west-2' });
  for (const region of ['', 'anything']) {
    await authenticate(signed({ region }), deps, { acceptsAnyRegion: true });
    await authenticate(signed({ region }), depsOf({ region: '' }));
  }
  // A wrong signature does not learn the region of a bucket.
  const wrong = { ...credentials, secretKey: 'x' };
  await refused(signed({ region: 'x', credentials: wrong }), 'SignatureDoesNotMatch', deps, {
    findBucketRegion: () => assert.fail('asked'),
  });
});

void test('the host and every x-amz header must be signed', async () => {
  const request = signed();
  const error = await refused(
    {
      ...request,
      headers: { ...request.headers, 'x-amz-acl': 'public-read', 'x-amz-meta-a': '1' },
    },
    'AccessDenied',
  );
  assert.deepEqual(error.details, { HeadersNotSigned: 'x-amz-acl, x-amz-meta-a' });
  const { authorization = '' } = request.headers;
  const noHost = authorization.replace('host;', '');
  await refused(
    { ...request, headers: { ...request.headers, authorization: noHost } },
    'AccessDenied',
  );
  await authenticate(
    { ...request, headers: { ...request.headers, 'user-agent': 'x', 'x-amz-cf-id': 'y' } },
    depsOf(),
  );
});

void test('a signed header that is absent is named', async () => {
  const request = signed({ headers: { host: 'h', 'content-type': 'text/plain' } });
  const { 'content-type': _type, ...headers } = request.headers;
  const error = await refused({ ...request, headers }, 'AccessDenied');
  assert.deepEqual(error.details, { HeadersNotPresent: 'content-type' });
  const { authorization = '' } = request.headers;
  for (const name of ['constructor', '__proto__', 'tostring']) {
    const odd = authorization.replace('content-type', name);
    await refused({ ...request, headers: { ...headers, authorization: odd } }, 'AccessDenied');
  }
});

void test('a signed header may stand in the query instead', async () => {
  const request = signed({
    target: '/bucket/key?x-amz-meta-a=a%20b',
    headers: { host: 'h', 'x-amz-meta-a': 'a b' },
  });
  const { 'x-amz-meta-a': _value, ...headers } = request.headers;
  await authenticate({ ...request, headers }, depsOf());
  const other = { ...request, headers, rawTarget: '/bucket/key?x-amz-meta-a=b' };
  await refused(other, 'SignatureDoesNotMatch');
});

void test('the payload hash header says how the body is covered', async () => {
  const hash = 'AB'.repeat(32);
  const hashed = await authenticate(signed({ payload: { kind: 'hash', sha256: hash } }), depsOf());
  assert.deepEqual(hashed.payload, { kind: 'hashed', sha256: hash.toLowerCase() });
  const chunks = await authenticate(
    signed({ method: 'PUT', payload: { kind: 'signed-chunks', sizeBytes: 5 } }),
    depsOf(),
  );
  assert.ok(chunks.payload.kind === 'signed-chunks' && !chunks.payload.hasTrailer);
  const trailer = 'x-amz-checksum-crc32';
  const both = await authenticate(
    signed({ method: 'PUT', payload: { kind: 'signed-chunks', sizeBytes: 5, trailer } }),
    depsOf(),
  );
  assert.ok(both.payload.kind === 'signed-chunks' && both.payload.hasTrailer);
  const unsigned = await authenticate(
    signed({ method: 'PUT', payload: { kind: 'unsigned-chunks', sizeBytes: 5, trailer } }),
    depsOf(),
  );
  assert.deepEqual(unsigned.payload, { kind: 'unsigned-chunks' });
  for (const [value, code] of [
    ['junk', 'InvalidArgument'],
    ['', 'InvalidArgument'],
    ['zz'.repeat(32), 'InvalidArgument'],
    ['STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD', 'NotImplemented'],
  ] as const) {
    await refused(signed({ payload: { kind: 'hash', sha256: value } }), code);
  }
  const request = signed();
  const { 'x-amz-content-sha256': _hash, ...headers } = request.headers;
  await refused({ ...request, headers }, 'InvalidRequest');
});

void test('streaming markers do not let an anonymous request sign its chunks', async () => {
  const headers = { host: 'h', 'x-amz-content-sha256': 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD' };
  await refused({ method: 'PUT', rawTarget: '/b/k', headers }, 'InvalidRequest');
  const unsigned = { host: 'h', 'x-amz-content-sha256': 'STREAMING-UNSIGNED-PAYLOAD-TRAILER' };
  const answer = await authenticate(
    { method: 'PUT', rawTarget: '/b/k', headers: unsigned },
    depsOf(),
  );
  assert.deepEqual(answer.identity, { kind: 'anonymous' });
});

void test('other mechanisms, and two at once, are refused', async () => {
  const authorization = (value: string): AuthRequest => ({
    method: 'GET',
    rawTarget: '/b/k',
    headers: { host: 'h', authorization: value },
  });
  await refused(authorization('AWS AKEXAMPLE:c2lnbmF0dXJl'), 'InvalidRequest');
  await refused(authorization('AWS HAHAHA'), 'InvalidArgument');
  await refused(authorization('Bearer x.y.z'), 'InvalidArgument');
  await refused(authorization('AWS4-HMAC-SHA256'), 'InvalidArgument');
  await refused(authorization('AWS4-HMAC-SHA256 junk'), 'AuthorizationHeaderMalformed');
  await refused(authorization('AWS4-ECDSA-P256-SHA256 Credential=a'), 'NotImplemented');
  const v2 = '/b/k?AWSAccessKeyId=AKEXAMPLE&Signature=x&Expires=1';
  const { headers } = signed();
  await refused({ method: 'GET', rawTarget: v2, headers }, 'InvalidArgument');
  await refused({ ...presigned(), headers }, 'InvalidArgument');
  const mixed = { ...presigned(), rawTarget: `${presigned().rawTarget}&AWSAccessKeyId=x` };
  await refused(mixed, 'InvalidArgument');
});

void test('session tokens are refused', async () => {
  const temporary = { ...credentials, sessionToken: 'token' };
  await refused(signed({ credentials: temporary }), 'InvalidTokenId');
  await refused(presigned({ credentials: temporary }), 'InvalidTokenId');
});

void test('a presigned target is good for its period', async () => {
  const answer = await authenticate(presigned(), depsOf());
  assert.equal(answer.method, 'presigned');
  assert.deepEqual(answer.identity, identity);
  assert.deepEqual(answer.payload, { kind: 'unsigned' });
  await authenticate(presigned({ timeMs: nowMs - 600_000 }), depsOf());
  const error = await refused(presigned({ timeMs: nowMs - 601_000 }), 'AccessDenied');
  assert.equal(error.message, 'Request has expired');
  assert.equal(error.details['X-Amz-Expires'], '600');
  await authenticate(presigned({ timeMs: nowMs + 900_000 }), depsOf());
  await refused(presigned({ timeMs: nowMs + 901_000 }), 'AccessDenied');
  await authenticate(presigned({ expiresSeconds: 604_800 }), depsOf());
  for (const expiresSeconds of [0, -1, 604_801, 1.5, 1e20]) {
    await refused(presigned({ expiresSeconds }), 'AuthorizationQueryParametersError');
  }
});

void test('a presigned target with a missing, repeated or malformed parameter is refused', async () => {
  const { rawTarget, ...rest } = presigned();
  for (const name of ['Algorithm', 'Credential', 'Date', 'Expires', 'SignedHeaders', 'Signature']) {
    const pattern = new RegExp(`X-Amz-${name}=([^&]*)&?`);
    const without = rawTarget.replace(pattern, '');
    await refused({ ...rest, rawTarget: without }, 'AuthorizationQueryParametersError');
    const twice = `${rawTarget}&X-Amz-${name}=x`;
    await refused({ ...rest, rawTarget: twice }, 'AuthorizationQueryParametersError');
  }
  for (const [from, to] of [
    ['AWS4-HMAC-SHA256', 'AWS4-HMAC-SHA512'],
    ['20260102T030405Z', 'yesterday'],
    ['Expires=600', 'Expires=ten'],
    ['%2Fs3%2F', '%2Fec2%2F'],
  ] as const) {
    const changed = rawTarget.replace(from, to);
    await refused({ ...rest, rawTarget: changed }, 'AuthorizationQueryParametersError');
  }
  const otherDay = rawTarget.replace('%2F20260102%2F', '%2F20260103%2F');
  await refused({ ...rest, rawTarget: otherDay }, 'AuthorizationQueryParametersError');
});

void test('parameters of a presigned target count as headers', async () => {
  const target = `/bucket/key?x-amz-meta-Name=${encodeQueryText('a b')}&x-amz-acl=private&response-content-type=x`;
  const answer = await authenticate(presigned({ target }), depsOf());
  assert.equal(answer.headers['x-amz-meta-name'], 'a b');
  assert.equal(answer.headers['x-amz-acl'], 'private');
  assert.deepEqual([...answer.hoisted].sort(), ['x-amz-acl', 'x-amz-meta-name']);
  // Not for requests signed in the header.
  const header = await authenticate(signed({ target }), depsOf());
  assert.equal(header.headers['x-amz-acl'], undefined);
});

void test('headers beside a presigned target must be signed, unless they only add checks', async () => {
  const request = presigned();
  const withHeader = (name: string, value: string) => ({
    ...request,
    headers: { ...request.headers, [name]: value },
  });
  const error = await refused(withHeader('x-amz-meta-a', '1'), 'AccessDenied');
  assert.deepEqual(error.details, { HeadersNotSigned: 'x-amz-meta-a' });
  await refused(withHeader('x-amz-server-side-encryption', 'AES256'), 'AccessDenied');
  await authenticate(withHeader('x-amz-checksum-crc32', 'AAAAAA=='), depsOf());
  await authenticate(withHeader('content-type', 'text/plain'), depsOf());
  const hash = 'ab'.repeat(32);
  const hashed = await authenticate(withHeader('x-amz-content-sha256', hash), depsOf());
  assert.deepEqual(hashed.payload, { kind: 'hashed', sha256: hash });
  await refused(
    withHeader('x-amz-content-sha256', 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD'),
    'InvalidRequest',
  );
});

void test('a header cannot undo what a presigned target says', async () => {
  const request = presigned({ target: '/b/k?x-amz-checksum-crc32=MSpqpg%3D%3D' });
  const beside = (value: string) => ({
    ...request,
    headers: { ...request.headers, 'x-amz-checksum-crc32': value },
  });
  await refused(beside('AAAAAA=='), 'InvalidRequest');
  await authenticate(beside('MSpqpg=='), depsOf());
  // The checksum of nothing, presigned before the body was known, gives way.
  const early = presigned({ target: '/b/k?x-amz-checksum-crc32=AAAAAA%3D%3D' });
  const headers = { ...early.headers, 'x-amz-checksum-crc32': 'MSpqpg==' };
  const answer = await authenticate({ ...early, headers }, depsOf());
  assert.equal(answer.headers['x-amz-checksum-crc32'], 'MSpqpg==');
  await refused(presigned({ target: '/b/k?x-amz-acl=a&x-amz-acl=b' }), 'InvalidRequest');
});
