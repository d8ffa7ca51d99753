// The configuration of a key service, from YAML to checked data (docs/formats/kes-protocol.md describes
// what the settings mean on the wire). Every message is complete and says which setting is wrong.

import { isIP } from 'node:net';
import { isName } from '../../keys/key-name.ts';
import { type KesExtensions, readExtensions } from './extensions.ts';
import { readKeyStore, type KeyStoreConfig } from './keystore.ts';
import { patternRemarks, readPolicies, refuseUselessDenies } from './policy.ts';
import { memberRemarks } from './remarks.ts';
import { type ConfigFile, configFileSchema } from './schema.ts';
import { type ConfigDocument, type Environment, KesConfigError, parseConfigYaml } from './yaml.ts';
import { formatDuration, readDuration } from './duration.ts';
import { parseLogLevel } from './log-level.ts';
import type { NamedPolicy } from '../policy.ts';

/** Everything a configuration decides, checked. */
export type KesConfig = KesExtensions & {
  /** `host:port`, the host an IP address. */
  readonly address: string;
  readonly admin: string;
  readonly tls: KesTlsConfig;
  readonly policies: readonly NamedPolicy[];
  readonly cache: KesCacheConfig;
  readonly api: ReadonlyMap<string, KesApiConfig>;
  /** Levels as numbers: DEBUG -4, INFO 0, WARN 4, ERROR 8. */
  readonly log: { readonly error: number; readonly audit: number };
  /** Made at start if they are not there. */
  readonly keys: readonly string[];
  readonly keyStore: KeyStoreConfig;
};

export type KesCacheConfig = {
  readonly anyMs: number;
  readonly unusedMs: number;
  readonly offlineMs: number;
  /** A cached key older than this is compared with the store before it is used. */
  readonly revalidateMs: number;
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
export const defaultCache = { anyMs: 300_000, unusedMs: 30_000, offlineMs: 0, revalidateMs: 500 };

/** A configuration, and what its author should hear although it is valid. */
export type KesConfigFile = {
  readonly config: KesConfig;
  readonly warnings: readonly KesConfigWarning[];
};

export type KesConfigWarning = { readonly line: number | undefined; readonly message: string };

/** Parses and checks a configuration file. Throws `KesConfigError`, with the line where there is one. */
export function parseKesConfig(text: string, env: Environment): KesConfig {
  return parseKesConfigFile(text, env).config;
}

/** The same, with warnings. Throws `KesConfigError`. */
export function parseKesConfigFile(text: string, env: Environment): KesConfigFile {
  const document = parseConfigYaml(text, env);
  try {
    const file = checkShape(document);
    const config = readConfig(file);
    const remarks = [...memberRemarks(document.root), ...patternRemarks(config.policies)];
    const warnings = remarks.map(({ message, at }) => ({ line: document.lineOf(at), message }));
    return { config, warnings: warnings.toSorted((a, b) => (a.line ?? 0) - (b.line ?? 0)) };
  } catch (error) {
    if (!(error instanceof KesConfigError) || error.at === undefined) throw error;
    const { message, cause, at } = error;
    const line = document.lineOf(at);
    throw new KesConfigError(message, { cause, at, ...(line !== undefined && { line }) });
  }
}

function checkShape({ root }: ConfigDocument): ConfigFile {
  const version = root['version'];
  if (version !== undefined && version !== 'v1' && version !== '') {
    const written = JSON.stringify(version).replace(/^"|"$/g, '');
    throw new KesConfigError(`edge: invalid server config version '${written}'`, {
      at: ['version'],
    });
  }
  const parsed = configFileSchema.safeParse(root);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const at = issue?.path ?? [];
  const problem = describeIssue(issue);
  throw new KesConfigError(`kesconf: ${at.map(String).join('.')}: ${problem}`, { at });
}

/** What to write instead of a value of the wrong kind. */
function describeIssue(issue: { code?: string; expected?: unknown } | undefined): string {
  switch (issue?.code === 'invalid_type' ? issue.expected : undefined) {
    case 'string':
      return 'write one value here, not a list or a map';
    case 'array':
      return "write a list here, one '- value' a line";
    case 'object':
    case 'record':
      return "write members here, one 'name: value' a line";
    default:
      return "write a list here, one '- name: value' a line";
  }
}

function readConfig(file: ConfigFile): KesConfig {
  refuseOldSpellings(file);
  const address = readAddress(file.address ?? '');
  const admin = readAdmin(file);
  const tls = readTls(file, admin);
  const cache = readCache(file);
  const api = readApi(file);
  const policies = readPolicies(file, { admin, proxies: tls.proxy.identities });
  refuseUselessDenies(policies);
  const log = {
    error: readLevel(file.log?.error, 'error'),
    audit: readLevel(file.log?.audit, 'audit'),
  };
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
    ...readExtensions(file),
  };
}

