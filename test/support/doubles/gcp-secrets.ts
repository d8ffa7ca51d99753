// A stand-in for Google Secret Manager: its REST API behind access tokens that expire, the token endpoint
// that checks the signed assertion of a service account, and the metadata server of a machine.

import {
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  verify,
} from 'node:crypto';
import {
  type DoubleAnswer,
  type DoubleRequest,
  type DoubleServer,
  startDoubleServer,
} from './double-server.ts';

export type GcpVersion = { data: string; state: 'ENABLED' | 'DISABLED' | 'DESTROYED' };

export type GcpSecretsDouble = {
  readonly api: DoubleServer;
  /** `/token` for service accounts. */
  readonly identity: DoubleServer;
  /** `/computeMetadata/…`, plain HTTP. */
  readonly machine: DoubleServer;
  readonly project: string;
  readonly account: { readonly email: string; readonly keyId: string; readonly privateKey: string };
  /** Secrets and their versions, number 1 first. */
  readonly secrets: Map<string, GcpVersion[]>;
  /** IAM permissions that the caller lacks, for example `secretmanager.secrets.list`. */
  readonly denied: Set<string>;
  /** Scopes asked for with each token, and the user agents that came. */
  readonly tokenScopes: string[];
  readonly userAgents: Set<string>;
  tokenLifetimeMs: number;
  pageSize: number;
  /** Waits before a request is carried out, to arrange races. */
  gate: (line: string) => Promise<void>;
  revokeTokens(): void;
  close(): Promise<void>;
};

const cloudScope = 'https://www.googleapis.com/auth/cloud-platform';
const tokenUrl = 'https://oauth2.googleapis.com/token';
const projectNumber = '445566778899';

type State = GcpSecretsDouble & {
  readonly publicKey: KeyObject;
  readonly tokens: Map<string, { readonly expiresMs: number; readonly scope: string }>;
};

/** A key pair for service accounts, as PEM: making one takes a while. */
export function makeAccountKey(): { readonly privateKey: string; readonly publicKey: string } {
  return generateKeyPairSync('rsa', {
    modulusLength: 2048,
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  });
}

export async function startGcpSecretsDouble(
  { privateKey, publicKey } = makeAccountKey(),
): Promise<GcpSecretsDouble> {
  const api = await startDoubleServer((request) => answerApi(state, request), { isTls: true });
  const identity = await startDoubleServer((request) => answerIdentity(state, request), {
    isTls: true,
  });
  const machine = await startDoubleServer((request) => answerMetadata(state, request));
  const state: State = {
    api,
    identity,
    machine,
    project: 'coffer-test',
    account: { email: 'kes@coffer-test.iam.gserviceaccount.com', keyId: 'k1', privateKey },
    publicKey: createPublicKey(publicKey),
    tokens: new Map(),
    secrets: new Map(),
    denied: new Set(),
    tokenScopes: [],
    userAgents: new Set(),
    tokenLifetimeMs: 3_600_000,
    pageSize: 25_000,
    gate: async () => {},
    revokeTokens: () => state.tokens.clear(),
    close: async () => {
      await Promise.all([api.close(), identity.close(), machine.close()]);
    },
  };
  return state;
}

class Refusal extends Error {
  readonly http: number;
  readonly status: string;
  constructor(http: number, status: string, message: string) {
    super(message);
    this.http = http;
    this.status = status;
  }
}

async function answerApi(state: State, request: DoubleRequest): Promise<DoubleAnswer> {
  if (request.path === '/') return { status: 404 };
  state.userAgents.add(request.headers['user-agent'] ?? '');
  try {
    authenticate(state, request);
    const found = findOperation(state, request);
    if (state.denied.has(found.permission)) {
      throw new Refusal(
        403,
        'PERMISSION_DENIED',
        `Permission '${found.permission}' denied for resource 'projects/${state.project}' (or it may not exist).`,
      );
    }
    await state.gate(`${request.method} ${request.path}`);
    return { status: 200, body: found.run() };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const { http: code, status, message } = error;
    return { status: code, body: { error: { code, message, status } } };
  }
}

