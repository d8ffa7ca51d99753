// Counts and times the calls of a `Kms`, whatever is behind it. The counts are how a test proves that an
// upload costs one key call and a listing none. Metric names: `coffer_kms_requests_total{operation,outcome}`
// and `coffer_kms_request_seconds{operation}`; labels never hold key names.

import { Counter, Histogram, type Registry } from 'prom-client';
import type { Kms } from '../sse/kms.ts';
import { KmsError } from '../sse/kms.ts';

/** The methods of `Kms` that reach the key service. */
export type KmsOperation =
  | 'generate'
  | 'decrypt'
  | 'use'
  | 'create'
  | 'list'
  | 'describe'
  | 'status';
/** `error`: refused. `failure`: not reachable, or the service failed. */
export type KmsOutcome = 'success' | 'error' | 'failure';

/** Upper bounds of the histogram, seconds: the buckets that key service clients show. */
export const kmsSecondsBounds: readonly number[] = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 1.5, 3, 5, 10];

/** Counts of one process since its start. */
export type KmsCalls = {
  readonly byOperation: Record<KmsOperation, Record<KmsOutcome, number>>;
  /** Per bound of `kmsSecondsBounds`, calls that took no longer; slower ones count in the last. */
  readonly withinSeconds: number[];
};

/** Zero everywhere. */
export function createKmsCalls(): KmsCalls {
  const none = () => ({ success: 0, error: 0, failure: 0 });
  return {
    byOperation: {
      generate: none(),
      decrypt: none(),
      use: none(),
      create: none(),
      list: none(),
      describe: none(),
      status: none(),
    },
    withinSeconds: kmsSecondsBounds.map(() => 0),
  };
}

/** The calls of one operation, or of all, whatever their outcome. */
export function countKmsCalls(calls: KmsCalls, operation?: KmsOperation): number {
  const rows = operation ? [calls.byOperation[operation]] : Object.values(calls.byOperation);
  return rows.reduce((sum, row) => sum + row.success + row.error + row.failure, 0);
}

/** The same `Kms`, counted in the registry and in `calls`, where given. */
export function meterKms(
  kms: Kms,
  sinks: { readonly registry?: Registry; readonly calls?: KmsCalls },
): Kms {
  const record = createRecorder(sinks);
  const meter = async <T>(operation: KmsOperation, call: () => Promise<T>): Promise<T> => {
    const start = performance.now();
    try {
      const result = await call();
      record(operation, 'success', (performance.now() - start) / 1000);
      return result;
    } catch (error) {
      record(operation, outcomeOf(error), (performance.now() - start) / 1000);
      throw error;
    }
  };
  const { noteUses } = kms;
  return {
    defaultKeyName: kms.defaultKeyName,
    ...(noteUses && { noteUses: (uses) => meter('use', () => noteUses.call(kms, uses)) }),
    generateKey: (name, context) => meter('generate', () => kms.generateKey(name, context)),
    decrypt: (name, sealed, context) => meter('decrypt', () => kms.decrypt(name, sealed, context)),
    createKey: (name) => meter('create', () => kms.createKey(name)),
    listKeys: (prefix) => meter('list', () => kms.listKeys(prefix)),
    describeKey: (name) => meter('describe', () => kms.describeKey(name)),
    status: () => meter('status', () => kms.status()),
    close: () => kms.close(),
  };
}

const counterName = 'coffer_kms_requests_total';
const histogramName = 'coffer_kms_request_seconds';

type Recorder = (operation: KmsOperation, outcome: KmsOutcome, seconds: number) => void;

function createRecorder(sinks: {
  readonly registry?: Registry;
  readonly calls?: KmsCalls;
}): Recorder {
  const { registry, calls } = sinks;
  const counter = registry && createCounter(registry);
  const histogram = registry && createHistogram(registry);
  return (operation, outcome, seconds) => {
    counter?.inc({ operation, outcome });
    histogram?.observe({ operation }, seconds);
    if (!calls) return;
    calls.byOperation[operation][outcome] += 1;
    const last = kmsSecondsBounds.length - 1;
    const first = kmsSecondsBounds.findIndex((bound) => seconds <= bound);
    for (let index = first < 0 ? last : first; index <= last; index += 1) {
      calls.withinSeconds[index] = (calls.withinSeconds[index] ?? 0) + 1;
    }
  };
}

/** A registry holds each metric once: a second `Kms` in the same process counts into the first's. */
function createCounter(registry: Registry): Counter<'operation' | 'outcome'> {
  const existing = registry.getSingleMetric(counterName);
  if (existing instanceof Counter) return existing;
  return new Counter({
    name: counterName,
    help: 'Calls to the key management service.',
    labelNames: ['operation', 'outcome'],
    registers: [registry],
  });
}

function createHistogram(registry: Registry): Histogram<'operation'> {
  const existing = registry.getSingleMetric(histogramName);
  if (existing instanceof Histogram) return existing;
  return new Histogram({
    name: histogramName,
    help: 'Time of a call to the key management service.',
    labelNames: ['operation'],
    buckets: [...kmsSecondsBounds],
    registers: [registry],
  });
}

function outcomeOf(error: unknown): KmsOutcome {
  return error instanceof KmsError && error.code !== 'unreachable' ? 'error' : 'failure';
}
