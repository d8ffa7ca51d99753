// Measures Coffer, with encryption off and with SSE-S3 through its key service, in one interleaved run, and
// any S3 server beside it: `npm run bench -- --peer http://127.0.0.1:9000 --peer-keys ACCESS:SECRET`.
// Prints a table of rates and ratios with their spread, and writes everything as JSON (`--out FILE`).

import { fork } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release, tmpdir, totalmem } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { startCofferPair } from '../test/support/coffer-pair.ts';
import type { LoadJob, LoadResult } from '../bench/http-load.ts';
import { makeBucket } from '../bench/http-load.ts';
import { benchModes, readHeaders, writeHeaders } from '../bench/modes.ts';
import { benchKeyService } from '../bench/kes-bench.ts';
import { measureKeyService } from '../bench/key-service-load.ts';
import { memoryOf, projectRoot } from '../test/support/programs.ts';
import { type Figure, formatTable } from '../bench/report.ts';

const { values: args, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    peer: { type: 'string' },
    'peer-keys': { type: 'string', default: 'minioadmin:minioadmin' },
    'peer-name': { type: 'string', default: 'peer' },
    'peer-pid': { type: 'string' },
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '4' },
    'list-objects': { type: 'string', default: '100000' },
    only: { type: 'string', default: '' },
    modes: { type: 'string', default: 'plain,sse-s3' },
    dir: { type: 'string' },
    out: { type: 'string', default: 'bench-result.json' },
    calls: { type: 'string', default: '1000000' },
    help: { type: 'boolean', default: false },
  },
});

if (args.help) {
  console.log(
    'npm run bench -- kes [--seconds S] [--rounds N] [--calls N] [--out FILE]\n' +
      'npm run bench -- [--peer URL --peer-keys ACCESS:SECRET --peer-name NAME --peer-pid PID] [--rounds N] ' +
      '[--seconds S] [--list-objects N] [--only TEXT] [--modes plain,sse-s3,…] [--dir DIR] [--out FILE]',
  );
  console.log(`modes: ${benchModes.join(', ')}`);
  process.exit(0);
}

if (positionals[0] === 'kes') {
  const { seconds, rounds, calls, out } = args;
  const numbers = { seconds: Number(seconds), rounds: Number(rounds), calls: Number(calls) };
  await benchKeyService({ ...numbers, out });
  process.exit(0);
}

type Target = {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly accessKey: string;
  readonly secretKey: string;
};
type Mode = Figure['mode'];
type Work = {
  readonly name: string;
  readonly op: LoadJob['op'];
  readonly sizeBytes: number;
  readonly clients: number;
};

const kib = 1024;
const mib = 1024 * 1024;
const sizes = [
  { label: '4 KiB', sizeBytes: 4 * kib, clients: 64 },
  { label: '64 KiB', sizeBytes: 64 * kib, clients: 64 },
  { label: '1 MiB', sizeBytes: mib, clients: 64 },
  { label: '16 MiB', sizeBytes: 16 * mib, clients: 8 },
];
const works: readonly Work[] = [
  ...sizes.flatMap((size) =>
    (['put', 'get'] as const).map((op) => ({
      name: `${op.toUpperCase()} ${size.label}`,
      op,
      sizeBytes: size.sizeBytes,
      clients: size.clients,
    })),
  ),
  { name: 'HEAD', op: 'head', sizeBytes: 4 * kib, clients: 64 },
  { name: 'DELETE', op: 'delete', sizeBytes: 4 * kib, clients: 64 },
];

const seconds = Number(args.seconds);
const rounds = Number(args.rounds);
const listObjects = Number(args['list-objects']);
const modes = args.modes.split(',') as Mode[];

function runInChild(job: LoadJob): Promise<LoadResult> {
  const child = fork(path.join(projectRoot, 'bench/http-load.ts'), {
    execArgv: ['--disable-warning=ExperimentalWarning'],
  });
  return new Promise((resolve, reject) => {
    child.on('message', (result) => {
      child.kill();
      resolve(result as LoadResult);
    });
    child.on('error', reject);
    child.send(job);
  });
}

function keysFor(work: Work): number {
  return work.sizeBytes >= 16 * mib ? 8 : work.sizeBytes >= mib ? 64 : 2000;
}

function jobFor(target: Target, mode: Mode, work: Work): LoadJob {
  return {
    ...target,
    op: work.op,
    bucket: `bench-${mode}`,
    prefix: `${work.op === 'head' ? 'o4096' : work.op === 'delete' ? 'd' : `o${work.sizeBytes}`}/`,
    keys: work.op === 'delete' ? 1e9 : keysFor(work),
    sizeBytes: work.sizeBytes,
    writeHeaders: writeHeaders(mode),
    readHeaders: work.op === 'list' ? {} : readHeaders(mode),
    clients: work.clients,
    seconds,
    count: 0,
  };
}

function figureOf(
  at: { target: Target; mode: Mode; work: string; round: number },
  result: LoadResult,
): Figure {
  const elapsed = result.elapsedMs / 1000;
  if (result.errors > 0)
    console.error(
      `  ${at.target.name} ${at.mode} ${at.work}: ${result.errors} errors, first: ${result.firstError}`,
    );
  return {
    target: at.target.name,
    mode: at.mode,
    work: at.work,
    round: at.round,
    perSecond: result.items / elapsed,
    mibPerSecond: result.bytes / mib / elapsed,
    p50Ms: result.p50Ms,
    p99Ms: result.p99Ms,
    errors: result.errors,
  };
}

