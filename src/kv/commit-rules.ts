// The rules every engine enforces on what it is given, so that wrong use by our own code shows on every
// engine in the same way, and a single oversized entry cannot spoil a group commit shared with others.

import assert from 'node:assert/strict';
import { entryKeyBytesMax, type KvCommit, type KvRange, valueBytesMax } from '../store/kv.ts';

/** The most entries of one `list` call. */
export const listLimitMax = 10_000;

/** The bytes of an entry key as a string, one character a byte: ordered as the bytes are, usable in a map. */
export function entryKeyText(entryKey: Uint8Array): string {
  return Buffer.from(entryKey.buffer, entryKey.byteOffset, entryKey.length).toString('latin1');
}

/** Crashes on an empty or oversized entry key. */
export function assertEntryKey(entryKey: Uint8Array): void {
  assert(isEntryKey(entryKey), 'entry key of a wrong size');
}

/** False for what no entry can be called: names that strangers send may be of any length. */
export function isEntryKey(entryKey: Uint8Array): boolean {
  return entryKey.length > 0 && entryKey.length <= entryKeyBytesMax;
}

/**
 * A bound that an engine can take, and that means the same: no entry key is longer than the longest, so nothing
 * lies between a longer bound and its first bytes.
 */
export function shortBound(bound: Uint8Array): Uint8Array {
  return bound.length > entryKeyBytesMax ? bound.subarray(0, entryKeyBytesMax + 1) : bound;
}

/** Crashes on a range that is not within the contract. */
export function assertRange(range: KvRange): void {
  assert(
    Number.isSafeInteger(range.limit) && range.limit >= 1 && range.limit <= listLimitMax,
    'list limit out of range',
  );
}

/** Crashes on oversized keys or values, and on an entry key that occurs twice among the writes. */
export function assertCommit(commit: KvCommit): void {
  for (const check of commit.checks ?? []) assertEntryKey(check.entryKey);
  const puts = commit.puts ?? [];
  const deletes = commit.deletes ?? [];
  for (const put of puts) {
    assertEntryKey(put.entryKey);
    assert(put.value.length <= valueBytesMax, 'value too large');
  }
  for (const entryKey of deletes) assertEntryKey(entryKey);
  if (puts.length + deletes.length < 2) return;
  const seen = new Set<string>();
  for (const put of puts) seen.add(entryKeyText(put.entryKey));
  for (const entryKey of deletes) seen.add(entryKeyText(entryKey));
  assert(seen.size === puts.length + deletes.length, 'an entry key occurs twice in a commit');
}
