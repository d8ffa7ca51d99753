// The lifecycle configuration of buckets over the wire.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { type Harness, startHarness } from './s3-harness.ts';

const document = (rules: string): string =>
  `<LifecycleConfiguration>${rules}</LifecycleConfiguration>`;
const enabled = '<Status>Enabled</Status>';
const oneDay = '<Expiration><Days>1</Days></Expiration>';
const everything = '<Filter><Prefix></Prefix></Filter>';
const rule = (inner: string, id = 'one'): string => `<Rule><ID>${id}</ID>${inner}</Rule>`;

void describe('lifecycle configuration', () => {
  let at: Harness;
  before(async () => {
    at = await startHarness();
    await at.send('PUT', '/aging');
  });
  after(() => at.close());

  const put = (rules: string): Promise<string> => {
    const body = document(rules);
    const md5 = createHash('md5').update(body).digest('base64');
    return at.outcome('PUT', '/aging?lifecycle', { body, headers: { 'content-md5': md5 } });
  };
  const shown = async (): Promise<string> => {
    const { body } = await at.send('GET', '/aging?lifecycle');
    return (
      /<LifecycleConfiguration[^>]*>(.*)<\/LifecycleConfiguration>/s.exec(body.toString())?.[1] ??
      ''
    );
  };

  void test('rules are given back as they were written, and deleted', async () => {
    assert.equal(await at.outcome('GET', '/aging?lifecycle'), '404 NoSuchLifecycleConfiguration');
    const rules = [
      rule(`${enabled}<Prefix>old/</Prefix>${oneDay}`, 'legacy'),
      rule(`${enabled}${everything}${oneDay}`, 'all'),
      rule(
        '<Status>Disabled</Status><Filter><Tag><Key>a</Key><Value>b</Value></Tag></Filter><Expiration><Date>2030-01-01T00:00:00.000Z</Date></Expiration>',
        'tag',
      ),
      rule(
        `${enabled}<Filter><And><Prefix>p</Prefix><Tag><Key>a</Key><Value>b</Value></Tag><ObjectSizeGreaterThan>5</ObjectSizeGreaterThan><ObjectSizeLessThan>9</ObjectSizeLessThan></And></Filter>${oneDay}<NoncurrentVersionExpiration><NoncurrentDays>3</NoncurrentDays><NewerNoncurrentVersions>2</NewerNoncurrentVersions></NoncurrentVersionExpiration>`,
        'and',
      ),
      rule(
        `${enabled}<Filter><Prefix>u</Prefix></Filter><Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration><AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>`,
        'uploads',
      ),
    ].join('');
    assert.equal(await put(rules), '200');
    assert.equal(await shown(), rules);
    assert.equal(await at.outcome('DELETE', '/aging?lifecycle'), '204');
    assert.equal(await at.outcome('GET', '/aging?lifecycle'), '404 NoSuchLifecycleConfiguration');
  });

  void test('a rule without an id gets one', async () => {
    assert.equal(await put(`<Rule>${enabled}${everything}${oneDay}</Rule>`.repeat(2)), '200');
    assert.equal(new Set((await shown()).match(/<ID>[\w-]{32}<\/ID>/g)).size, 2);
  });

  void test('what cannot be a rule is refused and changes nothing', async () => {
    await put(rule(`${enabled}${everything}${oneDay}`, 'kept'));
    const expiration = (inner: string): string =>
      rule(`${enabled}${everything}<Expiration>${inner}</Expiration>`);
    const tag = '<Tag><Key>a</Key><Value>b</Value></Tag>';
    const cases: readonly (readonly [string, string])[] = [
      ['', '400 MalformedXML'],
      [rule(`<Status>enabled</Status>${everything}${oneDay}`), '400 MalformedXML'],
      [rule(`${everything}${oneDay}`), '400 MalformedXML'],
      [rule(`${enabled}${everything}`), '400 InvalidRequest'],
      [expiration('<Days>0</Days>'), '400 InvalidArgument'],
      [expiration('<Days>-3</Days>'), '400 InvalidArgument'],
      [expiration('<Days>x</Days>'), '400 MalformedXML'],
      [expiration(''), '400 MalformedXML'],
      [expiration('<Days>1</Days><Date>2030-01-01T00:00:00Z</Date>'), '400 MalformedXML'],
      [expiration('<Date>20200101</Date>'), '400 MalformedXML'],
      [expiration('<Date>2030-01-01T00:00:01Z</Date>'), '400 InvalidArgument'],
      [rule(`${enabled}${everything}${oneDay}`).repeat(2), '400 InvalidArgument'],
      [rule(`${enabled}${everything}${oneDay}`, 'i'.repeat(256)), '400 InvalidArgument'],
      [rule(`${enabled}<Prefix>a</Prefix>${everything}${oneDay}`), '400 MalformedXML'],
      [rule(`${enabled}<Filter><Prefix>a</Prefix>${tag}</Filter>${oneDay}`), '400 MalformedXML'],
      [
        rule(
          `${enabled}${everything}<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>`,
        ),
        '501 NotImplemented',
      ],
      [
        expiration('<Days>1</Days><ExpiredObjectAllVersions>true</ExpiredObjectAllVersions>'),
        '501 NotImplemented',
      ],
      [
        rule(
          `${enabled}${everything}${oneDay}<DelMarkerExpiration><Days>1</Days></DelMarkerExpiration>`,
        ),
        '501 NotImplemented',
      ],
      [
        rule(
          `${enabled}<Filter>${tag}</Filter><AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>`,
        ),
        '400 InvalidRequest',
      ],
      [
        rule(
          `${enabled}<Filter>${tag}</Filter><Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>`,
        ),
        '400 InvalidRequest',
      ],
      [rule(`${enabled}<Filter><And>${tag}${tag}</And></Filter>${oneDay}`), '400 InvalidTag'],
    ];
    for (const [rules, outcome] of cases) assert.equal(await put(rules), outcome, rules);
    assert.match(await shown(), /<ID>kept<\/ID>/);
    const unprotected = { body: document(rule(`${enabled}${everything}${oneDay}`)) };
    assert.equal(await at.outcome('PUT', '/aging?lifecycle', unprotected), '400 InvalidRequest');
  });
});

