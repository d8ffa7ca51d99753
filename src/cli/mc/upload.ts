// Uploads: one request for a file of up to one part, several parts in parallel for a larger one, and
// streams of unknown length. Rules: memory is bounded by parts that are re-read from the file, never held
// (a stream's part is held, since it cannot be read twice); an upload that fails is aborted.

import { checksumBytes, checksumOf, createChecksum } from '../../base/checksums.ts';
import type { ChecksumAlgorithm } from '../../base/checksums.ts';
import { escapeXml } from '../../base/xml.ts';
import { McError } from './error.ts';
import { forEachLimited } from './pool.ts';
import { countedBody } from './progress.ts';
import { asBucketError } from './s3-objects.ts';
import { documentText } from './s3-client.ts';
import type { Body, S3Client } from './s3-client.ts';
import { parseErrorDocument } from './server-error.ts';
import type { SseRules } from './sse.ts';

export const mebibyte = 1024 * 1024;
/** Part size of file uploads, and the unit by which it grows for very large files. */
export const partBytes = 16 * mebibyte;
const partsMax = 10_000;

export type UploadTarget = {
  readonly client: S3Client;
  readonly bucket: string;
  readonly key: string;
  /** `alias/bucket/key`, for the SSE rules. */
  readonly text: string;
};

/** Bytes of known size that can be read again, whole or in part. */
export type UploadSource = {
  readonly sizeBytes: number;
  open(range?: { start: number; sizeBytes: number }): AsyncIterable<Uint8Array>;
};

export type UploadOptions = {
  readonly headers: Readonly<Record<string, string>>;
  readonly sse: SseRules;
  readonly partBytes?: number;
  readonly parallel?: number;
  readonly isSinglePart?: boolean;
  readonly checksum?: ChecksumAlgorithm;
  count(bytes: number): void;
};

export type Part = {
  readonly number: number;
  readonly etag: string;
  /** Base64 of the part's checksum, when one was sent. */
  readonly checksum?: string;
};

/** Uploads from a file or another server. Throws the server's error, or the client's sentence for a missing bucket. */
export async function uploadSource(
  target: UploadTarget,
  source: UploadSource,
  options: UploadOptions,
): Promise<void> {
  const wanted = options.partBytes ?? partBytes;
  const size = Math.max(wanted, Math.ceil(source.sizeBytes / partsMax / wanted) * wanted);
  try {
    if (source.sizeBytes <= size || options.isSinglePart === true)
      await putWhole(target, source, options);
    else await putParts(target, source, { ...options, partBytes: size });
  } catch (error) {
    throw asBucketError(error, target.bucket);
  }
}

async function putWhole(
  target: UploadTarget,
  source: UploadSource,
  options: UploadOptions,
): Promise<void> {
  const open = countedBody(() => source.open(), options.count);
  const { client, bucket, key } = target;
  await client.call({
    method: 'PUT',
    bucket,
    key,
    headers: { ...options.headers, ...options.sse.forWrite(target.text) },
    body: withChecksum({ sizeBytes: source.sizeBytes, open }, options.checksum),
    statuses: [200],
  });
}

async function putParts(
  target: UploadTarget,
  source: UploadSource,
  options: UploadOptions & { partBytes: number },
): Promise<void> {
  const uploadId = await initiateUpload(target, options);
  try {
    const starts: number[] = [];
    for (let start = 0; start < source.sizeBytes; start += options.partBytes) starts.push(start);
    const parts: Part[] = [];
    await forEachLimited(starts.entries(), options.parallel ?? 4, async ([index, start]) => {
      const sizeBytes = Math.min(options.partBytes, source.sizeBytes - start);
      const open = countedBody(() => source.open({ start, sizeBytes }), options.count);
      const body = withChecksum({ sizeBytes, open }, options.checksum);
      const part = await uploadPart(target, { uploadId, number: index + 1, body }, options);
      const checksum = body.sentChecksum?.();
      parts[index] = { ...part, ...(checksum === undefined ? {} : { checksum }) };
    });
    const sums = options.checksum === undefined ? {} : { checksum: options.checksum };
    await completeUpload(target, { uploadId, parts, ...sums }, options);
  } catch (error) {
    await abortUpload(target, uploadId);
    throw error;
  }
}

