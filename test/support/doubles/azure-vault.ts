// A stand-in for Azure Key Vault: the secrets of API version 7.5 with the challenge, versions, soft delete in
// its phases, and the refusals of the real service; and for the places that hand out tokens: the token endpoint
// of a tenant, and the identity endpoint of a machine.
//
// The vault has a clock of its own, which a test moves: versions are stamped with its whole seconds.

import { randomBytes } from 'node:crypto';
import {
  type DoubleAnswer,
  type DoubleRequest,
  type DoubleServer,
  startDoubleServer,
} from './double-server.ts';

export type AzureVersion = {
  readonly id: string;
  value: string;
  readonly created: number;
  enabled: boolean;
  nbf?: number;
  exp?: number;
  readonly tags: Readonly<Record<string, string>> | undefined;
};

export type AzureSecret = {
  /** As first written. */
  readonly name: string;
  readonly versions: AzureVersion[];
};

export type AzureVaultDouble = {
  readonly vault: DoubleServer;
  readonly login: DoubleServer;
  /** The identity endpoint of a machine, plain HTTP. */
  readonly machine: DoubleServer;
  readonly host: string;
  readonly tenant: string;
  readonly client: { readonly id: string; readonly secret: string };
  /** By lower-case name. */
  readonly secrets: Map<string, AzureSecret>;
  readonly deleted: Map<string, AzureSecret & { purgeable: number }>;
  /** Names being purged, and how many more writes find them so. */
  readonly purging: Map<string, number>;
  /** Actions the access policy leaves out: get, list, set, delete, purge. */
  readonly denied: Set<string>;
  readonly userAgents: Set<string>;
  /** `off`: deleted is gone; `on`: kept until purged; `protected`: kept, purge refused. */
  softDelete: 'off' | 'on' | 'protected';
  /** How many purges find a secret still being deleted, how many writes one still being purged. */
  deletingLag: number;
  purgingLag: number;
  pageSize: number;
  tokenLifetimeMs: number;
  /** Ids for the versions made next, before random ones. */
  readonly nextIds: string[];
  /** Waits before a request is carried out, to arrange races. */
  gate: (line: string) => Promise<void>;
  /** The vault's clock, which only moves when slept on. */
  readonly clock: { now(): number; sleep(ms: number): Promise<void> };
  readonly serverMs: () => number;
  /** Puts a version as another program would. */
  put(name: string, value: string, more?: Partial<AzureVersion>): void;
  close(): Promise<void>;
};

type State = AzureVaultDouble & { readonly tokens: Map<string, number> };

const resource = 'https://vault.azure.net';
const startMs = Date.UTC(2026, 0, 1) + 400;

