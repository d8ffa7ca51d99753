// A double of the secrets of Thales CipherTrust Manager (formerly Gemalto KeySecure): the calls its
// documentation describes, refusing a wrong refresh token, an expired or unknown token, wrong bodies and
// unknown paths.

import { randomBytes } from 'node:crypto';
import {
  type DoubleAnswer,
  type DoubleRequest,
  type JsonDouble,
  parseObject,
  startJsonDouble,
} from './json-double.ts';

export type GemaltoDouble = JsonDouble & {
  /** Name → material. */
  readonly secrets: Map<string, string>;
  /** Seconds a token lasts; by the double's clock. */
  tokenSeconds: number;
  /** Milliseconds; what the double takes for now. */
  now: () => number;
  logins: number;
  /** No token issued so far is accepted any more. */
  revokeTokens(): void;
};

export type GemaltoCredentials = { readonly token: string; readonly domain: string };

const failure = (status: number, codeDesc: string): DoubleAnswer => ({
  status,
  json: { code: status, codeDesc },
});
const unauthorized = failure(401, 'NCERRUnauthorized: Invalid or expired token');
const pathPrefix = '/api/v1/vault/secrets';

/** Starts an empty one. */
export async function startGemaltoDouble(credentials: GemaltoCredentials): Promise<GemaltoDouble> {
  const tokens = new Map<string, number>();
  const secrets = new Map<string, string>();
  const http = await startJsonDouble((request) => answer(request));
  const double: GemaltoDouble = Object.assign(http, {
    secrets,
    tokenSeconds: 300,
    now: () => Date.now(),
    logins: 0,
    revokeTokens: () => tokens.clear(),
  });

  const answer = (request: DoubleRequest): DoubleAnswer => {
    if (request.path === '/') return { status: 200, text: 'console' };
    if (request.path === '/api/v1/auth/tokens') return login(request);
    const [scheme, token = ''] = (request.headers.authorization ?? '').split(' ');
    const expiresAt = tokens.get(token) ?? 0;
    if (scheme !== 'Bearer' || expiresAt <= double.now()) return unauthorized;
    return answerSecrets(request, secrets);
  };

  const login = ({ method, body }: DoubleRequest): DoubleAnswer => {
    if (method !== 'POST') return failure(405, 'NCERRMethodNotAllowed: Method not allowed');
    const message = parseObject(body);
    if (message?.['grant_type'] !== 'refresh_token')
      return failure(400, 'NCERRBadRequest: Bad HTTP request');
    const isRight =
      message['refresh_token'] === credentials.token &&
      (message['domain'] ?? '') === credentials.domain;
    if (!isRight) return failure(401, 'NCERRInvalidCredentials: Invalid credentials');
    const jwt = randomBytes(24).toString('base64url');
    tokens.set(jwt, double.now() + double.tokenSeconds * 1000);
    double.logins += 1;
    return {
      status: 200,
      json: { token_type: 'Bearer', jwt, duration: double.tokenSeconds },
    };
  };
  return double;
}

function answerSecrets(request: DoubleRequest, secrets: Map<string, string>): DoubleAnswer {
  const { method, path, query } = request;
  if (path === pathPrefix && method === 'POST') return create(request.body, secrets);
  if (path === pathPrefix && method === 'GET') return list(query, secrets);
  const [, name = '', action] = /^\/api\/v1\/vault\/secrets\/([\w-]+)(\/export)?$/.exec(path) ?? [];
  if (name === '' || query.get('type') !== 'name')
    return failure(404, 'NCERRResourceNotFound: Resource not found');
  if (action === undefined && method === 'DELETE') {
    if (!secrets.delete(name)) return failure(404, 'NCERRResourceNotFound: Resource not found');
    return { status: 204 };
  }
  if (action === '/export' && method === 'POST') {
    if (request.body !== '') return failure(400, 'NCERRBadRequest: Bad HTTP request');
    const material = secrets.get(name);
    if (material === undefined) return failure(404, 'NCERRResourceNotFound: Resource not found');
    return { status: 200, json: { id: `id-${name}`, name, dataType: 'seed', material } };
  }
  return failure(405, 'NCERRMethodNotAllowed: Method not allowed');
}

function create(body: string, secrets: Map<string, string>): DoubleAnswer {
  const message = parseObject(body);
  const { dataType, material, name } = message ?? {};
  if (dataType !== 'seed' || typeof material !== 'string' || typeof name !== 'string') {
    return failure(422, 'NCERRInvalidParamValue: Invalid parameter');
  }
  if (material === '' || name === '') return failure(422, 'NCERRInvalidParamValue: Invalid value');
  if (secrets.has(name)) return failure(409, 'NCERRConflict: Resource already exists');
  secrets.set(name, material);
  return { status: 201, json: { id: `id-${name}`, name, dataType } };
}

/** At most 200 on a page, in order of creation; a skip beyond the end gives an empty page. */
function list(query: URLSearchParams, secrets: Map<string, string>): DoubleAnswer {
  const skip = Number(query.get('skip') ?? '0');
  const limit = Math.min(200, Number(query.get('limit') ?? '10'));
  if (!Number.isInteger(skip) || !Number.isInteger(limit) || skip < 0 || limit < 1) {
    return failure(400, 'NCERRBadRequest: Bad HTTP request');
  }
  const resources = [...secrets.keys()]
    .slice(skip, skip + limit)
    .map((name) => ({ id: `id-${name}`, name }));
  return { status: 200, json: { skip, limit, total: secrets.size, resources } };
}
