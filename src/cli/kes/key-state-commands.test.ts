import assert from 'node:assert/strict';
import { test } from 'node:test';
import { useTestCli } from '../../../test/support/kes-cli.ts';
import type { KesKeyInfo } from '../../wire/kes.ts';

const cli = useTestCli();
const { run, out, fails } = cli;

type Dek = { readonly plaintext: string; readonly ciphertext: string };

void test('a locked key says so everywhere, until it is unlocked', async () => {
  await out(['key', 'create', 'locked', 'lock-other']);
  const dek = JSON.parse(await out(['key', 'dek', 'locked'])) as { ciphertext: string };
  assert.equal(await out(['key', 'disable', 'locked']), '');
  assert.equal(await out(['key', 'disable', 'locked']), '');
  assert.equal(await out(['key', 'ls', 'lock*']), 'Key\nlock-other\nlocked\n');
  const terminal = { isTerminal: true };
  const marked = 'Key\nlock-other\nlocked  disabled\n';
  assert.equal(await out(['key', 'ls', 'lock*', '--color=never'], terminal), marked);
  assert.equal(
    await out(['key', 'ls', 'lock*', '--states']),
    'Key\nlock-other  enabled\nlocked  disabled\n',
  );
  assert.equal(await out(['key', 'ls', 'lock*', '--json']), '["lock-other","locked"]\n');
  assert.deepEqual(JSON.parse(await out(['key', 'ls', 'lock*', '--json', '--states'])), [
    { name: 'lock-other', state: 'enabled' },
    { name: 'locked', state: 'disabled' },
  ]);
  assert.match(await out(['key', 'info', 'locked']), /\nState {7}disabled\n/);
  const info = JSON.parse(await out(['key', 'info', 'locked', '--json'])) as { state: string };
  assert.equal(info.state, 'disabled');
  const reason = 'key is disabled: enable it to use it again';
  await fails(['key', 'dek', 'locked'], `failed to derive key: ${reason}`);
  await fails(['key', 'encrypt', 'locked', 'x'], `failed to encrypt message: ${reason}`);
  await fails(
    ['key', 'decrypt', 'locked', dek.ciphertext],
    `failed to decrypt ciphertext: ${reason}`,
  );
  assert.equal(await out(['key', 'enable', 'locked']), '');
  assert.doesNotMatch(await out(['key', 'info', 'locked']), /State/);
  await out(['key', 'decrypt', 'locked', dek.ciphertext]);
  await fails(['key', 'disable', 'absent'], 'failed to disable key "absent": key does not exist');
  await fails(['key', 'enable', 'absent'], 'failed to enable key "absent": key does not exist');
});

void test('a rotated key has one version more, and older ciphertexts open and can be sealed again', async () => {
  await out(['key', 'create', 'turned']);
  const context = Buffer.from('bucket/object').toString('base64');
  const dek = JSON.parse(await out(['key', 'dek', 'turned', context])) as Dek;
  assert.equal(await out(['key', 'rotate', 'turned']), 'turned  version 2\n');
  const info = await out(['key', 'info', 'turned']);
  assert.match(info, /\nVersion {5}2\nVersions {4}1 {2}\S+ \S+ {2}\w{32}\n {12}2 {2}/);
  const shown = JSON.parse(await out(['key', 'info', 'turned', '--json'])) as KesKeyInfo;
  assert.equal(shown.version, 2);
  assert.deepEqual(
    shown.versions?.map(({ version }) => version),
    [1, 2],
  );
  const opened = JSON.stringify({ plaintext: dek.plaintext });
  assert.equal(await out(['key', 'decrypt', 'turned', dek.ciphertext, context]), opened);
  const text = await out(['key', 'rewrap', 'turned', dek.ciphertext, context]);
  const sealed = JSON.parse(text) as { ciphertext: string; version: number };
  assert.equal(text, JSON.stringify({ ciphertext: sealed.ciphertext, version: 2 }));
  assert.notEqual(sealed.ciphertext, dek.ciphertext);
  assert.equal(await out(['key', 'decrypt', 'turned', sealed.ciphertext, context]), opened);
  assert.match(
    await out(['key', 'rewrap', 'turned', dek.ciphertext, context], { isTerminal: true }),
    /^\nciphertext: \S+\nversion: {4}2\n$/,
  );
  await fails(
    ['key', 'rewrap', 'turned', dek.ciphertext],
    'failed to rewrap ciphertext: decryption failed: ciphertext is not authentic',
  );
  await fails(['key', 'rotate', 'absent'], 'failed to rotate key "absent": key does not exist');
});

