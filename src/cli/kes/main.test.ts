import assert from 'node:assert/strict';
import { test } from 'node:test';
import { useTestCli } from '../../../test/support/kes-cli.ts';
import { formatApiKey } from '../../wire/kes-identity.ts';
import { kesServerCommands } from '../../server/kes/commands.ts';
import { kesCommands } from './main.ts';

const cli = useTestCli();
const { run, out, fails } = cli;

void test('help goes to standard error with exit code 2', async () => {
  for (const argv of [[], ['-h'], ['--help'], ['key'], ['key', '--help'], ['identity', '-h']]) {
    const result = await run(argv);
    assert.deepEqual([result.code, result.stdout], [2, ''], argv.join(' '));
    assert.match(result.stderr, /^Usage:\n/);
  }
  for (const command of kesCommands) {
    const result = await run([...command.words.split(' '), '--help']);
    const expected = command.words === 'ls' ? 1 : 2;
    assert.deepEqual([result.code, result.stdout], [expected, ''], command.words);
    assert.match(result.stderr, /^Usage:\n/);
  }
});

void test('wrong words and arguments are explained', async () => {
  await fails(['x'], `"x" is not a kes command. See 'kes --help'`);
  await fails(['key', 'x'], `"x" is not a key command. See 'kes key --help'`);
  await fails(['key', 'create'], "no key name specified. See 'kes key create --help'");
  await fails(['key', 'info', 'a', 'b'], "too many arguments. See 'kes key info --help'");
  await fails(['key', 'ls', '--frob'], "unknown flag: --frob. See 'kes key ls --help'");
  await fails(['key', 'ls', '-x'], "unknown shorthand flag: 'x' in -x. See 'kes key ls --help'");
  await fails(['key', 'ls', '--color', 'blue'], "invalid color option 'blue'");
  await fails(['log', 'frob'], "too many arguments. See 'kes log --help'");
});

void test('flags may stand anywhere, joined or apart', async () => {
  await out(['key', 'create', '-k', 'flag-a', '-e', 'enclave']);
  assert.equal(await out(['key', 'ls', '--json', '-k', '--color=never', 'flag']), '["flag-a"]\n');
  const apart = { KES_API_KEY: undefined, KES_SERVER: 'nowhere:1' };
  const argv = [
    'ls',
    '-ka',
    formatApiKey(cli.server.admin),
    `-s${new URL(cli.server.origin).host}`,
    'flag',
  ];
  assert.equal(await out(argv, { env: apart }), 'Key\nflag-a\n');
  assert.equal(await out(['key', 'rm', '--', 'flag-a']), '');
});

void test('the version is four rows', async () => {
  const text = await out(['--version']);
  const labels = text.split('\n').map((line) => line.split(' ')[0]);
  assert.deepEqual(labels, ['Version', 'Runtime', 'License', 'Copyright', '']);
});

void test('colours are for terminals, or when asked for', async () => {
  await out(['key', 'create', 'color']);
  assert.equal(await out(['key', 'ls', 'color']), 'Key\ncolor\n');
  assert.equal(
    await out(['key', 'ls', 'color', '--color', 'always']),
    '\x1b[1mKey\x1b[0m\ncolor\n',
  );
  assert.equal(
    await out(['key', 'ls', 'color', '--color', 'never'], { isTerminal: true }),
    'Key\ncolor\n',
  );
});

void test('the help of the program lists every command, those of a group together', async () => {
  const { stderr } = await run(['--help']);
  const listed = [...stderr.matchAll(/^ {4}([a-z]+(?: [a-z]+)?)(?: |$)/gm)].map(
    (match) => match[1],
  );
  for (const { words } of [...kesServerCommands, ...kesCommands]) {
    assert.ok(listed.includes(words), words);
  }
  const groups = stderr.matchAll(/^ {4}([a-z]+) /gm);
  const runs = [...groups]
    .map((match) => match[1])
    .filter((group, at, all) => group !== all[at - 1]);
  assert.deepEqual(runs.slice(1), [...new Set(runs.slice(1))]);
  assert.match(
    (await run(['key', '--help'])).stderr,
    /\n {4}rotate NAME\.\.\. [\s\S]*\n {4}backup {2,}/,
  );
  assert.match((await run(['log', '--help'])).stderr, /\n {4}verify FILE\.\.\. [\s\S]*--error /);
});

void test('how to update is said, and nothing is downloaded', async () => {
  const text = await out(['update', '-k', '-d', '--os', 'linux', '--arch=amd64', '-o', 'x']);
  assert.match(text, /^Version {5}\d+\.\d+\.\d+\nInstalled {3}\S+\n/);
  assert.match(text, /\n {3}npm install/);
  assert.match(await out(['update', 'v9.9.9']), /v9\.9\.9/);
});

void test('NO_COLOR keeps colours off, unless they are asked for', async () => {
  const options = { isTerminal: true, env: { NO_COLOR: '1' } };
  assert.equal(await out(['key', 'ls', 'color'], options), 'Key\ncolor\n');
  assert.match(await out(['key', 'ls', 'color', '--color=always'], options), /^\x1b\[1m/);
});
