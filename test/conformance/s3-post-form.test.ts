// Browser forms over the wire: signatures of both kinds, policies, every way to answer, and forms that are not
// what they should be, which leave nothing behind.

import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { deriveSigningKey } from '../../src/sigv4/signing-key.ts';
import { formatAmzDate } from '../../src/sigv4/time.ts';
import { accessKey, type Harness, secretKey, startHarness } from './s3-harness.ts';

type Fields = readonly (readonly [string, string])[];
type Condition = Record<string, string> | readonly (string | number)[];

const soon = (): string => new Date(Date.now() + 60_000).toISOString();
const encode = (document: unknown): string =>
  Buffer.from(JSON.stringify(document)).toString('base64');

function signedV4(conditions: readonly Condition[], expiration = soon()): Fields {
  const timestamp = formatAmzDate(Date.now());
  const scope = { date: timestamp.slice(0, 8), region: 'us-east-1', service: 's3' };
  const policy = encode({ expiration, conditions });
  const key = deriveSigningKey(secretKey, scope);
  return [
    ['policy', policy],
    ['x-amz-algorithm', 'AWS4-HMAC-SHA256'],
    ['X-Amz-Credential', `${accessKey}/${scope.date}/us-east-1/s3/aws4_request`],
    ['x-amz-date', timestamp],
    ['x-amz-signature', createHmac('sha256', key).update(policy).digest('hex')],
  ];
}

function signedV2(conditions: readonly Condition[]): Fields {
  const policy = encode({ expiration: soon(), conditions });
  return [
    ['AWSAccessKeyId', accessKey],
    ['policy', policy],
    ['signature', createHmac('sha1', secretKey).update(policy).digest('base64')],
  ];
}

const anyKey: readonly Condition[] = [{ bucket: 'forms' }, ['starts-with', '$key', '']];

