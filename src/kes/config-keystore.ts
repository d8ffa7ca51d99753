// Which key store a configuration names, and whether it is completely described. Each store is one row of
// a table: where its section is, what it must have (in the order in which it is asked for), what more it
// checks. The texts are the documented ones.

import type { KeyStoreSection } from './config-schema.ts';
import { KesConfigError } from './config-yaml.ts';

/** The chosen key store; `settings` is its section as written. */
export type KeyStoreConfig =
  | { readonly type: 'fs'; readonly path: string }
  | { readonly type: 'memory' }
  | { readonly type: RemoteStore; readonly settings: unknown };

export type RemoteStore = 'vault' | 'fortanix' | 'gemalto' | 'gcp' | 'aws' | 'azure' | 'entrust';

/** One thing a store checks: the value that must be there, or a complaint that must not. */
type Check = { readonly need: string | undefined; readonly what: string };

function requireAll(store: string, checks: readonly (Check | string | undefined)[]): void {
  for (const check of checks) {
    if (check === undefined) continue;
    if (typeof check === 'string')
      throw new KesConfigError(`kesconf: invalid ${store} keystore: ${check}`);
    if (isMissing(check.need)) {
      throw new KesConfigError(`kesconf: invalid ${store} keystore: no ${check.what} specified`);
    }
  }
}

function isMissing(value: string | undefined): boolean {
  return value === undefined || value === '';
}

/** Picks and checks the one key store of a configuration. Throws `KesConfigError`. */
export function readKeyStore(section: KeyStoreSection | undefined): KeyStoreConfig {
  const found = section === undefined ? [] : sections(section);
  if (found.length > 1) {
    throw new KesConfigError('kesconf: invalid keystore config: more than once keystore specified');
  }
  const chosen = found[0];
  if (chosen === undefined) throw new KesConfigError('kesconf: no keystore specified');
  return chosen();
}

function sections(section: KeyStoreSection): (() => KeyStoreConfig)[] {
  const { fs, memory, vault } = section;
  const fortanix = section.fortanix?.sdkms;
  const gemalto = section.gemalto?.keysecure;
  const gcp = section.gcp?.secretmanager;
  const aws = section.aws?.secretsmanager;
  const azure = section.azure?.keyvault;
  const entrust = section.entrust?.keycontrol;
  const all: (false | undefined | (() => KeyStoreConfig))[] = [
    fs && (() => readFs(fs)),
    memory && (() => ({ type: 'memory' })),
    vault && (() => readVault(vault)),
    fortanix && (() => readFortanix(fortanix)),
    gemalto && (() => readGemalto(gemalto)),
    gcp && (() => readGcp(gcp)),
    aws && (() => readAws(aws)),
    azure && (() => readAzure(azure)),
    entrust && (() => readEntrust(entrust)),
  ];
  return all.filter((read) => typeof read === 'function');
}

function readFs(settings: NonNullable<KeyStoreSection['fs']>): KeyStoreConfig {
  requireAll('fs', [{ need: settings.path, what: 'path' }]);
  return { type: 'fs', path: settings.path ?? '' };
}

function readVault(settings: NonNullable<KeyStoreSection['vault']>): KeyStoreConfig {
  const { approle, kubernetes, transit, tls } = settings;
  requireAll('vault', [
    { need: settings.endpoint, what: 'endpoint' },
    ...(approle === undefined && kubernetes === undefined
      ? ['no authentication method specified']
      : []),
    ...(approle !== undefined && kubernetes !== undefined
      ? ['more than one authentication method specified']
      : []),
    approle && isMissing(approle.id)
      ? 'invalid approle config: no approle ID specified'
      : undefined,
    approle && isMissing(approle.secret)
      ? 'invalid approle config: no approle secret specified'
      : undefined,
    kubernetes && isMissing(kubernetes.jwt)
      ? 'invalid kubernetes config: no JWT specified'
      : undefined,
    transit && isMissing(transit.key) ? 'invalid transit config: no key name specified' : undefined,
    tls && !isMissing(tls.key) && isMissing(tls.cert)
      ? 'invalid tls config: no TLS certificate provided'
      : undefined,
    tls && isMissing(tls.key) && !isMissing(tls.cert)
      ? 'invalid tls config: no TLS private key provided'
      : undefined,
  ]);
  return { type: 'vault', settings };
}

function readFortanix(
  settings: NonNullable<NonNullable<KeyStoreSection['fortanix']>['sdkms']>,
): KeyStoreConfig {
  requireAll('fortanix SDKMS', [
    { need: settings.endpoint, what: 'endpoint' },
    { need: settings.credentials?.key, what: 'API key' },
  ]);
  return { type: 'fortanix', settings };
}

function readGemalto(
  settings: NonNullable<NonNullable<KeyStoreSection['gemalto']>['keysecure']>,
): KeyStoreConfig {
  requireAll('gemalto keysecure', [
    { need: settings.endpoint, what: 'endpoint' },
    { need: settings.credentials?.token, what: 'token' },
  ]);
  return { type: 'gemalto', settings };
}

function readGcp(
  settings: NonNullable<NonNullable<KeyStoreSection['gcp']>['secretmanager']>,
): KeyStoreConfig {
  const { credentials } = settings;
  const isUsed = Object.values(credentials ?? {}).some((value) => !isMissing(value));
  requireAll('GCP secretmanager', [
    { need: settings.project_id, what: 'project ID' },
    ...(isUsed
      ? [
          { need: credentials?.client_email, what: 'client email' },
          { need: credentials?.client_id, what: 'client ID' },
          { need: credentials?.private_key_id, what: 'private key ID' },
          { need: credentials?.private_key, what: 'private key' },
        ]
      : []),
  ]);
  return { type: 'gcp', settings };
}

function readAws(
  settings: NonNullable<NonNullable<KeyStoreSection['aws']>['secretsmanager']>,
): KeyStoreConfig {
  requireAll('AWS secretsmanager', [
    { need: settings.endpoint, what: 'endpoint' },
    { need: settings.region, what: 'region' },
  ]);
  return { type: 'aws', settings };
}

function readAzure(
  settings: NonNullable<NonNullable<KeyStoreSection['azure']>['keyvault']>,
): KeyStoreConfig {
  const { credentials, managed_identity: managed } = settings;
  requireAll('Azure keyvault', [
    { need: settings.endpoint, what: 'endpoint' },
    credentials !== undefined && managed !== undefined
      ? 'more than one authentication method specified'
      : undefined,
    ...(credentials === undefined
      ? []
      : [
          { need: credentials.tenant_id, what: 'tenant ID' },
          { need: credentials.client_id, what: 'client ID' },
          { need: credentials.client_secret, what: 'client secret' },
        ]),
    managed === undefined ? undefined : { need: managed.client_id, what: 'client ID' },
  ]);
  return { type: 'azure', settings };
}

function readEntrust(
  settings: NonNullable<NonNullable<KeyStoreSection['entrust']>['keycontrol']>,
): KeyStoreConfig {
  requireAll('Entrust KeyControl', [
    { need: settings.endpoint, what: 'endpoint' },
    { need: settings.vault_id, what: 'vault ID' },
    { need: settings.box_id, what: 'box ID' },
    { need: settings.credentials?.username, what: 'username' },
    { need: settings.credentials?.password, what: 'password' },
  ]);
  return { type: 'entrust', settings };
}
