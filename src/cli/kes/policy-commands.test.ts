import assert from 'node:assert/strict';
import { test } from 'node:test';
import { useTestCli } from '../../../test/support/kes-cli.ts';
import { formatApiKey } from '../../wire/kes-identity.ts';

const cli = useTestCli();
const { out, fails } = cli;

void test('policies are listed', async () => {
  assert.equal(await out(['policy', 'ls']), 'Policy\nstore\n');
  assert.equal(await out(['policy', 'ls', 'st*']), 'Policy\nstore\n');
  assert.equal(await out(['policy', 'ls', 'x']), '');
  assert.equal(await out(['policy', 'ls', '--json']), '["store"]\n');
});

void test('a policy says when it was made and by whom', async () => {
  const admin = cli.server.admin.identity;
  assert.match(
    await out(['policy', 'info', 'store']),
    new RegExp(`^Name {8}store\\nDate {8}\\S+ \\S+\\nOwner {7}${admin}\\n$`),
  );
  const info = JSON.parse(await out(['policy', 'info', 'store', '--json'])) as object;
  assert.deepEqual(Object.keys(info), ['name', 'created_at', 'created_by']);
  await fails(
    ['policy', 'info', 'absent'],
    "failed to describe policy 'absent': policy does not exist",
  );
});

void test('a policy shows its rules, as JSON for scripts and as lists on a terminal', async () => {
  const text = await out(['policy', 'show', 'store']);
  assert.equal(text.split('\n').length, 2);
  const policy = JSON.parse(text) as { allow: Record<string, object> };
  assert.deepEqual(Object.keys(policy), ['allow', 'created_at', 'created_by']);
  assert.deepEqual(policy.allow['/v1/key/create/*'], {});
  const shown = await out(['policy', 'show', 'store'], {
    isTerminal: true,
    env: { NO_COLOR: '1' },
  });
  assert.match(shown, /^Allow\n {2}· \/v1\/api\n {2}· \/v1\/key\/create\/\*\n/);
  const json = await out(['policy', 'show', 'store', '--json'], { isTerminal: true });
  assert.match(json, /^\{\n {2}"allow": \{\n {4}"/);
  await fails(
    ['policy', 'show', 'absent'],
    "failed to show policy 'absent': policy does not exist",
  );
});

void test('whoever has a policy sees its rules with the own identity', async () => {
  const env = { KES_API_KEY: formatApiKey(cli.server.store) };
  const own = await out(['identity', 'info'], { env });
  assert.match(own, /\nPolicy {6}store\n[\s\S]*\nAllow\n {2}· \/v1\/api\n/);
});
