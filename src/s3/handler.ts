// The S3 protocol as a request listener of `node:http`. The life of a request: target → operation →
// who → may they → handler → reply. Whatever throws on that way becomes one error response here, and
// nowhere else.

import { randomBytes } from 'node:crypto';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Server as TlsServer } from 'node:https';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { Log } from '../base/log.ts';
import { type Owner, rootOwner } from '../iam/identity.ts';
import type { ObjectStore } from '../store/types.ts';
import { refuseReservedHeaders } from './attributes.ts';
import { type AuthDeps, type Authentication, authenticate } from './auth/authenticate.ts';
import type { Reply, S3Environment } from './call.ts';
import { refuseKeysInClear } from './customer-keys.ts';
import { invalidArgument, S3Error, toS3Error } from './errors.ts';
import { awaitsContinue, type CallParts, HttpCall } from './http-call.ts';
import { openFormCall } from './form/form-call.ts';
import { postObject } from './handlers/post-object.ts';
import { findOperation } from './operations.ts';
import type { S3Operation } from './operation.ts';
import { PolicyCache } from './access/policy-cache.ts';
import { answerPreflight, findCorsHeaders } from './cors/preflight.ts';
import { ClientGoneError, type Exchange, sendError, sendReply } from './respond.ts';
import { parseTarget, type S3Target } from './target.ts';

export type S3Limits = {
  /** A body that sends nothing for so long fails; so does a response that nobody reads. */
  readonly stallMs: number;
};

const copySource = 'x-amz-copy-source';

/** The status that observers are told when the client did not stay for the whole response. */
const clientGoneStatus = 499;

/** What was done for a request, for metrics and access logs. */
export type S3Observation = {
  /** Undefined when the request selected none. */
  readonly operation: string | undefined;
  /** 499 when the client did not stay for the response. */
  readonly status: number;
  readonly errorCode: string | undefined;
  readonly durationMs: number;
  readonly requestId: string;
};

export type S3HandlerDeps = {
  /** The store, or a way to ask for it that answers undefined until it is open. */
  readonly store: ObjectStore | (() => ObjectStore | undefined);
  readonly auth: AuthDeps;
  readonly region: string;
  /** Base domains of virtual-host style, without port. */
  readonly domains?: readonly string[];
  /** Finds the names of owners. Default: root's only. */
  readonly describeOwner?: S3Environment['describeOwner'];
  readonly autoEncryption?: boolean;
  /** Users may do everything with what they own. Default: only what policies and access lists allow. */
  readonly grantsOwners?: boolean;
  /** Where a request came from. Default: the other end of its connection. */
  readonly addressOf?: (request: IncomingMessage) => string | undefined;
  /** Takes keys of SSE-C over plain HTTP too. */
  readonly allowsKeysInClear?: boolean;
  readonly serverName?: string;
  readonly log: Log;
  readonly limits?: Partial<S3Limits>;
  readonly observe?: (observation: S3Observation) => void;
};

export type S3RequestListener = (request: IncomingMessage, response: ServerResponse) => void;

const defaultLimits: S3Limits = { stallMs: 90_000 };

/**
 * Builds the request listener. Register it for `request` and for `checkContinue` (`configureS3Server` does
 * both): it answers `Expect: 100-continue` itself, after the header checks.
 */
export function createS3Handler(deps: S3HandlerDeps): S3RequestListener {
  const listener = new S3Listener(deps);
  return (request, response) => {
    void listener.handle(request, response);
  };
}

/** Registers the listener and sets the time limits that keep slow clients from holding resources. */
export function configureS3Server(
  server: Server | TlsServer,
  listener: S3RequestListener,
  limits: S3Limits = defaultLimits,
): void {
  server.on('request', listener);
  server.on('checkContinue', listener);
  server.on('checkExpectation', listener);
  server.requestTimeout = 0;
  server.headersTimeout = 60_000;
  server.keepAliveTimeout = 65_000;
  server.timeout = limits.stallMs;
  server.on('timeout', (socket: Socket) => {
    // Unsent bytes mean that the client does not read. Otherwise it is we who are at work.
    if (socket.writableLength > 0) socket.destroy();
    else socket.setTimeout(limits.stallMs);
  });
}

class S3Listener {
  readonly #deps: S3HandlerDeps;
  readonly #domains: readonly string[];
  readonly #environment: S3Environment;
  readonly #policies = new PolicyCache();
  readonly #stallMs: number;
  readonly #hostId = randomBytes(24).toString('base64');
  readonly #idPrefix = randomBytes(4).toString('hex').toUpperCase();
  #requestCount = 0;

