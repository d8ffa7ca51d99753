// Reads which key management service the environment asks for: a KES server, a static key, or none. The
// documented variables, their exclusions and their error texts are kept exactly (docs/settings). Rule kept
// here: a configuration that is incomplete or contradicts itself is an error, never a silent default, and
// no error or printed configuration shows a secret.

import type { KeyObject } from 'node:crypto';
import { createSecretKey } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { KesApiKey } from '../wire/kes-identity.ts';
import { KesIdentityError, parseApiKey } from '../wire/kes-identity.ts';
import { expandEllipses } from './ellipses.ts';

/** The variables as given; undefined is "not set", empty is "set". */
export type KmsEnv = Readonly<Record<string, string | undefined>>;

export type KesCredentials =
  | { readonly kind: 'api-key'; readonly apiKey: KesApiKey }
  | {
      readonly kind: 'files';
      readonly certFile: string;
      readonly keyFile: string;
      readonly password: KeyObject | undefined;
    };

export type KmsConfig =
  | {
      readonly kind: 'kes';
      /** `https://host:port`, at least one. */
      readonly endpoints: readonly string[];
      readonly keyName: string;
      readonly credentials: KesCredentials;
      /** A PEM file, or a directory of them, trusted in addition to the system's roots. */
      readonly caPath: string | undefined;
    }
  | { readonly kind: 'static'; readonly keyName: string; readonly key: KeyObject };

export type KmsConfigErrorCode = 'conflict' | 'incomplete' | 'invalid' | 'unsupported';

/** Thrown by `parseKmsConfig`; the message is meant for the operator as it stands. */
export class KmsConfigError extends Error {
  readonly code: KmsConfigErrorCode;
  constructor(code: KmsConfigErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'KmsConfigError';
    this.code = code;
  }
}

const kesVariables = [
  'MINIO_KMS_KES_ENDPOINT',
  'MINIO_KMS_KES_KEY_NAME',
  'MINIO_KMS_KES_API_KEY',
  'MINIO_KMS_KES_CERT_FILE',
  'MINIO_KMS_KES_KEY_FILE',
  'MINIO_KMS_KES_KEY_PASSWORD',
  'MINIO_KMS_KES_CAPATH',
] as const;

/** In the order in which a missing one is reported. */
const minkmsVariables = [
  'MINIO_KMS_SERVER',
  'MINIO_KMS_ENCLAVE',
  'MINIO_KMS_SSE_KEY',
  'MINIO_KMS_API_KEY',
] as const;

const secretsDir = '/run/secrets';
const staticKeyBytes = 32;

/**
 * The configuration the environment asks for; undefined when no KMS variable is set. Reads the file that
 * `MINIO_KMS_SECRET_KEY_FILE` names, and no other. Throws `KmsConfigError`.
 */
export function parseKmsConfig(env: KmsEnv): KmsConfig | undefined {
  const staticSource = findStaticSource(env);
  const isSet = (name: string) => env[name] !== undefined;
  const hasMinkms = minkmsVariables.some(isSet);
  const hasKes = kesVariables.some(isSet);
  const hasStatic = staticSource.text !== undefined || staticSource.file !== undefined;
  refuseTwo([
    ['MinIO KMS', hasMinkms],
    ['MinIO KES', hasKes],
    ['static KMS key', hasStatic],
  ]);
  if (hasMinkms) throw minkmsError(env);
  if (hasKes) return parseKes(env);
  if (hasStatic) return parseStatic(staticSource);
  return undefined;
}

/** True for the documented spellings of "on"; false for everything else, malformed text included. */
export function parseKmsBoolean(text: string | undefined): boolean {
  if (text === undefined) return false;
  return /^(1|t|T|true|TRUE|True|on|ON|On)$/.test(text) || text.toLowerCase() === 'enabled';
}

/** Whether every upload without an encryption header of its own is to be encrypted (SSE-S3). */
export function parseAutoEncryption(env: KmsEnv): boolean {
  return parseKmsBoolean(env['MINIO_KMS_AUTO_ENCRYPTION']);
}

