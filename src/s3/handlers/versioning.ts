// Get and PutBucketVersioning. Versioning goes on and can be suspended; it never goes back to what it was before.

import { findChildText, parseXml, xmlElement } from '../../base/xml.ts';
import type { BucketSettings, Versioning } from '../../store/types.ts';
import { emptyReply, type Reply, type S3Call, xmlReply } from '../call.ts';
import { S3Error } from '../errors.ts';

const documentBytesMax = 64 * 1024;

/** GET ?versioning. Empty when it was never set. */
export async function getBucketVersioning(call: S3Call): Promise<Reply> {
  const { settings } = await call.store.getBucket(call.target.bucket);
  const { versioning } = settings;
  const inner = versioning === undefined ? '' : xmlElement('Status', versioning);
  return xmlReply('VersioningConfiguration', inner);
}

/** PUT ?versioning. Applies to every write that is committed from then on. */
export async function putBucketVersioning(call: S3Call): Promise<Reply> {
  const { bucket } = call.target;
  const versioning = parseConfiguration(
    await call.readDocument({ maxBytes: documentBytesMax }),
    call.headers['x-amz-mfa'],
  );
  await call.store.updateBucketSettings(bucket, (settings) => withVersioning(settings, versioning));
  return emptyReply(200);
}

function withVersioning(settings: BucketSettings, versioning: Versioning): BucketSettings {
  if (settings.objectLock !== undefined && versioning !== 'Enabled') {
    throw new S3Error(
      'InvalidBucketState',
      'An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.',
    );
  }
  return { ...settings, versioning };
}

function parseConfiguration(document: Uint8Array, mfa: string | undefined): Versioning {
  const root = parseXml(document, { maxBytes: documentBytesMax });
  const status = findChildText(root, 'Status');
  const mfaDelete = findChildText(root, 'MfaDelete') ?? findChildText(root, 'MFADelete');
  if (mfaDelete !== undefined && mfaDelete !== 'Enabled' && mfaDelete !== 'Disabled') {
    throw new S3Error('MalformedXML');
  }
  const isKnown = status === 'Enabled' || status === 'Suspended';
  if (root.name !== 'VersioningConfiguration' || !isKnown) throw new S3Error('MalformedXML');
  if (mfaDelete === 'Enabled' || mfa !== undefined) {
    throw new S3Error('NotImplemented', 'MFA delete is not implemented');
  }
  // Only servers of this kind know these; dropping them would keep versions that were not to be kept, or more.
  for (const name of ['ExcludedPrefixes', 'ExcludeFolders']) {
    const text = findChildText(root, name);
    if (text === undefined || text === 'false') continue;
    throw new S3Error('NotImplemented', `${name} of a versioning configuration is not implemented`);
  }
  return status;
}
