// Put, Get and DeleteBucketLifecycle: reading and writing the XML of lifecycle rules (specification 1.8). What is
// stored is what was checked. Transitions are refused: there is no other storage class to go to.

import { randomBytes } from 'node:crypto';
import {
  findChild,
  findChildText,
  listChildren,
  parseXml,
  type XmlElement,
  xmlElement,
  xmlOptional,
} from '../../base/xml.ts';
import type { LifecycleFilter, LifecycleRule, Tag } from '../../store/types.ts';
import { xmlTime } from '../call.ts';
import { S3Error } from '../errors.ts';
import { checkTags, objectTagsMax } from '../tags.ts';
import { bucketSetting } from './bucket-setting.ts';

const documentBytesMax = 1024 * 1024;
const rulesMax = 1000;
const idLengthMax = 255;
const dayMs = 86_400_000;

/** ?lifecycle: rules, given back as they came. */
export const bucketLifecycle = bucketSetting({
  member: 'lifecycle',
  root: 'LifecycleConfiguration',
  absent: 'NoSuchLifecycleConfiguration',
  documentBytesMax,
  isDigestRequired: true,
  parse: parseConfiguration,
  format: (rules) => rules.map(formatRule).join(''),
});

function parseConfiguration(document: Uint8Array): readonly LifecycleRule[] {
  const root = parseXml(document, { maxBytes: documentBytesMax });
  const elements = listChildren(root, 'Rule');
  if (root.name !== 'LifecycleConfiguration' || elements.length === 0) {
    throw new S3Error('MalformedXML');
  }
  if (elements.length > rulesMax) {
    throw new S3Error('InvalidRequest', `A lifecycle configuration has at most ${rulesMax} rules.`);
  }
  const rules = elements.map(parseRule);
  const ids = new Set(rules.map((rule) => rule.id));
  if (ids.size !== rules.length) {
    throw invalid('Rule ID must be unique. Found same ID for more than one rule');
  }
  return rules;
}

function parseRule(element: XmlElement): LifecycleRule {
  for (const name of ['Transition', 'NoncurrentVersionTransition']) {
    if (findChild(element, name) === undefined) continue;
    throw new S3Error(
      'NotImplemented',
      `${name} is not implemented: there is one storage class only. Use an expiration.`,
    );
  }
  if (findChild(element, 'DelMarkerExpiration') !== undefined) {
    throw new S3Error('NotImplemented', 'DelMarkerExpiration is not implemented.');
  }
  const status = findChildText(element, 'Status');
  if (status !== 'Enabled' && status !== 'Disabled') throw new S3Error('MalformedXML');
  const actions = {
    ...parseExpiration(element),
    ...parseNoncurrent(element),
    ...parseAbort(element),
  };
  if (Object.keys(actions).length === 0) {
    throw new S3Error('InvalidRequest', 'At least one action needs to be specified in a rule.');
  }
  const { filter, filterForm } = parseFilter(element);
  refuseUseless(actions, filter);
  return {
    id: parseId(findChildText(element, 'ID')),
    isEnabled: status === 'Enabled',
    filter,
    filterForm,
    ...actions,
  };
}

function parseId(text: string | undefined): string {
  if (text === undefined || text === '') return randomBytes(24).toString('base64url');
  if (text.length > idLengthMax) {
    throw invalid(`ID length should not exceed allowed limit of ${idLengthMax}`);
  }
  return text;
}

function parseFilter(rule: XmlElement): Pick<LifecycleRule, 'filter' | 'filterForm'> {
  const element = findChild(rule, 'Filter');
  const legacy = findChild(rule, 'Prefix');
  if (element !== undefined && legacy !== undefined) throw new S3Error('MalformedXML');
  if (element === undefined) {
    const filter = { prefix: legacy?.text ?? '', tags: [] };
    return { filter, filterForm: legacy === undefined ? 'none' : 'prefix' };
  }
  const and = findChild(element, 'And');
  if (and === undefined && element.children.length > 1) throw new S3Error('MalformedXML');
  if (and !== undefined && element.children.length > 1) throw new S3Error('MalformedXML');
  return {
    filter: parseConditions(and ?? element),
    filterForm: and === undefined ? 'filter' : 'and',
  };
}

