// Keys in AWS Secrets Manager: one secret per name, its text in `SecretString`, as the reference keeps them.
// Creating is atomic there; the request token is the id of the version it makes, so that a create whose
// answer was lost is recognised as ours.
//
// The configured endpoint is that of Secrets Manager alone: the credential chain asks STS at its own.

import { randomUUID } from 'node:crypto';
import type {
  GetSecretValueCommandOutput,
  SecretsManagerClient,
  SecretsManagerClientConfig,
} from '@aws-sdk/client-secrets-manager';
import type { Dispatcher } from 'undici';
import type { Log } from '../../base/log.ts';
import { KeyStoreError, type KeyStoreStatus } from '../../keys/key-store.ts';
import { awsError, isAwsError, isBeingDeleted, isTransient } from './errors.ts';
import { type AwsCredentials, awsClientOptions, awsNoRetries } from './http.ts';
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
  withinMs,
} from '../cloud-calls.ts';
import { loadPackage } from '../load-package.ts';
import type { SecretStore } from '../secret-store.ts';

/** As in the configuration. Without `credentials`, the chain of the environment: variables, role, container, machine. */
export type AwsSecretsSettings = {
  readonly endpoint?: string | undefined;
  readonly region?: string | undefined;
  readonly kmskey?: string | undefined;
  readonly credentials?: AwsCredentials | undefined;
};

const product = 'AWS Secrets Manager';
const valueBytesMax = 65_536;
const pageSize = 100;
const pagesMax = 10_000;
/** Milliseconds between tries to reuse a name whose secret AWS is still deleting. */
const deletionPauseMs = 1_000;

type Sdk = typeof import('@aws-sdk/client-secrets-manager');

/** Reaches the endpoint and proves the credentials once. Rejects with `KeyStoreError`. */
export async function openAwsSecrets(
  settings: AwsSecretsSettings,
  deps: CloudDeps,
): Promise<SecretStore> {
  const url = parseEndpoint(product, settings.endpoint ?? '');
  const sdk = await loadPackage('@aws-sdk/client-secrets-manager', () => {
    return import('@aws-sdk/client-secrets-manager');
  });
  const limits = { ...cloudLimits, ...deps.limits };
  const opened = await openConnections(url, limits, deps.connections);
  const config = clientConfig(settings, { url, limits, connections: opened.connections });
  const client = new sdk.SecretsManagerClient(config);
  const onceClient = new sdk.SecretsManagerClient({
    ...config,
    credentials: client.config.credentials,
    retryStrategy: awsNoRetries(limits),
  });
  const clients = { client, onceClient };
  const store = new AwsSecrets({
    ...opened,
    ...clients,
    sdk,
    url,
    limits,
    kmsKey: settings.kmskey,
  });
  try {
    await store.check(deps.log);
    return store;
  } catch (error) {
    await store.close();
    throw error;
  }
}

function clientConfig(
  settings: AwsSecretsSettings,
  transport: Pick<Parts, 'url' | 'limits' | 'connections'>,
): SecretsManagerClientConfig {
  const options = awsClientOptions(settings.credentials, transport);
  return { endpoint: transport.url.href, region: settings.region ?? '', ...options };
}

type Parts = {
  readonly sdk: Sdk;
  readonly client: SecretsManagerClient;
  /** Makes one attempt, with the same credentials. */
  readonly onceClient: SecretsManagerClient;
  readonly connections: Dispatcher;
  readonly close: () => Promise<void>;
  readonly url: URL;
  readonly limits: CloudLimits;
  readonly kmsKey: string | undefined;
};

class AwsSecrets implements SecretStore {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Throws unless the credentials are good; lacking the permission to list is only logged. */
  async check(log: Log): Promise<void> {
    const { url, limits, sdk, client } = this.#parts;
    const status = await this.status();
    if (status.state !== 'available') {
      throw new KeyStoreError('unreachable', `${product}: ${status.reason}`);
    }
    try {
      await within('list', limits.changeMs, (options) =>
        client.send(new sdk.ListSecretsCommand({ MaxResults: 1 }), options),
      );
    } catch (error) {
      if (!isAwsError(error, 'AccessDeniedException')) throw awsError(error, 'list');
      log.warn('AWS Secrets Manager: keys cannot be listed: grant secretsmanager:ListSecrets', {
        endpoint: url.origin,
      });
    }
  }

