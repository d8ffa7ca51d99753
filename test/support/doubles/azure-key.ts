// A double of the keys of Azure Key Vault and of the token service in front of it: wrapKey and unwrapKey of
// RSA key versions, real tokens after a challenge, over TLS. Refuses wrong secrets, unknown or disabled
// versions, other algorithms, missing API versions and expired tokens.

import {
  constants,
  generateKeyPairSync,
  type KeyObject,
  privateDecrypt,
  publicEncrypt,
  randomBytes,
} from 'node:crypto';
import { createClientCertificate, generateApiKey } from '../../../src/wire/kes-identity.ts';
import {
  type DoubleAnswer,
  type DoubleRequest,
  type JsonDouble,
  parseObject,
  startJsonDouble,
} from './json-double.ts';

type KeyVersion = {
  readonly version: string;
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
  isEnabled: boolean;
};

export type AzureKeyDouble = JsonDouble & {
  readonly credentials: {
    readonly tenant_id: string;
    readonly client_id: string;
    readonly client_secret: string;
  };
  /** Name → versions, the newest last. */
  readonly keys: Map<string, KeyVersion[]>;
  readonly tokens: Set<string>;
  logins: number;
  addVersion(name: string): void;
};

const failure = (status: number, code: string, message: string): DoubleAnswer => ({
  status,
  json: { error: { code, message } },
});

const login = 'https://login.microsoftonline.com';

/** Starts one without keys. */
export async function startAzureKeyDouble(): Promise<AzureKeyDouble> {
  const tls = await createClientCertificate(generateApiKey(), { isServer: true });
  const http = await startJsonDouble((request) => answer(request), tls);
  const tenant = '6d5a4f3e-1111-4222-8333-9c0b1a2d3e4f';
  const double: AzureKeyDouble = Object.assign(http, {
    credentials: {
      tenant_id: tenant,
      client_id: '1f2e3d4c-5555-4666-8777-8b9a0c1d2e3f',
      client_secret: 'client-secret-of-the-test',
    },
    keys: new Map<string, KeyVersion[]>(),
    tokens: new Set<string>(),
    logins: 0,
    addVersion(name: string) {
      const pair = generateKeyPairSync('rsa', { modulusLength: 2048 });
      const versions = double.keys.get(name) ?? [];
      versions.push({ version: randomBytes(16).toString('hex'), ...pair, isEnabled: true });
      double.keys.set(name, versions);
    },
  });

  const answer = (request: DoubleRequest): DoubleAnswer => {
    if (request.path === `/${tenant}/v2.0/.well-known/openid-configuration`) {
      return {
        status: 200,
        json: {
          issuer: `${login}/${tenant}/v2.0`,
          authorization_endpoint: `${login}/${tenant}/oauth2/v2.0/authorize`,
          token_endpoint: `${login}/${tenant}/oauth2/v2.0/token`,
          jwks_uri: `${login}/${tenant}/discovery/v2.0/keys`,
        },
      };
    }
    if (request.path === `/${tenant}/oauth2/v2.0/token`) return issueToken(double, request);
    const [, token = ''] = /^Bearer (\S+)$/.exec(request.headers.authorization ?? '') ?? [];
    if (!double.tokens.has(token)) {
      const challenge = `Bearer authorization="${login}/${tenant}", resource="https://vault.azure.net"`;
      return {
        ...failure(401, 'Unauthorized', 'AKV10000: Request is missing a Bearer token.'),
        headers: { 'www-authenticate': challenge },
      };
    }
    if (!request.query.get('api-version'))
      return failure(400, 'BadParameter', 'api-version must be specified');
    return answerKeys(double, request);
  };
  return double;
}

function issueToken(double: AzureKeyDouble, request: DoubleRequest): DoubleAnswer {
  const form = new URLSearchParams(request.body);
  const { client_id: id, client_secret: secret } = double.credentials;
  if (form.get('scope')?.includes('https://vault.azure.net/.default') !== true) {
    return { status: 400, json: { error: 'invalid_scope', error_description: 'AADSTS70011' } };
  }
  const isRight =
    form.get('grant_type') === 'client_credentials' &&
    form.get('client_id') === id &&
    form.get('client_secret') === secret;
  if (!isRight) {
    const description = 'AADSTS7000215: Invalid client secret provided.';
    return { status: 401, json: { error: 'invalid_client', error_description: description } };
  }
  const token = randomBytes(32).toString('base64url');
  double.tokens.add(token);
  double.logins += 1;
  return {
    status: 200,
    json: {
      token_type: 'Bearer',
      expires_in: 3599,
      ext_expires_in: 3599,
      access_token: token,
    },
  };
}

function answerKeys(double: AzureKeyDouble, request: DoubleRequest): DoubleAnswer {
  const [, , name = '', version = '', action = ''] = request.path.split('/');
  const versions = double.keys.get(name) ?? [];
  const found =
    version === '' ? versions.at(-1) : versions.find((entry) => entry.version === version);
  if (!request.path.startsWith('/keys/') || !found) {
    const message = `A key with (name/id) ${name}/${version} was not found in this key vault.`;
    return failure(404, 'KeyNotFound', message);
  }
  const kid = `https://${request.headers.host}/keys/${name}/${found.version}`;
  if (request.method === 'GET' && action === '') return { status: 200, json: bundle(kid, found) };
  if (request.method !== 'POST') return failure(405, 'MethodNotAllowed', '');
  if (!found.isEnabled)
    return failure(403, 'Forbidden', `Operation ${action} is not allowed on a disabled key.`);
  return useKey(kid, found, { action, body: request.body });
}

function bundle(kid: string, { publicKey, isEnabled }: KeyVersion): Record<string, unknown> {
  const { n, e } = publicKey.export({ format: 'jwk' });
  const key = { kid, kty: 'RSA', key_ops: ['wrapKey', 'unwrapKey'], n, e };
  return {
    key,
    attributes: { enabled: isEnabled, created: 1_700_000_000, updated: 1_700_000_000 },
  };
}

function useKey(
  kid: string,
  version: KeyVersion,
  call: { readonly action: string; readonly body: string },
): DoubleAnswer {
  const { alg, value } = parseObject(call.body) ?? {};
  if (alg !== 'RSA-OAEP-256' || typeof value !== 'string' || !/^[\w-]+$/.test(value)) {
    return failure(400, 'BadParameter', 'Property has invalid value');
  }
  const bytes = Buffer.from(value, 'base64url');
  const padding = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' };
  try {
    const result =
      call.action === 'wrapkey'
        ? publicEncrypt({ key: version.publicKey, ...padding }, bytes)
        : privateDecrypt({ key: version.privateKey, ...padding }, bytes);
    return { status: 200, json: { kid, value: result.toString('base64url') } };
  } catch {
    return failure(400, 'BadParameter', 'AKV10032: Invalid ciphertext');
  }
}
