// Health probes: no authentication, no body, GET and HEAD. Liveness never depends on the key service,
// because a restart of every replica mends no outage of it; readiness does, while it cannot be asked.

import type { IncomingMessage, ServerResponse } from 'node:http';

import type { Log } from '../base/log.ts';
import { KmsError, type Kms } from '../sse/kms.ts';
import { healthPrefix } from '../wire/admin.ts';

export type HealthParts = {
  /** True once the store is open. */
  readonly isReady: boolean;
  readonly kms: Kms | undefined;
};

export type HealthDeps = { readonly log: Log; parts(): HealthParts; now(): number };

const checkedForMs = 3_000;

/** Answers a request below the health prefix, or returns false. */
export type HealthHandler = (req: IncomingMessage, res: ServerResponse, path: string) => boolean;

/** The probes. The readiness check asks the key service for a data key, at most once in a few seconds. */
export function createHealthHandler(deps: HealthDeps): HealthHandler {
  const checkKms = createKmsCheck(deps);
  return (req, res, path) => {
    if (!path.startsWith(`${healthPrefix}/`)) return false;
    if (req.method !== 'GET' && req.method !== 'HEAD') return false;
    const parts = deps.parts();
    switch (path.slice(healthPrefix.length + 1)) {
      case 'live':
        reply(res, 200, parts.isReady ? {} : { 'x-minio-server-status': 'offline' });
        return true;
      case 'ready':
        void replyReady(res, parts, checkKms);
        return true;
      case 'cluster':
        replyCluster(res, parts, {
          'x-minio-write-quorum': '1',
          'x-minio-storage-class-defaults': 'true',
        });
        return true;
      case 'cluster/read':
        replyCluster(res, parts, { 'x-minio-read-quorum': '1' });
        return true;
      default:
        return false;
    }
  };
}

async function replyReady(
  res: ServerResponse,
  parts: HealthParts,
  checkKms: (kms: Kms) => Promise<boolean>,
): Promise<void> {
  const isReady = parts.isReady && (!parts.kms || (await checkKms(parts.kms)));
  if (isReady) reply(res, 200, {});
  else if (parts.isReady) reply(res, 503, { 'x-minio-server-status': 'kms-offline' });
  else reply(res, 503, { 'x-minio-server-status': 'offline' });
}

function replyCluster(
  res: ServerResponse,
  parts: HealthParts,
  headers: Readonly<Record<string, string>>,
): void {
  if (parts.isReady) reply(res, 200, headers);
  else reply(res, 503, { ...headers, 'x-minio-server-status': 'offline' });
}

function reply(
  res: ServerResponse,
  status: number,
  headers: Readonly<Record<string, string>>,
): void {
  res.writeHead(status, { ...headers, 'content-length': '0' });
  res.end();
}

function createKmsCheck({ log, now }: HealthDeps): (kms: Kms) => Promise<boolean> {
  let last: { kms: Kms; atMs: number; result: Promise<boolean> } | undefined;
  return (kms) => {
    if (!last || last.kms !== kms || now() - last.atMs > checkedForMs) {
      last = { kms, atMs: now(), result: generateOnce(kms, log) };
    }
    return last.result;
  };
}

async function generateOnce(kms: Kms, log: Log): Promise<boolean> {
  try {
    const key = await kms.generateKey(kms.defaultKeyName, { healthcheck: '' });
    key.plaintext.fill(0);
    return true;
  } catch (error) {
    if (!(error instanceof KmsError)) {
      log.error('the readiness check failed', { error: String(error) });
      return false;
    }
    // A key that is disabled or gone is a decision, not an outage: taking every node out of service would
    // also end what needs no key, and no other node could do better.
    return error.code !== 'unreachable' && error.code !== 'failed';
  }
}
