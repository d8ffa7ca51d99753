// A running key service: built from a configuration, listening, reloadable, and closed again. What a
// configuration decides is one immutable state; a reload makes the next one whole before it takes the
// place of the old, so a bad configuration changes nothing.

import type { AddressInfo } from 'node:net';
import type { Log } from '../base/log.ts';
import type { AuditLog } from '../kes/audit.ts';
import { checkPatterns, type KesConfig } from '../kes/config.ts';
import type { KeyStoreConfig } from '../kes/config-keystore.ts';
import { KesConfigError } from '../kes/config-yaml.ts';
import { createDispatcher, type KesState } from '../kes/dispatcher.ts';
import type { KesHandle } from '../kes/exchange.ts';
import { batchHandlers } from '../kes/handlers/batch.ts';
import { infoHandlers } from '../kes/handlers/info.ts';
import { keyHandlers } from '../kes/handlers/keys.ts';
import { LineHub, logHandlers } from '../kes/handlers/logs.ts';
import { policyHandlers } from '../kes/handlers/policies.ts';
import { KesMetrics } from '../kes/metrics.ts';
import { Authorizer } from '../kes/policy.ts';
import { createPeerResolver } from '../kes/proxy.ts';
import { RouteTable } from '../kes/routes.ts';
import { type KesTlsMaterial, loadTls, refusePeer, secureContextOptions } from '../kes/tls.ts';
import { createTransport, type KesTransport } from '../kes/transport.ts';
import { CachedKeyStore } from '../keys/cached-key-store.ts';
import { KeyError } from '../keys/key-error.ts';
import { KeyService } from '../keys/key-service.ts';
import type { KeyStore } from '../keys/key-store.ts';
import { openFileKeyStore } from '../keystores/files.ts';
import { MemoryKeyStore } from '../keystores/memory.ts';
import { readVersion } from './version.ts';

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
  /** Waits up to a second for requests, then closes every connection and the key store. */
  close(): Promise<void>;
};

/** Everything of one configuration. */
type Generation = {
  readonly config: KesConfig;
  readonly tls: KesTlsMaterial;
  readonly store: KeyStore;
  readonly cache: CachedKeyStore;
  readonly state: KesState;
  readonly isCertificateOptional: boolean;
};

const graceMs = 1_000;
const sweepMs = 1_000;
const tlsReloadMs = 15 * 60_000;

/**
 * Starts a key service. Rejects with `KesConfigError`, `KeyStoreError` or the error of listening, leaving
 * nothing open.
 */
export async function startKesServer(config: KesConfig, deps: KesServerDeps): Promise<KesServer> {
  const startedAtMs = Date.now();
  const first = await buildGeneration(config, deps, { startedAtMs });
  const service = new Service(first, deps, startedAtMs);
  await service.open();
  return service;
}

class Service implements KesServer {
  readonly #deps: KesServerDeps;
  readonly #startedAtMs: number;
  readonly #transport: KesTransport;
  readonly #timers: NodeJS.Timeout[] = [];
  #current: Generation;
  #address: AddressInfo = { address: '', family: '', port: 0 };
  /** Reloads happen one after another. */
  #reloading: Promise<void> = Promise.resolve();

  constructor(first: Generation, deps: KesServerDeps, startedAtMs: number) {
    this.#current = first;
    this.#deps = deps;
    this.#startedAtMs = startedAtMs;
    this.#transport = createTransport(secureContextOptions(first.tls), {
      handle: this.#createHandle(),
      log: deps.log,
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
      await createPredefinedKeys(this.#current);
    } catch (error) {
      await this.#transport.close(0).catch(() => undefined);
      await this.#current.cache.close();
      throw error;
    }
    this.#every(sweepMs, () => this.#current.cache.sweep());
    this.#every(tlsReloadMs, () => {
      this.reloadTls().catch((error: Error) => {
        this.#deps.log.error(`Failed to reload TLS configuration: ${error.message}`);
      });
    });
  }

  reload(config: KesConfig): Promise<void> {
    return this.#afterReload(async () => {
      const previous = this.#current;
      const startedAtMs = this.#startedAtMs;
      const next = await buildGeneration(config, this.#deps, { startedAtMs, previous });
      await createPredefinedKeys(next);
      this.#transport.setSecureContext(secureContextOptions(next.tls));
      this.#current = next;
      previous.cache.clear();
      if (next.store !== previous.store) await previous.store.close();
    });
  }

  reloadTls(): Promise<void> {
    return this.#afterReload(async () => {
      const { config, state } = this.#current;
      const tls = this.#deps.tls ?? (await loadTls(config.tls));
      this.#transport.setSecureContext(secureContextOptions(tls));
      this.#current = {
        ...this.#current,
        tls,
        state: { ...state, ...peerResolverOf(config, tls) },
      };
    });
  }

  async close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    await this.#transport.close(graceMs);
    await this.#current.cache.close();
  }

  #createHandle(): KesHandle {
    const nowMs = Date.now;
    const metrics = this.#deps.metrics ?? new KesMetrics({ nowMs });
    const hubs = this.#deps.hubs ?? { error: new LineHub(), audit: new LineHub() };
    const version = readVersion();
    const handlers = {
      ...infoHandlers({ version, commit: version }),
      ...keyHandlers,
      ...batchHandlers,
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
  for (const warning of checkPatterns(config.policies)) deps.log.warn(warning);
  const tls = deps.tls ?? (await loadTls(config.tls));
  const store =
    deps.keyStore ?? reusable(config, past.previous) ?? (await openStore(config.keyStore));
  const cache = new CachedKeyStore({ store, rules: config.cache, now: () => performance.now() });
  const { admin, policies } = config;
  const state: KesState = {
    admin,
    policies,
    authorizer: new Authorizer({ admin, policies }),
    routes: new RouteTable(config.api),
    keys: new KeyService({ store: cache, nowMs: Date.now }),
    startedAtMs: past.startedAtMs,
    ...peerResolverOf(config, tls),
  };
  const isCertificateOptional = state.routes.routes.some(
    (route) => config.api.get(route.prefix)?.skipAuth === true,
  );
  return { config, tls, store, cache, state, isCertificateOptional };
}

function peerResolverOf(config: KesConfig, tls: KesTlsMaterial): Pick<KesState, 'resolvePeer'> {
  const { roots } = tls;
  return { resolvePeer: createPeerResolver(config.tls, { roots, nowMs: Date.now }) };
}

/** The open store when the new configuration names the same one. */
function reusable(config: KesConfig, previous: Generation | undefined): KeyStore | undefined {
  if (previous === undefined) return undefined;
  const isSame = JSON.stringify(config.keyStore) === JSON.stringify(previous.config.keyStore);
  return isSame ? previous.store : undefined;
}

async function openStore(config: KeyStoreConfig): Promise<KeyStore> {
  switch (config.type) {
    case 'fs':
      return openFileKeyStore(config.path);
    case 'memory':
      return new MemoryKeyStore();
    default:
      throw new KesConfigError(
        `keystore '${config.type}' is not available in this version: use 'fs' or 'memory'`,
      );
  }
}

async function createPredefinedKeys(generation: Generation): Promise<void> {
  const { keys, admin } = { keys: generation.state.keys, admin: generation.state.admin };
  for (const name of generation.config.keys) {
    try {
      await keys.create(name, admin);
    } catch (error) {
      if (!(error instanceof KeyError && error.code === 'exists')) throw error;
    }
  }
}