void test('a key to be destroyed is locked, says when, and can be had back', async () => {
  await out(['key', 'create', 'doomed']);
  const before = Date.now();
  const text = await out(['key', 'destroy', 'doomed', '--after', '2h']);
  assert.match(
    text,
    /^Key "doomed" is locked and will be destroyed at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\nTo take that back: kes key cancel doomed\n/,
  );
  const info = JSON.parse(await out(['key', 'info', 'doomed', '--json'])) as KesKeyInfo;
  assert.equal(info.state, 'scheduled');
  const inMs = Date.parse(info.destroy_at ?? '') - before;
  assert.ok(inMs > 7_190_000 && inMs < 7_260_000, String(inMs));
  const rows = await out(['key', 'info', 'doomed']);
  assert.match(rows, /\nState {7}scheduled\nDestroy at {2}\d{4}-/);
  const reason = 'key is scheduled for destruction: cancel that to use it again';
  await fails(['key', 'dek', 'doomed'], `failed to derive key: ${reason}`);
  assert.equal(await out(['key', 'ls', 'doomed', '--states']), 'Key\ndoomed  scheduled\n');
  assert.equal(await out(['key', 'cancel', 'doomed']), '');
  assert.match(await out(['key', 'info', 'doomed']), /\nState {7}disabled\nID /);
  await out(['key', 'enable', 'doomed']);
  await out(['key', 'dek', 'doomed']);
});

void test('a destroyed key keeps its name, and nothing brings it back', async () => {
  await out(['key', 'create', 'gone']);
  const destroyed = JSON.parse(await out(['key', 'destroy', 'gone', '--now', '--json'])) as object;
  assert.deepEqual(Object.keys(destroyed).slice(0, 3), ['name', 'state', 'destroy_at']);
  assert.equal(await out(['key', 'ls', 'gone', '--states']), 'Key\ngone  destroyed\n');
  assert.match(await out(['key', 'info', 'gone']), /\nState {7}destroyed\n/);
  const reason = 'key is destroyed: what it protected is gone for good';
  await fails(['key', 'dek', 'gone'], `failed to derive key: ${reason}`);
  await fails(
    ['key', 'create', 'gone'],
    'failed to create key "gone": key name is taken by a destroyed key: choose another name',
  );
  const cancelled = await run(['key', 'cancel', 'gone']);
  assert.equal(cancelled.code, 1);
  assert.match(cancelled.stderr, /^Error: failed to cancel destruction of key "gone": /);
});

void test('on a terminal the name must be typed before a key is destroyed', async () => {
  await out(['key', 'create', 'asked', 'forced']);
  const terminal = { isTerminal: true };
  const refused = await run(['key', 'destroy', 'asked'], { ...terminal, stdin: 'aksed\n' });
  assert.equal(refused.code, 1);
  assert.equal(
    refused.stderr,
    'Everything that is encrypted with "asked" will be lost after the waiting time.\n' +
      'Type the name of the key to destroy it: ' +
      'Error: this is not the name of the key: nothing was done\n',
  );
  assert.doesNotMatch(await out(['key', 'info', 'asked']), /State/);
  const done = await run(['key', 'destroy', 'asked', '--now'], { ...terminal, stdin: 'asked\n' });
  assert.equal(done.code, 0);
  assert.match(done.stderr, /at once, for good/);
  assert.equal(done.stdout.split('\n')[0], 'Key "asked" is destroyed.');
  assert.match(await out(['key', 'destroy', 'forced', '-f'], terminal), /^Key "forced" is locked/);
  await fails(
    ['key', 'destroy', 'forced', '--now', '--after', '1h'],
    '--now and --after cannot be used at the same time',
  );
  await fails(
    ['key', 'destroy', 'forced', '--after', 'soon'],
    "invalid duration 'soon': expected for example 168h",
  );
});

void test('accepting a key that is the known one changes nothing', async () => {
  await out(['key', 'create', 'known']);
  assert.equal(await out(['key', 'accept', 'known']), '');
  await fails(['key', 'accept', 'absent'], 'failed to accept key "absent": key does not exist');
});
