// What the adapters of this folder throw, and how an answer of the key service becomes it. Each text says
// what to do where something can be done, names the key, and holds nothing secret.

import { KmsError } from '../sse/kms.ts';
import type { KesClientErrorCode, TrustRemedy } from '../wire/kes-error.ts';
import { KesClientError, trustRemedyOf } from '../wire/kes-error.ts';

/** The named key does not exist. */
export function keyNotFound(keyName: string): KmsError {
  return new KmsError('key-not-found', `key '${keyName}' does not exist`, { keyName });
}

/** A key of that name exists already. */
export function keyExists(keyName: string): KmsError {
  return new KmsError('key-exists', `key '${keyName}' already exists`, { keyName });
}

/** Too much is waiting for the key service already. */
export function kmsBusy(keyName: string): KmsError {
  const text = 'the key service is too slow: too many calls are waiting for it';
  return new KmsError('unreachable', text, { keyName });
}

/** The call was not answered within its limit. */
export function kmsTimeout(keyName: string): KmsError {
  const text = 'the key service did not answer in time';
  return new KmsError('unreachable', text, { keyName });
}

/** An error of the key service's client as a `KmsError`; `keyName` when the call named a key. */
export function toKmsError(error: unknown, keyName?: string): KmsError {
  if (error instanceof KmsError) return error;
  const named = keyName === undefined ? {} : { keyName };
  if (!(error instanceof KesClientError)) {
    return new KmsError('failed', 'the key service call failed', { ...named, cause: error });
  }
  const shape = shapes[error.code](error, keyName ?? '');
  return new KmsError(shape.code, shape.text, { ...named, cause: error });
}

type Shape = { readonly code: KmsError['code']; readonly text: string };

const unreachable = (error: KesClientError): Shape => ({
  code: 'unreachable',
  text: `the key service cannot be reached: ${error.message.replace(/^kes: connection error: /, '')}`,
});

const failed = (error: KesClientError): Shape => ({
  code: 'failed',
  text: `the key service refused: ${error.message}`,
});

const shapes: Readonly<Record<KesClientErrorCode, (error: KesClientError, key: string) => Shape>> =
  {
    'key-not-found': (_, key) => ({ code: 'key-not-found', text: `key '${key}' does not exist` }),
    'key-exists': (_, key) => ({ code: 'key-exists', text: `key '${key}' already exists` }),
    'key-disabled': (_, key) => ({
      code: 'key-disabled',
      text: `key '${key}' is disabled: 'kes key enable ${key}' makes it usable again`,
    }),
    'key-scheduled': (_, key) => ({
      code: 'key-disabled',
      text: `key '${key}' is to be destroyed: 'kes key cancel ${key}', then 'kes key enable ${key}' make it usable again`,
    }),
    'key-destroyed': (_, key) => ({
      code: 'key-disabled',
      text: `key '${key}' is destroyed: what it protected is gone for good`,
    }),
    'key-replaced': failed,
    'name-destroyed': failed,
    'not-allowed': () => ({
      code: 'not-authorized',
      text: 'the key service does not allow this: check the policy of this identity',
    }),
    'policy-not-found': failed,
    'identity-not-found': failed,
    'invalid-ciphertext': () => ({
      code: 'invalid-ciphertext',
      text: 'failed to decrypt ciphertext',
    }),
    http: httpShape,
    connection: unreachable,
    untrusted: (error) => ({
      code: 'unreachable',
      text: `${unreachable(error).text}: ${trustRemedies[trustRemedyOf(error)]}`,
    }),
    timeout: unreachable,
    aborted: unreachable,
    protocol: (error) => ({ code: 'unreachable', text: error.message.replace(/^kes: /, '') }),
  };

const trustRemedies: Readonly<Record<TrustRemedy, string>> = {
  trust: 'MINIO_KMS_KES_CAPATH names the certificates to trust',
  renew: 'check the clocks, or renew it and send the key service SIGHUP',
  rename: 'MINIO_KMS_KES_ENDPOINT needs a name that is in it',
};

function httpShape(error: KesClientError): Shape {
  if (error.status === 501) return { code: 'not-supported', text: error.message };
  if (error.status >= 500) {
    return { code: 'unreachable', text: `the key service failed: ${error.message}` };
  }
  if (error.status === 400 && /^(key name|listing pattern) '/.test(error.message)) {
    return { code: 'invalid-key-name', text: error.message };
  }
  return failed(error);
}
