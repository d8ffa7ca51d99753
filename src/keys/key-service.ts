// The key service without any protocol: named master keys in a key store, and what can be done with them.
// A key that is disabled or scheduled for destruction is listed and described, and does nothing else until
// that is undone; a destroyed key keeps its name and nothing else. Names are checked by the caller;
// authorisation has already happened.

import { createHmac, randomBytes } from 'node:crypto';
import { type Log, silentLog } from '../base/log.ts';
import type { CachedKey, CachedKeyStore } from './cached-key-store.ts';
import { CalmClock } from './calm-clock.ts';
import { openWith, sealWith, versionOf } from './ciphertext.ts';
import { DueKeys } from './due-keys.ts';
import { fromStore, KeyChanges } from './key-changes.ts';
import { KeyError } from './key-error.ts';
import { KeyLister, type KeyListing } from './key-listing.ts';
import { scheduleOf } from './key-states.ts';
import type { KeyStoreStatus } from './key-store.ts';
import type { KnownKey } from './known-keys.ts';
import {
  createKeyVersion,
  createMasterKey,
  findCipher,
  fingerprintOf,
  type KeyCipher,
  type KeyState,
  type KeyTime,
  keyTimeMs,
  keyTimeOf,
  keyVersionsMax,
  type MasterKey,
  newestVersion,
  versionsOf,
} from './master-key.ts';
import {
  buryStoredKey,
  changeStoredKey,
  formatStoredKey,
  parseStored,
  type StoredKey,
} from './stored-key.ts';

export type { KeyListing } from './key-listing.ts';

export type KeyVersionInfo = {
  readonly version: number;
  readonly fingerprint: string;
  readonly createdAt: KeyTime;
  readonly createdBy: string;
};

export type KeyInfo = {
  readonly name: string;
  readonly state: KeyState | 'destroyed';
  readonly createdAt: KeyTime;
  readonly createdBy: string;
  readonly id?: string;
  readonly fingerprint: string;
  /** Absent for a destroyed key. */
  readonly cipher?: KeyCipher;
  /** The newest version; absent for a destroyed key. */
  readonly version?: number;
  /** All of them, oldest first; none for a destroyed key. */
  readonly versions: readonly KeyVersionInfo[];
  /** When a scheduled key is destroyed, or when a destroyed one was. */
  readonly destroyAt?: KeyTime;
};

export type Destruction = {
  readonly state: 'scheduled' | 'destroyed';
  readonly destroyAt: KeyTime;
  /** What the provider of the key store keeps of a destroyed key nevertheless. */
  readonly note?: string;
};

export type KeyServiceDeps = {
  readonly store: CachedKeyStore;
  /** The time of day, milliseconds since 1970. */
  readonly nowMs: () => number;
  /** Counts milliseconds and never goes back; `performance.now` when absent. */
  readonly now?: () => number;
  /** Called after each durable change this node made. Must not throw. */
  readonly onChange?: (name: string) => void;
  /** Decides what is due; one of its own when absent. */
  readonly due?: DueKeys;
  readonly log?: Log;
};

const dataKeyBytes = 32;
const byService = 'coffer: waiting time is over';

/** Every method throws `KeyError`. */
export class KeyService {
  readonly #store: CachedKeyStore;
  readonly #nowMs: () => number;
  /** Decides what is due: a clock that was set wrong must not destroy keys. */
  readonly #due: DueKeys;
  readonly #log: Log;
  readonly #changes: KeyChanges;
  readonly #lister: KeyLister;
  /** Due keys that are being destroyed now. */
  readonly #destroying = new Set<string>();
  /** Destroyed keys whose erasing this process has seen to its end. */
  readonly #erased = new Set<string>();
  /** The search for due keys that is under way. */
  #search: Promise<void> | undefined;

  constructor(deps: KeyServiceDeps) {
    this.#store = deps.store;
    this.#nowMs = deps.nowMs;
    this.#log = deps.log ?? silentLog;
    const { store, nowMs, onChange = () => {}, now = () => performance.now() } = deps;
    this.#due = deps.due ?? new DueKeys({ clock: new CalmClock({ nowMs, now }), now });
    this.#changes = new KeyChanges({ store, onChange });
    this.#lister = new KeyLister({ store, now });
  }

