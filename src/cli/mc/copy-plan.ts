// What a copy or move has to do: every source file with the place it goes to. Rules of the names: a source
// folder without a trailing `/` keeps its own name below the target, with it only its content is copied; a
// single file goes into the target when that is a folder, and takes its name otherwise.

import path from 'node:path';

import { aliasOf, baseName, openS3, parseTarget, s3Text } from './context.ts';
import type { McContext, S3Target, Target } from './context.ts';
import { invalidArguments, McError } from './error.ts';
import { placeBelow, statLocal, walkLocal } from './local.ts';
import type { ObjectInfo } from './s3-objects.ts';
import { headBucket, headObject, isFolder } from './s3-objects.ts';
import type { S3Client } from './s3-client.ts';
import { listObjects } from './s3-list.ts';
import type { SseRules } from './sse.ts';

/** A file or object to read. `text` is how messages name it. */
export type CopySide =
  | { readonly kind: 'local'; readonly path: string; readonly text: string }
  | {
      readonly kind: 's3';
      readonly client: S3Client;
      readonly bucket: string;
      readonly key: string;
      readonly versionId?: string;
      readonly text: string;
    };

export type CopyItem = {
  readonly source: CopySide;
  readonly target: CopySide;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
  /** Known when the source was looked at already. */
  readonly info?: ObjectInfo;
};

export type PlanOptions = {
  readonly isRecursive: boolean;
  readonly sse: SseRules;
  readonly versionId?: string;
};

/** Finds everything to copy. Throws `McError` for a source or target that cannot be used. */
export async function planCopy(
  context: McContext,
  places: { sources: readonly string[]; target: string },
  options: PlanOptions,
  report: (error: McError) => void,
): Promise<readonly CopyItem[]> {
  const target = await parseTarget(context, places.target);
  const isSingle = places.sources.length === 1 && !options.isRecursive;
  await readLock(context, target);
  const items: CopyItem[] = [];
  if (isSingle) {
    const source = await parseTarget(context, places.sources[0] ?? '');
    const item = await findFile(context, source, options);
    const isInto = await isTargetFolder(context, target, options.sse);
    items.push({ ...item, target: await placeAt(context, target, isInto ? item.name : '') });
    return items;
  }
  if (!options.isRecursive && !(await isTargetFolder(context, target, options.sse))) {
    throw invalidArguments();
  }
  for (const text of places.sources) {
    const source = await parseTarget(context, text);
    try {
      const found = options.isRecursive
        ? findBelow(context, source, options)
        : [await findFile(context, source, options)];
      for await (const item of found) {
        items.push({ ...item, target: await placeAt(context, target, item.name) });
      }
    } catch (error) {
      if (!(error instanceof McError) || places.sources.length === 1) throw error;
      report(error);
    }
  }
  return items;
}

type Found = Omit<CopyItem, 'target'> & {
  /** Where it goes below a target folder. */
  readonly name: string;
};

async function findFile(context: McContext, source: Target, options: PlanOptions): Promise<Found> {
  const needsRecursive = () =>
    new McError('argument', `To copy or move '${source.text}' the --recursive flag is required.`);
  if (source.kind === 'local') {
    const info = await statLocal(source.path);
    if (info.isDirectory()) throw needsRecursive();
    return {
      source: { kind: 'local', path: source.path, text: source.path },
      name: path.basename(source.path),
      sizeBytes: info.size,
      modifiedMs: info.mtimeMs,
    };
  }
  const client = await openS3(context, source.alias);
  const { bucket, key } = source;
  if (key === '' || key.endsWith('/')) {
    if (await isFolder(client, bucket, key)) throw needsRecursive();
    throw new McError('object-missing', 'Object does not exist');
  }
  const { versionId } = options;
  const named = { bucket, key, ...(versionId === undefined ? {} : { versionId }) };
  let info: ObjectInfo;
  try {
    info = await headObject(client, named, options.sse.forRead(s3Text(source, key)));
  } catch (error) {
    if (error instanceof McError && error.code === 'object-missing') {
      if (await isFolder(client, bucket, key)) throw needsRecursive();
    }
    throw error;
  }
  return {
    source: { kind: 's3', client, ...named, text: s3Text(source, key) },
    name: baseName(key),
    sizeBytes: info.sizeBytes,
    modifiedMs: info.modifiedMs,
    info,
  };
}

