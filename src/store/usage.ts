// How much there is: per master key, exact, from the index that lives in the objects' own commits; per bucket and
// in all, counted from the records and kept for a while, because counting reads every one of them.

import { afterEntry, bucketIdOfObject, bucketOfEntry, protectsRange, rangeOf } from './keys.ts';
import type { KvEntry, KvRange } from './kv.ts';
import { decodeBucket, decodeObject, decodeSize } from './records.ts';
import type { StoreContext } from './store-context.ts';
import type { KeyUsage, StoreTotals } from './types.ts';

const pageEntries = 1000;
const totalsMaxAgeMs = 60_000;

export async function keyUsage(context: StoreContext, masterKeyName: string): Promise<KeyUsage> {
  let objects = 0;
  let bytes = 0;
  for await (const entry of listAll(context, protectsRange(masterKeyName))) {
    objects += 1;
    bytes += decodeSize(entry.value);
  }
  return { objects, bytes };
}

/** Makes the function behind `totals`: callers share one count, no older than a minute. */
export function createTotals(context: StoreContext): () => Promise<StoreTotals> {
  let counted: { readonly atMs: number; readonly totals: Promise<StoreTotals> } | undefined;
  return () => {
    const nowMs = context.now();
    if (!counted || Math.abs(nowMs - counted.atMs) > totalsMaxAgeMs) {
      const totals = countAll(context);
      const started = { atMs: nowMs, totals };
      counted = started;
      totals.catch(() => {
        if (counted === started) counted = undefined;
      });
    }
    return counted.totals;
  };
}

async function countAll(context: StoreContext): Promise<StoreTotals> {
  const byBucket = new Map<string, Count>();
  const byId = new Map<string, Count>();
  for await (const entry of listAll(context, rangeOf('bucket'))) {
    const count = createCount();
    byBucket.set(bucketOfEntry(entry), count);
    byId.set(decodeBucket(entry.value).id.toString('hex'), count);
  }
  const all = createCount();
  for (const table of ['current', 'marker', 'version'] as const) {
    for await (const entry of listAll(context, rangeOf(table))) {
      // A bucket that was made meanwhile is counted the next time.
      const count = byId.get(bucketIdOfObject(entry).toString('hex'));
      if (count === undefined) continue;
      const { sizeBytes, version } = decodeObject(entry.value);
      for (const each of [count, all]) {
        if (table === 'current') each.objects += 1;
        if (version?.isMarker) each.deleteMarkers += 1;
        else each.versions += 1;
        each.bytes += sizeBytes;
      }
    }
  }
  return { buckets: byBucket.size, ...all, byBucket };
}

type Count = { objects: number; bytes: number; versions: number; deleteMarkers: number };

function createCount(): Count {
  return { objects: 0, bytes: 0, versions: 0, deleteMarkers: 0 };
}

/** Every entry of a range, page by page; other work gets its turn between pages. */
export async function* listAll(
  context: Pick<StoreContext, 'kv'>,
  range: Omit<KvRange, 'limit'>,
): AsyncGenerator<KvEntry> {
  let { start } = range;
  for (;;) {
    const page = await context.kv.list({ ...range, start, limit: pageEntries });
    yield* page;
    const last = page.at(-1);
    if (!last || page.length < pageEntries) return;
    start = afterEntry(last.entryKey);
    await new Promise<void>((resolve) => {
      setImmediate(resolve);
    });
  }
}
