// ListObjectVersions: versions and delete markers in one order, by name and then the newest first. Without versioning
// every object is its own latest version, with the id `null`.

import { escapeXml, xmlElement } from '../../base/xml.ts';
import type { ListVersionsPage, VersionInfo } from '../../store/types.ts';
import { queryOf, type Reply, type S3Call, xmlReply, xmlTime } from '../call.ts';
import { invalidArgument } from '../errors.ts';
import { type EncodeText, optionalText, ownerElements } from '../listing.ts';
import { checkVersionId } from '../versions.ts';
import { entryXml, prefixesXml, readQuery } from './list-objects.ts';

/** GET ?versions. */
export async function listObjectVersions(call: S3Call): Promise<Reply> {
  const query = readQuery(call);
  const { encode } = query;
  const keyMarker = queryOf(call, 'key-marker') ?? '';
  const versionMarker = readVersionMarker(call, keyMarker);
  const page = await findPage(call, { ...query, keyMarker, versionMarker });
  const ownerOf = await ownerElements(
    call,
    page.versions.map(({ info }) => info),
  );
  let versions = '';
  for (const version of page.versions) {
    versions += versionXml(version, encode, ownerOf(version.info));
  }
  const inner =
    xmlElement('Name', call.target.bucket) +
    xmlElement('Prefix', encode(query.prefix)) +
    xmlElement('KeyMarker', encode(keyMarker)) +
    xmlElement('VersionIdMarker', versionMarker) +
    nextXml(page, encode) +
    xmlElement('MaxKeys', query.limit) +
    optionalText('Delimiter', query.delimiter, encode) +
    query.encodingXml +
    xmlElement('IsTruncated', page.isTruncated) +
    versions +
    prefixesXml(page, encode);
  return xmlReply('ListVersionsResult', inner);
}

function readVersionMarker(call: S3Call, keyMarker: string): string {
  const versionMarker = queryOf(call, 'version-id-marker') ?? '';
  if (versionMarker === '') return '';
  if (keyMarker === '') {
    throw invalidArgument(
      'version-id-marker',
      versionMarker,
      'A version-id marker cannot be specified without a key marker.',
    );
  }
  return checkVersionId(versionMarker);
}

/** A page of nothing is empty and not truncated, whatever the bucket holds; the bucket must exist. */
async function findPage(
  call: S3Call,
  query: {
    readonly prefix: string;
    readonly delimiter: string;
    readonly limit: number;
    readonly keyMarker: string;
    readonly versionMarker: string;
  },
): Promise<ListVersionsPage> {
  const { bucket } = call.target;
  const { prefix, delimiter, limit, keyMarker, versionMarker } = query;
  if (limit > 0) {
    return call.store.listVersions({ bucket, prefix, delimiter, limit, keyMarker, versionMarker });
  }
  await call.store.getBucket(bucket);
  return { versions: [], commonPrefixes: [], isTruncated: false, next: undefined };
}

function nextXml({ next }: ListVersionsPage, encode: EncodeText): string {
  if (next === undefined) return '';
  return (
    xmlElement('NextKeyMarker', encode(next.key)) +
    (next.versionMarker === '' ? '' : xmlElement('NextVersionIdMarker', next.versionMarker))
  );
}

function versionXml(version: VersionInfo, encode: EncodeText, owner: string): string {
  const { info, isLatest, isMarker } = version;
  const place = `${xmlElement('VersionId', info.versionId)}<IsLatest>${isLatest}</IsLatest>${owner}`;
  if (!isMarker) return `<Version>${entryXml(info, encode)}${place}</Version>`;
  const key = `<Key>${escapeXml(encode(info.key))}</Key>`;
  const time = xmlElement('LastModified', xmlTime(info.modifiedMs));
  return `<DeleteMarker>${key}${time}${place}</DeleteMarker>`;
}
