// Get, Put and DeletePublicAccessBlock: what a bucket refuses or ignores of what would open it to everybody.

import { findChildText, parseXml, xmlElement } from '../../base/xml.ts';
import type { BucketSettings, PublicAccessBlock } from '../../store/types.ts';
import { emptyReply, type Reply, type S3Call, xmlReply } from '../call.ts';
import { S3Error } from '../errors.ts';

const documentBytesMax = 64 * 1024;
const root = 'PublicAccessBlockConfiguration';

/** The elements, in the order in which they are written. */
const elements = [
  ['BlockPublicAcls', 'blockPublicAcls'],
  ['IgnorePublicAcls', 'ignorePublicAcls'],
  ['BlockPublicPolicy', 'blockPublicPolicy'],
  ['RestrictPublicBuckets', 'restrictPublicBuckets'],
] as const;

/** GET ?publicAccessBlock. 404 until it was set. */
export async function getPublicAccessBlock(call: S3Call): Promise<Reply> {
  const { bucket } = call.target;
  const { publicAccessBlock } = (await call.store.getBucket(bucket)).settings;
  if (publicAccessBlock === undefined) {
    throw new S3Error('NoSuchPublicAccessBlockConfiguration', undefined, {
      details: { BucketName: bucket },
    });
  }
  const inner = elements.map(([element, name]) => xmlElement(element, publicAccessBlock[name]));
  return xmlReply(root, inner.join(''));
}

/** PUT ?publicAccessBlock. A switch that is left out is off. */
export async function putPublicAccessBlock(call: S3Call): Promise<Reply> {
  const document = await call.readDocument({ maxBytes: documentBytesMax });
  const publicAccessBlock = parseConfiguration(document);
  await call.store.updateBucketSettings(call.target.bucket, (settings) => ({
    ...settings,
    publicAccessBlock,
  }));
  return emptyReply(200);
}

/** DELETE ?publicAccessBlock, also when there is nothing to delete. */
export async function deletePublicAccessBlock(call: S3Call): Promise<Reply> {
  await call.store.updateBucketSettings(call.target.bucket, withoutBlock);
  return emptyReply(204);
}

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

function withoutBlock(settings: BucketSettings): BucketSettings {
  const { publicAccessBlock: _, ...rest } = settings;
  return rest;
}
