// The policy of a bucket, as text.

import { McError } from './error.ts';
import type { S3Client } from './s3-client.ts';

/** Undefined when the bucket has none. Throws what the server said. */
export async function getBucketPolicy(
  client: S3Client,
  bucket: string,
): Promise<string | undefined> {
  try {
    const query = { policy: '' };
    const { body } = await client.call({ method: 'GET', bucket, query, statuses: [200] });
    return Buffer.from(body).toString('utf8');
  } catch (error) {
    if (error instanceof McError && error.serverCode === 'NoSuchBucketPolicy') return undefined;
    throw error;
  }
}

/** Throws what the server said. */
export async function putBucketPolicy(
  client: S3Client,
  bucket: string,
  policy: string,
): Promise<void> {
  await client.call({
    method: 'PUT',
    bucket,
    query: { policy: '' },
    body: Buffer.from(policy),
    isUnsigned: true,
    statuses: [200, 204],
  });
}

/** Also of a bucket that has none. Throws what the server said. */
export async function deleteBucketPolicy(client: S3Client, bucket: string): Promise<void> {
  await client.call({ method: 'DELETE', bucket, query: { policy: '' }, statuses: [200, 204] });
}
