// A key store in front of another: every value is sealed under a data key of its own, and the data key is
// wrapped by a key that never leaves another system. Whoever has only the store has nothing; whoever has
// only the wrapping key neither. The stored text is described in `docs/formats/wrapped-keys.md`:
//
//   coffer-wrapped:v1:<base64url(id of the wrapping key)>:<base64(wrapped data key)>:<base64(nonce, sealed, tag)>
//
// The name of the key is bound twice, in the context of the wrapping key and as associated data, so that a
// value moved to another name does not open there. What is not wrapped is refused: a store that was written
// without a wrapping key is moved by `kes migrate`, never read half and half.

import {
  createCipheriv,
  createDecipheriv,
  createHash,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto';
import {
  type KeyStore,
  type KeyStoreChange,
  KeyStoreError,
  type KeyStorePage,
  type KeyStoreStatus,
} from '../../keys/key-store.ts';
import type { WrappingKey } from './wrapping-key.ts';

const mark = 'coffer-wrapped:';
const prefix = `${mark}v1:`;
const dataKeyBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;
const storedBytesMax = 1_048_576;
/** How long an unwrapped text is used without asking the wrapping key again. */
const rememberedMs = 60_000;
const rememberedMax = 4096;
/** How long one answer of `WrappingKey.check` is used by `status`. */
const checkedMs = 5_000;

/** `now`: milliseconds of a clock that only moves forward. */
export type WrappedDeps = { readonly now?: () => number };

/**
 * Puts `key` in front of `store`; closing the result closes both. Unwrapped texts are remembered for at most
 * a minute, so disabling the wrapping key at its provider takes effect within that time. Values that would
 * be longer than 1 MiB once wrapped (about 780,000 characters) are refused with `failed`.
 */
export function openWrapped(store: KeyStore, key: WrappingKey, deps: WrappedDeps = {}): KeyStore {
  if (!/^[\x21-\x7e]{1,512}$/.test(key.id)) {
    throw new KeyStoreError(
      'failed',
      'the id of the wrapping key must be 1 to 512 printable characters',
    );
  }
  return new WrappedKeyStore(store, key, deps.now ?? (() => performance.now()));
}

type Remembered = { readonly stored: string; readonly value: string; readonly sinceMs: number };

class WrappedKeyStore implements KeyStore {
  readonly #store: KeyStore;
  readonly #key: WrappingKey;
  readonly #now: () => number;
  /** By name, oldest first; each entry counts only for the very text it was opened from. */
  readonly #remembered = new Map<string, Remembered>();
  readonly #opening = new Map<string, Promise<string>>();
  readonly #sweeper: NodeJS.Timeout;
  #checked: { readonly sinceMs: number; readonly result: Promise<KeyStoreStatus> } | undefined;

  constructor(store: KeyStore, key: WrappingKey, now: () => number) {
    this.#store = store;
    this.#key = key;
    this.#now = now;
    this.#sweeper = setInterval(() => this.#forgetOld(), rememberedMs / 4).unref();
  }

  get keepsDeleted(): string | undefined {
    return this.#store.keepsDeleted;
  }

  async create(name: string, value: string): Promise<void> {
    const stored = await sealValue(this.#key, name, value);
    await this.#store.create(name, stored);
    this.#remember(name, stored, value);
  }

  async get(name: string): Promise<string> {
    return this.#open(name, await this.#store.get(name));
  }

  async replace(name: string, change: KeyStoreChange): Promise<void> {
    const current = await this.#store.get(name);
    const value = await this.#open(name, current);
    const isSame = isSameText(value, change.value);
    // Erasing may be repeated after a crash, when the store has the new value already.
    if (change.isErasing === true && isSame) return this.#eraseAgain(name, current);
    if (!isSameText(value, change.expected)) {
      throw new KeyStoreError('conflict', `key ${name} has changed`);
    }
    const stored = isSame ? current : await sealValue(this.#key, name, change.value);
    this.#remembered.delete(name);
    await this.#store.replace(name, { ...change, expected: current, value: stored });
    this.#remember(name, stored, change.value);
  }

  /** Has the store finish its erasing; that `current` was not what it replaced then is no matter. */
  async #eraseAgain(name: string, current: string): Promise<void> {
    try {
      await this.#store.replace(name, { expected: current, value: current, isErasing: true });
    } catch (error) {
      const isConflict = error instanceof KeyStoreError && error.code === 'conflict';
      if (!isConflict || (await this.#store.get(name)) !== current) throw error;
    }
  }

  async delete(name: string, expected?: string): Promise<void> {
    let current: string | undefined;
    if (expected !== undefined) {
      current = await this.#store.get(name);
      if (!isSameText(await this.#open(name, current), expected)) {
        throw new KeyStoreError('conflict', `key ${name} has changed`);
      }
    }
    this.#remembered.delete(name);
    await this.#store.delete(name, current);
  }

  list(query: { readonly prefix: string; readonly after?: string }): Promise<KeyStorePage> {
    return this.#store.list(query);
  }

  async status(): Promise<KeyStoreStatus> {
    const status = await this.#store.status();
    if (status.state !== 'available') return status;
    const checked = await this.#check();
    if (checked.state !== 'available') return checked;
    return { state: 'available', latencyMs: status.latencyMs + checked.latencyMs };
  }

  async close(): Promise<void> {
    clearInterval(this.#sweeper);
    this.#remembered.clear();
    const closed = await Promise.allSettled([this.#store.close(), this.#key.close()]);
    for (const outcome of closed) if (outcome.status === 'rejected') throw outcome.reason;
  }

  #check(): Promise<KeyStoreStatus> {
    const now = this.#now();
    if (!this.#checked || now - this.#checked.sinceMs >= checkedMs) {
      this.#checked = { sinceMs: now, result: checkKey(this.#key) };
    }
    return this.#checked.result;
  }

  /** The text that was sealed; one call to the wrapping key however many ask for the same stored text. */
  #open(name: string, stored: string): Promise<string> {
    this.#forgetOld();
    const known = this.#remembered.get(name);
    if (known?.stored === stored) return Promise.resolve(known.value);
    const flight = `${name}:${stored}`;
    const running = this.#opening.get(flight);
    if (running) return running;
    const opening = openValue(this.#key, name, stored)
      .then((value) => {
        this.#remember(name, stored, value);
        return value;
      })
      .finally(() => this.#opening.delete(flight));
    this.#opening.set(flight, opening);
    return opening;
  }

  #remember(name: string, stored: string, value: string): void {
    this.#remembered.delete(name);
    this.#remembered.set(name, { stored, value, sinceMs: this.#now() });
    const [oldest] = this.#remembered.keys();
    if (this.#remembered.size > rememberedMax && oldest !== undefined)
      this.#remembered.delete(oldest);
  }

  #forgetOld(): void {
    const before = this.#now() - rememberedMs;
    for (const [name, { sinceMs }] of this.#remembered) {
      if (sinceMs > before) break;
      this.#remembered.delete(name);
    }
  }
}

async function checkKey(key: WrappingKey): Promise<KeyStoreStatus> {
  const start = performance.now();
  try {
    await key.check();
    return { state: 'available', latencyMs: Math.max(1, Math.round(performance.now() - start)) };
  } catch (error) {
    if (!(error instanceof KeyStoreError)) throw error;
    const state = error.code === 'unreachable' ? 'unreachable' : 'unavailable';
    return { state, reason: `wrapping key: ${error.message}` };
  }
}

/** What the wrapping key binds: the format and the name of the key. */
function contextOf(name: string): Buffer {
  return Buffer.from(`${prefix}${name}`, 'latin1');
}

async function sealValue(key: WrappingKey, name: string, value: string): Promise<string> {
  const dataKey = randomBytes(dataKeyBytes);
  try {
    const wrapped = await key.wrap(dataKey, contextOf(name));
    const id = Buffer.from(key.id, 'latin1').toString('base64url');
    const head = `${prefix}${id}:${wrapped.toString('base64')}:`;
    const nonce = randomBytes(nonceBytes);
    const cipher = createCipheriv('aes-256-gcm', dataKey, nonce);
    cipher.setAAD(Buffer.from(`${head}${name}`, 'latin1'));
    const sealed = [cipher.update(value, 'utf8'), cipher.final()];
    const body = Buffer.concat([nonce, ...sealed, cipher.getAuthTag()]).toString('base64');
    if (head.length + body.length > storedBytesMax) {
      throw new KeyStoreError('failed', `key ${name} is too long to be wrapped`);
    }
    return head + body;
  } finally {
    dataKey.fill(0);
  }
}

type WrappedText = {
  readonly head: string;
  readonly id: string;
  readonly wrapped: Buffer;
  readonly body: Buffer;
};

const textPattern = /^(coffer-wrapped:v1:([\w-]+):([A-Za-z0-9+/]+={0,2}):)([A-Za-z0-9+/]+={0,2})$/;

function parseText(name: string, stored: string): WrappedText {
  const [, head, id, wrapped, body] = textPattern.exec(stored) ?? [];
  if (head !== undefined && id !== undefined && wrapped !== undefined && body !== undefined) {
    return {
      head,
      id: Buffer.from(id, 'base64url').toString('latin1'),
      wrapped: Buffer.from(wrapped, 'base64'),
      body: Buffer.from(body, 'base64'),
    };
  }
  if (!stored.startsWith(mark)) {
    throw new KeyStoreError(
      'failed',
      `key ${name} is not wrapped, but this configuration has a wrapping key: move the keys with ` +
        '`kes migrate` from a configuration without `wrapping` to one with it',
    );
  }
  const why = stored.startsWith(prefix) ? 'is damaged' : 'was wrapped by a newer release';
  throw new KeyStoreError('failed', `key ${name} ${why}`);
}

async function openValue(key: WrappingKey, name: string, stored: string): Promise<string> {
  const { head, id, wrapped, body } = parseText(name, stored);
  const damaged = (cause?: unknown): KeyStoreError =>
    new KeyStoreError('failed', `key ${name} is damaged or was stored under another name`, {
      cause,
    });
  if (body.length < nonceBytes + tagBytes) throw damaged();
  const dataKey = await key.unwrap(wrapped, contextOf(name), id);
  let opened: Buffer | undefined;
  try {
    if (dataKey.length !== dataKeyBytes) throw damaged();
    const decipher = createDecipheriv('aes-256-gcm', dataKey, body.subarray(0, nonceBytes));
    decipher.setAAD(Buffer.from(`${head}${name}`, 'latin1'));
    decipher.setAuthTag(body.subarray(-tagBytes));
    opened = decipher.update(body.subarray(nonceBytes, -tagBytes));
    decipher.final();
    return opened.toString('utf8');
  } catch (error) {
    throw error instanceof KeyStoreError ? error : damaged(error);
  } finally {
    dataKey.fill(0);
    opened?.fill(0);
  }
}

/** In constant time for texts of one length; key texts do not hide their length. */
function isSameText(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text, 'utf8').digest();
  return timingSafeEqual(digest(a), digest(b));
}
