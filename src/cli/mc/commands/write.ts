// `put` and `pipe`: one file, or standard input, to an object.

import path from 'node:path';

import { openS3, parseTarget, s3Text } from '../context.ts';
import type { McContext } from '../context.ts';
import { invalidArguments, McError, toMcError } from '../error.ts';
import { Failure } from '../failure.ts';
import { parseSize } from '../format.ts';
import { contentTypeOf, readFileRange, statLocal, writeWhole } from '../local.ts';
import { checksumFlag, objectHeaders } from '../object-headers.ts';
import { countedBody, Progress } from '../progress.ts';
import { checkBucketName } from '../s3-client.ts';
import { parseSse } from '../sse.ts';
import { uploadSource, uploadStream } from '../upload.ts';

/** `put SOURCE TARGET` */
export async function runPut(context: McContext, args: readonly string[]): Promise<void> {
  const { out, flags, io } = context;
  const uploadFailure = (reason: McError) =>
    new Failure('Unable to upload.', reason, { isFatal: false });
  if (args.length !== 2) throw uploadFailure(invalidArguments());
  const [from = '', to = ''] = args;
  const sse = await parseSse(context, args);
  const target = await parseTarget(context, to);
  if (target.kind !== 's3') throw uploadFailure(new McError('argument', 'Target is not s3.'));
  const file = path.resolve(from);
  const info = await statLocal(file).catch((error: unknown) => {
    throw uploadFailure(toMcError(error));
  });
  if (info.isDirectory()) throw uploadFailure(invalidArguments());
  const isFolder = target.key === '' || target.key.endsWith('/');
  const key = isFolder ? target.key + path.basename(file) : target.key;
  const text = s3Text(target, key);
  const client = await openS3(context, target.alias);
  const progress = new Progress(out, io.stdout);
  progress.addTotal(info.size);
  progress.caption(file);
  const checksum = checksumFlag(flags);
  const partSize = flags.find('part-size');
  try {
    await uploadSource(
      { client, bucket: target.bucket, key, text },
      {
        sizeBytes: info.size,
        open: (range) => readFileRange(file, range ?? { start: 0, sizeBytes: info.size }),
      },
      {
        headers: { 'content-type': contentTypeOf(file), ...objectHeaders(flags, Date.now()) },
        sse,
        count: (bytes) => {
          progress.add(bytes);
        },
        parallel: flags.number('parallel', 4),
        isSinglePart: flags.has('disable-multipart'),
        ...(partSize === undefined ? {} : { partBytes: parseSize(partSize) }),
        ...(checksum === undefined ? {} : { checksum }),
      },
    );
  } catch (error) {
    progress.stop();
    throw new Failure('unable to upload', toMcError(error));
  }
  if (!out.isInteractive) {
    out.message(
      {
        status: 'success',
        source: file,
        target: text,
        size: info.size,
        totalCount: 0,
        totalSize: 0,
      },
      () => `\`${file}\` -> \`${text}\``,
    );
  }
  progress.finish();
}

/** `pipe [TARGET]` */
export async function runPipe(context: McContext, args: readonly string[]): Promise<void> {
  const { out, flags, io } = context;
  const [to = ''] = args;
  const sse = await parseSse(context, args);
  const target = await parseTarget(context, to);
  const stdin = io.stdin as AsyncIterable<Uint8Array>;
  let sizeBytes = 0;
  try {
    if (target.kind === 'local') {
      const counted = countedBody(
        () => stdin,
        (bytes) => {
          sizeBytes += bytes;
        },
      );
      await writeWhole(target.path, counted(), io.signal);
    } else {
      const { bucket, key } = target;
      checkBucketName(bucket);
      if (key === '') throw new McError('argument', 'Object name cannot be empty.');
      const client = await openS3(context, target.alias);
      const partSize = flags.find('part-size');
      const checksum = checksumFlag(flags);
      sizeBytes = await uploadStream({ client, bucket, key, text: s3Text(target, key) }, stdin, {
        headers: objectHeaders(flags, Date.now()),
        sse,
        count: () => undefined,
        parallel: flags.number('concurrent', 1),
        ...(partSize === undefined ? {} : { partBytes: parseSize(partSize) }),
        ...(checksum === undefined ? {} : { checksum }),
      });
    }
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure('Unable to write to one or more targets.', toMcError(error));
  }
  out.message(
    { status: 'success', target: to, size: sizeBytes },
    () => `${sizeBytes} bytes -> \`${to}\``,
  );
}