  /** Makes a new AES256 key; throws `exists`, `name-destroyed`. */
  async create(name: string, createdBy: string): Promise<void> {
    const masterKey = createMasterKey({ createdAt: keyTimeOf(this.#nowMs()), createdBy });
    await this.#create(name, masterKey);
  }

  /** Stores the given bytes as a key; throws `unknown-cipher`, `invalid-key-size`, and as `create`. */
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

  /** Works in every state. */
  async describe(name: string): Promise<KeyInfo> {
    const { key } = await this.#load(name);
    return infoOf(name, key);
  }

  /** Names that start with `prefix`, after `after`, sorted, with those in each state, as of a minute ago or less. */
  list(query: { readonly prefix: string; readonly after?: string }): Promise<KeyListing> {
    return this.#lister.list(query);
  }

  /**
   * Throws `not-found`, `replaced`, and `destroyed` for a destroyed key, whose name stays taken. No later
   * call of this process finds the key.
   */
  async delete(name: string): Promise<void> {
    await this.#changes.delete(name, (value, mark) => this.#checkDeletable(name, { value, mark }));
    this.#due.forget(name);
  }

  /** A fresh data key, plain (the caller wipes it) and encrypted under the newest version. */
  async generate(
    name: string,
    context: Uint8Array,
  ): Promise<{ readonly plaintext: Buffer; readonly ciphertext: Buffer }> {
    const masterKey = await this.#usable(name);
    const plaintext = randomBytes(dataKeyBytes);
    try {
      return { plaintext, ciphertext: sealWith(masterKey, plaintext, context) };
    } catch (error) {
      plaintext.fill(0);
      throw error;
    }
  }

  /** Throws as every use of a key that cannot be used would. */
  async assertUsable(name: string): Promise<void> {
    await this.#usable(name);
  }

  async encrypt(name: string, plaintext: Uint8Array, context: Uint8Array): Promise<Buffer> {
    return sealWith(await this.#usable(name), plaintext, context);
  }

  /** Throws `not-authentic` for anything that this key and context did not seal. The caller wipes the result. */
  async decrypt(name: string, ciphertext: Uint8Array, context: Uint8Array): Promise<Buffer> {
    return openWith(await this.#usableFor(name, ciphertext), ciphertext, context);
  }

  /** HMAC-SHA-256 under the key's own HMAC key, which rotation leaves as it is; throws `no-hmac-key`. */
  async hmac(name: string, message: Uint8Array): Promise<Buffer> {
    const { hmacSecret } = await this.#usable(name);
    if (hmacSecret === undefined) throw new KeyError('no-hmac-key', 'the key has no HMAC key');
    return createHmac('sha256', hmacSecret).update(message).digest();
  }

  /** Seals a ciphertext of any version and form under the newest version, without showing the plaintext. */
  async rewrap(
    name: string,
    ciphertext: Uint8Array,
    context: Uint8Array,
  ): Promise<{ readonly ciphertext: Buffer; readonly version: number }> {
    const masterKey = await this.#usableFor(name, ciphertext);
    const plaintext = openWith(masterKey, ciphertext, context);
    try {
      const sealed = sealWith(masterKey, plaintext, context);
      return { ciphertext: sealed, version: newestVersion(masterKey) };
    } finally {
      plaintext.fill(0);
    }
  }

  /** Adds a version, which new ciphertexts are sealed under; gives its number. Throws `too-many-versions`. */
  async rotate(name: string, createdBy: string): Promise<number> {
    let number = 0;
    await this.#changes.change(name, ({ value, key }) => {
      const masterKey = usable(key);
      const version = createKeyVersion(masterKey, {
        createdAt: keyTimeOf(this.#nowMs()),
        createdBy,
      });
      number = version.version;
      return { value: changeStoredKey(value, { kind: 'rotate', version }) };
    });
    return number;
  }

  /** Locks a key: a later use is refused with `disabled`. Durable. Does nothing to a disabled key. */
  async disable(name: string): Promise<void> {
    await this.#changeState(name, 'disable');
  }

  /** Undoes `disable`. */
  async enable(name: string): Promise<void> {
    await this.#changeState(name, 'enable');
  }

  /**
   * Has a key destroyed after a waiting time, during which every use is refused; 0 destroys it now. Asked
   * again it changes the time. For a destroyed key it only makes sure that nothing of it is left.
   */
  async scheduleDestruction(
    name: string,
    options: { readonly afterMs: number; readonly by: string },
  ): Promise<Destruction> {
    if (options.afterMs <= 0) return this.#destroy(name, { by: options.by });
    let destroyAt = keyTimeOf(0);
    await this.#changes.change(name, ({ value, key }) => {
      if (key.state === 'destroyed' || this.#isDue(name, key)) throw destroyedError();
      // A clock that is far behind must not shorten the wait.
      const fromMs = Math.max(this.#nowMs(), newestTimeMs(key));
      destroyAt = keyTimeOf(fromMs + options.afterMs);
      const scheduledAt = keyTimeOf(fromMs);
      return { value: changeStoredKey(value, { kind: 'schedule', destroyAt, scheduledAt }) };
    });
    return { state: 'scheduled', destroyAt };
  }

  /** Calls off a destruction: the key is disabled then. Does nothing to a key that is not scheduled. */
  async cancelDestruction(name: string): Promise<void> {
    await this.#changes.change(name, ({ value, key }) => {
      if (key.state === 'destroyed') throw destroyedError();
      if (key.state !== 'scheduled') return undefined;
      if (this.#isDue(name, key)) {
        this.#destroySoon(name);
        throw destroyedError();
      }
      return { value: changeStoredKey(value, { kind: 'disable' }) };
    });
    this.#due.forget(name);
  }

  /**
   * Destroys every key whose waiting time is over, and sees to its end what a crash interrupted; to be called
   * every minute or so. A key that cannot be destroyed is logged and tried again the next time.
   */
  async destroyDue(): Promise<void> {
    this.#due.tick();
    this.#search ??= this.#lister
      .forEach(async (name, { state, schedule }) => {
        const isDue = schedule !== undefined && this.#due.isDue(name, schedule);
        const isUnfinished = state === 'destroyed' && !this.#erased.has(name);
        if (isDue || isUnfinished) await this.#destroyLogged(name);
      })
      .finally(() => {
        this.#search = undefined;
      });
    await this.#search;
  }

  /**
   * Takes what the store now holds under a name as right: the key that is there, after `replaced`, or that
   * there is none any more. Throws `not-found` when none was known either, and `corrupt`.
   */
  async accept(name: string): Promise<void> {
    const { known } = this.#store;
    let stored: StoredKey | undefined;
    try {
      stored = parseStored(await fromStore(() => this.#store.getUncached(name)));
    } catch (error) {
      const isLost = error instanceof KeyError && error.code === 'not-found' && known.has(name);
      if (!isLost) throw error;
    }
    known.forget(name);
    if (stored !== undefined) known.wrote(name, stored);
    this.#store.forget(name);
    await known.flush();
  }

  /** Another node changed the key: what is cached is not used again. */
  changedElsewhere(name: string): void {
    this.#store.forget(name);
    // Reading it now is how this node sees that a key was deleted before another gets its name.
    if (this.#store.known.has(name)) void this.#load(name).then(undefined, () => undefined);
  }

  /** Until when keys stay usable without the store, milliseconds since 1970; undefined while it answers. */
  offlineUntil(): number | undefined {
    const leftMs = this.#store.offlineLeftMs();
    return leftMs === undefined ? undefined : this.#nowMs() + leftMs;
  }

  /** The id of a key that was just used; undefined when it has none or is not at hand. */
  cachedId(name: string): string | undefined {
    return this.#store.peek(name)?.key.id;
  }

  status(): Promise<KeyStoreStatus> {
    return this.#store.status();
  }

  async #create(name: string, masterKey: MasterKey): Promise<void> {
    const known = this.#store.known.find(name);
    if (known?.versions === 0) {
      throw new KeyError('name-destroyed', 'the name belongs to a destroyed key');
    }
    try {
      await this.#changes.create(name, formatStoredKey(masterKey));
      this.#erased.delete(name);
      if (known !== undefined) this.#log.error(describeLost(name, known));
    } catch (error) {
      const isTaken = error instanceof KeyError && error.code === 'exists';
      if (isTaken && (await this.#isDestroyed(name))) {
        throw new KeyError('name-destroyed', 'the name belongs to a destroyed key', {
          cause: error,
        });
      }
      throw error;
    }
  }

  async #isDestroyed(name: string): Promise<boolean> {
    try {
      return parseStored(await this.#store.getUncached(name)).state === 'destroyed';
    } catch {
      return false;
    }
  }

  /** A damaged key can be deleted. */
  #checkDeletable(name: string, read: { readonly value: string; readonly mark: number }): void {
    let key: StoredKey;
    try {
      key = parseStored(read.value);
    } catch {
      return;
    }
    if (key.state === 'destroyed') throw destroyedError();
    this.#store.known.check(name, key, read.mark);
  }

  async #load(name: string): Promise<CachedKey> {
    const cached = this.#store.peek(name) ?? (await fromStore(async () => this.#store.load(name)));
    if (this.#isDue(name, cached.key)) this.#destroySoon(name);
    return cached;
  }

  async #usable(name: string): Promise<MasterKey> {
    return usable((await this.#load(name)).key);
  }

  /** The key, read again when the ciphertext names a version that another node may just have made. */
  async #usableFor(name: string, ciphertext: Uint8Array): Promise<MasterKey> {
    const masterKey = await this.#usable(name);
    const version = versionOf(ciphertext);
    if (version <= newestVersion(masterKey) || version > keyVersionsMax) return masterKey;
    return usable((await fromStore(() => this.#store.look(name))).key);
  }

  async #changeState(name: string, kind: 'enable' | 'disable'): Promise<void> {
    await this.#changes.change(name, ({ value, key }) => {
      if (key.state === 'destroyed' || key.state === 'scheduled') usable(key);
      const changed = changeStoredKey(value, { kind });
      return changed === value ? undefined : { value: changed };
    });
  }

  #isDue(name: string, key: StoredKey): boolean {
    const schedule = scheduleOf(key);
    return schedule !== undefined && this.#due.isDue(name, schedule);
  }

  /** Destroys a key now; with `isDueOnly` only if its time has come. */
  async #destroy(
    name: string,
    options: { readonly by: string; readonly isDueOnly?: boolean },
  ): Promise<Destruction> {
    const destroyedAt = keyTimeOf(this.#nowMs());
    const value = await this.#changes.change(name, (current) => {
      const { key } = current;
      if (key.state === 'destroyed') {
        // The erasing may have been interrupted after the tombstone was written.
        return this.#erased.has(name) ? undefined : { value: current.value, isErasing: true };
      }
      if (options.isDueOnly === true && !this.#isDue(name, key)) return undefined;
      const buried = buryStoredKey(current.value, { destroyedAt, destroyedBy: options.by });
      return { value: buried, isErasing: true };
    });
    const stored = parseStored(value);
    if (stored.state !== 'destroyed') return { state: 'scheduled', destroyAt: destroyedAt };
    this.#erased.add(name);
    this.#due.forget(name);
    const note = this.#store.keepsDeleted;
    return {
      state: 'destroyed',
      destroyAt: stored.destroyedAt,
      ...(note === undefined ? {} : { note }),
    };
  }

  #destroySoon(name: string): void {
    void this.#destroyLogged(name);
  }

  async #destroyLogged(name: string): Promise<void> {
    if (this.#destroying.has(name)) return;
    this.#destroying.add(name);
    try {
      await this.#destroy(name, { by: byService, isDueOnly: true });
    } catch (error) {
      const text = (error as Error).message;
      this.#log.error('cannot destroy a key whose time has come', { key: name, error: text });
    } finally {
      this.#destroying.delete(name);
    }
  }
}

function describeLost(name: string, lost: KnownKey): string {
  return (
    `key ${name} was created anew although this node knows another of that name, ` +
    `fingerprint ${lost.fingerprint}: unless that was deleted on another node, the key store lost it`
  );
}

/** When the key or its newest version was made, milliseconds since 1970. */
function newestTimeMs(key: MasterKey): number {
  return Math.max(...versionsOf(key).map(({ createdAt }) => keyTimeMs(createdAt)));
}

function destroyedError(): KeyError {
  return new KeyError('destroyed', 'the key is destroyed');
}

/** The key if it may be used; throws `disabled`, `scheduled`, `destroyed`. */
function usable(key: StoredKey): MasterKey {
  switch (key.state) {
    case 'enabled':
      return key;
    case 'disabled':
      throw new KeyError('disabled', 'the key is disabled');
    case 'scheduled':
      throw new KeyError('scheduled', 'the key is scheduled for destruction');
    case 'destroyed':
      throw destroyedError();
    default:
      return key satisfies never;
  }
}

function infoOf(name: string, key: StoredKey): KeyInfo {
  const { state, createdAt, createdBy } = key;
  const common = {
    name,
    state,
    createdAt,
    createdBy,
    ...(key.id === undefined ? {} : { id: key.id }),
  };
  if (key.state === 'destroyed') {
    return { ...common, fingerprint: key.fingerprint, versions: [], destroyAt: key.destroyedAt };
  }
  const versions = versionsOf(key).map((version) => ({
    version: version.version,
    fingerprint: fingerprintOf(version.secret),
    createdAt: version.createdAt,
    createdBy: version.createdBy,
  }));
  return {
    ...common,
    fingerprint: fingerprintOf(key.secret),
    cipher: key.cipher,
    version: newestVersion(key),
    versions,
    ...(key.destroyAt === undefined ? {} : { destroyAt: key.destroyAt }),
  };
}
