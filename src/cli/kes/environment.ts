// Where the key service is and who the caller is, from the environment. Of several names for one thing the
// first that is set wins, even if it is empty. Rule kept here: an API key and key files are never mixed,
// and no credential appears in an error.

import { KesCommandError } from './command-error.ts';

/** The environment as handed in. */
export type KesEnv = Readonly<Record<string, string | undefined>>;

/** The names of one setting, first wins. */
export const kesEnvOrder = {
  server: ['MINIO_KES_SERVER', 'KES_SERVER', 'MINIO_KMS_KES_ENDPOINT'],
  apiKey: ['MINIO_KES_API_KEY', 'KES_API_KEY', 'MINIO_KMS_KES_API_KEY'],
  keyFile: ['MINIO_KES_KEY_FILE', 'KES_CLIENT_KEY', 'MINIO_KES_CLIENT_KEY'],
  certFile: ['MINIO_KES_CERT_FILE', 'KES_CLIENT_CERT', 'MINIO_KES_CLIENT_CERT'],
} as const;

/** The server when none is configured. */
export const kesDefaultServer = '127.0.0.1:7373';

/** How the caller authenticates. */
export type KesCallerCredentials =
  | { readonly kind: 'api-key'; readonly text: string }
  | { readonly kind: 'files'; readonly keyFile: string; readonly certFile: string };

/** The endpoints, `https://host:port`; `list` (of a flag) goes before the environment. */
export function kesServers(env: KesEnv, list?: string): string[] {
  const text = list ?? firstSet(env, kesEnvOrder.server) ?? kesDefaultServer;
  const servers = text
    .split(',')
    .map((server) =>
      server
        .trim()
        .replace(/^https?:\/\//i, '')
        .replace(/\/+$/, ''),
    )
    .filter((server) => server !== '')
    .map((server) => `https://${server}`);
  if (servers.length > 0) return servers;
  const hint = `Consider setting ${kesEnvOrder.server[0]}`;
  throw new KesCommandError('failed', `no KES server specified. ${hint}`);
}

/** Throws `KesCommandError` when there are none, or ones that exclude each other. */
export function kesCredentials(env: KesEnv, apiKeyFlag?: string): KesCallerCredentials {
  if (apiKeyFlag !== undefined) return { kind: 'api-key', text: apiKeyFlag };
  const text = firstSet(env, kesEnvOrder.apiKey) ?? '';
  const keyFile = firstSet(env, kesEnvOrder.keyFile) ?? '';
  const certFile = firstSet(env, kesEnvOrder.certFile) ?? '';
  if (text === '' && keyFile === '' && certFile === '') {
    throw failed(`no API key specified. Consider setting ${kesEnvOrder.apiKey[0]}`);
  }
  if (text !== '') {
    if (keyFile !== '') {
      throw failed('API key and private key file cannot be used at the same time');
    }
    if (certFile !== '') {
      throw failed('API key and certificate file cannot be used at the same time');
    }
    return { kind: 'api-key', text };
  }
  if (certFile === '') {
    throw failed(`no certificate file specified. Consider setting ${kesEnvOrder.certFile[0]}`);
  }
  if (keyFile === '') {
    throw failed(`no private key file specified. Consider setting ${kesEnvOrder.keyFile[0]}`);
  }
  return { kind: 'files', keyFile, certFile };
}

function firstSet(env: KesEnv, names: readonly string[]): string | undefined {
  return names.map((name) => env[name]).find((value) => value !== undefined);
}

function failed(text: string): KesCommandError {
  return new KesCommandError('failed', text);
}
