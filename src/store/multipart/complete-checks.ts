// What a client may say about the parts of an upload, checked: order, ETags, sizes, checksums. Pure functions
// from the upload, the stored parts and the request to the checksum and ETag of the object.

import { createHash } from 'node:crypto';
import { checksumBytes, checksumOf, combineCrc, isCrc } from '../../base/checksums.ts';
import type { PartRecord, UploadRecord } from '../records.ts';
import {
  type BodyChecksum,
  type Checksum,
  type ChecksumAlgorithm,
  type ChecksumType,
  type CompletedPart,
  type CompleteUploadInput,
  StoreError,
} from '../types.ts';

/** Every part but the last has at least this size. */
const partBytesMin = 5 * 1024 * 1024;
const objectBytesMax = 5 * 1024 ** 4;
const partsMax = 10_000;

/** The checksum to compute for a part, by what the upload declared. Throws `InvalidRequest`. */
export function partChecksum(
  upload: UploadRecord,
  given: BodyChecksum | undefined,
): BodyChecksum | undefined {
  const declared = upload.checksum;
  if (!declared) return given;
  if (given && given.algorithm !== declared.algorithm) {
    throw invalid(
      `Checksum Type mismatch occurred, expected checksum Type: ${declared.algorithm.toLowerCase()}, actual checksum Type: ${given.algorithm.toLowerCase()}`,
    );
  }
  if (!given && declared.type === 'COMPOSITE') {
    throw invalid(
      `The upload was created using a ${declared.algorithm} checksum. Every part must carry it.`,
    );
  }
  return given ?? { algorithm: declared.algorithm };
}

/** Checks numbers and their order before anything is read. */
export function assertPartOrder(parts: readonly CompletedPart[]): void {
  if (parts.length === 0) throw invalid('You must specify at least one part');
  if (parts.length > partsMax) throw invalid('An upload has at most 10,000 parts');
  let last = 0;
  for (const { number } of parts) {
    if (!Number.isInteger(number) || number < 1 || number > partsMax) {
      throw new StoreError('InvalidArgument', 'PartNumber must be >= 1 and <= 10000');
    }
    if (number <= last) {
      throw new StoreError(
        'InvalidPartOrder',
        'The list of parts was not in ascending order. The parts list must be specified in order by part number.',
      );
    }
    last = number;
  }
}

/** The stored parts that the client listed. Throws `InvalidPart`. */
export function selectParts(
  input: CompleteUploadInput,
  stored: ReadonlyMap<number, PartRecord>,
): PartRecord[] {
  return input.parts.map((listed) => {
    const part = stored.get(listed.number);
    if (!part || part.etag !== listed.etag) throw invalidPart(input, listed);
    return part;
  });
}

export type CompletedObject = {
  readonly sizeBytes: number;
  readonly etag: string;
  readonly checksum: Checksum | undefined;
};

/** Everything of the object that follows from its parts; checks whatever the client said about it. */
export function completeFrom(
  upload: UploadRecord,
  input: CompleteUploadInput,
  parts: readonly PartRecord[],
): CompletedObject {
  const checksum = objectChecksum(upload, input, parts);
  assertObjectChecksum(input, checksum);
  assertPartChecksums(upload, input, parts);
  const sizeBytes = sizeOf(input, parts);
  return { sizeBytes, etag: multipartEtag(parts), checksum };
}

function sizeOf(input: CompleteUploadInput, parts: readonly PartRecord[]): number {
  let sizeBytes = 0;
  for (const [index, part] of parts.entries()) {
    if (index < parts.length - 1 && part.sizeBytes < partBytesMin) {
      throw new StoreError(
        'EntityTooSmall',
        'Your proposed upload is smaller than the minimum allowed size',
        {
          details: {
            ProposedSize: String(part.sizeBytes),
            MinSizeAllowed: String(partBytesMin),
            PartNumber: String(part.number),
            ETag: part.etag,
          },
        },
      );
    }
    sizeBytes += part.sizeBytes;
  }
  if (sizeBytes > objectBytesMax) {
    throw new StoreError('EntityTooLarge', 'Your proposed upload exceeds the maximum allowed size');
  }
  if (input.sizeBytes !== undefined && input.sizeBytes !== sizeBytes) {
    throw invalid(
      `The provided 'x-amz-mp-object-size' header value ${input.sizeBytes} does not match what was computed: ${sizeBytes}`,
    );
  }
  return sizeBytes;
}

