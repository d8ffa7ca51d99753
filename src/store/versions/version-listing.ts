// Listing every version of every name: names in the order of their bytes, the newest version first, everything below
// a delimiter folded into one common prefix. Three tables are read side by side, a bounded stretch of each at a
// time, and merged as far as all of them reach.

import { type LoadedBucket, loadBucket } from '../buckets.ts';
import { foldedPrefix } from '../listing.ts';
import {
  afterEntry,
  afterPrefix,
  bucketIdBytes,
  currentEntry,
  markerEntry,
  rangeOf,
  type Table,
  versionEntry,
} from '../keys.ts';
import type { KvEntry } from '../kv.ts';
import { headOf, loadName, orderOf, versioningOf } from './names.ts';
import { decodeObject, type ObjectRecord, toObjectInfo } from '../records.ts';
import type { StoreContext } from '../store-context.ts';
import type { ListVersionsPage, ListVersionsQuery, VersionInfo } from '../types.ts';
import { isVersionId, nullVersionId, versionTail, versionTailBytes } from './version-ids.ts';

const readEntriesMax = 1001;
const readEntriesFolded = 64;
/** How often a stretch is read again because a head changed while it was read. */
const stableAttemptsMax = 10;

/** One version, as its entry says. */
type Item = {
  readonly name: Buffer;
  readonly record: ObjectRecord;
  readonly isHead: boolean;
  /** Of the version, within its name. */
  readonly tail: Buffer;
};

/** Where to go on: at this name, or within it behind this tail. */
type Position = { readonly name: Buffer; readonly afterTail: Buffer | undefined };

type Listing = {
  readonly context: StoreContext;
  readonly bucketId: Buffer;
  readonly isVersioned: boolean;
  readonly prefix: Buffer;
  readonly limit: number;
};

export async function listVersions(
  context: StoreContext,
  query: ListVersionsQuery,
): Promise<ListVersionsPage> {
  const bucket = await loadBucket(context, query.bucket);
  const versions: VersionInfo[] = [];
  const commonPrefixes: string[] = [];
  let next: ListVersionsPage['next'];
  for await (const found of walk(context, bucket, query)) {
    if (versions.length + commonPrefixes.length === query.limit) {
      return { versions, commonPrefixes, isTruncated: true, next };
    }
    if ('folded' in found) {
      const key = found.folded.toString();
      commonPrefixes.push(key);
      next = { key, versionMarker: '' };
    } else {
      versions.push(toVersionInfo(query.bucket, found));
      next = { key: found.name.toString(), versionMarker: markerOf(bucket, found) };
    }
  }
  return { versions, commonPrefixes, isTruncated: false, next: undefined };
}

function toVersionInfo(bucket: string, item: Item): VersionInfo {
  const { name, record, isHead } = item;
  return {
    info: toObjectInfo(bucket, name.toString(), record),
    isLatest: isHead,
    isMarker: record.version?.isMarker === true,
  };
}

/** The place of the version rather than its id, because the version `null` may be elsewhere by the next page. */
function markerOf(bucket: LoadedBucket, item: Item): string {
  return versioningOf(bucket) === undefined ? nullVersionId : item.tail.toString('hex');
}

async function* walk(
  context: StoreContext,
  bucket: LoadedBucket,
  query: ListVersionsQuery,
): AsyncGenerator<Item | { readonly folded: Buffer }> {
  const prefix = Buffer.from(query.prefix);
  const delimiter = Buffer.from(query.delimiter);
  const listing: Listing = {
    context,
    bucketId: bucket.record.id,
    isVersioned: versioningOf(bucket) !== undefined,
    prefix,
    limit: Math.min(query.limit + 1, delimiter.length > 0 ? readEntriesFolded : readEntriesMax),
  };
  let position: Position | undefined = await startOf(context, bucket, query);
  while (position) {
    const stretch: Stretch = await readStable(listing, position);
    position = stretch.isEnd ? undefined : stretch.position;
    for (const item of stretch.items) {
      const folded = foldedPrefix(item.name, prefix.length, delimiter);
      if (!folded) {
        yield item;
        continue;
      }
      yield { folded };
      // Not beyond the prefix: all that is folded starts with it.
      position = { name: afterPrefix(folded), afterTail: undefined };
      break;
    }
  }
}

