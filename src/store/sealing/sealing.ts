// Sealing the values of a directory that was plain so far. Each value is replaced only as it was read, so other
// processes may do the same at the same time; sealed values are left alone, so it may be repeated.

import { afterEntry } from '../keys.ts';
import { type Kv, type KvEntry, KvError } from '../kv.ts';
import { plainMark } from './plain-kv.ts';
import { sealedMark, type ValueSealer } from './sealed-kv.ts';

/** Small, because a page of inline objects is large. */
const pageEntries = 20;

/**
 * Seals every plain value outside the system table. On return none is left, provided that nobody writes plain
 * values meanwhile. Returns how many were sealed here. Throws `KvError`.
 */
export async function sealAllValues(
  kv: Kv,
  sealer: ValueSealer,
  systemTable: string,
): Promise<number> {
  const system = Buffer.from(systemTable, 'latin1');
  const afterSystem = Buffer.from([(system[0] ?? 0) + 1]);
  const before = await sealRange(kv, sealer, { start: Buffer.from([0]), end: system });
  return before + (await sealRange(kv, sealer, { start: afterSystem, end: Buffer.from([0xff]) }));
}

/** True when some value outside the system table is sealed. Throws `KvError`. */
export async function hasSealedValues(kv: Kv, systemTable: string): Promise<boolean> {
  const end = Buffer.from([0xff]);
  let start: Uint8Array = Buffer.from([0]);
  for (;;) {
    const page = await kv.list({ start, end, limit: pageEntries });
    const last = page.at(-1);
    if (!last) return false;
    const system = systemTable.charCodeAt(0);
    if (page.some((entry) => entry.entryKey[0] !== system && !isPlain(entry))) return true;
    start = afterEntry(last.entryKey);
  }
}

async function sealRange(
  kv: Kv,
  sealer: ValueSealer,
  range: { readonly start: Uint8Array; readonly end: Uint8Array },
): Promise<number> {
  let { start } = range;
  let count = 0;
  for (;;) {
    const page = await kv.list({ start, end: range.end, limit: pageEntries });
    const last = page.at(-1);
    if (!last) return count;
    const plain = page.filter(isPlain);
    if (plain.length > 0) {
      const outcome = await kv.commit({
        checks: plain.map(({ entryKey, version }) => ({ entryKey, version })),
        puts: plain.map(({ entryKey, value }) => ({
          entryKey,
          value: sealer.seal(entryKey, value.subarray(1)),
        })),
      });
      // Somebody else wrote one of them: read the page again.
      if (outcome === 'conflict') continue;
      count += plain.length;
    }
    start = afterEntry(last.entryKey);
  }
}

function isPlain(entry: KvEntry): boolean {
  const [mark] = entry.value;
  if (mark === sealedMark) return false;
  if (mark === plainMark) return true;
  throw new KvError('corrupt', 'an entry of the metadata is neither plain nor sealed');
}
