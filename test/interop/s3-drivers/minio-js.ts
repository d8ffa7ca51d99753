// Carries a plan out with minio (npm), in this process.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Agent as HttpsAgent } from 'node:https';
import { Client, CopyDestinationOptions, CopySourceOptions, S3Error } from 'minio';
import {
  type Connection,
  type Driver,
  type Mode,
  type PutStep,
  type Result,
  runStages,
  type Step,
} from '../s3-plan.ts';

const mib = 1024 * 1024;
const sse = 'x-amz-server-side-encryption';

/** The client for a connection; `partSize` only for uploads in parts. */
export function minioJsClient(at: Connection, partSize = 64 * mib): Client {
  const url = new URL(at.endpoint);
  const tls = at.caFile === undefined ? {} : { ca: readFileSync(at.caFile) };
  return new Client({
    endPoint: url.hostname,
    port: Number(url.port),
    useSSL: at.caFile !== undefined,
    accessKey: at.accessKey,
    secretKey: at.secretKey,
    partSize,
    ...(at.caFile === undefined
      ? {}
      : { transportAgent: new HttpsAgent({ ...tls, keepAlive: true }) }),
    retryOptions: { disableRetry: true },
  });
}

/** The driver. */
export const minioJsDriver: Driver = (plan) => {
  const client = minioJsClient(plan);
  const inParts = minioJsClient(plan, 5 * mib);
  const data = readFileSync(plan.dataFile);
  return runStages(plan, async (step) => {
    try {
      if (step.op !== 'put') return await perform(client, step);
      const bytes = data.subarray(step.offset, step.offset + step.size);
      return await put(step.partSize === undefined ? client : inParts, step, bytes);
    } catch (error) {
      return { error: describe(error) };
    }
  });
};

function describe(error: unknown): NonNullable<Result['error']> {
  // The client makes its errors from the answer; the code is a member its type does not have.
  if (error instanceof S3Error && 'code' in error)
    return { code: error.code, message: error.message };
  return { code: 'Error', message: String(error) };
}

function customerHeaders(mode: Mode, prefix = 'x-amz-'): Record<string, string> {
  if (mode.kind !== 'c') return {};
  const name = `${prefix}server-side-encryption-customer`;
  return {
    [`${name}-algorithm`]: 'AES256',
    [`${name}-key`]: Buffer.from(mode.key).toString('base64'),
    [`${name}-key-md5`]: createHash('md5').update(mode.key).digest('base64'),
  };
}

/** The client takes encryption as plain headers. */
function encryptionHeaders(mode: Mode): Record<string, string> {
  if (mode.kind === 's3') return { [sse]: 'AES256' };
  if (mode.kind !== 'kms') return customerHeaders(mode);
  return {
    [sse]: 'aws:kms',
    ...(mode.keyId && { [`${sse}-aws-kms-key-id`]: mode.keyId }),
    ...(mode.context && {
      [`${sse}-context`]: Buffer.from(JSON.stringify(mode.context)).toString('base64'),
    }),
  };
}

function readOptions(mode: Mode): Record<string, string> {
  if (mode.kind !== 'c') return {};
  const headers = customerHeaders(mode);
  return {
    SSECustomerAlgorithm: 'AES256',
    SSECustomerKey: headers[`${sse}-customer-key`] ?? '',
    SSECustomerKeyMD5: headers[`${sse}-customer-key-md5`] ?? '',
  };
}