export async function startAzureVaultDouble(): Promise<AzureVaultDouble> {
  const tls = { isTls: true };
  const vault = await startDoubleServer(async (request) => {
    const answer = await answerVault(state, request);
    const date = new Date(state.serverMs()).toUTCString();
    return { ...answer, headers: { date, ...answer.headers } };
  }, tls);
  const login = await startDoubleServer((request) => answerLogin(state, request), tls);
  const machine = await startDoubleServer((request) => answerMachine(state, request));
  let nowMs = 0;
  const state: State = {
    vault,
    login,
    machine,
    host: 'coffer-test.vault.azure.net',
    tenant: '11111111-2222-3333-4444-555555555555',
    client: { id: 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee', secret: 'sec~ret.of+the/client' },
    secrets: new Map(),
    deleted: new Map(),
    purging: new Map(),
    denied: new Set(),
    userAgents: new Set(),
    softDelete: 'on',
    deletingLag: 0,
    purgingLag: 0,
    pageSize: 25,
    tokenLifetimeMs: 3_600_000,
    nextIds: [],
    gate: async () => {},
    clock: {
      now: () => nowMs,
      sleep: async (ms) => {
        const until = nowMs + ms;
        await new Promise((resolve) => setTimeout(resolve, 1));
        nowMs = Math.max(nowMs, until);
      },
    },
    serverMs: () => startMs + nowMs,
    tokens: new Map(),
    put: (name, value, more) => {
      addVersion(state, name, { value, ...more });
    },
    close: async () => {
      await Promise.all([vault.close(), login.close(), machine.close()]);
    },
  };
  return state;
}

class Refusal extends Error {
  readonly http: number;
  readonly code: string;
  readonly inner: string | undefined;
  constructor(http: number, code: string, options: { message?: string; inner?: string } = {}) {
    super(options.message ?? code);
    this.http = http;
    this.code = code;
    this.inner = options.inner;
  }
}

async function answerVault(state: State, request: DoubleRequest): Promise<DoubleAnswer> {
  if (request.path === '/') return { status: 404 };
  state.userAgents.add(request.headers['user-agent'] ?? '');
  const challenge = authenticate(state, request);
  if (challenge !== undefined) return challenge;
  try {
    if (request.query.get('api-version') !== '7.5') {
      throw new Refusal(400, 'BadParameter', { message: 'api-version must be specified' });
    }
    await state.gate(`${request.method} ${request.path}`);
    const result = dispatch(state, request);
    return result === undefined ? { status: 204 } : { status: 200, body: result };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const { code, message, inner } = error;
    const innererror = inner === undefined ? {} : { innererror: { code: inner } };
    return { status: error.http, body: { error: { code, message, ...innererror } } };
  }
}

/** The challenge, unless there is a good token. A first request must not carry a body. */
function authenticate(state: State, request: DoubleRequest): DoubleAnswer | undefined {
  const token = /^Bearer (\S+)$/.exec(request.headers['authorization'] ?? '')?.[1] ?? '';
  const expiresMs = state.tokens.get(token);
  if (expiresMs !== undefined && expiresMs > Date.now()) return undefined;
  if (request.body.length > 0) return { status: 599, body: 'a body was sent without a token' };
  return {
    status: 401,
    headers: {
      'www-authenticate': `Bearer authorization="https://login.microsoftonline.com/${state.tenant}", resource="${resource}"`,
    },
    body: { error: { code: 'Unauthorized', message: 'Request is missing a Bearer or PoP token.' } },
  };
}

function dispatch(state: State, request: DoubleRequest): object | undefined {
  const { method, path } = request;
  const [, kind, rawName = '', rest] =
    /^\/(secrets|deletedsecrets)(?:\/([^/]+)(?:\/([^/]*))?)?\/?$/.exec(path) ?? [];
  const name = decodeURIComponent(rawName);
  if (name !== '' && !/^[0-9A-Za-z-]{1,127}$/.test(name)) {
    throw new Refusal(400, 'BadParameter', {
      message: `The request URI contains an invalid name: ${name}`,
    });
  }
  const call = `${method} ${kind}${name === '' ? '' : '/N'}${rest === undefined ? '' : rest === 'versions' ? '/versions' : '/V'}`;
  switch (call) {
    case 'GET secrets':
      allow(state, 'list');
      return listSecrets(state, request);
    case 'GET secrets/N/versions':
      allow(state, 'list');
      return listVersions(state, request, name);
    case 'GET secrets/N':
    case 'GET secrets/N/V':
      allow(state, 'get');
      return getSecret(state, name, rest ?? '');
    case 'PUT secrets/N':
      allow(state, 'set');
      return putSecret(state, request, name);
    case 'DELETE secrets/N':
      allow(state, 'delete');
      return deleteSecret(state, name);
    case 'GET deletedsecrets/N':
      allow(state, 'get');
      return deletedBundle(state, name);
    case 'DELETE deletedsecrets/N':
      allow(state, 'purge');
      return purge(state, name);
    default:
      throw new Refusal(405, 'MethodNotAllowed');
  }
}

function allow(state: State, action: string): void {
  if (!state.denied.has(action)) return;
  throw new Refusal(403, 'Forbidden', {
    message: `The user does not have secrets ${action} permission on key vault 'coffer-test'.`,
    inner: 'AccessDenied',
  });
}

function find(state: State, name: string): AzureSecret {
  const secret = state.secrets.get(name.toLowerCase());
  if (secret !== undefined) return secret;
  throw new Refusal(404, 'SecretNotFound', {
    message: `A secret with (name/id) ${name} was not found in this key vault.`,
  });
}

const levels = { off: 'Purgeable', on: 'Recoverable+Purgeable', protected: 'Recoverable' } as const;

function attributesOf(state: State, version: AzureVersion): object {
  const { created, enabled, nbf, exp } = version;
  return {
    enabled,
    created,
    updated: created,
    ...(nbf === undefined ? {} : { nbf }),
    ...(exp === undefined ? {} : { exp }),
    recoveryLevel: levels[state.softDelete],
    ...(state.softDelete === 'off' ? {} : { recoverableDays: 90 }),
  };
}

function itemOf(state: State, name: string, version: AzureVersion, withVersion: boolean): object {
  const id = `https://${state.host}/secrets/${name}${withVersion ? `/${version.id}` : ''}`;
  return {
    id,
    attributes: attributesOf(state, version),
    ...(version.tags ? { tags: version.tags } : {}),
  };
}

function page(
  state: State,
  request: DoubleRequest,
  items: readonly object[],
): { value: object[]; nextLink: string | null } {
  const token = request.query.get('$skiptoken');
  const start = token === null ? 0 : Number(/^at-(\d+)$/.exec(token)?.[1] ?? Number.NaN);
  if (Number.isNaN(start)) throw new Refusal(400, 'BadParameter');
  const size = Math.min(Number(request.query.get('maxresults') ?? state.pageSize), state.pageSize);
  const end = start + size;
  const next = `https://${state.host}${request.path}?api-version=7.5&$skiptoken=at-${end}`;
  return { value: items.slice(start, end), nextLink: end < items.length ? next : null };
}

function listSecrets(state: State, request: DoubleRequest): object {
  const items = [...state.secrets.values()].flatMap(({ name, versions }) => {
    const last = versions.at(-1);
    return last === undefined ? [] : [itemOf(state, name, last, false)];
  });
  return page(state, request, items);
}

function listVersions(state: State, request: DoubleRequest, name: string): object {
  const secret = state.secrets.get(name.toLowerCase());
  if (secret === undefined) return { value: [], nextLink: null };
  // In no useful order: ids are random.
  const items = secret.versions
    .toSorted((a, b) => (a.id < b.id ? 1 : -1))
    .map((version) => itemOf(state, name, version, true));
  return page(state, request, items);
}

function getSecret(state: State, name: string, id: string): object {
  const secret = find(state, name);
  const version =
    id === '' ? secret.versions.at(-1) : secret.versions.find((each) => each.id === id);
  if (version === undefined) throw new Refusal(404, 'SecretNotFound');
  if (!version.enabled) {
    throw new Refusal(403, 'Forbidden', {
      message: 'Operation get is not allowed on a disabled secret.',
      inner: 'SecretDisabled',
    });
  }
  return { ...itemOf(state, name, version, true), value: version.value };
}

function putSecret(state: State, request: DoubleRequest, name: string): object {
  const body = request.json() as { value?: unknown; tags?: Record<string, string> } | undefined;
  const value = body?.value;
  if (typeof value !== 'string' || value.length > 25_600) {
    throw new Refusal(400, 'BadParameter', { message: 'The secret value is missing or too long' });
  }
  if (request.headers['content-type'] !== 'application/json') {
    throw new Refusal(415, 'UnsupportedMediaType');
  }
  const lower = name.toLowerCase();
  const purging = state.purging.get(lower) ?? 0;
  if (purging > 0) {
    state.purging.set(lower, purging - 1);
    throw new Refusal(409, 'Conflict', { inner: 'ObjectIsBeingDeleted' });
  }
  const deleted = state.deleted.get(lower);
  if (deleted !== undefined) {
    throw new Refusal(409, 'Conflict', {
      message: `Secret ${name} is currently in a deleted but recoverable state, and its name cannot be reused`,
      inner: deleted.purgeable > 0 ? 'ObjectIsBeingDeleted' : 'ObjectIsDeletedButRecoverable',
    });
  }
  const version = addVersion(state, name, { value, tags: body?.tags });
  return { ...itemOf(state, name, version, true), value };
}

function addVersion(
  state: State,
  name: string,
  given: Partial<AzureVersion> & { value: string },
): AzureVersion {
  const version: AzureVersion = {
    id: state.nextIds.shift() ?? randomBytes(16).toString('hex'),
    created: Math.floor(state.serverMs() / 1_000),
    enabled: true,
    tags: undefined,
    ...given,
  };
  const lower = name.toLowerCase();
  const secret = state.secrets.get(lower) ?? { name, versions: [] };
  secret.versions.push(version);
  state.secrets.set(lower, secret);
  return version;
}

function deleteSecret(state: State, name: string): object {
  const secret = find(state, name);
  const lower = name.toLowerCase();
  state.secrets.delete(lower);
  if (state.softDelete === 'off') {
    const last = secret.versions.at(-1);
    return last === undefined ? {} : itemOf(state, secret.name, last, true);
  }
  state.deleted.set(lower, { ...secret, purgeable: state.deletingLag });
  return bundleOf(state, secret);
}

function bundleOf(state: State, secret: AzureSecret): object {
  const [first] = secret.versions;
  return {
    recoveryId: `https://${state.host}/deletedsecrets/${secret.name}`,
    deletedDate: Math.floor(state.serverMs() / 1_000),
    scheduledPurgeDate: Math.floor(state.serverMs() / 1_000) + 90 * 86_400,
    ...(first === undefined ? {} : itemOf(state, secret.name, first, true)),
  };
}

function deletedBundle(state: State, name: string): object {
  const deleted = state.deleted.get(name.toLowerCase());
  if (deleted === undefined || deleted.purgeable > 0) throw new Refusal(404, 'SecretNotFound');
  return bundleOf(state, deleted);
}

function purge(state: State, name: string): undefined {
  const lower = name.toLowerCase();
  const deleted = state.deleted.get(lower);
  if (deleted === undefined) throw new Refusal(404, 'SecretNotFound');
  if (state.softDelete === 'protected') {
    throw new Refusal(403, 'Forbidden', {
      message:
        'Operation "purge" is not allowed because purge protection is enabled for this vault.',
      inner: 'ForbiddenByPolicy',
    });
  }
  if (deleted.purgeable > 0) {
    deleted.purgeable -= 1;
    throw new Refusal(409, 'Conflict', { inner: 'ObjectIsBeingDeleted' });
  }
  state.deleted.delete(lower);
  if (state.purgingLag > 0) state.purging.set(lower, state.purgingLag);
  return undefined;
}

function issue(state: State): { access_token: string; expires_in: number; token_type: string } {
  const token = `eyJ0.${randomBytes(24).toString('base64url')}.s`;
  state.tokens.set(token, Date.now() + state.tokenLifetimeMs);
  const expiresIn = Math.floor(state.tokenLifetimeMs / 1_000);
  return { access_token: token, expires_in: expiresIn, token_type: 'Bearer' };
}

function answerLogin(state: State, request: DoubleRequest): DoubleAnswer {
  if (request.method !== 'POST' || request.path !== `/${state.tenant}/oauth2/v2.0/token`) {
    return { status: 404, body: { error: 'invalid_request' } };
  }
  const form = new URLSearchParams(request.body.toString('utf8'));
  const isGood =
    form.get('grant_type') === 'client_credentials' &&
    form.get('client_id') === state.client.id &&
    form.get('client_secret') === state.client.secret &&
    form.get('scope')?.split(' ').includes(`${resource}/.default`);
  if (isGood) return { status: 200, body: issue(state) };
  return {
    status: 401,
    body: {
      error: 'invalid_client',
      error_description: 'AADSTS7000215: Invalid client secret provided.',
      error_codes: [7000215],
    },
  };
}

function answerMachine(state: State, request: DoubleRequest): DoubleAnswer {
  const isAsked = request.method === 'GET' && request.path === '/metadata/identity/oauth2/token';
  if (!isAsked || request.headers['metadata'] !== 'true') {
    return { status: 400, body: { error: 'invalid_request', error_description: 'no Metadata' } };
  }
  const clientId = request.query.get('client_id');
  if (request.query.get('resource') !== resource) {
    return { status: 400, body: { error: 'invalid_resource' } };
  }
  if (clientId !== null && clientId !== state.client.id) {
    return {
      status: 400,
      body: { error: 'invalid_request', error_description: 'Identity not found' },
    };
  }
  const token = issue(state);
  const expires = String(Math.floor(Date.now() / 1_000) + token.expires_in);
  return {
    status: 200,
    body: { ...token, expires_in: String(token.expires_in), expires_on: expires, resource },
  };
}
