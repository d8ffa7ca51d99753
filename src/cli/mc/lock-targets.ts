// What `retention` and `legalhold` are about: one object, one of its versions, or everything below a prefix.

import { openS3, parseTarget } from './context.ts';
import type { McContext, S3Target } from './context.ts';
import { McError } from './error.ts';
import { checkBucketName } from './s3-client.ts';
import type { S3Client } from './s3-client.ts';
import { listObjects, listVersions } from './s3-list.ts';
import type { ObjectName } from './s3-objects.ts';

/** A bucket of a server, or what is in it. */
export type LockTarget = { readonly target: S3Target; readonly client: S3Client };

/** Opens the target of a command. Throws `McError` for what is no bucket of a server. */
export async function openLockTarget(context: McContext, url: string): Promise<LockTarget> {
  const target = await parseTarget(context, url);
  if (target.kind === 'local') {
    throw new McError('argument', 'Object lock is not supported for `filesystem`');
  }
  checkBucketName(target.bucket);
  return { target, client: await openS3(context, target.alias) };
}

/** Whether the flags name more than one object or version. */
export function isForMany(context: McContext): boolean {
  return context.flags.has('recursive') || context.flags.has('versions');
}

/** The versions that target and flags name. Delete markers are not among them: nothing protects those. */
export async function* lockVersions(
  context: McContext,
  { target, client }: LockTarget,
): AsyncGenerator<ObjectName> {
  const { flags } = context;
  const { bucket, key } = target;
  if (!isForMany(context)) {
    if (key === '') throw new McError('argument', 'Object name cannot be empty');
    const versionId = flags.find('version-id');
    yield { bucket, key, ...(versionId === undefined ? {} : { versionId }) };
    return;
  }
  const options = { bucket, prefix: key, isRecursive: true };
  const entries = flags.has('versions')
    ? listVersions(client, options)
    : listObjects(client, options);
  for await (const entry of entries) {
    if (entry.isFolder || entry.isDeleteMarker === true) continue;
    if (!flags.has('recursive') && entry.key !== key) continue;
    const { versionId } = entry;
    yield { bucket, key: entry.key, ...(versionId === undefined ? {} : { versionId }) };
  }
}
