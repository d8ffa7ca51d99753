// The store inside one worker, from settings to open: key service, sealed metadata, blobs, root
// credentials. While the key service cannot be used the node waits and tries again; whatever else is
// wrong ends the start with a message for the operator.

import type { Log } from '../base/log.ts';
import { KmsError, type Kms } from '../sse/kms.ts';
import type { KmsConfig } from '../kms/config.ts';
import type { OpenedStore } from './open-store.ts';

const retryMinMs = 250;
const retryMaxMs = 3_000;

export type NodeDeps = {
  readonly log: Log;
  readonly kmsConfig: KmsConfig | undefined;
  /** The key service, ready to be called; undefined when none is configured. */
  readonly kms: Kms | undefined;
  /** The master key that the directory is sealed under, if it is. */
  findSealingKey(): Promise<string | undefined>;
  /** Opens the directory. Throws `KmsError` when the key service does not open the backend key. */
  openStore(): Promise<OpenedStore>;
  /** The key service answers; the store is not open yet. */
  onStandby(): void;
  /** Called with every change of the reason, and when it starts. */
  onWaiting(reason: string): void;
};

export class StoreNode {
  readonly #deps: NodeDeps;
  readonly #mayOpen = Promise.withResolvers<void>();
  readonly #closing = new AbortController();
  #opened: OpenedStore | undefined;
  #reason = 'The server is starting. Please try again.';

  constructor(deps: NodeDeps) {
    this.#deps = deps;
  }

  /** The open store, or undefined while there is none. */
  get opened(): OpenedStore | undefined {
    return this.#opened;
  }

  /** Why there is no open store, in words for clients. */
  get reason(): string {
    return this.#reason;
  }

  /** Lets a node that was started on standby open the store. */
  allowOpen(): void {
    this.#mayOpen.resolve();
  }

  /** Resolves when the store is open. Rejects for anything that waiting does not mend. */
  async start(options: { readonly isStandby: boolean }): Promise<OpenedStore> {
    const { kms } = this.#deps;
    // A default key is made only for a directory that was never sealed. Later, one that is missing was deleted
    // on purpose: nobody makes another key under its name unasked.
    if (kms && (await this.#deps.findSealingKey()) === undefined) {
      await this.#untilKmsWorks(() => ensureDefaultKey(kms));
    }
    if (options.isStandby) {
      this.#deps.onStandby();
      await this.#mayOpen.promise;
    }
    const opened = await this.#untilKmsWorks(() => this.#deps.openStore());
    this.#opened = opened;
    return opened;
  }

  /** Closes the store; later requests are refused. */
  async close(): Promise<void> {
    this.#reason = 'The server is restarting. Please try again.';
    this.#closing.abort();
    const opened = this.#opened;
    this.#opened = undefined;
    await opened?.close();
  }

  async #untilKmsWorks<T>(attempt: () => Promise<T>): Promise<T> {
    let delayMs = retryMinMs;
    let lastReason = '';
    for (;;) {
      try {
        const result = await attempt();
        if (lastReason !== '') this.#deps.log.info('the key service can be used now');
        return result;
      } catch (error) {
        if (!(error instanceof KmsError)) throw error;
        this.#reason =
          'The key service that this server needs to start cannot be used. Please try again.';
        const reason = explainKms(error, this.#deps.kmsConfig);
        if (reason !== lastReason) {
          lastReason = reason;
          this.#deps.log.warn(reason);
          this.#deps.onWaiting(reason);
        }
      }
      await pause(delayMs, this.#closing.signal);
      delayMs = Math.min(delayMs * 2, retryMaxMs);
    }
  }
}

/** Makes a data key under the default master key, which is created when it does not exist. */
async function ensureDefaultKey(kms: Kms): Promise<void> {
  const attempt = async (): Promise<void> => {
    const dataKey = await kms.generateKey(kms.defaultKeyName, {});
    dataKey.plaintext.fill(0);
  };
  try {
    await attempt();
  } catch (error) {
    if (!(error instanceof KmsError) || error.code !== 'key-not-found') throw error;
    await createDefaultKey(kms);
    await attempt();
  }
}

async function createDefaultKey(kms: Kms): Promise<void> {
  try {
    await kms.createKey(kms.defaultKeyName);
  } catch (error) {
    // Another worker or server was faster; or the identity may use keys but not create them, which the
    // next attempt to use the key will tell more exactly.
    const isExpected =
      error instanceof KmsError && (error.code === 'key-exists' || error.code === 'not-authorized');
    if (!isExpected) throw error;
  }
}

function explainKms(error: KmsError, config: KmsConfig | undefined): string {
  const place = config?.kind === 'kes' ? config.endpoints.join(', ') : 'the static key';
  const keyName = error.keyName ?? (config === undefined ? '' : config.keyName);
  switch (error.code) {
    case 'unreachable':
      return `the key service at ${place} cannot be reached: start it, or correct MINIO_KMS_KES_ENDPOINT and MINIO_KMS_KES_CAPATH (${error.message.replace(/^the key service cannot be reached: /, '')})`;
    case 'key-disabled':
      return `the master key '${keyName}' at ${place} is disabled: enable it with 'kes key enable ${keyName}'`;
    case 'key-not-found':
      return `the master key '${keyName}' does not exist at ${place}: create it with 'kes key create ${keyName}', or restore it if it was deleted`;
    case 'not-authorized':
      return `the key service at ${place} does not let this server use the master key '${keyName}': allow its identity in the policy of the key service, or correct MINIO_KMS_KES_API_KEY`;
    default:
      return `the key service at ${place} refused: ${error.message}`;
  }
}

async function pause(delayMs: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onAbort = (): void => reject(signal.reason);
  const timer = setTimeout(resolve, delayMs);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    signal.throwIfAborted();
    await promise;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  }
}
