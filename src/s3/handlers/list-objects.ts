// ListObjects v1 and v2. Text is built by concatenation: a page is up to a
// thousand records and this is the hot path of every sync tool.

import { escapeXml, xmlElement } from '../../base/xml.ts';
import type { ListObjectsPage, ObjectInfo } from '../../store/types.ts';
import { queryOf, type Reply, type S3Call, xmlReply, xmlTime } from '../call.ts';
import { invalidArgument } from '../errors.ts';
import {
  type EncodeText,
  listLimit,
  optionalText,
  ownerElements,
  textEncoding,
} from '../listing.ts';

/** GET of a bucket, version 1 of the listing. */
export async function listObjects(call: S3Call): Promise<Reply> {
  const query = readQuery(call);
  const marker = queryOf(call, 'marker') ?? '';
  const page = await findPage(call, query, marker);
  const { encode } = query;
  const nextMarker =
    page.isTruncated && query.delimiter !== ''
      ? xmlElement('NextMarker', encode(page.next ?? ''))
      : '';
  const inner =
    xmlElement('Name', call.target.bucket) +
    xmlElement('Prefix', encode(query.prefix)) +
    xmlElement('Marker', encode(marker)) +
    nextMarker +
    xmlElement('MaxKeys', query.limit) +
    optionalText('Delimiter', query.delimiter, encode) +
    query.encodingXml +
    xmlElement('IsTruncated', page.isTruncated) +
    contentsXml(page, encode, {
      owner: await ownerElements(call, page.objects),
      withMetadata: false,
    }) +
    prefixesXml(page, encode);
  return xmlReply('ListBucketResult', inner);
}

/** GET ?list-type=2. */
export async function listObjectsV2(call: S3Call): Promise<Reply> {
  const listType = queryOf(call, 'list-type') ?? '';
  if (listType !== '2') throw invalidArgument('list-type', listType, 'list-type must be 2');
  const query = readQuery(call);
  const token = queryOf(call, 'continuation-token');
  const startAfter = queryOf(call, 'start-after') ?? '';
  const after = token === undefined || token === '' ? startAfter : decodeToken(token);
  const page = await findPage(call, query, after);
  const { encode } = query;
  const withOwner = queryOf(call, 'fetch-owner') === 'true';
  const inner =
    xmlElement('Name', call.target.bucket) +
    xmlElement('Prefix', encode(query.prefix)) +
    optionalText('StartAfter', startAfter, encode) +
    (token === undefined ? '' : xmlElement('ContinuationToken', token)) +
    (page.isTruncated ? xmlElement('NextContinuationToken', encodeToken(page.next ?? '')) : '') +
    xmlElement('KeyCount', page.objects.length + page.commonPrefixes.length) +
    xmlElement('MaxKeys', query.limit) +
    optionalText('Delimiter', query.delimiter, encode) +
    query.encodingXml +
    xmlElement('IsTruncated', page.isTruncated) +
    contentsXml(page, encode, {
      owner: withOwner ? await ownerElements(call, page.objects) : () => '',
      withMetadata: queryOf(call, 'metadata') === 'true',
    }) +
    prefixesXml(page, encode);
  return xmlReply('ListBucketResult', inner);
}

/** What all listings of a bucket are asked with. */
export type ListQuery = {
  readonly prefix: string;
  readonly delimiter: string;
  readonly limit: number;
  readonly encode: EncodeText;
  readonly encodingXml: string;
};

/** Reads and checks the parameters that all listings of a bucket have. */
export function readQuery(call: S3Call): ListQuery {
  return {
    prefix: queryOf(call, 'prefix') ?? '',
    delimiter: queryOf(call, 'delimiter') ?? '',
    limit: listLimit(call, 'max-keys'),
    ...textEncoding(call),
  };
}

