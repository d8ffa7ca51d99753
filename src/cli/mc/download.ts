// Reading objects. A connection that breaks in the middle is taken up again with a range and the ETag of
// the first answer, so that what arrives is one version of the object, whole; a changed object is an error.

import { McError } from './error.ts';
import type { ObjectName } from './s3-objects.ts';
import { asObjectError } from './s3-objects.ts';
import type { S3Client } from './s3-client.ts';

export type ReadOptions = {
  readonly headers?: Readonly<Record<string, string>>;
  /** First byte to read. */
  readonly start?: number;
  /** How many bytes from there; to the end when left out. */
  readonly sizeBytes?: number;
  readonly partNumber?: number;
  readonly signal: AbortSignal;
};

const resumesMax = 10;

/** The bytes of an object. Throws like `headObject`, `transport` when the connection cannot be mended. */
export async function* readObject(
  client: S3Client,
  object: ObjectName,
  options: ReadOptions,
): AsyncGenerator<Uint8Array> {
  let position = options.start ?? 0;
  let etag: string | undefined;
  let expected: number | undefined;
  for (let resumes = 0; ; resumes++) {
    const response = await openObject(client, object, { ...options, position, etag });
    etag ??= response.headers['etag'];
    const length = response.headers['content-length'];
    expected ??= length === undefined ? undefined : position + Number(length);
    try {
      for await (const chunk of response.body) {
        position += chunk.length;
        yield chunk;
      }
      if (expected === undefined || position === expected) return;
      throw new Error('the answer ended early');
    } catch (cause) {
      if (options.signal.aborted) throw new McError('cancelled', 'interrupted', { cause });
      if (resumes >= resumesMax || etag === undefined || options.partNumber !== undefined) {
        throw new McError('transport', `the connection broke after ${position} bytes`, { cause });
      }
    }
  }
}

async function openObject(
  client: S3Client,
  object: ObjectName,
  options: ReadOptions & { position: number; etag: string | undefined },
): ReturnType<S3Client['send']> {
  const { bucket, key, versionId } = object;
  const query = {
    ...(versionId === undefined ? {} : { versionId }),
    ...(options.partNumber === undefined ? {} : { partNumber: String(options.partNumber) }),
  };
  try {
    return await client.send({
      method: 'GET',
      bucket,
      key,
      query,
      headers: {
        ...options.headers,
        ...rangeHeader(options),
        ...(options.etag === undefined ? {} : { 'if-match': options.etag }),
      },
      statuses: [200, 206],
    });
  } catch (error) {
    throw asObjectError(error, client, object);
  }
}

function rangeHeader(options: ReadOptions & { position: number }): { range?: string } {
  if (options.sizeBytes !== undefined) {
    const end = (options.start ?? 0) + options.sizeBytes - 1;
    return { range: `bytes=${options.position}-${end}` };
  }
  return options.position === 0 ? {} : { range: `bytes=${options.position}-` };
}
