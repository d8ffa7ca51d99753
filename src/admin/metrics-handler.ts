// The metrics pages. Open to anyone or to holders of a bearer token, as the settings say; every page
// shows all metrics of the server, whichever collector its path names.

import type { IncomingMessage, ServerResponse } from 'node:http';

import type { Log } from '../base/log.ts';
import { AdminError, formatAdminError } from './admin-error.ts';
import { type SecretKeyFinder, verifyMetricsToken } from './metrics-token.ts';

export type MetricsDeps = {
  readonly access: 'jwt' | 'public';
  readonly log: Log;
  readonly findSecretKey: SecretKeyFinder;
  /** True when the user of the access key may read metrics (`admin:Prometheus`). */
  mayRead(accessKey: string): Promise<boolean>;
  /** The page, in the text format of Prometheus. */
  readPage(): Promise<string>;
  now(): number;
};

const pages: ReadonlySet<string> = new Set([
  '/minio/prometheus/metrics',
  '/minio/v2/metrics/cluster',
  '/minio/v2/metrics/node',
  '/minio/v2/metrics/bucket',
  '/minio/v2/metrics/resource',
]);

/** True for the paths of metrics pages. */
export function isMetricsPath(path: string): boolean {
  return pages.has(path) || path === '/minio/metrics/v3' || path.startsWith('/minio/metrics/v3/');
}

/** Answers requests for metrics pages. */
export function createMetricsHandler(
  deps: MetricsDeps,
): (req: IncomingMessage, res: ServerResponse, path: string) => Promise<void> {
  return async (req, res, path) => {
    try {
      if (!(await isAllowed(req, deps))) throw new AdminError('AccessDenied');
      const text = await deps.readPage();
      send(res, 200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }, text);
    } catch (error) {
      if (!(error instanceof AdminError)) {
        deps.log.error('the metrics could not be gathered', { error: String(error) });
      }
      const refusal = error instanceof AdminError ? error : new AdminError('InternalError');
      const body = formatAdminError(refusal, { resource: path, requestId: '' });
      send(res, refusal.status, { 'content-type': 'application/json' }, body);
    }
  };
}

async function isAllowed(req: IncomingMessage, deps: MetricsDeps): Promise<boolean> {
  if (req.method !== 'GET' && req.method !== 'HEAD') return false;
  if (deps.access === 'public') return true;
  const token = /^Bearer (\S+)$/i.exec(req.headers.authorization ?? '')?.[1];
  if (token === undefined) return false;
  const accessKey = await verifyMetricsToken(token, deps);
  return accessKey !== undefined && (await deps.mayRead(accessKey));
}

function send(
  res: ServerResponse,
  status: number,
  headers: Readonly<Record<string, string>>,
  text: string,
): void {
  const bytes = Buffer.from(text);
  res.writeHead(status, { ...headers, 'content-length': String(bytes.length) });
  res.end(bytes);
}
