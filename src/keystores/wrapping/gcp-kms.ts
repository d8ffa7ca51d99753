// A key of Google Cloud KMS as wrapping key, over REST. The context is additional authenticated data. Both
// ways carry CRC32C checksums, as Google advises, so that a value damaged on the way is noticed before
// anything is stored under it. Older versions of the crypto key unwrap what they wrapped: the ciphertext
// names them. Only keys of the project of the configured key unwrap.

import type { KeyManagementServiceClient } from '@google-cloud/kms';
import { createChecksum } from '../../base/checksums.ts';
import { KeyStoreError } from '../../keys/key-store.ts';
import {
  type CloudDeps,
  cloudLimits,
  describeNetworkError,
  networkErrorCode,
  openConnections,
  parseEndpoint,
  pause,
  retryDelay,
  withinMs,
} from '../cloud-calls.ts';
import { saidBy } from '../create-once.ts';
import { type GcpCredentials, gcpClientOptions, silenceSdk } from '../gcp/client.ts';
import { isTransient, refusalOf } from '../gcp/errors.ts';
import { loadPackage } from '../load-package.ts';
import { checkRoundTrip, checkScope, parseStoredId } from './check.ts';
import type { WrappingKey } from './wrapping-key.ts';

/** `key`: `projects/…/locations/…/keyRings/…/cryptoKeys/…`. Without `credentials`, those of the environment. */
export type GcpKmsSettings = {
  readonly key?: string | undefined;
  readonly endpoint?: string | undefined;
  readonly credentials?: GcpCredentials | undefined;
};

const system = 'gcp-kms';
const product = 'Google Cloud KMS';
const defaultEndpoint = 'https://cloudkms.googleapis.com';
const attemptsMax = 3;
/** For one call with all its attempts. */
const deadlineMs = 10_000;
const keyPattern = /^projects\/[\w:.-]+\/locations\/[\w-]+\/keyRings\/[\w-]+\/cryptoKeys\/[\w-]+$/;

/** Wraps and unwraps once; rejects with `KeyStoreError` when that fails. */
export async function openGcpKms(
  settings: GcpKmsSettings,
  deps: Partial<CloudDeps> = {},
): Promise<WrappingKey> {
  const keyName = settings.key ?? '';
  if (!keyPattern.test(keyName)) {
    throw new KeyStoreError(
      'failed',
      `${product}: the key must be a full name, projects/…/locations/…/keyRings/…/cryptoKeys/…, without a version`,
    );
  }
  const url = parseEndpoint(product, settings.endpoint || defaultEndpoint);
  const sdk = await loadPackage('@google-cloud/kms', () => import('@google-cloud/kms'));
  const limits = { ...cloudLimits, ...deps.limits };
  const { connections, close } = await openConnections(url, limits, deps.connections);
  const transport = { url, connections, attemptMs: limits.attemptMs };
  const client = new sdk.KeyManagementServiceClient(await gcpClientOptions(settings, transport));
  silenceSdk(client);
  const repeat = { delayMs: () => retryDelay(limits) };
  const key = new GcpKms({ client, keyName, repeat, close });
  try {
    // Calls to a client that cannot start leave rejections that nobody handles: it has to start first.
    await guard({ action: 'start', keyName, repeat }, () => client.initialize());
    await key.check();
    return key;
  } catch (error) {
    await close();
    throw error;
  }
}

type Repeat = { readonly delayMs: () => number };

type Parts = {
  readonly client: KeyManagementServiceClient;
  readonly keyName: string;
  readonly repeat: Repeat;
  readonly close: () => Promise<void>;
};

/** Attempts are counted here, not in the SDK. */
const callOptions = { retry: { retryCodes: [] as number[] } };

