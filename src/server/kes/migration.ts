// Copies keys from one key store to another, as they are: what a key store holds for a name is one text,
// with every version, state and tombstone in it. Rules kept here: a key counts as copied only after it was
// read back from the target and is the same; a target appears whole or not at all, because creating is one
// step in every store; and a copy that was stopped anywhere can be taken up again.

import { type KeyStore, KeyStoreError } from '../../keys/key-store.ts';

/** What to do with a name that the target has already: fail, leave it, or replace it. */
export type MigrationMode = 'create' | 'merge' | 'force';

/** How far it is; changes while it runs. */
export type MigrationState = {
  total: number;
  /** Copied and read back. */
  migrated: number;
  /** Left as the target has them. */
  skipped: number;
  /** Of the skipped, those whose key is another one in the target. */
  readonly differing: string[];
  /** Removed from the source after the listing. */
  vanished: number;
};

export type MigrationErrorCode = 'list' | 'read' | 'exists' | 'write' | 'mismatch' | 'interrupted';

/** Why a migration stopped; `keyName` when it was over one key. Never holds a value. */
export class MigrationError extends Error {
  readonly code: MigrationErrorCode;
  readonly keyName: string | undefined;
  constructor(
    code: MigrationErrorCode,
    message: string,
    options: ErrorOptions & { readonly keyName?: string } = {},
  ) {
    super(message, options);
    this.name = 'MigrationError';
    this.code = code;
    this.keyName = options.keyName;
  }
}

export type Migration = {
  readonly from: KeyStore;
  readonly to: KeyStore;
  readonly mode: MigrationMode;
  /** Which of the source's names. */
  matches(name: string): boolean;
  readonly signal: AbortSignal;
  readonly state: MigrationState;
};

/** Keys under way at a time: a remote store answers many as fast as one. */
const parallelMax = 8;

/** A state in which nothing is done yet. */
export function newMigrationState(): MigrationState {
  return { total: 0, migrated: 0, skipped: 0, differing: [], vanished: 0 };
}

/** Throws `MigrationError` at the first key that cannot be copied; keys under way are finished before. */
export async function migrateKeys(migration: Migration): Promise<void> {
  const names = await namesOf(migration);
  migration.state.total = names.length;
  const queue = names.values();
  let failure: MigrationError | undefined;
  const work = async () => {
    for (const name of queue) {
      if (failure || migration.signal.aborted) return;
      try {
        await migrateKey(migration, name);
      } catch (error) {
        failure ??= migrationErrorOf(error, name);
      }
    }
  };
  await Promise.all(Array.from({ length: parallelMax }, work));
  if (failure) throw failure;
  const { migrated, skipped, vanished, total } = migration.state;
  if (migrated + skipped + vanished < total) {
    throw new MigrationError('interrupted', `interrupted after ${migrated} of ${total} keys`);
  }
}

async function namesOf({ from, matches, signal }: Migration): Promise<string[]> {
  const names: string[] = [];
  let after: string | undefined;
  while (!signal.aborted) {
    try {
      const page = await from.list({ prefix: '', ...(after !== undefined && { after }) });
      names.push(...page.names.filter((name) => matches(name)));
      after = page.names.at(-1);
      if (!page.hasMore || after === undefined) return names;
    } catch (error) {
      throw new MigrationError('list', `failed to list keys: ${textOf(error)}`, { cause: error });
    }
  }
  throw new MigrationError('interrupted', 'interrupted before the first key');
}

async function migrateKey(migration: Migration, name: string): Promise<void> {
  const { from, to, state } = migration;
  const value = await from.get(name).catch((error: unknown) => {
    if (hasCode(error, 'not-found')) return undefined;
    throw failed('read', { name, what: 'cannot be read from the source', error });
  });
  if (value === undefined) {
    state.vanished += 1;
    return;
  }
  const isNew = await create(to, name, value);
  if (!isNew && !(await settleExisting(migration, name, value))) return;
  const copied = await readBack(to, name);
  if (copied !== value) {
    const text = `key "${name}" reads back from the target as another value: nothing may use it there`;
    throw new MigrationError('mismatch', text, { keyName: name });
  }
  state.migrated += 1;
}

/** Whether the target has the key of the source now; false when what it had before is left there. */
async function settleExisting(
  { to, mode, state }: Migration,
  name: string,
  value: string,
): Promise<boolean> {
  if (mode === 'create') {
    const text = `key "${name}" exists in the target already`;
    throw new MigrationError('exists', text, { keyName: name });
  }
  const present = await readBack(to, name);
  if (mode === 'merge') {
    state.skipped += 1;
    if (present !== value) state.differing.push(name);
    return false;
  }
  if (present === value) return true;
  await replaceExisting(to, name, { value, present });
  return true;
}

type Replacement = {
  readonly value: string;
  /** What the target had. */
  readonly present: string;
};

/** Deletes and creates; a target that will not take the new key gets the old one back where that is possible. */
async function replaceExisting(to: KeyStore, name: string, texts: Replacement): Promise<void> {
  try {
    await to.delete(name, texts.present);
    await to.create(name, texts.value);
  } catch (error) {
    const state = await restorePresent(to, name, texts);
    if (state === 'done') return;
    const what = `cannot be replaced in the target, ${state}`;
    throw failed(hasCode(error, 'exists') ? 'exists' : 'write', { name, what, error });
  }
}

/** What the target has after a replacement that failed; `done` when only the answer was lost. */
async function restorePresent(
  to: KeyStore,
  name: string,
  { value, present }: Replacement,
): Promise<string> {
  let held = await find(to, name);
  if (held === 'absent') {
    await to.create(name, present).catch(() => {});
    held = await find(to, name);
  }
  if (held === 'absent') return 'which has no key of this name now';
  if (held === 'unknown')
    return 'and it cannot be read whether it has the old key, the new or none';
  if (held.text === value) return 'done';
  if (held.text === present) return 'which has its old key still or again';
  return 'where somebody else created another key of this name meanwhile';
}

async function find(
  store: KeyStore,
  name: string,
): Promise<{ readonly text: string } | 'absent' | 'unknown'> {
  try {
    return { text: await store.get(name) };
  } catch (error) {
    return hasCode(error, 'not-found') ? 'absent' : 'unknown';
  }
}

/** False when the name is taken. */
async function create(to: KeyStore, name: string, value: string): Promise<boolean> {
  try {
    await to.create(name, value);
    return true;
  } catch (error) {
    if (hasCode(error, 'exists')) return false;
    throw failed('write', { name, what: 'cannot be written to the target', error });
  }
}

async function readBack(to: KeyStore, name: string): Promise<string> {
  try {
    return await to.get(name);
  } catch (error) {
    throw failed('read', { name, what: 'cannot be read back from the target', error });
  }
}

function failed(
  code: MigrationErrorCode,
  about: { readonly name: string; readonly what: string; readonly error: unknown },
): MigrationError {
  const text = `key "${about.name}" ${about.what}: ${textOf(about.error)}`;
  return new MigrationError(code, text, { cause: about.error, keyName: about.name });
}

function migrationErrorOf(error: unknown, name: string): MigrationError {
  if (error instanceof MigrationError) return error;
  return failed('write', { name, what: 'cannot be migrated', error });
}

function hasCode(error: unknown, code: KeyStoreError['code']): boolean {
  return error instanceof KeyStoreError && error.code === code;
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : 'unknown error';
}
