// The encryption headers of requests, for tests of every mode.

import { createHash } from 'node:crypto';

const sse = 'x-amz-server-side-encryption';

/** The three headers of a client's key. */
export function customerHeaders(key: Buffer): Record<string, string> {
  return {
    [`${sse}-customer-algorithm`]: 'AES256',
    [`${sse}-customer-key`]: key.toString('base64'),
    [`${sse}-customer-key-md5`]: createHash('md5').update(key).digest('base64'),
  };
}

/** The same for the source of a copy. */
export function copySourceHeaders(key: Buffer): Record<string, string> {
  return Object.fromEntries(
    Object.entries(customerHeaders(key)).map(([name, value]) => [
      name.replace('x-amz-', 'x-amz-copy-source-'),
      value,
    ]),
  );
}

export const sseS3Headers: Record<string, string> = { [sse]: 'AES256' };

/** SSE-KMS with a key id and a context, each when given. */
export function kmsHeaders(
  keyId?: string,
  context?: Readonly<Record<string, string>>,
): Record<string, string> {
  return {
    [sse]: 'aws:kms',
    ...(keyId === undefined ? {} : { [`${sse}-aws-kms-key-id`]: keyId }),
    ...(context === undefined
      ? {}
      : { [`${sse}-context`]: Buffer.from(JSON.stringify(context)).toString('base64') }),
  };
}

/** SSE-KMS under a bucket key. */
export function bucketKeyHeaders(
  keyId?: string,
  context?: Readonly<Record<string, string>>,
): Record<string, string> {
  return { ...kmsHeaders(keyId, context), [`${sse}-bucket-key-enabled`]: 'true' };
}

/** DSSE-KMS. */
export function dsseHeaders(
  keyId?: string,
  context?: Readonly<Record<string, string>>,
): Record<string, string> {
  return { ...kmsHeaders(keyId, context), [sse]: 'aws:kms:dsse' };
}

/** The encryption headers of an answer, without their common start. */
export function shownEncryption(
  headers: Readonly<Record<string, string | readonly string[] | undefined>>,
): Record<string, string> {
  const shown = Object.entries(headers).filter(([name]) => name.startsWith(sse));
  return Object.fromEntries(
    shown.map(([name, value]) => [name.slice(sse.length + 1) || 'method', String(value)]),
  );
}
