// Runs the static checks, each named by what it guarantees, and fails at the end if any failed.

import { spawnSync } from 'node:child_process';

type Check = { readonly guarantee: string; readonly command: readonly string[] };

const checks: readonly Check[] = [
  {
    guarantee: 'Every file is formatted',
    command: ['node_modules/.bin/biome', 'format', 'src', 'test', 'bench', 'tools'],
  },
  {
    guarantee: 'No lint finding, with types (no unawaited promise, no any)',
    command: [
      'node_modules/.bin/oxlint',
      '--type-aware',
      '--deny-warnings',
      'src',
      'test',
      'bench',
      'tools',
    ],
  },
  { guarantee: 'Every type checks', command: ['node_modules/.bin/tsc', '-p', '.'] },
  {
    guarantee: 'Every file is at home: imports, sizes, names, documents in step',
    command: [
      process.execPath,
      '--disable-warning=ExperimentalWarning',
      '--test',
      'test/tidy.test.ts',
    ],
  },
];

let failed = 0;
for (const check of checks) {
  const [program, ...args] = check.command;
  const run = spawnSync(program ?? '', args, { encoding: 'utf8' });
  const isGood = run.status === 0;
  console.log(`${isGood ? 'ok  ' : 'FAIL'} ${check.guarantee}`);
  if (!isGood) {
    failed += 1;
    console.log(run.stdout, run.stderr);
  }
}
process.exit(failed === 0 ? 0 : 1);