function refuseOldSpellings(file: ConfigFile): void {
  if (file.root !== undefined && file.admin === undefined) {
    throw new KesConfigError("kesconf: 'root' is no longer supported: use 'admin.identity'", {
      at: ['root'],
    });
  }
  if (file.keys !== undefined && !Array.isArray(file.keys)) {
    throw new KesConfigError(
      "kesconf: 'keys' is a list of names: key stores belong below 'keystore'",
      { at: ['keys'] },
    );
  }
  for (const [name, policy] of Object.entries(file.policy ?? {})) {
    if (policy?.paths !== undefined) {
      throw new KesConfigError(
        `kesconf: invalid policy '${name}': 'paths' is no longer supported: use 'allow' and 'deny'`,
        { at: ['policy', name, 'paths'] },
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
    throw new KesConfigError(`kesconf: invalid address '${text}': expected IP:PORT`, {
      at: ['address'],
    });
  }
  const host = match.groups?.['six'] ?? match.groups?.['four'] ?? '';
  if (host !== '' && isIP(host) === 0) {
    throw new KesConfigError(`'${host}' is not a valid IP address`, { at: ['address'] });
  }
  return host === '' ? `0.0.0.0:${port}` : text;
}

function readAdmin(file: ConfigFile): string {
  const admin = file.admin?.identity ?? '';
  if (admin === '') {
    throw new KesConfigError('kesconf: invalid admin identity: no admin identity', {
      at: ['admin', 'identity'],
    });
  }
  return admin;
}

function readTls(file: ConfigFile, admin: string): KesTlsConfig {
  const { key = '', cert = '', password = '', ca = '', proxy } = file.tls ?? {};
  const auth = (file.tls?.auth ?? '').toLowerCase();
  if (key === '') throw invalidTls('no private key', 'key');
  if (cert === '') throw invalidTls('no certificate', 'cert');
  if (auth !== 'on' && auth !== 'off' && auth !== '') {
    throw invalidTls(`invalid auth '${file.tls?.auth}'`, 'auth');
  }
  const identities = (proxy?.identities ?? []).filter((identity) => identity !== '');
  if (identities.includes(admin)) {
    throw new KesConfigError(`kesconf: invalid tls proxy: identity '${admin}' is already admin`, {
      at: ['tls', 'proxy', 'identities', (proxy?.identities ?? []).indexOf(admin)],
    });
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

function invalidTls(problem: string, member: string): KesConfigError {
  return new KesConfigError(`kesconf: invalid tls config: ${problem}`, { at: ['tls', member] });
}

function readCache(file: ConfigFile): KesConfig['cache'] {
  const expiry = file.cache?.expiry;
  const read = (text: string | undefined, rule: CacheRule) => {
    const at = ['cache', ...rule.at];
    const ms = text === undefined ? 0 : readDuration(text, at);
    if (ms < 0) {
      const problem = `kesconf: invalid ${rule.what} expiry '${formatDuration(ms)}'`;
      throw new KesConfigError(problem, { at });
    }
    return ms === 0 ? rule.ifAbsent : ms;
  };
  const { anyMs, unusedMs, offlineMs, revalidateMs } = defaultCache;
  return {
    anyMs: read(expiry?.any, { at: ['expiry', 'any'], what: 'cache', ifAbsent: anyMs }),
    unusedMs: read(expiry?.unused, {
      at: ['expiry', 'unused'],
      what: 'cache unused',
      ifAbsent: unusedMs,
    }),
    offlineMs: read(expiry?.offline, {
      at: ['expiry', 'offline'],
      what: 'offline cache',
      ifAbsent: offlineMs,
    }),
    revalidateMs: read(file.cache?.revalidate, {
      at: ['revalidate'],
      what: 'cache revalidation',
      ifAbsent: revalidateMs,
    }),
  };
}

type CacheRule = {
  readonly at: readonly string[];
  readonly what: string;
  readonly ifAbsent: number;
};

function readApi(file: ConfigFile): Map<string, KesApiConfig> {
  const api = new Map<string, KesApiConfig>();
  for (const [path, settings] of Object.entries(file.api ?? {})) {
    const at = ['api', path, 'timeout'];
    const timeoutMs = readDuration(settings?.timeout ?? '0', at);
    if (timeoutMs < 0) {
      const nanoseconds = Math.round(timeoutMs * 1e6);
      throw new KesConfigError(`kesconf: invalid timeout '${nanoseconds}' for API '${path}'`, {
        at,
      });
    }
    api.set(path, { timeoutMs, skipAuth: readBoolean(settings?.skip_auth, path) });
  }
  return api;
}

function readBoolean(text: string | undefined, path: string): boolean {
  const lower = (text ?? 'false').toLowerCase();
  if (['true', 'yes', 'on'].includes(lower)) return true;
  if (['false', 'no', 'off', ''].includes(lower)) return false;
  throw new KesConfigError(`kesconf: invalid skip_auth '${text}' for API '${path}'`, {
    at: ['api', path, 'skip_auth'],
  });
}

function readLevel(text: string | undefined, log: string): number {
  const level = parseLogLevel(text ?? '');
  if (level === undefined) {
    throw new KesConfigError(`kesconf: invalid log level '${(text ?? '').toUpperCase()}'`, {
      at: ['log', log],
    });
  }
  return level;
}

function readKeys(file: ConfigFile): string[] {
  const names = new Set<string>();
  for (const [index, { name = '' }] of (Array.isArray(file.keys) ? file.keys : []).entries()) {
    const at = ['keys', index, 'name'];
    if (!isName(name)) {
      const problem = `key name '${name}' is empty, too long or contains invalid characters`;
      throw new KesConfigError(`kesconf: invalid key config: ${problem}`, { at });
    }
    if (names.has(name)) {
      throw new KesConfigError(
        `kesconf: invalid key config: key '${name}' is defined multiple times`,
        { at },
      );
    }
    names.add(name);
  }
  return [...names];
}
