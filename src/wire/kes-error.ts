// What can go wrong between a client and the key service. Clients of this protocol tell errors apart by
// status and exact text together, so the table of `kes.ts` (and the older spellings) is read here, once.

import { kesErrors } from './kes.ts';

/**
 * `http`: any answer that has no code of its own. `connection`: no answer (refused, dropped). `untrusted`:
 * the server's certificate does not prove that it is the server, which trying again does not change.
 * `timeout`: no answer in time. `aborted`: the caller's signal. `protocol`: an answer that makes no sense.
 */
export type KesClientErrorCode =
  | 'key-not-found'
  | 'key-exists'
  | 'key-disabled'
  | 'key-scheduled'
  | 'key-destroyed'
  | 'key-replaced'
  | 'name-destroyed'
  | 'not-allowed'
  | 'policy-not-found'
  | 'identity-not-found'
  | 'invalid-ciphertext'
  | 'http'
  | 'connection'
  | 'untrusted'
  | 'timeout'
  | 'aborted'
  | 'protocol';

/** Everything `KesClient` throws. For answers, the message is the server's text as it stands. */
export class KesClientError extends Error {
  readonly code: KesClientErrorCode;
  /** The HTTP status; 0 when there was no answer. */
  readonly status: number;
  /** False only when the server cannot have acted on the request. */
  readonly wasSent: boolean;
  constructor(
    code: KesClientErrorCode,
    message: string,
    options: ErrorOptions & { readonly status?: number; readonly wasSent?: boolean } = {},
  ) {
    super(message, options);
    this.name = 'KesClientError';
    this.code = code;
    this.status = options.status ?? 0;
    this.wasSent = options.wasSent ?? true;
  }
}

type NamedError = {
  readonly status: number;
  readonly message: string;
  readonly code: KesClientErrorCode;
};

const namedErrors: readonly NamedError[] = [
  { ...kesErrors.notAllowed, code: 'not-allowed' },
  { status: 403, message: 'prohibited by policy', code: 'not-allowed' },
  { ...kesErrors.keyNotFound, code: 'key-not-found' },
  { ...kesErrors.keyExists, code: 'key-exists' },
  { status: 400, message: 'key does already exist', code: 'key-exists' },
  { ...kesErrors.keyDisabled, code: 'key-disabled' },
  { ...kesErrors.keyScheduled, code: 'key-scheduled' },
  { ...kesErrors.keyDestroyed, code: 'key-destroyed' },
  { ...kesErrors.keyReplaced, code: 'key-replaced' },
  { ...kesErrors.nameDestroyed, code: 'name-destroyed' },
  { ...kesErrors.policyNotFound, code: 'policy-not-found' },
  { ...kesErrors.identityNotFound, code: 'identity-not-found' },
  { ...kesErrors.decrypt, code: 'invalid-ciphertext' },
];

const textCharsMax = 512;

/** The error for an answer with status >= 400 and a decoded text. */
export function kesAnswerError(status: number, text: string): KesClientError {
  const message = text.trim().slice(0, textCharsMax) || `server answered with status ${status}`;
  const named = namedErrors.find((error) => error.status === status && error.message === message);
  return new KesClientError(named?.code ?? 'http', message, { status });
}

/** The text of an error answer: JSON only if the content type says so; `error` wins over `message`. */
export function kesErrorText(contentType: string | undefined, body: Buffer): string {
  const text = body.toString('utf8');
  if (!contentType?.startsWith('application/json')) return text;
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed !== 'object' || parsed === null) return '';
    if ('error' in parsed && typeof parsed.error === 'string' && parsed.error) return parsed.error;
    return 'message' in parsed && typeof parsed.message === 'string' ? parsed.message : '';
  } catch {
    return '';
  }
}

/** Why TLS refused the server, by the code of the TLS library. */
const trustErrors: ReadonlyMap<string, string> = new Map([
  ['DEPTH_ZERO_SELF_SIGNED_CERT', 'the certificate of the server is self-signed and not trusted'],
  ['SELF_SIGNED_CERT_IN_CHAIN', 'the certificate of the server comes from an unknown authority'],
  [
    'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
    'the certificate of the server comes from an unknown authority',
  ],
  ['UNABLE_TO_GET_ISSUER_CERT', 'the certificate of the server comes from an unknown authority'],
  [
    'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
    'the certificate of the server comes from an unknown authority',
  ],
  ['CERT_HAS_EXPIRED', 'the certificate of the server has expired'],
  ['CERT_NOT_YET_VALID', 'the certificate of the server is not valid yet'],
  ['ERR_TLS_CERT_ALTNAME_INVALID', 'the certificate of the server is for another host name'],
]);

/** What mends an `untrusted` server: to trust its root, to renew its certificate, or to call it by a name that is in it. */
export type TrustRemedy = 'trust' | 'renew' | 'rename';

/** Of an error with the code `untrusted`. */
export function trustRemedyOf({ cause }: KesClientError): TrustRemedy {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID') return 'renew';
  return code === 'ERR_TLS_CERT_ALTNAME_INVALID' ? 'rename' : 'trust';
}

/** An error of the network or of TLS as this client reports it. */
export function kesConnectionError(
  cause: unknown,
  options: { readonly wasSent: boolean },
): KesClientError {
  if (cause instanceof KesClientError) return cause;
  const hasCode = cause instanceof Error && 'code' in cause && typeof cause.code === 'string';
  const untrusted = hasCode ? trustErrors.get(String(cause.code)) : undefined;
  const text = `kes: connection error: ${untrusted ?? causeText(cause)}`;
  const code = untrusted === undefined ? 'connection' : 'untrusted';
  return new KesClientError(code, text, { cause, wasSent: options.wasSent });
}

/** No answer within the limit. */
export function kesTimeoutError(options: { readonly wasSent: boolean }): KesClientError {
  const text = 'kes: connection error: the key service did not answer in time';
  return new KesClientError('timeout', text, options);
}

/** The caller's signal ended the call. */
export function kesAbortedError(signal: AbortSignal): KesClientError {
  return new KesClientError('aborted', 'kes: the call was cancelled', { cause: signal.reason });
}

/** An aggregate of tried addresses has no text of its own; its first member has. */
function causeText(cause: unknown): string {
  if (cause instanceof AggregateError && cause.errors[0] instanceof Error) {
    return cause.errors[0].message;
  }
  return cause instanceof Error && cause.message !== '' ? cause.message : 'unknown error';
}
