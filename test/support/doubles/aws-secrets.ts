// A stand-in for AWS Secrets Manager: the JSON 1.1 protocol with real Signature V4 checks, request tokens,
// KMS keys, deletion in the background, paging, and the refusals of the real service. Also the two places
// where credentials come from: STS (web identity) and a container's credential endpoint.

import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { sha256Hex } from '../../../src/sigv4/canonical.ts';
import { deriveSigningKey, formatScope } from '../../../src/sigv4/signing-key.ts';
import { parseAmzDate } from '../../../src/sigv4/time.ts';
import { verifySignature } from '../../../src/sigv4/verify.ts';
import {
  type DoubleAnswer,
  type DoubleRequest,
  type DoubleServer,
  startDoubleServer,
} from './double-server.ts';

export type AwsCredential = {
  readonly accessKey: string;
  readonly secretKey: string;
  readonly sessionToken?: string;
  readonly expiresMs?: number;
};

type AwsSecret = {
  readonly arn: string;
  readonly version: string;
  readonly kmsKey: string | undefined;
  value: { text: string } | { binary: string };
  /** Still there for so many creates after it was deleted by force. */
  leftovers?: number;
  isScheduled?: boolean;
};

export type AwsSecretsDouble = {
  readonly server: DoubleServer;
  readonly region: string;
  readonly secrets: Map<string, AwsSecret>;
  /** By access key. */
  readonly credentials: Map<string, AwsCredential>;
  /** Operations that the caller's policy does not allow. */
  readonly denied: Set<string>;
  /** KMS keys that exist, and those of them that are disabled. */
  readonly kmsKeys: Set<string>;
  readonly disabledKmsKeys: Set<string>;
  /** `Operation` of every call that was let in, and its user agent. */
  readonly calls: { readonly operation: string; readonly userAgent: string }[];
  pageSize: number;
  /** How many creates find a secret deleted by force still being deleted. */
  deletionLag: number;
  /** Whether a repeated create with the same token and value succeeds, as at AWS. */
  isIdempotent: boolean;
  /** An operator schedules a deletion with a waiting time. */
  schedule(name: string): void;
  issue(lifetimeMs: number): AwsCredential;
};

class Refusal extends Error {
  readonly type: string;
  readonly status: number;
  constructor(type: string, message: string, status = 400) {
    super(message);
    this.type = type;
    this.status = status;
  }
}

const clockSkewMs = 5 * 60_000;
const account = '123456789012';

export async function startAwsSecretsDouble(
  options: { readonly isTls?: boolean } = {},
): Promise<AwsSecretsDouble> {
  const server = await startDoubleServer((request) => answer(double, request), options);
  const double: AwsSecretsDouble = {
    server,
    region: 'eu-central-1',
    secrets: new Map(),
    credentials: new Map([
      ['AKIADOUBLE', { accessKey: 'AKIADOUBLE', secretKey: 'double/secret+key' }],
    ]),
    denied: new Set(),
    kmsKeys: new Set(['alias/coffer']),
    disabledKmsKeys: new Set(),
    calls: [],
    pageSize: 100,
    deletionLag: 0,
    isIdempotent: true,
    schedule: (name) => {
      const secret = double.secrets.get(name);
      if (secret) secret.isScheduled = true;
    },
    issue: (lifetimeMs) => {
      const credential = {
        accessKey: `ASIA${randomBytes(6).toString('hex').toUpperCase()}`,
        secretKey: randomBytes(20).toString('base64'),
        sessionToken: randomBytes(40).toString('base64'),
        expiresMs: Date.now() + lifetimeMs,
      };
      double.credentials.set(credential.accessKey, credential);
      return credential;
    },
  };
  return double;
}

function answer(double: AwsSecretsDouble, request: DoubleRequest): DoubleAnswer {
  if (request.method === 'GET' && request.path === '/') return { status: 404 };
  try {
    if (request.method !== 'POST' || request.path !== '/') {
      throw new Refusal('UnknownOperationException', '', 404);
    }
    authenticate(double, request);
    const operation = /^secretsmanager\.(\w+)$/.exec(request.headers['x-amz-target'] ?? '')?.[1];
    const handle = operations[operation ?? ''];
    if (operation === undefined || handle === undefined) {
      throw new Refusal('UnknownOperationException', '');
    }
    if (request.headers['content-type'] !== 'application/x-amz-json-1.1') {
      throw new Refusal('SerializationException', 'wrong content type');
    }
    double.calls.push({ operation, userAgent: request.headers['user-agent'] ?? '' });
    if (double.denied.has(operation)) {
      throw new Refusal(
        'AccessDeniedException',
        `User: arn:aws:iam::${account}:user/coffer is not authorized to perform: secretsmanager:${operation}`,
      );
    }
    const body = request.json();
    if (typeof body !== 'object' || body === null) {
      throw new Refusal('SerializationException', 'the body is no JSON object');
    }
    return json(200, handle(double, body as Record<string, unknown>));
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return json(error.status, { __type: error.type, message: error.message });
  }
}

