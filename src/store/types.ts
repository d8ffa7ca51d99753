// The vocabulary of the store: what the S3 protocol asks of it and what it answers. All sizes are
// plaintext bytes, all times milliseconds since 1970, all ETags bare (no quotes) as clients see them.

import type { KmsContext } from '../sse/kms.ts';
import type { BlobReader, BlobReadOptions } from './blob-store.ts';

/** A default: what writes without any encryption header get. */
export type BucketEncryption =
  | {
      readonly algorithm: 'AES256';
      /** As it was sent: it means nothing here. */
      readonly bucketKeyEnabled?: boolean;
    }
  | {
      readonly algorithm: 'aws:kms' | 'aws:kms:dsse';
      /** As it was sent; absent means the default master key. */
      readonly keyId?: string;
      readonly bucketKeyEnabled?: boolean;
    };

/** The default of the keys that start with a prefix. */
export type PrefixEncryption = { readonly prefix: string; readonly encryption: BucketEncryption };

export type Tag = { readonly key: string; readonly value: string };

/** One rule for requests that browsers make for pages of other origins. Patterns hold at most one `*`. */
export type CorsRule = {
  readonly id?: string;
  readonly allowedOrigins: readonly string[];
  readonly allowedMethods: readonly string[];
  readonly allowedHeaders: readonly string[];
  readonly exposeHeaders: readonly string[];
  readonly maxAgeSeconds?: number;
};

/** What a lifecycle rule is about: all of it must hold. */
export type LifecycleFilter = {
  readonly prefix: string;
  readonly tags: readonly Tag[];
  /** Bytes, itself not included. */
  readonly sizeGreaterThan?: number;
  readonly sizeLessThan?: number;
};

export type LifecycleRule = {
  readonly id: string;
  readonly isEnabled: boolean;
  readonly filter: LifecycleFilter;
  /** How the filter was written, so that it is given back as it came. */
  readonly filterForm: 'none' | 'prefix' | 'filter' | 'and';
  /** Of current versions; `lone-marker`: of delete markers that hide nothing. */
  readonly expiration?:
    | { readonly kind: 'days'; readonly days: number }
    | { readonly kind: 'date'; readonly dateMs: number }
    | { readonly kind: 'lone-marker' };
  readonly noncurrent?: { readonly days: number; readonly newerVersions?: number };
  readonly abortUploadDays?: number;
};

/** What a bucket refuses or ignores of what would open it to everybody. */
export type PublicAccessBlock = {
  readonly blockPublicAcls: boolean;
  readonly ignorePublicAcls: boolean;
  readonly blockPublicPolicy: boolean;
  readonly restrictPublicBuckets: boolean;
};

/** Absent: the bucket never had versioning. Suspended: new versions are `null`, old ones stay. */
export type Versioning = 'Enabled' | 'Suspended';

export type RetentionMode = 'GOVERNANCE' | 'COMPLIANCE';

/** Until then a version cannot be deleted; in GOVERNANCE, not without leave. */
export type Retention = { readonly mode: RetentionMode; readonly untilMs: number };

/** What keeps one version from being deleted. */
export type ObjectLock = { readonly retention?: Retention; readonly legalHold?: boolean };

/** Of a bucket whose versions can be locked; cannot be taken back. */
export type BucketObjectLock = {
  /** For versions that are written without a retention of their own. */
  readonly defaultRetention?: {
    readonly mode: RetentionMode;
    readonly days?: number;
    readonly years?: number;
  };
};

/** What a bucket's sub-resources hold; a missing member is "not configured". */
export type BucketSettings = {
  readonly encryption?: BucketEncryption;
  /** Each prefix once. The longest that fits a key wins over the others and over `encryption`. */
  readonly encryptionPrefixes?: readonly PrefixEncryption[];
  /** Refuses new objects under keys of clients. */
  readonly blocksSseC?: boolean;
  /** The bucket policy, byte for byte as it was given. */
  readonly policy?: string;
  readonly publicAccessBlock?: PublicAccessBlock;
  /** A canned access list; absent means `private`. */
  readonly acl?: string;
  readonly tagging?: readonly Tag[];
  readonly cors?: readonly CorsRule[];
  readonly lifecycle?: readonly LifecycleRule[];
  readonly versioning?: Versioning;
  readonly objectLock?: BucketObjectLock;
};

