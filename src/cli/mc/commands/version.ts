// `version enable|suspend|info`: the versioning of a bucket.

import { openS3, parseTarget } from '../context.ts';
import type { McContext } from '../context.ts';
import { McError, toMcError } from '../error.ts';
import { Failure } from '../failure.ts';
import { checkBucketName } from '../s3-client.ts';
import type { S3Client } from '../s3-client.ts';
import { getVersioning, setVersioning } from '../s3-versioning.ts';

/** `version enable TARGET` */
export async function runVersionEnable(context: McContext, args: readonly string[]): Promise<void> {
  await change(context, args[0] ?? '', { op: 'enable', status: 'Enabled', done: 'enabled' });
}

/** `version suspend TARGET` */
export async function runVersionSuspend(
  context: McContext,
  args: readonly string[],
): Promise<void> {
  await change(context, args[0] ?? '', { op: 'suspend', status: 'Suspended', done: 'suspended' });
}

/** `version info TARGET` */
export async function runVersionInfo(context: McContext, args: readonly string[]): Promise<void> {
  const url = args[0] ?? '';
  const status = await onBucket(context, url, 'Unable to get versioning info', getVersioning);
  show(context, { op: 'info', url, status }, () => {
    if (status === '') return `${url} is un-versioned`;
    return `${url} versioning is ${status.toLowerCase()}`;
  });
}

async function change(
  context: McContext,
  url: string,
  to: { readonly op: string; readonly status: 'Enabled' | 'Suspended'; readonly done: string },
): Promise<void> {
  const problem = `Unable to ${to.op} versioning`;
  await onBucket(context, url, problem, (client, bucket) =>
    setVersioning(client, bucket, to.status),
  );
  // The reference tells the state only when it is asked for.
  show(context, { op: to.op, url, status: '' }, () => `${url} versioning is ${to.done}`);
}

function show(
  context: McContext,
  what: { readonly op: string; readonly url: string; readonly status: string },
  text: () => string,
): void {
  const { op, url, status } = what;
  context.out.message(
    { Op: op, status: 'success', url, versioning: { status, MFADelete: '' } },
    () => context.out.paint(text(), 'green'),
  );
}

async function onBucket<T>(
  context: McContext,
  url: string,
  problem: string,
  work: (client: S3Client, bucket: string) => Promise<T>,
): Promise<T> {
  const target = await parseTarget(context, url);
  try {
    if (target.kind === 'local') {
      throw new McError('argument', 'Versioning is not supported for `filesystem`', {
        detail: { API: 'Versioning', APIType: 'filesystem' },
      });
    }
    checkBucketName(target.bucket);
    return await work(await openS3(context, target.alias), target.bucket);
  } catch (error) {
    throw new Failure(problem, toMcError(error));
  }
}