function json(status: number, body: object): DoubleAnswer {
  return {
    status,
    headers: { 'content-type': 'application/x-amz-json-1.1', 'x-amzn-requestid': randomUUID() },
    body: JSON.stringify(body),
  };
}

/** Checks the whole signature, so that a request that AWS would refuse is refused. */
function authenticate(double: AwsSecretsDouble, request: DoubleRequest): void {
  const header = request.headers['authorization'] ?? '';
  const claim =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/([^/]+)\/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})$/.exec(
      header,
    );
  if (claim === null) {
    throw new Refusal('MissingAuthenticationTokenException', 'Missing Authentication Token');
  }
  const [, accessKey = '', date = '', region = '', service = '', names = '', signature = ''] =
    claim;
  const credential = double.credentials.get(accessKey);
  const sentToken = request.headers['x-amz-security-token'];
  if (credential === undefined || credential.sessionToken !== sentToken) {
    throw new Refusal(
      'UnrecognizedClientException',
      'The security token included in the request is invalid.',
    );
  }
  if (credential.expiresMs !== undefined && credential.expiresMs < Date.now()) {
    throw new Refusal(
      'ExpiredTokenException',
      'The security token included in the request is expired',
    );
  }
  const timestamp = request.headers['x-amz-date'] ?? '';
  const timeMs = parseAmzDate(timestamp);
  if (timeMs === undefined || Math.abs(Date.now() - timeMs) > clockSkewMs) {
    throw new Refusal('InvalidSignatureException', 'Signature expired');
  }
  const signedHeaders = names.split(';');
  const mustBeSigned = ['host', 'x-amz-date', ...(sentToken ? ['x-amz-security-token'] : [])];
  const isScoped =
    date === timestamp.slice(0, 8) && region === double.region && service === 'secretsmanager';
  if (!isScoped || mustBeSigned.some((name) => !signedHeaders.includes(name))) {
    throw new Refusal(
      'InvalidSignatureException',
      `Credential should be scoped to a valid region and service, not ${region}/${service}`,
    );
  }
  const scope = { date, region, service };
  try {
    verifySignature(
      {
        method: request.method,
        path: request.path,
        parameters: [],
        headers: request.headers,
        rawHeaders: undefined,
        signedHeaders,
        payloadHash: sha256Hex(request.body),
      },
      {
        signingKey: deriveSigningKey(credential.secretKey, scope),
        scope: formatScope(scope),
        timestamp,
      },
      signature,
    );
  } catch {
    throw new Refusal(
      'InvalidSignatureException',
      'The request signature we calculated does not match the signature you provided.',
    );
  }
}

type Body = Readonly<Record<string, unknown>>;
type Operation = (double: AwsSecretsDouble, body: Body) => object;

const operations: Readonly<Record<string, Operation>> = {
  CreateSecret: createSecret,
  GetSecretValue: getSecretValue,
  DeleteSecret: deleteSecret,
  ListSecrets: listSecrets,
};

function createSecret(double: AwsSecretsDouble, body: Body): object {
  const { Name: name, SecretString: text, ClientRequestToken: token, KmsKeyId: kmsKey } = body;
  if (typeof name !== 'string' || !/^[A-Za-z0-9/_+=.@-]{1,512}$/.test(name)) {
    throw new Refusal('ValidationException', 'Invalid name.');
  }
  if (typeof text !== 'string' || text.length > 65_536) {
    throw new Refusal('ValidationException', 'Member must have length less than or equal to 65536');
  }
  if (typeof token !== 'string' || token.length < 32 || token.length > 64) {
    throw new Refusal('ValidationException', 'Invalid ClientRequestToken.');
  }
  checkKms(double, kmsKey as string | undefined, 'EncryptionFailure'); // unknown values fail the look-up
  const old = double.secrets.get(name);
  if (old !== undefined && !isGone(double, name, old)) {
    if (old.isScheduled || old.leftovers !== undefined) {
      throw new Refusal(
        'InvalidRequestException',
        "You can't create this secret because a secret with this name is already scheduled for deletion.",
      );
    }
    const isSame = old.version === token && 'text' in old.value && old.value.text === text;
    if (double.isIdempotent && isSame) return { ARN: old.arn, Name: name, VersionId: token };
    throw new Refusal(
      'ResourceExistsException',
      `The operation failed because the secret ${name} already exists.`,
    );
  }
  const suffix = createHash('sha256').update(name).digest('base64url').slice(0, 6);
  const arn = `arn:aws:secretsmanager:${double.region}:${account}:secret:${name}-${suffix}`;
  const keyId = kmsKey as string | undefined; // checked above
  double.secrets.set(name, { arn, version: token, kmsKey: keyId, value: { text } });
  return { ARN: arn, Name: name, VersionId: token };
}

function isGone(double: AwsSecretsDouble, name: string, secret: AwsSecret): boolean {
  if (secret.leftovers === undefined) return false;
  secret.leftovers -= 1;
  if (secret.leftovers >= 0) return false;
  double.secrets.delete(name);
  return true;
}