export type BucketInfo = {
  readonly name: string;
  readonly createdMs: number;
  /** Access key of the creator. */
  readonly owner: string;
  /** The LocationConstraint given at creation; empty means us-east-1. */
  readonly location: string;
  readonly settings: BucketSettings;
};

/** Algorithms of the S3 checksum headers, spelled as in `x-amz-checksum-algorithm`. */
export type ChecksumAlgorithm = 'CRC32' | 'CRC32C' | 'CRC64NVME' | 'SHA1' | 'SHA256';
export type ChecksumType = 'FULL_OBJECT' | 'COMPOSITE';

/** `value` is base64 of the big-endian digest; composite values end in `-N`. */
export type Checksum = {
  readonly algorithm: ChecksumAlgorithm;
  readonly type: ChecksumType;
  readonly value: string;
};

/**
 * The checksum of a body to come. `expected` is known from a header, or is asked for after the body has
 * ended (trailer); undefined means "compute and keep it". Base64.
 */
export type BodyChecksum = {
  readonly algorithm: ChecksumAlgorithm;
  readonly expected?: string | (() => string | undefined);
};

/** The client's own key of SSE-C, 32 bytes. It stays its giver's, who wipes it once the call that got it is over. */
export type ClientKey = Uint8Array;

/** What a write asks for. `default` leaves it to the bucket default and auto-encryption. */
export type EncryptionRequest =
  | { readonly kind: 'default' }
  | { readonly kind: 'sse-s3' }
  | {
      readonly kind: 'sse-kms';
      /** As the client wrote it, and given back so; absent means the default master key. */
      readonly keyId?: string;
      readonly context?: KmsContext;
      /** Under a bucket key; absent means that the bucket decides. */
      readonly hasBucketKey?: boolean;
    }
  | {
      readonly kind: 'dsse-kms';
      readonly keyId?: string;
      readonly context?: KmsContext;
    }
  | { readonly kind: 'sse-c'; readonly clientKey: ClientKey };

/** How an object version is protected: what is stored, whatever was asked. */
export type ObjectEncryption =
  | {
      readonly kind: 'sse-s3';
      /** Of the master key. */
      readonly keyName: string;
    }
  | {
      readonly kind: 'sse-kms';
      readonly keyName: string;
      /** As clients see it. */
      readonly keyId: string;
      /** The client's own, without our entry. */
      readonly context?: KmsContext;
      readonly hasBucketKey?: true;
    }
  | {
      readonly kind: 'dsse-kms';
      /** Of the inner layer. */
      readonly keyName: string;
      readonly keyId: string;
      readonly context?: KmsContext;
    }
  | { readonly kind: 'sse-c' };

/** Conditions on the current version of the target, checked in the commit itself. ETags bare, or `*`. */
export type WriteConditions = {
  readonly ifMatch?: string;
  readonly ifNoneMatch?: string;
};

/** What is kept with an object besides its bytes. */
export type ObjectAttributes = {
  /** Standard headers to give back, lower-case names: content-type, content-encoding, cache-control, … */
  readonly headers: Readonly<Record<string, string>>;
  /** Without the `x-amz-meta-` prefix, lower-case names. */
  readonly userMetadata: Readonly<Record<string, string>>;
  /** The `x-amz-tagging` query string, as given; empty for none. */
  readonly tagging: string;
  /** `STANDARD` unless another was asked for. */
  readonly storageClass: string;
  /** A canned access list; absent means `private`. */
  readonly acl?: string;
};

/** The source must not change a chunk after it gave it out. Its errors pass through unchanged. */
export type Body = Uint8Array | AsyncIterable<Uint8Array>;

