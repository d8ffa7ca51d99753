// The versioning state of a bucket, read and set.

import { findChildText, parseXml } from '../../base/xml.ts';
import { contentMd5, type S3Client } from './s3-client.ts';

/** `Enabled`, `Suspended`, or empty when it was never set. */
export async function getVersioning(client: S3Client, bucket: string): Promise<string> {
  const { body } = await client.call({
    method: 'GET',
    bucket,
    query: { versioning: '' },
    statuses: [200],
  });
  return findChildText(parseXml(body, { maxBytes: body.length }), 'Status') ?? '';
}

export async function setVersioning(
  client: S3Client,
  bucket: string,
  status: 'Enabled' | 'Suspended',
): Promise<void> {
  const document = Buffer.from(
    `<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>${status}</Status></VersioningConfiguration>`,
  );
  await client.call({
    method: 'PUT',
    bucket,
    query: { versioning: '' },
    headers: { 'content-md5': contentMd5(document) },
    body: document,
    statuses: [200],
  });
}
