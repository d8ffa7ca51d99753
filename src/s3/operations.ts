// Every operation of S3 in one table: how a request selects it, which permission it needs, who answers it.
// An operation that is not served is in the table too, so that its requests answer NotImplemented and
// never fall through to another operation of the same method.

import { S3Error } from './errors.ts';
import { getBucketAcl, getObjectAcl, putBucketAcl, putObjectAcl } from './handlers/acls.ts';
import {
  createBucket,
  deleteBucket,
  getBucketLocation,
  headBucket,
  listBuckets,
} from './handlers/buckets.ts';
import { bucketCors } from './handlers/bucket-cors.ts';
import {
  deleteBucketEncryption,
  getBucketEncryption,
  putBucketEncryption,
} from './handlers/bucket-encryption.ts';
import { bucketLifecycle } from './handlers/bucket-lifecycle.ts';
import {
  deleteBucketPolicy,
  getBucketPolicy,
  getBucketPolicyStatus,
  putBucketPolicy,
} from './handlers/bucket-policy.ts';
import { bucketTagging } from './handlers/bucket-tagging.ts';
import { copyObject } from './handlers/copy-object.ts';
import { deleteObjects } from './handlers/delete-objects.ts';
import { getObjectAttributes } from './handlers/get-attributes.ts';
import { getObject, headObject } from './handlers/get-object.ts';
import { listObjects, listObjectsV2 } from './handlers/list-objects.ts';
import { listObjectVersions } from './handlers/list-versions.ts';
import { listMultipartUploads, listParts } from './handlers/list-uploads.ts';
import {
  abortMultipartUpload,
  completeMultipartUpload,
  createMultipartUpload,
  uploadPart,
  uploadPartCopy,
} from './handlers/multipart.ts';
import {
  getObjectLegalHold,
  getObjectLockConfiguration,
  getObjectRetention,
  putObjectLegalHold,
  putObjectLockConfiguration,
  putObjectRetention,
} from './handlers/object-lock.ts';
import { bucketAccessBlock } from './handlers/public-access-block.ts';
import { deleteObject, putObject } from './handlers/put-object.ts';
import { deleteObjectTagging, getObjectTagging, putObjectTagging } from './handlers/tagging.ts';
import {
  deleteUnsetBucketResource,
  fixedBucketResource,
  unsetBucketResource,
} from './handlers/unset.ts';
import { getBucketVersioning, putBucketVersioning } from './handlers/versioning.ts';
import { updateObjectEncryption } from './handlers/update-encryption.ts';
import type { S3Operation, S3OperationHandler, S3Scope } from './operation.ts';
import { findQuery, type QueryPair, type S3Target } from './target.ts';

type Row = readonly [
  name: string,
  method: string,
  scope: S3Scope,
  subresource: string,
  action: string,
  handler: S3OperationHandler,
  also?: 'id' | 'copy-source',
];

const no = 'not-implemented';

