// Keys in Google Secret Manager: one secret per name with its text in version 1, as the reference keeps
// them. Creating takes two calls, the secret and its version, so the rule is: whose version got number 1 has
// created the key. Whoever finds a secret without versions (a creator that crashed, or one that is at it
// right now) adds one and may win; the number tells everyone the same. A version's number is strongly
// consistent at Google, and so is reading it.
//
// The SDK speaks REST here, over connections of ours.

import type { SecretManagerServiceClient } from '@google-cloud/secret-manager';
import type { Dispatcher } from 'undici';
import { KeyStoreError, type KeyStoreStatus } from '../../keys/key-store.ts';
import {
  type CloudDeps,
  type CloudLimits,
  checkValueSize,
  cloudLimits,
  isSecretName,
  openConnections,
  parseEndpoint,
  pause,
  probeEndpoint,
  retryDelay,
  withinMs,
} from '../cloud-calls.ts';
import { type GcpAction, gcpError, isRefusal, isTransient } from './errors.ts';
import { type GcpSecretsSettings, gcpClientOptions, silenceSdk } from './client.ts';
import { loadPackage } from '../load-package.ts';
import type { SecretStore } from '../secret-store.ts';

export type { GcpSecretsSettings } from './client.ts';

const product = 'Google Secret Manager';
const defaultEndpoint = 'https://secretmanager.googleapis.com';
const valueBytesMax = 65_536;
const pageSize = 1_000;
const pagesMax = 1_000;
const attemptsMax = 3;
const createRoundsMax = 3;
/** Attempts are counted here, not in the SDK. */
const callOptions = { retry: { retryCodes: [] as number[] } };

/** Reaches the endpoint and proves the credentials once. Rejects with `KeyStoreError`. */
export async function openGcpSecrets(
  settings: GcpSecretsSettings,
  deps: CloudDeps,
): Promise<SecretStore> {
  const url = parseEndpoint(product, settings.endpoint || defaultEndpoint);
  const sdk = await loadPackage('@google-cloud/secret-manager', () => {
    return import('@google-cloud/secret-manager');
  });
  const limits = { ...cloudLimits, ...deps.limits };
  const { connections, close } = await openConnections(url, limits, deps.connections);
  const client = new sdk.SecretManagerServiceClient(
    await gcpClientOptions(settings, { url, connections, attemptMs: limits.attemptMs }),
  );
  silenceSdk(client);
  const project = `projects/${settings.project_id ?? ''}`;
  const store = new GcpSecrets({ client, connections, close, url, limits, project });
  try {
    await store.check(deps);
    return store;
  } catch (error) {
    await close();
    throw gcpError(error, 'list');
  }
}

type Parts = {
  readonly client: SecretManagerServiceClient;
  readonly connections: Dispatcher;
  readonly close: () => Promise<void>;
  readonly url: URL;
  readonly limits: CloudLimits;
  readonly project: string;
};

type AddOutcome = 'first' | 'later' | 'no-secret';

class GcpSecrets implements SecretStore {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Throws unless the credentials are good; lacking the permission to list is only logged. */
  async check(deps: CloudDeps): Promise<void> {
    const { client, limits, project } = this.#parts;
    const status = await this.status();
    if (status.state !== 'available') {
      throw new KeyStoreError('unreachable', `${product}: ${status.reason}`);
    }
    // Calls to a client that cannot start leave rejections that nobody handles: it has to start first.
    await withinMs(limits.changeMs, `${product}: start`, () => client.initialize());
    try {
      await this.#repeated('list', '', limits.changeMs, () => this.#page(1, undefined), true);
    } catch (error) {
      if (!isRefusal(error, 'PERMISSION_DENIED')) throw gcpError(error, 'list');
      deps.log.warn(`${product}: keys cannot be listed: grant secretmanager.secrets.list`, {
        project,
      });
    }
  }

  async create(name: string, value: string): Promise<void> {
    checkValueSize(product, value, valueBytesMax);
    for (let round = 1; round <= createRoundsMax; round += 1) {
      const isNew = await this.#createSecret(name);
      if (!isNew && (await this.#findFirst(name)) !== 'none') throw exists(name);
      const outcome = await this.#addVersion(name, value);
      if (outcome === 'first') return;
      if (outcome === 'later') throw exists(name);
    }
    throw new KeyStoreError('failed', `${product}: ${name} is deleted while it is created`);
  }

  /** False when there is such a secret. */
  async #createSecret(name: string): Promise<boolean> {
    const { client, limits, project } = this.#parts;
    const secret = { replication: { automatic: {} } };
    try {
      await this.#repeated('create', name, limits.changeMs, () =>
        client.createSecret({ parent: project, secretId: name, secret }, callOptions),
      );
      return true;
    } catch (error) {
      if (error instanceof KeyStoreError && error.code === 'exists') return false;
      throw error;
    }
  }

