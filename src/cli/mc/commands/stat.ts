// `stat`: what is known about objects, buckets and local files.

import { openS3, parseTarget, s3Text } from '../context.ts';
import type { LocalTarget, McContext, S3Target } from '../context.ts';
import { McError, toMcError } from '../error.ts';
import { Failure } from '../failure.ts';
import { formatDate, formatSize, formatTimestamp } from '../format.ts';
import { contentTypeOf, requireListedFolder, statLocal } from '../local.ts';
import { asBucketError, headBucket, headObject } from '../s3-objects.ts';
import type { ObjectInfo } from '../s3-objects.ts';
import { checkBucketName } from '../s3-client.ts';
import type { S3Client } from '../s3-client.ts';
import { listBuckets, listObjects } from '../s3-list.ts';
import type { Entry } from '../s3-list.ts';
import { parseSse } from '../sse.ts';
import type { SseRules } from '../sse.ts';
import { listFailure } from './ls.ts';
import { showBucket } from './stat-bucket.ts';

/** `stat TARGET…` */
export async function runStat(context: McContext, args: readonly string[]): Promise<void> {
  const sse = await parseSse(context, args);
  for (const text of args) {
    const target = await parseTarget(context, text);
    if (target.kind === 'local') await statFile(context, target);
    else if (target.bucket === '') await statService(context, target);
    else if (context.flags.has('no-list')) await statNamed(context, target, sse);
    else if (target.key === '' && !context.flags.has('recursive'))
      await statBucket(context, target);
    else await statListed(context, target, sse);
  }
}

type Shown = {
  readonly name: string;
  readonly modifiedMs?: number;
  readonly sizeBytes?: number;
  readonly etag?: string;
  readonly isFolder: boolean;
  readonly headers?: Readonly<Record<string, string>>;
  readonly metadata?: Readonly<Record<string, string>>;
};

function show(context: McContext, shown: Shown): void {
  const metadata = shown.metadata ?? {};
  const checksum = checksums(shown.headers ?? {});
  const headers = shown.headers ?? {};
  const optional = (name: string, value: string | undefined) =>
    value === undefined || value === '' ? {} : { [name]: value };
  context.out.message(
    {
      status: 'success',
      name: shown.name,
      lastModified: formatTimestamp(shown.modifiedMs ?? 0),
      size: shown.sizeBytes ?? 0,
      etag: shown.etag ?? '',
      type: shown.isFolder ? 'folder' : 'file',
      ...optional('expires', headers['expires']),
      ...optional('expiration', headers['x-amz-expiration']),
      ...optional('replicationStatus', headers['x-amz-replication-status']),
      ...(Object.keys(metadata).length === 0 ? {} : { metadata }),
      ...optional('versionID', headers['x-amz-version-id']),
      ...(Object.keys(checksum).length === 0 ? {} : { checksum }),
    },
    () => formatBlock(context, shown, checksum),
  );
}

function formatBlock(
  context: McContext,
  shown: Shown,
  checksum: Readonly<Record<string, string>>,
): string {
  const lines = [context.out.paint(`Name      : ${shown.name}`, 'cyanBold')];
  const row = (label: string, value: string) => {
    lines.push(`${label.padEnd(10)}: ${value}`);
  };
  if (shown.modifiedMs !== undefined) row('Date', `${formatDate(shown.modifiedMs)} `);
  if (shown.sizeBytes !== undefined) row('Size', formatSize(shown.sizeBytes).padEnd(7));
  if (shown.etag !== undefined && shown.etag !== '') row('ETag', `${shown.etag} `);
  const headers = shown.headers ?? {};
  const version = headers['x-amz-version-id'];
  if (version !== undefined) row('VersionID', `${version} `);
  row('Type', `${shown.isFolder ? 'folder' : 'file'} `);
  for (const [name, value] of Object.entries(checksum)) row('Checksum', `${name}:${value}`);
  const encryption = describeEncryption(headers);
  if (encryption !== undefined) row('Encryption', encryption);
  const metadata = Object.entries(shown.metadata ?? {}).filter(
    ([name]) => !isEncryptionHeader(name),
  );
  if (metadata.length > 0) {
    lines.push('Metadata  :');
    const width = Math.max(...metadata.map(([name]) => name.length));
    for (const [name, value] of metadata) lines.push(`  ${name.padEnd(width)}: ${value} `);
  }
  return `${lines.join('\n')}\n`;
}

function describeEncryption(headers: Readonly<Record<string, string>>): string | undefined {
  const start = 'x-amz-server-side-encryption';
  if (headers[`${start}-bucket-key-enabled`] === 'true') return 'SSE-KMS';
  const keyId = headers[`${start}-aws-kms-key-id`];
  if (keyId !== undefined) return `SSE-KMS (${keyId})`;
  if (headers[`${start}-customer-key-md5`] !== undefined) return 'SSE-C';
  const algorithm = headers[start];
  if (algorithm === undefined) return undefined;
  return algorithm === 'AES256' ? 'SSE-S3' : 'SSE-Unknown';
}

function isEncryptionHeader(name: string): boolean {
  return /^x-amz-server-side-encryption/i.test(name);
}

/** The header names as the reference writes them: `X-Amz-Meta-Colour`. */
function titleCase(name: string): string {
  return name.replace(
    /(^|-)([a-z])/g,
    (_, dash: string, letter: string) => dash + letter.toUpperCase(),
  );
}

