// Single S3 operations: look at an object, delete, make and remove buckets, bucket encryption. Errors are
// the server's own, except where the function says that it shows the client's sentence instead.

import { escapeXml, findChild, findChildText, listChildren, parseXml } from '../../base/xml.ts';
import { McError } from './error.ts';
import type { JsonObject } from './error.ts';
import { checkBucketName, contentMd5 } from './s3-client.ts';
import type { S3Client } from './s3-client.ts';
import { listObjects } from './s3-list.ts';

/** What a HEAD says about an object. `headers` has lower-case names. */
export type ObjectInfo = {
  readonly sizeBytes: number;
  readonly modifiedMs: number;
  readonly etag: string;
  readonly headers: Readonly<Record<string, string>>;
};

export type ObjectName = {
  readonly bucket: string;
  readonly key: string;
  readonly versionId?: string;
};

/**
 * Looks at an object. Throws `object-missing`, `bucket-missing` or `access-denied` with the client's own
 * sentence, otherwise what the server said.
 */
export async function headObject(
  client: S3Client,
  object: ObjectName,
  headers: Readonly<Record<string, string>> = {},
): Promise<ObjectInfo> {
  const { bucket, key, versionId } = object;
  if (bucket.length < 3) {
    throw new McError('bucket-name', `Bucket name \`${bucket}\` not valid.`, {
      detail: { Bucket: bucket },
    });
  }
  if (key === '') throw new McError('argument', 'Object name cannot be empty');
  try {
    const { response } = await client.call({
      method: 'HEAD',
      bucket,
      key,
      headers: { 'x-amz-checksum-mode': 'ENABLED', ...headers },
      statuses: [200],
      ...(versionId === undefined ? {} : { query: { versionId } }),
    });
    return {
      sizeBytes: Number(response.headers['content-length'] ?? 0),
      modifiedMs: Date.parse(response.headers['last-modified'] ?? '') || 0,
      etag: (response.headers['etag'] ?? '').replaceAll('"', ''),
      headers: response.headers,
    };
  } catch (error) {
    throw asObjectError(error, client, object);
  }
}

/** The client's own sentence for a missing bucket, a missing object, or a refusal without a reason. */
export function asObjectError(error: unknown, client: S3Client, object: ObjectName): unknown {
  if (!(error instanceof McError) || error.code !== 'server') return error;
  if (error.serverCode === 'NoSuchBucket') return bucketMissing(object.bucket);
  if (error.serverCode === 'NoSuchKey' || error.serverCode === 'NoSuchVersion') {
    return new McError('object-missing', 'Object does not exist', { serverCode: 'NoSuchKey' });
  }
  if (error.serverCode === 'AccessDenied') {
    const path = client.url(object.bucket, object.key);
    return new McError(
      'access-denied',
      `Insufficient permissions to access this path \`${path}\`.`,
      {
        detail: { Path: path },
        serverCode: 'AccessDenied',
      },
    );
  }
  return error;
}

/** The client's own sentence for a missing bucket; other errors stay as they are. */
export function asBucketError(error: unknown, bucket: string): unknown {
  if (error instanceof McError && error.serverCode === 'NoSuchBucket') return bucketMissing(bucket);
  return error;
}

function bucketMissing(bucket: string): McError {
  return new McError('bucket-missing', `Bucket \`${bucket}\` does not exist.`, {
    detail: { Bucket: bucket },
    serverCode: 'NoSuchBucket',
  });
}

/** Throws `bucket-missing`, or what the server said. */
export async function headBucket(client: S3Client, bucket: string): Promise<void> {
  checkBucketName(bucket);
  try {
    await client.call({ method: 'HEAD', bucket, statuses: [200] });
  } catch (error) {
    throw asBucketError(error, bucket);
  }
}

/** Whether there is an object or folder below `key/`. */
export async function isFolder(client: S3Client, bucket: string, key: string): Promise<boolean> {
  const prefix = key.endsWith('/') || key === '' ? key : `${key}/`;
  for await (const _ of listObjects(client, { bucket, prefix, isRecursive: false, keysMax: 1 })) {
    return true;
  }
  return false;
}

export async function makeBucket(
  client: S3Client,
  bucket: string,
  options: { region: string; hasLock: boolean },
): Promise<void> {
  checkBucketName(bucket);
  if (!/^[a-z0-9][a-z0-9.-]+[a-z0-9]$/.test(bucket)) {
    throw new McError('bucket-name', 'Bucket name contains invalid characters');
  }
  const { region } = options;
  const document =
    region === '' || region === 'us-east-1'
      ? undefined
      : Buffer.from(
          `<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><LocationConstraint>${escapeXml(region)}</LocationConstraint></CreateBucketConfiguration>`,
        );
  await client.call({
    method: 'PUT',
    bucket,
    isUnsigned: document === undefined,
    statuses: [200],
    regionOverride: region === '' ? 'us-east-1' : region,
    ...(document === undefined ? {} : { body: document }),
    ...(options.hasLock ? { headers: { 'x-amz-bucket-object-lock-enabled': 'true' } } : {}),
  });
}