export type BodyInput = {
  readonly body: Body;
  /** What the client announced; a body of another size is refused with `IncompleteBody`. Undefined: unknown. */
  readonly sizeBytes: number | undefined;
  /** 16 bytes; mismatch is `BadDigest`. */
  readonly contentMd5?: Uint8Array;
  readonly checksum?: BodyChecksum;
  /** True when nobody else uses the chunks of `body`: their memory is given back as soon as they are stored. */
  readonly ownsChunks?: boolean;
};

export type PutObjectInput = BodyInput & {
  readonly bucket: string;
  readonly key: string;
  readonly attributes: ObjectAttributes;
  readonly encryption: EncryptionRequest;
  readonly conditions?: WriteConditions;
  readonly owner: string;
  readonly lock?: ObjectLock;
  /** The bucket as `getBucket` gave it for the same request: it is not looked up again. */
  readonly given?: BucketInfo | undefined;
};

export type PartInfo = {
  readonly number: number;
  readonly sizeBytes: number;
  readonly etag: string;
  readonly modifiedMs: number;
  readonly checksum?: Checksum;
};

/**
 * One version of one object, as HEAD and LIST show it. Never needs the KMS. Checksums of an SSE-C object are
 * there only once it was unlocked.
 */
export type ObjectInfo = {
  readonly bucket: string;
  readonly key: string;
  /** `null` (the text) in a bucket that never had versioning. */
  readonly versionId: string;
  readonly etag: string;
  readonly sizeBytes: number;
  /** Whole seconds. */
  readonly modifiedMs: number;
  readonly attributes: ObjectAttributes;
  readonly owner: string;
  readonly encryption?: ObjectEncryption;
  readonly checksum?: Checksum;
  readonly lock?: ObjectLock;
  /** Only of objects made by a multipart upload, in order. */
  readonly parts?: readonly PartInfo[];
};

/** Bytes `start` to `end` of the plaintext, end exclusive. */
export type ByteRange = { readonly start: number; readonly end: number };

/**
 * The bytes of an opened object. Either all at once (small objects) or a stream that must be iterated to
 * its end or closed. No byte is ever yielded that was not authenticated, when the object is encrypted.
 */
export type ObjectBody = Uint8Array | BlobReader;

/** An object found, before its key is asked for: conditions and ranges are decided on `info`. */
export interface OpenedObject {
  readonly info: ObjectInfo;
  /** True when the bucket has, or had, versioning: then clients are told the version they see. */
  readonly isVersioned: boolean;
  /**
   * Settles whose key reads the object: SSE-C needs the client's, everything else has none. The result shows
   * what only the key shows, and reads. Throws `InvalidRequest` for a key that is missing, wrong, or not
   * applicable. The key must live until `read` has resolved.
   */
  unlock(clientKey: ClientKey | undefined): OpenedObject;
  /**
   * Asks the KMS if the object is encrypted (once per opened object), opens its blob, and authenticates
   * the first bytes, so that what can fail early fails here. Default: the whole object. Throws
   * `StoreError`, `KmsError`.
   */
  read(range?: ByteRange, options?: BlobReadOptions): Promise<ObjectBody>;
}

export type ListObjectsQuery = {
  readonly bucket: string;
  readonly prefix: string;
  readonly delimiter: string;
  /** Keys (and common prefixes) at or before this are skipped; a common prefix skips all keys below it. */
  readonly after: string;
  /** 0 to 1,000; keys and common prefixes together. */
  readonly limit: number;
};

export type ListObjectsPage = {
  readonly objects: readonly ObjectInfo[];
  readonly commonPrefixes: readonly string[];
  readonly isTruncated: boolean;
  /** The last key or common prefix returned, when truncated. */
  readonly next: string | undefined;
};

export type CreateUploadInput = {
  readonly bucket: string;
  readonly key: string;
  readonly attributes: ObjectAttributes;
  readonly encryption: EncryptionRequest;
  readonly checksum?: { readonly algorithm: ChecksumAlgorithm; readonly type: ChecksumType };
  readonly owner: string;
  readonly lock?: ObjectLock;
};

export type UploadInfo = {
  readonly bucket: string;
  readonly key: string;
  readonly uploadId: string;
  readonly initiatedMs: number;
  readonly owner: string;
  readonly attributes: ObjectAttributes;
  readonly encryption?: ObjectEncryption;
  readonly checksum?: { readonly algorithm: ChecksumAlgorithm; readonly type: ChecksumType };
};

