// Keys in Azure Key Vault: one secret per name, its text in the oldest version, as the reference keeps them.
//
// Creating is check-then-write at Azure, so two creators can both write a version. What makes it safe: the
// oldest version counts (by its second, then by its id), and nobody relies on the oldest before its second
// is over at the vault, when no later writer can come before it any more. A creator waits that long and then
// looks whose version is the oldest; a reader that meets so young a version waits too. A version carries who
// made it in tags, so that an answer that was lost is recognised as ours, and the exact name, because Azure
// does not tell names apart by case.

import { randomUUID } from 'node:crypto';
import type { SecretClient, SecretProperties } from '@azure/keyvault-secrets';
import type { Dispatcher } from 'undici';
import type { Log } from '../../base/log.ts';
import { KeyStoreError, type KeyStoreStatus } from '../../keys/key-store.ts';
import { type AzureSecretsSettings, makeAzureClient } from './client.ts';
import { type LocalClock, ServerClock } from './clock.ts';
import { type AzureAction, azureError, isNotFound } from './errors.ts';
import { AzureRemoval, azureRetention } from './removal.ts';
import {
  type CloudDeps,
  type CloudLimits,
  checkValueSize,
  cloudLimits,
  isSecretName,
  openConnections,
  parseEndpoint,
  probeEndpoint,
  withinMs,
} from '../cloud-calls.ts';
import type { SecretStore } from '../secret-store.ts';

export type { AzureSecretsSettings } from './client.ts';

/** `clock` is real unless given. */
export type AzureDeps = CloudDeps & { readonly clock?: LocalClock };

const product = 'Azure Key Vault';
const valueBytesMax = 25_600;
const pagesMax = 10_000;
const versionPagesMax = 40;
/** How many names are remembered with the version that counts. */
const knownMax = 10_000;
/** A change can wait for a deletion and for a second to pass. */
const changeMs = 45_000;
const nameTag = 'coffer-name';
const creationTag = 'coffer-creation';

const realClock: LocalClock = {
  now: () => performance.now(),
  sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
};

/** Reaches the vault and proves the credentials once. Rejects with `KeyStoreError`. */
export async function openAzureSecrets(
  settings: AzureSecretsSettings,
  deps: AzureDeps,
): Promise<SecretStore> {
  const url = parseEndpoint(product, settings.endpoint ?? '');
  const limits = { ...cloudLimits, changeMs, ...deps.limits };
  const local = deps.clock ?? realClock;
  const clock = new ServerClock(local);
  const { connections, close } = await openConnections(url, limits, deps.connections);
  const client = await makeAzureClient(settings, {
    url,
    connections,
    limits,
    observe: (date) => clock.observe(date),
  });
  const parts = { client, connections, close, url, limits, clock, local, log: deps.log };
  const store = new AzureSecrets(parts);
  try {
    await store.check();
    return store;
  } catch (error) {
    await store.close();
    throw error;
  }
}

type Parts = {
  readonly client: SecretClient;
  readonly connections: Dispatcher;
  readonly close: () => Promise<void>;
  readonly url: URL;
  readonly limits: CloudLimits;
  readonly clock: ServerClock;
  readonly local: LocalClock;
  readonly log: Log;
};

/** A version and the second it was written in. */
type Version = {
  readonly id: string;
  readonly second: number;
  readonly properties: SecretProperties;
};

