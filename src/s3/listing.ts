// What all list calls share: limits, `encoding-type=url`, owners.

import { escapeXml, xmlElement } from '../base/xml.ts';
import { type Owner, ownerIdOf } from '../iam/identity.ts';
import { queryOf, type S3Call } from './call.ts';
import { invalidArgument } from './errors.ts';

export type EncodeText = (text: string) => string;

const pageMax = 1000;

/** A limit parameter: 1,000 when absent, at most 1,000. Throws `InvalidArgument` for anything but a number. */
export function listLimit(call: S3Call, name: string): number {
  const text = queryOf(call, name);
  if (text === undefined || text === '') return pageMax;
  if (!/^\d{1,10}$/.test(text) || Number(text) > 2_147_483_647) {
    throw invalidArgument(
      name,
      text,
      `Argument ${name} must be an integer between 0 and 2147483647`,
    );
  }
  return Math.min(pageMax, Number(text));
}

/** How names are written (before XML escaping), and the element that says so. */
export function textEncoding(call: S3Call): {
  readonly encode: EncodeText;
  readonly encodingXml: string;
} {
  const type = queryOf(call, 'encoding-type');
  if (type === undefined || type === '') return { encode: asIs, encodingXml: '' };
  if (type.toLowerCase() !== 'url') {
    throw invalidArgument('encoding-type', type, 'Invalid Encoding Method specified in Request');
  }
  return { encode: encodeUrl, encodingXml: xmlElement('EncodingType', 'url') };
}

/** An element that is left out when its text is empty. */
export function optionalText(name: string, text: string, encode: EncodeText): string {
  return text === '' ? '' : `<${name}>${escapeXml(encode(text))}</${name}>`;
}

/** `Owner` or `Initiator`. */
export function ownerXml(element: 'Owner' | 'Initiator', owner: Owner): string {
  return `<${element}>${xmlElement('ID', owner.ownerId)}${xmlElement('DisplayName', owner.displayName)}</${element}>`;
}

/** The owner of a record of the call's bucket; what an anonymous caller made is the bucket owner's. */
export async function ownerOfRecord(call: S3Call, recorded: string): Promise<Owner> {
  const ofBucket =
    recorded === '' ? (await call.store.getBucket(call.target.bucket)).owner : undefined;
  return call.environment.describeOwner(ownerIdOf(recorded, ofBucket));
}

/** The `Owner` elements of many records, by what the records keep. Each owner is looked up once. */
export async function ownerElements(
  call: S3Call,
  records: readonly { readonly owner: string }[],
): Promise<(record: { readonly owner: string }) => string> {
  const elements = new Map<string, string>();
  for (const { owner } of records) {
    if (elements.has(owner)) continue;
    elements.set(owner, ownerXml('Owner', await ownerOfRecord(call, owner)));
  }
  return ({ owner }) => elements.get(owner) ?? '';
}

const plainText = /^[A-Za-z0-9\-_.~/*]*$/;

function asIs(text: string): string {
  return text;
}

/** Nothing that XML would have to escape is left, so a client needs one kind of decoding only. */
function encodeUrl(text: string): string {
  if (plainText.test(text)) return text;
  return encodeURIComponent(text)
    .replaceAll('%2F', '/')
    .replace(/[!'()]/g, (mark) => `%${mark.charCodeAt(0).toString(16).toUpperCase()}`);
}
