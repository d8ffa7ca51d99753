// The one error of the key service core. Each protocol maps the codes to its own wire form; the texts
// never hold key bytes, plaintext or ciphertext.

export type KeyErrorCode =
  | 'exists'
  | 'not-found'
  | 'disabled'
  | 'scheduled'
  | 'destroyed'
  | 'replaced'
  | 'name-destroyed'
  | 'too-many-versions'
  | 'not-authentic'
  | 'no-hmac-key'
  | 'unknown-cipher'
  | 'invalid-key-size'
  | 'corrupt'
  | 'store-unreachable'
  | 'store-failed';

export class KeyError extends Error {
  readonly code: KeyErrorCode;
  constructor(code: KeyErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'KeyError';
    this.code = code;
  }
}
