// The encryption modes of the matrix. A mode is a row: what a write sends, what a read must send, what the
// bucket's configuration says, and what answers must show. Extend the table, and every test of the matrix has it.

import { randomBytes } from 'node:crypto';
import {
  bucketKeyHeaders,
  copySourceHeaders,
  customerHeaders,
  dsseHeaders,
  kmsHeaders,
  sseS3Headers,
} from '../support/sse-headers.ts';
import { masterKeyName, otherKeyName } from './s3-harness.ts';

type Headers = Readonly<Record<string, string>>;

export type Mode = {
  readonly name: string;
  /** The inside of the bucket's ApplyServerSideEncryptionByDefault, when the mode is a default. */
  readonly bucketDefault?: string;
  readonly bucketKeyDefault?: boolean;
  /** The default is for names that begin so; the bucket itself has another one. */
  readonly prefix?: string;
  /** What a write sends to ask for it. */
  readonly write: Headers;
  /** What every part of an upload and every read must send. */
  readonly read: Headers;
  /** What a copy from such an object must send. */
  readonly source: Headers;
  /** The encryption headers of answers, without their common start (and the context, which listings lack). */
  readonly shown: Headers;
  /** ETags of single writes are the MD5 of the plaintext. */
  readonly hasMd5Etags: boolean;
};

/** The only key of clients in the matrix, so that a search for it finds any trace. */
export const clientKey = randomBytes(32);
export const wrongKey = randomBytes(32);

const none: Headers = {};
const customer = customerHeaders(clientKey);
const sse = 'x-amz-server-side-encryption';
const kms = (keyId: string): Headers => ({ method: 'aws:kms', 'aws-kms-key-id': keyId });
const context = { purpose: 'matrix' };

/** Modes that each request asks for. */
export const requestedModes: readonly Mode[] = [
  { name: 'plain', write: none, read: none, source: none, shown: none, hasMd5Etags: true },
  {
    name: 'SSE-S3',
    write: sseS3Headers,
    read: none,
    source: none,
    shown: { method: 'AES256' },
    hasMd5Etags: true,
  },
  {
    name: 'SSE-KMS, default key',
    write: kmsHeaders(),
    read: none,
    source: none,
    shown: kms(masterKeyName),
    hasMd5Etags: false,
  },
  {
    name: 'SSE-KMS, named key',
    write: kmsHeaders(otherKeyName, context),
    read: none,
    source: none,
    shown: {
      ...kms(otherKeyName),
      context: Buffer.from(JSON.stringify(context)).toString('base64'),
    },
    hasMd5Etags: false,
  },
  {
    name: 'SSE-KMS under a bucket key',
    write: bucketKeyHeaders(otherKeyName),
    read: none,
    source: none,
    shown: { ...kms(otherKeyName), 'bucket-key-enabled': 'true' },
    hasMd5Etags: false,
  },
  {
    name: 'DSSE-KMS',
    write: dsseHeaders(otherKeyName, context),
    read: none,
    source: none,
    shown: {
      ...kms(otherKeyName),
      method: 'aws:kms:dsse',
      context: Buffer.from(JSON.stringify(context)).toString('base64'),
    },
    hasMd5Etags: false,
  },
  {
    name: 'SSE-C',
    write: customer,
    read: customer,
    source: copySourceHeaders(clientKey),
    shown: {
      'customer-algorithm': 'AES256',
      'customer-key-md5': customer[`${sse}-customer-key-md5`] ?? '',
    },
    hasMd5Etags: false,
  },
];

const algorithm = (name: string, keyId = ''): string =>
  `<SSEAlgorithm>${name}</SSEAlgorithm>${keyId === '' ? '' : `<KMSMasterKeyID>${keyId}</KMSMasterKeyID>`}`;