/** MD5 of the parts' MD5s, and how many there are. */
function multipartEtag(parts: readonly PartRecord[]): string {
  const md5 = createHash('md5');
  for (const part of parts) md5.update(part.etag, 'hex');
  return `${md5.digest('hex')}-${parts.length}`;
}

/** Undefined when the parts do not all carry the same algorithm. */
function objectChecksum(
  upload: UploadRecord,
  input: CompleteUploadInput,
  parts: readonly PartRecord[],
): Checksum | undefined {
  const algorithm = upload.checksum?.algorithm ?? parts[0]?.checksum?.algorithm;
  if (!algorithm) return undefined;
  const type = checksumType(upload, input, algorithm);
  const digests: { digest: Buffer; sizeBytes: number }[] = [];
  for (const { checksum, sizeBytes } of parts) {
    if (checksum?.algorithm !== algorithm) return undefined;
    digests.push({ digest: Buffer.from(checksum.value, 'base64'), sizeBytes });
  }
  if (type === 'FULL_OBJECT') {
    if (!isCrc(algorithm)) throw invalid(`${algorithm} has no full object checksum.`);
    return { algorithm, type, value: combineCrc(algorithm, digests).toString('base64') };
  }
  const composite = checksumOf(algorithm, Buffer.concat(digests.map(({ digest }) => digest)));
  return { algorithm, type, value: `${composite.toString('base64')}-${parts.length}` };
}

function checksumType(
  upload: UploadRecord,
  input: CompleteUploadInput,
  algorithm: ChecksumAlgorithm,
): ChecksumType {
  const declared = upload.checksum?.type;
  if (declared && input.checksumType && declared !== input.checksumType) {
    throw invalid(`The upload was created using the ${declared} checksum mode.`);
  }
  const chosen = declared ?? input.checksumType;
  if (chosen) return chosen;
  if (algorithm === 'CRC64NVME') return 'FULL_OBJECT';
  const isWhole = input.checksum !== undefined && !input.checksum.value.includes('-');
  return isWhole && isCrc(algorithm) ? 'FULL_OBJECT' : 'COMPOSITE';
}

/** A checksum that cannot be verified is a wrong one: it is never ignored. */
function assertObjectChecksum(input: CompleteUploadInput, checksum: Checksum | undefined): void {
  const given = input.checksum;
  if (!given) return;
  const computed = checksum?.algorithm === given.algorithm ? checksum : undefined;
  const isSame =
    computed !== undefined &&
    (given.value === computed.value ||
      (computed.type === 'COMPOSITE' && given.value === computed.value.replace(/-\d+$/, '')));
  if (!isSame) {
    throw new StoreError(
      'BadDigest',
      `The ${given.algorithm.toLowerCase()} you specified did not match the calculated checksum.`,
    );
  }
}

function assertPartChecksums(
  upload: UploadRecord,
  input: CompleteUploadInput,
  parts: readonly PartRecord[],
): void {
  for (const [index, listed] of input.parts.entries()) {
    const stored = parts[index]?.checksum;
    if (!listed.checksum) {
      if (upload.checksum?.type !== 'COMPOSITE') continue;
      throw invalid(
        `The upload was created using a ${upload.checksum.algorithm} checksum. The complete request must include the checksum for each part. It was missing for part ${listed.number} in the request.`,
      );
    }
    const { algorithm, value } = listed.checksum;
    if (stored && stored.algorithm !== algorithm) {
      throw new StoreError(
        'BadDigest',
        `The ${algorithm.toLowerCase()} you specified for part ${listed.number} did not match what we received.`,
      );
    }
    const isWellFormed = Buffer.from(value, 'base64').length === checksumBytes[algorithm];
    if (!isWellFormed || value !== stored?.value) throw invalidPart(input, listed);
  }
}

function invalidPart(input: CompleteUploadInput, part: CompletedPart): StoreError {
  return new StoreError(
    'InvalidPart',
    'One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the entity tag of the part.',
    {
      details: { UploadId: input.uploadId, PartNumber: String(part.number), ETag: part.etag },
    },
  );
}

function invalid(message: string): StoreError {
  return new StoreError('InvalidRequest', message);
}
