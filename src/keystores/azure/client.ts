// How the Azure SDK is set up: who asks (client secret, managed identity, or what the environment offers),
// with bounded attempts, over our connections.

import type { TokenCredential } from '@azure/identity';
import type { SecretClient } from '@azure/keyvault-secrets';
import type { Dispatcher } from 'undici';
import { azureHttpClient, type DateObserver } from './http.ts';
import type { CloudLimits } from '../cloud-calls.ts';
import { loadPackage } from '../load-package.ts';

/** An application of Azure, as in the configuration. */
export type AzureCredentials = {
  readonly tenant_id?: string | undefined;
  readonly client_id?: string | undefined;
  readonly client_secret?: string | undefined;
};

/** As in the configuration. Without both credentials, those of the environment: variables, workload identity, managed identity, Azure CLI. */
export type AzureSecretsSettings = {
  readonly endpoint?: string | undefined;
  readonly credentials?: AzureCredentials | undefined;
  readonly managed_identity?: { readonly client_id?: string | undefined } | undefined;
};

/** Clouds whose tokens come from elsewhere, by the end of the vault's host name. */
const authorities: Readonly<Record<string, string>> = {
  '.vault.azure.cn': 'https://login.chinacloudapi.cn',
  '.vault.usgovcloudapi.net': 'https://login.microsoftonline.us',
};

type Transport = {
  readonly url: URL;
  readonly connections: Dispatcher;
  readonly limits: CloudLimits;
  readonly observe: DateObserver;
};

/** A client of the vault; asks for nothing yet. */
export async function makeAzureClient(
  settings: AzureSecretsSettings,
  transport: Transport,
): Promise<SecretClient> {
  const { url, connections, observe, limits } = transport;
  const sdk = await loadPackage('@azure/keyvault-secrets', () => import('@azure/keyvault-secrets'));
  return new sdk.SecretClient(url.origin, await makeCredential(settings, transport), {
    serviceVersion: '7.5',
    retryOptions: { maxRetries: 7, ...delaysOf(limits) },
    httpClient: azureHttpClient({ connections, limits, observe }),
  });
}

async function makeCredential(
  settings: AzureSecretsSettings,
  transport: Transport,
): Promise<TokenCredential> {
  const identity = await loadPackage('@azure/identity', () => import('@azure/identity'));
  const { url, connections, limits } = transport;
  const suffix = Object.keys(authorities).find((each) => url.hostname.endsWith(each));
  const authorityHost = authorities[suffix ?? ''];
  const options = {
    httpClient: azureHttpClient({ connections, limits }),
    retryOptions: { maxRetries: 2, ...delaysOf(limits) },
    ...(authorityHost === undefined ? {} : { authorityHost }),
  };
  const { credentials, managed_identity: managed } = settings;
  if (credentials?.client_id) {
    const { tenant_id: tenant = '', client_id: client, client_secret: secret = '' } = credentials;
    return new identity.ClientSecretCredential(tenant, client, secret, options);
  }
  if (managed?.client_id) {
    return new identity.ManagedIdentityCredential({ clientId: managed.client_id, ...options });
  }
  return new identity.DefaultAzureCredential(options);
}

function delaysOf(limits: CloudLimits): { retryDelayInMs: number; maxRetryDelayInMs: number } {
  return { retryDelayInMs: limits.retryDelayMs, maxRetryDelayInMs: limits.retryDelayMs * 4 };
}