/** Uploads a stream of unknown length, always in parts; returns its size. */
export async function uploadStream(
  target: UploadTarget,
  source: AsyncIterable<Uint8Array>,
  options: UploadOptions,
): Promise<number> {
  const checksum = options.checksum ?? 'CRC32C';
  let total = 0;
  let uploadId: string | undefined;
  try {
    uploadId = await initiateUpload(target, { ...options, checksum });
    const id = uploadId;
    const parts: Part[] = [];
    const pieces = cutStream(source, options.partBytes);
    await forEachLimited(pieces, options.parallel ?? 1, async ({ number, bytes }) => {
      const digest = checksumOf(checksum, bytes).toString('base64');
      const body: Body = { sizeBytes: bytes.length, open: () => once(bytes) };
      const headers = { [checksumHeader(checksum)]: digest };
      const part = await uploadPart(target, { uploadId: id, number, body, headers }, options);
      parts[number - 1] = { ...part, checksum: digest };
      total += bytes.length;
      options.count(bytes.length);
    });
    await completeUpload(target, { uploadId, parts, checksum }, options);
    return total;
  } catch (error) {
    if (uploadId !== undefined) await abortUpload(target, uploadId);
    throw asBucketError(error, target.bucket);
  }
}

/** Starts a multipart upload. */
export async function initiateUpload(
  target: UploadTarget,
  options: Pick<UploadOptions, 'headers' | 'sse' | 'checksum'>,
): Promise<string> {
  const { client, bucket, key } = target;
  const { body } = await client.call({
    method: 'POST',
    bucket,
    key,
    query: { uploads: '' },
    isUnsigned: true,
    headers: {
      'content-type': 'application/octet-stream',
      ...options.headers,
      ...options.sse.forWrite(target.text),
      ...checksumKind(options.checksum),
    },
    statuses: [200],
  });
  const uploadId = documentText(body, 'UploadId');
  if (uploadId === undefined || uploadId === '') {
    throw new McError('transport', 'the server answered without an upload id');
  }
  return uploadId;
}

async function uploadPart(
  target: UploadTarget,
  part: { uploadId: string; number: number; body: Body; headers?: Record<string, string> },
  options: Pick<UploadOptions, 'sse'>,
): Promise<Part> {
  const { client, bucket, key } = target;
  const { response } = await client.call({
    method: 'PUT',
    bucket,
    key,
    query: { partNumber: String(part.number), uploadId: part.uploadId },
    headers: { ...part.headers, ...options.sse.forPart(target.text) },
    body: part.body,
    statuses: [200],
  });
  return { number: part.number, etag: (response.headers['etag'] ?? '').replaceAll('"', '') };
}

/** Ends a multipart upload. Also throws when the server reports an error with status 200. */
export async function completeUpload(
  target: UploadTarget,
  upload: { uploadId: string; parts: readonly Part[]; checksum?: ChecksumAlgorithm },
  options: Pick<UploadOptions, 'sse'>,
): Promise<void> {
  const { client, bucket, key } = target;
  const { checksum, parts } = upload;
  const items = parts.map((part) => {
    const sum =
      checksum === undefined || part.checksum === undefined
        ? ''
        : `<Checksum${checksum}>${part.checksum}</Checksum${checksum}>`;
    return `<Part><PartNumber>${part.number}</PartNumber><ETag>${escapeXml(part.etag)}</ETag>${sum}</Part>`;
  });
  const document = `<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${items.join('')}</CompleteMultipartUpload>`;
  const { response, body } = await client.call({
    method: 'POST',
    bucket,
    key,
    query: { uploadId: upload.uploadId },
    headers: {
      'content-type': 'application/octet-stream',
      ...options.sse.forWrite(target.text),
      ...compositeHeader(checksum, parts),
    },
    body: Buffer.from(document),
    statuses: [200],
  });
  const error = parseErrorDocument(body, response, { bucket, key });
  if (error !== undefined) throw error;
}

