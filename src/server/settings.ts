// Every setting of the store, declared once: name, type, default, one line of help, and whether the
// value is a secret. `coffer server --help` and `docs/settings.md` are generated from this table (`settings-page.ts`), and a
// test compares them. Names that the documents of MinIO use keep their name and their rules; what those
// systems did not have is `COFFER_…`.

import { type Owner, rootOwner } from '../iam/identity.ts';
import { parseKmsBoolean } from '../kms/config.ts';

/** How a value is written. `secret` values are never printed. */
export type SettingType =
  | 'text'
  | 'secret'
  | 'file'
  | 'boolean'
  | 'integer'
  | 'bytes'
  | 'duration'
  | 'list'
  | 'choice';

/** One setting. `group` is the heading it stands under in the help and in the reference page. */
export type Setting = {
  readonly name: string;
  readonly group: 'Credentials' | 'Encryption' | 'Service' | 'Tuning' | 'Logs and metrics';
  readonly type: SettingType;
  /** As written in the environment; empty for none. */
  readonly default: string;
  readonly help: string;
  readonly choices?: readonly string[];
  /** Bounds of `integer` and `bytes`, and of `duration` in milliseconds, inclusive. */
  readonly min?: number;
  readonly max?: number;
};

/** The one table of settings, in the order of the documents. */
export const settings: readonly Setting[] = [
  {
    name: 'MINIO_ROOT_USER',
    group: 'Credentials',
    type: 'text',
    default: '',
    help: 'Access key of the root user, 3 characters or more. Unset: made at random on first start and shown once.',
  },
  {
    name: 'MINIO_ROOT_PASSWORD',
    group: 'Credentials',
    type: 'secret',
    default: '',
    help: 'Secret key of the root user, 8 characters or more. Set together with MINIO_ROOT_USER.',
  },
  {
    name: 'MINIO_ROOT_USER_FILE',
    group: 'Credentials',
    type: 'file',
    default: '',
    help: 'File that holds the text of MINIO_ROOT_USER, for secrets of containers; a name is also looked for in /run/secrets. Excludes MINIO_ROOT_USER.',
  },
  {
    name: 'MINIO_ROOT_PASSWORD_FILE',
    group: 'Credentials',
    type: 'file',
    default: '',
    help: 'File that holds the text of MINIO_ROOT_PASSWORD, found like that of MINIO_ROOT_USER_FILE. Excludes MINIO_ROOT_PASSWORD.',
  },
  {
    name: 'COFFER_ROOT_OWNER_ID',
    group: 'Credentials',
    type: 'text',
    default: '',
    help: 'Canonical id of root as the owner of buckets and objects, 64 lower-case hexadecimal digits. Unset: one that is the same on every server.',
  },
  {
    name: 'COFFER_ROOT_DISPLAY_NAME',
    group: 'Credentials',
    type: 'text',
    default: 'coffer',
    help: 'Name of root beside its owner id.',
  },
  {
    name: 'MINIO_CONFIG_ENV_FILE',
    group: 'Credentials',
    type: 'file',
    default: '',
    help: 'File of settings, read at start and again at every restart. Its values win over the environment; --env-file wins over this.',
  },
  {
    name: 'MINIO_KMS_KES_ENDPOINT',
    group: 'Encryption',
    type: 'list',
    default: '',
    help: 'URL of the key service, or several, separated by commas.',
  },
  {
    name: 'MINIO_KMS_KES_KEY_NAME',
    group: 'Encryption',
    type: 'text',
    default: '',
    help: 'Name of the default master key. Created at start if it does not exist and the identity may do so.',
  },
  {
    name: 'MINIO_KMS_KES_API_KEY',
    group: 'Encryption',
    type: 'secret',
    default: '',
    help: 'API key (kes:v1:…) that the store shows to the key service. Excludes a client certificate.',
  },
  {
    name: 'MINIO_KMS_KES_CERT_FILE',
    group: 'Encryption',
    type: 'file',
    default: '',
    help: 'Client certificate (PEM) for the key service, with MINIO_KMS_KES_KEY_FILE. Excludes an API key.',
  },
  {
    name: 'MINIO_KMS_KES_KEY_FILE',
    group: 'Encryption',
    type: 'file',
    default: '',
    help: 'Private key (PEM) of the client certificate.',
  },
  {
    name: 'MINIO_KMS_KES_KEY_PASSWORD',
    group: 'Encryption',
    type: 'secret',
    default: '',
    help: 'Password of an encrypted private key file.',
  },
  {
    name: 'MINIO_KMS_KES_CAPATH',
    group: 'Encryption',
    type: 'file',
    default: '',
    help: 'CA certificate of the key service: a file, or a directory of files, trusted besides the system ones.',
  },
  {
    name: 'MINIO_KMS_SECRET_KEY',
    group: 'Encryption',
    type: 'secret',
    default: '',
    help: 'One master key without a key service, as NAME:BASE64 of 32 bytes. Excludes MINIO_KMS_KES_….',
  },
  {
    name: 'MINIO_KMS_SECRET_KEY_FILE',
    group: 'Encryption',
    type: 'file',
    default: '',
    help: 'File that holds the text of MINIO_KMS_SECRET_KEY. A file that does not exist counts as unset.',
  },
  {
    name: 'MINIO_KMS_AUTO_ENCRYPTION',
    group: 'Encryption',
    type: 'boolean',
    default: 'off',
    help: 'Encrypt every new object with SSE-S3 that no header and no bucket default asks to encrypt.',
  },
  {
    name: 'COFFER_SSE_C_OVER_HTTP',
    group: 'Encryption',
    type: 'boolean',
    default: 'off',
    help: 'Accept keys of clients (SSE-C) over plain HTTP, where others can read them: for tests, or behind a proxy that ends TLS.',
  },
  {
    name: 'COFFER_BLOCK_SSE_C',
    group: 'Encryption',
    type: 'boolean',
    default: 'off',
    help: 'New buckets refuse objects under keys of clients (SSE-C) until BlockedEncryptionTypes of their encryption says NONE. Buckets that are there are left as they are.',
  },
  {
    name: 'COFFER_DSSE_KEY_NAME',
    group: 'Encryption',
    type: 'text',
    default: '',
    help: 'Name of the master key of the outer layer of DSSE-KMS (aws:kms:dsse). Empty: the same as the inner layer.',
  },
  {
    name: 'COFFER_BUCKET_KEY_SECONDS',
    group: 'Encryption',
    type: 'integer',
    default: '300',
    min: 0,
    max: 300,
    help: 'How long a bucket key serves without asking the key service for another; with a key service that takes no notes of uses, a disabled master key goes on to serve as long. 0: each is used once.',
  },
  {
    name: 'MINIO_ADDRESS',
    group: 'Service',
    type: 'text',
    default: ':9000',
    help: 'HOST:PORT to listen on; --address wins. Read at start only.',
  },
  {
    name: 'COFFER_OWNER_RIGHTS',
    group: 'Service',
    type: 'boolean',
    default: 'off',
    help: 'Users may do everything with the buckets and objects that they made, as accounts of AWS may, unless a policy denies it. Off: they may do what their policies, bucket policies and access lists allow, so that detaching a policy takes its rights away.',
  },
  {
    name: 'MINIO_REGION',
    group: 'Service',
    type: 'text',
    default: '',
    help: 'Region that requests must be signed for. Empty: any region. Also MINIO_SITE_REGION and MINIO_REGION_NAME.',
  },
  {
    name: 'MINIO_SITE_REGION',
    group: 'Service',
    type: 'text',
    default: '',
    help: 'Another name of MINIO_REGION; wins over it.',
  },
  {
    name: 'MINIO_REGION_NAME',
    group: 'Service',
    type: 'text',
    default: '',
    help: 'Older name of MINIO_REGION; the others win over it.',
  },
  {
    name: 'MINIO_DOMAIN',
    group: 'Service',
    type: 'list',
    default: '',
    help: 'Domains whose subdomains name buckets (virtual-host style), separated by commas.',
  },
  {
    name: 'MINIO_PROMETHEUS_AUTH_TYPE',
    group: 'Logs and metrics',
    type: 'choice',
    default: 'jwt',
    choices: ['jwt', 'public'],
    help: 'Who may read the metrics: holders of a bearer token of `mc admin prometheus generate`, or anyone.',
  },
  {
    name: 'COFFER_LOG_LEVEL',
    group: 'Logs and metrics',
    type: 'choice',
    default: 'info',
    choices: ['debug', 'info', 'warn', 'error'],
    help: 'Least important message to log. `debug` logs every request.',
  },
  {
    name: 'COFFER_WORKERS',
    group: 'Tuning',
    type: 'integer',
    default: '0',
    min: 0,
    max: 256,
    help: 'Worker processes. 0: one for each processor.',
  },
  {
    name: 'COFFER_INLINE_MAX_BYTES',
    group: 'Tuning',
    type: 'bytes',
    default: '',
    min: 0,
    max: 1024 * 1024,
    help: 'Largest object, in stored bytes, that is kept beside its record instead of in a file. Empty: the measured default.',
  },
  {
    name: 'COFFER_RESTART_TIMEOUT_SECONDS',
    group: 'Tuning',
    type: 'integer',
    default: '30',
    min: 1,
    max: 3600,
    help: 'How long new workers may take to get ready at a restart before the old ones are kept instead.',
  },
  {
    name: 'COFFER_DRAIN_SECONDS',
    group: 'Tuning',
    type: 'integer',
    default: '30',
    min: 1,
    max: 3600,
    help: 'How long a worker that was replaced keeps idle connections, and how long a stop waits for requests under way.',
  },
  {
    name: 'COFFER_LIFECYCLE_INTERVAL',
    group: 'Tuning',
    type: 'duration',
    default: '1h',
    min: 0,
    max: 7 * 86_400_000,
    help: 'Pause between two runs of the lifecycle rules of buckets, like 30m or 6h. 0: they are never run.',
  },
  {
    name: 'COFFER_LIFECYCLE_DAY',
    group: 'Tuning',
    type: 'integer',
    default: '86400',
    min: 1,
    max: 86_400,
    help: 'For tests only: seconds that lifecycle rules take for a day, so that objects expire sooner than their `x-amz-expiration` header says.',
  },
];