async function perform(client: Client, step: Exclude<Step, PutStep>): Promise<Result> {
  const { bucket } = step;
  switch (step.op) {
    case 'createBucket':
      await client.makeBucket(bucket);
      return {};
    case 'deleteBucket':
      await client.removeBucket(bucket);
      return {};
    case 'setDefault':
      return setDefault(client, step);
    case 'head': {
      const answer = await client.statObject(bucket, step.key);
      const metadata = Object.entries(answer.metaData).filter(
        ([name]) => !name.startsWith('x-') && name !== 'content-type',
      );
      return {
        etag: answer.etag,
        size: answer.size,
        metadata: Object.fromEntries(metadata.map(([name, value]) => [name, String(value)])),
      };
    }
    case 'get': {
      const [first, last] = step.range ?? [0, -1];
      const body =
        step.range === undefined
          ? await client.getObject(bucket, step.key, readOptions(step.mode))
          : await client.getPartialObject(
              bucket,
              step.key,
              first,
              last + 1 - first,
              readOptions(step.mode),
            );
      const hash = createHash('sha256');
      let size = 0;
      for await (const chunk of body) {
        hash.update(chunk);
        size += chunk.length;
      }
      return { sha256: hash.digest('hex'), size };
    }
    case 'copy': {
      await client.copyObject(
        new CopySourceOptions({ Bucket: step.fromBucket, Object: step.fromKey }),
        new CopyDestinationOptions({
          Bucket: bucket,
          Object: step.key,
          Headers: {
            ...encryptionHeaders(step.mode),
            ...customerHeaders(step.fromMode, 'x-amz-copy-source-'),
          },
        }),
      );
      // It looks for the ETag in a header, where no store puts the one of a copy.
      const found = await list(client, { ...step, prefix: step.key, delimiter: '', api: 2 });
      return { etag: found.objects?.find(([key]) => key === step.key)?.[2] ?? '' };
    }
    case 'list':
      return list(client, step);
    case 'delete':
      await client.removeObjects(bucket, [...step.keys]);
      return {};
    case 'setPolicy':
      await client.setBucketPolicy(bucket, step.policy);
      return {};
    case 'presign':
      return { url: await client.presignedUrl(step.method, bucket, step.key, 60) };
    case 'form': {
      const policy = client.newPostPolicy();
      policy.setBucket(bucket);
      policy.setKey(step.key);
      policy.setExpires(new Date(Date.now() + 60_000));
      const { postURL, formData } = await client.presignedPostPolicy(policy);
      return { url: postURL, fields: formData };
    }
    default:
      throw new Error(`${step.op} is not done with this client`);
  }
}

async function setDefault(
  client: Client,
  step: Extract<Step, { op: 'setDefault' }>,
): Promise<Result> {
  if (step.mode.kind === 'none') {
    await client.removeBucketEncryption(step.bucket);
    return { sse: {} };
  }
  const keyId = step.mode.kind === 'kms' ? step.mode.keyId : undefined;
  const rule = {
    SSEAlgorithm: step.mode.kind === 'kms' ? 'aws:kms' : 'AES256',
    ...(keyId && { KMSMasterKeyID: keyId }),
  };
  await client.setBucketEncryption(step.bucket, {
    Rule: [{ ApplyServerSideEncryptionByDefault: rule }],
  });
  return {};
}

async function put(client: Client, step: PutStep, bytes: Buffer): Promise<Result> {
  const answer = await client.putObject(step.bucket, step.key, bytes, bytes.length, {
    ...step.metadata,
    ...encryptionHeaders(step.mode),
  });
  return { etag: answer.etag };
}

async function list(
  client: Client,
  step: {
    readonly bucket: string;
    readonly prefix: string;
    readonly delimiter: string;
    readonly api: 1 | 2;
  },
): Promise<Result> {
  const objects: [string, number, string][] = [];
  const prefixes: string[] = [];
  const isRecursive = step.delimiter === '';
  const found =
    step.api === 2
      ? client.listObjectsV2(step.bucket, step.prefix, isRecursive)
      : client.listObjects(step.bucket, step.prefix, isRecursive);
  for await (const entry of found) {
    if (typeof entry === 'string' || Buffer.isBuffer(entry)) throw new Error('not an entry');
    const item: { name?: string; prefix?: string; size: number; etag?: string } = entry;
    if (item.prefix === undefined) objects.push([item.name ?? '', item.size, item.etag ?? '']);
    else prefixes.push(item.prefix);
  }
  return { objects, prefixes };
}
