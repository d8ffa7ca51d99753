// A double of AWS KMS: Encrypt and Decrypt in JSON 1.1, with real signatures (Signature V4) and real
// ciphertexts. Refuses a wrong signature, an unknown, disabled or dying key, another encryption context,
// another key, and too many calls.

import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { parseCanonicalQuery, sha256Hex } from '../../../src/sigv4/canonical.ts';
import { AuthError } from '../../../src/sigv4/errors.ts';
import { deriveSigningKey, formatScope } from '../../../src/sigv4/signing-key.ts';
import { verifySignature } from '../../../src/sigv4/verify.ts';
import {
  type DoubleAnswer,
  type DoubleRequest,
  type JsonDouble,
  parseObject,
  startJsonDouble,
} from './json-double.ts';

export type AwsKeyState = 'Enabled' | 'Disabled' | 'PendingDeletion';

type AwsKey = { readonly bytes: Buffer; state: AwsKeyState };

export type AwsKmsDouble = JsonDouble & {
  readonly region: string;
  readonly credentials: { readonly accesskey: string; readonly secretkey: string };
  /** By ARN. */
  readonly keys: Map<string, AwsKey>;
  /** `alias/…` → ARN. */
  readonly aliases: Map<string, string>;
  /** What Encrypt is asked to bind, in order. */
  readonly contexts: string[];
  /** The next calls answered with ThrottlingException. */
  throttled: number;
  addKey(alias?: string): string;
};

const failure = (type: string, message: string): DoubleAnswer => ({
  status: 400,
  json: { __type: type, message },
});

/** Starts one without keys. */
export async function startAwsKmsDouble(): Promise<AwsKmsDouble> {
  const http = await startJsonDouble((request) => answer(request));
  const double: AwsKmsDouble = Object.assign(http, {
    region: 'eu-central-1',
    credentials: { accesskey: 'AKIDOFTHETEST', secretkey: 'secret-key-of-the-test' },
    keys: new Map<string, AwsKey>(),
    aliases: new Map<string, string>(),
    contexts: [],
    throttled: 0,
    addKey(alias?: string) {
      const id = randomBytes(16)
        .toString('hex')
        .replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
      const arn = `arn:aws:kms:eu-central-1:111122223333:key/${id}`;
      double.keys.set(arn, { bytes: randomBytes(32), state: 'Enabled' });
      if (alias) double.aliases.set(alias, arn);
      return arn;
    },
  });

  const answer = (request: DoubleRequest): DoubleAnswer => {
    const target = String(request.headers['x-amz-target'] ?? '');
    if (request.method !== 'POST' || request.path !== '/')
      return failure('UnknownOperationException', '');
    const refused = checkSignature(double, request);
    if (refused) return refused;
    if (double.throttled > 0) {
      double.throttled -= 1;
      return failure('ThrottlingException', 'Rate exceeded');
    }
    const message = parseObject(request.body);
    if (!message) return failure('SerializationException', '');
    if (target === 'TrentService.Encrypt') return encrypt(double, message);
    if (target === 'TrentService.Decrypt') return decrypt(double, message);
    return failure('UnknownOperationException', '');
  };
  return double;
}

function checkSignature(double: AwsKmsDouble, request: DoubleRequest): DoubleAnswer | undefined {
  try {
    const claim = parseClaim(request.headers.authorization ?? '');
    if (!claim) return failure('IncompleteSignatureException', 'The signature is incomplete.');
    const { accesskey, secretkey } = double.credentials;
    if (claim.accessKey !== accesskey || claim.scope.region !== double.region) {
      return failure(
        'UnrecognizedClientException',
        'The security token included in the request is invalid.',
      );
    }
    verifySignature(
      {
        method: request.method,
        path: request.path,
        parameters: parseCanonicalQuery(''),
        headers: request.headers,
        rawHeaders: undefined,
        signedHeaders: claim.signedHeaders,
        payloadHash: sha256Hex(request.body),
      },
      {
        signingKey: deriveSigningKey(secretkey, claim.scope),
        timestamp: String(request.headers['x-amz-date']),
        scope: formatScope(claim.scope),
      },
      claim.signature,
    );
    return undefined;
  } catch (error) {
    if (!(error instanceof AuthError)) throw error;
    return failure('InvalidSignatureException', error.message);
  }
}

