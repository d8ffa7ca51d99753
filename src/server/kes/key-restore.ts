// Taking keys out of a key store for a backup, and putting them back. Restoring changes nothing until it is
// clear that every key can be put back; each one is read back, and doing it again after an interruption goes
// on where it stopped.

import { type BackupEntry, isStoredKey } from '../../keys/backup/key-backup.ts';
import { isName } from '../../keys/key-name.ts';
import { type KeyStore, KeyStoreError } from '../../keys/key-store.ts';
import { keyTimeMs } from '../../keys/master-key.ts';
import { changeStoredKey, parseStored } from '../../keys/stored-key.ts';

/** `different`: names are taken by other keys. `lost`: a key does not read back as it was written. */
export type KeyRestoreErrorCode = 'different' | 'lost';

export class KeyRestoreError extends Error {
  readonly code: KeyRestoreErrorCode;
  readonly names: readonly string[];
  constructor(code: KeyRestoreErrorCode, message: string, names: readonly string[]) {
    super(message);
    this.name = 'KeyRestoreError';
    this.code = code;
    this.names = names;
  }
}

/** What to do where another key has the name: nothing at all, leave it, or replace it. */
export type RestoreMode = 'refuse' | 'merge' | 'force';

export type RestoreResult = {
  readonly written: readonly string[];
  readonly identical: readonly string[];
  readonly skipped: readonly string[];
  readonly replaced: readonly string[];
  /** Of the written and replaced: disabled, because they were to be destroyed at a time that has passed. */
  readonly disabled: readonly string[];
};

type Step = BackupEntry & { readonly existing?: string; readonly isDisabled?: boolean };

/** Store calls under way together. */
const callsMax = 8;

/**
 * Every key of a store, by name. Keys that are no stored keys (damaged ones) are given to `onDamaged`
 * instead; keys deleted meanwhile are left out. Throws `KeyStoreError`.
 */
export async function* readAllKeys(
  store: KeyStore,
  onDamaged: (name: string) => void,
): AsyncGenerator<BackupEntry> {
  let after: string | undefined;
  for (let hasMore = true; hasMore; ) {
    const page = await store.list({ prefix: '', ...(after !== undefined && { after }) });
    const names = page.names.filter(isName);
    for (let at = 0; at < names.length; at += callsMax) {
      const some = names.slice(at, at + callsMax);
      const values = await Promise.all(some.map((name) => findValue(store, name)));
      for (const [index, value] of values.entries()) {
        const name = some[index] ?? '';
        if (value === undefined) continue;
        if (isStoredKey(value)) yield { name, value };
        else onDamaged(name);
      }
    }
    after = page.names.at(-1);
    hasMore = page.hasMore && after !== undefined;
  }
}

/**
 * Puts keys into a store. In mode `refuse` nothing is written when a name is taken by another key; a
 * destroyed key is never brought back, whatever the mode. One that was to be destroyed at a time before
 * `nowMs` (milliseconds since 1970) comes back disabled: else it would be destroyed at once. Throws
 * `KeyRestoreError`, `KeyStoreError`.
 */
export async function restoreKeys(
  store: KeyStore,
  keys: readonly BackupEntry[],
  mode: RestoreMode,
  nowMs: number,
): Promise<RestoreResult> {
  const steps = await inGroups(keys, async (key) =>
    stepOf(key, await findValue(store, key.name), nowMs),
  );
  const different = steps.filter(({ existing, value }) => (existing ?? value) !== value);
  if (mode !== 'merge') refuseOlder(different);
  refuseDifferent(different, mode);
  const missing = steps.filter(({ existing }) => existing === undefined);
  const changed = mode === 'force' ? different : [];
  await inGroups(missing, ({ name, value }) => createChecked(store, { name, value }));
  await inGroups(changed, async ({ name, value, existing = '' }) => {
    await store.replace(name, { expected: existing, value });
    await readBack(store, { name, value });
  });
  const namesOf = (some: readonly Step[]) => some.map(({ name }) => name);
  return {
    written: namesOf(missing),
    identical: namesOf(steps.filter(({ existing, value }) => existing === value)),
    skipped: mode === 'merge' ? namesOf(different) : [],
    replaced: namesOf(changed),
    disabled: namesOf([...missing, ...changed].filter(({ isDisabled }) => isDisabled === true)),
  };
}

