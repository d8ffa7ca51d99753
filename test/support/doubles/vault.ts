// HashiCorp Vault as its documented API: KV versions 1 and 2, transit, AppRole and Kubernetes logins, tokens
// with leases, policies, namespaces, seal and standby. It refuses what Vault refuses; what it holds can be
// looked at and changed as an operator would.

import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import {
  type DoubleAnswer,
  type DoubleRequest,
  type DoubleServer,
  startDoubleServer,
} from './double-server.ts';

export type VaultVersion = {
  data: Record<string, unknown> | null;
  readonly created: string;
  deletionTime: string;
  isDestroyed: boolean;
};

/** `versions` of KV version 1 hold the one there is. */
export type VaultMount = {
  readonly kind: 'kv1' | 'kv2' | 'transit';
  readonly entries: Map<string, VaultVersion[]>;
  isCasRequired: boolean;
};

export type VaultToken = {
  readonly namespace: string;
  /** Milliseconds of `now`; Infinity for never. */
  expiresAt: number;
  readonly ttlSeconds: number;
  readonly isRenewable: boolean;
};

export type TransitKey = { readonly keys: Buffer[]; minDecryptionVersion: number };

export type VaultDouble = DoubleServer & {
  /** By path, in namespace `namespace`. */
  readonly mounts: Map<string, VaultMount>;
  readonly tokens: Map<string, VaultToken>;
  readonly transitKeys: Map<string, TransitKey>;
  /** What the policy allows: `capability path`, as patterns; everything by default. */
  policy: RegExp;
  readonly approle: { id: string; secret: string; engine: string; namespace: string };
  readonly kubernetes: { role: string; jwt: string };
  /** The namespace (without slashes) that mounts and policies are in. */
  namespace: string;
  /** Of tokens given from now on. */
  token: { ttlSeconds: number; isRenewable: boolean };
  isSealed: boolean;
  isInitialized: boolean;
  role: 'active' | 'standby' | 'performance-standby' | 'dr-secondary';
  now: () => number;
  rotateTransit(key: string): void;
};

type State = Omit<VaultDouble, keyof DoubleServer | 'rotateTransit'>;

/** Starts one with a KV engine of each version at `kv` and `secret`, and a transit engine with the key `coffer`. */
export async function startVaultDouble(
  options: { readonly isTls?: boolean } = {},
): Promise<VaultDouble> {
  const mount = (kind: VaultMount['kind']): VaultMount => ({
    kind,
    entries: new Map(),
    isCasRequired: false,
  });
  const state: State = {
    mounts: new Map([
      ['kv', mount('kv1')],
      ['secret', mount('kv2')],
      ['transit', mount('transit')],
    ]),
    tokens: new Map(),
    transitKeys: new Map([['coffer', { keys: [randomBytes(32)], minDecryptionVersion: 1 }]]),
    policy: /.*/,
    approle: {
      id: 'role-id-of-the-test',
      secret: 'secret-id-of-the-test',
      engine: 'approle',
      namespace: '',
    },
    kubernetes: { role: 'coffer', jwt: 'jwt-of-the-test' },
    namespace: '',
    token: { ttlSeconds: 3600, isRenewable: true },
    isSealed: false,
    isInitialized: true,
    role: 'active',
    now: () => performance.now(),
  };
  const server = await startDoubleServer((request) => answer(state, request), options);
  return Object.assign(state, server, {
    rotateTransit: (key: string) => void state.transitKeys.get(key)?.keys.push(randomBytes(32)),
  });
}

function errors(status: number, ...texts: readonly string[]): DoubleAnswer {
  return { status, body: { errors: texts } };
}

const denied = errors(403, '1 error occurred:\n\t* permission denied\n\n');
const nothing = errors(404);

