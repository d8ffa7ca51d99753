// Every error an S3 client can see, in one table, and the one place where the errors of other modules
// become one of them. Handlers throw; only the dispatcher writes an error response. A fault of the client
// is never a 5xx, because every SDK repeats those with growing pauses.

import { XmlError } from '../base/xml.ts';
import { AuthError } from '../sigv4/errors.ts';
import { KmsError, type KmsErrorCode } from '../sse/kms.ts';
import { SseError } from '../sse/sse-error.ts';
import { StoreError, type StoreErrorCode } from '../store/types.ts';

/** Code → status and the message used when the thrower gives none. */
export const s3Errors = {
  AccessControlListNotSupported: [400, 'The bucket does not allow ACLs'],
  AccessDenied: [403, 'Access Denied.'],
  AccessForbidden: [403, 'CORSResponse: this CORS request is not allowed.'],
  AuthorizationHeaderMalformed: [400, 'The authorization header is malformed.'],
  AuthorizationParametersError: [400, 'The authorization parameters are malformed.'],
  AuthorizationQueryParametersError: [400, 'The authorization query parameters are malformed.'],
  BadDigest: [
    400,
    'The Content-MD5 or checksum value that you specified did not match what we received.',
  ],
  BadRequest: [400, 'The request is malformed.'],
  BucketAlreadyExists: [
    409,
    'The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.',
  ],
  BucketAlreadyOwnedByYou: [
    409,
    'Your previous request to create the named bucket succeeded and you already own it.',
  ],
  BucketNotEmpty: [409, 'The bucket you tried to delete is not empty'],
  ConditionalRequestConflict: [
    409,
    'The conditional request cannot succeed due to a conflicting operation against this resource.',
  ],
  EntityTooLarge: [400, 'Your proposed upload exceeds the maximum allowed object size.'],
  EntityTooSmall: [400, 'Your proposed upload is smaller than the minimum allowed object size.'],
  ExpiredToken: [400, 'The provided token has expired.'],
  IllegalLocationConstraintException: [400, 'The specified location constraint is not valid.'],
  IncompleteBody: [
    400,
    'You did not provide the number of bytes specified by the Content-Length HTTP header.',
  ],
  InternalError: [500, 'We encountered an internal error, please try again.'],
  InvalidAccessKeyId: [403, 'The access key ID you provided does not exist in our records.'],
  InvalidArgument: [400, 'Invalid Argument'],
  InvalidBucketName: [400, 'The specified bucket is not valid.'],
  InvalidBucketState: [409, 'The request is not valid with the current state of the bucket.'],
  InvalidChunkSizeError: [
    400,
    'Only the last chunk is allowed to have a size less than 8192 bytes',
  ],
  InvalidDigest: [400, 'The Content-MD5 you specified is not valid.'],
  InvalidLocationConstraint: [400, 'The specified location constraint is not valid.'],
  InvalidPart: [
    400,
    "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
  ],
  InvalidPartOrder: [
    400,
    'The list of parts was not in ascending order.The parts list must be specified in order by part number.',
  ],
  InvalidPolicyDocument: [
    400,
    'The content of the form does not meet the conditions of the policy document.',
  ],
  InvalidRange: [416, 'The requested range is not satisfiable'],
  InvalidRegion: [400, 'Region does not match.'],
  InvalidRequest: [400, 'Invalid Request'],
  InvalidRetentionPeriod: [400, 'The retention period is not valid.'],
  InvalidStorageClass: [400, 'The storage class you specified is not valid'],
  InvalidTag: [400, 'The tag provided was not a valid tag.'],
  InvalidTokenId: [403, 'The security token included in the request is invalid'],
  InvalidURI: [400, "Couldn't parse the specified URI."],
  'KMS.DisabledException': [400, 'The master key is disabled.'],
  'KMS.NotFoundException': [400, 'The master key does not exist.'],
  KeyTooLongError: [400, 'Your key is too long'],
  MalformedACLError: [
    400,
    'The XML you provided was not well-formed or did not validate against our published schema',
  ],
  MalformedDate: [
    400,
    'Invalid date format header, expected to be in ISO8601, RFC1123 or RFC1123Z time format.',
  ],
  MalformedPOSTRequest: [
    400,
    'The body of your POST request is not well-formed multipart/form-data.',
  ],
  MalformedPolicy: [400, 'Policies must be valid JSON and the first byte must be "{".'],
  MalformedTrailerError: [400, 'The request contained trailing data that was not well-formed.'],
  MalformedXML: [
    400,
    'The XML you provided was not well-formed or did not validate against our published schema',
  ],
  MetadataTooLarge: [400, 'Your metadata headers exceed the maximum allowed metadata size'],
  MethodNotAllowed: [405, 'The specified method is not allowed against this resource.'],
  MissingContentLength: [411, 'You must provide the Content-Length HTTP header.'],
  MissingFields: [400, 'Missing fields in request.'],
  NoSuchBucket: [404, 'The specified bucket does not exist'],
  NoSuchBucketPolicy: [404, 'The bucket policy does not exist'],
  NoSuchCORSConfiguration: [404, 'The CORS configuration does not exist'],
  NoSuchConfiguration: [404, 'The specified configuration does not exist.'],
  NoSuchKey: [404, 'The specified key does not exist.'],
  NoSuchLifecycleConfiguration: [404, 'The lifecycle configuration does not exist'],
  NoSuchObjectLockConfiguration: [
    404,
    'The specified object does not have a ObjectLock configuration',
  ],
  NoSuchPublicAccessBlockConfiguration: [
    404,
    'The public access block configuration was not found',
  ],
  NoSuchTagSet: [404, 'The TagSet does not exist'],
  NoSuchUpload: [
    404,
    'The specified multipart upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.',
  ],
  NoSuchVersion: [404, 'The specified version does not exist.'],
  NoSuchWebsiteConfiguration: [404, 'The specified bucket does not have a website configuration'],
  NotImplemented: [
    501,
    'A header or operation you provided implies functionality that is not implemented',
  ],
  ObjectLockConfigurationNotFoundError: [
    404,
    'Object Lock configuration does not exist for this bucket',
  ],
  OwnershipControlsNotFoundError: [404, 'The bucket ownership controls were not found'],
  PreconditionFailed: [412, 'At least one of the pre-conditions you specified did not hold'],
  ReplicationConfigurationNotFoundError: [404, 'The replication configuration was not found'],
  RequestTimeTooSkewed: [
    403,
    "The difference between the request time and the server's time is too large.",
  ],
  RequestTimeout: [
    400,
    'Your socket connection to the server was not read from or written to within the timeout period.',
  ],
  ServerSideEncryptionConfigurationNotFoundError: [
    404,
    'The server side encryption configuration was not found',
  ],
  ServiceUnavailable: [503, 'The service is temporarily unavailable. Please try again.'],
  SignatureDoesNotMatch: [
    403,
    'The request signature we calculated does not match the signature you provided. Check your key and signing method.',
  ],
  SlowDown: [503, 'Please reduce your request rate.'],
  UnexpectedContent: [400, 'This request does not support content'],
  UnsupportedMetadata: [400, 'Your metadata headers are not supported.'],
  XAmzContentChecksumMismatch: [400, 'The provided checksum does not match what was computed.'],
  XAmzContentSHA256Mismatch: [
    400,
    "The provided 'x-amz-content-sha256' header does not match what was computed.",
  ],
  XMinioServerNotInitialized: [503, 'Server not initialized yet, please try again.'],
  XMinioStorageFull: [
    507,
    'Storage backend has reached its minimum free drive threshold. Please delete a few objects to proceed.',
  ],
  'kms:InvalidCiphertextException': [400, 'The sealed key of the object cannot be opened.'],
} as const satisfies Readonly<Record<string, readonly [number, string]>>;

