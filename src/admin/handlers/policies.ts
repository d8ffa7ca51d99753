// `mc admin policy …`: named policies, and to whom they are attached. Documents travel in clear, lists of
// attachments sealed. There are no groups yet.

import { joinPolicies } from '../../iam/accounts/built-in-policies.ts';
import type { NamedPolicy } from '../../iam/accounts/account.ts';
import type { ObjectStore } from '../../store/types.ts';
import type {
  AccountAnswer,
  AccountBucketAnswer,
  PolicyAnswer,
  PolicyChangeAnswer,
  PolicyEntitiesAnswer,
} from '../../wire/admin.ts';
import { AdminError } from '../admin-error.ts';
import type { AdminCall, AdminHandler } from '../call.ts';
import { invalidArgument, requireAccounts, requirePolicyAccess } from './users.ts';

/** Bytes of a policy document. */
const documentBytesMax = 20 * 1024;
const bucketsMax = 10_000;

/** `PUT /add-canned-policy?name=P`: the body is the document. */
export const addPolicy: AdminHandler = async (call) => {
  if (call.body.length === 0) throw new AdminError('MissingContentLength');
  if (call.body.length > documentBytesMax) throw new AdminError('EntityTooLarge');
  const name = call.query.get('name') ?? '';
  if (name.includes(',')) throw new AdminError('PolicyInvalidName');
  const text = Buffer.from(call.body).toString('utf8');
  requireVersion(text);
  await requireAccounts(call).putPolicy(name, text);
  return {};
};

/** `DELETE /remove-canned-policy?name=P`. */
export const removePolicy: AdminHandler = async (call) => {
  await requireAccounts(call).removePolicy(call.query.get('name') ?? '');
  return {};
};

/** `GET /list-canned-policies`: a map by name. */
export const listPolicies: AdminHandler = async (call) => {
  const policies = await requireAccounts(call).listPolicies();
  return {
    text: JSON.stringify(Object.fromEntries(policies.map((each) => [each.name, documentOf(each)]))),
  };
};

/** `GET /info-canned-policy?name=P`: the document; with `v=2` its name and times around it. */
export const showPolicy: AdminHandler = async (call) => {
  const policy = await requireAccounts(call).getPolicy(call.query.get('name') ?? '');
  if (call.query.get('v') !== '2') return { text: indented(documentOf(policy)) };
  const { name, times } = policy;
  const answer: PolicyAnswer = {
    PolicyName: name,
    Policy: documentOf(policy),
    ...(times === undefined
      ? {}
      : {
          CreateDate: new Date(times.createdMs).toISOString(),
          UpdateDate: new Date(times.updatedMs).toISOString(),
        }),
  };
  return { text: indented(answer) };
};

/** `POST /idp/builtin/policy/attach`: `{policies, user}`, sealed both ways. */
export const attachPolicies: AdminHandler = async (call) => {
  const { user, policies } = await readAttachment(call);
  const accounts = requireAccounts(call);
  const policiesAttached = await accounts.attach(user, policies);
  return { json: changeOf(call, { policiesAttached }), isSealed: true };
};

/** `POST /idp/builtin/policy/detach`: as attach. */
export const detachPolicies: AdminHandler = async (call) => {
  const { user, policies } = await readAttachment(call);
  const accounts = requireAccounts(call);
  const policiesDetached = await accounts.detach(user, policies);
  return { json: changeOf(call, { policiesDetached }), isSealed: true };
};

/** `PUT /set-user-or-group-policy?policyName=P,Q&userOrGroup=U&isGroup=false`: these and no others. */
export const setPolicies: AdminHandler = async (call) => {
  requirePolicyAccess(call);
  if (call.query.get('isGroup') === 'true') throw new AdminError('XMinioAdminNoSuchGroup');
  const user = call.query.get('userOrGroup') ?? '';
  refuseRoot(call, user);
  const names = (call.query.get('policyName') ?? '').split(',').filter((name) => name !== '');
  await requireAccounts(call).setPolicies(user, names);
  return {};
};

