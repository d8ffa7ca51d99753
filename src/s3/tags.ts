// Object tags as the `x-amz-tagging` query string and as XML.

import { xmlElement } from '../base/xml.ts';
import { invalidArgument, S3Error } from './errors.ts';

export type Tag = { readonly key: string; readonly value: string };

const tagsMax = 10;
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
  checkTags(tags);
  return tags;
}

/** The `TagSet` element, sorted by key. */
export function tagSetXml(tags: readonly Tag[]): string {
  const sorted = [...tags].sort((a, b) => (a.key < b.key ? -1 : 1));
  const items = sorted.map(
    (tag) => `<Tag>${xmlElement('Key', tag.key)}${xmlElement('Value', tag.value)}</Tag>`,
  );
  return `<TagSet>${items.join('')}</TagSet>`;
}

function checkTags(tags: readonly Tag[]): void {
  if (tags.length > tagsMax) {
    throw new S3Error('InvalidTag', 'Object tags cannot be greater than 10');
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
