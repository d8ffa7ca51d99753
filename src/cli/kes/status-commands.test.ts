import assert from 'node:assert/strict';
import { test } from 'node:test';
import { useTestCli } from '../../../test/support/kes-cli.ts';

const cli = useTestCli();
const { out } = cli;

void test('the status is rows for people and JSON for programs', async () => {
  const host = new URL(cli.server.origin).host;
  const text = await out(['status']);
  assert.ok(text.startsWith(`● ${host}\n  Version   `), text);
  assert.match(text, /\n  Uptime    \d+ seconds\n  Latency   \d+ms\n  OS        \w+\n  CPUs      /);
  assert.equal((await out(['status', '-s'])).split('\n').length, 5);
  assert.match(
    await out(['status', '--api']),
    /\n  Method  API +Timeout\n[\s\S]*\/v1\/key\/create\/ +15s\n/,
  );
  const status = JSON.parse(await out(['status', '--json'])) as Record<string, unknown>;
  assert.ok(typeof status['version'] === 'string' && !('keystore_unreachable' in status));
  const apis = JSON.parse(await out(['status', '--api', '--json'])) as { path: string }[];
  assert.ok(apis.some((api) => api.path === '/v1/status'));
});
