// What Azure Key Vault and the token endpoints say, as the errors of key stores: code and message stay in the
// text, with what to do.

import { KeyStoreError } from '../../keys/key-store.ts';
import { bareCode, UnsureDeletion } from './http.ts';

export type AzureAction = 'create' | 'get' | 'delete' | 'purge' | 'list';

/** An answer of the vault that is an error. */
export type AzureRefusal = {
  readonly http: number;
  readonly code: string;
  readonly message: string;
};

const permissions: Readonly<Record<AzureAction, string>> = {
  create: 'Set and List',
  get: 'Get and List',
  delete: 'Delete',
  purge: 'Purge',
  list: 'List',
};

type RestError = Error & {
  readonly statusCode?: number;
  readonly code?: string;
  readonly details?: { readonly error?: { readonly code?: string; readonly message?: string } };
};

/** What the vault answered; undefined when there was no answer, or it was no error. */
export function azureRefusal(error: unknown): AzureRefusal | undefined {
  const { statusCode: http, code, details } = error as RestError;
  if (http === undefined || http < 300) return undefined;
  const body = details?.error;
  return {
    http,
    code: body?.code ?? code ?? bareCode(http),
    message: (body?.message ?? '').split(/\r?\n/)[0] ?? '',
  };
}

/** Whether the vault says that there is no such secret; a 404 without its code may be a proxy's. */
export function isNotFound(error: unknown): boolean {
  const refusal = azureRefusal(error);
  return refusal?.http === 404 && refusal.code === 'SecretNotFound';
}

/** Whether the vault itself says that this is not allowed; a 403 without its code may be a proxy's. */
export function isForbidden(error: unknown): boolean {
  const refusal = azureRefusal(error);
  if (refusal?.http !== 403 || refusal.code === bareCode(403)) return false;
  return !/^ForbiddenBy(Firewall|Connection)$/.test(refusal.code);
}

/** Whether there was no answer, or one that says nothing about what was asked. */
export function isTransient(error: unknown): boolean {
  if (error instanceof UnsureDeletion) return true;
  const { name, code, statusCode: http = 0 } = error as RestError;
  return http >= 500 || http === 429 || (name === 'RestError' && code === 'ECONNRESET');
}

/** The error of a key store for what the SDK threw; `KeyStoreError` stays as it is. */
export function azureError(error: unknown, action: AzureAction, secret = ''): KeyStoreError {
  if (error instanceof KeyStoreError) return error;
  const what = `Azure Key Vault: cannot ${action}${secret === '' ? '' : ` ${secret}`}`;
  const { name, code } = error as RestError;
  if (error instanceof UnsureDeletion) {
    return new KeyStoreError('unreachable', `${what}: ${error.message}`);
  }
  if (/^(Authentication|CredentialUnavailable|AggregateAuthentication)/.test(name)) {
    return authenticationError(error as Error, what);
  }
  const refusal = azureRefusal(error);
  if (refusal !== undefined) {
    const { message } = refusal;
    const text = `${what}: ${refusal.code}${message === '' ? '' : `: ${message}`}`;
    return new KeyStoreError(
      isNotFound(error) ? 'not-found' : 'failed',
      `${text}${hintOf(refusal, action)}`,
    );
  }
  if (name === 'RestError' && code === 'ECONNRESET') {
    return new KeyStoreError('unreachable', `${what}: ${(error as Error).message}`);
  }
  // Other messages may quote an answer, which may be a key's text.
  const isKnown = /challenge|HTTPS|is not JSON/.test((error as Error).message);
  const why = isKnown ? (error as Error).message : `its answer cannot be read (${name})`;
  return new KeyStoreError('failed', `${what}: ${why}`);
}

function authenticationError(error: Error, what: string): KeyStoreError {
  const message = (error.message.split(/\r?\n/).find((line) => line.trim() !== '') ?? '')
    .trim()
    .slice(0, 300);
  const isUnanswered = /network_error|ECONNRESET|connection (refused|lost)|in time/.test(
    error.message,
  );
  return new KeyStoreError(
    isUnanswered ? 'unreachable' : 'failed',
    `${what}: no access token: ${message} (check tenant_id, client_id and client_secret, the managed identity, ` +
      'or AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET)',
  );
}

function hintOf(refusal: AzureRefusal, action: AzureAction): string {
  const { http, code } = refusal;
  switch (code) {
    case 'ForbiddenByFirewall':
    case 'ForbiddenByConnection':
      return " (let this machine's address through in the vault's networking)";
    case 'ObjectIsDeletedButRecoverable':
      return ' (a deleted secret still has this name and cannot be purged: recover it, purge it, or wait until it is purged)';
    case 'ObjectIsBeingDeleted':
      return ' (the vault is still deleting a secret of this name: try again in a minute)';
    case 'SecretDisabled':
      return ' (enable the oldest version of the secret in the vault)';
    default:
  }
  if (http === 403) {
    return ` (grant ${permissions[action]} on secrets in the access policy, or the role Key Vault Secrets Officer)`;
  }
  if (http === 401) return ' (the vault does not accept the access token: check the tenant)';
  if (http === 429)
    return ' (the vault limits how often it may be asked: lengthen cache.revalidate)';
  return '';
}
