// Makes the client of a command: endpoints and credentials from the environment, trust from the system and
// from the variables that other TLS programs read.

import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { KesClient } from '../../wire/kes-client.ts';
import { createClientCertificate, KesIdentityError, parseApiKey } from '../../wire/kes-identity.ts';
import { isEncryptedKey, openPrivateKey } from '../../wire/kes-private-key.ts';
import type { CliIo } from '../io.ts';
import { KesCommandError } from './command-error.ts';
import type { KesCallerCredentials } from './environment.ts';
import { kesCredentials, kesServers } from './environment.ts';
import { askPassword } from './password.ts';

/** Files and directories of more roots to trust. */
const trustVariables = ['SSL_CERT_FILE', 'SSL_CERT_DIR', 'MINIO_KMS_KES_CAPATH'] as const;

/** Throws `KesCommandError`. The caller closes the client. */
export async function connectKesClient(
  io: CliIo,
  options: {
    readonly isInsecure: boolean;
    readonly servers: string | undefined;
    readonly apiKey: string | undefined;
  },
): Promise<KesClient> {
  const endpoints = kesServers(io.env, options.servers);
  const certificate = await certificateOf(io, kesCredentials(io.env, options.apiKey));
  const ca = options.isInsecure ? [] : await trusted(io);
  try {
    return new KesClient({
      endpoints,
      tls: { ...certificate, ca, isInsecure: options.isInsecure },
    });
  } catch (error) {
    throw failed(error instanceof Error ? error.message : 'invalid configuration', error);
  }
}

async function certificateOf(
  io: CliIo,
  credentials: KesCallerCredentials,
): Promise<{ cert: string; key: string }> {
  if (credentials.kind === 'api-key') {
    try {
      return await createClientCertificate(parseApiKey(credentials.text));
    } catch (error) {
      if (!(error instanceof KesIdentityError)) throw error;
      throw failed(`parsing API key: ${error.message}`, error);
    }
  }
  const cert = await readText(credentials.certFile);
  const key = await openKeyFile(io, await readText(credentials.keyFile));
  return { cert, key };
}

async function openKeyFile(io: CliIo, pem: string): Promise<string> {
  const isEncrypted = isEncryptedKey(pem);
  const password = isEncrypted
    ? await askPassword(io, 'Enter password for private key: ')
    : undefined;
  try {
    return openPrivateKey(pem, password).export({ type: 'pkcs8', format: 'pem' });
  } catch (error) {
    if (isEncrypted) throw failed('incorrect password', error);
    throw failed(error instanceof Error ? error.message : 'invalid private key', error);
  }
}

async function trusted(io: CliIo): Promise<string[]> {
  const certificates: string[] = [];
  for (const variable of trustVariables) {
    const path = io.env[variable];
    if (path) certificates.push(...(await certificatesAt(path)));
  }
  return certificates;
}

async function certificatesAt(path: string): Promise<string[]> {
  const found = await stat(path).catch(() => undefined);
  if (!found) return []; // as TLS programs do: a root that is not there is not trusted
  if (!found.isDirectory()) return pemCertificates(await readText(path));
  const entries = await readdir(path, { withFileTypes: true });
  const files = entries.filter((entry) => !entry.isDirectory()).map((entry) => entry.name);
  const texts = await Promise.all(files.map((name) => readText(join(path, name))));
  return texts.flatMap(pemCertificates);
}

function pemCertificates(text: string): string[] {
  return text.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw failed(`failed to read '${path}'`, error);
  }
}

function failed(text: string, cause: unknown): KesCommandError {
  return new KesCommandError('failed', text, { cause });
}
