// The documented procedure and the daily commands, with the unmodified mc and with Coffer's own, over HTTP
// and over HTTPS.

import { mkdtempSync, rmSync } from 'node:fs';
import { copyFile, mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import { cofferBin, type CofferPair, startCofferPair } from '../support/coffer-pair.ts';
import { clientPaths } from './clients.ts';
import { chapters, mcRunner } from './mc-transcript.ts';

const only = process.env['COFFER_INTEROP_MC'];
const programs = [
  { name: 'mc', command: [clientPaths.mc] },
  { name: 'coffer mc', command: [cofferBin, 'mc'] },
].filter((program) => only === undefined || program.name === only);

for (const scheme of ['http', 'https'] as const) {
  for (const program of programs) {
    await describe(`${program.name} over ${scheme}`, async () => {
      const dir = mkdtempSync(path.join(tmpdir(), 'coffer-mc-'));
      const certsDir = path.join(dir, 'certs');
      let pair: CofferPair | undefined;
      for (const chapter of chapters) {
        await test(chapter.name, async () => {
          pair ??= await startCofferPair(dir, scheme === 'https' ? { certsDir } : {});
          if (scheme === 'https') {
            await mkdir(path.join(dir, 'mc-config/certs/CAs'), { recursive: true });
            await copyFile(pair.caFile, path.join(dir, 'mc-config/certs/CAs/coffer.crt'));
          }
          const mc = mcRunner(program.command, dir);
          await chapter.run({ mc, dir, url: `${scheme}://127.0.0.1:${pair.port}`, pair });
        });
      }
      await test('everything stops', async () => {
        await pair?.stop();
        rmSync(dir, { recursive: true, force: true });
      });
    });
  }
}
