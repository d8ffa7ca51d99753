// The life of a request, in this order: find the route, check the method, cap the body, set the deadline,
// establish who asks, decide whether they may, and only then run the handler. So a caller without
// permission never learns whether a name is valid or exists. Every request to a known route is audited.
// What was decided under an older configuration is decided again: when a body came in slowly, and for log
// streams, which end when their reader may no longer read.

import type { Log } from '../base/log.ts';
import type { KeyService } from '../keys/key-service.ts';
import { kesErrors, type KesRouteName } from '../wire/kes.ts';
import type { AuditFacts, AuditLog } from './audit/audit.ts';
import { answerError, KesHttpError } from './errors.ts';
import { errorReply, type KesHandle, type KesReply, type KesRequest } from './exchange.ts';
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
  /** The state by which the call was allowed; the newest one once the body is read. */
  readonly state: KesState;
  readonly route: KesRoute;
  /** Percent-decoded, without query. */
  readonly path: string;
  readonly resource: string;
  /** Empty when there is none (then the route does not need one). */
  readonly identity: string;
  readonly ip: string;
  readonly deps: DispatcherDeps;
  /** The body, as much of it as the route reads. Rejects when the call is no longer allowed by then. */
  readBody(): Promise<Buffer>;
  /** Adds to what the audit log says about the call. */
  note(facts: AuditFacts): void;
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

export type Dispatcher = {
  /** Answers every request; never rejects. */
  readonly handle: KesHandle;
  /** To be called when another state took the place of the last: ends streams it does not allow. */
  recheck(): void;
};

const pageNotFound: KesReply = {
  status: 404,
  contentType: 'text/plain; charset=utf-8',
  body: '404 page not found\n',
  headers: { 'x-content-type-options': 'nosniff' },
};

export function createDispatcher(deps: DispatcherDeps): Dispatcher {
  const streams = new Set<OpenStream>();
  return {
    handle: async (request) => {
      const state = deps.state();
      const match = state.routes.match(request.target);
      if (match.kind === 'redirect') {
        return { status: 301, headers: { location: match.location } };
      }
      if (match.kind === 'none') return pageNotFound;
      const handler = deps.handlers[match.route.name];
      if (handler === undefined) return pageNotFound;
      const call = new Call(deps, { state, request, match });
      const reply = await serve(call, handler);
      return reply.stream === undefined ? reply : watched(reply, call, streams);
    },
    recheck: () => {
      for (const each of streams) each.recheck();
    },
  };
}

type OpenStream = { readonly recheck: () => void };

/** The reply with a stream that ends when its reader may no longer read. */
function watched(reply: KesReply, call: Call, streams: Set<OpenStream>): KesReply {
  const { stream } = reply;
  if (stream === undefined) return reply;
  return {
    ...reply,
    stream: (write, end) => {
      const recheck = () => {
        if (!call.isStillAllowed()) end();
      };
      const open = { recheck };
      streams.add(open);
      const stop = stream(write, end);
      recheck();
      return () => {
        streams.delete(open);
        stop();
      };
    },
  };
}

type Matched = { readonly route: KesRoute; readonly path: string; readonly resource: string };

/** One request to a known route, and what is known about it so far. */
class Call implements KesContext {
  readonly deps: DispatcherDeps;
  readonly request: KesRequest;
  readonly path: string;
  readonly resource: string;
  state: KesState;
  route: KesRoute;
  peer: Peer;
  isAllowed = false;
  /** Why policy refused the call. */
  refusal: string | undefined;
  facts: AuditFacts | undefined;

  constructor(
    deps: DispatcherDeps,
    given: { readonly state: KesState; readonly request: KesRequest; readonly match: Matched },
  ) {
    this.deps = deps;
    this.request = given.request;
    this.path = given.match.path;
    this.resource = given.match.resource;
    this.state = given.state;
    this.route = given.match.route;
    this.peer = given.request.peer;
  }

  get identity(): string {
    return identityIn(this.peer);
  }

  get ip(): string {
    return this.peer.ip;
  }

  note(facts: AuditFacts): void {
    this.facts = { ...this.facts, ...facts };
  }

  async readBody(): Promise<Buffer> {
    const { bodyBytes } = this.request;
    const { maxBodyBytes } = this.route;
    const limit = bodyBytes < 0 ? maxBodyBytes : Math.min(bodyBytes, maxBodyBytes);
    const body = await this.request.readBody(limit);
    if (this.deps.state() === this.state) return body;
    try {
      this.#authorizeAgain();
      return body;
    } catch (error) {
      body.fill(0);
      throw error;
    }
  }

