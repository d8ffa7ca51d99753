// Copies that the server makes by itself, within one alias: one request for small objects, part copies for
// large ones. The source's metadata is repeated, since the copy replaces it.

import type { ObjectInfo, ObjectName } from './s3-objects.ts';
import { asBucketError } from './s3-objects.ts';
import { documentText } from './s3-client.ts';
import { McError } from './error.ts';
import { forEachLimited } from './pool.ts';
import { parseErrorDocument } from './server-error.ts';
import { abortUpload, completeUpload, initiateUpload, mebibyte } from './upload.ts';
import type { Part, UploadOptions, UploadTarget } from './upload.ts';

/** From this size on a copy is made in parts. */
const multipartCopyBytes = 64 * mebibyte;
const partBytesMin = 512 * mebibyte;
const partsMax = 10_000;

export type CopySource = ObjectName & {
  /** `alias/bucket/key`. */
  readonly text: string;
  readonly info: ObjectInfo;
};

/** Copies on the server. Throws the server's error, or the client's sentence for a missing bucket. */
export async function copyOnServer(
  source: CopySource,
  target: UploadTarget,
  options: UploadOptions,
): Promise<void> {
  try {
    if (source.info.sizeBytes < multipartCopyBytes || options.isSinglePart === true) {
      await copyWhole(source, target, options);
    } else await copyParts(source, target, options);
  } catch (error) {
    throw asBucketError(error, target.bucket);
  }
  options.count(source.info.sizeBytes);
}

/** Metadata of an object that a copy repeats: content headers and user metadata, never encryption. */
export function copiedMetadata(info: ObjectInfo): Record<string, string> {
  const kept: Record<string, string> = {};
  const names =
    /^(content-type|content-encoding|content-disposition|content-language|cache-control|expires|x-amz-website-redirect-location|x-amz-meta-.+)$/;
  for (const [name, value] of Object.entries(info.headers)) {
    if (names.test(name)) kept[name] = value;
  }
  return kept;
}

function copySourceHeader(source: ObjectName): string {
  const path = `${source.bucket}/${encodeURIComponent(source.key).replaceAll('%2F', '/')}`;
  return source.versionId === undefined ? path : `${path}?versionId=${source.versionId}`;
}

async function copyWhole(
  source: CopySource,
  target: UploadTarget,
  options: UploadOptions,
): Promise<void> {
  const { client, bucket, key } = target;
  const { response, body } = await client.call({
    method: 'PUT',
    bucket,
    key,
    isUnsigned: true,
    headers: {
      ...copiedMetadata(source.info),
      ...options.headers,
      'x-amz-metadata-directive': 'REPLACE',
      'x-amz-copy-source': copySourceHeader(source),
      ...options.sse.forWrite(target.text),
      ...options.sse.forCopySource(source.text),
    },
    statuses: [200],
  });
  const error = parseErrorDocument(body, response, { bucket, key });
  if (error !== undefined) throw error;
}

async function copyParts(
  source: CopySource,
  target: UploadTarget,
  options: UploadOptions,
): Promise<void> {
  const headers = { ...copiedMetadata(source.info), ...options.headers };
  const uploadId = await initiateUpload(target, { headers, sse: options.sse });
  try {
    const { sizeBytes } = source.info;
    const partBytes = Math.max(partBytesMin, Math.ceil(sizeBytes / partsMax / mebibyte) * mebibyte);
    const starts: number[] = [];
    for (let start = 0; start < sizeBytes; start += partBytes) starts.push(start);
    const parts: Part[] = [];
    await forEachLimited(starts.entries(), 4, async ([index, start]) => {
      const end = Math.min(start + partBytes, sizeBytes) - 1;
      const part = { uploadId, number: index + 1, range: `bytes=${start}-${end}` };
      parts[index] = await copyPart(source, target, part, options);
    });
    await completeUpload(target, { uploadId, parts }, options);
  } catch (error) {
    await abortUpload(target, uploadId);
    throw error;
  }
}

async function copyPart(
  source: CopySource,
  target: UploadTarget,
  part: { uploadId: string; number: number; range: string },
  options: UploadOptions,
): Promise<Part> {
  const { client, bucket, key } = target;
  const { response, body } = await client.call({
    method: 'PUT',
    bucket,
    key,
    query: { partNumber: String(part.number), uploadId: part.uploadId },
    isUnsigned: true,
    headers: {
      'x-amz-copy-source': copySourceHeader(source),
      'x-amz-copy-source-range': part.range,
      ...(source.info.etag === '' ? {} : { 'x-amz-copy-source-if-match': source.info.etag }),
      ...options.sse.forPart(target.text),
      ...options.sse.forCopySource(source.text),
    },
    statuses: [200],
  });
  const error = parseErrorDocument(body, response, { bucket, key });
  if (error !== undefined) throw error;
  const etag = documentText(body, 'ETag')?.replaceAll('"', '');
  if (etag === undefined)
    throw new McError('transport', 'the server copied a part without an ETag');
  return { number: part.number, etag };
}
