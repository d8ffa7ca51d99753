// Decides whether an identity may do something. A pure function of its argument: whatever the decision
// depends on is looked up before and handed in. Anything that is not allowed is denied, and an explicit Deny
// decides over everything that allows, for root too.
//
// What can allow, in this order: being root; a policy of the user; owning the bucket, where owning counts; the
// bucket's policy; the access lists of bucket and object. The public access block takes the last two away.

import {
  bucketAclAllows,
  type CannedAcl,
  isPublicAcl,
  objectAclAllows,
  objectOwnerMay,
} from './acl.ts';
import type { Identity } from './identity.ts';
import { evaluatePolicies, type Policy, type PolicyRequest } from './policy/policy.ts';
import type { ConditionValues } from './policy/policy-condition.ts';
import type { Principal } from './policy/policy-principal.ts';
import { isPublicPolicy } from './policy/public-policy.ts';
import { plainActionOf } from './version-actions.ts';

/** The switches of a bucket's public access block. */
export type PublicAccessBlock = {
  readonly blockPublicAcls: boolean;
  readonly ignorePublicAcls: boolean;
  readonly blockPublicPolicy: boolean;
  readonly restrictPublicBuckets: boolean;
};

/** What was looked up of the bucket and the object that a request names. */
export type ResourceState = {
  readonly bucketOwner: string;
  /**
   * Users may do everything with what they own, as accounts of AWS do. Otherwise taking a policy from a user takes
   * its rights away, whatever it made before.
   */
  readonly grantsOwners: boolean;
  readonly bucketPolicy?: Policy | undefined;
  /** Absent: `private`. */
  readonly bucketAcl?: CannedAcl | undefined;
  readonly publicAccessBlock?: PublicAccessBlock | undefined;
  /** Absent: not looked up, or not there. */
  readonly object?: { readonly owner: string; readonly acl?: CannedAcl | undefined } | undefined;
};

/** One question. Actions are named as in policies: `s3:GetObject`, `admin:ServerInfo`, `kms:CreateKey`. */
export type AccessRequest = {
  readonly identity: Identity;
  readonly action: string;
  /** Absent for calls on the service as a whole. */
  readonly bucket?: string;
  /** The object; for `kms:` actions the master key. Absent for calls on a bucket as a whole. */
  readonly key?: string;
  readonly conditions?: ConditionValues;
  /** Absent for calls on the service as a whole, and while there is no such bucket. */
  readonly resource?: ResourceState | undefined;
  /** The action is asked for as a part of a PutObject: its access list, its tags. */
  readonly isPartOfWrite?: boolean;
};

export type Decision = 'allow' | 'deny';

/** Root is never locked out of these: with them it can undo a policy that denies everything. */
const neverLocked: ReadonlySet<string> = new Set([
  's3:GetBucketPolicy',
  's3:PutBucketPolicy',
  's3:DeleteBucketPolicy',
]);

/** Does not throw. */
export function authorize(request: AccessRequest): Decision {
  const { identity, resource } = request;
  const isRoot = identity.kind === 'root';
  // Nothing can deny, so nothing need be prepared: this is every request of most servers.
  if (isRoot && resource?.bucketPolicy === undefined) return 'allow';
  if (isRoot && neverLocked.has(request.action)) return 'allow';
  const question = questionOf(request);
  const byUser = identity.kind === 'user' ? decideByUser(identity.policies, question) : 'none';
  if (byUser === 'deny') return 'deny';
  const byBucket =
    resource?.bucketPolicy === undefined
      ? 'none'
      : evaluatePolicies([resource.bucketPolicy], question);
  if (byBucket === 'deny') return 'deny';
  if (isRoot || byUser === 'allow') return 'allow';
  if (resource === undefined) return 'deny';
  if (owns(request, resource, resource.bucketOwner)) return 'allow';
  if (byBucket === 'allow' && !isRestricted(resource)) return 'allow';
  return aclsAllow(request, resource) ? 'allow' : 'deny';
}

/** Who is allowed an action is allowed it for one version too, unless that is denied. */
function decideByUser(
  policies: readonly Policy[],
  question: PolicyRequest,
): ReturnType<typeof evaluatePolicies> {
  const decision = evaluatePolicies(policies, question);
  const action = plainActionOf(question.action);
  if (decision !== 'none' || action === undefined) return decision;
  return evaluatePolicies(policies, { ...question, action });
}

function owns({ identity }: AccessRequest, resource: ResourceState, owner: string): boolean {
  return resource.grantsOwners && identity.kind === 'user' && identity.ownerId === owner;
}

/** The caller as bucket policies name callers. */
export function principalOf(identity: Identity): Principal {
  if (identity.kind === 'anonymous') return { kind: 'anonymous' };
  const { kind, accessKey, ownerId } = identity;
  return { kind, accessKey, ownerId };
}

function questionOf(request: AccessRequest): PolicyRequest {
  const { identity, action, bucket, key, conditions } = request;
  return {
    action,
    ...(bucket === undefined ? {} : { bucket }),
    ...(key === undefined ? {} : { key }),
    principal: principalOf(identity),
    conditions: conditions ?? {},
  };
}

/** A public policy, where public buckets are restricted, allows nothing to those it does not own. */
function isRestricted({ publicAccessBlock, bucketPolicy }: ResourceState): boolean {
  if (publicAccessBlock?.restrictPublicBuckets !== true) return false;
  return bucketPolicy !== undefined && isPublicPolicy(bucketPolicy);
}

function aclsAllow(request: AccessRequest, resource: ResourceState): boolean {
  const { identity, action, isPartOfWrite } = request;
  const isSigned = identity.kind !== 'anonymous';
  const ignoresPublic = resource.publicAccessBlock?.ignorePublicAcls === true;
  const inForce = (acl: CannedAcl | undefined): CannedAcl =>
    acl === undefined || (ignoresPublic && isPublicAcl(acl)) ? 'private' : acl;
  const question = { action, isSigned, isPartOfWrite: isPartOfWrite === true };
  if (bucketAclAllows(inForce(resource.bucketAcl), question)) return true;
  const { object } = resource;
  if (object === undefined) return false;
  if (owns(request, resource, object.owner) && objectOwnerMay(action)) return true;
  return objectAclAllows(inForce(object.acl), action, isSigned);
}