function answer(state: State, request: DoubleRequest): DoubleAnswer {
  if (request.headers['x-vault-request'] !== 'true' && request.method !== 'GET') {
    return errors(412, 'required header X-Vault-Request is missing');
  }
  if (!request.path.startsWith('/v1/')) return { status: 404, body: '404 page not found' };
  const path = request.path.slice(4).split('/').map(decodeURIComponent).join('/');
  if (path === 'sys/health') return health(state, request);
  if (state.isSealed) return errors(503, 'Vault is sealed');
  if (request.method !== 'GET' && request.body.length > 0) {
    const body = request.json();
    if (body === null || typeof body !== 'object') return errors(400, 'failed to parse JSON input');
  }
  const namespace = (request.headers['x-vault-namespace'] ?? '').replace(/^\/+|\/+$/g, '');
  const login = /^auth\/([^/]+)\/login$/.exec(path)?.[1];
  if (login !== undefined) return logIn(state, request, { engine: login, namespace });
  const name = request.headers['x-vault-token'] ?? '';
  const token = state.tokens.get(name);
  if (token === undefined || token.expiresAt <= state.now()) {
    state.tokens.delete(name);
    return denied;
  }
  if (path === 'auth/token/renew-self') return renew(state, request, { name, token });
  if (path === 'auth/token/lookup-self') {
    return request.method === 'GET' ? { status: 200, body: { data: { id: name } } } : unsupported;
  }
  // A token of a parent namespace counts below it, one of another does not.
  if (token.namespace !== '' && token.namespace !== namespace) return denied;
  if (namespace !== state.namespace) return errors(404, `no handler for route "${path}"`);
  return engine(state, request, path);
}

const unsupported = errors(405, '1 error occurred:\n\t* unsupported operation\n\n');

/** Statuses as documented, each with the parameter that changes it. */
function health(state: State, request: DoubleRequest): DoubleAnswer {
  if (!['GET', 'HEAD'].includes(request.method)) return unsupported;
  const statusOf = (parameter: string, usual: number) =>
    Number(request.query.get(parameter) ?? usual);
  const isStandby = state.role !== 'active';
  const body = {
    initialized: state.isInitialized,
    sealed: state.isSealed || !state.isInitialized,
    standby: isStandby,
    performance_standby: state.role === 'performance-standby',
    version: '1.14.0',
  };
  if (!state.isInitialized) return { status: statusOf('uninitcode', 501), body };
  if (state.isSealed) return { status: statusOf('sealedcode', 503), body };
  switch (state.role) {
    case 'standby':
      return { status: statusOf('standbycode', 429), body };
    case 'performance-standby':
      return { status: statusOf('performancestandbycode', 473), body };
    case 'dr-secondary':
      return { status: statusOf('drsecondarycode', 472), body };
    default:
      return { status: statusOf('activecode', 200), body };
  }
}

function isWrite(request: DoubleRequest): boolean {
  return request.method === 'PUT' || request.method === 'POST';
}

function logIn(
  state: State,
  request: DoubleRequest,
  at: { readonly engine: string; readonly namespace: string },
): DoubleAnswer {
  if (!isWrite(request)) return unsupported;
  const body = request.json() as Record<string, unknown> | undefined;
  const { approle, kubernetes } = state;
  if (at.namespace !== approle.namespace) return denied;
  if (at.engine === 'kubernetes') {
    if (body?.['role'] !== kubernetes.role) return errors(400, 'invalid role name');
    if (body['jwt'] !== kubernetes.jwt) return denied;
  } else if (at.engine === approle.engine) {
    if (body?.['role_id'] !== approle.id) return errors(400, 'invalid role ID');
    if (body['secret_id'] !== approle.secret) return errors(400, 'invalid secret id');
  } else {
    return denied;
  }
  const name = `hvs.${randomBytes(16).toString('hex')}`;
  const { ttlSeconds, isRenewable } = state.token;
  const expiresAt = ttlSeconds === 0 ? Infinity : state.now() + ttlSeconds * 1000;
  state.tokens.set(name, { namespace: at.namespace, expiresAt, ttlSeconds, isRenewable });
  return authAnswer(name, { ttlSeconds, isRenewable });
}

function authAnswer(
  name: string,
  token: { readonly ttlSeconds: number; readonly isRenewable: boolean },
): DoubleAnswer {
  const auth = {
    client_token: name,
    lease_duration: token.ttlSeconds,
    renewable: token.isRenewable,
    token_type: 'service',
  };
  return { status: 200, body: { auth } };
}

