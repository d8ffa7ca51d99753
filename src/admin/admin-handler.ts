// The dispatcher of the admin interface: finds the route, proves the caller, checks the body against its
// signed hash, asks the handler, writes JSON. Go clients send empty bodies in chunked encoding, so no
// call insists on a length.

import { createHash, randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';

import { splitTarget } from '../base/request-target.ts';
import type { Identity } from '../iam/identity.ts';
import { AdminError, formatAdminError, toAdminError } from './admin-error.ts';
import type { AdminParts, AdminReply } from './call.ts';
import { type AdminRoute, findAdminRoute } from './routes.ts';

const bodyBytesMax = 1024 * 1024;

/** Who called, proved by the signature, and the hash of the body that the signature covers. */
export type AdminCaller = { readonly identity: Identity; readonly bodySha256: string };

export type AdminHandlerDeps = {
  /** The parts as they are now: a store may become ready between two calls. */
  parts(): AdminParts;
  /** Verifies the signature header. Throws `AdminError`. */
  authenticate(req: IncomingMessage): Promise<AdminCaller>;
};

/** Answers every request under the admin and KMS prefixes. */
export function createAdminHandler(
  deps: AdminHandlerDeps,
): (req: IncomingMessage, res: ServerResponse) => Promise<void> {
  return async (req, res) => {
    const target = req.url ?? '';
    const { path, query } = splitTarget(target) ?? { path: target, query: '' };
    const requestId = randomBytes(8).toString('hex').toUpperCase();
    const parts = deps.parts();
    try {
      const reply = await answer({ deps, parts, req, path, query });
      send(res, reply, requestId);
    } catch (error) {
      const known = toAdminError(error);
      if (!known) parts.log.error('an admin call failed', { path, error: describe(error) });
      const refusal = known ?? new AdminError('InternalError');
      if (!req.complete) res.shouldKeepAlive = false;
      sendJson(
        res,
        refusal.status,
        requestId,
        formatAdminError(refusal, { resource: path, requestId }),
      );
    }
  };
}

type Work = {
  readonly deps: AdminHandlerDeps;
  readonly parts: AdminParts;
  readonly req: IncomingMessage;
  readonly path: string;
  readonly query: string;
};

async function answer({ deps, parts, req, path, query }: Work): Promise<AdminReply> {
  const route = findAdminRoute(req.method ?? '', path);
  if (!route) {
    throw path.startsWith('/minio/kms')
      ? new AdminError(
          'BadRequest',
          `An unsupported API call for method: ${req.method} at '${path}'`,
        )
      : new AdminError('XMinioAdminVersionMismatch');
  }
  const caller = await deps.authenticate(req);
  await verifyBody(req, caller.bodySha256);
  requireAction(parts, route, caller.identity);
  return route.handler({
    parts,
    identity: caller.identity,
    query: new URLSearchParams(query),
    host: req.headers.host ?? '',
  });
}

function requireAction(parts: AdminParts, route: AdminRoute, identity: Identity): void {
  if (route.action === undefined) return;
  if (!parts.isAllowed(identity, route.action)) throw new AdminError('AccessDenied');
}

async function verifyBody(req: IncomingMessage, sha256: string): Promise<void> {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  for await (const chunk of req as AsyncIterable<Buffer>) {
    sizeBytes += chunk.length;
    if (sizeBytes > bodyBytesMax) throw new AdminError('EntityTooLarge');
    hash.update(chunk);
  }
  if (hash.digest('hex') !== sha256) throw new AdminError('XAmzContentSHA256Mismatch');
}

function send(res: ServerResponse, reply: AdminReply, requestId: string): void {
  const { afterwards } = reply;
  if (afterwards) {
    // The connection of a call that ends this process is not worth keeping.
    res.shouldKeepAlive = false;
    res.once('close', () => afterwards());
  }
  if (reply.json === undefined) {
    res.writeHead(200, { 'content-length': '0', 'x-amz-request-id': requestId });
    res.end();
  } else {
    sendJson(res, 200, requestId, JSON.stringify(reply.json));
  }
}

function sendJson(res: ServerResponse, status: number, requestId: string, text: string): void {
  const bytes = Buffer.from(text);
  res.writeHead(status, {
    'content-type': 'application/json',
    'content-length': String(bytes.length),
    'x-amz-request-id': requestId,
  });
  res.end(bytes);
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
