// Which key each name had when it was last seen: so that a key store which comes back with another key
// under a name, from an old copy, or without a change it acknowledged, is noticed and refused instead of
// used. What a node knows ends when it sees the key deleted, or when an operator accepts what is there.
//
// Reads overlap with changes: a read that began before something was learnt may still bring what was before,
// and proves nothing. So every read carries the mark of its beginning.

import { KeyError } from './key-error.ts';
import { fingerprintOf, newestVersion, versionsOf } from './master-key.ts';
import type { StoredKey } from './stored-key.ts';

/** What is remembered of one name. */
export type KnownKey = {
  readonly id?: string;
  /** Of the first version. */
  readonly fingerprint: string;
  readonly revision: number;
  /** 0 for a destroyed key. */
  readonly versions: number;
  /** Fingerprint of the newest of them; empty for a destroyed key. */
  readonly newest: string;
};

/** Where known keys outlive the process. */
export interface KnownKeysJournal {
  /** Writes one line durably, soon; `allLines` gives every line when the file is to be written anew. */
  add(line: string, allLines: () => readonly string[]): void;
  /** Resolves when what was added is durable, or could not be made so. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

type Entry = { readonly known: KnownKey; readonly learnedAt: number };

/** Most names that are remembered; the one that was learnt first goes first. */
export const knownKeysMax = 100_000;

/** Remembers in memory, and in a journal if there is one. */
export class KnownKeys {
  readonly #entries = new Map<string, Entry>();
  readonly #journal: KnownKeysJournal | undefined;
  #clock = 0;

  constructor(
    options: {
      readonly known?: Iterable<readonly [string, KnownKey]>;
      readonly journal?: KnownKeysJournal;
    } = {},
  ) {
    for (const [name, known] of options.known ?? []) this.#keep(name, known);
    this.#journal = options.journal;
  }

  /** The mark of a read of the store that begins now. */
  begin(): number {
    return this.#clock;
  }

  /** Whether anything is known of a name. */
  has(name: string): boolean {
    return this.#entries.has(name);
  }

  /**
   * Compares what a read brought with what is known, and remembers it. `outdated`: the read began too early
   * to prove anything; read again. Throws `KeyError` `replaced`.
   */
  check(name: string, stored: StoredKey, mark: number): 'known' | 'outdated' {
    const entry = this.#entries.get(name);
    if (entry === undefined) {
      this.#learn(name, knownOf(stored));
      return 'known';
    }
    const { known } = entry;
    if (isSame(known, stored)) return 'known';
    const now = knownOf(stored);
    if (isSuccessor(known, { stored, now })) {
      this.#learn(name, now);
      return 'known';
    }
    if (mark < entry.learnedAt) return 'outdated';
    throw new KeyError('replaced', describeChange(name, known, now));
  }

  /** A read that began at `mark` found no such key. */
  gone(name: string, mark: number): void {
    const entry = this.#entries.get(name);
    if (entry !== undefined && mark >= entry.learnedAt) this.forget(name);
  }

  /** This node itself wrote `stored` under the name. */
  wrote(name: string, stored: StoredKey): void {
    const known = this.#entries.get(name)?.known;
    const now = knownOf(stored);
    const isOlder = known?.fingerprint === now.fingerprint && known.revision > now.revision;
    if (!isOlder || known.id !== now.id) this.#learn(name, now);
  }

  /** The next key under this name is taken as it is. */
  forget(name: string): void {
    if (!this.#entries.delete(name)) return;
    this.#journal?.add(formatGone(name), () => this.#lines());
  }

  /** Resolves when everything is durable, or could not be made so. */
  async flush(): Promise<void> {
    await this.#journal?.flush();
  }

  async close(): Promise<void> {
    await this.#journal?.close();
  }

  #learn(name: string, known: KnownKey): void {
    this.#keep(name, known);
    this.#journal?.add(formatKnown(name, known), () => this.#lines());
  }

  #keep(name: string, known: KnownKey): void {
    this.#clock += 1;
    this.#entries.delete(name);
    this.#entries.set(name, { known, learnedAt: this.#clock });
    if (this.#entries.size <= knownKeysMax) return;
    for (const first of this.#entries.keys()) {
      this.#entries.delete(first);
      break;
    }
  }

  #lines(): string[] {
    return [...this.#entries].map(([name, { known }]) => formatKnown(name, known));
  }
}

function knownOf(stored: StoredKey): KnownKey {
  const id = stored.id === undefined ? {} : { id: stored.id };
  const { revision } = stored;
  if (stored.state === 'destroyed') {
    return { ...id, fingerprint: stored.fingerprint, revision, versions: 0, newest: '' };
  }
  const fingerprint = fingerprintOf(stored.secret);
  const last = stored.later.at(-1);
  const newest = last === undefined ? fingerprint : fingerprintOf(last.secret);
  return { ...id, fingerprint, revision, versions: newestVersion(stored), newest };
}

/** The usual case: nothing has changed. */
function isSame(known: KnownKey, stored: StoredKey): boolean {
  const now = knownOf(stored);
  return (
    known.id === now.id &&
    known.fingerprint === now.fingerprint &&
    known.revision === now.revision &&
    known.versions === now.versions &&
    known.newest === now.newest
  );
}

/** Whether the stored key can have come from the known one by changes alone. */
function isSuccessor(
  known: KnownKey,
  { stored, now }: { readonly stored: StoredKey; readonly now: KnownKey },
): boolean {
  if (known.fingerprint !== now.fingerprint || known.id !== now.id) return false;
  if (now.revision < known.revision) return false;
  if (stored.state === 'destroyed') return now.revision > known.revision;
  if (known.versions === 0 || now.versions < known.versions) return false;
  if (now.revision === known.revision && now.versions !== known.versions) return false;
  const version = versionsOf(stored)[known.versions - 1];
  return version !== undefined && fingerprintOf(version.secret) === known.newest;
}

function describeChange(name: string, known: KnownKey, now: KnownKey): string {
  const show = ({ fingerprint, id, revision, versions }: KnownKey) =>
    `fingerprint ${fingerprint === '' ? 'unknown' : fingerprint}, id ${id ?? 'none'}, ` +
    `revision ${revision}, ${versions} versions`;
  return `key ${name} is not the one this node knew: it had ${show(known)}; the key store holds ${show(now)}`;
}

function formatKnown(name: string, known: KnownKey): string {
  return JSON.stringify({ name, ...known });
}

function formatGone(name: string): string {
  return JSON.stringify({ name, gone: true });
}
