// GetObjectAttributes: the facts about an object that were asked for by name, without its bytes.

import { xmlElement } from '../../base/xml.ts';
import type { ObjectInfo } from '../../store/types.ts';
import { type Reply, type ReplyHeaders, type S3Call, xmlReply } from '../call.ts';
import { refuseEncryptionOfRead } from '../encryption.ts';
import { invalidArgument, S3Error } from '../errors.ts';
import { httpDate } from '../object-headers.ts';
import { checksumXml } from '../results.ts';
import { addVersionOfRead, targetVersion } from '../versions.ts';

const known = ['ETag', 'Checksum', 'ObjectParts', 'StorageClass', 'ObjectSize'] as const;
type Attribute = (typeof known)[number];

/** GET ?attributes. */
export async function getObjectAttributes(call: S3Call): Promise<Reply> {
  const wanted = parseWanted(call.headers['x-amz-object-attributes']);
  const maxParts = partsLimit(call, 'x-amz-max-parts', 1000) || 1000;
  const marker = partsLimit(call, 'x-amz-part-number-marker', 0);
  refuseEncryptionOfRead(call.headers);
  const { bucket, key } = call.target;
  const found = await call.store.openObject({ bucket, key, ...targetVersion(call) });
  const object = found.unlock(call.customerKeys.ofObject()?.clientKey);
  const { info } = object;
  let inner = '';
  if (wanted.has('ETag')) inner += xmlElement('ETag', info.etag);
  if (wanted.has('Checksum') && info.checksum !== undefined) {
    // Here, and only here, a composite value comes without the number of parts.
    const [value = ''] = info.checksum.value.split('-');
    const checksum = checksumXml({ ...info.checksum, value });
    inner += `<Checksum>${checksum}${xmlElement('ChecksumType', info.checksum.type)}</Checksum>`;
  }
  if (wanted.has('ObjectParts')) inner += partsXml(info, Math.min(maxParts, 1000), marker);
  if (wanted.has('StorageClass')) inner += xmlElement('StorageClass', info.attributes.storageClass);
  if (wanted.has('ObjectSize')) inner += xmlElement('ObjectSize', info.sizeBytes);
  const headers: ReplyHeaders = ['last-modified', httpDate(info.modifiedMs)];
  addVersionOfRead(headers, object);
  return xmlReply('GetObjectAttributesResponse', inner, headers);
}

function parseWanted(header: string | undefined): ReadonlySet<Attribute> {
  const names = (header ?? '').split(',').map((name) => name.trim());
  if (header === undefined || names.every((name) => name === '')) {
    throw new S3Error(
      'InvalidRequest',
      'The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty',
    );
  }
  const wanted = new Set<Attribute>();
  for (const name of names) {
    const attribute = known.find((candidate) => candidate === name);
    if (attribute === undefined) {
      throw invalidArgument('x-amz-object-attributes', name, 'Invalid attribute name specified.');
    }
    wanted.add(attribute);
  }
  return wanted;
}

function partsLimit(call: S3Call, name: string, fallback: number): number {
  const text = call.headers[name];
  if (text === undefined || text === '') return fallback;
  if (!/^\d{1,9}$/.test(text)) {
    throw invalidArgument(name, text, `${name} must be an integer between 0 and 2147483647`);
  }
  return Number(text);
}

function partsXml(info: ObjectInfo, maxParts: number, marker: number): string {
  const { parts } = info;
  if (parts === undefined) return '';
  const after = parts.filter((part) => part.number > marker);
  const page = after.slice(0, maxParts);
  const isTruncated = page.length < after.length;
  const items = page.map(
    (part) =>
      `<Part>${xmlElement('PartNumber', part.number)}${xmlElement('Size', part.sizeBytes)}${checksumXml(part.checksum)}</Part>`,
  );
  return (
    '<ObjectParts>' +
    xmlElement('PartsCount', parts.length) +
    xmlElement('PartNumberMarker', marker) +
    (isTruncated ? xmlElement('NextPartNumberMarker', page.at(-1)?.number ?? marker) : '') +
    xmlElement('MaxParts', maxParts) +
    xmlElement('IsTruncated', isTruncated) +
    items.join('') +
    '</ObjectParts>'
  );
}
