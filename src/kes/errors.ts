// What goes wrong, as clients see it: the one place where errors become status and text. Clients compare
// both, so the texts are exact; the detail goes to the log.

import { KeyError, type KeyErrorCode } from '../keys/key-error.ts';
import { kesErrors, type KesRouteName } from '../wire/kes.ts';

/** Thrown by handlers; `message` is sent to the client. */
export class KesHttpError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.name = 'KesHttpError';
    this.status = status;
  }
}

export type ErrorAnswer = { readonly status: number; readonly message: string };

const fixedAnswers: Readonly<Partial<Record<KeyErrorCode, ErrorAnswer>>> = {
  exists: kesErrors.keyExists,
  'not-found': kesErrors.keyNotFound,
  disabled: kesErrors.keyDisabled,
  scheduled: kesErrors.keyScheduled,
  destroyed: kesErrors.keyDestroyed,
  replaced: kesErrors.keyReplaced,
  'name-destroyed': kesErrors.nameDestroyed,
  'too-many-versions': { status: 409, message: 'key has as many versions as it can have' },
  'not-authentic': kesErrors.decrypt,
  'no-hmac-key': { status: 409, message: 'key does not support HMAC' },
};

/** Texts of a route for trouble with the key store (502) and for trouble of our own (500). */
const troubleTexts: Readonly<Partial<Record<KesRouteName, { store: string; own?: string }>>> = {
  'key-create': { store: 'failed to create key', own: 'failed to create key' },
  'key-import': { store: 'failed to create key', own: 'failed to create key' },
  'key-describe': { store: 'failed to read key' },
  'key-list': { store: 'failed to list keys' },
  'key-delete': { store: 'failed to delete key' },
  'key-generate': { store: 'failed to read key', own: 'failed to generate encryption key' },
  'key-encrypt': { store: 'failed to read key', own: 'failed to encrypt plaintext' },
  'key-decrypt': { store: 'failed to read key', own: 'failed to decrypt ciphertext' },
  'key-hmac': { store: 'failed to read key' },
  'key-disable': { store: 'failed to disable key' },
  'key-enable': { store: 'failed to enable key' },
  'key-rotate': { store: 'failed to rotate key', own: 'failed to rotate key' },
  'key-rewrap': { store: 'failed to read key', own: 'failed to rewrap ciphertext' },
  'key-destroy': { store: 'failed to destroy key' },
  'key-cancel': { store: 'failed to cancel the destruction of the key' },
  'key-accept': { store: 'failed to read key' },
};

/** The answer to an error of a route. `isLogged`: the operator should see the error itself. */
export function answerError(
  error: unknown,
  route: KesRouteName,
): { readonly answer: ErrorAnswer; readonly isLogged: boolean } {
  if (error instanceof KesHttpError) return { answer: error, isLogged: false };
  const texts = troubleTexts[route];
  if (error instanceof KeyError) {
    const fixed = fixedAnswers[error.code];
    if (fixed !== undefined) return { answer: fixed, isLogged: false };
    const message = texts?.store ?? 'key store is unavailable';
    return { answer: { status: 502, message }, isLogged: true };
  }
  return {
    answer: { status: 500, message: texts?.own ?? 'internal server error' },
    isLogged: true,
  };
}
