// The Azure adapter on its double, as the contracts want it.

import type { Dispatcher } from 'undici';
import { silentLog } from '../../../src/base/log.ts';
import {
  type AzureDeps,
  type AzureSecretsSettings,
  openAzureSecrets,
} from '../../../src/keystores/azure/secrets.ts';
import type { OpenedSecrets } from '../../contract/secret-store.ts';
import { withEscapedNames } from './azure-names.ts';
import { type AzureVaultDouble, startAzureVaultDouble } from './azure-vault.ts';
import { connectionsTo } from './cloud-hosts.ts';

/** Settings for the double, with a client secret. */
export function azureSettings(double: AzureVaultDouble): AzureSecretsSettings {
  const { id, secret } = double.client;
  return {
    endpoint: `https://${double.host}`,
    credentials: { tenant_id: double.tenant, client_id: id, client_secret: secret },
  };
}

/** Azure's own host names, led to the double. */
export function azureHosts(double: AzureVaultDouble): Record<string, string> {
  return {
    [double.host]: double.vault.origin,
    'login.microsoftonline.com': double.login.origin,
    '169.254.169.254': double.machine.origin,
  };
}

/** Repeats at once, and waits on the double's clock. */
export function azureDeps(double: AzureVaultDouble, connections: Dispatcher): AzureDeps {
  return { log: silentLog, limits: { retryDelayMs: 1 }, connections, clock: double.clock };
}

/** A fresh double and a store on it, under escaped names. */
export async function openAzureContract(): Promise<OpenedSecrets> {
  const double = await startAzureVaultDouble();
  const connections = connectionsTo(azureHosts(double));
  const open = async () =>
    withEscapedNames(await openAzureSecrets(azureSettings(double), azureDeps(double, connections)));
  return {
    store: await open(),
    openAgain: open,
    credentials: [double.client.secret],
    faults: double.vault,
    close: async () => {
      await connections.destroy();
      await double.close();
    },
  };
}
