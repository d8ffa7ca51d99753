// Decisions about admin calls, and about which buckets a caller gets to see: both by the caller's own
// policies, with the caller's names among the conditions.

import { authorize } from './authorize.ts';
import type { Identity } from './identity.ts';
import { evaluatePolicies } from './policy/policy.ts';
import type { ConditionValues } from './policy/policy-condition.ts';

export type AdminQuestion = {
  readonly identity: Identity;
  readonly action: string;
  /** For `kms:` actions the master key, for `s3:` ones `bucket` or `bucket/name`. */
  readonly resource?: string | undefined;
  readonly conditions: ConditionValues;
};

/** True when root or a policy of the user allows it, and none denies it. */
export function mayAdminister(question: AdminQuestion): boolean {
  const { identity, action, conditions } = question;
  const asked = { identity, action, conditions: withCaller(identity, conditions) };
  return authorize({ ...asked, ...placeOf(question) }) === 'allow';
}

/** True when a policy of the caller denies it explicitly. Anonymous callers are denied everything. */
export function isDenied({ identity, action, conditions }: AdminQuestion): boolean {
  if (identity.kind !== 'user') return identity.kind === 'anonymous';
  const question = { action, conditions: withCaller(identity, conditions) };
  return evaluatePolicies(identity.policies, question) === 'deny';
}

function placeOf({ action, resource }: AdminQuestion): { bucket?: string; key?: string } {
  if (resource === undefined) return {};
  if (!action.startsWith('s3:')) return { key: resource };
  const slash = resource.indexOf('/');
  if (slash < 0) return { bucket: resource };
  return { bucket: resource.slice(0, slash), key: resource.slice(slash + 1) };
}

function withCaller(identity: Identity, conditions: ConditionValues): ConditionValues {
  if (identity.kind === 'anonymous') return conditions;
  return {
    ...conditions,
    'aws:username': [identity.accessKey],
    'aws:userid': [identity.accessKey],
    'aws:PrincipalType': [identity.kind === 'root' ? 'Account' : 'User'],
  };
}
