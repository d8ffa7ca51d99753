// Listing objects: names in the order of their raw bytes, everything below a delimiter folded into one common
// prefix. Folded names are skipped by seeking behind them, never by reading them, so a page costs what it
// shows, whatever lies between.

import { loadBucket } from './buckets.ts';
import { afterEntry, afterPrefix, bucketIdBytes, currentEntry } from './keys.ts';
import type { KvEntry } from './kv.ts';
import { decodeObject, toObjectInfo } from './records.ts';
import type { StoreContext } from './store-context.ts';
import type { ListObjectsPage, ListObjectsQuery, ObjectInfo } from './types.ts';

const readEntriesMin = 16;
const readEntriesMax = 1001;

export async function listObjects(
  context: StoreContext,
  query: ListObjectsQuery,
): Promise<ListObjectsPage> {
  const bucket = await loadBucket(context, query.bucket);
  const objects: ObjectInfo[] = [];
  const commonPrefixes: string[] = [];
  let next: string | undefined;
  if (query.limit < 1) return { objects, commonPrefixes, isTruncated: false, next };
  const walker = walkNames(query, {
    base: currentEntry(bucket.record.id, Buffer.alloc(0)),
    read: (start, end, limit) => context.kv.list({ start, end, limit }),
    limit: query.limit,
  });
  for await (const found of walker) {
    if (objects.length + commonPrefixes.length === query.limit) {
      return { objects, commonPrefixes, isTruncated: true, next };
    }
    next = found.name;
    if (found.entry) {
      objects.push(toObjectInfo(query.bucket, found.name, decodeObject(found.entry.value)));
    } else {
      commonPrefixes.push(found.name);
    }
  }
  return { objects, commonPrefixes, isTruncated: false, next: undefined };
}

type Walk = {
  /** What every entry key of the walk starts with. */
  readonly base: Buffer;
  readonly read: (start: Uint8Array, end: Uint8Array, limit: number) => Promise<KvEntry[]>;
  readonly limit: number;
};

type Found = { readonly name: string; readonly entry: KvEntry | undefined };

/** Names and common prefixes in order, beginning after `query.after`. */
async function* walkNames(
  query: Pick<ListObjectsQuery, 'prefix' | 'delimiter' | 'after'>,
  walk: Walk,
): AsyncGenerator<Found> {
  const prefix = Buffer.from(query.prefix);
  const delimiter = Buffer.from(query.delimiter);
  const end = afterPrefix(Buffer.concat([walk.base, prefix]));
  const headBytes = walk.base.length;
  let start = startOf(query, walk.base, prefix, delimiter);
  let limit = Math.min(walk.limit + 1, readEntriesMax);
  if (delimiter.length > 0) limit = Math.min(limit, readEntriesMin * 4);
  while (Buffer.compare(start, end) < 0) {
    const entries = await walk.read(start, end, limit);
    let jump: Buffer | undefined;
    for (const entry of entries) {
      const name = Buffer.from(
        entry.entryKey.buffer,
        entry.entryKey.byteOffset + headBytes,
        entry.entryKey.length - headBytes,
      );
      const folded = foldedPrefix(name, prefix.length, delimiter);
      if (!folded) {
        yield { name: name.toString(), entry };
        start = afterEntry(entry.entryKey);
        continue;
      }
      yield { name: folded.toString(), entry: undefined };
      jump = afterPrefix(Buffer.concat([walk.base, folded]));
      break;
    }
    if (!jump && entries.length < limit) return;
    if (jump) {
      start = jump;
      limit = readEntriesMin;
    } else {
      limit = Math.min(limit * 4, readEntriesMax);
    }
  }
}

/** The part of a name up to and with the first delimiter after the prefix. */
export function foldedPrefix(
  name: Buffer,
  prefixBytes: number,
  delimiter: Buffer,
): Buffer | undefined {
  if (delimiter.length === 0) return undefined;
  const at = name.indexOf(delimiter, prefixBytes);
  return at < 0 ? undefined : name.subarray(0, at + delimiter.length);
}

/** Behind `after`, and behind the whole common prefix when it is one or lies within one. */
function startOf(
  query: Pick<ListObjectsQuery, 'after'>,
  base: Buffer,
  prefix: Buffer,
  delimiter: Buffer,
): Buffer {
  const first = Buffer.concat([base, prefix]);
  if (query.after === '') return first;
  const after = Buffer.from(query.after);
  const isBelow = after.subarray(0, prefix.length).equals(prefix);
  const folded = isBelow ? foldedPrefix(after, prefix.length, delimiter) : undefined;
  const start = folded
    ? afterPrefix(Buffer.concat([base, folded]))
    : afterEntry(Buffer.concat([base, after]));
  return Buffer.compare(start, first) > 0 ? start : first;
}

/** The name of an object, from its entry in the `current` table. */
export function nameOfCurrent(entryKey: Uint8Array): string {
  return Buffer.from(entryKey).toString('utf8', 1 + bucketIdBytes);
}
