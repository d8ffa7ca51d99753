// The life of a request, in this order: find the route, check the method, cap the body, set the deadline,
// establish who asks, decide whether they may, and only then run the handler. So a caller without
// permission never learns whether a name is valid or exists. Every request to a known route is audited.

import type { Log } from '../base/log.ts';
import type { KeyService } from '../keys/key-service.ts';
import { kesErrors, type KesRouteName } from '../wire/kes.ts';
import type { AuditLog } from './audit.ts';
import { answerError, KesHttpError } from './errors.ts';
import { errorReply, type KesReply, type KesRequest } from './exchange.ts';
import type { Peer } from './identity.ts';
import type { KesMetrics } from './metrics.ts';
import type { Authorizer, NamedPolicy } from './policy.ts';
import type { KesRoute, RouteTable } from './routes.ts';

/** What a configuration decides; a reload puts another one in its place. */
export type KesState = {
  readonly admin: string;
  readonly policies: readonly NamedPolicy[];
  readonly authorizer: Authorizer;
  readonly routes: RouteTable;
  readonly keys: KeyService;
  /** Milliseconds since 1970. */
  readonly startedAtMs: number;
  /** Establishes who really asks when a proxy forwards; the peer itself otherwise. */
  readonly resolvePeer: (peer: Peer, request: KesRequest) => Peer;
};

export type KesContext = {
  readonly state: KesState;
  readonly route: KesRoute;
  /** Percent-decoded, without query. */
  readonly path: string;
  readonly resource: string;
  /** Empty when there is none (then the route does not need one). */
  readonly identity: string;
  readonly ip: string;
  readonly deps: DispatcherDeps;
  /** The body, as much of it as the route reads. */
  readBody(): Promise<Buffer>;
  readonly request: KesRequest;
};

export type KesHandler = (context: KesContext) => Promise<KesReply>;
export type KesHandlers = Readonly<Partial<Record<KesRouteName, KesHandler>>>;

export type DispatcherDeps = {
  readonly state: () => KesState;
  readonly handlers: KesHandlers;
  readonly log: Log;
  readonly audit: AuditLog;
  readonly metrics: KesMetrics;
  readonly nowMs: () => number;
};

const pageNotFound: KesReply = {
  status: 404,
  contentType: 'text/plain; charset=utf-8',
  body: '404 page not found\n',
  headers: { 'x-content-type-options': 'nosniff' },
};

/** The function that answers every request. It never rejects. */
export function createDispatcher(deps: DispatcherDeps): (request: KesRequest) => Promise<KesReply> {
  return async (request) => {
    const state = deps.state();
    const match = state.routes.match(request.target);
    if (match.kind === 'redirect') {
      return { status: 301, headers: { location: match.location } };
    }
    if (match.kind === 'none' || deps.handlers[match.route.name] === undefined) return pageNotFound;
    return serve(deps, { state, request, match });
  };
}

type Matched = { readonly route: KesRoute; readonly path: string; readonly resource: string };

async function serve(
  deps: DispatcherDeps,
  given: { readonly state: KesState; readonly request: KesRequest; readonly match: Matched },
): Promise<KesReply> {
  const { state, request, match } = given;
  const { route, path } = match;
  const timeMs = deps.nowMs();
  const start = performance.now();
  let peer = request.peer;
  let isCounted = false;
  const deadline =
    route.timeoutMs > 0 ? setTimeout(() => request.drop(), route.timeoutMs) : undefined;
  let reply: KesReply;
  try {
    checkMethod(route, request.method);
    if (route.auth !== 'none') {
      peer = state.resolvePeer(peer, request);
      authorize(deps, { state, route, path, peer });
      isCounted = route.isCounted;
      if (isCounted) deps.metrics.begin();
    }
    reply = await handlerOf(deps, route)(contextOf(deps, given, peer));
  } catch (error) {
    reply = toReply(deps, error, { route, path });
  } finally {
    clearTimeout(deadline);
  }
  const durationMs = performance.now() - start;
  if (isCounted) deps.metrics.end(reply.status, durationMs);
  const identity = identityIn(peer);
  const { method } = request;
  deps.audit.record({
    timeMs,
    method,
    path,
    identity,
    ip: peer.ip,
    status: reply.status,
    durationMs,
  });
  return reply;
}

function handlerOf(deps: DispatcherDeps, route: KesRoute): KesHandler {
  const handler = deps.handlers[route.name];
  if (handler === undefined) throw new KesHttpError(404, 'not found');
  return handler;
}

function contextOf(
  deps: DispatcherDeps,
  given: { readonly state: KesState; readonly request: KesRequest; readonly match: Matched },
  peer: Peer,
): KesContext {
  const { request, state, match } = given;
  const { maxBodyBytes } = match.route;
  const limit = request.bodyBytes < 0 ? maxBodyBytes : Math.min(request.bodyBytes, maxBodyBytes);
  return {
    state,
    route: match.route,
    path: match.path,
    resource: match.resource,
    identity: identityIn(peer),
    ip: peer.ip,
    deps,
    request,
    readBody: () => request.readBody(limit),
  };
}

/** A PUT route takes POST too. */
function checkMethod(route: KesRoute, method: string): void {
  if (method === route.method || (route.method === 'PUT' && method === 'POST')) return;
  throw new WrongMethodError(method, route.method);
}

class WrongMethodError extends KesHttpError {
  readonly expected: string;
  constructor(received: string, expected: string) {
    super(405, `received method '${received}' expected '${expected}'`);
    this.expected = expected;
  }
}

/** The identity of a peer; empty when it has none. */
export function identityIn(peer: Peer): string {
  return 'identity' in peer ? peer.identity : '';
}

function authorize(
  deps: DispatcherDeps,
  asked: {
    readonly state: KesState;
    readonly route: KesRoute;
    readonly path: string;
    readonly peer: Peer;
  },
): void {
  if (asked.route.auth !== 'policy') return;
  if ('problem' in asked.peer) throw new KesHttpError(400, asked.peer.problem);
  const decision = asked.state.authorizer.decide(asked.peer.identity, asked.path);
  if (decision.isAllowed) return;
  deps.log.debug('request denied', {
    'req.path': asked.path,
    'req.identity': asked.peer.identity,
    reason: decision.reason,
  });
  throw new KesHttpError(kesErrors.notAllowed.status, kesErrors.notAllowed.message);
}

function toReply(
  deps: DispatcherDeps,
  error: unknown,
  at: { readonly route: KesRoute; readonly path: string },
): KesReply {
  const { answer, isLogged } = answerError(error, at.route.name);
  if (isLogged) {
    deps.log.error(answer.message, {
      'req.path': at.path,
      error: (error as Error).message,
    });
  }
  const headers =
    error instanceof WrongMethodError
      ? { accept: error.expected, allow: error.expected }
      : undefined;
  return errorReply(answer.status, answer.message, headers);
}
