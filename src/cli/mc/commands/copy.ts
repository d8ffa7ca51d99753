// `cp` and `mv`. A message appears for a file when it has been copied, so that a success is one; a file that
// fails is reported and the others go on.

import { unlink } from 'node:fs/promises';

import type { McContext } from '../context.ts';
import { planCopy } from '../copy-plan.ts';
import type { CopyItem, CopySide } from '../copy-plan.ts';
import { runCopy } from '../copy-run.ts';
import type { RunOptions } from '../copy-run.ts';
import { McError, toMcError } from '../error.ts';
import { Failure } from '../failure.ts';
import { parseDuration, parseSize } from '../format.ts';
import { checksumFlag, objectHeaders } from '../object-headers.ts';
import { forEachLimited } from '../pool.ts';
import { Progress } from '../progress.ts';
import { deleteObjects } from '../s3-objects.ts';
import { parseSse } from '../sse.ts';

/** `cp SOURCE… TARGET` */
export async function runCp(context: McContext, args: readonly string[]): Promise<void> {
  await copyOrMove(context, args, { isMove: false });
}

/** `mv SOURCE… TARGET` */
export async function runMv(context: McContext, args: readonly string[]): Promise<void> {
  const target = args.at(-1) ?? '';
  for (const source of args.slice(0, -1)) {
    const from = source.replace(/\/+$/, '');
    const to = target.replace(/\/+$/, '');
    if (to === from || to.startsWith(`${from}/`)) {
      throw new Failure(
        `The source ${source} and destination ${target} cannot be subdirectories of each other`,
      );
    }
  }
  await copyOrMove(context, args, { isMove: true });
}

async function copyOrMove(
  context: McContext,
  args: readonly string[],
  mode: { isMove: boolean },
): Promise<void> {
  const { flags, out, io } = context;
  const sse = await parseSse(context, args);
  const headers = objectHeaders(flags, Date.now());
  const keep = ageFilter(context);
  const progress = new Progress(out, io.stdout);
  let items: readonly CopyItem[];
  try {
    const versionId = flags.find('version-id');
    const plan = await planCopy(
      context,
      { sources: args.slice(0, -1), target: args.at(-1) ?? '' },
      {
        isRecursive: flags.has('recursive'),
        sse,
        ...(versionId === undefined ? {} : { versionId }),
      },
      (reason) => {
        out.failure(prepareFailure(reason));
      },
    );
    items = plan.filter((item) => keep(item.modifiedMs));
  } catch (error) {
    progress.stop();
    if (error instanceof Failure) throw error;
    out.failure(prepareFailure(toMcError(error)));
    return;
  }
  const checksum = checksumFlag(flags);
  const partSize = io.env['MC_UPLOAD_MULTIPART_SIZE'];
  const options: RunOptions = {
    headers,
    sse,
    isPreserving: flags.has('preserve'),
    isSinglePart: flags.has('disable-multipart'),
    signal: io.signal,
    count: (bytes) => {
      progress.add(bytes);
    },
    parallel: Number(io.env['MC_UPLOAD_MULTIPART_THREADS'] ?? 4) || 4,
    ...(partSize === undefined ? {} : { partBytes: parseSize(partSize) }),
    ...(checksum === undefined ? {} : { checksum }),
  };
  await copyAll(context, { items, progress, options, isMove: mode.isMove });
}

type Work = {
  readonly items: readonly CopyItem[];
  readonly progress: Progress;
  readonly options: RunOptions;
  readonly isMove: boolean;
};

async function copyAll(context: McContext, work: Work): Promise<void> {
  const { items, progress, options, isMove } = work;
  const { out } = context;
  for (const item of items) progress.addTotal(item.sizeBytes);
  const workers = context.flags.number('max-workers', 0) || 8;
  let hasRefusal = false;
  await forEachLimited(items, workers, async (item) => {
    progress.caption(displayName(item.source));
    try {
      await runCopy(item, options);
      if (isMove) await removeSource(item.source);
    } catch (error) {
      const reason = toMcError(error);
      if (reason.code === 'cancelled') throw reason;
      hasRefusal ||= reason.code === 'bucket-name' || reason.code === 'argument';
      progress.stop();
      const failure = new Failure(`Failed to copy \`${displayName(item.source)}\`.`, reason, {
        isFatal: false,
      });
      out.failure(failure);
      return;
    }
    if (!out.isInteractive) printItem(context, item, items.length);
  });
  if (hasRefusal) progress.stop();
  else progress.finish();
}

function printItem(context: McContext, item: CopyItem, totalCount: number): void {
  context.out.message(
    {
      status: 'success',
      source: item.source.text,
      target: item.target.text,
      size: item.sizeBytes,
      totalCount,
      totalSize: 0,
    },
    () => `\`${item.source.text}\` -> \`${item.target.text}\``,
  );
}

/** How errors name a source: the path, or the URL of an object. */
export function displayName(side: CopySide): string {
  return side.kind === 'local' ? side.path : side.client.url(side.bucket, side.key);
}

/** Deletes what was copied. Throws the cause. */
export async function removeSource(source: CopySide): Promise<void> {
  if (source.kind === 'local') {
    await unlink(source.path);
    return;
  }
  const [answer] = await deleteObjects(source.client, [source]);
  if (answer?.error !== undefined) throw answer.error;
}

/** The filter of `--older-than` and `--newer-than`. */
export function ageFilter(context: McContext): (modifiedMs: number) => boolean {
  const older = context.flags.find('older-than');
  const newer = context.flags.find('newer-than');
  const now = Date.now();
  const limit = (text: string | undefined) => {
    if (text === undefined) return undefined;
    try {
      return now - parseDuration(text);
    } catch (error) {
      throw new Failure(`Unable to parse duration \`${text}\``, toMcError(error));
    }
  };
  const before = limit(older);
  const after = limit(newer);
  return (modifiedMs) =>
    (before === undefined || modifiedMs < before) && (after === undefined || modifiedMs > after);
}

function prepareFailure(reason: McError): Failure {
  return new Failure('Unable to prepare URL for copying.', reason, { isFatal: false });
}