export type UploadRef = {
  readonly bucket: string;
  readonly key: string;
  readonly uploadId: string;
};

export type UpdateEncryptionInput = VersionRef & {
  readonly encryption: EncryptionRequest & { readonly kind: 'sse-s3' | 'sse-kms' };
};

export type PutPartInput = BodyInput &
  UploadRef & {
    readonly partNumber: number;
    /** Of an SSE-C upload: the key that it was created with. */
    readonly clientKey?: ClientKey;
  };

export type CompletedPart = {
  readonly number: number;
  readonly etag: string;
  /** As the client listed it, when it did. */
  readonly checksum?: { readonly algorithm: ChecksumAlgorithm; readonly value: string };
};

export type CompleteUploadInput = UploadRef & {
  readonly parts: readonly CompletedPart[];
  readonly conditions?: WriteConditions;
  /** Object-level checksum the client expects; `value` may carry `-N`. */
  readonly checksum?: { readonly algorithm: ChecksumAlgorithm; readonly value: string };
  readonly checksumType?: ChecksumType;
  /** `x-amz-mp-object-size`. */
  readonly sizeBytes?: number;
  /** Of an SSE-C upload. Needed when the upload or one of its parts has a checksum. */
  readonly clientKey?: ClientKey;
};

export type ListUploadsQuery = {
  readonly bucket: string;
  readonly prefix: string;
  readonly delimiter: string;
  readonly keyMarker: string;
  readonly uploadIdMarker: string;
  readonly limit: number;
};

export type ListUploadsPage = {
  readonly uploads: readonly UploadInfo[];
  readonly commonPrefixes: readonly string[];
  readonly isTruncated: boolean;
  readonly next: { readonly key: string; readonly uploadId: string } | undefined;
};

export type ListPartsQuery = UploadRef & { readonly afterPart: number; readonly limit: number };
export type ListPartsPage = {
  readonly upload: UploadInfo;
  readonly parts: readonly PartInfo[];
  readonly isTruncated: boolean;
};

/** A version as a listing of versions shows it. */
export type VersionInfo = {
  readonly info: ObjectInfo;
  readonly isLatest: boolean;
  /** Markers have neither bytes nor attributes. */
  readonly isMarker: boolean;
};

export type ListVersionsQuery = {
  readonly bucket: string;
  readonly prefix: string;
  readonly delimiter: string;
  /** Names (and common prefixes) before this are skipped, and the name itself without a `versionMarker`. */
  readonly keyMarker: string;
  /** The versions of `keyMarker` up to this one are skipped: what `next` said, or a version id. */
  readonly versionMarker: string;
  /** 1 to 1,000; versions and common prefixes together. */
  readonly limit: number;
};

export type ListVersionsPage = {
  /** By name, the newest first. */
  readonly versions: readonly VersionInfo[];
  readonly commonPrefixes: readonly string[];
  readonly isTruncated: boolean;
  readonly next: { readonly key: string; readonly versionMarker: string } | undefined;
};

/** What the object, or the version named, must be like for its deletion. */
export type DeleteConditions = {
  readonly ifMatch?: string;
  readonly ifModifiedMs?: number;
  readonly ifSizeBytes?: number;
};

/** Says that something goes only if the bucket's lifecycle rules still let it go when it is committed. */
export type ByRules = {
  /** How long a day of the rules is. */
  readonly dayMs: number;
};

export type DeleteObjectInput = DeleteConditions & {
  readonly bucket: string;
  readonly key: string;
  /**
   * Absent: the object is deleted; with versioning a marker then hides its versions. Given: that version is
   * gone for good, and the next newest takes its place.
   */
  readonly versionId?: string;
  /** Of the marker, if there will be one. */
  readonly owner?: string;
  /** The caller may delete what GOVERNANCE protects, and asks for it. */
  readonly bypassesGovernance?: boolean;
  /**
   * Decided on the rules and the object, or the version and its neighbours, as they are in the commit.
   * `PreconditionFailed` when they do not let it go, or when it is not there.
   */
  readonly byRules?: ByRules;
};

