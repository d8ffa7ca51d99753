// What AWS Secrets Manager says, as the errors of key stores: its code stays in the text, with what to do.

import { KeyStoreError, type KeyStoreErrorCode } from '../../keys/key-store.ts';
import { describeNetworkError } from '../cloud-calls.ts';

type SdkError = Error & { readonly $metadata?: { readonly httpStatusCode?: number } };

export type AwsAction = 'create' | 'get' | 'delete' | 'list';

const permissions: Readonly<Record<AwsAction, string>> = {
  create: 'secretsmanager:CreateSecret',
  get: 'secretsmanager:GetSecretValue',
  delete: 'secretsmanager:DeleteSecret',
  list: 'secretsmanager:ListSecrets',
};

const codes: Readonly<Record<string, KeyStoreErrorCode>> = {
  ResourceExistsException: 'exists',
  ResourceNotFoundException: 'not-found',
};

const checkCredentials = 'check the access key and the secret key in the configuration';

const hints: Readonly<Record<string, string>> = {
  DecryptionFailure: 'grant kms:Decrypt on the KMS key, and see that it is enabled',
  EncryptionFailure:
    'grant kms:GenerateDataKey and kms:Decrypt on the KMS key (kmskey), and see that it is enabled',
  UnrecognizedClientException: checkCredentials,
  InvalidClientTokenId: checkCredentials,
  InvalidSignatureException: `${checkCredentials}, the region, and the clock of this machine`,
  IncompleteSignature: checkCredentials,
  ExpiredTokenException: 'the session token has expired: renew it in the configuration',
  RequestExpired: 'set the clock of this machine',
  CredentialsProviderError:
    'give credentials in the configuration, in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role to this machine',
  ThrottlingException: 'AWS limits how often it may be asked: lengthen cache.revalidate',
  LimitExceededException: 'a quota of the AWS account is used up: delete secrets or have it raised',
};

/** Whether this is the exception of that name. */
export function isAwsError(error: unknown, name: string): boolean {
  return error instanceof Error && error.name === name;
}

/** A name whose secret AWS is deleting, or will after a waiting time. */
export function isBeingDeleted(error: unknown): boolean {
  return (
    isAwsError(error, 'InvalidRequestException') && /delet/i.test((error as Error).message ?? '')
  );
}

/** Whether there was no answer, or one that says nothing about what was asked. */
export function isTransient(error: unknown): boolean {
  if (!(error instanceof Error) || error instanceof KeyStoreError) return false;
  const { name, $metadata } = error as SdkError;
  const http = $metadata?.httpStatusCode ?? 0;
  return (
    http >= 500 || http === 429 || /^(Throttl|TooManyRequests|RequestLimitExceeded)/.test(name)
  );
}

/** The error of a key store for what the SDK threw; `KeyStoreError` stays as it is. */
export function awsError(error: unknown, action: AwsAction, secret = ''): KeyStoreError {
  if (error instanceof KeyStoreError) return error;
  const what = `AWS Secrets Manager: cannot ${action}${secret === '' ? '' : ` ${secret}`}`;
  const { name, message, $metadata } = error as SdkError;
  if ($metadata?.httpStatusCode === undefined && name !== 'CredentialsProviderError') {
    return new KeyStoreError('unreachable', `${what}: ${describeNetworkError(error)}`);
  }
  // The parser's message quotes the answer, which may be a key's text.
  if (name === 'SyntaxError') return new KeyStoreError('failed', `${what}: its answer is not JSON`);
  const hint = hintOf(error, action, secret);
  const said =
    message === 'UnknownError' ? `HTTP ${$metadata?.httpStatusCode}` : `${name}: ${message}`;
  const text = `${what}: ${said}${hint === '' ? '' : ` (${hint})`}`;
  return new KeyStoreError(codes[name] ?? 'failed', text);
}

function hintOf(error: unknown, action: AwsAction, secret: string): string {
  if (isAwsError(error, 'AccessDeniedException')) {
    return `grant ${permissions[action]}, and kms:Decrypt and kms:GenerateDataKey if a KMS key is used`;
  }
  if (isBeingDeleted(error)) {
    return (
      `the secret is scheduled for deletion: wait until AWS has deleted it, get it back with ` +
      `aws secretsmanager restore-secret --secret-id ${secret}, or remove it for good with ` +
      `aws secretsmanager delete-secret --force-delete-without-recovery --secret-id ${secret}`
    );
  }
  return hints[(error as Error).name] ?? '';
}