const shownHeaders =
  /^(cache-control|content-(type|encoding|language|disposition)|expires|x-amz-(meta-.+|server-side-encryption.*|storage-class|tagging-count|website-redirect-location|object-lock-.+|replication-status))$/;

function metadataOf(headers: Readonly<Record<string, string>>): Record<string, string> {
  const metadata: Record<string, string> = {};
  for (const name of Object.keys(headers).sort()) {
    const isKey = name === 'x-amz-server-side-encryption-customer-key';
    if (shownHeaders.test(name) && !isKey) metadata[titleCase(name)] = headers[name] ?? '';
  }
  return metadata;
}

function checksums(headers: Readonly<Record<string, string>>): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    const algorithm = /^x-amz-checksum-(crc32|crc32c|crc64nvme|sha1|sha256)$/.exec(name)?.[1];
    if (algorithm !== undefined) found[algorithm.toUpperCase()] = value;
  }
  return found;
}

function showObject(context: McContext, name: string, info: ObjectInfo): void {
  show(context, {
    name,
    modifiedMs: info.modifiedMs,
    sizeBytes: info.sizeBytes,
    etag: info.etag,
    isFolder: name.endsWith('/'),
    headers: info.headers,
    metadata: metadataOf(info.headers),
  });
}

function statFailure(text: string, reason: McError): Failure {
  return new Failure(`Unable to stat \`${text}\`.`, reason);
}

function objectMissing(): McError {
  return new McError('object-missing', 'Object does not exist');
}

async function statFile(context: McContext, target: LocalTarget): Promise<void> {
  const { text, path: file } = target;
  const info = await statLocal(file).catch(async () => {
    if (!context.flags.has('recursive')) {
      await requireListedFolder(target).catch((error: unknown) => {
        context.out.failure(listFailure(toMcError(error)));
      });
    }
    throw statFailure(text, objectMissing());
  });
  const name = file.slice(file.lastIndexOf('/') + 1);
  show(context, {
    name: info.isDirectory() ? `${name}/` : name,
    modifiedMs: info.mtimeMs,
    ...(info.isDirectory() ? {} : { sizeBytes: info.size }),
    isFolder: info.isDirectory(),
    metadata: { 'Content-Type': contentTypeOf(file) },
  });
}

async function statService(context: McContext, target: S3Target): Promise<void> {
  const client = await openS3(context, target.alias);
  const buckets = await listBuckets(client).catch((error: unknown) => {
    throw statFailure(target.text, toMcError(error));
  });
  for (const bucket of buckets) {
    show(context, { name: `${bucket.name}/`, isFolder: true });
  }
  if (buckets.length === 0) throw statFailure(target.text, objectMissing());
}

async function statNamed(context: McContext, target: S3Target, sse: SseRules): Promise<void> {
  const client = await openS3(context, target.alias);
  const { bucket, key } = target;
  try {
    if (key === '') {
      await headBucket(client, bucket);
      show(context, { name: `${bucket}/`, isFolder: true });
      return;
    }
    const versionId = context.flags.find('version-id');
    const object = { bucket, key, ...(versionId === undefined ? {} : { versionId }) };
    const info = await headObject(client, object, sse.forRead(s3Text(target, key)));
    showObject(context, key.slice(key.lastIndexOf('/') + 1), info);
  } catch (error) {
    throw statFailure(target.text, toMcError(error));
  }
}

async function statListed(context: McContext, target: S3Target, sse: SseRules): Promise<void> {
  if (context.flags.find('version-id') !== undefined) {
    await statNamed(context, target, sse);
    return;
  }
  const client = await openS3(context, target.alias);
  const { bucket, key: prefix } = target;
  const base = prefix.slice(0, prefix.lastIndexOf('/') + 1);
  let count = 0;
  for await (const entry of listing(context, client, target)) {
    count++;
    const name = entry.key.slice(base.length);
    if (entry.isFolder) {
      show(context, { name, modifiedMs: entry.modifiedMs, isFolder: true });
      continue;
    }
    try {
      const object = { bucket, key: entry.key };
      const info = await headObject(client, object, sse.forRead(s3Text(target, entry.key)));
      showObject(context, name === '' ? `${prefix.split('/').at(-2) ?? ''}/` : name, info);
    } catch (error) {
      throw statFailure(s3Text(target, entry.key), toMcError(error));
    }
  }
  if (count === 0) throw statFailure(target.text, objectMissing());
}

async function* listing(
  context: McContext,
  client: S3Client,
  target: S3Target,
): AsyncGenerator<Entry> {
  const isRecursive = context.flags.has('recursive');
  try {
    checkBucketName(target.bucket);
    yield* listObjects(client, { bucket: target.bucket, prefix: target.key, isRecursive });
  } catch (error) {
    context.out.failure(listFailure(toMcError(asBucketError(error, target.bucket))));
  }
}

async function statBucket(context: McContext, target: S3Target): Promise<void> {
  const client = await openS3(context, target.alias);
  const { bucket } = target;
  try {
    checkBucketName(bucket);
    await headBucket(client, bucket);
  } catch (error) {
    context.out.failure(listFailure(toMcError(asBucketError(error, bucket))));
    throw statFailure(target.text, objectMissing());
  }
  await showBucket(context, client, target);
}
