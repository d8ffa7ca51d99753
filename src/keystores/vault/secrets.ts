// HashiCorp Vault and OpenBao as a place for keys: KV version 1 or 2, values optionally encrypted by the
// transit engine, login by AppRole or Kubernetes. Paths, members and headers are those of the reference key
// service, so that either can take over from the other.

import type { Log } from '../../base/log.ts';
import { KeyStoreError, type KeyStoreStatus } from '../../keys/key-store.ts';
import { type HttpTlsFiles, openHttpClient } from '../http.ts';
import { type RenewalClock, systemRenewalClock } from '../vendors/renewed-token.ts';
import type { SecretStore } from '../secret-store.ts';
import { ClaimedCreates, isClaim } from './claims.ts';
import { dataOf, membersOf, vaultPath } from './answers.ts';
import { VaultClient } from './client.ts';
import { type VaultKv, VaultKv1, VaultKv2 } from './kv.ts';
import { type VaultLogin, VaultSession } from './session.ts';
import { TransitWrapping } from './transit.ts';

type Text = string | undefined;

export type VaultSettings = {
  /** One URL, or several nodes separated by commas. */
  readonly endpoint?: Text;
  readonly engine?: Text;
  readonly version?: Text;
  readonly namespace?: Text;
  readonly prefix?: Text;
  readonly transit?: { readonly engine?: Text; readonly key?: Text } | undefined;
  readonly approle?:
    | {
        readonly engine?: Text;
        readonly namespace?: Text;
        readonly id?: Text;
        readonly secret?: Text;
      }
    | undefined;
  readonly kubernetes?:
    | {
        readonly engine?: Text;
        readonly namespace?: Text;
        readonly role?: Text;
        readonly jwt?: Text;
      }
    | undefined;
  readonly tls?: HttpTlsFiles | undefined;
  /** `ping`: a duration such as `10s`. */
  readonly status?: { readonly ping?: Text } | undefined;
};

/** `clock` runs renewals and health checks, and tells how long a claim has been seen; `retryDelayMs` as of the HTTP client; `wallClock` dates claims. */
export type VaultDeps = {
  readonly log: Log;
  readonly clock?: RenewalClock;
  readonly wallClock?: () => number;
  readonly retryDelayMs?: () => number;
  /** For one call with all its attempts. */
  readonly deadlineMs?: number;
  /** Pauses between tries to be alone with a name on KV version 1. */
  readonly sleep?: (ms: number) => Promise<void>;
};

/**
 * Logs in and looks at the engine. Rejects with `KeyStoreError` when the login fails or the engine is of the
 * other version.
 */
export async function openVaultSecrets(
  settings: VaultSettings,
  deps: VaultDeps,
): Promise<SecretStore> {
  const { retryDelayMs, clock = systemRenewalClock } = deps;
  const isVersion2 = readVersion(settings.version);
  const pingMs = readPing(settings.status?.ping);
  const login = readLogin(settings);
  const endpoints = (settings.endpoint ?? '').split(',').map((each) => each.trim());
  const http = await openHttpClient({
    product: 'vault',
    endpoints,
    tls: settings.tls,
    ...(retryDelayMs ? { retryDelayMs } : {}),
    ...(deps.deadlineMs === undefined ? {} : { deadlineMs: deps.deadlineMs }),
  });
  const { namespace = '' } = settings;
  const { deadlineMs } = deps;
  const nodes = endpoints.length;
  const times = { pingMs, retryDelayMs, deadlineMs };
  const client = new VaultClient({ http, nodes, clock, namespace, ...times });
  const session = new VaultSession({ client, login, log: deps.log, clock });
  const engine = settings.engine || 'kv';
  const kvSettings = { engine, prefix: settings.prefix ?? '', retryDelayMs };
  try {
    await session.open();
    client.start(session);
    await checkEngine(client, engine, isVersion2);
  } catch (error) {
    session.close();
    await client.close();
    throw error;
  }
  const kv = isVersion2 ? new VaultKv2(client, kvSettings) : claimed(client, kvSettings, deps);
  const { transit } = settings;
  const wrapping = new TransitWrapping(
    client,
    transit && { engine: transit.engine || 'transit', key: transit.key ?? '' },
  );
  return new VaultSecrets({ client, session, kv, wrapping });
}