export type DeleteOutcome = {
  /** The marker that was made or the version that was asked for; absent where there never was versioning. */
  readonly versionId?: string;
  /** A marker was made, or the version deleted was one. */
  readonly isMarker: boolean;
};

/** One version of one object: the newest when no id is given. */
export type VersionRef = {
  readonly bucket: string;
  readonly key: string;
  readonly versionId?: string;
};

/** Objects, and the bytes that their clients wrote. */
export type Usage = { readonly objects: number; readonly bytes: number };

/** How much a master key protects: exact, from the index kept in the objects' own commits. */
export type KeyUsage = Usage;

/** Objects are the current ones, bytes those of all versions. */
export type BucketUsage = Usage & {
  /** Current ones and older ones, markers not counted. */
  readonly versions: number;
  readonly deleteMarkers: number;
};

export type StoreTotals = BucketUsage & {
  readonly buckets: number;
  /** By name, also of empty buckets. */
  readonly byBucket: ReadonlyMap<string, BucketUsage>;
};

/** Buckets, objects and uploads. One instance per process; any number of processes share one directory. */
export interface ObjectStore {
  createBucket(input: {
    readonly name: string;
    readonly owner: string;
    readonly location: string;
    readonly settings?: BucketSettings;
  }): Promise<BucketInfo>;
  /** Throws `NoSuchBucket`. */
  getBucket(name: string): Promise<BucketInfo>;
  /** Sorted by name, 1 to 10,000 at a time. */
  listBuckets(query: {
    readonly prefix: string;
    readonly after: string;
    readonly limit: number;
  }): Promise<{ readonly buckets: readonly BucketInfo[]; readonly isTruncated: boolean }>;
  /** Throws `BucketNotEmpty` while objects remain; open uploads are dropped with the bucket. */
  deleteBucket(name: string): Promise<void>;
  /** Changes one bucket's settings atomically. Returns what is stored now. */
  updateBucketSettings(
    name: string,
    change: (settings: BucketSettings) => BucketSettings,
  ): Promise<BucketInfo>;

  /** The object is durable when this resolves; whatever makes it reject leaves nothing behind. */
  putObject(input: PutObjectInput): Promise<ObjectInfo>;
  /** Throws `NoSuchBucket`, `NoSuchKey`, `NoSuchVersion`, `DeleteMarker`. No KMS call. */
  openObject(target: {
    readonly bucket: string;
    readonly key: string;
    readonly versionId?: string;
    /** The bucket as `getBucket` gave it for the same request: it is not looked up again. */
    readonly given?: BucketInfo | undefined;
    /** True for GET: small bytes are fetched with the record, so that no later overwrite can take them away. */
    readonly willRead?: boolean;
  }): Promise<OpenedObject>;
  /** Resolves also when there was nothing to delete. Throws `ObjectLocked` for a version that must stay. */
  deleteObject(input: DeleteObjectInput): Promise<DeleteOutcome>;
  listObjects(query: ListObjectsQuery): Promise<ListObjectsPage>;
  /** Every version and marker. Without versioning each object is the one version `null`. */
  listVersions(query: ListVersionsQuery): Promise<ListVersionsPage>;
  /**
   * Sets or, undefined, removes the retention of one version. Throws as `openObject`, `InvalidRequest` where versions
   * cannot be locked, `ObjectLocked` when the present one does not allow it, `InvalidArgument` for a time that
   * is over.
   */
  putRetention(
    ref: VersionRef,
    retention: Retention | undefined,
    options: { readonly bypassesGovernance: boolean },
  ): Promise<ObjectInfo>;
  /** Throws as `openObject`, `InvalidRequest` where versions cannot be locked. */
  putLegalHold(ref: VersionRef, isHeld: boolean): Promise<ObjectInfo>;
  /** Replaces the tags of one version; nothing else of it changes. Throws as `openObject`. */
  putTagging(ref: VersionRef, tagging: string): Promise<ObjectInfo>;
  /**
   * Replaces attributes without touching the bytes (copy of an object onto itself with REPLACE). `expected` is
   * the version they were made for, as it was read: throws `PreconditionFailed` when another one, or one with
   * other attributes, has taken its place, or when the bucket has versioning, where every copy is a version;
   * `NoSuchKey` when there is none.
   */
  replaceAttributes(input: {
    readonly expected: ObjectInfo;
    readonly attributes: ObjectAttributes;
  }): Promise<ObjectInfo>;
  /** Replaces the access list of one object; undefined for `private`. Throws as `openObject`. */
  putAcl(ref: VersionRef, acl: string | undefined): Promise<ObjectInfo>;

