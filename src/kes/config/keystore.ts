// Which key store a configuration names, and whether it is completely described. Each store is one row of
// a table: where its section is, what it must have (in the order in which it is asked for), what more it
// checks. The texts are the documented ones.

import type { KeyStoreSection, WrappingSection } from './schema.ts';
import { KesConfigError } from './yaml.ts';

type Section<Name extends keyof KeyStoreSection> = NonNullable<KeyStoreSection[Name]>;

export type VaultSettings = Section<'vault'>;
export type FortanixSettings = NonNullable<Section<'fortanix'>['sdkms']>;
export type GemaltoSettings = NonNullable<Section<'gemalto'>['keysecure']>;
export type GcpSettings = NonNullable<Section<'gcp'>['secretmanager']>;
export type AwsSettings = NonNullable<Section<'aws'>['secretsmanager']>;
export type AzureSettings = NonNullable<Section<'azure'>['keyvault']>;
export type EntrustSettings = NonNullable<Section<'entrust'>['keycontrol']>;
export type KmipSettings = Section<'kmip'>;

/** The chosen key store; `settings` is its section as written, with what it needs checked. */
export type KeyStoreConfig =
  | { readonly type: 'fs'; readonly path: string }
  | { readonly type: 'memory' }
  | { readonly type: 'vault'; readonly settings: VaultSettings }
  | { readonly type: 'fortanix'; readonly settings: FortanixSettings }
  | { readonly type: 'gemalto'; readonly settings: GemaltoSettings }
  | { readonly type: 'gcp'; readonly settings: GcpSettings }
  | { readonly type: 'aws'; readonly settings: AwsSettings }
  | { readonly type: 'azure'; readonly settings: AzureSettings }
  | { readonly type: 'entrust'; readonly settings: EntrustSettings }
  | { readonly type: 'kmip'; readonly settings: KmipSettings };

export type AwsKmsSettings = NonNullable<NonNullable<WrappingSection['aws']>['kms']>;
export type GcpKmsSettings = NonNullable<NonNullable<WrappingSection['gcp']>['kms']>;
export type AzureKeySettings = NonNullable<NonNullable<WrappingSection['azure']>['keyvault']>;
export type Pkcs11Settings = NonNullable<WrappingSection['pkcs11']>;

/** The key of another system under which every stored key is wrapped. */
export type WrappingConfig =
  | { readonly type: 'aws'; readonly settings: AwsKmsSettings }
  | { readonly type: 'gcp'; readonly settings: GcpKmsSettings }
  | { readonly type: 'azure'; readonly settings: AzureKeySettings }
  | { readonly type: 'pkcs11'; readonly settings: Pkcs11Settings };

/** One thing a store checks: the value that must be there, or a complaint that must not. */
type Check = { readonly need: string | undefined; readonly what: string };

/** Where the section of each store is, by the name that messages use. */
const sectionPaths: Readonly<Record<string, readonly string[]>> = {
  'fortanix SDKMS': ['fortanix', 'sdkms'],
  'gemalto keysecure': ['gemalto', 'keysecure'],
  'GCP secretmanager': ['gcp', 'secretmanager'],
  'AWS secretsmanager': ['aws', 'secretsmanager'],
  'Azure keyvault': ['azure', 'keyvault'],
  'Entrust KeyControl': ['entrust', 'keycontrol'],
  KMIP: ['kmip'],
};

function requireAll(store: string, checks: readonly (Check | string | undefined)[]): void {
  for (const check of checks) {
    if (check === undefined) continue;
    const isComplaint = typeof check === 'string';
    if (!isComplaint && !isMissing(check.need)) continue;
    const problem = isComplaint ? check : `no ${check.what} specified`;
    throw new KesConfigError(`kesconf: invalid ${store} keystore: ${problem}`, {
      at: ['keystore', ...(sectionPaths[store] ?? [store])],
    });
  }
}

function isMissing(value: string | undefined): boolean {
  return value === undefined || value === '';
}

/** Picks and checks the one key store of a configuration. Throws `KesConfigError`. */
export function readKeyStore(section: KeyStoreSection | undefined): KeyStoreConfig {
  const found = section === undefined ? [] : sections(section);
  if (found.length > 1) {
    throw new KesConfigError(
      'kesconf: invalid keystore config: more than once keystore specified',
      { at: ['keystore'] },
    );
  }
  const chosen = found[0];
  if (chosen === undefined) {
    throw new KesConfigError('kesconf: no keystore specified', { at: ['keystore'] });
  }
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
    section.kmip && (() => readKmip(section.kmip ?? {})),
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

function readKmip(settings: KmipSettings): KeyStoreConfig {
  requireAll('KMIP', [
    { need: settings.endpoint, what: 'endpoint' },
    { need: settings.tls?.key, what: 'TLS private key' },
    { need: settings.tls?.cert, what: 'TLS certificate' },
  ]);
  return { type: 'kmip', settings };
}

/** Picks and checks the wrapping key, if there is one. Throws `KesConfigError`. */
export function readWrapping(section: WrappingSection | undefined): WrappingConfig | undefined {
  const aws = section?.aws?.kms;
  const gcp = section?.gcp?.kms;
  const azure = section?.azure?.keyvault;
  const pkcs11 = section?.pkcs11;
  const all: (undefined | (() => WrappingConfig))[] = [
    aws && (() => readAwsKms(aws)),
    gcp && (() => readGcpKms(gcp)),
    azure && (() => readAzureKey(azure)),
    pkcs11 && (() => readPkcs11(pkcs11)),
  ];
  const found = all.filter((read) => read !== undefined);
  if (found.length > 1) {
    throw new KesConfigError(
      'kesconf: invalid wrapping config: more than one wrapping key specified',
      { at: ['wrapping'] },
    );
  }
  return found[0]?.();
}

function requireForWrapping(
  name: string,
  needs: Readonly<Record<string, string | undefined>>,
): void {
  for (const [what, value] of Object.entries(needs)) {
    if (!isMissing(value)) continue;
    throw new KesConfigError(`kesconf: invalid ${name} wrapping key: no ${what} specified`, {
      at: ['wrapping'],
    });
  }
}

function readAwsKms(settings: AwsKmsSettings): WrappingConfig {
  requireForWrapping('AWS KMS', { key: settings.key, region: settings.region });
  return { type: 'aws', settings };
}

function readGcpKms(settings: GcpKmsSettings): WrappingConfig {
  requireForWrapping('GCP KMS', { key: settings.key });
  return { type: 'gcp', settings };
}

function readAzureKey(settings: AzureKeySettings): WrappingConfig {
  requireForWrapping('Azure keyvault', { endpoint: settings.endpoint, key: settings.key });
  return { type: 'azure', settings };
}

function readPkcs11(settings: Pkcs11Settings): WrappingConfig {
  const { library, token, pin, key } = settings;
  requireForWrapping('PKCS#11', { library, token, pin, key });
  return { type: 'pkcs11', settings };
}
