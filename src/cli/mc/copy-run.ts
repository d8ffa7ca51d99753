// Carries out one item of a copy plan, whichever sides are local or on a server. Nothing half-written stays:
// a local file appears when it is whole, an upload becomes visible when the server has all of it.

import { chmod, stat, utimes } from 'node:fs/promises';

import type { CopyItem, CopySide } from './copy-plan.ts';
import { readObject } from './download.ts';
import { contentTypeOf, readFileRange, writeWhole } from './local.ts';
import { countedBody } from './progress.ts';
import { headObject } from './s3-objects.ts';
import type { ObjectInfo } from './s3-objects.ts';
import { copiedMetadata, copyOnServer } from './server-copy.ts';
import type { SseRules } from './sse.ts';
import { uploadSource } from './upload.ts';
import type { UploadOptions, UploadSource } from './upload.ts';

export type RunOptions = Omit<UploadOptions, 'sse'> & {
  readonly sse: SseRules;
  readonly isPreserving: boolean;
  readonly signal: AbortSignal;
};

type S3Side = Extract<CopySide, { kind: 's3' }>;
type LocalSide = Extract<CopySide, { kind: 'local' }>;

/** Copies one item. Throws the cause; the caller names the item. */
export async function runCopy(item: CopyItem, options: RunOptions): Promise<void> {
  const { source, target } = item;
  if (source.kind === 'local' && target.kind === 'local') {
    const open = countedBody(() => readFileRange(source.path), options.count);
    await writeWhole(target.path, open(), options.signal);
    if (options.isPreserving) await copyAttributes(source.path, target.path);
  } else if (source.kind === 'local' && target.kind === 's3') {
    await uploadLocal(item, { source, target }, options);
  } else if (source.kind === 's3' && target.kind === 'local') {
    await downloadObject({ source, target }, options);
  } else if (source.kind === 's3' && target.kind === 's3') {
    await copyBetween(item, { source, target }, options);
  }
}

/** Gets an object into a file. */
export async function downloadObject(
  sides: { source: S3Side; target: LocalSide },
  options: Pick<RunOptions, 'sse' | 'signal' | 'count' | 'isPreserving'>,
): Promise<void> {
  const { source, target } = sides;
  const headers = options.sse.forRead(source.text);
  const open = countedBody(
    () => readObject(source.client, source, { headers, signal: options.signal }),
    options.count,
  );
  await writeWhole(target.path, open(), options.signal);
  if (options.isPreserving) {
    await restoreAttributes(target.path, await headObject(source.client, source, headers));
  }
}

async function uploadLocal(
  item: CopyItem,
  sides: { source: LocalSide; target: S3Side },
  options: RunOptions,
): Promise<void> {
  const { source, target } = sides;
  const headers = {
    'content-type': contentTypeOf(source.path),
    ...(options.isPreserving ? await readAttributes(source.path) : {}),
    ...options.headers,
  };
  const file: UploadSource = {
    sizeBytes: item.sizeBytes,
    open: (range) => readFileRange(source.path, range ?? { start: 0, sizeBytes: item.sizeBytes }),
  };
  await uploadSource(target, file, { ...options, headers });
}

async function copyBetween(
  item: CopyItem,
  sides: { source: S3Side; target: S3Side },
  options: RunOptions,
): Promise<void> {
  const { source, target } = sides;
  const readHeaders = options.sse.forRead(source.text);
  const info = item.info ?? (await headObject(source.client, source, readHeaders));
  const from = source.client.alias;
  if (
    source.client.origin === target.client.origin &&
    from.accessKey === target.client.alias.accessKey
  ) {
    await copyOnServer({ ...source, info }, target, options);
    return;
  }
  const object: UploadSource = {
    sizeBytes: info.sizeBytes,
    open: (range) =>
      readObject(source.client, source, {
        headers: readHeaders,
        signal: options.signal,
        ...range,
      }),
  };
  const headers = { ...copiedMetadata(info), ...options.headers };
  await uploadSource(target, object, { ...options, headers });
}

const attributesHeader = 'x-amz-meta-mc-attrs';

async function readAttributes(file: string): Promise<Record<string, string>> {
  const info = await stat(file, { bigint: true });
  const time = (nanoseconds: bigint) =>
    `${nanoseconds / 1_000_000_000n}#${nanoseconds % 1_000_000_000n}`;
  const value = `atime:${time(info.atimeNs)}/gid:${info.gid}/mode:${info.mode}/mtime:${time(info.mtimeNs)}/uid:${info.uid}`;
  return { [attributesHeader]: value };
}

async function copyAttributes(from: string, to: string): Promise<void> {
  const info = await stat(from);
  await chmod(to, info.mode & 0o7777);
  await utimes(to, info.atime, info.mtime);
}

async function restoreAttributes(file: string, info: ObjectInfo): Promise<void> {
  const value = info.headers[attributesHeader];
  if (value === undefined) return;
  const fields = new Map<string, string>();
  for (const field of value.split('/')) {
    const colon = field.indexOf(':');
    if (colon > 0) fields.set(field.slice(0, colon), field.slice(colon + 1));
  }
  const seconds = (name: string) => {
    const [whole, nanoseconds] = (fields.get(name) ?? '').split('#');
    return whole === undefined || whole === ''
      ? Date.now() / 1000
      : Number(whole) + Number(nanoseconds ?? 0) / 1e9;
  };
  const mode = Number(fields.get('mode'));
  if (Number.isInteger(mode) && mode > 0) await chmod(file, mode & 0o777);
  if (fields.has('mtime')) await utimes(file, seconds('atime'), seconds('mtime'));
}