export type S3ErrorCode = keyof typeof s3Errors;

export type S3ErrorOptions = ErrorOptions & {
  /** Further elements of the error body, in order. */
  readonly details?: Readonly<Record<string, string>>;
  /** Further response headers, lower-case names. */
  readonly headers?: Readonly<Record<string, string>>;
};

/** An error as the client sees it. Its message is sent to the client: it never holds a secret. */
export class S3Error extends Error {
  readonly code: S3ErrorCode;
  readonly status: number;
  readonly details: Readonly<Record<string, string>>;
  readonly headers: Readonly<Record<string, string>>;
  constructor(code: S3ErrorCode, message?: string, options?: S3ErrorOptions) {
    const [status, text] = s3Errors[code];
    super(message ?? text, options);
    this.name = 'S3Error';
    this.code = code;
    this.status = status;
    this.details = options?.details ?? {};
    this.headers = options?.headers ?? {};
  }
}

/** `InvalidArgument` with the elements that name the argument. */
export function invalidArgument(name: string, value: string, message: string): S3Error {
  return new S3Error('InvalidArgument', message, {
    details: { ArgumentName: name, ArgumentValue: value },
  });
}

const storeCodes: Readonly<Record<StoreErrorCode, S3ErrorCode>> = {
  BadDigest: 'BadDigest',
  BucketAlreadyExists: 'BucketAlreadyOwnedByYou',
  BucketNotEmpty: 'BucketNotEmpty',
  ConditionalRequestConflict: 'ConditionalRequestConflict',
  DeleteMarker: 'MethodNotAllowed',
  EntityTooLarge: 'EntityTooLarge',
  EncryptionBlocked: 'AccessDenied',
  EntityTooSmall: 'EntityTooSmall',
  IncompleteBody: 'IncompleteBody',
  InvalidArgument: 'InvalidArgument',
  InvalidPart: 'InvalidPart',
  InvalidPartOrder: 'InvalidPartOrder',
  InvalidRequest: 'InvalidRequest',
  KmsNotConfigured: 'NotImplemented',
  NoSuchBucket: 'NoSuchBucket',
  NoSuchKey: 'NoSuchKey',
  NoSuchUpload: 'NoSuchUpload',
  NoSuchVersion: 'NoSuchVersion',
  ObjectCorrupt: 'InternalError',
  ObjectLocked: 'AccessDenied',
  PreconditionFailed: 'PreconditionFailed',
  StorageFull: 'XMinioStorageFull',
  StorageReadOnly: 'XMinioStorageFull',
  StorageUnavailable: 'ServiceUnavailable',
};

