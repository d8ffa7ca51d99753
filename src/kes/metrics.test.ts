import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KesMetrics } from './metrics.ts';

/** Family and type, in the order of their names; `labelled` ones are there once they count something. */
const families = [
  'kes_http_request_active gauge',
  'kes_http_request_error counter',
  'kes_http_request_failure counter',
  'kes_http_request_success counter',
  'kes_http_response_time histogram',
  'kes_log_audit_events counter',
  'kes_log_error_events counter',
  'kes_system_mem_heap_objects gauge',
  'kes_system_mem_heap_used gauge',
  'kes_system_mem_stack_used gauge',
  'kes_system_num_cpu gauge',
  'kes_system_num_cpu_used gauge',
  'kes_system_num_threads gauge',
  'kes_system_up_time gauge',
];
const labelled = /_request_(?:error|failure|success) /;

function typesIn(body: string): string[] {
  return [...body.matchAll(/^# TYPE (\S+ \S+)$/gm)].map(([, type = '']) => type).toSorted();
}

test('has the families and types that dashboards know, and no others', async () => {
  const metrics = new KesMetrics({ nowMs: () => 0 });
  const fresh = await metrics.text();
  assert.equal(fresh.contentType, 'text/plain; version=0.0.4; charset=utf-8');
  assert.deepEqual(
    typesIn(fresh.body),
    families.filter((family) => !labelled.test(family)),
  );
  for (const status of [200, 404, 502]) {
    metrics.begin();
    metrics.end(status, 20);
  }
  const { body } = await metrics.text();
  assert.deepEqual(typesIn(body), families);
  assert.match(body, /^kes_http_request_success\{code="200"\} 1$/m);
  assert.match(body, /^kes_http_request_error\{code="404"\} 1$/m);
  assert.match(body, /^kes_http_request_failure\{code="502"\} 1$/m);
  const bounds = [...body.matchAll(/_bucket\{le="([^"]+)"\}/g)].map(([, bound]) => bound);
  const expected = '0.01 0.05 0.1 0.25 0.5 1 1.5 3 5 10 +Inf';
  assert.equal(bounds.join(' '), expected);
  for (const line of body.split('\n')) {
    if (/^[^#]/.test(line)) assert.match(line, /^kes_[a-z_]+(\{(code|le)="[^"]+"\})? [0-9.e+]+$/);
  }
});

test('OpenMetrics is for those who ask for it', async () => {
  const metrics = new KesMetrics({ nowMs: () => 0 });
  metrics.end(200, 20);
  const openFor = async (accept: string) =>
    (await metrics.text(accept)).contentType.startsWith('application/openmetrics-text');
  const prometheus =
    'application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2';
  for (const accept of [prometheus, 'application/openmetrics-text; version=1.0.0; charset=utf-8']) {
    assert.equal(await openFor(accept), true, accept);
  }
  for (const accept of [
    '',
    '*/*',
    'text/plain;version=0.0.4;q=0.5,application/openmetrics-text;version=1.0.0;q=0.4',
    'application/openmetrics-text;q=0',
    'application/openmetrics-text;version=7.0.0',
    'application/openmetrics-text;q=x',
    'application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited',
  ]) {
    assert.equal(await openFor(accept), false, accept);
  }
  const { body } = await metrics.text(prometheus);
  assert.match(body, /^# TYPE kes_http_request_success counter$/m);
  assert.match(body, /^kes_http_request_success_total\{code="200"\} 1$/m);
  assert.match(body, /\n# EOF\n$/);
  // Asking for one format changes nothing about the other.
  assert.match((await metrics.text()).body, /^kes_http_request_success\{code="200"\} 1$/m);
});
