// The key service without any protocol: named master keys in a key store, and what can be done with them.
// A disabled key is listed and described, and does nothing else until it is enabled. Names are checked by
// the caller; authorisation has already happened.

import { createHmac, randomBytes } from 'node:crypto';
import type { CachedKey, CachedKeyStore } from './cached-key-store.ts';
import { openWith, sealWith } from './ciphertext.ts';
import { KeyError } from './key-error.ts';
import { isName } from './key-name.ts';
import { KeyStoreError, type KeyStoreErrorCode, type KeyStoreStatus } from './key-store.ts';
import {
  createMasterKey,
  findCipher,
  type KeyCipher,
  type KeyTime,
  keyTimeOf,
  type MasterKey,
} from './master-key.ts';
import { formatStoredKey, parseStoredKey, withDisabled } from './stored-key.ts';

export type KeyInfo = {
  readonly name: string;
  readonly cipher: KeyCipher;
  readonly createdAt: KeyTime;
  readonly createdBy: string;
  readonly isDisabled: boolean;
};

/** `next` is set when there are more names: the last name of this answer, for the next `after`. */
export type KeyListing = {
  readonly names: readonly string[];
  readonly disabled: readonly string[];
  readonly next?: string;
};

const dataKeyBytes = 32;
/** Names in one listing: with their quotes they stay under the mebibyte that clients read. */
const listNamesMax = 10_000;
/** Store reads of one listing that are under way together. */
const listReadsMax = 16;
/** How often a state change is tried again when another program changed the key meanwhile. */
const replaceTriesMax = 5;

/** Every method throws `KeyError`. `nowMs` is the time of day. */
export class KeyService {
  readonly #store: CachedKeyStore;
  readonly #nowMs: () => number;

  constructor(deps: { store: CachedKeyStore; nowMs: () => number }) {
    this.#store = deps.store;
    this.#nowMs = deps.nowMs;
  }