function checkKms(double: AwsSecretsDouble, key: string | undefined, type: string): void {
  if (key === undefined) return;
  if (!double.kmsKeys.has(key)) throw new Refusal(type, 'Invalid keyId');
  if (double.disabledKmsKeys.has(key)) {
    throw new Refusal(type, 'The KMS key is disabled.');
  }
}

function findSecret(double: AwsSecretsDouble, body: Body): AwsSecret {
  const secret = double.secrets.get(String(body['SecretId']));
  if (secret === undefined || (secret.leftovers !== undefined && !secret.isScheduled)) {
    throw new Refusal(
      'ResourceNotFoundException',
      "Secrets Manager can't find the specified secret.",
    );
  }
  return secret;
}

function getSecretValue(double: AwsSecretsDouble, body: Body): object {
  const secret = findSecret(double, body);
  if (secret.isScheduled) {
    throw new Refusal(
      'InvalidRequestException',
      "You can't perform this operation on the secret because it was marked for deletion.",
    );
  }
  const version = body['VersionId'];
  if (version !== undefined && version !== secret.version) {
    throw new Refusal(
      'ResourceNotFoundException',
      "Secrets Manager can't find the specified secret value.",
    );
  }
  checkKms(double, secret.kmsKey, 'DecryptionFailure');
  const { value } = secret;
  return {
    ARN: secret.arn,
    Name: body['SecretId'],
    VersionId: secret.version,
    VersionStages: ['AWSCURRENT'],
    ...('text' in value ? { SecretString: value.text } : { SecretBinary: value.binary }),
  };
}

function deleteSecret(double: AwsSecretsDouble, body: Body): object {
  const name = String(body['SecretId']);
  const secret = findSecret(double, body);
  if (body['ForceDeleteWithoutRecovery'] !== true) secret.isScheduled = true;
  else if (double.deletionLag > 0) {
    secret.isScheduled = false;
    secret.leftovers = double.deletionLag;
  } else double.secrets.delete(name);
  return { ARN: secret.arn, Name: name, DeletionDate: Date.now() / 1000 };
}

function listSecrets(double: AwsSecretsDouble, body: Body): object {
  const token = body['NextToken'];
  const shape = /^page-(\d+)$/;
  const given = typeof token === 'string' ? shape.exec(token)?.[1] : undefined;
  const start = token === undefined ? 0 : Number(given ?? Number.NaN);
  if (Number.isNaN(start)) throw new Refusal('InvalidNextTokenException', 'Invalid token.');
  const count = Math.min(double.pageSize, Number(body['MaxResults'] ?? 100));
  const listed = [...double.secrets].filter(
    ([, secret]) => !secret.isScheduled && secret.leftovers === undefined,
  );
  const page = listed.slice(start, start + count);
  return {
    SecretList: page.map(([Name, { arn }]) => ({ ARN: arn, Name })),
    ...(start + count < listed.length ? { NextToken: `page-${start + count}` } : {}),
  };
}

/** STS for one web identity, and a container's credential endpoint, both handing out what `double` lets in. */
export async function startAwsIdentityDouble(
  double: AwsSecretsDouble,
  options: { readonly webToken: string; readonly containerToken: string; lifetimeMs: number },
): Promise<DoubleServer> {
  return startDoubleServer((request) => {
    if (request.method === 'GET' && request.path === '/credentials') {
      if (request.headers['authorization'] !== options.containerToken) return { status: 403 };
      const issued = double.issue(options.lifetimeMs);
      return {
        status: 200,
        body: {
          AccessKeyId: issued.accessKey,
          SecretAccessKey: issued.secretKey,
          Token: issued.sessionToken,
          Expiration: new Date(issued.expiresMs ?? 0).toISOString(),
        },
      };
    }
    const form = new URLSearchParams(request.body.toString('utf8'));
    const isKnown =
      request.method === 'POST' &&
      form.get('Action') === 'AssumeRoleWithWebIdentity' &&
      form.get('WebIdentityToken') === options.webToken;
    if (!isKnown) return { status: 400, body: stsError };
    const issued = double.issue(options.lifetimeMs);
    return { status: 200, headers: { 'content-type': 'text/xml' }, body: stsAnswer(issued) };
  });
}

const stsError =
  '<ErrorResponse><Error><Type>Sender</Type><Code>InvalidIdentityToken</Code><Message>Incorrect token</Message></Error></ErrorResponse>';

function stsAnswer(issued: AwsCredential): string {
  return `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<Credentials><AccessKeyId>${issued.accessKey}</AccessKeyId><SecretAccessKey>${issued.secretKey}</SecretAccessKey>
<SessionToken>${issued.sessionToken}</SessionToken><Expiration>${new Date(issued.expiresMs ?? 0).toISOString()}</Expiration></Credentials>
<AssumedRoleUser><Arn>arn:aws:sts::${account}:assumed-role/coffer/x</Arn><AssumedRoleId>ARO:x</AssumedRoleId></AssumedRoleUser>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`;
}
