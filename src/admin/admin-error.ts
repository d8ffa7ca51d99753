// The errors of the admin interface, in one table, and the one place where errors of other modules
// become one of them. Never 503: clients repeat it for minutes, and the command seems to hang.

import type { AdminErrorBody } from '../wire/admin.ts';
import { IamError } from '../iam/iam-error.ts';
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
  MalformedPolicy: [400, 'The policy must contain a valid version string'],
  MissingContentLength: [411, 'You must provide the Content-Length HTTP header.'],
  PolicyInvalidName: [400, 'Policy name may not contain comma'],
  SlowDown: [429, 'Too many calls of this kind at once: try again.'],
  XMinioAdminConfigBadJSON: [400, 'JSON configuration provided is of incorrect format'],
  XMinioAdminInvalidAccessKey: [400, 'The access key is invalid.'],
  XMinioAdminInvalidArgument: [400, 'Invalid arguments specified.'],
  XMinioAdminInvalidSecretKey: [400, 'The secret key is invalid.'],
  XMinioAdminNoSuchGroup: [
    404,
    'The specified group does not exist. (Specified group does not exist)',
  ],
  XMinioAdminNoSuchPolicy: [
    404,
    'The canned policy does not exist. (Specified canned policy does not exist)',
  ],
  XMinioAdminNoSuchUser: [
    404,
    'The specified user does not exist. (Specified user does not exist)',
  ],
  XMinioAdminPolicyChangeAlreadyApplied: [
    400,
    'The specified policy change is already in effect. (Specified policy update has no net effect)',
  ],
  XMinioIAMActionNotAllowed: [403, 'Specified IAM action is not allowed'],
  XMinioIAMPolicyInUse: [400, 'The policy cannot be removed, as it is in use'],
  XMinioInvalidIAMCredentials: [403, 'Credential is not allowed to be same as admin access key'],
  XMinioMalformedIAMPolicy: [400, 'The policy is malformed.'],
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
  if (error instanceof IamError) return fromIamError(error);
  return undefined;
}

function fromIamError(error: IamError): AdminError | undefined {
  const [code, form] = iamCodes[error.code] ?? [];
  if (code === undefined) return undefined;
  const general = adminErrors[code][1];
  const messages = { general, own: error.message, both: `${general} (${error.message})` };
  return new AdminError(code, messages[form ?? 'general'], { cause: error });
}

/** Errors without an entry become `InternalError` and are logged. The message: the table's, the error's, or both. */
const iamCodes: Readonly<
  Partial<Record<IamError['code'], readonly [AdminErrorCode, 'general' | 'own' | 'both']>>
> = {
  'malformed-policy': ['XMinioMalformedIAMPolicy', 'own'],
  'invalid-access-key': ['XMinioAdminInvalidAccessKey', 'both'],
  'invalid-secret-key': ['XMinioAdminInvalidSecretKey', 'both'],
  'invalid-policy-name': ['XMinioAdminInvalidArgument', 'own'],
  'invalid-owner': ['XMinioAdminInvalidArgument', 'both'],
  'root-access-key': ['XMinioInvalidIAMCredentials', 'general'],
  'no-such-user': ['XMinioAdminNoSuchUser', 'general'],
  'no-such-policy': ['XMinioAdminNoSuchPolicy', 'general'],
  'policy-in-use': ['XMinioIAMPolicyInUse', 'general'],
  'built-in-policy': ['InternalError', 'both'],
  'no-change': ['XMinioAdminPolicyChangeAlreadyApplied', 'general'],
  busy: ['SlowDown', 'own'],
};

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
