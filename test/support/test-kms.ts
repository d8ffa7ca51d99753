// A small KMS for tests of the store: master keys in memory, AES-256-GCM with the context as associated data,
// and a count of calls. Not a product: `src/kms` holds those.

import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { encodeContext } from '../../src/sse/context.ts';
import { type Kms, type KmsContext, KmsError } from '../../src/sse/kms.ts';

export type TestKms = Kms & {
  readonly calls: { generate: number; decrypt: number };
  /** While set, every call fails with it. */
  failure: KmsError | undefined;
  /** Keys by name; deleting one destroys it. */
  readonly keys: Map<string, Buffer>;
  defaultKeyName: string;
};

/** Opens a KMS with one key. */
export function openTestKms(defaultKeyName = 'test-key'): TestKms {
  const keys = new Map([[defaultKeyName, randomBytes(32)]]);
  const calls = { generate: 0, decrypt: 0 };
  const keyOf = (name: string): Buffer => {
    if (kms.failure) throw kms.failure;
    const key = keys.get(name);
    if (!key) throw new KmsError('key-not-found', `no key ${name}`, { keyName: name });
    return key;
  };
  const kms: TestKms = {
    calls,
    failure: undefined,
    keys,
    defaultKeyName,
    async generateKey(keyName, context) {
      calls.generate += 1;
      const plaintext = randomBytes(32);
      return { plaintext, ciphertext: seal(keyOf(keyName), plaintext, context), keyName };
    },
    async decrypt(keyName, ciphertext, context) {
      calls.decrypt += 1;
      return open(keyOf(keyName), ciphertext, context);
    },
    async createKey(keyName) {
      keys.set(keyName, randomBytes(32));
    },
    async listKeys() {
      return [...keys.keys()].map((name) => ({ name, state: 'enabled' as const }));
    },
    async describeKey(name) {
      keyOf(name);
      return { name, state: 'enabled' as const };
    },
    async status() {
      return { name: 'test', defaultKeyName: kms.defaultKeyName, endpoints: {} };
    },
    async close() {},
  };
  return kms;
}

function seal(key: Buffer, plaintext: Buffer, context: KmsContext): Buffer {
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(encodeContext(context));
  const sealed = [cipher.update(plaintext), cipher.final()];
  return Buffer.concat([randomBytes(16), nonce, ...sealed, cipher.getAuthTag()]);
}

function open(key: Buffer, ciphertext: Uint8Array, context: KmsContext): Buffer {
  try {
    const bytes = Buffer.from(ciphertext);
    const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(16, 28));
    decipher.setAAD(encodeContext(context)).setAuthTag(bytes.subarray(-16));
    return Buffer.concat([decipher.update(bytes.subarray(28, -16)), decipher.final()]);
  } catch (cause) {
    throw new KmsError('invalid-ciphertext', 'the ciphertext does not open', { cause });
  }
}