function authenticate(state: State, request: DoubleRequest): void {
  const token = /^Bearer (\S+)$/.exec(request.headers['authorization'] ?? '')?.[1] ?? '';
  const known = state.tokens.get(token);
  if (known === undefined || known.expiresMs < Date.now()) {
    throw new Refusal(
      401,
      'UNAUTHENTICATED',
      'Request had invalid authentication credentials. Expected OAuth 2 access token.',
    );
  }
  if (!known.scope.split(' ').includes(cloudScope)) {
    throw new Refusal(403, 'PERMISSION_DENIED', 'Request had insufficient authentication scopes.');
  }
}

type Found = { readonly permission: string; readonly run: () => object };

function findOperation(state: State, request: DoubleRequest): Found {
  const base = `/v1/projects/${state.project}/secrets`;
  const { method, path } = request;
  if (path === base && method === 'POST') {
    return { permission: 'secretmanager.secrets.create', run: () => create(state, request) };
  }
  if (path === base && method === 'GET') {
    return { permission: 'secretmanager.secrets.list', run: () => list(state, request) };
  }
  const rest = path.startsWith(`${base}/`) ? path.slice(base.length + 1) : '';
  const [, name = '', tail = ''] = /^([A-Za-z0-9_-]{1,255})(.*)$/.exec(rest) ?? [];
  const version = /^\/versions\/(\d+):access$/.exec(tail)?.[1];
  if (method === 'DELETE' && tail === '' && name !== '') {
    return { permission: 'secretmanager.secrets.delete', run: () => remove(state, name) };
  }
  if (method === 'POST' && tail === ':addVersion') {
    return {
      permission: 'secretmanager.versions.add',
      run: () => addVersion(state, name, request),
    };
  }
  if (method === 'GET' && version !== undefined) {
    return {
      permission: 'secretmanager.versions.access',
      run: () => access(state, name, Number(version)),
    };
  }
  throw new Refusal(404, 'NOT_FOUND', 'Requested entity was not found.');
}

function create(state: State, request: DoubleRequest): object {
  const name = request.query.get('secretId') ?? '';
  const body = request.json() as { replication?: { automatic?: object } } | undefined;
  if (!/^[A-Za-z0-9_-]{1,255}$/.test(name) || body?.replication?.automatic === undefined) {
    throw new Refusal(400, 'INVALID_ARGUMENT', 'The secret is not described completely.');
  }
  if (state.secrets.has(name)) {
    throw new Refusal(
      409,
      'ALREADY_EXISTS',
      `Secret [projects/${projectNumber}/secrets/${name}] already exists.`,
    );
  }
  state.secrets.set(name, []);
  return { name: resourceName(name), replication: { automatic: {} }, etag: '"1"' };
}

function resourceName(name: string): string {
  return `projects/${projectNumber}/secrets/${name}`;
}

function find(state: State, name: string): GcpVersion[] {
  const versions = state.secrets.get(name);
  if (versions !== undefined) return versions;
  throw new Refusal(404, 'NOT_FOUND', `Secret [${resourceName(name)}] not found.`);
}

function addVersion(state: State, name: string, request: DoubleRequest): object {
  const versions = find(state, name);
  const data = (request.json() as { payload?: { data?: unknown } } | undefined)?.payload?.data;
  const isBase64 = typeof data === 'string' && /^[A-Za-z0-9+/]+={0,2}$/.test(data);
  if (!isBase64 || Buffer.from(data, 'base64').length > 65_536) {
    throw new Refusal(400, 'INVALID_ARGUMENT', 'The payload is missing, malformed or too large.');
  }
  versions.push({ data, state: 'ENABLED' });
  return { name: `${resourceName(name)}/versions/${versions.length}`, state: 'ENABLED' };
}

function access(state: State, name: string, number: number): object {
  const version = find(state, name)[number - 1];
  const resource = `${resourceName(name)}/versions/${number}`;
  if (version === undefined) {
    throw new Refusal(404, 'NOT_FOUND', `Secret Version [${resource}] not found.`);
  }
  if (version.state !== 'ENABLED') {
    throw new Refusal(
      400,
      'FAILED_PRECONDITION',
      `Secret Version [${resource}] is in ${version.state} state.`,
    );
  }
  return { name: resource, payload: { data: version.data } };
}