function refuseTwo(groups: readonly (readonly [name: string, isPresent: boolean])[]): void {
  const present = groups.filter(([, isPresent]) => isPresent).map(([name]) => name);
  const [first, second] = present;
  if (first === undefined || second === undefined) return;
  const text = `kms: configuration for ${first} and ${second} is present`;
  throw new KmsConfigError('conflict', text);
}

function minkmsError(env: KmsEnv): KmsConfigError {
  const missing = minkmsVariables.find((name) => env[name] === undefined);
  if (missing !== undefined) return incomplete('MinIO KMS', `'${missing}'`);
  if (endpointItems(env['MINIO_KMS_SERVER'] ?? '').length === 0) {
    return new KmsConfigError('invalid', 'kms: no KMS server endpoint provided');
  }
  const text =
    "kms: MinIO KMS is not supported: remove 'MINIO_KMS_SERVER', 'MINIO_KMS_ENCLAVE', " +
    "'MINIO_KMS_SSE_KEY' and 'MINIO_KMS_API_KEY', and set 'MINIO_KMS_KES_ENDPOINT' to a key service";
  return new KmsConfigError('unsupported', text);
}

// ---- KES ------------------------------------------------------------------------------------------

function parseKes(env: KmsEnv): KmsConfig {
  const endpointText = env['MINIO_KMS_KES_ENDPOINT'];
  const keyName = env['MINIO_KMS_KES_KEY_NAME'];
  if (endpointText === undefined) throw incomplete('MinIO KES', "'MINIO_KMS_KES_ENDPOINT'");
  if (keyName === undefined) throw incomplete('MinIO KES', "'MINIO_KMS_KES_KEY_NAME'");
  const credentials = parseCredentials(env);
  const endpoints = endpointItems(endpointText).flatMap(parseEndpointItem);
  if (endpoints.length === 0) {
    throw new KmsConfigError('invalid', 'kms: no KES server endpoint provided');
  }
  if (keyName === '') {
    const text = "kms: invalid configuration for MinIO KES: 'MINIO_KMS_KES_KEY_NAME' is empty";
    throw new KmsConfigError('invalid', text);
  }
  const caPath = env['MINIO_KMS_KES_CAPATH'];
  return {
    kind: 'kes',
    endpoints,
    keyName,
    credentials,
    caPath: caPath === '' ? undefined : caPath,
  };
}

function parseCredentials(env: KmsEnv): KesCredentials {
  const apiKeyText = env['MINIO_KMS_KES_API_KEY'];
  const certFile = env['MINIO_KMS_KES_CERT_FILE'];
  const keyFile = env['MINIO_KMS_KES_KEY_FILE'];
  const password = env['MINIO_KMS_KES_KEY_PASSWORD'];
  const hasFiles = certFile !== undefined || keyFile !== undefined || password !== undefined;
  if (hasFiles && apiKeyText !== undefined) {
    const text =
      "kms: invalid configuration for MinIO KES: 'MINIO_KMS_KES_API_KEY' and client certificate is present";
    throw new KmsConfigError('conflict', text);
  }
  if (apiKeyText !== undefined) return { kind: 'api-key', apiKey: readApiKey(apiKeyText) };
  if (!hasFiles) throw incomplete('MinIO KES', 'authentication method');
  if (!certFile) throw incomplete('MinIO KES', "'MINIO_KMS_KES_CERT_FILE'");
  if (!keyFile) throw incomplete('MinIO KES', "'MINIO_KMS_KES_KEY_FILE'");
  const secret = password ? createSecretKey(Buffer.from(password, 'utf8')) : undefined;
  return { kind: 'files', certFile, keyFile, password: secret };
}

