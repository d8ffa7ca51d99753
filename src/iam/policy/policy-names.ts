// The names that policies may use: actions of the three families and condition keys. A name that is not
// here is a spelling mistake, and a mistaken Deny protects nothing, so the parser refuses it.

import { matchesPattern, parsePattern } from './wildcard.ts';

/** What an action is done to: decides which resources of a statement it can apply to. */
export type ActionTarget = 'service' | 'bucket' | 'object';

/** Actions on objects, without `s3:`. */
const objectActions = `
AbortMultipartUpload BypassGovernanceRetention DeleteObject DeleteObjectAnnotation DeleteObjectTagging
DeleteObjectVersion DeleteObjectVersionTagging GetObject GetObjectAcl GetObjectAnnotation
GetObjectAttributes GetObjectLegalHold GetObjectRetention GetObjectTagging GetObjectTorrent
GetObjectVersion GetObjectVersionAcl GetObjectVersionAttributes GetObjectVersionForReplication
GetObjectVersionTagging GetObjectVersionTorrent InitiateReplication ListMultipartUploadParts
ListObjectAnnotations ObjectOwnerOverrideToBucketOwner PutObject PutObjectAcl PutObjectAnnotation
PutObjectFanOut PutObjectLegalHold PutObjectRetention PutObjectTagging PutObjectVersionAcl
PutObjectVersionTagging ReplicateDelete ReplicateObject ReplicateTags RestoreObject
UpdateObjectEncryption`;

/** Actions on buckets and their settings, without `s3:`. */
const bucketActions = `
CreateBucket CreateBucketMetadataTableConfiguration DeleteBucket DeleteBucketCors
DeleteBucketMetadataTableConfiguration DeleteBucketPolicy DeleteBucketWebsite ForceDeleteBucket
GetAccelerateConfiguration GetAnalyticsConfiguration GetBucketAbac GetBucketAcl GetBucketCORS
GetBucketLocation GetBucketLogging GetBucketMetadataTableConfiguration GetBucketNotification
GetBucketObjectLockConfiguration GetBucketOwnershipControls GetBucketPolicy GetBucketPolicyStatus
GetBucketPublicAccessBlock GetBucketRequestPayment GetBucketTagging GetBucketVersioning
GetBucketWebsite GetEncryptionConfiguration GetIntelligentTieringConfiguration
GetInventoryConfiguration GetLifecycleConfiguration GetMetricsConfiguration
GetReplicationConfiguration HeadBucket ListBucket ListBucketMultipartUploads ListBucketVersions
ListenBucketNotification PutAccelerateConfiguration PutAnalyticsConfiguration PutBucketAbac
PutBucketAcl PutBucketCORS PutBucketLogging PutBucketNotification PutBucketObjectLockConfiguration
PutBucketOwnershipControls PutBucketPolicy PutBucketPublicAccessBlock PutBucketRequestPayment
PutBucketTagging PutBucketVersioning PutBucketWebsite PutEncryptionConfiguration
PutIntelligentTieringConfiguration PutInventoryConfiguration PutLifecycleConfiguration
PutMetricsConfiguration PutReplicationConfiguration ResetBucketReplicationState
UpdateBucketMetadataAnnotationTableConfiguration UpdateBucketMetadataInventoryTableConfiguration
UpdateBucketMetadataJournalTableConfiguration`;

const serviceActions = 'ListAllMyBuckets ListenNotification';

/** Without `admin:`. */
const adminActions = `
AddUserToGroup AttachUserOrGroupPolicy BandwidthMonitor CancelBatchJob ClusterInfo ConfigUpdate
ConsoleLog CreatePolicy CreateServiceAccount CreateUser DataUsageInfo Decommission DeletePolicy
DeleteUser DescribeBatchJob DisableGroup DisableUser DriveInfo EnableGroup EnableUser
ExportBucketMetadata ExportIAM ForceUnlock GenerateBatchJob GetBucketQuota GetBucketTarget GetGroup
GetPolicy GetUser Heal ImportBucketMetadata ImportIAM InspectData KMSCreateKey KMSKeyStatus
LicenseInfo ListBatchJobs ListGroups ListServiceAccounts ListTemporaryAccounts ListTier
ListUserPolicies ListUsers OBDInfo PoolInfo PoolList Profiling Prometheus Rebalance
RemoveServiceAccount RemoveUserFromGroup ReplicationDiff ServerInfo ServerTrace ServerUpdate
ServiceFreeze ServiceRestart ServiceStop SetBucketQuota SetBucketTarget SetInfo SetTier
SiteReplicationAdd SiteReplicationDisable SiteReplicationInfo SiteReplicationOperation
SiteReplicationRemove SiteReplicationResync StartBatchJob StorageInfo TopLocksInfo
UpdatePolicyAssociation UpdateServiceAccount`;

