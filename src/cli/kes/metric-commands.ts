// `kes metric`: the metrics of the key service, live. On a terminal a table that is drawn again and again,
// otherwise one JSON object per interval.

import { setTimeout as delay } from 'node:timers/promises';
import type { KesCall, KesCommand } from './command.ts';
import { explained, insecureFlag, withClient } from './command.ts';
import { parseDuration } from './duration.ts';
import { metricsDocument } from './metrics-document.ts';
import { metricTable, type MetricSample } from './metric-table.ts';

/** `kes metric`. */
export const metricCommands: readonly KesCommand[] = [
  {
    words: 'metric',
    argsHelp: '',
    help: 'Show the metrics of the server, again and again',
    flags: [
      { name: 'rate', kind: 'text', value: 'DURATION', help: 'The interval (5s)' },
      insecureFlag,
    ],
    required: [],
    run: followMetrics,
  },
];

async function followMetrics(call: KesCall): Promise<void> {
  const rateMs = parseDuration(call.flags.texts.get('rate') ?? '5s', '5s');
  const { signal, stdout } = call.io;
  const show = stdout.isTTY === true ? tableWriter(call) : call.output.json;
  await withClient(call, async (client) => {
    while (!signal.aborted) {
      try {
        const text = await explained('failed to fetch metrics', client.metrics({ signal }));
        show(metricsDocument(text));
        await delay(rateMs, undefined, { signal });
      } catch (error) {
        if (!signal.aborted) throw error; // interrupted: the exit code says so
      }
    }
  });
}

/** Draws over what it drew before. */
function tableWriter(call: KesCall): (document: Record<string, unknown>) => void {
  let before: MetricSample | undefined;
  let linesDrawn = 0;
  return (document) => {
    const now = { document, atMs: performance.now() };
    const lines = metricTable(call.output, now, before);
    const up = linesDrawn > 0 ? `\x1b[${linesDrawn}A` : '';
    call.output.write(up + lines.map((line) => `\x1b[2K${line}\n`).join(''));
    before = now;
    linesDrawn = lines.length;
  };
}
