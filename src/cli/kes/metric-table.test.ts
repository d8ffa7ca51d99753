import assert from 'node:assert/strict';
import { test } from 'node:test';
import { metricTable } from './metric-table.ts';
import { metricsDocument } from './metrics-document.ts';
import type { Output } from './output.ts';

const same = (text: string) => text;
const output: Output = {
  isTerminal: true,
  write() {},
  line() {},
  json() {},
  bold: same,
  faint: same,
  good: same,
  bad: same,
};

const text = `kes_http_request_success{code="200"} 90
kes_http_request_success{code="201"} 10
kes_http_response_time_bucket{le="0.01"} 60
kes_http_response_time_bucket{le="0.05"} 95
kes_http_response_time_bucket{le="0.1"} 100
kes_http_response_time_bucket{le="+Inf"} 100
kes_system_up_time 90
kes_system_mem_heap_used 1572864
`;

void test('counters of all codes are summed, and have a rate from the second sample on', () => {
  const first = { document: metricsDocument(text), atMs: 1000 };
  const second = {
    document: metricsDocument(text.replace('"200"} 90', '"200"} 130')),
    atMs: 6000,
  };
  assert.ok(metricTable(output, first).includes('  Success    100'));
  const lines = metricTable(output, second, first);
  assert.ok(lines.includes('  Success    140          8.0/s'), lines.join('\n'));
  assert.equal(lines.length, metricTable(output, first).length);
  const restarted = metricTable(output, { ...first, atMs: 9000 }, second);
  assert.ok(restarted.includes('  Success    100          0.0/s'));
});

void test('response times are the bounds that a share of the answers kept to', () => {
  const lines = metricTable(output, { document: metricsDocument(text), atMs: 0 });
  assert.ok(lines.includes('  p50        <= 10.0ms'));
  assert.ok(lines.includes('  p90        <= 50.0ms'));
  assert.ok(lines.includes('  p99        <= 100.0ms'));
  assert.ok(lines.includes('  Uptime     1 minutes'));
  assert.ok(lines.includes('  Heap       1.5 MiB'));
  assert.ok(metricTable(output, { document: {}, atMs: 0 }).includes('  p50        -'));
});
