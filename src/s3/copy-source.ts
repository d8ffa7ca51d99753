// The source of CopyObject and UploadPartCopy: found, its conditions checked, its bytes read.

import { type ObjectBody, type ObjectInfo, type OpenedObject, StoreError } from '../store/types.ts';
import type { ReplyHeaders, S3Call } from './call.ts';
import { checkCopySourceConditions } from './conditions.ts';
import { refuseUnsignedRead } from './encryption.ts';
import { invalidArgument, S3Error } from './errors.ts';
import { decodePart } from './target.ts';
import { checkVersionId } from './versions.ts';

export type CopySource = {
  readonly bucket: string;
  readonly key: string;
  readonly versionId?: string;
};

/**
 * Reads `x-amz-copy-source`: `bucket/key`, optionally with a leading slash, percent-decoded exactly once
 * after `?versionId=` was split off. Throws `InvalidArgument`.
 */
export function parseCopySource(header: string): CopySource {
  const [path, query] = splitVersion(header.startsWith('/') ? header.slice(1) : header);
  const slash = path.indexOf('/');
  const encodedKey = path.slice(slash + 1);
  if (slash < 1 || encodedKey === '') throw badCopySource(header);
  let bucket: string;
  let key: string;
  try {
    bucket = decodePart(path.slice(0, slash));
    key = decodePart(encodedKey);
  } catch {
    throw badCopySource(header);
  }
  if (key.includes('\0') || Buffer.byteLength(key) > 1024) throw badCopySource(header);
  return { bucket, key, ...(query === undefined ? {} : { versionId: checkVersionId(query) }) };
}

export type OpenedSource = {
  readonly object: OpenedObject;
  /** What is known of it without its key. */
  readonly found: ObjectInfo;
};

/**
 * Opens the source with the key that the request brings for it, and checks the `x-amz-copy-source-if-…`
 * headers. The key service is not asked yet.
 */
export async function openCopySource(call: S3Call, source: CopySource): Promise<OpenedSource> {
  const key = call.customerKeys.ofCopySource();
  const found = await findSource(call, source);
  refuseUnsignedRead(call, found.info.encryption);
  const object = found.unlock(key?.clientKey);
  checkCopySourceConditions(call.headers, object.info);
  return { object, found: found.info };
}

async function findSource(call: S3Call, source: CopySource): Promise<OpenedObject> {
  try {
    return await call.store.openObject({ ...source, willRead: true });
  } catch (error) {
    if (!(error instanceof StoreError && error.code === 'DeleteMarker')) throw error;
    throw new S3Error(
      'InvalidRequest',
      'The source of a copy request may not specifically refer to a delete marker by version id.',
      { cause: error },
    );
  }
}

/** `x-amz-copy-source-version-id`, where the source has versions. */
export function addCopySourceVersion(headers: ReplyHeaders, source: OpenedObject): void {
  if (!source.isVersioned) return;
  headers.push('x-amz-copy-source-version-id', source.info.versionId);
}

/** Runs `action` with the bytes of an opened source and frees them afterwards, whatever happens. */
export async function withBody<Result>(
  body: ObjectBody,
  action: (body: ObjectBody) => Promise<Result>,
): Promise<Result> {
  try {
    return await action(body);
  } finally {
    if (!(body instanceof Uint8Array)) await body.close();
  }
}

/** The longest source of one CopyObject or UploadPartCopy. */
export const copyBytesMax = 5 * 1024 ** 3;

/** Throws `InvalidRequest` when one request copies too much. */
export function checkCopySize(sizeBytes: number): void {
  if (sizeBytes > copyBytesMax) {
    throw new S3Error(
      'InvalidRequest',
      `The specified copy source is larger than the maximum allowable size for a copy source: ${copyBytesMax}`,
    );
  }
}

function splitVersion(text: string): [string, string | undefined] {
  const mark = text.indexOf('?');
  if (mark === -1) return [text, undefined];
  const match = /^versionId=([^&]*)$/.exec(text.slice(mark + 1));
  if (match === null) throw badCopySource(text);
  return [text.slice(0, mark), match[1]];
}

function badCopySource(header: string): S3Error {
  return invalidArgument(
    'x-amz-copy-source',
    header,
    'Copy Source must mention the source bucket and key: sourcebucket/sourcekey',
  );
}
