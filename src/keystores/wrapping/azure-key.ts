// An RSA key of Azure Key Vault (or Managed HSM) as wrapping key, with RSA-OAEP-256. RSA binds nothing
// beside the value, so the context goes inside: what is wrapped is the data key followed by the SHA-256 of
// the context, compared in constant time when it comes back. The id that is stored names the version of the
// key, so that what an older version wrapped stays readable after a rotation.

import { createHash, timingSafeEqual } from 'node:crypto';
import type { TokenCredential } from '@azure/identity';
import type { CryptographyClient, CryptographyClientOptions } from '@azure/keyvault-keys';
import { KeyStoreError } from '../../keys/key-store.ts';
import type { AzureCredentials } from '../azure/client.ts';
import { azureHttpClient } from '../azure/http.ts';
import {
  type CloudDeps,
  cloudLimits,
  describeNetworkError,
  networkErrorCode,
  openConnections,
  parseEndpoint,
  withinMs,
} from '../cloud-calls.ts';
import { saidBy } from '../create-once.ts';
import { loadPackage } from '../load-package.ts';
import { checkRoundTrip, parseStoredId } from './check.ts';
import type { WrappingKey } from './wrapping-key.ts';

/** `key`: the name of a key, or `name/version`. Without credentials of one kind, those of the environment. */
export type AzureKeySettings = {
  readonly endpoint?: string | undefined;
  readonly key?: string | undefined;
  readonly credentials?: AzureCredentials | undefined;
  readonly managed_identity?: { readonly client_id?: string | undefined } | undefined;
};

const system = 'azure-key';
const product = 'Azure Key Vault';
const algorithm = 'RSA-OAEP-256';
const digestBytes = 32;
/** For one call with all its attempts; a first call logs in as well. */
const deadlineMs = 15_000;
const versionPattern = /^[0-9A-Za-z-]{1,127}\/[0-9a-f]{32}$/;

type Keys = typeof import('@azure/keyvault-keys');

type Parts = {
  readonly keys: Keys;
  readonly vault: string;
  readonly credential: TokenCredential;
  readonly options: CryptographyClientOptions;
  readonly close: () => Promise<void>;
};

/** Finds the newest version, wraps and unwraps once; rejects with `KeyStoreError` when that fails. */
export async function openAzureKey(
  settings: AzureKeySettings,
  deps: Partial<CloudDeps> = {},
): Promise<WrappingKey> {
  const keys = await loadPackage('@azure/keyvault-keys', () => import('@azure/keyvault-keys'));
  const url = parseEndpoint(product, settings.endpoint ?? '');
  const limits = { ...cloudLimits, ...deps.limits };
  const { connections, close } = await openConnections(url, limits, deps.connections);
  const delayMs = limits.retryDelayMs;
  const options = {
    httpClient: azureHttpClient({ connections, limits }),
    retryOptions: { maxRetries: 2, retryDelayInMs: delayMs, maxRetryDelayInMs: delayMs * 4 },
  };
  try {
    const credential = await openCredential(settings, url, options);
    const parts: Parts = { keys, vault: url.origin, credential, options, close };
    const key = new AzureKey(parts, await resolveVersion(parts, settings.key ?? ''));
    await key.check();
    return key;
  } catch (error) {
    await close();
    throw error;
  }
}

/** Clouds whose tokens come from elsewhere, by the end of the vault's host name. */
const authorities: Readonly<Record<string, string>> = {
  '.azure.cn': 'https://login.chinacloudapi.cn',
  '.usgovcloudapi.net': 'https://login.microsoftonline.us',
};

async function openCredential(
  settings: AzureKeySettings,
  url: URL,
  options: CryptographyClientOptions,
): Promise<TokenCredential> {
  const identity = await loadPackage('@azure/identity', () => import('@azure/identity'));
  const { credentials, managed_identity: managed } = settings;
  const suffix = Object.keys(authorities).find((each) => url.hostname.endsWith(each));
  const authorityHost = authorities[suffix ?? ''];
  const all = { ...options, ...(authorityHost === undefined ? {} : { authorityHost }) };
  if (credentials?.client_id) {
    const { tenant_id: tenant = '', client_id: client, client_secret: secret = '' } = credentials;
    return new identity.ClientSecretCredential(tenant, client, secret, all);
  }
  if (managed?.client_id) {
    return new identity.ManagedIdentityCredential({ clientId: managed.client_id, ...options });
  }
  return new identity.DefaultAzureCredential(all);
}

