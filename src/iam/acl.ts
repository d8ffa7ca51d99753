// Canned access lists of buckets and objects: what each lets everybody, or everybody who signed, do beside the
// owner. Other grants are not served.

/** `private` is what is in force where nothing is recorded. */
export type CannedAcl =
  | 'private'
  | 'public-read'
  | 'public-read-write'
  | 'authenticated-read'
  | 'bucket-owner-read'
  | 'bucket-owner-full-control';

export const cannedAcls: readonly CannedAcl[] = [
  'private',
  'public-read',
  'public-read-write',
  'authenticated-read',
  'bucket-owner-read',
  'bucket-owner-full-control',
];

/** The name as a canned list, undefined when it is none. */
export function findCannedAcl(name: string): CannedAcl | undefined {
  return cannedAcls.find((acl) => acl === name);
}

/** Whether the list gives anything to callers whom the owner does not know. */
export function isPublicAcl(acl: CannedAcl | undefined): boolean {
  return acl === 'public-read' || acl === 'public-read-write' || acl === 'authenticated-read';
}

type Reach = {
  readonly read: 'nobody' | 'signed' | 'everybody';
  readonly write: 'nobody' | 'everybody';
};

const reaches: Readonly<Record<CannedAcl, Reach>> = {
  private: { read: 'nobody', write: 'nobody' },
  'public-read': { read: 'everybody', write: 'nobody' },
  'public-read-write': { read: 'everybody', write: 'everybody' },
  'authenticated-read': { read: 'signed', write: 'nobody' },
  // The owner of a bucket may do everything in it anyway.
  'bucket-owner-read': { read: 'nobody', write: 'nobody' },
  'bucket-owner-full-control': { read: 'nobody', write: 'nobody' },
};

/** What READ and WRITE of a bucket's list, and READ of an object's, stand for. */
const bucketRead: ReadonlySet<string> = new Set([
  's3:ListBucket',
  's3:ListBucketVersions',
  's3:ListBucketMultipartUploads',
]);
const bucketWrite: ReadonlySet<string> = new Set([
  's3:PutObject',
  's3:AbortMultipartUpload',
  's3:ListMultipartUploadParts',
]);
/** Whoever may write may also say in the same request what the object is to be like. */
const withWrite: ReadonlySet<string> = new Set(['s3:PutObjectAcl', 's3:PutObjectTagging']);
const objectRead: ReadonlySet<string> = new Set([
  's3:GetObject',
  's3:GetObjectVersion',
  's3:GetObjectTorrent',
]);
const objectOwner: ReadonlySet<string> = new Set([
  ...objectRead,
  's3:GetObjectAcl',
  's3:GetObjectVersionAcl',
  's3:PutObjectAcl',
  's3:PutObjectVersionAcl',
]);

/** Whether an object's list or owner can matter to the decision. */
export function dependsOnObjectAcl(action: string): boolean {
  return objectOwner.has(action);
}

/** Whether a bucket's list allows the action to a caller who is not its owner. */
export function bucketAclAllows(
  acl: CannedAcl,
  question: {
    readonly action: string;
    readonly isSigned: boolean;
    /** The action is asked for as a part of a PutObject. */
    readonly isPartOfWrite: boolean;
  },
): boolean {
  const { read, write } = reaches[acl];
  const { action, isSigned, isPartOfWrite } = question;
  if (bucketRead.has(action)) return read === 'everybody' || (read === 'signed' && isSigned);
  if (write === 'nobody') return false;
  return bucketWrite.has(action) || (isPartOfWrite && withWrite.has(action));
}

/** Whether an object's list allows the action to a caller who is not its owner. */
export function objectAclAllows(acl: CannedAcl, action: string, isSigned: boolean): boolean {
  if (!objectRead.has(action)) return false;
  const { read } = reaches[acl];
  return read === 'everybody' || (read === 'signed' && isSigned);
}

/** Whether the owner of an object may do it, as such. */
export function objectOwnerMay(action: string): boolean {
  return objectOwner.has(action);
}
