// The crash suite: kills a store under mixed load, at random moments, one worker or everything, and checks
// after each restart that every acknowledged object is there with its bytes, ETag and metadata, that nothing
// is half there, and that the sweep leaves no orphan. Then kills it between each two durable steps.
//   npm run crash -- --rounds 20 --seed 7

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { runRandomKills } from '../test/crash/random-kills.ts';
import { runStepKills } from '../test/crash/step-kills.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '10' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    keep: { type: 'boolean', default: false },
  },
});
const seed = Number(values.seed);
const dir = mkdtempSync(path.join(tmpdir(), 'coffer-crash-'));
console.log(`seed ${seed}, ${values.rounds} rounds, folder ${dir}`);
const violations = [
  ...(await runRandomKills({ dir: path.join(dir, 'random'), rounds: Number(values.rounds), seed })),
  ...(await runStepKills({ dir: path.join(dir, 'steps') })),
];
if (violations.length > 0) {
  console.log(violations.join('\n'));
  console.log(`FAIL ${violations.length} violations, seed ${seed}, folder kept: ${dir}`);
  process.exit(1);
}
if (!values.keep) rmSync(dir, { recursive: true, force: true });
console.log('ok   nothing acknowledged was lost, nothing was half there, no orphan was left');
