// `du`: the size of folders. One listing, summed up on the way: keys arrive sorted, so a folder is complete
// when the first key outside it appears.

import { openS3, parseTarget } from '../context.ts';
import type { McContext, S3Target } from '../context.ts';
import { invalidArguments, toMcError } from '../error.ts';
import { Failure } from '../failure.ts';
import { formatSizeShort, plural } from '../format.ts';
import { statLocal, walkLocal } from '../local.ts';
import { checkBucketName } from '../s3-client.ts';
import type { S3Client } from '../s3-client.ts';
import { listBuckets, listObjects, listVersions } from '../s3-list.ts';

type Item = { readonly name: string; readonly sizeBytes: number };
type Sum = { readonly folder: string; sizeBytes: number; count: number };

/** `du [-d DEPTH] [-r] [--versions] TARGET…` */
export async function runDu(context: McContext, args: readonly string[]): Promise<void> {
  for (const text of args) {
    const target = await parseTarget(context, text);
    try {
      if (target.kind === 'local') {
        if (!(await statLocal(target.path)).isDirectory()) throw notFolder(text);
        const top = text.replace(/\/+$/, '');
        await sumUp(context, { top, isRequired: false }, walkLocalItems(target.path));
      } else await sumTarget(context, target);
    } catch (error) {
      if (error instanceof Failure) {
        context.out.failure(error);
        continue;
      }
      const reason = toMcError(error);
      if (reason.code === 'cancelled') throw reason;
      context.out.failure(
        new Failure(`Failed to find disk usage of \`${text}\` recursively.`, reason, {
          isFatal: false,
        }),
      );
    }
  }
}

async function sumTarget(context: McContext, target: S3Target): Promise<void> {
  const client = await openS3(context, target.alias);
  const { bucket, key } = target;
  if (bucket === '') {
    await sumUp(context, { top: '', isRequired: false }, siteItems(context, client));
    return;
  }
  if (key === '') checkBucketName(bucket);
  const prefix = key === '' || key.endsWith('/') ? key : `${key}/`;
  const top = `${bucket}/${prefix}`.replace(/\/$/, '');
  const hasAny = await sumUp(
    context,
    { top, isRequired: key !== '' && !key.endsWith('/') },
    bucketItems(context, client, { bucket, prefix }),
  );
  if (!hasAny) throw notFolder(target.text);
}

function notFolder(text: string): Failure {
  return new Failure(
    `Source \`${text}\` is not a folder. Only folders are supported by 'du' command.`,
    invalidArguments(),
    { isFatal: false },
  );
}

async function* walkLocalItems(root: string): AsyncGenerator<Item> {
  for await (const { name, sizeBytes } of walkLocal(root, { isRecursive: true })) {
    yield { name, sizeBytes };
  }
}

async function* bucketItems(
  context: McContext,
  client: S3Client,
  place: { bucket: string; prefix: string },
): AsyncGenerator<Item> {
  const options = { ...place, isRecursive: true };
  const entries = context.flags.has('versions')
    ? listVersions(client, options)
    : listObjects(client, options);
  for await (const entry of entries) {
    // A delete marker takes no room and is none of the versions.
    if (entry.isDeleteMarker === true) continue;
    yield { name: entry.key.slice(place.prefix.length), sizeBytes: entry.sizeBytes };
  }
}

async function* siteItems(context: McContext, client: S3Client): AsyncGenerator<Item> {
  for (const { name: bucket } of await listBuckets(client)) {
    yield { name: `${bucket}/`, sizeBytes: 0 };
    for await (const item of bucketItems(context, client, { bucket, prefix: '' })) {
      yield { name: `${bucket}/${item.name}`, sizeBytes: item.sizeBytes };
    }
  }
}

/** False when there was nothing and something is required. Prints inner folders before outer ones. */
async function sumUp(
  context: McContext,
  place: { top: string; isRequired: boolean },
  items: AsyncIterable<Item>,
): Promise<boolean> {
  const depthMax = context.flags.has('recursive') ? Infinity : context.flags.number('depth', 1);
  const stack: Sum[] = [{ folder: '', sizeBytes: 0, count: 0 }];
  const close = () => {
    const sum = stack.pop();
    if (sum === undefined) return;
    if (stack.length < depthMax || stack.length === 0) print(context, place.top, sum);
    const parent = stack.at(-1);
    if (parent === undefined) return;
    parent.sizeBytes += sum.sizeBytes;
    parent.count += sum.count;
  };
  let hasAny = false;
  for await (const item of items) {
    hasAny = true;
    while (!item.name.startsWith(stack.at(-1)?.folder ?? '')) close();
    for (;;) {
      const inside = stack.at(-1)?.folder ?? '';
      const slash = item.name.indexOf('/', inside.length);
      if (slash < 0) break;
      stack.push({ folder: item.name.slice(0, slash + 1), sizeBytes: 0, count: 0 });
    }
    const sum = stack.at(-1);
    if (sum === undefined || item.name.endsWith('/')) continue;
    sum.sizeBytes += item.sizeBytes;
    sum.count++;
  }
  if (!hasAny && place.isRequired) return false;
  while (stack.length > 0) close();
  return true;
}

function print(context: McContext, top: string, sum: Sum): void {
  const { out, flags } = context;
  const prefix = [top, sum.folder.replace(/\/$/, '')].filter((part) => part !== '').join('/');
  const isVersions = flags.has('versions');
  out.message(
    { prefix, size: sum.sizeBytes, objects: sum.count, status: 'success', isVersions },
    () => {
      const size = out.paint(formatSizeShort(sum.sizeBytes), 'yellow');
      const count = out.paint(plural(sum.count, isVersions ? 'version' : 'object'), 'green');
      return `${size}\t${count}\t${out.paint(prefix, 'cyanBold')}`;
    },
  );
}
