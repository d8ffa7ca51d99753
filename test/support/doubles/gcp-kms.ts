// A double of Google Cloud KMS over REST and of the token endpoint before it: encrypt and decrypt of a crypto
// key with versions. Verifies the service account's signed assertion and the token it was exchanged for, checks checksums, and refuses disabled versions, other additional data,
// and unknown keys.

import {
  createCipheriv,
  createDecipheriv,
  generateKeyPairSync,
  randomBytes,
  verify,
} from 'node:crypto';
import { createClientCertificate, generateApiKey } from '../../../src/wire/kes-identity.ts';
import { checksumOf } from './crc32c.ts';
import {
  type DoubleAnswer,
  type DoubleRequest,
  type JsonDouble,
  parseObject,
  startJsonDouble,
} from './json-double.ts';

type KeyVersion = { readonly bytes: Buffer; isEnabled: boolean };

export type GcpKmsDouble = JsonDouble & {
  readonly credentials: {
    readonly client_email: string;
    readonly client_id: string;
    readonly private_key_id: string;
    readonly private_key: string;
  };
  /** Name of the crypto key → its versions; the last one encrypts. */
  readonly keys: Map<string, KeyVersion[]>;
  /** Changes each answer, to damage it. */
  damage: (answer: Record<string, unknown>) => Record<string, unknown>;
  addVersion(keyName: string): void;
};

const failure = (status: number, name: string, message: string): DoubleAnswer => ({
  status,
  json: { error: { code: status, message, status: name } },
});
const unauthenticated = failure(
  401,
  'UNAUTHENTICATED',
  'Request had invalid authentication credentials.',
);

/** Starts one without keys. */
export async function startGcpKmsDouble(): Promise<GcpKmsDouble> {
  const pair = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const tokens = new Set<string>();
  const clientEmail = 'coffer@project-of-the-test.iam.gserviceaccount.com';
  const tls = await createClientCertificate(generateApiKey(), { isServer: true });
  const http = await startJsonDouble((request) => answer(request), tls);
  const double: GcpKmsDouble = Object.assign(http, {
    credentials: {
      client_email: clientEmail,
      client_id: '117222222222222222222',
      private_key_id: randomBytes(20).toString('hex'),
      private_key: pair.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    },
    keys: new Map<string, KeyVersion[]>(),
    damage: (message: Record<string, unknown>) => message,
    addVersion(keyName: string) {
      const versions = double.keys.get(keyName) ?? [];
      versions.push({ bytes: randomBytes(32), isEnabled: true });
      double.keys.set(keyName, versions);
    },
  });

  /** The claims of a token that the service account signed; undefined when it did not, or too long ago. */
  const signedClaims = (token: string): Record<string, unknown> | undefined => {
    const [head = '', body = '', signature = ''] = token.split('.');
    const signed = Buffer.from(`${head}.${body}`);
    const isSigned = verify('sha256', signed, pair.publicKey, Buffer.from(signature, 'base64url'));
    const claims = parseObject(Buffer.from(body, 'base64url').toString()) ?? {};
    const isRight =
      isSigned &&
      claims['iss'] === clientEmail &&
      Number(claims['exp']) * 1000 > Date.now() &&
      /\/auth\/(cloud-platform|cloudkms)$/.test(String(claims['scope']));
    return isRight ? claims : undefined;
  };

  /** The token exchange: a signed assertion for an access token. */
  const issueToken = (request: DoubleRequest): DoubleAnswer => {
    const form = new URLSearchParams(request.body);
    const claims = signedClaims(form.get('assertion') ?? '');
    const isRight =
      form.get('grant_type') === 'urn:ietf:params:oauth:grant-type:jwt-bearer' &&
      claims?.['aud'] === 'https://oauth2.googleapis.com/token';
    if (!isRight) {
      const description = 'Invalid JWT Signature.';
      return { status: 400, json: { error: 'invalid_grant', error_description: description } };
    }
    const token = `ya29.${randomBytes(24).toString('base64url')}`;
    tokens.add(token);
    return { status: 200, json: { access_token: token, expires_in: 3600, token_type: 'Bearer' } };
  };

  /** Google takes access tokens, and from service accounts also tokens that they sign themselves. */
  const isSignedIn = (token: string): boolean =>
    tokens.has(token) || signedClaims(token) !== undefined;

  const answer = (request: DoubleRequest): DoubleAnswer => {
    if (request.path === '/token' && request.method === 'POST') return issueToken(request);
    const [, token = ''] = /^Bearer (\S+)$/.exec(request.headers.authorization ?? '') ?? [];
    if (!isSignedIn(token)) return unauthenticated;
    const [, name = '', action = ''] = /^\/v1\/(.+):(encrypt|decrypt)$/.exec(request.path) ?? [];
    const versions = double.keys.get(name);
    if (request.method !== 'POST' || !versions)
      return failure(404, 'NOT_FOUND', `CryptoKey ${name} not found.`);
    const message = parseObject(request.body);
    if (!message) return failure(400, 'INVALID_ARGUMENT', 'Invalid JSON payload received.');
    const result =
      action === 'encrypt' ? encrypt(name, versions, message) : decrypt(versions, message);
    if (result.status !== 200) return result;
    return { status: 200, json: double.damage(result.json as Record<string, unknown>) };
  };
  return double;
}