class AzureSecrets implements SecretStore {
  /** Set when the vault is known to keep what is deleted. */
  keepsDeleted?: string;
  readonly #parts: Parts;
  readonly #removal: AzureRemoval;
  /** Which version counts, by name: it stays the oldest for as long as it exists. */
  readonly #known = new Map<string, string>();

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#removal = new AzureRemoval({
      ...parts,
      onKept: (sentence) => {
        this.keepsDeleted ??= sentence;
      },
    });
  }

  /** Throws unless the credentials are good; lacking the permission to list is fatal here: reading needs it. */
  async check(): Promise<void> {
    const status = await this.status();
    if (status.state !== 'available') {
      throw new KeyStoreError('unreachable', `${product}: ${status.reason}`);
    }
    const { client, limits, log, url } = this.#parts;
    await this.#call('list', '', limits.changeMs, async (options) => {
      const first = await firstOf(client.listPropertiesOfSecrets(options));
      const retention = azureRetention(first);
      if (retention !== undefined) this.#removal.learn(retention);
    });
    if (this.keepsDeleted) log.warn(this.keepsDeleted, { endpoint: url.origin });
  }

  async create(name: string, value: string): Promise<void> {
    if (!isAzureName(name)) throw invalidName(name);
    checkValueSize(product, value, valueBytesMax);
    const { client, limits, clock } = this.#parts;
    await this.#call('create', name, limits.changeMs, async (options) => {
      const present = oldestOf(await this.#versions(name, options.abortSignal));
      if (present !== undefined) throw taken(name, present);
      const creation = randomUUID();
      const tags = { [nameTag]: name, [creationTag]: creation };
      const made = await this.#removal.insteadOfDeleted(name, options, () =>
        client.setSecret(name, value, { ...options, tags }),
      );
      await clock.waitUntilOver(secondOf(made.properties));
      const winner = oldestOf(await this.#versions(name, options.abortSignal));
      if (winner === undefined) {
        throw new KeyStoreError('failed', `${product}: ${name} was deleted while it was created`);
      }
      if (winner.properties.tags?.[creationTag] !== creation) throw taken(name, winner);
      this.#remember(name, winner.id);
    });
  }

  async get(name: string): Promise<string> {
    if (!isAzureName(name)) throw notFound(name);
    const { limits } = this.#parts;
    return this.#call('get', name, limits.readMs, async (options) => {
      const known = this.#known.get(name);
      if (known !== undefined) {
        const value = await this.#read(name, known, options);
        if (value !== undefined) return value;
        this.#known.delete(name);
      }
      const oldest = await this.#settledOldest(name, options.abortSignal);
      if (oldest === undefined || storedName(oldest) !== name) throw notFound(name);
      const value = await this.#read(name, oldest.id, options);
      if (value === undefined) throw notFound(name);
      this.#remember(name, oldest.id);
      return value;
    });
  }

  /** The oldest version once nothing can come before it; undefined when there is none. */
  async #settledOldest(name: string, signal: AbortSignal): Promise<Version | undefined> {
    const { clock } = this.#parts;
    // An answer is as old as its question: what came while it was on its way is not in it.
    const askedAt = clock.atLeast();
    const oldest = oldestOf(await this.#versions(name, signal));
    if (oldest === undefined || clock.wasOver(oldest.second, askedAt)) return oldest;
    await clock.waitUntilOver(oldest.second);
    return oldestOf(await this.#versions(name, signal));
  }

  /** Undefined when there is no such version. */
  async #read(
    name: string,
    version: string,
    options: { readonly abortSignal: AbortSignal },
  ): Promise<string | undefined> {
    try {
      const { value, properties } = await this.#parts.client.getSecret(name, {
        ...options,
        version,
      });
      checkUsable(name, properties);
      if (value !== undefined) return value;
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
    throw new KeyStoreError('failed', `${product} answered without the value of ${name}`);
  }

  async #versions(name: string, abortSignal: AbortSignal): Promise<Version[]> {
    const versions: Version[] = [];
    let pages = 0;
    try {
      const all = this.#parts.client.listPropertiesOfSecretVersions(name, { abortSignal });
      for await (const page of all.byPage()) {
        for (const properties of page) {
          const { version: id } = properties;
          if (id) versions.push({ id, second: secondOf(properties), properties });
        }
        pages += 1;
        if (pages > versionPagesMax) {
          throw new KeyStoreError('failed', `${product}: ${name} has too many versions`);
        }
      }
    } catch (error) {
      if (isNotFound(error)) return [];
      throw error;
    }
    return versions;
  }

  async delete(name: string): Promise<void> {
    if (!isAzureName(name)) return;
    const { limits } = this.#parts;
    this.#known.delete(name);
    await this.#call('delete', name, limits.changeMs, async (options) => {
      const oldest = oldestOf(await this.#versions(name, options.abortSignal));
      // Another name by case: not ours to delete.
      if (oldest !== undefined && storedName(oldest) !== name) return;
      await this.#removal.remove(name, oldest !== undefined, options);
    });
  }

  async list(): Promise<string[]> {
    const { client, limits } = this.#parts;
    const names = new Set<string>();
    const pages = client.listPropertiesOfSecrets().byPage();
    for (let count = 0; count < pagesMax; count += 1) {
      const page = await this.#call('list', '', limits.readMs, () => pages.next());
      if (page.done === true) return [...names];
      for (const { name } of page.value) if (isSecretName(name)) names.add(name);
    }
    throw new KeyStoreError('failed', `${product} lists more than ${pagesMax} pages`);
  }

  status(): Promise<KeyStoreStatus> {
    const { url, connections, limits } = this.#parts;
    return probeEndpoint(url, connections, limits);
  }

  async close(): Promise<void> {
    await this.#removal.close();
    await this.#parts.close();
  }

  #remember(name: string, version: string): void {
    if (this.#known.size >= knownMax) {
      const [first] = this.#known.keys();
      if (first !== undefined) this.#known.delete(first);
    }
    this.#known.set(name, version);
  }

  async #call<T>(
    action: AzureAction,
    name: string,
    limitMs: number,
    work: (options: { readonly abortSignal: AbortSignal }) => Promise<T>,
  ): Promise<T> {
    try {
      return await withinMs(limitMs, `${product}: ${action} ${name}`.trimEnd(), (abortSignal) =>
        work({ abortSignal }),
      );
    } catch (error) {
      throw azureError(error, action, name);
    }
  }
}

