import assert from 'node:assert/strict';
import { test } from 'node:test';
import { useTestCli } from '../../../test/support/kes-cli.ts';

const cli = useTestCli();
const { run, fails } = cli;

void test('metrics are printed as JSON until the command is interrupted', async () => {
  const controller = new AbortController();
  const onStdout = (text: string) => {
    if (text.split('\n').length === 4) controller.abort();
  };
  const result = await run(['metric', '--rate', '5ms'], { signal: controller.signal, onStdout });
  assert.equal(result.code, 1);
  const [first = '{}'] = result.stdout.split('\n');
  const metrics = JSON.parse(first) as Record<string, unknown>;
  assert.equal(typeof metrics['kes_system_up_time'], 'number');
  assert.equal(typeof metrics['kes_http_response_time'], 'object');
  assert.equal(result.stdout.split('\n').length, 4);
});

void test('on a terminal the metrics are a table, drawn over itself', async () => {
  const controller = new AbortController();
  const onStdout = (text: string) => {
    if (text.split('Requests').length === 3) controller.abort();
  };
  const result = await run(['metric', '--rate', '5ms'], {
    signal: controller.signal,
    isTerminal: true,
    env: { NO_COLOR: '1' },
    onStdout,
  });
  assert.equal(result.code, 1);
  const [first = '', second = ''] = result.stdout.split('Requests').slice(1);
  assert.match(first, /\n\x1b\[2K {2}Success {4}\d+\n/);
  assert.match(second, /\n\x1b\[2K {2}Success {4}\d+ +[\d.]+\/s\n/);
  const lines = first.split('\n').length - 1;
  assert.ok(first.endsWith(`\x1b[${lines}A\x1b[2K`), JSON.stringify(first.slice(-20)));
});

void test('an interval that is none is refused', async () => {
  await fails(['metric', '--rate', '5'], "invalid duration '5': expected for example 5s");
  await fails(['metric', '--rate', '0s'], "invalid duration '0s': not positive");
});