export async function removeBucket(client: S3Client, bucket: string): Promise<void> {
  await client.call({ method: 'DELETE', bucket, statuses: [204] });
}

export type DeletedItem = ObjectName & {
  /** Undefined when it was removed. */
  readonly error?: McError;
  readonly isDeleteMarker?: boolean;
  readonly markerVersionId?: string;
};

/** At most this many objects go into one request. */
export const deleteBatchMax = 1000;

/** Deletes up to 1000 objects of one bucket; the answer has one item for each. */
export async function deleteObjects(
  client: S3Client,
  objects: readonly ObjectName[],
  options: { isBypassing?: boolean } = {},
): Promise<readonly DeletedItem[]> {
  const bucket = objects[0]?.bucket ?? '';
  const items = objects.map(
    ({ key, versionId }) =>
      `<Object><Key>${escapeXml(key)}</Key>${versionId === undefined ? '' : `<VersionId>${escapeXml(versionId)}</VersionId>`}</Object>`,
  );
  const document = Buffer.from(`<Delete><Quiet>false</Quiet>${items.join('')}</Delete>`);
  const { body } = await client.call({
    method: 'POST',
    bucket,
    query: { delete: '' },
    headers: {
      'content-md5': contentMd5(document),
      ...(options.isBypassing === true ? { 'x-amz-bypass-governance-retention': 'true' } : {}),
    },
    body: document,
    statuses: [200],
  });
  const root = parseXml(body, { maxBytes: body.length });
  const failed = new Map<string, McError>();
  const removed = new Map<string, { isDeleteMarker: boolean; markerVersionId: string }>();
  for (const item of root.children) {
    const id = `${findChild(item, 'Key')?.text ?? ''}\n${findChildText(item, 'VersionId') ?? ''}`;
    if (item.name === 'Error') {
      const code = findChildText(item, 'Code') ?? '';
      const message = findChildText(item, 'Message') ?? code;
      const detail: JsonObject = { Code: code, Message: message };
      failed.set(id, new McError('server', message, { serverCode: code, detail }));
    } else if (item.name === 'Deleted') {
      removed.set(id, {
        isDeleteMarker: findChildText(item, 'DeleteMarker') === 'true',
        markerVersionId: findChildText(item, 'DeleteMarkerVersionId') ?? '',
      });
    }
  }
  return objects.map((object) => {
    const id = `${object.key}\n${object.versionId ?? ''}`;
    const error = failed.get(id);
    return error === undefined ? { ...object, ...removed.get(id) } : { ...object, error };
  });
}

/** A bucket's default encryption. */
export type BucketEncryption = { readonly algorithm: string; readonly keyId: string };

/** Undefined when the server answers with no rule. */
/** The default that holds below a prefix, which other servers than Coffer take for the bucket's own. */
export async function getEncryption(
  client: S3Client,
  bucket: string,
  prefix = '',
): Promise<BucketEncryption | undefined> {
  const { body } = await client.call({
    method: 'GET',
    bucket,
    query: encryptionQuery(prefix),
    isUnsigned: true,
    statuses: [200],
  });
  const root = parseXml(body, { maxBytes: body.length });
  const rule = listChildren(root, 'Rule')[0];
  const applied = rule && findChild(rule, 'ApplyServerSideEncryptionByDefault');
  if (applied === undefined) return undefined;
  return {
    algorithm: findChildText(applied, 'SSEAlgorithm') ?? '',
    keyId: findChildText(applied, 'KMSMasterKeyID') ?? '',
  };
}

export async function setEncryption(
  client: S3Client,
  bucket: string,
  encryption: BucketEncryption,
  prefix = '',
): Promise<void> {
  const key =
    encryption.keyId === ''
      ? ''
      : `<KMSMasterKeyID>${escapeXml(encryption.keyId)}</KMSMasterKeyID>`;
  const document = Buffer.from(
    `<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>${key}<SSEAlgorithm>${encryption.algorithm}</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>`,
  );
  await client.call({
    method: 'PUT',
    bucket,
    query: encryptionQuery(prefix),
    headers: { 'content-md5': contentMd5(document) },
    body: document,
    isUnsigned: true,
    statuses: [200],
  });
}

export async function clearEncryption(
  client: S3Client,
  bucket: string,
  prefix = '',
): Promise<void> {
  const query = encryptionQuery(prefix);
  await client.call({ method: 'DELETE', bucket, query, statuses: [200, 204] });
}

/** Servers that know no defaults by prefix do not look at the parameter. */
function encryptionQuery(prefix: string): Record<string, string> {
  return prefix === '' ? { encryption: '' } : { encryption: '', prefix };
}
