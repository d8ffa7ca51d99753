// Writes docs/compatibility.md from the tables that the program itself runs on: the operations of S3, the
// routes of the key service, those of the admin API. `node tools/compatibility.ts` brings the page up to date;
// a test compares it.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { adminRoutes } from '../src/admin/routes.ts';
import { missingCommands } from '../src/cli/mc/commands.ts';
import { s3Operations } from '../src/s3/operations.ts';
import type { S3Operation } from '../src/s3/operation.ts';
import { adminPrefixes, kmsPrefix } from '../src/wire/admin.ts';
import { kesRoutes, type KesRouteName } from '../src/wire/kes.ts';

const pageFile = join(import.meta.dirname, '..', 'docs', 'compatibility.md');

const notSet = (code: string): string => `answers as when nothing is set: ${code}`;
const nothingToDelete = 'nothing can be set, so there is nothing to delete: 204';
const cannedOnly = 'canned access lists, by name or as a document; other grants: 501';

/** What the answer of a served operation leaves out or fixes, by its name. */
export const s3Notes: Readonly<Record<string, string>> = {
  CreateBucket: 'tags and grants: 501',
  GetBucketEncryption:
    '404 ServerSideEncryptionConfigurationNotFoundError while none is set; with `prefix`, what holds below it; with `prefixes`, the rules of all prefixes',
  DeleteBucketEncryption: 'what `BlockedEncryptionTypes` blocks stays blocked',
  PutBucketEncryption:
    'SSE-S3 (`AES256`) and SSE-KMS (`aws:kms`), whose key must exist; `aws:kms` without a key id means the default master key; `BlockedEncryptionTypes`; with the parameter `prefix`, an addition of this server, the default below a prefix',
  PutBucketVersioning: 'MFA delete and excluded prefixes: 501',
  PutBucketAcl: cannedOnly,
  PutObjectAcl: cannedOnly,
  GetObjectLockConfiguration: '404 ObjectLockConfigurationNotFoundError while none is set',
  PutObjectLockConfiguration: 'needs versioning; cannot be taken back',
  GetBucketReplication: notSet('404 ReplicationConfigurationNotFoundError'),
  DeleteBucketReplication: nothingToDelete,
  GetBucketNotificationConfiguration: 'always empty',
  GetBucketLogging: 'always empty',
  GetBucketAccelerateConfiguration: 'always empty',
  GetBucketRequestPayment: 'always `BucketOwner`',
  GetBucketWebsite: notSet('404 NoSuchWebsiteConfiguration'),
  DeleteBucketWebsite: nothingToDelete,
  GetBucketOwnershipControls: notSet('404 OwnershipControlsNotFoundError'),
  DeleteBucketOwnershipControls: nothingToDelete,
  CreateMultipartUpload: 'encryption as for PutObject',
  CopyObject: 'up to 5 GiB; encryption as for PutObject',
  UploadPart:
    'up to 5 GiB; SSE-C with the key of the upload; SSE-S3 and SSE-KMS headers were settled when the upload was created',
  UploadPartCopy: 'up to 5 GiB',
  PutObject:
    'up to 5 GiB; SSE-S3, SSE-KMS (bucket keys too), DSSE-KMS and SSE-C, the last over TLS only unless `COFFER_SSE_C_OVER_HTTP` allows it; an unknown method, or a KMS header without its method: 400',
  UpdateObjectEncryption:
    'to SSE-KMS, and beyond AWS to SSE-S3, without writing the bytes again; plain objects are encrypted by writing them again; SSE-C and DSSE-KMS objects: 400',
  DeleteObject: '`x-minio-force-delete`: all below the name, every version',
};

const addition = 'an addition of this service';

const kesNotes: Partial<Readonly<Record<KesRouteName, string>>> = {
  'key-disable': addition,
  'key-enable': addition,
  'key-batch': addition,
  'key-rotate': addition,
  'key-rewrap': addition,
  'key-destroy': addition,
  'key-cancel': addition,
  'key-accept': addition,
  'peer-changed': addition,
  'key-describe': '`state` is there when the key is not enabled',
};

