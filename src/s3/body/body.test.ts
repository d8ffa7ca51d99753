// Request bodies from the wire to plaintext: sizes, digests, trailers, clients that stall or go away.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { type IncomingMessage, createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { Readable } from 'node:stream';
import { test } from 'node:test';

import { chunked, collect } from '../../../test/support/vectors.ts';
import { checksumAlgorithms, checksumOf } from '../../base/checksums.ts';
import { rootIdentity } from '../../iam/identity.ts';
import { emptySha256, sha256Hex } from '../../sigv4/canonical.ts';
import { AuthError, type AuthErrorCode } from '../../sigv4/errors.ts';
import { encodeSignedChunks, encodeUnsignedChunks, signRequest } from '../../sigv4/sign.ts';
import { SigningKeyCache } from '../../sigv4/signing-key.ts';
import { type AuthDeps, type Authentication, authenticate } from '../auth/authenticate.ts';
import type { Payload } from '../auth/payload.ts';
import {
  type BodyOptions,
  openBody,
  readBodyInput,
  readSmallBody,
  readVerifiedBody,
} from './body.ts';

type Auth = Pick<Authentication, 'payload' | 'headers' | 'hoisted'>;

const data = Buffer.from('abcdefg');
const crc = 'x-amz-checksum-crc32';
const crcValue = 'MSpqpg==';

function authOf(
  headers: Record<string, string> = {},
  payload: Payload = { kind: 'unsigned' },
  hoisted: readonly string[] = [],
): Auth {
  return { payload, headers, hoisted: new Set(hoisted) };
}

const sized = (headers: Record<string, string> = {}) => ({ 'content-length': '7', ...headers });
const hashOf = (bytes: Uint8Array): Payload => ({ kind: 'hashed', sha256: sha256Hex(bytes) });
const from = (bytes: Uint8Array, step = 3) => chunked(bytes, step);

function isRefusal(code: AuthErrorCode) {
  return (error: unknown) => {
    assert.ok(error instanceof AuthError, String(error));
    assert.equal(error.code, code, error.message);
    return true;
  };
}

function openRefused(auth: Auth, code: AuthErrorCode, options?: BodyOptions): void {
  const source = Readable.from([]);
  assert.throws(() => openBody(source, auth, options), isRefusal(code));
}

/** Every way to read a body, so that each case is tested on all. */
const ways: readonly ((source: () => AsyncIterable<Uint8Array>, auth: Auth) => Promise<Buffer>)[] =
  [
    (source, auth) => collect(openBody(source(), auth).body),
    async (source, auth) =>
      (await openBody(source(), auth).readAll(1000)) ?? assert.fail('too large'),
    async (source, auth) => {
      const stream = Readable.from(source());
      return (await openBody(stream, auth).readAll(1000)) ?? assert.fail('too large');
    },
    (source, auth) => collect(openBody(Readable.from(source()), auth).body),
    async (source, auth) => {
      const { body } = await readBodyInput(openBody(source(), auth), 1000);
      return body instanceof Uint8Array ? Buffer.from(body) : collect(body);
    },
  ];

void test('a plain body comes through, with and without its hash and its length', async () => {
  for (const read of ways) {
    for (const step of [1, 7]) {
      for (const payload of [{ kind: 'unsigned' } as const, hashOf(data)]) {
        assert.deepEqual(await read(() => from(data, step), authOf(sized(), payload)), data);
        const unknown = authOf({ 'transfer-encoding': 'chunked' }, payload);
        assert.deepEqual(await read(() => from(data, step), unknown), data);
      }
    }
    const empty = authOf({}, { kind: 'hashed', sha256: emptySha256 });
    assert.equal((await read(() => from(Buffer.alloc(0)), empty)).length, 0);
  }
});

void test('a body of another hash is refused, also that of an empty one', async () => {
  for (const read of ways) {
    for (const sha256 of [sha256Hex('other'), emptySha256]) {
      for (const step of [1, 7]) {
        const auth = authOf(sized(), { kind: 'hashed', sha256 });
        await assert.rejects(
          read(() => from(data, step), auth),
          isRefusal('XAmzContentSHA256Mismatch'),
        );
      }
    }
  }
});

void test('a body that is shorter or longer than announced is incomplete', async () => {
  for (const read of ways) {
    for (const bytes of [data.subarray(1), Buffer.concat([data, data])]) {
      await assert.rejects(
        read(() => from(bytes), authOf(sized())),
        isRefusal('IncompleteBody'),
      );
    }
  }
});

