import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { test } from 'node:test';
import { startFortanixDouble } from '../../../test/support/doubles/fortanix.ts';
import { runCli, tempFolder, withInitialServer } from '../../../test/support/kes-cli.ts';
import { parseKeyStoreFile } from './store-file.ts';

const secret = 'c2VjcmV0LXZhbHVl';

/** Two folders with keys, and the files that name them. */
function stores(t: TestContext, from: readonly string[], to: readonly string[] = []) {
  const folder = tempFolder(t);
  const place = (name: string, keys: readonly string[]) => {
    const path = join(folder, name);
    mkdirSync(path);
    for (const key of keys) writeFileSync(join(path, key), `${secret}-${key}`);
    writeFileSync(join(folder, `${name}.yml`), `keystore:\n  fs:\n    path: ${path}\n`);
    return path;
  };
  const [source, target] = [place('from', from), place('to', to)];
  const files = ['--from', join(folder, 'from.yml'), '--to', join(folder, 'to.yml')];
  return { folder, source, target, files };
}

void test('keys are moved, counted, and never shown', async (t) => {
  const { target, files } = stores(t, ['a-1', 'a-2', 'b-1']);
  assert.deepEqual(await runCli(['migrate', ...files]), {
    code: 0,
    stdout: 'Starting key migration:\n\nMigrated      3 keys successfully!\n',
    stderr: '',
  });
  assert.deepEqual(readdirSync(target).toSorted(), ['a-1', 'a-2', 'b-1']);
  assert.equal(readFileSync(join(target, 'a-2'), 'utf8'), `${secret}-a-2`);
});

void test('a pattern chooses as a shell does', async (t) => {
  for (const [pattern, names] of [
    ['a-*', ['a-1', 'a-2']],
    ['?-1', ['a-1', 'b-1']],
    ['[ab]-[!2]', ['a-1', 'b-1']],
    ['[^a]*', ['b-1']],
    ['b-1', ['b-1']],
  ] as const) {
    const { target, files } = stores(t, ['a-1', 'a-2', 'b-1']);
    assert.equal((await runCli(['migrate', pattern, ...files])).code, 0, pattern);
    assert.deepEqual(readdirSync(target).toSorted(), names, pattern);
  }
  const { files } = stores(t, ['a-1']);
  const none = await runCli(['migrate', 'x*', ...files]);
  assert.match(none.stdout, /\nMigration succeeded! No keys migrated\.\n$/);
  for (const pattern of ['[a', 'a]', 'a/b', '{a,b}']) {
    const { code, stderr } = await runCli(['migrate', pattern, ...files]);
    assert.equal(code, 1);
    assert.equal(stderr, `Error: invalid pattern '${pattern}'. See 'kes migrate --help'\n`);
  }
});

void test('keys that the target has stop it, unless they are kept or replaced', async (t) => {
  const { target, files } = stores(t, ['a', 'b'], ['a']);
  writeFileSync(join(target, 'b'), 'other');
  const stopped = await runCli(['migrate', 'b', ...files]);
  assert.equal(stopped.code, 1);
  assert.equal(
    stopped.stderr,
    'Error: key "b" exists in the target already: use --merge to keep what is there (also to go on ' +
      'after an interruption), or --force to replace it\n',
  );
  const merged = await runCli(['migrate', '--merge', ...files]);
  assert.equal(merged.code, 0);
  assert.match(
    merged.stdout,
    /No keys migrated\.\nSkipped {7}2 keys that the target has already\.\n$/,
  );
  assert.equal(merged.stderr, 'Warning: 1 of the skipped keys are other keys in the target: b\n');
  assert.equal(readFileSync(join(target, 'b'), 'utf8'), 'other');
  const forced = await runCli(['migrate', '-f', ...files]);
  assert.deepEqual([forced.code, forced.stderr], [0, '']);
  assert.equal(readFileSync(join(target, 'b'), 'utf8'), `${secret}-b`);
  for (const { stdout, stderr } of [stopped, merged, forced]) {
    assert.ok(!`${stdout}${stderr}`.includes(secret));
  }
});

void test('an interrupted run fails and says how to go on', async (t) => {
  const { files } = stores(t, ['a', 'b']);
  const result = await runCli(['migrate', ...files], { signal: AbortSignal.abort() });
  assert.equal(result.code, 1);
  assert.match(result.stderr, /^Error: interrupted .*: run the same command again with --merge/);
  const forced = await runCli(['migrate', '-f', ...files], { signal: AbortSignal.abort() });
  assert.match(forced.stderr, /^Error: interrupted .*: run the same command again to go on\n$/);
});

