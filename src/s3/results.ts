// Pieces of result documents that several operations share.

import { xmlElement } from '../base/xml.ts';
import type { Checksum } from '../store/types.ts';
import { xmlTime } from './call.ts';

/** `<ChecksumCRC32>…</ChecksumCRC32>`, or nothing. */
export function checksumXml(checksum: Checksum | undefined): string {
  return checksum === undefined ? '' : xmlElement(`Checksum${checksum.algorithm}`, checksum.value);
}

/** The inside of CopyObjectResult and CopyPartResult. */
export function copyResultXml(copy: {
  readonly etag: string;
  readonly modifiedMs: number;
  readonly checksum?: Checksum;
}): string {
  return (
    xmlElement('LastModified', xmlTime(copy.modifiedMs)) +
    `<ETag>&quot;${copy.etag}&quot;</ETag>` +
    checksumXml(copy.checksum) +
    (copy.checksum === undefined ? '' : xmlElement('ChecksumType', copy.checksum.type))
  );
}