// biome-ignore format: a table reads best with one row to a line
const rows: readonly Row[] = [
  // The service.
  ['ListBuckets', 'GET', 'service', '', 's3:ListAllMyBuckets', listBuckets],
  ['ListenNotification', 'GET', 'service', 'events', 's3:ListenNotification', no],

  // Buckets.
  ['CreateBucket', 'PUT', 'bucket', '', 's3:CreateBucket', createBucket],
  ['HeadBucket', 'HEAD', 'bucket', '', 's3:ListBucket', headBucket],
  ['DeleteBucket', 'DELETE', 'bucket', '', 's3:DeleteBucket', deleteBucket],
  ['PostObject', 'POST', 'bucket', '', 's3:PutObject', 'form'],
  ['GetBucketLocation', 'GET', 'bucket', 'location', 's3:GetBucketLocation', getBucketLocation],
  ['ListObjectVersions', 'GET', 'bucket', 'versions', 's3:ListBucketVersions', listObjectVersions],
  ['ListMultipartUploads', 'GET', 'bucket', 'uploads', 's3:ListBucketMultipartUploads', listMultipartUploads],
  ['ListObjectsV2', 'GET', 'bucket', 'list-type', 's3:ListBucket', listObjectsV2],
  ['ListObjects', 'GET', 'bucket', '', 's3:ListBucket', listObjects],
  ['DeleteObjects', 'POST', 'bucket', 'delete', 's3:DeleteObject', deleteObjects],
  ['CreateSession', 'GET', 'bucket', 'session', 's3express:CreateSession', no],
  ['ListenBucketNotification', 'GET', 'bucket', 'events', 's3:ListenBucketNotification', no],

  // Settings of buckets.
  ['GetBucketEncryption', 'GET', 'bucket', 'encryption', 's3:GetEncryptionConfiguration', getBucketEncryption],
  ['PutBucketEncryption', 'PUT', 'bucket', 'encryption', 's3:PutEncryptionConfiguration', putBucketEncryption],
  ['DeleteBucketEncryption', 'DELETE', 'bucket', 'encryption', 's3:PutEncryptionConfiguration', deleteBucketEncryption],
  ['GetBucketVersioning', 'GET', 'bucket', 'versioning', 's3:GetBucketVersioning', getBucketVersioning],
  ['PutBucketVersioning', 'PUT', 'bucket', 'versioning', 's3:PutBucketVersioning', putBucketVersioning],
  ['GetBucketAcl', 'GET', 'bucket', 'acl', 's3:GetBucketAcl', getBucketAcl],
  ['PutBucketAcl', 'PUT', 'bucket', 'acl', 's3:PutBucketAcl', putBucketAcl],
  ['GetBucketPolicy', 'GET', 'bucket', 'policy', 's3:GetBucketPolicy', getBucketPolicy],
  ['PutBucketPolicy', 'PUT', 'bucket', 'policy', 's3:PutBucketPolicy', putBucketPolicy],
  ['DeleteBucketPolicy', 'DELETE', 'bucket', 'policy', 's3:DeleteBucketPolicy', deleteBucketPolicy],
  ['GetBucketPolicyStatus', 'GET', 'bucket', 'policyStatus', 's3:GetBucketPolicyStatus', getBucketPolicyStatus],
  ['GetBucketTagging', 'GET', 'bucket', 'tagging', 's3:GetBucketTagging', bucketTagging.get],
  ['PutBucketTagging', 'PUT', 'bucket', 'tagging', 's3:PutBucketTagging', bucketTagging.put],
  ['DeleteBucketTagging', 'DELETE', 'bucket', 'tagging', 's3:PutBucketTagging', bucketTagging.remove],
  ['GetBucketLifecycleConfiguration', 'GET', 'bucket', 'lifecycle', 's3:GetLifecycleConfiguration', bucketLifecycle.get],
  ['PutBucketLifecycleConfiguration', 'PUT', 'bucket', 'lifecycle', 's3:PutLifecycleConfiguration', bucketLifecycle.put],
  ['DeleteBucketLifecycle', 'DELETE', 'bucket', 'lifecycle', 's3:PutLifecycleConfiguration', bucketLifecycle.remove],
  ['GetBucketCors', 'GET', 'bucket', 'cors', 's3:GetBucketCORS', bucketCors.get],
  ['PutBucketCors', 'PUT', 'bucket', 'cors', 's3:PutBucketCORS', bucketCors.put],
  ['DeleteBucketCors', 'DELETE', 'bucket', 'cors', 's3:PutBucketCORS', bucketCors.remove],
  ['GetObjectLockConfiguration', 'GET', 'bucket', 'object-lock', 's3:GetBucketObjectLockConfiguration', getObjectLockConfiguration],
  ['PutObjectLockConfiguration', 'PUT', 'bucket', 'object-lock', 's3:PutBucketObjectLockConfiguration', putObjectLockConfiguration],
  ['GetBucketReplication', 'GET', 'bucket', 'replication', 's3:GetReplicationConfiguration', unsetBucketResource('ReplicationConfigurationNotFoundError')],
  ['PutBucketReplication', 'PUT', 'bucket', 'replication', 's3:PutReplicationConfiguration', no],
  ['DeleteBucketReplication', 'DELETE', 'bucket', 'replication', 's3:PutReplicationConfiguration', deleteUnsetBucketResource],
  ['GetBucketNotificationConfiguration', 'GET', 'bucket', 'notification', 's3:GetBucketNotification', fixedBucketResource('NotificationConfiguration', '')],
  ['PutBucketNotificationConfiguration', 'PUT', 'bucket', 'notification', 's3:PutBucketNotification', no],
  ['GetBucketLogging', 'GET', 'bucket', 'logging', 's3:GetBucketLogging', fixedBucketResource('BucketLoggingStatus', '')],
  ['PutBucketLogging', 'PUT', 'bucket', 'logging', 's3:PutBucketLogging', no],
  ['GetBucketAccelerateConfiguration', 'GET', 'bucket', 'accelerate', 's3:GetAccelerateConfiguration', fixedBucketResource('AccelerateConfiguration', '')],
  ['PutBucketAccelerateConfiguration', 'PUT', 'bucket', 'accelerate', 's3:PutAccelerateConfiguration', no],
  ['GetBucketRequestPayment', 'GET', 'bucket', 'requestPayment', 's3:GetBucketRequestPayment', fixedBucketResource('RequestPaymentConfiguration', '<Payer>BucketOwner</Payer>')],
  ['PutBucketRequestPayment', 'PUT', 'bucket', 'requestPayment', 's3:PutBucketRequestPayment', no],
  ['GetBucketWebsite', 'GET', 'bucket', 'website', 's3:GetBucketWebsite', unsetBucketResource('NoSuchWebsiteConfiguration')],
  ['PutBucketWebsite', 'PUT', 'bucket', 'website', 's3:PutBucketWebsite', no],
  ['DeleteBucketWebsite', 'DELETE', 'bucket', 'website', 's3:DeleteBucketWebsite', deleteUnsetBucketResource],
  ['GetPublicAccessBlock', 'GET', 'bucket', 'publicAccessBlock', 's3:GetBucketPublicAccessBlock', bucketAccessBlock.get],
  ['PutPublicAccessBlock', 'PUT', 'bucket', 'publicAccessBlock', 's3:PutBucketPublicAccessBlock', bucketAccessBlock.put],
  ['DeletePublicAccessBlock', 'DELETE', 'bucket', 'publicAccessBlock', 's3:PutBucketPublicAccessBlock', bucketAccessBlock.remove],
  ['GetBucketOwnershipControls', 'GET', 'bucket', 'ownershipControls', 's3:GetBucketOwnershipControls', unsetBucketResource('OwnershipControlsNotFoundError')],
  ['PutBucketOwnershipControls', 'PUT', 'bucket', 'ownershipControls', 's3:PutBucketOwnershipControls', no],
  ['DeleteBucketOwnershipControls', 'DELETE', 'bucket', 'ownershipControls', 's3:PutBucketOwnershipControls', deleteUnsetBucketResource],
  ['GetBucketAnalyticsConfiguration', 'GET', 'bucket', 'analytics', 's3:GetAnalyticsConfiguration', no, 'id'],
  ['ListBucketAnalyticsConfigurations', 'GET', 'bucket', 'analytics', 's3:GetAnalyticsConfiguration', no],
  ['PutBucketAnalyticsConfiguration', 'PUT', 'bucket', 'analytics', 's3:PutAnalyticsConfiguration', no],
  ['DeleteBucketAnalyticsConfiguration', 'DELETE', 'bucket', 'analytics', 's3:PutAnalyticsConfiguration', no],
  ['GetBucketIntelligentTieringConfiguration', 'GET', 'bucket', 'intelligent-tiering', 's3:GetIntelligentTieringConfiguration', no, 'id'],
  ['ListBucketIntelligentTieringConfigurations', 'GET', 'bucket', 'intelligent-tiering', 's3:GetIntelligentTieringConfiguration', no],
  ['PutBucketIntelligentTieringConfiguration', 'PUT', 'bucket', 'intelligent-tiering', 's3:PutIntelligentTieringConfiguration', no],
  ['DeleteBucketIntelligentTieringConfiguration', 'DELETE', 'bucket', 'intelligent-tiering', 's3:PutIntelligentTieringConfiguration', no],
  ['GetBucketInventoryConfiguration', 'GET', 'bucket', 'inventory', 's3:GetInventoryConfiguration', no, 'id'],
  ['ListBucketInventoryConfigurations', 'GET', 'bucket', 'inventory', 's3:GetInventoryConfiguration', no],
  ['PutBucketInventoryConfiguration', 'PUT', 'bucket', 'inventory', 's3:PutInventoryConfiguration', no],
  ['DeleteBucketInventoryConfiguration', 'DELETE', 'bucket', 'inventory', 's3:PutInventoryConfiguration', no],
  ['GetBucketMetricsConfiguration', 'GET', 'bucket', 'metrics', 's3:GetMetricsConfiguration', no, 'id'],
  ['ListBucketMetricsConfigurations', 'GET', 'bucket', 'metrics', 's3:GetMetricsConfiguration', no],
  ['PutBucketMetricsConfiguration', 'PUT', 'bucket', 'metrics', 's3:PutMetricsConfiguration', no],
  ['DeleteBucketMetricsConfiguration', 'DELETE', 'bucket', 'metrics', 's3:PutMetricsConfiguration', no],
  ['GetBucketAbac', 'GET', 'bucket', 'abac', 's3:GetBucketAbac', no],
  ['PutBucketAbac', 'PUT', 'bucket', 'abac', 's3:PutBucketAbac', no],
  ['CreateBucketMetadataConfiguration', 'POST', 'bucket', 'metadataConfiguration', 's3:CreateBucketMetadataTableConfiguration', no],
  ['GetBucketMetadataConfiguration', 'GET', 'bucket', 'metadataConfiguration', 's3:GetBucketMetadataTableConfiguration', no],
  ['DeleteBucketMetadataConfiguration', 'DELETE', 'bucket', 'metadataConfiguration', 's3:DeleteBucketMetadataTableConfiguration', no],
  ['CreateBucketMetadataTableConfiguration', 'POST', 'bucket', 'metadataTable', 's3:CreateBucketMetadataTableConfiguration', no],
  ['GetBucketMetadataTableConfiguration', 'GET', 'bucket', 'metadataTable', 's3:GetBucketMetadataTableConfiguration', no],
  ['DeleteBucketMetadataTableConfiguration', 'DELETE', 'bucket', 'metadataTable', 's3:DeleteBucketMetadataTableConfiguration', no],
  ['UpdateBucketMetadataInventoryTableConfiguration', 'PUT', 'bucket', 'metadataInventoryTable', 's3:UpdateBucketMetadataInventoryTableConfiguration', no],
  ['UpdateBucketMetadataJournalTableConfiguration', 'PUT', 'bucket', 'metadataJournalTable', 's3:UpdateBucketMetadataJournalTableConfiguration', no],
  ['UpdateBucketMetadataAnnotationTableConfiguration', 'PUT', 'bucket', 'metadataAnnotationTable', 's3:UpdateBucketMetadataAnnotationTableConfiguration', no],
  ['GetBucketReplicationMetrics', 'GET', 'bucket', 'replication-metrics', 's3:GetReplicationConfiguration', no],
  ['GetBucketReplicationReset', 'GET', 'bucket', 'replication-reset-status', 's3:ResetBucketReplicationState', no],
  ['ResetBucketReplication', 'PUT', 'bucket', 'replication-reset', 's3:ResetBucketReplicationState', no],
  ['CheckBucketReplication', 'GET', 'bucket', 'replication-check', 's3:PutReplicationConfiguration', no],

  // Multipart uploads.
  ['CreateMultipartUpload', 'POST', 'object', 'uploads', 's3:PutObject', createMultipartUpload],
  ['UploadPartCopy', 'PUT', 'object', 'uploadId', 's3:PutObject', uploadPartCopy, 'copy-source'],
  ['UploadPart', 'PUT', 'object', 'uploadId', 's3:PutObject', uploadPart],
  ['CompleteMultipartUpload', 'POST', 'object', 'uploadId', 's3:PutObject', completeMultipartUpload],
  ['AbortMultipartUpload', 'DELETE', 'object', 'uploadId', 's3:AbortMultipartUpload', abortMultipartUpload],
  ['ListParts', 'GET', 'object', 'uploadId', 's3:ListMultipartUploadParts', listParts],

  // Sub-resources of objects.
  ['GetObjectAttributes', 'GET', 'object', 'attributes', 's3:GetObjectAttributes', getObjectAttributes],
  ['GetObjectTagging', 'GET', 'object', 'tagging', 's3:GetObjectTagging', getObjectTagging],
  ['PutObjectTagging', 'PUT', 'object', 'tagging', 's3:PutObjectTagging', putObjectTagging],
  ['DeleteObjectTagging', 'DELETE', 'object', 'tagging', 's3:DeleteObjectTagging', deleteObjectTagging],
  ['GetObjectAcl', 'GET', 'object', 'acl', 's3:GetObjectAcl', getObjectAcl],
  ['PutObjectAcl', 'PUT', 'object', 'acl', 's3:PutObjectAcl', putObjectAcl],
  ['GetObjectRetention', 'GET', 'object', 'retention', 's3:GetObjectRetention', getObjectRetention],
  ['PutObjectRetention', 'PUT', 'object', 'retention', 's3:PutObjectRetention', putObjectRetention],
  ['GetObjectLegalHold', 'GET', 'object', 'legal-hold', 's3:GetObjectLegalHold', getObjectLegalHold],
  ['PutObjectLegalHold', 'PUT', 'object', 'legal-hold', 's3:PutObjectLegalHold', putObjectLegalHold],
  ['GetObjectTorrent', 'GET', 'object', 'torrent', 's3:GetObjectTorrent', no],
  ['RestoreObject', 'POST', 'object', 'restore', 's3:RestoreObject', no],
  ['SelectObjectContent', 'POST', 'object', 'select', 's3:GetObject', no],
  ['RenameObject', 'PUT', 'object', 'renameObject', 's3express:CreateSession', no],
  ['UpdateObjectEncryption', 'PUT', 'object', 'encryption', 's3:UpdateObjectEncryption', updateObjectEncryption],
  ['GetObjectAnnotation', 'GET', 'object', 'annotation', 's3:GetObjectAnnotation', no, 'id'],
  ['ListObjectAnnotations', 'GET', 'object', 'annotation', 's3:ListObjectAnnotations', no],
  ['PutObjectAnnotation', 'PUT', 'object', 'annotation', 's3:PutObjectAnnotation', no],
  ['DeleteObjectAnnotation', 'DELETE', 'object', 'annotation', 's3:DeleteObjectAnnotation', no],
  ['GetObjectLambda', 'GET', 'object', 'lambdaArn', 's3:GetObject', no],

  // Objects.
  ['CopyObject', 'PUT', 'object', '', 's3:PutObject', copyObject, 'copy-source'],
  ['PutObject', 'PUT', 'object', '', 's3:PutObject', putObject],
  ['GetObject', 'GET', 'object', '', 's3:GetObject', getObject],
  ['HeadObject', 'HEAD', 'object', '', 's3:GetObject', headObject],
  ['DeleteObject', 'DELETE', 'object', '', 's3:DeleteObject', deleteObject],
];

