// Put, Get and DeleteBucketCors. What is stored is what was checked: every rule has an origin and a method, and
// no pattern has more than one `*`.

import {
  findChildText,
  listChildren,
  parseXml,
  type XmlElement,
  xmlElement,
  xmlOptional,
} from '../../base/xml.ts';
import type { CorsRule } from '../../store/types.ts';
import { S3Error } from '../errors.ts';
import { bucketSetting } from './bucket-setting.ts';

const documentBytesMax = 64 * 1024;
const rulesMax = 100;
const idLengthMax = 255;
const methods: ReadonlySet<string> = new Set(['GET', 'PUT', 'POST', 'DELETE', 'HEAD']);

/** ?cors: at most 100 rules, given back as they came. */
export const bucketCors = bucketSetting({
  member: 'cors',
  root: 'CORSConfiguration',
  absent: 'NoSuchCORSConfiguration',
  documentBytesMax,
  isDigestRequired: true,
  parse: parseConfiguration,
  format: (rules) => rules.map(formatRule).join(''),
});

function parseConfiguration(document: Uint8Array): readonly CorsRule[] {
  const root = parseXml(document, { maxBytes: documentBytesMax });
  const rules = listChildren(root, 'CORSRule');
  if (root.name !== 'CORSConfiguration' || rules.length === 0) throw new S3Error('MalformedXML');
  if (rules.length > rulesMax) {
    throw new S3Error('MalformedXML', `A CORS configuration has at most ${rulesMax} rules`);
  }
  return rules.map(parseRule);
}

function parseRule(element: XmlElement): CorsRule {
  const rule: CorsRule = {
    allowedOrigins: textsOf(element, 'AllowedOrigin'),
    allowedMethods: textsOf(element, 'AllowedMethod'),
    allowedHeaders: textsOf(element, 'AllowedHeader'),
    exposeHeaders: textsOf(element, 'ExposeHeader'),
    ...optional('id', findChildText(element, 'ID')),
    ...optional('maxAgeSeconds', parseMaxAge(findChildText(element, 'MaxAgeSeconds'))),
  };
  checkRule(rule);
  return rule;
}

function checkRule(rule: CorsRule): void {
  if (rule.allowedOrigins.length === 0 || rule.allowedMethods.length === 0) {
    throw new S3Error('MalformedXML');
  }
  for (const method of rule.allowedMethods) {
    if (methods.has(method)) continue;
    throw new S3Error(
      'InvalidRequest',
      `Found unsupported HTTP method in CORS config. Unsupported method is ${method}`,
    );
  }
  checkPatterns('AllowedOrigin', rule.allowedOrigins);
  checkPatterns('AllowedHeader', rule.allowedHeaders);
  for (const name of rule.exposeHeaders) {
    if (/^[!#$%&'+\-.^_`|~0-9A-Za-z]+$/.test(name)) continue;
    throw new S3Error(
      'InvalidRequest',
      `ExposeHeader "${name}" contains a character that no header name has. Write the names without wildcards.`,
    );
  }
  if (rule.id !== undefined && rule.id.length > idLengthMax) {
    throw new S3Error(
      'InvalidRequest',
      `The ID of a CORS rule has at most ${idLengthMax} characters`,
    );
  }
}

/** Control characters would break the response headers that these texts end up in. */
function checkPatterns(element: string, patterns: readonly string[]): void {
  for (const pattern of patterns) {
    if (pattern === '' || /[\u0000-\u0020\u007f-\uffff]/.test(pattern)) {
      throw new S3Error('InvalidRequest', `${element} "${pattern}" is not a valid pattern`);
    }
    if (pattern.indexOf('*') === pattern.lastIndexOf('*')) continue;
    throw new S3Error(
      'InvalidRequest',
      `${element} "${pattern}" can not have more than one wildcard.`,
    );
  }
}

function parseMaxAge(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,9}$/.test(text)) throw new S3Error('MalformedXML');
  return Number(text);
}

function textsOf(element: XmlElement, name: string): readonly string[] {
  return listChildren(element, name).map((child) => child.text);
}

function optional<K extends string, V>(name: K, value: V | undefined): { [name in K]?: V } {
  // The computed name makes an index signature of what has the one member `name`.
  return value === undefined ? {} : ({ [name]: value } as { [name in K]?: V });
}

function formatRule(rule: CorsRule): string {
  const list = (name: string, texts: readonly string[]): string =>
    texts.map((text) => xmlElement(name, text)).join('');
  const inner =
    xmlOptional('ID', rule.id) +
    list('AllowedOrigin', rule.allowedOrigins) +
    list('AllowedMethod', rule.allowedMethods) +
    list('AllowedHeader', rule.allowedHeaders) +
    xmlOptional('MaxAgeSeconds', rule.maxAgeSeconds?.toString()) +
    list('ExposeHeader', rule.exposeHeaders);
  return `<CORSRule>${inner}</CORSRule>`;
}
