// The errors of the admin interface, in one table, and the one place where errors of other modules
// become one of them. Never 503: clients repeat it for minutes, and the command seems to hang.

import type { AdminErrorBody } from '../wire/admin.ts';
import { KmsError, type KmsErrorCode } from '../sse/kms.ts';

/** Code → status and the message used when the thrower gives none. */
export const adminErrors = {
  AccessDenied: [403, 'Access Denied.'],
  BadRequest: [400, 'The request is malformed.'],
  InternalError: [500, 'We encountered an internal error, please try again.'],
  InvalidAccessKeyId: [403, 'The Access Key Id you provided does not exist in our records.'],
  InvalidArgument: [400, 'Invalid argument.'],
  MalformedPOSTRequest: [400, 'The action of the request is not known.'],
  EntityTooLarge: [400, 'The body of the request is too large.'],
  NotImplemented: [501, 'Server side encryption specified but KMS is not configured'],
  RequestTimeTooSkewed: [
    403,
    "The difference between the request time and the server's time is too large.",
  ],
  ServerNotInitialized: [500, 'The server is not ready yet.'],
  SignatureDoesNotMatch: [
    403,
    'The request signature we calculated does not match the signature you provided. Check your key and signing method.',
  ],
  XAmzContentSHA256Mismatch: [
    400,
    "The provided 'x-amz-content-sha256' header does not match what was computed.",
  ],
  XCofferRestartRefused: [409, 'The restart was refused and the server goes on as before.'],
  XMinioAdminVersionMismatch: [
    426,
    'This server does not have the requested admin call. Use a client that matches it.',
  ],
  'kms:KeyAlreadyExists': [409, 'key with given key ID already exits'],
  'kms:KeyNotFound': [404, 'key with given key ID does not exist'],
  'kms:NotAuthorized': [403, 'insufficient permissions to perform KMS operation'],
  'kms:NotSupported': [501, 'requested functionality is not supported'],
  'kms:InvalidKeyName': [400, 'the key name is not valid: use 1 to 80 letters, digits, - and _'],
  'kms:KeyDisabled': [400, 'the key is disabled: enable it to use it again'],
} as const satisfies Readonly<Record<string, readonly [number, string]>>;

export type AdminErrorCode = keyof typeof adminErrors;

/** An error as the client sees it. The message is sent: it never holds a secret. */
export class AdminError extends Error {
  readonly code: AdminErrorCode;
  readonly status: number;
  constructor(code: AdminErrorCode, message?: string, options?: ErrorOptions) {
    const [status, text] = adminErrors[code];
    super(message ?? text, options);
    this.name = 'AdminError';
    this.code = code;
    this.status = status;
  }
}

/** True when the code is one of the table: for codes that come from other modules as text. */
export function isAdminErrorCode(code: string): code is AdminErrorCode {
  return Object.hasOwn(adminErrors, code);
}

const kmsCodes: Readonly<Record<KmsErrorCode, AdminErrorCode>> = {
  'key-not-found': 'kms:KeyNotFound',
  'key-exists': 'kms:KeyAlreadyExists',
  'key-disabled': 'kms:KeyDisabled',
  'not-authorized': 'kms:NotAuthorized',
  'invalid-ciphertext': 'InternalError',
  'invalid-key-name': 'kms:InvalidKeyName',
  'not-supported': 'kms:NotSupported',
  unreachable: 'InternalError',
  failed: 'InternalError',
};

/** The text of a KMS error as clients of the admin interface know it. */
export function kmsErrorText(error: KmsError): string {
  const code = kmsCodes[error.code];
  return code === 'InternalError' ? error.message : adminErrors[code][1];
}

/** Undefined for errors that are none of the client's business: they become `InternalError` and are logged. */
export function toAdminError(error: unknown): AdminError | undefined {
  if (error instanceof AdminError) return error;
  if (error instanceof KmsError) {
    const code = kmsCodes[error.code];
    const message =
      code === 'InternalError'
        ? `${adminErrors.InternalError[1]} (${error.message})`
        : adminErrors[code][1];
    return new AdminError(code, message, { cause: error });
  }
  return undefined;
}

/** The JSON body of a refusal. */
export function formatAdminError(
  error: AdminError,
  request: { readonly resource: string; readonly requestId: string },
): string {
  const isMismatch = error.code === 'XMinioAdminVersionMismatch';
  const body: AdminErrorBody = {
    Code: error.code,
    Message: error.message,
    Resource: request.resource,
    RequestId: isMismatch ? '' : request.requestId,
    HostId: '',
  };
  return JSON.stringify(body);
}
