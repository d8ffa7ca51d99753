// Bucket keys: one data key of the KMS for many SSE-KMS objects of a bucket. They live in the memory of this process
// only, each for a short time and a limited number of new objects, and are wiped when that is over. Who asks gets a
// copy of its own, so that no wiping ever takes a key from under a user. Each use is noted for the audit log of the KMS,
// where that takes notes; a key whose use it refuses is forgotten.

import { createHash } from 'node:crypto';
import { encodeContext, objectContext, sseKmsContext } from './context.ts';
import type { ObjectPlace } from './envelope.ts';
import { type Kms, type KmsContext } from './kms.ts';
import { keySizeBytes } from './object-key.ts';
import { SseError } from './sse-error.ts';
import { UseNotes } from './use-notes.ts';

export type BucketKeysOptions = {
  /** How long a key is used. 0: never a second time. At most five minutes. */
  readonly maxAgeMs?: number;
  /** How many new objects a key is used for. */
  readonly maxUses?: number;
  /** How many keys are kept; the oldest go first. */
  readonly maxKeys?: number;
  readonly now?: () => number;
};

/** A key for one object. The receiver wipes `plaintext`. */
export type BucketKey = {
  readonly plaintext: Buffer;
  readonly sealedDataKey: Uint8Array;
  readonly keyName: string;
};

type Entry = {
  readonly keyName: string;
  readonly made: Promise<BucketKey>;
  readonly untilMs: number;
  uses: number;
  isWiped: boolean;
};

export const bucketKeyAgeMsMax = 300_000;
const maxUsesDefault = 10_000;
const maxKeysDefault = 1000;

/** What a bucket key is bound to: the client's context and the bucket. */
export function bucketKeyContext(bucket: string, context: KmsContext = {}): KmsContext {
  if (Object.hasOwn(context, bucket)) return context;
  return { ...context, ...objectContext(bucket, '') };
}

export class BucketKeys {
  readonly #kms: Kms;
  readonly #options: Required<BucketKeysOptions>;
  /** In the order in which they were made. */
  readonly #entries = new Map<string, Entry>();
  readonly #notes: UseNotes;
  #timer: NodeJS.Timeout | undefined;