/** Settings as the server uses them. The KMS settings stay raw in `env`: their rules are `kms/config.ts`. */
export type ServerSettings = {
  /** The environment with the env file laid over it. Holds secrets. */
  readonly env: Readonly<Record<string, string>>;
  readonly rootCredentials: RootCredentials | undefined;
  /** How root is shown as an owner. */
  readonly rootOwner: Owner;
  readonly isAutoEncryption: boolean;
  /** Keys of SSE-C are taken over plain HTTP too. */
  readonly allowsKeysInClear: boolean;
  /** Users may do everything with what they own. */
  readonly grantsOwners: boolean;
  /** New buckets take no keys of clients. */
  readonly blocksSseC: boolean;
  /** Master key of the outer layer of DSSE-KMS; empty for that of the inner one. */
  readonly dsseKeyName: string;
  readonly bucketKeyMs: number;
  /** Empty: any. */
  readonly region: string;
  readonly domains: readonly string[];
  readonly metricsAccess: 'jwt' | 'public';
  readonly logLevel: LogLevel;
  /** 0: one for each processor. */
  readonly workers: number;
  readonly inlineMaxBytes: number | undefined;
  readonly restartTimeoutMs: number;
  readonly drainMs: number;
  /** 0: never. */
  readonly lifecycleIntervalMs: number;
  readonly lifecycleDayMs: number;
};