function remove(state: State, name: string): object {
  find(state, name);
  state.secrets.delete(name);
  return {};
}

function list(state: State, request: DoubleRequest): object {
  const token = request.query.get('pageToken') ?? '';
  const start = token === '' ? 0 : Number(/^from-(\d+)$/.exec(token)?.[1] ?? Number.NaN);
  if (Number.isNaN(start)) throw new Refusal(400, 'INVALID_ARGUMENT', 'Bad page token.');
  const size = Math.min(Number(request.query.get('pageSize') || 25_000), state.pageSize);
  const names = [...state.secrets.keys()].toSorted();
  const end = start + size;
  return {
    secrets: names.slice(start, end).map((name) => ({ name: resourceName(name) })),
    ...(end < names.length ? { nextPageToken: `from-${end}` } : {}),
    totalSize: names.length,
  };
}

function answerIdentity(state: State, request: DoubleRequest): DoubleAnswer {
  if (request.path !== '/token' || request.method !== 'POST') return { status: 404 };
  const form = new URLSearchParams(request.body.toString('utf8'));
  if (form.get('grant_type') !== 'urn:ietf:params:oauth:grant-type:jwt-bearer') {
    return { status: 400, body: { error: 'unsupported_grant_type' } };
  }
  const scope = checkAssertion(state, form.get('assertion') ?? '');
  if (scope === undefined) {
    return {
      status: 400,
      body: { error: 'invalid_grant', error_description: 'Invalid JWT Signature.' },
    };
  }
  return { status: 200, body: issue(state, scope) };
}

/** The scope of a good assertion: signed by the account's key, for this endpoint, of this hour. */
function checkAssertion(state: State, assertion: string): string | undefined {
  const [head = '', claims = '', signature = ''] = assertion.split('.');
  const header = parsePart(head);
  const { iss, aud, iat, exp, scope } = parsePart(claims);
  const isSigned = verify(
    'RSA-SHA256',
    Buffer.from(`${head}.${claims}`),
    state.publicKey,
    Buffer.from(signature, 'base64url'),
  );
  const now = Date.now() / 1000;
  const isGood =
    isSigned &&
    header['alg'] === 'RS256' &&
    iss === state.account.email &&
    aud === tokenUrl &&
    typeof iat === 'number' &&
    typeof exp === 'number' &&
    iat <= now + 60 &&
    exp > now &&
    exp - iat <= 3_600 &&
    typeof scope === 'string';
  return isGood ? scope : undefined;
}

function parsePart(part: string): Record<string, unknown> {
  try {
    return JSON.parse(Buffer.from(part, 'base64url').toString('utf8')) as Record<string, unknown>;
  } catch {
    return {};
  }
}

function issue(state: State, scope: string): object {
  const token = `ya29.${randomBytes(24).toString('base64url')}`;
  state.tokens.set(token, { expiresMs: Date.now() + state.tokenLifetimeMs, scope });
  state.tokenScopes.push(scope);
  const expiresIn = Math.ceil(state.tokenLifetimeMs / 1000);
  return { access_token: token, expires_in: expiresIn, token_type: 'Bearer' };
}

function answerMetadata(state: State, request: DoubleRequest): DoubleAnswer {
  const headers = { 'metadata-flavor': 'Google' };
  if (request.headers['metadata-flavor'] !== 'Google') return { status: 403 };
  const path = request.path.slice('/computeMetadata/v1/'.length).replace(/\/$/, '');
  switch (path) {
    case 'instance':
      return { status: 200, headers, body: 'service-accounts/' };
    case 'instance/service-accounts/default/token': {
      const scopes = request.query.get('scopes')?.replaceAll(',', ' ');
      return { status: 200, headers, body: issue(state, scopes || cloudScope) };
    }
    case 'universe/universe-domain':
      return { status: 200, headers, body: 'googleapis.com' };
    default:
      return { status: 404, headers };
  }
}
