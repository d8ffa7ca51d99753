import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { CliOptions, CliResult } from '../../../test/support/kes-cli.ts';
import { useTestCli } from '../../../test/support/kes-cli.ts';
import { formatApiKey, generateApiKey } from '../../wire/kes-identity.ts';

const cli = useTestCli();
const { run, fails } = cli;
const identity = 'ab'.repeat(32);
const event = {
  response: { time: 2_345_678, code: 404 },
  request: { path: '/v1/key/describe/absent', identity, ip: '10.0.0.1' },
  time: '2026-01-02T03:04:05Z',
};

/** Follows a log, publishes the lines once it is heard, and interrupts when the pattern was printed. */
async function follow(
  argv: readonly string[],
  lines: readonly string[],
  options: CliOptions & { readonly until: RegExp },
): Promise<CliResult> {
  const hub = argv.includes('--error') ? cli.server.hubs.error : cli.server.hubs.audit;
  while (hub.isHeard) await setImmediate(); // by the follower of another test
  const controller = new AbortController();
  const following = run(argv, {
    ...options,
    signal: controller.signal,
    onStdout: (text) => {
      if (options.until.test(text)) controller.abort();
    },
  });
  while (!hub.isHeard) await setImmediate();
  for (const line of lines) hub.publish(line);
  return following;
}

void test('audit events are rows below a heading, with all of the identity for a script', async () => {
  const anonymous = { time: '', request: { path: '/v1/status' }, response: { code: 200, time: 0 } };
  const lines = [event, anonymous].map((each) => `${JSON.stringify(each)}\n`);
  const result = await follow(['log'], lines, { until: /status/ });
  assert.deepEqual([result.code, result.stderr], [1, '']);
  const rows = result.stdout.split('\n').filter((row) => !row.includes('/v1/log/'));
  const [heading = '', first = '', second = ''] = rows;
  assert.match(heading, /^Time +Status +Identity +IP +API +Latency$/);
  const cells = first.split(/ +/);
  assert.match(cells[0] ?? '', /^\d\d:04:05$/);
  assert.deepEqual(cells.slice(1), [
    '404',
    identity,
    '10.0.0.1',
    '/v1/key/describe/absent',
    '2.3ms',
  ]);
  assert.deepEqual(second.split(/ +/), ['--:--:--', '200', '-', '-', '/v1/status', '0µs']);
});

void test('on a terminal the identity is cut, what failed is red, and controls do nothing', async () => {
  const hostile = { ...event, request: { ...event.request, path: '/v1/\x1b[2Jx' } };
  const { stdout } = await follow(['log', '--audit'], [`${JSON.stringify(hostile)}\n`], {
    until: /abab/,
    isTerminal: true,
  });
  assert.match(stdout, /\x1b\[31m\S+ +404 +(ab){6} +10\.0\.0\.1 +\/v1\/\u{fffd}\[2Jx /u);
});

void test('audit events are one JSON object a line, in the documented order', async () => {
  const line = `${JSON.stringify({ extra: 1, ...event })}\n`;
  const { stdout } = await follow(['log', '--json'], [line], { until: /absent.*\n/ });
  const rows = stdout.split('\n').filter((row) => row.includes('absent'));
  const request = `"ip":"10.0.0.1","path":"/v1/key/describe/absent","identity":"${identity}"`;
  const response = '"code":404,"time":2345678';
  assert.deepEqual(rows, [
    `{"time":"2026-01-02T03:04:05Z","request":{${request}},"response":{${response}}}`,
  ]);
});

void test('errors are their messages, with --json as objects', async () => {
  const line = `${JSON.stringify({ message: 'time=now level=WARN msg="a \x1b[2J b"\n' })}\n`;
  const plain = await follow(['log', '--error'], [line], { until: /WARN.*\n/ });
  assert.equal(plain.stdout, 'time=now level=WARN msg="a \u{fffd}[2J b"\n');
  const json = await follow(['log', '--error', '--json'], [line], { until: /WARN.*\n/ });
  assert.equal(json.stdout, line);
});

void test('who may not follow a log is told so', async () => {
  const env = { KES_API_KEY: formatApiKey(generateApiKey()) };
  const denied = 'not authorized: insufficient permissions';
  await fails(['log'], `failed to connect to audit log: ${denied}`, { env });
  await fails(['log', '--error', '--json'], `failed to connect to error log: ${denied}`, { env });
  await fails(['log', '--error', '--audit'], '--audit and --error cannot be used at the same time');
});
