// `encrypt set|info|clear`: the default encryption of a bucket or of the keys below a prefix. `set` reports the word that was typed,
// `info` the server's name for it; that difference is the reference's.

import { openS3, parseTarget } from '../context.ts';
import type { McContext } from '../context.ts';
import { McError, toMcError } from '../error.ts';
import { Failure } from '../failure.ts';
import { clearEncryption, getEncryption, setEncryption } from '../s3-objects.ts';
import { checkBucketName } from '../s3-client.ts';
import type { S3Client } from '../s3-client.ts';

/** `encrypt set sse-s3|sse-kms [KEYID] TARGET` */
export async function runEncryptSet(context: McContext, args: readonly string[]): Promise<void> {
  const word = (args[0] ?? '').toLowerCase();
  const url = args.at(-1) ?? '';
  const keyId = args.length > 2 ? (args[1] ?? '') : '';
  if (word !== 'sse-s3' && word !== 'sse-kms') {
    throw new Failure(
      'Invalid encryption algorithm',
      new McError('argument', `Unknown argument \`${args[0] ?? ''}\` passed`),
    );
  }
  const encryption =
    word === 'sse-s3' ? { algorithm: 'AES256', keyId: '' } : { algorithm: 'aws:kms', keyId };
  await onBucket(
    context,
    { url, problem: 'Unable to enable auto encryption', feature: 'SetEncryption' },
    (client, bucket, prefix) => setEncryption(client, bucket, encryption, prefix),
  );
  const key = encryption.keyId === '' ? {} : { keyId: encryption.keyId };
  context.out.message(
    { op: 'set', status: 'success', url, encryption: { algorithm: word, ...key } },
    () =>
      context.out.paint(
        `Auto encryption configuration has been set successfully for ${url}`,
        'green',
      ),
  );
}

/** `encrypt info TARGET` */
export async function runEncryptInfo(context: McContext, args: readonly string[]): Promise<void> {
  const url = args[0] ?? '';
  const found = await onBucket(
    context,
    { url, problem: 'Unable to get encryption info', feature: 'GetEncryption' },
    getEncryption,
  );
  const encryption =
    found === undefined
      ? {}
      : { algorithm: found.algorithm, ...(found.keyId === '' ? {} : { keyId: found.keyId }) };
  context.out.message({ op: 'info', status: 'success', url, encryption }, () => {
    if (found === undefined) return `Auto encryption is not enabled for ${url}`;
    const isKms = found.algorithm === 'aws:kms';
    const key = found.keyId === '' ? '' : ` with KeyID: ${found.keyId}`;
    const text = `Auto encryption '${isKms ? 'sse-kms' : 'sse-s3'}' is enabled${key}`;
    return context.out.paint(text, 'green');
  });
}

/** `encrypt clear TARGET` */
export async function runEncryptClear(context: McContext, args: readonly string[]): Promise<void> {
  const url = args[0] ?? '';
  await onBucket(
    context,
    { url, problem: 'Unable to clear auto encryption configuration', feature: 'DeleteEncryption' },
    clearEncryption,
  );
  context.out.message({ op: 'clear', status: 'success', url }, () =>
    context.out.paint(
      `Auto encryption configuration has been cleared successfully for ${url}`,
      'green',
    ),
  );
}

async function onBucket<T>(
  context: McContext,
  call: { url: string; problem: string; feature: string },
  work: (client: S3Client, bucket: string, prefix: string) => Promise<T>,
): Promise<T> {
  const target = await parseTarget(context, call.url);
  try {
    if (target.kind === 'local') {
      throw new McError('argument', `\`${call.feature}\` is not supported for \`filesystem\``, {
        detail: { API: call.feature, APIType: 'filesystem' },
      });
    }
    checkBucketName(target.bucket);
    const client = await openS3(context, target.alias);
    return await work(client, target.bucket, target.key);
  } catch (error) {
    throw new Failure(call.problem, toMcError(error));
  }
}
