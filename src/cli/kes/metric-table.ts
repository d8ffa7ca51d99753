// The table that `kes metric` draws: what was answered so far and per second since the last sample, how
// long answers take, and what the process uses.

import type { Output } from './output.ts';
import { formatNanoseconds, formatSize, formatUptime } from './quantities.ts';

/** One reading of the metrics, and when it was taken. */
export type MetricSample = {
  readonly document: Readonly<Record<string, unknown>>;
  /** Milliseconds of a clock that is never set. */
  readonly atMs: number;
};

const counters = [
  ['Success', 'kes_http_request_success'],
  ['Error', 'kes_http_request_error'],
  ['Failure', 'kes_http_request_failure'],
] as const;

/** The lines of the table, always equally many. Without an earlier sample there are no rates. */
export function metricTable(output: Output, now: MetricSample, before?: MetricSample): string[] {
  const row = (label: string, value: string) => `  ${output.faint(label.padEnd(10))} ${value}`;
  const number = (name: string) => numberOf(now.document[name]);
  return [
    output.bold('Requests'),
    ...counters.map(([label, name]) => row(label, counterText(now, before, name))),
    row('Active', String(number('kes_http_request_active'))),
    output.bold('Response time'),
    ...[0.5, 0.9, 0.99].map((share) => row(`p${share * 100}`, quantileText(now.document, share))),
    output.bold('Log events'),
    row('Audit', String(number('kes_log_audit_events'))),
    row('Error', String(number('kes_log_error_events'))),
    output.bold('System'),
    row('Uptime', formatUptime(number('kes_system_up_time') / 1e9)),
    row('CPUs', `${number('kes_system_num_cpu_used')}/${number('kes_system_num_cpu')}`),
    row('Threads', String(number('kes_system_num_threads'))),
    row('Heap', formatSize(number('kes_system_mem_heap_used'))),
    row('Objects', String(number('kes_system_mem_heap_objects'))),
    row('Stack', formatSize(number('kes_system_mem_stack_used'))),
  ];
}

function counterText(now: MetricSample, before: MetricSample | undefined, name: string): string {
  const total = numberOf(now.document[name]);
  if (!before) return String(total);
  const seconds = (now.atMs - before.atMs) / 1000;
  const grown = Math.max(0, total - numberOf(before.document[name])); // a restart counts from 0 again
  const rate = seconds > 0 ? grown / seconds : 0;
  return `${String(total).padEnd(12)} ${rate.toFixed(1)}/s`;
}

/** The bound of the bucket that the share falls into: an answer took at most that long. */
function quantileText(document: Readonly<Record<string, unknown>>, share: number): string {
  const histogram = document['kes_http_response_time'];
  if (typeof histogram !== 'object' || histogram === null) return '-';
  const buckets = Object.entries(histogram)
    .map(([bound, count]) => ({ bound: Number(bound), count: numberOf(count) }))
    .sort((a, b) => a.bound - b.bound);
  const last = buckets.at(-1);
  if (!last || last.count === 0) return '-';
  const found = buckets.find(({ count }) => count >= last.count * share);
  return found ? `<= ${formatNanoseconds(found.bound)}` : '-';
}

function numberOf(value: unknown): number {
  return typeof value === 'number' ? value : 0;
}
