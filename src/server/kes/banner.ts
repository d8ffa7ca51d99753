// What the key service prints when it is up: version, key store, addresses, admin.

import { networkInterfaces } from 'node:os';
import type { KesConfig } from '../../kes/config/config.ts';
import { formatLogLevel } from '../../kes/config/log-level.ts';
import type { KeyStoreConfig } from '../../kes/config/keystore.ts';
import { isIdentity } from '../../wire/kes-identity.ts';
import { readVersion } from '../version.ts';

/** The banner, one string with line breaks. `apiKey` is shown in development mode only. */
export function formatBanner(
  config: KesConfig,
  running: { readonly host: string; readonly port: number; readonly apiKey?: string },
): string {
  const row = (name: string, value: string) => `${name.padEnd(12)}${value}`;
  const [first, ...others] = reachableHosts(running.host).map((host) => urlOf(host, running.port));
  const { audit, error } = config.log;
  return [
    row('Version', `${readVersion()} commit=${readVersion()}`),
    row('Runtime', `node ${process.version} ${process.platform}/${process.arch}`),
    row('License', 'Apache-2.0'),
    row('Copyright', 'The Coffer authors'),
    '',
    row('KMS', storeBanner(config.keyStore)),
    row('API', `· ${first}`),
    ...others.map((url) => row('', `· ${url}`)),
    '',
    row('Docs', 'docs/formats/kes-protocol.md'),
    '',
    ...(running.apiKey === undefined ? [] : [row('API Key', running.apiKey)]),
    row('Admin', isIdentity(config.admin) ? config.admin : '<disabled>'),
    row('Logs', `error=stderr level=${formatLogLevel(error)}`),
    ...(audit > 0 ? [] : [row('', `audit=stdout level=${formatLogLevel(audit)}`)]),
    '',
    '=> Server is up and running...',
    '',
  ].join('\n');
}

/** What a key store is called, and where it is. */
function storeBanner(store: KeyStoreConfig): string {
  switch (store.type) {
    case 'fs':
      return `Filesystem: ${store.path}`;
    case 'memory':
      return 'In Memory';
    case 'gcp':
      return `GCP SecretManager: project ${store.settings.project_id}`;
    default:
      return `${productNames[store.type]}: ${withoutUser(store.settings.endpoint ?? '')}`;
  }
}

const productNames = {
  vault: 'Hashicorp Vault',
  fortanix: 'Fortanix SDKMS',
  gemalto: 'Gemalto KeySecure',
  aws: 'AWS SecretsManager',
  azure: 'Azure KeyVault',
  entrust: 'Entrust KeyControl',
  kmip: 'KMIP',
} as const;

/** An endpoint as it may be shown: user information can be a password. */
function withoutUser(endpoint: string): string {
  return endpoint.replace(/^([a-z]+:\/\/)?.*@/i, '$1');
}

function urlOf(host: string, port: number): string {
  return `https://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

function reachableHosts(host: string): string[] {
  if (host !== '0.0.0.0' && host !== '::') return [host];
  const addresses = interfaceAddresses();
  const four = addresses.filter((address) => !address.includes(':'));
  const chosen = four.length > 0 ? four : addresses;
  return chosen.length > 0 ? chosen : ['127.0.0.1'];
}

/** The addresses of this machine, link-local ones left out. */
export function interfaceAddresses(): string[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .map((entry) => entry.address)
    .filter((address) => !/^(?:fe80:|169\.254\.)/i.test(address));
}
