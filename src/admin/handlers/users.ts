// `mc admin user …`: users of this store. A user may read its own entry and change its own secret key
// without a permission, unless a policy denies it. Root is no user: it is named in the settings.

import type { Account, AccountStatus } from '../../iam/accounts/account.ts';
import type { Accounts } from '../../iam/accounts/accounts.ts';
import type { UserInfoAnswer, UserRequest } from '../../wire/admin.ts';
import { AdminError } from '../admin-error.ts';
import type { AdminAction, AdminCall, AdminHandler } from '../call.ts';

/** `PUT /add-user?accessKey=A`: creates a user, or gives it another secret key. The body is sealed. */
export const addUser: AdminHandler = async (call) => {
  const accessKey = call.query.get('accessKey') ?? '';
  requireForUser(call, accessKey, 'admin:CreateUser');
  const accounts = requireAccounts(call);
  const isChangingOthers = call.parts.isAllowed(call.identity, 'admin:CreateUser');
  const request = await readRequest(call);
  const policies = (request.policy ?? '').split(',').filter((name) => name !== '');
  if (policies.length > 0) requirePolicyAccess(call);
  // What is more than a new secret key of one's own needs the permission itself.
  if (!isChangingOthers && (await isMoreThanSecret(accounts, accessKey, request))) {
    throw new AdminError('AccessDenied');
  }
  const { secretKey = '', status, ownerId, displayName } = request;
  await accounts.putUser({
    accessKey,
    secretKey,
    status: parseStatus(status ?? 'enabled'),
    ...(ownerId === undefined ? {} : { ownerId }),
    ...(displayName === undefined ? {} : { displayName }),
  });
  if (policies.length > 0) await accounts.setPolicies(accessKey, policies);
  return {};
};

/** `DELETE /remove-user?accessKey=A`. */
export const removeUser: AdminHandler = async (call) => {
  await requireAccounts(call).removeUser(call.query.get('accessKey') ?? '');
  return {};
};

/** `GET /list-users`: a map by access key, sealed. */
export const listUsers: AdminHandler = async (call) => {
  const accounts = await requireAccounts(call).listUsers();
  const answer = Object.fromEntries(
    accounts.map((account) => [account.accessKey, describeUser(account)]),
  );
  return { json: answer, isSealed: true };
};

/** `GET /user-info?accessKey=A`, also of oneself. */
export const showUser: AdminHandler = async (call) => {
  const accessKey = call.query.get('accessKey') ?? '';
  requireForUser(call, accessKey, 'admin:GetUser');
  const account = await requireAccounts(call).getUser(accessKey);
  const { ownerId, displayName } = account;
  return { json: { ...describeUser(account), ownerId, displayName } satisfies UserInfoAnswer };
};

/** `PUT /set-user-status?accessKey=A&status=enabled|disabled`. */
export const setUserStatus: AdminHandler = async (call) => {
  const accessKey = call.query.get('accessKey') ?? '';
  const status = parseStatus(call.query.get('status') ?? '');
  const action = status === 'enabled' ? 'admin:EnableUser' : 'admin:DisableUser';
  if (!call.parts.isAllowed(call.identity, action)) throw new AdminError('AccessDenied');
  // Nobody locks themselves out, and root has no status.
  if (call.identity.kind !== 'anonymous' && call.identity.accessKey === accessKey) {
    throw invalidArgument();
  }
  const accounts = requireAccounts(call);
  if (call.parts.isRoot(accessKey)) throw invalidArgument();
  await accounts.setStatus(accessKey, status);
  return {};
};

/** The users and policies of the store. Throws `ServerNotInitialized` while it is not open. */
export function requireAccounts(call: AdminCall): Accounts {
  if (!call.parts.accounts) throw new AdminError('ServerNotInitialized');
  return call.parts.accounts;
}

/** Attaching is allowed under either of two names. */
export function requirePolicyAccess({ parts, identity }: AdminCall): void {
  const isAllowed =
    parts.isAllowed(identity, 'admin:AttachUserOrGroupPolicy') ||
    parts.isAllowed(identity, 'admin:UpdatePolicyAssociation');
  if (!isAllowed) throw new AdminError('AccessDenied');
}

/** What was asked for makes no sense. */
export function invalidArgument(): AdminError {
  return new AdminError(
    'XMinioAdminInvalidArgument',
    'Invalid arguments specified. (Invalid arguments specified)',
  );
}

function requireForUser({ parts, identity }: AdminCall, accessKey: string, action: AdminAction) {
  const isSelf = identity.kind === 'user' && identity.accessKey === accessKey;
  const isAllowed = isSelf ? !parts.isDenied(identity, action) : parts.isAllowed(identity, action);
  if (!isAllowed) throw new AdminError('AccessDenied');
}

async function isMoreThanSecret(
  accounts: Accounts,
  accessKey: string,
  { status, ownerId, displayName }: UserRequest,
): Promise<boolean> {
  const account = await accounts.findUser(accessKey);
  if (!account || ownerId !== undefined || displayName !== undefined) return true;
  return status !== undefined && status !== account.status;
}

async function readRequest(call: AdminCall): Promise<UserRequest> {
  const bytes = await call.openBody();
  try {
    return parseRequest(bytes);
  } finally {
    bytes.fill(0);
  }
}

const requestMembers = ['secretKey', 'policy', 'status', 'ownerId', 'displayName'] as const;

function parseRequest(bytes: Buffer): UserRequest {
  let body: unknown;
  try {
    body = JSON.parse(bytes.toString('utf8'));
  } catch {
    // The parser's own message would quote the secret key.
    throw new AdminError('XMinioAdminConfigBadJSON');
  }
  if (typeof body !== 'object' || body === null) throw new AdminError('XMinioAdminConfigBadJSON');
  const given = body as Readonly<Record<string, unknown>>;
  const request: Record<string, string> = {};
  for (const name of requestMembers) {
    const value = given[name];
    if (value === undefined) continue;
    if (typeof value !== 'string') throw new AdminError('XMinioAdminConfigBadJSON');
    request[name] = value;
  }
  return request;
}

function parseStatus(text: string): AccountStatus {
  if (text === 'enabled' || text === 'disabled') return text;
  throw invalidArgument();
}

function describeUser({ policies, status, updatedMs }: Account): UserInfoAnswer {
  return {
    ...(policies.length === 0 ? {} : { policyName: policies.join(',') }),
    status,
    updatedAt: new Date(updatedMs).toISOString(),
  };
}