  /** Makes a new AES256 key; throws `exists`. */
  async create(name: string, createdBy: string): Promise<void> {
    const masterKey = createMasterKey({ createdAt: keyTimeOf(this.#nowMs()), createdBy });
    await this.#create(name, masterKey);
  }

  /** Stores the given bytes as a key; throws `unknown-cipher`, `invalid-key-size`, `exists`. */
  async import(
    name: string,
    imported: { readonly cipher: string; readonly bytes: Uint8Array; readonly createdBy: string },
  ): Promise<void> {
    const cipher = findCipher(imported.cipher);
    if (cipher === undefined) throw new KeyError('unknown-cipher', 'the cipher is not supported');
    const { bytes, createdBy } = imported;
    const createdAt = keyTimeOf(this.#nowMs());
    await this.#create(name, createMasterKey({ createdAt, createdBy, cipher, bytes }));
  }

  async describe(name: string): Promise<KeyInfo> {
    const { masterKey } = await this.#load(name);
    const { cipher, createdAt, createdBy, isDisabled } = masterKey;
    return { name, cipher, createdAt, createdBy, isDisabled };
  }

  /** Names that start with `prefix`, after `after`, sorted, with those of them that are disabled. */
  async list(query: { readonly prefix: string; readonly after?: string }): Promise<KeyListing> {
    const names: string[] = [];
    let after = query.after;
    let hasMore = true;
    while (hasMore && names.length < listNamesMax) {
      const from = after === undefined ? {} : { after };
      const page = await fromStore(() => this.#store.list({ prefix: query.prefix, ...from }));
      names.push(...page.names.filter(isName));
      after = page.names.at(-1);
      hasMore = page.hasMore && after !== undefined;
    }
    const disabled = await this.#disabledOf(names);
    return hasMore && after !== undefined ? { names, disabled, next: after } : { names, disabled };
  }

  /** Throws `not-found`. No later call of this process finds the key. */
  async delete(name: string): Promise<void> {
    await fromStore(() => this.#store.delete(name));
  }

  /** A fresh data key, plain and encrypted under the master key. */
  async generate(
    name: string,
    context: Uint8Array,
  ): Promise<{ readonly plaintext: Buffer; readonly ciphertext: Buffer }> {
    const masterKey = await this.#usable(name);
    const plaintext = randomBytes(dataKeyBytes);
    return { plaintext, ciphertext: sealWith(masterKey, plaintext, context) };
  }

  async encrypt(name: string, plaintext: Uint8Array, context: Uint8Array): Promise<Buffer> {
    return sealWith(await this.#usable(name), plaintext, context);
  }

  /** Throws `not-authentic` for anything that this key and context did not seal. */
  async decrypt(name: string, ciphertext: Uint8Array, context: Uint8Array): Promise<Buffer> {
    return openWith(await this.#usable(name), ciphertext, context);
  }

  /** HMAC-SHA-256 under the key's own HMAC key; throws `no-hmac-key`. */
  async hmac(name: string, message: Uint8Array): Promise<Buffer> {
    const { hmacSecret } = await this.#usable(name);
    if (hmacSecret === undefined) throw new KeyError('no-hmac-key', 'the key has no HMAC key');
    return createHmac('sha256', hmacSecret).update(message).digest();
  }

  /** Locks a key: a later use is refused with `disabled`. Durable. Does nothing to a disabled key. */
  async disable(name: string): Promise<void> {
    await this.#setDisabled(name, true);
  }

  /** Undoes `disable`. */
  async enable(name: string): Promise<void> {
    await this.#setDisabled(name, false);
  }

  status(): Promise<KeyStoreStatus> {
    return this.#store.status();
  }

  async #create(name: string, masterKey: MasterKey): Promise<void> {
    await fromStore(() => this.#store.create(name, formatStoredKey(masterKey)));
  }

  #load(name: string): CachedKey | Promise<CachedKey> {
    return this.#store.peek(name) ?? fromStore(async () => this.#store.load(name));
  }

  async #usable(name: string): Promise<MasterKey> {
    const { masterKey } = await this.#load(name);
    if (masterKey.isDisabled) throw new KeyError('disabled', 'the key is disabled');
    return masterKey;
  }

  async #setDisabled(name: string, isDisabled: boolean): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      this.#store.forget(name);
      const { value } = await this.#load(name);
      const changed = withDisabled(value, isDisabled);
      if (changed === value) return;
      try {
        await this.#store.replace(name, { expected: value, value: changed });
        return;
      } catch (error) {
        const isConflict = error instanceof KeyStoreError && error.code === 'conflict';
        if (!isConflict || tries >= replaceTriesMax) throw toKeyError(error);
      }
    }
  }

  async #disabledOf(names: readonly string[]): Promise<string[]> {
    const disabled = new Set<string>();
    let next = 0;
    const work = async () => {
      for (let name = names[next++]; name !== undefined; name = names[next++]) {
        if (await this.#isDisabled(name)) disabled.add(name);
      }
    };
    await Promise.all(Array.from({ length: listReadsMax }, work));
    return names.filter((name) => disabled.has(name));
  }

  /** A key that cannot be read must not keep the others from being listed. */
  async #isDisabled(name: string): Promise<boolean> {
    const cached = this.#store.peek(name);
    if (cached !== undefined) return cached.masterKey.isDisabled;
    try {
      return parseStoredKey(await this.#store.getUncached(name)).isDisabled;
    } catch {
      return false;
    }
  }
}

const codes: Readonly<Record<KeyStoreErrorCode, KeyError['code']>> = {
  exists: 'exists',
  'not-found': 'not-found',
  conflict: 'store-failed',
  'invalid-name': 'store-failed',
  unreachable: 'store-unreachable',
  failed: 'store-failed',
};

function toKeyError(error: unknown): unknown {
  if (!(error instanceof KeyStoreError)) return error;
  return new KeyError(codes[error.code], error.message, { cause: error });
}

async function fromStore<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw toKeyError(error);
  }
}