void test('files and flags that make no sense are refused before anything is opened', async (t) => {
  const { folder, files } = stores(t, ['a']);
  const [, from = '', , to = ''] = files;
  let written = 0;
  const write = (text: string) => {
    written += 1;
    const path = join(folder, `${written}-bad.yml`);
    writeFileSync(path, text);
    return path;
  };
  const cases: [string[], RegExp][] = [
    [[], /^Error: no --from configuration file specified\. See 'kes migrate --help'\n$/],
    [['--from', from], /^Error: no --to configuration file specified/],
    [['--from', from, '--to', from], /^Error: --from and --to name the same key store\n$/],
    [['--from', '/absent.yml', '--to', to], /^Error: \/absent\.yml: cannot be read: no such file/],
    [
      [...files, '--merge', '--force'],
      /^Error: --merge and --force cannot be used at the same time/,
    ],
    [[...files, '-s', 'host'], /^Error: --server: a MinIO KMS server cannot be a target/],
    [
      ['--from', write('keystore:\n  memory: {}\n'), '--to', to],
      /keys in memory cannot be migrated/,
    ],
    [['--from', write('version: v1\n'), '--to', to], /bad\.yml: kesconf: no keystore specified\n$/],
    [['--from', write('a: [\n'), '--to', to], /bad\.yml:\d+: yaml: /],
    [
      ['--from', write('keystore:\n  fs:\n    path: []\n'), '--to', to],
      /bad\.yml:3: kesconf: keystore\.fs\.path/,
    ],
    [
      ['--from', write('keystore:\n  fs:\n    path: ${NO}\n'), '--to', to],
      /variable 'NO' in line '3'/,
    ],
  ];
  for (const [argv, text] of cases) {
    const result = await runCli(['migrate', ...argv]);
    assert.equal(result.code, 1);
    assert.match(result.stderr, text);
  }
});

void test('versions, states and traces travel to another product and back', async (t) => {
  const folder = tempFolder(t);
  const source = join(folder, 'source');
  await withInitialServer(source, async (env) => {
    for (const line of [
      'key create plain turned locked doomed gone',
      'key rotate turned turned',
      'key disable locked',
      'key destroy doomed',
      'key destroy gone --now',
    ]) {
      const { code, stderr } = await runCli(line.split(' '), { env });
      assert.deepEqual([code, stderr], [0, ''], line);
    }
  });
  const apiKey = Buffer.from('app:test').toString('base64');
  const double = await startFortanixDouble(apiKey);
  t.after(() => double.close());
  const write = (name: string, text: string) => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const product = write(
    'product.yml',
    `keystore:\n  fortanix:\n    sdkms:\n      endpoint: ${double.origin}\n      credentials:\n        key: ${apiKey}\n`,
  );
  const target = join(folder, 'target');
  const back = write('back.yml', `keystore:\n  fs:\n    path: ${target}\n`);
  for (const [from, to] of [
    [join(source, 'config.yml'), product],
    [product, back],
  ] as const) {
    const result = await runCli(['migrate', '--from', from, '--to', to]);
    assert.deepEqual([result.code, result.stderr], [0, '']);
    assert.match(result.stdout, /Migrated {6}5 keys successfully!/);
  }
  const names = readdirSync(target).toSorted();
  assert.deepEqual(names, ['doomed', 'gone', 'locked', 'plain', 'turned']);
  for (const name of names) {
    const before = readFileSync(join(source, 'keys', name), 'utf8');
    assert.equal(readFileSync(join(target, name), 'utf8'), before, name);
  }
});

void test('a whole configuration of a server serves as well', () => {
  const text = 'admin:\n  identity: x\ntls: {}\nkeystore:\n  fs:\n    path: ${DIR}\n';
  assert.deepEqual(parseKeyStoreFile(text, { DIR: '/keys' }), {
    keyStore: { type: 'fs', path: '/keys' },
  });
  const wrapped = `${text}wrapping:\n  pkcs11:\n    library: l\n    token: t\n    pin: p\n    key: k\n`;
  assert.equal(parseKeyStoreFile(wrapped, { DIR: '/keys' }).wrapping?.type, 'pkcs11');
});
