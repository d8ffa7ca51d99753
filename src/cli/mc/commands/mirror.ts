// `mirror` (one pass, no watching) and `diff`.

import path from 'node:path';

import { compare, listPlace } from '../compare.ts';
import type { Difference, Placed } from '../compare.ts';
import { openS3, parseTarget } from '../context.ts';
import type { McContext, Target } from '../context.ts';
import type { CopyItem, CopySide } from '../copy-plan.ts';
import { runCopy } from '../copy-run.ts';
import type { RunOptions } from '../copy-run.ts';
import { invalidArguments, McError, toMcError } from '../error.ts';
import { Failure } from '../failure.ts';
import { matchesGlob } from '../glob.ts';
import { placeBelow, statLocal } from '../local.ts';
import { checksumFlag, objectHeaders } from '../object-headers.ts';
import { forEachLimited } from '../pool.ts';
import { Progress } from '../progress.ts';
import { headBucket, headObject, isFolder, makeBucket } from '../s3-objects.ts';
import { listBuckets } from '../s3-list.ts';
import { parseSse } from '../sse.ts';
import { ageFilter, displayName, removeSource } from './copy.ts';

/** `mirror [flags] SOURCE TARGET` */
export async function runMirror(context: McContext, args: readonly string[]): Promise<void> {
  const { flags, out, io } = context;
  const [from = '', to = ''] = args;
  const sse = await parseSse(context, args);
  const source = await parseTarget(context, from);
  const target = await parseTarget(context, to);
  for (const name of ['watch', 'active-active', 'multi-master']) {
    if (flags.has(name)) {
      throw new Failure(
        `Unable to mirror with --${name}.`,
        new McError(
          'argument',
          'Watching is not available in this program: run mirror again instead.',
        ),
      );
    }
  }
  await checkSource(context, source);
  const checksum = checksumFlag(flags);
  const progress = new Progress(out, io.stdout);
  const options: RunOptions = {
    headers: objectHeaders(flags, Date.now()),
    sse,
    isPreserving: flags.has('preserve'),
    isSinglePart: flags.has('disable-multipart'),
    signal: io.signal,
    count: (bytes) => {
      progress.add(bytes);
    },
    ...(checksum === undefined ? {} : { checksum }),
  };
  try {
    await prepareTarget(context, source, target);
    const differences = compare(listPlace(context, source), listPlace(context, target));
    const workers = flags.number('max-workers', 0) || 8;
    const totals = { count: 0, size: 0 };
    await forEachLimited(filtered(context, differences), workers, (difference) =>
      mirrorOne(context, { target, options, progress, totals }, difference),
    );
  } catch (error) {
    progress.stop();
    const reason = toMcError(error);
    if (error instanceof Failure || reason.code === 'cancelled') throw error;
    out.failure(new Failure('Failed to perform mirroring', reason, { isFatal: false }));
  }
  progress.finish();
}

async function checkSource(context: McContext, source: Target): Promise<void> {
  const notFolder = new Failure(
    `Source \`${source.text}\` is not a folder. Only folders are supported by mirror command.`,
    invalidArguments(),
  );
  try {
    if (source.kind === 'local') {
      if (!(await statLocal(source.path)).isDirectory()) throw notFolder;
      return;
    }
    const client = await openS3(context, source.alias);
    const { bucket, key } = source;
    if (bucket === '') return;
    if (key === '') await headBucket(client, bucket);
    else if (!(await isFolder(client, bucket, key))) {
      if (!key.endsWith('/')) await headObject(client, { bucket, key });
      throw notFolder;
    }
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure(`Unable to stat source \`${source.text}\`.`, toMcError(error));
  }
}

/** With a whole server as the target, the buckets of the source are made there. */
async function prepareTarget(context: McContext, source: Target, target: Target): Promise<void> {
  if (target.kind !== 's3' || target.bucket !== '') return;
  if (source.kind !== 's3' || source.bucket !== '') {
    throw new McError('bucket-name', 'Bucket name cannot be empty.');
  }
  if (context.flags.has('dry-run')) return;
  const client = await openS3(context, target.alias);
  const present = new Set((await listBuckets(client)).map((bucket) => bucket.name));
  const region = context.flags.find('region') ?? '';
  for (const { name } of await listBuckets(await openS3(context, source.alias))) {
    if (!present.has(name)) await makeBucket(client, name, { region, hasLock: false });
  }
}

async function* filtered(
  context: McContext,
  differences: AsyncIterable<Difference>,
): AsyncGenerator<Difference> {
  const excluded = context.flags.list('exclude');
  const keep = ageFilter(context);
  for await (const difference of differences) {
    if (difference.kind === 'same') continue;
    if (excluded.some((pattern) => matchesGlob(pattern, difference.name))) continue;
    const { first } = difference;
    if (first === undefined || keep(first.modifiedMs)) yield difference;
  }
}

