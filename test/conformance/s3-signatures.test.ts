// A request that was altered after it was signed is refused, whatever was altered and however it was signed, and
// leaves nothing behind. The alterations are generated from the requests.

import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { checksumOf } from '../../src/base/checksums.ts';
import {
  encodeSignedChunks,
  encodeUnsignedChunks,
  presignTarget,
  type SigningPayload,
  signRequest,
} from '../../src/sigv4/sign.ts';
import {
  type Alteration,
  alteredAuthorization,
  alteredBodies,
  alteredHeaders,
  alteredLines,
  alteredSignatures,
  injectedHeaders,
} from '../support/alterations.ts';
import { encodeForm, type FormFields, signedForm } from '../support/post-form.ts';
import { type RawAnswer, type RawRequest, sendRaw } from '../support/raw-request.ts';
import { sseS3Headers } from '../support/sse-headers.ts';
import { accessKey, type Harness, secretKey, startHarness, testUser } from './s3-harness.ts';

const credentials = { accessKey, secretKey };

/** What a refusal because of the signature may be called; errors of what comes after it are not among them. */
const refusals: ReadonlySet<string> = new Set([
  'AccessDenied',
  'AuthorizationHeaderMalformed',
  'AuthorizationQueryParametersError',
  'BadDigest',
  'IncompleteBody',
  'InvalidAccessKeyId',
  'InvalidArgument',
  'InvalidBucketName',
  'InvalidDigest',
  'InvalidRequest',
  'InvalidTokenId',
  'InvalidURI',
  'MalformedPOSTRequest',
  'MalformedTrailerError',
  'MissingContentLength',
  'NotImplemented',
  'RequestTimeTooSkewed',
  'SignatureDoesNotMatch',
  'UnsupportedMetadata',
  'XAmzContentSHA256Mismatch',
]);

function isRefusal({ status, code, body }: RawAnswer): boolean {
  // DeleteObjects answers for each name by itself.
  if (status === 200) return code === 'AccessDenied' && !body.includes('<Deleted>');
  if (refusals.has(code)) return status >= 400;
  // What is not HTTP at all is refused before there is an S3 error.
  return status === 400 && body === '';
}