function parseConditions(element: XmlElement): LifecycleFilter {
  const tags = listChildren(element, 'Tag').map(parseTag);
  checkTags(tags, objectTagsMax);
  const sizeGreaterThan = parseSize(findChildText(element, 'ObjectSizeGreaterThan'));
  const sizeLessThan = parseSize(findChildText(element, 'ObjectSizeLessThan'));
  if (sizeLessThan !== undefined && sizeLessThan <= (sizeGreaterThan ?? -1) + 1) {
    throw new S3Error(
      'InvalidRequest',
      'ObjectSizeLessThan must leave a size above ObjectSizeGreaterThan.',
    );
  }
  return {
    prefix: findChild(element, 'Prefix')?.text ?? '',
    tags,
    ...(sizeGreaterThan === undefined ? {} : { sizeGreaterThan }),
    ...(sizeLessThan === undefined ? {} : { sizeLessThan }),
  };
}

function parseTag(element: XmlElement): Tag {
  const key = findChild(element, 'Key')?.text;
  if (key === undefined) throw new S3Error('MalformedXML');
  // Clients leave an empty value out.
  return { key, value: findChild(element, 'Value')?.text ?? '' };
}

function parseExpiration(rule: XmlElement): Pick<LifecycleRule, 'expiration'> {
  const element = findChild(rule, 'Expiration');
  if (element === undefined) return {};
  if (findChildText(element, 'ExpiredObjectAllVersions') === 'true') {
    throw new S3Error(
      'NotImplemented',
      'ExpiredObjectAllVersions is not implemented. Add a NoncurrentVersionExpiration.',
    );
  }
  const days = findChildText(element, 'Days');
  const date = findChildText(element, 'Date');
  const marker = findChildText(element, 'ExpiredObjectDeleteMarker');
  if ([days, date, marker].filter((text) => text !== undefined).length !== 1) {
    throw new S3Error('MalformedXML');
  }
  if (days !== undefined) return { expiration: { kind: 'days', days: parseDays(days) } };
  if (date !== undefined) return { expiration: { kind: 'date', dateMs: parseDate(date) } };
  if (marker !== 'true' && marker !== 'false') throw new S3Error('MalformedXML');
  return marker === 'true' ? { expiration: { kind: 'lone-marker' } } : {};
}

function parseNoncurrent(rule: XmlElement): Pick<LifecycleRule, 'noncurrent'> {
  const element = findChild(rule, 'NoncurrentVersionExpiration');
  if (element === undefined) return {};
  const days = findChildText(element, 'NoncurrentDays');
  const newer = findChildText(element, 'NewerNoncurrentVersions');
  if (days === undefined && newer === undefined) throw new S3Error('MalformedXML');
  return {
    noncurrent: {
      // The reference takes a count alone, which then holds at once.
      days: days === undefined ? 0 : parseDays(days),
      ...(newer === undefined ? {} : { newerVersions: parseDays(newer) }),
    },
  };
}

function parseAbort(rule: XmlElement): Pick<LifecycleRule, 'abortUploadDays'> {
  const element = findChild(rule, 'AbortIncompleteMultipartUpload');
  if (element === undefined) return {};
  const days = findChildText(element, 'DaysAfterInitiation');
  if (days === undefined) throw new S3Error('MalformedXML');
  return { abortUploadDays: parseDays(days) };
}

