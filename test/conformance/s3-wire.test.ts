// What happens on the connection: errors, identification, `100 Continue`, bodies that nobody wants,
// clients that go away, failures of the key service and of stored bytes.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { createServer, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { crc32 } from 'node:zlib';
import { GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { silentLog } from '../../src/base/log.ts';
import { configureS3Server, createS3Handler } from '../../src/s3/handler.ts';
import {
  encodeSignedChunks,
  encodeUnsignedChunks,
  presignTarget,
  type SigningPayload,
  signRequest,
} from '../../src/sigv4/sign.ts';
import { SigningKeyCache } from '../../src/sigv4/signing-key.ts';
import { KmsError } from '../../src/sse/kms.ts';
import type { BlobReader } from '../../src/store/blob-store.ts';
import { type ObjectStore, type OpenedObject, StoreError } from '../../src/store/types.ts';
import {
  accessKey,
  codeOf,
  freshBucket,
  type Harness,
  masterKeyName,
  RawConnection,
  secretKey,
  startHarness,
  textsOf,
  xmlOf,
} from './s3-harness.ts';

const mib = 1024 * 1024;
const credentials = { accessKey, secretKey };

void describe('the wire', () => {
  let at: Harness;
  let bucket: string;
  before(async () => {
    at = await startHarness();
    bucket = freshBucket();
    await at.send('PUT', `/${bucket}`);
  });
  after(() => at.close());

  void test('a signature for one path serves no other, whatever the form of the target', async () => {
    await at.send('PUT', `/${bucket}/signed`, { body: 'the text' });
    const signed = presignTarget({
      method: 'GET',
      target: `/${bucket}/signed`,
      headers: { host: at.host },
      credentials,
      region: 'us-east-1',
      timeMs: Date.now(),
      expiresSeconds: 60,
    });
    const query = signed.slice(signed.indexOf('?') + 1);
    const ask = async (target: string): Promise<string> => {
      const raw = new RawConnection(at.port);
      raw.write(`GET ${target} HTTP/1.1\r\nHost: ${at.host}\r\nConnection: close\r\n\r\n`);
      await raw.closed;
      return raw.received;
    };
    assert.match(await ask(signed), /^HTTP\/1\.1 200 [^]*the text$/);
    assert.match(await ask(`http://${at.host}${signed}`), /^HTTP\/1\.1 200 [^]*the text$/);
    for (const target of [
      `http://${at.host}?z=/${bucket}/signed?${query}`,
      `http://${at.host}?z=/${bucket}/signed&${query}`,
      `http://${at.host}?${query}&z=/${bucket}/signed`,
    ]) {
      assert.match(await ask(target), /^HTTP\/1\.1 40[03] /, target);
    }
    for (const target of ['*', `x://${at.host}${signed}`]) {
      assert.match(await ask(target), /^HTTP\/1\.1 400 /, target);
    }
  });

  void test('what only counts as a header is refused in the query of a request that is not presigned', async () => {
    for (const name of [
      'X-Amz-Server-Side-Encryption',
      'x-amz-object-lock-mode',
      'X-Amz-Acl',
      'x-amz-grant-read',
      'x-amz-tagging',
      'x-amz-checksum-crc32',
    ]) {
      const target = `/${bucket}/k?${name}=x`;
      assert.equal(await at.outcome('PUT', target, { body: 'x' }), '400 InvalidArgument', name);
    }
  });

  void test('a forced deletion takes no condition and no version', async () => {
    await at.send('PUT', `/${bucket}/forced/1`, { body: 'x' });
    const headers = { 'x-minio-force-delete': 'true' };
    const refusal = '400 InvalidArgument';
    const target = `/${bucket}/forced`;
    assert.equal(await at.outcome('DELETE', `${target}?versionId=null`, { headers }), refusal);
    const conditional = { ...headers, 'if-match': '"x"' };
    assert.equal(await at.outcome('DELETE', target, { headers: conditional }), refusal);
    assert.equal(await at.outcome('HEAD', `${target}/1`), '200');
    assert.equal(await at.outcome('DELETE', target, { headers }), '204');
    assert.equal(await at.outcome('HEAD', `${target}/1`), '404 NoSuchKey');
  });

  void test('metadata of any name is kept', async () => {
    const headers = { ['x-amz-meta-__proto__']: 'a', 'x-amz-meta-constructor': 'b' };
    await at.send('PUT', `/${bucket}/named`, { headers, body: 'x' });
    const answer = await at.send('HEAD', `/${bucket}/named`);
    assert.equal(answer.headers['x-amz-meta-__proto__'], 'a');
    assert.equal(answer.headers['x-amz-meta-constructor'], 'b');
  });

  void test('an error is an XML document that names the request, and its ids are in the headers', async () => {
    const answer = await at.send('GET', `/${bucket}/no%20such%3Ckey`);
    assert.equal(answer.status, 404);
    assert.equal(answer.headers['content-type'], 'application/xml');
    assert.equal(answer.headers['content-length'], String(answer.body.length));
    const error = xmlOf(answer);
    assert.equal(error.name, 'Error');
    assert.deepEqual(textsOf(error, 'Code'), ['NoSuchKey']);
    assert.deepEqual(textsOf(error, 'Key'), ['no such<key']);
    assert.deepEqual(textsOf(error, 'BucketName'), [bucket]);
    assert.deepEqual(textsOf(error, 'Resource'), [`/${bucket}/no%20such%3Ckey`]);
    assert.deepEqual(textsOf(error, 'RequestId'), [answer.headers['x-amz-request-id']]);
    assert.deepEqual(textsOf(error, 'HostId'), [answer.headers['x-amz-id-2']]);
    const fine = await at.send('GET', `/${bucket}`);
    assert.ok(fine.headers['x-amz-request-id'] !== answer.headers['x-amz-request-id']);
    assert.ok(fine.headers['x-amz-id-2'] && fine.headers['date'] && fine.headers['server']);
  });

  void test('a refused HEAD has no body, and its code and text in headers', async () => {
    const answer = await at.send('HEAD', `/${bucket}/absent`);
    assert.equal(answer.status, 404);
    assert.equal(answer.body.length, 0);
    assert.equal(answer.headers['x-minio-error-code'], 'NoSuchKey');
    assert.equal(answer.headers['x-minio-error-desc'], '"The specified key does not exist."');
    assert.equal(answer.headers['x-amz-delete-marker'], 'false');
  });

  void test('targets that are no URI, and keys that are too long, are refused', async () => {
    assert.equal(await at.outcome('GET', `/${bucket}/%zz`), '400 InvalidURI');
    assert.equal(await at.outcome('GET', `/${bucket}/%ff`), '400 InvalidURI');
    assert.equal(await at.outcome('GET', `/${bucket}/a%00b`), '400 InvalidURI');
    const long = 'é'.repeat(512);
    const put = (key: string) =>
      at.outcome('PUT', `/${bucket}/${encodeURIComponent(key)}`, { body: '' });
    assert.equal(await put(long), '200');
    assert.equal(await put(`${long}x`), '400 KeyTooLongError');
    assert.equal(await at.outcome('POST', '/'), '405 MethodNotAllowed');
    const wrong = await at.send('POST', `/${bucket}/k`);
    assert.equal(wrong.headers['allow'], 'PUT, GET, HEAD, DELETE');
  });

  void test('strangers get 403, wrong secrets too, and an absent bucket is 404 for everybody', async () => {
    const plain = (target: string, headers: Record<string, string> = {}) =>
      fetch(`http://${at.host}${target}`, { headers });
    const anonymous = await plain(`/${bucket}/k`);
    assert.equal(anonymous.status, 403);
    assert.match(await anonymous.text(), /AccessDenied/);
    assert.equal((await plain('/')).status, 403);
    assert.equal((await plain(`/${freshBucket()}/k`)).status, 404);
    const wrong = new S3Client({
      region: 'us-east-1',
      endpoint: `http://${at.host}`,
      forcePathStyle: true,
      credentials: { accessKeyId: accessKey, secretAccessKey: 'wrong' },
      maxAttempts: 1,
    });
    await assert.rejects(wrong.send(new GetObjectCommand({ Bucket: bucket, Key: 'k' })), {
      name: 'SignatureDoesNotMatch',
    });
    wrong.destroy();
    const preflight = await fetch(`http://${at.host}/${bucket}/k`, {
      method: 'OPTIONS',
      headers: { origin: 'http://x', 'access-control-request-method': 'GET' },
    });
    assert.equal(preflight.status, 403);
    assert.match(await preflight.text(), /AccessForbidden/);
  });

  void test('a region that is not ours is named in the error, unless it is the location of the bucket', async () => {
    const send = async (region: string, target: string) => {
      const { headers } = signRequest({
        method: 'GET',
        target,
        headers: { host: at.host },
        credentials,
        region,
        timeMs: Date.now(),
        payload: { kind: 'empty' },
      });
      const answer = await fetch(`http://${at.host}${target}`, { headers });
      return { status: answer.status, text: await answer.text() };
    };
    const refused = await send('eu-west-9', `/${bucket}`);
    assert.equal(refused.status, 400);
    assert.match(
      refused.text,
      /<Code>AuthorizationHeaderMalformed<\/Code>.*<Region>us-east-1<\/Region>/s,
    );
    assert.equal((await send('eu-west-9', '/')).status, 200);
    assert.equal((await send('eu-west-9', `/${bucket}?location`)).status, 200);
    const elsewhere = freshBucket();
    await at.send('PUT', `/${elsewhere}`, {
      body: '<CreateBucketConfiguration><LocationConstraint>eu-west-9</LocationConstraint></CreateBucketConfiguration>',
    });
    assert.equal((await send('eu-west-9', `/${elsewhere}`)).status, 200);
  });

  void test('presigned targets read and write, and their query stands for headers', async () => {
    const presign = (method: string, target: string) =>
      `http://${at.host}${presignTarget({ method, target, headers: { host: at.host }, credentials, region: 'us-east-1', timeMs: Date.now(), expiresSeconds: 60 })}`;
    const put = await fetch(
      presign('PUT', `/${bucket}/pre?x-amz-server-side-encryption=AES256&x-amz-meta-a=b`),
      { method: 'PUT', body: 'hello' },
    );
    assert.equal(put.status, 200);
    assert.equal(put.headers.get('x-amz-server-side-encryption'), 'AES256');
    const get = await fetch(presign('GET', `/${bucket}/pre?response-content-type=text%2Fz`));
    assert.equal(await get.text(), 'hello');
    assert.equal(get.headers.get('content-type'), 'text/z');
    assert.equal(get.headers.get('x-amz-meta-a'), 'b');
    const kms = await fetch(
      presign('PUT', `/${bucket}/pre?x-amz-server-side-encryption=aws%3Akms`),
      { method: 'PUT', body: 'x' },
    );
    assert.equal(kms.status, 200);
    assert.equal(kms.headers.get('x-amz-server-side-encryption'), 'aws:kms');
    const split = await fetch(presign('PUT', `/${bucket}/pre?x-amz-meta-a=x%0D%0Ay`), {
      method: 'PUT',
      body: 'x',
    });
    assert.equal(split.status, 400);
    const unicode = await fetch(presign('PUT', `/${bucket}/pre?x-amz-meta-a=%C3%A9`), {
      method: 'PUT',
      body: 'x',
    });
    assert.equal(unicode.status, 200);
    assert.equal((await at.send('GET', `/${bucket}/pre`)).headers['x-amz-meta-a'], '\u00c3\u00a9');
  });

  void test('presigned targets that carry a copy source in their query copy', async () => {
    const presign = (method: string, target: string) =>
      `http://${at.host}${presignTarget({ method, target, headers: { host: at.host }, credentials, region: 'us-east-1', timeMs: Date.now(), expiresSeconds: 60 })}`;
    await at.send('PUT', `/${bucket}/from`, { body: 'copied', headers: { 'x-amz-meta-a': 'b' } });
    const source = `X-Amz-Copy-Source=${encodeURIComponent(`/${bucket}/from`)}`;
    const more = 'x-amz-server-side-encryption=AES256&X-Amz-Tagging=a%3D1';
    const tags = 'X-Amz-Tagging-Directive=REPLACE';
    const copy = await fetch(presign('PUT', `/${bucket}/to?${source}&${more}&${tags}`), {
      method: 'PUT',
    });
    assert.match(await copy.text(), /<CopyObjectResult/);
    assert.equal(copy.headers.get('x-amz-server-side-encryption'), 'AES256');
    const copied = await at.send('GET', `/${bucket}/to`);
    assert.equal(copied.body.toString(), 'copied');
    assert.equal(copied.headers['x-amz-meta-a'], 'b');
    assert.equal(copied.headers['x-amz-tagging-count'], '1');

    const upload = await fetch(
      presign(
        'POST',
        `/${bucket}/parts?uploads&X-Amz-Meta-C=d&X-Amz-Server-Side-Encryption=AES256`,
      ),
      { method: 'POST' },
    );
    assert.equal(upload.headers.get('x-amz-server-side-encryption'), 'AES256');
    const uploadId = /<UploadId>([^<]+)</.exec(await upload.text())?.[1] ?? '';
    const part = await fetch(
      presign('PUT', `/${bucket}/parts?partNumber=1&uploadId=${uploadId}&${source}`),
      { method: 'PUT' },
    );
    const etag = /<ETag>([^<]+)</.exec(await part.text())?.[1] ?? '';
    const body = `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${etag}</ETag></Part></CompleteMultipartUpload>`;
    const target = `/${bucket}/parts?uploadId=${uploadId}`;
    assert.equal(await at.outcome('POST', target, { body }), '200');
    const whole = await at.send('GET', `/${bucket}/parts`);
    assert.equal(whole.body.toString(), 'copied');
    assert.equal(whole.headers['x-amz-meta-c'], 'd');
    const read = await fetch(presign('GET', `/${bucket}/to?${source}`));
    assert.equal(read.status, 400);
  });

  void test('a copy source or encryption in the query of a request that is not presigned is refused', async () => {
    await at.send('PUT', `/${bucket}/from`, { body: 'copied' });
    for (const query of [
      `X-Amz-Copy-Source=${encodeURIComponent(`/${bucket}/from`)}`,
      'x-amz-server-side-encryption=AES256',
    ]) {
      const target = `/${bucket}/never?${query}`;
      assert.equal(await at.outcome('PUT', target, { body: '' }), '400 InvalidArgument');
    }
    assert.equal(await at.outcome('GET', `/${bucket}/never`), '404 NoSuchKey');
  });

  for (const size of [0, 1, 70_000, 300_000]) {
    void test(`bodies of ${size} bytes arrive in every kind of chunks`, async () => {
      const bytes = randomBytes(size);
      const crc = Buffer.alloc(4);
      crc.writeUInt32BE(crc32(bytes));
      const value = crc.toString('base64');
      const trailer = { name: 'x-amz-checksum-crc32', value: () => value };
      const payloads: readonly SigningPayload[] = [
        { kind: 'signed-chunks', sizeBytes: size },
        { kind: 'signed-chunks', sizeBytes: size, trailer: trailer.name },
        { kind: 'unsigned-chunks', sizeBytes: size, trailer: trailer.name },
      ];
      for (const payload of payloads) {
        const target = `/${bucket}/chunked`;
        const signed = signRequest({
          method: 'PUT',
          target,
          headers: { host: at.host, 'content-encoding': 'aws-chunked' },
          credentials,
          region: 'us-east-1',
          timeMs: Date.now(),
          payload,
        });
        const source = (async function* () {
          yield bytes;
        })();
        const parts: Uint8Array[] = [];
        const withTrailer = payload.kind !== 'signed-chunks' || payload.trailer !== undefined;
        const chunks =
          payload.kind === 'signed-chunks'
            ? encodeSignedChunks(signed, source, withTrailer ? trailer : undefined)
            : encodeUnsignedChunks(source, trailer);
        for await (const chunk of chunks) parts.push(chunk);
        const body = Buffer.concat(parts);
        const answer = await fetch(`http://${at.host}${target}`, {
          method: 'PUT',
          headers: signed.headers,
          body,
        });
        assert.equal(answer.status, 200, await answer.text());
        const got = await at.send('GET', target, { headers: { 'x-amz-checksum-mode': 'ENABLED' } });
        assert.ok(bytes.equals(got.body));
        assert.equal(got.headers['content-encoding'], undefined);
        if (withTrailer) assert.equal(got.headers['x-amz-checksum-crc32'], value);
        if (size > 0) {
          const data = body.indexOf('\r\n') + 2;
          body[data] = (body[data] ?? 0) ^ 1;
          const before = await at.send('HEAD', target);
          const damaged = await fetch(`http://${at.host}${target}`, {
            method: 'PUT',
            headers: signed.headers,
            body,
          });
          await damaged.text();
          assert.ok(damaged.status >= 400 && damaged.status < 500, String(damaged.status));
          assert.equal((await at.send('HEAD', target)).headers['etag'], before.headers['etag']);
        }
      }
    });
  }

  void test('100 Continue is sent after the header checks, and not at all when they fail', async () => {
    const body = randomBytes(1000);
    const payload: SigningPayload = { kind: 'bytes', bytes: body };
    const good = new RawConnection(at.port);
    good.write(
      at.head('PUT', `/${bucket}/expect`, {
        headers: { expect: '100-continue', 'content-length': '1000' },
        payload,
      }),
    );
    await good.waitFor('HTTP/1.1 100 Continue\r\n\r\n');
    assert.equal(good.received, 'HTTP/1.1 100 Continue\r\n\r\n');
    good.write(body);
    await good.waitFor('HTTP/1.1 200 OK');
    // The connection serves the next request.
    good.write(at.head('HEAD', `/${bucket}/expect`, {}));
    await good.waitFor('content-length: 1000');
    good.socket.destroy();
    for (const [target, headers, code] of [
      [`/${freshBucket()}/k`, {}, 'NoSuchBucket'],
      [`/${bucket}/k`, { 'x-amz-server-side-encryption': 'AES192' }, 'InvalidArgument'],
      [`/${bucket}/k`, { 'content-md5': 'x' }, 'InvalidDigest'],
      [`/${bucket}/expect`, { 'if-none-match': '*' }, 'PreconditionFailed'],
      [`/${bucket}/absent`, { 'if-match': '*' }, 'NoSuchKey'],
      [`/${bucket}/k?partNumber=1&uploadId=nope`, {}, 'NoSuchUpload'],
    ] as const) {
      const bad = new RawConnection(at.port);
      bad.write(
        at.head('PUT', target, {
          headers: { expect: '100-continue', 'content-length': '1000', ...headers },
          payload,
        }),
      );
      await bad.waitFor(`<Code>${code}</Code>`);
      assert.ok(!bad.received.includes('100 Continue'), bad.received);
      await bad.closed;
    }
    const wrong = new RawConnection(at.port);
    wrong.write(
      at
        .head('PUT', `/${bucket}/k`, {
          headers: { expect: '100-continue', 'content-length': '1000' },
          payload,
        })
        .replace(/Signature=[0-9a-f]{8}/, 'Signature=00000000'),
    );
    await wrong.waitFor('<Code>SignatureDoesNotMatch</Code>');
    assert.ok(!wrong.received.includes('100 Continue'));
    await wrong.closed;
  });

  void test('an unknown expectation is ignored', async () => {
    const connection = new RawConnection(at.port);
    connection.write(
      at.head('PUT', `/${bucket}/e`, {
        headers: { expect: '200-ok', 'content-length': '1' },
        payload: { kind: 'bytes', bytes: Buffer.from('x') },
      }),
    );
    connection.write('x');
    await connection.waitFor('HTTP/1.1 200 OK');
    connection.socket.destroy();
  });

  void test('a refused body of moderate size is read, and the connection goes on', async () => {
    const body = randomBytes(mib);
    const connection = new RawConnection(at.port);
    const headers = { 'content-length': String(body.length), 'x-amz-acl': 'nope' };
    connection.write(
      at.head('PUT', `/${bucket}/k`, { headers, payload: { kind: 'bytes', bytes: body } }),
    );
    connection.write(body);
    await connection.waitFor('<Code>InvalidArgument</Code>');
    connection.received = '';
    connection.write(at.head('HEAD', `/${bucket}`, {}));
    await connection.waitFor('HTTP/1.1 200 OK');
    connection.socket.destroy();
  });

  void test('a client that sends 40 MiB for nothing still reads the answer', async () => {
    const body = Buffer.alloc(40 * mib);
    const target = `/${freshBucket()}/k`;
    const { headers } = signRequest({
      method: 'PUT',
      target,
      headers: { host: at.host },
      credentials,
      region: 'us-east-1',
      timeMs: Date.now(),
      payload: { kind: 'unsigned' },
    });
    const answer = await new Promise<{ status: number; text: string }>((resolve, reject) => {
      const sent = httpRequest(
        {
          host: '127.0.0.1',
          port: at.port,
          method: 'PUT',
          path: target,
          headers: { ...headers, 'content-length': body.length },
        },
        (response) => {
          let text = '';
          response.on('data', (chunk: Buffer) => {
            text += chunk.toString();
          });
          response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
        },
      );
      sent.on('error', reject);
      sent.end(body);
    });
    assert.equal(answer.status, 404);
    assert.match(answer.text, /NoSuchBucket/);
  });

  void test('wrong hashes, short bodies and missing lengths are refused, and nothing is stored', async () => {
    const target = `/${bucket}/never`;
    const connection = (headers: Record<string, string>, payload: SigningPayload, body: string) => {
      const raw = new RawConnection(at.port);
      raw.write(at.head('PUT', target, { headers, payload }));
      raw.write(body);
      return raw;
    };
    const sha = connection(
      { 'content-length': '2' },
      { kind: 'bytes', bytes: Buffer.from('ok') },
      'no',
    );
    await sha.waitFor('<Code>XAmzContentSHA256Mismatch</Code>');
    const length = connection({}, { kind: 'unsigned' }, '');
    await length.waitFor('<Code>MissingContentLength</Code>');
    assert.ok(length.received.startsWith('HTTP/1.1 411'));
    const short = connection({ 'content-length': '10' }, { kind: 'unsigned' }, 'abc');
    await new Promise((resolve) => {
      setTimeout(resolve, 50);
    });
    short.socket.end();
    await short.closed;
    const chunked = connection(
      { 'transfer-encoding': 'chunked' },
      { kind: 'unsigned' },
      '3\r\nabc\r\n0\r\n\r\n',
    );
    await chunked.waitFor('HTTP/1.1 200 OK');
    assert.equal((await at.send('GET', target)).body.toString(), 'abc');
    for (const raw of [sha, length, chunked]) raw.socket.destroy();
  });

  void test('a client that goes away in the middle of an upload leaves nothing behind', async () => {
    const count = async () => {
      let blobs = 0;
      for await (const _ of at.blobs.list()) blobs += 1;
      return blobs;
    };
    const before = await count();
    for (const sse of [{}, { 'x-amz-server-side-encryption': 'AES256' }]) {
      const raw = new RawConnection(at.port);
      raw.write(
        at.head('PUT', `/${bucket}/aborted`, {
          headers: { 'content-length': String(8 * mib), ...sse },
          payload: { kind: 'unsigned' },
        }),
      );
      raw.write(randomBytes(3 * mib));
      await new Promise((resolve) => {
        setTimeout(resolve, 60);
      });
      raw.socket.destroy();
      await raw.closed;
    }
    await new Promise((resolve) => {
      setTimeout(resolve, 60);
    });
    assert.equal(await at.outcome('GET', `/${bucket}/aborted`), '404 NoSuchKey');
    assert.equal(await count(), before);
  });

  void test('requests sent without waiting are answered in order', async () => {
    await at.send('PUT', `/${bucket}/p1`, { body: 'one' });
    const raw = new RawConnection(at.port);
    raw.write(
      at.head('GET', `/${bucket}/p1`, {}) +
        at.head('GET', `/${bucket}/absent`, {}) +
        at.head('GET', `/${bucket}/p1`, {}),
    );
    await raw.waitFor('</Error>HTTP/1.1 200 OK');
    assert.match(raw.received, /^HTTP\/1\.1 200 OK[^]*one.*HTTP\/1\.1 404[^]*HTTP\/1\.1 200 OK/);
    raw.socket.destroy();
  });

  void test('failures of the key service are told apart, and HEAD, LIST and plain objects go on', async () => {
    const sse = { 'x-amz-server-side-encryption': 'AES256' };
    await at.send('PUT', `/${bucket}/locked`, { body: 'x', headers: sse });
    await at.send('PUT', `/${bucket}/open`, { body: 'x' });
    // biome-ignore format: one case to a line
    const cases = [
      ['unreachable', '503 ServiceUnavailable'],
      ['failed', '503 ServiceUnavailable'],
      ['key-disabled', '400 KMS.DisabledException'],
      ['key-not-found', '400 KMS.NotFoundException'],
      ['not-authorized', '403 AccessDenied'],
      ['invalid-ciphertext', '400 kms:InvalidCiphertextException'],
    ] as const;
    try {
      for (const [code, expected] of cases) {
        at.kms.failure = new KmsError(code, 'secret detail', { keyName: masterKeyName });
        for (const [method, key] of [
          ['GET', 'locked'],
          ['PUT', 'new'],
        ] as const) {
          const answer = await at.send(
            method,
            `/${bucket}/${key}`,
            method === 'PUT' ? { headers: sse, body: 'x' } : {},
          );
          assert.equal(`${answer.status} ${codeOf(answer)}`, expected);
          const text = answer.body.toString();
          assert.ok(!text.includes('secret detail'));
          assert.equal(answer.headers['retry-after'], code === 'unreachable' ? '5' : undefined);
          if (!expected.startsWith('503')) assert.ok(text.includes(masterKeyName), text);
        }
        assert.equal(await at.outcome('HEAD', `/${bucket}/locked`), '200');
        assert.equal(await at.outcome('GET', `/${bucket}?prefix=locked`), '200');
        assert.equal(await at.outcome('GET', `/${bucket}/open`), '200');
        assert.equal(await at.outcome('GET', `/${bucket}/new`), '404 NoSuchKey');
      }
    } finally {
      at.kms.failure = undefined;
    }
    assert.equal(await at.outcome('GET', `/${bucket}/locked`), '200');
  });
});

/** Waits a few seconds at most for something to become true. */
async function eventually(condition: () => boolean): Promise<void> {
  for (let tries = 0; tries < 500 && !condition(); tries += 1) {
    await new Promise((resolve) => {
      setTimeout(resolve, 10);
    });
  }
}

/** A store whose object bodies are what the test makes of them. */
function withBody(
  make: (length: number) => BlobReader | Promise<never>,
): (store: ObjectStore) => ObjectStore {
  return (store) => ({
    ...store,
    openObject: async (target) => {
      const object = await store.openObject(target);
      const faked: OpenedObject = {
        ...object,
        unlock: () => faked,
        read: async () => make(object.info.sizeBytes),
      };
      return faked;
    },
  });
}

function readerOf(
  source: AsyncGenerator<Uint8Array>,
  onClose: () => void = () => undefined,
): BlobReader {
  return {
    [Symbol.asyncIterator]: () => source,
    close: async () => {
      onClose();
      await source.return(undefined);
    },
  };
}

void describe('object data that fails', () => {
  const size = 4 * mib;

  async function responseOf(wrap: (store: ObjectStore) => ObjectStore): Promise<string> {
    const at = await startHarness({ wrap });
    try {
      await at.send('PUT', '/bucket');
      await at.send('PUT', '/bucket/k', { body: Buffer.alloc(size) });
      const raw = new RawConnection(at.port);
      raw.write(at.head('GET', '/bucket/k', {}));
      await Promise.race([raw.closed, raw.waitFor('</Error>')]);
      raw.socket.destroy();
      return raw.received;
    } finally {
      await at.close();
    }
  }

  void test('before the first byte it is an error response', async () => {
    const corrupt = () => new StoreError('ObjectCorrupt', 'secret detail');
    const early = await responseOf(withBody(() => Promise.reject(corrupt())));
    assert.match(early, /^HTTP\/1\.1 500 [^]*<Code>InternalError<\/Code>/);
    assert.ok(!early.includes('secret detail'));
    const first = await responseOf(
      withBody(() =>
        readerOf(
          (async function* () {
            yield* [];
            throw corrupt();
          })(),
        ),
      ),
    );
    assert.match(first, /^HTTP\/1\.1 500 [^]*<Code>InternalError<\/Code>/);
  });

  void test('after the first byte the connection is cut: a short object never looks whole', async () => {
    const bodies = {
      failing: async function* () {
        yield Buffer.alloc(mib);
        throw new StoreError('ObjectCorrupt', 'x');
      },
      short: async function* () {
        yield Buffer.alloc(mib);
      },
      long: async function* () {
        yield Buffer.alloc(size);
        yield Buffer.alloc(1);
      },
    };
    for (const [name, body] of Object.entries(bodies)) {
      const received = await responseOf(withBody(() => readerOf(body())));
      assert.match(received, /^HTTP\/1\.1 200 OK/, name);
      const length = received.length - received.indexOf('\r\n\r\n') - 4;
      if (name !== 'long') assert.ok(length < size, name);
      assert.ok(!received.includes('<Error>'), name);
    }
  });

  void test('a reader is closed when its client goes away, and nothing more is read', async () => {
    let isClosed = false;
    let yielded = 0;
    const endless = async function* (length: number) {
      for (let sent = 0; sent < length; sent += mib) {
        yielded += 1;
        yield Buffer.alloc(mib);
      }
    };
    const at = await startHarness({
      wrap: withBody(() =>
        readerOf(endless(64 * mib), () => {
          isClosed = true;
        }),
      ),
    });
    try {
      await at.send('PUT', '/bucket');
      await at.send('PUT', '/bucket/k', { body: Buffer.alloc(size) });
      const raw = new RawConnection(at.port);
      raw.socket.pause();
      raw.write(at.head('GET', '/bucket/k', {}));
      await new Promise((resolve) => {
        setTimeout(resolve, 100);
      });
      raw.socket.destroy();
      await raw.closed;
      await eventually(() => isClosed);
      assert.ok(isClosed);
      assert.ok(yielded < 64);
    } finally {
      await at.close();
    }
  });

  void test('a client that does not read is cut off after the limit', async () => {
    let isClosed = false;
    const endless = async function* () {
      for (;;) yield Buffer.alloc(mib);
    };
    const at = await startHarness({
      limits: { stallMs: 150 },
      wrap: (store) => ({
        ...store,
        openObject: async (target) => {
          const object = await store.openObject(target);
          const info = { ...object.info, sizeBytes: 1024 * mib };
          const faked: OpenedObject = {
            ...object,
            info,
            unlock: () => faked,
            read: async () =>
              readerOf(endless(), () => {
                isClosed = true;
              }),
          };
          return faked;
        },
      }),
    });
    try {
      await at.send('PUT', '/bucket');
      await at.send('PUT', '/bucket/k', { body: 'x' });
      const raw = new RawConnection(at.port);
      raw.socket.pause();
      raw.write(at.head('GET', '/bucket/k', {}));
      await eventually(() => isClosed);
      assert.ok(isClosed);
      raw.socket.destroy();
    } finally {
      await at.close();
    }
  });

  void test('a full disk is 507, and a body that stalls is a timeout', async () => {
    const at = await startHarness({
      limits: { stallMs: 100 },
      wrap: (store) => ({
        ...store,
        putObject: async (input) => {
          if (input.key === 'full') throw new StoreError('StorageFull', 'There is no space.');
          return store.putObject(input);
        },
      }),
    });
    try {
      await at.send('PUT', '/bucket');
      assert.equal(await at.outcome('PUT', '/bucket/full', { body: 'x' }), '507 XMinioStorageFull');
      const raw = new RawConnection(at.port);
      raw.write(
        at.head('PUT', '/bucket/slow', {
          headers: { 'content-length': '10' },
          payload: { kind: 'unsigned' },
        }),
      );
      raw.write('abc');
      await raw.waitFor('<Code>RequestTimeout</Code>');
      raw.socket.destroy();
    } finally {
      await at.close();
    }
  });
});

void describe('addressing and starting', () => {
  void test('buckets are found in the host name when a domain is set', async () => {
    const at = await startHarness({ domains: ['s3.local'] });
    try {
      await at.send('PUT', '/dotted.bucket');
      const send = (method: string, host: string, target: string) =>
        new Promise<{ status: number; text: string }>((resolve, reject) => {
          const signed = signRequest({
            method,
            target,
            headers: { host },
            credentials,
            region: 'us-east-1',
            timeMs: Date.now(),
            payload: { kind: 'unsigned' },
          });
          const sent = httpRequest(
            {
              host: '127.0.0.1',
              port: at.port,
              method,
              path: target,
              headers: { ...signed.headers, ...(method === 'PUT' ? { 'content-length': 0 } : {}) },
            },
            (response) => {
              let text = '';
              response.on('data', (chunk: Buffer) => {
                text += chunk.toString();
              });
              response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
            },
          );
          sent.on('error', reject);
          sent.end();
        });
      assert.equal((await send('PUT', 'dotted.bucket.s3.local:9000', '/a/b')).status, 200);
      const list = await send('GET', 'dotted.bucket.S3.LOCAL', '/?list-type=2');
      assert.match(list.text, /<Key>a\/b<\/Key>/);
      assert.equal((await send('GET', 's3.local', '/dotted.bucket/a/b')).status, 200);
      assert.match((await send('GET', 's3.local', '/')).text, /ListAllMyBucketsResult/);
    } finally {
      await at.close();
    }
  });

  void test('a store that is not open yet is 503 with the time to come back', async () => {
    const server = createServer();
    const auth = {
      credentials: { find: () => undefined },
      signingKeys: new SigningKeyCache(),
      region: '',
      now: Date.now,
    };
    configureS3Server(
      server,
      createS3Handler({ store: () => undefined, auth, region: '', log: silentLog }),
    );
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    const { port } = server.address() as AddressInfo;
    const answer = await fetch(`http://127.0.0.1:${port}/bucket`);
    assert.equal(answer.status, 503);
    assert.ok(Number(answer.headers.get('retry-after')) > 0);
    assert.match(await answer.text(), /XMinioServerNotInitialized/);
    server.closeAllConnections();
    server.close();
  });

  void test('the SDK verifies what it gets: checksums of whole objects are sent, of slices not', async () => {
    const at = await startHarness();
    try {
      await at.send('PUT', '/bucket');
      await at.sdk.send(
        new PutObjectCommand({
          Bucket: 'bucket',
          Key: 'k',
          Body: 'abcdefg',
          ChecksumAlgorithm: 'CRC64NVME',
        }),
      );
      const whole = await at.sdk.send(
        new GetObjectCommand({ Bucket: 'bucket', Key: 'k', ChecksumMode: 'ENABLED' }),
      );
      assert.equal(whole.ChecksumCRC64NVME, 'SmzZ/LTp1CA=');
      assert.equal(await whole.Body?.transformToString(), 'abcdefg');
      const slice = await at.sdk.send(
        new GetObjectCommand({ Bucket: 'bucket', Key: 'k', Range: 'bytes=1-2' }),
      );
      assert.equal(slice.ChecksumCRC64NVME, undefined);
      const quiet = await at.send('HEAD', '/bucket/k');
      assert.equal(quiet.headers['x-amz-checksum-crc64nvme'], undefined);
      const bad = {
        headers: { 'content-md5': createHash('md5').update('x').digest('base64') },
        body: 'y',
      };
      assert.equal(await at.outcome('PUT', '/bucket/k', bad), '400 BadDigest');
    } finally {
      await at.close();
    }
  });
});
