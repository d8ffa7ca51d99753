// Get, Put and DeletePublicAccessBlock: what a bucket refuses or ignores of what would open it to everybody.

import { findChildText, parseXml, xmlElement } from '../../base/xml.ts';
import type { PublicAccessBlock } from '../../store/types.ts';
import { S3Error } from '../errors.ts';
import { bucketSetting } from './bucket-setting.ts';

const documentBytesMax = 64 * 1024;
const root = 'PublicAccessBlockConfiguration';

/** The elements, in the order in which they are written. */
const elements = [
  ['BlockPublicAcls', 'blockPublicAcls'],
  ['IgnorePublicAcls', 'ignorePublicAcls'],
  ['BlockPublicPolicy', 'blockPublicPolicy'],
  ['RestrictPublicBuckets', 'restrictPublicBuckets'],
] as const;

/** ?publicAccessBlock. A switch that is left out is off. */
export const bucketAccessBlock = bucketSetting({
  member: 'publicAccessBlock',
  root,
  absent: 'NoSuchPublicAccessBlockConfiguration',
  documentBytesMax,
  isDigestRequired: false,
  parse: parseConfiguration,
  format: (block) => elements.map(([element, name]) => xmlElement(element, block[name])).join(''),
});

function parseConfiguration(document: Uint8Array): PublicAccessBlock {
  const configuration = parseXml(document, { maxBytes: documentBytesMax });
  const known: ReadonlySet<string> = new Set(elements.map(([element]) => element));
  const isKnown = configuration.children.every(({ name }) => known.has(name));
  if (configuration.name !== root || !isKnown) throw new S3Error('MalformedXML');
  const isOn = (element: string): boolean => {
    const text = findChildText(configuration, element)?.toLowerCase() ?? 'false';
    if (text !== 'true' && text !== 'false') throw new S3Error('MalformedXML');
    return text === 'true';
  };
  return {
    blockPublicAcls: isOn('BlockPublicAcls'),
    ignorePublicAcls: isOn('IgnorePublicAcls'),
    blockPublicPolicy: isOn('BlockPublicPolicy'),
    restrictPublicBuckets: isOn('RestrictPublicBuckets'),
  };
}
