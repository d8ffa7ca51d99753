// Policies and identities, read-only: they come from the configuration and are as old as the server.

import { isListPattern, isName, patternPrefix } from '../../keys/key-name.ts';
import { kesErrors } from '../../wire/kes.ts';
import type { KesContext, KesHandlers } from '../dispatcher.ts';
import { KesHttpError } from '../errors.ts';
import { jsonReply, type KesReply } from '../exchange.ts';
import type { NamedPolicy } from '../policy.ts';

function throwAnswer(answer: { readonly status: number; readonly message: string }): never {
  throw new KesHttpError(answer.status, answer.message);
}

function checkName(kind: string, name: string): string {
  if (isName(name)) return name;
  const text = `${kind} '${name}' is empty, too long or contains invalid characters`;
  throw new KesHttpError(400, text);
}

function prefixOf(pattern: string): string {
  if (isListPattern(pattern)) return patternPrefix(pattern);
  const text = `listing pattern '${pattern}' is empty, too long or is invalid`;
  throw new KesHttpError(400, text);
}

function origin(context: KesContext) {
  const { startedAtMs, admin } = context.state;
  return { created_at: new Date(startedAtMs).toISOString(), created_by: admin };
}

function findPolicy(context: KesContext): NamedPolicy {
  const name = checkName('policy name', context.resource);
  const found = context.state.policies.find((policy) => policy.name === name);
  return found ?? throwAnswer(kesErrors.policyNotFound);
}

/** Pattern lists as objects with the patterns as names, left out when empty. */
function rules(policy: NamedPolicy) {
  const asObject = (patterns: readonly string[]) =>
    Object.fromEntries(patterns.map((pattern) => [pattern, {}]));
  return {
    ...(policy.allow.length === 0 ? {} : { allow: asObject(policy.allow) }),
    ...(policy.deny.length === 0 ? {} : { deny: asObject(policy.deny) }),
  };
}

async function describePolicy(context: KesContext): Promise<KesReply> {
  return jsonReply({ name: findPolicy(context).name, ...origin(context) });
}

async function readPolicy(context: KesContext): Promise<KesReply> {
  const policy = findPolicy(context);
  return jsonReply({ name: policy.name, ...rules(policy), ...origin(context) });
}

async function listPolicies(context: KesContext): Promise<KesReply> {
  const prefix = prefixOf(context.resource);
  const names = context.state.policies.map(({ name }) => name);
  const matching = names.filter((name) => name.startsWith(prefix)).toSorted();
  return jsonReply({ names: matching, continue_at: '' });
}

async function describeIdentity(context: KesContext): Promise<KesReply> {
  const identity = checkName('identity', context.resource);
  const { created_at, created_by } = origin(context);
  if (identity === context.state.admin) return jsonReply({ admin: true, created_at });
  const policy = context.state.authorizer.policyOf(identity);
  if (policy === undefined) return throwAnswer(kesErrors.identityNotFound);
  return jsonReply({ policy: policy.name, created_at, created_by });
}

async function listIdentities(context: KesContext): Promise<KesReply> {
  const prefix = prefixOf(context.resource);
  const { admin, policies } = context.state;
  const all = [admin, ...policies.flatMap((policy) => policy.identities)];
  const matching = all.filter((identity) => identity.startsWith(prefix)).toSorted();
  return jsonReply({ identities: matching, continue_at: '' });
}

async function describeSelf(context: KesContext): Promise<KesReply> {
  const { identity } = context;
  const { created_at, created_by } = origin(context);
  if (identity !== '' && identity === context.state.admin) {
    return jsonReply({ identity, admin: true, created_at });
  }
  const policy = context.state.authorizer.policyOf(identity);
  if (policy === undefined) return throwAnswer(kesErrors.identityNotFound);
  return jsonReply({ identity, created_at, created_by, policy: policy.name, ...rules(policy) });
}

export const policyHandlers: KesHandlers = {
  'policy-describe': describePolicy,
  'policy-read': readPolicy,
  'policy-list': listPolicies,
  'identity-describe': describeIdentity,
  'identity-list': listIdentities,
  'identity-self': describeSelf,
};