class GcpKms implements WrappingKey {
  readonly id: string;
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.id = `${system}:${parts.keyName}`;
  }

  async wrap(plaintext: Uint8Array, context: Uint8Array): Promise<Buffer> {
    const { client, keyName, repeat } = this.#parts;
    const request = {
      name: keyName,
      plaintext,
      plaintextCrc32c: { value: crc32c(plaintext) },
      additionalAuthenticatedData: context,
      additionalAuthenticatedDataCrc32c: { value: crc32c(context) },
    };
    const answer = await guard({ action: 'encrypt', keyName, repeat }, async () => {
      const [message] = await client.encrypt(request, callOptions);
      return message;
    });
    const arrivedWhole =
      answer.verifiedPlaintextCrc32c === true &&
      answer.verifiedAdditionalAuthenticatedDataCrc32c === true;
    if (!arrivedWhole) throw damaged('the request');
    return readBytes(answer.ciphertext, answer.ciphertextCrc32c);
  }

  async unwrap(wrapped: Uint8Array, context: Uint8Array, id: string): Promise<Buffer> {
    const { client, repeat } = this.#parts;
    const keyName = parseStoredId(id, system, keyPattern);
    const scope = projectOf(this.#parts.keyName);
    checkScope(
      keyName,
      projectOf(keyName) === scope,
      `the project of the configured key, ${scope}`,
    );
    const request = {
      name: keyName,
      ciphertext: wrapped,
      ciphertextCrc32c: { value: crc32c(wrapped) },
      additionalAuthenticatedData: context,
      additionalAuthenticatedDataCrc32c: { value: crc32c(context) },
    };
    const answer = await guard({ action: 'decrypt', keyName, repeat }, async () => {
      const [message] = await client.decrypt(request, callOptions);
      return message;
    });
    return readBytes(answer.plaintext, answer.plaintextCrc32c);
  }

  check(): Promise<void> {
    return checkRoundTrip(this);
  }

  close(): Promise<void> {
    return this.#parts.close();
  }
}

/** `projects/NAME`. */
function projectOf(keyName: string): string {
  return keyName.split('/').slice(0, 2).join('/');
}

function crc32c(bytes: Uint8Array): number {
  const state = createChecksum('CRC32C');
  state.update(bytes);
  return state.digest().readUInt32BE(0);
}

type Crc = { readonly value?: unknown } | null | undefined;

/** The bytes of an answer, checked. Throws `failed` when they are missing or damaged. */
function readBytes(value: Uint8Array | string | null | undefined, sent: Crc): Buffer {
  if (value === null || value === undefined || value.length === 0) {
    throw new KeyStoreError('failed', `${product} answered without a value`);
  }
  const bytes =
    typeof value === 'string'
      ? Buffer.from(value, 'base64')
      : Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  // A 64-bit integer: a number, a text or an object of the SDK, alike as a number.
  const isSame = Number(sent?.value ?? Number.NaN) === crc32c(bytes);
  if (!isSame) throw damaged('the answer');
  return bytes;
}

function damaged(what: string): KeyStoreError {
  return new KeyStoreError('failed', `${product}: ${what} was damaged on the way (checksum)`);
}

type Call = { readonly action: string; readonly keyName: string; readonly repeat: Repeat };

/** The error is not passed on as a cause: it may hold the request, and the request a data key. */
async function guard<T>(call: Call, work: () => Promise<T>): Promise<T> {
  const what = `${product}: cannot ${call.action} with ${call.keyName}`;
  try {
    return await withinMs(deadlineMs, what, (signal) => repeated(call.repeat, signal, work));
  } catch (error) {
    if (error instanceof KeyStoreError) throw error;
    const refusal = refusalOf(error);
    if (refusal === undefined && networkErrorCode(error) !== undefined) {
      throw new KeyStoreError('unreachable', `${what}: ${describeNetworkError(error)}`);
    }
    if (refusal === undefined) {
      // The parser's message quotes the answer.
      const said = error instanceof SyntaxError ? 'its answer is not JSON' : messageOf(error);
      throw new KeyStoreError('failed', `${what}: ${said}`);
    }
    const hint = hints[refusal.status] ?? '';
    const said = saidBy(refusal.message);
    throw new KeyStoreError('failed', `${what}: ${refusal.status}: ${said}${hint}`);
  }
}

async function repeated<T>(
  repeat: Repeat,
  signal: AbortSignal,
  work: () => Promise<T>,
): Promise<T> {
  for (let count = 1; ; count += 1) {
    try {
      return await work();
    } catch (error) {
      if (count === attemptsMax || signal.aborted || !isTransient(error)) throw error;
    }
    await pause(repeat.delayMs(), signal);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? saidBy(error.message) : 'unknown error';
}

const hints: Readonly<Record<string, string>> = {
  INVALID_ARGUMENT: ' (the stored key was changed, moved to another name, or is of another key)',
  NOT_FOUND: ' (check the name of the crypto key)',
  PERMISSION_DENIED: ' (grant roles/cloudkms.cryptoKeyEncrypterDecrypter on the crypto key)',
  RESOURCE_EXHAUSTED: ' (the quota of the project is used up)',
  FAILED_PRECONDITION: ' (enable the key version in Cloud KMS)',
  UNAUTHENTICATED: ' (check the credentials)',
  invalid_grant: ' (check client_email and private_key, and the clock of this machine)',
};
