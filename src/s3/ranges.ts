// Range headers and part numbers, as byte ranges of the plaintext (end exclusive).

import type { ByteRange, ObjectInfo } from '../store/types.ts';
import { invalidArgument, S3Error } from './errors.ts';

/**
 * The range that a Range header asks for; undefined when the header is to be ignored and the whole object
 * sent (other units, several ranges, bad syntax, first past last). Throws `InvalidRange` when it lies
 * outside the object.
 */
export function parseRange(header: string, sizeBytes: number): ByteRange | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header);
  if (match === null) return undefined;
  const [, first = '', last = ''] = match;
  if (first === '' && last === '') return undefined;
  if (first === '') {
    const length = Number(last);
    if (length === 0 || sizeBytes === 0) throw invalidRange(header, sizeBytes);
    return { start: Math.max(0, sizeBytes - length), end: sizeBytes };
  }
  const start = Number(first);
  if (last !== '' && Number(last) < start) return undefined;
  if (start >= sizeBytes) throw invalidRange(header, sizeBytes);
  return { start, end: last === '' ? sizeBytes : Math.min(sizeBytes, Number(last) + 1) };
}

/** The range of `x-amz-copy-source-range`: both ends given and inside the source. */
export function parseCopyRange(header: string, sizeBytes: number): ByteRange {
  const match = /^bytes=(\d+)-(\d+)$/.exec(header);
  const start = Number(match?.[1]);
  const last = Number(match?.[2]);
  if (match === null || last < start) {
    throw invalidArgument(
      'x-amz-copy-source-range',
      header,
      'The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy',
    );
  }
  if (last >= sizeBytes) throw invalidRange(header, sizeBytes);
  return { start, end: last + 1 };
}

/** A number of a part, 1 to 10,000. Throws `InvalidArgument`. */
export function parsePartNumber(text: string): number {
  const number = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (number < 1 || number > 10_000) {
    throw invalidArgument(
      'partNumber',
      text,
      'Part number must be an integer between 1 and 10000, inclusive',
    );
  }
  return number;
}

/** Where part `number` of the object lies. An object not made of parts is its own part 1. Throws `InvalidPart`. */
export function partRange(info: ObjectInfo, number: number): ByteRange {
  const { parts } = info;
  if (parts === undefined) {
    if (number !== 1) throw noSuchPart(number);
    return { start: 0, end: info.sizeBytes };
  }
  let start = 0;
  for (const [index, part] of parts.entries()) {
    if (index + 1 === number) return { start, end: start + part.sizeBytes };
    start += part.sizeBytes;
  }
  throw noSuchPart(number);
}

function noSuchPart(number: number): S3Error {
  return new S3Error('InvalidPart', 'The requested part number is not satisfiable', {
    details: { PartNumberRequested: String(number) },
  });
}

function invalidRange(header: string, sizeBytes: number): S3Error {
  return new S3Error('InvalidRange', undefined, {
    details: { RangeRequested: header, ActualObjectSize: String(sizeBytes) },
    headers: { 'content-range': `bytes */${sizeBytes}` },
  });
}
