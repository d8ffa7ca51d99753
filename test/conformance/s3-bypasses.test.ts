// Ways round signatures, permissions and encryption that were found in stores of this kind, each with a test that
// it does not lead anywhere here.

import assert from 'node:assert/strict';
import { createHash, createHmac, randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { checksumOf } from '../../src/base/checksums.ts';
import { presignTarget, type SigningPayload, signRequest } from '../../src/sigv4/sign.ts';
import { encodeForm, signedForm } from '../support/post-form.ts';
import { type RawAnswer, sendRaw } from '../support/raw-request.ts';
import {
  copySourceHeaders,
  customerHeaders,
  shownEncryption,
  sseS3Headers,
} from '../support/sse-headers.ts';
import {
  accessKey,
  codeOf,
  type Harness,
  secretKey,
  startHarness,
  testUser,
} from './s3-harness.ts';

const credentials = { accessKey, secretKey };
const sse = 'x-amz-server-side-encryption';
type Headers = Readonly<Record<string, string>>;

const allow = (action: string | readonly string[], resource: string) => ({
  Statement: [{ Effect: 'Allow', Action: action, Resource: `arn:aws:s3:::${resource}` }],
});
const writer = testUser('writer', allow(['s3:PutObject', 's3:ListBucket'], '*'));
const reader = testUser('reader', allow('s3:GetObject', 'bypass/*'), allow('s3:PutObject', '*'));
const tagger = testUser('tagger', allow('s3:PutObjectTagging', '*'));
const star = testUser('*', {
  Statement: [
    {
      Effect: 'Allow',
      Action: 's3:GetObject',
      Resource: 'arn:aws:s3:::bypass/home/${aws:username}/*',
    },
  ],
});
const markUser = testUser('?', {
  Statement: [
    {
      Effect: 'Allow',
      Action: 's3:GetObject',
      Resource: 'arn:aws:s3:::bypass/home/${aws:username}/*',
    },
  ],
});

void describe('known bypasses', () => {
  let at: Harness;
  before(async () => {
    at = await startHarness({ users: [writer, reader, tagger, star, markUser] });
    for (const bucket of ['bypass', 'private', 'bypass-other']) await at.send('PUT', `/${bucket}`);
    await put('/bypass/object', 'object');
    await put('/private/secret', 'secret');
    await put('/bypass/secret', 'not the secret');
  });
  after(() => at.close());

  async function put(target: string, body: string, headers: Headers = {}): Promise<void> {
    const answer = await at.send('PUT', target, { headers, body });
    assert.equal(answer.status, 200, answer.body.toString());
  }

  const outcomeOf = ({ status, code }: RawAnswer): string => `${status} ${code}`.trim();

  function sign(
    method: string,
    target: string,
    headers: Headers,
    payload: SigningPayload,
  ): [string, string][] {
    const signed = signRequest({
      method,
      target,
      headers: { host: at.host, ...headers },
      credentials,
      region: 'us-east-1',
      timeMs: Date.now(),
      payload,
    });
    return Object.entries(signed.headers);
  }

  async function raw(
    method: string,
    target: string,
    headers: readonly (readonly [string, string])[],
    body: string | Uint8Array = '',
  ): Promise<string> {
    return outcomeOf(await sendRaw(at.port, { method, target, headers, body: Buffer.from(body) }));
  }

  const crc = (text: string): string => checksumOf('CRC32', Buffer.from(text)).toString('base64');
  const trailer = 'x-amz-checksum-crc32';
  const absent = async (name: string): Promise<void> =>
    assert.equal(await at.outcome('GET', `/bypass/${name}`), '404 NoSuchKey');

  void test('a body with an unsigned trailer needs a signature, and its checksum is checked', async () => {
    const target = '/bypass/unsigned-trailer';
    const payload = { kind: 'unsigned-chunks', sizeBytes: 4, trailer } as const;
    const good = `4\r\ndata\r\n0\r\n${trailer}:${crc('data')}\r\n\r\n`;
    const headers = sign('PUT', target, {}, payload);
    const unsigned = headers.map(
      ([name, value]) =>
        [name, name === 'authorization' ? value.replace(/.{64}$/, '0'.repeat(64)) : value] as const,
    );
    assert.equal(await raw('PUT', target, unsigned, good), '403 SignatureDoesNotMatch');
    const without = headers.filter(([name]) => name !== 'authorization');
    assert.equal(await raw('PUT', target, without, good), '403 AccessDenied');
    // biome-ignore format: one body to a line
    const bodies: readonly (readonly [string, string])[] = [
      [good.replace('data', 'date'), '400 BadDigest'],
      [good.replace(crc('data'), crc('date')), '400 BadDigest'],
      [good.replace(crc('data'), 'AAAA'), '400 BadDigest'],
      ['4\r\ndata\r\n0\r\n\r\n', '400 MalformedTrailerError'],
      ['4\r\ndata\r\n0\r\n', '400 MalformedTrailerError'],
      ['4\r\ndata\r\n', '400 IncompleteBody'],
      ['data', '400 IncompleteBody'],
      [good.replace(trailer, 'x-amz-checksum-sha256'), '400 MalformedTrailerError'],
      [good.replace(`${trailer}:`, `x-amz-meta-a:b\r\n${trailer}:`), '400 MalformedTrailerError'],
    ];
    for (const [body, expected] of bodies) {
      assert.equal(await raw('PUT', target, headers, body), expected, JSON.stringify(body));
    }
    await absent('unsigned-trailer');
    assert.equal(await raw('PUT', target, headers, good), '200');
  });

  void test('headers of replication and internal metadata say nothing about encryption, ETag or age', async () => {
    const sealed = randomBytes(64).toString('base64');
    const inner = [
      'server-side-encryption-sealed-key',
      'server-side-encryption-seal-algorithm',
      'server-side-encryption-iv',
      'server-side-encryption-s3-sealed-key',
      'server-side-encryption-s3-kms-sealed-key',
      'encrypted-multipart',
      'actual-object-size',
      'actual-size',
      'compression',
    ];
    const ignored: Headers = {
      'x-minio-source-etag': '0'.repeat(32),
      'x-minio-source-mtime': '2001-01-01T00:00:00Z',
      'x-minio-source-replication-request': 'true',
      'x-minio-source-deletemarker': 'true',
      'x-minio-replication-ssec-crc': 'AAAAAA==',
      ...Object.fromEntries(inner.map((name) => [`x-minio-replication-${name}`, sealed])),
    };
    const refused = [
      ...inner.flatMap((name) => [
        `x-minio-internal-${name}`,
        `x-amz-meta-x-minio-internal-${name}`,
      ]),
      'X-Minio-Internal-Server-Side-Encryption-Iv',
      'X-Amz-Meta-X-Minio-Internal-Server-Side-Encryption-Iv',
      'x-amz-meta-x-amz-unencrypted-content-length',
      'x-amz-meta-x-amz-unencrypted-content-md5',
    ];
    const requests = [
      ['PUT', '/bypass/injected', {}],
      ['POST', '/bypass/injected?uploads', {}],
      [
        'PUT',
        '/bypass/injected',
        { 'x-amz-copy-source': '/bypass/object', 'x-amz-metadata-directive': 'REPLACE' },
      ],
    ] as const;
    for (const [method, target, headers] of requests) {
      for (const name of refused) {
        const sent = { ...headers, [name.toLowerCase()]: sealed };
        const outcome = await at.outcome(method, target, { headers: sent });
        assert.equal(outcome, '400 UnsupportedMetadata', `${method} ${target} ${name}`);
      }
    }
    for (const name of refused) {
      const fields = Object.entries({ key: 'injected', [name]: sealed });
      const form = encodeForm(signedForm('bypass', fields, credentials), Buffer.from('x'));
      const answer = await at.as('anonymous').send('POST', '/bypass', form);
      // Fields that are neither of S3 nor metadata mean nothing in a form.
      if (name.toLowerCase().startsWith('x-amz-')) assert.equal(answer.status, 400, name);
      else assert.equal(answer.status, 204, name);
      const head = await at.send('HEAD', '/bypass/injected');
      assert.deepEqual(shownEncryption(head.headers), {});
      await at.send('DELETE', '/bypass/injected');
    }
    await absent('injected');
    await put('/bypass/injected', 'data', ignored);
    const copied = {
      ...ignored,
      'x-amz-copy-source': '/bypass/object',
      'x-amz-metadata-directive': 'REPLACE',
    };
    assert.equal(await at.outcome('PUT', '/bypass/injected-copy', { headers: copied }), '200');
    for (const [name, text] of [
      ['injected', 'data'],
      ['injected-copy', 'object'],
    ] as const) {
      const got = await at.send('GET', `/bypass/${name}`, {
        headers: { 'x-minio-source-proxy-request': 'true' },
      });
      assert.equal(got.body.toString(), text);
      assert.deepEqual(shownEncryption(got.headers), {});
      assert.notEqual(got.headers['etag'], `"${'0'.repeat(32)}"`);
      assert.ok(Date.parse(String(got.headers['last-modified'])) > Date.now() - 600_000);
      assert.deepEqual(
        Object.keys(got.headers).filter((header) => /^x-(minio|amz-meta)/.test(header)),
        [],
      );
    }
  });

  void test('the length of the data is what was signed, whatever Content-Length says', async () => {
    const target = '/bypass/length';
    const payload = { kind: 'unsigned-chunks', sizeBytes: 4, trailer } as const;
    const good = `4\r\ndata\r\n0\r\n${trailer}:${crc('data')}\r\n\r\n`;
    const sized = (sizeBytes: number) => sign('PUT', target, {}, { ...payload, sizeBytes });
    for (const sizeBytes of [0, 3, 5, 4 + good.length]) {
      assert.equal(await raw('PUT', target, sized(sizeBytes), good), '400 IncompleteBody');
    }
    const plain = sign(
      'PUT',
      target,
      { 'x-amz-decoded-content-length': '2' },
      { kind: 'bytes', bytes: Buffer.from('data') },
    );
    assert.equal(await raw('PUT', target, plain, 'data'), '200');
    assert.equal((await at.send('GET', target)).body.toString(), 'data');
    // The server reads what Content-Length says; what follows is no part of the request.
    const short = ['content-length', String(good.length - 8)] as const;
    const cut = [...sign('PUT', '/bypass/cut', {}, payload), short];
    assert.match(await raw('PUT', '/bypass/cut', cut, good), /^400/);
    for (const size of ['-1', '4.0', '0x4', '4, 4', '1e1', ' ']) {
      const headers = sign('PUT', target, {}, payload).map(
        ([name, value]) => [name, name === 'x-amz-decoded-content-length' ? size : value] as const,
      );
      assert.notEqual(await raw('PUT', target, headers, good), '200', size);
      const signed = sign(
        'PUT',
        target,
        { 'x-amz-decoded-content-length': size },
        { kind: 'hash', sha256: 'STREAMING-UNSIGNED-PAYLOAD-TRAILER' },
      );
      assert.equal(await raw('PUT', target, signed, good), '411 MissingContentLength', size);
    }
    const both = [
      ...sign('PUT', target, {}, { kind: 'bytes', bytes: Buffer.from('data') }),
      ['content-length', '4'],
      ['transfer-encoding', 'chunked'],
    ] as const;
    assert.match(await raw('PUT', target, both, '4\r\ndata\r\n0\r\n\r\n'), /^4/);
    const two = [
      ...sign('PUT', target, {}, { kind: 'bytes', bytes: Buffer.from('data') }),
      ['content-length', '4'],
      ['content-length', '2'],
    ] as const;
    assert.match(await raw('PUT', target, two, 'data'), /^4/);
    await absent('cut');
  });

  void test('names that look like ways to other places are names', async () => {
    const names = [
      '..',
      '.',
      '../secret',
      'a/../secret',
      'a/./b',
      '//secret',
      '/bypass/secret',
      '..\\secret',
      'a\\..\\secret',
      '%2e%2e/secret',
      '%00',
      'secret ',
      'secret.',
      'secret/',
      '.minio.sys/config',
      'C:\\secret',
      'secret::$DATA',
      '\u2024\u2024/secret',
    ];
    for (const [index, name] of names.entries()) {
      const target = `/bypass/${encodeURIComponent(name)}`;
      await put(target, `traversal ${index}`);
      const copy = { 'x-amz-copy-source': target };
      assert.equal(
        await at.outcome('PUT', `/bypass/copy-${index}`, { headers: copy }),
        '200',
        name,
      );
    }
    for (const [index, name] of names.entries()) {
      const text = `traversal ${index}`;
      const got = await at.send('GET', `/bypass/${encodeURIComponent(name)}`);
      assert.equal(got.body.toString(), text, name);
      assert.equal((await at.send('GET', `/bypass/copy-${index}`)).body.toString(), text);
    }
    const bare = await sendRaw(at.port, {
      method: 'GET',
      target: '/bypass/../private/secret',
      headers: sign('GET', '/bypass/../private/secret', {}, { kind: 'empty' }),
      body: Buffer.alloc(0),
    });
    assert.equal(outcomeOf(bare), '404 NoSuchKey');
    assert.equal((await at.send('GET', '/bypass/secret')).body.toString(), 'not the secret');
    assert.equal((await at.send('GET', '/private/secret')).body.toString(), 'secret');
  });

  void test('the character zero is in no name', async () => {
    const source = { 'x-amz-copy-source': '/bypass/object%00' };
    const body = '<Delete><Object><Key>object&#0;</Key></Object></Delete>';
    assert.equal(await at.outcome('PUT', '/bypass/object%00', { body: 'x' }), '400 InvalidURI');
    assert.equal(await at.outcome('GET', '/bypass/object%00x'), '400 InvalidURI');
    assert.equal(await at.outcome('PUT', '/byp%00ass/object', { body: 'x' }), '404 NoSuchBucket');
    assert.equal(await at.outcome('PUT', '/byp%00ass'), '400 InvalidBucketName');
    assert.equal(await at.outcome('PUT', '/bypass/x', { headers: source }), '400 InvalidArgument');
    const headers = { 'content-md5': createHash('md5').update(body).digest('base64') };
    const deletion = await at.outcome('POST', '/bypass?delete', { body, headers });
    assert.equal(deletion, '200 InvalidArgument');
    assert.equal(await at.outcome('GET', '/bypass/object'), '200');
    const form = encodeForm(
      signedForm('bypass', [['key', 'object\0x']], credentials),
      Buffer.from('x'),
    );
    const answer = await at.as('anonymous').send('POST', '/bypass', form);
    assert.equal(codeOf(answer), 'InvalidArgument');
    for (const query of [
      'prefix=a%00',
      'delimiter=%00',
      'start-after=a%00b',
      'continuation-token=%00',
    ]) {
      const { status } = await at.send('GET', `/bypass?list-type=2&${query}`);
      assert.ok(status === 200 || status === 400, query);
    }
  });

  void test('bucket names lead nowhere', async () => {
    for (const name of [
      '..',
      '.',
      '%2e%2e',
      'a%2fb',
      'a%5cb',
      '.minio.sys',
      '%2e%2e%2fprivate',
      'BYPASS',
      'bypass%20',
      '*',
      'bypas%3f',
    ]) {
      // A path that is only dots is taken as it is.
      const target = `/${name}`;
      assert.match(await at.outcome('PUT', target), /^400 InvalidBucketName$/, name);
      assert.match(await at.outcome('GET', `${target}/secret`), /^404 NoSuchBucket$/, name);
      const headers = { 'x-amz-copy-source': `${target}/secret` };
      assert.match(await at.outcome('PUT', '/bypass/x', { headers }), /^404 NoSuchBucket$/, name);
    }
    assert.equal(
      await at.outcome('PUT', '/bypass/x', {
        headers: { 'x-amz-copy-source': '/private%2fsecret' },
      }),
      '400 InvalidArgument',
    );
    await absent('x');
  });

  void test('wildcards of policies are those of the policy, not of names or users', async () => {
    for (const name of [
      'home/*/mine',
      'home/alice/hers',
      'home/?/mine',
      'home/b/his',
      'public*/x',
      'publicity/x',
      'a?c',
      'abc',
    ]) {
      await put(`/bypass/${encodeURIComponent(name)}`, name);
    }
    // biome-ignore format: one case to a line
    const cases = [
      [star, 'home/*/mine', '200'], [star, 'home/alice/hers', '403 AccessDenied'], [star, 'home/?/mine', '403 AccessDenied'],
      [markUser, 'home/?/mine', '200'], [markUser, 'home/b/his', '403 AccessDenied'],
    ] as const;
    for (const [user, name, expected] of cases) {
      assert.equal(
        await at.as(user).outcome('GET', `/bypass/${encodeURIComponent(name)}`),
        expected,
        `${user.credentials.accessKey} ${name}`,
      );
    }
    await put('/bypass-other/object', 'x');
    const policy = JSON.stringify({
      Version: '2012-10-17',
      Statement: [
        {
          Effect: 'Allow',
          Principal: '*',
          Action: 's3:GetObject',
          Resource: ['arn:aws:s3:::bypass/publi?/*', 'arn:aws:s3:::bypass/only'],
        },
      ],
    });
    assert.equal(await at.outcome('PUT', '/bypass?policy', { body: policy }), '204');
    const anonymous = at.as('anonymous');
    assert.equal(await anonymous.outcome('GET', '/bypass/public%2A/x'), '403 AccessDenied');
    assert.equal(await anonymous.outcome('GET', '/bypass/publicity/x'), '403 AccessDenied');
    assert.equal(await anonymous.outcome('GET', '/bypass-other/object'), '403 AccessDenied');
    assert.equal(await anonymous.outcome('GET', '/bypass/public/../object'), '403 AccessDenied');
    assert.equal(
      await anonymous.outcome('GET', '/bypass/public%2f..%2fobject'),
      '403 AccessDenied',
    );
    assert.equal(await at.outcome('DELETE', '/bypass?policy'), '204');
    for (const resource of [
      'arn:aws:s3:::*',
      'arn:aws:s3:::bypass-other/*',
      'arn:aws:s3:::bypas?/*',
      '*',
    ]) {
      const wide = policy.replaceAll('arn:aws:s3:::bypass/only', resource);
      const outcome = await at.outcome('PUT', '/bypass?policy', { body: wide });
      if (outcome.startsWith('400')) continue;
      assert.equal(
        await anonymous.outcome('GET', '/bypass-other/object'),
        '403 AccessDenied',
        resource,
      );
      await at.outcome('DELETE', '/bypass?policy');
    }
  });

  void test('a copy needs the right to read its source, however the source is written', async () => {
    const sources = [
      '/private/secret',
      'private/secret',
      '/private/%73ecret',
      '/priv%61te/secret',
      '/private/secret?versionId=null',
      '//private/secret',
      '/bypass/../private/secret',
      '/bypass/%2e%2e/private/secret',
      '/bypass%2f..%2fprivate/secret',
      '/%62ypass/../private/secret',
    ];
    for (const source of sources) {
      const headers = { 'x-amz-copy-source': source };
      const outcome = await at.as(reader).outcome('PUT', '/bypass/stolen', { headers });
      assert.match(outcome, /^(403 AccessDenied|400 InvalidArgument|404 NoSuchBucket)$/, source);
      assert.notEqual(outcome, '200');
    }
    await absent('stolen');
    const created = await at.send('POST', '/bypass/stolen?uploads');
    const uploadId = /<UploadId>([^<]+)/.exec(created.body.toString())?.[1] ?? '';
    for (const source of sources) {
      const target = `/bypass/stolen?partNumber=1&uploadId=${uploadId}`;
      const headers = { 'x-amz-copy-source': source, 'x-amz-copy-source-range': 'bytes=0-1' };
      assert.match(
        await at.as(reader).outcome('PUT', target, { headers }),
        /^(403|400|404) /,
        source,
      );
    }
    const { accessKey: name, secretKey: secret } = reader.credentials;
    const presigned = presignTarget({
      method: 'PUT',
      target: '/bypass/stolen?x-amz-copy-source=%2Fprivate%2Fsecret',
      headers: { host: at.host },
      credentials: { accessKey: name, secretKey: secret },
      region: 'us-east-1',
      timeMs: Date.now(),
      expiresSeconds: 60,
    });
    assert.equal(await raw('PUT', presigned, [['host', at.host]]), '403 AccessDenied');
    await absent('stolen');
    const good = { 'x-amz-copy-source': '/bypass/object' };
    assert.equal(await at.as(reader).outcome('PUT', '/bypass/copied', { headers: good }), '200');
  });

  void test('the version of a copy source is one parameter and nothing else', async () => {
    const status = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>';
    await at.send('PUT', '/bypass-versions');
    await at.send('PUT', '/bypass-versions?versioning', { body: status });
    const first = await at.send('PUT', '/bypass-versions/a', { body: 'old' });
    const id = String(first.headers['x-amz-version-id']);
    await put('/bypass-versions/a', 'new');
    await put(
      `/bypass-versions/${encodeURIComponent(`a?versionId=${id}`)}`,
      'a name with a question mark',
    );
    const copyOf = async (source: string): Promise<string> => {
      const headers = { 'x-amz-copy-source': source };
      const outcome = await at.outcome('PUT', '/bypass/of-version', { headers });
      if (outcome !== '200') return outcome;
      return (await at.send('GET', '/bypass/of-version')).body.toString();
    };
    const base = '/bypass-versions/a';
    assert.equal(await copyOf(`${base}?versionId=${id}`), 'old');
    assert.equal(await copyOf(`${base}%3FversionId=${id}`), 'a name with a question mark');
    assert.equal(await copyOf(base), 'new');
    // biome-ignore format: one case to a line
    const refused = [
      `${base}?versionId=${id}&acl`, `${base}?acl&versionId=${id}`, `${base}?versionId=${id}?x`, `${base}?versionId=`, `${base}?VersionId=${id}`,
      `${base}?versionId=${id}%26acl`, `${base}?versionId=../a`, `${base}?versionId=${id}&versionId=null`, `${base}?`, `${base}?x=1`,
    ];
    for (const source of refused) {
      const outcome = await copyOf(source);
      assert.match(outcome, /^(400 |404 NoSuchVersion)/, source);
    }
    const hidden = { 'x-amz-copy-source': '/private/secret?versionId=null' };
    assert.equal(
      await at.as(reader).outcome('PUT', '/bypass/y', { headers: hidden }),
      '403 AccessDenied',
    );
  });

  void test('the marker of a streamed body needs signed chunks', async () => {
    const target = '/bypass/streaming';
    for (const marker of [
      'STREAMING-AWS4-HMAC-SHA256-PAYLOAD',
      'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER',
    ]) {
      const headers = sign(
        'PUT',
        target,
        { 'x-amz-decoded-content-length': '4' },
        { kind: 'hash', sha256: marker },
      );
      for (const body of [
        'data',
        '4\r\ndata\r\n0\r\n\r\n',
        `4;chunk-signature=${'0'.repeat(64)}\r\ndata\r\n0;chunk-signature=${'0'.repeat(64)}\r\n\r\n`,
        '',
      ]) {
        assert.match(
          await raw('PUT', target, headers, body),
          /^(400 IncompleteBody|403 SignatureDoesNotMatch)$/,
        );
      }
      // Presigned and anonymous requests have no signature that chunks could follow.
      const presigned = presignTarget({
        method: 'PUT',
        target,
        headers: { host: at.host },
        credentials,
        region: 'us-east-1',
        timeMs: Date.now(),
        expiresSeconds: 60,
      });
      const streamed = [
        ['host', at.host],
        ['x-amz-content-sha256', marker],
        ['x-amz-decoded-content-length', '4'],
      ] as const;
      assert.equal(
        await raw('PUT', presigned, streamed, '4\r\ndata\r\n0\r\n\r\n'),
        '400 InvalidRequest',
      );
      assert.match(
        await raw('PUT', target, streamed, '4\r\ndata\r\n0\r\n\r\n'),
        /^(400 InvalidRequest|403 AccessDenied)$/,
      );
    }
    const wrongMarker = sign(
      'PUT',
      target,
      { 'x-amz-decoded-content-length': '4' },
      { kind: 'hash', sha256: 'STREAMING-ANYTHING' },
    );
    assert.equal(await raw('PUT', target, wrongMarker, 'data'), '400 InvalidArgument');
    await absent('streaming');
  });

  void test('a request is signed in one way', async () => {
    const target = presignTarget({
      method: 'GET',
      target: '/private/secret',
      headers: { host: at.host },
      credentials,
      region: 'us-east-1',
      timeMs: Date.now(),
      expiresSeconds: 60,
    });
    const signed = sign('GET', target, {}, { kind: 'empty' });
    const header = signed.find(([name]) => name === 'authorization') ?? ['authorization', ''];
    const v2 = '&AWSAccessKeyId=tester&Expires=9999999999&Signature=AAAA';
    assert.equal(await raw('GET', target, signed), '400 InvalidArgument');
    assert.equal(await raw('GET', `${target}${v2}`, [['host', at.host]]), '400 InvalidArgument');
    assert.equal(
      await raw('GET', `/private/secret?${v2.slice(1)}`, [['host', at.host], header]),
      '400 InvalidArgument',
    );
    assert.equal(
      await raw('GET', '/private/secret', [
        ...sign('GET', '/private/secret', {}, { kind: 'empty' }),
        header,
      ]),
      '400 InvalidArgument',
    );
    // A form is what its own fields prove, whoever signed the request around it.
    const form = encodeForm([['key', 'by-header']], Buffer.from('x'));
    const around = sign('POST', '/bypass', form.headers, { kind: 'bytes', bytes: form.body });
    assert.match(await raw('POST', '/bypass', around, form.body), /^4/);
    await absent('by-header');
  });

  void test('the sub-resource that is permitted is the one that is done', async () => {
    const tags = '<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>';
    const user = at.as(tagger);
    assert.equal(await user.outcome('PUT', '/bypass/object?tagging', { body: tags }), '200');
    const queries = [
      'tagging&acl',
      'acl&tagging',
      'tagging&retention',
      'encryption&tagging',
      'tagging&uploadId=x&partNumber=1',
      'legal-hold&tagging',
      '%61cl&tagging',
      'tagging&versionId=null',
    ];
    for (const query of queries) {
      const before = await at.send('GET', '/bypass/object');
      const answer = await user.send('PUT', `/bypass/object?${query}`, {
        body: tags,
        headers: { 'x-amz-acl': 'public-read' },
      });
      // Tagging, which is permitted, may win; nothing else may happen.
      assert.ok(answer.status === 200 || answer.status >= 400, query);
      assert.ok((await at.send('GET', '/bypass/object')).body.equals(before.body));
      assert.equal(await at.as('anonymous').outcome('GET', '/bypass/object'), '403 AccessDenied');
    }
    const put = at.as(writer);
    for (const query of ['%61cl', 'acl', 'tagging', 't%61gging', 'policy', '%65ncryption']) {
      const object = await put.outcome('PUT', `/bypass/mine?${query}`, { body: 'x' });
      assert.match(object, /^(403 AccessDenied|400 )/, `object ${query} ${object}`);
      assert.match(
        await put.outcome('PUT', `/bypass?${query}`, { body: 'x' }),
        /^403 AccessDenied$/,
        query,
      );
    }
    // Names in other case are other names: they select nothing.
    for (const query of ['ACL', 'Tagging', 'UPLOADS']) {
      assert.equal(await put.outcome('PUT', `/bypass/case?${query}`, { body: query }), '200');
      assert.equal((await at.send('GET', '/bypass/case')).body.toString(), query);
    }
  });

  void test('encryption headers count in any case, and are never passed over', async () => {
    const key = randomBytes(32);
    const customer = customerHeaders(key);
    const spell = [
      (name: string) => name.toUpperCase(),
      (name: string) => name.replaceAll(/\b[a-z]/g, (letter) => letter.toUpperCase()),
    ];
    const bytes = Buffer.from('sealed');
    for (const spelling of spell) {
      const target = '/bypass/case-of-headers';
      for (const [headers, shown] of [
        [sseS3Headers, 'method'],
        [customer, 'customer-algorithm'],
      ] as const) {
        const signed = sign('PUT', target, headers, { kind: 'bytes', bytes });
        const sent = signed.map(
          ([name, value]) => [name.startsWith(sse) ? spelling(name) : name, value] as const,
        );
        assert.equal(await raw('PUT', target, sent, bytes), '200');
        const read = headers === customer ? customer : {};
        const head = await at.send('HEAD', target, { headers: read });
        assert.notEqual(shownEncryption(head.headers)[shown], undefined);
      }
      assert.equal(await at.outcome('GET', target), '400 InvalidRequest');
    }
    // biome-ignore format: one case to a line
    const refused: readonly Headers[] = [
      { [sse]: 'aes256' }, { [sse]: 'AES-256' }, { [sse]: '' }, { [sse]: 'AES256, AES256' }, { [sse]: 'AWS:KMS' }, { [sse]: 'aws:KMS' }, { [sse]: 'none' },
      { [`${sse}-customer-algorithm`]: 'AES256' }, { [`${sse}-customer-key`]: key.toString('base64') }, { [`${sse}-customer-key-md5`]: 'AAAA' },
      { ...customer, [`${sse}-customer-algorithm`]: 'aes256' }, { ...customer, [sse]: 'AES256' }, copySourceHeaders(key), { [`${sse}-aws-kms-key-id`]: 'test-key' }, { [`${sse}-context`]: 'e30=' },
    ];
    for (const headers of refused) {
      const names = JSON.stringify(Object.keys(headers));
      assert.match(
        await at.outcome('PUT', '/bypass/refused', { headers, body: 'x' }),
        /^400 /,
        names,
      );
      assert.match(
        await at.outcome('POST', '/bypass/refused?uploads', { headers }),
        /^400 /,
        names,
      );
      const copy = { ...headers, 'x-amz-copy-source': '/bypass/object' };
      const outcome = await at.outcome('PUT', '/bypass/refused', { headers: copy });
      assert.match(outcome, /^400 /, `copy ${names}`);
    }
    const doubled = sign('PUT', '/bypass/refused', sseS3Headers, { kind: 'bytes', bytes });
    assert.match(await raw('PUT', '/bypass/refused', [...doubled, [sse, 'AES256']], bytes), /^4/);
    // Blanks before the colon are not HTTP.
    assert.match(
      await raw(
        'PUT',
        '/bypass/refused',
        doubled.map(([name, value]) => [name === sse ? `${name} ` : name, value] as const),
        bytes,
      ),
      /^4/,
    );
    await absent('refused');
  });

  void test('a key of SSE-C in a presigned target counts as its header', async () => {
    const key = randomBytes(32);
    const query = new URLSearchParams(customerHeaders(key)).toString().replaceAll('+', '%20');
    const presign = (method: string, target: string) =>
      presignTarget({
        method,
        target,
        headers: { host: at.host },
        credentials,
        region: 'us-east-1',
        timeMs: Date.now(),
        expiresSeconds: 60,
      });
    const host = [['host', at.host]] as const;
    assert.equal(
      await raw('PUT', presign('PUT', `/bypass/in-query?${query}`), host, 'sealed'),
      '200',
    );
    assert.equal(await at.outcome('GET', '/bypass/in-query'), '400 InvalidRequest');
    const got = await at.send('GET', '/bypass/in-query', { headers: customerHeaders(key) });
    assert.equal(got.body.toString(), 'sealed');
    assert.equal(await raw('GET', presign('GET', `/bypass/in-query?${query}`), host), '200');
    // A target that was signed for everybody takes no key, and another key than the signed one is refused.
    const [name = '', value = ''] = Object.entries(customerHeaders(randomBytes(32)))[1] ?? [];
    assert.equal(
      await raw('GET', presign('GET', `/bypass/in-query?${query}`), [...host, [name, value]]),
      '403 AccessDenied',
    );
    assert.equal(
      await raw('GET', presign('GET', '/bypass/in-query'), [
        ...host,
        ...Object.entries(customerHeaders(key)),
      ]),
      '403 AccessDenied',
    );
    // Unsigned in the query of a request that is signed by headers, it is refused and not lost.
    const plain = `/bypass/lost?${query}`;
    assert.match(
      await raw(
        'PUT',
        plain,
        sign('PUT', plain, {}, { kind: 'bytes', bytes: Buffer.from('x') }),
        'x',
      ),
      /^400 InvalidArgument$/,
    );
    const clear = await startHarness({ refusesKeysInClear: true });
    try {
      await clear.send('PUT', '/clear');
      const target = presignTarget({
        method: 'PUT',
        target: `/clear/k?${query}`,
        headers: { host: clear.host },
        credentials,
        region: 'us-east-1',
        timeMs: Date.now(),
        expiresSeconds: 60,
      });
      const answer = await sendRaw(clear.port, {
        method: 'PUT',
        target,
        headers: [['host', clear.host]],
        body: Buffer.from('x'),
      });
      assert.equal(outcomeOf(answer), '400 InvalidRequest');
    } finally {
      await clear.close();
    }
  });

  void test('Signature V2 covers lines, so a value holds no line break', async () => {
    const expires = String(Math.floor(Date.now() / 1000) + 60);
    const target = '/bypass/v2-lines';
    const text = `PUT\n\n\n${expires}\nx-amz-request-payer:requester\n${sse}:AES256\n${target}`;
    const signature = encodeURIComponent(
      createHmac('sha1', secretKey).update(text).digest('base64'),
    );
    const claim = `AWSAccessKeyId=${accessKey}&Expires=${expires}&Signature=${signature}`;
    const host = [['host', at.host]] as const;
    const hidden = encodeURIComponent(`requester\n${sse}:AES256`);
    assert.equal(
      await raw('PUT', `${target}?${claim}&x-amz-request-payer=${hidden}`, host, 'x'),
      '400 InvalidArgument',
    );
    await absent('v2-lines');
    assert.equal(
      await raw('PUT', `${target}?${claim}&x-amz-request-payer=requester&${sse}=AES256`, host, 'x'),
      '200',
    );
    assert.deepEqual(shownEncryption((await at.send('HEAD', target)).headers), {
      method: 'AES256',
    });
  });

  void test('a presigned deletion of one object deletes one object', async () => {
    for (const name of ['dir', 'dir/a', 'dir/b']) await put(`/bypass/${name}`, name);
    const force = ['x-minio-force-delete', 'true'] as const;
    const v4 = presignTarget({
      method: 'DELETE',
      target: '/bypass/dir',
      headers: { host: at.host },
      credentials,
      region: 'us-east-1',
      timeMs: Date.now(),
      expiresSeconds: 60,
    });
    const expires = String(Math.floor(Date.now() / 1000) + 60);
    const signature = createHmac('sha1', secretKey)
      .update(`DELETE\n\n\n${expires}\n/bypass/dir`)
      .digest('base64');
    const v2 = `/bypass/dir?AWSAccessKeyId=${accessKey}&Expires=${expires}&Signature=${encodeURIComponent(signature)}`;
    for (const target of [v4, v2]) {
      assert.equal(await raw('DELETE', target, [['host', at.host], force]), '403 AccessDenied');
    }
    assert.equal(await raw('DELETE', v2, [['host', at.host]]), '204');
    assert.equal(await at.outcome('GET', '/bypass/dir/a'), '200');
    assert.equal(await at.outcome('GET', '/bypass/dir'), '404 NoSuchKey');
  });
});
