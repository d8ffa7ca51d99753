// Deleting at Azure is two steps, of which the second is to purge what the first keeps for its retention
// period (soft delete). The vault takes seconds between them, and may refuse the second: then it keeps what
// was deleted, and the operator is told. A delete or purge is sent once: when its answer was lost, what
// is there is looked at first.

import type { DeletedSecret, SecretClient, SecretProperties } from '@azure/keyvault-secrets';
import type { Log } from '../../base/log.ts';
import { KeyStoreError } from '../../keys/key-store.ts';
import type { LocalClock } from './clock.ts';
import { azureError, azureRefusal, isForbidden, isNotFound, isTransient } from './errors.ts';

/** What a secret's attributes tell of its vault. */
export type AzureRetention = { readonly isPurgeable: boolean; readonly days: number | undefined };

type Options = { readonly abortSignal: AbortSignal };

/** Purges before a create, purges after a delete, writes after a purge: as the reference. */
const tries = { purgeForCreate: 25, purgeForDelete: 10, write: 7 } as const;
/** And after a delete that the vault was slow about, so many more beside other calls, of a second each. */
const laterTriesMax = 120;

/** Undefined when the attributes do not tell. */
export function azureRetention(
  properties: SecretProperties | undefined,
): AzureRetention | undefined {
  const level = properties?.recoveryLevel;
  if (level === undefined) return undefined;
  return { isPurgeable: level.includes('Purgeable'), days: properties?.recoverableDays };
}

type Parts = {
  readonly client: SecretClient;
  readonly local: LocalClock;
  readonly log: Log;
  /** Called with a sentence for operators when the vault turns out to keep what is deleted. */
  readonly onKept: (sentence: string) => void;
};

/** `lost`: there was no answer, so it may be purged or not. */
type PurgeOutcome = 'purged' | 'busy' | 'refused' | 'lost';

