// A running key service: built from a configuration, listening, reloadable, and closed again. What a
// configuration decides is one immutable state; a reload makes the next one whole before it takes the
// place of the old, so a bad configuration changes nothing.

import { X509Certificate } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import type { Log } from '../../base/log.ts';
import type { AuditLog } from '../../kes/audit/audit.ts';
import type { KesConfig } from '../../kes/config/config.ts';
import { refuseUselessDenies } from '../../kes/config/policy.ts';
import { defaultLimits, type TransportLimits } from '../../kes/transport/connection.ts';
import { createDispatcher, type Dispatcher, type KesState } from '../../kes/dispatcher.ts';
import { batchHandlers } from '../../kes/handlers/batch.ts';
import { bulkHandlers } from '../../kes/handlers/bulk.ts';
import { infoHandlers } from '../../kes/handlers/info.ts';
import { keyHandlers } from '../../kes/handlers/keys.ts';
import { LineHub, logHandlers } from '../../kes/handlers/logs.ts';
import { policyHandlers } from '../../kes/handlers/policies.ts';
import { KesMetrics } from '../../kes/metrics.ts';
import { Authorizer } from '../../kes/policy.ts';
import { createPeerResolver } from '../../kes/proxy.ts';
import { RouteTable } from '../../kes/routes.ts';
import {
  type KesTlsMaterial,
  loadTls,
  refusePeer,
  secureContextOptions,
} from '../../kes/transport/tls.ts';
import { createTransport, type KesTransport } from '../../kes/transport/transport.ts';
import type { KeyStore } from '../../keys/key-store.ts';
import { openServiceAudit, type ServiceAudit } from './audit.ts';
import {
  closeKesKeys,
  createPredefinedKeys,
  type KesKeys,
  openKesKeys,
  takeOverCache,
} from './keys.ts';
import { readVersion } from '../version.ts';

/** Logs are made by the caller; everything else has a default. */
export type KesServerDeps = {
  readonly log: Log;
  readonly audit: AuditLog;
  /** Used instead of the store that the configuration names. */
  readonly keyStore?: KeyStore;
  /** Used instead of the files that the configuration names. */
  readonly tls?: KesTlsMaterial;
  readonly metrics?: KesMetrics;
  readonly hubs?: { readonly error: LineHub; readonly audit: LineHub };
  readonly limits?: Partial<TransportLimits>;
  /** Counts milliseconds and never goes back; the process's own clock by default. */
  readonly now?: () => number;
  /** How often the TLS files are read again by themselves; 15 minutes by default. */
  readonly tlsReloadMs?: number;
};

export type KesServer = {
  /** Where it listens. */
  readonly address: AddressInfo;
  /** The admin's identity as configured. */
  readonly identityAdmin: string;
  /** Replaces everything but the address. Rejects, changing nothing, when the configuration is bad. */
  reload(config: KesConfig): Promise<void>;
  /** Reads the TLS files again. Rejects, changing nothing, when they are bad. */
  reloadTls(): Promise<void>;
  /** Waits up to a second for requests, then closes every connection, the key store and the audit log. */
  close(): Promise<void>;
};

/** Everything of one configuration. */
type Generation = {
  readonly config: KesConfig;
  readonly tls: KesTlsMaterial;
  readonly keys: KesKeys;
  readonly state: KesState;
  readonly isCertificateOptional: boolean;
  /** The requests that began under it. */
  readonly calls: CallCount;
};

const graceMs = 1_000;
const sweepMs = 1_000;
const destroyDueMs = 60_000;
const tlsReloadMs = 15 * 60_000;
const expiryWarningMs = 7 * 24 * 3_600_000;

/**
 * Starts a key service. Rejects with `KesConfigError`, `KeyStoreError`, `AuditFileError` or the error of
 * listening, leaving nothing open.
 */
export async function startKesServer(config: KesConfig, deps: KesServerDeps): Promise<KesServer> {
  const { audit: stream, log } = deps;
  const audit = await openServiceAudit(config, { stream, log, nowMs: Date.now });
  try {
    return await startWithAudit(config, deps, audit);
  } catch (error) {
    await audit.close();
    throw error;
  }
}

async function startWithAudit(
  config: KesConfig,
  deps: KesServerDeps,
  audit: ServiceAudit,
): Promise<KesServer> {
  const startedAtMs = Date.now();
  const first = await buildGeneration(config, deps, { startedAtMs });
  try {
    const service = new Service(first, { ...deps, audit }, startedAtMs);
    await service.open();
    return service;
  } catch (error) {
    await closeKesKeys(first.keys);
    throw error;
  }
}