/** The table, in the order in which sub-resources win when a request names several. */
export const s3Operations: readonly S3Operation[] = rows.map(
  ([name, method, scope, subresource, action, handler, also]) => ({
    name,
    method,
    scope,
    subresource,
    action,
    handler,
    ...(also === undefined ? {} : { also }),
  }),
);

/** Candidates by `scope method subresource`, those with a further condition first. */
type Index = {
  readonly bySelector: ReadonlyMap<string, readonly S3Operation[]>;
  /** Sub-resource → its rank, for each scope. */
  readonly subresources: Readonly<Record<S3Scope, ReadonlyMap<string, number>>>;
};

const index = buildIndex();

/**
 * The operation that a request selects. Throws `S3Error`: `MethodNotAllowed` (with an Allow header) when
 * the resource has no such method, `InvalidRequest` for a sub-resource of another kind of resource,
 * `InvalidArgument` for a copy source on an operation that does not copy.
 */
export function findOperation(
  method: string,
  target: S3Target,
  hasCopySource: boolean,
): S3Operation {
  const scope = scopeOf(target);
  const subresource = target.query.length === 0 ? '' : findSubresource(target.query, scope);
  const candidates = index.bySelector.get(`${scope} ${method} ${subresource}`);
  if (candidates === undefined) throw noSuchOperation(method, scope, subresource);
  for (const operation of candidates) {
    if (operation.also === 'copy-source' && !hasCopySource) continue;
    if (operation.also === 'id' && findQuery(target.query, 'id') === undefined) continue;
    if (hasCopySource && operation.also !== 'copy-source' && operation.scope === 'object') {
      throw new S3Error(
        'InvalidArgument',
        'You can only specify a copy source header for copy requests.',
      );
    }
    return operation;
  }
  throw noSuchOperation(method, scope, subresource);
}

