// Carries a plan out with the AWS SDK for JavaScript, in this process.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Agent as HttpsAgent } from 'node:https';
import { createRequire } from 'node:module';
import path from 'node:path';
import {
  type CompleteMultipartUploadCommandOutput,
  CopyObjectCommand,
  CreateBucketCommand,
  type DeleteMarkerEntry,
  DeleteBucketCommand,
  DeleteBucketEncryptionCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetBucketEncryptionCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  type ObjectVersion,
  PutBucketEncryptionCommand,
  PutBucketPolicyCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  type PutObjectCommandInput,
  S3Client,
  S3ServiceException,
  type ServerSideEncryption,
} from '@aws-sdk/client-s3';
import { interopDir } from '../clients.ts';
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

/** What this suite uses of the SDK's further packages. */
type SdkPackages = {
  readonly getSignedUrl: (
    client: S3Client,
    command: unknown,
    options: { readonly expiresIn: number },
  ) => Promise<string>;
  readonly createPresignedPost: (
    client: S3Client,
    options: { readonly Bucket: string; readonly Key: string; readonly Expires: number },
  ) => Promise<{ readonly url: string; readonly fields: Record<string, string> }>;
  readonly Upload: new (options: {
    readonly client: S3Client;
    readonly params: PutObjectCommandInput;
    readonly partSize: number;
    readonly queueSize: number;
  }) => { done(): Promise<CompleteMultipartUploadCommandOutput> };
};

/** They are installed for interop runs only. */
async function loadSdkPackages(): Promise<SdkPackages> {
  const load = createRequire(path.join(interopDir, 'aws-js/package.json'));
  const from = (name: string): Promise<SdkPackages> => import(load.resolve(`@aws-sdk/${name}`));
  return {
    getSignedUrl: (await from('s3-request-presigner')).getSignedUrl,
    createPresignedPost: (await from('s3-presigned-post')).createPresignedPost,
    Upload: (await from('lib-storage')).Upload,
  };
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
        new HeadObjectCommand({
          Bucket,
          Key: step.key,
          VersionId: step.versionId,
          ...customerKey(step.mode),
        }),
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
          CopySource: `${step.fromBucket}/${encodeURIComponent(step.fromKey)}${
            step.fromVersionId === undefined ? '' : `?versionId=${step.fromVersionId}`
          }`,
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
    default:
      return performOnVersions(s3, step);
  }
}

async function performOnVersions(s3: S3Client, step: Step): Promise<Result> {
  const Bucket = step.bucket;
  switch (step.op) {
    case 'remove': {
      const asked = { Bucket, Key: step.key, VersionId: step.versionId };
      const answer = await s3.send(new DeleteObjectCommand(asked));
      return { versionId: answer.VersionId ?? '', isMarker: answer.DeleteMarker ?? false };
    }
    case 'versioning': {
      const VersioningConfiguration = { Status: step.status };
      await s3.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration }));
      return {};
    }
    case 'listVersions': {
      const answer = await s3.send(new ListObjectVersionsCommand({ Bucket }));
      const entry = (found: ObjectVersion | DeleteMarkerEntry, isMarker: boolean) =>
        [found.Key ?? '', found.VersionId ?? '', found.IsLatest ?? false, isMarker] as const;
      return {
        versions: [
          ...(answer.Versions ?? []).map((found) => entry(found, false)),
          ...(answer.DeleteMarkers ?? []).map((found) => entry(found, true)),
        ],
      };
    }
    case 'deleteVersions': {
      const Objects = step.versions.map(([Key, VersionId]) => ({ Key, VersionId }));
      const answer = await s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
      if (answer.Errors?.length) throw new Error(JSON.stringify(answer.Errors));
      return {};
    }
    case 'setPolicy':
      await s3.send(new PutBucketPolicyCommand({ Bucket, Policy: step.policy }));
      return {};
    case 'presign': {
      const { getSignedUrl } = await loadSdkPackages();
      const named = { Bucket, Key: step.key };
      const command = {
        GET: new GetObjectCommand(named),
        HEAD: new HeadObjectCommand(named),
        PUT: new PutObjectCommand(named),
        DELETE: new DeleteObjectCommand(named),
      }[step.method];
      return { url: await getSignedUrl(s3, command, { expiresIn: 60 }) };
    }
    case 'form': {
      const { createPresignedPost } = await loadSdkPackages();
      return createPresignedPost(s3, { Bucket, Key: step.key, Expires: 60 });
    }
    default:
      throw new Error(`unknown step ${step.op}`);
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
    return {
      etag: answer.ETag ?? '',
      sse: shown(answer),
      checksums: checksums(answer),
      ...(answer.VersionId && { versionId: answer.VersionId }),
    };
  }
  const { Upload } = await loadSdkPackages();
  const upload = new Upload({
    client: s3,
    params: { ...asked, Body: bytes },
    partSize: step.partSize,
    queueSize: 2,
  });
  const answer = await upload.done();
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
      VersionId: step.versionId,
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