type VaultParts = {
  readonly client: VaultClient;
  readonly session: VaultSession;
  readonly kv: VaultKv;
  readonly wrapping: TransitWrapping;
};

class VaultSecrets implements SecretStore {
  readonly #deps: VaultParts;

  constructor(deps: VaultParts) {
    this.#deps = deps;
  }

  async create(name: string, value: string): Promise<void> {
    await this.#deps.kv.create(name, await this.#deps.wrapping.wrap(value));
  }

  async get(name: string): Promise<string> {
    return this.#deps.wrapping.unwrap(await this.#deps.kv.get(name));
  }

  delete(name: string): Promise<void> {
    return this.#deps.kv.delete(name);
  }

  async list(): Promise<string[]> {
    return (await this.#deps.kv.list()).filter((entry) => !isClaim(entry));
  }

  status(): Promise<KeyStoreStatus> {
    return this.#deps.client.status();
  }

  async close(): Promise<void> {
    this.#deps.session.close();
    await this.#deps.client.close();
  }
}

function claimed(
  client: VaultClient,
  settings: ConstructorParameters<typeof VaultKv1>[1],
  deps: VaultDeps,
): VaultKv {
  const kv = new VaultKv1(client, settings);
  const creates = new ClaimedCreates({
    kv,
    now: () => (deps.clock ?? systemRenewalClock).now(),
    wallClock: deps.wallClock ?? (() => Date.now()),
    sleep: deps.sleep ?? ((ms) => new Promise((resolve) => setTimeout(resolve, ms))),
  });
  return {
    create: (name, value) => creates.create(name, value),
    get: (name) => kv.get(name),
    delete: (name) => kv.delete(name),
    list: () => kv.list(),
  };
}

/** Version 2 paths on an engine of version 1 would work, but overwrite: better not to start. */
async function checkEngine(
  client: VaultClient,
  engine: string,
  isVersion2: boolean,
): Promise<void> {
  const path = vaultPath('sys/internal/ui/mounts', engine);
  const answer = await client.call({ method: 'GET', path });
  if (answer.status !== 200) return; // older Vaults do not say, and some policies forbid it
  const { type, options } = dataOf('look at the engine', answer);
  if (typeof type !== 'string') {
    throw new KeyStoreError(
      'failed',
      'vault: look at the engine: its answer is not that of a Vault',
    );
  }
  if (type !== 'kv' && type !== 'generic') {
    throw new KeyStoreError('failed', `vault: the engine at ${engine} is no KV engine`);
  }
  const isMounted2 = membersOf(options)['version'] === '2';
  if (isMounted2 === isVersion2) return;
  const version = isMounted2 ? 2 : 1;
  throw new KeyStoreError(
    'failed',
    `vault: the engine at ${engine} is KV version ${version}: set version: v${version}`,
  );
}

function readVersion(version: Text): boolean {
  if (version === undefined || version === '' || version === 'v1') return false;
  if (version === 'v2') return true;
  throw new KeyStoreError('failed', `vault: version is ${version}: write v1 or v2`);
}

function readLogin(settings: VaultSettings): VaultLogin {
  const { approle, kubernetes } = settings;
  if (approle !== undefined) {
    const { id = '', secret = '', namespace = '' } = approle;
    return { method: 'approle', engine: approle.engine || 'approle', namespace, id, secret };
  }
  if (kubernetes === undefined) {
    throw new KeyStoreError('failed', 'vault: neither approle nor kubernetes is given');
  }
  const { role = '', jwt = '', namespace = '' } = kubernetes;
  return { method: 'kubernetes', engine: kubernetes.engine || 'kubernetes', namespace, role, jwt };
}

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
const pingDefaultMs = 10_000;

function readPing(text: Text): number {
  if (text === undefined || text === '' || text === '0') return pingDefaultMs;
  const parts = [...text.matchAll(/([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)/g)];
  const total = parts.reduce(
    (sum, [, count, unit = '']) => sum + Number(count) * (unitMs[unit] ?? 0),
    0,
  );
  if (total > 0 && parts.map(([part]) => part).join('') === text) return total;
  throw new KeyStoreError('failed', `vault: status.ping is ${text}: write a duration such as 10s`);
}