void describe('x-amz-expiration', () => {
  let at: Harness;
  before(async () => {
    at = await startHarness();
    for (const bucket of ['aging', 'ageless', 'versions']) await at.send('PUT', `/${bucket}`);
    const versioning =
      '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>';
    await at.send('PUT', '/versions?versioning', { body: versioning });
    const rules =
      rule(`${enabled}<Filter><Prefix>logs/</Prefix></Filter>${oneDay}`, 'old "logs", ä') +
      rule(
        `${enabled}<Filter><Tag><Key>t</Key><Value>1</Value></Tag></Filter><Expiration><Date>2040-01-01T00:00:00Z</Date></Expiration>`,
        'tags',
      ) +
      rule(
        `${enabled}${everything}<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>`,
        'older',
      );
    const body = document(rules);
    const md5 = createHash('md5').update(body).digest('base64');
    for (const bucket of ['aging', 'versions']) {
      const options = { body, headers: { 'content-md5': md5 } };
      assert.equal(await at.outcome('PUT', `/${bucket}?lifecycle`, options), '200');
    }
  });
  after(() => at.close());

  type Options = { headers?: Record<string, string>; body?: string };
  const shown = async (method: string, target: string, options?: Options): Promise<unknown> => {
    const answer = await at.send(method, target, options);
    assert.ok(answer.status < 300, `${method} ${target}: ${answer.status}`);
    return answer.headers['x-amz-expiration'];
  };
  /** The midnight a day after this one, whenever the object was made. */
  const expected = (modified: unknown): string => {
    const day = 86_400_000;
    const date = new Date(Math.ceil((Date.parse(String(modified)) + day) / day) * day);
    return `expiry-date="${date.toUTCString()}", rule-id="old%20%22logs%22%2C%20%C3%A4"`;
  };

  void test('writes and reads tell when the rule lets the object go', async () => {
    const written = await shown('PUT', '/aging/logs/a', { body: 'a' });
    const { headers } = await at.send('HEAD', '/aging/logs/a');
    const text = expected(headers['last-modified']);
    assert.equal(written, text);
    assert.equal(headers['x-amz-expiration'], text);
    assert.equal(await shown('GET', '/aging/logs/a'), text);
    const ranged = { headers: { range: 'bytes=0-0' } };
    assert.equal(await shown('GET', '/aging/logs/a', ranged), text);
    const copied = { headers: { 'x-amz-copy-source': '/aging/logs/a' } };
    const ofCopy = await shown('PUT', '/aging/logs/b', copied);
    const copy = await at.send('HEAD', '/aging/logs/b');
    assert.equal(ofCopy, expected(copy.headers['last-modified']));
    assert.equal(await shown('PUT', '/aging/other', copied), undefined);
  });

  void test('an upload tells it when it is completed', async () => {
    const { body } = await at.send('POST', '/aging/logs/m?uploads');
    const uploadId = /<UploadId>([^<]*)</.exec(body.toString())?.[1] ?? '';
    const part = { body: 'part' };
    const { headers } = await at.send(
      'PUT',
      `/aging/logs/m?partNumber=1&uploadId=${uploadId}`,
      part,
    );
    const completion = {
      body: `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${String(headers['etag'])}</ETag></Part></CompleteMultipartUpload>`,
    };
    const told = await shown('POST', `/aging/logs/m?uploadId=${uploadId}`, completion);
    const head = await at.send('HEAD', '/aging/logs/m');
    assert.equal(told, expected(head.headers['last-modified']));
  });

  void test('a browser form tells it', async () => {
    const acl = { headers: { 'x-amz-acl': 'public-read-write' } };
    assert.equal(await at.outcome('PUT', '/aging?acl', acl), '200');
    const form = new FormData();
    form.append('key', 'logs/form');
    form.append('file', new Blob(['form']));
    const answer = await fetch(`http://${at.host}/aging`, { method: 'POST', body: form });
    assert.equal(answer.status, 204);
    const head = await at.send('HEAD', '/aging/logs/form');
    assert.equal(answer.headers.get('x-amz-expiration'), expected(head.headers['last-modified']));
  });

  void test('tags decide, also when they change later', async () => {
    const text = 'expiry-date="Sun, 01 Jan 2040 00:00:00 GMT", rule-id="tags"';
    const tagged = { headers: { 'x-amz-tagging': 't=1' }, body: 'a' };
    assert.equal(await shown('PUT', '/aging/tagged', tagged), text);
    assert.equal(await shown('DELETE', '/aging/tagged?tagging'), undefined);
    assert.equal(await shown('HEAD', '/aging/tagged'), undefined);
  });

  void test('only the current version expires by such a rule', async () => {
    assert.ok(await shown('PUT', '/versions/logs/a', { body: 'a' }));
    const { headers } = await at.send('PUT', '/versions/logs/a', { body: 'b' });
    const versionId = String(headers['x-amz-version-id']);
    assert.ok(headers['x-amz-expiration']);
    assert.ok(await shown('HEAD', '/versions/logs/a'));
    assert.equal(await shown('HEAD', `/versions/logs/a?versionId=${versionId}`), undefined);
  });

  void test('nothing is told where no rule applies', async () => {
    assert.equal(await shown('PUT', '/aging/other', { body: 'a' }), undefined);
    assert.equal(await shown('PUT', '/ageless/logs/a', { body: 'a' }), undefined);
    assert.equal(await shown('HEAD', '/ageless/logs/a'), undefined);
  });
});
