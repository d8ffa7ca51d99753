// Gathers the metrics of all workers into one page, because a scrape reaches one worker and must show
// the whole server. A worker that does not answer in time is left out.

import { AggregatorRegistry } from 'prom-client';

import type { MetricsJson } from './protocol.ts';
import type { WorkerHandle } from './worker-handle.ts';

const answerTimeoutMs = 2_000;

export class MetricsCollector {
  readonly #pending = new Map<number, (metrics: MetricsJson) => void>();
  #nextId = 1;

  /** Collects from `workers` and sends the text to the worker that asked, under its own id. */
  async answer(
    asker: WorkerHandle,
    askerId: number,
    workers: readonly WorkerHandle[],
  ): Promise<void> {
    const parts = await Promise.all(workers.map((worker) => this.#ask(worker)));
    const collected = parts.filter((part) => part !== undefined);
    // The JSON form went through IPC unchanged; prom-client's types want its own class of it.
    const registry = AggregatorRegistry.aggregate(collected as unknown as Array<object>);
    asker.send({ type: 'metrics-text', id: askerId, text: await registry.metrics() });
  }

  /** Takes the answer of a worker; one that comes too late is dropped. */
  receive(id: number, metrics: MetricsJson): void {
    this.#pending.get(id)?.(metrics);
  }

  async #ask(worker: WorkerHandle): Promise<MetricsJson | undefined> {
    const id = this.#nextId++;
    const { promise, resolve } = Promise.withResolvers<MetricsJson | undefined>();
    const timer = setTimeout(() => resolve(undefined), answerTimeoutMs);
    this.#pending.set(id, resolve);
    worker.send({ type: 'metrics-get', id });
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#pending.delete(id);
    }
  }
}
