// `kes status`: what the key service says about itself, each server by itself.

import type { KesApi, KesDocument } from '../../wire/kes-answers.ts';
import type { KesClient } from '../../wire/kes-client.ts';
import type { KesCall, KesCommand } from './command.ts';
import { colorFlag, insecureFlag, jsonFlag, withClient } from './command.ts';
import type { Output } from './output.ts';
import { formatSize, formatUptime } from './quantities.ts';

/** `kes status`. */
export const statusCommands: readonly KesCommand[] = [
  {
    words: 'status',
    argsHelp: '',
    help: 'Show the state of the server',
    flags: [
      { name: 'short', short: 's', kind: 'switch', help: 'Show less' },
      { name: 'api', kind: 'switch', help: 'Show the routes of the server' },
      jsonFlag,
      colorFlag,
      insecureFlag,
    ],
    required: [],
    run: showStatus,
  },
];

async function showStatus(call: KesCall): Promise<void> {
  const { switches } = call.flags;
  const options = { signal: call.io.signal };
  await withClient(call, async (client) => {
    if (switches.has('json')) {
      const value = switches.has('api')
        ? (await client.apis(options)).map(withoutZeros)
        : withoutZeros(await client.status(options));
      call.output.json(value, { isIndented: true });
      return;
    }
    await showEndpoints(call, client);
    if (switches.has('api')) printApis(call.output, await client.apis(options));
  });
}

/** One endpoint: with the client's retries. Several: each by itself, and an error only if none answers. */
async function showEndpoints(call: KesCall, client: KesClient): Promise<void> {
  const options = { signal: call.io.signal };
  const { origins } = client;
  let failure: unknown;
  let answers = 0;
  for (const origin of origins) {
    const start = performance.now();
    try {
      const asked =
        origins.length === 1 ? client.status(options) : client.statusOf(origin, options);
      const status = await asked;
      answers += 1;
      const latencyMs = Math.max(1, Math.round(performance.now() - start));
      printStatus(call, { origin, status, latencyMs });
    } catch (error) {
      failure ??= error;
      if (origins.length > 1)
        call.output.line(`● ${hostOf(origin)}\n  ${'Status'.padEnd(9)} offline`);
    }
  }
  if (answers === 0) throw failure;
}

function printStatus(
  call: KesCall,
  found: { readonly origin: string; readonly status: KesDocument; readonly latencyMs: number },
): void {
  const { output } = call;
  const { status } = found;
  const row = (label: string, value: string) =>
    output.line(`  ${output.faint(label.padEnd(9))} ${value}`);
  output.line(`${output.bold('●')} ${hostOf(found.origin)}`);
  row('Version', textOf(status['version']));
  row('Uptime', formatUptime(numberOf(status['uptime'])));
  row('Latency', `${found.latencyMs}ms`);
  if (status['keystore_unreachable'] === true) row('Key Store', 'unreachable');
  else if (status['keystore_unavailable'] === true) row('Key Store', 'unavailable');
  if (call.flags.switches.has('short')) return;
  row('OS', textOf(status['os']));
  const cpus = `${numberOf(status['num_cpu_used'])}/${numberOf(status['num_cpu'])}`;
  row('CPUs', `${cpus} ${textOf(status['arch'])}`);
  output.line(`  ${output.faint('Memory')}`);
  row('· Heap', formatSize(numberOf(status['mem_heap_used'])));
  row('· Stack', formatSize(numberOf(status['mem_stack_used'])));
}

function printApis(output: Output, apis: readonly KesApi[]): void {
  const rows = apis.map((api) => ({
    method: api.method,
    path: api.path,
    timeout: api.timeout === 0 ? 'Inf' : `${api.timeout}s`,
  }));
  const width = Math.max(3, ...rows.map((row) => row.path.length));
  output.line('');
  output.line(output.bold(`  ${'Method'.padEnd(7)} ${'API'.padEnd(width)} Timeout`));
  const sorted = rows.sort((a, b) => (a.path < b.path ? -1 : 1));
  for (const { method, path, timeout } of sorted) {
    output.line(`  ${method.padEnd(7)} ${path.padEnd(width)} ${timeout}`);
  }
}

function withoutZeros(document: object): object {
  const entries = Object.entries(document) as [string, unknown][];
  return Object.fromEntries(
    entries.filter(([, value]) => value !== 0 && value !== '' && value !== false && value !== null),
  );
}

function hostOf(origin: string): string {
  return new URL(origin).host;
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function numberOf(value: unknown): number {
  return typeof value === 'number' ? value : 0;
}
