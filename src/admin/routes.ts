// Every route of the admin and KMS interfaces as data: where it is, which permission it needs, who
// answers. One dispatcher reads the table.

import { adminPrefixes, kmsPrefix } from '../wire/admin.ts';
import type { AdminAction, AdminHandler } from './call.ts';
import { showDataUsage, showInfo } from './handlers/info.ts';
import {
  createKey,
  listKeys,
  showKeyStatus,
  showKeyUsage,
  showKmsApis,
  showKmsMetrics,
  showKmsStatus,
  showKmsVersion,
} from './handlers/kms.ts';
import {
  addPolicy,
  attachPolicies,
  detachPolicies,
  listPolicies,
  removePolicy,
  setPolicies,
  showAccount,
  showEntities,
  showPolicy,
} from './handlers/policies.ts';
import { controlService } from './handlers/service.ts';
import { addUser, listUsers, removeUser, setUserStatus, showUser } from './handlers/users.ts';

export type AdminRoute = {
  /** `admin` stands for each of the admin prefixes. */
  readonly under: 'admin' | 'kms';
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  /** Undefined: the handler decides by what is asked for. */
  readonly action: AdminAction | undefined;
  readonly handler: AdminHandler | 'not-implemented';
};

type AdminMethod = AdminRoute['method'];

/** A route below the admin prefixes. */
function on(
  method: AdminMethod,
  path: string,
  action: AdminAction | undefined,
  handler: AdminRoute['handler'],
): AdminRoute {
  return { under: 'admin', method, path, action, handler };
}

/** Users and policies. What anybody may do to themselves, and what has two permissions, decides by itself. */
const accountRoutes: readonly AdminRoute[] = [
  on('PUT', '/add-user', undefined, addUser),
  on('DELETE', '/remove-user', 'admin:DeleteUser', removeUser),
  on('GET', '/list-users', 'admin:ListUsers', listUsers),
  on('GET', '/user-info', undefined, showUser),
  on('PUT', '/set-user-status', undefined, setUserStatus),
  on('PUT', '/add-canned-policy', 'admin:CreatePolicy', addPolicy),
  on('DELETE', '/remove-canned-policy', 'admin:DeletePolicy', removePolicy),
  on('GET', '/list-canned-policies', 'admin:ListUserPolicies', listPolicies),
  on('GET', '/info-canned-policy', 'admin:GetPolicy', showPolicy),
  on('POST', '/idp/builtin/policy/attach', undefined, attachPolicies),
  on('POST', '/idp/builtin/policy/detach', undefined, detachPolicies),
  on('GET', '/idp/builtin/policy-entities', 'admin:ListUserPolicies', showEntities),
  on('PUT', '/set-user-or-group-policy', undefined, setPolicies),
  on('GET', '/accountinfo', undefined, showAccount),
];

/** What later releases may answer. */
const absentRoutes: readonly AdminRoute[] = (
  [
    ['GET', '/groups', 'admin:ListGroups'],
    ['GET', '/group', 'admin:GetGroup'],
    ['PUT', '/update-group-members', 'admin:AddUserToGroup'],
    ['PUT', '/set-group-status', 'admin:EnableGroup'],
    ['PUT', '/add-service-account', undefined],
    ['POST', '/update-service-account', undefined],
    ['GET', '/info-service-account', undefined],
    ['GET', '/info-access-key', undefined],
    ['GET', '/list-service-accounts', undefined],
    ['GET', '/list-access-keys-bulk', undefined],
    ['DELETE', '/delete-service-account', undefined],
    ['GET', '/temporary-account-info', undefined],
    ['POST', '/revoke-tokens/builtin', undefined],
  ] as const
).map(([method, path, action]) => on(method, path, action, 'not-implemented'));

/** The table. The last three of the KMS are an older form of calls under the KMS prefix. */
export const adminRoutes: readonly AdminRoute[] = [
  { under: 'admin', method: 'POST', path: '/service', action: undefined, handler: controlService },
  { under: 'admin', method: 'GET', path: '/info', action: 'admin:ServerInfo', handler: showInfo },
  {
    under: 'admin',
    method: 'GET',
    path: '/datausageinfo',
    action: 'admin:DataUsageInfo',
    handler: showDataUsage,
  },
  { under: 'kms', method: 'GET', path: '/status', action: 'kms:Status', handler: showKmsStatus },
  { under: 'kms', method: 'GET', path: '/metrics', action: 'kms:Metrics', handler: showKmsMetrics },
  { under: 'kms', method: 'GET', path: '/apis', action: 'kms:API', handler: showKmsApis },
  { under: 'kms', method: 'GET', path: '/version', action: 'kms:Version', handler: showKmsVersion },
  {
    under: 'kms',
    method: 'POST',
    path: '/key/create',
    action: 'kms:CreateKey',
    handler: createKey,
  },
  { under: 'kms', method: 'GET', path: '/key/list', action: 'kms:ListKeys', handler: listKeys },
  {
    under: 'kms',
    method: 'GET',
    path: '/key/status',
    action: 'kms:KeyStatus',
    handler: showKeyStatus,
  },
  {
    under: 'kms',
    method: 'GET',
    path: '/key/usage',
    action: 'kms:KeyStatus',
    handler: showKeyUsage,
  },
  {
    under: 'admin',
    method: 'POST',
    path: '/kms/status',
    action: 'admin:KMSKeyStatus',
    handler: showKmsStatus,
  },
  {
    under: 'admin',
    method: 'POST',
    path: '/kms/key/create',
    action: 'admin:KMSCreateKey',
    handler: createKey,
  },
  {
    under: 'admin',
    method: 'GET',
    path: '/kms/key/status',
    action: 'admin:KMSKeyStatus',
    handler: showKeyStatus,
  },
  ...accountRoutes,
  ...absentRoutes,
];

/** True for every path that the admin interface answers, also those without a route. */
export function isAdminPath(path: string): boolean {
  return isBelow(path, '/minio/admin') || isBelow(path, '/minio/kms');
}

/** The route of a request, or undefined. */
export function findAdminRoute(method: string, path: string): AdminRoute | undefined {
  const place = splitPath(path);
  if (!place) return undefined;
  return adminRoutes.find(
    (route) => route.under === place.under && route.method === method && route.path === place.rest,
  );
}

function splitPath(path: string): { under: 'admin' | 'kms'; rest: string } | undefined {
  if (isBelow(path, kmsPrefix)) return { under: 'kms', rest: path.slice(kmsPrefix.length) };
  const prefix = adminPrefixes.find((each) => isBelow(path, each));
  return prefix && { under: 'admin', rest: path.slice(prefix.length) };
}

function isBelow(path: string, prefix: string): boolean {
  return path === prefix || path.startsWith(`${prefix}/`);
}
