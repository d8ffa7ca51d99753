// The one error of this folder. The code says what was wrong; the text is for people and holds no
// secret. Whatever makes a sealed key not open, a wrong key or another place or a changed byte, is
// one code: an attacker learns nothing from it.

/** Closed list; `s3` and `admin` map it to their protocols in one table each. */
export type SseErrorCode = keyof typeof messages;

const messages = {
  // Opening.
  'key-mismatch': 'The sealed object key does not open with this key at this place.',
  'object-tampered': 'The requested object was modified and may be compromised',
  'not-authentic': 'The sealed record was modified, or the key is not its own.',
  'invalid-data-key': 'The key service gave a data key that is not 32 bytes long.',
  // Stored metadata, in the order in which they are found.
  'missing-iv': 'The object metadata is missing the internal encryption IV',
  'missing-seal-algorithm': 'The object metadata is missing the internal seal algorithm',
  'missing-sealed-key': 'The object metadata is missing the internal sealed key',
  'missing-key-name': 'The object metadata is missing the internal KMS key-ID for SSE-S3',
  'missing-sealed-data-key':
    'The object metadata is missing the internal sealed KMS data key for SSE-S3',
  'invalid-iv': 'The internal encryption IV is malformed',
  'invalid-seal-algorithm': 'The internal seal algorithm is invalid and not supported',
  'invalid-sealed-key': 'The internal sealed key is invalid',
  'invalid-sealed-data-key': 'The internal sealed KMS data key is invalid',
  'invalid-context': 'The internal KMS context is not base64-encoded',
  // ETags and checksum records.
  'invalid-etag': 'The ETag is malformed.',
  'invalid-checksum-record': 'The checksum record is malformed.',
  // Request headers.
  'sse-c-algorithm': 'The SSE-C algorithm is not supported',
  'sse-c-key-missing': 'The SSE-C request is missing the customer key',
  'sse-c-md5-missing': 'The SSE-C request is missing the customer key MD5',
  'sse-c-key-invalid': 'The SSE-C client key is invalid',
  'sse-c-md5-mismatch':
    'The provided SSE-C key MD5 does not match the computed MD5 of the SSE-C key',
  'kms-method': 'The encryption method is not supported',
  'kms-key-id': 'KMS KeyID contains unsupported characters',
  'kms-context': 'The KMS context is not base64 of a JSON object of strings',
  // Bucket default encryption.
  'rule-algorithm': 'Unknown SSE algorithm',
  'rule-count': 'only one server-side encryption rule is allowed at a time',
  'rule-key-id-not-allowed': 'MasterKeyID is allowed with aws:kms only',
  'rule-key-id-missing': 'MasterKeyID is missing with aws:kms',
  'rule-key-id-invalid': 'MasterKeyID contains unsupported characters',
  // Encrypted configuration.
  'kms-not-configured':
    'The record is encrypted but no KMS is configured: set MINIO_KMS_KES_ENDPOINT or MINIO_KMS_SECRET_KEY.',
  'invalid-config': 'The encrypted configuration is malformed.',
} as const;

export class SseError extends Error {
  readonly code: SseErrorCode;
  /** `message` replaces the text of the table where the kind of encryption makes it more exact. */
  constructor(code: SseErrorCode, options?: ErrorOptions & { readonly message?: string }) {
    super(options?.message ?? messages[code], options);
    this.name = 'SseError';
    this.code = code;
  }
}
