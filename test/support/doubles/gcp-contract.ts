// The Google adapter on its double, as the contracts want it.

import type { Dispatcher } from 'undici';
import { silentLog } from '../../../src/base/log.ts';
import type { CloudDeps } from '../../../src/keystores/cloud-calls.ts';
import { type GcpSecretsSettings, openGcpSecrets } from '../../../src/keystores/gcp/secrets.ts';
import type { OpenedSecrets } from '../../contract/secret-store.ts';
import { connectionsTo } from './cloud-hosts.ts';
import { type GcpSecretsDouble, startGcpSecretsDouble } from './gcp-secrets.ts';

/** Settings for the double, with a service account whose key has its line ends escaped. */
export function gcpSettings(double: GcpSecretsDouble): GcpSecretsSettings {
  const { email, keyId, privateKey } = double.account;
  return {
    project_id: double.project,
    credentials: {
      client_email: email,
      client_id: '1122334455',
      private_key_id: keyId,
      private_key: privateKey.replaceAll('\n', '\\n'),
    },
  };
}

/** Google's own host names, led to the double. */
export function gcpHosts(double: GcpSecretsDouble): Record<string, string> {
  return {
    'secretmanager.googleapis.com': double.api.origin,
    'oauth2.googleapis.com': double.identity.origin,
  };
}

/** Repeats at once. */
export function gcpDeps(connections: Dispatcher): CloudDeps {
  return { log: silentLog, limits: { retryDelayMs: 1 }, connections };
}

/** A fresh double, with an account of this key, and a store on it. */
export async function openGcpContract(
  accountKey: Parameters<typeof startGcpSecretsDouble>[0],
): Promise<OpenedSecrets> {
  const double = await startGcpSecretsDouble(accountKey);
  const connections = connectionsTo(gcpHosts(double));
  const open = () => openGcpSecrets(gcpSettings(double), gcpDeps(connections));
  return {
    store: await open(),
    openAgain: open,
    credentials: [double.account.privateKey, double.account.privateKey.slice(60, 120)],
    faults: double.api,
    close: async () => {
      await connections.destroy();
      await double.close();
    },
  };
}
