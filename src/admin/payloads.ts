// Bodies that carry secrets, sealed under the secret key that signed the request. Opening one takes 64 MiB
// for a moment, so only a few run at once, whoever asks; and it happens only after the caller was proved
// and allowed. Whatever is wrong with a body looks the same from outside.

import { AdminPayloadError, openAdminPayload, sealAdminPayload } from '../aead/admin-payload.ts';
import { AdminError } from './admin-error.ts';

/** Derivations of keys that run at the same time in a process. */
const runningMax = 2;
/** Those that wait for their turn. */
const waitingMax = 64;

/** Opens and seals, a few at a time. Both throw `SlowDown` when too many wait. */
export class AdminPayloads {
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  /** The plaintext of a body. Throws `XMinioAdminConfigBadJSON`. */
  async open(secretKey: string, body: Uint8Array): Promise<Buffer> {
    try {
      return await this.#inTurn(() => openAdminPayload(secretKey, body));
    } catch (error) {
      if (!(error instanceof AdminPayloadError)) throw error;
      throw new AdminError('XMinioAdminConfigBadJSON', undefined, { cause: error });
    }
  }

  async seal(secretKey: string, bytes: Uint8Array): Promise<Buffer> {
    return this.#inTurn(() => sealAdminPayload(secretKey, bytes));
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running >= runningMax) {
      if (this.#waiting.length >= waitingMax) throw new AdminError('SlowDown');
      // Whoever ends passes its place on, so `#running` stays as it is.
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else {
      this.#running += 1;
    }
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#running -= 1;
    }
  }
}
