// Two places compared by name: both listings are sorted, so they are merged as they arrive, in constant
// memory. Used by `mirror` and `diff`.

import type { McContext, Target } from './context.ts';
import { openS3, s3Text } from './context.ts';
import type { CopySide } from './copy-plan.ts';
import { compareBytes, walkLocal } from './local.ts';
import { checkBucketName } from './s3-client.ts';
import type { S3Client } from './s3-client.ts';
import { listBuckets, listObjects } from './s3-list.ts';

/** A file or object below one of the two places. */
export type Placed = {
  /** Relative to the place. */
  readonly name: string;
  readonly side: CopySide;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
};

/** What one name shows. `size` wins over `time`; `time` means that the first is newer. */
export type Difference = {
  readonly name: string;
  readonly kind: 'only-first' | 'only-second' | 'size' | 'time' | 'same';
  readonly first?: Placed;
  readonly second?: Placed;
};

/** Everything below a place, sorted by name. A local folder that is missing is empty. */
export async function* listPlace(context: McContext, place: Target): AsyncGenerator<Placed> {
  if (place.kind === 'local') {
    yield* listLocalPlace(place.path);
    return;
  }
  const client = await openS3(context, place.alias);
  if (place.bucket !== '') {
    checkBucketName(place.bucket);
    yield* listBucketPlace(client, place, '');
    return;
  }
  for (const { name } of await listBuckets(client)) {
    yield* listBucketPlace(client, { ...place, bucket: name, key: '' }, `${name}/`);
  }
}

async function* listLocalPlace(root: string): AsyncGenerator<Placed> {
  try {
    for await (const entry of walkLocal(root, { isRecursive: true })) {
      yield { ...entry, side: { kind: 'local', path: entry.path, text: entry.path } };
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

async function* listBucketPlace(
  client: S3Client,
  place: Extract<Target, { kind: 's3' }>,
  top: string,
): AsyncGenerator<Placed> {
  const { bucket, key } = place;
  const prefix = key === '' || key.endsWith('/') ? key : `${key}/`;
  for await (const entry of listObjects(client, { bucket, prefix, isRecursive: true })) {
    if (entry.key.endsWith('/')) continue;
    yield {
      name: top + entry.key.slice(prefix.length),
      side: { kind: 's3', client, bucket, key: entry.key, text: s3Text(place, entry.key) },
      sizeBytes: entry.sizeBytes,
      modifiedMs: entry.modifiedMs,
    };
  }
}

/** Every name of either place, once. */
export async function* compare(
  first: AsyncIterable<Placed>,
  second: AsyncIterable<Placed>,
): AsyncGenerator<Difference> {
  const left = first[Symbol.asyncIterator]();
  const right = second[Symbol.asyncIterator]();
  let a = await left.next();
  let b = await right.next();
  while (a.done !== true || b.done !== true) {
    const order =
      a.done === true ? 1 : b.done === true ? -1 : compareBytes(a.value.name, b.value.name);
    if (order < 0 && a.done !== true) {
      yield { name: a.value.name, kind: 'only-first', first: a.value };
      a = await left.next();
    } else if (order > 0 && b.done !== true) {
      yield { name: b.value.name, kind: 'only-second', second: b.value };
      b = await right.next();
    } else if (a.done !== true && b.done !== true) {
      yield { name: a.value.name, kind: kindOf(a.value, b.value), first: a.value, second: b.value };
      a = await left.next();
      b = await right.next();
    }
  }
}

function kindOf(first: Placed, second: Placed): Difference['kind'] {
  if (first.sizeBytes !== second.sizeBytes) return 'size';
  return first.modifiedMs > second.modifiedMs ? 'time' : 'same';
}