void describe('browser forms', () => {
  let at: Harness;
  before(async () => {
    at = await startHarness();
    await at.send('PUT', '/forms');
  });
  after(() => at.close());

  async function post(
    fields: Fields,
    file: string | Uint8Array<ArrayBuffer> | undefined = 'hello',
    fileName = 'a.txt',
  ): Promise<{ status: number; code: string; headers: Headers; text: string }> {
    const form = new FormData();
    for (const [name, value] of fields) form.append(name, value);
    if (file !== undefined) form.append('file', new Blob([file]), fileName);
    const answer = await fetch(`http://${at.host}/forms`, {
      method: 'POST',
      body: form,
      redirect: 'manual',
    });
    const text = await answer.text();
    const code = /<Code>(.*)<\/Code>/.exec(text)?.[1] ?? '';
    return { status: answer.status, code, headers: answer.headers, text };
  }
  const outcome = async (fields: Fields, file?: string): Promise<string> => {
    const { status, code } = await post(fields, file);
    return code === '' ? String(status) : `${status} ${code}`;
  };
  const objectCount = async (): Promise<number> =>
    (
      await at.store.listObjects({
        bucket: 'forms',
        prefix: '',
        delimiter: '',
        after: '',
        limit: 1000,
      })
    ).objects.length;

  void test('a signed form becomes an object with its headers, metadata and tags', async () => {
    const fields: Fields = [
      ['key', 'dir/${filename}'],
      ['Content-Type', 'text/plain'],
      ['x-amz-meta-name', 'Zoë'],
      ['tagging', '<Tagging><TagSet><Tag><Key>a</Key><Value>b c</Value></Tag></TagSet></Tagging>'],
      ['x-amz-server-side-encryption', 'AES256'],
    ];
    const open: readonly Condition[] = [
      ['starts-with', '$Content-Type', 'text/'],
      ['starts-with', '$x-amz-meta-name', ''],
      ['starts-with', '$tagging', ''],
      { 'x-amz-server-side-encryption': 'AES256' },
    ];
    for (const sign of [signedV4, signedV2]) {
      const name = `${sign.name}-é.txt`;
      const answer = await post([...fields, ...sign([...anyKey, ...open])], 'some text', name);
      assert.equal(answer.status, 204, answer.text);
      assert.equal(answer.headers.get('x-amz-server-side-encryption'), 'AES256');
      assert.match(answer.headers.get('location') ?? '', /\/forms\/dir\/signed/);
      const got = await at.send('GET', `/forms/dir/${encodeURIComponent(name)}`);
      assert.equal(got.body.toString(), 'some text');
      assert.equal(got.headers['content-type'], 'text/plain');
      assert.equal(got.headers['x-amz-server-side-encryption'], 'AES256');
      assert.equal(Buffer.from(String(got.headers['x-amz-meta-name']), 'latin1').toString(), 'Zoë');
      const tags = await at.send('GET', `/forms/dir/${encodeURIComponent(name)}?tagging`);
      assert.match(tags.body.toString(), /<Key>a<\/Key><Value>b c<\/Value>/);
    }
  });

  void test('large files stream through', async () => {
    const bytes = new Uint8Array(9 * 1024 * 1024 + 1).map((_, index) => index * 7);
    assert.equal((await post([['key', 'large'], ...signedV4(anyKey)], bytes)).status, 204);
    assert.ok((await at.send('GET', '/forms/large')).body.equals(bytes));
  });

  void test('the form says how it is answered', async () => {
    const answered = (name: string, value: string) =>
      post([
        ['key', 'k'],
        [name, value],
        ...signedV4([...anyKey, ['starts-with', `$${name}`, '']]),
      ]);
    assert.equal((await answered('success_action_status', '200')).status, 200);
    assert.equal((await answered('success_action_status', '418')).status, 204);
    const created = await answered('success_action_status', '201');
    assert.equal(created.status, 201);
    assert.match(created.text, /<PostResponse><Location>http:.*<Bucket>forms<.*<Key>k<.*<ETag>/);
    const moved = await answered('success_action_redirect', 'http://page/done?x=1');
    assert.equal(moved.status, 303);
    assert.match(
      moved.headers.get('location') ?? '',
      /^http:\/\/page\/done\?x=1&bucket=forms&key=k&etag=%22[0-9a-f]{32}%22$/,
    );
    assert.equal((await answered('success_action_redirect', 'javascript:alert(1)')).status, 204);
  });

  void test('what the policy does not allow is refused and leaves nothing', async () => {
    const before = await objectCount();
    const cases: readonly (readonly [Fields, string, string?])[] = [
      [
        [['key', 'no'], ...signedV4([{ bucket: 'other' }, ['starts-with', '$key', '']])],
        '403 AccessDenied',
      ],
      [
        [['key', 'no'], ...signedV4([{ bucket: 'forms' }, ['starts-with', '$key', 'yes']])],
        '403 AccessDenied',
      ],
      [[['key', 'no'], ...signedV4([{ bucket: 'forms' }])], '403 AccessDenied'],
      [[['key', 'no'], ['x-amz-meta-a', 'b'], ...signedV4(anyKey)], '403 AccessDenied'],
      [[['key', 'no'], ['acl', 'public-read'], ...signedV4(anyKey)], '403 AccessDenied'],
      [[['key', 'no'], ...signedV4(anyKey, '2020-01-01T00:00:00Z')], '403 AccessDenied'],
      [[['key', 'no'], ...signedV4(anyKey, 'tomorrow')], '400 InvalidPolicyDocument'],
      [
        [['key', 'no'], ...signedV4([...anyKey, ['like', '$key', 'x']])],
        '400 InvalidPolicyDocument',
      ],
      [
        [['key', 'no'], ...signedV4([...anyKey, ['content-length-range', 0, 4]])],
        '400 EntityTooLarge',
      ],
      [
        [['key', 'no'], ...signedV4([...anyKey, ['content-length-range', 6, 9]])],
        '400 EntityTooSmall',
      ],
      [
        [['key', 'no'], ...signedV4([...anyKey, ['content-length-range', 6, 'x']])],
        '400 InvalidPolicyDocument',
      ],
      [signedV4(anyKey), '400 InvalidArgument'],
      [[['key', 'no']], '403 AccessDenied'],
      [[['key', 'k'.repeat(1025)], ...signedV4(anyKey)], '400 KeyTooLongError'],
    ];
    for (const [fields, expected] of cases) assert.equal(await outcome(fields), expected);
    assert.equal(await objectCount(), before);
  });

  void test('a form that was altered after signing is refused', async () => {
    const good: Fields = [['key', 'no'], ...signedV4(anyKey)];
    const change = (name: string, value: (old: string) => string): Fields =>
      good.map(([field, old]) => [field, field.toLowerCase() === name ? value(old) : old]);
    const without = (name: string): Fields =>
      good.filter(([field]) => field.toLowerCase() !== name);
    const wider = encode({ expiration: soon(), conditions: [['starts-with', '$key', '']] });
    for (const [fields, expected] of [
      [change('policy', () => wider), '403 SignatureDoesNotMatch'],
      [
        change('x-amz-signature', (old) => old.replace(/^./, (c) => (c === 'a' ? 'b' : 'a'))),
        '403 SignatureDoesNotMatch',
      ],
      [
        change('x-amz-credential', (old) => old.replace(accessKey, 'somebody')),
        '403 InvalidAccessKeyId',
      ],
      [
        change('x-amz-credential', (old) => old.replace('us-east-1', 'moon-1')),
        '403 SignatureDoesNotMatch',
      ],
      [change('x-amz-date', () => '19990101T000000Z'), '400 InvalidArgument'],
      [change('x-amz-algorithm', () => 'none'), '400 InvalidArgument'],
      [without('policy'), '400 InvalidArgument'],
      [without('x-amz-signature'), '400 InvalidArgument'],
      [without('x-amz-credential'), '400 InvalidArgument'],
      [[...good, ['AWSAccessKeyId', accessKey]], '400 InvalidArgument'],
      [[...good, ['x-amz-security-token', 'x']], '403 InvalidTokenId'],
      [[...good, ['policy', wider]], '400 MalformedPOSTRequest'],
    ] as const) {
      assert.equal(await outcome(fields as Fields), expected);
    }
    const v2 = signedV2(anyKey);
    const alteredV2 = v2.map(([name, value]) => [name, name === 'policy' ? wider : value] as const);
    assert.equal(await outcome([['key', 'no'], ...alteredV2]), '403 SignatureDoesNotMatch');
    assert.equal(await outcome([['key', 'no'], ...v2.slice(0, 2)]), '400 InvalidArgument');
    assert.equal((await at.send('HEAD', '/forms/no')).status, 404);
  });

  void test('a body that is not a form is refused', async () => {
    const send = (body: string, type: string): Promise<string> =>
      fetch(`http://${at.host}/forms`, { method: 'POST', body, headers: { 'content-type': type } })
        .then((answer) => answer.text())
        .then((text) => /<Code>(.*)<\/Code>/.exec(text)?.[1] ?? text);
    const field = (name: string, value: string): string =>
      `--B\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;
    const type = 'multipart/form-data; boundary=B';
    assert.equal(await send('key=no', 'application/x-www-form-urlencoded'), 'MalformedPOSTRequest');
    assert.equal(await send('x', 'multipart/form-data'), 'MalformedPOSTRequest');
    assert.equal(await send('', type), 'MalformedPOSTRequest');
    assert.equal(await send(`${field('key', 'no')}--B--\r\n`, type), 'MalformedPOSTRequest');
    const fields = [...signedV4(anyKey), ['key', 'cut'] as const];
    const begin = fields.map(([name, value]) => field(name, value)).join('');
    const file = `${begin}--B\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n`;
    assert.equal(await send(`${file}some bytes of a file`, type), 'MalformedPOSTRequest');
    assert.equal(
      await send(`${begin}${field('big', 'x'.repeat(300_000))}--B--`, type),
      'MalformedPOSTRequest',
    );
    const tooMany = Array.from({ length: 300 }, (_, index) => field(`f${index}`, 'x')).join('');
    assert.equal(await send(`${begin}${tooMany}--B--`, type), 'MalformedPOSTRequest');
    assert.equal((await at.send('HEAD', '/forms/cut')).status, 404);
    assert.equal(await send(`${file}whole\r\n--B--\r\n`, type), '');
    assert.equal((await at.send('GET', '/forms/cut')).body.toString(), 'whole');
  });

  void test('a client that goes away in the middle of the file leaves nothing', async () => {
    const fields = [...signedV4(anyKey), ['key', 'gone'] as const];
    const parts = fields.map(
      ([name, value]) =>
        `--B\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`,
    );
    const body = `${parts.join('')}--B\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n${'x'.repeat(500_000)}`;
    const socket = connect(at.port, '127.0.0.1');
    socket.write(
      `POST /forms HTTP/1.1\r\nHost: ${at.host}\r\nContent-Type: multipart/form-data; boundary=B\r\nContent-Length: 9000000\r\n\r\n${body}`,
    );
    await new Promise((resolve) => setTimeout(resolve, 100));
    socket.destroy();
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal((await at.send('HEAD', '/forms/gone')).status, 404);
    assert.equal(at.blobs.bytes.size, await blobsOfLargeObjects());
  });

  /** Objects that are larger than what is kept inline. */
  async function blobsOfLargeObjects(): Promise<number> {
    const query = { bucket: 'forms', prefix: '', delimiter: '', after: '', limit: 1000 };
    const { objects } = await at.store.listObjects(query);
    return objects.filter((object) => object.sizeBytes > 128 * 1024).length;
  }

  void test('a key of the client seals the file, and is refused over plain HTTP', async () => {
    const key = Buffer.alloc(32, 7);
    const fields: Fields = [
      ['x-amz-server-side-encryption-customer-algorithm', 'AES256'],
      ['x-amz-server-side-encryption-customer-key', key.toString('base64')],
      [
        'x-amz-server-side-encryption-customer-key-md5',
        createHash('md5').update(key).digest('base64'),
      ],
    ];
    const open = fields.map(([name]) => ['starts-with', `$${name}`, ''] as const);
    const signed = signedV4([...anyKey, ...open]);
    assert.equal((await post([['key', 'c'], ...fields, ...signed])).status, 204);
    assert.equal((await at.send('GET', '/forms/c')).status, 400);
    const headers = Object.fromEntries(fields);
    assert.equal((await at.send('GET', '/forms/c', { headers })).body.toString(), 'hello');
    const strict = await startHarness({ refusesKeysInClear: true });
    try {
      await strict.send('PUT', '/forms');
      const form = new FormData();
      for (const [name, value] of [['key', 'c'] as const, ...fields, ...signed]) {
        form.append(name, value);
      }
      form.append('file', new Blob(['hello']), 'f');
      const answer = await fetch(`http://${strict.host}/forms`, { method: 'POST', body: form });
      assert.match(await answer.text(), /<Code>InvalidRequest<.*secure connection/);
      assert.equal((await strict.send('HEAD', '/forms/c')).status, 404);
    } finally {
      await strict.close();
    }
  });

  void test('an absent bucket is told before the form is read', async () => {
    const answer = await fetch(`http://${at.host}/nowhere`, {
      method: 'POST',
      body: new FormData(),
    });
    assert.equal(answer.status, 404);
  });
});
