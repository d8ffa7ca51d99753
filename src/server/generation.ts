// The workers of one set of settings. The first one opens the store alone (and creates or migrates it),
// then the others follow. A worker that crashes is replaced after a pause that grows while it keeps
// crashing; a retired generation replaces nothing.

import { availableParallelism } from 'node:os';

import type { Log } from '../base/log.ts';
import type { FromWorker, ToWorker, WorkerConfig } from './protocol.ts';
import type { ServerSettings } from './settings.ts';
import { WorkerHandle } from './worker-handle.ts';

const backoffMinMs = 200;
const backoffMaxMs = 5_000;
/** A worker that lived this long did not crash because of how it starts. */
const healthyMs = 30_000;

export type GenerationDeps = {
  readonly log: Log;
  readonly mainFile: string;
  onMessage(worker: WorkerHandle, message: FromWorker): void;
  /** Called after any change of a worker's state. */
  onChange(): void;
  onExit(worker: WorkerHandle): void;
};

export class Generation {
  readonly settings: ServerSettings;
  readonly #base: Omit<WorkerConfig, 'index' | 'isFirst' | 'isStandby'>;
  readonly #deps: GenerationDeps;
  readonly #workers = new Set<WorkerHandle>();
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #bornMs = new Map<WorkerHandle, number>();
  #crashes = 0;
  #isRetired = false;
  #wasReady = false;
  #mayOpen = true;

  constructor(
    settings: ServerSettings,
    base: Omit<WorkerConfig, 'index' | 'isFirst' | 'isStandby'>,
    deps: GenerationDeps,
  ) {
    this.settings = settings;
    this.#base = base;
    this.#deps = deps;
  }

  get workers(): readonly WorkerHandle[] {
    return [...this.#workers];
  }

  get isReady(): boolean {
    return this.workers.some((worker) => worker.state === 'ready');
  }

  /** True once a worker reported that the directory is sealed. */
  get isSealed(): boolean {
    return this.workers.some((worker) => worker.isSealed);
  }

  /** Who takes connections: the ready workers, else those that wait for the key service. */
  get targets(): WorkerHandle[] {
    const serving = this.workers.filter((worker) => !worker.isDraining);
    const ready = serving.filter((worker) => worker.state === 'ready');
    return ready.length > 0 ? ready : serving.filter((worker) => worker.state === 'waiting');
  }

  /** Starts the worker that opens the store. */
  startFirst(options: { readonly isStandby: boolean }): WorkerHandle {
    this.#mayOpen = !options.isStandby;
    const first = this.#spawn({ index: 0, isFirst: true, isStandby: options.isStandby });
    // The others load the program meanwhile, but start only when the store is open.
    this.#fill();
    return first;
  }

  /** Lets a worker that stands by open the store. */
  open(): void {
    this.#mayOpen = true;
    this.send({ type: 'open' });
  }

  /** Waits until every worker is ready, or the time is over: the rest get ready later. */
  async filled(timeoutMs: number): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.reached(['ready'], timeoutMs)));
  }

  send(message: ToWorker): void {
    for (const worker of this.#workers) worker.send(message);
  }

  /** No more replacements; the workers that run go on until told otherwise. */
  retire(): void {
    this.#isRetired = true;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }

  /** Ends every worker at once. */
  kill(): void {
    this.retire();
    for (const worker of this.#workers) worker.kill();
  }

  #fill(): void {
    const count = this.settings.workers === 0 ? availableParallelism() : this.settings.workers;
    const taken = new Set(this.workers.map((worker) => worker.config.index));
    for (let index = 1; index < count; index += 1) {
      if (!taken.has(index)) this.#spawn({ index, isFirst: false, isStandby: false });
    }
  }

  #spawn(place: Pick<WorkerConfig, 'index' | 'isFirst' | 'isStandby'>): WorkerHandle {
    const worker = new WorkerHandle(
      { ...this.#base, ...place },
      {
        mainFile: this.#deps.mainFile,
        onMessage: (from, message) => this.#receive(from, message),
        onExit: (from) => this.#exited(from),
      },
      { isHeld: !place.isFirst && !this.#wasReady },
    );
    this.#workers.add(worker);
    this.#bornMs.set(worker, performance.now());
    return worker;
  }

  #receive(worker: WorkerHandle, message: FromWorker): void {
    this.#deps.onMessage(worker, message);
    if (message.type === 'ready') {
      this.#wasReady = true;
      this.#deps.log.debug('a worker is ready', {
        worker: worker.config.index,
        generation: worker.config.generation,
        pid: worker.pid,
      });
      for (const each of this.#workers) each.release();
    }
    this.#deps.onChange();
  }

  #exited(worker: WorkerHandle): void {
    this.#workers.delete(worker);
    this.#deps.onExit(worker);
    const livedMs = performance.now() - (this.#bornMs.get(worker) ?? 0);
    this.#bornMs.delete(worker);
    if (!this.#isRetired && !worker.isDraining) this.#replace(worker, livedMs);
    this.#deps.onChange();
  }

  #replace(worker: WorkerHandle, livedMs: number): void {
    this.#crashes = livedMs > healthyMs ? 1 : this.#crashes + 1;
    const delayMs = Math.min(backoffMinMs * 2 ** (this.#crashes - 1), backoffMaxMs);
    this.#deps.log.error('a worker ended unexpectedly and will be replaced', {
      worker: worker.config.index,
      ...(worker.failure === undefined ? {} : { reason: worker.failure }),
      delayMs,
    });
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#spawn({
        index: worker.config.index,
        isFirst: worker.config.index === 0 && !this.#wasReady,
        isStandby: !this.#mayOpen,
      });
    }, delayMs);
    this.#timers.add(timer);
  }
}
