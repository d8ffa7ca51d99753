// `kes init`: makes what a first key service needs, in one folder: a private key and certificate, an admin
// API key, a folder for keys, and a commented configuration. Rules kept here: nothing is overwritten unless
// asked, keys of an earlier start are never touched, and the API key is shown once and written nowhere.

import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import type { KesCall } from '../../cli/kes/command.ts';
import { KesCommandError } from '../../cli/kes/command-error.ts';
import { parseDuration } from '../../cli/kes/duration.ts';
import { writeNewFile } from '../../cli/kes/write-file.ts';
import { readAddress } from '../../kes/config/config.ts';
import { KesConfigError } from '../../kes/config/yaml.ts';
import {
  createClientCertificate,
  formatApiKey,
  generateApiKey,
  type KesClientCertificate,
} from '../../wire/kes-identity.ts';
import { splitAddress } from './service.ts';

/** Where everything is. */
type Paths = {
  readonly folder: string;
  readonly key: string;
  readonly cert: string;
  readonly config: string;
  readonly keys: string;
};

type Names = { readonly dns: readonly string[]; readonly ip: readonly string[] };

/** Runs the command. Throws `KesCommandError`. */
export async function initServer(call: KesCall): Promise<void> {
  const { lists, switches } = call.flags;
  const paths = pathsIn(resolve(call.flags.args[0] ?? '.'));
  const isForced = switches.has('force');
  const address = addressOf(call);
  const names = namesOf({ dns: lists.get('dns') ?? [], ip: lists.get('ip') ?? [] });
  refuseExisting(paths, isForced);
  const server = await makeCertificate(call, names);
  const admin = generateApiKey();
  await makeFolder(paths.folder, 0o755);
  await makeFolder(paths.keys, 0o700);
  const write = (path: string, file: { text: string; mode: number; what: string }) =>
    writeNewFile(path, { ...file, isForced });
  await write(paths.key, { text: server.key, mode: 0o600, what: 'private key' });
  await write(paths.cert, { text: server.cert, mode: 0o644, what: 'certificate' });
  const text = configText({ paths, address, adminIdentity: admin.identity });
  await write(paths.config, { text, mode: 0o644, what: 'configuration' });
  const host = names.dns[0] ?? names.ip[0] ?? 'localhost';
  const origin = `${host.includes(':') ? `[${host}]` : host}:${splitAddress(address).port}`;
  printNext(call, { paths, apiKey: formatApiKey(admin), origin });
}

function pathsIn(folder: string): Paths {
  return {
    folder,
    key: join(folder, 'server.key'),
    cert: join(folder, 'server.crt'),
    config: join(folder, 'config.yml'),
    keys: join(folder, 'keys'),
  };
}

function addressOf(call: KesCall): string {
  try {
    return readAddress(call.flags.texts.get('addr') ?? '');
  } catch (error) {
    if (!(error instanceof KesConfigError)) throw error;
    throw new KesCommandError('usage', error.message, { cause: error });
  }
}

/** What the certificate is for; this machine unless something was named. */
function namesOf(given: Names): Names {
  if (given.dns.length + given.ip.length > 0) return given;
  const dns = [...new Set(['localhost', hostname()])].filter((name) => /^[\w.-]+$/.test(name));
  return { dns, ip: ['127.0.0.1', '::1'] };
}

function refuseExisting(paths: Paths, isForced: boolean): void {
  if (isForced) return;
  const found = [paths.config, paths.key, paths.cert].find((path) => existsSync(path));
  if (found === undefined) return;
  throw new KesCommandError('failed', `'${found}' already exists. Use --force to overwrite it`);
}

async function makeCertificate(call: KesCall, names: Names): Promise<KesClientCertificate> {
  const validMs = parseDuration(call.flags.texts.get('expiry') ?? '87600h', '87600h');
  if (Date.now() + validMs >= Date.UTC(10_000, 0, 1)) {
    throw new KesCommandError('usage', 'the certificate would be valid after the year 9999');
  }
  try {
    return await createClientCertificate(generateApiKey(), {
      commonName: names.dns[0] ?? names.ip[0] ?? 'localhost',
      dnsNames: names.dns,
      ipAddresses: names.ip,
      validMs,
      isServer: true,
    });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new KesCommandError('usage', error.message, { cause: error });
  }
}

async function makeFolder(path: string, mode: number): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode });
  } catch (error) {
    throw new KesCommandError('failed', `cannot make the folder '${path}'`, { cause: error });
  }
}

function configText(made: {
  readonly paths: Paths;
  readonly address: string;
  readonly adminIdentity: string;
}): string {
  const { paths, address, adminIdentity } = made;
  return `version: v1

# IP and port to listen on.
address: ${quoted(address)}

admin:
  # May do everything. It is the identity of the API key that was shown when this file was made; to use
  # another one, make it with 'kes identity new' and put its identity here.
  identity: ${adminIdentity}

tls:
  # The certificate is self-signed: clients trust it through SSL_CERT_FILE. To make a new one:
  #   kes identity new --key server.key --cert server.crt --dns NAME --ip IP --expiry 87600h --force
  key: ${quoted(paths.key)}
  cert: ${quoted(paths.cert)}

# Who else may do what. An application makes its own API key with 'kes identity new' and tells its identity.
# policy:
#   my-app:
#     allow:
#       - /v1/key/create/my-app*
#       - /v1/key/generate/my-app*
#       - /v1/key/decrypt/my-app*
#     identities:
#       - IDENTITY

# How long opened keys are kept in memory.
cache:
  expiry:
    any: 5m0s
    unused: 30s
    # Above 0: keys stay usable that long while the key store cannot be reached.
    offline: 0s

# Probes without a certificate:
# api:
#   /v1/ready:
#     skip_auth: true

log:
  error: on
  audit: on

# Made at start if they are not there:
# keys:
#   - name: my-app-key

keystore:
  # One file for each key, in clear: protect this folder, and back it up.
  fs:
    path: ${quoted(paths.keys)}
`;
}

/** As a double-quoted YAML scalar, which reads like JSON. */
function quoted(text: string): string {
  return JSON.stringify(text);
}

function printNext(
  call: KesCall,
  made: { readonly paths: Paths; readonly apiKey: string; readonly origin: string },
): void {
  const { output } = call;
  const { paths, apiKey, origin } = made;
  const lines = [
    `Configuration: ${paths.config}`,
    '',
    output.bold('Your admin API key:'),
    '',
    `   ${apiKey}`,
    '',
    'It is shown only this once. Keep it secret.',
    '',
    output.bold('Start the server:'),
    '',
    `   kes server --config ${shellWord(paths.config)}`,
    '',
    output.bold('Use it, in another shell, with the API key above as KES_API_KEY:'),
    '',
    `   KES_SERVER=${origin} SSL_CERT_FILE=${shellWord(paths.cert)} kes key create my-first-key`,
  ];
  output.line(lines.join('\n'));
}

function shellWord(text: string): string {
  return /^[\w/.@%+:-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
