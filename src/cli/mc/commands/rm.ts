// `rm`: objects, versions, unfinished uploads and local files. Rule: nothing recursive or read from
// standard input without `--force`, nothing of a whole server without `--dangerous` as well.

import { createInterface } from 'node:readline';
import { rm, rmdir, unlink } from 'node:fs/promises';

import { openS3, parseTarget, s3Text } from '../context.ts';
import type { McContext, S3Target, Target } from '../context.ts';
import { McError, toMcError } from '../error.ts';
import { Failure } from '../failure.ts';
import { statLocal, walkLocal } from '../local.ts';
import { deleteBatchMax, deleteObjects, headObject, isFolder } from '../s3-objects.ts';
import type { ObjectName } from '../s3-objects.ts';
import { checkBucketName } from '../s3-client.ts';
import type { S3Client } from '../s3-client.ts';
import { listBuckets, listObjects, listUploads, listVersions } from '../s3-list.ts';
import { abortUpload } from '../upload.ts';
import { ageFilter } from './copy.ts';

/** `rm TARGET…` */
export async function runRm(context: McContext, args: readonly string[]): Promise<void> {
  const { flags } = context;
  const isForced = flags.has('force');
  if ((flags.has('recursive') || flags.has('stdin')) && !isForced) {
    throw new Failure(
      'Removal requires --force flag. This operation is *IRREVERSIBLE*. Please review carefully before performing this *DANGEROUS* operation.',
    );
  }
  for (const text of args) await removeTarget(context, text);
  if (!flags.has('stdin')) return;
  for await (const line of createInterface({ input: context.io.stdin })) {
    if (line.trim() !== '') await removeTarget(context, line.trim());
  }
}

async function removeTarget(context: McContext, text: string): Promise<void> {
  const { flags, out } = context;
  const target = await parseTarget(context, text);
  const isRecursive = flags.has('recursive') || flags.has('versions');
  const isSite = target.kind === 's3' && target.bucket === '';
  if (isSite && !(flags.has('force') && flags.has('dangerous') && isRecursive)) {
    throw new Failure(
      'This operation results in site-wide removal of objects. If you are really sure, retry this command with ‘--dangerous’ and ‘--force’ flags.',
    );
  }
  try {
    if (target.kind === 'local') await removeLocal(context, target, isRecursive);
    else if (isRecursive || flags.has('incomplete')) await removeBelow(context, target, isSite);
    else await removeOne(context, target);
  } catch (error) {
    const reason = toMcError(error);
    if (reason.code === 'cancelled') throw reason;
    const suffix = isRecursive ? ' recursively' : '';
    const failure = new Failure(`Failed to remove \`${text}\`${suffix}.`, reason, {
      isFatal: false,
    });
    out.failure(failure);
  }
}

function printRemoved(
  context: McContext,
  name: string,
  removed: { versionId?: string; isDeleteMarker?: boolean } = {},
): void {
  const isDryRun = context.flags.has('dry-run');
  const versionId = removed.versionId ?? '';
  context.out.message(
    {
      status: 'success',
      key: name,
      deleteMarker: removed.isDeleteMarker ?? false,
      versionID: versionId,
      modTime: null,
      dryRun: isDryRun,
    },
    () => {
      const version = versionId === '' ? '' : ` (versionId=${versionId})`;
      const shown = context.out.paint(`\`${name}\``, 'greenBold');
      if (isDryRun) return `DRYRUN: Removing ${shown}${version}.`;
      const what = removed.isDeleteMarker === true ? 'Created delete marker ' : 'Removed ';
      return `${what}${shown}${version}.`;
    },
  );
}

async function removeLocal(
  context: McContext,
  target: Extract<Target, { kind: 'local' }>,
  isRecursive: boolean,
): Promise<void> {
  const info = await statLocal(target.path);
  const isDryRun = context.flags.has('dry-run');
  if (info.isDirectory() && isRecursive) {
    for await (const entry of walkLocal(target.path, { isRecursive: true })) {
      if (!isDryRun) await unlink(entry.path);
      printRemoved(context, `${target.text.replace(/\/+$/, '')}/${entry.name}`);
    }
    if (!isDryRun) await rm(target.path, { recursive: true });
    return;
  }
  if (!isDryRun) await (info.isDirectory() ? rmdir(target.path) : unlink(target.path));
  printRemoved(context, target.text);
}

