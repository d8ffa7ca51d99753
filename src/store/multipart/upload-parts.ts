// Removing the parts of an upload that is over: their bytes first, then their entries, so that a crash between
// the two leaves something for the next try to find.

import { blobEntry, inlineEntry, partsRange, type UploadPlace } from '../keys.ts';
import type { KvRange } from '../kv.ts';
import { decodePart } from '../records.ts';
import type { StoreContext } from '../store-context.ts';

const pageEntries = 200;

/** Removes every part the upload still has. The upload's own entry must be gone. */
export function dropUploadParts(context: StoreContext, place: UploadPlace): Promise<number> {
  return dropParts(context, partsRange(place));
}

/** Removes every part in a range of the part table. Returns how many. */
export async function dropParts(
  context: StoreContext,
  range: Omit<KvRange, 'limit'>,
): Promise<number> {
  let count = 0;
  for (;;) {
    const page = await context.kv.list({ ...range, limit: pageEntries });
    if (page.length === 0) return count;
    const deletes: Uint8Array[] = [];
    const removals: Promise<void>[] = [];
    for (const entry of page) {
      deletes.push(entry.entryKey);
      const { place } = decodePart(entry.value);
      if (place.kind === 'inline') deletes.push(inlineEntry(place.id));
      if (place.kind === 'blob') {
        removals.push(context.blobs.remove(place.id));
        deletes.push(blobEntry(place.id));
      }
    }
    await Promise.all(removals);
    await context.kv.commit({ deletes });
    count += page.length;
  }
}
