// DeleteObjects: up to a thousand keys in one request, each with its own result.

import { findChild, findChildText, listChildren, parseXml, xmlElement } from '../../base/xml.ts';
import type { ListVersionsPage, ObjectStore } from '../../store/types.ts';
import { type Reply, type S3Call, xmlReply } from '../call.ts';
import { parseDeleteConditions } from '../conditions.ts';
import { S3Error, toS3Error } from '../errors.ts';
import { bypassesGovernance } from '../object-lock.ts';
import { permissionsOfDeletion } from '../access/permissions.ts';
import { checkVersionId } from '../versions.ts';

const bodyBytesMax = 2 * 1024 * 1024;
const objectsMax = 1000;
/** Deletes in flight at once: enough for the store to commit many together. */
const parallelMax = 32;

type Target = {
  readonly key: string;
  readonly versionId: string | undefined;
  readonly etag: string | undefined;
  readonly modified: string | undefined;
  readonly size: string | undefined;
};

/** POST ?delete. */
export async function deleteObjects(call: S3Call): Promise<Reply> {
  const document = await call.readDocument({ maxBytes: bodyBytesMax, isDigestRequired: true });
  const root = parseXml(document, { maxBytes: bodyBytesMax });
  const targets = listChildren(root, 'Object').map(
    (object): Target => ({
      key: findChild(object, 'Key')?.text ?? '',
      versionId: findChildText(object, 'VersionId') || undefined,
      etag: findChildText(object, 'ETag'),
      modified: findChildText(object, 'LastModifiedTime'),
      size: findChildText(object, 'Size'),
    }),
  );
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

/** Deletes the key and everything below it: every version, where there are versions. */
export async function deletePrefix(store: ObjectStore, bucket: string, key: string): Promise<void> {
  const prefix = key === '' || key.endsWith('/') ? key : `${key}/`;
  if (prefix !== key) await deleteListed(store, { bucket, prefix: key }, (found) => found === key);
  await deleteListed(store, { bucket, prefix }, () => true);
}

/** Deletes the versions below a prefix as long as their names are wanted; what sorts behind those is not. */
async function deleteListed(
  store: ObjectStore,
  place: { readonly bucket: string; readonly prefix: string },
  isWanted: (key: string) => boolean,
): Promise<void> {
  const { bucket } = place;
  const { settings } = await store.getBucket(bucket);
  if (settings.objectLock !== undefined) {
    throw new S3Error(
      'AccessDenied',
      'x-minio-force-delete is refused in a bucket with object lock: delete its versions one by one',
    );
  }
  const isVersioned = settings.versioning !== undefined;
  let marker: ListVersionsPage['next'] = { key: '', versionMarker: '' };
  while (marker) {
    const { key: keyMarker, versionMarker } = marker;
    const query = { ...place, delimiter: '', limit: objectsMax, keyMarker, versionMarker };
    const page: ListVersionsPage = await store.listVersions(query);
    const wanted = page.versions.filter(({ info }) => isWanted(info.key));
    await mapParallel(wanted, ({ info: { key, versionId } }) =>
      store.deleteObject({ bucket, key, ...(isVersioned ? { versionId } : {}) }),
    );
    marker = wanted.length === page.versions.length ? page.next : undefined;
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
  const { key, versionId } = target;
  const version = versionId === undefined ? '' : xmlElement('VersionId', versionId);
  try {
    if (key === '' || Buffer.byteLength(key) > 1024) throw new S3Error('KeyTooLongError');
    const { bucket } = call.target;
    if (!(await call.isAllowed(permissionsOfDeletion({ bucket, key, versionId }, call.headers)))) {
      throw new S3Error('AccessDenied');
    }
    const outcome = await call.store.deleteObject({
      bucket,
      key,
      owner: call.owner,
      ...(versionId === undefined ? {} : { versionId: checkVersionId(versionId) }),
      bypassesGovernance: bypassesGovernance(call.headers),
      ...parseDeleteConditions(target, { modified: 'LastModifiedTime', size: 'Size' }),
    });
    const marker = outcome.isMarker
      ? xmlElement('DeleteMarker', true) +
        xmlElement('DeleteMarkerVersionId', outcome.versionId ?? '')
      : '';
    return `<Deleted>${xmlElement('Key', key)}${version}${marker}</Deleted>`;
  } catch (error) {
    const { code, message } = toS3Error(error);
    return `<Error>${xmlElement('Key', key)}${version}${xmlElement('Code', code)}${xmlElement('Message', message)}</Error>`;
  }
}
