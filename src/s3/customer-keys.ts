// The keys that clients bring (SSE-C): read from the headers of a request when they are asked for, refused on an
// open line, wiped when the request is over. A key never gets into a message, a log or an answer.

import { parseSseCHeaders, requestedEncryption, type SseCKey } from '../sse/headers.ts';
import { SseError, type SseErrorCode } from '../sse/sse-error.ts';
import type { S3Headers } from './headers.ts';
import { S3Error } from './errors.ts';

const texts: Partial<Record<SseErrorCode, string>> = {
  'sse-c-algorithm':
    'Requests specifying Server Side Encryption with Customer provided keys must provide a valid encryption algorithm.',
  'sse-c-key-missing':
    'Requests specifying Server Side Encryption with Customer provided keys must provide an appropriate secret key.',
  'sse-c-md5-missing':
    'Requests specifying Server Side Encryption with Customer provided keys must provide the client calculated MD5 of the secret key.',
  'sse-c-key-invalid': 'The secret key was invalid for the specified algorithm.',
  'sse-c-md5-mismatch':
    'The calculated MD5 hash of the key did not match the hash that was provided.',
};

/** The keys of one request. */
export class CustomerKeys {
  readonly #headers: S3Headers;
  #ofObject: SseCKey | undefined;
  #ofSource: SseCKey | undefined;

  constructor(headers: S3Headers) {
    this.#headers = headers;
  }

  /** The key of the object that the request reads or writes. Throws `InvalidArgument`. */
  ofObject(): SseCKey | undefined {
    if (!requestedEncryption(this.#headers).sseC) return undefined;
    this.#ofObject ??= parseKey(this.#headers, 'request');
    return this.#ofObject;
  }

  /** The key of the object that a copy reads. Throws `InvalidArgument`. */
  ofCopySource(): SseCKey | undefined {
    if (!requestedEncryption(this.#headers).sseCCopySource) return undefined;
    this.#ofSource ??= parseKey(this.#headers, 'copy-source');
    return this.#ofSource;
  }

  /** Overwrites the keys; nothing may use them any more. */
  wipe(): void {
    this.#ofObject?.clientKey.fill(0);
    this.#ofSource?.clientKey.fill(0);
  }
}

function parseKey(headers: S3Headers, triple: 'request' | 'copy-source'): SseCKey {
  try {
    return parseSseCHeaders(headers, triple);
  } catch (cause) {
    if (!(cause instanceof SseError)) throw cause;
    throw new S3Error('InvalidArgument', texts[cause.code], { cause });
  }
}

/** Refuses a key that came over a line that others can read. Throws `InvalidRequest`. */
export function refuseKeysInClear(headers: S3Headers, isAllowed: boolean): void {
  if (isAllowed) return;
  const { sseC, sseCCopySource } = requestedEncryption(headers);
  if (!sseC && !sseCCopySource) return;
  throw new S3Error(
    'InvalidRequest',
    'Requests specifying Server Side Encryption with Customer provided keys must be made over a secure connection.',
  );
}
