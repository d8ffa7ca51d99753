// Feeds mutated and random bytes to every parser for a while and stops at the first violation, printing the
// seed and the input: `npm run fuzz -- --seconds 60 --seed 7 --only DARE`.

import { parseArgs } from 'node:util';
import { seededRandom } from '../test/support/seeded-random.ts';
import { serverTargets } from '../test/fuzz/server-targets.ts';
import { type FuzzTarget, fuzzTargets } from '../test/fuzz/targets.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    only: { type: 'string', default: '' },
  },
});
const seed = Number(values.seed);
const random = seededRandom(seed);
const below = (limit: number): number => Math.floor(random() * limit);

function flip(bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  for (let count = 1 + below(3); count > 0 && copy.length > 0; count -= 1) {
    const at = below(copy.length);
    copy[at] = (copy[at] ?? 0) ^ (1 << below(8));
  }
  return copy;
}

function splice(bytes: Buffer): Buffer {
  const from = below(bytes.length + 1);
  const to = Math.min(bytes.length, from + below(64));
  const cut = Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)]);
  const doubled = Buffer.concat([bytes.subarray(0, to), bytes.subarray(from)]);
  return below(2) === 0 ? cut : doubled;
}

function insert(bytes: Buffer): Buffer {
  const at = below(bytes.length + 1);
  const extra = Buffer.from(Array.from({ length: 1 + below(8) }, () => below(256)));
  return Buffer.concat([bytes.subarray(0, at), extra, bytes.subarray(at)]);
}

function mutate(target: FuzzTarget): Buffer {
  const pick = below(10);
  if (pick === 0) return Buffer.from(Array.from({ length: below(300) }, () => below(256)));
  let bytes: Buffer = Buffer.from(target.samples[below(target.samples.length)] ?? []);
  for (let count = 1 + below(3); count > 0; count -= 1) {
    bytes = [flip, splice, insert][below(3)]?.(bytes) ?? bytes;
  }
  return bytes;
}

const server = await serverTargets();
const targets = [...(await fuzzTargets()), ...server.targets].filter((target) =>
  target.name.includes(values.only),
);
const counts = new Map<string, number>();
const deadline = Date.now() + Number(values.seconds) * 1000;
console.log(`seed ${seed}, ${values.seconds} s, ${targets.length} targets`);

for (const target of targets) {
  for (const sample of target.samples) await target.run(sample, false);
}
/** Slow targets get an input in one round of so many. */
const slowEvery = targets.every((target) => target.isSlow) ? 1 : 20;
for (let round = 0; Date.now() < deadline; round += 1) {
  for (const target of targets) {
    if (target.isSlow && round % slowEvery !== 0) continue;
    const input = mutate(target);
    const isChanged = !target.samples.some((sample) => input.equals(sample));
    try {
      await target.run(input, isChanged);
    } catch (error) {
      console.log(`FAIL ${target.name}, seed ${seed}, input (hex) ${input.toString('hex')}`);
      console.log(error);
      process.exit(1);
    }
    counts.set(target.name, (counts.get(target.name) ?? 0) + 1);
  }
}
for (const [name, count] of counts) console.log(`ok   ${name}: ${count} inputs`);
await server.close();