function scopeOf(target: S3Target): S3Scope {
  if (target.key !== '') return 'object';
  return target.bucket === '' ? 'service' : 'bucket';
}

function findSubresource(query: readonly QueryPair[], scope: S3Scope): string {
  const known = index.subresources[scope];
  let best = '';
  let bestRank = Number.POSITIVE_INFINITY;
  let misplaced: string | undefined;
  for (const { name } of query) {
    const rank = known.get(name);
    if (rank !== undefined && rank < bestRank) {
      best = name;
      bestRank = rank;
    }
    if (rank === undefined && isOfAnotherScope(name, scope)) misplaced = name;
  }
  if (best === '' && misplaced !== undefined) {
    throw new S3Error(
      'InvalidRequest',
      `The query parameter ${misplaced} does not apply to this resource`,
    );
  }
  return best;
}

function isOfAnotherScope(name: string, scope: S3Scope): boolean {
  if (scope === 'service') return false;
  return index.subresources[scope === 'object' ? 'bucket' : 'object'].has(name);
}

function noSuchOperation(method: string, scope: S3Scope, subresource: string): S3Error {
  const otherScope = scope === 'object' ? 'bucket' : 'object';
  if (subresource !== '' && index.bySelector.has(`${otherScope} ${method} ${subresource}`)) {
    return new S3Error(
      'InvalidRequest',
      `The query parameter ${subresource} does not apply to this resource`,
    );
  }
  const matching = s3Operations.filter(
    (operation) => operation.scope === scope && operation.subresource === subresource,
  );
  const allowed = [...new Set(matching.map((operation) => operation.method))].join(', ');
  return new S3Error('MethodNotAllowed', undefined, {
    details: { Method: method, ResourceType: scope.toUpperCase() },
    headers: { allow: allowed },
  });
}

function buildIndex(): Index {
  const bySelector = new Map<string, S3Operation[]>();
  const subresources = { service: new Map(), bucket: new Map(), object: new Map() } as const;
  const ranks: Record<S3Scope, Map<string, number>> = subresources;
  for (const operation of s3Operations) {
    const { method, scope, subresource } = operation;
    const selector = `${scope} ${method} ${subresource}`;
    const candidates = bySelector.get(selector) ?? [];
    candidates.push(operation);
    bySelector.set(selector, candidates);
    if (subresource !== '' && !ranks[scope].has(subresource)) {
      ranks[scope].set(subresource, ranks[scope].size);
    }
  }
  return { bySelector, subresources: ranks };
}