/** `name/version`: as configured, or the newest one there is. */
async function resolveVersion(parts: Parts, keyName: string): Promise<string> {
  if (versionPattern.test(keyName)) return keyName;
  if (!/^[0-9A-Za-z-]{1,127}$/.test(keyName)) {
    throw new KeyStoreError('failed', `${product}: the key must be a name, or name/version`);
  }
  const client = new parts.keys.KeyClient(parts.vault, parts.credential, parts.options);
  const found = await guard('read', keyName, (abortSignal) => {
    return client.getKey(keyName, { abortSignal });
  });
  const version = `${keyName}/${found.properties.version ?? ''}`;
  const isRsa = found.keyType === 'RSA' || found.keyType === 'RSA-HSM';
  if (isRsa && versionPattern.test(version)) return version;
  throw new KeyStoreError('failed', `${product}: ${keyName} must be a key of type RSA or RSA-HSM`);
}

class AzureKey implements WrappingKey {
  readonly id: string;
  readonly #parts: Parts;
  readonly #version: string;
  /** By `name/version`; as many as a vault has had versions in use. */
  readonly #clients = new Map<string, CryptographyClient>();

  constructor(parts: Parts, version: string) {
    this.#parts = parts;
    this.#version = version;
    this.id = `${system}:${parts.vault}/keys/${version}`;
  }

  async wrap(plaintext: Uint8Array, context: Uint8Array): Promise<Buffer> {
    const bound = Buffer.concat([plaintext, digestOf(context)]);
    try {
      const { result } = await guard('wrap', this.#version, (abortSignal) =>
        this.#client(this.#version).wrapKey(algorithm, bound, { abortSignal }),
      );
      return Buffer.from(requireBytes(result));
    } finally {
      bound.fill(0);
    }
  }

  async unwrap(wrapped: Uint8Array, context: Uint8Array, id: string): Promise<Buffer> {
    const version = this.#versionOf(id);
    const answer = await guard('unwrap', version, (abortSignal) =>
      this.#client(version).unwrapKey(algorithm, wrapped, { abortSignal }),
    );
    const result = requireBytes(answer.result);
    try {
      const end = result.length - digestBytes;
      const isBound = end > 0 && timingSafeEqual(result.subarray(end), digestOf(context));
      if (isBound) return Buffer.from(result.subarray(0, end));
      throw new KeyStoreError('failed', `${product}: a stored key was moved to another name`);
    } finally {
      result.fill(0);
    }
  }

  /** Only versions in the configured vault: a stored id must not send a token elsewhere. */
  #versionOf(id: string): string {
    const url = parseStoredId(id, system, /^https?:\/\//);
    const prefix = `${this.#parts.vault}/keys/`;
    const version = url.startsWith(prefix) ? url.slice(prefix.length) : '';
    if (versionPattern.test(version)) return version;
    throw new KeyStoreError(
      'failed',
      `a stored key was wrapped by ${url}, which is not in the configured vault ${this.#parts.vault}`,
    );
  }

  #client(version: string): CryptographyClient {
    const known = this.#clients.get(version);
    if (known) return known;
    const { keys, vault, credential, options } = this.#parts;
    const client = new keys.CryptographyClient(`${vault}/keys/${version}`, credential, options);
    this.#clients.set(version, client);
    return client;
  }

  check(): Promise<void> {
    return checkRoundTrip(this);
  }

  async close(): Promise<void> {
    this.#clients.clear();
    await this.#parts.close();
  }
}

/** What the SDK promises and an answer may lack. */
function requireBytes(bytes: Uint8Array | undefined): Uint8Array {
  if (bytes !== undefined && bytes.length > 0) return bytes;
  throw new KeyStoreError('failed', `${product} answered without a value`);
}

function digestOf(context: Uint8Array): Buffer {
  return createHash('sha256').update(context).digest();
}

type SdkError = Error & { readonly statusCode?: number; readonly code?: string };

/** The error is not passed on as a cause: it holds the request, and the request a data key. */
async function guard<T>(
  action: string,
  version: string,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const what = `${product}: cannot ${action} with key ${version}`;
  try {
    return await withinMs(deadlineMs, what, work);
  } catch (error) {
    if (error instanceof KeyStoreError) throw error;
    const { statusCode, code, message, name } = error as SdkError;
    const isUnanswered =
      statusCode === undefined &&
      (networkErrorCode(error) !== undefined ||
        code === 'REQUEST_SEND_ERROR' ||
        /endpoints_resolution_error|network_error/.test(message));
    if (isUnanswered) {
      throw new KeyStoreError('unreachable', `${what}: ${describeNetworkError(error)}`);
    }
    if (error instanceof SyntaxError) {
      // The parser's message quotes the answer.
      throw new KeyStoreError('failed', `${what}: its answer is not JSON`);
    }
    const hint = hints[statusCode ?? 0] ?? '';
    throw new KeyStoreError('failed', `${what}: ${code ?? name}: ${saidBy(message)}${hint}`);
  }
}

const hints: Readonly<Record<number, string>> = {
  400: ' (the stored key was changed, or is of another key)',
  401: ' (check the credentials)',
  403: ' (enable the key, and grant it get, wrapKey and unwrapKey: role Key Vault Crypto Service Encryption User)',
  404: ' (check the name of the key and the vault)',
  429: ' (Azure limits how often it may be asked)',
};
