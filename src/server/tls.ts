// The certificate of the store: `public.crt` and `private.key` in the certificates directory turn HTTPS
// on, certificates in its `CAs/` are trusted besides the system's. Read again at every restart.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';

import { SettingsError } from './settings.ts';

export type TlsFiles = { readonly cert: string; readonly key: string };

/** Undefined when neither file is there. Throws `SettingsError` when one is missing or they do not match. */
export function readTlsFiles(directory: string): TlsFiles | undefined {
  const certFile = join(directory, 'public.crt');
  const keyFile = join(directory, 'private.key');
  const isCertThere = existsSync(certFile);
  if (!isCertThere && !existsSync(keyFile)) return undefined;
  if (!isCertThere || !existsSync(keyFile)) {
    throw new SettingsError(
      'invalid-setting',
      `${isCertThere ? keyFile : certFile} is missing: HTTPS needs both public.crt and private.key, HTTP needs neither`,
    );
  }
  try {
    const files = { cert: readFileSync(certFile, 'utf8'), key: readFileSync(keyFile, 'utf8') };
    createSecureContext(files);
    return files;
  } catch (error) {
    throw new SettingsError(
      'invalid-setting',
      `${certFile} and ${keyFile} cannot be used together: they must be a PEM certificate (chain) and its private key`,
      { cause: error },
    );
  }
}

/** The directory of CA certificates, when it is there and not empty. */
export function findCaDirectory(directory: string): string | undefined {
  const path = join(directory, 'CAs');
  return existsSync(path) && readdirSync(path).length > 0 ? path : undefined;
}
