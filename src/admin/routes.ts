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
import { controlService } from './handlers/service.ts';

export type AdminRoute = {
  /** `admin` stands for each of the admin prefixes. */
  readonly under: 'admin' | 'kms';
  readonly method: 'GET' | 'POST';
  readonly path: string;
  /** Undefined: the handler decides by what is asked for. */
  readonly action: AdminAction | undefined;
  readonly handler: AdminHandler;
};

/** The table. The last three are an older form of calls under the KMS prefix. */
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