export type RootCredentials = { readonly accessKey: string; readonly secretKey: string };
export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export type SettingsErrorCode = 'invalid-setting' | 'env-file';

/** A setting that cannot be used. The message names it and says what is allowed, never a secret value. */
export class SettingsError extends Error {
  readonly code: SettingsErrorCode;
  constructor(code: SettingsErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'SettingsError';
    this.code = code;
  }
}

/** Reads all settings but the KMS group. Throws `SettingsError` that names the first wrong one. */
export function parseSettings(env: Readonly<Record<string, string>>): ServerSettings {
  const text = (name: string): string => settingText(env, name);
  return {
    env,
    rootCredentials: parseRootCredentials(env),
    rootOwner: parseRootOwner(env),
    isAutoEncryption: parseKmsBoolean(text('MINIO_KMS_AUTO_ENCRYPTION')),
    dsseKeyName: text('COFFER_DSSE_KEY_NAME'),
    bucketKeyMs: (integer(env, 'COFFER_BUCKET_KEY_SECONDS') ?? 300) * 1000,
    blocksSseC: parseKmsBoolean(text('COFFER_BLOCK_SSE_C')),
    allowsKeysInClear: parseKmsBoolean(text('COFFER_SSE_C_OVER_HTTP')),
    grantsOwners: parseKmsBoolean(text('COFFER_OWNER_RIGHTS')),
    region: text('MINIO_SITE_REGION') || text('MINIO_REGION') || text('MINIO_REGION_NAME'),
    domains: parseList(text('MINIO_DOMAIN')),
    metricsAccess: text('MINIO_PROMETHEUS_AUTH_TYPE') === 'public' ? 'public' : 'jwt',
    logLevel: parseLogLevel(text('COFFER_LOG_LEVEL')),
    workers: integer(env, 'COFFER_WORKERS') ?? 0,
    inlineMaxBytes: integer(env, 'COFFER_INLINE_MAX_BYTES'),
    restartTimeoutMs: (integer(env, 'COFFER_RESTART_TIMEOUT_SECONDS') ?? 30) * 1000,
    drainMs: (integer(env, 'COFFER_DRAIN_SECONDS') ?? 30) * 1000,
    lifecycleIntervalMs: durationMs(env, 'COFFER_LIFECYCLE_INTERVAL'),
    lifecycleDayMs: (integer(env, 'COFFER_LIFECYCLE_DAY') ?? 86_400) * 1000,
  };
}

