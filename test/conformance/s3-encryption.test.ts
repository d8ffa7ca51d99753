// SSE-S3, SSE-KMS and SSE-C on every operation that takes or returns them: what is refused and how, what the
// answers show, and that nothing is read without its key.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { KmsError } from '../../src/sse/kms.ts';
import { checksumOf } from '../../src/base/checksums.ts';
import { presignTarget } from '../../src/sigv4/sign.ts';
import {
  copySourceHeaders,
  customerHeaders,
  kmsHeaders,
  shownEncryption,
  sseS3Headers,
} from '../support/sse-headers.ts';
import {
  accessKey,
  freshBucket,
  type Harness,
  masterKeyName,
  otherKeyName,
  secretKey,
  startHarness,
  textsOf,
  xmlOf,
} from './s3-harness.ts';

const sse = 'x-amz-server-side-encryption';
const hexTag = /^"[0-9a-f]{32}"$/;
const mib = 1024 * 1024;
const md5Of = (bytes: Uint8Array) => `"${createHash('md5').update(bytes).digest('hex')}"`;

type Headers = Record<string, string>;

void describe('encryption', () => {
  let at: Harness;
  let bucket: string;
  const key = randomBytes(32);
  const otherKey = randomBytes(32);
  const customer = customerHeaders(key);
  const shownCustomer = {
    'customer-algorithm': 'AES256',
    'customer-key-md5': customer[`${sse}-customer-key-md5`],
  };
  before(async () => {
    at = await startHarness();
    bucket = freshBucket();
    await at.send('PUT', `/${bucket}`);
  });
  after(() => at.close());

  const put = async (name: string, headers: Headers, body: Uint8Array | string = 'hello') => {
    const answer = await at.send('PUT', `/${bucket}/${name}`, { headers, body });
    assert.equal(answer.status, 200, answer.body.toString());
    return answer;
  };
  const create = async (name: string, headers: Headers) => {
    const answer = await at.send('POST', `/${bucket}/${name}?uploads`, { headers });
    assert.equal(answer.status, 200, answer.body.toString());
    return { answer, uploadId: textsOf(xmlOf(answer), 'UploadId')[0] ?? '' };
  };
  const completion = (etags: readonly string[], checksums: readonly string[] = []) =>
    `<CompleteMultipartUpload>${etags
      .map(
        (etag, index) =>
          `<Part><PartNumber>${index + 1}</PartNumber><ETag>${etag.replaceAll('"', '&#34;')}</ETag>${checksums[index] === undefined ? '' : `<ChecksumCRC32>${checksums[index]}</ChecksumCRC32>`}</Part>`,
      )
      .join('')}</CompleteMultipartUpload>`;

  void test('writes that contradict themselves or are malformed are refused', async () => {
    const without = (name: string) =>
      Object.fromEntries(Object.entries(customer).filter(([header]) => !header.endsWith(name)));
    const context = { [`${sse}-context`]: 'e30=' };
    // biome-ignore format: one case to a line
    const cases: readonly (readonly [Headers, string])[] = [
      [{ [sse]: 'aes:kms' }, '400 InvalidArgument'],
      [{ [sse]: 'AES192' }, '400 InvalidArgument'],
      [{ [`${sse}-aws-kms-key-id`]: masterKeyName }, '400 InvalidArgument'],
      [{ ...sseS3Headers, [`${sse}-aws-kms-key-id`]: masterKeyName }, '400 InvalidArgument'],
      [{ ...sseS3Headers, ...context }, '400 InvalidArgument'],
      [{ ...sseS3Headers, ...customer }, '400 InvalidArgument'],
      [{ ...kmsHeaders(masterKeyName), ...customer }, '400 InvalidArgument'],
      [{ ...kmsHeaders('absent') }, '400 KMS.NotFoundException'],
      [{ ...kmsHeaders(), [`${sse}-context`]: '!' }, '400 InvalidArgument'],
      [{ ...kmsHeaders(), [`${sse}-context`]: Buffer.from('[1]').toString('base64') }, '400 InvalidArgument'],
      [{ ...kmsHeaders(), [`${sse}-context`]: Buffer.from('{"a":1}').toString('base64') }, '400 InvalidArgument'],
      [without('algorithm'), '400 InvalidArgument'],
      [{ ...customer, [`${sse}-customer-algorithm`]: 'AES128' }, '400 InvalidArgument'],
      [without('customer-key'), '400 InvalidArgument'],
      [without('md5'), '400 InvalidArgument'],
      [customerHeaders(randomBytes(31)), '400 InvalidArgument'],
      [{ ...customer, [`${sse}-customer-key`]: 'no base64' }, '400 InvalidArgument'],
      [{ ...customer, [`${sse}-customer-key-md5`]: 'AAAA' }, '400 InvalidArgument'],
      [{ ...customer, [`${sse}-customer-key-md5`]: customerHeaders(otherKey)[`${sse}-customer-key-md5`] ?? '' }, '400 InvalidArgument'],
      [copySourceHeaders(key), '400 InvalidArgument'],
    ];
    for (const [headers, expected] of cases) {
      const write = await at.outcome('PUT', `/${bucket}/refused`, { headers, body: 'x' });
      assert.equal(write, expected, JSON.stringify(headers));
      const upload = await at.outcome('POST', `/${bucket}/refused?uploads`, { headers });
      assert.equal(upload, expected, `upload ${JSON.stringify(headers)}`);
    }
    assert.equal(await at.outcome('GET', `/${bucket}/refused`), '404 NoSuchKey');
  });

  void test('what the key service refuses is told as it is', async () => {
    await put('kms-refusals', kmsHeaders(otherKeyName));
    // biome-ignore format: one case to a line
    const cases = [
      ['key-not-found', '400 KMS.NotFoundException'],
      ['key-disabled', '400 KMS.DisabledException'],
      ['not-authorized', '403 AccessDenied'],
      ['unreachable', '503 ServiceUnavailable'],
    ] as const;
    for (const [code, expected] of cases) {
      at.kms.failure = new KmsError(code, 'refused');
      const headers = kmsHeaders(otherKeyName);
      const write = await at.outcome('PUT', `/${bucket}/k`, { headers, body: 'x' });
      const read = await at.outcome('GET', `/${bucket}/kms-refusals`);
      const head = await at.outcome('HEAD', `/${bucket}/kms-refusals`);
      at.kms.failure = undefined;
      assert.equal(write, expected);
      assert.equal(read, expected);
      assert.equal(head, '200');
    }
  });

  void test('the key id is shown as it was sent, whatever its form, and the context with it', async () => {
    // biome-ignore format: one case to a line
    const forms: readonly (readonly [string | undefined, string])[] = [
      [undefined, masterKeyName],
      [otherKeyName, otherKeyName],
      [`arn:aws:kms:${otherKeyName}`, otherKeyName],
      [`arn:aws:kms:eu-west-1:123456789012:key/${otherKeyName}`, otherKeyName],
      [`arn:aws:kms:eu-west-1:123456789012:alias/${otherKeyName}`, otherKeyName],
      [`alias/${otherKeyName}`, otherKeyName],
      ['alias/aws/s3', masterKeyName],
    ];
    for (const [sent, used] of forms) {
      const context = { b: 'x&y', a: 'ü' };
      at.kms.calls.length = 0;
      const written = await put('forms', kmsHeaders(sent, context));
      const shown = {
        method: 'aws:kms',
        'aws-kms-key-id': sent ?? masterKeyName,
        context: Buffer.from('{"a":"ü","b":"x\\u0026y"}').toString('base64'),
      };
      assert.deepEqual(shownEncryption(written.headers), shown);
      const bound = `{"a":"ü","b":"x\\u0026y","${bucket}":"${bucket}/forms"}`;
      assert.deepEqual(at.kms.calls, [{ call: 'generate', keyName: used, context: bound }]);
      const read = await at.send('GET', `/${bucket}/forms`);
      assert.equal(read.body.toString(), 'hello');
      assert.deepEqual(shownEncryption(read.headers), shown);
      assert.deepEqual(at.kms.calls[1], { call: 'decrypt', keyName: used, context: bound });
      assert.deepEqual(shownEncryption((await at.send('HEAD', `/${bucket}/forms`)).headers), shown);
      assert.equal(at.kms.calls.length, 2);
    }
  });

  void test('a key id with blanks around it is refused', async () => {
    const target = presigned('PUT', `/${bucket}/blank?${sse}=aws%3Akms&${sse}-aws-kms-key-id=%20k`);
    const answer = await fetch(target, { method: 'PUT', body: 'x' });
    assert.equal(answer.status, 400);
    assert.match(await answer.text(), /<Code>InvalidRequest</);
  });

  void test('an object of a client key is read with that key only', async () => {
    for (const size of [0, 1, 200_000]) {
      const body = randomBytes(size);
      const written = await put(`c-${size}`, customer, body);
      assert.deepEqual(shownEncryption(written.headers), shownCustomer);
      const target = `/${bucket}/c-${size}`;
      const attributes = { 'x-amz-object-attributes': 'ETag,ObjectSize' };
      for (const method of ['GET', 'HEAD'] as const) {
        const read = await at.send(method, target, { headers: customer });
        assert.equal(read.status, 200);
        assert.deepEqual(shownEncryption(read.headers), shownCustomer);
        assert.equal(read.headers['etag'], written.headers['etag']);
        assert.equal(read.headers['content-length'], String(size));
        if (method === 'GET') assert.ok(read.body.equals(body));
      }
      const told = await at.send('GET', `${target}?attributes`, {
        headers: { ...customer, ...attributes },
      });
      assert.deepEqual(textsOf(xmlOf(told), 'ObjectSize'), [String(size)]);
      assert.deepEqual(shownEncryption(told.headers), {});
      for (const headers of [{}, customerHeaders(otherKey)]) {
        for (const method of ['GET', 'HEAD'] as const) {
          assert.equal(await at.outcome(method, target, { headers }), '400 InvalidRequest');
        }
        const more = { ...headers, ...attributes };
        const outcome = await at.outcome('GET', `${target}?attributes`, { headers: more });
        assert.equal(outcome, '400 InvalidRequest');
      }
      const range = { ...customer, range: 'bytes=65530-65549' };
      if (size > 1) {
        const part = await at.send('GET', target, { headers: range });
        assert.equal(part.status, 206);
        assert.ok(part.body.equals(body.subarray(65_530, 65_550)));
      }
    }
  });

  void test('a client key is refused where it does not belong', async () => {
    await put('plain', {});
    await put('s3', sseS3Headers);
    await put('kms', kmsHeaders());
    for (const name of ['plain', 's3', 'kms']) {
      for (const method of ['GET', 'HEAD'] as const) {
        const outcome = await at.outcome(method, `/${bucket}/${name}`, { headers: customer });
        assert.equal(outcome, '400 InvalidRequest', name);
      }
      const copy = { 'x-amz-copy-source': `/${bucket}/${name}`, ...copySourceHeaders(key) };
      assert.equal(
        await at.outcome('PUT', `/${bucket}/copied`, { headers: copy }),
        '400 InvalidRequest',
      );
      const { uploadId } = await create('part', name === 's3' ? sseS3Headers : {});
      const part = `/${bucket}/part?partNumber=1&uploadId=${uploadId}`;
      assert.equal(
        await at.outcome('PUT', part, { headers: customer, body: 'x' }),
        '400 InvalidRequest',
      );
    }
    for (const headers of [sseS3Headers, kmsHeaders(), copySourceHeaders(key)]) {
      for (const method of ['GET', 'HEAD'] as const) {
        const outcome = await at.outcome(method, `/${bucket}/kms`, { headers });
        assert.equal(outcome, '400 InvalidArgument');
      }
    }
    assert.equal(await at.outcome('DELETE', `/${bucket}/s3`, { headers: customer }), '204');
  });

  void test('a copy needs the key of its source', async () => {
    await put('source-c', customer);
    const source = { 'x-amz-copy-source': `/${bucket}/source-c` };
    const { uploadId } = await create('copied-c', {});
    for (const target of [`copied-c`, `copied-c?partNumber=1&uploadId=${uploadId}`]) {
      for (const headers of [
        source,
        { ...source, ...customerHeaders(key) },
        { ...source, ...copySourceHeaders(otherKey) },
      ]) {
        const outcome = await at.outcome('PUT', `/${bucket}/${target}`, { headers });
        assert.equal(outcome, '400 InvalidRequest', `${target} ${Object.keys(headers).join()}`);
      }
      const headers = { ...source, ...copySourceHeaders(key) };
      assert.equal(await at.outcome('PUT', `/${bucket}/${target}`, { headers }), '200');
    }
    assert.equal((await at.send('GET', `/${bucket}/copied-c`)).body.toString(), 'hello');
  });

  void test('ETags say nothing of the plaintext where they must not', async () => {
    const body = randomBytes(1000);
    const digest = md5Of(body);
    const contentMd5 = { 'content-md5': createHash('md5').update(body).digest('base64') };
    for (const headers of [{}, sseS3Headers]) {
      assert.equal((await put('etag', headers, body)).headers['etag'], digest);
    }
    for (const headers of [kmsHeaders(), customer]) {
      for (const more of [{}, contentMd5]) {
        const etag = (await put('etag', { ...headers, ...more }, body)).headers['etag'];
        assert.match(String(etag), hexTag);
        assert.notEqual(etag, digest);
        const readable = headers === customer ? customer : {};
        const match = { ...readable, 'if-match': String(etag) };
        assert.equal(await at.outcome('HEAD', `/${bucket}/etag`, { headers: match }), '200');
        const none = { ...readable, 'if-none-match': String(etag) };
        const unchanged = await at.send('GET', `/${bucket}/etag`, { headers: none });
        assert.equal(unchanged.status, 304);
        assert.deepEqual(shownEncryption(unchanged.headers), {});
        const listed = await at.send('GET', `/${bucket}?list-type=2&prefix=etag`);
        assert.deepEqual(textsOf(xmlOf(listed), 'ETag'), [etag]);
      }
      const wrong = { ...headers, 'content-md5': 'AAAAAAAAAAAAAAAAAAAAAA==' };
      assert.equal(
        await at.outcome('PUT', `/${bucket}/etag`, { headers: wrong, body }),
        '400 BadDigest',
      );
    }
  });

  void test('checksums of a client key are shown with the key only, and kept sealed', async () => {
    const checksum = {
      'x-amz-checksum-sha256': createHash('sha256').update('hello').digest('base64'),
    };
    const written = await put('sum-c', { ...customer, ...checksum });
    assert.equal(written.headers['x-amz-checksum-sha256'], checksum['x-amz-checksum-sha256']);
    const read = { ...customer, 'x-amz-checksum-mode': 'ENABLED' };
    for (const method of ['GET', 'HEAD']) {
      const answer = await at.send(method, `/${bucket}/sum-c`, { headers: read });
      assert.equal(answer.headers['x-amz-checksum-sha256'], checksum['x-amz-checksum-sha256']);
    }
    const wanted = { ...customer, 'x-amz-object-attributes': 'Checksum' };
    const told = await at.send('GET', `/${bucket}/sum-c?attributes`, { headers: wanted });
    assert.deepEqual(textsOf(xmlOf(told), 'ChecksumSHA256'), [checksum['x-amz-checksum-sha256']]);
    const entries = await at.kv.list({
      start: Buffer.from([0]),
      end: Buffer.from([255]),
      limit: 10_000,
    });
    const holds = entries.some(({ value }) =>
      Buffer.from(value).includes(checksum['x-amz-checksum-sha256'] ?? ''),
    );
    assert.equal(holds, false);
    const listed = await at.send('GET', `/${bucket}?list-type=2&prefix=sum-c`);
    assert.doesNotMatch(listed.body.toString(), /Checksum/);
  });

  void test('an upload under a client key takes its parts and its end with that key only', async () => {
    const parts = [randomBytes(5 * mib + 1), randomBytes(10)];
    const { answer, uploadId } = await create('mp-c', { ...customer });
    assert.deepEqual(shownEncryption(answer.headers), shownCustomer);
    const target = (number: number) => `/${bucket}/mp-c?partNumber=${number}&uploadId=${uploadId}`;
    for (const headers of [{}, customerHeaders(otherKey)]) {
      const outcome = await at.outcome('PUT', target(1), { headers, body: 'x' });
      assert.equal(outcome, '400 InvalidRequest');
    }
    const etags: string[] = [];
    for (const [index, body] of parts.entries()) {
      const part = await at.send('PUT', target(index + 1), { headers: customer, body });
      assert.equal(part.status, 200);
      assert.deepEqual(shownEncryption(part.headers), shownCustomer);
      assert.notEqual(part.headers['etag'], md5Of(body));
      etags.push(String(part.headers['etag']));
    }
    const listed = xmlOf(await at.send('GET', `/${bucket}/mp-c?uploadId=${uploadId}`));
    assert.deepEqual(textsOf(listed, 'ETag'), etags);
    const end = `/${bucket}/mp-c?uploadId=${uploadId}`;
    const body = completion(etags);
    const wrong = { headers: customerHeaders(otherKey), body };
    // No checksum is there, so the key may be left out; a wrong one is refused all the same.
    const sealed = await create('mp-c-2', customer);
    const copy = await at.send(
      'PUT',
      `/${bucket}/mp-c-2?partNumber=1&uploadId=${sealed.uploadId}`,
      {
        headers: {
          ...customer,
          ...copySourceHeaders(key),
          'x-amz-copy-source': `/${bucket}/sum-c`,
        },
      },
    );
    assert.equal(copy.status, 200, copy.body.toString());
    assert.deepEqual(shownEncryption(copy.headers), shownCustomer);
    const done = await at.send('POST', end, { body });
    assert.equal(done.status, 200, done.body.toString());
    assert.equal(shownEncryption(done.headers)['customer-algorithm'], 'AES256');
    assert.equal(await at.outcome('POST', end, wrong), '400 InvalidRequest');
    const digest = createHash('md5');
    for (const etag of etags) digest.update(etag.slice(1, -1), 'hex');
    const read = await at.send('GET', `/${bucket}/mp-c`, { headers: customer });
    assert.equal(read.headers['etag'], `"${digest.digest('hex')}-2"`);
    assert.ok(read.body.equals(Buffer.concat(parts)));
    const second = await at.send('GET', `/${bucket}/mp-c?partNumber=2`, { headers: customer });
    assert.ok(second.body.equals(parts[1] ?? Buffer.alloc(0)));
    assert.equal(second.headers['x-amz-mp-parts-count'], '2');
    const past = await at.outcome('GET', `/${bucket}/mp-c?partNumber=3`);
    assert.equal(past, '400 InvalidPart');
  });

  void test('an upload with checksums under a client key ends with that key only', async () => {
    const { uploadId } = await create('mp-sum', {
      ...customer,
      'x-amz-checksum-algorithm': 'CRC32',
    });
    const body = randomBytes(1000);
    const part = await at.send('PUT', `/${bucket}/mp-sum?partNumber=1&uploadId=${uploadId}`, {
      headers: {
        ...customer,
        'x-amz-sdk-checksum-algorithm': 'CRC32',
        'x-amz-checksum-crc32': crc32(body),
      },
      body,
    });
    assert.equal(part.status, 200, part.body.toString());
    const checksum = String(part.headers['x-amz-checksum-crc32']);
    const listed = await at.send('GET', `/${bucket}/mp-sum?uploadId=${uploadId}`);
    assert.doesNotMatch(listed.body.toString(), new RegExp(checksum.replaceAll('+', '\\+')));
    const end = `/${bucket}/mp-sum?uploadId=${uploadId}`;
    const document = completion([String(part.headers['etag'])], [checksum]);
    assert.equal(await at.outcome('POST', end, { body: document }), '400 InvalidRequest');
    const wrong = { headers: customerHeaders(otherKey), body: document };
    assert.equal(await at.outcome('POST', end, wrong), '400 InvalidRequest');
    for (let turn = 0; turn < 2; turn += 1) {
      const done = await at.send('POST', end, { headers: customer, body: document });
      assert.equal(done.status, 200, done.body.toString());
      assert.deepEqual(shownEncryption(done.headers), shownCustomer);
      assert.match(textsOf(xmlOf(done), 'ChecksumCRC32')[0] ?? '', /-1$/);
    }
    const read = await at.send('GET', `/${bucket}/mp-sum?partNumber=1`, {
      headers: { ...customer, 'x-amz-checksum-mode': 'ENABLED' },
    });
    assert.equal(read.headers['x-amz-checksum-crc32'], checksum);
  });

  void test('an upload under a master key shows it at every step, and its context at the first', async () => {
    const headers = kmsHeaders(`alias/${otherKeyName}`, { a: 'b' });
    const { answer, uploadId } = await create('mp-kms', headers);
    const shown = { method: 'aws:kms', 'aws-kms-key-id': `alias/${otherKeyName}` };
    const context = Buffer.from('{"a":"b"}').toString('base64');
    assert.deepEqual(shownEncryption(answer.headers), { ...shown, context });
    const target = `/${bucket}/mp-kms?partNumber=1&uploadId=${uploadId}`;
    // What the headers of a part say is fixed already.
    const part = await at.send('PUT', target, { headers: kmsHeaders('absent'), body: 'part' });
    assert.deepEqual(shownEncryption(part.headers), shown);
    const end = `/${bucket}/mp-kms?uploadId=${uploadId}`;
    const done = await at.send('POST', end, { body: completion([String(part.headers['etag'])]) });
    assert.deepEqual(shownEncryption(done.headers), shown);
    const read = await at.send('GET', `/${bucket}/mp-kms`);
    assert.equal(read.body.toString(), 'part');
    assert.deepEqual(shownEncryption(read.headers), { ...shown, context });
  });

  void test('presigned requests carry every mode in their query', async () => {
    const modes: readonly Headers[] = [
      sseS3Headers,
      kmsHeaders(otherKeyName, { a: 'b' }),
      customer,
    ];
    for (const headers of modes) {
      const query = new URLSearchParams(headers).toString();
      const written = await fetch(presigned('PUT', `/${bucket}/pre?${query}`), {
        method: 'PUT',
        body: 'presigned',
      });
      assert.equal(written.status, 200, await written.text());
      const suffix = headers === customer ? `?${query}` : '';
      const read = await fetch(presigned('GET', `/${bucket}/pre${suffix}`));
      assert.equal(await read.text(), 'presigned');
      for (const answer of [written, read]) {
        for (const [name, value] of Object.entries(headers)) {
          if (!name.endsWith('customer-key')) assert.equal(answer.headers.get(name), value);
        }
      }
    }
    assert.equal((await fetch(presigned('GET', `/${bucket}/pre`))).status, 400);
  });

  void test('a bucket default of a master key holds for writes that ask for nothing', async () => {
    const name = freshBucket();
    await at.send('PUT', `/${name}`);
    const rule = (keyId: string) =>
      `<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm>${keyId}</ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>`;
    const arn = `arn:aws:kms:${otherKeyName}`;
    const forms: readonly (readonly [string, string])[] = [
      [`<KMSMasterKeyID>${arn}</KMSMasterKeyID>`, arn],
      ['', masterKeyName],
    ];
    for (const [element, shownId] of forms) {
      const set = await at.outcome('PUT', `/${name}?encryption`, { body: rule(element) });
      assert.equal(set, '200');
      const shown = await at.send('GET', `/${name}?encryption`);
      assert.ok(
        shown.body.toString().includes(rule(element).slice(35, -38)),
        shown.body.toString(),
      );
      const expected = { method: 'aws:kms', 'aws-kms-key-id': shownId };
      const written = await at.send('PUT', `/${name}/k`, { body: 'x' });
      assert.deepEqual(shownEncryption(written.headers), expected);
      assert.deepEqual(shownEncryption((await at.send('HEAD', `/${name}/k`)).headers), expected);
      const upload = await at.send('POST', `/${name}/k?uploads`);
      assert.deepEqual(shownEncryption(upload.headers), expected);
      const copied = await at.send('PUT', `/${name}/c`, {
        headers: { 'x-amz-copy-source': `/${name}/k` },
      });
      assert.deepEqual(shownEncryption(copied.headers), expected);
      const own = await at.send('PUT', `/${name}/own`, { headers: customer, body: 'x' });
      assert.deepEqual(shownEncryption(own.headers), shownCustomer);
    }
  });

  void test('the index of a master key covers what it protects', async () => {
    const before = await at.store.keyUsage(otherKeyName);
    await put('usage', kmsHeaders(otherKeyName), randomBytes(300));
    const during = await at.store.keyUsage(otherKeyName);
    assert.equal(during.objects - before.objects, 1);
    assert.equal(during.bytes - before.bytes, 300);
    await put('usage', customer, randomBytes(300));
    assert.deepEqual(await at.store.keyUsage(otherKeyName), before);
  });

  void test('client keys are refused on an open line, and serve without a key service', async () => {
    const strict = await startHarness({ refusesKeysInClear: true, withoutKms: true });
    const bare = await startHarness({ withoutKms: true });
    try {
      await strict.send('PUT', '/bucket');
      for (const [method, target, headers] of [
        ['PUT', '/bucket/k', customer],
        ['GET', '/bucket/k', customer],
        ['HEAD', '/bucket/k', customer],
        ['PUT', '/bucket/k', { ...copySourceHeaders(key), 'x-amz-copy-source': '/bucket/k' }],
      ] as const) {
        const outcome = await strict.outcome(method, target, { headers });
        assert.equal(outcome, '400 InvalidRequest');
      }
      await bare.send('PUT', '/bucket');
      const headers = customer;
      assert.equal(await bare.outcome('PUT', '/bucket/k', { headers, body: 'x' }), '200');
      assert.equal((await bare.send('GET', '/bucket/k', { headers })).body.toString(), 'x');
      const kms = { headers: kmsHeaders(), body: 'x' };
      assert.equal(await bare.outcome('PUT', '/bucket/k', kms), '501 NotImplemented');
    } finally {
      await strict.close();
      await bare.close();
    }
  });

  function presigned(method: string, target: string): string {
    const signed = presignTarget({
      method,
      target,
      headers: { host: at.host },
      credentials: { accessKey, secretKey },
      region: 'us-east-1',
      timeMs: Date.now(),
      expiresSeconds: 60,
    });
    return `http://${at.host}${signed}`;
  }
});

function crc32(bytes: Uint8Array): string {
  return checksumOf('CRC32', bytes).toString('base64');
}
