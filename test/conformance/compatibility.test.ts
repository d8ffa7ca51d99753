// docs/compatibility.md says what the tables say, and the server does what it says.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { s3Operations } from '../../src/s3/operations.ts';
import type { S3Operation } from '../../src/s3/operation.ts';
import { formatCompatibilityPage, s3Notes } from '../../tools/compatibility.ts';
import { type Harness, startHarness } from './s3-harness.ts';

function targetOf({ scope, subresource, also }: S3Operation): string {
  const place = { service: '/', bucket: '/bucket', object: '/bucket/key' }[scope];
  return `${place}${subresource === '' ? '' : `?${subresource}`}${also === 'id' ? '&id=x' : ''}`;
}

describe('the compatibility page', () => {
  let at: Harness;
  before(async () => {
    at = await startHarness();
    await at.send('PUT', '/bucket');
    await at.send('PUT', '/bucket/key', { body: 'x' });
  });
  after(() => at.close());

  it('is what the tables say: node tools/compatibility.ts brings it up to date', () => {
    const page = new URL('../../docs/compatibility.md', import.meta.url);
    assert.equal(readFileSync(page, 'utf8'), formatCompatibilityPage());
  });

  for (const operation of s3Operations) {
    const note = s3Notes[operation.name] ?? '';
    const expected =
      operation.handler === 'not-implemented'
        ? '501 NotImplemented'
        : /nothing is set: (.*)$|there is nothing to delete: (204)$|^(404 \S+) while|^(400 \w+):/
            .exec(note)
            ?.slice(1)
            .find((code) => code !== undefined);
    if (expected === undefined) continue;
    it(`is right that ${operation.name} answers ${expected}`, async () => {
      assert.equal(await at.outcome(operation.method, targetOf(operation)), expected);
    });
  }
});