async function removeOne(context: McContext, target: S3Target): Promise<void> {
  const { flags } = context;
  const client = await openS3(context, target.alias);
  const { bucket, key } = target;
  checkBucketNameFor(bucket, key);
  if (key === '') return;
  const versionId = flags.find('version-id');
  if (versionId === undefined) await checkExists(client, target);
  const object: ObjectName = { bucket, key, ...(versionId === undefined ? {} : { versionId }) };
  if (flags.has('dry-run')) {
    printRemoved(context, s3Text(target, key), versionId === undefined ? {} : { versionId });
    return;
  }
  const [answer] = await deleteObjects(client, [object], { isBypassing: flags.has('bypass') });
  if (answer?.error !== undefined) throw answer.error;
  const removedVersion = answer?.markerVersionId || versionId;
  printRemoved(context, s3Text(target, key.replace(/\/$/, '')), {
    isDeleteMarker: answer?.isDeleteMarker ?? false,
    ...(removedVersion === undefined ? {} : { versionId: removedVersion }),
  });
}

function checkBucketNameFor(bucket: string, key: string): void {
  if (key !== '' && bucket.length < 3) {
    throw new McError('bucket-name', `Bucket name \`${bucket}\` not valid.`, {
      detail: { Bucket: bucket },
    });
  }
  checkBucketName(bucket);
}

/** A missing object is an error; one that cannot be looked at (SSE-C without its key) may be deleted. */
async function checkExists(client: S3Client, target: S3Target): Promise<void> {
  const { bucket, key } = target;
  try {
    await headObject(client, { bucket, key });
  } catch (error) {
    const reason = toMcError(error);
    if (reason.code === 'bucket-missing' || reason.code === 'transport') throw error;
    if (reason.code === 'object-missing' && !(await isFolder(client, bucket, key))) throw error;
  }
}

async function removeBelow(context: McContext, target: S3Target, isSite: boolean): Promise<void> {
  const client = await openS3(context, target.alias);
  if (!isSite) {
    checkBucketName(target.bucket);
    await removePrefix(context, client, target);
    return;
  }
  for (const { name } of await listBuckets(client)) {
    await removePrefix(context, client, { ...target, bucket: name, key: '' });
  }
}

async function removePrefix(context: McContext, client: S3Client, target: S3Target): Promise<void> {
  const { flags, out } = context;
  const { bucket, key: prefix } = target;
  const keep = ageFilter(context);
  const isDryRun = flags.has('dry-run');
  const options = { bucket, prefix, isRecursive: true };
  if (flags.has('incomplete')) {
    for await (const { key, uploadId } of listUploads(client, options)) {
      if (!isDryRun) await abortUpload({ client, bucket, key, text: '' }, uploadId ?? '');
      printRemoved(context, s3Text(target, key));
    }
    return;
  }
  let batch: ObjectName[] = [];
  const flush = async () => {
    if (batch.length === 0) return;
    const answers = isDryRun
      ? batch
      : await deleteObjects(client, batch, { isBypassing: flags.has('bypass') });
    for (const answer of answers as Awaited<ReturnType<typeof deleteObjects>>) {
      const name = s3Text(target, answer.key);
      if (answer.error === undefined) printRemoved(context, name, answer);
      else
        out.failure(new Failure(`Failed to remove \`${name}\`.`, answer.error, { isFatal: false }));
    }
    batch = [];
  };
  const entries = flags.has('versions')
    ? listVersions(client, options)
    : listObjects(client, options);
  for await (const entry of entries) {
    if (!keep(entry.modifiedMs)) continue;
    if (flags.has('non-current') && entry.isLatest === true) continue;
    const { key, versionId } = entry;
    batch.push({ bucket, key, ...(versionId === undefined ? {} : { versionId }) });
    if (batch.length === deleteBatchMax) await flush();
  }
  await flush();
}