/** Codes whose own message is a detail of ours and is replaced by the table's. */
const plainCodes: ReadonlySet<StoreErrorCode> = new Set([
  'BucketAlreadyExists',
  'BucketNotEmpty',
  'DeleteMarker',
  'InvalidPart',
  'InvalidPartOrder',
  'NoSuchBucket',
  'NoSuchKey',
  'NoSuchUpload',
  'NoSuchVersion',
  'ObjectCorrupt',
  'PreconditionFailed',
]);

/** The text for encryption asked of a server without a key service. */
export const noKmsText = 'Server side encryption specified but KMS is not configured';

const retryAfterSeconds = '5';

function fromStoreError(error: StoreError): S3Error {
  const code = storeCodes[error.code];
  const isPlain = plainCodes.has(error.code);
  let message = isPlain ? undefined : error.message;
  if (error.code === 'KmsNotConfigured') message = noKmsText;
  if (error.code === 'StorageReadOnly') message = 'The storage of this server is read-only.';
  if (error.code === 'StorageUnavailable') message = undefined;
  const headers: Record<string, string> =
    s3Errors[code][0] === 503 ? { 'retry-after': retryAfterSeconds } : markerHeaders(error);
  return new S3Error(code, message, { details: error.details, headers, cause: error });
}

/** A delete marker is told in headers, whether it hides the object or was asked for itself. */
function markerHeaders(error: StoreError): Record<string, string> {
  const { marker } = error;
  if (marker === undefined) return {};
  const told = { 'x-amz-delete-marker': 'true', 'x-amz-version-id': marker.versionId };
  if (error.code !== 'DeleteMarker') return told;
  return { ...told, allow: 'DELETE', 'last-modified': new Date(marker.modifiedMs).toUTCString() };
}

const kmsCodes: Readonly<Record<KmsErrorCode, S3ErrorCode>> = {
  'key-not-found': 'KMS.NotFoundException',
  'key-exists': 'InvalidRequest',
  'key-disabled': 'KMS.DisabledException',
  'not-authorized': 'AccessDenied',
  'invalid-ciphertext': 'kms:InvalidCiphertextException',
  'invalid-key-name': 'InvalidArgument',
  'not-supported': 'NotImplemented',
  unreachable: 'ServiceUnavailable',
  failed: 'ServiceUnavailable',
};

function kmsMessage(error: KmsError): string {
  const key = error.keyName === undefined ? 'The master key' : `The master key '${error.keyName}'`;
  switch (error.code) {
    case 'key-not-found':
      return `${key} does not exist in the key service`;
    case 'key-disabled':
      return `${key} is disabled in the key service; enable it to use the objects it protects (if it is to be destroyed, cancel that first)`;
    case 'not-authorized':
      return `The key service does not allow this store to use ${key.replace('The', 'the')}`;
    case 'invalid-ciphertext':
      return `${key} does not open the sealed key of this object`;
    case 'key-exists':
      return `${key} exists already`;
    case 'invalid-key-name':
      return `${key} has a name the key service does not accept`;
    case 'not-supported':
      return 'The key service does not support this operation';
    case 'failed':
      return 'The key service answers with an error; its own log tells more';
    case 'unreachable':
      return 'The key service cannot be reached; encrypted objects are not available until it can';
  }
}

function fromKmsError(error: KmsError): S3Error {
  const code = kmsCodes[error.code];
  const headers: Record<string, string> =
    error.code === 'unreachable' ? { 'retry-after': retryAfterSeconds } : {};
  return new S3Error(code, kmsMessage(error), { headers, cause: error });
}

/** Node's own errors for a request body that ended before its announced end. */
function isAbortedBody(error: Error): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return (
    code === 'ECONNRESET' ||
    code === 'ERR_STREAM_PREMATURE_CLOSE' ||
    code === 'ERR_STREAM_DESTROYED'
  );
}

/**
 * What the client is told about any error. Errors that nobody expected become `InternalError`; the
 * caller logs those (`cause` is the original).
 */
export function toS3Error(error: unknown): S3Error {
  if (error instanceof S3Error) return error;
  if (error instanceof StoreError) return fromStoreError(error);
  if (error instanceof KmsError) return fromKmsError(error);
  if (error instanceof XmlError) return new S3Error('MalformedXML', undefined, { cause: error });
  if (error instanceof AuthError) {
    const { code, message, details } = error;
    return new S3Error(code, message, { details, cause: error });
  }
  // What is stored of an object or its key is not what was written: nothing of it is told.
  if (error instanceof SseError) return new S3Error('InternalError', undefined, { cause: error });
  if (error instanceof Error && isAbortedBody(error)) {
    return new S3Error('IncompleteBody', undefined, { cause: error });
  }
  return new S3Error('InternalError', undefined, { cause: error });
}