  /** The text of version 1; `none` when there is no such version, undefined when it cannot be read. */
  async #findFirst(name: string): Promise<{ readonly text: string } | 'none' | undefined> {
    const { limits } = this.#parts;
    try {
      const text = await this.#repeated('get', name, limits.readMs, () => this.#read(name), true);
      return { text };
    } catch (error) {
      if (isRefusal(error, 'NOT_FOUND')) return 'none';
      if (isRefusal(error, 'FAILED_PRECONDITION')) return undefined;
      throw gcpError(error, 'get', name);
    }
  }

  /**
   * Adds a version and tells whether it is number 1. After an attempt without an answer a later number
   * proves nothing: then what version 1 holds decides.
   */
  async #addVersion(name: string, value: string): Promise<AddOutcome> {
    const { client, limits, project } = this.#parts;
    const request = { parent: `${project}/secrets/${name}`, payload: { data: Buffer.from(value) } };
    const what = `${product}: create ${name}`;
    let isUnsure = false;
    for (let attempt = 1; ; attempt += 1) {
      try {
        const [version] = await withinMs(limits.changeMs, what, () =>
          client.addSecretVersion(request, callOptions),
        );
        const number = /\/versions\/(\d+)$/.exec(version.name ?? '')?.[1];
        if (number === undefined)
          throw new KeyStoreError('failed', `${what}: no version was named`);
        if (number === '1') return 'first';
        return isUnsure && (await this.#holdsFirst(name, value)) ? 'first' : 'later';
      } catch (error) {
        if (isRefusal(error, 'NOT_FOUND')) return 'no-secret';
        if (!isTransient(error)) throw gcpError(error, 'create', name);
        isUnsure ||= !isRefusal(error, 'RESOURCE_EXHAUSTED');
        if (attempt === attemptsMax) {
          if (isUnsure && (await this.#holdsFirst(name, value))) return 'first';
          throw gcpError(error, 'create', name);
        }
      }
      await pause(retryDelay(limits));
    }
  }

  async #holdsFirst(name: string, value: string): Promise<boolean> {
    const first = await this.#findFirst(name);
    return typeof first === 'object' && first.text === value;
  }

  async get(name: string): Promise<string> {
    return this.#repeated('get', name, this.#parts.limits.readMs, () => this.#read(name));
  }

  async #read(name: string): Promise<string> {
    const { client, project } = this.#parts;
    const version = `${project}/secrets/${name}/versions/1`;
    const [answer] = await client.accessSecretVersion({ name: version }, callOptions);
    const data = answer.payload?.data;
    if (data === undefined || data === null || data.length === 0) {
      throw new KeyStoreError('failed', `${product} answered without the value of ${name}`);
    }
    return typeof data === 'string' ? data : Buffer.from(data).toString('latin1');
  }

  async delete(name: string): Promise<void> {
    const { client, limits, project } = this.#parts;
    try {
      // Once only: a repeated one could delete what was created in between.
      await withinMs(limits.changeMs, `${product}: delete ${name}`, () =>
        client.deleteSecret({ name: `${project}/secrets/${name}` }, callOptions),
      );
    } catch (error) {
      const told = gcpError(error, 'delete', name);
      if (told.code === 'not-found') return;
      throw isTransient(error) ? new KeyStoreError('unreachable', told.message) : told;
    }
  }

  async list(): Promise<string[]> {
    const { limits } = this.#parts;
    const names = new Set<string>();
    let token: string | undefined;
    for (let page = 0; page < pagesMax; page += 1) {
      const answer = await this.#repeated('list', '', limits.readMs, () => {
        return this.#page(pageSize, token);
      });
      for (const name of answer.names) if (isSecretName(name)) names.add(name);
      token = answer.next;
      if (!token) return [...names];
    }
    throw new KeyStoreError('failed', `${product} lists more than ${pagesMax} pages`);
  }

  async #page(
    size: number,
    token: string | undefined,
  ): Promise<{ readonly names: string[]; readonly next: string | undefined }> {
    const { client, project } = this.#parts;
    const [secrets, , raw] = await client.listSecrets(
      { parent: project, pageSize: size, ...(token ? { pageToken: token } : {}) },
      { ...callOptions, autoPaginate: false },
    );
    return {
      names: secrets.map(({ name }) => name?.split('/').at(-1) ?? ''),
      next: raw?.nextPageToken ?? undefined,
    };
  }

  status(): Promise<KeyStoreStatus> {
    const { url, connections, limits } = this.#parts;
    return probeEndpoint(url, connections, limits);
  }

  async close(): Promise<void> {
    await this.#parts.client.close();
    await this.#parts.close();
  }

  /** Several attempts of a call that does no harm twice; what it throws last as `KeyStoreError`, or as it is with `isRaw`. */
  async #repeated<T>(
    action: GcpAction,
    name: string,
    limitMs: number,
    work: () => Promise<T>,
    isRaw = false,
  ): Promise<T> {
    try {
      return await withinMs(limitMs, `${product}: ${action} ${name}`.trimEnd(), async (signal) => {
        for (let attempt = 1; ; attempt += 1) {
          try {
            return await work();
          } catch (error) {
            if (attempt === attemptsMax || signal.aborted || !isTransient(error)) throw error;
          }
          await pause(retryDelay(this.#parts.limits), signal);
        }
      });
    } catch (error) {
      throw isRaw ? error : gcpError(error, action, name);
    }
  }
}

function exists(name: string): KeyStoreError {
  return new KeyStoreError('exists', `${product}: cannot create ${name}: ALREADY_EXISTS`);
}
