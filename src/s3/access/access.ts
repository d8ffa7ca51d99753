// Whether the caller of one request may do what it asks for. The bucket is looked up first, so that an absent
// one looks the same to everybody; then come the expected owner and the decision of `iam`, with everything
// that it needs: the bucket's policy, the access lists, and values for the conditions of the policies in force.
// What a policy does not ask for is not looked up.

import { findCannedAcl, dependsOnObjectAcl, isPublicAcl } from '../../iam/acl.ts';
import { authorize, type ResourceState } from '../../iam/authorize.ts';
import { type Identity, ownerIdOf } from '../../iam/identity.ts';
import type { BucketInfo, ObjectInfo, ObjectStore } from '../../store/types.ts';
import type { DocumentOptions, S3Environment } from '../call.ts';
import { type CopySource, parseCopySource } from '../copy-source.ts';
import { S3Error, toS3Error } from '../errors.ts';
import { permissionOfSource, permissionsOf } from './permissions.ts';
import type { Permission } from './permission.ts';
import type { PolicyCache } from './policy-cache.ts';
import {
  addDocumentConditions,
  addExistingTags,
  addUploadConditions,
  asksForDocument,
  asksForExistingTags,
  asksForUpload,
  type Conditions,
  dropFixedConditions,
  requestConditions,
  type RequestFacts,
} from './request-conditions.ts';
import { findQuery } from '../target.ts';

export type AccessParts = RequestFacts & {
  readonly store: ObjectStore;
  readonly policies: PolicyCache;
  /** Users may do everything with what they own. */
  readonly grantsOwners: boolean;
  readonly describeOwner: S3Environment['describeOwner'];
  /** The body of a configuration call. It may be asked for again later. */
  readDocument(options: DocumentOptions): Promise<Uint8Array>;
};

/** Calls that go on with an upload that was begun before. */
const uploadOperations: ReadonlySet<string> = new Set([
  'UploadPart',
  'UploadPartCopy',
  'CompleteMultipartUpload',
]);

const documentBytesMax = 1024 * 1024;

/** What a question supposes instead of what is the case. */
type Assumed = {
  readonly conditions?: Conditions;
  readonly object?: NonNullable<ResourceState['object']>;
};

/** The decisions of one request. */
export class RequestAccess {
  /** The bucket of the request, once it was looked up. */
  bucket: BucketInfo | undefined;
  readonly #parts: AccessParts;
  #buckets: Map<string, Promise<BucketInfo>> | undefined;
  #objects: Map<string, Promise<ObjectInfo | undefined>> | undefined;
  #source: CopySource | undefined;

  constructor(parts: AccessParts) {
    this.#parts = parts;
  }

  /**
   * Checks all that the operation needs. Throws `NoSuchBucket`, `AccessDenied`, and `NoSuchKey` when only the
   * object could have given the permission and the caller may know that it is not there.
   */
  async check(): Promise<void> {
    const { operation, target, authentication } = this.#parts;
    const { headers } = authentication;
    if (target.bucket !== '' && operation.name !== 'CreateBucket') {
      this.bucket = await this.#bucket(target.bucket);
      const expected = headers['x-amz-expected-bucket-owner'];
      if (expected !== undefined) await this.#checkOwner(expected, this.bucket);
      if (this.#isPlain(this.bucket)) return;
    }
    for (const permission of permissionsOf(operation, { target, headers })) {
      await this.#require(permission);
    }
    await this.#checkPublicAcl();
    const copied = operation.also === 'copy-source' ? headers['x-amz-copy-source'] : undefined;
    if (copied !== undefined) await this.#checkSource(parseCopySource(copied));
  }

  /** Most requests of most servers: root, and nothing that could keep it from anything. */
  #isPlain({ settings }: BucketInfo): boolean {
    const { identity, operation } = this.#parts;
    if (identity.kind !== 'root' || operation.also === 'copy-source') return false;
    return settings.policy === undefined && settings.publicAccessBlock === undefined;
  }

