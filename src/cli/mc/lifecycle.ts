// The lifecycle rules of a bucket: read and set, as XML on the wire and as JSON for people. Rules that a command does
// not change go back element by element as they came, whatever they hold.

import {
  escapeXml,
  findChild,
  listChildren,
  parseXml,
  type XmlElement,
  xmlElement,
} from '../../base/xml.ts';
import { type Json, type JsonObject, McError } from './error.ts';
import { contentMd5, type S3Client } from './s3-client.ts';

/** What a value is, or the members of an element in the order in which they are shown and sent. */
type Shape = 'text' | 'number' | 'flag' | 'time' | readonly (readonly [string, Shape])[];

const typeOf = { text: 'string', number: 'number', flag: 'boolean', time: 'string' } as const;
const tag: Shape = [
  ['Key', 'text'],
  ['Value', 'text'],
];
const sizes = [
  ['ObjectSizeLessThan', 'number'],
  ['ObjectSizeGreaterThan', 'number'],
] as const;
const ruleShape: Shape = [
  ['AbortIncompleteMultipartUpload', [['DaysAfterInitiation', 'number']]],
  [
    'Expiration',
    [
      ['Date', 'time'],
      ['Days', 'number'],
      ['ExpiredObjectDeleteMarker', 'flag'],
      ['ExpiredObjectAllVersions', 'flag'],
    ],
  ],
  ['DelMarkerExpiration', [['Days', 'number']]],
  ['ID', 'text'],
  [
    'Filter',
    [
      ['And', [['Prefix', 'text'], ['Tags', tag], ...sizes]],
      ['Prefix', 'text'],
      ['Tag', tag],
      ...sizes,
    ],
  ],
  [
    'NoncurrentVersionExpiration',
    [
      ['NoncurrentDays', 'number'],
      ['NewerNoncurrentVersions', 'number'],
    ],
  ],
  [
    'NoncurrentVersionTransition',
    [
      ['StorageClass', 'text'],
      ['NoncurrentDays', 'number'],
      ['NewerNoncurrentVersions', 'number'],
    ],
  ],
  ['Prefix', 'text'],
  ['Status', 'text'],
  [
    'Transition',
    [
      ['Date', 'time'],
      ['StorageClass', 'text'],
      ['Days', 'number'],
    ],
  ],
];

/** The rules of a bucket as they came, and when they were set if the server tells. Throws `McError`. */
export async function getRules(
  client: S3Client,
  bucket: string,
): Promise<{ readonly rules: readonly XmlElement[]; readonly updatedAt: string }> {
  const { body, response } = await client.call({
    method: 'GET',
    bucket,
    query: { lifecycle: '', withUpdatedAt: 'true' },
    isUnsigned: true,
    statuses: [200],
  });
  const root = parseXml(body, { maxBytes: body.length });
  const told = response.headers['x-minio-lifecycleconfig-updatedat'];
  const match = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(told ?? '');
  const [, year, month, day, hour, minute, second] = match ?? [];
  return {
    rules: listChildren(root, 'Rule'),
    updatedAt: match
      ? `${year}-${month}-${day}T${hour}:${minute}:${second}Z`
      : '0001-01-01T00:00:00Z',
  };
}

/** Sets all rules, each as XML; none are deleted. Throws `McError`. */
export async function setRules(
  client: S3Client,
  bucket: string,
  rules: readonly string[],
): Promise<void> {
  const query = { lifecycle: '' };
  if (rules.length === 0) {
    await client.call({ method: 'DELETE', bucket, query, statuses: [204] });
    return;
  }
  const document = Buffer.from(
    `<LifecycleConfiguration>${rules.join('')}</LifecycleConfiguration>`,
  );
  await client.call({
    method: 'PUT',
    bucket,
    query,
    headers: { 'content-md5': contentMd5(document) },
    body: document,
    statuses: [200],
  });
}

/** An element as it came. */
export function formatElement({ name, text, children }: XmlElement): string {
  const inner = children.length === 0 ? escapeXml(text) : children.map(formatElement).join('');
  return `<${name}>${inner}</${name}>`;
}

/** A rule as JSON, without what is empty. */
export function ruleToJson(rule: XmlElement): JsonObject {
  return toJson(rule, ruleShape) as JsonObject; // the shape has members
}

/** A rule of a JSON document as XML. Throws `argument` for what cannot be one. */
export function ruleToXml(rule: Json): string {
  const found = asObject('Rule', rule);
  const hasFilter = isFilled(found['Filter']) || isFilled(found['Prefix']);
  const everything = { Prefix: '' };
  const whole = hasFilter ? found : { ...found, Filter: everything };
  return toXml('Rule', whole, ruleShape, true);
}

function toJson(element: XmlElement, shape: Shape): Json | undefined {
  if (typeof shape === 'string') return valueToJson(element.text, shape);
  const members: Record<string, Json> = {};
  for (const [name, inner] of shape) {
    const value = name === 'Tags' ? tagsToJson(element) : childToJson(element, name, inner);
    if (value !== undefined) members[name] = value;
  }
  return Object.keys(members).length === 0 ? undefined : members;
}

function childToJson(element: XmlElement, name: string, shape: Shape): Json | undefined {
  const child = findChild(element, name);
  return child && toJson(child, shape);
}

function tagsToJson(element: XmlElement): Json | undefined {
  const tags = listChildren(element, 'Tag').flatMap((child) => toJson(child, tag) ?? []);
  return tags.length === 0 ? undefined : tags;
}

function valueToJson(text: string, kind: 'text' | 'number' | 'flag' | 'time'): Json | undefined {
  switch (kind) {
    case 'text':
      return text === '' ? undefined : text;
    case 'number':
      return Number(text) || undefined;
    case 'flag':
      return text === 'true' || undefined;
    case 'time':
      return text.replace(/\.0+Z$/, 'Z');
  }
}

function toXml(name: string, value: Json, shape: Shape, isRoot = false): string {
  if (typeof shape === 'string') return valueToXml(name, value, shape);
  const members = asObject(name, value);
  const inner = shape
    .map(([member, of]) => {
      const found = members[member];
      if (found === undefined || found === null) return '';
      if (member !== 'Tags') return toXml(member, found, of);
      if (!Array.isArray(found)) throw unusable(member);
      return found.map((one: Json) => toXml('Tag', one, of)).join('');
    })
    .join('');
  return inner === '' && !isRoot ? '' : `<${name}>${inner}</${name}>`;
}

function valueToXml(name: string, value: Json, kind: 'text' | 'number' | 'flag' | 'time'): string {
  if (typeof value !== typeOf[kind] || typeof value === 'object') throw unusable(name);
  if (typeof value === 'number' && !Number.isSafeInteger(value)) throw unusable(name);
  if (kind !== 'text' && (value === 0 || value === false || value === '')) return '';
  return xmlElement(name, value);
}

function asObject(name: string, value: Json): JsonObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw unusable(name);
  return value as JsonObject; // neither an array nor a plain value
}

function isFilled(value: Json | undefined): boolean {
  if (value === undefined || value === null || value === '') return false;
  return typeof value !== 'object' || Object.keys(value).length > 0;
}

function unusable(name: string): McError {
  return new McError('argument', `the value of ${name} is not what a rule can have`);
}