function readApiKey(text: string): KesApiKey {
  try {
    return parseApiKey(text.trim());
  } catch (error) {
    if (!(error instanceof KesIdentityError)) throw error;
    const message = `kms: invalid 'MINIO_KMS_KES_API_KEY': ${error.message.replace(/^kes: /, '')}`;
    throw new KmsConfigError('invalid', message);
  }
}

/** Refuses user information before any part of the text can get into an error. */
function endpointItems(text: string): string[] {
  if (text.includes('@')) {
    const problem = 'kms: invalid endpoint: a user name or password is not allowed';
    throw new KmsConfigError('invalid', problem);
  }
  return text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

function parseEndpointItem(item: string): string[] {
  const expanded = expandEllipses(item);
  if (expanded.kind === 'invalid') throw invalidEndpoint(item, expanded.reason);
  return expanded.items.map((text) => {
    if (/^http:/i.test(text)) throw invalidEndpoint(item, 'only https is supported');
    const url = URL.parse(text.includes('://') ? text : `https://${text}`);
    if (url?.protocol !== 'https:' || url.hostname === '') {
      throw invalidEndpoint(item, 'expected https://host:port');
    }
    if (url.pathname !== '/' || url.search !== '' || url.hash !== '') {
      throw invalidEndpoint(item, 'nothing may follow the port');
    }
    return url.origin;
  });
}

function invalidEndpoint(item: string, reason: string): KmsConfigError {
  return new KmsConfigError('invalid', `kms: invalid endpoint '${item}': ${reason}`);
}

function incomplete(group: string, what: string): KmsConfigError {
  const text = `kms: incomplete configuration for ${group}: missing ${what}`;
  return new KmsConfigError('incomplete', text);
}

// ---- static key -----------------------------------------------------------------------------------

type StaticSource = { readonly text: string | undefined; readonly file: string | undefined };

/** Container images always define both variables: an empty one, or a file that is not there, is unset. */
function findStaticSource(env: KmsEnv): StaticSource {
  const text = env['MINIO_KMS_SECRET_KEY'];
  const file = env['MINIO_KMS_SECRET_KEY_FILE'];
  return { text: text === '' ? undefined : text, file: file ? findSecretFile(file) : undefined };
}

function findSecretFile(file: string): string | undefined {
  return [file, join(secretsDir, file)].find((path) => existsSync(path));
}

function parseStatic(source: StaticSource): KmsConfig {
  if (source.text !== undefined && source.file !== undefined) {
    const text =
      "kms: invalid configuration for static KMS key: 'MINIO_KMS_SECRET_KEY' and 'MINIO_KMS_SECRET_KEY_FILE' are present";
    throw new KmsConfigError('conflict', text);
  }
  return parseStaticKey(source.text ?? readSecretFile(source.file ?? ''));
}

function readSecretFile(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const text = `kms: cannot read the file of 'MINIO_KMS_SECRET_KEY_FILE': ${file}`;
    throw new KmsConfigError('invalid', text, { cause: error });
  }
}

/** `<name>:<base64 of 32 bytes>`; line breaks are ignored, blanks are not. Throws `KmsConfigError`. */
export function parseStaticKey(text: string): Extract<KmsConfig, { kind: 'static' }> {
  const colon = text.indexOf(':');
  if (colon < 0) throw new KmsConfigError('invalid', 'kms: invalid secret key format');
  const keyName = text.slice(0, colon);
  const encoded = text.slice(colon + 1).replace(/[\r\n]/g, '');
  const bytes = Buffer.from(encoded, 'base64');
  if (bytes.toString('base64') !== encoded) {
    throw new KmsConfigError('invalid', 'kms: invalid secret key format: not base64 text');
  }
  if (bytes.length !== staticKeyBytes) {
    throw new KmsConfigError('invalid', `kms: invalid key length ${bytes.length}`);
  }
  if (keyName === '') {
    const reason = 'kms: invalid secret key format: the key has no name';
    throw new KmsConfigError('invalid', reason);
  }
  const key = createSecretKey(bytes);
  bytes.fill(0);
  return { kind: 'static', keyName, key };
}
