// The audit log of a key service that is killed under load, rotated by SIGHUP and stopped: every call that was
// answered has its line, and the whole chain is proven by the shipped command.

import assert from 'node:assert/strict';
import { access, readFile, rename } from 'node:fs/promises';
import path from 'node:path';
import { after, test } from 'node:test';
import { KesClient } from '../../src/wire/kes-client.ts';
import { KesClientError } from '../../src/wire/kes-error.ts';
import { createClientCertificate, parseApiKey } from '../../src/wire/kes-identity.ts';
import { type KeyServicePair, startKeyService } from '../support/coffer-pair.ts';
import { waitUntil } from '../support/programs.ts';
import { Cleanup } from './harness.ts';

const cleanup = new Cleanup();
after(() => cleanup.run());

const killsMax = 3;
const answersBeforeKill = 150;

async function clientOf(pair: KeyServicePair): Promise<KesClient> {
  const certificate = await createClientCertificate(parseApiKey(pair.apiKey));
  const tls = { ...certificate, ca: [await readFile(pair.caFile, 'utf8')] };
  return new KesClient({ endpoints: [pair.endpoint], tls, retriesMax: 0 });
}

/** Generates keys until the service is gone; gives the objects of the calls that were answered. */
async function loadUntilKilled(pair: KeyServicePair, round: number): Promise<string[]> {
  const client = await clientOf(pair);
  const answered: string[] = [];
  let next = 0;
  const work = async () => {
    for (;;) {
      next += 1;
      const object = `b/${round}-${next}`;
      try {
        await client.generateKey(pair.keyName, Buffer.from(JSON.stringify({ b: object })));
      } catch (error) {
        if (error instanceof KesClientError) return;
        throw error;
      }
      answered.push(object);
      if (answered.length === answersBeforeKill) pair.keyService.kill('SIGKILL');
    }
  };
  await Promise.all(Array.from({ length: 16 }, work));
  client.close();
  await pair.keyService.ended;
  return answered;
}

test('killed under load, rotated and stopped: every answered call is in a proven log', async () => {
  const dir = cleanup.directory('kes-audit');
  const file = path.join(dir, 'audit.log');
  const audit = `audit:\n  file: ${file}\n  mode: strict\n  checkpoint:\n    lines: 50`;
  const pair = await startKeyService(path.join(dir, 'kes'), 'my-key', [audit]);
  cleanup.add(() => pair.keyService.stop());
  const answered: string[] = [];
  for (let round = 1; round <= killsMax; round += 1) {
    answered.push(...(await loadUntilKilled(pair, round)));
    await pair.startAgain();
  }
  await rename(file, `${file}.1`);
  pair.keyService.kill('SIGHUP');
  await waitUntil(pair.keyService, async () => {
    await access(file);
    return true;
  });
  answered.push(...(await loadUntilKilled(pair, killsMax + 1)));
  await pair.startAgain();
  await pair.keyService.stop();

  const text = (await readFile(`${file}.1`, 'latin1')) + (await readFile(file, 'latin1'));
  const objects = new Set(text.matchAll(/"object":"([^"]+)"/g).map(([, object]) => object));
  assert.deepEqual(
    answered.filter((object) => !objects.has(object)),
    [],
  );
  assert.ok(answered.length >= (killsMax + 1) * answersBeforeKill);
  const report = await pair.kes('log', 'verify', `${file}.1`, file);
  assert.match(report, /The log is intact/);
  assert.match(report, /not yet signed: +0 lines/);
});
