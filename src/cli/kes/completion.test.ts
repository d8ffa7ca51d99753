import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { runCli, tempFolder } from '../../../test/support/kes-cli.ts';
import { kesServerCommands } from '../../server/kes/commands.ts';
import { completions } from './completion.ts';
import { kesCommands } from './main.ts';

const complete = (line: string) => completions([...kesServerCommands, ...kesCommands], line);

void test('commands, commands of groups, flags and their choices are completed', () => {
  assert.deepEqual(complete('kes po'), ['policy']);
  assert.ok(complete('kes ').includes('server') && complete('kes ').includes('key'));
  assert.deepEqual(complete('kes key d'), ['decrypt', 'dek', 'destroy', 'disable']);
  assert.deepEqual(complete('kes log '), ['verify']);
  assert.deepEqual(complete('kes log --'), [
    '--audit',
    '--error',
    '--help',
    '--insecure',
    '--json',
  ]);
  assert.deepEqual(complete('kes log verify --k'), ['--key']);
  assert.deepEqual(complete('kes key ls --color '), ['always', 'auto', 'never']);
  assert.deepEqual(complete('kes key ls --color n'), ['never']);
  assert.deepEqual(complete('kes migrate --from '), []);
  assert.deepEqual(complete('kes -'), ['--auto-completion', '--help', '--version']);
  assert.deepEqual(complete('kes nothing '), []);
});

void test('flags that are only accepted are not offered', () => {
  assert.deepEqual(complete('kes key create --e'), []);
  assert.deepEqual(complete('kes update --o'), []);
});

void test('the shell asks through COMP_LINE, up to the cursor', async () => {
  const env = { COMP_LINE: 'kes key ro --json', COMP_POINT: '10' };
  assert.deepEqual(await runCli(['kes', 'ro', 'key'], { env }), {
    code: 0,
    stdout: 'rotate\n',
    stderr: '',
  });
});

void test('completion is added to the file of the shell once, and the rest of the file stays', async (t) => {
  const home = tempFolder(t);
  for (const [shell, file, line] of [
    ['/bin/bash', '.bashrc', /\ncomplete -o default -C \S+\/bin\/kes kes\n$/],
    [
      '/usr/bin/zsh',
      '.zshrc',
      /\nautoload -U \+X bashcompinit && bashcompinit\ncomplete .* kes\n$/,
    ],
    [
      'fish',
      '.config/fish/completions/kes.fish',
      /\ncomplete -c kes -f -a '\(__kes_complete\)'\n$/,
    ],
  ] as const) {
    const env = { HOME: home, SHELL: shell };
    const path = join(home, file);
    mkdirSync(join(path, '..'), { recursive: true });
    writeFileSync(path, 'before');
    const first = await runCli(['--auto-completion'], { env });
    assert.deepEqual([first.code, first.stderr], [0, '']);
    assert.ok(first.stdout.startsWith(`Added to ${path}:\n`), first.stdout);
    const text = readFileSync(path, 'utf8');
    assert.ok(text.startsWith('before\n'));
    assert.match(text, line);
    const second = await runCli(['--auto-completion'], { env });
    assert.match(second.stdout, /is already in/);
    assert.equal(readFileSync(path, 'utf8'), text);
  }
});

void test('an unknown shell is told what is known', async () => {
  const result = await runCli(['--auto-completion'], {
    env: { HOME: '/nowhere', SHELL: '/bin/csh' },
  });
  assert.equal(result.code, 1);
  assert.match(
    result.stderr,
    /^Error: cannot install completion: SHELL and HOME .* bash, zsh, fish /,
  );
});
