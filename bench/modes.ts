// How the objects of a measurement are encrypted: the headers of writes and of reads.

import { createHash } from 'node:crypto';

export const benchModes = [
  'plain',
  'sse-s3',
  'sse-kms',
  'bucket-key',
  'dsse-kms',
  'sse-c',
] as const;
export type BenchMode = (typeof benchModes)[number];

/** Lower-case names, in the order in which they are signed. */
export type BenchHeaders = Readonly<Record<string, string>>;

const method = 'x-amz-server-side-encryption';
const clientKey = Buffer.alloc(32, 7);
const clientKeyHeaders: BenchHeaders = {
  [`${method}-customer-algorithm`]: 'AES256',
  [`${method}-customer-key`]: clientKey.toString('base64'),
  [`${method}-customer-key-md5`]: createHash('md5').update(clientKey).digest('base64'),
};

/** The headers of a write. */
export function writeHeaders(mode: BenchMode): BenchHeaders {
  switch (mode) {
    case 'plain':
      return {};
    case 'sse-s3':
      return { [method]: 'AES256' };
    case 'sse-kms':
      return { [method]: 'aws:kms' };
    case 'bucket-key':
      return { [method]: 'aws:kms', [`${method}-bucket-key-enabled`]: 'true' };
    case 'dsse-kms':
      return { [method]: 'aws:kms:dsse' };
    case 'sse-c':
      return clientKeyHeaders;
  }
}

/** The headers of a GET or HEAD. */
export function readHeaders(mode: BenchMode): BenchHeaders {
  return mode === 'sse-c' ? clientKeyHeaders : {};
}
