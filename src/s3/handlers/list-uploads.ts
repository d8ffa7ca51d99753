// ListParts and ListMultipartUploads.

import { xmlElement } from '../../base/xml.ts';
import { queryOf, type Reply, type S3Call, xmlReply, xmlTime } from '../call.ts';
import { invalidArgument } from '../errors.ts';
import {
  listLimit,
  optionalText,
  ownerElements,
  ownerOfRecord,
  ownerXml,
  textEncoding,
} from '../listing.ts';
import { checksumXml } from '../results.ts';
import { uploadOf } from './multipart.ts';

/** GET ?uploadId. Sizes are those of the plaintext. */
export async function listParts(call: S3Call): Promise<Reply> {
  const limit = listLimit(call, 'max-parts');
  const markerText = queryOf(call, 'part-number-marker') ?? '';
  if (!/^\d{0,9}$/.test(markerText)) {
    throw invalidArgument(
      'part-number-marker',
      markerText,
      'Argument part-number-marker must be an integer between 0 and 2147483647',
    );
  }
  const afterPart = Number(markerText);
  const { encode, encodingXml } = textEncoding(call);
  const page = await call.store.listParts({ ...uploadOf(call), afterPart, limit });
  const { upload, parts } = page;
  const owner = await ownerOfRecord(call, upload.owner);
  const last = parts.at(-1)?.number ?? afterPart;
  const items = parts.map(
    (part) =>
      `<Part><PartNumber>${part.number}</PartNumber>${xmlElement('LastModified', xmlTime(part.modifiedMs))}<ETag>&quot;${part.etag}&quot;</ETag><Size>${part.sizeBytes}</Size>${checksumXml(part.checksum)}</Part>`,
  );
  const inner =
    xmlElement('Bucket', upload.bucket) +
    xmlElement('Key', encode(upload.key)) +
    xmlElement('UploadId', upload.uploadId) +
    ownerXml('Initiator', owner) +
    ownerXml('Owner', owner) +
    xmlElement('StorageClass', upload.attributes.storageClass) +
    xmlElement('PartNumberMarker', afterPart) +
    (page.isTruncated ? xmlElement('NextPartNumberMarker', last) : '') +
    xmlElement('MaxParts', limit) +
    encodingXml +
    xmlElement('IsTruncated', page.isTruncated) +
    declaredXml(upload.checksum) +
    items.join('');
  return xmlReply('ListPartsResult', inner);
}

/** GET ?uploads. */
export async function listMultipartUploads(call: S3Call): Promise<Reply> {
  const limit = listLimit(call, 'max-uploads');
  const { encode, encodingXml } = textEncoding(call);
  const prefix = queryOf(call, 'prefix') ?? '';
  const delimiter = queryOf(call, 'delimiter') ?? '';
  const keyMarker = queryOf(call, 'key-marker') ?? '';
  const uploadIdMarker = queryOf(call, 'upload-id-marker') ?? '';
  const query = { prefix, delimiter, keyMarker, uploadIdMarker, limit };
  const { bucket } = call.target;
  const page = await call.store.listUploads({ bucket, ...query });
  const ownerOf = await ownerElements(call, page.uploads);
  const uploads = page.uploads.map(
    (upload) =>
      `<Upload>${xmlElement('Key', encode(upload.key))}${xmlElement('UploadId', upload.uploadId)}${initiatorOf(ownerOf(upload))}${ownerOf(upload)}${xmlElement('StorageClass', upload.attributes.storageClass)}${xmlElement('Initiated', xmlTime(upload.initiatedMs))}${declaredXml(upload.checksum)}</Upload>`,
  );
  const prefixes = page.commonPrefixes.map(
    (name) => `<CommonPrefixes>${xmlElement('Prefix', encode(name))}</CommonPrefixes>`,
  );
  const next =
    page.isTruncated && page.next !== undefined
      ? xmlElement('NextKeyMarker', encode(page.next.key)) +
        xmlElement('NextUploadIdMarker', page.next.uploadId)
      : '';
  const inner =
    xmlElement('Bucket', bucket) +
    xmlElement('KeyMarker', encode(keyMarker)) +
    xmlElement('UploadIdMarker', uploadIdMarker) +
    next +
    xmlElement('Prefix', encode(prefix)) +
    optionalText('Delimiter', delimiter, encode) +
    xmlElement('MaxUploads', limit) +
    encodingXml +
    xmlElement('IsTruncated', page.isTruncated) +
    uploads.join('') +
    prefixes.join('');
  return xmlReply('ListMultipartUploadsResult', inner);
}

/** Whoever begins an upload owns what it becomes. */
function initiatorOf(ownerElement: string): string {
  return ownerElement.replaceAll('Owner>', 'Initiator>');
}

function declaredXml(
  checksum: { readonly algorithm: string; readonly type: string } | undefined,
): string {
  if (checksum === undefined) return '';
  return (
    xmlElement('ChecksumAlgorithm', checksum.algorithm) + xmlElement('ChecksumType', checksum.type)
  );
}
