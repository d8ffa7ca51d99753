// Names of checksum algorithms and the checksum headers that are not about a request body.

import { checksumAlgorithms } from '../base/checksums.ts';
import type { ChecksumAlgorithm, ChecksumType } from '../store/types.ts';
import type { S3Headers } from './headers.ts';
import { S3Error } from './errors.ts';

/** The headers that carry a checksum of the body; others of the prefix only speak about one. */
export const checksumHeaderNames: readonly string[] = checksumAlgorithms.map(
  (algorithm) => `x-amz-checksum-${algorithm.toLowerCase()}`,
);

/** An algorithm by its name in any case; undefined when none was given. Throws `InvalidRequest`. */
export function parseChecksumAlgorithm(name: string | undefined): ChecksumAlgorithm | undefined {
  if (name === undefined) return undefined;
  const wanted = name.toUpperCase();
  const found = checksumAlgorithms.find((algorithm) => algorithm === wanted);
  if (found === undefined) {
    throw new S3Error('InvalidRequest', `Checksum algorithm provided is unsupported: ${name}`);
  }
  return found;
}

/** A checksum type. Throws `InvalidRequest`. */
export function parseChecksumType(type: string | undefined): ChecksumType | undefined {
  if (type === undefined) return undefined;
  const wanted = type.toUpperCase();
  if (wanted === 'COMPOSITE' || wanted === 'FULL_OBJECT') return wanted;
  throw new S3Error('InvalidRequest', `Value for x-amz-checksum-type header is invalid: ${type}`);
}

/** The pair that a new upload declares. Throws `InvalidRequest` for impossible pairs. */
export function declaredChecksum(
  headers: S3Headers,
): { readonly algorithm: ChecksumAlgorithm; readonly type: ChecksumType } | undefined {
  const algorithm = parseChecksumAlgorithm(headers['x-amz-checksum-algorithm']);
  const type = parseChecksumType(headers['x-amz-checksum-type']);
  if (algorithm === undefined) {
    if (type === undefined) return undefined;
    throw new S3Error(
      'InvalidRequest',
      'The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.',
    );
  }
  const isFullOnly = algorithm === 'CRC64NVME';
  const isCompositeOnly = algorithm === 'SHA1' || algorithm === 'SHA256';
  if ((isFullOnly && type === 'COMPOSITE') || (isCompositeOnly && type === 'FULL_OBJECT')) {
    throw new S3Error(
      'InvalidRequest',
      `The ${type} checksum type cannot be used with the ${algorithm.toLowerCase()} checksum algorithm.`,
    );
  }
  return { algorithm, type: type ?? (isFullOnly ? 'FULL_OBJECT' : 'COMPOSITE') };
}

/** The one `x-amz-checksum-<algorithm>` header of a completion. Throws `InvalidRequest` when there are two. */
export function statedChecksum(
  headers: S3Headers,
): { readonly algorithm: ChecksumAlgorithm; readonly value: string } | undefined {
  let stated: { readonly algorithm: ChecksumAlgorithm; readonly value: string } | undefined;
  for (const algorithm of checksumAlgorithms) {
    const value = headers[`x-amz-checksum-${algorithm.toLowerCase()}`];
    if (value === undefined) continue;
    if (stated !== undefined) {
      throw new S3Error(
        'InvalidRequest',
        'Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.',
      );
    }
    stated = { algorithm, value };
  }
  return stated;
}
