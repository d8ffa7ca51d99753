// Object lock: of a bucket the switch, which never goes back, and the default retention; of a version its retention
// and its legal hold. Whether a change or a deletion may be is decided by the store, in its commit.

import {
  findChild,
  findChildText,
  listChildren,
  parseXml,
  type XmlElement,
  xmlElement,
} from '../../base/xml.ts';
import type { BucketObjectLock, BucketSettings, ObjectLock } from '../../store/types.ts';
import { emptyReply, type Reply, type S3Call, xmlReply } from '../call.ts';
import { S3Error } from '../errors.ts';
import { bypassesGovernance, isMode, lockTime, parseRetention } from '../object-lock.ts';
import { versionRefOf } from '../versions.ts';

const documentBytesMax = 64 * 1024;
const daysMax = 36_500;
const yearsMax = 100;

/** GET ?object-lock. 404 where versions cannot be locked. */
export async function getObjectLockConfiguration(call: S3Call): Promise<Reply> {
  const { bucket } = call.target;
  const { objectLock } = (await call.store.getBucket(bucket)).settings;
  if (objectLock === undefined) {
    throw new S3Error('ObjectLockConfigurationNotFoundError', undefined, {
      details: { BucketName: bucket },
    });
  }
  return xmlReply(
    'ObjectLockConfiguration',
    `<ObjectLockEnabled>Enabled</ObjectLockEnabled>${ruleXml(objectLock)}`,
  );
}

function ruleXml({ defaultRetention }: BucketObjectLock): string {
  if (defaultRetention === undefined) return '';
  const { mode, days, years } = defaultRetention;
  const period = years === undefined ? xmlElement('Days', days ?? 0) : xmlElement('Years', years);
  return `<Rule><DefaultRetention>${xmlElement('Mode', mode)}${period}</DefaultRetention></Rule>`;
}

/** PUT ?object-lock. Switches object lock on where versioning is on, and sets or removes the default. */
export async function putObjectLockConfiguration(call: S3Call): Promise<Reply> {
  const { bucket } = call.target;
  const document = await call.readDocument({ maxBytes: documentBytesMax });
  const objectLock = parseConfiguration(document);
  await call.store.updateBucketSettings(bucket, (settings) => withLock(settings, objectLock));
  return emptyReply(200);
}

function withLock(settings: BucketSettings, objectLock: BucketObjectLock): BucketSettings {
  if (settings.versioning !== 'Enabled') {
    throw new S3Error(
      'InvalidBucketState',
      "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration",
    );
  }
  return { ...settings, objectLock };
}

function parseConfiguration(document: Uint8Array): BucketObjectLock {
  const root = parseXml(document, { maxBytes: documentBytesMax });
  const isEnabled = findChildText(root, 'ObjectLockEnabled') === 'Enabled';
  const rules = listChildren(root, 'Rule');
  if (root.name !== 'ObjectLockConfiguration' || !isEnabled || rules.length > 1) {
    throw new S3Error('MalformedXML');
  }
  const [rule] = rules;
  if (rule === undefined) return {};
  const retention = findChild(rule, 'DefaultRetention');
  if (retention === undefined) throw new S3Error('MalformedXML');
  return { defaultRetention: parseDefault(retention) };
}

function parseDefault(element: XmlElement): NonNullable<BucketObjectLock['defaultRetention']> {
  const mode = findChildText(element, 'Mode') ?? '';
  const days = findChildText(element, 'Days');
  const years = findChildText(element, 'Years');
  if (!isMode(mode) || (days === undefined) === (years === undefined)) {
    throw new S3Error('MalformedXML');
  }
  return days === undefined
    ? { mode, years: parsePeriod(years ?? '', yearsMax) }
    : { mode, days: parsePeriod(days, daysMax) };
}

function parsePeriod(text: string, max: number): number {
  if (!/^[+-]?\d+$/.test(text)) throw new S3Error('MalformedXML');
  const period = Number(text);
  if (period < 1) {
    throw new S3Error(
      'InvalidRetentionPeriod',
      'Default retention period must be a positive integer value.',
    );
  }
  if (period > max) {
    throw new S3Error('InvalidRetentionPeriod', `Default retention period is too large: ${max}`);
  }
  return period;
}

/** GET ?retention of a version. */
export async function getObjectRetention(call: S3Call): Promise<Reply> {
  const { retention } = await readLock(call);
  if (retention === undefined) throw notSet();
  return xmlReply(
    'Retention',
    xmlElement('Mode', retention.mode) + xmlElement('RetainUntilDate', lockTime(retention.untilMs)),
  );
}

/** PUT ?retention of a version. An empty document removes it, where that is allowed. */
export async function putObjectRetention(call: S3Call): Promise<Reply> {
  await assertHasLock(call);
  const root = parseXml(await call.readDocument({ maxBytes: documentBytesMax }), {
    maxBytes: documentBytesMax,
  });
  if (root.name !== 'Retention') throw new S3Error('MalformedXML');
  await call.store.putRetention(versionRefOf(call), parseRetention(root), {
    bypassesGovernance: bypassesGovernance(call.headers),
  });
  return emptyReply(200);
}

/** GET ?legal-hold of a version. */
export async function getObjectLegalHold(call: S3Call): Promise<Reply> {
  const { legalHold } = await readLock(call);
  if (legalHold === undefined) throw notSet();
  return xmlReply('LegalHold', xmlElement('Status', legalHold ? 'ON' : 'OFF'));
}

/** PUT ?legal-hold of a version. */
export async function putObjectLegalHold(call: S3Call): Promise<Reply> {
  await assertHasLock(call);
  const root = parseXml(await call.readDocument({ maxBytes: documentBytesMax }), {
    maxBytes: documentBytesMax,
  });
  const status = findChildText(root, 'Status');
  if (root.name !== 'LegalHold' || (status !== 'ON' && status !== 'OFF')) {
    throw new S3Error('MalformedXML');
  }
  await call.store.putLegalHold(versionRefOf(call), status === 'ON');
  return emptyReply(200);
}

async function readLock(call: S3Call): Promise<ObjectLock> {
  await assertHasLock(call);
  const { info } = await call.store.openObject(versionRefOf(call));
  return info.lock ?? {};
}

async function assertHasLock(call: S3Call): Promise<void> {
  const { settings } = await call.store.getBucket(call.target.bucket);
  if (settings.objectLock !== undefined) return;
  throw new S3Error('InvalidRequest', 'Bucket is missing Object Lock Configuration');
}

function notSet(): S3Error {
  return new S3Error('NoSuchObjectLockConfiguration');
}
