// Whether a bucket policy opens the bucket to everybody, for the policy status and the public access block: it
// does when a statement allows something to everybody and no condition ties it to fixed callers or addresses.

import type { Policy } from './policy.ts';
import type { Statement } from './policy-statement.ts';
import type { Condition } from './policy-condition.ts';
import { includesEveryone } from './policy-principal.ts';

/** Conditions on these, with fixed values, leave only callers that the owner has named. */
const namingKeys: ReadonlySet<string> = new Set([
  'aws:PrincipalAccount',
  'aws:PrincipalArn',
  'aws:userid',
  'aws:username',
  's3:x-amz-server-side-encryption-aws-kms-key-id',
]);
const positiveOperators: ReadonlySet<string> = new Set([
  'StringEquals',
  'StringEqualsIgnoreCase',
  'StringLike',
  'ArnEquals',
  'ArnLike',
]);
/** Networks that are wider than this are everybody. */
const narrowBits = { ipv4: 8, ipv6: 32 } as const;

const known = new WeakMap<Policy, boolean>();

/** Whether any statement is public. Remembered for each policy. */
export function isPublicPolicy(policy: Policy): boolean {
  const before = known.get(policy);
  if (before !== undefined) return before;
  const isPublic = policy.statements.some(isPublicStatement);
  known.set(policy, isPublic);
  return isPublic;
}

function isPublicStatement(statement: Statement): boolean {
  const { effect, principals, conditions } = statement;
  if (effect === 'deny' || principals === undefined || !includesEveryone(principals)) return false;
  return !conditions.some(isNarrowing);
}

function isNarrowing(condition: Condition): boolean {
  const { key, operator, values, ifExists, quantifier } = condition;
  // These are met by requests that do not have the key at all.
  if (ifExists || quantifier === 'all-values') return false;
  if (key === 'aws:SourceIp') return operator === 'IpAddress' && values.every(isNarrowNetwork);
  if (!namingKeys.has(key) || !positiveOperators.has(operator)) return false;
  const hasWildcards = operator === 'StringLike' || operator.startsWith('Arn');
  return values.every((value) => !value.includes('${') && !(hasWildcards && /[*?]/.test(value)));
}

function isNarrowNetwork(network: string): boolean {
  const [address = '', bits] = network.split('/');
  if (bits === undefined) return true;
  return Number(bits) >= (address.includes(':') ? narrowBits.ipv6 : narrowBits.ipv4);
}