  constructor(deps: S3HandlerDeps) {
    this.#deps = deps;
    this.#domains = (deps.domains ?? []).map((domain) => domain.toLowerCase());
    this.#environment = {
      region: deps.region === '' ? 'us-east-1' : deps.region,
      describeOwner: deps.describeOwner ?? describeRoot,
      autoEncryption: deps.autoEncryption ?? false,
      grantsOwners: deps.grantsOwners ?? false,
    };
    this.#stallMs = deps.limits?.stallMs ?? defaultLimits.stallMs;
  }

  /** Answers one request. Never rejects. */
  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const startMs = performance.now();
    // Writing to a client that is gone emits an error; the write itself tells us.
    response.on('error', ignoreError);
    const exchange = this.#openExchange(request, response);
    const state: RequestState = { target: undefined, operation: undefined };
    let status = 0;
    let errorCode: string | undefined;
    try {
      const reply = await this.#answer(exchange, state);
      status = reply.status;
      await sendReply(exchange, reply);
    } catch (error) {
      const isClientGone = error instanceof ClientGoneError;
      const shown = toS3Error(error);
      status = isClientGone ? clientGoneStatus : shown.status;
      errorCode = isClientGone ? 'ClientGone' : shown.code;
      if (!isClientGone) await this.#fail(exchange, state, error, shown);
    }
    this.#deps.observe?.({
      operation: state.operation?.name,
      status,
      errorCode,
      durationMs: performance.now() - startMs,
      requestId: exchange.requestId,
    });
  }

  #openExchange(request: IncomingMessage, response: ServerResponse): Exchange {
    this.#requestCount = (this.#requestCount + 1) % 0x1_0000_0000;
    const count = this.#requestCount.toString(16).toUpperCase().padStart(8, '0');
    return {
      request,
      response,
      requestId: this.#idPrefix + count,
      hostId: this.#hostId,
      serverName: this.#deps.serverName ?? 'Coffer',
      isAwaitingContinue: awaitsContinue(request),
      corsHeaders: [],
    };
  }

  async #answer(exchange: Exchange, state: RequestState): Promise<Reply> {
    const { request } = exchange;
    const method = request.method ?? '';
    const target = parseTarget(request.url ?? '/', request.headers.host, this.#domains);
    state.target = target;
    const store = this.#openStore();
    const hasCopySource = request.headers[copySource] !== undefined;
    let route = findRoute(method, target, hasCopySource);
    state.operation = operationOf(route);
    if (method === 'OPTIONS') return await answerPreflight(request, target, store);
    if (request.headers.origin !== undefined) {
      exchange.corsHeaders = await findCorsHeaders(request, target, store);
    }
    const authentication = await this.#authenticate(request, target, operationOf(route), store);
    refuseKeysInClear(authentication.headers, this.#takesKeys(request));
    if (authentication.hoisted.has(copySource)) route = findRoute(method, target, true);
    if (authentication.method !== 'presigned') refuseHeadersInQuery(target);
    const operation = operationOf(route);
    state.operation = operation;
    if (operation === undefined) throw route;
    // A form carries its signature in its body, which is not read: so this comes before the decision.
    if (operation.handler === 'form') {
      return this.#answerForm(exchange, operation, target, store);
    }
    const call = new HttpCall({
      ...this.#callParts({ exchange, operation, target, store }),
      authentication,
    });
    await call.access.check();
    refuseReservedHeaders(authentication.headers);
    if (operation.handler === 'not-implemented') throw notImplemented(operation);
    try {
      return await operation.handler(call);
    } catch (error) {
      throw await call.access.errorFor(error);
    } finally {
      call.customerKeys.wipe();
    }
  }

  #callParts(
    parts: Pick<CallParts, 'exchange' | 'operation' | 'target' | 'store'>,
  ): Omit<CallParts, 'authentication'> {
    return {
      ...parts,
      policies: this.#policies,
      addressOf: this.#deps.addressOf ?? peerOf,
      environment: this.#environment,
      stallMs: this.#stallMs,
    };
  }

  /** Whether the line is safe enough for keys of SSE-C. */
  #takesKeys(request: IncomingMessage): boolean {
    return request.socket instanceof TLSSocket || this.#deps.allowsKeysInClear === true;
  }

  async #answerForm(
    exchange: Exchange,
    operation: S3Operation,
    target: S3Target,
    store: ObjectStore,
  ): Promise<Reply> {
    await store.getBucket(target.bucket);
    const parts = this.#callParts({ exchange, operation, target, store });
    const call = await openFormCall(parts, this.#deps.auth);
    try {
      refuseKeysInClear(call.headers, this.#takesKeys(exchange.request));
      await call.access.check();
      refuseReservedHeaders(call.headers);
      return await postObject(call);
    } finally {
      call.abort();
      call.customerKeys.wipe();
    }
  }

  #openStore(): ObjectStore {
    const { store } = this.#deps;
    const opened = typeof store === 'function' ? store() : store;
    if (opened === undefined) {
      throw new S3Error('XMinioServerNotInitialized', undefined, {
        headers: { 'retry-after': '5' },
      });
    }
    return opened;
  }

  async #authenticate(
    request: IncomingMessage,
    target: S3Target,
    operation: S3Operation | undefined,
    store: ObjectStore,
  ): Promise<Authentication> {
    const acceptsAnyRegion = operation !== undefined && regionFree.has(operation.name);
    return authenticate(
      {
        method: request.method ?? '',
        rawTarget: request.url ?? '/',
        headers: request.headers,
        rawHeaders: request.rawHeaders,
      },
      this.#deps.auth,
      {
        acceptsAnyRegion,
        findBucketRegion: () => findRegion(store, target.bucket),
        ...(target.isHostStyle ? { hostBucket: target.bucket } : {}),
      },
    );
  }

  async #fail(
    exchange: Exchange,
    state: RequestState,
    error: unknown,
    shown: S3Error,
  ): Promise<void> {
    const { response } = exchange;
    if (shown.code === 'InternalError') {
      this.#deps.log.error('request failed', {
        requestId: exchange.requestId,
        operation: state.operation?.name,
        bucket: state.target?.bucket,
        key: state.target?.key,
        error: error instanceof Error ? (error.stack ?? error.message) : String(error),
      });
    }
    if (response.headersSent || response.destroyed) {
      response.destroy();
      return;
    }
    try {
      await sendError(exchange, shown, state.target);
    } catch {
      // The client is gone; there is nobody left to tell.
      response.destroy();
    }
  }
}