void test('a source that fails is an incomplete body', async () => {
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield data.subarray(0, 2);
    throw Object.assign(new Error('aborted'), { code: 'ECONNRESET' });
  }
  for (const read of ways) {
    await assert.rejects(read(broken, authOf(sized())), isRefusal('IncompleteBody'));
  }
});

void test('chunked bodies take their size from x-amz-decoded-content-length', async () => {
  const payload = { kind: 'unsigned-chunks' } as const;
  const headers = { 'x-amz-decoded-content-length': '7', 'x-amz-trailer': crc.toUpperCase() };
  const framed = await collect(encodeUnsignedChunks([data], { name: crc, value: () => crcValue }));
  for (const read of ways) {
    for (const step of [1, 1000]) {
      const auth = authOf({ ...headers, 'content-length': String(framed.length) }, payload);
      assert.deepEqual(await read(() => from(framed, step), auth), data);
      assert.deepEqual(await read(() => from(framed, step), authOf(headers, payload)), data);
      await assert.rejects(
        read(() => from(framed.subarray(0, 5), step), auth),
        isRefusal('IncompleteBody'),
      );
    }
  }
  const body = openBody(from(framed), authOf(headers, payload));
  assert.equal(body.sizeBytes, 7);
  assert.deepEqual(body.trailers(), {});
  const { expected, algorithm } = body.checksum ?? assert.fail('no checksum');
  assert.ok(typeof expected === 'function' && expected() === undefined);
  await collect(body.body);
  assert.equal(expected(), crcValue);
  assert.equal(algorithm, 'CRC32');
  for (const length of ['', 'x', '-1', '1.5']) {
    const bad = { ...headers, 'x-amz-decoded-content-length': length };
    openRefused(authOf(bad, payload), 'MissingContentLength');
  }
  openRefused(authOf(sized(), payload), 'MissingContentLength');
});

void test('a body in signed chunks goes from the signer through authentication to plaintext', async () => {
  const credentials = { accessKey: 'AKEXAMPLE', secretKey: 'a-secret-key' };
  const deps: AuthDeps = {
    credentials: {
      find: (accessKey) => ({ ...credentials, identity: rootIdentity(accessKey) }),
    },
    signingKeys: new SigningKeyCache(),
    region: 'us-east-1',
    now: Date.now,
  };
  for (const trailer of [undefined, { name: crc, value: () => crcValue }]) {
    const signed = signRequest({
      method: 'PUT',
      target: '/b/k',
      headers: { host: 'h' },
      credentials,
      region: 'us-east-1',
      timeMs: Date.now(),
      payload: {
        kind: 'signed-chunks',
        sizeBytes: 7,
        ...(trailer === undefined ? {} : { trailer: trailer.name }),
      },
    });
    const framed = await collect(encodeSignedChunks(signed, [data], trailer));
    const request = { method: 'PUT', rawTarget: '/b/k', headers: signed.headers };
    const auth = await authenticate(request, deps);
    for (const read of ways) {
      assert.deepEqual(await read(() => from(framed, 5), auth), data);
      const changed = Buffer.from(framed);
      const at = changed.indexOf('abc');
      changed[at] = 0x62;
      await assert.rejects(
        read(() => from(changed, 5), auth),
        isRefusal('SignatureDoesNotMatch'),
      );
    }
  }
});

void test('framing without its marker is refused, not stored', () => {
  const headers = sized({ 'content-encoding': 'aws-chunked', 'x-amz-decoded-content-length': '3' });
  openRefused(authOf(headers), 'InvalidRequest');
  openBody(from(data), authOf(sized({ 'content-encoding': 'aws-chunked' })));
});

void test('object data needs a length, other bodies may be absent', () => {
  openRefused(authOf(), 'MissingContentLength', { isLengthRequired: true });
  assert.equal(openBody(from(data), authOf()).sizeBytes, 0);
  const unknown = authOf({ 'transfer-encoding': 'chunked' });
  assert.equal(openBody(from(data), unknown, { isLengthRequired: true }).sizeBytes, undefined);
  openRefused(authOf({ 'content-length': '' }), 'InvalidRequest');
  openRefused(authOf({ 'content-length': '-5' }), 'InvalidRequest');
});

void test('Content-MD5 must be sixteen bytes of base64', () => {
  const md5 = createHash('md5').update(data).digest();
  const body = openBody(from(data), authOf(sized({ 'content-md5': md5.toString('base64') })));
  assert.deepEqual(body.contentMd5, md5);
  for (const text of ['', 'YWJj', 'x', `${md5.toString('base64')}=`, md5.toString('hex')]) {
    openRefused(authOf(sized({ 'content-md5': text })), 'InvalidDigest');
  }
});

