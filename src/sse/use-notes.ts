// Notes of uses that needed no call of the KMS, on their way to its audit log: gathered for a moment, sent together,
// kept until they arrived. A use that the KMS refuses is told to the owner, who forgets the key. What waits is
// bounded: when the KMS does not take notes, there are no more uses to note.

import type { Kms, KmsUse } from './kms.ts';
import type { KmsError } from './kms.ts';

const waitMs = 100;
const retryMs = 1000;
const sendMax = 256;
const waitingMax = 4096;

export class UseNotes {
  readonly #kms: Kms;
  readonly #onRefused: (keyName: string) => void;
  #waiting: KmsUse[] = [];
  #sending: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(kms: Kms, onRefused: (keyName: string) => void) {
    this.#kms = kms;
    this.#onRefused = onRefused;
  }

  /** Resolves at once, except when too many notes wait: then when they are sent. Throws `KmsError` if they are not. */
  async add(use: KmsUse): Promise<void> {
    if (!this.#kms.noteUses) return;
    while (this.#waiting.length >= waitingMax) await this.flush();
    this.#waiting.push(use);
    if (this.#waiting.length >= sendMax) this.#sendSoon(0);
    else this.#sendSoon(waitMs);
  }

  /** Sends all that waits. Throws `KmsError` when it could not; it waits on. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#sending ??= this.#send().finally(() => {
      this.#sending = undefined;
    });
    await this.#sending;
  }

  /** Sends what it can, and forgets the rest. */
  async close(): Promise<void> {
    await this.flush().catch(() => undefined);
    clearTimeout(this.#timer);
    this.#waiting = [];
  }

  #sendSoon(afterMs: number): void {
    if (this.#sending) return;
    if (this.#timer && afterMs > 0) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.flush().catch(() => this.#sendSoon(retryMs));
    }, afterMs).unref();
  }

  async #send(): Promise<void> {
    while (this.#waiting.length > 0) {
      const group = this.#waiting.slice(0, sendMax);
      const outcomes = (await this.#kms.noteUses?.(group)) ?? [];
      this.#waiting = this.#waiting.slice(group.length);
      for (const [index, { keyName }] of group.entries()) {
        if (isRefusal(outcomes[index])) this.#onRefused(keyName);
      }
    }
  }
}

/** Trouble of the service is no refusal: the note has arrived, or its loss is the service's own. */
function isRefusal(outcome: KmsError | undefined): boolean {
  return outcome !== undefined && outcome.code !== 'unreachable' && outcome.code !== 'failed';
}
