// A key of another system that never leaves it (a cloud KMS, a token) and under which stored keys are
// wrapped. `wrapped.ts` puts it in front of any key store.

/**
 * `wrap` and `unwrap` take up to 64 bytes: a fresh data key, never a stored key itself. `context` is bound:
 * what was wrapped with another one is refused. Both throw `KeyStoreError`: `unreachable` when the system did
 * not answer, `failed` otherwise (disabled key, no permission, not authentic).
 */
export interface WrappingKey {
  /** Names system and key, for example `aws-kms:alias/coffer`; `[\x21-\x7e]`, at most 512, stored beside what is wrapped. */
  readonly id: string;
  wrap(plaintext: Uint8Array, context: Uint8Array): Promise<Buffer>;
  /** `id` is the one stored beside `wrapped`: an older key of the same system may be asked for. */
  unwrap(wrapped: Uint8Array, context: Uint8Array, id: string): Promise<Buffer>;
  /** Resolves when the key can be used. */
  check(): Promise<void>;
  close(): Promise<void>;
}