async function* findBelow(
  context: McContext,
  source: Target,
  options: PlanOptions,
): AsyncGenerator<Found> {
  if (source.kind === 's3') {
    yield* findObjects(context, source);
    return;
  }
  const info = await statLocal(source.path).catch((error: unknown) => {
    const isMissing = error instanceof McError && error.code === 'local-missing';
    throw isMissing ? new McError('object-missing', 'Object does not exist') : error;
  });
  if (!info.isDirectory()) {
    yield await findFile(context, source, options);
    return;
  }
  const top = /[/\\]$|^\.$|(^|[/\\])\.\.?$/.test(source.text) ? '' : `${baseName(source.path)}/`;
  for await (const entry of walkLocal(source.path, { isRecursive: true })) {
    yield {
      source: { kind: 'local', path: entry.path, text: entry.path },
      name: top + entry.name,
      sizeBytes: entry.sizeBytes,
      modifiedMs: entry.modifiedMs,
    };
  }
}

async function* findObjects(context: McContext, source: S3Target): AsyncGenerator<Found> {
  const client = await openS3(context, source.alias);
  const { bucket, key: prefix } = source;
  const folder = prefix.slice(0, prefix.lastIndexOf('/') + 1);
  const top = prefix === '' && !source.text.endsWith('/') ? `${bucket}/` : '';
  let count = 0;
  for await (const entry of listObjects(client, { bucket, prefix, isRecursive: true })) {
    count++;
    if (entry.key.endsWith('/')) continue;
    yield {
      source: { kind: 's3', client, bucket, key: entry.key, text: s3Text(source, entry.key) },
      name: top + entry.key.slice(folder.length),
      sizeBytes: entry.sizeBytes,
      modifiedMs: entry.modifiedMs,
    };
  }
  if (count === 0 && prefix !== '') throw new McError('object-missing', 'Object does not exist');
}

/** The place of `name` below the target, or the target itself for an empty name. */
async function placeAt(context: McContext, target: Target, name: string): Promise<CopySide> {
  if (target.kind === 'local') {
    const text = name === '' ? target.text : placeBelow(target.text, name);
    return { kind: 'local', path: path.resolve(text), text };
  }
  const client = await openS3(context, target.alias);
  const key = name === '' ? target.key : joinKey(target.key, name);
  return { kind: 's3', client, bucket: target.bucket, key, text: s3Text(target, key) };
}

function joinKey(folder: string, name: string): string {
  return folder === '' || folder.endsWith('/') ? folder + name : `${folder}/${name}`;
}

async function isTargetFolder(context: McContext, target: Target, sse: SseRules): Promise<boolean> {
  if (target.kind === 'local') {
    if (/[/\\]$/.test(target.text)) return true;
    try {
      return (await statLocal(target.path)).isDirectory();
    } catch {
      return false;
    }
  }
  const client = await openS3(context, target.alias);
  const { bucket, key } = target;
  try {
    if (key === '') {
      await headBucket(client, bucket);
      return true;
    }
    if (key.endsWith('/')) return true;
    await headObject(client, { bucket, key }, sse.forRead(s3Text(target, key)));
    return false;
  } catch (error) {
    if (error instanceof McError && error.code === 'cancelled') throw error;
    if (key === '' || key.endsWith('/')) return true;
    const isMissing = error instanceof McError && error.code === 'object-missing';
    return isMissing && (await isFolder(client, bucket, key).catch(() => false));
  }
}

/** The reference asks whether the target bucket has object lock; the answer only decides about MD5 there. */
async function readLock(context: McContext, target: Target): Promise<void> {
  if (target.kind !== 's3' || target.bucket === '') return;
  const client = await openS3(context, aliasOf(target.text));
  await client
    .call({ method: 'GET', bucket: target.bucket, query: { 'object-lock': '' }, statuses: [200] })
    .catch((error: unknown) => {
      if (error instanceof McError && error.code === 'cancelled') throw error;
    });
}