const claimPattern =
  /^AWS4-HMAC-SHA256 Credential=(\w+)\/(\d{8})\/([\w-]+)\/kms\/aws4_request, SignedHeaders=([\w;-]+), Signature=([0-9a-f]{64})$/;

function parseClaim(header: string) {
  const [, accessKey, date, region, names, signature] = claimPattern.exec(header) ?? [];
  if (!accessKey || !date || !region || !names || !signature) return undefined;
  const scope = { date, region, service: 'kms' };
  return { accessKey, scope, signedHeaders: names.split(';'), signature };
}

/** The key that an id, ARN or alias means, or the refusal. */
function findKey(
  double: AwsKmsDouble,
  keyId: unknown,
): { arn: string; key: AwsKey } | DoubleAnswer {
  const text = String(keyId);
  const arn =
    double.aliases.get(text) ??
    [...double.keys.keys()].find((name) => name === text || name.endsWith(`/${text}`));
  const key = arn === undefined ? undefined : double.keys.get(arn);
  if (arn === undefined || !key)
    return failure('NotFoundException', `Key '${text}' does not exist`);
  if (key.state === 'Disabled') return failure('DisabledException', `${arn} is disabled.`);
  if (key.state === 'PendingDeletion')
    return failure('KMSInvalidStateException', `${arn} is pending deletion.`);
  return { arn, key };
}

/** Order of members does not matter to KMS. */
function contextOf(message: Record<string, unknown>): string {
  const context = (message['EncryptionContext'] ?? {}) as Record<string, unknown>;
  return JSON.stringify(Object.entries(context).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

function encrypt(double: AwsKmsDouble, message: Record<string, unknown>): DoubleAnswer {
  const found = findKey(double, message['KeyId']);
  if ('status' in found) return found;
  const plaintext = Buffer.from(String(message['Plaintext']), 'base64');
  if (plaintext.length < 1 || plaintext.length > 4096)
    return failure('ValidationException', 'Plaintext must have 1 to 4096 bytes');
  const context = contextOf(message);
  double.contexts.push(context);
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', found.key.bytes, nonce);
  cipher.setAAD(Buffer.from(context));
  const sealed = Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
  const head = Buffer.from(`${found.arn}\n`);
  return {
    status: 200,
    json: {
      KeyId: found.arn,
      CiphertextBlob: Buffer.concat([head, nonce, sealed]).toString('base64'),
      EncryptionAlgorithm: 'SYMMETRIC_DEFAULT',
    },
  };
}

function decrypt(double: AwsKmsDouble, message: Record<string, unknown>): DoubleAnswer {
  const blob = Buffer.from(String(message['CiphertextBlob']), 'base64');
  const end = blob.indexOf('\n');
  const arn = blob.subarray(0, Math.max(0, end)).toString();
  const body = blob.subarray(end + 1);
  if (!double.keys.has(arn) || body.length < 28) return failure('InvalidCiphertextException', '');
  const found = findKey(double, message['KeyId'] ?? arn);
  if ('status' in found) return found;
  if (found.arn !== arn)
    return failure('IncorrectKeyException', 'The key ID in the request does not identify a CMK');
  try {
    const decipher = createDecipheriv('aes-256-gcm', found.key.bytes, body.subarray(0, 12));
    decipher.setAAD(Buffer.from(contextOf(message)));
    decipher.setAuthTag(body.subarray(-16));
    const plaintext = Buffer.concat([decipher.update(body.subarray(12, -16)), decipher.final()]);
    return { status: 200, json: { KeyId: arn, Plaintext: plaintext.toString('base64') } };
  } catch {
    return failure('InvalidCiphertextException', '');
  }
}
