// A `Kv` whose values are sealed under the backend key, whatever the engine below: names and sizes stay
// visible, contents do not, and no value can be changed, or moved to another entry, without being refused.
//
//   01 | salt (16) | nonce (12) | ciphertext | tag (16)
//
// AES-256-GCM, associated data = the entry key. The key of a value is HMAC-SHA256(backend key, "coffer kv" ||
// salt). The salt is random for each opened store and the nonce counts, so no nonce repeats under a key, however
// many processes write and however long the backend key lives. Plain values (format.ts) are never accepted.

import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import {
  type EntryVersion,
  type Kv,
  type KvCommit,
  type KvEntry,
  KvError,
  type KvPut,
  type KvRange,
} from '../kv.ts';

/** First byte of a sealed value. */
export const sealedMark = 0x01;

const saltBytes = 16;
const nonceBytes = 12;
const tagBytes = 16;
const headBytes = 1 + saltBytes + nonceBytes;
/** What sealing adds to a value. */
export const sealedOverheadBytes = headBytes + tagBytes;
/** Values sealed under one salt; then a fresh one is taken. */
const valuesPerSaltMax = 2 ** 32;
/** Keys of other processes' salts kept at hand. */
const keysMax = 512;

/** Seals and opens single values. `seal` is given out separately for the migration. */
export class ValueSealer {
  readonly #backendKey: KeyObject;
  readonly #keys = new Map<string, KeyObject>();
  #salt: Buffer = Buffer.alloc(0);
  #key: KeyObject;
  #count = 0;

  /** Keeps its own copy of the 32 bytes. */
  constructor(backendKey: Uint8Array) {
    this.#backendKey = createSecretKey(backendKey);
    this.#key = this.#takeSalt();
  }

  seal(entryKey: Uint8Array, value: Uint8Array): Buffer {
    if (this.#count >= valuesPerSaltMax) this.#key = this.#takeSalt();
    const sealed = Buffer.allocUnsafe(sealedOverheadBytes + value.length);
    sealed[0] = sealedMark;
    this.#salt.copy(sealed, 1);
    sealed.fill(0, 1 + saltBytes, headBytes - 6);
    sealed.writeUIntBE(this.#count, headBytes - 6, 6);
    this.#count += 1;
    const nonce = sealed.subarray(1 + saltBytes, headBytes);
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonce);
    cipher.setAAD(entryKey);
    const written = cipher.update(value).copy(sealed, headBytes);
    cipher.final();
    cipher.getAuthTag().copy(sealed, headBytes + written);
    return sealed;
  }

  /** Throws `KvError` `corrupt`, whatever is wrong. */
  open(entryKey: Uint8Array, sealed: Uint8Array): Buffer {
    if (sealed.length < sealedOverheadBytes || sealed[0] !== sealedMark) throw notOpening();
    const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.length);
    const key = this.#keyOf(bytes.subarray(1, 1 + saltBytes));
    const nonce = bytes.subarray(1 + saltBytes, headBytes);
    const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: tagBytes });
    decipher.setAAD(entryKey);
    decipher.setAuthTag(bytes.subarray(bytes.length - tagBytes));
    const value = decipher.update(bytes.subarray(headBytes, bytes.length - tagBytes));
    try {
      decipher.final();
    } catch {
      throw notOpening();
    }
    return value;
  }

  #takeSalt(): KeyObject {
    this.#salt = randomBytes(saltBytes);
    this.#count = 0;
    return this.#derive(this.#salt);
  }

  #keyOf(salt: Buffer): KeyObject {
    const name = salt.toString('latin1');
    const known = this.#keys.get(name);
    if (known) return known;
    const key = this.#derive(salt);
    const oldest = this.#keys.size >= keysMax ? this.#keys.keys().next().value : undefined;
    if (oldest !== undefined) this.#keys.delete(oldest);
    this.#keys.set(name, key);
    return key;
  }

  #derive(salt: Buffer): KeyObject {
    const bytes = createHmac('sha256', this.#backendKey).update('coffer kv').update(salt).digest();
    const key = createSecretKey(bytes);
    bytes.fill(0);
    return key;
  }
}

/** Small values that were opened lately are kept, to be given out again while their entry has not changed. */
const openedMax = 2048;
const openedBytesMax = 1024;

/** Seals every value of `kv`. Closing it closes `kv`. */
export class SealedKv implements Kv {
  readonly #kv: Kv;
  readonly #sealer: ValueSealer;
  /** By entry key, oldest first. What a version holds never changes, so nothing here can be out of date. */
  readonly #opened = new Map<string, { readonly version: EntryVersion; readonly value: Buffer }>();

  constructor(kv: Kv, sealer: ValueSealer) {
    this.#kv = kv;
    this.#sealer = sealer;
  }

  async get(entryKey: Uint8Array): Promise<KvEntry | undefined> {
    const entry = await this.#kv.get(entryKey);
    if (!entry || entry.value.length > openedBytesMax) return entry && this.#open(entry);
    const name = Buffer.from(entryKey).toString('latin1');
    const known = this.#opened.get(name);
    if (known?.version === entry.version) {
      return { entryKey, version: entry.version, value: Buffer.from(known.value) };
    }
    const opened = this.#open(entry);
    this.#remember(name, { version: entry.version, value: Buffer.from(opened.value) });
    return opened;
  }

  async getMany(entryKeys: readonly Uint8Array[]): Promise<(KvEntry | undefined)[]> {
    const entries = await this.#kv.getMany(entryKeys);
    return entries.map((entry) => entry && this.#open(entry));
  }

  async list(range: KvRange): Promise<KvEntry[]> {
    const entries = await this.#kv.list(range);
    return entries.map((entry) => this.#open(entry));
  }

  async commit(commit: KvCommit): Promise<'committed' | 'conflict'> {
    if (!commit.puts) return this.#kv.commit(commit);
    return this.#kv.commit({ ...commit, puts: commit.puts.map((put) => this.#seal(put)) });
  }

  close(): Promise<void> {
    return this.#kv.close();
  }

  #remember(name: string, opened: { version: EntryVersion; value: Buffer }): void {
    this.#opened.delete(name);
    const oldest = this.#opened.size >= openedMax ? this.#opened.keys().next().value : undefined;
    if (oldest !== undefined) this.#opened.delete(oldest);
    this.#opened.set(name, opened);
  }

  #seal({ entryKey, value }: KvPut): KvPut {
    return { entryKey, value: this.#sealer.seal(entryKey, value) };
  }

  #open({ entryKey, value, version }: KvEntry): KvEntry {
    return { entryKey, value: this.#sealer.open(entryKey, value), version };
  }
}

function notOpening(): KvError {
  return new KvError(
    'corrupt',
    'an entry of the metadata is damaged, was modified, or is not sealed',
  );
}