function renew(
  state: State,
  request: DoubleRequest,
  by: { readonly name: string; readonly token: VaultToken },
): DoubleAnswer {
  if (!isWrite(request)) return unsupported;
  if (!by.token.isRenewable) return errors(400, 'lease is not renewable');
  by.token.expiresAt = state.now() + by.token.ttlSeconds * 1000;
  return authAnswer(by.name, by.token);
}

function engine(state: State, request: DoubleRequest, path: string): DoubleAnswer {
  const isList = request.method === 'LIST' || request.query.get('list') === 'true';
  const mounts = /^sys\/internal\/ui\/mounts\/([^/]+)$/.exec(path)?.[1];
  if (mounts !== undefined) return describeMount(state, mounts);
  const [mountName = '', ...rest] = path.split('/');
  const mount = state.mounts.get(mountName);
  if (mount === undefined) {
    return errors(404, `no handler for route "${path}". route entry not found.`);
  }
  const key = rest.join('/');
  const capability = capabilityOf(mount, request, { key, isList });
  if (!state.policy.test(`${capability} ${path}`)) return denied;
  if (mount.kind === 'transit') return transit(state, request, rest);
  if (mount.kind === 'kv2') return kv2(mount, request, { rest, isList });
  return kv1(mount, request, { key, isList });
}