/** The text of docs/compatibility.md. Throws when a note names an operation that is not served. */
export function formatCompatibilityPage(): string {
  const served = s3Operations.filter(({ handler }) => handler !== 'not-implemented');
  for (const name in s3Notes) {
    if (!served.some((operation) => operation.name === name)) throw new Error(`no ${name}`);
  }
  return `${[
    ...introduction(served.length),
    ...table(['operation', 'request', 'served', 'notes'], s3Operations.map(s3Row)),
    ...keyService,
    ...table(
      ['route', 'request', 'authentication', 'notes'],
      kesRoutes.map(({ name, method, prefix, auth }) => [
        name,
        `\`${method} ${prefix}${prefix.endsWith('/') ? '…' : ''}\``,
        auth,
        kesNotes[name] ?? '',
      ]),
    ),
    ...adminApi,
    ...table(
      ['request', 'served', 'permission'],
      adminRoutes.map(({ under, method, path, action, handler }) => [
        `\`${method} ${under === 'kms' ? kmsPrefix : (adminPrefixes[0] ?? '')}${path}\``,
        handler === 'not-implemented' ? '501' : 'yes',
        action === undefined ? 'that of what is asked for' : `\`${action}\``,
      ]),
    ),
    ...client(),
  ].join('\n')}\n`;
}

function introduction(servedCount: number): string[] {
  return [
    '# Compatibility',
    '',
    'What of the S3 API, of the KES API and of `mc` is there. This page is generated from the tables the program runs on',
    '(`node tools/compatibility.ts`); a test compares it.',
    '',
    '## S3',
    '',
    'Requests are signed with Signature V4, in the header, presigned or as a form; presigned requests and forms may be',
    'signed with Signature V2, which boto3 does by itself. The `x-amz-…` parameters of a presigned request stand for',
    'headers. An operation that is not served answers `501 NotImplemented`, and so does every header that asks for protection',
    'this server does not give: nothing is stored with less protection than was asked for.',
    '',
    `${servedCount} of ${s3Operations.length} operations are served.`,
    '',
  ];
}

const keyService = [
  '',
  '## Key service',
  '',
  'The routes of `coffer kes server`, with the bodies, errors and policies of KES ([formats/kes-protocol.md](formats/kes-protocol.md)).',
  'Routes, commands and settings beside KES: [compatibility/kes.md](compatibility/kes.md).',
  '`identify` means any known identity, `policy` one whose policy allows the path.',
  '',
];

const adminApi = [
  '',
  '## Admin API',
  '',
  'What `mc admin` asks of the store; there are no groups, service accounts and temporary credentials yet. `/minio/admin/v4/…` answers the same. Health and metrics: [operations.md](operations.md).',
  '',
];

function client(): string[] {
  const missing = [...missingCommands].sort().map((name) => `\`${name}\``);
  return [
    '',
    '## Client',
    '',
    'The commands of `coffer mc`, and where they differ on purpose, are in [mc.md](mc.md). Of the commands of `mc` these are not there,',
    `and say so: ${missing.join(', ')}.`,
  ];
}

function s3Row(operation: S3Operation): string[] {
  const isServed = operation.handler !== 'not-implemented';
  return [
    operation.name,
    `\`${describeRequest(operation)}\``,
    isServed ? 'yes' : '501',
    s3Notes[operation.name] ?? '',
  ];
}

function describeRequest({ method, scope, subresource, also }: S3Operation): string {
  const place = { service: '/', bucket: '/BUCKET', object: '/BUCKET/KEY' }[scope];
  const query = subresource === '' ? '' : `?${subresource}${also === 'id' ? '&id' : ''}`;
  return `${method} ${place}${query}${also === 'copy-source' ? ' + x-amz-copy-source' : ''}`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), `|${'---|'.repeat(head.length)}`, ...rows.map(line)];
}

if (import.meta.main) writeFileSync(pageFile, formatCompatibilityPage());
