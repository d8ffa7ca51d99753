// Sends each request of a worker to the edge that answers it: health, metrics, admin, or S3. Health and
// admin work from the first moment; S3 answers 503 with Retry-After until the store is open, and waits
// while an administrator has frozen the service.

import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';

import type { HealthHandler } from '../admin/health.ts';
import { isMetricsPath } from '../admin/metrics-handler.ts';
import { isAdminPath } from '../admin/routes.ts';
import type { Log } from '../base/log.ts';
import { splitTarget } from '../base/request-target.ts';
import { escapeXml } from '../base/xml.ts';
import type { RequestHandler } from './connections.ts';

export type AppDeps = {
  readonly log: Log;
  /** Whether anybody would see a line per request. */
  readonly logsRequests: boolean;
  readonly health: HealthHandler;
  readonly showMetrics: (req: IncomingMessage, res: ServerResponse, path: string) => Promise<void>;
  readonly admin: (req: IncomingMessage, res: ServerResponse) => Promise<void>;
  /** The S3 edge once the store is open, else why it is not. */
  s3(): RequestHandler | { readonly reason: string };
};

export interface App {
  handle(req: IncomingMessage, res: ServerResponse): void;
  /** While frozen, S3 requests wait; everything else goes on. */
  setFrozen(isFrozen: boolean): void;
}

const retryAfterSeconds = '3';

/** Requests of one worker that may wait while the service is frozen; more are refused. */
export const waitingRequestsMax = 1_024;

/** The whole of what a worker answers. */
export function createApp(deps: AppDeps): App {
  const waiting = new Map<ServerResponse, IncomingMessage>();
  let isServing = true;
  const answerS3 = (req: IncomingMessage, res: ServerResponse): void => {
    const s3 = deps.s3();
    if (typeof s3 === 'function') s3(req, res);
    else refuse(req, res, 'ServiceUnavailable', s3.reason);
  };
  const keepWaiting = (req: IncomingMessage, res: ServerResponse): void => {
    if (waiting.size >= waitingRequestsMax) {
      refuse(req, res, 'SlowDown', 'The service is frozen and too many requests wait already.');
      return;
    }
    waiting.set(res, req);
    // A client that leaves waits no longer.
    res.once('close', () => waiting.delete(res));
  };
  return {
    handle(req, res) {
      const path = pathOf(req.url ?? '');
      if (deps.logsRequests) logRequest(deps.log, req, res, path);
      if (path.startsWith('/minio/')) {
        if (deps.health(req, res, path)) return;
        if (isMetricsPath(path)) return void deps.showMetrics(req, res, path);
        if (isAdminPath(path)) return void deps.admin(req, res);
      }
      if (isServing) answerS3(req, res);
      else keepWaiting(req, res);
    },
    setFrozen(isFrozen) {
      isServing = !isFrozen;
      if (isFrozen) return;
      const released = [...waiting];
      waiting.clear();
      for (const [res, req] of released) answerS3(req, res);
    },
  };
}

/** 503 as S3 clients know it, without reading a body that was announced. */
function refuse(
  req: IncomingMessage,
  res: ServerResponse,
  code: 'ServiceUnavailable' | 'SlowDown',
  reason: string,
): void {
  const path = pathOf(req.url ?? '');
  const requestId = randomBytes(8).toString('hex').toUpperCase();
  const body = Buffer.from(
    `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code>` +
      `<Message>${escapeXml(reason)}</Message><Resource>${escapeXml(path)}</Resource>` +
      `<RequestId>${requestId}</RequestId></Error>`,
  );
  if (!req.complete) res.shouldKeepAlive = false;
  res.writeHead(503, {
    'content-type': 'application/xml',
    'content-length': String(body.length),
    'retry-after': retryAfterSeconds,
    'x-amz-request-id': requestId,
  });
  res.end(req.method === 'HEAD' ? undefined : body);
}

function logRequest(log: Log, req: IncomingMessage, res: ServerResponse, path: string): void {
  const startMs = performance.now();
  res.on('close', () => {
    log.debug('request', {
      method: req.method,
      path,
      status: res.statusCode,
      milliseconds: Math.round(performance.now() - startMs),
    });
  });
}

function pathOf(target: string): string {
  // What is no target at all goes to the S3 edge, which refuses it.
  return splitTarget(target)?.path ?? target;
}