type Mirror = {
  readonly target: Target;
  readonly options: RunOptions;
  readonly progress: Progress;
  readonly totals: { count: number; size: number };
};

async function mirrorOne(
  context: McContext,
  mirror: Mirror,
  difference: Difference,
): Promise<void> {
  const { flags, out } = context;
  const { first, second } = difference;
  const isDryRun = flags.has('dry-run');
  try {
    if (first === undefined) {
      if (second === undefined || !flags.has('remove')) return;
      if (!isDryRun) await removeSource(second.side);
      printMirrored(context, mirror, { source: '', target: second.side.text, size: 0 });
      return;
    }
    if (second !== undefined && !flags.has('overwrite')) {
      if (difference.kind === 'size') out.warn(overwriteRefusal(second));
      return;
    }
    mirror.progress.addTotal(first.sizeBytes);
    const item = await toItem(context, mirror.target, first);
    if (!isDryRun) await runCopy(item, mirror.options);
    else mirror.progress.add(first.sizeBytes);
    printMirrored(context, mirror, {
      source: item.source.text,
      target: item.target.text,
      size: item.sizeBytes,
    });
  } catch (error) {
    const reason = toMcError(error);
    if (reason.code === 'cancelled' || !flags.has('skip-errors')) {
      if (reason.code === 'cancelled' || reason.code === 'transport') throw reason;
    }
    const name = first === undefined ? (second?.side.text ?? '') : displayName(first.side);
    const verb = first === undefined ? 'remove' : 'copy';
    out.failure(new Failure(`Failed to ${verb} \`${name}\`.`, reason, { isFatal: false }));
  }
}

/** The reference's own words; it does not count as a failure there either. */
function overwriteRefusal(second: Placed): string {
  return `mc: <ERROR> Failed to perform mirroring, with error condition (size) Overwrite not allowed for \`${displayName(second.side)}\`. Use \`--overwrite\` to override this behavior.`;
}

function printMirrored(
  context: McContext,
  mirror: Mirror,
  done: { source: string; target: string; size: number },
): void {
  mirror.totals.count++;
  mirror.totals.size += done.size;
  if (context.out.isInteractive) return;
  context.out.message(
    {
      status: 'success',
      ...done,
      totalCount: mirror.totals.count,
      totalSize: mirror.totals.size,
      eventTime: '',
      eventType: '',
    },
    () => `\`${done.source}\` -> \`${done.target}\``,
  );
}

async function toItem(context: McContext, target: Target, first: Placed): Promise<CopyItem> {
  let side: CopySide;
  if (target.kind === 'local') {
    const text = placeBelow(target.text, first.name);
    side = { kind: 'local', path: path.resolve(text), text };
  } else {
    const client = await openS3(context, target.alias);
    const joined = [target.bucket, target.key.replace(/\/$/, ''), first.name]
      .filter((part) => part !== '')
      .join('/');
    const slash = joined.indexOf('/');
    side = {
      kind: 's3',
      client,
      bucket: joined.slice(0, slash),
      key: joined.slice(slash + 1),
      text: `${target.alias}/${joined}`,
    };
  }
  return {
    source: first.side,
    target: side,
    sizeBytes: first.sizeBytes,
    modifiedMs: first.modifiedMs,
  };
}

const diffCodes = { size: 2, 'only-first': 5, 'only-second': 6 } as const;

/** `diff FIRST SECOND`: names that are only on one side, or differ in size. */
export async function runDiff(context: McContext, args: readonly string[]): Promise<void> {
  const places: Target[] = [];
  for (const text of args) {
    const place = await parseTarget(context, text);
    try {
      if (place.kind === 'local') await statLocal(place.path);
      else if (place.bucket !== '')
        await headBucket(await openS3(context, place.alias), place.bucket);
    } catch (error) {
      throw new Failure(`Unable to stat '${text}'.`, toMcError(error));
    }
    places.push(place);
  }
  const [left, right] = places;
  if (left === undefined || right === undefined) return;
  for await (const difference of compare(listPlace(context, left), listPlace(context, right))) {
    const { kind } = difference;
    if (kind === 'same' || kind === 'time') continue;
    const first = difference.first === undefined ? '' : displayName(difference.first.side);
    const second = difference.second === undefined ? '' : displayName(difference.second.side);
    context.out.message({ status: 'success', first, second, diff: diffCodes[kind] }, () => {
      if (kind === 'size') return context.out.paint(`! ${second}`, 'yellow');
      const text = kind === 'only-first' ? `< ${first}` : `> ${second}`;
      return context.out.paint(text, kind === 'only-first' ? 'red' : 'green');
    });
  }
}