void test('one checksum is found under its header, whatever its algorithm', () => {
  for (const algorithm of checksumAlgorithms) {
    const expected = checksumOf(algorithm, data).toString('base64');
    const name = `x-amz-checksum-${algorithm.toLowerCase()}`;
    const headers = sized({ [name]: expected, 'x-amz-sdk-checksum-algorithm': algorithm });
    assert.deepEqual(openBody(from(data), authOf(headers)).checksum, { algorithm, expected });
    for (const bad of ['', 'x', `${expected}A`, expected.slice(1), `${expected.slice(0, -1)}!`]) {
      openRefused(authOf(sized({ [name]: bad })), 'BadDigest');
    }
    const noSdk = sized({ 'x-amz-sdk-checksum-algorithm': algorithm });
    openRefused(authOf(noSdk), 'InvalidRequest');
  }
  const modes = { 'x-amz-checksum-mode': 'ENABLED', 'x-amz-checksum-type': 'FULL_OBJECT' };
  assert.equal(openBody(from(data), authOf(sized(modes))).checksum, undefined);
});

void test('two checksums, unknown ones and unfit announcements are refused', () => {
  const both = sized({ [crc]: crcValue, 'x-amz-checksum-crc32c': '5if0QQ==' });
  openRefused(authOf(both), 'InvalidRequest');
  openRefused(authOf(sized({ 'x-amz-checksum-sha512': 'AAAA' })), 'InvalidRequest');
  const otherSdk = sized({ [crc]: crcValue, 'x-amz-sdk-checksum-algorithm': 'SHA256' });
  openRefused(authOf(otherSdk), 'InvalidRequest');
  const trailer = { 'x-amz-decoded-content-length': '7', 'x-amz-trailer': crc };
  const payload = { kind: 'unsigned-chunks' } as const;
  openRefused(authOf({ ...trailer, [crc]: crcValue }, payload), 'InvalidRequest');
  openRefused(authOf({ ...trailer, 'x-amz-trailer': `${crc},${crc}c` }, payload), 'InvalidRequest');
  openRefused(authOf({ ...trailer, 'x-amz-trailer': 'x-amz-meta-a' }, payload), 'InvalidRequest');
  openRefused(authOf({ ...trailer, 'x-amz-trailer': `${crc}x` }, payload), 'InvalidRequest');
  openRefused(authOf({ ...trailer, ...sized() }), 'MalformedTrailerError');
  const object = openBody(from(data), authOf(both), { ignoresChecksums: true });
  assert.equal(object.checksum, undefined);
});

void test('the presigned checksum of nothing says nothing about a body', () => {
  const sdk = 'x-amz-sdk-checksum-algorithm';
  const headers = { [crc]: 'AAAAAA==', [sdk]: 'CRC32' };
  const hoisted = authOf(sized(headers), { kind: 'unsigned' }, [crc, sdk]);
  assert.equal(openBody(from(data), hoisted).checksum, undefined);
  const empty = authOf({ 'content-length': '0', ...headers }, { kind: 'unsigned' }, [crc, sdk]);
  assert.equal(openBody(from(data), empty).checksum?.expected, 'AAAAAA==');
  const real = authOf(sized({ [crc]: crcValue }), { kind: 'unsigned' }, [crc]);
  assert.equal(openBody(from(data), real).checksum?.expected, crcValue);
  const sent = authOf(sized(headers));
  assert.equal(openBody(from(data), sent).checksum?.expected, 'AAAAAA==');
});

void test('small bodies are read whole, larger ones are not', async () => {
  const open = (headers: Record<string, string>) => openBody(from(data), authOf(headers));
  assert.deepEqual(await readSmallBody(open(sized()), 7), data);
  assert.equal(await readSmallBody(open(sized()), 6), undefined);
  const unknown = { 'transfer-encoding': 'chunked' };
  assert.deepEqual(await readSmallBody(open(unknown), 7), data);
  assert.equal(await readSmallBody(open(unknown), 6), undefined);
  const small = await readBodyInput(open(sized({ [crc]: crcValue })), 7);
  assert.deepEqual(small.body, data);
  assert.equal(small.checksum?.expected, crcValue);
  const large = await readBodyInput(open(sized()), 6);
  assert.equal(large.body instanceof Uint8Array, false);
});

