// A double of Fortanix SDKMS (Data Security Manager): security objects of type OPAQUE as its documentation
// describes them, refusing a wrong API key, wrong bodies, other groups and unknown paths.

import { randomBytes } from 'node:crypto';
import {
  type DoubleAnswer,
  type DoubleRequest,
  type JsonDouble,
  parseObject,
  startJsonDouble,
} from './json-double.ts';

type SecurityObject = { readonly kid: string; readonly value: string; enabled: boolean };

export type FortanixDouble = JsonDouble & {
  readonly objects: Map<string, SecurityObject>;
  /** Sessions opened by `/sys/v1/session/auth` and not terminated. */
  readonly sessions: Set<string>;
  /** Whether a page begins with the name it was asked to start after, as some releases do. */
  repeatsStart: boolean;
  /** The only group that exists. */
  readonly groupId: string;
};

const failure = (status: number, message: string): DoubleAnswer => ({ status, json: { message } });
const notFound = failure(404, 'sobject does not exist');

/** Starts an empty one. `apiKey` is base64, as the product gives it. */
export async function startFortanixDouble(apiKey: string): Promise<FortanixDouble> {
  const http = await startJsonDouble((request) => answer(request));
  const double: FortanixDouble = Object.assign(http, {
    objects: new Map<string, SecurityObject>(),
    sessions: new Set<string>(),
    repeatsStart: false,
    groupId: '04bbd5b1-3e2f-4f0e-9d6e-0b5d7c1e6a55',
  });

  const answer = (request: DoubleRequest): DoubleAnswer => {
    const { method, path } = request;
    if (path === '/') return { status: 200, text: 'console' };
    if (path === '/sys/v1/health' && method === 'GET') return { status: 204 };
    if (path === '/sys/v1/session/terminate' && method === 'POST') {
      const token = (request.headers.authorization ?? '').replace(/^Bearer /, '');
      return double.sessions.delete(token) ? { status: 204 } : failure(401, 'Invalid access token');
    }
    if (request.headers.authorization !== `Basic ${apiKey}`)
      return failure(401, 'Invalid credentials');
    if (path === '/sys/v1/session/auth' && method === 'POST') {
      const token = randomBytes(24).toString('base64url');
      double.sessions.add(token);
      return { status: 200, json: { token_type: 'Bearer', expires_in: 600, access_token: token } };
    }
    return answerObjects(double, request);
  };
  return double;
}

function answerObjects(double: FortanixDouble, request: DoubleRequest): DoubleAnswer {
  const { method, path } = request;
  if (path === '/crypto/v1/keys' && method === 'PUT') return create(double, request.body);
  if (path === '/crypto/v1/keys' && method === 'GET') return list(double, request.query);
  if (path === '/crypto/v1/keys/export' && method === 'POST') {
    const name = parseObject(request.body)?.['name'];
    if (typeof name !== 'string') return { status: 400, text: 'Invalid request body' };
    const object = double.objects.get(name);
    if (!object) return notFound;
    return { status: 200, json: { name, obj_type: 'OPAQUE', ...object } };
  }
  const [, kid] = /^\/crypto\/v1\/keys\/([0-9a-f-]+)$/.exec(path) ?? [];
  if (kid !== undefined && method === 'DELETE') {
    const found = [...double.objects].find(([, object]) => object.kid === kid);
    if (!found) return notFound;
    double.objects.delete(found[0]);
    return { status: 204 };
  }
  return { status: 404, text: 'not found' };
}

const base64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

function create(double: FortanixDouble, body: string): DoubleAnswer {
  const message = parseObject(body) ?? {};
  const { name, value } = message;
  const isWhole =
    message['obj_type'] === 'OPAQUE' &&
    typeof name === 'string' &&
    name !== '' &&
    typeof value === 'string' &&
    base64.test(value) &&
    typeof message['enabled'] === 'boolean' &&
    JSON.stringify(message['key_ops']) === '["EXPORT","APPMANAGEABLE"]';
  if (!isWhole) return { status: 400, text: 'Invalid request body' };
  if ((message['group_id'] ?? double.groupId) !== double.groupId)
    return failure(403, 'App does not have access to the group');
  if (double.objects.has(name)) return failure(409, 'sobject already exists');
  const hex = randomBytes(16).toString('hex');
  const kid = hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  double.objects.set(name, { kid, value, enabled: message['enabled'] === true });
  return { status: 201, json: { kid, name, obj_type: 'OPAQUE' } };
}

function list(double: FortanixDouble, query: URLSearchParams): DoubleAnswer {
  const limit = Number(query.get('limit') ?? '100');
  if (query.get('sort') !== 'name:asc' || !(limit >= 1 && limit <= 1000))
    return { status: 400, text: 'Invalid query' };
  const start = query.get('start');
  const names = [...double.objects.keys()]
    .toSorted()
    .filter((name) => start === null || (double.repeatsStart ? name >= start : name > start));
  return { status: 200, json: names.slice(0, limit).map((name) => ({ name })) };
}
