// The dispatcher of the admin interface: finds the route, proves the caller, checks the body against its
// signed hash, asks the handler, writes JSON. Go clients send empty bodies in chunked encoding, so no
// call insists on a length.

import { createHash, randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';

import { splitTarget } from '../base/request-target.ts';
import type { Identity } from '../iam/identity.ts';
import type { ConditionValues } from '../iam/policy/policy-condition.ts';
import { AdminError, formatAdminError, toAdminError } from './admin-error.ts';
import type { AdminParts } from './call.ts';
import { conditionsOf } from './conditions.ts';
import { AdminPayloads } from './payloads.ts';
import { type AdminRoute, findAdminRoute } from './routes.ts';

/** Bodies that carry a user, a policy or a list of policies are the largest. */
const bodyBytesMax = 256 * 1024;

/**
 * Who called, proved by the signature, and the hash of the body that the signature covers. `secretKey` is the
 * one that made the signature: bodies with secrets are sealed under it.
 */
export type AdminCaller = {
  readonly identity: Identity;
  readonly bodySha256: string;
  readonly secretKey: string;
};

export type AdminHandlerDeps = {
  /**
   * The parts as they are now: a store may become ready between two calls. `conditions` are those of the
   * call, for the decisions about it.
   */
  parts(conditions: ConditionValues): AdminParts;
  /** Verifies the signature header. Throws `AdminError`. */
  authenticate(req: IncomingMessage): Promise<AdminCaller>;
};

/** Answers every request under the admin and KMS prefixes. */
export function createAdminHandler(
  deps: AdminHandlerDeps,
): (req: IncomingMessage, res: ServerResponse) => Promise<void> {
  const payloads = new AdminPayloads();
  return async (req, res) => {
    const target = req.url ?? '';
    const { path, query } = splitTarget(target) ?? { path: target, query: '' };
    const requestId = randomBytes(8).toString('hex').toUpperCase();
    const parts = deps.parts(conditionsOf(req, Date.now()));
    try {
      const reply = await answer({ deps, parts, payloads, req, path, query });
      send(res, reply, requestId);
    } catch (error) {
      const known = toAdminError(error);
      if (!known) parts.log.error('an admin call failed', { path, error: describe(error) });
      const refusal = known ?? new AdminError('InternalError');
      if (!req.complete) res.shouldKeepAlive = false;
      const text = formatAdminError(refusal, { resource: path, requestId });
      sendRefusal(res, refusal, requestId, text);
    }
  };
}

type Work = {
  readonly deps: AdminHandlerDeps;
  readonly parts: AdminParts;
  readonly payloads: AdminPayloads;
  readonly req: IncomingMessage;
  readonly path: string;
  readonly query: string;
};

type Answer = {
  readonly bytes: Uint8Array | undefined;
  readonly type: string;
  afterwards?(): void;
};

async function answer({ deps, parts, payloads, req, path, query }: Work): Promise<Answer> {
  const route = findAdminRoute(req.method ?? '', path);
  if (!route) {
    throw path.startsWith('/minio/kms')
      ? new AdminError(
          'BadRequest',
          `An unsupported API call for method: ${req.method} at '${path}'`,
        )
      : new AdminError('XMinioAdminVersionMismatch');
  }
  const { identity, bodySha256, secretKey } = await deps.authenticate(req);
  const body = await readBody(req, bodySha256);
  requireAction(parts, route, identity);
  if (route.handler === 'not-implemented') throw notImplemented();
  const reply = await route.handler({
    parts,
    identity,
    query: new URLSearchParams(query),
    host: req.headers.host ?? '',
    body,
    openBody: () => payloads.open(secretKey, body),
  });
  const { json, text = json === undefined ? undefined : JSON.stringify(json), afterwards } = reply;
  const bytes = text === undefined ? undefined : Buffer.from(text);
  return {
    bytes: bytes && reply.isSealed === true ? await payloads.seal(secretKey, bytes) : bytes,
    type: reply.isSealed === true ? 'application/octet-stream' : 'application/json',
    ...(afterwards ? { afterwards } : {}),
  };
}

function notImplemented(): AdminError {
  return new AdminError(
    'NotImplemented',
    'Groups, service accounts and temporary credentials are not implemented: use users and policies.',
  );
}

function requireAction(parts: AdminParts, route: AdminRoute, identity: Identity): void {
  if (route.action === undefined) return;
  if (!parts.isAllowed(identity, route.action)) throw new AdminError('AccessDenied');
}

async function readBody(req: IncomingMessage, sha256: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of req as AsyncIterable<Buffer>) {
    sizeBytes += chunk.length;
    if (sizeBytes > bodyBytesMax) throw new AdminError('EntityTooLarge');
    chunks.push(chunk);
  }
  const body = Buffer.concat(chunks);
  if (createHash('sha256').update(body).digest('hex') !== sha256) {
    throw new AdminError('XAmzContentSHA256Mismatch');
  }
  return body;
}

function send(res: ServerResponse, answered: Answer, requestId: string): void {
  const { afterwards, bytes, type } = answered;
  if (afterwards) {
    // The connection of a call that ends this process is not worth keeping.
    res.shouldKeepAlive = false;
    res.once('close', () => afterwards());
  }
  res.writeHead(200, {
    ...(bytes === undefined ? {} : { 'content-type': type }),
    'content-length': String(bytes?.length ?? 0),
    'x-amz-request-id': requestId,
  });
  res.end(bytes);
}

function sendRefusal(res: ServerResponse, refusal: AdminError, requestId: string, text: string) {
  const bytes = Buffer.from(text);
  res.writeHead(refusal.status, {
    'content-type': 'application/json',
    'content-length': String(bytes.length),
    'x-amz-request-id': requestId,
  });
  res.end(bytes);
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
