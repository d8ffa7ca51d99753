// The key management service that is one key out of the configuration. Its ciphertexts are those of a
// key service with the same AES256 key, so the key can be imported there and everything stays readable;
// the older JSON form is opened too. Rule kept here: whatever is wrong with a ciphertext, the error is one.

import type { KeyObject } from 'node:crypto';
import { randomBytes } from 'node:crypto';
import { openWith, sealWith } from '../keys/ciphertext.ts';
import { KeyError } from '../keys/key-error.ts';
import type { MasterKey } from '../keys/master-key.ts';
import { zeroKeyTime } from '../keys/master-key.ts';
import { encodeContext } from '../sse/context.ts';
import type { DataKey, Kms, KmsContext, KmsKeyInfo, KmsStatus } from '../sse/kms.ts';
import { KmsError } from '../sse/kms.ts';
import { keyExists, keyNotFound } from './kms-errors.ts';

const dataKeyBytes = 32;
/** iv, nonce and tag: nothing shorter can be authentic. */
const ciphertextBytesMin = 44;

/** A `Kms` around one 32-byte key with one name. Nothing leaves the process. */
export function openStaticKms(config: { readonly keyName: string; readonly key: KeyObject }): Kms {
  return new StaticKms(config.keyName, config.key);
}

class StaticKms implements Kms {
  readonly defaultKeyName: string;
  readonly #masterKey: MasterKey;

  constructor(keyName: string, key: KeyObject) {
    this.defaultKeyName = keyName;
    this.#masterKey = {
      cipher: 'AES256',
      isCipherAssumed: true, // an older ciphertext that names its cipher decides for itself
      secret: key,
      createdAt: zeroKeyTime,
      createdBy: '',
      state: 'enabled',
      later: [],
      revision: 0,
    };
  }

  async generateKey(keyName: string, context: KmsContext): Promise<DataKey> {
    this.#checkName(keyName);
    const plaintext = randomBytes(dataKeyBytes);
    const ciphertext = sealWith(this.#masterKey, plaintext, encodeContext(context));
    return { plaintext, ciphertext, keyName };
  }

  async decrypt(keyName: string, ciphertext: Uint8Array, context: KmsContext): Promise<Uint8Array> {
    this.#checkName(keyName);
    if (ciphertext.length < ciphertextBytesMin) throw invalidCiphertext(keyName);
    try {
      return openWith(this.#masterKey, ciphertext, encodeContext(context));
    } catch (error) {
      if (!(error instanceof KeyError)) throw error;
      throw invalidCiphertext(keyName);
    }
  }

  async createKey(keyName: string): Promise<void> {
    if (keyName === this.defaultKeyName) throw keyExists(keyName);
    const text = 'a static KMS key cannot create keys: configure a key service';
    throw new KmsError('not-supported', text, { keyName });
  }

  async listKeys(prefix: string): Promise<KmsKeyInfo[]> {
    const start = prefix === '*' ? '' : prefix;
    return this.defaultKeyName.startsWith(start) ? [this.#info()] : [];
  }

  async describeKey(keyName: string): Promise<KmsKeyInfo> {
    this.#checkName(keyName);
    return this.#info();
  }

  async status(): Promise<KmsStatus> {
    return {
      name: 'MinIO builtin',
      defaultKeyName: this.defaultKeyName,
      endpoints: { '127.0.0.1': 'online' },
    };
  }

  async close(): Promise<void> {}

  #info(): KmsKeyInfo {
    return { name: this.defaultKeyName, state: 'enabled' };
  }

  #checkName(keyName: string): void {
    if (keyName !== this.defaultKeyName) throw keyNotFound(keyName);
  }
}

function invalidCiphertext(keyName: string): KmsError {
  return new KmsError('invalid-ciphertext', 'failed to decrypt ciphertext', { keyName });
}
