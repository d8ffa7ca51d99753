// `Kms` over the key service: translates names, contexts and errors, and nothing else. Retries and
// failover are the client's, sharing of requests is the batcher's.

import { encodeContext } from '../sse/context.ts';
import type { DataKey, Kms, KmsContext, KmsEndpointState, KmsKeyInfo, KmsUse } from '../sse/kms.ts';
import type { KmsStatus } from '../sse/kms.ts';
import { KmsError } from '../sse/kms.ts';
import type { KesBatchCall, KesBatchResult, KesUseResult } from '../wire/kes.ts';
import { kesBatchCallsMax } from '../wire/kes.ts';
import { type KesClient, kesKeyStateOf } from '../wire/kes-client.ts';
import { KesClientError, kesAnswerError } from '../wire/kes-error.ts';
import type { KesBatcherLimits } from './kes-batcher.ts';
import { KesBatcher } from './kes-batcher.ts';
import { toKmsError } from './kms-errors.ts';

const dataKeyBytes = 32;

/** A `Kms` over the client, which it closes. */
export function openKesKms(
  client: KesClient,
  options: { readonly keyName: string; readonly limits?: KesBatcherLimits },
): Kms {
  return new KesKms(client, options);
}

class KesKms implements Kms {
  readonly defaultKeyName: string;
  readonly #client: KesClient;
  readonly #batcher: KesBatcher;

  constructor(
    client: KesClient,
    options: { readonly keyName: string; readonly limits?: KesBatcherLimits },
  ) {
    this.defaultKeyName = options.keyName;
    this.#client = client;
    this.#batcher = new KesBatcher(client, options.limits);
  }

  async generateKey(keyName: string, context: KmsContext): Promise<DataKey> {
    const call = { op: 'generate', name: keyName, context: encoded(context) } as const;
    const result = await this.#call(call);
    const plaintext = dataKeyOf(result.plaintext, keyName);
    const ciphertext = Buffer.from(result.ciphertext ?? '', 'base64');
    if (ciphertext.length === 0) throw nonsense(keyName);
    return { plaintext, ciphertext, keyName };
  }

  async decrypt(keyName: string, ciphertext: Uint8Array, context: KmsContext): Promise<Uint8Array> {
    const text = Buffer.from(
      ciphertext.buffer,
      ciphertext.byteOffset,
      ciphertext.byteLength,
    ).toString('base64');
    const result = await this.#call({
      op: 'decrypt',
      name: keyName,
      ciphertext: text,
      context: encoded(context),
    });
    return dataKeyOf(result.plaintext, keyName);
  }

  /** In batches as large as the service takes. A service that knows no uses has nothing against them. */
  async noteUses(uses: readonly KmsUse[]): Promise<(KmsError | undefined)[]> {
    const outcomes: (KmsError | undefined)[] = [];
    for (let at = 0; at < uses.length; at += kesBatchCallsMax) {
      const group = uses.slice(at, at + kesBatchCallsMax);
      const calls = group.map(
        ({ keyName: name, context }) => ({ op: 'use', name, context: encoded(context) }) as const,
      );
      const results = await this.#try(() => this.#client.noteUses(calls));
      outcomes.push(...group.map(({ keyName }, index) => refusalOf(results?.[index], keyName)));
    }
    return outcomes;
  }

  async createKey(keyName: string): Promise<void> {
    await this.#try(() => this.#client.createKey(keyName), keyName);
  }

  async listKeys(prefix: string): Promise<KmsKeyInfo[]> {
    const start = prefix.endsWith('*') ? prefix.slice(0, -1) : prefix;
    const found = await this.#try(() => this.#client.listKeys(start));
    return found.names.map((name) => ({ name, state: kesKeyStateOf(found, name) }));
  }

  async describeKey(keyName: string): Promise<KmsKeyInfo> {
    const info = await this.#try(() => this.#client.describeKey(keyName), keyName);
    return {
      name: keyName,
      state: info.state ?? 'enabled',
      createdAt: info.created_at,
      ...(info.created_by !== undefined && { createdBy: info.created_by }),
    };
  }

  /** Each endpoint is asked by itself. Being refused is an error with one endpoint, and an answer with several. */
  async status(): Promise<KmsStatus> {
    const { origins } = this.#client;
    const states = await Promise.all(
      origins.map((origin) => this.#stateOf(origin, origins.length)),
    );
    return {
      name: 'MinIO KES',
      defaultKeyName: this.defaultKeyName,
      endpoints: Object.fromEntries(states),
    };
  }

  async close(): Promise<void> {
    this.#client.close();
  }

  async #stateOf(origin: string, count: number): Promise<[string, KmsEndpointState]> {
    try {
      await this.#client.statusOf(origin);
      return [origin, 'online'];
    } catch (error) {
      const isRefused = error instanceof KesClientError && error.code === 'not-allowed';
      if (isRefused && count === 1) throw toKmsError(error);
      return [origin, isRefused ? 'online' : 'offline'];
    }
  }

  async #call(call: KesBatchCall): Promise<Extract<KesBatchResult, { status: 200 }>> {
    const result = await this.#try(() => this.#batcher.call(call), call.name);
    if (isSuccess(result)) return result;
    throw toKmsError(kesAnswerError(result.status, result.message), call.name);
  }

  async #try<T>(call: () => Promise<T>, keyName?: string): Promise<T> {
    try {
      return await call();
    } catch (error) {
      throw toKmsError(error, keyName);
    }
  }
}

function isSuccess(result: KesBatchResult): result is Extract<KesBatchResult, { status: 200 }> {
  return result.status === 200;
}

const unknownCall = 400;

function refusalOf(result: KesUseResult | undefined, keyName: string): KmsError | undefined {
  if (result === undefined || result.status === 200 || result.status === unknownCall) {
    return undefined;
  }
  return toKmsError(kesAnswerError(result.status, result.message ?? ''), keyName);
}

function encoded(context: KmsContext): string {
  return encodeContext(context).toString('base64');
}

function dataKeyOf(text: string, keyName: string): Buffer {
  const bytes = Buffer.from(text, 'base64');
  if (bytes.length !== dataKeyBytes) throw nonsense(keyName);
  return bytes;
}

function nonsense(keyName: string): KmsError {
  const text = 'the answer of the key service is not a data key of 32 bytes';
  return new KmsError('failed', text, { keyName });
}
