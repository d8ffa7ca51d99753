// What is known about a bucket, from several small requests; one that fails only leaves its line at the
// default.

import { openAdmin } from '../context.ts';
import type { McContext, S3Target } from '../context.ts';
import { toMcError } from '../error.ts';
import type { JsonObject } from '../error.ts';
import { formatDate, formatSize, formatTimestamp } from '../format.ts';
import { getEncryption } from '../s3-objects.ts';
import { documentText } from '../s3-client.ts';
import type { S3Client } from '../s3-client.ts';

type BucketInfo = {
  readonly versioning: string;
  readonly encryption: { algorithm: string; keyId: string } | undefined;
  readonly lock: string;
  readonly hasReplication: boolean;
  readonly hasPolicy: boolean;
  readonly hasLifecycle: boolean;
  readonly location: string;
  readonly usage: Usage;
};

type Usage = {
  size: number;
  objectsCount: number;
  versionsCount: number;
  histogram: Readonly<Record<string, number>>;
};

/** Prints a bucket that exists. */
export async function showBucket(
  context: McContext,
  client: S3Client,
  target: S3Target,
): Promise<void> {
  const { bucket } = target;
  const nowMs = Date.now();
  const info = await readBucket(context, client, target);
  context.out.message(bucketDocument(bucket, nowMs, info), () =>
    formatBucket(context, bucket, { nowMs, info }),
  );
}

async function readBucket(
  context: McContext,
  client: S3Client,
  target: S3Target,
): Promise<BucketInfo> {
  const { bucket } = target;
  const read = async (query: Record<string, string>, isUnsigned: boolean) => {
    try {
      return (await client.call({ method: 'GET', bucket, query, isUnsigned, statuses: [200] }))
        .body;
    } catch (error) {
      if (toMcError(error).code === 'cancelled') throw error;
      return undefined;
    }
  };
  const versioning = await read({ versioning: '' }, true);
  const lock = await read({ 'object-lock': '' }, false);
  const replication = await read({ replication: '' }, true);
  const encryption = await getEncryption(client, bucket).catch(() => undefined);
  const policy = await read({ policy: '' }, false);
  await read({ tagging: '' }, true);
  const lifecycle = await read({ lifecycle: '', withUpdatedAt: 'true' }, true);
  await read({ notification: '' }, false);
  const usage = await readUsage(context, target);
  return {
    versioning: (versioning && documentText(versioning, 'Status')) ?? '',
    lock: (lock && documentText(lock, 'ObjectLockEnabled')) ?? '',
    hasReplication: replication !== undefined,
    encryption,
    hasPolicy: policy !== undefined && policy.length > 0,
    hasLifecycle: lifecycle !== undefined,
    location: await client.location(bucket),
    usage,
  };
}

async function readUsage(context: McContext, target: S3Target): Promise<Usage> {
  const none: Usage = { size: 0, objectsCount: 0, versionsCount: 0, histogram: {} };
  try {
    const admin = await openAdmin(context, target.alias);
    const answer = await admin.call('GET', '/minio/admin/v3/datausageinfo', { capacity: 'true' });
    const buckets = (answer as { bucketsUsageInfo?: Readonly<Record<string, unknown>> })
      .bucketsUsageInfo;
    const usage = buckets?.[target.bucket] as
      | (Partial<Usage> & { objectsSizesHistogram?: Readonly<Record<string, number>> })
      | undefined;
    return {
      size: usage?.size ?? 0,
      objectsCount: usage?.objectsCount ?? 0,
      versionsCount: usage?.versionsCount ?? 0,
      histogram: usage?.objectsSizesHistogram ?? {},
    };
  } catch (error) {
    if (toMcError(error).code === 'cancelled') throw error;
    return none;
  }
}

function bucketDocument(bucket: string, nowMs: number, info: BucketInfo): JsonObject {
  const { encryption, usage } = info;
  return {
    status: 'success',
    name: `${bucket}/`,
    lastModified: formatTimestamp(nowMs),
    size: 0,
    Versioning: { status: info.versioning, MFADelete: '' },
    Encryption:
      encryption === undefined
        ? {}
        : {
            algorithm: encryption.algorithm,
            ...(encryption.keyId === '' ? {} : { keyId: encryption.keyId }),
          },
    ObjectLock: { enabled: info.lock, mode: '', validity: '' },
    Replication: { enabled: info.hasReplication, config: { Rules: null, Role: '' } },
    Policy: { type: info.hasPolicy ? 'custom' : 'none' },
    location: info.location,
    ilm: {},
    notification: { config: {} },
    Usage: {
      size: usage.size,
      versionsCount: usage.versionsCount,
      objectsCount: usage.objectsCount,
      deleteMarkersCount: 0,
      objectsSizesHistogram: Object.keys(usage.histogram).length === 0 ? null : usage.histogram,
    },
  };
}

function formatBucket(
  context: McContext,
  bucket: string,
  shown: { nowMs: number; info: BucketInfo },
): string {
  const { info } = shown;
  const { encryption, usage } = info;
  const lines = [
    context.out.paint(`Name      : ${bucket}`, 'cyanBold'),
    `Date      : ${formatDate(shown.nowMs)} `,
    `Size      : ${'N/A'.padEnd(7)}`,
    'Type      : folder ',
    '',
    'Properties:',
  ];
  if (encryption !== undefined) {
    lines.push('  Encryption: ');
    if (encryption.algorithm === 'aws:kms') {
      lines.push('\tKey Type: SSE-KMS', `\tKey ID: ${encryption.keyId}`);
    } else lines.push(`\tAlgorithm: ${encryption.algorithm.toUpperCase()}`);
  }
  lines.push(
    `  Versioning: ${info.versioning === '' ? 'Un-versioned' : info.versioning}`,
    `  Location: ${info.location}`,
    `  Anonymous: ${info.hasPolicy ? 'Enabled' : 'Disabled'}`,
    `  ILM: ${info.hasLifecycle ? 'Enabled' : 'Disabled'}`,
    '',
    'Usage:',
    `      Total size: ${formatSize(usage.size)}`,
    `   Objects count: ${usage.objectsCount}`,
    `  Versions count: ${usage.versionsCount}`,
    '',
  );
  const histogram = Object.entries(usage.histogram).sort(([left], [right]) =>
    left < right ? -1 : 1,
  );
  if (histogram.length > 0) {
    lines.push('Object sizes histogram:');
    for (const [range, count] of histogram) lines.push(`   ${count} object(s) ${range}`);
  }
  return lines.join('\n');
}