function peerOf(request: IncomingMessage): string | undefined {
  return request.socket.remoteAddress;
}

function ignoreError(): void {}

type RequestState = {
  target: S3Target | undefined;
  operation: S3Operation | undefined;
};

/** Calls that clients make before they know the region, or with the region that a bucket is to have. */
const regionFree: ReadonlySet<string> = new Set([
  'CreateBucket',
  'GetBucketLocation',
  'ListBuckets',
]);

function notImplemented(operation: S3Operation): S3Error {
  return new S3Error('NotImplemented', `${operation.name} is not implemented`);
}

/** A routing error is told only after authentication. */
function findRoute(
  method: string,
  target: S3Target,
  hasCopySource: boolean,
): S3Operation | S3Error {
  try {
    return findOperation(method, target, hasCopySource);
  } catch (error) {
    if (error instanceof S3Error) return error;
    throw error;
  }
}

function operationOf(route: S3Operation | S3Error): S3Operation | undefined {
  return route instanceof S3Error ? undefined : route;
}

/** Protections, rights, tags and checksums. */
const meaningfulInHeaders =
  /^x-amz-(?:server-side-encryption|object-lock-|acl$|grant-|tagging$|checksum-)/;

/** Only in presigned requests does the query stand for headers; elsewhere these would be lost unseen. */
function refuseHeadersInQuery(target: S3Target): void {
  for (const { name, value } of target.query) {
    if (name.charCodeAt(0) !== 0x78 && name.charCodeAt(0) !== 0x58) continue;
    const header = name.toLowerCase();
    if (header === copySource || meaningfulInHeaders.test(header)) {
      throw invalidArgument(name, value, `Send ${header} as a header, or presign the request`);
    }
  }
}

async function findRegion(store: ObjectStore, bucket: string): Promise<string | undefined> {
  if (bucket === '') return undefined;
  try {
    const { location } = await store.getBucket(bucket);
    return location === '' ? undefined : location;
  } catch (error) {
    if (toS3Error(error).code === 'NoSuchBucket') return undefined;
    throw error;
  }
}

function describeRoot(ownerId: string): Owner {
  return ownerId === rootOwner.ownerId ? rootOwner : { ownerId, displayName: '' };
}
