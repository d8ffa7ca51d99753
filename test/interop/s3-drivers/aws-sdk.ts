// Carries a plan out with the AWS SDK for JavaScript, in this process.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Agent as HttpsAgent } from 'node:https';
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCommand,
  DeleteBucketEncryptionCommand,
  DeleteObjectsCommand,
  GetBucketEncryptionCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsCommand,
  ListObjectsV2Command,
  PutBucketEncryptionCommand,
  PutObjectCommand,
  S3Client,
  S3ServiceException,
  type ServerSideEncryption,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import {
  type Connection,
  type Driver,
  type Mode,
  type PutStep,
  type Result,
  runStages,
  type Step,
} from '../s3-plan.ts';

/** The SDK's client for a connection; whoever asks for it destroys it. */
export function awsSdkClient(at: Connection): S3Client {
  const tls =
    at.caFile === undefined
      ? {}
      : { httpsAgent: new HttpsAgent({ ca: readFileSync(at.caFile), keepAlive: true }) };
  return new S3Client({
    endpoint: at.endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    maxAttempts: 1,
    credentials: { accessKeyId: at.accessKey, secretAccessKey: at.secretKey },
    requestHandler: tls,
  });
}

/** The driver. */
export const awsSdkDriver: Driver = async (plan) => {
  const s3 = awsSdkClient(plan);
  const data = readFileSync(plan.dataFile);
  try {
    return await runStages(plan, async (step) => {
      try {
        return await perform(s3, step, data);
      } catch (error) {
        return { error: describe(error) };
      }
    });
  } finally {
    s3.destroy();
  }
};

function describe(error: unknown): NonNullable<Result['error']> {
  if (error instanceof S3ServiceException)
    return {
      code: error.name,
      status: error.$metadata.httpStatusCode ?? 0,
      message: error.message,
    };
  return { code: 'Error', message: String(error) };
}

function customerKey(mode: Mode): {
  SSECustomerAlgorithm?: string;
  SSECustomerKey?: string;
  SSECustomerKeyMD5?: string;
} {
  if (mode.kind !== 'c') return {};
  // The SDK encodes text and adds its MD5 by itself.
  return { SSECustomerAlgorithm: 'AES256', SSECustomerKey: mode.key };
}

function encryption(mode: Mode): {
  ServerSideEncryption?: ServerSideEncryption;
  SSEKMSKeyId?: string;
  SSEKMSEncryptionContext?: string;
  SSECustomerAlgorithm?: string;
  SSECustomerKey?: string;
} {
  if (mode.kind === 's3') return { ServerSideEncryption: 'AES256' };
  if (mode.kind !== 'kms') return customerKey(mode);
  return {
    ServerSideEncryption: 'aws:kms',
    ...(mode.keyId === undefined ? {} : { SSEKMSKeyId: mode.keyId }),
    ...(mode.context === undefined
      ? {}
      : { SSEKMSEncryptionContext: Buffer.from(JSON.stringify(mode.context)).toString('base64') }),
  };
}

function shown(answer: {
  ServerSideEncryption?: string | undefined;
  SSEKMSKeyId?: string | undefined;
  SSECustomerAlgorithm?: string | undefined;
  SSECustomerKeyMD5?: string | undefined;
}): NonNullable<Result['sse']> {
  return {
    ...(answer.ServerSideEncryption && { method: answer.ServerSideEncryption }),
    ...(answer.SSEKMSKeyId && { keyId: answer.SSEKMSKeyId }),
    ...(answer.SSECustomerAlgorithm && { customerAlgorithm: answer.SSECustomerAlgorithm }),
    ...(answer.SSECustomerKeyMD5 && { customerKeyMd5: answer.SSECustomerKeyMD5 }),
  };
}

const algorithms = ['CRC32', 'CRC32C', 'CRC64NVME', 'SHA1', 'SHA256'] as const;

function checksums(
  answer: Partial<Record<`Checksum${(typeof algorithms)[number]}`, string | undefined>>,
): Record<string, string> {
  return Object.fromEntries(
    algorithms.flatMap((name) => {
      const value = answer[`Checksum${name}`];
      return value === undefined ? [] : [[name, value]];
    }),
  );
}

async function perform(s3: S3Client, step: Step, data: Buffer): Promise<Result> {
  const Bucket = step.bucket;
  switch (step.op) {
    case 'createBucket':
      await s3.send(new CreateBucketCommand({ Bucket }));
      return {};
    case 'deleteBucket':
      await s3.send(new DeleteBucketCommand({ Bucket }));
      return {};
    case 'setDefault':
      return setDefault(s3, step);
    case 'put':
      return put(s3, step, data.subarray(step.offset, step.offset + step.size));
    case 'head': {
      const answer = await s3.send(
        new HeadObjectCommand({ Bucket, Key: step.key, ...customerKey(step.mode) }),
      );
      return {
        etag: answer.ETag ?? '',
        size: answer.ContentLength ?? -1,
        metadata: answer.Metadata ?? {},
        sse: shown(answer),
      };
    }
    case 'get':
      return get(s3, step);
    case 'copy': {
      const source = customerKey(step.fromMode);
      const answer = await s3.send(
        new CopyObjectCommand({
          Bucket,
          Key: step.key,
          CopySource: `${step.fromBucket}/${encodeURIComponent(step.fromKey)}`,
          ...encryption(step.mode),
          ...(source.SSECustomerKey && {
            CopySourceSSECustomerAlgorithm: 'AES256',
            CopySourceSSECustomerKey: source.SSECustomerKey,
          }),
        }),
      );
      return { etag: answer.CopyObjectResult?.ETag ?? '', sse: shown(answer) };
    }
    case 'list':
      return list(s3, step);
    case 'delete': {
      const keys = [...step.keys];
      while (keys.length > 0) {
        const Objects = keys.splice(0, 1000).map((Key) => ({ Key }));
        const answer = await s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
        if (answer.Errors?.length) throw new Error(JSON.stringify(answer.Errors));
      }
      return {};
    }
    case 'presign':
      throw new Error('the SDK presigns with a package of its own');
  }
}

