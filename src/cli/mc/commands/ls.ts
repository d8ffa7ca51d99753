// `ls`: buckets, objects, versions, unfinished uploads, and local folders.

import path from 'node:path';

import { openS3, parseTarget } from '../context.ts';
import type { McContext, S3Target, Target } from '../context.ts';
import { toMcError } from '../error.ts';
import type { McError } from '../error.ts';
import type { JsonObject } from '../error.ts';
import { Failure } from '../failure.ts';
import { formatDate, formatSize, formatSizeShort, formatTimestamp } from '../format.ts';
import { requireListedFolder, statLocal, walkLocal } from '../local.ts';
import { asBucketError, headObject, isFolder } from '../s3-objects.ts';
import { checkBucketName } from '../s3-client.ts';
import type { S3Client } from '../s3-client.ts';
import { listBuckets, listObjects, listUploads, listVersions } from '../s3-list.ts';
import type { Entry } from '../s3-list.ts';

/** One printed line. `name` is relative to the listed folder. */
type Line = Omit<Entry, 'key'> & {
  readonly name: string;
  readonly url: string;
  readonly ordinal?: number;
};

/** `ls [TARGET…]` */
export async function runLs(context: McContext, args: readonly string[]): Promise<void> {
  const { out, flags } = context;
  let totalSize = 0;
  let totalObjects = 0;
  for (const text of args.length === 0 ? ['.'] : args) {
    try {
      for await (const line of listTarget(context, await parseTarget(context, text))) {
        const wanted = flags.find('storage-class');
        if (wanted !== undefined && line.storageClass !== wanted.toUpperCase()) continue;
        out.message(lineDocument(line), () => formatLine(context, line));
        totalObjects++;
        totalSize += line.sizeBytes;
      }
    } catch (error) {
      out.failure(listFailure(toMcError(error)));
    }
  }
  if (!flags.has('summarize')) return;
  out.message(
    { totalObjects, totalSize },
    () => `\nTotal Size: ${formatSize(totalSize)}\nTotal Objects: ${totalObjects}`,
  );
}

/** The failure of any listing. */
export function listFailure(reason: McError): Failure {
  return new Failure('Unable to list folder.', reason, { isFatal: false });
}

async function* listTarget(context: McContext, target: Target): AsyncGenerator<Line> {
  if (target.kind === 'local') {
    const { flags } = context;
    if (!flags.has('recursive') && !flags.has('incomplete')) await requireListedFolder(target);
    yield* listLocal(context, target.path);
    return;
  }
  const client = await openS3(context, target.alias);
  const isRecursive = context.flags.has('recursive');
  if (target.bucket !== '') {
    yield* listBucket(context, client, target);
    return;
  }
  for (const bucket of await listBuckets(client)) {
    if (isRecursive) {
      const inside = { ...target, bucket: bucket.name, key: '' };
      for await (const line of listBucket(context, client, inside)) {
        yield { ...line, name: `${bucket.name}/${line.name}`, url: `${client.origin}/` };
      }
      continue;
    }
    yield {
      name: `${bucket.name}/`,
      url: `${client.origin}/`,
      isFolder: true,
      sizeBytes: 0,
      modifiedMs: bucket.createdMs,
      etag: '',
      storageClass: '',
    };
  }
}

async function* listBucket(
  context: McContext,
  client: S3Client,
  target: S3Target,
): AsyncGenerator<Line> {
  const { flags } = context;
  const isRecursive = flags.has('recursive');
  const { bucket } = target;
  checkBucketName(bucket);
  try {
    const prefix = await folderPrefix(client, target);
    const options = { bucket, prefix, isRecursive };
    const base = prefix.slice(0, prefix.lastIndexOf('/') + 1);
    const url = `${client.origin}/${bucket}/${prefix}`;
    const entries = flags.has('incomplete')
      ? listUploads(client, options)
      : flags.has('versions')
        ? newestFirst(listVersions(client, options))
        : listObjects(client, options);
    for await (const entry of entries) {
      const name = entry.key.slice(base.length);
      if (name === '' && entry.sizeBytes === 0) continue;
      yield { ...entry, name, url, isFolder: entry.isFolder || name.endsWith('/') };
    }
  } catch (error) {
    throw asBucketError(error, bucket);
  }
}

/** A key without a trailing `/` means the folder of that name when there is one and no such object. */
export async function folderPrefix(client: S3Client, target: S3Target): Promise<string> {
  const { bucket, key } = target;
  if (key === '' || key.endsWith('/')) return key;
  try {
    await headObject(client, { bucket, key });
    return key;
  } catch (error) {
    const reason = toMcError(error);
    if (reason.code === 'bucket-missing' || reason.code === 'cancelled') throw error;
  }
  return (await isFolder(client, bucket, key)) ? `${key}/` : key;
}

/** Numbers the versions of each key, the oldest being 1. */
async function* newestFirst(
  entries: AsyncIterable<Entry>,
): AsyncGenerator<Entry & { ordinal?: number }> {
  let held: Entry[] = [];
  const flush = function* () {
    for (const [index, entry] of held.entries()) yield { ...entry, ordinal: held.length - index };
    held = [];
  };
  for await (const entry of entries) {
    if (held[0] !== undefined && held[0].key !== entry.key) yield* flush();
    if (entry.isFolder) yield entry;
    else held.push(entry);
  }
  yield* flush();
}

async function* listLocal(context: McContext, root: string): AsyncGenerator<Line> {
  const info = await statLocal(root).catch(() => undefined);
  if (info === undefined) return;
  const toLine = (entry: {
    name: string;
    isFolder: boolean;
    sizeBytes: number;
    modifiedMs: number;
  }) => ({
    ...entry,
    url: info.isDirectory() ? `${root}/` : root,
    etag: '',
    storageClass: '',
  });
  if (!info.isDirectory()) {
    const name = path.basename(root);
    yield toLine({ name, isFolder: false, sizeBytes: info.size, modifiedMs: info.mtimeMs });
    return;
  }
  const isRecursive = context.flags.has('recursive');
  for await (const entry of walkLocal(root, { isRecursive })) yield toLine(entry);
}

function lineDocument(line: Line): JsonObject {
  return {
    status: 'success',
    type: line.isFolder ? 'folder' : 'file',
    lastModified: formatTimestamp(line.modifiedMs),
    size: line.sizeBytes,
    key: line.name,
    etag: line.etag,
    url: line.url,
    ...(line.versionId === undefined ? {} : { versionId: line.versionId }),
    versionOrdinal: line.ordinal ?? 1,
    ...(line.isDeleteMarker === true ? { isDeleteMarker: true } : {}),
    ...(line.storageClass === '' ? {} : { storageClass: line.storageClass }),
  };
}

function formatLine(context: McContext, line: Line): string {
  const { out } = context;
  const date = out.paint(`[${formatDate(line.modifiedMs)}]`, 'green');
  const size = out.paint(formatSizeShort(line.sizeBytes).padStart(7), 'yellow');
  const storage = line.storageClass === '' ? '' : ` ${out.paint(line.storageClass, 'blue')}`;
  const version =
    line.versionId === undefined
      ? ''
      : ` ${line.versionId} v${line.ordinal ?? 1} ${line.isDeleteMarker === true ? 'DEL' : 'PUT'}`;
  const name = out.paint(` ${line.name}`, line.isFolder ? 'cyanBold' : 'bold');
  return `${date}${size}${storage}${version}${name}`;
}