async function firstOf<T>(all: AsyncIterable<T>): Promise<T | undefined> {
  for await (const each of all) return each;
  return undefined;
}

function isAzureName(name: string): boolean {
  return /^[0-9A-Za-z-]{1,127}$/.test(name);
}

function secondOf(properties: SecretProperties): number {
  return Math.floor((properties.createdOn?.getTime() ?? 0) / 1_000);
}

/** The one that counts: the smallest second, then the smallest id. */
function oldestOf(versions: readonly Version[]): Version | undefined {
  let oldest: Version | undefined;
  for (const version of versions) {
    const isOlder =
      oldest === undefined ||
      version.second < oldest.second ||
      (version.second === oldest.second && version.id < oldest.id);
    if (isOlder) oldest = version;
  }
  return oldest;
}

/** The name as its creator wrote it; entries of the reference have it in their address alone. */
function storedName(version: Version): string {
  return version.properties.tags?.[nameTag] ?? version.properties.name;
}

function checkUsable(name: string, properties: SecretProperties): void {
  const { enabled, notBefore, expiresOn } = properties;
  const now = Date.now();
  const refuse = (code: string, what: string): KeyStoreError =>
    new KeyStoreError('failed', `${product}: cannot get ${name}: ${code}: the secret ${what}`);
  if (enabled === false) {
    throw refuse('ObjectIsDisabled', 'is disabled: enable its oldest version in the vault');
  }
  if (notBefore !== undefined && now < notBefore.getTime()) {
    throw refuse('ObjectMustNotBeUsed', `must not be used before ${notBefore.toISOString()}`);
  }
  if (expiresOn !== undefined && now >= expiresOn.getTime()) {
    throw refuse('ObjectIsExpired', `has expired at ${expiresOn.toISOString()}`);
  }
}

function notFound(name: string): KeyStoreError {
  return new KeyStoreError('not-found', `${product}: ${name} does not exist`);
}

function taken(name: string, present: Version): KeyStoreError {
  const stored = storedName(present);
  if (stored === name) return new KeyStoreError('exists', `${product}: ${name} already exists`);
  return new KeyStoreError(
    'invalid-name',
    `${product} does not tell names apart by case, and there is ${stored}: choose another name than ${name}`,
  );
}

function invalidName(name: string): KeyStoreError {
  return new KeyStoreError(
    'invalid-name',
    `${product} has no names like ${name}: use only 0-9, A-Z, a-z and -`,
  );
}
