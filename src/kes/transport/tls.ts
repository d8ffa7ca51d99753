// The TLS files of a key service: reading them, and refusing what would only fail later and less clearly.

import { X509Certificate } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  createSecureContext,
  getCACertificates,
  type SecureContextOptions,
  type TLSSocket,
} from 'node:tls';
import { openPrivateKey } from '../../wire/kes-private-key.ts';
import type { KesTlsConfig } from '../config/config.ts';
import { KesConfigError } from '../config/yaml.ts';
import { noCertificate } from '../identity.ts';

/** PEM texts: the server's key and chain, and the roots of client certificates when they are verified. */
export type KesTlsMaterial = {
  readonly key: string;
  readonly cert: string;
  readonly roots: readonly string[];
};

/** Reads the files a configuration names. Throws `KesConfigError`, or `KesIdentityError` for the key. */
export async function loadTls(config: KesTlsConfig): Promise<KesTlsMaterial> {
  const cert = await readText(config.cert, 'certificate');
  const keyFile = await readText(config.key, 'private key');
  checkBlocks(cert, { path: config.cert, allowed: /^CERTIFICATE$/ });
  checkBlocks(keyFile, { path: config.key, allowed: /^CERTIFICATE$|PRIVATE KEY$/ });
  const password = config.password === '' ? undefined : config.password;
  const privateKey = openPrivateKey(keyFile, password);
  const certificate = parseCertificate(cert, config.cert);
  if (!/(?:DNS|IP Address):/.test(certificate.subjectAltName ?? '')) {
    throw new KesConfigError(
      'invalid TLS certificate: certificate does not contain any DNS or IP address as SAN',
    );
  }
  if (!certificate.checkPrivateKey(privateKey)) {
    throw new KesConfigError(`tls: private key ${config.key} does not belong to ${config.cert}`);
  }
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
  const roots = config.auth === 'on' ? await loadRoots(config.ca) : [];
  const material = { key, cert, roots };
  checkUsable(material, config);
  return material;
}

/** Whatever the TLS library does not take must not wait for the first connection. */
function checkUsable(material: KesTlsMaterial, config: KesTlsConfig): void {
  try {
    createSecureContext(secureContextOptions(material, config.auth));
  } catch (error) {
    const { reason, message } = error as Error & { reason?: string };
    throw new KesConfigError(`tls: '${config.cert}' cannot be used: ${reason ?? message}`, {
      cause: error,
      at: ['tls', 'cert'],
    });
  }
}

/**
 * Options of the TLS layer. Without verification no roots are given, so that no CA names are advertised:
 * they would make clients withhold a self-signed certificate. With it the roots are given even when there
 * are none: the TLS library would put its own in their place, and trust everybody these vouch for.
 */
export function secureContextOptions(
  material: KesTlsMaterial,
  auth: KesTlsConfig['auth'],
): SecureContextOptions {
  const { key, cert, roots } = material;
  return auth === 'on' ? { key, cert, ca: [...roots] } : { key, cert };
}

/** Why a finished handshake is not good enough; undefined when it is. */
export function refusePeer(
  socket: TLSSocket,
  rules: { readonly auth: 'on' | 'off'; readonly isCertificateOptional: boolean },
): string | undefined {
  if (socket.getPeerX509Certificate() === undefined) {
    return rules.isCertificateOptional ? undefined : noCertificate;
  }
  if (rules.auth === 'off' || socket.authorized) return undefined;
  // Node's types call it an Error; it is the code as text.
  return `client certificate is not trusted: ${String(socket.authorizationError)}`;
}

const certificateBlock = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

async function loadRoots(path: string): Promise<string[]> {
  const system = getCACertificates('system');
  if (path === '') return system;
  const files = (await stat(path).catch(missing(path))).isDirectory()
    ? (await readdir(path, { withFileTypes: true }))
        .filter((entry) => entry.isFile())
        .map((entry) => join(path, entry.name))
    : [path];
  const own: string[] = [];
  for (const file of files) {
    const text = await readText(file, 'CA certificate');
    checkBlocks(text, { path: file, allowed: /^CERTIFICATE$/ });
    for (const [block] of text.matchAll(certificateBlock)) {
      parseCertificate(block, file);
      own.push(block);
    }
  }
  return [...system, ...own];
}

function missing(path: string) {
  return (error: Error): never => {
    throw new KesConfigError(`tls: cannot read '${path}': ${error.message}`, { cause: error });
  };
}

async function readText(path: string, what: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const reason = (error as Error).message;
    throw new KesConfigError(`tls: cannot read ${what}: ${reason}`, { cause: error });
  }
}

function checkBlocks(pem: string, rule: { readonly path: string; readonly allowed: RegExp }): void {
  const types = [...pem.matchAll(/-----BEGIN ([^-]+)-----/g)].map((match) => match[1] ?? '');
  if (types.length === 0) throw new KesConfigError(`tls: '${rule.path}' is not a PEM file`);
  const foreign = types.find((type) => !rule.allowed.test(type));
  if (foreign !== undefined) {
    throw new KesConfigError(`tls: '${rule.path}' contains a block of type '${foreign}'`);
  }
}

function parseCertificate(pem: string, path: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (error) {
    throw new KesConfigError(`tls: '${path}' is not a certificate`, { cause: error });
  }
}
