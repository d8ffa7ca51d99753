// Listing uploads in progress: by object name, then by age, with prefixes folded as in the listing of objects.

import { loadBucket } from '../buckets.ts';
import { afterEntry, afterPrefix, bucketIdBytes, rangeOf, uploadEntry } from '../keys.ts';
import { toUploadInfo } from './multipart.ts';
import { decodeUpload } from '../records.ts';
import type { StoreContext } from '../store-context.ts';
import type { ListUploadsPage, ListUploadsQuery, UploadInfo } from '../types.ts';

const pageEntries = 200;
/** Behind every object name: a NUL and the upload's id. */
const tailBytes = 1 + 32;

export async function listUploads(
  context: StoreContext,
  query: ListUploadsQuery,
): Promise<ListUploadsPage> {
  const bucket = await loadBucket(context, query.bucket);
  const bucketId = bucket.record.id;
  const uploads: UploadInfo[] = [];
  const commonPrefixes: string[] = [];
  let next: { key: string; uploadId: string } | undefined;
  if (query.limit < 1) return { uploads, commonPrefixes, isTruncated: false, next };
  const { end, start: first } = rangeOf('upload', bucketId, Buffer.from(query.prefix));
  let start = startOf(query, bucketId, first);
  while (Buffer.compare(start, end) < 0) {
    const entries = await context.kv.list({ start, end, limit: pageEntries });
    let isFolded = false;
    for (const { entryKey, value } of entries) {
      const found = parseEntry(entryKey);
      const folded = foldedPrefix(found.key, query);
      if (uploads.length + commonPrefixes.length === query.limit) {
        return { uploads, commonPrefixes, isTruncated: true, next };
      }
      if (folded === undefined) {
        uploads.push(toUploadInfo(query.bucket, found.key, found.uploadId, decodeUpload(value)));
        next = found;
        start = afterEntry(entryKey);
        continue;
      }
      commonPrefixes.push(folded);
      next = { key: folded, uploadId: '' };
      start = afterPrefix(rangeOf('upload', bucketId, Buffer.from(folded)).start as Buffer);
      isFolded = true;
      break;
    }
    if (!isFolded && entries.length < pageEntries) break;
  }
  return { uploads, commonPrefixes, isTruncated: false, next: undefined };
}

/** An upload marker means something only together with a key marker. */
function startOf(query: ListUploadsQuery, bucketId: Uint8Array, first: Uint8Array): Uint8Array {
  if (query.keyMarker === '') return first;
  const name = Buffer.from(query.keyMarker);
  const folded = foldedPrefix(query.keyMarker, query);
  let start: Uint8Array;
  if (folded !== undefined) start = rangeOf('upload', bucketId, Buffer.from(folded)).end;
  else if (query.uploadIdMarker === '') {
    // Behind every upload of this very name, which are those with a NUL after it.
    start = rangeOf('upload', bucketId, name, Buffer.from([0])).end;
  } else start = afterEntry(uploadEntry({ bucketId, name, uploadId: query.uploadIdMarker }));
  return Buffer.compare(start, first) > 0 ? start : first;
}

function foldedPrefix(
  key: string,
  query: Pick<ListUploadsQuery, 'prefix' | 'delimiter'>,
): string | undefined {
  const { prefix, delimiter } = query;
  if (delimiter === '' || !key.startsWith(prefix)) return undefined;
  const at = key.indexOf(delimiter, prefix.length);
  return at < 0 ? undefined : key.slice(0, at + delimiter.length);
}

function parseEntry(entryKey: Uint8Array): { key: string; uploadId: string } {
  const bytes = Buffer.from(entryKey);
  const nameEnd = bytes.length - tailBytes;
  return {
    key: bytes.toString('utf8', 1 + bucketIdBytes, nameEnd),
    uploadId: bytes.toString('latin1', nameEnd + 1),
  };
}
