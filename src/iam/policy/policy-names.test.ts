// The names of policies: the documentation lists the condition keys there are, and no others.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { conditionKeys, findConditionKey, targetsOfAction } from './policy-names.ts';

void test('every condition key is documented, and nothing else', () => {
  const page = readFileSync(new URL('../../../docs/access.md', import.meta.url), 'utf8');
  const table = page.split('| condition key | value |')[1]?.split('\n\n')[0] ?? '';
  const rows = table.split('\n').map((line) => line.split('|')[1] ?? '');
  const documented: string[] = rows.flatMap((cell) =>
    [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? ''),
  );
  assert.deepEqual(documented.toSorted(), [...conditionKeys].toSorted());
});

void test('names are found whatever the case of their letters', () => {
  assert.equal(findConditionKey('AWS:sourceip'), 'aws:SourceIp');
  assert.equal(findConditionKey('s3:requestobjecttag/A'), 's3:RequestObjectTag/A');
  assert.equal(findConditionKey('jwt:sub'), 'jwt:sub');
  assert.equal(findConditionKey('jwt:'), undefined);
  assert.equal(findConditionKey('aws:nothing'), undefined);
});

void test('an action says what it is done to', () => {
  assert.deepEqual(targetsOfAction('S3:getobject'), ['object']);
  assert.deepEqual(targetsOfAction('s3:ListBucket'), ['bucket']);
  assert.deepEqual(targetsOfAction('s3:*').toSorted(), ['bucket', 'object', 'service']);
  assert.deepEqual(targetsOfAction('*', 's3').toSorted(), ['bucket', 'object', 'service']);
  assert.deepEqual(targetsOfAction('admin:*', 's3'), []);
  assert.deepEqual(targetsOfAction('s3:Nothing'), []);
});