  async #checkSource(source: CopySource): Promise<void> {
    this.#source = source;
    const { headers } = this.#parts.authentication;
    const bucket = await this.#bucket(source.bucket);
    const expected = headers['x-amz-source-expected-bucket-owner'];
    if (expected !== undefined) await this.#checkOwner(expected, bucket);
    await this.#require(permissionOfSource(source));
  }

  /** Whether all of it is allowed. Throws `NoSuchBucket`. */
  async isAllowed(permissions: readonly Permission[]): Promise<boolean> {
    for (const permission of permissions) {
      if (!(await this.#decide(permission))) return false;
    }
    return true;
  }

  /** The error to tell for one that a handler threw: who may not list does not learn what is not there. */
  async errorFor(error: unknown): Promise<unknown> {
    const { code } = toS3Error(error);
    const { target, identity } = this.#parts;
    if ((code !== 'NoSuchKey' && code !== 'NoSuchVersion') || target.key === '') return error;
    const { bucket, key } = target;
    const places = [{ bucket, key }, ...(this.#source === undefined ? [] : [this.#source])];
    for (const place of places) {
      if (identity.kind === 'root' && !(await this.#hasPolicy(place.bucket))) continue;
      if (!(await this.#mayKnow(place.bucket, place.key))) return new S3Error('AccessDenied');
    }
    return error;
  }

  async #require(permission: Permission): Promise<void> {
    if (await this.#decide(permission)) return;
    if (await this.#isOnlyAbsent(permission)) {
      throw new S3Error('NoSuchKey', undefined, { details: { Key: permission.key } });
    }
    throw new S3Error('AccessDenied');
  }

  /** The object is not there, its access list could have allowed it, and the caller may list. */
  async #isOnlyAbsent(permission: Permission): Promise<boolean> {
    const { action, bucket, key } = permission;
    if (key === '' || !dependsOnObjectAcl(action)) return false;
    if ((await this.#findObject(permission)) !== undefined) return false;
    const open = { owner: '', acl: 'public-read' } as const;
    return (await this.#decide(permission, { object: open })) && this.#mayKnow(bucket, key);
  }

  async #mayKnow(bucket: string, key: string): Promise<boolean> {
    const permission = { action: 's3:ListBucket', bucket, key: '' };
    return this.#decide(permission, { conditions: { 's3:prefix': [key] } });
  }

  async #hasPolicy(bucket: string): Promise<boolean> {
    return (await this.#bucket(bucket)).settings.policy !== undefined;
  }

  async #decide(permission: Permission, assumed: Assumed = {}): Promise<boolean> {
    const { identity, operation } = this.#parts;
    const { action, bucket, key } = permission;
    const hasBucket = bucket !== '' && operation.name !== 'CreateBucket';
    const resource = hasBucket ? this.#stateOf(await this.#bucket(bucket)) : undefined;
    if (identity.kind === 'root' && resource?.bucketPolicy === undefined) return true;
    const keys = keysInForce(identity, resource);
    const found = keys.size === 0 ? {} : await this.#conditions(permission, keys);
    const question = {
      identity,
      action,
      ...(bucket === '' ? {} : { bucket }),
      ...(key === '' ? {} : { key }),
      conditions: { ...found, ...assumed.conditions },
      isPartOfWrite: permission.isPartOfWrite ?? false,
    };
    if (authorize({ ...question, resource }) === 'allow') return true;
    if (resource === undefined || key === '' || !dependsOnObjectAcl(action)) return false;
    const object = assumed.object ?? (await this.#objectState(permission));
    return authorize({ ...question, resource: { ...resource, object } }) === 'allow';
  }

  async #objectState(permission: Permission): Promise<ResourceState['object']> {
    const found = await this.#findObject(permission);
    if (found === undefined) return undefined;
    return { owner: found.owner, acl: findCannedAcl(found.attributes.acl ?? 'private') };
  }

  #stateOf({ name, owner, settings }: BucketInfo): ResourceState {
    const { policy, acl, publicAccessBlock } = settings;
    return {
      bucketOwner: owner,
      grantsOwners: this.#parts.grantsOwners,
      bucketPolicy: policy === undefined ? undefined : this.#parts.policies.get(name, policy),
      bucketAcl: acl === undefined ? undefined : findCannedAcl(acl),
      publicAccessBlock,
    };
  }

  async #conditions(permission: Permission, keys: ReadonlySet<string>): Promise<Conditions> {
    const { operation } = this.#parts;
    const { versionId } = permission;
    let conditions = requestConditions(this.#parts, keys);
    // Versions that are not named by the request line, but by the body.
    if (versionId !== undefined && keys.has('s3:VersionId')) {
      conditions['s3:VersionId'] = [versionId];
    }
    if (uploadOperations.has(operation.name) && asksForUpload(keys)) {
      conditions = dropFixedConditions(conditions);
      await this.#addUpload(conditions);
    }
    if (asksForDocument(operation, keys)) {
      const document = await this.#parts.readDocument({ maxBytes: documentBytesMax });
      addDocumentConditions(conditions, operation, document, this.#parts.nowMs);
    }
    if (permission.key !== '' && asksForExistingTags(keys)) {
      const object = await this.#findObject(permission);
      if (object !== undefined) addExistingTags(conditions, object.attributes.tagging);
    }
    return conditions;
  }

  /** What was fixed when the upload began; of one that is over, what it made. */
  async #addUpload(conditions: Conditions): Promise<void> {
    const { store, target } = this.#parts;
    const { bucket, key, query } = target;
    try {
      const uploadId = findQuery(query, 'uploadId') ?? '';
      addUploadConditions(conditions, await store.getUpload({ bucket, key, uploadId }));
    } catch (error) {
      if (toS3Error(error).code !== 'NoSuchUpload') throw error;
      const object = await this.#findObject({ action: '', bucket, key });
      if (object !== undefined) addUploadConditions(conditions, object);
    }
  }

  /** Access lists that would open something are refused where the bucket blocks them. */
  async #checkPublicAcl(): Promise<void> {
    const { authentication, target, operation } = this.#parts;
    const acl = authentication.headers['x-amz-acl'];
    if (acl === undefined || target.bucket === '' || operation.name === 'CreateBucket') return;
    if (!isPublicAcl(findCannedAcl(acl))) return;
    const { settings } = await this.#bucket(target.bucket);
    if (settings.publicAccessBlock?.blockPublicAcls === true) throw new S3Error('AccessDenied');
  }

  /** Owners are expected as they are shown. */
  async #checkOwner(expected: string, bucket: BucketInfo): Promise<void> {
    const { ownerId } = await this.#parts.describeOwner(ownerIdOf(bucket.owner));
    if (ownerId !== expected) throw new S3Error('AccessDenied');
  }

  /** Looked up once for a request. */
  #bucket(name: string): Promise<BucketInfo> {
    this.#buckets ??= new Map();
    const known = this.#buckets.get(name);
    if (known !== undefined) return known;
    const found = this.#parts.store.getBucket(name);
    this.#buckets.set(name, found);
    return found;
  }

  /** Looked up at most once for a request; undefined when it is not there. */
  #findObject({ bucket, key, versionId }: Permission): Promise<ObjectInfo | undefined> {
    const name = `${bucket}/${key}\0${versionId ?? ''}`;
    this.#objects ??= new Map();
    const known = this.#objects.get(name);
    if (known !== undefined) return known;
    const target = { bucket, key, ...(versionId === undefined ? {} : { versionId }) };
    const found = this.#parts.store.openObject(target).then(
      ({ info }) => info,
      (error: unknown) => {
        // Whatever there is to say about the version is said by the handler.
        if (toS3Error(error).status < 500) return undefined;
        throw error;
      },
    );
    this.#objects.set(name, found);
    return found;
  }
}

/** The condition keys that the policies which bear on the decision ask for. */
function keysInForce(identity: Identity, resource: ResourceState | undefined): ReadonlySet<string> {
  const ofBucket = resource?.bucketPolicy?.conditionKeys;
  if (identity.kind !== 'user') return ofBucket ?? new Set();
  const keys = new Set(ofBucket);
  for (const policy of identity.policies) {
    for (const key of policy.conditionKeys) keys.add(key);
  }
  return keys;
}
