// A double of the secrets vault of Entrust KeyControl: the calls its documentation describes, all of them
// POST, refusing wrong credentials, expired tokens, other vaults and boxes, and unknown paths.

import { randomBytes } from 'node:crypto';
import {
  type DoubleAnswer,
  type DoubleRequest,
  type JsonDouble,
  parseObject,
  startJsonDouble,
} from './json-double.ts';

type Secret = { readonly data: string; isExpired: boolean };

export type EntrustDouble = JsonDouble & {
  readonly secrets: Map<string, Secret>;
  /** Seconds a token lasts, by the double's clock. */
  tokenSeconds: number;
  /** Milliseconds; what the double takes for now. */
  now: () => number;
  logins: number;
  renewals: number;
  /** No token issued so far is accepted any more. */
  revokeTokens(): void;
};

export type EntrustAccount = {
  readonly vaultId: string;
  readonly boxId: string;
  readonly username: string;
  readonly password: string;
};

const failure = (status: number, error: string): DoubleAnswer => ({ status, json: { error } });
const notFound = failure(404, 'Secret not found');
const pageMax = 256;

/** Starts an empty one. */
export async function startEntrustDouble(account: EntrustAccount): Promise<EntrustDouble> {
  const tokens = new Map<string, number>();
  const http = await startJsonDouble((request) => answer(request));
  const double: EntrustDouble = Object.assign(http, {
    secrets: new Map<string, Secret>(),
    tokenSeconds: 3600,
    now: () => Date.now(),
    logins: 0,
    renewals: 0,
    revokeTokens: () => tokens.clear(),
  });

  const grant = (): DoubleAnswer => {
    const token = randomBytes(24).toString('base64url');
    const expiresAt = double.now() + double.tokenSeconds * 1000;
    tokens.set(token, expiresAt);
    return {
      status: 200,
      json: { access_token: token, expires_at: new Date(expiresAt).toISOString() },
    };
  };

  const answer = (request: DoubleRequest): DoubleAnswer => {
    const { method, path, headers } = request;
    if (method !== 'POST' || !path.startsWith('/vault/1.0/')) return { status: 404, text: 'no' };
    const call = path.slice('/vault/1.0/'.length);
    if (call === `Login/${account.vaultId}/`) return login(request);
    const token = String(headers['x-vault-auth'] ?? '');
    if ((tokens.get(token) ?? 0) <= double.now()) return failure(401, 'Authentication failed');
    if (call === 'Renew/') {
      if (request.body !== '') return failure(400, 'Bad request');
      double.renewals += 1;
      tokens.delete(token);
      return grant();
    }
    const message = parseObject(request.body);
    if (message === undefined) return failure(400, 'Bad request');
    if (message['box_id'] !== account.boxId) return failure(404, 'Box not found');
    return answerBox(call, message, double);
  };

  const login = ({ body, headers }: DoubleRequest): DoubleAnswer => {
    if (headers['content-type'] !== 'application/json') return failure(415, 'JSON expected');
    const message = parseObject(body);
    const isRight =
      message?.['username'] === account.username && message['password'] === account.password;
    if (!isRight) return failure(401, 'Invalid username or password');
    double.logins += 1;
    return grant();
  };
  return double;
}

function answerBox(
  call: string,
  message: Record<string, unknown>,
  double: EntrustDouble,
): DoubleAnswer {
  const secret = double.secrets.get(String(message['secret_id']));
  switch (call) {
    case 'GetBox/':
      return { status: 200, json: { box_id: message['box_id'], name: 'coffer' } };
    case 'CreateSecret/':
      return create(message, double);
    case 'CheckoutSecret/':
      return secret ? { status: 200, json: { secret_data: secret.data } } : notFound;
    case 'DeleteSecret/':
      return double.secrets.delete(String(message['secret_id']))
        ? { status: 200, json: {} }
        : notFound;
    case 'ListSecretIds/':
      return list(message, double);
    default:
      return { status: 404, text: 'no' };
  }
}

const base64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

function create(message: Record<string, unknown>, double: EntrustDouble): DoubleAnswer {
  const { name, secret_data: data } = message;
  if (typeof name !== 'string' || name === '' || typeof data !== 'string' || !base64.test(data)) {
    return failure(400, 'Bad request');
  }
  if (double.secrets.has(name)) return failure(409, 'Secret already exists');
  double.secrets.set(name, { data, isExpired: false });
  return { status: 200, json: { secret_id: name } };
}

/** `next_token` names the first secret of the next page. */
function list(message: Record<string, unknown>, double: EntrustDouble): DoubleAnswer {
  const { box_id: boxId, max_items: itemsMax, next_token: token } = message;
  if (typeof itemsMax !== 'number' || itemsMax < 1) return failure(400, 'Bad request');
  let start = '';
  if (token !== undefined) {
    const parsed = parseObject(
      Buffer.from(typeof token === 'string' ? token : '', 'base64').toString(),
    );
    if (parsed?.['box_id'] !== boxId) return failure(400, 'Invalid token');
    start = String(parsed?.['next_ctx']);
  }
  const names = [...double.secrets.keys()].toSorted().filter((name) => name >= start);
  const page = names.slice(0, Math.min(pageMax, itemsMax));
  const next = names[page.length];
  const nextToken = JSON.stringify({ box_id: boxId, next_ctx: next });
  return {
    status: 200,
    json: {
      secrets: page.map((name) => ({ name, expired: double.secrets.get(name)?.isExpired })),
      ...(next === undefined ? {} : { next_token: Buffer.from(nextToken).toString('base64') }),
    },
  };
}
