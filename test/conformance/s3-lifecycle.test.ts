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
