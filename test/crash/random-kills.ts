// Kills at random moments under mixed load: sometimes one worker, sometimes supervisor and workers at once.

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { silentLog } from '../../src/base/log.ts';
import { parseKmsConfig } from '../../src/kms/config.ts';
import { openKms } from '../../src/kms/open-kms.ts';
import { type CofferPair, kmsEnvironment, startCofferPair } from '../support/coffer-pair.ts';
import { memoryOf } from '../support/programs.ts';
import { type S3TestClient, s3TestClient } from '../support/s3-test-client.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { ExpectedStates } from './expected-state.ts';
import { crashBuckets, customerPrefix, readState, runLoadWorker } from './load.ts';
import { findLeftovers } from './orphans.ts';

const names = [
  ...Array.from({ length: 50 }, (_, index) => {
    const folder = index % 3 === 0 ? 'versions' : `dir${index % 5}`;
    return `${folder}/object-${index}`;
  }),
  ...Array.from({ length: 10 }, (_, index) => `${customerPrefix}object-${index}`),
];
const loadWorkers = 12;

async function killSomething(
  pair: CofferPair,
  random: () => number,
): Promise<'worker' | 'everything'> {
  const all = memoryOf(pair.server.pid).map((process) => process.pid);
  const workers = all.filter((pid) => pid !== pair.server.pid);
  const victim = workers[Math.floor(random() * workers.length)];
  if (random() < 0.4 && victim !== undefined) {
    process.kill(victim, 'SIGKILL');
    return 'worker';
  }
  for (const pid of [pair.server.pid, ...workers]) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // A worker may have ended with its supervisor already.
    }
  }
  await pair.server.ended;
  return 'everything';
}

async function checkAll(client: S3TestClient, states: ExpectedStates): Promise<string[]> {
  const violations: string[] = [];
  for (const name of states.names()) {
    const found = await readState(client, name);
    const violation = states.findViolation(name, found);
    if (violation !== undefined) violations.push(violation);
    states.settle(name, found);
  }
  return violations;
}

async function makeBuckets(client: S3TestClient): Promise<void> {
  for (const bucket of crashBuckets) await client.send({ method: 'PUT', target: `/${bucket}` });
  const status = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>';
  const target = `/${crashBuckets[1]}?versioning`;
  const answer = await client.send({ method: 'PUT', target, body: Buffer.from(status) });
  assert.equal(answer.status, 200);
}

/** Returns what was violated; empty when all is well. */
export async function runRandomKills(options: {
  readonly dir: string;
  readonly rounds: number;
  readonly seed: number;
}): Promise<string[]> {
  const random = seededRandom(options.seed);
  mkdirSync(options.dir, { recursive: true });
  const pair = await startCofferPair(options.dir, {
    env: { COFFER_WORKERS: '2', COFFER_SSE_C_OVER_HTTP: 'on' },
  });
  const states = new ExpectedStates();
  const violations: string[] = [];
  let labels = 0;
  const connect = (): S3TestClient => s3TestClient({ ...pair, connections: 64 });
  let client = connect();
  await makeBuckets(client);
  for (let round = 1; round <= options.rounds; round += 1) {
    let isStopped = false;
    const context = {
      client,
      credentials: pair,
      states,
      random,
      isStopped: () => isStopped,
      nextLabel: () => `l${(labels += 1)}`,
    };
    const load = Array.from({ length: loadWorkers }, () => runLoadWorker(context, names));
    await new Promise((resolve) => setTimeout(resolve, 300 + random() * 1500));
    const killed = await killSomething(pair, random);
    if (killed === 'worker') await new Promise((resolve) => setTimeout(resolve, 800));
    isStopped = true;
    const acknowledged = (await Promise.all(load)).reduce((sum, count) => sum + count, 0);
    client.close();
    if (killed === 'everything') await pair.startServer();
    client = connect();
    const found = await checkAll(client, states);
    violations.push(...found.map((text) => `round ${round} (${killed} killed): ${text}`));
    console.log(
      `round ${round}: ${killed} killed, ${acknowledged} acknowledged, ${found.length} violations`,
    );
  }
  client.close();
  await pair.server.stop();
  const kmsConfig = parseKmsConfig(kmsEnvironment(pair));
  assert.ok(kmsConfig);
  const kms = await openKms(kmsConfig, { log: silentLog });
  violations.push(...(await findLeftovers(pair.dataDir, kms)));
  await kms.close();
  await pair.keyService.stop();
  return violations;
}