  /** Whether the newest state allows the call, for the caller it was allowed for. */
  isStillAllowed(): boolean {
    try {
      if (this.deps.state() !== this.state) this.#authorizeAgain();
      return true;
    } catch {
      return false;
    }
  }

  #authorizeAgain(): void {
    const { identity } = this;
    this.isAllowed = false;
    this.state = this.deps.state();
    this.route = this.state.routes.find(this.route.name) ?? this.route;
    this.authorize();
    if (this.identity !== identity) throw notAllowed();
  }

  /** Finds out who asks, and throws `KesHttpError` unless they may. */
  authorize(): void {
    const { route, state, path } = this;
    if (route.auth === 'none') return;
    this.peer = state.resolvePeer(this.request.peer, this.request);
    if (route.auth === 'policy') {
      if ('problem' in this.peer) throw new KesHttpError(400, this.peer.problem);
      const { isAllowed, reason } = state.authorizer.decide(this.peer.identity, path);
      if (!isAllowed) {
        this.refusal = reason;
        const who = { 'req.path': path, 'req.identity': this.peer.identity };
        this.deps.log.debug('request denied', { ...who, reason });
        throw notAllowed();
      }
    }
    this.isAllowed = true;
  }
}

function notAllowed(): KesHttpError {
  return new KesHttpError(kesErrors.notAllowed.status, kesErrors.notAllowed.message);
}

/** Routes after which something is different: whoever asked has to hear that, audited or not. */
const changes: ReadonlySet<KesRouteName> = new Set([
  'key-create',
  'key-import',
  'key-delete',
  'key-disable',
  'key-enable',
  'key-rotate',
  'key-destroy',
  'key-cancel',
  'key-accept',
]);

async function serve(call: Call, handler: KesHandler): Promise<KesReply> {
  const { deps, request, route } = call;
  const timeMs = deps.nowMs();
  const start = performance.now();
  let isCounted = false;
  if (route.timeoutMs > 0) request.dropAfter(route.timeoutMs);
  let reply: KesReply;
  let reason: string | undefined;
  try {
    checkMethod(route, request.method);
    call.authorize();
    isCounted = route.isCounted && route.auth !== 'none';
    if (isCounted) deps.metrics.begin();
    reply = await handler(call);
  } catch (error) {
    const answer = toReply(call, error);
    reply = answer.reply;
    reason = answer.message;
  }
  const durationMs = performance.now() - start;
  if (isCounted) deps.metrics.end(reply.status, durationMs);
  try {
    const recorded = deps.audit.record(eventOf(call, { timeMs, durationMs, reply, reason }));
    if (recorded !== undefined) await recorded;
  } catch (error) {
    deps.log.error('the audit log cannot be written', { error: (error as Error).message });
    const isMade = reply.status === 200 && changes.has(route.name);
    const text = 'the audit log cannot be written';
    return errorReply(500, isMade ? `the change was made, but ${text}` : text);
  }
  return reply;
}

function eventOf(
  call: Call,
  outcome: {
    readonly timeMs: number;
    readonly durationMs: number;
    readonly reply: KesReply;
    readonly reason: string | undefined;
  },
) {
  const { timeMs, durationMs, reply } = outcome;
  const why = call.refusal ?? outcome.reason;
  return {
    timeMs,
    method: call.request.method,
    path: call.path,
    identity: call.identity,
    ip: call.ip,
    status: reply.status,
    durationMs,
    operation: call.route.name,
    isAllowed: call.isAllowed || call.route.auth === 'none',
    ...(why === undefined ? {} : { reason: why }),
    ...call.facts,
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

function toReply(
  call: Call,
  error: unknown,
): { readonly reply: KesReply; readonly message: string } {
  const { answer, isLogged } = answerError(error, call.route.name);
  const { message } = answer;
  if (isLogged) {
    const text = error instanceof Error ? error.message : String(error);
    call.deps.log.error(message, { 'req.path': call.path, error: text });
  }
  const headers =
    error instanceof WrongMethodError
      ? { accept: error.expected, allow: error.expected }
      : undefined;
  return { reply: errorReply(answer.status, message, headers), message };
}