/** `GET /idp/builtin/policy-entities?user=U&policy=P`, each any number of times; none: all policies. Sealed. */
export const showEntities: AdminHandler = async (call) => {
  const { query, parts } = call;
  const users = query.getAll('user');
  const groups = query.getAll('group');
  const wanted = query.getAll('policy');
  const accounts = await requireAccounts(call).listUsers();
  const userMappings = accounts
    .filter(({ accessKey, policies }) => users.includes(accessKey) && policies.length > 0)
    .map(({ accessKey, policies }) => ({ user: accessKey, policies }));
  const hasFilter = users.length + groups.length + wanted.length > 0;
  const attached = [...new Set(accounts.flatMap(({ policies }) => policies))].sort();
  const policyMappings = attached
    .filter((name) => !hasFilter || wanted.includes(name))
    .map((policy) => ({
      policy,
      users: accounts
        .filter(({ policies }) => policies.includes(policy))
        .map(({ accessKey }) => accessKey),
      groups: null,
    }));
  const answer: PolicyEntitiesAnswer = {
    timestamp: new Date(parts.now()).toISOString(),
    ...(userMappings.length === 0 ? {} : { userMappings }),
    ...(policyMappings.length === 0 ? {} : { policyMappings }),
  };
  return { json: answer, isSealed: true };
};

/** `GET /accountinfo`: who the caller is, and the buckets that it may see. */
export const showAccount: AdminHandler = async (call) => {
  const { identity, parts } = call;
  const accounts = requireAccounts(call);
  if (identity.kind === 'anonymous' || !parts.store) throw new AdminError('AccessDenied');
  const names =
    identity.kind === 'root'
      ? ['consoleAdmin']
      : (await accounts.getUser(identity.accessKey)).policies;
  const policies = await Promise.all(names.map((name) => accounts.getPolicy(name)));
  const buckets = await listBuckets(call, parts.store);
  const answer: AccountAnswer = {
    AccountName: identity.accessKey,
    Server: { Type: 2 },
    Policy: JSON.parse(joinPolicies(policies.map(({ text }) => text))) as unknown,
    Buckets: buckets.length === 0 ? null : buckets,
  };
  return { json: answer };
};

async function listBuckets(
  { parts, identity }: AdminCall,
  store: ObjectStore,
): Promise<AccountBucketAnswer[]> {
  const [{ buckets }, totals] = await Promise.all([
    store.listBuckets({ prefix: '', after: '', limit: bucketsMax }),
    store.totals(),
  ]);
  const may = (action: `s3:${string}`, name: string) => parts.isAllowed(identity, action, name);
  return buckets.flatMap(({ name, createdMs }) => {
    const read = may('s3:ListBucket', name) || may('s3:GetBucketLocation', name);
    const write = may('s3:PutObject', `${name}/x`);
    if (!read && !write) return [];
    const { objects = 0, bytes = 0 } = totals.byBucket.get(name) ?? {};
    const created = new Date(createdMs).toISOString();
    return [{ name, size: bytes, objects, created, access: { read, write } }];
  });
}

/** As clients write it to a file. */
function indented(value: unknown): string {
  return JSON.stringify(value, undefined, 1);
}

function documentOf({ text }: NamedPolicy): unknown {
  return JSON.parse(text) as unknown;
}

/** A policy that is kept says which version of the language it speaks. */
function requireVersion(text: string): void {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    // The parser of policies words the refusal.
    return;
  }
  if (typeof document !== 'object' || document === null) return;
  const { Version: version } = document as { Version?: unknown };
  if (version === undefined || version === '') throw new AdminError('MalformedPolicy');
}

async function readAttachment(
  call: AdminCall,
): Promise<{ readonly user: string; readonly policies: readonly string[] }> {
  requirePolicyAccess(call);
  const bytes = await call.openBody();
  let body: unknown;
  try {
    body = JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw new AdminError('XMinioAdminConfigBadJSON', undefined, { cause });
  }
  const { user, group, policies } = (body ?? {}) as Readonly<Record<string, unknown>>;
  const isList = Array.isArray(policies) && policies.every((name) => typeof name === 'string');
  if (!isList || policies.length === 0) throw invalidArgument();
  if (typeof group === 'string' && group !== '') throw new AdminError('XMinioAdminNoSuchGroup');
  if (typeof user !== 'string' || user === '') throw invalidArgument();
  refuseRoot(call, user);
  return { user, policies };
}

function refuseRoot({ parts }: AdminCall, user: string): void {
  if (parts.isRoot(user)) throw new AdminError('XMinioIAMActionNotAllowed');
}

function changeOf(
  { parts }: AdminCall,
  changed: Omit<PolicyChangeAnswer, 'updatedAt'>,
): PolicyChangeAnswer {
  return { ...changed, updatedAt: new Date(parts.now()).toISOString() };
}
