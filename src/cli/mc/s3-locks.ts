// Object lock over S3: the default retention of a bucket, retention and legal hold of one version.

import { findChild, findChildText, parseXml, type XmlElement } from '../../base/xml.ts';
import { McError } from './error.ts';
import { contentMd5, type S3Client } from './s3-client.ts';
import type { ObjectName } from './s3-objects.ts';

export type LockMode = 'GOVERNANCE' | 'COMPLIANCE';

/** For how long: as typed, days or years. */
export type Validity = { readonly count: number; readonly unit: 'DAYS' | 'YEARS' };

export type LockDefault = { readonly mode: string; readonly validity: Validity };

export type Retention = { readonly mode: string; readonly until: Date };

/** The default of a bucket; undefined when there is none. Throws when the bucket has no object lock. */
export async function getLockDefault(
  client: S3Client,
  bucket: string,
): Promise<LockDefault | undefined> {
  const root = await read(client, { bucket, key: '' }, 'object-lock');
  const rule = findChild(root, 'Rule');
  const retention = rule && findChild(rule, 'DefaultRetention');
  if (retention === undefined) return undefined;
  const years = findChildText(retention, 'Years');
  const count = Number(years ?? findChildText(retention, 'Days') ?? 0);
  return {
    mode: findChildText(retention, 'Mode') ?? '',
    validity: { count, unit: years === undefined ? 'DAYS' : 'YEARS' },
  };
}

/** Sets the default, or undefined removes it. */
export async function setLockDefault(
  client: S3Client,
  bucket: string,
  to: LockDefault | undefined,
): Promise<void> {
  let rule = '';
  if (to !== undefined) {
    const { count, unit } = to.validity;
    const name = unit === 'DAYS' ? 'Days' : 'Years';
    rule = `<Rule><DefaultRetention><Mode>${to.mode}</Mode><${name}>${count}</${name}></DefaultRetention></Rule>`;
  }
  const inner = `<ObjectLockEnabled>Enabled</ObjectLockEnabled>${rule}`;
  const document = `<ObjectLockConfiguration>${inner}</ObjectLockConfiguration>`;
  await write(client, { bucket, key: '' }, { resource: 'object-lock', document });
}

/** Undefined when the version has none. */
export async function getRetention(
  client: S3Client,
  object: ObjectName,
): Promise<Retention | undefined> {
  const root = await readIfSet(client, object, 'retention');
  const mode = root && findChildText(root, 'Mode');
  if (root === undefined || mode === undefined || mode === '') return undefined;
  return { mode, until: new Date(findChildText(root, 'RetainUntilDate') ?? '') };
}

/** Sets the retention of a version, or undefined removes it. */
export async function setRetention(
  client: S3Client,
  object: ObjectName,
  to: Retention | undefined,
  options: { readonly isBypassing: boolean },
): Promise<void> {
  const inner =
    to === undefined
      ? ''
      : `<Mode>${to.mode}</Mode><RetainUntilDate>${to.until.toISOString()}</RetainUntilDate>`;
  const document = `<Retention>${inner}</Retention>`;
  await write(client, object, { resource: 'retention', document, ...options });
}

/** `ON`, `OFF`, or empty when it was never set. */
export async function getLegalHold(client: S3Client, object: ObjectName): Promise<string> {
  const root = await readIfSet(client, object, 'legal-hold');
  return (root && findChildText(root, 'Status')) ?? '';
}

export async function setLegalHold(
  client: S3Client,
  object: ObjectName,
  status: 'ON' | 'OFF',
): Promise<void> {
  const document = `<LegalHold><Status>${status}</Status></LegalHold>`;
  await write(client, object, { resource: 'legal-hold', document });
}

async function readIfSet(
  client: S3Client,
  object: ObjectName,
  resource: string,
): Promise<XmlElement | undefined> {
  try {
    return await read(client, object, resource);
  } catch (error) {
    const code = error instanceof McError ? error.serverCode : undefined;
    if (code === 'NoSuchObjectLockConfiguration') return undefined;
    throw error;
  }
}

async function read(client: S3Client, object: ObjectName, resource: string): Promise<XmlElement> {
  const { body } = await client.call({
    method: 'GET',
    ...placeOf(object),
    query: queryOf(object, resource),
    statuses: [200],
  });
  return parseXml(body, { maxBytes: body.length });
}

async function write(
  client: S3Client,
  object: ObjectName,
  what: { readonly resource: string; readonly document: string; readonly isBypassing?: boolean },
): Promise<void> {
  const body = Buffer.from(what.document);
  await client.call({
    method: 'PUT',
    ...placeOf(object),
    query: queryOf(object, what.resource),
    headers: {
      'content-md5': contentMd5(body),
      ...(what.isBypassing === true ? { 'x-amz-bypass-governance-retention': 'true' } : {}),
    },
    body,
    statuses: [200],
  });
}

function placeOf({ bucket, key }: ObjectName): { bucket: string; key?: string } {
  return key === '' ? { bucket } : { bucket, key };
}

function queryOf({ versionId }: ObjectName, resource: string): Record<string, string> {
  return { [resource]: '', ...(versionId === undefined ? {} : { versionId }) };
}