void test('configuration bodies are checked against their digests', async () => {
  const open = (headers: Record<string, string>) => openBody(from(data), authOf(sized(headers)));
  const md5 = createHash('md5').update(data).digest('base64');
  assert.deepEqual(
    await readVerifiedBody(open({ 'content-md5': md5, [crc]: crcValue }), 100),
    data,
  );
  assert.equal(await readVerifiedBody(open({}), 6), undefined);
  const wrongMd5 = createHash('md5').digest('base64');
  await assert.rejects(
    readVerifiedBody(open({ 'content-md5': wrongMd5 }), 9),
    isRefusal('BadDigest'),
  );
  await assert.rejects(readVerifiedBody(open({ [crc]: 'AAAAAA==' }), 9), isRefusal('BadDigest'));
  const framed = await collect(
    encodeUnsignedChunks([data], { name: crc, value: () => 'AAAAAA==' }),
  );
  const headers = { 'x-amz-decoded-content-length': '7', 'x-amz-trailer': crc };
  const body = openBody(from(framed), authOf(headers, { kind: 'unsigned-chunks' }));
  await assert.rejects(readVerifiedBody(body, 9), isRefusal('BadDigest'));
});

/** A server that hands each request to `handle`, and a client that sends raw text. */
async function withServer(
  handle: (request: IncomingMessage) => Promise<string>,
  run: (exchange: (text: string, shouldEnd: boolean) => Promise<string>) => Promise<void>,
): Promise<void> {
  const server = createServer((request, response) => {
    void handle(request).then(
      (text) => response.end(text),
      (error: unknown) => response.end(error instanceof AuthError ? error.code : String(error)),
    );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const exchange = (text: string, shouldEnd: boolean) =>
    new Promise<string>((resolve, reject) => {
      const socket = connect(port, '127.0.0.1', () => {
        if (shouldEnd) socket.end(text);
        else socket.write(text);
      });
      let answer = '';
      socket.setEncoding('latin1');
      socket.on('data', (part: string) => {
        answer += part;
        if (answer.includes('\r\n\r\n') && !shouldEnd) socket.end();
      });
      socket.on('close', () => resolve(answer.slice(answer.indexOf('\r\n\r\n') + 4)));
      socket.on('error', reject);
    });
  try {
    await run(exchange);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

const head = 'PUT /b/k HTTP/1.1\r\nHost: h\r\nConnection: close\r\n';

void test('a client that stalls gets its answer, and the request is not destroyed', async () => {
  const read = [
    (request: IncomingMessage, auth: Auth) =>
      openBody(request, auth, { stallMs: 30 }).readAll(100).then(String),
    (request: IncomingMessage, auth: Auth) =>
      collect(openBody(request, auth, { stallMs: 30 }).body).then(String),
  ];
  for (const way of read) {
    await withServer(
      (request) => way(request, authOf(request.headers as Record<string, string>)),
      async (exchange) => {
        const stalled = await exchange(`${head}Content-Length: 7\r\n\r\nabc`, false);
        assert.equal(stalled, 'RequestTimeout');
        const whole = await exchange(`${head}Content-Length: 7\r\n\r\nabcdefg`, false);
        assert.equal(whole, 'abcdefg');
      },
    );
  }
});

void test('a client that goes away is an incomplete body', async () => {
  const codes: string[] = [];
  let finished: () => void = () => {};
  await withServer(
    async (request) => {
      const auth = authOf(request.headers as Record<string, string>);
      try {
        if (codes.length === 0) await openBody(request, auth).readAll(100);
        else await collect(openBody(request, auth).body);
      } catch (error) {
        codes.push(error instanceof AuthError ? error.code : String(error));
      }
      finished();
      return '';
    },
    async (exchange) => {
      for (let round = 0; round < 2; round++) {
        const done = new Promise<void>((resolve) => {
          finished = resolve;
        });
        await exchange(`${head}Content-Length: 7\r\n\r\nabc`, true);
        await done;
      }
    },
  );
  assert.deepEqual(codes, ['IncompleteBody', 'IncompleteBody']);
});

void test('a consumer that stops early leaves the connection for the answer', async () => {
  await withServer(
    async (request) => {
      const auth = authOf(request.headers as Record<string, string>);
      for await (const piece of openBody(request, auth).body) {
        assert.ok(piece.length > 0);
        break;
      }
      assert.equal(request.destroyed, false);
      return 'answered';
    },
    async (exchange) => {
      const answer = await exchange(`${head}Content-Length: 9\r\n\r\nabc`, false);
      assert.equal(answer, 'answered');
    },
  );
});
