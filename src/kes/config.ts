// The configuration of a key service, from YAML to checked data (docs/formats/kes-protocol.md describes
// what the settings mean on the wire). Every message is complete and says which setting is wrong.

import { isIP } from 'node:net';
import { readKeyStore, type KeyStoreConfig } from './config-keystore.ts';
import { type ConfigFile, configFileSchema } from './config-schema.ts';
import { type Environment, KesConfigError, parseConfigYaml } from './config-yaml.ts';
import { formatDuration, parseDurationMs } from './duration.ts';
import { parseLogLevel } from './log-level.ts';
import { type NamedPolicy, suspectPatterns } from './policy.ts';

export type KesConfig = {
  /** `host:port`, the host an IP address. */
  readonly address: string;
  readonly admin: string;
  readonly tls: KesTlsConfig;
  readonly policies: readonly NamedPolicy[];
  readonly cache: { readonly anyMs: number; readonly unusedMs: number; readonly offlineMs: number };
  readonly api: ReadonlyMap<string, KesApiConfig>;
  /** Levels as numbers: DEBUG -4, INFO 0, WARN 4, ERROR 8. */
  readonly log: { readonly error: number; readonly audit: number };
  /** Made at start if they are not there. */
  readonly keys: readonly string[];
  readonly keyStore: KeyStoreConfig;
};

export type KesTlsConfig = {
  /** Paths of PEM files. */
  readonly key: string;
  readonly cert: string;
  readonly password: string;
  /** Whether client certificates are verified. */
  readonly auth: 'on' | 'off';
  /** File or directory of further roots; empty for none. */
  readonly ca: string;
  readonly proxy: { readonly identities: readonly string[]; readonly certHeader: string };
};

export type KesApiConfig = {
  /** 0 keeps the route's own. */
  readonly timeoutMs: number;
  readonly skipAuth: boolean;
};

export const defaultAddress = '0.0.0.0:7373';
export const defaultCache = { anyMs: 300_000, unusedMs: 30_000, offlineMs: 0 };

/** Parses and checks a configuration file. Throws `KesConfigError`. */
export function parseKesConfig(text: string, env: Environment): KesConfig {
  const yaml = parseConfigYaml(text, env);
  const version = yaml['version'];
  if (version !== undefined && version !== 'v1' && version !== '') {
    throw new KesConfigError(
      `edge: invalid server config version '${JSON.stringify(version).replace(/^"|"$/g, '')}'`,
    );
  }
  const parsed = configFileSchema.safeParse(yaml);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new KesConfigError(`kesconf: ${issue?.path.join('.')}: ${issue?.message}`);
  }
  const file = parsed.data;
  refuseOldSpellings(file);
  const address = readAddress(file.address ?? '');
  const admin = readAdmin(file);
  const tls = readTls(file, admin);
  const cache = readCache(file);
  const api = readApi(file);
  const policies = readPolicies(file, { admin, proxies: tls.proxy.identities });
  const log = { error: readLevel(file.log?.error), audit: readLevel(file.log?.audit) };
  const keys = readKeys(file);
  return {
    address,
    admin,
    tls,
    policies,
    cache,
    api,
    log,
    keys,
    keyStore: readKeyStore(file.keystore),
  };
}

function refuseOldSpellings(file: ConfigFile): void {
  if (file.root !== undefined && file.admin === undefined) {
    throw new KesConfigError("kesconf: 'root' is no longer supported: use 'admin.identity'");
  }
  if (file.keys !== undefined && !Array.isArray(file.keys)) {
    throw new KesConfigError(
      "kesconf: 'keys' is a list of names: key stores belong below 'keystore'",
    );
  }
  for (const [name, policy] of Object.entries(file.policy ?? {})) {
    if (policy?.paths !== undefined) {
      throw new KesConfigError(
        `kesconf: invalid policy '${name}': 'paths' is no longer supported: use 'allow' and 'deny'`,
      );
    }
  }
}

/** Checks `[ip]:port`; an empty text is the default address. Throws `KesConfigError`. */
export function readAddress(text: string): string {
  if (text === '') return defaultAddress;
  const match = /^(?:\[(?<six>[^\]]*)\]|(?<four>[^:]*)):(?<port>\d{1,5})$/.exec(text);
  const port = Number(match?.groups?.['port']);
  if (match === null || port > 65_535) {
    throw new KesConfigError(`kesconf: invalid address '${text}': expected IP:PORT`);
  }
  const host = match.groups?.['six'] ?? match.groups?.['four'] ?? '';
  if (host !== '' && isIP(host) === 0) {
    throw new KesConfigError(`'${host}' is not a valid IP address`);
  }
  return host === '' ? `0.0.0.0:${port}` : text;
}

function readAdmin(file: ConfigFile): string {
  const admin = file.admin?.identity ?? '';
  if (admin === '') throw new KesConfigError('kesconf: invalid admin identity: no admin identity');
  return admin;
}