type ServiceDeps = KesServerDeps & { readonly audit: ServiceAudit };

class Service implements KesServer {
  readonly #deps: ServiceDeps;
  readonly #startedAtMs: number;
  readonly #dispatcher: Dispatcher;
  readonly #transport: KesTransport;
  readonly #timers: NodeJS.Timeout[] = [];
  #current: Generation;
  #address: AddressInfo = { address: '', family: '', port: 0 };
  /** Reloads happen one after another. */
  #reloading: Promise<void> = Promise.resolve();
  /** Resolves when no request of an earlier generation is in progress. */
  #drained: Promise<unknown> = Promise.resolve();
  readonly #closings = new Set<Promise<void>>();
  readonly #stopped = Promise.withResolvers<void>();

  constructor(first: Generation, deps: ServiceDeps, startedAtMs: number) {
    this.#current = first;
    this.#deps = deps;
    this.#startedAtMs = startedAtMs;
    this.#dispatcher = this.#createDispatcher();
    this.#transport = createTransport(secureContextOptions(first.tls, first.config.tls.auth), {
      handle: (request) => this.#current.calls.count(this.#dispatcher.handle(request)),
      log: deps.log,
      limits: { ...defaultLimits, ...deps.limits },
      refuse: (socket) =>
        refusePeer(socket, {
          auth: this.#current.config.tls.auth,
          isCertificateOptional: this.#current.isCertificateOptional,
        }),
    });
  }

  get address(): AddressInfo {
    return this.#address;
  }

  get identityAdmin(): string {
    return this.#current.config.admin;
  }

  /** Listens and makes the predefined keys; closes everything again when that fails. */
  async open(): Promise<void> {
    const { host, port } = splitAddress(this.#current.config.address);
    try {
      this.#address = await this.#transport.listen(host, port);
      await createPredefinedKeys(this.#current.keys, this.#deps);
    } catch (error) {
      await this.#transport.close(0).catch(() => undefined);
      throw error;
    }
    this.#warnOfExpiry();
    this.#every(sweepMs, () => this.#current.keys.cache.sweep());
    this.#every(destroyDueMs, () => {
      this.#current.keys.service.destroyDue().catch((error: Error) => {
        this.#deps.log.warn('cannot look for keys to destroy', { error: error.message });
      });
    });
    this.#every(this.#deps.tlsReloadMs ?? tlsReloadMs, () => {
      this.reloadTls().catch((error: Error) => {
        this.#deps.log.error(`Failed to reload TLS configuration: ${error.message}`);
      });
    });
  }

  reload(config: KesConfig): Promise<void> {
    return this.#afterReload(async () => {
      const previous = this.#current;
      const startedAtMs = this.#startedAtMs;
      if (config.address !== previous.config.address) {
        const change = `from ${previous.config.address} to ${config.address}`;
        this.#deps.log.warn(`the address changes only at a restart: not ${change}`);
      }
      const next = await buildGeneration(config, this.#deps, { startedAtMs, previous });
      try {
        await createPredefinedKeys(next.keys, this.#deps);
        await this.#deps.audit.reload(config);
        // Once more: what was forgotten meanwhile must not come back.
        takeOverCache(next.keys, previous.keys);
        this.#adopt(next);
      } catch (error) {
        await closeKesKeys(next.keys, previous.keys);
        throw error;
      }
      this.#retire(previous);
    });
  }

  reloadTls(): Promise<void> {
    return this.#afterReload(async () => {
      const { config, state } = this.#current;
      const tls = this.#deps.tls ?? (await loadTls(config.tls));
      const resolver = peerResolverOf(config, tls);
      this.#adopt({ ...this.#current, tls, state: { ...state, ...resolver } });
    });
  }

  /** Everything from here on goes by the next generation, connections and open log streams included. */
  #adopt(next: Generation): void {
    const previous = this.#current;
    this.#transport.setSecureContext(secureContextOptions(next.tls, next.config.tls.auth));
    this.#current = next;
    this.#dispatcher.recheck();
    if (connectionRule(next) !== connectionRule(previous)) this.#transport.renew();
    this.#warnOfExpiry();
  }

  /** Forgets an earlier generation; a store of its own is closed when its last request is answered. */
  #retire(previous: Generation): void {
    const { keys } = this.#current;
    previous.keys.cache.clear();
    this.#drained = Promise.all([this.#drained, previous.calls.idle()]);
    const closing = Promise.race([this.#drained, this.#stopped.promise])
      .then(() => closeKesKeys(previous.keys, keys))
      .catch((error: Error) => {
        this.#deps.log.warn('the previous key store did not close', { error: error.message });
      })
      .finally(() => this.#closings.delete(closing));
    this.#closings.add(closing);
  }

  #warnOfExpiry(): void {
    const { tls, config } = this.#current;
    const warning = expiryWarning(tls, { path: config.tls.cert, nowMs: Date.now() });
    if (warning !== undefined) this.#deps.log.warn(warning);
  }

  async close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    await this.#reloading;
    await this.#transport.close(graceMs);
    this.#stopped.resolve();
    await Promise.all(this.#closings);
    await closeKesKeys(this.#current.keys);
    await this.#deps.audit.close();
  }

  #createDispatcher(): Dispatcher {
    const nowMs = Date.now;
    const metrics = this.#deps.metrics ?? new KesMetrics({ nowMs });
    const hubs = this.#deps.hubs ?? { error: new LineHub(), audit: new LineHub() };
    const version = readVersion();
    const handlers = {
      ...infoHandlers({ version, commit: version }),
      ...keyHandlers,
      ...batchHandlers,
      ...bulkHandlers,
      ...policyHandlers,
      ...logHandlers(hubs),
    };
    const { log, audit } = this.#deps;
    const state = () => this.#current.state;
    return createDispatcher({ state, handlers, log, audit, metrics, nowMs });
  }

  #every(ms: number, work: () => void): void {
    this.#timers.push(setInterval(work, ms).unref());
  }

  #afterReload(work: () => Promise<void>): Promise<void> {
    const result = this.#reloading.then(work);
    this.#reloading = result.catch(() => undefined);
    return result;
  }
}

