// Tags as the `x-amz-tagging` query string and as XML.

import { findChild, findChildText, listChildren, parseXml, xmlElement } from '../base/xml.ts';
import type { Tag } from '../store/types.ts';
import { invalidArgument, S3Error } from './errors.ts';

/** Most tags of an object. */
export const objectTagsMax = 10;
/** Most tags of a bucket. */
export const bucketTagsMax = 50;
const allowedCharacters = /^[\p{L}\p{N}\p{Z}+\-=._:/@]*$/u;

/** Parses a tagging string. Throws `InvalidArgument` when it is not a query string, `InvalidTag` for its limits. */
export function parseTagging(tagging: string): readonly Tag[] {
  if (tagging === '') return [];
  const tags = tagging.split('&').map((item) => {
    const equals = item.indexOf('=');
    const key = decode(equals === -1 ? item : item.slice(0, equals), tagging);
    const value = equals === -1 ? '' : decode(item.slice(equals + 1), tagging);
    return { key, value };
  });
  checkTags(tags, objectTagsMax);
  return tags;
}

/** The tags of a `Tagging` document. Throws `MalformedXML`, and `InvalidTag` for the limits. */
export function parseTaggingDocument(
  document: Uint8Array,
  limits: { readonly maxBytes: number; readonly tagsMax: number },
): readonly Tag[] {
  const root = parseXml(document, limits);
  const set = findChild(root, 'TagSet');
  if (root.name !== 'Tagging' || set === undefined) throw new S3Error('MalformedXML');
  const tags = listChildren(set, 'Tag').map((element) => {
    const key = findChildText(element, 'Key');
    const value = findChildText(element, 'Value');
    if (key === undefined || value === undefined) throw new S3Error('MalformedXML');
    return { key, value };
  });
  checkTags(tags, limits.tagsMax);
  return tags;
}

/** The tags as an `x-amz-tagging` query string. */
export function formatTagging(tags: readonly Tag[]): string {
  return tags
    .map(({ key, value }) => `${encodeURIComponent(key)}=${encodeURIComponent(value)}`)
    .join('&');
}

/** The `TagSet` element, sorted by key. */
export function tagSetXml(tags: readonly Tag[]): string {
  const sorted = [...tags].sort((a, b) => (a.key < b.key ? -1 : 1));
  const items = sorted.map(
    (tag) => `<Tag>${xmlElement('Key', tag.key)}${xmlElement('Value', tag.value)}</Tag>`,
  );
  return `<TagSet>${items.join('')}</TagSet>`;
}

/** Throws `InvalidTag` unless every tag may be one, and there are at most `tagsMax`. */
export function checkTags(tags: readonly Tag[], tagsMax: number): void {
  if (tags.length > tagsMax) {
    const what = tagsMax === bucketTagsMax ? 'Bucket' : 'Object';
    throw new S3Error('InvalidTag', `${what} tags cannot be greater than ${tagsMax}`);
  }
  const seen = new Set<string>();
  for (const { key, value } of tags) {
    if (key === '' || key.length > 128 || !allowedCharacters.test(key)) {
      throw new S3Error('InvalidTag', 'The TagKey you have provided is invalid');
    }
    if (value.length > 256 || !allowedCharacters.test(value)) {
      throw new S3Error('InvalidTag', 'The TagValue you have provided is invalid');
    }
    if (seen.has(key)) {
      throw new S3Error('InvalidTag', 'Cannot provide multiple Tags with the same key');
    }
    seen.add(key);
  }
}

function decode(text: string, tagging: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    throw invalidArgument(
      'x-amz-tagging',
      tagging,
      "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
    );
  }
}
