// Which key each name had when it was last seen: so that a key store which comes back with another key
// under a name, from an old copy, or without a change it acknowledged, is noticed and refused instead of
// used. What a node knows ends when it deletes the key itself, or when an operator accepts what is there. A
// key that is merely not found stays known: it may come back, but not as it was earlier.
//
// Reads overlap with changes: a read that began before something was learnt may still bring what was before,
// and proves nothing. So every read carries the mark of its beginning.

import { KeyError } from './key-error.ts';
import { fingerprintOf, formatKeyTime, newestVersion, versionsOf } from './master-key.ts';
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
  /** At this revision; absent when it was not remembered. */
  readonly state?: string;
  /** When it is destroyed, while scheduled. */
  readonly destroyAt?: string;
  /** It was not found when it was last looked for. */
  readonly isGone?: true;
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

  /** What is known of a name. */
  find(name: string): KnownKey | undefined {
    return this.#entries.get(name)?.known;
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
    const now = knownOf(stored);
    const isGone = known.isGone === true;
    if (!isGone && isSame(known, now)) return 'known';
    if (mark < entry.learnedAt && (isGone || !isSuccessor(known, { stored, now }))) {
      return 'outdated';
    }
    if (isSuccessor(known, { stored, now }) || (isGone && isAnother(known, now))) {
      this.#learn(name, now);
      return 'known';
    }
    throw new KeyError('replaced', describeChange(name, known, now));
  }

  /**
   * A read that began at `mark` found no such key. Another key may get the name then, unless it is that of
   * a destroyed one; an older state of this key may not.
   */
  gone(name: string, mark: number): void {
    const entry = this.#entries.get(name);
    if (entry === undefined || mark < entry.learnedAt || entry.known.isGone === true) return;
    this.#learn(name, { ...entry.known, isGone: true });
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
  const { state } = stored;
  if (stored.state === 'destroyed') {
    return { ...id, fingerprint: stored.fingerprint, revision, versions: 0, newest: '', state };
  }
  const destroyAt =
    stored.destroyAt === undefined ? {} : { destroyAt: formatKeyTime(stored.destroyAt) };
  const fingerprint = fingerprintOf(stored.secret);
  const last = stored.later.at(-1);
  const newest = last === undefined ? fingerprint : fingerprintOf(last.secret);
  const versions = newestVersion(stored);
  return { ...id, fingerprint, revision, versions, newest, state, ...destroyAt };
}

/** The usual case: nothing has changed. */
function isSame(known: KnownKey, now: KnownKey): boolean {
  return (
    isSameState(known, now) &&
    known.id === now.id &&
    known.fingerprint === now.fingerprint &&
    known.revision === now.revision &&
    known.versions === now.versions &&
    known.newest === now.newest
  );
}

/** Whether a key that was not found for a while may have been deleted, and this one made in its place. */
function isAnother(known: KnownKey, now: KnownKey): boolean {
  if (known.versions === 0) return false;
  if (known.id === undefined || now.id === undefined) return known.fingerprint !== now.fingerprint;
  return known.id !== now.id;
}

function isSameState(known: KnownKey, now: KnownKey): boolean {
  return known.state === now.state && known.destroyAt === now.destroyAt;
}

/** Whether the stored key can have come from the known one by changes alone. */
function isSuccessor(
  known: KnownKey,
  { stored, now }: { readonly stored: StoredKey; readonly now: KnownKey },
): boolean {
  if (known.fingerprint !== now.fingerprint || known.id !== now.id) return false;
  if (now.revision < known.revision) return false;
  const isSameRevision = now.revision === known.revision;
  if (isSameRevision && known.state !== undefined && !isSameState(known, now)) return false;
  if (stored.state === 'destroyed') return !isSameRevision || known.versions === 0;
  if (known.versions === 0 || now.versions < known.versions) return false;
  if (isSameRevision && now.versions !== known.versions) return false;
  const version = versionsOf(stored)[known.versions - 1];
  return version !== undefined && fingerprintOf(version.secret) === known.newest;
}

function describeChange(name: string, known: KnownKey, now: KnownKey): string {
  const show = ({ fingerprint, id, revision, versions, state }: KnownKey) =>
    `fingerprint ${fingerprint === '' ? 'unknown' : fingerprint}, id ${id ?? 'none'}, ` +
    `revision ${revision}, ${versions} versions, state ${state ?? 'unknown'}`;
  return `key ${name} is not the one this node knew: it had ${show(known)}; the key store holds ${show(now)}`;
}

/** The line of the journal. */
export function formatKnown(name: string, known: KnownKey): string {
  return JSON.stringify({ name, ...known });
}

function formatGone(name: string): string {
  return JSON.stringify({ name, gone: true });
}