export class AzureRemoval {
  readonly #parts: Parts;
  readonly #purging = new Map<string, Promise<void>>();
  readonly #closing = new AbortController();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  learn(retention: AzureRetention): void {
    if (retention.isPurgeable) return;
    const days = retention.days === undefined ? '' : ` ${retention.days} days`;
    this.#parts.onKept(
      `Azure Key Vault keeps deleted secrets for${days || ' their retention period'}: purge protection is on, and their names cannot be used again until then`,
    );
  }

  /**
   * Deletes, if `isThere`, and purges. Resolves when the secret can no longer be read; what cannot be purged is
   * logged. Rejects with `unreachable` when it is not known whether it was deleted: if it was, it is purged
   * beside other calls, as the caller will find nothing any more to delete.
   */
  async remove(name: string, isThere: boolean, options: Options): Promise<void> {
    const { client, local } = this.#parts;
    if (isThere) {
      try {
        const poller = await client.beginDeleteSecret(name, options);
        const { properties } = poller.getResult() ?? {};
        const retention = azureRetention(properties);
        if (retention !== undefined) this.learn(retention);
      } catch (error) {
        if (isTransient(error)) {
          this.#purgeLater(name);
          throw new KeyStoreError('unreachable', azureError(error, 'delete', name).message);
        }
        if (!isNotFound(error)) throw error;
      }
    } else if (!(await this.#isDeletedName(name, options))) return;
    for (let attempt = 1; attempt <= tries.purgeForDelete; attempt += 1) {
      let outcome: PurgeOutcome;
      try {
        outcome = await this.#purge(name, options);
      } catch (error) {
        // The caller will find nothing any more to delete.
        this.#purgeLater(name);
        throw error;
      }
      if (outcome === 'lost') break;
      if (outcome !== 'busy') return;
      await local.sleep(pauseMs());
    }
    this.#purgeLater(name);
  }

  /** Whether what was deleted under this name had it with this very case. */
  async #isDeletedName(name: string, options: Options): Promise<boolean> {
    try {
      const deleted = await this.#parts.client.getDeletedSecret(name, options);
      return storedName(deleted) === name;
    } catch (error) {
      if (isNotFound(error)) return false;
      if (isForbidden(error)) return false;
      throw error;
    }
  }

  /** Runs `write`; while a deleted secret is in its way, purges that and tries again. */
  async insteadOfDeleted<T>(name: string, options: Options, write: () => Promise<T>): Promise<T> {
    const { local } = this.#parts;
    let isPurged = false;
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await write();
      } catch (error) {
        const code = azureRefusal(error)?.code;
        const isDeleted =
          code === 'ObjectIsDeletedButRecoverable' || code === 'ObjectIsBeingDeleted';
        if (!isDeleted || attempt > tries.write) throw error;
        isPurged ||= await this.#purgeFor(name, options);
        if (!isPurged) throw error;
      }
      await local.sleep(pauseMs());
    }
  }

  async #purgeFor(name: string, options: Options): Promise<boolean> {
    for (let attempt = 1; attempt <= tries.purgeForCreate; attempt += 1) {
      const outcome = await this.#purge(name, options);
      if (outcome === 'purged' || outcome === 'refused') return outcome === 'purged';
      await this.#parts.local.sleep(pauseMs());
    }
    return false;
  }

  /** `busy` while the vault is still deleting. A refusal is final, and told. */
  async #purge(name: string, options: Options): Promise<PurgeOutcome> {
    const { client, log, onKept } = this.#parts;
    try {
      await client.purgeDeletedSecret(name, options);
      return 'purged';
    } catch (error) {
      const refusal = azureRefusal(error);
      if (isNotFound(error)) return 'purged';
      if (refusal?.code === 'ObjectIsBeingDeleted') return 'busy';
      if (isTransient(error)) return 'lost';
      if (refusal === undefined || !isForbidden(error)) throw error;
      const sentence =
        'Azure Key Vault keeps deleted secrets for their retention period: it refuses to purge them ' +
        `(${refusal.code}); unless purge protection is on, grant Purge on secrets or the role Key Vault Secrets Officer`;
      onKept(sentence);
      log.warn(sentence, { secret: name });
      return 'refused';
    }
  }

  /** Purges what was deleted under this name, each time after a look at it. */
  #purgeLater(name: string): void {
    const { local, log } = this.#parts;
    if (this.#purging.has(name)) return;
    const abortSignal = this.#closing.signal;
    const work = async (): Promise<void> => {
      for (let attempt = 1; attempt <= laterTriesMax && !abortSignal.aborted; attempt += 1) {
        await local.sleep(1_000);
        const outcome = await this.#purgeDeleted(name, { abortSignal });
        if (outcome === 'purged' || outcome === 'refused') return;
      }
      if (!abortSignal.aborted) throw new Error('no answer, or still ObjectIsBeingDeleted');
    };
    const done = work()
      .catch((error: unknown) => {
        if (abortSignal.aborted) return;
        const code = azureRefusal(error)?.code ?? (error as Error).message;
        log.error('Azure Key Vault: a deleted secret is not purged: purge it by hand', {
          secret: name,
          code,
        });
      })
      .finally(() => this.#purging.delete(name));
    this.#purging.set(name, done);
  }

  /** Looks before it purges; `purged` also when nothing of ours is there. A purge never takes what is not deleted. */
  async #purgeDeleted(name: string, options: Options): Promise<PurgeOutcome> {
    try {
      const deleted = await this.#parts.client.getDeletedSecret(name, options);
      if (storedName(deleted) !== name) return 'purged';
    } catch (error) {
      // It cannot be read while the vault is still deleting.
      if (!isNotFound(error) && !isForbidden(error)) {
        if (isTransient(error)) return 'lost';
        throw error;
      }
    }
    return this.#purge(name, options);
  }

  /** Gives up on purges that run beside calls. */
  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.all(this.#purging.values());
  }
}

/** As its creator wrote it: Azure does not tell names apart by case. */
function storedName({ name, properties }: DeletedSecret): string {
  return properties.tags?.['coffer-name'] ?? name;
}

/** Milliseconds between tries: 200 to 1,000, as the reference. */
function pauseMs(): number {
  return 200 + Math.random() * 800;
}
