import assert from 'node:assert/strict';
import { test } from 'node:test';
import { S3Error } from './errors.ts';
import { findOperation, s3Operations } from './operations.ts';
import { parseTarget } from './target.ts';

function route(method: string, target: string, hasCopySource = false): string {
  try {
    const operation = findOperation(method, parseTarget(target, undefined, []), hasCopySource);
    return operation.handler === 'not-implemented'
      ? `${operation.name} (501)`
      : `${operation.name} ${operation.action}`;
  } catch (error) {
    if (!(error instanceof S3Error)) throw error;
    return `${error.status} ${error.code} ${error.headers['allow'] ?? ''}`.trim();
  }
}

// method, target, what answers and under which permission; `copy` means x-amz-copy-source is there.
// biome-ignore format: one case to a line
const cases: readonly (readonly [string, string, string, 'copy'?])[] = [
  ['GET', '/', 'ListBuckets s3:ListAllMyBuckets'],
  ['GET', '/?x-id=ListBuckets&max-buckets=5', 'ListBuckets s3:ListAllMyBuckets'],
  ['GET', '/?events=s3:ObjectCreated:*', 'ListenNotification (501)'],
  ['POST', '/', '405 MethodNotAllowed GET'],
  ['PUT', '/b', 'CreateBucket s3:CreateBucket'],
  ['PUT', '/b/', 'CreateBucket s3:CreateBucket'],
  ['HEAD', '/b/', 'HeadBucket s3:ListBucket'],
  ['DELETE', '/b', 'DeleteBucket s3:DeleteBucket'],
  ['POST', '/b', 'PostObject s3:PutObject'],
  ['GET', '/b?location', 'GetBucketLocation s3:GetBucketLocation'],
  ['GET', '/b/?location=', 'GetBucketLocation s3:GetBucketLocation'],
  ['DELETE', '/b/?location', '405 MethodNotAllowed GET'],
  ['GET', '/b', 'ListObjects s3:ListBucket'],
  ['GET', '/b?prefix=a&delimiter=/&unknown=1', 'ListObjects s3:ListBucket'],
  ['GET', '/b?list-type=2&prefix=versions', 'ListObjectsV2 s3:ListBucket'],
  ['GET', '/b?versions', 'ListObjectVersions s3:ListBucketVersions'],
  ['GET', '/b?prefix=&versions=', 'ListObjectVersions s3:ListBucketVersions'],
  ['GET', '/b?uploads', 'ListMultipartUploads s3:ListBucketMultipartUploads'],
  ['POST', '/b?delete', 'DeleteObjects s3:DeleteObject'],
  ['POST', '/b/?delete=', 'DeleteObjects s3:DeleteObject'],
  ['GET', '/b?encryption', 'GetBucketEncryption s3:GetEncryptionConfiguration'],
  ['PUT', '/b?encryption=', 'PutBucketEncryption s3:PutEncryptionConfiguration'],
  ['DELETE', '/b?encryption', 'DeleteBucketEncryption s3:PutEncryptionConfiguration'],
  ['GET', '/b?versioning', 'GetBucketVersioning s3:GetBucketVersioning'],
  ['PUT', '/b?versioning', 'PutBucketVersioning s3:PutBucketVersioning'],
  ['GET', '/b?acl', 'GetBucketAcl s3:GetBucketAcl'],
  ['PUT', '/b?acl', 'PutBucketAcl s3:PutBucketAcl'],
  ['GET', '/b?policy', 'GetBucketPolicy s3:GetBucketPolicy'],
  ['PUT', '/b?policy', 'PutBucketPolicy s3:PutBucketPolicy'],
  ['GET', '/b?policyStatus', 'GetBucketPolicyStatus s3:GetBucketPolicyStatus'],
  ['GET', '/b?tagging', 'GetBucketTagging s3:GetBucketTagging'],
  ['GET', '/b?lifecycle=&withUpdatedAt=true', 'GetBucketLifecycleConfiguration s3:GetLifecycleConfiguration'],
  ['GET', '/b?cors', 'GetBucketCors s3:GetBucketCORS'],
  ['GET', '/b?object-lock=', 'GetObjectLockConfiguration s3:GetBucketObjectLockConfiguration'],
  ['GET', '/b?replication', 'GetBucketReplication s3:GetReplicationConfiguration'],
  ['GET', '/b?notification', 'GetBucketNotificationConfiguration s3:GetBucketNotification'],
  ['GET', '/b?logging', 'GetBucketLogging s3:GetBucketLogging'],
  ['GET', '/b?accelerate', 'GetBucketAccelerateConfiguration s3:GetAccelerateConfiguration'],
  ['GET', '/b?requestPayment', 'GetBucketRequestPayment s3:GetBucketRequestPayment'],
  ['GET', '/b?website', 'GetBucketWebsite s3:GetBucketWebsite'],
  ['GET', '/b?publicAccessBlock', 'GetPublicAccessBlock s3:GetBucketPublicAccessBlock'],
  ['GET', '/b?ownershipControls', 'GetBucketOwnershipControls s3:GetBucketOwnershipControls'],
  ['GET', '/b?analytics', 'ListBucketAnalyticsConfigurations (501)'],
  ['GET', '/b?analytics&id=x', 'GetBucketAnalyticsConfiguration (501)'],
  ['PUT', '/b?inventory&id=x', 'PutBucketInventoryConfiguration (501)'],
  ['POST', '/b?metadataTable', 'CreateBucketMetadataTableConfiguration (501)'],
  ['GET', '/b?session', 'CreateSession (501)'],
  ['GET', '/b?events=a&prefix=&suffix=', 'ListenBucketNotification (501)'],
  ['GET', '/b?attributes', '400 InvalidRequest'],
  ['PUT', '/b/k', 'PutObject s3:PutObject'],
  ['PUT', '/b/k?x-id=PutObject', 'PutObject s3:PutObject'],
  ['PUT', '/b/k', 'CopyObject s3:PutObject', 'copy'],
  ['GET', '/b/k?partNumber=1', 'GetObject s3:GetObject'],
  ['GET', '/b/k?versionId=null&response-expires=x', 'GetObject s3:GetObject'],
  ['GET', '/b/k', '400 InvalidArgument', 'copy'],
  ['HEAD', '/b/k', 'HeadObject s3:GetObject'],
  ['DELETE', '/b/k?x-id=DeleteObject', 'DeleteObject s3:DeleteObject'],
  ['POST', '/b/k', '405 MethodNotAllowed PUT, GET, HEAD, DELETE'],
  ['PATCH', '/b/k', '405 MethodNotAllowed PUT, GET, HEAD, DELETE'],
  ['POST', '/b/k?uploads', 'CreateMultipartUpload s3:PutObject'],
  ['GET', '/b/k?uploads', '400 InvalidRequest'],
  ['GET', '/b/k?versions', '400 InvalidRequest'],
  ['PUT', '/b/k?policy', '400 InvalidRequest'],
  ['PUT', '/b/k?partNumber=1&uploadId=x', 'UploadPart s3:PutObject'],
  ['PUT', '/b/k?uploadId=x&partNumber=1&x-id=UploadPart', 'UploadPart s3:PutObject'],
  ['PUT', '/b/k?partNumber=1&uploadId=x', 'UploadPartCopy s3:PutObject', 'copy'],
  ['POST', '/b/k?uploadId=x', 'CompleteMultipartUpload s3:PutObject'],
  ['DELETE', '/b/k?uploadId=x', 'AbortMultipartUpload s3:AbortMultipartUpload'],
  ['GET', '/b/k?uploadId=x&max-parts=5', 'ListParts s3:ListMultipartUploadParts'],
  ['GET', '/b/k?attributes', 'GetObjectAttributes s3:GetObjectAttributes'],
  ['GET', '/b/k?tagging', 'GetObjectTagging s3:GetObjectTagging'],
  ['PUT', '/b/k?tagging', 'PutObjectTagging s3:PutObjectTagging'],
  ['GET', '/b/k?acl', 'GetObjectAcl s3:GetObjectAcl'],
  ['PUT', '/b/k?acl', 'PutObjectAcl s3:PutObjectAcl'],
  ['GET', '/b/k?retention', 'GetObjectRetention s3:GetObjectRetention'],
  ['PUT', '/b/k?legal-hold', 'PutObjectLegalHold s3:PutObjectLegalHold'],
  ['GET', '/b/k?torrent', 'GetObjectTorrent (501)'],
  ['POST', '/b/k?restore', 'RestoreObject (501)'],
  ['POST', '/b/k?select&select-type=2', 'SelectObjectContent (501)'],
  ['PUT', '/b/k?renameObject', 'RenameObject (501)'],
  ['PUT', '/b/k?encryption', 'UpdateObjectEncryption s3:UpdateObjectEncryption'],
  ['GET', '/b/k?encryption', '400 InvalidRequest'],
  ['GET', '/b//', 'GetObject s3:GetObject'],
  ['GET', '/b/..', 'GetObject s3:GetObject'],
];

for (const [method, target, expected, copy] of cases) {
  void test(`${method} ${target}${copy === undefined ? '' : ' with a copy source'} is ${expected}`, () => {
    assert.equal(route(method, target, copy !== undefined), expected);
  });
}

void test('every operation of the AWS SDK is in the table, except those of other endpoints', async () => {
  const sdk = await import('@aws-sdk/client-s3');
  const known = new Set(s3Operations.map((operation) => operation.name));
  const elsewhere = new Set(['ListDirectoryBuckets', 'WriteGetObjectResponse']);
  const missing = Object.keys(sdk)
    .filter((name) => name.endsWith('Command') && name !== '$Command')
    .map((name) => name.slice(0, -'Command'.length))
    .filter((name) => !known.has(name) && !elsewhere.has(name));
  assert.deepEqual(missing, []);
});

void test('no two operations are selected by the same request', () => {
  const seen = new Set<string>();
  for (const { method, scope, subresource, also } of s3Operations) {
    const selector = `${scope} ${method} ${subresource} ${also ?? ''}`;
    assert.ok(!seen.has(selector), selector);
    seen.add(selector);
  }
});