async function startOf(
  context: StoreContext,
  bucket: LoadedBucket,
  query: ListVersionsQuery,
): Promise<Position> {
  const prefix = Buffer.from(query.prefix);
  const first = { name: prefix, afterTail: undefined };
  const name = Buffer.from(query.keyMarker);
  if (name.length === 0 || Buffer.compare(name, prefix) < 0) return first;
  const folded = name.subarray(0, prefix.length).equals(prefix)
    ? foldedPrefix(name, prefix.length, Buffer.from(query.delimiter))
    : undefined;
  if (folded) return { name: afterPrefix(folded), afterTail: undefined };
  const { versionMarker } = query;
  if (versionMarker === '' || versioningOf(bucket) === undefined) {
    return { name: afterEntry(name), afterTail: undefined };
  }
  if (isVersionId(versionMarker)) return { name, afterTail: Buffer.from(versionMarker, 'hex') };
  if (versionMarker !== nullVersionId) return { name: afterEntry(name), afterTail: undefined };
  const now = await loadName(context, { bucket, key: query.keyMarker, name }, bucket);
  const head = headOf(now);
  const isHead = head?.versionId === nullVersionId;
  const order = isHead ? orderOf(head) : head?.version?.nullOrder;
  // Gone since the last page: the name is listed once more rather than left out.
  return { name, afterTail: order === undefined ? undefined : versionTail(nullVersionId, order) };
}

type Stretch = {
  readonly items: readonly Item[];
  readonly isEnd: boolean;
  /** Behind the last item. */
  readonly position: Position;
};

/**
 * Heads are read before the past, so that a version that moves into it meanwhile shows in one of them at least;
 * for the one that comes back from there the heads are compared afterwards.
 */
async function readStable(listing: Listing, position: Position): Promise<Stretch> {
  for (let attempt = 1; ; attempt += 1) {
    const current = await readTable(listing, 'current', position);
    if (!listing.isVersioned) return merge([current], position);
    const marker = await readTable(listing, 'marker', position);
    const past = await readTable(listing, 'version', position);
    const isStable =
      attempt === stableAttemptsMax ||
      (isSame(current, await readTable(listing, 'current', position)) &&
        isSame(marker, await readTable(listing, 'marker', position)));
    if (isStable) return merge([current, marker, past], position);
  }
}

/** What one table holds from a position on. */
type Reach = {
  readonly items: readonly Item[];
  readonly count: number;
  /** False when the table goes on behind the last item. */
  readonly isEnd: boolean;
  readonly entries: readonly KvEntry[];
};

async function readTable(
  listing: Listing,
  table: Extract<Table, 'current' | 'marker' | 'version'>,
  position: Position,
): Promise<Reach> {
  const { bucketId, context, limit, prefix } = listing;
  const { end } = rangeOf(table, bucketId, prefix);
  const start = startIn(table, bucketId, position);
  if (Buffer.compare(start, end) >= 0) return { items: [], count: 0, isEnd: true, entries: [] };
  const entries = await context.kv.list({ start, end, limit });
  const items = entries.map((entry) => toItem(table, entry));
  return { items, count: entries.length, isEnd: entries.length < limit, entries };
}

function startIn(
  table: 'current' | 'marker' | 'version',
  bucketId: Buffer,
  { name, afterTail }: Position,
): Buffer {
  if (table === 'current') return currentEntry(bucketId, name);
  if (table === 'marker') return markerEntry(bucketId, name);
  if (!afterTail) return rangeOf('version', bucketId, name).start as Buffer;
  return afterEntry(versionEntry(bucketId, name, afterTail));
}

function toItem(table: 'current' | 'marker' | 'version', entry: KvEntry): Item {
  const record = decodeObject(entry.value);
  const bytes = Buffer.from(entry.entryKey).subarray(1 + bucketIdBytes);
  if (table !== 'version') {
    const tail = versionTail(record.versionId, orderOf(record));
    return { name: bytes, record, isHead: true, tail };
  }
  const tail = bytes.subarray(bytes.length - versionTailBytes);
  const name = bytes.subarray(0, bytes.length - versionTailBytes - 1);
  return { name, record, isHead: false, tail };
}

function isSame(before: Reach, after: Reach): boolean {
  return (
    before.count === after.count &&
    before.entries.every(({ entryKey, version }, index) => {
      const other = after.entries[index];
      return other?.version === version && Buffer.compare(other.entryKey, entryKey) === 0;
    })
  );
}

/** Merges as far as every table reaches: an item is out only when nothing unread can come before it. */
function merge(reaches: readonly Reach[], position: Position): Stretch {
  const limits = reaches.filter(({ isEnd }) => !isEnd).map(({ items }) => items.at(-1) as Item);
  const all = reaches.flatMap(({ items }) => items).sort(compareItems);
  const items: Item[] = [];
  let last = position;
  for (const item of all) {
    if (limits.some((limit) => compareItems(item, limit) > 0)) break;
    const previous = last;
    last = { name: item.name, afterTail: item.tail };
    // The version that the position names, or one met twice because it was moving.
    if (item.name.equals(previous.name) && previous.afterTail) {
      if (Buffer.compare(item.tail, previous.afterTail) <= 0) {
        last = previous;
        continue;
      }
    }
    items.push(item);
  }
  return { items, isEnd: limits.length === 0, position: last };
}

function compareItems(a: Item, b: Item): number {
  return Buffer.compare(a.name, b.name) || Buffer.compare(a.tail, b.tail) || headFirst(a, b);
}

function headFirst(a: Item, b: Item): number {
  return Number(b.isHead) - Number(a.isHead);
}
