// CORS and the tags of buckets, over the wire: configuration, preflight, and the headers on every answer.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { type Harness, startHarness } from './s3-harness.ts';

const md5 = (text: string): Record<string, string> => ({
  'content-md5': createHash('md5').update(text).digest('base64'),
});
const configuration = (rules: string): string => `<CORSConfiguration>${rules}</CORSConfiguration>`;
const rule = (inner: string): string => `<CORSRule>${inner}</CORSRule>`;
const getOnly = '<AllowedMethod>GET</AllowedMethod>';

void describe('cross-origin requests', () => {
  let at: Harness;
  before(async () => {
    at = await startHarness();
    await at.send('PUT', '/pages');
    await at.send('PUT', '/pages/k', { body: 'hello' });
  });
  after(() => at.close());

  const put = (rules: string): Promise<string> =>
    at.outcome('PUT', '/pages?cors', {
      body: configuration(rules),
      headers: md5(configuration(rules)),
    });
  const ask = (origin: string, method: string, headers?: string): Promise<Response> =>
    fetch(`http://${at.host}/pages/k`, {
      method: 'OPTIONS',
      headers: {
        origin,
        'access-control-request-method': method,
        ...(headers === undefined ? {} : { 'access-control-request-headers': headers }),
      },
    });

  void test('a configuration is kept, given back and deleted', async () => {
    const rules =
      rule(
        `<ID>one</ID><AllowedOrigin>https://*.example.com</AllowedOrigin>${getOnly}<AllowedHeader>*</AllowedHeader><MaxAgeSeconds>30</MaxAgeSeconds><ExposeHeader>ETag</ExposeHeader>`,
      ) + rule(`<AllowedOrigin>*</AllowedOrigin><AllowedMethod>HEAD</AllowedMethod>`);
    assert.equal(await put(rules), '200');
    const shown = await at.send('GET', '/pages?cors');
    assert.match(
      shown.body.toString(),
      new RegExp(`<CORSConfiguration[^>]*>${RegExp.escape(rules)}</C`),
    );
    assert.equal(await at.outcome('DELETE', '/pages?cors'), '204');
    assert.equal(await at.outcome('GET', '/pages?cors'), '404 NoSuchCORSConfiguration');
    assert.equal(await at.outcome('DELETE', '/pages?cors'), '204');
  });

  void test('what cannot be a configuration is refused and changes nothing', async () => {
    const origin = '<AllowedOrigin>*</AllowedOrigin>';
    await put(rule(origin + getOnly));
    const cases: readonly (readonly [string, string])[] = [
      ['', '400 MalformedXML'],
      [rule(origin), '400 MalformedXML'],
      [rule(getOnly), '400 MalformedXML'],
      [rule(`${origin}<AllowedMethod>PATCH</AllowedMethod>`), '400 InvalidRequest'],
      [rule(`<AllowedOrigin>a*b*</AllowedOrigin>${getOnly}`), '400 InvalidRequest'],
      [rule(`<AllowedOrigin>a&#10;b</AllowedOrigin>${getOnly}`), '400 InvalidRequest'],
      [rule(`${origin}${getOnly}<AllowedHeader>x-*-*</AllowedHeader>`), '400 InvalidRequest'],
      [rule(`${origin}${getOnly}<ExposeHeader>a: b</ExposeHeader>`), '400 InvalidRequest'],
      [rule(`${origin}${getOnly}<MaxAgeSeconds>-1</MaxAgeSeconds>`), '400 MalformedXML'],
      [rule(origin + getOnly).repeat(101), '400 MalformedXML'],
    ];
    for (const [rules, outcome] of cases) assert.equal(await put(rules), outcome, rules);
    const body = configuration(rule(origin + getOnly));
    assert.equal(await at.outcome('PUT', '/pages?cors', { body }), '400 InvalidRequest');
    assert.match((await at.send('GET', '/pages?cors')).body.toString(), /<AllowedMethod>GET</);
  });

  void test('a preflight is answered by the first rule that fits, without a signature', async () => {
    await put(
      rule(
        `<AllowedOrigin>https://*.example.com</AllowedOrigin><AllowedMethod>PUT</AllowedMethod>${getOnly}<AllowedHeader>X-Amz-*</AllowedHeader><ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>60</MaxAgeSeconds>`,
      ) + rule(`<AllowedOrigin>*</AllowedOrigin>${getOnly}`),
    );
    const named = await ask('https://a.example.com', 'PUT', 'x-amz-date, X-Amz-Meta-A');
    assert.equal(named.status, 200);
    assert.equal(named.headers.get('access-control-allow-origin'), 'https://a.example.com');
    assert.equal(named.headers.get('access-control-allow-methods'), 'PUT, GET');
    assert.equal(named.headers.get('access-control-allow-headers'), 'x-amz-date, x-amz-meta-a');
    assert.equal(named.headers.get('access-control-allow-credentials'), 'true');
    assert.equal(named.headers.get('access-control-max-age'), '60');
    assert.equal(named.headers.get('access-control-expose-headers'), 'ETag');
    assert.match(named.headers.get('vary') ?? '', /Origin/);
    const anybody = await ask('http://other', 'GET');
    assert.equal(anybody.headers.get('access-control-allow-origin'), '*');
    assert.equal(anybody.headers.get('access-control-allow-credentials'), null);
    for (const [origin, method, headers] of [
      ['https://example.com.evil', 'PUT', undefined],
      ['https://.example.com.evil', 'PUT', undefined],
      ['HTTPS://A.EXAMPLE.COM', 'PUT', undefined],
      ['https://a.example.com', 'DELETE', undefined],
      ['https://a.example.com', 'PUT', 'content-type'],
    ] as const) {
      const refused = await ask(origin, method, headers);
      assert.equal(refused.status, 403, `${origin} ${method}`);
      assert.equal(refused.headers.get('access-control-allow-origin'), null);
    }
    assert.equal((await ask('http://x', 'nonsense!')).status, 400);
  });

  void test('an absent bucket, one without rules and one with others refuse alike', async () => {
    await at.send('PUT', '/bare');
    const answers = await Promise.all(
      ['/absent/k', '/bare/k', '/bare'].map((path) =>
        fetch(`http://${at.host}${path}`, {
          method: 'OPTIONS',
          headers: { origin: 'http://x', 'access-control-request-method': 'GET' },
        }),
      ),
    );
    assert.deepEqual(
      answers.map((answer) => answer.status),
      [403, 403, 403],
    );
  });

  void test('answers of every status carry the headers of the rule', async () => {
    await put(rule(`<AllowedOrigin>http://page</AllowedOrigin>${getOnly}`));
    const headers = { origin: 'http://page' };
    const signed = await at.send('GET', '/pages/k', { headers });
    const absent = await at.send('GET', '/pages/none', { headers });
    const anonymous = await fetch(`http://${at.host}/pages/k`, { headers });
    assert.deepEqual([signed.status, absent.status, anonymous.status], [200, 404, 403]);
    for (const origin of [
      signed.headers['access-control-allow-origin'],
      absent.headers['access-control-allow-origin'],
      anonymous.headers.get('access-control-allow-origin'),
    ]) {
      assert.equal(origin, 'http://page');
    }
    const other = await at.send('GET', '/pages/k', { headers: { origin: 'http://else' } });
    assert.equal(other.headers['access-control-allow-origin'], undefined);
  });
});