/** Uploads have neither tags nor a size, delete markers no size. */
function refuseUseless(
  actions: Pick<LifecycleRule, 'abortUploadDays' | 'expiration'>,
  filter: LifecycleFilter,
): void {
  const hasSize = filter.sizeGreaterThan !== undefined || filter.sizeLessThan !== undefined;
  if (actions.abortUploadDays !== undefined && (filter.tags.length > 0 || hasSize)) {
    throw new S3Error(
      'InvalidRequest',
      'AbortIncompleteMultipartUpload cannot be specified with Tags or object sizes.',
    );
  }
  if (actions.expiration?.kind === 'lone-marker' && filter.tags.length > 0) {
    throw new S3Error('InvalidRequest', 'ExpiredObjectDeleteMarker cannot be specified with Tags.');
  }
}

function parseDays(text: string): number {
  if (!/^-?\d{1,10}$/.test(text)) throw new S3Error('MalformedXML');
  const days = Number(text);
  if (days < 1) throw invalid("'Days' and counts in a lifecycle rule must be positive integers");
  if (days > 100_000) throw invalid("'Days' and counts in a lifecycle rule are at most 100000");
  return days;
}

function parseDate(text: string): number {
  const pattern = /^\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d))?$/;
  const dateMs = pattern.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(dateMs)) throw new S3Error('MalformedXML');
  if (dateMs % dayMs !== 0) throw invalid("'Date' must be at midnight GMT");
  return dateMs;
}

function parseSize(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,15}$/.test(text)) throw new S3Error('MalformedXML');
  return Number(text);
}

function formatRule(rule: LifecycleRule): string {
  const { noncurrent, abortUploadDays } = rule;
  const noncurrentXml =
    noncurrent === undefined
      ? ''
      : `<NoncurrentVersionExpiration>${noncurrent.days === 0 ? '' : xmlElement('NoncurrentDays', String(noncurrent.days))}${xmlOptional('NewerNoncurrentVersions', noncurrent.newerVersions?.toString())}</NoncurrentVersionExpiration>`;
  const abortXml =
    abortUploadDays === undefined
      ? ''
      : `<AbortIncompleteMultipartUpload>${xmlElement('DaysAfterInitiation', String(abortUploadDays))}</AbortIncompleteMultipartUpload>`;
  const inner =
    xmlElement('ID', rule.id) +
    xmlElement('Status', rule.isEnabled ? 'Enabled' : 'Disabled') +
    formatFilter(rule) +
    formatExpiration(rule.expiration) +
    noncurrentXml +
    abortXml;
  return `<Rule>${inner}</Rule>`;
}

function formatExpiration(expiration: LifecycleRule['expiration']): string {
  if (expiration === undefined) return '';
  const inner = (): string => {
    switch (expiration.kind) {
      case 'days':
        return xmlElement('Days', String(expiration.days));
      case 'date':
        return xmlElement('Date', xmlTime(expiration.dateMs));
      case 'lone-marker':
        return xmlElement('ExpiredObjectDeleteMarker', 'true');
    }
  };
  return `<Expiration>${inner()}</Expiration>`;
}

function formatFilter({ filter, filterForm }: LifecycleRule): string {
  const { prefix, tags, sizeGreaterThan, sizeLessThan } = filter;
  if (filterForm === 'none') return '';
  if (filterForm === 'prefix') return xmlElement('Prefix', prefix);
  const tagsXml = tags
    .map(({ key, value }) => `<Tag>${xmlElement('Key', key)}${xmlElement('Value', value)}</Tag>`)
    .join('');
  const inner =
    (prefix === '' ? '' : xmlElement('Prefix', prefix)) +
    tagsXml +
    xmlOptional('ObjectSizeGreaterThan', sizeGreaterThan?.toString()) +
    xmlOptional('ObjectSizeLessThan', sizeLessThan?.toString());
  if (filterForm === 'and') return `<Filter><And>${inner}</And></Filter>`;
  return `<Filter>${inner === '' ? '<Prefix></Prefix>' : inner}</Filter>`;
}

function invalid(why: string): S3Error {
  return new S3Error('InvalidArgument', why);
}