async function setDefault(
  s3: S3Client,
  step: Extract<Step, { op: 'setDefault' }>,
): Promise<Result> {
  const Bucket = step.bucket;
  const { ServerSideEncryption: method, SSEKMSKeyId: keyId } = encryption(step.mode);
  if (method === undefined) {
    await s3.send(new DeleteBucketEncryptionCommand({ Bucket }));
    return { sse: {} };
  }
  const rule = { SSEAlgorithm: method, ...(keyId && { KMSMasterKeyID: keyId }) };
  await s3.send(
    new PutBucketEncryptionCommand({
      Bucket,
      ServerSideEncryptionConfiguration: { Rules: [{ ApplyServerSideEncryptionByDefault: rule }] },
    }),
  );
  const answer = await s3.send(new GetBucketEncryptionCommand({ Bucket }));
  const got =
    answer.ServerSideEncryptionConfiguration?.Rules?.[0]?.ApplyServerSideEncryptionByDefault;
  return {
    sse: {
      ...(got?.SSEAlgorithm && { method: got.SSEAlgorithm }),
      ...(got?.KMSMasterKeyID && { keyId: got.KMSMasterKeyID }),
    },
  };
}

async function put(s3: S3Client, step: PutStep, bytes: Buffer): Promise<Result> {
  const named = { Bucket: step.bucket, Key: step.key };
  const asked = {
    ...named,
    ...encryption(step.mode),
    ...(step.metadata && { Metadata: { ...step.metadata } }),
    ...(step.checksum && { ChecksumAlgorithm: algorithms.find((name) => name === step.checksum) }),
  };
  if (step.partSize === undefined || bytes.length <= step.partSize) {
    const answer = await s3.send(new PutObjectCommand({ ...asked, Body: bytes }));
    return { etag: answer.ETag ?? '', sse: shown(answer), checksums: checksums(answer) };
  }
  const { UploadId } = await s3.send(new CreateMultipartUploadCommand(asked));
  const parts: { PartNumber: number; ETag?: string; ChecksumCRC32?: string }[] = [];
  for (let at = 0; at < bytes.length; at += step.partSize) {
    const PartNumber = parts.length + 1;
    const answer = await s3.send(
      new UploadPartCommand({
        ...named,
        UploadId,
        PartNumber,
        Body: bytes.subarray(at, at + step.partSize),
        ...customerKey(step.mode),
      }),
    );
    parts.push({
      PartNumber,
      ...(answer.ETag && { ETag: answer.ETag }),
      ...(answer.ChecksumCRC32 && { ChecksumCRC32: answer.ChecksumCRC32 }),
    });
  }
  const answer = await s3.send(
    new CompleteMultipartUploadCommand({
      ...named,
      UploadId,
      MultipartUpload: { Parts: parts },
      ...customerKey(step.mode),
    }),
  );
  // The answer's type has no members for a client's key.
  const sse = step.mode.kind === 'c' ? await headEncryption(s3, step) : shown(answer);
  return { etag: answer.ETag ?? '', sse };
}

async function headEncryption(s3: S3Client, step: PutStep): Promise<NonNullable<Result['sse']>> {
  const asked = { Bucket: step.bucket, Key: step.key, ...customerKey(step.mode) };
  return shown(await s3.send(new HeadObjectCommand(asked)));
}

async function get(s3: S3Client, step: Extract<Step, { op: 'get' }>): Promise<Result> {
  const answer = await s3.send(
    new GetObjectCommand({
      Bucket: step.bucket,
      Key: step.key,
      ...customerKey(step.mode),
      ...(step.range && { Range: `bytes=${step.range[0]}-${step.range[1]}` }),
    }),
  );
  const body = (await answer.Body?.transformToByteArray()) ?? Buffer.alloc(0);
  return {
    sha256: createHash('sha256').update(body).digest('hex'),
    size: body.length,
    etag: answer.ETag ?? '',
    sse: shown(answer),
    ...(step.range === undefined && { checksums: checksums(answer) }),
  };
}

async function list(s3: S3Client, step: Extract<Step, { op: 'list' }>): Promise<Result> {
  const objects: [string, number, string][] = [];
  const prefixes: string[] = [];
  const asked = {
    Bucket: step.bucket,
    Prefix: step.prefix,
    ...(step.delimiter && { Delimiter: step.delimiter }),
    MaxKeys: step.pageSize,
  };
  let next: string | undefined;
  do {
    const page =
      step.api === 2
        ? await s3.send(new ListObjectsV2Command({ ...asked, ContinuationToken: next }))
        : await s3.send(new ListObjectsCommand({ ...asked, Marker: next }));
    for (const found of page.Contents ?? [])
      objects.push([found.Key ?? '', found.Size ?? -1, found.ETag ?? '']);
    for (const found of page.CommonPrefixes ?? []) prefixes.push(found.Prefix ?? '');
    if (page.IsTruncated !== true) next = undefined;
    else if ('NextContinuationToken' in page) next = page.NextContinuationToken;
    else next = ('NextMarker' in page ? page.NextMarker : undefined) ?? page.Contents?.at(-1)?.Key;
  } while (next !== undefined);
  return { objects, prefixes };
}
