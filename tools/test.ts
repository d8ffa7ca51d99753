// Runs the unit, contract and conformance tests. Arguments narrow it down: `npm test -- src/aead`.

import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';

const suites = [
  'src/**/*.test.ts',
  'test/contract/**/*.test.ts',
  'test/conformance/**/*.test.ts',
  'test/secrets/**/*.test.ts',
  'test/reliability/**/*.test.ts',
  'test/tidy.test.ts',
];

const wanted = process.argv.slice(2);
const files = suites
  .flatMap((pattern) => globSync(pattern))
  .filter((file) => wanted.length === 0 || wanted.some((text) => file.includes(text)))
  .toSorted();

if (files.length === 0) {
  console.error(`no test file matches ${wanted.join(' ')}`);
  process.exit(1);
}

const run = spawnSync(
  process.execPath,
  ['--disable-warning=ExperimentalWarning', '--test', '--test-timeout=180000', ...files],
  { stdio: 'inherit' },
);
process.exit(run.status ?? 1);
