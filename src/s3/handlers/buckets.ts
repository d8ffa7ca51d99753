// Buckets themselves: list, create, look up, delete, locate.

import { findChild, findChildText, parseXml, xmlElement } from '../../base/xml.ts';
import { ownerIdOf } from '../../iam/identity.ts';
import type { BucketInfo } from '../../store/types.ts';
import { aclOfHeaders, recordedBucketAcl } from '../access/acl-documents.ts';
import { emptyReply, queryOf, type Reply, type S3Call, xmlReply, xmlTime } from '../call.ts';
import { invalidArgument, S3Error, toS3Error } from '../errors.ts';
import { ownerXml } from '../listing.ts';
import { isValidBucketName } from '../target.ts';
import { deletePrefix, deletingStore } from './delete-objects.ts';

const bodyBytesMax = 64 * 1024;
const bucketsMax = 10_000;
/** The admin API lives under this name. */
const reservedNames: ReadonlySet<string> = new Set(['minio']);

/** GET of the service. */
export async function listBuckets(call: S3Call): Promise<Reply> {
  const text = queryOf(call, 'max-buckets');
  const limit = text === undefined ? bucketsMax : Number(/^\d{1,5}$/.test(text) ? text : 0);
  if (limit < 1 || limit > bucketsMax) {
    throw invalidArgument('max-buckets', text ?? '', 'max-buckets must be between 1 and 10000');
  }
  const prefix = queryOf(call, 'prefix') ?? '';
  const after = decodeBucketToken(queryOf(call, 'continuation-token') ?? '');
  const page = await findVisible(call, { prefix, after, limit });
  const buckets = page.buckets.map(
    (bucket) =>
      `<Bucket>${xmlElement('Name', bucket.name)}${xmlElement('CreationDate', xmlTime(bucket.createdMs))}</Bucket>`,
  );
  const last = page.buckets.at(-1)?.name ?? '';
  const inner =
    ownerXml('Owner', await call.environment.describeOwner(ownerIdOf(call.owner))) +
    `<Buckets>${buckets.join('')}</Buckets>` +
    (page.isTruncated ? xmlElement('ContinuationToken', encodeBucketToken(last)) : '') +
    (prefix === '' ? '' : xmlElement('Prefix', prefix));
  return xmlReply('ListAllMyBucketsResult', inner);
}

type BucketQuery = { readonly prefix: string; readonly after: string; readonly limit: number };
type BucketPage = { readonly buckets: readonly BucketInfo[]; readonly isTruncated: boolean };

/**
 * Who may not list all buckets sees those that it may list, or whose place it may ask for. Throws `AccessDenied`
 * when there is none.
 */
async function findVisible(call: S3Call, query: BucketQuery): Promise<BucketPage> {
  if (call.identity.kind === 'anonymous') throw new S3Error('AccessDenied');
  const all = { action: 's3:ListAllMyBuckets', bucket: '', key: '' };
  if (await call.isAllowed([all])) return call.store.listBuckets(query);
  const visible: BucketInfo[] = [];
  let { after } = query;
  for (;;) {
    const page = await call.store.listBuckets({ ...query, after, limit: bucketsMax });
    for (const bucket of page.buckets) if (await isVisible(call, bucket)) visible.push(bucket);
    after = page.buckets.at(-1)?.name ?? '';
    if (!page.isTruncated || visible.length > query.limit) break;
  }
  if (visible.length === 0 && query.after === '') throw new S3Error('AccessDenied');
  return {
    buckets: visible.slice(0, query.limit),
    isTruncated: visible.length > query.limit,
  };
}

async function isVisible(call: S3Call, { name }: BucketInfo): Promise<boolean> {
  try {
    for (const action of ['s3:ListBucket', 's3:GetBucketLocation']) {
      if (await call.isAllowed([{ action, bucket: name, key: '' }])) return true;
    }
    return false;
  } catch (error) {
    // It was deleted meanwhile.
    if (toS3Error(error).code === 'NoSuchBucket') return false;
    throw error;
  }
}

/** PUT of a bucket. A bucket that exists is refused, unless the request is the plain repetition of itself. */
export async function createBucket(call: S3Call): Promise<Reply> {
  const { bucket } = call.target;
  if (!isValidBucketName(bucket) || reservedNames.has(bucket)) {
    throw new S3Error('InvalidBucketName', undefined, { details: { BucketName: bucket } });
  }
  const acl = recordedBucketAcl(aclOfHeaders(call.headers));
  const hasLock = call.headers['x-amz-bucket-object-lock-enabled']?.toLowerCase() === 'true';
  const location = await readLocation(call);
  try {
    await call.store.createBucket({
      name: bucket,
      owner: call.owner,
      location,
      settings: {
        ...(acl === undefined ? {} : { acl }),
        ...(hasLock ? { versioning: 'Enabled', objectLock: {} } : {}),
      },
    });
  } catch (error) {
    if (toS3Error(error).code !== 'BucketAlreadyOwnedByYou') throw error;
    const found = await call.store.getBucket(bucket);
    if (ownerIdOf(found.owner) !== ownerIdOf(call.owner)) throw new S3Error('BucketAlreadyExists');
    if (location !== '') throw error;
    if (hasLock && found.settings.objectLock === undefined) throw error;
    if (found.settings.acl !== acl) throw new S3Error('BucketAlreadyExists');
  }
  return emptyReply(200, ['location', `/${bucket}`]);
}

/** HEAD of a bucket. */
export async function headBucket(call: S3Call): Promise<Reply> {
  const { location } = await call.store.getBucket(call.target.bucket);
  return {
    status: 200,
    headers: ['x-amz-bucket-region', location === '' ? call.environment.region : location],
    sizeBytes: 0,
  };
}

/** GET ?location. The empty element means us-east-1. */
export async function getBucketLocation(call: S3Call): Promise<Reply> {
  const { location } = await call.store.getBucket(call.target.bucket);
  const region = location === '' ? call.environment.region : location;
  return xmlReply('LocationConstraint', region === 'us-east-1' ? '' : region);
}

/** DELETE of a bucket. With `x-minio-force-delete` its objects go first. */
export async function deleteBucket(call: S3Call): Promise<Reply> {
  const { bucket } = call.target;
  if (call.headers['x-minio-force-delete'] === 'true') {
    await deletePrefix(deletingStore(call), bucket, '');
  }
  await call.store.deleteBucket(bucket);
  return emptyReply(204);
}

async function readLocation(call: S3Call): Promise<string> {
  const document = await call.readDocument({ maxBytes: bodyBytesMax });
  if (document.length === 0) return '';
  const root = parseXml(document, { maxBytes: bodyBytesMax });
  if (root.name !== 'CreateBucketConfiguration') throw new S3Error('MalformedXML');
  if (findChild(root, 'Tags') !== undefined) {
    throw new S3Error('NotImplemented', 'Tags of a bucket are not implemented');
  }
  const location = findChildText(root, 'LocationConstraint') ?? '';
  if (!/^[a-zA-Z0-9-]{0,63}$/.test(location)) throw new S3Error('InvalidLocationConstraint');
  return location;
}

function encodeBucketToken(name: string): string {
  return Buffer.from(name, 'utf8').toString('base64url');
}

function decodeBucketToken(token: string): string {
  return Buffer.from(token, 'base64url').toString('utf8');
}
