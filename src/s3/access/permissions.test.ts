// What each kind of request needs to be allowed.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { targetsOfAction } from '../../iam/policy/policy-names.ts';
import type { S3Headers } from '../headers.ts';
import { findOperation, s3Operations } from '../operations.ts';
import { permissionOfSource, permissionsOf, permissionsOfDeletion } from './permissions.ts';
import { parseTarget } from '../target.ts';

function needed(method: string, url: string, headers: S3Headers = {}): string[] {
  const target = parseTarget(url, 'localhost', []);
  const isCopy = headers['x-amz-copy-source'] !== undefined;
  const operation = findOperation(method, target, isCopy);
  return permissionsOf(operation, { target, headers }).map(
    ({ action, key, versionId }) =>
      `${action} ${key}${versionId === undefined ? '' : `@${versionId}`}`,
  );
}

void test('each request needs what it does', () => {
  // biome-ignore format: one case to a line
  const cases: readonly (readonly [string, string, S3Headers, readonly string[]])[] = [
    ['GET', '/', {}, []],
    ['GET', '/b/k', {}, ['s3:GetObject k']],
    ['HEAD', '/b/k?versionId=v', {}, ['s3:GetObjectVersion k@v']],
    ['GET', '/b/k?acl&versionId=v', {}, ['s3:GetObjectVersionAcl k@v']],
    ['PUT', '/b/k?acl&versionId=v', {}, ['s3:PutObjectVersionAcl k@v']],
    ['GET', '/b/k?tagging', {}, ['s3:GetObjectTagging k']],
    ['GET', '/b/k?tagging&versionId=v', {}, ['s3:GetObjectVersionTagging k@v']],
    ['PUT', '/b/k?tagging&versionId=v', {}, ['s3:PutObjectVersionTagging k@v']],
    ['DELETE', '/b/k?tagging&versionId=v', {}, ['s3:DeleteObjectVersionTagging k@v']],
    ['GET', '/b/k?attributes', {}, ['s3:GetObjectAttributes k', 's3:GetObject k']],
    ['GET', '/b/k?attributes&versionId=v', {}, ['s3:GetObjectVersionAttributes k@v', 's3:GetObjectVersion k@v']],
    ['GET', '/b/k?retention&versionId=v', {}, ['s3:GetObjectRetention k@v']],
    ['GET', '/b?versions&versionId=v', {}, ['s3:ListBucketVersions ']],
    ['DELETE', '/b/k', {}, ['s3:DeleteObject k']],
    ['DELETE', '/b/k?versionId=v', {}, ['s3:DeleteObjectVersion k@v']],
    ['DELETE', '/b/k?versionId=v', { 'x-amz-bypass-governance-retention': 'true' }, ['s3:DeleteObjectVersion k@v', 's3:BypassGovernanceRetention k@v']],
    ['PUT', '/b/k?retention', { 'x-amz-bypass-governance-retention': 'TRUE' }, ['s3:PutObjectRetention k', 's3:BypassGovernanceRetention k']],
    ['DELETE', '/b/k', { 'x-minio-force-delete': 'true' }, ['s3:ForceDeleteBucket ']],
    ['DELETE', '/b', { 'x-minio-force-delete': 'true' }, ['s3:ForceDeleteBucket ']],
    ['PUT', '/b/k', {}, ['s3:PutObject k']],
    ['PUT', '/b/k', { 'x-amz-tagging': '' }, ['s3:PutObject k']],
    ['PUT', '/b/k', { 'x-amz-tagging': 'a=b', 'x-amz-acl': 'private' }, ['s3:PutObject k', 's3:PutObjectAcl k', 's3:PutObjectTagging k']],
    ['PUT', '/b/k', { 'x-amz-grant-read': 'x' }, ['s3:PutObject k', 's3:PutObjectAcl k']],
    ['PUT', '/b/k', { 'x-amz-object-lock-mode': 'x', 'x-amz-object-lock-legal-hold': 'ON' }, ['s3:PutObject k', 's3:PutObjectRetention k', 's3:PutObjectLegalHold k']],
    ['POST', '/b/k?uploads', { 'x-amz-acl': 'private' }, ['s3:PutObject k', 's3:PutObjectAcl k']],
    ['PUT', '/b/k?uploadId=u&partNumber=1', { 'x-amz-acl': 'private' }, ['s3:PutObject k']],
    ['POST', '/b/k?uploadId=u', {}, ['s3:PutObject k']],
    ['PUT', '/b/k', { 'x-amz-copy-source': 's/k', 'x-amz-tagging': 'a=b' }, ['s3:PutObject k', 's3:PutObjectTagging k']],
    ['POST', '/b?delete', {}, []],
    ['PUT', '/b', {}, ['s3:CreateBucket ']],
    ['PUT', '/b', { 'x-amz-acl': 'private' }, ['s3:CreateBucket ']],
    ['PUT', '/b', { 'x-amz-acl': 'public-read', 'x-amz-bucket-object-lock-enabled': 'true' }, ['s3:CreateBucket ', 's3:PutBucketAcl ', 's3:PutBucketObjectLockConfiguration ', 's3:PutBucketVersioning ']],
  ];
  for (const [method, url, headers, expected] of cases) {
    assert.deepEqual(
      needed(method, url, headers),
      expected,
      `${method} ${url} ${JSON.stringify(headers)}`,
    );
  }
});

void test('a copy needs its source, and a deletion of many each of them', () => {
  assert.equal(permissionOfSource({ bucket: 's', key: 'k' }).action, 's3:GetObject');
  const version = permissionOfSource({ bucket: 's', key: 'k', versionId: 'v' });
  assert.equal(version.action, 's3:GetObjectVersion');
  const actions = (versionId: string | undefined, headers: S3Headers) =>
    permissionsOfDeletion({ bucket: 'b', key: 'k', versionId }, headers).map(
      ({ action }) => action,
    );
  assert.deepEqual(actions(undefined, {}), ['s3:DeleteObject']);
  assert.deepEqual(actions('v', { 'x-amz-bypass-governance-retention': 'true' }), [
    's3:DeleteObjectVersion',
    's3:BypassGovernanceRetention',
  ]);
});

void test('every action of the table, and of what goes with it, is one that policies know', () => {
  for (const { name, action } of s3Operations) {
    assert.notDeepEqual(targetsOfAction(action), [], `${name} ${action}`);
  }
  const headers = {
    'x-amz-acl': 'x',
    'x-amz-tagging': 'a=b',
    'x-amz-bypass-governance-retention': 'true',
  };
  for (const operation of s3Operations) {
    const target = { bucket: 'b', key: 'k', query: [{ name: 'versionId', value: 'v' }] };
    const parsed = { ...parseTarget('/b/k?versionId=v', 'localhost', []), ...target };
    for (const { action } of permissionsOf(operation, { target: parsed, headers })) {
      assert.notDeepEqual(targetsOfAction(action), [], `${operation.name} ${action}`);
    }
  }
});