void describe('altered requests', () => {
  let at: Harness;
  let count = 0;
  before(async () => {
    at = await startHarness({ users: [testUser('other-user')] });
    for (const bucket of ['signed', 'other']) await at.send('PUT', `/${bucket}`);
    for (const key of ['object', 'secret', 'o', 'objec']) {
      await at.send('PUT', `/signed/${key}`, { body: `${key} of signed` });
      await at.send('PUT', `/other/${key}`, { body: `${key} of other` });
    }
  });
  after(async () => {
    console.log(`${count} altered requests`);
    await at.close();
  });

  /** Everything that is stored. */
  async function snapshot(): Promise<string> {
    const range = { start: Buffer.from([0]), end: Buffer.from([0xff]), limit: 10_000 };
    const hash = createHash('sha256');
    for (const { entryKey, value } of await at.kv.list(range)) {
      hash.update(entryKey).update(value);
    }
    return `${hash.digest('hex')} ${[...at.blobs.bytes.keys()].toSorted().join(' ')}`;
  }

  async function assertUnchanged(before: string, what: string): Promise<void> {
    for (let attempt = 0; attempt < 200 && (await snapshot()) !== before; attempt += 1) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    assert.equal(await snapshot(), before, `${what} left something`);
  }

  /** The request as it is succeeds (tried last, when its effects do no harm); every altered one is refused. */
  async function check(
    request: RawRequest,
    alterations: readonly Alteration[],
    status: number,
  ): Promise<void> {
    const before = await snapshot();
    const passed: string[] = [];
    for (const { what, request: altered } of alterations) {
      count += 1;
      const answer = await sendRaw(at.port, altered);
      if (!isRefusal(answer)) passed.push(`${what}: ${answer.status} ${answer.code}`);
    }
    assert.deepEqual(passed, []);
    await assertUnchanged(before, 'a refused request');
    const answer = await sendRaw(at.port, request);
    assert.equal(answer.status, status, answer.body);
  }

  function sign(
    method: string,
    target: string,
    headers: Readonly<Record<string, string>>,
    payload: SigningPayload,
  ) {
    return signRequest({
      method,
      target,
      headers: { host: at.host, ...headers },
      credentials,
      region: 'us-east-1',
      timeMs: Date.now(),
      payload,
    });
  }

  function signedBytes(
    method: string,
    target: string,
    headers: Readonly<Record<string, string>>,
    text = '',
  ): RawRequest {
    const body = Buffer.from(text);
    const signed = sign(method, target, headers, { kind: 'bytes', bytes: body });
    return { method, target, headers: Object.entries(signed.headers), body };
  }

  const namesOf = (request: RawRequest): string[] =>
    request.headers.map(([name]) => name).filter((name) => name !== 'authorization');

  const metadata = {
    'x-amz-meta-a': 'value',
    'x-amz-tagging': 'a=b',
    'content-type': 'text/plain',
  };

  // biome-ignore format: one request to a line
  const headerSigned: readonly (readonly [string, string, Readonly<Record<string, string>>, string, number])[] = [
    ['PUT', '/signed/object?x-id=PutObject', { ...metadata, ...sseS3Headers }, 'some data', 200],
    ['GET', '/signed/object?partNumber=1&response-content-type=text%2Fplain', {}, '', 206],
    ['GET', '/signed/object', { range: 'bytes=0-3' }, '', 206],
    ['HEAD', '/signed/object', {}, '', 200],
    ['GET', '/signed?list-type=2&prefix=o&max-keys=5', {}, '', 200],
    ['PUT', '/signed/object?tagging=', { 'content-type': 'application/xml' }, '<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>', 200],
    ['PUT', '/signed/copy', { 'x-amz-copy-source': '/signed/object', 'x-amz-metadata-directive': 'REPLACE' }, '', 200],
    ['POST', '/signed?delete=', { 'content-md5': 'AAAAAAAAAAAAAAAAAAAAAA==' }, '<Delete><Object><Key>x</Key></Object></Delete>', 200],
    ['DELETE', '/signed/o?versionId=null', {}, '', 204],
  ];
  for (const [method, target, headers, text, status] of headerSigned) {
    void test(`signed by headers: ${method} ${target}`, async () => {
      const md5 = createHash('md5').update(text).digest('base64');
      const sent = headers['content-md5'] === undefined ? headers : { 'content-md5': md5 };
      const request = signedBytes(method, target, sent, text);
      const alterations = [
        ...alteredLines(request),
        ...alteredHeaders(request, namesOf(request)),
        ...alteredAuthorization(request),
        // Where nothing reads a body, one means nothing.
        ...(text === '' ? [] : alteredBodies(request)),
        ...otherPayloads(request),
      ];
      await check(request, alterations, status);
    });
  }

  /** The hash of the body replaced by what would not be checked. */
  function otherPayloads(request: RawRequest): Alteration[] {
    const index = request.headers.findIndex(([name]) => name === 'x-amz-content-sha256');
    return [
      'UNSIGNED-PAYLOAD',
      'STREAMING-AWS4-HMAC-SHA256-PAYLOAD',
      'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER',
      'STREAMING-UNSIGNED-PAYLOAD-TRAILER',
      createHash('sha256').update('something else').digest('hex'),
    ]
      .filter((value) => value !== request.headers[index]?.[1])
      .map((value) => ({
        what: `payload ${value}`,
        request: {
          ...request,
          headers: request.headers.with(index, ['x-amz-content-sha256', value]),
        },
      }));
  }

  function presigned(
    method: string,
    target: string,
    headers: Readonly<Record<string, string>> = {},
    body = '',
  ): RawRequest {
    const sent = { host: at.host, ...headers };
    const signed = presignTarget({
      method,
      target,
      headers: sent,
      credentials,
      region: 'us-east-1',
      timeMs: Date.now(),
      expiresSeconds: 600,
    });
    return { method, target: signed, headers: Object.entries(sent), body: Buffer.from(body) };
  }

  // biome-ignore format: one request to a line
  const targets: readonly (readonly [string, string, Readonly<Record<string, string>>, string, number])[] = [
    ['GET', '/signed/object?response-content-type=text%2Fplain', {}, '', 200],
    ['GET', '/signed/object?versionId=null', {}, '', 200],
    ['PUT', '/signed/object?x-amz-meta-a=value&x-amz-server-side-encryption=AES256', { 'content-type': 'text/plain' }, 'data', 200],
    ['PUT', '/signed/object?partNumber=1&uploadId=UPLOAD', { 'x-amz-checksum-crc32': checksumOf('CRC32', Buffer.from('data')).toString('base64') }, 'data', 200],
    ['DELETE', '/signed/o', {}, '', 204],
  ];
  for (const [method, target, headers, body, status] of targets) {
    void test(`presigned: ${method} ${target}`, async () => {
      const upload = await at.send('POST', '/signed/object?uploads');
      const uploadId = /<UploadId>([^<]+)/.exec(upload.body.toString())?.[1] ?? '';
      const request = presigned(method, target.replace('UPLOAD', uploadId), headers, body);
      const signature = /X-Amz-Signature=(.*)$/.exec(request.target)?.[1] ?? '';
      const alterations = [
        ...alteredLines(request),
        ...alteredHeaders(request, namesOf(request)),
        ...alteredSignatures(signature).map((changed) => ({
          what: `signature ${changed}`,
          request: { ...request, target: request.target.replace(signature, changed) },
        })),
        withHeader(request, 'authorization', 'AWS tester:AAAA'),
        withHeader(request, 'authorization', signedAuthorization(request)),
      ];
      await check(request, alterations, status);
    });
  }

  function withHeader(request: RawRequest, name: string, value: string): Alteration {
    const headers = [...request.headers, [name, value] as const];
    return { what: `with header ${name}`, request: { ...request, headers } };
  }

  /** A header signature over the same request, so that it is signed twice. */
  function signedAuthorization({ method, target, body }: RawRequest): string {
    return sign(method, target, {}, { kind: 'bytes', bytes: body }).headers['authorization'] ?? '';
  }

  function presignedV2(
    method: string,
    target: string,
    headers: Readonly<Record<string, string>>,
    body: string,
  ): RawRequest {
    const expires = String(Math.floor(Date.now() / 1000) + 600);
    const { 'content-type': type = '', 'content-md5': md5 = '', ...amz } = headers;
    const lines = Object.entries(amz).map(([name, value]) => `${name}:${value}\n`);
    const text = `${method}\n${md5}\n${type}\n${expires}\n${lines.join('')}${decodeURIComponent(target)}`;
    const signature = createHmac('sha1', secretKey).update(text).digest('base64');
    const joint = target.includes('?') ? '&' : '?';
    const claim = `AWSAccessKeyId=${accessKey}&Expires=${expires}&Signature=${encodeURIComponent(signature)}`;
    const sent = { host: at.host, ...headers };
    return {
      method,
      target: `${target}${joint}${claim}`,
      headers: Object.entries(sent),
      body: Buffer.from(body),
    };
  }

  // biome-ignore format: one request to a line
  const targetsV2: readonly (readonly [string, string, Readonly<Record<string, string>>, string, number])[] = [
    ['GET', '/signed/object?response-content-type=text%2Fplain', {}, '', 200],
    ['GET', '/signed/object?versionId=null', {}, '', 200],
    ['GET', '/signed/object', {}, '', 200],
    ['PUT', '/signed/object', { 'content-type': 'text/plain', 'x-amz-meta-a': 'value' }, 'data', 200],
    ['DELETE', '/signed/objec', {}, '', 204],
  ];
  for (const [method, target, headers, body, status] of targetsV2) {
    void test(`presigned by Signature V2: ${method} ${target}`, async () => {
      const request = presignedV2(method, target, headers, body);
      // V2 does not cover the host, which means nothing here.
      const signed = namesOf(request).filter((name) => name !== 'host');
      const alterations = [
        ...alteredLines(request),
        ...alteredHeaders(request, signed),
        withHeader(request, 'authorization', signedAuthorization(request)),
      ];
      await check(request, alterations, status);
    });
  }

  async function chunked(
    pieces: readonly string[],
    trailer: string | undefined,
    kind: 'signed-chunks' | 'unsigned-chunks',
  ): Promise<{ readonly request: RawRequest; readonly frames: readonly Buffer[] }> {
    const data = Buffer.from(pieces.join(''));
    const value = checksumOf('CRC32', data).toString('base64');
    const sizeBytes = data.length;
    const payload: SigningPayload =
      kind === 'signed-chunks'
        ? { kind, sizeBytes, ...(trailer === undefined ? {} : { trailer }) }
        : { kind, sizeBytes, trailer: trailer ?? '' };
    const headers = { 'content-encoding': 'aws-chunked' };
    const signed = sign('PUT', '/signed/object', headers, payload);
    const ending = trailer === undefined ? undefined : { name: trailer, value: () => value };
    const source = pieces.map((piece) => Buffer.from(piece));
    const encoded =
      kind === 'signed-chunks'
        ? encodeSignedChunks(signed, source, ending)
        : encodeUnsignedChunks(source, ending ?? { name: '', value: () => '' });
    const all: Buffer[] = [];
    for await (const bytes of encoded) all.push(Buffer.from(bytes));
    // Head, data and line end of each chunk; then the last chunk with what follows.
    const frames: Buffer[] = [];
    for (let index = 0; index + 2 < all.length; index += 3) {
      frames.push(Buffer.concat(all.slice(index, index + 3)));
    }
    frames.push(all.at(-1) ?? Buffer.alloc(0));
    const request: RawRequest = {
      method: 'PUT',
      target: '/signed/object',
      headers: Object.entries(signed.headers),
      body: Buffer.concat(all),
    };
    return { request, frames };
  }

  /** Two whole chunks and a short one. */
  const pieces = ['a'.repeat(65_536), 'b'.repeat(65_536), 'the end'];

  const ways = [
    ['signed chunks', undefined, 'signed-chunks'],
    ['signed chunks with a signed trailer', 'x-amz-checksum-crc32', 'signed-chunks'],
    ['unsigned chunks with a trailer', 'x-amz-checksum-crc32', 'unsigned-chunks'],
  ] as const;
  for (const [name, trailer, kind] of ways) {
    void test(name, async () => {
      const { request, frames } = await chunked(pieces, trailer, kind);
      const alterations = [
        ...alteredLines(request),
        ...alteredHeaders(request, namesOf(request)),
        ...alteredAuthorization(request),
        ...otherPayloads(request),
        ...alteredFrames(request, frames, trailer),
      ];
      await check(request, alterations, 200);
    });
  }

  function alteredFrames(
    request: RawRequest,
    frames: readonly Buffer[],
    trailer: string | undefined,
  ): Alteration[] {
    const make = (what: string, changed: readonly (Buffer | string)[]): Alteration => {
      const body = Buffer.concat(changed.map((frame) => Buffer.from(frame)));
      return { what: `chunks: ${what}`, request: { ...request, body } };
    };
    const [first = Buffer.alloc(0), second = Buffer.alloc(0), third = Buffer.alloc(0)] = frames;
    const last = frames.at(-1) ?? Buffer.alloc(0);
    const flip = (frame: Buffer, index: number): Buffer => {
      const copy = Buffer.from(frame);
      copy[index] = (copy[index] ?? 0) ^ 1;
      return copy;
    };
    const isSigned = last.includes('chunk-signature');
    const text = last.toString('latin1');
    const ends = (what: string, changed: string): Alteration =>
      make(what, [first, second, third, Buffer.from(changed, 'latin1')]);
    return [
      ...frames
        .slice(0, -1)
        .flatMap((frame, index) => [
          make(
            `a flipped bit in the data of ${index}`,
            frames.with(index, flip(frame, frame.length - 5)),
          ),
          make(`another size of ${index}`, frames.with(index, flip(frame, 0))),
          make(`without ${index}`, frames.toSpliced(index, 1)),
          make(`${index} twice`, frames.toSpliced(index, 0, frame)),
          make(`no line end after ${index}`, frames.with(index, frame.subarray(0, -2))),
          ...(isSigned
            ? [
                make(
                  `another signature of ${index}`,
                  frames.with(index, flip(frame, frame.indexOf('=') + 9)),
                ),
              ]
            : []),
        ]),
      make('in another order', [second, first, third, last]),
      make('cut after the second', [first, second]),
      make('the last one missing', frames.slice(0, -1)),
      make('the last one first', [last, first, second, third]),
      make('bytes behind the end', [...frames, 'x']),
      make('a second body behind the end', [...frames, ...frames]),
      ends('an extension of a chunk', text.replace('0', '0;x=y')),
      ends(
        'a signature too few',
        text.replace(/^0(;chunk-signature=[0-9a-f]+)?/, isSigned ? '0' : '0;'),
      ),
      ...(isSigned ? [ends('another last signature', flip(last, 25).toString('latin1'))] : []),
      ...(trailer === undefined
        ? [
            ends(
              'a trailer nobody announced',
              text.replace(/\r\n\r\n$/, '\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n'),
            ),
          ]
        : alteredTrailers(text, trailer).map(([what, changed]) => ends(what, changed))),
      ...[-1, 1].map((step) => resized(request, step)),
    ];
  }

  function alteredTrailers(text: string, trailer: string): [string, string][] {
    const line = new RegExp(`${trailer}:[^\r]*\r\n`);
    return [
      ['another trailer value', text.replace(line, `${trailer}:AAAAAA==\r\n`)],
      ['an empty trailer value', text.replace(line, `${trailer}:\r\n`)],
      ['another trailer name', text.replace(trailer, 'x-amz-checksum-crc32c')],
      ['a trailer that is no checksum', text.replace(trailer, 'x-amz-meta-injected')],
      ['no trailer', text.replace(line, '')],
      ['the trailer twice', text.replace(line, (found) => found + found)],
      ['a trailer more', text.replace(line, (found) => `${found}x-amz-meta-a:1\r\n`)],
      ...(text.includes('x-amz-trailer-signature')
        ? ([
            ['no trailer signature', text.replace(/x-amz-trailer-signature:[^\r]*\r\n/, '')],
            ['another trailer signature', text.replace(/(x-amz-trailer-signature:)..../, '$10000')],
            [
              'a line behind the signature',
              text.replace(/\r\n\r\n$/, '\r\nx-amz-meta-a:1\r\n\r\n'),
            ],
          ] as [string, string][])
        : []),
    ];
  }

  /** The size of the data as another number, signed by the client itself. */
  function resized(request: RawRequest, step: number): Alteration {
    const known = Object.fromEntries(request.headers);
    const sizeBytes = Number(known['x-amz-decoded-content-length']) + step;
    const trailer = known['x-amz-trailer'];
    const isSigned = known['x-amz-content-sha256']?.startsWith('STREAMING-AWS4') === true;
    const payload: SigningPayload = isSigned
      ? { kind: 'signed-chunks', sizeBytes, ...(trailer === undefined ? {} : { trailer }) }
      : { kind: 'unsigned-chunks', sizeBytes, trailer: trailer ?? '' };
    const headers = { 'content-encoding': 'aws-chunked' };
    const signed = sign(request.method, request.target, headers, payload);
    return {
      what: `a size that is ${step} off`,
      request: { ...request, headers: Object.entries(signed.headers) },
    };
  }

  void test('forms', async () => {
    const fields: FormFields = signedForm(
      'signed',
      [
        ['key', 'object'],
        ['Content-Type', 'text/plain'],
        ['x-amz-meta-a', 'value'],
        ['x-amz-server-side-encryption', 'AES256'],
      ],
      credentials,
      'exact',
    );
    const post = (changed: FormFields, bucket = 'signed'): RawRequest => {
      const { headers, body } = encodeForm(changed, Buffer.from('file'));
      return {
        method: 'POST',
        target: `/${bucket}`,
        headers: [['host', at.host], ...Object.entries(headers)],
        body,
      };
    };
    const alterations: Alteration[] = fields.flatMap(([name, value], index) => [
      { what: `without ${name}`, request: post(fields.toSpliced(index, 1)) },
      { what: `${name} twice`, request: post([...fields, [name, value]]) },
      {
        what: `${name} changed`,
        request: post(
          fields.with(index, [name, `${value.slice(0, -1)}${value.endsWith('1') ? '2' : '1'}`]),
        ),
      },
      { what: `${name} emptied`, request: post(fields.with(index, [name, ''])) },
    ]);
    const added: FormFields = [
      ...injectedHeaders,
      ['acl', 'public-read'],
      ['tagging', '<Tagging><TagSet/></Tagging>'],
      ['success_action_redirect', 'http://localhost/'],
      ['AWSAccessKeyId', accessKey],
      ['signature', 'AAAA'],
      ['Cache-Control', 'no-cache'],
    ];
    for (const pair of added) {
      if (fields.some(([name]) => name === pair[0])) continue;
      alterations.push({ what: `with ${pair[0]}`, request: post([pair, ...fields]) });
    }
    alterations.push({ what: 'another bucket', request: post(fields, 'other') });
    await check(post(fields), alterations, 204);
  });
});
