// The sweep: removes what commits left behind on purpose (replaced blobs after a grace, parts of uploads that
// are over, uploads of deleted buckets), and blobs that no commit ever named because their process died.
// Every step may be repeated, so any number of processes may sweep, and die doing it.

import {
  afterEntry,
  birthEntry,
  blobEntry,
  dueGarbageRange,
  garbageEntry,
  isId,
  rangeOf,
  timeOfId,
} from './keys.ts';
import type { KvEntry } from './kv.ts';
import {
  decodeGarbage,
  decodeSize,
  encodeGarbage,
  encodeMark,
  encodeSize,
  type GarbageRecord,
} from './records.ts';
import type { StoreContext } from './store-context.ts';
import { dropParts, dropUploadParts } from './multipart/upload-parts.ts';
import { listAll } from './usage.ts';

const pageEntries = 100;
const orphanBatch = 256;
/** Orphans only come from crashes, so they are looked for more rarely than garbage. */
const orphanIntervalMs = 3_600_000;
/** How long a removed blob's id stays taken: longer than any upload that might still want to name it. */
const claimMs = 86_400_000;

export type SweepReport = {
  /** Garbage entries worked off. */
  readonly garbage: number;
  /** Blobs removed that no record named. */
  readonly orphans: number;
};

export async function sweep(
  context: StoreContext,
  options: { readonly withOrphans?: boolean } = {},
): Promise<SweepReport> {
  const garbage = await sweepGarbage(context);
  const orphans = options.withOrphans === false ? 0 : await sweepOrphans(context);
  return { garbage, orphans };
}

/** Sweeps again and again, resting between; a failure is logged and tried again the next time. */
export function startSweeping(
  context: StoreContext,
  intervalMs: number,
): { stop(): Promise<void> } {
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> = Promise.resolve();
  let isStopped = false;
  let orphansDueMs = context.now() + intervalMs;
  const schedule = (): void => {
    if (isStopped) return;
    timer = setTimeout(
      () => {
        running = run().then(schedule);
      },
      intervalMs * (0.75 + Math.random() / 2),
    );
    timer.unref();
  };
  const run = async (): Promise<void> => {
    const withOrphans = context.now() >= orphansDueMs;
    if (withOrphans) orphansDueMs = context.now() + orphanIntervalMs;
    try {
      const report = await sweep(context, { withOrphans });
      if (report.orphans > 0) context.log.info('removed orphaned blobs', { count: report.orphans });
    } catch (error) {
      context.log.warn('the sweep failed and will be tried again', { error });
    }
  };
  schedule();
  return {
    async stop() {
      isStopped = true;
      clearTimeout(timer);
      await running;
    },
  };
}

async function sweepGarbage(context: StoreContext): Promise<number> {
  const range = dueGarbageRange(context.now());
  let { start } = range;
  let count = 0;
  for (;;) {
    const page = await context.kv.list({ ...range, start, limit: pageEntries });
    for (const entry of page) count += (await workOff(context, entry)) ? 1 : 0;
    const last = page.at(-1);
    if (!last || page.length < pageEntries) return count;
    start = afterEntry(last.entryKey);
  }
}

/** What cannot be removed stays for the next sweep, and holds nothing else up. */
async function workOff(context: StoreContext, entry: KvEntry): Promise<boolean> {
  try {
    const deletes = await clean(context, decodeGarbage(entry.value));
    await context.kv.commit({ deletes: [entry.entryKey, ...deletes] });
    return true;
  } catch (error) {
    context.log.warn('garbage could not be removed and will be tried again', { error });
    return false;
  }
}

/** Removes what the record names. Returns the entries that go together with it. */
async function clean(context: StoreContext, record: GarbageRecord): Promise<Uint8Array[]> {
  switch (record.kind) {
    case 'blobs':
      for (const id of record.ids) await context.blobs.remove(id);
      return record.ids.map(blobEntry);
    case 'entries':
      return [...record.entryKeys];
    case 'upload':
      await dropUploadParts(context, record);
      return [];
    case 'bucket':
      await cleanBucket(context, record.bucketId);
      return [];
  }
}

/** Uploads first: without its upload no part can be added any more. */
async function cleanBucket(context: StoreContext, bucketId: Uint8Array): Promise<void> {
  for (const table of ['upload', 'completed'] as const) {
    for await (const { entryKey } of listAll(context, rangeOf(table, bucketId))) {
      await context.kv.commit({ deletes: [entryKey] });
    }
  }
  await dropParts(context, rangeOf('part', bucketId));
}

/**
 * Records when this metadata began to serve objects. Should it be lost and made anew beside the old blobs, the
 * sweep must not take all of them for orphans.
 */
export async function recordBirth(context: StoreContext): Promise<void> {
  const entryKey = birthEntry();
  if (await context.kv.get(entryKey)) return;
  await context.kv.commit({
    checks: [{ entryKey, version: 'absent' }],
    puts: [{ entryKey, value: encodeSize(Math.floor(context.now())) }],
  });
}

async function sweepOrphans(context: StoreContext): Promise<number> {
  const writtenBefore = context.now() - context.settings.orphanGraceMs;
  const birth = await context.kv.get(birthEntry());
  const bornMs = birth ? decodeSize(birth.value) : Number.POSITIVE_INFINITY;
  let count = 0;
  let strangers = 0;
  let batch: string[] = [];
  for await (const { id, modifiedMs } of context.blobs.list()) {
    // Foreign files are none of our business.
    if (modifiedMs >= writtenBefore || !isId(id)) continue;
    if (timeOfId(id) < bornMs) {
      strangers += 1;
      continue;
    }
    batch.push(id);
    if (batch.length >= orphanBatch) {
      count += await removeUnnamed(context, batch);
      batch = [];
    }
  }
  if (strangers > 0) {
    context.log.warn('blobs older than the metadata were left alone: was the metadata replaced?', {
      count: strangers,
    });
  }
  return count + (await removeUnnamed(context, batch));
}

async function removeUnnamed(context: StoreContext, ids: readonly string[]): Promise<number> {
  if (ids.length === 0) return 0;
  const named = await context.kv.getMany(ids.map(blobEntry));
  const orphans = ids.filter((_, index) => named[index] === undefined);
  let count = 0;
  for (const id of orphans) {
    if (!(await claim(context, id))) continue;
    await context.blobs.remove(id);
    count += 1;
  }
  return count;
}

/**
 * Takes the blob's entry, so that whoever is about to name the blob cannot any more: either the blob is removed or
 * it is named, never both. The entry goes when it is of no use any longer.
 */
async function claim(context: StoreContext, id: string): Promise<boolean> {
  const entryKey = blobEntry(id);
  const dueEntry = garbageEntry(context.now() + claimMs);
  const outcome = await context.kv.commit({
    checks: [{ entryKey, version: 'absent' }],
    puts: [
      { entryKey, value: encodeMark() },
      { entryKey: dueEntry, value: encodeGarbage({ kind: 'entries', entryKeys: [entryKey] }) },
    ],
  });
  return outcome === 'committed';
}
