// What the service tells about itself: version, readiness, status, its routes and its metrics.

import { availableParallelism, cpus } from 'node:os';
import type { KeyStoreStatus } from '../../keys/key-store.ts';
import type { KesContext, KesHandlers } from '../dispatcher.ts';
import { KesHttpError } from '../errors.ts';
import { emptyReply, jsonReply, type KesReply } from '../exchange.ts';

export type KesVersion = { readonly version: string; readonly commit: string };

/** Names of processors as clients know them. */
const architectures: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386' };

/** How long the key store may take to say how it is: who asks wants an answer just when it does not. */
const storeStatusWithinMs = 5_000;

async function storeStatus(context: KesContext): Promise<KeyStoreStatus> {
  const silent = Promise.withResolvers<KeyStoreStatus>();
  const reason = `it does not answer within ${storeStatusWithinMs} ms`;
  const timer = setTimeout(
    () => silent.resolve({ state: 'unreachable', reason }),
    storeStatusWithinMs,
  );
  try {
    return await Promise.race([context.state.keys.status(), silent.promise]);
  } finally {
    clearTimeout(timer);
  }
}

async function ready(context: KesContext): Promise<KesReply> {
  const status = await storeStatus(context);
  if (status.state === 'available') return emptyReply;
  context.deps.log.warn('key store is not ready', { error: status.reason });
  const until = context.state.keys.offlineUntil();
  const more =
    until === undefined ? '' : `: cached keys are used until ${new Date(until).toISOString()}`;
  throw status.state === 'unreachable'
    ? new KesHttpError(504, `key store is not reachable${more}`)
    : new KesHttpError(502, `key store is unavailable${more}`);
}

async function status(context: KesContext, version: KesVersion): Promise<KesReply> {
  const store = await storeStatus(context);
  const offlineUntil = context.state.keys.offlineUntil();
  const uptimeMs = context.deps.nowMs() - context.state.startedAtMs;
  // Clients read both members: unreachable without unavailable is an error to them.
  const trouble =
    store.state === 'available'
      ? { keystore_latency: Math.max(1, Math.round(store.latencyMs)) }
      : {
          ...(store.state === 'unreachable' ? { keystore_unreachable: true } : {}),
          keystore_unavailable: true,
        };
  return jsonReply({
    version: version.version,
    os: process.platform,
    arch: architectures[process.arch] ?? process.arch,
    uptime: Math.max(0, Math.floor(uptimeMs / 1000)),
    num_cpu: cpus().length,
    num_cpu_used: availableParallelism(),
    mem_heap_used: process.memoryUsage().heapUsed,
    mem_stack_used: 0,
    ...trouble,
    // Ours: keys are used although the store does not answer, until then.
    ...(offlineUntil === undefined ? {} : { offline_until: new Date(offlineUntil).toISOString() }),
  });
}

async function api(context: KesContext): Promise<KesReply> {
  const routes = context.state.routes.routes.filter(({ name }) => name in context.deps.handlers);
  return jsonReply(
    routes.map((route) => ({
      method: route.method,
      path: route.prefix,
      max_body: route.maxBodyBytes,
      timeout: Math.ceil(route.timeoutMs / 1000),
    })),
  );
}

async function metrics(context: KesContext): Promise<KesReply> {
  const { contentType, body } = await context.deps.metrics.text(
    context.request.headers('accept').join(','),
  );
  return { status: 200, contentType, body };
}

/** The handlers of the information routes. */
export function infoHandlers(version: KesVersion): KesHandlers {
  return {
    version: async () => jsonReply(version),
    ready,
    status: (context) => status(context, version),
    api,
    metrics,
  };
}