/** What decides who may connect: whoever got in under another rule has to come again. */
function connectionRule({ config, tls, isCertificateOptional }: Generation): string {
  const { auth } = config.tls;
  return JSON.stringify([auth, isCertificateOptional, auth === 'on' ? tls.roots : []]);
}

function expiryWarning(
  tls: KesTlsMaterial,
  given: { readonly path: string; readonly nowMs: number },
): string | undefined {
  const { validToDate } = new X509Certificate(tls.cert);
  const leftMs = validToDate.getTime() - given.nowMs;
  if (leftMs > expiryWarningMs) return undefined;
  const when = `${leftMs <= 0 ? 'expired' : 'expires'} at ${validToDate.toISOString()}`;
  return `the TLS certificate ${given.path} ${when}: replace it, then send SIGHUP`;
}

/** Counts the calls in progress. */
class CallCount {
  #calls = 0;
  #idle: (() => void)[] = [];

  async count<T>(call: Promise<T>): Promise<T> {
    this.#calls += 1;
    try {
      return await call;
    } finally {
      this.#calls -= 1;
      if (this.#calls === 0) for (const wake of this.#idle.splice(0)) wake();
    }
  }

  /** Resolves when none is in progress. */
  idle(): Promise<void> {
    if (this.#calls === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }
}

/** Splits `host:port`, with or without brackets. */
export function splitAddress(address: string): { readonly host: string; readonly port: number } {
  const colon = address.lastIndexOf(':');
  const host = address.slice(0, colon).replace(/^\[|\]$/g, '');
  return { host, port: Number(address.slice(colon + 1)) };
}

async function buildGeneration(
  config: KesConfig,
  deps: KesServerDeps,
  past: { readonly startedAtMs: number; readonly previous?: Generation },
): Promise<Generation> {
  refuseUselessDenies(config.policies);
  const tls = deps.tls ?? (await loadTls(config.tls));
  const keys = await openKesKeys(config, deps, past.previous?.keys);
  const { admin, policies } = config;
  const state: KesState = {
    admin,
    policies,
    authorizer: new Authorizer({ admin, policies, peers: config.peers?.identities ?? [] }),
    routes: new RouteTable(config.api),
    keys: keys.service,
    startedAtMs: past.startedAtMs,
    ...peerResolverOf(config, tls),
  };
  const isCertificateOptional = state.routes.routes.some(
    (route) => config.api.get(route.prefix)?.skipAuth === true,
  );
  return { config, tls, keys, state, isCertificateOptional, calls: new CallCount() };
}

function peerResolverOf(config: KesConfig, tls: KesTlsMaterial): Pick<KesState, 'resolvePeer'> {
  const { roots } = tls;
  return { resolvePeer: createPeerResolver(config.tls, { roots, nowMs: Date.now }) };
}