/** Names in the environment that look like settings of the store but are none: probably misspelt. */
export function findUnknownSettings(env: Readonly<Record<string, string>>): string[] {
  const known = new Set(settings.map((setting) => setting.name));
  return Object.keys(env)
    .filter((name) => /^(COFFER_|MINIO_KMS_|MINIO_ROOT_)/.test(name) && !known.has(name))
    .sort();
}

/** The values of all secret settings that are set, so that tests and filters can look for them. */
export function listSecretValues(env: Readonly<Record<string, string>>): string[] {
  return settings
    .filter((setting) => setting.type === 'secret')
    .map((setting) => env[setting.name] ?? '')
    .filter((value) => value !== '');
}

function settingText(env: Readonly<Record<string, string>>, name: string): string {
  const setting = settings.find((each) => each.name === name);
  const value = env[name]?.trim();
  if (value === undefined || value === '') return setting?.default ?? '';
  if (setting?.choices && !setting.choices.includes(value)) {
    throw new SettingsError(
      'invalid-setting',
      `${name} is '${value}': set it to one of ${setting.choices.join(', ')}, or remove it`,
    );
  }
  return value;
}

function integer(env: Readonly<Record<string, string>>, name: string): number | undefined {
  const text = settingText(env, name);
  if (text === '') return undefined;
  const setting = settings.find((each) => each.name === name);
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  const min = setting?.min ?? 0;
  const max = setting?.max ?? Number.MAX_SAFE_INTEGER;
  if (!(value >= min && value <= max)) {
    throw new SettingsError(
      'invalid-setting',
      `${name} is '${text}': set it to a whole number from ${min} to ${max}, or remove it`,
    );
  }
  return value;
}

/** Numbers with units (`1h30m`), or `0`. */
function durationMs(env: Readonly<Record<string, string>>, name: string): number {
  const text = settingText(env, name);
  const setting = settings.find((each) => each.name === name);
  const value = /^(?:\d{1,9}[smhd])+$/.test(text)
    ? sumOfUnits(text)
    : text === '0'
      ? 0
      : Number.NaN;
  if (value >= (setting?.min ?? 0) && value <= (setting?.max ?? Number.MAX_SAFE_INTEGER)) {
    return value;
  }
  throw new SettingsError(
    'invalid-setting',
    `${name} is '${text}': set it to a duration like 90s, 30m or 1h, 7d at most, or remove it`,
  );
}

function sumOfUnits(text: string): number {
  const unitMs: Readonly<Record<string, number>> = {
    s: 1000,
    m: 60_000,
    h: 3_600_000,
    d: 86_400_000,
  };
  const parts = text.matchAll(/(\d+)([smhd])/g);
  return [...parts].reduce(
    (sum, [, count, unit]) => sum + Number(count) * (unitMs[unit ?? ''] ?? 0),
    0,
  );
}

function parseList(text: string): string[] {
  return text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

function parseLogLevel(text: string): LogLevel {
  if (text === 'debug' || text === 'warn' || text === 'error') return text;
  return 'info';
}

function parseRootOwner(env: Readonly<Record<string, string>>): Owner {
  const text = settingText(env, 'COFFER_ROOT_OWNER_ID');
  if (text !== '' && !/^[0-9a-f]{64}$/.test(text)) {
    throw new SettingsError(
      'invalid-setting',
      `COFFER_ROOT_OWNER_ID is '${text}': set it to 64 lower-case hexadecimal digits, or remove it`,
    );
  }
  const displayName = settingText(env, 'COFFER_ROOT_DISPLAY_NAME');
  return { ownerId: text === '' ? rootOwner.ownerId : text, displayName };
}

function parseRootCredentials(env: Readonly<Record<string, string>>): RootCredentials | undefined {
  const accessKey = env['MINIO_ROOT_USER'] ?? '';
  const secretKey = env['MINIO_ROOT_PASSWORD'] ?? '';
  if (accessKey === '' && secretKey === '') return undefined;
  if (accessKey === '' || secretKey === '') {
    const missing = accessKey === '' ? 'MINIO_ROOT_USER' : 'MINIO_ROOT_PASSWORD';
    throw new SettingsError(
      'invalid-setting',
      `${missing} is missing: set MINIO_ROOT_USER and MINIO_ROOT_PASSWORD together, or neither`,
    );
  }
  if (accessKey.length < 3 || /[\s=,/]/.test(accessKey)) {
    throw new SettingsError(
      'invalid-setting',
      "MINIO_ROOT_USER must have at least 3 characters and no blank, '=', ',' or '/'",
    );
  }
  if (secretKey.length < 8) {
    throw new SettingsError(
      'invalid-setting',
      'MINIO_ROOT_PASSWORD must have at least 8 characters',
    );
  }
  return { accessKey, secretKey };
}
