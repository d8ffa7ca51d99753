// Listings: buckets, objects, versions, unfinished uploads. Pages are fetched as the caller consumes them,
// so a listing of any length takes constant memory. Keys arrive percent-encoded and leave decoded.

import { findChild, findChildText, listChildren, parseXml } from '../../base/xml.ts';
import type { XmlElement } from '../../base/xml.ts';
import { McError } from './error.ts';
import type { S3Client } from './s3-client.ts';

/** One line of a listing. Folders have no other property than their key, which ends in `/`. */
export type Entry = {
  readonly key: string;
  readonly isFolder: boolean;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
  readonly etag: string;
  readonly storageClass: string;
  readonly versionId?: string;
  readonly isLatest?: boolean;
  readonly isDeleteMarker?: boolean;
  readonly uploadId?: string;
};

export type BucketEntry = { readonly name: string; readonly createdMs: number };

export type ListOptions = {
  readonly bucket: string;
  readonly prefix: string;
  readonly isRecursive: boolean;
  readonly keysMax?: number;
};

const pageBytesMax = 32 * 1024 * 1024;

/** Every bucket the alias may see. */
export async function listBuckets(client: S3Client): Promise<readonly BucketEntry[]> {
  const buckets: BucketEntry[] = [];
  let token: string | undefined;
  do {
    const root = await fetchPage(client, {
      query: token === undefined ? {} : { 'continuation-token': token },
    });
    for (const bucket of listChildren(findChild(root, 'Buckets') ?? root, 'Bucket')) {
      buckets.push({
        name: findChildText(bucket, 'Name') ?? '',
        createdMs: Date.parse(findChildText(bucket, 'CreationDate') ?? '') || 0,
      });
    }
    token = findChildText(root, 'ContinuationToken');
  } while (token !== undefined && token !== '');
  return buckets;
}

/** Objects, then folders, page by page. With `keysMax` only the first page is asked for. */
export async function* listObjects(client: S3Client, options: ListOptions): AsyncGenerator<Entry> {
  let token: string | undefined;
  do {
    const root = await fetchPage(client, {
      bucket: options.bucket,
      query: {
        'list-type': '2',
        'fetch-owner': 'true',
        ...commonQuery(options),
        ...(token === undefined ? {} : { 'continuation-token': token }),
      },
    });
    const decode = decoderOf(root);
    for (const item of listChildren(root, 'Contents')) yield toEntry(item, decode);
    yield* folders(root, decode);
    token = options.keysMax === undefined ? nextToken(root) : undefined;
  } while (token !== undefined);
}

/** Versions and delete markers, newest first per key, then folders. */
export async function* listVersions(client: S3Client, options: ListOptions): AsyncGenerator<Entry> {
  let marker: { key: string; version: string } | undefined;
  do {
    const root = await fetchPage(client, {
      bucket: options.bucket,
      query: {
        versions: '',
        ...commonQuery(options),
        ...(marker === undefined
          ? {}
          : { 'key-marker': marker.key, 'version-id-marker': marker.version }),
      },
    });
    const decode = decoderOf(root);
    for (const item of root.children) {
      if (item.name !== 'Version' && item.name !== 'DeleteMarker') continue;
      yield {
        ...toEntry(item, decode),
        versionId: findChildText(item, 'VersionId') ?? 'null',
        isLatest: findChildText(item, 'IsLatest') === 'true',
        isDeleteMarker: item.name === 'DeleteMarker',
      };
    }
    yield* folders(root, decode);
    marker = undefined;
    if (findChildText(root, 'IsTruncated') === 'true') {
      marker = {
        key: decode(findChild(root, 'NextKeyMarker')?.text ?? ''),
        version: findChildText(root, 'NextVersionIdMarker') ?? '',
      };
    }
  } while (marker !== undefined);
}

/** Multipart uploads that were neither completed nor aborted. */
export async function* listUploads(client: S3Client, options: ListOptions): AsyncGenerator<Entry> {
  let marker: { key: string; upload: string } | undefined;
  do {
    const root = await fetchPage(client, {
      bucket: options.bucket,
      query: {
        uploads: '',
        ...commonQuery(options),
        ...(marker === undefined
          ? {}
          : { 'key-marker': marker.key, 'upload-id-marker': marker.upload }),
      },
    });
    const decode = decoderOf(root);
    for (const item of listChildren(root, 'Upload')) {
      yield {
        ...toEntry(item, decode),
        modifiedMs: Date.parse(findChildText(item, 'Initiated') ?? '') || 0,
        uploadId: findChildText(item, 'UploadId') ?? '',
      };
    }
    yield* folders(root, decode);
    marker = undefined;
    if (findChildText(root, 'IsTruncated') === 'true') {
      marker = {
        key: decode(findChild(root, 'NextKeyMarker')?.text ?? ''),
        upload: findChildText(root, 'NextUploadIdMarker') ?? '',
      };
    }
  } while (marker !== undefined);
}

function commonQuery(options: ListOptions): Record<string, string> {
  return {
    prefix: options.prefix,
    delimiter: options.isRecursive ? '' : '/',
    'encoding-type': 'url',
    ...(options.keysMax === undefined ? {} : { 'max-keys': String(options.keysMax) }),
  };
}

async function fetchPage(
  client: S3Client,
  request: { bucket?: string; query: Record<string, string> },
): Promise<XmlElement> {
  const { body } = await client.call({ method: 'GET', ...request, statuses: [200] });
  try {
    return parseXml(body, { maxBytes: pageBytesMax });
  } catch (cause) {
    throw new McError('transport', 'the server sent a listing that cannot be read', { cause });
  }
}

function nextToken(root: XmlElement): string | undefined {
  if (findChildText(root, 'IsTruncated') !== 'true') return undefined;
  const token = findChild(root, 'NextContinuationToken')?.text;
  return token === '' ? undefined : token;
}

function decoderOf(root: XmlElement): (text: string) => string {
  if (findChildText(root, 'EncodingType') !== 'url') return (text) => text;
  return (text) => decodeURIComponent(text.replaceAll('+', ' '));
}

function* folders(root: XmlElement, decode: (text: string) => string): Generator<Entry> {
  for (const item of listChildren(root, 'CommonPrefixes')) {
    const key = decode(findChild(item, 'Prefix')?.text ?? '');
    yield {
      key,
      isFolder: true,
      sizeBytes: 0,
      modifiedMs: Date.now(),
      etag: '',
      storageClass: '',
    };
  }
}

function toEntry(item: XmlElement, decode: (text: string) => string): Entry {
  return {
    key: decode(findChild(item, 'Key')?.text ?? ''),
    isFolder: false,
    sizeBytes: Number(findChildText(item, 'Size') ?? 0),
    modifiedMs: Date.parse(findChildText(item, 'LastModified') ?? '') || 0,
    etag: (findChildText(item, 'ETag') ?? '').replaceAll('"', ''),
    storageClass: findChildText(item, 'StorageClass') ?? '',
  };
}
