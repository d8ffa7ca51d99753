// Vault's transit engine as a wrapping around every value: encrypted before it is written, decrypted after
// it was read, under a key that stays in Vault. Any version of that key counts, so it can be rotated.

import { KeyStoreError } from '../../keys/key-store.ts';
import { dataOf, refusal, vaultPath } from './answers.ts';
import type { VaultClient } from './client.ts';

export type VaultTransit = { readonly engine: string; readonly key: string };

const cipherShape = /^vault:v[1-9][0-9]*:/;

/** `transit` undefined: values are written as they are, and an encrypted one is an error. */
export class TransitWrapping {
  readonly #client: VaultClient;
  readonly #transit: VaultTransit | undefined;

  constructor(client: VaultClient, transit: VaultTransit | undefined) {
    this.#client = client;
    this.#transit = transit;
  }

  async wrap(value: string): Promise<string> {
    if (this.#transit === undefined) return value;
    const plaintext = Buffer.from(value).toString('base64');
    const text = await this.#call('encrypt', { plaintext }, 'ciphertext');
    if (!cipherShape.test(text)) {
      throw new KeyStoreError('failed', 'vault: transit encrypt: its answer is no ciphertext');
    }
    return text;
  }

  async unwrap(text: string): Promise<string> {
    if (!cipherShape.test(text)) return text;
    if (this.#transit === undefined) {
      throw new KeyStoreError(
        'failed',
        'vault: the value is encrypted by the transit engine: configure vault.transit with its key',
      );
    }
    const plaintext = await this.#call('decrypt', { ciphertext: text }, 'plaintext');
    return Buffer.from(plaintext, 'base64').toString('utf8');
  }

  async #call(action: 'encrypt' | 'decrypt', json: object, member: string): Promise<string> {
    const { engine, key } = this.#transit ?? { engine: '', key: '' };
    const answer = await this.#client.call({
      method: 'POST',
      path: vaultPath(engine, action, key),
      json,
      isRepeatable: true,
      answerBytesMax: 4 * 1024 * 1024,
    });
    if (answer.status !== 200) throw refusal(`transit ${action} with key ${key}`, answer);
    const text = dataOf(`transit ${action}`, answer)[member];
    if (typeof text !== 'string') {
      throw new KeyStoreError('failed', `vault: transit ${action}: its answer holds no ${member}`);
    }
    return text;
  }
}