function stepOf(key: BackupEntry, existing: string | undefined, nowMs: number): Step {
  const found = existing === undefined ? {} : { existing };
  const stored = parseStored(key.value);
  if (stored.state !== 'scheduled' || stored.destroyAt === undefined) return { ...key, ...found };
  // A key that is still there as it was saved is none to restore.
  if (keyTimeMs(stored.destroyAt) > nowMs || existing === key.value) return { ...key, ...found };
  const value = changeStoredKey(key.value, { kind: 'disable' });
  return { name: key.name, value, ...found, isDisabled: true };
}

function refuseDifferent(different: readonly Step[], mode: RestoreMode): void {
  const refused =
    mode === 'refuse'
      ? different
      : mode === 'force'
        ? different.filter(({ existing = '' }) => isDestroyed(existing))
        : [];
  if (refused.length === 0) return;
  const names = refused.map(({ name }) => name);
  const shown = names.slice(0, 10).join(', ') + (names.length > 10 ? ', …' : '');
  const text =
    mode === 'force'
      ? `nothing was restored: these keys were destroyed, and their names stay taken in this store: ${shown}: give --merge to restore only what is missing; only another, empty store can have them back`
      : `nothing was restored: the store has other keys under these names: ${shown}: give --merge to leave them, --force to replace them`;
  throw new KeyRestoreError('different', text, names);
}

/** A key never goes back to an older state of itself, nor a live one to what is left of a destroyed one. */
function refuseOlder(different: readonly Step[]): void {
  const names = different
    .filter(({ existing = '', value }) => isNewer(existing, value))
    .map(({ name }) => name);
  if (names.length === 0) return;
  const text = `nothing was restored: the store has these keys in a newer state than the backup: ${names.slice(0, 10).join(', ')}: give --merge to leave them`;
  throw new KeyRestoreError('different', text, names);
}

function isNewer(existing: string, value: string): boolean {
  if (!isStoredKey(existing) || isDestroyed(existing)) return false;
  const [mine, other] = [parseStored(existing), parseStored(value)];
  if (mine.state === 'destroyed' || other.state === 'destroyed') return true;
  if (mine.id !== other.id || !mine.secret.equals(other.secret)) return false;
  return mine.revision > other.revision || mine.later.length > other.later.length;
}

function isDestroyed(value: string): boolean {
  try {
    return parseStored(value).state === 'destroyed';
  } catch {
    return false;
  }
}

/** Another program may have created the name meanwhile: then it must have been the same key. */
async function createChecked(store: KeyStore, entry: BackupEntry): Promise<void> {
  try {
    await store.create(entry.name, entry.value);
  } catch (error) {
    if (!(error instanceof KeyStoreError && error.code === 'exists')) throw error;
  }
  await readBack(store, entry);
}

async function readBack(store: KeyStore, { name, value }: BackupEntry): Promise<void> {
  if ((await store.get(name)) === value) return;
  const text = `key '${name}' does not read back as it was written: check the key store, then restore again`;
  throw new KeyRestoreError('lost', text, [name]);
}

async function findValue(store: KeyStore, name: string): Promise<string | undefined> {
  try {
    return await store.get(name);
  } catch (error) {
    if (error instanceof KeyStoreError && error.code === 'not-found') return undefined;
    throw error;
  }
}

async function inGroups<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let at = 0; at < items.length; at += callsMax) {
    results.push(...(await Promise.all(items.slice(at, at + callsMax).map(work))));
  }
  return results;
}