  /**
   * Changes how a version is encrypted: SSE-S3 and SSE-KMS by sealing its key anew, plain by writing it again. All
   * else of it stays. Throws `InvalidRequest` for SSE-C and DSSE-KMS, `ObjectLocked`, `NoSuchKey`, `NoSuchVersion`, `KmsError`.
   */
  updateEncryption(input: UpdateEncryptionInput): Promise<ObjectInfo>;

  createUpload(input: CreateUploadInput): Promise<UploadInfo>;
  /** Throws `NoSuchUpload`. No KMS call. */
  getUpload(ref: UploadRef): Promise<UploadInfo>;
  putPart(input: PutPartInput): Promise<PartInfo>;
  listParts(query: ListPartsQuery): Promise<ListPartsPage>;
  listUploads(query: ListUploadsQuery): Promise<ListUploadsPage>;
  /** Repeating a call that succeeded answers the same object again. */
  completeUpload(input: CompleteUploadInput): Promise<ObjectInfo>;
  /** With `byRules`, throws `PreconditionFailed` when the rules do not let the upload go. */
  abortUpload(ref: UploadRef, byRules?: ByRules): Promise<void>;

  /** Objects and bytes that the master key protects. Throws nothing for an unknown key: zeros. */
  keyUsage(masterKeyName: string): Promise<KeyUsage>;
  totals(): Promise<StoreTotals>;
  /** Throws `KmsError` when the key service makes no data key under that master key. */
  assertKeyUsable(masterKeyName: string): Promise<void>;
  /** True when a write can be encrypted with a key of the store. SSE-C needs none. */
  readonly hasKms: boolean;
  /** The master key of writes that name none; empty when there is none. */
  readonly defaultKeyName: string;
}

export type StoreErrorCode =
  | 'BadDigest'
  | 'BucketAlreadyExists'
  | 'BucketNotEmpty'
  | 'ConditionalRequestConflict'
  | 'DeleteMarker'
  | 'EntityTooLarge'
  | 'EncryptionBlocked'
  | 'EntityTooSmall'
  | 'IncompleteBody'
  | 'InvalidArgument'
  | 'InvalidPart'
  | 'InvalidPartOrder'
  | 'InvalidRequest'
  | 'NoSuchBucket'
  | 'NoSuchKey'
  | 'NoSuchUpload'
  | 'NoSuchVersion'
  | 'ObjectCorrupt'
  | 'ObjectLocked'
  | 'PreconditionFailed'
  | 'KmsNotConfigured'
  | 'StorageFull'
  | 'StorageReadOnly'
  | 'StorageUnavailable';

/** The delete marker that a reader met. */
export type MarkerMet = { readonly versionId: string; readonly modifiedMs: number };

/**
 * `details` become elements of the S3 error body (for example `MinSizeAllowed`). `marker` is what hides the
 * object (`NoSuchKey`) or was asked for itself (`DeleteMarker`).
 */
export class StoreError extends Error {
  readonly code: StoreErrorCode;
  readonly details: Readonly<Record<string, string>>;
  readonly marker: MarkerMet | undefined;
  constructor(
    code: StoreErrorCode,
    message: string,
    options?: ErrorOptions & { details?: Record<string, string>; marker?: MarkerMet | undefined },
  ) {
    super(message, options);
    this.name = 'StoreError';
    this.code = code;
    this.details = options?.details ?? {};
    this.marker = options?.marker;
  }
}
