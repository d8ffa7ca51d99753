// Lets one worker at a time open the metadata, while no other commits (see `src/kv/commit-gate.ts` for why).
// A worker asks; every worker that may have the store open is told to hold its commits; when all have said
// so or ended, the one that asked opens; then all go on. Nothing waits for a worker that is gone.

import type { WorkerHandle } from './worker-handle.ts';

/** What of a worker matters here. */
export type Opener = Pick<WorkerHandle, 'state' | 'send'>;

type Turn = {
  readonly held: Set<Opener>;
  change: PromiseWithResolvers<void>;
  isDone: boolean;
};

export class OpenGate {
  /** Workers that were allowed to open, and run. */
  readonly #openers = new Set<Opener>();
  readonly #waiting: Opener[] = [];
  #turn: Turn | undefined;
  #isRunning = false;

  /** The worker wants to open the metadata: it will be sent `open-granted`. */
  ask(worker: Opener): void {
    this.#waiting.push(worker);
    if (!this.#isRunning) void this.#run();
  }

  /** The worker holds its commits. */
  held(worker: Opener): void {
    this.#turn?.held.add(worker);
    this.#turn?.change.resolve();
  }

  /** The worker that was allowed has opened, or failed to. */
  done(): void {
    if (!this.#turn) return;
    this.#turn.isDone = true;
    this.#turn.change.resolve();
  }

  /** The worker has ended. */
  exited(worker: Opener): void {
    this.#openers.delete(worker);
    this.#turn?.change.resolve();
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) {
      if (next.state !== 'exited') await this.#letOpen(next);
    }
    this.#isRunning = false;
  }

  async #letOpen(opener: Opener): Promise<void> {
    const turn: Turn = { held: new Set(), change: Promise.withResolvers(), isDone: false };
    this.#turn = turn;
    const others = [...this.#openers].filter((worker) => worker !== opener);
    for (const worker of others) worker.send({ type: 'hold-commits' });
    const isQuiet = (): boolean =>
      others.every((worker) => turn.held.has(worker) || worker.state === 'exited');
    const isGone = (): boolean => opener.state === 'exited';
    while (!isQuiet() && !isGone()) await changed(turn);
    if (!isGone()) {
      this.#openers.add(opener);
      opener.send({ type: 'open-granted' });
      while (!turn.isDone && !isGone()) await changed(turn);
    }
    for (const worker of others) worker.send({ type: 'release-commits' });
    this.#turn = undefined;
  }
}

async function changed(turn: Turn): Promise<void> {
  await turn.change.promise;
  turn.change = Promise.withResolvers();
}
