// Builds the `Kms` of a configuration: reads the credential files, connects lazily, renews certificates,
// counts calls. Rule kept here: bad files are an error now; a key service that is down is not, because
// its calls say so and recover by themselves.

import type { Stats } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Registry } from 'prom-client';
import type { Log } from '../base/log.ts';
import type { Kms } from '../sse/kms.ts';
import { KesClient } from '../wire/kes-client.ts';
import { createClientCertificate } from '../wire/kes-identity.ts';
import { openPrivateKey } from '../wire/kes-private-key.ts';
import type { KesTls } from '../wire/kes-transport.ts';
import type { KesCredentials, KmsConfig } from './config.ts';
import { KmsConfigError } from './config.ts';
import { openKesKms } from './kes-kms.ts';
import type { KmsCalls } from './metered-kms.ts';
import { meterKms } from './metered-kms.ts';
import { openStaticKms } from './static-key.ts';

const reloadEveryMs = 15 * 60 * 1000;
/** A certificate made from an API key is valid for 90 days and made anew long before. */
const renewApiKeyMs = 30 * 24 * 3600 * 1000;

export type OpenKmsDeps = {
  readonly log: Log;
  /** Where the metrics are registered, if anywhere. */
  readonly registry?: Registry;
  /** Counts kept for tests and the admin API. */
  readonly calls?: KmsCalls;
  /** Trusted when `MINIO_KMS_KES_CAPATH` is not set: the server's own directory of CAs, if it exists. */
  readonly caPath?: string;
};

/** A `Kms` whose credential files are read again every 15 minutes and on `reload`. */
export type OpenedKms = Kms & {
  /** Reads certificate, key and CA files again. Throws `KmsConfigError`; the old ones stay in use then. */
  reload(): Promise<void>;
};

/** Throws `KmsConfigError` for files that cannot be used. Never waits for the key service. */
export async function openKms(config: KmsConfig, deps: OpenKmsDeps): Promise<OpenedKms> {
  if (config.kind === 'static') {
    return Object.assign(meterKms(openStaticKms(config), deps), { reload: async () => {} });
  }
  const source = await tlsSource(config, deps);
  let loaded = await loadTls(source);
  const client = createClient(config.endpoints, loaded.tls);
  const kms = meterKms(openKesKms(client, { keyName: config.keyName }), deps);
  const reload = async () => {
    const next = await loadTls(source);
    if (next.stamp === loaded.stamp) return;
    setTls(client, next.tls);
    loaded = next;
    deps.log.info('key service certificate reloaded');
  };
  const timer = setInterval(() => {
    reload().catch((error: unknown) => {
      const reason = error instanceof Error ? error.message : 'unknown error';
      deps.log.warn('key service certificate not reloaded', { reason });
    });
  }, reloadEveryMs);
  timer.unref();
  const close = async () => {
    clearInterval(timer);
    await kms.close();
  };
  return withClose(kms, { close, reload });
}

/** The same `Kms` with another end. */
function withClose(
  kms: Kms,
  own: { readonly close: () => Promise<void>; readonly reload: () => Promise<void> },
): OpenedKms {
  const { noteUses } = kms;
  return {
    defaultKeyName: kms.defaultKeyName,
    ...(noteUses && { noteUses: (uses) => noteUses.call(kms, uses) }),
    generateKey: (keyName, context) => kms.generateKey(keyName, context),
    decrypt: (keyName, ciphertext, context) => kms.decrypt(keyName, ciphertext, context),
    createKey: (keyName) => kms.createKey(keyName),
    listKeys: (prefix) => kms.listKeys(prefix),
    describeKey: (keyName) => kms.describeKey(keyName),
    status: () => kms.status(),
    ...own,
  };
}

function createClient(endpoints: readonly string[], tls: KesTls): KesClient {
  try {
    return new KesClient({ endpoints, tls, usesBatches: true });
  } catch (error) {
    throw unusable(error);
  }
}

function setTls(client: KesClient, tls: KesTls): void {
  try {
    client.setTls(tls);
  } catch (error) {
    throw unusable(error);
  }
}

function unusable(error: unknown): KmsConfigError {
  const text =
    'kms: the client certificate does not fit its private key, or a CA is no certificate';
  return new KmsConfigError('invalid', text, { cause: error });
}

type TlsSource = {
  readonly credentials: KesCredentials;
  readonly caPath: string | undefined;
};

async function tlsSource(
  config: Extract<KmsConfig, { kind: 'kes' }>,
  deps: OpenKmsDeps,
): Promise<TlsSource> {
  const { credentials } = config;
  if (config.caPath !== undefined) return { credentials, caPath: config.caPath };
  const exists = deps.caPath !== undefined && (await stat(deps.caPath).catch(() => undefined));
  return { credentials, caPath: exists ? deps.caPath : undefined };
}

/** `stamp` is equal for equal files, and changes when an API key's certificate is due. */
type LoadedTls = { readonly tls: KesTls; readonly stamp: string };

async function loadTls(source: TlsSource): Promise<LoadedTls> {
  const ca = source.caPath === undefined ? [] : await loadCaPath(source.caPath);
  const { credentials } = source;
  if (credentials.kind === 'api-key') {
    const due = Math.floor(Date.now() / renewApiKeyMs);
    const tls = { ...(await createClientCertificate(credentials.apiKey)), ca };
    return { tls, stamp: JSON.stringify([due, ca]) };
  }
  const cert = await readPem(credentials.certFile, 'MINIO_KMS_KES_CERT_FILE');
  const keyPem = await readPem(credentials.keyFile, 'MINIO_KMS_KES_KEY_FILE');
  const key = openKeyFile(keyPem, credentials);
  return { tls: { cert, key, ca }, stamp: JSON.stringify([cert, ca]) };
}

function openKeyFile(pem: string, credentials: Extract<KesCredentials, { kind: 'files' }>): string {
  try {
    const password = credentials.password?.export().toString('utf8');
    return openPrivateKey(pem, password).export({ type: 'pkcs8', format: 'pem' });
  } catch (error) {
    const reason = error instanceof Error ? error.message.replace(/^https: /, '') : 'unknown error';
    const text = `kms: invalid private key file '${credentials.keyFile}': ${reason}`;
    throw new KmsConfigError('invalid', text, { cause: error });
  }
}

async function readPem(file: string, variable: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const text = `kms: cannot read the file of '${variable}': ${file}`;
    throw new KmsConfigError('invalid', text, { cause: error });
  }
}

/** The certificates of a file, or of the files right inside a directory; files without any are skipped there. */
async function loadCaPath(path: string): Promise<string[]> {
  let found: Stats;
  try {
    found = await stat(path);
  } catch (error) {
    const text = `kms: cannot read the CA certificates of 'MINIO_KMS_KES_CAPATH': ${path}`;
    throw new KmsConfigError('invalid', text, { cause: error });
  }
  if (!found.isDirectory()) {
    const certificates = certificatesOf(await readPem(path, 'MINIO_KMS_KES_CAPATH'));
    if (certificates.length > 0) return certificates;
    throw new KmsConfigError('invalid', `kms: no certificate in CA file '${path}'`);
  }
  const entries = await readdir(path, { withFileTypes: true });
  const certificates: string[] = [];
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (entry.isDirectory()) continue;
    certificates.push(
      ...certificatesOf(await readPem(join(path, entry.name), 'MINIO_KMS_KES_CAPATH')),
    );
  }
  return certificates;
}

function certificatesOf(pem: string): string[] {
  return pem.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
}