/** A page of no keys is empty and not truncated, whatever the bucket holds; the bucket must exist. */
async function findPage(call: S3Call, query: ListQuery, after: string): Promise<ListObjectsPage> {
  const { bucket } = call.target;
  if (query.limit === 0) {
    await call.store.getBucket(bucket);
    return { objects: [], commonPrefixes: [], isTruncated: false, next: undefined };
  }
  const { prefix, delimiter, limit } = query;
  return call.store.listObjects({ bucket, prefix, delimiter, after, limit });
}

function contentsXml(
  page: ListObjectsPage,
  encode: EncodeText,
  shown: {
    readonly owner: (object: ObjectInfo) => string;
    readonly withMetadata: boolean;
  },
): string {
  let xml = '';
  for (const object of page.objects) {
    const metadata = shown.withMetadata ? metadataXml(object) : '';
    xml += `<Contents>${entryXml(object, encode)}${shown.owner(object)}${metadata}</Contents>`;
  }
  return xml;
}

/** An extension that `mc find --metadata` and `--tags` ask for: one element for each header of the object. */
function metadataXml(object: ObjectInfo): string {
  const { headers, userMetadata, tagging } = object.attributes;
  let xml = object.encryption === undefined ? '' : sseElement;
  for (const name in headers) xml += headerElement(name, headers[name] ?? '');
  for (const name in userMetadata) {
    xml += headerElement(`X-Amz-Meta-${titleCase(name)}`, userMetadata[name] ?? '');
  }
  const tags = tagging === '' ? '' : xmlElement('UserTags', tagging);
  return `<UserMetadata>${xml}</UserMetadata>${tags}`;
}

const sseElement = '<X-Amz-Server-Side-Encryption>AES256</X-Amz-Server-Side-Encryption>';

/** Header names that are no XML names are left out. Values are bytes, one to a character. */
function headerElement(name: string, value: string): string {
  if (!/^[A-Za-z_][\w.-]*$/.test(name)) return '';
  return xmlElement(name, Buffer.from(value, 'latin1').toString('utf8'));
}

function titleCase(name: string): string {
  return name.replace(
    /(^|-)([a-z])/g,
    (_, dash: string, letter: string) => dash + letter.toUpperCase(),
  );
}

let lastTimeMs = Number.NaN;
let lastTime = '';

/** The elements that describe one object in a listing. */
export function entryXml(object: ObjectInfo, encode: EncodeText): string {
  if (object.modifiedMs !== lastTimeMs) {
    lastTimeMs = object.modifiedMs;
    lastTime = xmlTime(object.modifiedMs);
  }
  const { checksum } = object;
  const checksumXml =
    checksum === undefined
      ? ''
      : `<ChecksumAlgorithm>${checksum.algorithm}</ChecksumAlgorithm><ChecksumType>${checksum.type}</ChecksumType>`;
  return `<Key>${escapeXml(encode(object.key))}</Key><LastModified>${lastTime}</LastModified><ETag>&quot;${object.etag}&quot;</ETag><Size>${object.sizeBytes}</Size>${checksumXml}<StorageClass>${object.attributes.storageClass}</StorageClass>`;
}

/** The `CommonPrefixes` of a page. */
export function prefixesXml(
  page: { readonly commonPrefixes: readonly string[] },
  encode: EncodeText,
): string {
  let xml = '';
  for (const prefix of page.commonPrefixes) {
    xml += `<CommonPrefixes><Prefix>${escapeXml(encode(prefix))}</Prefix></CommonPrefixes>`;
  }
  return xml;
}

/** Tokens are opaque to clients: the last name returned, in base64url behind a version letter. */
function encodeToken(name: string): string {
  return `a${Buffer.from(name, 'utf8').toString('base64url')}`;
}

function decodeToken(token: string): string {
  if (!/^a[A-Za-z0-9_-]*$/.test(token)) {
    throw invalidArgument(
      'continuation-token',
      token,
      'The continuation token provided is incorrect',
    );
  }
  return Buffer.from(token.slice(1), 'base64url').toString('utf8');
}