  constructor(kms: Kms, options: BucketKeysOptions = {}) {
    this.#kms = kms;
    this.#notes = new UseNotes(kms, (keyName) => this.#forget(keyName));
    this.#options = {
      maxAgeMs: Math.min(options.maxAgeMs ?? bucketKeyAgeMsMax, bucketKeyAgeMsMax),
      maxUses: options.maxUses ?? maxUsesDefault,
      maxKeys: options.maxKeys ?? maxKeysDefault,
      now: options.now ?? Date.now,
    };
  }

  /** A key for a new object. At most one generate call, shared by all who wait. Throws `KmsError`, `SseError`. */
  async forWrite(
    place: ObjectPlace,
    request: { readonly keyName: string; readonly context?: KmsContext },
  ): Promise<BucketKey> {
    const { keyName } = request;
    const context = bucketKeyContext(place.bucket, request.context);
    const id = idOf('write', [Buffer.from(keyName), encodeContext(context)]);
    await this.#note(place, request);
    return this.#use(id, keyName, async () => {
      const dataKey = await this.#kms.generateKey(keyName, context);
      const made = toBucketKey(dataKey.plaintext, dataKey.keyName, dataKey.ciphertext);
      // Who reads what was just written need not ask again.
      const copy = { ...made, plaintext: Buffer.from(made.plaintext) };
      const asRead = readId(made.keyName, context, made.sealedDataKey);
      this.#add(asRead, keyName, () => Promise.resolve(copy));
      return made;
    });
  }

  /** The key of a stored object. At most one decrypt call, shared by all who wait. Throws `KmsError`, `SseError`. */
  async forRead(
    place: ObjectPlace,
    stored: {
      readonly keyName: string;
      readonly sealedDataKey: Uint8Array;
      readonly context?: KmsContext;
    },
  ): Promise<BucketKey> {
    const { keyName, sealedDataKey } = stored;
    const context = bucketKeyContext(place.bucket, stored.context);
    const id = readId(keyName, context, sealedDataKey);
    await this.#note(place, stored);
    return this.#use(id, keyName, async () => {
      const plaintext = await this.#kms.decrypt(keyName, sealedDataKey, context);
      return toBucketKey(plaintext, keyName, sealedDataKey);
    });
  }

  /** Wipes every key; resolves when the last notes are sent, or cannot be. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const id of this.#entries.keys()) this.#drop(id);
    await this.#notes.close();
  }

  /** The call that makes or opens a bucket key names no object, so every use is noted. */
  #note(
    place: ObjectPlace,
    { keyName, context }: { readonly keyName: string; readonly context?: KmsContext },
  ): Promise<void> {
    return this.#notes.add({ keyName, context: sseKmsContext(place, context) });
  }

  #forget(keyName: string): void {
    for (const [id, entry] of this.#entries) if (entry.keyName === keyName) this.#drop(id);
  }

  async #use(id: string, keyName: string, make: () => Promise<BucketKey>): Promise<BucketKey> {
    for (;;) {
      const entry = this.#find(id) ?? this.#add(id, keyName, make);
      entry.uses += 1;
      const made = await entry.made;
      // Wiped while we waited: the copy would be a key of zeros.
      if (!entry.isWiped) return { ...made, plaintext: Buffer.from(made.plaintext) };
    }
  }

  #find(id: string): Entry | undefined {
    const entry = this.#entries.get(id);
    if (!entry) return undefined;
    const { now, maxAgeMs, maxUses } = this.#options;
    const leftMs = entry.untilMs - now();
    // A clock that was set back must not lengthen a key's life.
    if (leftMs > 0 && leftMs <= maxAgeMs && entry.uses < maxUses) return entry;
    this.#drop(id);
    return undefined;
  }

  #add(id: string, keyName: string, make: () => Promise<BucketKey>): Entry {
    const { now, maxAgeMs, maxKeys } = this.#options;
    const made = make();
    const entry: Entry = { keyName, made, untilMs: now() + maxAgeMs, uses: 0, isWiped: false };
    this.#entries.set(id, entry);
    made.catch(() => {
      if (this.#entries.get(id) === entry) this.#entries.delete(id);
    });
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= maxKeys) break;
      this.#drop(oldest);
    }
    this.#wipeLater();
    return entry;
  }

  #drop(id: string): void {
    const entry = this.#entries.get(id);
    if (!entry) return;
    this.#entries.delete(id);
    const wipe = ({ plaintext }: BucketKey): void => {
      entry.isWiped = true;
      plaintext.fill(0);
    };
    entry.made.then(wipe, () => undefined);
  }

  /** Keys that nobody asks for any more are wiped too. */
  #wipeLater(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      for (const id of this.#entries.keys()) this.#find(id);
      if (this.#entries.size > 0) this.#wipeLater();
    }, this.#options.maxAgeMs).unref();
  }
}

function readId(keyName: string, context: KmsContext, sealedDataKey: Uint8Array): string {
  return idOf('read', [Buffer.from(keyName), encodeContext(context), sealedDataKey]);
}

function idOf(use: 'read' | 'write', parts: readonly Uint8Array[]): string {
  const hash = createHash('sha256').update(use);
  for (const part of parts) {
    const size = Buffer.alloc(4);
    size.writeUInt32LE(part.length);
    hash.update(size).update(part);
  }
  return hash.digest('base64');
}

function toBucketKey(plaintext: Uint8Array, keyName: string, sealedDataKey: Uint8Array): BucketKey {
  if (plaintext.length !== keySizeBytes) {
    plaintext.fill(0);
    throw new SseError('invalid-data-key');
  }
  const copy = Buffer.from(plaintext);
  plaintext.fill(0);
  return { plaintext: copy, keyName, sealedDataKey };
}
