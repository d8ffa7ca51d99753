// The official Go SDK of the key service against Coffer's.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { formatApiKey, generateApiKey } from '../../src/wire/kes-identity.ts';
import { startKeyService } from '../support/coffer-pair.ts';
import { runClient } from './clients.ts';

await test('the Go SDK of the key service', async () => {
  const dir = mkdtempSync(path.join(tmpdir(), 'coffer-sdk-'));
  const application = generateApiKey();
  const service = await startKeyService(path.join(dir, 'kes'), 'default-key', [
    'log:\n  error: on\n  audit: on',
    `policy:\n  sdk-policy:\n    allow:\n      - /v1/key/generate/sdk-*\n      - /v1/identity/self/describe\n    deny:\n      - /v1/key/generate/sdk-secret*\n    identities:\n      - ${application.identity}`,
  ]);
  try {
    const program = path.join(dir, 'kes-sdk');
    const goEnv = { HOME: process.env['HOME'] ?? dir };
    const built = await runClient(['go', 'build', '-o', program, '.'], {
      cwd: path.join(import.meta.dirname, 'kes-sdk'),
      env: goEnv,
      limitMs: 300_000,
    });
    assert.equal(built.exitCode, 0, built.stderr);
    const ran = await runClient([
      program,
      service.endpoint,
      service.apiKey,
      service.caFile,
      formatApiKey(application),
    ]);
    assert.equal(ran.exitCode, 0, `${ran.stdout}\n${ran.stderr}`);
  } finally {
    await service.keyService.stop();
    rmSync(dir, { recursive: true, force: true });
  }
});