/** Gives the parts of an upload back. Never throws: the failure that led here is the one to report. */
export async function abortUpload(target: UploadTarget, uploadId: string): Promise<void> {
  const { client, bucket, key } = target;
  await client
    .call({
      method: 'DELETE',
      bucket,
      key,
      query: { uploadId },
      statuses: [204],
      isCleanup: true,
    })
    .catch(() => undefined);
}

/** CRC64NVME is always a checksum of the whole object, which the server puts together from the parts'. */
function checksumKind(algorithm: ChecksumAlgorithm | undefined): Record<string, string> {
  if (algorithm === undefined) return {};
  const type = algorithm === 'CRC64NVME' ? { 'x-amz-checksum-type': 'FULL_OBJECT' } : {};
  return { 'x-amz-checksum-algorithm': algorithm, ...type };
}

/** The checksum over the parts' checksums, without the count of parts. */
function compositeHeader(
  algorithm: ChecksumAlgorithm | undefined,
  parts: readonly Part[],
): Record<string, string> {
  if (algorithm === undefined || algorithm === 'CRC64NVME') return {};
  const digests = parts.map((part) => Buffer.from(part.checksum ?? '', 'base64'));
  const digest = checksumOf(algorithm, Buffer.concat(digests)).toString('base64');
  return { [checksumHeader(algorithm)]: digest };
}

function checksumHeader(algorithm: ChecksumAlgorithm): string {
  return `x-amz-checksum-${algorithm.toLowerCase()}`;
}

type CheckedBody = Body & {
  /** The checksum that ended the last complete reading, base64. */
  sentChecksum?(): string;
};

function withChecksum(body: Body, algorithm: ChecksumAlgorithm | undefined): CheckedBody {
  if (algorithm === undefined) return body;
  let state = createChecksum(algorithm);
  let sent = '';
  return {
    sizeBytes: body.sizeBytes,
    async *open() {
      state = createChecksum(algorithm);
      for await (const chunk of body.open()) {
        state.update(chunk);
        yield chunk;
      }
    },
    trailer: {
      name: checksumHeader(algorithm),
      value: () => {
        sent = state.digest().toString('base64');
        return sent;
      },
      valueLength: Math.ceil(checksumBytes[algorithm] / 3) * 4,
    },
    sentChecksum: () => sent,
  };
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** Parts grow with the stream, so that ten thousand of them hold any object and small ones need little. */
function streamPartBytes(number: number): number {
  if (number <= 1000) return partBytes;
  return number <= 4000 ? 4 * partBytes : 32 * partBytes;
}

async function* cutStream(
  source: AsyncIterable<Uint8Array>,
  fixedBytes: number | undefined,
): AsyncGenerator<{ number: number; bytes: Uint8Array }> {
  let number = 1;
  let held: Uint8Array[] = [];
  let heldBytes = 0;
  for await (const chunk of source) {
    let rest = chunk;
    for (;;) {
      const wanted = (fixedBytes ?? streamPartBytes(number)) - heldBytes;
      if (rest.length <= wanted) break;
      held.push(rest.subarray(0, wanted));
      yield { number: number++, bytes: Buffer.concat(held) };
      rest = rest.subarray(wanted);
      held = [];
      heldBytes = 0;
    }
    if (rest.length > 0) held.push(rest);
    heldBytes += rest.length;
  }
  if (heldBytes > 0 || number === 1) yield { number, bytes: Buffer.concat(held) };
}