async function measureObjects(targets: readonly Target[]): Promise<Figure[]> {
  const figures: Figure[] = [];
  const chosen = works.filter((work) => work.name.includes(args.only));
  for (let round = 0; round < rounds; round += 1) {
    for (const work of chosen) {
      for (const target of round % 2 === 0 ? targets : targets.toReversed()) {
        for (const mode of modes) {
          const job = jobFor(target, mode, work);
          // Every object that is read exists: first a full pass of writes, not counted.
          if (work.op !== 'put' && round === 0) {
            await runInChild({ ...job, op: 'put', count: work.op === 'delete' ? 4000 : job.keys });
          }
          const isDelete = work.op === 'delete';
          if (isDelete && round > 0) await runInChild({ ...job, op: 'put', count: 4000 });
          const result = await runInChild(isDelete ? { ...job, count: 4000 } : job);
          const figure = figureOf({ target, mode, work: work.name, round }, result);
          figures.push(figure);
          console.error(
            `round ${round + 1} ${work.name.padEnd(10)} ${target.name} ${mode}: ${figure.perSecond.toFixed(0)}/s ${figure.mibPerSecond.toFixed(0)} MiB/s p99 ${figure.p99Ms.toFixed(1)} ms`,
          );
        }
      }
    }
  }
  return figures;
}

async function measureLists(targets: readonly Target[]): Promise<Figure[]> {
  if (listObjects === 0 || !`LIST ${listObjects}`.includes(args.only)) return [];
  const work = `LIST ${listObjects.toLocaleString('en-US')}`;
  const base = { op: 'list' as const, sizeBytes: 100, clients: 64, name: work };
  for (const target of targets) {
    for (const mode of modes) {
      const job = { ...jobFor(target, mode, base), prefix: 'list/' };
      console.error(`filling ${target.name} ${mode} with ${listObjects} objects`);
      await runInChild({ ...job, op: 'put', keys: listObjects, count: listObjects });
    }
  }
  const figures: Figure[] = [];
  for (let round = 0; round < rounds; round += 1) {
    for (const target of targets) {
      for (const mode of modes) {
        const job = { ...jobFor(target, mode, base), prefix: 'list/' };
        figures.push(figureOf({ target, mode, work, round }, await runInChild(job)));
      }
    }
  }
  return figures;
}

const scratch = mkdtempSync(path.join(args.dir ?? tmpdir(), 'coffer-bench-'));
const coffer = await startCofferPair(scratch, { env: { COFFER_SSE_C_OVER_HTTP: 'on' } });
try {
  const targets: Target[] = [
    {
      name: 'coffer',
      host: '127.0.0.1',
      port: coffer.port,
      accessKey: coffer.accessKey,
      secretKey: coffer.secretKey,
    },
  ];
  if (args.peer !== undefined) {
    const url = new URL(args.peer);
    const [accessKey = '', secretKey = ''] = args['peer-keys'].split(':');
    targets.push({
      name: args['peer-name'],
      host: url.hostname,
      port: Number(url.port || 80),
      accessKey,
      secretKey,
    });
  }
  for (const target of targets) {
    for (const mode of modes) {
      await makeBucket(jobFor(target, mode, { name: '', op: 'put', sizeBytes: 0, clients: 1 }));
    }
  }
  const objects = await measureObjects(targets);
  const memory = {
    coffer: memoryOf(coffer.server.pid),
    keyService: memoryOf(coffer.keyService.pid),
    ...(args['peer-pid'] === undefined ? {} : { peer: memoryOf(Number(args['peer-pid'])) }),
  };
  const figures = [...objects, ...(await measureLists(targets))];
  const keyService = await measureKeyService(coffer, { seconds, rounds });
  const machine = {
    cpu: cpus()[0]?.model,
    cores: cpus().length,
    memoryBytes: totalmem(),
    kernel: release(),
    node: process.version,
    when: new Date().toISOString(),
  };
  console.log(
    formatTable(
      figures,
      targets.map((target) => target.name),
      modes,
    ),
  );
  console.log(
    `\nkey service: ${keyService.map((k) => `${k.op} ${Math.round(k.perSecond)}/s at ${k.inFlight} in flight`).join(', ')}`,
  );
  console.log(
    `memory, own of resident: ${Object.entries(memory)
      .map(
        ([name, list]) =>
          `${name} ${list.map((p) => `${Math.round(p.ownBytes / mib)} of ${Math.round(p.rssBytes / mib)} MiB`).join(' + ')}`,
      )
      .join('; ')}`,
  );
  console.log(
    `machine: ${machine.cores} × ${machine.cpu}, Linux ${machine.kernel}, Node ${machine.node}`,
  );
  writeFileSync(args.out, JSON.stringify({ machine, figures, keyService, memory }, undefined, 2));
} finally {
  await coffer.stop();
  rmSync(scratch, { recursive: true, force: true });
}
