// `mb` and `rb`: buckets on a server, folders on the local side.

import { mkdir, rm, rmdir } from 'node:fs/promises';

import { openS3, parseTarget } from '../context.ts';
import type { McContext, S3Target } from '../context.ts';
import { McError, toMcError } from '../error.ts';
import { Failure } from '../failure.ts';
import { statLocal } from '../local.ts';
import {
  deleteBatchMax,
  deleteObjects,
  headBucket,
  makeBucket,
  removeBucket,
} from '../s3-objects.ts';
import type { ObjectName } from '../s3-objects.ts';
import type { S3Client } from '../s3-client.ts';
import { listBuckets, listUploads, listVersions } from '../s3-list.ts';
import { setVersioning } from '../s3-versioning.ts';
import { noSse } from '../sse.ts';
import { abortUpload } from '../upload.ts';

/** `mb TARGET…` */
export async function runMb(context: McContext, args: readonly string[]): Promise<void> {
  for (const text of args) {
    const target = await parseTarget(context, text);
    if (target.kind === 's3' && target.bucket === '') {
      throw itemFailure(
        `Unable to make bucket, please use \`mc mb ${text}/your-bucket-name\`.`,
        new McError('bucket-name', 'Bucket name cannot be empty.'),
      );
    }
    try {
      if (target.kind === 'local') await mkdir(target.path, { recursive: true });
      else await makeOne(context, target);
    } catch (error) {
      context.out.failure(itemFailure(`Unable to make bucket \`${text}\`.`, toMcError(error)));
      continue;
    }
    const region = context.flags.find('region') ?? '';
    context.out.message({ status: 'success', bucket: text, region }, () =>
      context.out.paint(`Bucket created successfully \`${text}\`.`, 'greenBold'),
    );
  }
}

async function makeOne(context: McContext, target: S3Target): Promise<void> {
  const { flags } = context;
  const client = await openS3(context, target.alias);
  try {
    await makeBucket(client, target.bucket, {
      region: flags.find('region') ?? '',
      hasLock: flags.has('with-lock'),
    });
  } catch (error) {
    const reason = toMcError(error);
    const isOwn = reason.serverCode === 'BucketAlreadyOwnedByYou';
    if (!isOwn || !(flags.has('ignore-existing') || target.key !== '')) throw error;
  }
  if (flags.has('with-versioning')) await setVersioning(client, target.bucket, 'Enabled');
  if (target.key !== '') await makeFolder(client, target);
}

/** `mb ALIAS/BUCKET/PREFIX` makes an empty object that stands for the folder. */
async function makeFolder(client: S3Client, target: S3Target): Promise<void> {
  const key = target.key.endsWith('/') ? target.key : `${target.key}/`;
  await client.call({
    method: 'PUT',
    bucket: target.bucket,
    key,
    headers: { 'content-type': 'application/octet-stream', ...noSse.forWrite(target.text) },
    body: new Uint8Array(0),
    statuses: [200],
  });
}

/** `rb [--force] TARGET…` */
export async function runRb(context: McContext, args: readonly string[]): Promise<void> {
  for (const text of args) {
    const target = await parseTarget(context, text);
    const isSiteWide = target.kind === 's3' && target.bucket === '';
    if (isSiteWide && !(context.flags.has('force') && context.flags.has('dangerous'))) {
      throw new Failure(
        'This operation results in **site-wide** removal of buckets. If you are really sure, retry this command with ‘--force’ and ‘--dangerous’ flags.',
      );
    }
    if (target.kind === 'local') await removeLocal(context, text, target.path);
    else if (isSiteWide) {
      const client = await openS3(context, target.alias);
      for (const { name } of await listBuckets(client)) {
        await removeOne(context, { ...target, bucket: name, text: `${target.alias}/${name}` });
      }
    } else await removeOne(context, target);
  }
}

async function removeLocal(context: McContext, text: string, path: string): Promise<void> {
  try {
    await statLocal(path);
    if (context.flags.has('force')) await rm(path, { recursive: true });
    else await rmdir(path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOTEMPTY') throw notEmpty(text);
    context.out.failure(itemFailure(`Unable to validate target \`${text}\`.`, toMcError(error)));
    return;
  }
  printRemoved(context, text);
}

async function removeOne(context: McContext, target: S3Target): Promise<void> {
  const { out, flags } = context;
  const isForced = flags.has('force');
  const client = await openS3(context, target.alias);
  try {
    await headBucket(client, target.bucket);
  } catch (error) {
    const reason = toMcError(error);
    if (isForced && reason.serverCode === 'NoSuchBucket') return;
    out.failure(
      itemFailure(`Unable to validate target \`${target.text}\`.`, missing(reason, target)),
    );
    return;
  }
  const isEmpty = await isBucketEmpty(client, target.bucket);
  if (!isEmpty && !isForced) throw notEmpty(target.text);
  try {
    if (!isEmpty) await emptyBucket(client, target.bucket);
    if (isForced) await removeEmptied(client, target.bucket);
    else await removeBucket(client, target.bucket);
  } catch (error) {
    out.failure(itemFailure(`Failed to remove \`${target.text}\`.`, toMcError(error)));
    return;
  }
  printRemoved(context, target.text);
}

function missing(reason: McError, target: S3Target): McError {
  if (reason.serverCode !== 'NoSuchBucket') return reason;
  return new McError('bucket-missing', `Bucket \`${target.bucket}\` does not exist.`, {
    detail: { Bucket: target.bucket },
  });
}

async function isBucketEmpty(client: S3Client, bucket: string): Promise<boolean> {
  for await (const _ of listVersions(client, { bucket, prefix: '', isRecursive: true }))
    return false;
  return true;
}

async function emptyBucket(client: S3Client, bucket: string): Promise<void> {
  let batch: ObjectName[] = [];
  const flush = async () => {
    if (batch.length === 0) return;
    const failed = (await deleteObjects(client, batch)).find((item) => item.error !== undefined);
    if (failed?.error !== undefined) throw failed.error;
    batch = [];
  };
  for await (const { key, versionId } of listVersions(client, {
    bucket,
    prefix: '',
    isRecursive: true,
  })) {
    batch.push({ bucket, key, ...(versionId === undefined ? {} : { versionId }) });
    if (batch.length === deleteBatchMax) await flush();
  }
  await flush();
}

/** Uploads that never ended keep some servers from removing a bucket: they are given up, then it goes. */
async function removeEmptied(client: S3Client, bucket: string): Promise<void> {
  try {
    await removeBucket(client, bucket);
  } catch (error) {
    if (toMcError(error).serverCode !== 'BucketNotEmpty') throw error;
    const options = { bucket, prefix: '', isRecursive: true };
    for await (const { key, uploadId } of listUploads(client, options)) {
      await abortUpload({ client, bucket, key, text: '' }, uploadId ?? '');
    }
    await removeBucket(client, bucket);
  }
}

function notEmpty(text: string): Failure {
  return new Failure(
    `\`${text}\` is not empty. Retry this command with ‘--force’ flag if you want to remove \`${text}\` and all its contents`,
  );
}

function printRemoved(context: McContext, text: string): void {
  context.out.message({ status: 'success', bucket: text }, () =>
    context.out.paint(`Removed \`${text}\` successfully.`, 'greenBold'),
  );
}

function itemFailure(message: string, reason: McError): Failure {
  return new Failure(message, reason, { isFatal: false });
}
