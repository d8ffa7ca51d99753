// The folder of a sandbox: configuration and keys of a key service and a store on this machine, made once
// and used again at the next start. Everything in it may be deleted. The keys lie beside the data they
// encrypt, so they protect nothing.

import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { createClientCertificate, formatApiKey, generateApiKey } from '../wire/kes-identity.ts';

/** The master key of the documented procedure. */
export const playKeyName = 'my-minio-sse-s3-key';
/** The alias of the store in the client's configuration. */
export const playAlias = 'play';

const rootUser = 'sandbox';
const validMs = 10 * 365 * 24 * 3600 * 1000;

/** How the commands are typed from the current directory. */
export type Program = { readonly kes: string; readonly mc: string };

export type PlayAddresses = {
  /** `HOST:PORT` on loopback. */
  readonly store: string;
  readonly kes: string;
};

export type PlayFolder = {
  readonly directory: string;
  readonly addresses: PlayAddresses;
  readonly kesConfig: string;
  readonly kesCertificate: string;
  readonly kesLog: string;
  readonly rootKey: string;
  readonly rootCert: string;
  readonly apiKeyFile: string;
  readonly storeEnv: string;
  readonly storeData: string;
  readonly storeCerts: string;
  readonly storeLog: string;
  readonly mcConfig: string;
};

/** Where everything is; nothing is read or written. */
export function planFolder(directory: string, addresses: PlayAddresses): PlayFolder {
  const at = (...names: string[]): string => join(directory, ...names);
  return {
    directory,
    addresses,
    kesConfig: at('kes', 'config.yml'),
    kesCertificate: at('kes', 'public.crt'),
    kesLog: at('kes', 'kes.log'),
    rootKey: at('root.key'),
    rootCert: at('root.cert'),
    apiKeyFile: at('root.api-key'),
    storeEnv: at('store.env'),
    storeData: at('data'),
    storeCerts: at('certs'),
    storeLog: at('store.log'),
    mcConfig: at('mc'),
  };
}

/** True when a sandbox was made here before. */
export function isFolderMade(folder: PlayFolder): boolean {
  return existsSync(folder.kesConfig) && existsSync(folder.storeEnv);
}

/** Writes what is missing. Addresses in the configuration of clients follow this start. */
export async function makeFolder(folder: PlayFolder): Promise<void> {
  for (const path of [folder.directory, join(folder.directory, 'kes'), folder.mcConfig]) {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  }
  if (!isFolderMade(folder)) {
    await makeKeys(folder);
    writePrivate(folder.storeEnv, formatStoreEnv(randomBytes(15).toString('base64url')));
  }
  writePrivate(join(folder.mcConfig, 'config.json'), formatClientConfig(folder));
}

/** The settings that connect the store to the key service: step 2 of the procedure. */
export function formatKmsSettings(folder: PlayFolder): string[] {
  return [
    `export MINIO_KMS_KES_ENDPOINT=https://${folder.addresses.kes}`,
    `export MINIO_KMS_KES_KEY_NAME=${playKeyName}`,
    `export MINIO_KMS_KES_KEY_FILE=${folder.rootKey}`,
    `export MINIO_KMS_KES_CERT_FILE=${folder.rootCert}`,
    `export MINIO_KMS_KES_CAPATH=${folder.kesCertificate}`,
  ];
}

async function makeKeys(folder: PlayFolder): Promise<void> {
  const root = generateApiKey();
  const client = await createClientCertificate(root, { validMs });
  writePrivate(folder.rootKey, client.key);
  writePrivate(folder.rootCert, client.cert);
  writePrivate(folder.apiKeyFile, `${formatApiKey(root)}\n`);
  const server = await createClientCertificate(generateApiKey(), {
    commonName: 'localhost',
    dnsNames: ['localhost'],
    ipAddresses: ['127.0.0.1', '::1'],
    isServer: true,
    validMs,
  });
  const keyFile = join(folder.directory, 'kes', 'private.key');
  writePrivate(folder.kesCertificate, server.cert);
  writePrivate(keyFile, server.key);
  const config = [
    '# The key service of the sandbox.',
    'version: v1',
    'admin:',
    `  identity: ${root.identity}`,
    'tls:',
    `  key: ${JSON.stringify(keyFile)}`,
    `  cert: ${JSON.stringify(folder.kesCertificate)}`,
    'keystore:',
    '  fs:',
    `    path: ${JSON.stringify(join(folder.directory, 'kes', 'keys'))}`,
    '',
  ];
  writePrivate(folder.kesConfig, config.join('\n'));
}

function formatStoreEnv(password: string): string {
  return [
    '# Settings of the sandbox store, read at start and at every `mc admin service restart`.',
    `export MINIO_ROOT_USER=${rootUser}`,
    `export MINIO_ROOT_PASSWORD=${password}`,
    '',
  ].join('\n');
}

function formatClientConfig(folder: PlayFolder): string {
  const password = /^export MINIO_ROOT_PASSWORD=(\S+)$/m.exec(
    readFileSync(folder.storeEnv, 'utf8'),
  )?.[1];
  const alias = {
    url: `http://${folder.addresses.store}`,
    accessKey: rootUser,
    secretKey: password ?? '',
    api: 'S3v4',
    path: 'auto',
  };
  return `${JSON.stringify({ version: '10', aliases: { [playAlias]: alias } }, undefined, 2)}\n`;
}

function writePrivate(file: string, text: string): void {
  writeFileSync(file, text, { mode: 0o600 });
}
