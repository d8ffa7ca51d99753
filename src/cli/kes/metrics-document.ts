// Prometheus text of the key service as the one JSON object that `kes metric` prints: members named like
// the families, response times as an object from nanoseconds to the cumulative count.

const histogram = 'kes_http_response_time';
const uptime = 'kes_system_up_time';

/** Families without a sample are left out; labelled counters are summed. */
export function metricsDocument(text: string): Record<string, unknown> {
  const document: Record<string, unknown> = {};
  const buckets: Record<string, number> = {};
  for (const line of text.split('\n')) {
    const [, name = '', labels = '', value = ''] =
      /^([a-zA-Z_:][\w:]*)(\{[^}]*\})?\s+(\S+)/.exec(line) ?? [];
    const number = Number(value);
    if (name === '' || Number.isNaN(number)) continue;
    if (name === `${histogram}_bucket`) {
      const bound = /le="([^"]+)"/.exec(labels)?.[1] ?? '';
      if (bound !== '+Inf') buckets[nanoseconds(Number(bound))] = number;
    } else if (name.startsWith('kes_') && !name.startsWith(`${histogram}_`)) {
      const before = document[name];
      document[name] = (typeof before === 'number' ? before : 0) + number;
    }
  }
  const seconds = document[uptime];
  if (typeof seconds === 'number') document[uptime] = Math.round(seconds * 1e9);
  if (Object.keys(buckets).length > 0) document[histogram] = buckets;
  return document;
}

function nanoseconds(seconds: number): string {
  return String(Math.round(seconds * 1e9));
}
