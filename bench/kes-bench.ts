// Measures the key service by itself: `npm run bench -- kes [--seconds S] [--rounds N] [--calls N]`. Generate, decrypt and
// batches of decrypt over 1 to 256 kept TLS connections, one service process and two on the same key store, and the
// memory of the service before and after many calls.

import { fork } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release, tmpdir } from 'node:os';
import path from 'node:path';
import { cofferBin, startKeyService, type KeyServicePair } from '../test/support/coffer-pair.ts';
import {
  freePort,
  memoryOf,
  projectRoot,
  startProgram,
  waitUntil,
} from '../test/support/programs.ts';
import type { KesLoadJob, KesLoadResult } from './kes-connections.ts';

export type KesBenchOptions = {
  readonly seconds: number;
  readonly rounds: number;
  /** Calls between the two looks at the memory. */
  readonly calls: number;
  readonly out: string;
};

type Row = {
  readonly op: string;
  readonly processes: number;
  readonly connections: number;
  readonly round: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly errors: number;
};

const batchCalls = 16;
const mib = 1024 * 1024;

function load(job: KesLoadJob): Promise<KesLoadResult> {
  const child = fork(path.join(projectRoot, 'bench/kes-connections.ts'), {
    execArgv: ['--disable-warning=ExperimentalWarning'],
  });
  return new Promise((resolve, reject) => {
    child.on('message', (result) => {
      child.kill();
      resolve(result as KesLoadResult);
    });
    child.on('error', reject);
    child.send(job);
  });
}

/** A second process with the same configuration on another port. */
async function startSecond(pair: KeyServicePair) {
  const port = await freePort();
  const file = path.join(pair.dir, 'kes-2.yml');
  const config = readFileSync(path.join(pair.dir, 'kes.yml'), 'utf8');
  writeFileSync(file, config.replace(/^address: .*$/m, `address: 127.0.0.1:${port}`));
  const program = await startProgram({
    name: 'kes-2',
    command: [cofferBin, 'kes', 'server', '--config', file],
    dir: pair.dir,
  });
  const endpoint = `https://127.0.0.1:${port}`;
  const isUp = async () => readFileSync(program.logFile, 'utf8').includes('up and running');
  await waitUntil(program, isUp);
  return { program, endpoint };
}

/** The calls that are measured, each with how many operations it carries. */
async function makeCalls(pair: KeyServicePair) {
  const context = Buffer.from('{"bucket":"bucket/object"}').toString('base64');
  const made = JSON.parse(await pair.kes('key', 'dek', pair.keyName, context, '-k')) as {
    ciphertext: string;
  };
  const opened = { ciphertext: made.ciphertext, context };
  const call = { op: 'decrypt', name: pair.keyName, ...opened };
  return [
    {
      op: 'generate',
      path: `/v1/key/generate/${pair.keyName}`,
      body: JSON.stringify({ context }),
      each: 1,
    },
    {
      op: 'decrypt',
      path: `/v1/key/decrypt/${pair.keyName}`,
      body: JSON.stringify(opened),
      each: 1,
    },
    {
      op: `decrypt, ${batchCalls} in a batch`,
      path: '/v1/batch/key',
      body: JSON.stringify({ calls: Array.from({ length: batchCalls }, () => call) }),
      each: batchCalls,
    },
  ];
}

/** Runs everything, prints a table and writes JSON. */
export async function benchKeyService(options: KesBenchOptions): Promise<void> {
  const scratch = mkdtempSync(path.join(tmpdir(), 'coffer-bench-kes-'));
  const pair = await startKeyService(path.join(scratch, 'kes'));
  const second = await startSecond(pair);
  try {
    const calls = await makeCalls(pair);
    const target = { apiKey: pair.apiKey, caFile: pair.caFile };
    const rows: Row[] = [];
    for (let round = 0; round < options.rounds; round += 1) {
      for (const processes of [1, 2]) {
        const endpoints = [pair.endpoint, second.endpoint].slice(0, processes);
        for (const connections of [1, 16, 64, 256]) {
          for (const { op, each, ...request } of calls) {
            const job = { ...target, ...request, endpoints, connections, calls: 0 };
            const result = await load({ ...job, seconds: options.seconds });
            const perSecond = ((result.calls * each) / result.elapsedMs) * 1000;
            const { p50Ms, p99Ms, errors } = result;
            rows.push({ op, processes, connections, round, perSecond, p50Ms, p99Ms, errors });
            console.error(
              `round ${round + 1} ${op} ${processes} × ${connections}: ${Math.round(perSecond)}/s p50 ${p50Ms.toFixed(2)} p99 ${p99Ms.toFixed(2)} ms`,
            );
          }
        }
      }
    }
    const memory = await measureMemory(pair, calls[1], options.calls);
    print(rows, memory);
    const machine = { cores: cpus().length, cpu: cpus()[0]?.model, kernel: release() };
    writeFileSync(options.out, JSON.stringify({ machine, rows, memory }, undefined, 2));
  } finally {
    await second.program.stop();
    await pair.keyService.stop();
    rmSync(scratch, { recursive: true, force: true });
  }
}

type Memory = { readonly calls: number; readonly residentMib: number };

async function measureMemory(
  pair: KeyServicePair,
  request: { readonly path: string; readonly body: string } | undefined,
  calls: number,
): Promise<Memory[]> {
  const resident = (): number =>
    memoryOf(pair.keyService.pid).reduce((sum, { rssBytes }) => sum + rssBytes, 0) / mib;
  const memory: Memory[] = [{ calls: 0, residentMib: resident() }];
  if (request === undefined) return memory;
  for (let part = 1; part <= 4; part += 1) {
    await load({
      endpoints: [pair.endpoint],
      apiKey: pair.apiKey,
      caFile: pair.caFile,
      path: request.path,
      body: request.body,
      connections: 64,
      seconds: 0,
      calls: Math.ceil(calls / 4),
    });
    memory.push({ calls: Math.ceil(calls / 4) * part, residentMib: resident() });
  }
  return memory;
}

function print(rows: readonly Row[], memory: readonly Memory[]): void {
  const groups = Map.groupBy(rows, (row) => `${row.op}|${row.processes}|${row.connections}`);
  console.log('| call | processes | connections | per second | p50 ms | p99 ms | errors |');
  console.log('|---|---|---|---|---|---|---|');
  for (const group of groups.values()) {
    const first = group[0];
    if (first === undefined) continue;
    const median = (of: (row: Row) => number): number =>
      group.map(of).toSorted((a, b) => a - b)[Math.floor(group.length / 2)] ?? 0;
    const errors = group.reduce((sum, row) => sum + row.errors, 0);
    const rate = Math.round(median((row) => row.perSecond)).toLocaleString('en-US');
    console.log(
      `| ${first.op} | ${first.processes} | ${first.connections} | ${rate} | ${median((row) => row.p50Ms).toFixed(2)} | ${median((row) => row.p99Ms).toFixed(2)} | ${errors} |`,
    );
  }
  const steps = memory.map(
    (m) => `${m.calls.toLocaleString('en-US')}: ${Math.round(m.residentMib)} MiB`,
  );
  console.log(`\nresident memory of the first process after decrypt calls: ${steps.join(', ')}`);
}
