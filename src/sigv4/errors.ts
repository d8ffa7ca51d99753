// The one error of request authentication and of the signed, chunked and checksummed bodies that go with
// it. The codes are S3's own, so the S3 edge maps them one to one. No message and no detail ever holds a
// secret, a signature or a token.

export type AuthErrorCode =
  | 'AccessDenied'
  | 'AuthorizationHeaderMalformed'
  | 'AuthorizationQueryParametersError'
  | 'BadDigest'
  | 'IncompleteBody'
  | 'InvalidAccessKeyId'
  | 'InvalidArgument'
  | 'InvalidDigest'
  | 'InvalidRequest'
  | 'InvalidTokenId'
  | 'InvalidURI'
  | 'MalformedTrailerError'
  | 'MissingContentLength'
  | 'NotImplemented'
  | 'RequestTimeTooSkewed'
  | 'RequestTimeout'
  | 'SignatureDoesNotMatch'
  | 'XAmzContentSHA256Mismatch';

/** A request, or its body, is refused. `details` become elements of the S3 error body (`Region`, `HeadersNotSigned`). */
export class AuthError extends Error {
  readonly code: AuthErrorCode;
  readonly details: Readonly<Record<string, string>>;

  constructor(
    code: AuthErrorCode,
    message: string,
    options?: ErrorOptions & { details?: Record<string, string> },
  ) {
    super(message, options);
    this.name = 'AuthError';
    this.code = code;
    this.details = options?.details ?? {};
  }
}
