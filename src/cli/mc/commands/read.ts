// `cat`, `head` and `get`: objects to standard output or a file.

import { createReadStream } from 'node:fs';
import path from 'node:path';

import { baseName, openS3, parseTarget, s3Text } from '../context.ts';
import type { McContext } from '../context.ts';
import { downloadObject } from '../copy-run.ts';
import { readObject } from '../download.ts';
import { invalidArguments, McError, toMcError } from '../error.ts';
import { Failure } from '../failure.ts';
import { placeBelow, statLocal } from '../local.ts';
import { Progress } from '../progress.ts';
import { headObject } from '../s3-objects.ts';
import { checkBucketName } from '../s3-client.ts';
import { parseSse } from '../sse.ts';
import type { SseRules } from '../sse.ts';

/** `cat TARGET…` */
export async function runCat(context: McContext, args: readonly string[]): Promise<void> {
  const sse = await parseSse(context, args);
  for (const text of args) {
    try {
      for await (const chunk of await openSource(context, text, sse))
        await context.out.bytes(chunk);
    } catch (error) {
      throw readFailure(text, error);
    }
  }
}

/** `head [-n LINES] TARGET…` */
export async function runHead(context: McContext, args: readonly string[]): Promise<void> {
  const sse = await parseSse(context, args);
  const lines = context.flags.number('lines', 10);
  for (const text of args.length === 0 ? ['-'] : args) {
    try {
      await printLines(context, await openSource(context, text, sse), lines);
    } catch (error) {
      throw readFailure(text, error);
    }
  }
}

async function printLines(
  context: McContext,
  source: AsyncIterable<Uint8Array>,
  count: number,
): Promise<void> {
  let left = count;
  if (left <= 0) return;
  for await (const chunk of source) {
    let end = 0;
    while (left > 0 && end < chunk.length) {
      const newline = chunk.indexOf(10, end);
      if (newline < 0) end = chunk.length;
      else {
        end = newline + 1;
        left--;
      }
    }
    await context.out.bytes(chunk.subarray(0, end));
    if (left === 0) return;
  }
}

async function openSource(
  context: McContext,
  text: string,
  sse: SseRules,
): Promise<AsyncIterable<Uint8Array>> {
  if (text === '-') return context.io.stdin as AsyncIterable<Uint8Array>;
  const { flags } = context;
  const target = await parseTarget(context, text);
  const tail = flags.number('tail', 0);
  const offset = flags.number('offset', 0);
  if (target.kind === 'local') {
    const info = await statLocal(target.path);
    if (info.isDirectory()) throw new McError('local', 'It is a folder.');
    return createReadStream(target.path, {
      start: startOf({ offset, tail, sizeBytes: info.size }),
    });
  }
  const client = await openS3(context, target.alias);
  const { bucket, key } = target;
  if (bucket !== '' && key === '') checkBucketName(bucket);
  const versionId = flags.find('version-id');
  const object = { bucket, key, ...(versionId === undefined ? {} : { versionId }) };
  const headers = sse.forRead(s3Text(target, key));
  const info = await headObject(client, object, headers);
  const partNumber = flags.number('part-number', 0);
  const start = startOf({ offset, tail, sizeBytes: info.sizeBytes });
  return readObject(client, object, {
    headers,
    signal: context.io.signal,
    ...(start === 0 ? {} : { start }),
    ...(partNumber === 0 ? {} : { partNumber }),
  });
}

function startOf(range: { offset: number; tail: number; sizeBytes: number }): number {
  const { offset, tail, sizeBytes } = range;
  if (offset > sizeBytes) {
    throw new McError('argument', `specified offset (${offset}) bigger than file (${sizeBytes})`);
  }
  return tail > 0 ? Math.max(sizeBytes - tail, 0) : offset;
}

function readFailure(text: string, error: unknown): Failure {
  if (error instanceof Failure) return error;
  return new Failure(`Unable to read from \`${text}\`.`, toMcError(error));
}

/** `get SOURCE TARGET` */
export async function runGet(context: McContext, args: readonly string[]): Promise<void> {
  const { out, io } = context;
  const [from = '', to = ''] = args;
  const sse = await parseSse(context, args);
  const source = await parseTarget(context, from);
  const target = await parseTarget(context, to);
  if (source.kind !== 's3') throw downloadFailure(new McError('argument', 'Source is not s3.'));
  if (target.kind !== 'local') {
    throw downloadFailure(new McError('argument', 'Target is not local filesystem.'));
  }
  if (source.key === '' || source.key.endsWith('/')) throw downloadFailure(invalidArguments());
  const isFolder =
    /[/\\]$/.test(to) ||
    (await statLocal(target.path).catch(() => undefined))?.isDirectory() === true;
  const text = isFolder ? placeBelow(to, baseName(source.key)) : to;
  const client = await openS3(context, source.alias);
  const versionId = context.flags.find('version-id');
  const side = {
    kind: 's3' as const,
    client,
    bucket: source.bucket,
    key: source.key,
    text: s3Text(source, source.key),
    ...(versionId === undefined ? {} : { versionId }),
  };
  const progress = new Progress(out, io.stdout);
  progress.caption(client.url(source.bucket, source.key));
  try {
    await downloadObject(
      { source: side, target: { kind: 'local', path: path.resolve(text), text } },
      {
        sse,
        signal: io.signal,
        isPreserving: false,
        count: (bytes) => {
          progress.addTotal(bytes);
          progress.add(bytes);
        },
      },
    );
  } catch (error) {
    progress.stop();
    throw new Failure('', toMcError(error), { isFatal: false });
  }
  if (!out.isInteractive) {
    out.message(
      { status: 'success', source: side.text, target: text, size: 0, totalCount: 0, totalSize: 0 },
      () => `\`${side.text}\` -> \`${text}\``,
    );
  }
  progress.finish(0);
}

function downloadFailure(reason: McError): Failure {
  return new Failure('Unable to download.', reason, { isFatal: false });
}
