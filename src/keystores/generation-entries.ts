// The names and texts of the entries that `generations.ts` keeps beside a key's own. Names of keys never end
// in `-` (`keys/key-name.ts`), so none of these can be taken for a key.
//
//   NAME--<12 hex of SHA-256 of the base>-<generation>-   companion
//     `=` value                        after a change
//     `!` 12 hex of expected  value    after an erasing change
//     `-`                              after a deletion
//   NAME--destroyed-                                      what an erased key left
//     `!` 12 hex of base  12 hex of expected  value

import { createHash } from 'node:crypto';
import { type KeyStoreChange, KeyStoreError } from '../keys/key-store.ts';

/** What the destroyed entry holds: the hash of the base it followed, that of the value it replaced, the last value. */
export type Erased = {
  readonly baseHash: string;
  readonly expectedHash: string;
  readonly value: string;
};

export type EntryName =
  | { readonly kind: 'base' | 'destroyed' | 'claim'; readonly name: string }
  | {
      readonly kind: 'companion';
      readonly name: string;
      readonly hash: string;
      readonly generation: number;
    };

const companionShape = /^(.+)--([0-9a-f]{12})-([1-9][0-9]*)-$/;
const destroyedShape = /^(.+)--destroyed-$/;
const claimShape = /^(.+)--claim-[0-9a-f-]+-$/;

/** Whose entry has this name. Claims are made and removed by stores without an atomic create. */
export function parseEntryName(entry: string): EntryName {
  const [, name, hash, generation] = companionShape.exec(entry) ?? [];
  if (name !== undefined && hash !== undefined) {
    return { kind: 'companion', name, hash, generation: Number(generation) };
  }
  const destroyed = destroyedShape.exec(entry)?.[1];
  if (destroyed !== undefined) return { kind: 'destroyed', name: destroyed };
  const claimed = claimShape.exec(entry)?.[1];
  return claimed === undefined ? { kind: 'base', name: entry } : { kind: 'claim', name: claimed };
}

/** SHA-256 in hex. */
export function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** The first 12 digits of `digestOf`. */
export function shortHash(text: string): string {
  return digestOf(text).slice(0, 12);
}

/** `hash` is the short hash of the base. */
export function companionName(name: string, hash: string, generation: number): string {
  return `${name}--${hash}-${generation}-`;
}

export function destroyedName(name: string): string {
  return `${name}--destroyed-`;
}

/** The text of the companion that ends a key by deletion. */
export const deletionText = '-';

/** The text of the companion that a change creates. */
export function encodeCompanion(change: KeyStoreChange): string {
  if (change.isErasing !== true) return `=${change.value}`;
  return `!${shortHash(change.expected)}${change.value}`;
}

/** `expectedHash` only after an erasing change. Throws `KeyStoreError` `failed`; not for `deletionText`. */
export function parseCompanion(
  name: string,
  text: string,
): { value: string; expectedHash?: string } {
  if (text.startsWith('=')) return { value: text.slice(1) };
  const [, expectedHash, value] = /^!([0-9a-f]{12})(.*)$/s.exec(text) ?? [];
  if (expectedHash === undefined || value === undefined) throw damaged(name);
  return { expectedHash, value };
}

export function encodeDestroyed(erased: Erased): string {
  return `!${erased.baseHash}${erased.expectedHash}${erased.value}`;
}

/** Throws `KeyStoreError` `failed`. */
export function parseDestroyed(name: string, text: string): Erased {
  const [, baseHash, expectedHash, value] = /^!([0-9a-f]{12})([0-9a-f]{12})(.*)$/s.exec(text) ?? [];
  if (baseHash === undefined || expectedHash === undefined || value === undefined) {
    throw damaged(name);
  }
  return { baseHash, expectedHash, value };
}

/** Whether `change` is the one that erased the key, perhaps once more after a crash. */
export function isSameErase(erased: Erased, change: KeyStoreChange): boolean {
  return change.isErasing === true && erased.expectedHash === shortHash(change.expected);
}

function damaged(name: string): KeyStoreError {
  return new KeyStoreError('failed', `an entry that belongs to key ${name} was not written by us`);
}