void describe('tags of buckets', () => {
  let at: Harness;
  before(async () => {
    at = await startHarness();
    await at.send('PUT', '/tagged');
  });
  after(() => at.close());

  const document = (tags: readonly (readonly [string, string])[]): string =>
    `<Tagging><TagSet>${tags.map(([key, value]) => `<Tag><Key>${key}</Key><Value>${value}</Value></Tag>`).join('')}</TagSet></Tagging>`;
  const put = (body: string): Promise<string> =>
    at.outcome('PUT', '/tagged?tagging', { body, headers: md5(body) });

  void test('tags are replaced, shown sorted and deleted', async () => {
    assert.equal(await at.outcome('GET', '/tagged?tagging'), '404 NoSuchTagSet');
    assert.equal(
      await put(
        document([
          ['b', '2'],
          ['a', 'x/y'],
        ]),
      ),
      '200',
    );
    const shown = await at.send('GET', '/tagged?tagging');
    assert.match(shown.body.toString(), /<Key>a<\/Key><Value>x\/y<\/Value>.*<Key>b</);
    assert.equal(await at.outcome('DELETE', '/tagged?tagging'), '204');
    assert.equal(await at.outcome('GET', '/tagged?tagging'), '404 NoSuchTagSet');
  });

  void test('limits are those of S3', async () => {
    const many = (count: number): string =>
      document(Array.from({ length: count }, (_, index) => [`k${index}`, 'v'] as const));
    assert.equal(await put(many(50)), '200');
    for (const [body, outcome] of [
      [many(51), '400 InvalidTag'],
      [
        document([
          ['a', '1'],
          ['a', '2'],
        ]),
        '400 InvalidTag',
      ],
      [document([['', '1']]), '400 InvalidTag'],
      [document([['k'.repeat(129), '1']]), '400 InvalidTag'],
      [document([['k', 'v'.repeat(257)]]), '400 InvalidTag'],
      [document([['k!', 'v']]), '400 InvalidTag'],
      ['<Tagging/>', '400 MalformedXML'],
      ['<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>', '400 MalformedXML'],
    ] as const) {
      assert.equal(await put(body), outcome, body.slice(0, 80));
    }
    assert.match((await at.send('GET', '/tagged?tagging')).body.toString(), /k49/);
  });
});
