// A `Kms` in memory for tests: real ciphertexts of the one format, over master keys that the test
// gives, with a count of calls. Its random values may be fixed, so that known answers come out byte
// for byte.

import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto';
import { encodeContext } from '../../src/sse/context.ts';
import {
  type DataKey,
  type Kms,
  type KmsContext,
  KmsError,
  type KmsKeyInfo,
  type KmsStatus,
} from '../../src/sse/kms.ts';

export type VectorKmsOptions = {
  readonly defaultKeyName: string;
  readonly masterKeys: Readonly<Record<string, Uint8Array>>;
  /** Random unless given. */
  readonly dataKey?: Uint8Array;
  readonly iv?: Uint8Array;
  readonly nonce?: Uint8Array;
};

export type KmsCall = {
  readonly call: 'generate' | 'decrypt';
  readonly keyName: string;
  readonly context: string;
};

export class VectorKms implements Kms {
  readonly defaultKeyName: string;
  readonly calls: KmsCall[] = [];
  /** The data keys given out, to see that they were wiped. */
  readonly given: Uint8Array[] = [];
  /** Thrown by every call while set. */
  failure: KmsError | undefined;
  readonly #options: VectorKmsOptions;

  constructor(options: VectorKmsOptions) {
    this.#options = options;
    this.defaultKeyName = options.defaultKeyName;
  }

  async generateKey(keyName: string, context: KmsContext): Promise<DataKey> {
    const associatedData = this.#record('generate', keyName, context);
    const plaintext = Buffer.from(this.#options.dataKey ?? randomBytes(32));
    const iv = this.#options.iv ?? randomBytes(16);
    const nonce = this.#options.nonce ?? randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', this.#sealingKey(keyName, iv), nonce);
    cipher.setAAD(associatedData);
    const sealed = Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
    this.given.push(plaintext);
    return { plaintext, ciphertext: Buffer.concat([sealed, iv, nonce]), keyName };
  }

  async decrypt(keyName: string, ciphertext: Uint8Array, context: KmsContext): Promise<Uint8Array> {
    const associatedData = this.#record('decrypt', keyName, context);
    const at = ciphertext.length - 28;
    const iv = ciphertext.subarray(at, at + 16);
    const key = this.#sealingKey(keyName, iv);
    const decipher = createDecipheriv('aes-256-gcm', key, ciphertext.subarray(at + 16));
    decipher.setAAD(associatedData);
    decipher.setAuthTag(ciphertext.subarray(at - 16, at));
    const plaintext = decipher.update(ciphertext.subarray(0, at - 16));
    try {
      decipher.final();
    } catch {
      throw new KmsError('invalid-ciphertext', 'decrypt failed', { keyName });
    }
    this.given.push(plaintext);
    return plaintext;
  }

  createKey(): Promise<void> {
    throw new KmsError('not-supported', 'not supported');
  }

  async listKeys(prefix: string): Promise<KmsKeyInfo[]> {
    const names = Object.keys(this.#options.masterKeys).filter((name) => name.startsWith(prefix));
    return names.map((name) => ({ name, state: 'enabled' }));
  }

  async describeKey(keyName: string): Promise<KmsKeyInfo> {
    return { name: keyName, state: 'enabled' };
  }

  async status(): Promise<KmsStatus> {
    return { name: 'MinIO builtin', defaultKeyName: this.defaultKeyName, endpoints: {} };
  }

  async close(): Promise<void> {}

  #record(call: KmsCall['call'], keyName: string, context: KmsContext): Buffer {
    if (this.failure !== undefined) throw this.failure;
    const associatedData = encodeContext(context);
    this.calls.push({ call, keyName, context: associatedData.toString() });
    return associatedData;
  }

  #sealingKey(keyName: string, iv: Uint8Array): Buffer {
    const masterKey = this.#options.masterKeys[keyName];
    if (masterKey === undefined) {
      throw new KmsError('key-not-found', 'key does not exist', { keyName });
    }
    return createHmac('sha256', masterKey).update(iv).digest();
  }
}