function bytesOf(message: Record<string, unknown>, member: string): Buffer {
  const value = message[member];
  return Buffer.from(typeof value === 'string' ? value : '', 'base64');
}

/** A 64-bit integer is a text in JSON, or a number. */
function isChecked(message: Record<string, unknown>, member: string): boolean {
  const sent = message[`${member}Crc32c`];
  return sent !== undefined && Number(sent) === checksumOf(bytesOf(message, member));
}

const disabled = (version: number): DoubleAnswer =>
  failure(
    400,
    'FAILED_PRECONDITION',
    `cryptoKeyVersions/${version} is not enabled, current state is: DISABLED.`,
  );

function encrypt(
  name: string,
  versions: readonly KeyVersion[],
  message: Record<string, unknown>,
): DoubleAnswer {
  const current = versions.at(-1);
  if (!current?.isEnabled) return disabled(versions.length);
  for (const member of ['plaintext', 'additionalAuthenticatedData']) {
    if (!isChecked(message, member))
      return failure(400, 'INVALID_ARGUMENT', `The checksum in ${member} did not match.`);
  }
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', current.bytes, nonce);
  cipher.setAAD(bytesOf(message, 'additionalAuthenticatedData'));
  const sealed = [cipher.update(bytesOf(message, 'plaintext')), cipher.final()];
  const head = Buffer.from([versions.length]);
  const ciphertext = Buffer.concat([head, nonce, ...sealed, cipher.getAuthTag()]);
  return {
    status: 200,
    json: {
      name: `${name}/cryptoKeyVersions/${versions.length}`,
      ciphertext: ciphertext.toString('base64'),
      ciphertextCrc32c: String(checksumOf(ciphertext)),
      verifiedPlaintextCrc32c: true,
      verifiedAdditionalAuthenticatedDataCrc32c: true,
      protectionLevel: 'SOFTWARE',
    },
  };
}

function decrypt(versions: readonly KeyVersion[], message: Record<string, unknown>): DoubleAnswer {
  const invalid = failure(
    400,
    'INVALID_ARGUMENT',
    'Decryption failed: verify that name refers to the correct CryptoKey.',
  );
  const sealed = bytesOf(message, 'ciphertext');
  const version = versions[(sealed[0] ?? 0) - 1];
  if (!version || sealed.length < 29 || !isChecked(message, 'ciphertext')) return invalid;
  if (!version.isEnabled) return disabled(sealed[0] ?? 0);
  try {
    const decipher = createDecipheriv('aes-256-gcm', version.bytes, sealed.subarray(1, 13));
    decipher.setAAD(bytesOf(message, 'additionalAuthenticatedData'));
    decipher.setAuthTag(sealed.subarray(-16));
    const plaintext = Buffer.concat([decipher.update(sealed.subarray(13, -16)), decipher.final()]);
    return {
      status: 200,
      json: {
        plaintext: plaintext.toString('base64'),
        plaintextCrc32c: String(checksumOf(plaintext)),
        usedPrimary: version === versions.at(-1),
        protectionLevel: 'SOFTWARE',
      },
    };
  } catch {
    return invalid;
  }
}