/** Modes that a bucket gives to what asks for nothing. */
export const defaultModes: readonly Mode[] = [
  {
    name: 'bucket default SSE-S3',
    bucketDefault: algorithm('AES256'),
    write: none,
    read: none,
    source: none,
    shown: { method: 'AES256' },
    hasMd5Etags: true,
  },
  {
    name: 'bucket default SSE-KMS, default key',
    bucketDefault: algorithm('aws:kms'),
    write: none,
    read: none,
    source: none,
    shown: kms(masterKeyName),
    hasMd5Etags: false,
  },
  {
    name: 'bucket default SSE-KMS, named key',
    bucketDefault: algorithm('aws:kms', otherKeyName),
    write: none,
    read: none,
    source: none,
    shown: kms(otherKeyName),
    hasMd5Etags: false,
  },
  {
    name: 'bucket default SSE-KMS under a bucket key',
    bucketDefault: algorithm('aws:kms', otherKeyName),
    bucketKeyDefault: true,
    write: none,
    read: none,
    source: none,
    shown: { ...kms(otherKeyName), 'bucket-key-enabled': 'true' },
    hasMd5Etags: false,
  },
  {
    name: 'bucket default DSSE-KMS',
    bucketDefault: algorithm('aws:kms:dsse'),
    write: none,
    read: none,
    source: none,
    shown: { ...kms(masterKeyName), method: 'aws:kms:dsse' },
    hasMd5Etags: false,
  },
  {
    name: 'prefix default SSE-S3',
    bucketDefault: algorithm('AES256'),
    prefix: 'dir/',
    write: none,
    read: none,
    source: none,
    shown: { method: 'AES256' },
    hasMd5Etags: true,
  },
];

/** A bucket default that each request overrides. */
const overriding: readonly Mode[] = requestedModes
  .filter(({ name }) => name === 'SSE-S3' || name === 'SSE-C')
  .map((mode) => ({
    ...mode,
    name: `${mode.name} over a bucket default SSE-KMS`,
    bucketDefault: algorithm('aws:kms', otherKeyName),
  }));

export const modes: readonly Mode[] = [...requestedModes, ...defaultModes, ...overriding];

/** What a write that asks for `mode` gets in the bucket that `bucketMode` is about. */
export function settledMode(mode: Mode, bucketMode: Mode): Mode {
  const { bucketDefault, bucketKeyDefault } = bucketMode;
  if (bucketKeyDefault === true && mode.shown['method'] === 'aws:kms') {
    return { ...mode, shown: { ...mode.shown, 'bucket-key-enabled': 'true' } };
  }
  if (mode.name !== 'plain' || bucketDefault === undefined) return mode;
  const given = defaultModes.find(
    (other) => defaultDocument(other) === defaultDocument(bucketMode),
  );
  return given ?? mode;
}

/** What the bucket has where the default of the mode is that of a prefix. */
export const otherDefault: Pick<Mode, 'bucketDefault'> = {
  bucketDefault: algorithm('aws:kms', otherKeyName),
};

/** Modes that UpdateObjectEncryption can give an object that has another one of them, or is plain. */
export const updatedModes: readonly Mode[] = requestedModes.filter(
  ({ shown }) => shown['method'] === 'AES256' || shown['method'] === 'aws:kms',
);

/** The document that asks for it. */
export function updateDocument({ shown }: Mode): string {
  const keyId = shown['aws-kms-key-id'];
  if (keyId === undefined) return '<ObjectEncryption><SSE-S3/></ObjectEncryption>';
  const bucketKey = shown['bucket-key-enabled'] ?? 'false';
  return `<ObjectEncryption><SSE-KMS><KMSKeyArn>${keyId}</KMSKeyArn><BucketKeyEnabled>${bucketKey}</BucketKeyEnabled></SSE-KMS></ObjectEncryption>`;
}

/** What an object of mode `from` is after UpdateObjectEncryption to `to`: its context stays with the key service. */
export function updatedMode(from: Mode, to: Mode): Mode {
  const { context: _, ...shown } = to.shown;
  const kept = from.shown['context'];
  if (shown['method'] === 'AES256' || kept === undefined) return { ...to, shown };
  return { ...to, shown: { ...shown, context: kept } };
}

/** The configuration that makes a mode the bucket's default. */
export function defaultDocument(mode: Pick<Mode, 'bucketDefault' | 'bucketKeyDefault'>): string {
  const bucketKey =
    mode.bucketKeyDefault === true ? '<BucketKeyEnabled>true</BucketKeyEnabled>' : '';
  return `<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>${mode.bucketDefault}</ApplyServerSideEncryptionByDefault>${bucketKey}</Rule></ServerSideEncryptionConfiguration>`;
}
