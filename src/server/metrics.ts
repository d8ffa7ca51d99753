// The metrics of one worker. The supervisor adds those of all workers up, so every metric names how it
// is aggregated when it is not a sum. Labels have few values: operations, outcomes and status codes,
// never a bucket, an object or a key name.

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

import { createKmsCalls, type KmsCalls, kmsSecondsBounds } from '../kms/metered-kms.ts';
import type { LifecycleKind } from '../store/lifecycle/lifecycle-scan.ts';
import type { KmsMetricsAnswer } from '../wire/admin.ts';

/** Outcomes as the documents name their metrics. */
const outcomes = ['success', 'error', 'failure'] as const;
type Outcome = (typeof outcomes)[number];

const lifecycleKinds: readonly LifecycleKind[] = ['object', 'version', 'marker', 'upload'];

/** Calls that the documented figures count. */
const countedOperations = ['generate', 'decrypt', 'create'] as const;

/** The state of this server as dashboards of clusters show it. */
export type ClusterFacts = {
  readonly isHealthy: boolean;
  readonly totalBytes: number;
  readonly freeBytes: number;
};

export type ServerMetricsDeps = {
  /** Whether the key service answers now; undefined when none is configured. */
  isKmsOnline(): Promise<boolean | undefined>;
  readCluster(): Promise<ClusterFacts>;
  /** What moved on the connections of this worker so far. */
  bytes(): { readonly received: number; readonly sent: number };
  readonly startedMs: number;
};

export class ServerMetrics {
  readonly registry = new Registry();
  /** Filled by the metered key service. */
  readonly kmsCalls: KmsCalls = createKmsCalls();
  readonly #requests: Counter<'operation' | 'code'>;
  readonly #seconds: Histogram<'operation'>;
  readonly #expired: Counter<'kind'>;
  readonly #lifecycleFailures: Counter;
  readonly #lifecycleScan: Gauge;

  constructor(deps: ServerMetricsDeps) {
    const registers = [this.registry];
    const online = new Gauge({
      name: 'minio_cluster_kms_online',
      help: '1 while the key service answers, 0 while it does not; absent without one',
      aggregator: 'min',
      registers: [],
      async collect() {
        const isOnline = await deps.isKmsOnline();
        if (isOnline === undefined) this.remove();
        else this.set(isOnline ? 1 : 0);
      },
    });
    this.registry.registerMetric(online);
    this.#exposeCluster(deps);
    new Gauge({
      name: 'coffer_server_start_time_seconds',
      help: 'When the server was started, seconds since 1970',
      aggregator: 'min',
      registers,
    }).set(deps.startedMs / 1000);
    this.#requests = new Counter({
      name: 'coffer_s3_requests_total',
      help: 'S3 requests by operation and status code',
      labelNames: ['operation', 'code'],
      registers,
    });
    this.#seconds = new Histogram({
      name: 'coffer_s3_request_seconds',
      help: 'Time from the arrival of an S3 request to the end of its answer',
      labelNames: ['operation'],
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 30],
      registers,
    });
    this.#expired = new Counter({
      name: 'coffer_lifecycle_removed_total',
      help: 'What lifecycle rules removed: objects, older versions, delete markers, uploads',
      labelNames: ['kind'],
      registers,
    });
    for (const kind of lifecycleKinds) this.#expired.inc({ kind }, 0);
    this.#lifecycleFailures = new Counter({
      name: 'coffer_lifecycle_failures_total',
      help: 'What was due by lifecycle rules and could not be removed',
      registers,
    });
    this.#lifecycleScan = new Gauge({
      name: 'coffer_lifecycle_last_scan_time_seconds',
      help: 'When lifecycle rules were last carried out in all buckets, seconds since 1970',
      aggregator: 'max',
      registers,
    });
    // Absent until then.
    this.#lifecycleScan.remove();
    this.#expose(
      'coffer_received_bytes_total',
      'Bytes received from clients',
      () => deps.bytes().received,
    );
    this.#expose('coffer_sent_bytes_total', 'Bytes sent to clients', () => deps.bytes().sent);
    for (const outcome of outcomes) {
      const help = `Calls to the key service that ended with: ${outcome}`;
      this.#expose(`minio_cluster_kms_request_${outcome}`, help, () => this.#kmsTotal(outcome));
    }
    collectDefaultMetrics({ register: this.registry });
  }

  countRequest(operation: string, status: number, seconds: number): void {
    this.#requests.inc({ operation, code: String(status) });
    this.#seconds.observe({ operation }, seconds);
  }

  countExpired(kind: LifecycleKind): void {
    this.#expired.inc({ kind });
  }

  /** Of a scan of the lifecycle rules that went through all buckets. */
  countLifecycleScan(scan: { readonly endMs: number; readonly failures: number }): void {
    this.#lifecycleScan.set(scan.endMs / 1000);
    this.#lifecycleFailures.inc(scan.failures);
  }

  /** The figures of this worker in the form of the admin API: bounds in nanoseconds. */
  kmsAnswer(): KmsMetricsAnswer {
    return {
      kms_req_success: this.#kmsTotal('success'),
      kms_req_error: this.#kmsTotal('error'),
      kms_req_failure: this.#kmsTotal('failure'),
      kms_resp_time: Object.fromEntries(
        kmsSecondsBounds.map((bound, index) => [
          String(bound * 1e9),
          this.kmsCalls.withinSeconds[index] ?? 0,
        ]),
      ),
    };
  }

  /** The few figures of a cluster that hold for one server; the same from every worker. */
  #exposeCluster(deps: ServerMetricsDeps): void {
    const figures: readonly (readonly [string, string, (facts: ClusterFacts) => number])[] = [
      [
        'minio_cluster_health_status',
        '1 while the store is open',
        (facts) => Number(facts.isHealthy),
      ],
      [
        'minio_cluster_nodes_online_total',
        'Servers that serve',
        (facts) => Number(facts.isHealthy),
      ],
      ['minio_cluster_drive_online_total', 'Drives that serve', (facts) => Number(facts.isHealthy)],
      [
        'minio_cluster_capacity_raw_total_bytes',
        'Size of the file system',
        (facts) => facts.totalBytes,
      ],
      ['minio_cluster_capacity_raw_free_bytes', 'Space left in it', (facts) => facts.freeBytes],
    ];
    for (const [name, help, read] of figures) {
      const gauge = new Gauge({
        name,
        help,
        aggregator: 'max',
        registers: [],
        async collect() {
          this.set(read(await deps.readCluster()));
        },
      });
      this.registry.registerMetric(gauge);
    }
  }

  /** A counter whose value is kept elsewhere and read when the page is made. */
  #expose(name: string, help: string, read: () => number): void {
    const counter = new Counter({
      name,
      help,
      registers: [],
      collect() {
        this.reset();
        this.inc(read());
      },
    });
    this.registry.registerMetric(counter);
  }

  #kmsTotal(outcome: Outcome): number {
    return countedOperations.reduce(
      (sum, operation) => sum + this.kmsCalls.byOperation[operation][outcome],
      0,
    );
  }
}