/** Without `kms:`. */
const kmsActions = `
API AssignPolicy AuditLog CreateKey DeleteIdentity DeleteKey DeletePolicy DescribeIdentity
DescribePolicy DescribeSelfIdentity ErrorLog GetPolicy ImportKey KeyStatus ListIdentities ListKeys
ListPolicies Metrics SetPolicy Status Version`;

/** Names of condition keys as the documentation spells them; those ending in `/` or `:` take a name after it. */
const conditionKeyNames = `
aws:CurrentTime aws:EpochTime aws:groups aws:PrincipalAccount aws:PrincipalArn aws:PrincipalType
aws:Referer aws:SecureTransport aws:SourceIp aws:UserAgent aws:userid aws:username jwt: ldap:
s3:authType s3:delimiter s3:ExistingObjectTag/ s3:LocationConstraint
s3:max-keys s3:object-lock-legal-hold s3:object-lock-mode
s3:object-lock-remaining-retention-days s3:object-lock-retain-until-date s3:prefix
s3:RequestObjectTag/ s3:RequestObjectTagKeys s3:signatureAge s3:signatureversion s3:TlsVersion
s3:VersionId s3:x-amz-acl s3:x-amz-bypass-governance-retention s3:x-amz-content-sha256
s3:x-amz-copy-source s3:x-amz-grant-full-control s3:x-amz-grant-read s3:x-amz-grant-read-acp
s3:x-amz-grant-write s3:x-amz-grant-write-acp s3:x-amz-metadata-directive
s3:x-amz-object-ownership s3:x-amz-server-side-encryption
s3:x-amz-server-side-encryption-aws-kms-key-id
s3:x-amz-server-side-encryption-bucket-key-enabled
s3:x-amz-server-side-encryption-customer-algorithm s3:x-amz-storage-class s3:x-amz-tagging-directive
s3:x-amz-website-redirect-location sts:DurationSeconds svc:DurationSeconds`;

type Action = { readonly name: string; readonly target: ActionTarget };

const actions: readonly Action[] = [
  ...actionsOf('s3', objectActions, 'object'),
  ...actionsOf('s3', bucketActions, 'bucket'),
  ...actionsOf('s3', serviceActions, 'service'),
  ...actionsOf('admin', adminActions, 'service'),
  ...actionsOf('kms', kmsActions, 'service'),
  ...actionsOf('s3express', 'CreateSession', 'bucket'),
];

/** Every condition key; those ending in `/` or `:` take a name after it. */
export const conditionKeys: readonly string[] = wordsOf(conditionKeyNames);
const conditionKeysByLowerCase: ReadonlyMap<string, string> = new Map(
  conditionKeys.map((key) => [key.toLowerCase(), key]),
);
const openKeys = conditionKeys.filter((key) => key.endsWith('/') || key.endsWith(':'));

/**
 * What the known actions that a pattern matches are done to; an empty list means that there is no such
 * action. The case of letters does not matter. `family` limits the answer to one, as `s3`.
 */
export function targetsOfAction(pattern: string, family?: string): readonly ActionTarget[] {
  const parsed = parsePattern(pattern.toLowerCase(), { wildcards: true, variables: false });
  const targets = new Set<ActionTarget>();
  for (const { name, target } of actions) {
    if (family !== undefined && !name.startsWith(`${family}:`)) continue;
    if (matchesPattern(parsed, name, noVariables)) targets.add(target);
  }
  return [...targets];
}

/**
 * The key as request values are named, whatever the case of letters in `text`; undefined for a key that
 * does not exist. The name of a tag keeps its case.
 */
export function findConditionKey(text: string): string | undefined {
  const lower = text.toLowerCase();
  const known = conditionKeysByLowerCase.get(lower);
  if (known !== undefined) return openKeys.includes(known) ? undefined : known;
  const open = openKeys.find(
    (key) => lower.startsWith(key.toLowerCase()) && lower.length > key.length,
  );
  return open === undefined ? undefined : open + text.slice(open.length);
}

function actionsOf(family: string, names: string, target: ActionTarget): Action[] {
  return wordsOf(names).map((name) => ({ name: `${family}:${name}`.toLowerCase(), target }));
}

function wordsOf(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== '');
}

function noVariables(): undefined {
  return undefined;
}