function readTls(file: ConfigFile, admin: string): KesTlsConfig {
  const { key = '', cert = '', password = '', ca = '', proxy } = file.tls ?? {};
  const auth = (file.tls?.auth ?? '').toLowerCase();
  if (key === '') throw new KesConfigError('kesconf: invalid tls config: no private key');
  if (cert === '') throw new KesConfigError('kesconf: invalid tls config: no certificate');
  if (auth !== 'on' && auth !== 'off' && auth !== '') {
    throw new KesConfigError(`kesconf: invalid tls config: invalid auth '${file.tls?.auth}'`);
  }
  const identities = (proxy?.identities ?? []).filter((identity) => identity !== '');
  if (identities.includes(admin)) {
    throw new KesConfigError(`kesconf: invalid tls proxy: identity '${admin}' is already admin`);
  }
  return {
    key,
    cert,
    password,
    ca,
    auth: auth === 'on' ? 'on' : 'off',
    proxy: { identities, certHeader: proxy?.header?.cert ?? '' },
  };
}

function readCache(file: ConfigFile): KesConfig['cache'] {
  const expiry = file.cache?.expiry;
  const read = (text: string | undefined, what: string, ifAbsent: number) => {
    const ms = text === undefined ? 0 : readDuration(text);
    if (ms < 0) throw new KesConfigError(`kesconf: invalid ${what} expiry '${formatDuration(ms)}'`);
    return ms === 0 ? ifAbsent : ms;
  };
  return {
    anyMs: read(expiry?.any, 'cache', defaultCache.anyMs),
    unusedMs: read(expiry?.unused, 'cache unused', defaultCache.unusedMs),
    offlineMs: read(expiry?.offline, 'offline cache', defaultCache.offlineMs),
  };
}

function readDuration(text: string): number {
  const ms = parseDurationMs(text.trim());
  if (ms === undefined) {
    throw new KesConfigError(`kesconf: '${text}' is not a duration: write it like 30s or 5m0s`);
  }
  return ms;
}

function readApi(file: ConfigFile): Map<string, KesApiConfig> {
  const api = new Map<string, KesApiConfig>();
  for (const [path, settings] of Object.entries(file.api ?? {})) {
    const timeoutMs = readDuration(settings?.timeout ?? '0');
    if (timeoutMs < 0) {
      const nanoseconds = Math.round(timeoutMs * 1e6);
      throw new KesConfigError(`kesconf: invalid timeout '${nanoseconds}' for API '${path}'`);
    }
    api.set(path, { timeoutMs, skipAuth: readBoolean(settings?.skip_auth, path) });
  }
  return api;
}

function readBoolean(text: string | undefined, path: string): boolean {
  const lower = (text ?? 'false').toLowerCase();
  if (['true', 'yes', 'on'].includes(lower)) return true;
  if (['false', 'no', 'off', ''].includes(lower)) return false;
  throw new KesConfigError(`kesconf: invalid skip_auth '${text}' for API '${path}'`);
}

function readPolicies(
  file: ConfigFile,
  known: { readonly admin: string; readonly proxies: readonly string[] },
): NamedPolicy[] {
  const owners = new Map<string, string>();
  return Object.entries(file.policy ?? {}).map(([name, policy]) => {
    const identities = (policy?.identities ?? []).filter((identity) => identity !== '');
    for (const identity of identities) {
      if (identity === known.admin) {
        throw new KesConfigError(
          `kesconf: invalid policy '${name}': identity '${identity}' is already admin`,
        );
      }
      if (known.proxies.includes(identity)) {
        throw new KesConfigError(
          `kesconf: invalid policy '${name}': identity '${identity}' is already a TLS proxy`,
        );
      }
      if (owners.has(identity)) {
        throw new KesConfigError(
          `kes: cannot assign policy '${name}' to '${identity}': identity already has a policy`,
        );
      }
      owners.set(identity, name);
    }
    return { name, allow: policy?.allow ?? [], deny: policy?.deny ?? [], identities };
  });
}

/**
 * What an operator must hear although the configuration is valid: patterns that look like globs. A deny of
 * that kind protects nothing, so it is refused: throws `KesConfigError`. An allow only gets a warning.
 */
export function checkPatterns(policies: readonly NamedPolicy[]): string[] {
  return policies.flatMap((policy) => {
    const explain = "'*' is a wildcard only at the end, '?' and '[' never are";
    const denied = suspectPatterns({ allow: [], deny: policy.deny })[0];
    if (denied !== undefined) {
      throw new KesConfigError(
        `kesconf: invalid policy '${policy.name}': deny pattern '${denied}' would protect nothing: ${explain}`,
      );
    }
    return suspectPatterns(policy).map(
      (pattern) =>
        `policy '${policy.name}': allow pattern '${pattern}' matches only itself: ${explain}`,
    );
  });
}

function readLevel(text: string | undefined): number {
  const level = parseLogLevel(text ?? '');
  if (level === undefined) {
    throw new KesConfigError(`kesconf: invalid log level '${(text ?? '').toUpperCase()}'`);
  }
  return level;
}

function readKeys(file: ConfigFile): string[] {
  const names = new Set<string>();
  for (const { name = '' } of Array.isArray(file.keys) ? file.keys : []) {
    if (names.has(name)) {
      throw new KesConfigError(
        `kesconf: invalid key config: key '${name}' is defined multiple times`,
      );
    }
    names.add(name);
  }
  return [...names];
}
