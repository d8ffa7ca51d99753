// DeleteObjects: up to a thousand keys in one request, each with its own result.

import { findChild, findChildText, listChildren, parseXml, xmlElement } from '../../base/xml.ts';
import type { ObjectStore } from '../../store/types.ts';
import { type Reply, type S3Call, xmlReply } from '../call.ts';
import { unquoteEtag } from '../conditions.ts';
import { S3Error, toS3Error } from '../errors.ts';
import { permissionsOfDeletion } from '../permissions.ts';

const bodyBytesMax = 2 * 1024 * 1024;
const objectsMax = 1000;
/** Deletes in flight at once: enough for the store to commit many together. */
const parallelMax = 32;

type Target = {
  readonly key: string;
  readonly versionId: string | undefined;
  readonly etag: string | undefined;
  /** Names a condition that would not be checked. */
  readonly hasOtherCondition: boolean;
};

/** POST ?delete. */
export async function deleteObjects(call: S3Call): Promise<Reply> {
  const document = await call.readDocument({ maxBytes: bodyBytesMax, isDigestRequired: true });
  const root = parseXml(document, { maxBytes: bodyBytesMax });
  const targets = listChildren(root, 'Object').map((object): Target => {
    const key = findChild(object, 'Key')?.text ?? '';
    const etag = findChildText(object, 'ETag');
    return {
      key,
      versionId: findChildText(object, 'VersionId') || undefined,
      etag: etag === undefined ? undefined : unquoteEtag(etag),
      hasOtherCondition:
        findChild(object, 'LastModifiedTime') !== undefined ||
        findChild(object, 'Size') !== undefined,
    };
  });
  if (root.name !== 'Delete' || targets.length === 0 || targets.length > objectsMax) {
    throw new S3Error('MalformedXML');
  }
  const isQuiet = findChildText(root, 'Quiet')?.toLowerCase() === 'true';
  await call.store.getBucket(call.target.bucket);
  const results = await mapParallel(targets, (target) => deleteOne(call, target));
  const shown = results.filter((result) => !isQuiet || result.startsWith('<Error>'));
  return xmlReply('DeleteResult', shown.join(''));
}

/** The store of a call, which deletes only what the caller may delete. Throws `AccessDenied` for the rest. */
export function deletingStore(call: S3Call): ObjectStore {
  return {
    ...call.store,
    deleteObject: async (input) => {
      if (!(await call.isAllowed(permissionsOfDeletion(input, call.headers)))) {
        throw new S3Error('AccessDenied');
      }
      return call.store.deleteObject(input);
    },
  };
}

/** Deletes the key and everything below it. */
export async function deletePrefix(store: ObjectStore, bucket: string, key: string): Promise<void> {
  if (key !== '' && !key.endsWith('/')) await store.deleteObject({ bucket, key });
  const prefix = key === '' || key.endsWith('/') ? key : `${key}/`;
  for (;;) {
    const page = await store.listObjects({
      bucket,
      prefix,
      delimiter: '',
      after: '',
      limit: objectsMax,
    });
    await mapParallel(page.objects, (object) => store.deleteObject({ bucket, key: object.key }));
    if (!page.isTruncated) return;
  }
}

/** Runs `action` for all items, at most `parallelMax` at a time; results in order. */
export async function mapParallel<Item, Result>(
  items: readonly Item[],
  action: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  for (let start = 0; start < items.length; start += parallelMax) {
    const batch = items.slice(start, start + parallelMax);
    results.push(...(await Promise.all(batch.map(action))));
  }
  return results;
}

async function deleteOne(call: S3Call, target: Target): Promise<string> {
  const { key, versionId, etag } = target;
  const version = versionId === undefined ? '' : xmlElement('VersionId', versionId);
  try {
    if (target.hasOtherCondition) {
      throw new S3Error('NotImplemented', 'Only ETag is served as a condition of a deletion');
    }
    if (key === '' || Buffer.byteLength(key) > 1024) throw new S3Error('KeyTooLongError');
    const { bucket } = call.target;
    if (!(await call.isAllowed(permissionsOfDeletion({ bucket, key, versionId }, call.headers)))) {
      throw new S3Error('AccessDenied');
    }
    await call.store.deleteObject({
      bucket,
      key,
      ...(versionId === undefined ? {} : { versionId }),
      ...(etag === undefined ? {} : { ifMatch: etag }),
    });
    return `<Deleted>${xmlElement('Key', key)}${version}</Deleted>`;
  } catch (error) {
    const { code, message } = toS3Error(error);
    return `<Error>${xmlElement('Key', key)}${version}${xmlElement('Code', code)}${xmlElement('Message', message)}</Error>`;
  }
}