  async create(name: string, value: string): Promise<void> {
    checkValueSize(product, value, valueBytesMax);
    const { limits } = this.#parts;
    const token = randomUUID();
    const until = performance.now() + limits.changeMs / 2;
    for (;;) {
      try {
        await this.#create(name, value, token);
        return;
      } catch (error) {
        // A name that was just deleted is free only when AWS has done its part, which takes seconds.
        const isWorthWaiting = isBeingDeleted(error) && performance.now() < until;
        if (!isWorthWaiting) throw awsError(error, 'create', name);
      }
      await pause(Math.min(deletionPauseMs, limits.attemptMs));
    }
  }

  async #create(name: string, value: string, token: string): Promise<void> {
    const { sdk, client, limits, kmsKey } = this.#parts;
    const command = new sdk.CreateSecretCommand({
      ClientRequestToken: token,
      Name: name,
      SecretString: value,
      ...(kmsKey ? { KmsKeyId: kmsKey } : {}),
    });
    try {
      await within('create', limits.changeMs, (options) => client.send(command, options));
    } catch (error) {
      const isRepeated = attemptsOf(error) > 1;
      if (!isAwsError(error, 'ResourceExistsException') || !isRepeated) throw error;
      if (!(await this.#isOurs(name, token))) throw error;
    }
  }

  /** Whether an earlier attempt of the create with this token made the secret. */
  async #isOurs(name: string, token: string): Promise<boolean> {
    try {
      await this.#read(name, token);
      return true;
    } catch (error) {
      if (isAwsError(error, 'ResourceNotFoundException')) return false;
      throw error;
    }
  }

  async get(name: string): Promise<string> {
    let answer: GetSecretValueCommandOutput;
    try {
      answer = await this.#read(name);
    } catch (error) {
      throw awsError(error, 'get', name);
    }
    const { SecretString: text, SecretBinary: bytes } = answer;
    if (text !== undefined) return text;
    if (bytes !== undefined) return Buffer.from(bytes).toString('latin1');
    throw new KeyStoreError('failed', `${product} answered without the value of ${name}`);
  }

  #read(name: string, version?: string): Promise<GetSecretValueCommandOutput> {
    const { sdk, client, limits } = this.#parts;
    const command = new sdk.GetSecretValueCommand({
      SecretId: name,
      ...(version === undefined ? {} : { VersionId: version }),
    });
    return within('get', limits.readMs, (options) => client.send(command, options));
  }

  async delete(name: string): Promise<void> {
    const { sdk, onceClient, limits } = this.#parts;
    const command = new sdk.DeleteSecretCommand({
      SecretId: name,
      ForceDeleteWithoutRecovery: true,
    });
    try {
      // Once only: a repeated one could delete what was created in between.
      await within('delete', limits.changeMs, (options) => onceClient.send(command, options));
    } catch (error) {
      if (isTransient(error)) {
        throw new KeyStoreError('unreachable', awsError(error, 'delete', name).message);
      }
      if (!isAwsError(error, 'ResourceNotFoundException')) throw awsError(error, 'delete', name);
    }
  }

  async list(): Promise<string[]> {
    const { sdk, client, limits } = this.#parts;
    const names = new Set<string>();
    let token: string | undefined;
    for (let page = 0; page < pagesMax; page += 1) {
      const command = new sdk.ListSecretsCommand({
        MaxResults: pageSize,
        ...(token === undefined ? {} : { NextToken: token }),
      });
      try {
        const { SecretList, NextToken } = await within('list', limits.readMs, (options) =>
          client.send(command, options),
        );
        if (!Array.isArray(SecretList)) {
          throw new KeyStoreError('failed', `${product}: the listing has no SecretList`);
        }
        for (const { Name = '' } of SecretList) if (isSecretName(Name)) names.add(Name);
        token = NextToken;
      } catch (error) {
        throw awsError(error, 'list');
      }
      if (!token) return [...names];
    }
    throw new KeyStoreError('failed', `${product} lists more than ${pagesMax} pages`);
  }

  status(): Promise<KeyStoreStatus> {
    const { url, connections, limits } = this.#parts;
    return probeEndpoint(url, connections, limits);
  }

  async close(): Promise<void> {
    this.#parts.client.destroy();
    this.#parts.onceClient.destroy();
    await this.#parts.close();
  }
}

function attemptsOf(error: unknown): number {
  const { $metadata } = error as { $metadata?: { attempts?: number } };
  return $metadata?.attempts ?? 1;
}

/** One call with all its attempts. */
function within<T>(
  action: string,
  limitMs: number,
  work: (options: { readonly abortSignal: AbortSignal }) => Promise<T>,
): Promise<T> {
  return withinMs(limitMs, `${product}: ${action}`, (abortSignal) => work({ abortSignal }));
}
