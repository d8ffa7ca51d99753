// What Google Secret Manager and the token endpoint say, as the errors of key stores: status and message stay
// in the text, with what to do.

import { KeyStoreError, type KeyStoreErrorCode } from '../../keys/key-store.ts';
import { describeNetworkError, networkErrorCode } from '../cloud-calls.ts';

export type GcpAction = 'create' | 'get' | 'delete' | 'list';

/** What was answered: the HTTP status and, from the body, Google's status and message. */
export type GcpRefusal = {
  readonly http: number;
  readonly status: string;
  readonly message: string;
};

const permissions: Readonly<Record<GcpAction, string>> = {
  create: 'secretmanager.secrets.create and secretmanager.versions.add',
  get: 'secretmanager.versions.access',
  delete: 'secretmanager.secrets.delete',
  list: 'secretmanager.secrets.list',
};

const codes: Readonly<Record<string, KeyStoreErrorCode>> = {
  ALREADY_EXISTS: 'exists',
  NOT_FOUND: 'not-found',
};

/**
 * For answers without Google's own status. A bare 404 or 409 has none: it may be a proxy's, and must not say
 * that a key does not exist.
 */
const statusOf: Readonly<Record<number, string>> = {
  401: 'UNAUTHENTICATED',
  403: 'PERMISSION_DENIED',
  429: 'RESOURCE_EXHAUSTED',
};

/** What decides about a name counts only with its HTTP status. */
const httpOf: Readonly<Record<string, number>> = { NOT_FOUND: 404, ALREADY_EXISTS: 409 };

/** What the server answered; undefined when there was no answer. */
export function refusalOf(error: unknown): GcpRefusal | undefined {
  const { status, response, message } = error as {
    status?: unknown;
    response?: { status?: unknown };
    message?: unknown;
  };
  const http = [status, response?.status].find((each) => typeof each === 'number');
  if (http === undefined) return undefined;
  return { http, ...parseRefusal(http, String(message)) };
}

function parseRefusal(http: number, text: string): Omit<GcpRefusal, 'http'> {
  const fallback = statusOf[http] ?? `HTTP ${http}`;
  const body = parseJson(text.slice(Math.max(0, text.indexOf('{'))));
  const { error, error_description: description } = body as {
    error?: unknown;
    error_description?: unknown;
  };
  if (typeof error === 'string' && /^[a-z_]+$/.test(error)) {
    return { status: error, message: typeof description === 'string' ? description : '' };
  }
  const { status, message } = (error ?? {}) as { status?: unknown; message?: unknown };
  // `invalid_grant: …`, as the token client words it; other texts may be a proxy's.
  const [, said, why = ''] = /^(invalid_[a-z]+): (.{1,200})/.exec(text) ?? [];
  const isBelieved = typeof status === 'string' && (httpOf[status] ?? http) === http;
  return {
    status: isBelieved ? status : (said ?? fallback),
    message: typeof message === 'string' ? message : why,
  };
}

function parseJson(text: string): object {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : {};
  } catch {
    return {};
  }
}

/** Whether the server said so. */
export function isRefusal(error: unknown, status: string): boolean {
  return refusalOf(error)?.status === status;
}

/** Whether another attempt may fare better. */
export function isTransient(error: unknown): boolean {
  const http = refusalOf(error)?.http;
  if (http === undefined) return networkErrorCode(error) !== undefined;
  return http === 429 || http >= 500;
}

/** The error of a key store for what the SDK threw; `KeyStoreError` stays as it is. */
export function gcpError(error: unknown, action: GcpAction, secret = ''): KeyStoreError {
  if (error instanceof KeyStoreError) return error;
  const what = `Google Secret Manager: cannot ${action}${secret === '' ? '' : ` ${secret}`}`;
  const refusal = refusalOf(error);
  if (refusal === undefined) return withoutAnswer(error, what);
  const { status, message } = refusal;
  const hint = hintOf(refusal, action);
  const text = `${what}: ${status}${message === '' ? '' : `: ${message}`}${hint}`;
  return new KeyStoreError(codes[status] ?? 'failed', text);
}

function withoutAnswer(error: unknown, what: string): KeyStoreError {
  if (networkErrorCode(error) !== undefined) {
    return new KeyStoreError('unreachable', `${what}: ${describeNetworkError(error)}`);
  }
  // The parser's message quotes the answer, which may be a key's text.
  if (error instanceof SyntaxError) {
    return new KeyStoreError('failed', `${what}: its answer is not JSON`);
  }
  const message = error instanceof Error ? error.message.split('\n')[0] : 'unknown error';
  const isCredential = /credential|private key|PEM|DECODER|keyFile|asn1/i.test(message ?? '');
  const hint = isCredential
    ? ' (give credentials in the configuration, in GOOGLE_APPLICATION_CREDENTIALS, or a service account to this machine)'
    : '';
  return new KeyStoreError('failed', `${what}: ${message}${hint}`);
}

function hintOf(refusal: GcpRefusal, action: GcpAction): string {
  const { status, http } = refusal;
  if (status === 'PERMISSION_DENIED') {
    return ` (grant ${permissions[action]}, for example with roles/secretmanager.admin, and see that the Secret Manager API is enabled in the project)`;
  }
  if (status === 'UNAUTHENTICATED' || status.startsWith('invalid_') || http === 401) {
    return ' (the credentials are refused: check client_email, private_key_id and private_key, and the clock of this machine)';
  }
  if (status === 'RESOURCE_EXHAUSTED') {
    return ' (the quota of the project is used up: lengthen cache.revalidate or have it raised)';
  }
  if (status === 'FAILED_PRECONDITION') {
    return ' (version 1 is disabled or destroyed: enable it with gcloud secrets versions enable 1, or delete the secret)';
  }
  return '';
}