/** Creating what is there is an update; a version 2 write is judged by its data. */
function capabilityOf(
  mount: VaultMount,
  request: DoubleRequest,
  at: { readonly key: string; readonly isList: boolean },
): string {
  if (at.isList) return 'list';
  if (request.method === 'DELETE') return 'delete';
  if (!isWrite(request)) return 'read';
  const entry = mount.kind === 'kv2' ? at.key.replace(/^data\//, '') : at.key;
  return mount.kind === 'transit' || mount.entries.has(entry) ? 'update' : 'create';
}

function describeMount(state: State, name: string): DoubleAnswer {
  const mount = state.mounts.get(name);
  if (mount === undefined) return denied;
  const options = mount.kind === 'kv2' ? { version: '2' } : null;
  const type = mount.kind === 'transit' ? 'transit' : 'kv';
  return { status: 200, body: { data: { type, options, path: `${name}/` } } };
}

type KvAt = { readonly key: string; readonly isList: boolean };

function kv1(mount: VaultMount, request: DoubleRequest, at: KvAt): DoubleAnswer {
  const { key } = at;
  if (at.isList) return listKeys(mount, key);
  const entry = mount.entries.get(key)?.[0];
  switch (request.method) {
    case 'GET':
      return entry ? { status: 200, body: { data: entry.data, lease_duration: 2764800 } } : nothing;
    case 'PUT':
    case 'POST': {
      const data = request.json() as Record<string, unknown> | undefined;
      if (!data || Object.keys(data).length === 0) return errors(400, 'missing data fields');
      mount.entries.set(key, [newVersion(data)]);
      return { status: 204 };
    }
    case 'DELETE':
      mount.entries.delete(key);
      return { status: 204 };
    default:
      return unsupported;
  }
}

function newVersion(data: Record<string, unknown>): VaultVersion {
  return { data, created: new Date().toISOString(), deletionTime: '', isDestroyed: false };
}

function listKeys(mount: VaultMount, folder: string): DoubleAnswer {
  const prefix = folder === '' ? '' : `${folder.replace(/\/+$/, '')}/`;
  const keys = new Set<string>();
  for (const key of mount.entries.keys()) {
    if (!key.startsWith(prefix)) continue;
    const [first = '', ...deeper] = key.slice(prefix.length).split('/');
    keys.add(deeper.length > 0 ? `${first}/` : first);
  }
  return keys.size === 0
    ? nothing
    : { status: 200, body: { data: { keys: [...keys].toSorted() } } };
}

function kv2(
  mount: VaultMount,
  request: DoubleRequest,
  at: { readonly rest: readonly string[]; readonly isList: boolean },
): DoubleAnswer {
  const [kind, ...parts] = at.rest;
  const key = parts.join('/');
  if (kind === 'metadata' && at.isList) return listKeys(mount, key);
  if (kind === 'metadata' && request.method === 'DELETE') {
    mount.entries.delete(key);
    return { status: 204 };
  }
  if (kind === 'data' && request.method === 'GET') return readKv2(mount, request, key);
  if (kind === 'data' && isWrite(request)) return writeKv2(mount, request, key);
  const path = at.rest.join('/');
  const warning = `Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use. (${path})`;
  return { status: 404, body: { errors: [], warnings: [warning], data: null } };
}

function readKv2(mount: VaultMount, request: DoubleRequest, key: string): DoubleAnswer {
  const versions = mount.entries.get(key);
  const wanted = Number(request.query.get('version') ?? 0) || (versions?.length ?? 0);
  const version = versions?.[wanted - 1];
  if (version === undefined) return nothing;
  const metadata = {
    created_time: version.created,
    custom_metadata: null,
    deletion_time: version.deletionTime,
    destroyed: version.isDestroyed,
    version: wanted,
  };
  const isGone = version.isDestroyed || version.deletionTime !== '';
  const data = { data: isGone ? null : version.data, metadata };
  return { status: isGone ? 404 : 200, body: { data } };
}

function writeKv2(mount: VaultMount, request: DoubleRequest, key: string): DoubleAnswer {
  const body = request.json() as
    | { options?: { cas?: unknown }; data?: Record<string, unknown> }
    | undefined;
  if (body?.data === undefined) return errors(400, 'no data provided');
  const versions = mount.entries.get(key) ?? [];
  const cas = body.options?.cas;
  if (cas === undefined && mount.isCasRequired) {
    return errors(400, 'check-and-set parameter required for this call');
  }
  if (cas !== undefined && cas !== versions.length) {
    return errors(400, 'check-and-set parameter did not match the current version');
  }
  const version = newVersion(body.data);
  mount.entries.set(key, [...versions, version]);
  const data = { created_time: version.created, version: versions.length + 1, destroyed: false };
  return { status: 200, body: { data } };
}

function transit(state: State, request: DoubleRequest, rest: readonly string[]): DoubleAnswer {
  const [action, name = ''] = rest;
  if (!isWrite(request)) return unsupported;
  const key = state.transitKeys.get(name);
  const body = request.json() as Record<string, unknown> | undefined;
  if (action === 'encrypt') {
    if (key === undefined) return errors(400, 'encryption key not found');
    const plaintext = body?.['plaintext'];
    if (typeof plaintext !== 'string') return errors(400, 'missing plaintext to encrypt');
    return { status: 200, body: { data: { ciphertext: encrypt(key, plaintext) } } };
  }
  if (action !== 'decrypt') return errors(404, `no handler for route "transit/${action}"`);
  if (key === undefined) return errors(400, 'encryption key not found');
  const ciphertext = body?.['ciphertext'];
  return decrypt(key, typeof ciphertext === 'string' ? ciphertext : '');
}

function encrypt(key: TransitKey, plaintext: string): string {
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', key.keys.at(-1) ?? Buffer.alloc(32), nonce);
  const sealed = [cipher.update(Buffer.from(plaintext, 'base64')), cipher.final()];
  const bytes = Buffer.concat([nonce, ...sealed, cipher.getAuthTag()]);
  return `vault:v${key.keys.length}:${bytes.toString('base64')}`;
}

function decrypt(key: TransitKey, ciphertext: string): DoubleAnswer {
  const [, version = '', text = ''] = /^vault:v(\d+):(.+)$/.exec(ciphertext) ?? [];
  if (text === '') return errors(400, 'invalid ciphertext: no prefix');
  if (Number(version) > key.keys.length) {
    return errors(400, 'invalid ciphertext: version is too new');
  }
  if (Number(version) < key.minDecryptionVersion) {
    return errors(400, 'ciphertext or signature version is disallowed by policy (too old)');
  }
  const bytes = Buffer.from(text, 'base64');
  const decipher = createDecipheriv(
    'aes-256-gcm',
    key.keys[Number(version) - 1] ?? Buffer.alloc(32),
    bytes.subarray(0, 12),
  );
  decipher.setAuthTag(bytes.subarray(-16));
  try {
    const plain = Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()]);
    return { status: 200, body: { data: { plaintext: plain.toString('base64') } } };
  } catch {
    return errors(400, 'cipher: message authentication failed');
  }
}
