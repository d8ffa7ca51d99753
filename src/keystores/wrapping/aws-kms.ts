// A key of AWS KMS as wrapping key. The context goes into the encryption context, which KMS authenticates
// and CloudTrail shows: it holds the name of the stored key and nothing secret. The id that is stored is the
// ARN KMS answers with, so an alias may move to another key: what the old one wrapped stays readable. Only keys
// of the account and region of the configured key unwrap.

import type { KMSClient, KMSClientConfig } from '@aws-sdk/client-kms';
import { KeyStoreError } from '../../keys/key-store.ts';
import type { Dispatcher } from 'undici';
import { type AwsCredentials, awsClientOptions } from '../aws/http.ts';
import {
  type CloudDeps,
  type CloudLimits,
  cloudLimits,
  describeNetworkError,
  openConnections,
  parseEndpoint,
  withinMs,
} from '../cloud-calls.ts';
import { saidBy } from '../create-once.ts';
import { loadPackage } from '../load-package.ts';
import { checkRoundTrip, checkScope, parseStoredId } from './check.ts';
import type { WrappingKey } from './wrapping-key.ts';

/** `key`: id, ARN, or `alias/…`. Without `credentials`, those of the environment (variables, profile, role). */
export type AwsKmsSettings = {
  readonly key?: string | undefined;
  readonly region?: string | undefined;
  readonly endpoint?: string | undefined;
  readonly credentials?: AwsCredentials | undefined;
};

const system = 'aws-kms';
const product = 'AWS KMS';
/** For one call with all its attempts. */
const deadlineMs = 10_000;
const keyPattern = /^[\w:/-]{1,400}$/;

type Sdk = typeof import('@aws-sdk/client-kms');

/** Wraps and unwraps once; rejects with `KeyStoreError` when that fails. */
export async function openAwsKms(
  settings: AwsKmsSettings,
  deps: Partial<CloudDeps> = {},
): Promise<WrappingKey> {
  const { endpoint, region = '' } = settings;
  const url = parseEndpoint(product, endpoint || `kms.${region}.amazonaws.com`);
  const sdk = await loadPackage('@aws-sdk/client-kms', () => import('@aws-sdk/client-kms'));
  const limits = { ...cloudLimits, ...deps.limits };
  const opened = await openConnections(url, limits, deps.connections);
  const client = new sdk.KMSClient(clientConfig(settings, opened.connections, limits));
  const close = async (): Promise<void> => {
    client.destroy();
    await opened.close();
  };
  try {
    const arn = await resolveArn(sdk, client, settings.key ?? '');
    const key = new AwsKms({ sdk, client, arn, close });
    await key.check();
    return key;
  } catch (error) {
    await close();
    throw error;
  }
}

function clientConfig(
  settings: AwsKmsSettings,
  connections: Dispatcher,
  limits: CloudLimits,
): KMSClientConfig {
  const { region = '', endpoint, credentials } = settings;
  return {
    region,
    ...(endpoint ? { endpoint: parseEndpoint(product, endpoint).href } : {}),
    ...awsClientOptions(credentials, { connections, limits }),
  };
}

/** The ARN behind an id or alias, as KMS names it when it encrypts: needs no further permission. */
async function resolveArn(sdk: Sdk, client: KMSClient, keyName: string): Promise<string> {
  const command = new sdk.EncryptCommand({
    KeyId: keyName,
    Plaintext: Buffer.alloc(32),
    EncryptionContext: { coffer: 'coffer-wrapped:check' },
  });
  const { KeyId } = await guard('encrypt', keyName, () => client.send(command));
  if (KeyId && keyPattern.test(KeyId)) return KeyId;
  throw new KeyStoreError('failed', `${product} did not say which key ${keyName} is`);
}

type Parts = {
  readonly sdk: Sdk;
  readonly client: KMSClient;
  readonly arn: string;
  readonly close: () => Promise<void>;
};

class AwsKms implements WrappingKey {
  readonly id: string;
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.id = `${system}:${parts.arn}`;
  }

  async wrap(plaintext: Uint8Array, context: Uint8Array): Promise<Buffer> {
    const { sdk, client, arn } = this.#parts;
    const command = new sdk.EncryptCommand({
      KeyId: arn,
      Plaintext: plaintext,
      EncryptionContext: encryptionContext(context),
    });
    const { CiphertextBlob } = await guard('encrypt', arn, () => client.send(command));
    return requireBytes(CiphertextBlob);
  }

  async unwrap(wrapped: Uint8Array, context: Uint8Array, id: string): Promise<Buffer> {
    const arn = parseStoredId(id, system, keyPattern);
    const { sdk, client } = this.#parts;
    const scope = scopeOf(this.#parts.arn);
    checkScope(
      arn,
      scopeOf(arn) === scope,
      `the account and region of the configured key, ${scope}`,
    );
    const command = new sdk.DecryptCommand({
      KeyId: arn,
      CiphertextBlob: wrapped,
      EncryptionContext: encryptionContext(context),
    });
    const { Plaintext } = await guard('decrypt', arn, () => client.send(command));
    return requireBytes(Plaintext);
  }

  check(): Promise<void> {
    return checkRoundTrip(this);
  }

  close(): Promise<void> {
    return this.#parts.close();
  }
}

/** `arn:PARTITION:kms:REGION:ACCOUNT`; what is no ARN of a key is alone in its scope. */
function scopeOf(arn: string): string {
  return /^(arn:[\w-]+:kms:[\w-]+:\d+):key\/[\w-]+$/.exec(arn)?.[1] ?? arn;
}

function encryptionContext(context: Uint8Array): Record<string, string> {
  return { coffer: Buffer.from(context).toString('latin1') };
}

function requireBytes(bytes: Uint8Array | undefined): Buffer {
  if (!bytes || bytes.length === 0) {
    throw new KeyStoreError('failed', `${product} answered without a value`);
  }
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

type SdkError = Error & { readonly $metadata?: { readonly httpStatusCode?: number } };

/** The error is not passed on as a cause: it holds the request, and the request a data key. */
async function guard<T>(action: string, keyName: string, work: () => Promise<T>): Promise<T> {
  const what = `${product}: cannot ${action} with ${keyName}`;
  try {
    return await withinMs(deadlineMs, what, work);
  } catch (error) {
    if (error instanceof KeyStoreError) throw error;
    const { name, message, $metadata } = error as SdkError;
    if (error instanceof SyntaxError) {
      // The parser's message quotes the answer.
      throw new KeyStoreError('failed', `${what}: its answer is not JSON`);
    }
    if ($metadata?.httpStatusCode === undefined && name !== 'CredentialsProviderError') {
      throw new KeyStoreError('unreachable', `${what}: ${describeNetworkError(error)}`);
    }
    throw new KeyStoreError('failed', `${what}: ${name}: ${saidBy(message)}${hintOf(name)}`);
  }
}

const hints: Readonly<Record<string, string>> = {
  DisabledException: ' (enable the key in AWS KMS)',
  KMSInvalidStateException: ' (the key is pending deletion or import: cancel that in AWS KMS)',
  AccessDeniedException: ' (grant kms:Encrypt and kms:Decrypt on the key)',
  InvalidCiphertextException: ' (the stored key was changed or moved to another name)',
  IncorrectKeyException: ' (the stored key was wrapped by another key than it says)',
  NotFoundException: ' (check the key, the region and the account)',
  ThrottlingException: ' (AWS limits how often it may be asked)',
  CredentialsProviderError: ' (give credentials in the configuration or the environment)',
};

function hintOf(name: string): string {
  return hints[name] ?? '';
}
