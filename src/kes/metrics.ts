// The metrics of the service, with the names and types that clients decode: every family has one sample
// set, save the three counters by status code, which are left out while they have none.

import { availableParallelism, cpus } from 'node:os';
import { getHeapStatistics } from 'node:v8';
import { Counter, Gauge, Histogram, type OpenMetricsContentType, Registry } from 'prom-client';

type CodeCounter = { readonly name: string; readonly help: string; counter?: Counter };

const responseBounds = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 1.5, 3, 5, 10];

/** Counts requests and events. `nowMs` only ever grows. */
export class KesMetrics {
  readonly #registry = new Registry();
  /** The same metrics in the other format. */
  readonly #open = new Registry<OpenMetricsContentType>();
  readonly #codes: { success: CodeCounter; error: CodeCounter; failure: CodeCounter };
  readonly #byCode = new Map<number, { inc(): void }>();
  readonly #active: Gauge;
  readonly #times: Histogram;
  readonly #events: { readonly error: Counter; readonly audit: Counter };

  constructor(deps: { readonly nowMs: () => number }) {
    this.#open.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
    const registers = this.#registries;
    this.#codes = {
      success: { name: 'kes_http_request_success', help: 'Requests that succeeded (2xx).' },
      error: { name: 'kes_http_request_error', help: 'Requests that failed by the client (4xx).' },
      failure: { name: 'kes_http_request_failure', help: 'Requests that failed here (5xx).' },
    };
    this.#active = new Gauge({
      name: 'kes_http_request_active',
      help: 'Requests in progress.',
      registers,
    });
    this.#times = new Histogram({
      name: 'kes_http_response_time',
      help: 'Seconds from a request to its answer.',
      buckets: responseBounds,
      registers,
    });
    const events = (kind: string) =>
      new Counter({
        name: `kes_log_${kind}_events`,
        help: `Events of the ${kind} log.`,
        registers,
      });
    this.#events = { error: events('error'), audit: events('audit') };
    const startMs = deps.nowMs();
    for (const [name, help, read] of systemGauges(() => deps.nowMs() - startMs)) {
      const gauge = new Gauge({
        name,
        help,
        registers: [],
        collect() {
          this.set(read());
        },
      });
      for (const registry of registers) registry.registerMetric(gauge);
    }
  }

  /** A counted request begins. */
  begin(): void {
    this.#active.inc();
  }

  /** It ended with this status after this long. */
  end(status: number, durationMs: number): void {
    this.#active.dec();
    this.count(status, durationMs);
  }

  /** One answered call. */
  count(status: number, durationMs: number): void {
    let counter = this.#byCode.get(status);
    if (counter === undefined) {
      counter = this.#counterOf(status);
      this.#byCode.set(status, counter);
    }
    counter.inc();
    this.#times.observe(durationMs / 1000);
  }

  countEvent(kind: 'error' | 'audit'): void {
    this.#events[kind].inc();
  }

  get #registries(): Registry[] {
    // The types tell the two formats apart; at run time they are one class.
    return [this.#registry, this.#open as unknown as Registry];
  }

  /** The exposition in the format that an Accept header prefers: text 0.0.4, or OpenMetrics 1.0. */
  async text(accept = ''): Promise<{ readonly contentType: string; readonly body: string }> {
    const registry = prefersOpenMetrics(accept) ? this.#open : this.#registry;
    return { contentType: registry.contentType, body: await registry.metrics() };
  }

  #counterOf(status: number): { inc(): void } {
    const family =
      status < 400 ? this.#codes.success : status < 500 ? this.#codes.error : this.#codes.failure;
    const { name, help } = family;
    family.counter ??= new Counter({
      name,
      help,
      labelNames: ['code'],
      registers: this.#registries,
    });
    return family.counter.labels(String(status));
  }
}

/** Whether a client asks for OpenMetrics, and not less than for the text format. */
function prefersOpenMetrics(accept: string): boolean {
  const weightOf = (type: string) => {
    const weights = accept.split(',').flatMap((item) => {
      const [name = '', ...parameters] = item.split(';').map((part) => part.trim().toLowerCase());
      if (name !== type) return [];
      if (parameters.some((each) => /^version=(?!0\.0\.[14]$|1\.0\.0$)/.test(each))) return [];
      const weight = parameters.find((each) => each.startsWith('q='))?.slice(2);
      return [weight === undefined ? 1 : Number(weight)];
    });
    return Math.max(0, ...weights.filter(Number.isFinite));
  };
  const open = weightOf('application/openmetrics-text');
  return open > 0 && open >= weightOf('text/plain');
}

function systemGauges(uptimeMs: () => number): [string, string, () => number][] {
  return [
    ['kes_system_up_time', 'Seconds since the start.', () => Math.floor(uptimeMs() / 10) / 100],
    ['kes_system_num_cpu', 'Processors of the machine.', () => cpus().length],
    ['kes_system_num_cpu_used', 'Processors this process may use.', () => availableParallelism()],
    ['kes_system_num_threads', 'Threads that run requests.', () => 1],
    ['kes_system_mem_heap_used', 'Bytes of heap in use.', () => process.memoryUsage().heapUsed],
    [
      'kes_system_mem_heap_objects',
      'Contexts on the heap: the runtime does not count objects.',
      () => getHeapStatistics().number_of_native_contexts,
    ],
    ['kes_system_mem_stack_used', 'Bytes of stack in use: the runtime does not tell.', () => 0],
  ];
}
